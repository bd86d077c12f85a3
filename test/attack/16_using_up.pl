# Those who use up: what a role without rights can make the server keep for
# good, or spend: keys of accounts that never were, seals that sealed nothing,
# versions of a key, locks that others wait for.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('using_up', conf => "max_prepared_transactions = 8\n");
my $spares = 256;	# made at once

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE writer LOGIN;
CREATE TABLE account (id int PRIMARY KEY, email encrypted_text('pii'));
SELECT dataprotect.create_account_type('person', 'account', 'id');
SELECT dataprotect.bind_subject('account', 'person', 'id');
GRANT ALL ON account TO writer;
SQL

sub count_keys
{
	return $node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.key_version WHERE purpose = 3');
}

sub rolled_back
{
	my ($from, $to) = @_;
	return "DO \$\$ BEGIN FOR i IN $from..$to LOOP BEGIN INSERT INTO account VALUES (i, 'x'); RAISE EXCEPTION 'x'; "
	  . "EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END \$\$";
}

# case rolled-back-rows-leave-keys
$node->safe_psql('postgres', "INSERT INTO account VALUES (1, 'one'), (2, 'two')");
allowed($node, 'writer', rolled_back(1000, 1900), 'rows in subtransactions that are rolled back');
cmp_ok(count_keys(), '<=', 2 + $spares, 'leave no more keys behind than the stock of spares');
allowed($node, 'writer', join(";\n", map { "BEGIN; INSERT INTO account VALUES ($_, 'x'); ROLLBACK" } 2000 .. 2599),
	'rows in transactions that are rolled back');
cmp_ok(count_keys(), '<=', 2 + $spares, 'nor do they');
$node->safe_psql('postgres', "INSERT INTO account SELECT i, 'x' FROM generate_series(3000, 3999) i");
cmp_ok(count_keys(), '<=', 1002 + $spares, 'accounts that are there have a key each');
is($node->safe_psql('postgres', <<'SQL'), '0', 'and it is the key that is theirs');
SELECT count(*) FROM account a WHERE NOT EXISTS (SELECT FROM dataprotect.subject_key s JOIN dataprotect.key_version v USING (key_id)
	WHERE s.subject = a.id::text AND s.key_id = dataprotect._envelope_key_id(a.email) AND v.wrapped IS NOT NULL)
SQL
is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT key_id) FROM dataprotect.subject_key'), '0', 'nobody else\'s');

# What is destroyed must be nobody's: a claim that is still open, one that is
# prepared, one that was there before a restart.
my $open = $node->background_psql('postgres', on_error_die => 1);
$open->query_safe("BEGIN; INSERT INTO account VALUES (1, 'again') ON CONFLICT (id) DO NOTHING; INSERT INTO account VALUES (5001, 'open')");
$node->safe_psql('postgres', "BEGIN; INSERT INTO account VALUES (5002, 'kept'); PREPARE TRANSACTION 'kept'");
$node->safe_psql('postgres', "BEGIN; INSERT INTO account VALUES (5003, 'given up'); PREPARE TRANSACTION 'given up'");
allowed($node, 'writer', rolled_back(6000, 6900), 'meanwhile others roll back');
$open->query_safe('COMMIT');
$open->quit;
$node->restart;
$node->safe_psql('postgres', "ROLLBACK PREPARED 'given up'");
allowed($node, 'writer', rolled_back(7000, 7600), 'and after a restart');
$node->safe_psql('postgres', "COMMIT PREPARED 'kept'");
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal')");
is($node->safe_psql('postgres', "SELECT string_agg(email::text, ',' ORDER BY id) FROM account WHERE id IN (5001, 5002, 5003)"),
	'open,kept', 'every row that was committed opens');
cmp_ok(count_keys(), '<=', 1004 + $spares, 'spares of before the restart are gone');
is($node->safe_psql('postgres', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'every value authenticates');
like($node->safe_psql('postgres', 'SELECT jsonb_array_length(dataprotect.export_keys() -> \'versions\') - '
	. '(SELECT count(*) FROM dataprotect.key_version v WHERE NOT EXISTS (SELECT FROM dataprotect.spare_key s WHERE s.key_id = v.key_id))'),
	qr/^0$/, 'an export holds no spare');

# The lock that claims wait for is not one that anybody may take.
my $blocker = $node->background_psql('postgres', on_error_die => 1, extra_params => [ '-U', 'nobody' ]);
$blocker->query_safe("SELECT count(pg_advisory_lock(1685089657, i)) FROM generate_series(0, 63) i");
allowed($node, 'writer', "SET lock_timeout = '5s'; INSERT INTO account VALUES (8001, 'x')", 'a stranger cannot hold claims up');
$blocker->quit;

# case rotation-forced-by-a-stranger: one block of 2^22 seals is left of the key, and one seal:
# with the block reserved no successor is due yet.
my $seals_left = (1 << 22) + 1;
$node->safe_psql('postgres', "SELECT dataprotect.create_key('spent'); CREATE TABLE spending (id int, s encrypted_text('spent')); GRANT ALL ON spending TO writer");
sub version { return $node->safe_psql('postgres', "SELECT current_version FROM dataprotect.keys WHERE name = 'spent'"); }
sub spend
{
	$node->safe_psql('postgres', "UPDATE dataprotect.key_version SET seals = 3 * (1 << 26) - $seals_left "
		. "WHERE key_id = (SELECT current_key_id FROM dataprotect.key WHERE name = 'spent')");
	return;
}
spend();
allowed($node, 'writer', "DO \$\$ BEGIN FOR i IN 1..1200 LOOP BEGIN INSERT INTO spending VALUES (i, 'x'); RAISE EXCEPTION 'x'; "
	. "EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END \$\$", 'sealing in 1,200 subtransactions that are rolled back');
is(version(), 1, 'uses no block of seals up');

my $script = $node->basedir . '/seal.sql';
append_to_file($script, "INSERT INTO spending VALUES (1, 'x');\n");
my ($out, $err) = ('', '');
ok(IPC::Run::run([ 'pgbench', '-n', '-C', '-c', '2', '-t', '600', '-f', $script, '-h', $node->host, '-p', $node->port, '-U', 'writer', 'postgres' ],
		'<', \undef, '>', \$out, '2>', \$err), '1,200 sessions that seal one value each') or diag($err);
is(version(), 1, 'use no block of seals up either');
cmp_ok($node->safe_psql('postgres', "SELECT seals FROM dataprotect.key_version WHERE key_id = (SELECT current_key_id FROM dataprotect.key WHERE name = 'spent')"),
	'<', 3 * (1 << 26), 'and reserved one block');

# Who has no reason to seal does not.
for my $sql ("SELECT 'x'::encrypted_text('spent')", "DO \$\$ DECLARE v encrypted_text('spent') := 'x'; BEGIN NULL; END \$\$",
	"SELECT count('x'::encrypted_text('spent')) FROM generate_series(1, 100)", "SELECT CAST(email AS encrypted_text('spent')) FROM (VALUES ('x')) v(email)",
	"PREPARE q(text) AS SELECT \$1::encrypted_text('spent'); EXECUTE q('x')", "SELECT ARRAY['x']::encrypted_text('spent')[]")
{
	denied($node, $_, $sql, "$_ seals nothing under a key that is not his") for qw(nobody masked searcher reader);
}
allowed($node, 'writer', "SELECT 'x'::encrypted_text('spent')", 'who writes a column under it does');
allowed($node, 'reader', "SELECT 'x'::encrypted_text('pii')", 'who has a right on the key does');
allowed($node, 'admin', "SELECT 'x'::encrypted_text('spent')", 'so does an administrator');

# The reasons, one by one.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE by_column LOGIN;
GRANT INSERT (id) ON spending TO by_column;
ALTER TABLE spending ALTER s SET DEFAULT 'x';
CREATE ROLE by_view LOGIN;
CREATE VIEW spending_view AS SELECT id, s FROM spending;
GRANT INSERT ON spending_view TO by_view;
CREATE ROLE by_domain LOGIN;
CREATE DOMAIN spent_text AS encrypted_text('spent');
CREATE TABLE by_domain_table (d spent_text);
GRANT UPDATE ON by_domain_table TO by_domain;
CREATE ROLE by_array LOGIN;
CREATE TABLE by_array_table (a encrypted_text('spent')[]);
GRANT INSERT ON by_array_table TO by_array;
CREATE ROLE by_composite LOGIN;
CREATE TYPE spent_pair AS (a int, b spent_text);
CREATE TABLE by_composite_table (c spent_pair);
GRANT INSERT ON by_composite_table TO by_composite;
CREATE ROLE by_member LOGIN IN ROLE writer;
CREATE ROLE by_reading LOGIN;
GRANT SELECT, DELETE, TRUNCATE, REFERENCES, TRIGGER ON spending, by_array_table, by_composite_table TO by_reading;
CREATE ROLE by_rule LOGIN;
CREATE VIEW spending_rule AS SELECT id, 'x'::text AS s FROM spending;
CREATE RULE spend AS ON INSERT TO spending_rule DO INSTEAD INSERT INTO spending VALUES (NEW.id, NEW.s);
GRANT INSERT ON spending_rule TO by_rule;
SQL
allowed($node, 'by_column', 'INSERT INTO spending (id) VALUES (1)', 'a DEFAULT is sealed for who may insert into another column');
allowed($node, 'by_view', "INSERT INTO spending_view VALUES (1, 'x')", 'a view is a reason');
allowed($node, 'by_domain', "SELECT 'x'::spent_text", 'a column of a domain is');
allowed($node, 'by_array', "INSERT INTO by_array_table VALUES (ARRAY['x'])", 'one of an array is');
allowed($node, 'by_composite', "INSERT INTO by_composite_table VALUES (ROW(1, 'x'))", 'one of a composite type is');
allowed($node, 'by_member', "INSERT INTO spending VALUES (1, 'x')", 'membership is');
allowed($node, 'by_rule', "INSERT INTO spending_rule VALUES (1, 'x')", 'what a rule writes for its owner is');
denied($node, 'by_rule', "SELECT 'x'::encrypted_text('spent')", 'but nothing else is his who only has the rule');
denied($node, 'by_reading', "SELECT 'x'::encrypted_text('spent')", 'reading and removing are not');
$node->safe_psql('postgres', 'REVOKE ALL ON spending FROM writer');
denied($node, 'writer', "SELECT 'x'::encrypted_text('spent')", 'nor is a privilege that was revoked');
my ($keep, undef, undef) = as($node, 'by_array', "SELECT count('x'::encrypted_text('spent'));\n\\! psql -XAtq -h @{[$node->host]} -p @{[$node->port]} -c 'REVOKE ALL ON by_array_table FROM by_array' postgres\nSELECT count('x'::encrypted_text('spent'))");
is($keep, '1', 'nor one that was revoked while the session went on');

# A key that really is used up goes on by the worker's hand.
spend();
$node->safe_psql('postgres', "UPDATE dataprotect.key_version SET seals = 3 * (1 << 26) WHERE key_id = (SELECT current_key_id FROM dataprotect.key WHERE name = 'spent')");
poll_sql($node, 'postgres', "SELECT dataprotect._rotate_due() IS NOT NULL AND current_version = 2 FROM dataprotect.keys WHERE name = 'spent'");
is(version(), 2, 'a version that sealed its share gets a successor');

log_conceals($node);
done_testing();
