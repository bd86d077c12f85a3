# If this fails, whoever may do anything on the server's host can change what the
# audit log or the policy was, and the digests that have left the host do not tell.
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
mkdir "$tmp/$_" for qw(shipped digests);
my $node = new_node('digests', conf => <<"CONF");
dataprotect.sinks_allowed = 'file://$tmp/shipped'
dataprotect.digest_directory = '$tmp/digests'
dataprotect.digest_interval = 1s
dataprotect.worker_naptime = 1s
CONF
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE app LOGIN;
CREATE ROLE friend LOGIN;
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE victim (id int, email encrypted_text('pii'));
INSERT INTO victim VALUES (1, 'anna@example.org');
GRANT SELECT ON victim TO app, friend;
SQL
$node->safe_psql('postgres', "SELECT dataprotect.create_sink('shipped', 'file://$tmp/shipped')");

sub as
{
	my ($role, $sql) = @_;
	return $node->safe_psql('postgres', $sql, connstr => $node->connstr('postgres') . " user=$role");
}

sub write_to
{
	my ($file, $text) = @_;
	unlink $file;
	append_to_file($file, $text);
	return $file;
}

my $files = 0;

# The log as the host tells it now.
sub host_log { return write_to("$tmp/host." . $files++, as('auditor', 'SELECT line FROM dataprotect.audit_lines ORDER BY seq') . "\n") }

# The digests that are off the host now.
sub taken
{
	my $file = "$tmp/taken." . $files++;
	return write_to($file, join '', map { slurp_file($_) } sort glob "$tmp/digests/*.json");
}

# All that is recorded is under a digest, and that in the directory and with the sink.
sub digested
{
	my $seq = $node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log() \g /dev/null
SELECT seq FROM dataprotect.audit_head');
	poll_sql($node, 'postgres', "SELECT max(d.seq_to) >= $seq AND bool_and(t.filed) AND max(d.id) <= (SELECT s.digest FROM dataprotect.sink_state s)
		FROM dataprotect.audit_digests d JOIN dataprotect.audit_digest t USING (id) WHERE d.id <= (SELECT min(id) FROM dataprotect.audit_digest WHERE seq_to >= $seq)");
	return $seq;
}

sub verify
{
	my @arguments = @_;
	my $out = '';
	my $ok = IPC::Run::run([ 'sh', $verify, @arguments ], '<', \undef, '>&', \$out);
	return ($ok ? 1 : 0, $out);
}

sub holds
{
	my ($what, @arguments) = @_;
	my ($ok, $out) = verify(@arguments);
	ok($ok, "whole: $what") or diag($out);
	return;
}

sub found
{
	my ($what, $how, @arguments) = @_;
	my ($ok, $out) = verify(@arguments);
	ok(!$ok, "found: $what") or diag($out);
	like($out, $how, '... and how');
	return;
}

for (1 .. 3)
{
	as('app', "SELECT email FROM victim;\n" x 5);
	digested();
}
my $upto = digested();
my $pem = write_to("$tmp/key.pem", $node->safe_psql('postgres', 'SELECT dataprotect.digest_public_pem()') . "\n");

my $kms_pem = write_to("$tmp/kms.pem", $node->safe_psql('postgres', 'SELECT dataprotect.digest_kms_public_pem()') . "\n");
isnt(slurp_file($kms_pem), slurp_file($pem), 'the KMS has a key of its own');

# ---- what was downloaded, with openssl alone ----
holds('what the sink was sent', $pem, glob "$tmp/shipped/*.jsonl");
holds('the log on the host, under the digests in the directory', $pem, host_log(), taken());
holds('and under the signature of the KMS', '-k', $kms_pem, $pem, host_log(), taken());
my @lines = grep { /^\{"metadata":\{"sequence":(\d+)/ && $1 <= $upto } split /\n/, slurp_file(host_log());
my $digests = taken();
my ($first_to) = slurp_file($digests) =~ /"to":(\d+)/;
for my $n (0, $first_to - 1, $#lines)
{
	my @changed = @lines;
	$changed[$n] =~ s/"status":"\w+"/"status":"nothing"/ or die $changed[$n];
	found('record ' . ($n + 1) . ' of the file was changed', qr/is not as it was/, $pem, write_to("$tmp/changed", join("\n", @changed) . "\n"), $digests);
	splice @changed, $n, 1;
	found('record ' . ($n + 1) . ' is missing', qr/are here/, $pem, write_to("$tmp/changed", join("\n", @changed) . "\n"), $digests);
}
my @digests = split /\n/, slurp_file($digests);
cmp_ok(scalar(@digests), '>', 2, 'there are digests');
found('a digest was taken away', qr/are not here|does not follow/, $pem, host_log(), write_to("$tmp/fewer", join("\n", @digests[0, 2 .. $#digests]) . "\n"));
(my $forged = $digests[0]) =~ s/"sha256":"[0-9a-f]{8}/"sha256":"00000000/;
found('a digest was changed', qr/signature/, $pem, host_log(), write_to("$tmp/forged", join("\n", $forged, @digests[1 .. $#digests]) . "\n"));
system("openssl genpkey -algorithm ed25519 -out $tmp/other.key && openssl pkey -in $tmp/other.key -pubout -out $tmp/other.pem") == 0 or die;
found('digests by another key', qr/signature/, "$tmp/other.pem", host_log(), $digests);

# Who can sign as the database does, and not as its KMS: his digests lack the one
# signature, or have another's.
my $last = $digests[-1] =~ s/,"kms":\{"algorithm".*$/}/r;
isnt($last, $digests[-1], 'the newest digest has a signature of the KMS');
my $unsigned = write_to("$tmp/unsigned", join("\n", @digests[0 .. $#digests - 1], $last) . "\n");
holds('without the key of the KMS its signature is not asked for', $pem, host_log(), $unsigned);
found('the newest digest has no signature of the KMS', qr/no signature of the KMS vouches/, '-k', $kms_pem, $pem, host_log(), $unsigned);
holds('one before it may lack it', '-k', $kms_pem, $pem, host_log(),
	write_to("$tmp/gap", join("\n", (map { s/,"kms":\{"algorithm".*$/}/r } @digests[0 .. $#digests - 1]), $digests[-1]) . "\n"));
my ($of_another) = $digests[-2] =~ /("kms":\{.*)$/;
(my $moved = $digests[-1]) =~ s/"kms":\{.*$/$of_another/ or die;
found('its signature is of another digest', qr/signature of the KMS is not that/, '-k', $kms_pem, $pem, host_log(),
	write_to("$tmp/moved", join("\n", @digests[0 .. $#digests - 1], $moved) . "\n"));
found('it is by another key', qr/signature of the KMS is not that/, '-k', "$tmp/other.pem", $pem, host_log(), $digests);

# ---- a KMS that does not sign: the log goes on, and tells ----
my ($kms_file) = glob kms_dir($node) . '/*.ed25519';
chmod 0666, $kms_file or die $!;
as('app', "SELECT email FROM victim;\n" x 5);
digested();
is(as('auditor', 'SELECT kms_uri IS NULL FROM dataprotect.audit_digests ORDER BY id DESC LIMIT 1'), 't', 'digests do without');
poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM dataprotect.alerts WHERE event = 'kms.failing' AND severity = 'high'");
is(as('auditor', "SELECT outcome, detail ->> 'kms_uri' LIKE 'file://%' FROM dataprotect.audit_log WHERE event = 'kms.failing' ORDER BY seq LIMIT 1"), 'error|t', 'a KMS that fails is an event');
found('the tail that no KMS vouches for', qr/no signature of the KMS vouches/, '-k', $kms_pem, $pem, host_log(), taken());
chmod 0600, $kms_file or die $!;
as('app', "SELECT email FROM victim;\n" x 5);
digested();
poll_sql($node, 'postgres', "SELECT kms_uri IS NOT NULL FROM dataprotect.audit_digests ORDER BY id DESC LIMIT 1");
poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM dataprotect.alerts WHERE event = 'kms.recovered'");
digested();
poll_sql($node, 'postgres', "SELECT kms_uri IS NOT NULL FROM dataprotect.audit_digests ORDER BY id DESC LIMIT 1");
holds('the next signature vouches for those before it', '-k', $kms_pem, $pem, host_log(), taken());

# ---- the superuser who puts everything back on the host ----
# What the log, its signed head, its cursor and the digests were; then comes what
# is to be forgotten, and all of it is put back, with the files of the audit.
my @tables = qw(audit_batch audit_head audit_cursor audit_open audit_digest alert);
$node->safe_psql('postgres', "CREATE SCHEMA kept; " . join '', map { "CREATE TABLE kept.$_ AS TABLE dataprotect.$_; " } @tables);
my $kept_to = $node->safe_psql('postgres', 'SELECT seq FROM kept.audit_head');
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'friend', 'reveal')");
as('friend', "SELECT email FROM victim;\n" x 3);
$upto = digested();
my $evidence = taken();
holds('before the superuser', $pem, host_log(), $evidence);
$node->stop;
my $audit = $node->data_dir . '/pg_dataprotect_audit';
system("rm -rf $audit") == 0 or die;
$node->append_conf('postgresql.conf', "dataprotect.databases = 'none'\n");
$node->start;
$node->safe_psql('postgres', join '', map { "DELETE FROM dataprotect.$_; INSERT INTO dataprotect.$_ SELECT * FROM kept.$_; " } @tables);
$node->append_conf('postgresql.conf', "dataprotect.databases = '*'\n");
$node->restart;
as('app', "SELECT email FROM victim;\n" x 10);
digested();
is(as('auditor', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the host itself knows nothing of it');
is(as('auditor', "SELECT count(*) FROM dataprotect.audit_log WHERE session_role = 'friend'"), '0', 'who read is gone from its log');
found('the log was put back', qr/are here|is not as it was/, $pem, host_log(), $evidence);

# ---- ... and who puts policy back, with its journal ----
my @policy = qw(access_grant policy_journal);
$node->safe_psql('postgres', "DROP SCHEMA kept CASCADE; CREATE SCHEMA kept; " . join '', map { "CREATE TABLE kept.$_ AS TABLE dataprotect.$_; " } @policy);
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'friend')");
digested();
unlink glob "$tmp/digests/*.json";
$node->safe_psql('postgres', "UPDATE dataprotect.audit_digest SET filed = false");
digested();
my $count = $node->safe_psql('postgres', 'SELECT max(id) FROM dataprotect.audit_digest');
$node->safe_psql('postgres', join '', map { "DELETE FROM dataprotect.$_; INSERT INTO dataprotect.$_ OVERRIDING SYSTEM VALUE SELECT * FROM kept.$_; " } @policy);
is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.verify_policy() WHERE rel IN ('dataprotect.access_grant', 'dataprotect.policy_journal')"),
	'0', 'verify_policy() knows nothing of it');
ok(poll_sql($node, 'postgres', "SELECT max(id) > $count AND bool_and(filed) FROM dataprotect.audit_digest"), 'the next digest');
found('policy was put back', qr/policy was put back/, $pem, host_log(), taken());

done_testing();
