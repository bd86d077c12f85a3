# If this fails, a record of the audit log is lost on its way off the host, comes
# out of order, or a sink that is slow, dead or lying takes something down with it.
#
# Splunk's collector, webhooks and their misbehaviour are DataProtect::SinkDouble, a
# double; the directory is a real one.  S3 and syslog: 071.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use IPC::Run ();

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::SinkDouble;
use DataProtect::Test;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $token = 'B5A79AAD-D822-46CC-80D1-819F80D7BFB0';
mkdir "$tmp/secrets";
mkdir "$tmp/out";
for my $file ([ 'hec', $token ], [ 'hook', 'a-secret-of-the-webhook' ])
{
	append_to_file("$tmp/secrets/$file->[0]", "$file->[1]\n");
	chmod 0600, "$tmp/secrets/$file->[0]";
}
my $hec = DataProtect::SinkDouble->start(dir => "$tmp/hec");
my $hook = DataProtect::SinkDouble->start(dir => "$tmp/hook");
my $bad = DataProtect::SinkDouble->start(dir => "$tmp/bad", mode => 'ackfalse');
my $dead = DataProtect::SinkDouble->start(dir => "$tmp/dead");
$dead->stop;

my $node = new_node('sinks', conf => <<"CONF");
restart_after_crash = on
dataprotect.sinks_allowed = 'splunk-hec+http://127.0.0.1:*, http://127.0.0.1:*, file://$tmp/out, file:///nowhere/*'
dataprotect.sink_secret_directory = '$tmp/secrets'
dataprotect.sink_timeout = 2s
dataprotect.digest_interval = 1s
CONF
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE nobody LOGIN;
CREATE ROLE adm LOGIN IN ROLE dataprotect_admin;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE app LOGIN;
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE victim (id int, email encrypted_text('pii'));
INSERT INTO victim VALUES (1, 'anna@example.org');
GRANT SELECT ON victim TO app;
SQL

sub as
{
	my ($role, $sql) = @_;
	return $node->safe_psql('postgres', $sql, connstr => $node->connstr('postgres') . " user=$role");
}

sub state_of
{
	my ($sql, $role) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql",
		connstr => $node->connstr('postgres') . " user=$role", extra_params => [ '-v', 'ON_ERROR_STOP=1' ]);
	return '00000' if $rc == 0;
	return $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5})/ ? $1 : "unknown: $err";
}

sub reads { as('app', join '', map { "SELECT email FROM victim;\n" } 1 .. $_[0]); return }

sub newest { return $node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log() \g /dev/null
SELECT seq FROM dataprotect.audit_head') }

# Until a sink has all that is recorded up to now.
sub wait_for
{
	my ($name) = @_;
	my $seq = newest();
	ok(poll_sql($node, 'postgres', "SELECT cursor >= $seq FROM dataprotect.sinks WHERE name = '$name'"), "$name is sent everything up to $seq");
	return $seq;
}

sub sequence { return $_[0] =~ /\A\{"metadata":\{"sequence":(\d+),/ ? $1 : () }

# Each record once at least, the first of each in order, and as the log has it.
sub check_lines
{
	my ($what, $upto, @lines) = @_;
	my (%seen, @first);
	for my $line (@lines)
	{
		my $seq = sequence($line);
		next if !defined $seq || $seq > $upto;
		push @first, $seq if !defined $seen{$seq};
		is($line, $seen{$seq}, "$what: record $seq is the same again") if defined $seen{$seq} && $line ne $seen{$seq};
		$seen{$seq} = $line;
	}
	is_deeply(\@first, [ 1 .. $upto ], "$what has every record, in order");
	my $log = as('auditor', "SELECT line FROM dataprotect.audit_lines WHERE seq <= $upto ORDER BY seq");
	is(join("\n", map { $seen{$_} || '' } 1 .. $upto), $log, "$what has the bytes that the log gives");
	return;
}

sub file_lines
{
	my @lines;
	push @lines, split /\n/, slurp_file($_) for sort glob "$tmp/out/*.jsonl";
	return @lines;
}

# ---- who may, and what is a sink ----
for my $role (qw(nobody auditor app))
{
	for my $sql ("SELECT dataprotect.create_sink('x', 'http://127.0.0.1:1')", "SELECT dataprotect.drop_sink('x')")
	{
		is(state_of($sql, $role), '42501', "$role: $sql");
	}
}
for my $what (qw(sinks alerts audit_digests audit_lines sink sink_state audit_digest alert))
{
	is(state_of("SELECT * FROM dataprotect.$what", 'nobody'), '42501', "nobody sees $what");
}
is(state_of('SELECT line FROM dataprotect.audit_lines', 'adm'), '42501', 'an administrator does not read the lines');
for my $refused (
	[ "'x', 'https://example.org/'", '42501', 'a URI that no pattern allows' ],
	[ "'x', 'http://10.0.0.1/'", '22023', 'no TLS' ],
	[ "'x', 'https://user:pass\@127.0.0.1/'", '22023', 'a user in a URI' ],
	[ "'x', 'file://$tmp/out/../secrets'", '22023', 'two dots' ],
	[ "'x', 'ftp://127.0.0.1/'", '22023', 'another scheme' ],
	[ "'x', 'http://127.0.0.1:1', '{\"secret\": \"x\"}'", '22023', 'a secret as an option' ],
	[ "'x', 'http://127.0.0.1:1', '{\"secret_file\": \"../x\"}'", '22023', 'a file elsewhere' ],
	[ "'x', 'splunk-hec+http://127.0.0.1:1'", '22023', 'Splunk without a token' ],
	[ "'x y', 'http://127.0.0.1:1'", '22023', 'a name with a blank' ],
	[ "'x', 'http://127.0.0.1:1', NULL", '22004', 'no options' ])
{
	is(state_of("SELECT dataprotect.create_sink($refused->[0])", 'adm'), $refused->[1], "refused: $refused->[2]");
}

# ---- all of them beside each other, one dead, one lying ----
as('adm', <<"SQL");
SELECT dataprotect.create_sink('hec', 'splunk-hec+http://127.0.0.1:$hec->{port}', '{"token_file": "hec", "index": "audit", "batch_size": 40, "ack_timeout": 5}');
SELECT dataprotect.create_sink('hook', 'http://127.0.0.1:$hook->{port}/in', '{"secret_file": "hook", "batch_size": 40}');
SELECT dataprotect.create_sink('dir', 'file://$tmp/out', '{"rotate_kb": 16}');
SELECT dataprotect.create_sink('dead', 'http://127.0.0.1:$dead->{port}/');
SELECT dataprotect.create_sink('bad', 'splunk-hec+http://127.0.0.1:$bad->{port}', '{"token_file": "hec", "ack_timeout": 1}');
SELECT dataprotect.create_sink('nowhere', 'file:///nowhere/at/all');
SELECT dataprotect.create_sink('notoken', 'splunk-hec+http://127.0.0.1:$hec->{port}', '{"token_file": "missing"}');
SQL
reads(100);
my $upto = wait_for('hec');
check_lines('the collector', $upto, $hec->lines);
$upto = wait_for('hook');
check_lines('the webhook', $upto, $hook->lines);
$upto = wait_for('dir');
check_lines('the directory', $upto, file_lines());
ok(poll_sql($node, 'postgres', "SELECT bool_and(failures > 0 AND cursor = 0 AND last_error IS NOT NULL) FROM dataprotect.sinks
	WHERE name IN ('dead', 'bad', 'nowhere', 'notoken')"), 'the others fail, each by itself');
# other failures may come first where a machine is slow
ok(poll_sql($node, 'postgres', "SELECT last_error FROM dataprotect.sinks WHERE name = 'bad'",
		'The indexer has not acknowledged a batch in time; it is sent again.'), 'what is not acknowledged is not taken');
my @bad = map { sequence($_) } $bad->lines;
cmp_ok(scalar(grep { $_ == 1 } @bad), '>', 0, '... and was sent');

my ($request) = grep { $_->{line} !~ /ack/ } $hec->requests;
my %headers = map { (lc $_->[0] => $_->[1]) } @{ $request->{headers} };
is($headers{authorization}, "Splunk $token", 'the collector gets its token');
like($headers{'x-splunk-request-channel'}, qr/^[0-9a-f-]{36}$/, 'and a channel');
is($headers{'content-encoding'}, 'gzip', 'compressed');
like(DataProtect::SinkDouble::body_of($request), qr/^\{"time":\d+\.\d{3},"source":"dataprotect:postgres","sourcetype":"dataprotect:ocsf","index":"audit","event":\{/, 'as an event');
($request) = $hook->requests;
%headers = map { (lc $_->[0] => $_->[1]) } @{ $request->{headers} };
my ($time, $signature) = $headers{'x-dataprotect-signature'} =~ /^t=(\d+),v1=([0-9a-f]{64})$/;
is($signature, hmac_sha256_hex("$time.$request->{body}", 'a-secret-of-the-webhook'), 'the webhook can check who sent it');

# ---- a sink that is away, answers badly, comes back ----
for my $mode ('status:503', 'hang', 'close', 'redirect', 'garbage', 'noack', 'ackgarbage')
{
	$hec->mode($mode);
	reads(3);
	newest();
	ok(poll_sql($node, 'postgres', "SELECT failures > 0 FROM dataprotect.sinks WHERE name = 'hec'"), "$mode: noticed");
	$hec->mode('ok');
	wait_for('hec');
}
$upto = wait_for('hec');
check_lines('the collector, after trouble,', $upto, $hec->lines);

# ---- kill -9: of the worker in the middle of a request, and of the server ----
$hook->mode('hang');
my $before = scalar $hook->requests;
reads(50);
poll_until('a request to hang', sub { return $hook->requests > $before });
kill9_process($node, sub { $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query = 'sinks' AND backend_type LIKE 'dataprotect%' LIMIT 1") });
$hook->mode('ok');
reads(50);
$upto = wait_for('hook');
check_lines('the webhook, after the worker was killed,', $upto, $hook->lines);
$hook->mode('hang');
$before = scalar $hook->requests;
reads(50);
poll_until('a request to hang', sub { return $hook->requests > $before });
kill9_node($node);
$node->start;
$hook->mode('ok');
$upto = wait_for('hook');
check_lines('the webhook, after the server was killed,', $upto, $hook->lines);
$upto = wait_for('dir');
check_lines('the directory, after both,', $upto, file_lines());
cmp_ok(scalar(my @files = glob "$tmp/out/*.jsonl"), '>', 1, 'files are rotated');

# ---- what a superuser does to the tables ----
$node->safe_psql('postgres', "INSERT INTO dataprotect.sink (name, uri, options, created_by) VALUES ('forged', 'http://127.0.0.1:$bad->{port}/forged', '{}', 'adm')");
$node->safe_psql('postgres', "UPDATE dataprotect.sink_state SET cursor = cursor + 1000 WHERE name = 'dir'");
ok(poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM dataprotect.alerts WHERE event = 'policy.tampered' AND severity = 'critical'"), 'it is an alert');
$upto = wait_for('dir');
check_lines('the directory, whose cursor was moved,', $upto, file_lines());
is(scalar(grep { $_->{line} =~ /forged/ } $bad->requests), 0, 'a forged sink is sent nothing');

# ---- alerts ----
is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM dataprotect.alerts WHERE event = 'sink.failing' AND severity = 'high'"), 't', 'a sink that fails is an alert');
my $alert = $node->safe_psql('postgres', "SELECT min(id) FROM dataprotect.alerts WHERE event = 'sink.failing'");
is(state_of("SELECT dataprotect.acknowledge_alert($alert, 'seen')", 'nobody'), '42501', 'nobody acknowledges it');
as('auditor', "SELECT dataprotect.acknowledge_alert($alert, 'the port was closed')");
is($node->safe_psql('postgres', "SELECT acknowledged_by, note FROM dataprotect.alerts WHERE id = $alert"), 'auditor|the port was closed', 'an auditor does');
is(state_of("SELECT dataprotect.acknowledge_alert($alert, 'again')", 'auditor'), '42704', '... once');

# ---- nothing secret anywhere, and the end of a sink ----
as('adm', "SELECT dataprotect.drop_sink('$_')") for qw(bad nowhere notoken dead);
is(state_of("SELECT dataprotect.drop_sink('bad')", 'adm'), '42704', 'a sink is dropped once');
newest();
my $everything = slurp_file($node->logfile) . $node->safe_psql('postgres', 'TABLE dataprotect.sink; TABLE dataprotect.sink_state')
  . as('auditor', 'SELECT detail FROM dataprotect.audit_log') . join('', $hook->lines);
unlike($everything, qr/\Q$token\E|a-secret-of-the-webhook/, 'no token in the server log, a table or a record');
is(as('auditor', "SELECT count(*) FROM dataprotect.audit_log WHERE event = 'sink.dropped' AND session_role = 'adm'"), '4', 'dropping one is an event');

done_testing();
