# If this fails, a clock that is moved while the server runs, that was wrong when the
# extension came, or that jumps with the seasons or a month's end makes rows and accounts
# go before their time, or lets what is due sleep.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $day = 24 * 60 * 60;
my $node = new_node('steps', conf => "dataprotect.worker_naptime = 1s\n", start => 0);
my $file = $node->basedir . '/moved';
$ENV{DP_WALL_CLOCK_FILE} = $file;

# The wall clock of the running server is that many days ahead of this machine's.
sub move_to
{
	my ($days) = @_;
	# in place: processes have it mapped
	open(my $out, -e $file ? '+<' : '>', $file) or die "could not write \"$file\": $!";
	binmode $out;
	syswrite($out, pack 'q', $days * $day) == 8 or die "could not write \"$file\": $!";
	close $out;
	return;
}
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub entries { return sql('SELECT count(*) FROM entry'); }
sub believed { return sql('SELECT dataprotect._check_clock()'); }
# what the worker has done once it was asked
sub round_of
{
	my ($name) = @_;
	sql("INSERT INTO entry VALUES (0, dataprotect._now() - interval '1000 days')");
	return poll_sql($node, 'postgres', 'SELECT count(*) FROM entry WHERE id = 0', '0') || fail("$name: the worker does what is due");
}

# Wrong when the extension comes: nobody can know that it is 2037.
move_to(4100);
start_at($node, '0s', confirm => 0);
create_extension($node, 'postgres');
sql(<<'SQL');
SELECT dataprotect.create_key('k');
CREATE TABLE entry (id int, at timestamptz NOT NULL);
CREATE INDEX ON entry (at);
CREATE TABLE person (id int PRIMARY KEY);
INSERT INTO person SELECT g FROM generate_series(1, 9) g;
SELECT dataprotect.create_account_type('person', 'person', 'id', '10 days', '20 days');
SELECT dataprotect.create_retention_policy('entry', 'entry', 'at', '100 days', 'delete', '{"every": "1 second"}');
SELECT dataprotect.activate_retention('entry');
SELECT dataprotect.request_deletion('person', '1', 'asked in 2037');
SQL
cmp_ok(sql('SELECT extract(year FROM grace_until) FROM dataprotect.deletion_request'), '>=', 2037, 'a request of that clock has its dates');
round_of('in 2037');
move_to(0);
is(believed(), 'f', 'the right clock is not believed by itself: it is years behind the record');
sql("SELECT dataprotect.confirm_clock('the date was wrong when the machine was set up')");
is(sql(q{SELECT grace_until BETWEEN now() + interval '9 days' AND now() + interval '11 days', deadline BETWEEN now() + interval '19 days' AND now() + interval '21 days',
	requested_at <= now() FROM dataprotect.deletion_request}), 't|t|t', 'its times begin when the clock is put right');
is(sql('SELECT count(*) FROM dataprotect.verify_policy()'), 0, 'and the policy is whole');
round_of('after 2037');
is(sql(q{SELECT bool_and(next_due < now() + interval '1 day') FROM dataprotect.retention_policy}), 't', 'the next run is not in 2037');

# Moved while the server runs, forward: what is in its grace time stays.
sql("INSERT INTO entry SELECT g, now() - interval '95 days' FROM generate_series(1, 5) g");
move_to(30);
is(believed(), 'f', 'a step of thirty days is not believed');
psql_fails($node, 'postgres', "CALL dataprotect.run_retention('entry')", qr/the clock of this server cannot be right/, 'no run begins');
is(sql("SELECT dataprotect.request_deletion('person', '2') IS NOT NULL"), 't', 'a request is taken');
is(sql("SELECT grace_until - interval '10 days' < now() - interval '29 days' FROM dataprotect.deletion_request WHERE account_id = '2'"), 't', 'and dated by the right time');
sql("SELECT pg_sleep(2.5)");
is(entries() . sql('SELECT count(*) FROM person'), '59', 'nothing went');

# paused meanwhile, switched on again meanwhile
sql("SELECT dataprotect.pause_retention('entry')");
move_to(0);
is(believed(), 't', 'the clock that is right again is');
is(entries(), 5, 'a paused policy does nothing');
move_to(-30);
is(believed(), 'f', 'nor is a step back believed');
is(sql("SELECT dataprotect._now() > now() + interval '29 days'"), 't', 'time does not run backwards');
sql("SELECT dataprotect.activate_retention('entry')");
is(sql("SELECT next_due > now() + interval '29 days' FROM dataprotect.retention_policy"), 't', 'what is planned meanwhile is planned by the right time');
move_to(0);
round_of('after a step back');
is(entries(), 5, 'rows of 95 days are not of 100');

# Half a day is within what is believed; taken back, nothing that was done is dated later than now.
move_to(0.5);
is(believed(), 't', 'half a day is believed');
round_of('half a day ahead');
move_to(0);
is(believed(), 't', 'and back');
is(sql('SELECT dataprotect._now() >= newest FROM dataprotect.clock_record'), 't', 'but time stood still meanwhile');
round_of('half a day back');

# An administrator says that it is right: what is due by it goes, and he is told.
move_to(15);
is(believed(), 'f', 'fifteen days are not believed');
my ($out, $err);
$node->psql('postgres', "SELECT dataprotect.confirm_clock('the machine was off')", stdout => \$out, stderr => \$err);
like($err, qr/by this clock the grace time of 2 deletion requests is over/, 'who confirms a clock is told what it means');
ok(poll_sql($node, 'postgres', 'SELECT count(*) FROM entry', '0'), 'rows that are old by it go');
ok(poll_sql($node, 'postgres', "SELECT count(*) FROM dataprotect.deletion_requests WHERE state = 'certified'", '2'), 'and so do accounts');

# After 2038, where seconds do not fit into 32 bits.
move_to(4500);
sql("SELECT dataprotect.confirm_clock('2039')");
cmp_ok(sql('SELECT extract(year FROM dataprotect._now())'), '>', 2038, 'the clock of that time is believed');
sql("INSERT INTO entry VALUES (1, now() - interval '99 days'), (2, now() - interval '101 days')");
ok(poll_sql($node, 'postgres', 'SELECT string_agg(id::text, chr(32)) FROM entry', '1'), 'what is due then goes, and nothing else');
sql("SELECT dataprotect.alter_account_type('person', grace => '0 s'); SELECT dataprotect.request_deletion('person', '3')");
ok(poll_sql($node, 'postgres', "SELECT state FROM dataprotect.deletion_requests WHERE account_id = '3'", 'certified'), 'an account as well');
sql("DELETE FROM entry");

# Months' ends: what is kept for a month is kept for a whole one, however long.
move_to(0);
sql("SELECT dataprotect.confirm_clock('back')");
# days from now to a moment
sub day_of { my ($moment) = @_; return sql("SELECT extract(epoch FROM '$moment'::timestamptz - to_timestamp(" . time . ")) / $day"); }
sql("SELECT dataprotect.pause_retention('entry')");
sql(q{CREATE TABLE monthly (id text PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON monthly (at);
SELECT dataprotect.create_retention_policy('monthly', 'monthly', 'at', '1 month', 'delete', '{"every": "1 hour", "timezone": "Europe/Berlin"}');
ALTER DATABASE postgres SET timezone = 'America/New_York'});
for my $case (
	# at noon of this day (Berlin), these rows are left
	[ '2031-02-28', '29.1. 30.1. 31.1.' ],      # a month before the last of February there was a 28th
	[ '2031-03-01', '' ],
	[ '2031-03-31', '' ],
	[ '2032-02-29', '30.1. 31.1.' ],            # a leap year
	[ '2032-03-01', '' ])
{
	my ($date, $left) = @$case;
	my $year = substr $date, 0, 4;
	move_to(day_of("$date 12:00 Europe/Berlin"));
	sql("SELECT dataprotect.confirm_clock('$date'); TRUNCATE monthly;
		INSERT INTO monthly SELECT d || '.1.', ('$year-01-' || d || ' 10:00 Europe/Berlin')::timestamptz FROM unnest('{28,29,30,31}'::text[]) d;
		SELECT dataprotect.activate_retention('monthly')");
	$node->safe_psql('postgres', "SET timezone = 'Pacific/Auckland';\nCALL dataprotect.run_retention('monthly')");
	is(sql('SELECT string_agg(id, chr(32) ORDER BY id) FROM monthly'), $left, "on $date are left: $left");
	sql("SELECT dataprotect.pause_retention('monthly')");
}

# Seasons: a day with 23 or 25 hours is a day by the policy's clocks; when the next run
# is does not depend on who asks.
sql(q{SELECT dataprotect.create_retention_policy('daily', 'monthly', 'at', '1 day', 'delete', '{"every": "1 day", "timezone": "Europe/Berlin"}')});
for my $case (
	# the clock, what is a day old then, and what is not
	[ '2031-03-30 12:00', '2031-03-29 11:59', '2031-03-29 12:01' ],     # 23 hours before
	[ '2031-10-25 20:00', '2031-10-24 19:59', '2031-10-24 20:01' ],     # the next day has 25
	[ '2031-10-26 12:00', '2031-10-25 11:59', '2031-10-25 12:01' ])     # 25 hours
{
	my ($clock, $old, $young) = @$case;
	move_to(day_of("$clock Europe/Berlin"));
	sql("SELECT dataprotect.confirm_clock('$clock'); TRUNCATE monthly; INSERT INTO monthly VALUES ('old', '$old Europe/Berlin'), ('young', '$young Europe/Berlin');
		SELECT dataprotect.activate_retention('daily')");
	for my $zone (qw(Europe/Berlin America/New_York UTC))
	{
		$node->safe_psql('postgres', "SET timezone = '$zone';\nCALL dataprotect.run_retention('daily')");
		is(sql(q{SELECT string_agg(id, ' ') FROM monthly}), 'young', "$clock: what is younger than a day in Berlin stays, asked in $zone");
		is(sql(q{SELECT round(extract(epoch FROM next_due - dataprotect._now()) / 3600) FROM dataprotect.retention_policy WHERE name = 'daily'}), 24, 'the next run is in 24 hours');
		sql('SELECT dataprotect._retention_due_names()');
		is(sql(q{SELECT round(extract(epoch FROM next_due - dataprotect._now()) / 3600) FROM dataprotect.retention_policy WHERE name = 'daily'}), 24, 'and is not taken for a wrong clock\'s');
	}
	sql("SELECT dataprotect.pause_retention('daily')");
}

$node->stop;
done_testing();
