# If this fails, the main job's retention does not work on a database that
# nobody prepared for it: age behind a view, foreign keys of single partitions.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

plan skip_all => 'Pagila is not there' if !have_pagila();

chomp(my $share = `$ENV{PG_CONFIG} --sharedir`);
my $cron = -e "$share/extension/pg_cron.control" ? 1 : 0;
my $node = new_node('pagila', conf => $cron ? <<'CONF' : '');
shared_preload_libraries = 'dataprotect, pg_cron'
cron.database_name = 'pagila'
cron.use_background_workers = on
max_worker_processes = 16	# one that has none free for its job leaves the minute out
CONF
load_pagila($node, 'pagila');
create_extension($node, 'pagila');

sub sql { return $node->safe_psql('pagila', $_[0]); }
my $new = 'SELECT dataprotect.create_retention_policy';

# Everything in Pagila is years old; keep what is younger than its middle.
my $middle = sql("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY lower(rental_period)) FROM public.rental");
my $keep = sql("SELECT date_trunc('day', now() - '$middle'::timestamp)");
my $rule = '{"children": {"public.payment": "delete"}}';

psql_fails($node, 'pagila', "$new('rental', 'legacy.rental', 'rental_date', '$keep', 'delete')",
	qr/CREATE INDEX ON rental \(lower\(rental_period\)\)|CREATE INDEX ON public.rental \(lower\(rental_period\)\)/, 'the index for rental_date is asked for');
sql('CREATE INDEX ON public.rental (lower(rental_period))');
psql_fails($node, 'pagila', "$new('rental', 'legacy.rental', 'rental_date', '$keep', 'delete', '$rule')",
	qr/has no index on the columns of its foreign key.*CREATE INDEX ON public.payment \(rental_id\);/s,
	'the index for payment\'s foreign key is asked for');
sql('CREATE INDEX ON public.payment (rental_id)');
psql_fails($node, 'pagila', "$new('rental', 'legacy.rental', 'rental_date', '$keep', 'delete')",
	qr/does not say what happens to rows of "public.payment".*payment_p2007_0\d_rental_id_fkey/s,
	'a foreign key of single partitions restricts');
sql("$new('by range', 'public.rental', 'rental_period', '$keep', 'delete', '" . ($rule =~ s/^\{/{"bound": "lower", /r) . "')");
sql("$new('by view', 'legacy.rental', 'rental_date', '$keep', 'delete', '$rule')");
sql("$new('rental', 'rental', 'rental_date', '$keep', 'delete', '$rule')");
is(sql('SELECT count(DISTINCT rows_due) FROM dataprotect.retention_policies'), '1',
	'the range, the view, and the table by the column of its view are the same policy');
sql("SELECT dataprotect.drop_retention_policy(name) FROM dataprotect.retention_policies WHERE name LIKE 'by %'");
my ($rentals, $due) = split /\|/, sql("SELECT (SELECT count(*) FROM public.rental), rows_due FROM dataprotect.retention_policies");
cmp_ok($due, '>', 5000, 'half of the rentals are due');
is(sql("SELECT rel, rows > 0 FROM dataprotect.preview_retention('rental') WHERE rel::text ~ 'payment'"), 'payment|t',
	'the preview shows the payments that go along');
my $hold = sql("SELECT dataprotect.place_hold('public.rental', 'customer_id = 148', 'case')");
my $held = sql("SELECT rows FROM dataprotect.preview_retention('rental') WHERE action = 'held'");
cmp_ok($held, '>', 0, 'a hold covers rentals');

if ($cron)
{
	sql('CREATE EXTENSION pg_cron');
	# where the server's clock says that it is shortly before a full minute
	$node->stop;
	start_at($node, (50 - time % 60) % 60 . 's');
	cmp_ok(sql("SELECT dataprotect.schedule_maintenance('* * * * *')"), '>', 0, 'a schedule is a job of pg_cron');
	psql_fails($node, 'pagila', "SELECT dataprotect.schedule_maintenance('whenever')", qr/invalid schedule/, 'a bad schedule is refused');
	sql("SELECT dataprotect.activate_retention('rental')");
	is(sql("SELECT next_due IS NULL FROM dataprotect.retention_policies"), 't', 'the schedule decides, not the nap time');
	ok(poll_sql($node, 'pagila', "SELECT count(*) > 0 FROM dataprotect.retention_runs WHERE outcome = 'ok'"),
		'pg_cron woke the worker');
	sql("SELECT cron.unschedule('dataprotect maintenance')");
}
else
{
	sql("SELECT dataprotect.activate_retention('rental')");
	ok(poll_sql($node, 'pagila', "SELECT count(*) > 0 FROM dataprotect.retention_runs WHERE outcome = 'ok'"), 'the worker ran');
}
# The cut-off moves on while the test runs: a few more rentals may have fallen due.
my $done = sql("SELECT rows_done FROM dataprotect.retention_runs ORDER BY started_at LIMIT 1");
ok($done >= $due - $held && $done <= $due - $held + 20, 'what was due is done');
is(sql('SELECT count(*) FROM public.rental'), $rentals - $done, 'what was not due is there');
is(sql('SELECT count(*) FROM public.payment p WHERE NOT EXISTS (SELECT 1 FROM public.rental r WHERE r.rental_id = p.rental_id)'),
	'0', 'no payment without its rental');
is(sql("SELECT count(*) FROM public.rental WHERE customer_id <> 148 AND lower(rental_period)
	< (SELECT min(started_at) FROM dataprotect.retention_runs)::timestamp - '$keep'::interval"), '0',
	'nothing old is left but what is held');

# Partitions of payment.  What references a held rental is held with it: not any more.
sql("SELECT dataprotect.pause_retention('rental'); SELECT dataprotect.release_hold($hold, 'closed')");
sql("SELECT dataprotect.place_hold('public.payment', 'customer_id = 148 AND payment_date < ''2007-02-01''', 'case')");
my $month = sql("SELECT date_trunc('day', now() - '2007-04-01'::timestamp) - interval '1 day'");
sql("INSERT INTO public.payment SELECT 90000 + i, 148, 1, (SELECT min(rental_id) FROM public.rental), 1, '2007-01-15' FROM generate_series(1, 3) i");
sql("$new('payment', 'public.payment', 'payment_date', '$month', 'drop_partition')");
is(sql("SELECT string_agg(action || ' ' || rel, ', ' ORDER BY rel::text) FROM dataprotect.preview_retention('payment') WHERE rel::text ~ '_p2007'"),
	'held payment_p2007_01, drop_partition payment_p2007_02, drop_partition payment_p2007_03',
	'partitions wholly old are due, the held one is not');
my $rows = sql('SELECT count(*) FROM public.payment_p2007_02') + sql('SELECT count(*) FROM public.payment_p2007_03');
sql("SELECT dataprotect.activate_retention('payment')");
ok(poll_sql($node, 'pagila', "SELECT count(*) FROM dataprotect.retention_runs WHERE policy = 'payment' AND outcome = 'ok'", '1'),
	'the worker ran the policy on partitions');
is(sql("SELECT rows_done FROM dataprotect.retention_runs WHERE policy = 'payment'"), $rows, 'their rows are counted');
is(sql("SELECT to_regclass('public.payment_p2007_01') IS NOT NULL, to_regclass('public.payment_p2007_02') IS NULL,
	to_regclass('public.payment_p2007_03') IS NULL, to_regclass('public.payment_p2007_04') IS NOT NULL"), 't|t|t|t',
	'two partitions are gone, the held and the young ones are there');

$node->stop;
done_testing();
