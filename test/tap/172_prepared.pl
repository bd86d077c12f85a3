# If this fails, a session trusts what a prepared transaction did before anybody
# knows whether it takes place, or the audit log says that it did.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('prepared', conf => "max_prepared_transactions = 8\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
DO $$ BEGIN EXECUTE format('GRANT dataprotect_auditor TO %I', current_user); END $$;
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE TABLE account (id int PRIMARY KEY, email encrypted_text('pii'));
CREATE TABLE customer (id int PRIMARY KEY);
SELECT dataprotect.create_account_type('person', 'account', 'id', '0 days', '1 day');
SELECT dataprotect.bind_subject('account', 'person', 'id');
SQL

# Rows of accounts whose envelope is not under the key that is theirs.
my $astray = <<'SQL';
SELECT count(*) FROM account a WHERE NOT EXISTS (SELECT FROM dataprotect.subject_key s JOIN dataprotect.key_version v USING (key_id)
	WHERE s.subject = a.id::text AND s.key_id = dataprotect._envelope_key_id(a.email) AND v.wrapped IS NOT NULL)
SQL

# case account-key-after-rollback-prepared: how the transaction ends, and where.
my $id = 10;
for my $ending ('ROLLBACK PREPARED', 'COMMIT PREPARED')
{
	for my $elsewhere (0, 1)
	{
		my $where = $elsewhere ? 'another session' : 'the same session';
		my $next = $id + 1;
		my $session = $node->background_psql('postgres', on_error_die => 1);

		# the second row has the key remembered
		$session->query_safe("BEGIN; INSERT INTO account VALUES ($id, 'a') ; UPDATE account SET email = 'b' WHERE id = $id; PREPARE TRANSACTION 'p'");
		$node->safe_psql('postgres', "$ending 'p'") if $elsewhere;
		$session->query_safe("$ending 'p'") if !$elsewhere;
		$session->query_safe("INSERT INTO account VALUES ($id, 'c'), ($next, 'd') ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email");
		$session->quit;
		is($node->safe_psql('postgres', $astray), '0', "$ending in $where: every row is sealed under its account's key");
		is($node->safe_psql('postgres', 'SELECT count(*) - count(DISTINCT key_id) FROM dataprotect.subject_key'), '0', "$ending in $where: no key is two accounts'");
		$id += 10;
	}
}

# While it is prepared, nobody gets another key for the account.
$node->safe_psql('postgres', "BEGIN; INSERT INTO account VALUES (70, 'a'); PREPARE TRANSACTION 'p'");
my ($rc, undef, $err) = $node->psql('postgres', "SET lock_timeout = '300ms'; INSERT INTO account VALUES (70, 'b')");
like($err, qr/lock timeout/, 'a claim that is prepared is waited for');
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
is($node->safe_psql('postgres', "SELECT email FROM account WHERE id = 70"), 'a', 'and is there when it commits');

# case administrators-act-prepared-and-rolled-back: every kind of act.
my %act = (
	'a hold' => "SELECT dataprotect.place_hold('customer', 'id = 1', 'litigation')",
	'a key' => "SELECT dataprotect.suspend_key('pii', 'test')",
	'a grant' => "SELECT dataprotect.grant_access('pii', 'dataprotect_auditor', 'mask')",
	'a policy' => "SELECT dataprotect.create_account_type('second', 'customer', 'id')",
	'a request' => "SELECT dataprotect.request_deletion('person', '70', 'test')",
	'an act in a subtransaction that is kept' => "SAVEPOINT s; SELECT dataprotect.place_hold('customer', 'id = 2', 'litigation'); RELEASE s",
	'a dropped extension' => 'DROP TABLE account; DROP EXTENSION dataprotect CASCADE');
for my $what (sort keys %act)
{
	my (undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nBEGIN; $act{$what}; PREPARE TRANSACTION 'p'");
	like($error, qr/ERROR:  0A000: cannot PREPARE/, "$what cannot be prepared");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), '0', "$what: nothing is left prepared") or
	  $node->safe_psql('postgres', "ROLLBACK PREPARED 'p'");
}
$node->safe_psql('postgres', "BEGIN; CREATE EXTENSION hstore; PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'");
pass('another extension is made in a prepared transaction');
$node->safe_psql('postgres', "BEGIN; SAVEPOINT s; SELECT dataprotect.place_hold('customer', 'id = 3', 'litigation'); ROLLBACK TO s; SELECT email FROM account; PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'");
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.holds'), '0', 'no hold was placed');
$node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', "SELECT DISTINCT outcome FROM dataprotect.audit_log WHERE event LIKE 'hold%'"), 'rolled_back', 'the log says that no hold was placed');

# What a prepared transaction read stands in the log; its end changes nothing in it.
is($node->safe_psql('postgres', "SELECT outcome FROM dataprotect.audit_log WHERE event = 'value.revealed' ORDER BY seq DESC LIMIT 1"),
	'ok', 'what was read before a rolled-back PREPARE was read');

# Commands of PostgreSQL's that are events here may be prepared: it is in its catalogs
# alone what becomes of them.  Whoever ends the transaction, after a crash too.
sub outcome_is
{
	my ($trigger, $outcome, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log()');
	my $of = "FROM dataprotect.audit_log WHERE event = 'definition.changed' AND detail::text LIKE '%$trigger%'";
	ok($node->poll_query_until('postgres', "SELECT bool_and(outcome = '$outcome') AND count(*) > 0 $of"), $what)
	  or diag($node->safe_psql('postgres', "SELECT seq, outcome, detail $of"));
	return;
}
$node->safe_psql('postgres', "CREATE TABLE mail (id int, email encrypted_text('pii')); CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'");
sub prepare
{
	my ($name) = @_;
	$node->safe_psql('postgres', "BEGIN; CREATE TRIGGER $name BEFORE INSERT ON mail FOR EACH ROW EXECUTE FUNCTION watch(); PREPARE TRANSACTION '$name'");
	return;
}
for my $ending ([ 'COMMIT', 'kept', 'ok' ], [ 'ROLLBACK', 'given_up', 'rolled_back' ])
{
	my ($how, $name, $outcome) = @$ending;
	prepare($name);
	outcome_is($name, 'prepared', "an act of a transaction that is prepared is told as that ($how)");
	$node->safe_psql('postgres', "$how PREPARED '$name'");
	outcome_is($name, $outcome, "and as $outcome after $how PREPARED");
}
prepare('soon');
$node->safe_psql('postgres', "COMMIT PREPARED 'soon'");
outcome_is('soon', 'ok', 'one that ends before anybody has stored it');
$node->safe_psql('postgres', "DROP TRIGGER soon ON mail");
prepare('crashed');
$node->stop('immediate');
$node->start;
outcome_is('crashed', 'prepared', 'a crash does not end what is prepared');
$node->safe_psql('postgres', "COMMIT PREPARED 'crashed'");
outcome_is('crashed', 'ok', 'and its end is known after it');
my (undef, undef, $mixed) = $node->psql('postgres', "BEGIN; SELECT dataprotect.place_hold('customer', 'id = 4', 'litigation'); DROP TRIGGER crashed ON mail; PREPARE TRANSACTION 'p'");
like($mixed, qr/cannot PREPARE/, 'with an act of our own it cannot be prepared');
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.audit_prepared'), '0', 'nothing is left to look up');
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the chain holds');

done_testing();
