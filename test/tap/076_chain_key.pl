# If this fails, another key for the chain of the audit log loses a record, lets who
# knows the old key write the log anew, or breaks what verifies the log elsewhere.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

use File::Basename;
use IPC::Run ();

my $verify_digests = dirname(__FILE__) . '/../../doc/verify_digests.sh';
my $tmp = PostgreSQL::Test::Utils::tempdir();
mkdir "$tmp/$_" for qw(shipped digests);
my $node = new_node('chain_key', conf => <<"CONF");
dataprotect.sinks_allowed = 'file://$tmp/shipped'
dataprotect.digest_directory = '$tmp/digests'
dataprotect.digest_interval = 1s
dataprotect.worker_naptime = 1s
CONF
create_extension($node);
sub sql { my ($sql, $database) = @_; return $node->safe_psql($database // 'postgres', $sql) }

sql(<<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'));
INSERT INTO person SELECT i, 'mail' || i FROM generate_series(1, 20) AS i;
GRANT SELECT ON person TO app;
SQL
sql("SELECT dataprotect.create_sink('shipped', 'file://$tmp/shipped')");

sub read_as_app
{
	my ($n, $database) = @_;
	$node->safe_psql($database // 'postgres', "SELECT email FROM person WHERE id = $_", extra_params => [ '-U', 'app' ]) for 1 .. $n;
	return;
}

# Everything so far is stored, under a digest and with the sink; up to which record.
sub settled
{
	my $seq = sql('SELECT dataprotect.flush_audit_log() \g /dev/null
SELECT seq FROM dataprotect.audit_head');
	poll_sql($node, 'postgres', "SELECT max(d.seq_to) >= $seq AND bool_and(t.filed) FROM dataprotect.audit_digests d JOIN dataprotect.audit_digest t USING (id)");
	poll_sql($node, 'postgres', "SELECT bool_and(state = 'ok' AND cursor >= $seq) FROM dataprotect.sinks");
	return $seq;
}

sub verdict { return sql('SELECT ok, first_bad, detail FROM dataprotect.verify_audit_log()') }

read_as_app(5);
settled();
my $old_pem = sql('SELECT dataprotect.digest_public_pem()');
sql(q{CREATE TABLE signed_before AS SELECT dataprotect._sign_document('{"a": 1}') AS document});

read_as_app(7);
my $before = settled();

is(sql(q{SELECT string_agg(key || ' ' || version, ', ' ORDER BY key) FROM dataprotect.rotate_system_keys()}),
	'audit chain 2, audit seal 2, literal 2, policy 2', 'the key of the chain is among those that are replaced');
is(sql("SELECT count(*) FROM dataprotect.key_versions WHERE name = 'system' AND purpose = 'audit chain' AND state = 'retired'"), '1', 'the old one stays');
is(verdict(), 't||', 'the log is whole at once');
read_as_app(5);
settled();
is(verdict(), 't||', 'and goes on');
sql('SELECT count(*) FROM dataprotect.rotate_system_keys()') for 1 .. 2;
read_as_app(3);
my $newest = settled();
is(verdict(), 't||', 'two more keys, one after the other');
is(sql('SELECT count(*), count(DISTINCT new_key) FROM dataprotect.audit_link'), '3|3', 'a link each');
is(sql("SELECT array_agg(seq ORDER BY seq) = (SELECT array_agg(g) FROM generate_series(1::int8, ($newest)::int8) g) FROM dataprotect.audit_record WHERE seq <= $newest"), 't',
	'no record is missing and none is there twice');
is(sql('SELECT count(*) FROM dataprotect.verify_policy()'), '0', 'policy is whole');
unlike(slurp_file($node->logfile), qr/was altered|could not (?:sign|read)|audit records do not reach/, 'nobody takes what was signed anew for altered');

# ---- what is altered shows, each in a transaction that is rolled back ----
sub tampered
{
	my ($name, $sql, $first_bad, $detail) = @_;
	my $out = sql("BEGIN; $sql; SELECT ok, first_bad, detail FROM dataprotect.verify_audit_log(); ROLLBACK");
	like($out, qr/^f\|$first_bad\|.*$detail/, $name);
	return;
}
my $l = 'dataprotect.audit_link';
my ($end) = sql("SELECT seq FROM $l WHERE number = 1");
my $behind = $end + 1;
cmp_ok($end, '>=', $before, 'the first link is behind what was there');
my $links = qr/what links the keys/;
tampered('the only link before the newest keys is removed', "DELETE FROM $l WHERE number = 1", '\d+', $links);
tampered('the newest link is removed', "DELETE FROM $l WHERE number = 3", '\d+', $links);
tampered('all are removed', "DELETE FROM $l", '\d+', '.');
tampered('a link is said to be elsewhere', "UPDATE $l SET seq = seq - 1 WHERE number = 1", '\d+', $links);
tampered('its MAC is another', "UPDATE $l SET mac = sha256('x') WHERE number = 1", $behind, $links);
tampered('the signature of the old key is another', "UPDATE $l SET old_sig = new_sig WHERE number = 1", $behind, $links);
tampered('the signature of the new key is another', "UPDATE $l SET new_sig = old_sig WHERE number = 1", $behind, $links);
tampered('a record under the old key is altered', "UPDATE dataprotect.audit_batch SET ring_to = ring_to + 1 WHERE seq_from = 1", 1, 'altered');
tampered('a batch under the old key is removed', 'DELETE FROM dataprotect.audit_batch WHERE seq_from = 1', 1, 'missing');
tampered('the key that was replaced is removed', "SET session_replication_role = replica; DELETE FROM dataprotect.key_version WHERE family = 0 AND purpose = 7 AND version = 1",
	'\d+', '.');

# ---- elsewhere, with openssl alone and the public key from before ----
sub write_to { my ($file, $text) = @_; unlink $file; append_to_file($file, $text); return $file }
sub digests_hold
{
	my ($what, $expected, @arguments) = @_;
	my $out = '';
	my $ok = IPC::Run::run([ 'sh', $verify_digests, @arguments ], '<', \undef, '>&', \$out);
	like(($ok ? 'whole: ' : 'found: ') . $out, $expected, $what);
	return;
}
my $pem = write_to("$tmp/old.pem", "$old_pem\n");
my $lines = write_to("$tmp/lines", $node->safe_psql('postgres', 'SELECT line FROM dataprotect.audit_lines ORDER BY seq', extra_params => [ '-U', 'auditor' ]) . "\n");
my @digests = map { slurp_file($_) } sort glob "$tmp/digests/*.json";
my ($handed) = grep { $digests[$_] =~ /"key":\{"public":/ } 0 .. $#digests;
ok(defined $handed && $handed > 0, 'a digest names the key that takes over');
digests_hold('digests go on from one key to the next', qr/^whole/, $pem, $lines, write_to("$tmp/all", join '', @digests));
my %sent;
$sent{$_}++ for map { /^\{"metadata":\{"sequence":(\d+)/ ? $1 : () } map { split /\n/, slurp_file($_) } glob "$tmp/shipped/*.jsonl";
is(join(', ', grep { $sent{$_} > 1 } sort { $a <=> $b } keys %sent), '', 'no record was sent twice: how far the sink is, is known under the new key');
digests_hold('what the sink was sent as well', qr/^whole/, $pem, glob "$tmp/shipped/*.jsonl");
my $new_pem = write_to("$tmp/new.pem", sql('SELECT dataprotect.digest_public_pem()') . "\n");
isnt(slurp_file($new_pem), slurp_file($pem), 'the public key is another');
my ($last_handed) = reverse grep { $digests[$_] =~ /"key":\{"public":/ } 0 .. $#digests;
digests_hold('the newer ones alone, by their own key', qr/^whole/, $new_pem, $lines, write_to("$tmp/newer", join '', @digests[ $last_handed .. $#digests ]));
digests_hold('the first digest of the new key is not there', qr/^found.*(?:signature|does not say)/s, $pem, $lines, write_to("$tmp/gap", join '', @digests[ 0 .. $handed - 1, $handed + 1 .. $#digests ]));
digests_hold('the old key says nothing of the new one', qr/^found.*does not say/s, $pem, $lines,
	write_to("$tmp/unsaid", join '', map { s/"by":"[^"]{8}/"by":"AAAAAAAA/r } @digests));
is(sql(q{SELECT string_agg(signs || ' ' || version || ' ' || state, ', ' ORDER BY signs, version) FROM dataprotect.signing_keys()}),
	join(', ', map { my $what = $_; map { "$what $_ " . ($_ == 4 ? 'active' : 'retired') } 1 .. 4 } qw(certificates digests)), 'the public keys of all');
is(sql("SELECT public_pem FROM dataprotect.signing_keys() WHERE signs = 'digests' AND version = 1"), $old_pem, 'the one from before among them');

# ---- what was signed before stands ----
is(sql('SELECT dataprotect._is_signed_here(document) FROM signed_before'), 't', 'a document that the old key signed');
is(sql(q{SELECT dataprotect._is_signed_here(document || '{"a": 2}') FROM signed_before}), 'f', 'and no other');

# ---- a head that somebody else wrote is not vouched for ----
my $versions = q{SELECT string_agg(v::text, ' ' ORDER BY v::text) FROM dataprotect.key_versions v};
my $versions_before = sql($versions);
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE dataprotect.audit_head IN SHARE MODE');
$session->query_safe("UPDATE dataprotect.audit_head SET mac = sha256('x')");
my $rotation = $node->background_psql('postgres', on_error_stop => 0);
$rotation->query_until(qr/started/, "\\echo started\nSELECT count(*) FROM dataprotect.rotate_system_keys();\n");
poll_sql($node, 'postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'dataprotect.audit_head'::regclass AND mode = 'ExclusiveLock'});
$session->query_safe('COMMIT');
$session->quit;
$rotation->quit;
like(slurp_file($node->logfile), qr/cannot be replaced while the log is not as the extension left it/, 'a head that somebody wrote stops it');
is(sql('SELECT count(*) FROM dataprotect.audit_link'), '3', 'with nothing changed');
is(sql($versions), $versions_before, 'of no key');
read_as_app(1);
settled();
is(verdict(), 't||', 'the log has mended its head from what the ring remembers');

# ---- who holds the head keeps all keys from being replaced, and nobody holds it long ----
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE dataprotect.audit_head IN ROW SHARE MODE');
psql_fails($node, 'postgres', 'SELECT dataprotect.rotate_system_keys()', qr/cannot be replaced while its head is locked.*Nothing was changed/s, 'a session that holds the head');
is(sql($versions), $versions_before, 'no key was replaced');
$session->query_safe('COMMIT; BEGIN; SELECT dataprotect.verify_audit_log()');
is(sql(q{SELECT count(*) FROM pg_locks WHERE relation = 'dataprotect.audit_head'::regclass AND mode = 'RowShareLock' AND pid IN (SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction')}), '0',
	'who has verified the log does not');
is(sql('BEGIN; SELECT ok FROM dataprotect.verify_audit_log(); SELECT count(*) FROM dataprotect.rotate_system_keys(); COMMIT'), "t\n4", 'not even in the same transaction');
$session->query_safe('COMMIT');
$session->quit;
is(verdict(), 't||', 'one more key');

# ---- nobody has a head signed that is not there, or not where the links lead to ----
sub no_link
{
	my ($name, $sql) = @_;
	psql_fails($node, 'postgres', "BEGIN; $sql; SELECT dataprotect._link_chain()", qr/cannot be replaced while the log is not as the extension left it/, $name);
	return;
}
no_link('all links are gone', "DELETE FROM $l");
no_link('the newest is gone', "DELETE FROM $l WHERE number = 4");
no_link('it leads to another key', "UPDATE $l SET new_key = old_key WHERE number = 4");
no_link('a replaced key is made the current one',
	q{SET session_replication_role = replica; UPDATE dataprotect.key_version SET state = CASE version WHEN 1 THEN 'a' ELSE 'r' END::"char" WHERE family = 0 AND purpose = 7});

$node->stop;

# ---- who knows the old key: a copy of the database has it, and writes other records ----
$node = new_node('chain_forger');
create_extension($node);
sql(<<'SQL');
CREATE ROLE app LOGIN;
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'));
INSERT INTO person SELECT i, 'mail' || i FROM generate_series(1, 20) AS i;
GRANT SELECT ON person TO app;
SELECT dataprotect.flush_audit_log();
SQL
# A batch of his must end where the link is: copies differ in how many records they begin with.
sql("CREATE DATABASE forger$_ TEMPLATE postgres", 'template1') for 0 .. 3;
read_as_app(6);
sql('SELECT dataprotect.flush_audit_log()');
sql('SELECT count(*) FROM dataprotect.rotate_system_keys()');
sql('SELECT dataprotect.flush_audit_log()');
$end = sql("SELECT seq FROM $l");
my $forger;
COPIES: for my $n (0 .. 3)
{
	read_as_app($n, "forger$n");
	for (1 .. 30)
	{
		read_as_app(1, "forger$n");
		sql('SELECT dataprotect.flush_audit_log()', "forger$n");
		my ($at, $beyond) = split /\|/, sql("SELECT count(*) FILTER (WHERE seq_to = $end), count(*) FILTER (WHERE seq_to > $end) FROM dataprotect.audit_batch", "forger$n");
		$forger = "forger$n" if $at;
		last COPIES if $at;
		last if $beyond;
	}
}
ok(defined $forger, 'a copy has a batch that ends where the link is') or BAIL_OUT('no forged log');
is(sql('SELECT ok FROM dataprotect.verify_audit_log()', $forger), 't', 'by itself, what he wrote is whole');
is(verdict(), 't||', 'and what is there is');
sql("COPY (SELECT * FROM dataprotect.audit_batch WHERE seq_to <= $end) TO '$tmp/forged' (FORMAT binary)", $forger);
tampered('what is before the link is written anew under the key from before it',
	"CREATE TEMP TABLE forged (LIKE dataprotect.audit_batch); COPY forged FROM '$tmp/forged' (FORMAT binary); "
	  . "DELETE FROM dataprotect.audit_batch WHERE seq_to <= $end; INSERT INTO dataprotect.audit_batch SELECT * FROM forged", '\d+', 'when the key of the chain was replaced');
sql("COPY (SELECT * FROM dataprotect.audit_head) TO '$tmp/forged_head' (FORMAT binary)", $forger);
my $old_head = "CREATE TEMP TABLE head (LIKE dataprotect.audit_head); COPY head FROM '$tmp/forged_head' (FORMAT binary); "
  . 'DELETE FROM dataprotect.audit_head; INSERT INTO dataprotect.audit_head SELECT * FROM head';
no_link('a head under the old key', $old_head);
no_link('and no link that says that it is old', "DELETE FROM $l; $old_head");

$node->stop;
done_testing();
