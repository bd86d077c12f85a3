# If this fails, a clock that is wrong makes rows and accounts go before their
# time, or lets work that is due sleep for years.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $day = 24 * 60 * 60;
my $node = new_node('clock');
$node->safe_psql('postgres', 'CREATE DATABASE lab');
create_extension($node, 'lab');
sub sql { return $node->safe_psql('lab', $_[0]); }

# The server's wall clock is that many days ahead of this machine's.
sub restart_ahead
{
	my ($days) = @_;
	$node->stop;
	start_at($node, "${days}d", confirm => 0);
	is(sql("SELECT round(extract(epoch FROM clock_timestamp() - to_timestamp(" . time . ")) / $day)"), $days, "the wall clock is $days days ahead");
	return;
}

my $old = 400;
sql(<<"SQL");
CREATE ROLE officer LOGIN IN ROLE dataprotect_admin;
CREATE ROLE outsider LOGIN;
CREATE TABLE entry (id serial PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON entry (at);
INSERT INTO entry (at) SELECT now() - i * interval '30 days' FROM generate_series(1, 20) i;
CREATE TABLE person (id int PRIMARY KEY);
INSERT INTO person VALUES (1), (2);
SELECT dataprotect.create_key('k');
SELECT dataprotect.create_account_type('person', 'person', 'id', '30 days', '90 days');
SELECT dataprotect.create_retention_policy('entry', 'entry', 'at', '365 days', 'delete');
SELECT dataprotect.activate_retention('entry');
SELECT dataprotect.request_deletion('person', '1', 'r');
SQL
poll_sql($node, 'lab', 'SELECT count(*) FROM entry', '12');
poll_sql($node, 'lab', "SELECT count(*) > 0 FROM dataprotect.retention_runs WHERE outcome = 'ok'");
is(sql('SELECT ok FROM dataprotect.clock_status'), 't', 'a clock that nobody touched is believed');

# Ahead: nothing is done, nothing is computed by it.
restart_ahead(4000);
poll_sql($node, 'lab', 'SELECT NOT ok AND wrong_since IS NOT NULL FROM dataprotect.clock_status');
is(sql("SELECT trusted - clock_timestamp() < interval '-3999 days' AND off > interval '3999 days' FROM dataprotect.clock_status"), 't',
	'the view says what time it must be');
psql_fails($node, 'lab', "CALL dataprotect.run_retention('entry')", qr/the clock of this server cannot be right.*confirm_clock/s, 'retention stops');
psql_fails($node, 'lab', 'CALL dataprotect.run_deletions()', qr/the clock of this server cannot be right/, 'deletion stops');
sql("SELECT dataprotect.pause_retention('entry'); SELECT dataprotect.activate_retention('entry'); SELECT dataprotect.request_deletion('person', '2', 'r')");
is(sql("SELECT bool_and(next_due < clock_timestamp() - interval '3999 days') FROM dataprotect.retention_policies"), 't', 'the next run is planned by the right time');
is(sql("SELECT bool_and(deadline < clock_timestamp() - interval '3900 days'), count(*) FROM dataprotect.deletion_requests"), 't|2', 'and so are deadlines');
is(sql('SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM person)'), '12|2', 'nothing went');

# Right again: it goes on by itself.
restart_ahead(0);
poll_sql($node, 'lab', 'SELECT ok AND wrong_since IS NULL FROM dataprotect.clock_status');
sql("INSERT INTO entry (at) VALUES (now() - interval '$old days')");
sql('UPDATE dataprotect.retention_policy SET next_due = now()');
poll_sql($node, 'lab', "SELECT count(*) FROM entry WHERE at < now() - interval '366 days'", '0');
is(sql("SELECT next_due < now() + interval '2 hours' FROM dataprotect.retention_policies"), 't', 'nothing of the wrong clock is left');
is(sql('SELECT count(*) FROM person'), '2', 'grace time is what it was');

# Behind: time does not run backwards; who may say that it is right.
restart_ahead(-1000);
poll_sql($node, 'lab', 'SELECT NOT ok FROM dataprotect.clock_status');
psql_fails($node, 'lab', "SET SESSION AUTHORIZATION outsider; SELECT dataprotect.confirm_clock('x')", qr/permission denied/, 'not everybody confirms a clock');
psql_fails($node, 'lab', "SET SESSION AUTHORIZATION officer; SELECT dataprotect.confirm_clock('')", qr/needs a reason/, 'nor without a reason');
sql("SET SESSION AUTHORIZATION officer; SELECT dataprotect.confirm_clock('the battery was changed')");
is(sql('SELECT ok FROM dataprotect.clock_status'), 't', 'a confirmed clock is believed');
is(sql("SELECT dataprotect._now() < clock_timestamp() + interval '1 day'"), 't', 'and is what deadlines are counted by');
sql("INSERT INTO entry (at) VALUES (now() - interval '$old days')");
sql('UPDATE dataprotect.retention_policy SET next_due = now()');
poll_sql($node, 'lab', "SELECT count(*) FROM entry WHERE at < now() - interval '366 days'", '0');

# next-due-far-in-the-future: what such a clock has planned is not believed.
sql("SELECT dataprotect.confirm_clock('again')");
sql("INSERT INTO entry (at) VALUES (now() - interval '$old days')");
sql("UPDATE dataprotect.retention_policy SET next_due = now() + interval '11 years'");
poll_sql($node, 'lab', "SELECT count(*) FROM entry WHERE at < now() - interval '366 days'", '0');
sql('CREATE ROLE reader LOGIN IN ROLE dataprotect_auditor');
is($node->safe_psql('lab', 'SELECT dataprotect.flush_audit_log()', extra_params => ['-U', 'reader']), 't', 'audit log is complete');
is($node->safe_psql('lab', "SELECT string_agg(DISTINCT event, ' ' ORDER BY event) FROM dataprotect.audit_log
	WHERE event LIKE 'clock.%' OR event = 'retention.altered'", extra_params => ['-U', 'reader']),
	'clock.confirmed clock.resumed clock.stopped retention.altered', 'every change is an event');

$node->stop;
done_testing();
