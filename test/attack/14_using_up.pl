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

# case rotation-forced-by-a-stranger: one block of 2^22 seals is left of the key.
my $seals_left = 1 << 22;
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
	'<=', 3 * (1 << 26), 'and reserved one block');

# A key that really is used up goes on by the worker's hand.
spend();
$node->safe_psql('postgres', "UPDATE dataprotect.key_version SET seals = 3 * (1 << 26) WHERE key_id = (SELECT current_key_id FROM dataprotect.key WHERE name = 'spent')");
poll_sql($node, 'postgres', "SELECT dataprotect._rotate_due() IS NOT NULL AND current_version = 2 FROM dataprotect.keys WHERE name = 'spent'");
is(version(), 2, 'a version that sealed its share gets a successor');

log_conceals($node);
done_testing();
