# If this fails, a deletion that was killed half-way is not finished, is done
# twice, or destroys keys before the rows are gone.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $rounds = 4;
my $node = new_node('crash');
load_company($node, 'shop');
create_extension($node, 'shop');

sub sql { return $node->safe_psql('shop', $_[0]); }

sql(<<'SQL');
SELECT dataprotect.create_key('pii');
CALL dataprotect.encrypt_column('company.customer', 'email', 'pii', searchable => true);
SELECT dataprotect.create_account_type('customer', 'company.customer', 'customer_id', '0', '1 day');
SELECT dataprotect.annotate_account('customer', 'company.customer', '{referred_by}', 'nullify');
SELECT dataprotect.annotate_account('customer', 'company.customer', '{address_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.address', '{country}', 'shared');
SELECT dataprotect.annotate_account('customer', 'company.orders', '{customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.order_line', '{order_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.payment', '{customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.payment', '{order_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.ticket', '{customer_id}', 'nullify');
SELECT dataprotect.bind_subject('company.customer', 'customer', 'customer_id');
INSERT INTO company.orders (customer_id, ordered_at) SELECT 50, now() FROM generate_series(1, 3000);
ALTER DATABASE shop SET dataprotect.retention_batch_size = 1;
SQL
my $others = sql('SELECT count(*) FROM company.orders WHERE customer_id <> 50');
my $request = sql("SELECT dataprotect.request_deletion('customer', '50')");
my $state = "SELECT state FROM dataprotect.deletion_requests WHERE id = $request";

for my $round (1 .. $rounds)
{
	my $before = sql('SELECT coalesce(sum(rows), 0) FROM dataprotect.deletion_work');
	last if sql($state) !~ /requested|purging/;
	poll_sql($node, 'shop', "SELECT coalesce(sum(rows), 0) > $before + 10 OR ($state) NOT IN ('requested', 'purging')
		FROM dataprotect.deletion_work") or last;
	kill9_node($node);
	$node->start;
	my $now = sql('SELECT count(*) FROM company.customer WHERE customer_id = 50');
	is(sql('SELECT count(*) FROM dataprotect.tombstone') + $now, 1, "SIGKILL $round: the key lives as long as the account's row") or last;
}
sql('ALTER DATABASE shop RESET dataprotect.retention_batch_size');
# the worker that runs took its settings when it started
$node->restart;
ok(poll_sql($node, 'shop', $state, 'certified'), 'the deletion is finished after all');
is(sql('SELECT count(*) FROM company.orders'), $others, 'every row of the account is gone and no other');
is(sql("SELECT sum((e ->> 'rows')::int) FROM jsonb_array_elements(dataprotect.deletion_certificate($request) -> 'erased') e
	WHERE e ->> 'table' = 'company.orders'"), '3010', 'each row is counted once');

# Killed while tables are cleared, again and again.
sql("SELECT dataprotect.request_deletion('customer', id::text) FROM generate_series(51, 55) id");
for my $round (1 .. 3)
{
	poll_sql($node, 'shop', "SELECT count(*) > 0 FROM dataprotect.deletion_requests WHERE state IN ('purged', 'verified', 'certified') AND account_id > '50'");
	kill9_node($node);
	$node->start;
}
ok(poll_sql($node, 'shop', "SELECT count(*) FROM dataprotect.deletion_requests WHERE state = 'certified'", '6'),
	'deletions killed while tables were cleared are finished');
is(sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), '0', 'no half-built index is left');
is(sql("SELECT sum(dataprotect._pages_with_keys('company.customer', key_ids)) FROM dataprotect.deletion_request"), '0',
	'no page contains a value of an erased account');
is(sql("SELECT dataprotect._pages_with_keys('company.customer', dataprotect._subject_key_ids('customer', '60')) > 0"), 't',
	'which the same look finds of others');

$node->stop;
done_testing();
