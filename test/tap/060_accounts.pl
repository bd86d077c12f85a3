# If this fails, an account that was to be deleted is not, or one is that was
# not to be, or nobody can show which.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('accounts');
load_company($node, 'shop');
create_extension($node, 'shop');

sub sql { return $node->safe_psql('shop', $_[0]); }

sub sql_as
{
	my ($role, $statement) = @_;
	return $node->safe_psql('shop', $statement, extra_params => ['-U', $role]);
}

# What the application reads; an error text where it may not.
sub read_mail
{
	my ($id) = @_;
	my ($rc, $out, $err) = $node->psql('shop', "SELECT email FROM company.customer WHERE customer_id = $id",
		extra_params => ['-U', 'app']);
	return $rc == 0 ? $out : $err;
}

sub fails
{
	my ($statement, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return psql_fails($node, 'shop', $statement, $pattern, $name);
}

sub state { return sql("SELECT state FROM dataprotect.deletion_requests WHERE id = $_[0]"); }
my $annotate = "SELECT dataprotect.annotate_account('customer',";
my $problems = "SELECT string_agg(rel || columns::text, ' ' ORDER BY rel::text, columns::text)
	FROM dataprotect.check_account_type('customer') WHERE problem IS NOT NULL";

sql(<<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
CREATE ROLE support LOGIN;
GRANT USAGE ON SCHEMA company TO app, support;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA company TO app, support;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CALL dataprotect.encrypt_column('company.customer', 'email', 'pii', searchable => true);
SELECT dataprotect.create_account_type('customer', 'company.customer', 'customer_id');
SQL

# Nothing is accepted before every edge is decided.
is(sql($problems), 'company.customer{address_id} company.customer{customer_id} company.customer{referred_by} company.orders{customer_id} company.payment{customer_id} company.ticket{customer_id}',
	'unannotated foreign keys are problems, those that lead away as well');
like(sql("SELECT problem FROM dataprotect.check_account_type('customer') WHERE columns = '{customer_id}' AND rel = 'company.customer'::regclass"),
	qr/columns \(email\) are not bound to the account and stay readable in the grace time/, 'protected values that stay readable are a problem');
fails("SELECT dataprotect.request_deletion('customer', '10')",
	qr/cannot be deleted yet.*Table "company.customer", columns \{address_id\}: foreign key "customer_address_id_fkey"/s,
	'a request is refused by the name of the edge');
fails("$annotate 'company.orders', '{customer_id}', 'keep')", qr/needs a legal basis/, 'keeping needs a reason');
fails("$annotate 'company.orders', '{note}', 'delete')", qr/not a foreign key/, 'rows are deleted along foreign keys');
fails("$annotate 'company.orders', '{nosuch}', 'delete')", qr/does not exist/, 'unknown column');
fails("$annotate 'company.orders', '{customer_id}', 'burn')", qr/unknown account action/, 'unknown action');
fails("SELECT dataprotect.create_account_type('x', 'company.ticket', 'customer_id')", qr/is not unique/,
	'an account is one row');
fails("SELECT dataprotect.create_account_type('x', 'company.customer', 'email')", qr/cannot identify an account/,
	'a protected column is no id');
sql("$annotate 'company.orders', '{customer_id}', 'delete')");
is(sql($problems), 'company.customer{address_id} company.customer{customer_id} company.customer{referred_by} company.order_line{order_id} company.payment{customer_id} company.payment{order_id} company.ticket{customer_id}',
	'a table whose rows go brings its own edges');
sql("$annotate 'company.order_line', '{order_id}', 'delete')");
sql("$annotate 'company.payment', '{order_id}', 'nullify')");
sql("$annotate 'company.payment', '{customer_id}', 'keep', 'tax law, ten years')");
like(sql("SELECT problem FROM dataprotect.check_account_type('customer') WHERE rel = 'company.payment'::regclass AND columns = '{customer_id}'"),
	qr/its rows stay, but the rows of "company.customer" that they reference are deleted/, 'kept rows need what they reference');
sql("$annotate 'company.payment_other', '{customer_id}', 'delete')");
sql("$annotate 'company.payment', '{order_id}', 'delete')");
is(sql("SELECT action FROM dataprotect.check_account_type('customer') WHERE rel = 'company.payment'::regclass AND columns = '{customer_id}'"),
	'delete', 'annotating a partition annotates its table');
sql("$annotate 'company.ticket', '{customer_id}', 'anonymise')");
sql("$annotate 'company.customer', '{referred_by}', 'delete')");
like(sql("SELECT problem FROM dataprotect.check_account_type('customer') WHERE columns = '{referred_by}'"),
	qr/can only be nullified/, 'one account never takes another along');
sql("$annotate 'company.customer', '{referred_by}', 'nullify')");
is(sql($problems), 'company.customer{address_id} company.customer{customer_id} company.ticket{staff_id}', 'what an account references is decided as well');
sql("$annotate 'company.ticket', '{staff_id}', 'shared')");
sql("$annotate 'company.customer', '{address_id}', 'delete')");
is(sql($problems), 'company.address{country} company.customer{customer_id}', 'and what that references');
sql("$annotate 'company.address', '{country}', 'shared')");

# Binding gives each account a key of its own, whichever comes first.
my $mails = sql_as("app", "SELECT md5(string_agg(email::text, ',' ORDER BY customer_id)) FROM company.customer");
my $touched = sql('SELECT max(updated_at) FROM company.customer');
sql("SELECT dataprotect.bind_subject('company.customer', 'customer', 'customer_id')");
is(sql('SELECT count(DISTINCT dataprotect._envelope_key_id(email)) FROM company.customer'), '200', 'each customer has a key');
is(sql($problems), '', 'everything is decided');
is(sql('SELECT max(updated_at) FROM company.customer'), $touched, 'binding fires none of the table\'s own triggers');
sql("CALL dataprotect.encrypt_column('company.customer', 'first_name', 'pii')");
is(sql('SELECT count(*) FROM company.customer WHERE dataprotect._envelope_key_id(email) <> dataprotect._envelope_key_id(first_name)'), '0',
	'a column protected after binding is sealed for the account as well');
is(sql_as("app", "SELECT md5(string_agg(email::text, ',' ORDER BY customer_id)) FROM company.customer"), $mails,
	'values are what they were');
fails('SET session_replication_role = replica; UPDATE company.customer SET email = (SELECT email FROM company.customer WHERE customer_id = 5) WHERE customer_id = 6',
	qr/sealed for another account|dataprotect_subject_check/, 'pasting another account\'s value is refused');
fails("SELECT dataprotect.bind_subject('company.orders', 'nosuch', 'customer_id')", qr/account type "nosuch" does not exist/,
	'binding to an unknown account type');

# Request, unreadable at once, take back to the byte.
my $raw = sql("SET dataprotect.output = 'ciphertext'; SELECT email FROM company.customer WHERE customer_id = 10");
is(read_mail(10), 'person10@mail.example', 'readable before');
fails("SELECT dataprotect.request_deletion('customer', '$_')", qr/does not exist/, "no account $_") for '9999', 'x', '';
my $one = sql("SELECT dataprotect.request_deletion('customer', '10', 'by mail')");
is(sql("SELECT state, grace_until - requested_at, deadline - requested_at FROM dataprotect.deletion_requests WHERE id = $one"),
	'requested|30 days|90 days', 'a request has its dates');
is(sql("SELECT count(*) FROM company.customer WHERE customer_id = 10"), '1', 'the row is there');
unlike(read_mail(10), qr/person|example/, 'the account is unreadable at once');
is(read_mail(11), 'person11@mail.example', 'others are not concerned');
fails("SELECT dataprotect.request_deletion('customer', '10')", qr/requested already/, 'one open request an account');
fails("SELECT dataprotect.cancel_deletion($one, NULL)", qr/needs a reason/, 'cancelling needs a reason');
sql('CALL dataprotect.run_deletions()');
is(state($one), 'requested', 'nothing happens during the grace period');
sql("SELECT dataprotect.cancel_deletion($one, 'changed mind')");
is(read_mail(10), 'person10@mail.example', 'cancelled: readable again');
is(sql("SET dataprotect.output = 'ciphertext'; SELECT email FROM company.customer WHERE customer_id = 10"), $raw, 'to the byte');
is(state($one), 'cancelled', 'and the request says so');
fails("SELECT dataprotect.cancel_deletion($one, 'again')", qr/cannot be taken back/, 'once');
fails("SELECT dataprotect.deletion_certificate($one)", qr/not certified yet/, 'no certificate without deletion');
my $two = sql("SELECT dataprotect.request_deletion('customer', '11')");
sql("SELECT dataprotect.retain_account('customer', '11', 'keeps the data on the platform')");
is(state($two) . read_mail(11), 'retainedperson11@mail.example', 'a retained account is readable');

# What belongs to an account, as far as the caller may see it.
sql('CREATE ROLE officer LOGIN IN ROLE dataprotect_admin');
fails("SET SESSION AUTHORIZATION officer; SELECT dataprotect.export_account('customer', '10')", qr/permission denied/,
	'an export needs the rights on the tables');
sql('GRANT USAGE ON SCHEMA company TO officer; GRANT SELECT ON ALL TABLES IN SCHEMA company TO officer');
unlike(sql_as("officer", "SELECT dataprotect.export_account('customer', '10')"), qr/person10\@/,
	'protected values need a grant');
sql("SELECT dataprotect.grant_access('pii', 'officer', 'reveal')");
is(sql_as("officer", "SELECT x #>> '{tables,company.customer,0,email}', jsonb_array_length(x #> '{tables,company.orders}')
	FROM dataprotect.export_account('customer', '10') x"),
	'person10@mail.example|' . sql('SELECT count(*) FROM company.orders WHERE customer_id = 10'), 'an export has the rows');
is(sql_as("officer", "SELECT jsonb_array_length(x #> '{tables,company.customer}') FROM dataprotect.export_account('customer', '9') x"), '1',
	'who was referred by an account is not part of it');

# The deletion, thirty-one days on.  One account is held, one shares its address.
sql("UPDATE company.customer SET address_id = 20 WHERE customer_id = 21");
my %id = map { $_ => sql("SELECT dataprotect.request_deletion('customer', '$_', 'leaves')") } 10, 20, 30;
my $hold = sql("SELECT dataprotect.place_hold('company.orders', 'customer_id = 30', 'court')");
my $others = sql('SELECT count(*) FROM company.orders WHERE customer_id NOT IN (10, 20)');
SKIP:
{
	skip 'libfaketime is not installed', 1 if !have_faketime();
	$node->stop;
	start_at($node, '+31d');
	ok(poll_sql($node, 'shop', "SELECT count(*) FROM dataprotect.deletion_requests WHERE state = 'certified'", '2'),
		'purging starts by itself and ends with a certificate');
	ok(poll_sql($node, 'shop', "SELECT state FROM dataprotect.deletion_requests WHERE id = $id{30}", 'held'), 'a hold wins');
	unlike(read_mail(30), qr/person|example/, 'a held account stays unreadable');
	is(sql('SELECT (SELECT count(*) FROM company.customer WHERE customer_id IN (10, 20)), (SELECT count(*) FROM company.payment WHERE customer_id IN (10, 20)),
		(SELECT count(*) FROM company.order_line l LEFT JOIN company.orders o USING (order_id) WHERE o IS NULL)'), '0|0|0', 'rows are gone');
	is(sql('SELECT count(*) FROM company.orders'), $others, 'and no others');
	is(sql('SELECT count(*) FROM company.address WHERE address_id IN (10, 20)'), '1', 'an address that another uses stays');
	is(sql("SELECT count(*) FROM company.ticket WHERE body LIKE '%customer 10 %' OR body LIKE '%customer 20 %'"), '0', 'tickets are anonymised');
	is(sql('SELECT count(*) FROM company.ticket WHERE customer_id IS NULL'), '4', 'and stand alone');
	is(sql('SELECT count(*) FROM dataprotect.tombstone'), '2', 'tombstones are set');
	is(sql("SELECT count(*) FROM dataprotect.key_version v, dataprotect.deletion_request r
		WHERE r.state = 'certified' AND v.key_id = ANY (r.key_ids) AND (v.wrapped IS NOT NULL OR v.state <> 'd')"), '0', 'keys are destroyed');
	my $certificate = "dataprotect.deletion_certificate($id{20})";
	is(sql("SELECT c ->> 'account_id', c -> 'within_deadline', c #>> '{verification,values_found}', jsonb_array_length(c -> 'keys_destroyed')
		FROM $certificate c"), '20|true|0|1', 'the certificate says what was done');
	is(sql("SELECT sum((e ->> 'rows')::int) FROM $certificate c, jsonb_array_elements(c -> 'erased') e WHERE e ->> 'table' = 'company.orders'"),
		'10', 'and how much');
	like(sql("SELECT $certificate ->> 'residual'"), qr/1 rows of company.address stay.*root key.*before the columns were protected/s,
		'and what it could not reach');
	like(sql("SELECT $certificate ->> 'techniques'"), qr/cryptographic erase \(NIST SP 800-88r2\).*clear \(NIST SP 800-88r2\)/s, 'and by which techniques');
	sql("UPDATE dataprotect.deletion_request SET certificate = jsonb_set(certificate, '{reason}', '\"other\"') WHERE id = $id{20}");
	fails("SELECT $certificate", qr/was altered/, 'an altered certificate is noticed');
	sql("INSERT INTO company.customer (customer_id, first_name, last_name, email, address_id) VALUES (20, 'New', 'Person', 'x\@y.example', 20)");
	is(sql("SELECT count(*) FROM company.customer c, dataprotect.deletion_request r WHERE c.customer_id = 20 AND dataprotect._envelope_key_id(c.email) = ANY (r.key_ids)"), '0',
		'an erased id that comes again gets another key');
	fails("SELECT dataprotect.cancel_deletion($id{10}, 'too late')", qr/cannot be taken back/, 'what is gone is not cancelled');
	sql("SELECT dataprotect.release_hold($hold, 'court is done')");
	ok(poll_sql($node, 'shop', "SELECT state FROM dataprotect.deletion_requests WHERE id = $id{30}", 'certified'), 'after the hold the deletion goes on');
	is(sql('SELECT count(*) FROM dataprotect.deletion_requests WHERE overdue'), '0', 'nothing is overdue');
	is(read_mail(12), 'person12@mail.example', 'others are readable as before');
}

$node->stop;
done_testing();
