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

done_testing();
