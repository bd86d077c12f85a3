# If this fails, the main job's deletion does not keep its timeline on a real
# database: thirty days to change one's mind, done before day ninety.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

plan skip_all => 'Pagila is not there' if !have_pagila();
plan skip_all => 'libfaketime is not installed' if !have_faketime();

my $node = new_node('pagila');
load_pagila($node, 'pagila');
create_extension($node, 'pagila');

sub sql { return $node->safe_psql('pagila', $_[0]); }

sql(<<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
CALL dataprotect.encrypt_column('public.customer', 'email', 'pii', searchable => true);
CALL dataprotect.encrypt_column('public.customer', 'first_name', 'pii');
CALL dataprotect.encrypt_column('public.customer', 'last_name', 'pii', searchable => true);
CALL dataprotect.encrypt_column('public.payment', 'amount', 'pii');
SELECT dataprotect.create_account_type('customer', 'public.customer', 'customer_id');
SELECT dataprotect.bind_subject('public.customer', 'customer', 'customer_id');
SELECT dataprotect.bind_subject('public.payment', 'customer', 'customer_id');
SQL
is(sql("SELECT count(*), count(DISTINCT dataprotect._envelope_key_id(email)) FROM public.customer"), '599|599', 'each customer has a key of its own');
is(sql("SELECT count(*) FROM public.payment p JOIN public.customer c USING (customer_id)
	WHERE dataprotect._envelope_key_id(p.amount) <> dataprotect._envelope_key_id(c.email)"), '0', 'partitions are bound, too');

psql_fails($node, 'pagila', "SELECT dataprotect.request_deletion('customer', '148')",
	qr/foreign key "customer_address_id_fkey" to "(public.)?address" is not annotated/, 'an unannotated foreign key is refused up front');
sql(<<'SQL');
SELECT dataprotect.annotate_account('customer', 'public.rental', '{customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'public.payment_p2007_01', '{customer_id}', 'delete');
SQL
is(sql("SELECT string_agg(DISTINCT columns::text, ' ') FROM dataprotect.check_account_type('customer') WHERE problem IS NOT NULL AND rel = 'public.payment'::regclass"),
	'{rental_id} {staff_id}', 'so are those that are reached later');
sql(<<'SQL');
SELECT dataprotect.annotate_account('customer', 'public.payment', '{rental_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'public.customer', '{address_id}', 'delete');
SELECT dataprotect.annotate_account('customer', rel, columns::name[], 'shared')
  FROM (VALUES ('public.customer'::regclass, '{store_id}'), ('public.rental', '{inventory_id}'), ('public.rental', '{staff_id}'),
	('public.payment', '{staff_id}'), ('public.address', '{city_id}'), ('public.staff', '{address_id}'), ('public.store', '{address_id}')) s(rel, columns);
SQL
is(sql("SELECT count(*) FROM dataprotect.check_account_type('customer') WHERE problem IS NOT NULL"), '0', 'everything is decided');

my $mine = "SELECT md5(string_agg(c::text || p::text, '' ORDER BY payment_id)) FROM public.customer c JOIN public.payment p USING (customer_id) WHERE customer_id = 148";
my $bytes = sql("SET dataprotect.output = 'ciphertext'; $mine");
my $before = $node->safe_psql('pagila', $mine, extra_params => ['-U', 'app']);
my $first = sql("SELECT dataprotect.request_deletion('customer', '148', 'closes the account')");
is(sql("SELECT state FROM dataprotect.deletion_requests"), 'requested', 'requested');
isnt($node->safe_psql('pagila', $mine, extra_params => ['-U', 'app']), $before, 'unreadable at once');
sql("SELECT dataprotect.cancel_deletion($first, 'comes back')");
is($node->safe_psql('pagila', $mine, extra_params => ['-U', 'app']), $before, 'cancel brings it back');
is(sql("SET dataprotect.output = 'ciphertext'; $mine"), $bytes, 'to the byte');

my $request = sql("SELECT dataprotect.request_deletion('customer', '148', 'closes the account')");
my $rest = 'SELECT (SELECT count(*) FROM public.customer WHERE customer_id <> 148), (SELECT count(*) FROM public.rental WHERE customer_id <> 148),
	(SELECT count(*) FROM public.payment WHERE customer_id <> 148)';
my $others = sql($rest);
my $address = sql('SELECT address_id FROM public.customer WHERE customer_id = 148');

$node->stop;
start_at($node, '+29d');
sql('CALL dataprotect.run_deletions()');
is(sql("SELECT state FROM dataprotect.deletion_requests WHERE id = $request"), 'requested', 'day 29: still time to change one\'s mind');
$node->stop;
start_at($node, '+31d');
ok(poll_sql($node, 'pagila', "SELECT state FROM dataprotect.deletion_requests WHERE id = $request", 'certified'),
	'day 31: purging starts by itself and is carried to its end');
is(sql("SELECT certified_at < deadline, purged_at > grace_until FROM dataprotect.deletion_requests WHERE id = $request"), 't|t', 'before day 90');
is(sql($rest), $others, 'nobody else lost a row');
is(sql('SELECT (SELECT count(*) FROM public.customer WHERE customer_id = 148), (SELECT count(*) FROM public.rental WHERE customer_id = 148),
	(SELECT count(*) FROM public.payment WHERE customer_id = 148)'), '0|0|0', 'every row that the annotations name is gone');
is(sql("SELECT count(*) FROM public.address WHERE address_id = $address"), '0', 'the address with them');
is(sql("SELECT account_type, subject FROM dataprotect.tombstone"), 'customer|148', 'the key is destroyed, a tombstone stands');
my $certificate = sql("SELECT dataprotect.deletion_certificate($request)");
like($certificate, qr/"keys_destroyed": \["[0-9a-f]{16}"\]/, 'the certificate names the key');
like($certificate, qr/"residual": \[.*rental.*\]/s, 'and what is residual');
is(sql("SELECT jsonb_object_agg(e ->> 'table', e -> 'rows') ->> 'public.rental' FROM jsonb_array_elements(dataprotect.deletion_certificate($request) -> 'erased') e"),
	'46', 'and how many rentals were erased');

$node->stop;
done_testing();
