# If this fails, rows are kept longer than promised, go although somebody must
# keep them, or go unseen.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('retention');
load_company($node, 'shop');
create_extension($node, 'shop');
$node->safe_psql('shop', "SELECT dataprotect.create_key('pii')");

sub sql { return $node->safe_psql('shop', $_[0]); }

sub fails
{
	my ($statement, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return psql_fails($node, 'shop', $statement, $pattern, $name);
}

# What may not be created, and says why.
my $new = 'SELECT dataprotect.create_retention_policy';
fails("$new('p', 'company.orders', 'ordered_at', '1 year', 'delete')",
	qr/does not say what happens to rows of "company.payment".*Foreign key "payment_order_id_fkey".*"children"/s,
	'a restricting foreign key without a rule is refused by its name');
fails("$new('p', 'company.orders', 'note', '1 year', 'delete')", qr/age column "note" is of type text/,
	'an age must be a time');
fails("$new('p', 'company.orders', 'nosuch', '1 year', 'delete')", qr/column "nosuch" .* does not exist/,
	'unknown age column');
fails("$new('p', 'company.customer', 'created_at', '1 year', 'nullify', '{\"columns\": [\"email\"]}')",
	qr/no index on its age "created_at".*CREATE INDEX ON company.customer \(created_at\);/s,
	'a missing index on the age is refused with the statement that makes it');
fails("$new('p', 'company.orders', 'ordered_at', '-1 year', 'delete')", qr/time to keep must be positive/,
	'negative time to keep');
fails("$new('p', 'company.orders', 'ordered_at', '1 year', 'shred')", qr/unknown retention action "shred"/,
	'unknown action');
fails("$new('p', 'company.orders', 'ordered_at', '1 year', 'delete', '{\"childs\": {}}')",
	qr/option "childs" does not belong to action "delete"/, 'unknown option');
fails("$new('p', 'company.orders', 'ordered_at', '1 year', 'delete', '{\"children\": {\"company.payment\": \"burn\"}}')",
	qr/unknown rule "burn"/, 'unknown rule');
fails("$new('p', 'company.orders', 'ordered_at', '1 year', 'drop_partition')", qr/is not partitioned by range/,
	'partitions of a table that has none');
fails("$new('p', 'company.ticket', 'opened_on', '1 year', 'nullify', '{\"columns\": [\"subject\"]}')",
	qr/column "subject" .* does not allow nulls/, 'nullify of a column that is not null');
sql('CREATE TABLE company.visit (order_id int REFERENCES company.orders, at date)');
fails("$new('p', 'company.orders', 'ordered_at', '1 year', 'delete', '{\"children\": {\"company.payment\": \"delete\", \"company.visit\": \"delete\"}}')",
	qr/"company.visit" has no index on the columns of its foreign key.*CREATE INDEX ON company.visit \(order_id\);/s,
	'a referencing key without an index is refused');
sql('DROP TABLE company.visit');
is(sql('SELECT count(*) FROM dataprotect.retention_policies'), '0', 'nothing is left of what was refused');

# Delete with children: paused, previewed, held, run, recorded.
my $old = "ordered_at < now() - interval '1 year'";
my $due = sql("SELECT count(*) FROM company.orders WHERE $old");
cmp_ok($due, '>', 500, 'there are old orders');
sql("$new('orders', 'company.orders', 'ordered_at', '1 year', 'delete', '{\"children\": {\"company.payment\": \"delete\"}}')");
is(sql("SELECT state, rows_due, oldest_due IS NOT NULL FROM dataprotect.retention_policies WHERE name = 'orders'"),
	"paused|$due|t", 'a policy is created paused and knows what is due');
fails("CALL dataprotect.run_retention('orders')", qr/retention policy "orders" is paused/, 'a paused policy does not run');
is(sql("SELECT string_agg(action || ' ' || rel || ' ' || rows, ', ') FROM dataprotect.preview_retention('orders')"),
	"delete company.orders $due, cascade company.order_line " . 2 * $due . ", delete company.payment $due",
	'the preview names what goes along, cascades included');
my $held_orders = sql("SELECT count(*) FROM company.orders WHERE $old AND note LIKE '%0'");
my $held_payments = sql("SELECT count(*) FROM company.orders WHERE $old AND customer_id = 7 AND note LIKE '%0' IS NOT TRUE");
my $hold = sql("SELECT dataprotect.place_hold('company.orders', 'note LIKE ''%0''', 'case 1')");
sql("SELECT dataprotect.place_hold('company.payment', 'customer_id = 7', 'case 2')");
my $left = $held_orders + $held_payments;
cmp_ok($held_payments, '>', 0, 'some rows are held by a referencing table only');
is(sql("SELECT rows_due FROM dataprotect.retention_policies WHERE name = 'orders'"), $due - $left,
	'held rows, and rows with held children, are not due');
fails('BEGIN; CALL dataprotect.run_retention()', qr/cannot run inside a transaction/, 'no batches inside a transaction');
sql("ALTER DATABASE shop SET dataprotect.retention_batch_size = 70");
sql("SELECT dataprotect.activate_retention('orders')");
poll_sql($node, 'shop', "SELECT count(*) FROM dataprotect.retention_runs WHERE outcome = 'ok' AND rows_done > 0", '1');
is(sql("SELECT policy, rows_done, outcome, finished_at >= started_at FROM dataprotect.retention_runs ORDER BY started_at LIMIT 1"),
	'orders|' . ($due - $left) . '|ok|t', 'the worker carried the policy out and recorded it');
is(sql("SELECT count(*) FROM company.orders WHERE $old"), $left, 'held rows are there, the other old ones are not');
is(sql('SELECT count(*) FROM company.payment WHERE order_id IS NOT NULL AND order_id NOT IN (SELECT order_id FROM company.orders)'),
	'0', 'no payment of a deleted order is left');
is(sql("SELECT next_due > now() FROM dataprotect.retention_policies WHERE name = 'orders'"), 't', 'the next run has a time');
fails("SELECT dataprotect.release_hold($hold, '')", qr/needs a reason/, 'a release needs a reason');
sql("SELECT dataprotect.release_hold($hold, 'case closed')");
fails("SELECT dataprotect.release_hold($hold, 'again')", qr/released already/, 'a hold is released once');
sql("CALL dataprotect.run_retention('orders')");
is(sql("SELECT count(*) FROM company.orders WHERE $old"), $held_payments, 'released rows go with the next run');

# Partitions: those wholly old go, a held or referenced one stays.
sql("$new('payments', 'company.payment', 'paid_at', '6 months', 'drop_partition')");
my $parts = sql("SELECT count(*) FROM dataprotect.preview_retention('payments') WHERE action = 'drop_partition'");
my $kept = sql("SELECT string_agg(rel::text, ',' ORDER BY rel::text) FROM dataprotect.preview_retention('payments') WHERE action = 'held'");
cmp_ok($parts, '>', 5, 'partitions are due');
like($kept, qr/company.payment_/, 'partitions with held rows are shown as held');
my $before = sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'company.payment'::regclass");
sql("SELECT dataprotect.activate_retention('payments')");
poll_sql($node, 'shop', "SELECT count(*) FROM dataprotect.retention_runs WHERE policy = 'payments' AND outcome = 'ok'", '1');
is(sql("SELECT count(*) FROM pg_inherits WHERE inhparent = 'company.payment'::regclass"), $before - $parts,
	'the worker dropped the partitions that were due');
is(sql("SELECT count(*) FROM unnest('{$kept}'::regclass[])"), scalar(split /,/, $kept), 'held partitions are there');
is(sql("SELECT count(*) FROM dataprotect.preview_retention('payments') WHERE action = 'drop_partition'"), '0',
	'nothing is due any more');

# nullify, anonymise, archive
sql("$new('tickets', 'company.ticket', 'opened_on', '200 days', 'nullify', '{\"columns\": [\"body\"]}')");
sql("$new('subjects', 'company.ticket', 'opened_on', '300 days', 'anonymise',
	'{\"columns\": {\"subject\": \"gone {uuid}\", \"body\": null}}')");
sql("SELECT dataprotect.activate_retention(p) FROM unnest('{tickets,subjects}'::text[]) p");
sql("CALL dataprotect.run_retention('$_')") for 'tickets', 'subjects';
is(sql("SELECT count(*) FROM company.ticket WHERE opened_on < current_date - 200 AND body IS NOT NULL"), '0', 'nullify');
is(sql("SELECT count(*) > 0 FROM company.ticket WHERE opened_on >= current_date - 200 AND body IS NOT NULL"), 't',
	'younger rows keep their values');
is(sql("SELECT count(DISTINCT subject) = count(*) AND bool_and(subject LIKE 'gone %-%') FROM company.ticket
	WHERE opened_on < current_date - 300"), 't', 'anonymise writes a new value into each row');
is(sql("SELECT rows_due FROM dataprotect.retention_policies WHERE name = 'subjects'"), '0', 'a row is anonymised once');
sql('CREATE TABLE company.ticket_archive (LIKE company.ticket)');
sql("$new('archive', 'company.ticket', 'opened_on', '380 days', 'archive', '{\"archive\": \"company.ticket_archive\"}')");
sql("SELECT dataprotect.activate_retention('archive')");
sql("CALL dataprotect.run_retention('archive')");
is(sql("SELECT (SELECT count(*) FROM company.ticket_archive) BETWEEN 20 AND 21, (SELECT count(*) FROM (SELECT ticket_id FROM company.ticket_archive UNION SELECT ticket_id FROM company.ticket) t), (SELECT min(opened_on) >= current_date - 381 FROM company.ticket)"),
	't|400|t', 'archived rows moved');	# the day may end meanwhile
sql('ALTER TABLE company.ticket ADD COLUMN extra int');
fails("SELECT dataprotect.preview_retention('archive')", qr/archive table .* has no column "extra"/,
	'an archive that does not fit any more stops the policy');
sql("SELECT dataprotect.pause_retention('archive')");

# An age that only a view shows.
sql(<<'SQL');
CREATE TABLE company.stay (id int PRIMARY KEY, room int, during tsrange NOT NULL);
INSERT INTO company.stay SELECT i, i % 5, tsrange(now()::timestamp - i * interval '1 day', NULL) FROM generate_series(1, 100) i;
CREATE VIEW company.stays AS SELECT id, lower(during) AS since, room FROM company.stay WHERE room <> 3;
SQL
fails("$new('stays', 'company.stays', 'since', '50 days', 'delete')",
	qr/CREATE INDEX ON company.stay \(lower\(during\)\);/, 'the index that a view\'s age needs is named');
sql('CREATE INDEX ON company.stay (lower(during))');
sql("$new('stays', 'company.stays', 'since', '50 days', 'delete')");
sql("$new('range', 'company.stay', 'during', '90 days', 'delete', '{\"bound\": \"lower\"}')");
sql("SELECT dataprotect.activate_retention('stays')");
sql("CALL dataprotect.run_retention('stays')");
is(sql("SELECT count(*), bool_and(room = 3) FROM company.stay WHERE lower(during) < now() - interval '50 days'"), '10|t',
	'a policy through a view acts on the rows that the view shows');
is(sql("SELECT rows_due FROM dataprotect.retention_policies WHERE name = 'range'"), '2', 'a range is as old as the bound that the policy says');

# One policy that fails does not stop the others, and its record quotes no row.
sql(<<'SQL');
CREATE FUNCTION company.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no: %', OLD; END $$;
CREATE TRIGGER refuse BEFORE DELETE ON company.stay FOR EACH ROW EXECUTE FUNCTION company.refuse();
SQL
sql("UPDATE dataprotect.retention_policy SET next_due = now() WHERE name IN ('orders', 'tickets')");
sql("SELECT dataprotect.activate_retention('range')");
poll_sql($node, 'shop', "SELECT count(*) > 0 FROM dataprotect.retention_runs WHERE policy = 'range' AND outcome = 'error'");
is(sql("SELECT DISTINCT detail, rows_done FROM dataprotect.retention_runs WHERE policy = 'range'"),
	'company.stay: SQLSTATE P0001, in function "refuse"; company.stay: 2 rows could not be changed|0',
	'the record of a failed run names the error, the function and no value');
poll_sql($node, 'shop', "SELECT count(*) FROM dataprotect.retention_policies WHERE name IN ('orders', 'tickets') AND next_due < now()", '0');
is(sql('SELECT count(*) FROM company.stay WHERE room = 3'), '20', 'nothing of the failed batch is gone');
sql(<<'SQL');
CREATE OR REPLACE FUNCTION company.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
SQL
sql("CALL dataprotect.run_retention('range')");
is(sql('SELECT count(*) FROM company.stay WHERE room = 3'), '20', 'rows that a trigger keeps do not make a run endless');

# A policy follows its table, not its name.
sql('DROP TABLE company.stay CASCADE; CREATE TABLE company.stay (id int, during tsrange)');
sql("INSERT INTO company.stay SELECT 1, '[2001-01-01,2001-01-02)'");
is(sql("SELECT count(*) FROM dataprotect.retention_policies WHERE name IN ('range', 'stays')"), '0',
	'a policy goes with its table');
poll_sql($node, 'shop', "SELECT count(*) FROM dataprotect.retention_policy WHERE name IN ('range', 'stays')", '0');
$node->psql('shop', "CALL dataprotect.run_retention('range')");
is(sql('SELECT count(*) FROM company.stay'), '1', 'a new table of an old name is not touched');

# Without pg_cron there is a clear error.
fails("SELECT dataprotect.schedule_maintenance('0 3 * * *')",
	qr/extension "pg_cron" is not installed in this database.*HINT/s, 'no schedule without pg_cron');

sql('CREATE ROLE reader LOGIN IN ROLE dataprotect_auditor');
is($node->safe_psql('shop', 'SELECT dataprotect.flush_audit_log()', extra_params => ['-U', 'reader']), 't', 'audit log is complete');
is($node->safe_psql('shop', "SELECT string_agg(DISTINCT event, ' ' ORDER BY event) FROM dataprotect.audit_log
	WHERE event LIKE 'retention%' OR event LIKE 'hold%'", extra_params => ['-U', 'reader']),
	'hold.placed hold.released retention.activated retention.created retention.dropped retention.failed retention.paused retention.run',
	'every step is in the audit log');

$node->stop;
done_testing();
