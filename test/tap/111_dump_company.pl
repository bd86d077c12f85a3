# If this fails, a database with everything in it (accounts, bindings, policies,
# holds, a deletion under way) does not come back from a dump as it was.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('company', conf => "dataprotect.worker_naptime = 1h\n");
my $dir = $node->basedir;
load_company($node, 'shop');
create_extension($node, 'shop');
$node->safe_psql('shop', <<'SQL');
CREATE ROLE dumper LOGIN IN ROLE pg_read_all_data;
SELECT dataprotect.create_key('pii', mask => 'email'), dataprotect.create_key('money');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal'), dataprotect.grant_access('money', current_user::regrole, 'reveal');
CALL dataprotect.encrypt_column('company.customer', 'email', 'pii', searchable => true);
CALL dataprotect.encrypt_column('company.customer', 'first_name', 'pii');
CALL dataprotect.encrypt_column('company.customer', 'last_name', 'pii');
CALL dataprotect.encrypt_column('company.address', 'phone', 'pii');
CALL dataprotect.encrypt_column('company.payment', 'amount', 'money');
SELECT dataprotect.create_account_type('customer', 'company.customer', 'customer_id', grace_readable => true);
SELECT dataprotect.annotate_account('customer', 'company.orders', '{customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.order_line', '{order_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.payment', '{customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.payment', '{order_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.ticket', '{customer_id}', 'nullify');
SELECT dataprotect.annotate_account('customer', 'company.customer', '{referred_by}', 'nullify');
SELECT dataprotect.annotate_account('customer', 'company.customer', '{address_id}', 'shared');
SELECT dataprotect.bind_subject('company.customer', 'customer', 'customer_id');
SELECT dataprotect.create_retention_policy('old tickets', 'company.ticket', 'opened_on', '1 year', 'delete');
SELECT dataprotect.create_retention_policy('old payments', 'company.payment', 'paid_at', '18 months', 'drop_partition');
SELECT dataprotect.activate_retention('old tickets');
SELECT dataprotect.place_hold('company.ticket', 'ticket_id = 1', 'court case');
SELECT dataprotect.request_deletion('customer', '7', 'asked for it');
SELECT dataprotect.flush_audit_log();
SQL

my $state = <<'SQL';
SET TIME ZONE 'UTC';
SELECT md5(string_agg(concat_ws(',', customer_id, first_name, last_name, email), ';' ORDER BY customer_id)) FROM company.customer;
SELECT md5(string_agg(c::text, ';' ORDER BY name, email)) FROM company.customer_list c;
SELECT md5(string_agg(concat_ws(',', payment_id, amount), ';' ORDER BY payment_id)) FROM company.payment;
SELECT rel, col, type, key, searchable, ordered FROM dataprotect.protected_columns ORDER BY rel::text, col;
SELECT * FROM dataprotect.check_account_type('customer') ORDER BY rel::text, columns::text;
SELECT id, account_type, account_id, state, requested_at, grace_until, deadline FROM dataprotect.deletion_requests;
SELECT name, rel, age_column, keep, action, state FROM dataprotect.retention_policies ORDER BY 1;
SELECT rel, predicate, reason FROM dataprotect.holds;
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'company'::regnamespace ORDER BY conrelid::regclass::text, conname;
SELECT tgrelid::regclass, tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'company.%' ORDER BY tgrelid::regclass::text, tgname;
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid::regclass::text LIKE 'company.%' ORDER BY indexrelid::regclass::text;
SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
	WHERE attrelid::regclass::text LIKE 'company.%' AND attnum > 0 AND NOT attisdropped ORDER BY attrelid::regclass::text, attnum;
SQL
my $before = $node->safe_psql('shop', $state);
is($node->safe_psql('shop', 'SELECT email IS NULL OR email::text IS NULL FROM company.customer WHERE customer_id = 7'), 't', 'the account that asked for its deletion is unreadable');

sub run_with
{
	my ($options, @command) = @_;
	local $ENV{PGOPTIONS} = $options;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	return ($ok, $out . $err);
}
my @to = ('-h', $node->host, '-p', $node->port);
my ($ok, $text) = run_with('', 'pg_dump', @to, '-U', 'dumper', '-Fc', '-f', "$dir/shop.dump", 'shop');
ok($ok, 'a role without grants dumps it') or diag($text);
$node->safe_psql('postgres', 'CREATE DATABASE again');
($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error', '-j', '4', @to, '-U', 'postgres', '-d', 'again', "$dir/shop.dump");
ok($ok, 'restored by four processes') or diag($text);
my @old = split /\n/, $before;
my @new = split /\n/, $node->safe_psql('again', $state);
is_deeply(\@new, \@old, 'everything is as it was');
is($node->safe_psql('again', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'every value authenticates');
is($node->safe_psql('again', "SELECT dataprotect.cancel_deletion(1, 'changed their mind'); SELECT email FROM company.customer WHERE customer_id = 7"),
	$node->safe_psql('shop', "SELECT dataprotect.cancel_deletion(1, 'changed their mind'); SELECT email FROM company.customer WHERE customer_id = 7"),
	'the deletion can be cancelled in the restored database');
$node->safe_psql('again', "INSERT INTO company.customer (first_name, last_name, email, address_id) VALUES ('New', 'Person', 'new\@mail.example', 1)");
is($node->safe_psql('again', "SELECT count(*) FROM company.customer c WHERE NOT dataprotect._sealed_for(email, 'customer', customer_id::text)"), '0', 'rows are sealed for their accounts, new ones too');
psql_fails($node, 'again', "UPDATE company.customer SET email = (SELECT email FROM company.customer WHERE customer_id = 8) WHERE customer_id = 9",
	qr/sealed for another account/, 'the paste guard is there');
$node->safe_psql('again', "CALL dataprotect.run_retention('old tickets')");
is($node->safe_psql('again', "SELECT count(*) FROM company.ticket WHERE opened_on < current_date - interval '1 year' AND ticket_id <> 1"), '0', 'policies run');
is($node->safe_psql('again', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the audit log is whole');

$node->stop;
done_testing();
