# What still gets through, as doc/security.md says it: each is shown, so that the page says neither more nor less.
# If this fails, something was closed, or has become worse: change the page with the test.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('limits', conf => "max_prepared_transactions = 5\n");
my $guess = secret();
my $wrong = wrong_guess();

sub nobody { return (as($node, 'nobody', $_[0]))[0]; }

# Who may write into a table with a unique key learns that a value is there, also of a row that he reads elsewhere.
$node->safe_psql('postgres', "CREATE TABLE keyed (tok encrypted_text('pii', 'searchable') UNIQUE); GRANT ALL ON keyed TO PUBLIC; INSERT INTO keyed VALUES ('$guess')");
is((as($node, 'nobody', "INSERT INTO keyed VALUES ('$guess')"))[2], '23505', 'a writer: UNIQUE says that it is there');
is((as($node, 'nobody', "BEGIN; INSERT INTO keyed VALUES ('$wrong'); ROLLBACK"))[2], '00000', 'and that it is not');
is((as($node, 'nobody', 'INSERT INTO keyed SELECT tok FROM victim WHERE id = 2'))[2], '23505', 'of a row that he reads');

# A condition that he stored over a value, where a reader evaluates it: rows that it locks or changes, and an error.
as($node, 'nobody', "CREATE VIEW hits AS SELECT id FROM victim WHERE tok = '$guess' FOR UPDATE OF victim; CREATE VIEW fails AS SELECT id, CASE WHEN tok = '$guess' THEN 1 / 0 ELSE 1 END AS x FROM victim; GRANT SELECT ON hits, fails TO PUBLIC");
is((as($node, 'reader', 'SELECT count(x) FROM fails'))[2], '22012', 'an error says that the condition held');
as($node, 'reader', "BEGIN; SELECT count(*) FROM hits; PREPARE TRANSACTION 'locks'");
is(nobody('SELECT string_agg(id::text, \',\' ORDER BY id) FROM (SELECT id FROM victim EXCEPT SELECT id FROM (SELECT id FROM victim FOR UPDATE SKIP LOCKED) f) x'), '2,4', 'rows that are locked say for which it held');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'locks'");
as($node, 'reader', 'UPDATE victim SET id = victim.id FROM hits WHERE hits.id = victim.id');
is(nobody('SELECT count(*) FROM (SELECT xmin FROM victim GROUP BY xmin HAVING count(*) = 2) x'), '1', 'and rows that are changed');

# What counts in his own table, where its scan hangs on a value.
as($node, 'nobody', "CREATE TABLE counter (a int); INSERT INTO counter VALUES (1); CREATE VIEW counts AS SELECT id, CASE WHEN tok = '$guess' THEN (SELECT max(a) FROM counter WHERE a = victim.id) END AS x FROM victim; CREATE VIEW counts_not AS SELECT id, CASE WHEN tok = '$wrong' THEN (SELECT max(a) FROM counter WHERE a = victim.id) END AS x FROM victim; GRANT SELECT ON counter, counts, counts_not TO PUBLIC");
my $scans = sub { return nobody("SELECT pg_stat_get_numscans('counter'::regclass)"); };
my $before = $scans->();
as($node, 'reader', 'SELECT count(x) FROM counts_not');
is($scans->(), $before, 'a scan that did not run is not counted');
as($node, 'reader', 'SELECT count(x) FROM counts');
ok(poll_until('the counter', sub { $scans->() > $before }), 'one that ran is');

# Under SERIALIZABLE, what a search has read of an index and of the table.
$node->safe_psql('postgres', 'INSERT INTO victim (id, tok) SELECT g + 100, md5(g::text) FROM generate_series(1, 2000) g; ANALYZE victim');
my $locks = sub {
	my ($value) = @_;
	as($node, 'reader', "BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SELECT count(*) FROM victim WHERE tok = '$value'; PREPARE TRANSACTION 'read'");
	my $seen = nobody("SELECT string_agg(DISTINCT locktype, ',' ORDER BY locktype), count(*) FILTER (WHERE locktype = 'tuple') FROM pg_locks WHERE mode = 'SIReadLock' AND relation IN ('victim'::regclass, 'victim_tok'::regclass)");
	$node->safe_psql('postgres', "ROLLBACK PREPARED 'read'");
	return $seen;
};
is($locks->($guess), 'page,tuple|2', 'SERIALIZABLE: everybody sees the page of the index, and the rows that were found');
is($locks->($wrong), 'page|0', 'or that none was');

# What a reader's own code has opened and hands on by a variable is what it hands on: a text, or a literal.
as($node, 'nobody', "CREATE TABLE caught (t text); CREATE FUNCTION takes(v encrypted_text) RETURNS text LANGUAGE plpgsql AS \$\$BEGIN INSERT INTO caught VALUES ('typed ' || v::text); RETURN ''; END\$\$; CREATE FUNCTION takes_text(v text) RETURNS text LANGUAGE plpgsql AS \$\$BEGIN INSERT INTO caught VALUES ('text ' || v); RETURN ''; END\$\$; GRANT ALL ON caught TO PUBLIC");
as($node, 'reader', 'DO $$ DECLARE v encrypted_text; t text; BEGIN SELECT tok::text INTO v FROM victim WHERE id = 2; t := v; PERFORM takes(v), takes_text(t); END $$');
is($node->safe_psql('postgres', 'SELECT count(*) FROM caught WHERE t LIKE \'%Zq9x%\''), '2', 'variables without a key hand on what was put there');
$node->safe_psql('postgres', 'TRUNCATE caught');
as($node, 'reader', "DO \$\$ DECLARE v encrypted_text('pii'); w victim.tok%TYPE; BEGIN SELECT tok::text, tok INTO v, w FROM victim WHERE id = 2; PERFORM takes(v); PERFORM takes(w); END \$\$");
is($node->safe_psql('postgres', 'SELECT count(*) FROM caught WHERE t LIKE \'%Zq9x%\''), '0', 'those of a column\'s type do not');

$node->stop;
done_testing();
