# Equality by what one owns: whoever may read rows, and create a table in some schema, puts them and his
# guesses there and has an index, a constraint or a mask compare them.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('owned');
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('alone', mask => 'token'), dataprotect.grant_access('alone', 'masked', 'mask'), dataprotect.grant_access('alone', 'searcher', 'search', search_limit => 3);
CREATE TABLE quiet (id int, mail encrypted_text('alone', 'searchable'));
GRANT SELECT ON quiet TO PUBLIC;
SQL
$node->safe_psql('postgres', "INSERT INTO quiet VALUES (1, '" . secret() . "')");

my @comparers = (
	'CREATE UNIQUE INDEX ON own (tok encrypted_text_token_ops)', 'CREATE INDEX ON own USING hash (e)', 'CREATE INDEX ON own (ord)', 'ALTER TABLE own ADD UNIQUE (tok)',
	'ALTER TABLE own ADD PRIMARY KEY (tok)', 'ALTER TABLE own ADD EXCLUDE USING btree (tok encrypted_text_token_ops WITH =)', 'ALTER TABLE own ADD EXCLUDE USING hash (e WITH =)',
	"CREATE INDEX ON own USING hash (dataprotect.blind(e, 'lower'))", 'CREATE INDEX CONCURRENTLY ON own (tok encrypted_text_token_ops)',
	'CREATE INDEX ON own USING gin (w encrypted_text_ngram_ops)', 'CREATE INDEX ON own USING gin (d encrypted_jsonb_entry_ops)',
	'CREATE TABLE own2 (LIKE keyed INCLUDING ALL)', "CREATE TABLE own2 (tok encrypted_text('pii', 'searchable') UNIQUE)", "CREATE TABLE own2 (id int, tok encrypted_text('pii', 'searchable'), UNIQUE (id, tok)) PARTITION BY LIST (id)",
	'CREATE MATERIALIZED VIEW own3 AS SELECT tok FROM victim; CREATE UNIQUE INDEX ON own3 (tok encrypted_text_token_ops)',
	'ALTER TABLE own ADD FOREIGN KEY (tok) REFERENCES keyed (tok)', 'ALTER TABLE own ADD FOREIGN KEY (plain) REFERENCES keyed (tok)', 'ALTER TABLE own ADD FOREIGN KEY (dom) REFERENCES keyed (tok)', 'CREATE TABLE own2 (tok encrypted_text(\'pii\', \'searchable\') REFERENCES keyed (tok))',
	'ALTER TABLE own ADD FOREIGN KEY (other) REFERENCES keyed (tok)');
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('others'), dataprotect.grant_access('others', 'masked', 'reveal');
CREATE TABLE keyed (id int, tok encrypted_text('pii', 'searchable') UNIQUE);
GRANT ALL ON keyed TO PUBLIC;
CREATE DOMAIN searched AS encrypted_text('pii', 'searchable');
SQL
my $own = q{CREATE TABLE own (id int, tok encrypted_text('pii', 'searchable'), ord encrypted_text('pii', 'ordered'), e encrypted_text('pii'), w encrypted_text('pii'), d encrypted_jsonb('pii'),
	plain text, dom searched, other encrypted_text('others', 'searchable'))};
for my $role (qw(nobody masked searcher owner dumper))
{
	as($node, $role, $own);
	my (undef, $err, $state) = as($node, $role, 'INSERT INTO own (tok, e) SELECT tok, email FROM victim');
	is($state, '00000', "$role: rows of others in a table of his own") or diag($err);
	denied($node, $role, $_, $_) for $role eq 'nobody' ? @comparers : @comparers[0, 1, -1];
	as($node, $role, 'DROP TABLE own');
}
# Who has the right makes them, for himself and for owners.
my @can = grep { !/EXCLUDE|plain|'others'|other\)/ } @comparers;
for my $role (qw(reader admin))
{
	as($node, $role, $own);
	for my $sql (@can)
	{
		my (undef, $err) = as($node, $role, $sql =~ /CONCURRENTLY|own2/ ? "$sql; DROP TABLE IF EXISTS own2" : "BEGIN; $sql; ROLLBACK");
		unlike($err, qr/42501/, "$role: $sql") or diag($err);
		$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW IF EXISTS own3') if $sql =~ /MATERIALIZED/;
	}
	as($node, $role, 'DROP TABLE own');
}
allowed($node, 'super', 'CREATE UNIQUE INDEX quiet_mail ON quiet (mail encrypted_text_token_ops); ALTER TABLE quiet OWNER TO owner', 'super: for an owner');
allowed($node, 'super', 'SET ROLE owner; CREATE INDEX quiet_again ON quiet (mail encrypted_text_token_ops)', 'super: as the owner');
allowed($node, 'owner', "REINDEX TABLE quiet; REINDEX INDEX CONCURRENTLY quiet_mail", 'owner: makes anew what is there');
denied($node, 'owner', "DROP INDEX quiet_again; CREATE INDEX quiet_again ON quiet (mail encrypted_text_token_ops)", 'and nothing else');
$node->safe_psql('postgres', "CREATE TABLE parted (id int, tok encrypted_text('pii', 'searchable')) PARTITION BY RANGE (id); CREATE INDEX ON parted (tok encrypted_text_token_ops); ALTER TABLE parted OWNER TO owner");
allowed($node, 'owner', "CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (1) TO (2); CREATE TABLE part2 (LIKE parted); ALTER TABLE parted ATTACH PARTITION part2 FOR VALUES FROM (2) TO (3)", 'owner: partitions of what has an index');
# SET ROLE inside a function gives its owner nothing; nor does an administrator who calls one.
as($node, 'nobody', q{CREATE TABLE own (tok encrypted_text('pii', 'searchable')); CREATE FUNCTION indexes() RETURNS void SECURITY DEFINER LANGUAGE plpgsql AS $$BEGIN CREATE UNIQUE INDEX ON own (tok encrypted_text_token_ops); END$$; GRANT EXECUTE ON FUNCTION indexes() TO PUBLIC});
denied($node, $_, 'SELECT indexes()', 'in a function of nobody') for qw(admin super reader);
# A table of his own is no reason to seal guesses for masks that tell them from others.
as($node, $_, "CREATE TABLE own_$_ (mail encrypted_text('alone', 'searchable'))") for qw(masked searcher);
no_oracle($node, 'masked', "INSERT INTO own_masked VALUES ('%s'); SELECT mail::text IN (SELECT mail::text FROM quiet) FROM own_masked", 'tokens of guesses in a table of his own');
denied($node, 'masked', "INSERT INTO own_masked VALUES ('guess')", 'seals nothing into it');
(undef, my $limited) = as($node, 'searcher', "INSERT INTO own_searcher SELECT 'guess' || n FROM generate_series(1, 100) n");
like($limited, qr/has searched protected columns for too many/, 'searcher: what he seals into a table of his own counts') or diag($limited);
allowed($node, 'nobody', "BEGIN; CREATE TABLE fill (mail encrypted_text('pii')); INSERT INTO fill VALUES ('mine'); ROLLBACK", 'who sees no mask fills tables of his own');

log_conceals($node);
$node->stop;
done_testing();
