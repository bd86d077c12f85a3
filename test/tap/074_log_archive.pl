# If this fails, the audit log grows for ever, or loses what it must keep: months
# go that nobody has a copy of, or the chain does not show what went.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

use File::Basename;
use IPC::Run ();

my $verify = dirname(__FILE__) . '/../../doc/verify_digests.sh';
my $tmp = PostgreSQL::Test::Utils::tempdir();
mkdir "$tmp/archive";
my $node = new_node('log_archive', conf => <<"CONF");
dataprotect.audit_archive_directory = '$tmp/archive'
dataprotect.digest_interval = 1s
max_prepared_transactions = 2
CONF
create_extension($node);
sub sql { return $node->safe_psql('postgres', $_[0]) }
sub as { return $node->safe_psql('postgres', $_[1], connstr => $node->connstr('postgres') . " user=$_[0]") }

sql(<<'SQL');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE app LOGIN;
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int, email encrypted_text('pii'));
INSERT INTO person VALUES (1, 'anna@example.org');
GRANT SELECT ON person TO app;
SQL

# All that is recorded is stored and under a digest.
sub digested
{
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	my $seq = sql('SELECT seq FROM dataprotect.audit_head');
	poll_sql($node, 'postgres', "SELECT max(seq_to) >= $seq FROM dataprotect.audit_digests");
	return $seq;
}

sub months { return sql("SELECT count(DISTINCT date_trunc('month', at, 'UTC')) FROM dataprotect.audit_record") }
sub files { my @files = glob "$tmp/archive/*.jsonl"; return @files }

# The round of the worker comes at a start, and finds a clock that is believed.
sub start_later
{
	my ($days) = @_;
	start_at($node, "${days}d");
	$node->stop;
	start_at($node, "${days}d", confirm => 0);
	return;
}

sub refused
{
	my ($value) = @_;
	return ($node->psql('postgres', "ALTER SYSTEM SET dataprotect.audit_keep = '$value'"))[2];
}

like(refused('547d'), qr/548 days/, 'not less than 18 months');
like(refused('1min'), qr/548 days/, 'nor next to nothing');

as('app', "SELECT email FROM person;\n" x 5);
digested();
my $pem = "$tmp/key.pem";
append_to_file($pem, sql('SELECT dataprotect.digest_public_pem()') . "\n");

# Two months later, and then two years: an open incident keeps the months that it asks about.
$node->stop;
start_at($node, '62d');
as('app', "SELECT email FROM person;\n" x 5);
my $second_month = digested();
is(months(), 2, 'the log has two months');
sql("ALTER SYSTEM SET dataprotect.audit_keep = '548d'");
my $incident = sql("SELECT dataprotect.open_incident('test', from_time => now() - interval '5 days')");
# Killed when the file is there and the month still is, since somebody reads it: it goes all the same, once.
sql("BEGIN; SELECT count(*) FROM dataprotect.audit_batch; PREPARE TRANSACTION 'reads'");
$node->stop;
start_later(800);
poll_until('the first file', sub { return scalar(my @there = files()) == 1 });
is(sql('SELECT count(*) FROM dataprotect.audit_archives'), '0', 'a month that somebody reads does not go');
kill9_node($node);
start_at($node, '800d', confirm => 0);
sql("COMMIT PREPARED 'reads'");
$node->stop;
start_at($node, '800d', confirm => 0);
poll_sql($node, 'postgres', 'SELECT count(*) = 1 FROM dataprotect.audit_archives');
is(scalar(my @first = files()), 1, 'its file was written again, not beside the one that a kill left');
as('app', "SELECT email FROM person;\n" x 5);
digested();
is(sql("SELECT min(seq) > 1 AND min(seq) <= $second_month FROM dataprotect.audit_record"), 't', 'the first month is gone, the one of the incident is there');
is(sql('SELECT ok, first_bad FROM dataprotect.verify_audit_log()'), 't|', 'the chain goes on over it');
is(as('auditor', "SELECT count(*) FROM dataprotect.audit_log WHERE event = 'log.archived' AND outcome = 'ok' AND detail ->> 'from' = '1'"), '1', 'the log tells');
is(sql("SELECT count(*) FROM dataprotect.alerts WHERE event = 'log.archived'"), '1', 'and so does an alert');
is((stat((files())[0]))[2] & 0777, 0600, 'the file is for its owner alone');

# The archive is evidence: digests verify it, with what the host has of the rest.
sub verify
{
	my @lines = @_;
	my $host = "$tmp/host.jsonl";
	unlink $host;
	append_to_file($host, as('auditor', 'SELECT line FROM dataprotect.audit_lines ORDER BY seq') . "\n"
		  . sql('SELECT line FROM dataprotect.audit_digests ORDER BY id') . "\n");
	my $out = '';
	my $ok = IPC::Run::run([ 'sh', $verify, $pem, $host, @lines ], '<', \undef, '>&', \$out);
	return ($ok ? 'whole' : 'found', $out);
}
my ($verdict, $out) = verify(files());
is($verdict, 'whole', 'archive and host together are the log that digests are of') or diag($out);
my ($archive) = files();
(my $changed = slurp_file($archive)) =~ s/"status":"\w+"/"status":"nothing"/ or die;
append_to_file("$tmp/changed.jsonl", $changed);
is((verify("$tmp/changed.jsonl"))[0], 'found', 'a record of the archive that was changed is found');
my $sha256 = sql("SELECT sha256 FROM dataprotect.audit_archives");
my $records = join '', grep { !/^\{"digest"/ } map { "$_\n" } split /\n/, slurp_file($archive);
is(sql("SELECT encode(sha256(convert_to(\$f\$$records\$f\$, 'UTF8')), 'hex')"), $sha256, 'the note has the hash of its lines');

# Whoever makes records disappear behind a forged, moved or removed note is found out.
sub tampered
{
	my ($name, $do) = @_;
	like(sql("BEGIN; $do; SELECT ok, first_bad FROM dataprotect.verify_audit_log(); ROLLBACK"), qr/^f\|\d+$/, "found: $name");
	return;
}
my $t = 'dataprotect.audit_archive';
tampered('the note is gone', "DELETE FROM $t");
tampered('the note reaches further', "UPDATE $t SET seq_to = (SELECT b.seq_to FROM dataprotect.audit_batch b WHERE b.seq_from = audit_archive.seq_to + 1); "
	  . "DELETE FROM dataprotect.audit_batch WHERE seq_to = (SELECT seq_to FROM $t)");
tampered('its MAC is another', "UPDATE $t SET mac = mac_before");
tampered('it begins later', "UPDATE $t SET seq_from = seq_from + 1");
tampered('its signature is none', "UPDATE $t SET sig = ''");
tampered('more is missing behind it', "DELETE FROM dataprotect.audit_batch WHERE seq_to <= $second_month");
tampered('a copy of it stands for other records', "DELETE FROM dataprotect.audit_batch WHERE seq_to <= $second_month; "
	  . "INSERT INTO $t SELECT seq_to + 1, $second_month, at_from, at_to, mac, mac, sha256, file, archived_at, sig FROM $t");
is(sql('SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'and all of that was rolled back');

# A month that was tampered with stays, and an event says why; the incident's end lets the rest go.
sql("SELECT dataprotect.note_incident($incident, 'contained', 'x'); SELECT dataprotect.close_incident($incident, 'x', not_notified => 'a test')");
sql("UPDATE dataprotect.audit_batch SET ring_to = ring_to + 1 WHERE seq_to = $second_month");
$node->stop;
start_at($node, '800d', confirm => 0);
poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM dataprotect.workers WHERE database = 'postgres' AND kind = 'log archive' AND last_error ~ 'altered'");
is(sql("SELECT count(*) FROM dataprotect.audit_archives"), '1', 'a month with an altered record is not dropped');
sql("UPDATE dataprotect.audit_batch SET ring_to = ring_to - 1 WHERE seq_to = $second_month");
$node->stop;
start_at($node, '800d', confirm => 0);
poll_sql($node, 'postgres', 'SELECT count(*) = 2 FROM dataprotect.audit_archives');
is(scalar(my @both = files()), 2, 'when it is right again it goes');
is(sql('SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'and the chain holds over both');

$node->stop;
done_testing();
