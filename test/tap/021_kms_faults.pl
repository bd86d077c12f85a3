# If this fails, a KMS that misbehaves takes something down with it: a session
# hangs, another KMS is held up, a wrong key is taken for the right one, or the
# server does not recover by itself when the KMS does.
#
# The KMS here is DataProtect::KmsDouble, a double that misbehaves as told; the
# real protocol is tested against moto in 022.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use IPC::Run ();
use Time::HiRes qw(time);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::KmsDouble;
use DataProtect::SigV4;
use DataProtect::Test;

# The signer that judges the server is judged first: Amazon's published test
# suite (aws-sig-v4-test-suite), cases post-vanilla, post-x-www-form-urlencoded
# and post-sts-header-before.
my %suite = (
	method => 'POST', body => '', signed => [ 'host', 'x-amz-date' ],
	scope => '20150830/us-east-1/service/aws4_request',
	secret => 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
	headers => { host => 'example.amazonaws.com', 'x-amz-date' => '20150830T123600Z' });
my $sts_token = 'AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==';
is(sigv4_signature(%suite),
	'5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b', 'signer: post-vanilla');
is(sigv4_signature(%suite, body => 'Param1=value1', signed => [ 'content-type', 'host', 'x-amz-date' ],
		headers => { %{ $suite{headers} }, 'content-type' => 'application/x-www-form-urlencoded' }),
	'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a', 'signer: post-x-www-form-urlencoded');
is(sigv4_signature(%suite, signed => [ 'host', 'x-amz-date', 'x-amz-security-token' ],
		headers => { %{ $suite{headers} }, 'x-amz-security-token' => $sts_token }),
	'85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead', 'signer: post-sts-header-before');

my $key = join '', map { chr } 1 .. 32;
my $key_id = unpack 'q>', hmac_sha256("dataprotect key id v1\x01", $key);
my $uid = '12345678-9abc-def0-1234-56789abcdef0';
my $uri = 'aws-kms://arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
my $alias = 'aws-kms://alias/pii?region=us-west-2';
my $secret = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $kms = DataProtect::KmsDouble->start(dir => "$tmp/kms", key => $key);
my $credentials = "$tmp/credentials";

sub write_credentials
{
	my ($profile, $access_key, $more) = @_;
	unlink $credentials;
	append_to_file($credentials,
		"# for the test\n[other]\naws_access_key_id = WRONG\n\n[$profile]\naws_access_key_id=$access_key\n"
		  . "aws_secret_access_key = $secret\n" . ($more || ''));
	chmod 0600, $credentials;
	return;
}
write_credentials('default', 'AKIDEXAMPLE');

delete local @ENV{qw(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE)};
local $ENV{AWS_SHARED_CREDENTIALS_FILE} = $credentials;
local $ENV{AWS_CONFIG_FILE} = "$tmp/no_config";
local $ENV{AWS_EC2_METADATA_DISABLED} = 'true';
my $node = new_node('kms_faults', start => 0);
$node->append_conf('postgresql.conf', sprintf(<<'CONF', kms_dir($node), $kms->endpoint));
dataprotect.kms_allowed = 'aws-kms://*, file://%s/*'
dataprotect.kms_aws_endpoint = '%s'
dataprotect.kms_timeout = 2s
CONF
$node->start;
create_extension($node);

# One key, known to be wrapped as "blob" under each URI that is asked here.
my @uris = ($uri, $alias, 'aws-kms://alias/pii?region=cn-north-1', kms_uri($node));
$node->safe_psql('postgres', <<"SQL");
UPDATE dataprotect.instance SET uid = '$uid';
INSERT INTO dataprotect.epoch (key_id, epoch, kms_uri, wrapped)
	SELECT $key_id, 7, array_agg(u), array_agg('blob'::bytea) FROM unnest('{@{[join ',', @uris]}}'::text[]) u
SQL

sub drill_sql
{
	my ($of) = @_;
	return "SELECT coalesce(p.sqlstate || ' ' || p.detail, 'ok') FROM dataprotect.epoch e, "
	  . "LATERAL dataprotect._epoch_probe(e.key_id, array_position(e.kms_uri, '$of')) p";
}

# The circuit stays open for a second after three failures: ask again until it
# has been asked.
sub drill
{
	my ($of) = @_;
	return $node->safe_psql('postgres', drill_sql($of || $uri));
}

sub circuit
{
	return $node->safe_psql('postgres', "SELECT circuit FROM dataprotect.kms_status WHERE kms_uri = '$uri'");
}

sub recovered
{
	my ($what) = @_;
	$kms->mode('ok');
	my $started = time;
	my $ok = poll_until("recovery after $what", sub { return drill() eq 'ok' });
	ok($ok && time - $started < 5, "works again after $what, with no restart");
	return;
}

is(drill(), 'ok', 'a good reply opens the key');

# What was sent, and its signature.
my ($request) = $kms->requests;
my $seen = sigv4_verify($request, $secret);
ok($seen->{ok}, 'signature agrees with the independent signer');
is($seen->{access_key}, 'AKIDEXAMPLE', 'access key of the default profile');
like($seen->{scope}, qr{^\d{8}/eu-central-1/kms/aws4_request$}, 'scope names the region of the ARN and kms');
is($seen->{headers}{'x-amz-target'}, 'TrentService.Decrypt', 'action is Decrypt');
ok($seen->{signed}{'x-amz-target'} && $seen->{signed}{'x-amz-date'} && $seen->{signed}{host},
	'target, date and host are signed');
like($request->{body}, qr/"KeyId":"arn:aws:kms:eu-central-1:123456789012:key\/1234abcd-/, 'the root is named');
like($request->{body}, qr/"CiphertextBlob":"YmxvYg=="/, 'the blob is sent as base64');
my $hex_id = unpack 'H*', pack('q>', $key_id);
like($request->{body}, qr/"EncryptionContext":\{"dataprotect:database":"$uid","dataprotect:key_id":"$hex_id","dataprotect:version":"7","dataprotect:purpose":"epoch"\}/,
	'encryption context');

is(drill($alias), 'ok', 'an alias works');
$request = ($kms->requests)[-1];
$seen = sigv4_verify($request, $secret);
ok($seen->{ok} && $seen->{scope} =~ m{/us-west-2/kms/}, 'region of the query is in the signature');
unlike($request->{body}, qr/KeyId/, 'an alias may have moved: Decrypt does not name it');

# Credentials change on disk; a session token is sent and signed.
my $token = 'T' . 'abc/+=' x 300;
write_credentials('default', 'ASIANEXT', "aws_session_token=$token\n");
is(drill(), 'ok', 'the next credentials work without a restart');
$seen = sigv4_verify(($kms->requests)[-1], $secret);
ok($seen->{ok}, 'signature with a session token agrees');
is($seen->{access_key}, 'ASIANEXT', 'credentials are read again when the file changed');
ok($seen->{headers}{'x-amz-security-token'} eq $token && $seen->{signed}{'x-amz-security-token'},
	'the session token is sent and signed');
rename $credentials, "$credentials.away";
like(drill(), qr/^F0000 .*no AWS credentials/, 'no credentials is an error that says so');
rename "$credentials.away", $credentials;
is(drill(), 'ok', 'and they are found again');

# Answers that mean no.  None of them opens the circuit.
for my $case (
	[ 'error:AccessDeniedException', '42501' ], [ 'error:UnrecognizedClientException', '42501' ],
	[ 'error:InvalidSignatureException', '42501 .*clock is off' ], [ 'error:NotFoundException', '42704' ], [ 'error:DisabledException', '55000' ],
	[ 'error:KMSInvalidStateException', '55000' ], [ 'error:InvalidCiphertextException', 'XX001' ],
	[ 'error:IncorrectKeyException', 'XX001' ], [ "error:x\ny", '08P01' ],
	[ 'status:403', '08P01' ], [ 'redirect', '08P01' ], [ 'garbage', '08P01' ], [ 'empty', '08P01' ],
	[ 'truncated', '08P01' ], [ 'deep', '08P01' ], [ 'shortkey', '08P01' ], [ 'badbase64', '08P01' ],
	[ 'doubled', '08P01' ], [ 'wrongkey', 'XX001' ])
{
	my ($mode, $sqlstate) = @$case;
	my $before = $kms->requests;
	my $name = $mode =~ s/\n/ /r;
	$kms->mode($mode);
	my $answer = drill();
	like($answer, qr/^$sqlstate\b/, "$name is SQLSTATE $sqlstate");
	unlike($answer, qr/secret-in-message/, "$name: the KMS's own words are not repeated");
	is(scalar($kms->requests), $before + 1, "$name is asked once");
}
is(circuit(), 'closed', 'a KMS that says no keeps its circuit closed');
recovered('refusals');

# Failures that may pass: tried three times, then the circuit opens.
for my $mode ('status:500', 'status:503', 'error:KMSInternalException', 'error:ThrottlingException', 'close', 'short', 'huge')
{
	my $before = $kms->requests;
	$kms->mode($mode);
	like(drill(), qr/^08006 /, "$mode is SQLSTATE 08006");
	# libcurl itself asks once more where a connection kept open turns out closed.
	my $sent = $kms->requests - $before;
	ok($sent == 3 || ($mode eq 'close' && $sent == 4), "$mode is tried three times");
	is(circuit(), 'open', "$mode three times opens the circuit");
	like(drill(), qr/^08006 /, "$mode: refused while the circuit is open");
	is(scalar($kms->requests), $before + $sent, "$mode: and nothing was sent");
	recovered($mode);
	is(circuit(), 'closed', "$mode: circuit is closed again");
}

$kms->mode('throttle:2');
is(drill(), 'ok', 'throttled twice, then answered: one request of ours succeeds');

# A KMS that hangs.
$kms->mode('hang');
my $started = time;
like(drill(), qr/^08006 /, 'a KMS that hangs is SQLSTATE 08006');
my $took = time - $started;
ok($took > 1.5 && $took < 4, "and takes the time limit ($took s)");

my ($out, $err) = ('', '');
my @psql = ('psql', '-XAtq', '-d', $node->connstr('postgres'));
my $waiting = IPC::Run::start([ @psql, '-c', drill_sql($uri) ], '<', \undef, '>', \$out, '2>', \$err);
poll_sql($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%_epoch_probe%' AND wait_event = 'Extension' AND pid <> pg_backend_pid()", '1');
$started = time;
like(drill(kms_uri($node)), qr/^XX001 /, 'another KMS answers while one hangs');
ok(time - $started < 1, 'and at once');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%_epoch_probe%' AND pid <> pg_backend_pid()");
$started = time;
$waiting->finish;
ok(time - $started < 1.5 && $err =~ /canceling statement due to user request/, 'a waiting session can be cancelled');

# The agent ends in the middle of a request: its successor takes it over.
recovered('hang');
$node->safe_psql('postgres', "ALTER SYSTEM SET dataprotect.kms_timeout = '20s'");
$node->reload;
poll_sql($node, 'postgres', "SELECT setting FROM pg_settings WHERE name = 'dataprotect.kms_timeout'", '20000');
$kms->mode('hang');
($out, $err) = ('', '');
my $before = $kms->requests;
$waiting = IPC::Run::start([ @psql, '-c', drill_sql($uri) ], '<', \undef, '>', \$out, '2>', \$err);
poll_until('the request to hang', sub { return $kms->requests > $before });
$kms->mode('ok');
kill 'TERM', key_agents($node);
$waiting->finish;
is("$out$err", "ok\n", 'a request outlives the agent that worked on it');

# More requests than slots, all of them hanging: nobody waits for ever, and the
# slots come back.
$node->safe_psql('postgres', "ALTER SYSTEM SET dataprotect.kms_timeout = '2s'");
$node->reload;
poll_sql($node, 'postgres', "SELECT setting FROM pg_settings WHERE name = 'dataprotect.kms_timeout'", '2000');
$kms->mode('hang');
my @many = map {
	my ($o, $e) = ('', '');
	{ o => \$o, h => IPC::Run::start([ @psql, '-c', drill_sql($uri) ], '<', \undef, '>', \$o, '2>', \$e) }
} 1 .. 80;
$_->{h}->finish for @many;
is(scalar(grep { ${ $_->{o} } =~ /^08006 / } @many), 80, '80 requests to a hanging KMS all end with an error');
recovered('80 hanging requests');

# Nothing secret in the log.
my $log = slurp_file($node->logfile);
unlike($log, qr/\Q$secret\E|\Q$token\E|secret-in-message/, 'no credential in the server log');
like($log, qr/KMS ".*" does not answer/, 'the log says that the KMS went away');
like($log, qr/KMS ".*" answers again/, 'and that it came back');

# Plain http is for loopback only.
$node->append_conf('postgresql.conf', "dataprotect.kms_aws_endpoint = 'http://kms.example.com'\n");
$node->restart;
like(drill(), qr/^F0000 .*kms_aws_endpoint must be https/, 'plain http to another machine is refused');

# TLS: an unknown certificate is refused, a known one is accepted.
system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
	'-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
	'-keyout', "$tmp/tls.key", '-out', "$tmp/ca.pem");
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $stop_tls = start_tls($port);
$node->append_conf('postgresql.conf', "dataprotect.kms_aws_endpoint = 'https://localhost:$port'\n");
$node->restart;
like(drill(), qr/^08006 .*certificate/, 'a certificate that nobody vouches for is refused');
$stop_tls->();

$stop_tls = start_tls($port);
$node->append_conf('postgresql.conf', "dataprotect.kms_ca_file = '$tmp/ca.pem'\n");
$node->restart;
like(drill(), qr/^42501 .*AccessDeniedException/, 'with dataprotect.kms_ca_file it is accepted');
$stop_tls->();

$node->stop;

# Without an endpoint of our own: Amazon's for the region, by the proxy that the
# environment names.  The double stands in for the proxy and lets nothing through.
$node->append_conf('postgresql.conf', "dataprotect.kms_aws_endpoint = ''\n");
$kms->mode('status:403');
for my $case ([ $alias, 'kms.us-west-2.amazonaws.com' ], [ $uris[2], 'kms.cn-north-1.amazonaws.com.cn' ])
{
	local $ENV{HTTPS_PROXY} = $kms->endpoint;
	$node->start;
	like(drill($case->[0]), qr/^08006 /, 'a proxy that refuses is an error');
	is(($kms->requests)[-1]->{line}, "CONNECT $case->[1]:443 HTTP/1.1", "endpoint is $case->[1]");
	$node->stop;
}

$kms->stop;
done_testing();

# openssl s_server, which sends one fixed reply to whoever gets through the
# handshake.  Returns how to stop it.
sub start_tls
{
	my ($tls_port) = @_;
	my $reply = '{"__type":"AccessDeniedException"}';
	my $said = '';
	my $server = IPC::Run::start(
		[ 'openssl', 's_server', '-quiet', '-accept', "127.0.0.1:$tls_port", '-cert', "$tmp/ca.pem", '-key', "$tmp/tls.key" ],
		'<pipe', \*TO_TLS, '>&', \$said);
	syswrite TO_TLS, "HTTP/1.1 400 Bad\r\nContent-Length: " . length($reply) . "\r\n\r\n$reply";

	# Not by connecting: the reply would go to that connection.
	my $listening = sprintf ':%04X 00000000:0000 0A', $tls_port;
	poll_until('openssl s_server', sub { return slurp_file('/proc/net/tcp') =~ /$listening/ });
	return sub { close TO_TLS; $server->kill_kill(grace => 0); return; };
}
