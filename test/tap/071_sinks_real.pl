# If this fails, records do not reach a real S3 (moto) or a real syslog (rsyslog) as
# they should: encrypted under a KMS key, signed, over verified TLS, framed.
use strict;
use warnings;

use IO::Socket::INET;
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use IPC::Run ();

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::SigV4;
use DataProtect::SinkDouble;
use DataProtect::Test;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $secret = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
append_to_file("$tmp/credentials", "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = $secret\n");
chmod 0600, "$tmp/credentials";
delete local @ENV{qw(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE)};
local $ENV{AWS_SHARED_CREDENTIALS_FILE} = "$tmp/credentials";

# Certificates: one authority that is trusted, and one that is not.
mkdir "$tmp/tls";
for my $name ('good', 'bad')
{
	system("cd $tmp/tls && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=$name -keyout $name-ca.key -out $name-ca.pem 2>log"
		  . " && openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout $name.key -out $name.csr 2>>log"
		  . " && printf 'subjectAltName=DNS:localhost' >ext && openssl x509 -req -in $name.csr -CA $name-ca.pem -CAkey $name-ca.key -CAcreateserial -days 30 -extfile ext -out $name.pem 2>>log") == 0
	  or die 'no certificates';
}

my $double = DataProtect::SinkDouble->start(dir => "$tmp/double");
my $moto = have_moto() ? start_moto() : undef;
my $endpoint = $double->endpoint;
$double->mode("forward:$moto->{port}") if $moto;

# Certificate and key for who sends; also one that everybody can read.
system("cd $tmp/tls && openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=database -keyout client.key -out client.csr 2>>log"
	  . " && openssl x509 -req -in client.csr -CA good-ca.pem -CAkey good-ca.key -CAcreateserial -days 30 -out client.crt 2>>log"
	  . " && mkdir -m 700 ../secrets && cat client.crt client.key >../secrets/client.pem && cp ../secrets/client.pem ../secrets/open.pem"
	  . " && chmod 600 ../secrets/client.pem && chmod 644 ../secrets/open.pem") == 0
  or die 'no client certificate';

# rsyslog, installed or unpacked in $DP_RSYSLOG_ROOT, with the tests' own configuration.
my @rsyslog;
my $root = $ENV{DP_RSYSLOG_ROOT} || '';
my ($program) = grep { -x } "$root/usr/sbin/rsyslogd", '/usr/sbin/rsyslogd';
my ($modules) = grep { -e "$_/lmnsd_gtls.so" } "$root/usr/lib/x86_64-linux-gnu/rsyslog", glob '/usr/lib/*/rsyslog';

sub start_rsyslog
{
	my ($port, $certificate, $file, $mode) = @_;
	my $conf = "$tmp/rsyslog-$port.conf";
	$mode ||= 'anon';
	unlink $conf;
	append_to_file($conf, <<"CONF");
global(workDirectory="$tmp" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off"
	defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="$tmp/tls/good-ca.pem"
	defaultNetstreamDriverCertFile="$tmp/tls/$certificate.pem" defaultNetstreamDriverKeyFile="$tmp/tls/$certificate.key")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="$mode")
template(name="whole" type="string" string="%pri%|%protocol-version%|%app-name%|%procid%|%msgid%|%msg%\\n")
input(type="imtcp" port="$port")
*.* action(type="omfile" file="$file" template="whole")
CONF
	local $ENV{LD_LIBRARY_PATH} = "$root/usr/lib/x86_64-linux-gnu" if $root ne '';
	my $process = IPC::Run::start([ $program, '-n', '-i', "$tmp/rsyslog-$port.pid", '-M', $modules, '-f', $conf ],
		'<', \undef, '>&', "$tmp/rsyslog-$port.out");
	push @rsyslog, $process;
	poll_until('rsyslog', sub { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) ? 1 : 0 });
	return $process;
}

END
{
	my $status = $?;
	$_->kill_kill for @rsyslog;
	$? = $status;
}

my ($port, $other, $strict) = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 3;
my $node = new_node('sinks_real', conf => <<"CONF");
dataprotect.sinks_allowed = 's3://audit/*, s3://double/*, syslog-tls://localhost:*, syslog-tls://127.0.0.1:*'
dataprotect.sink_s3_endpoint = '$endpoint'
dataprotect.sink_ca_file = '$tmp/tls/good-ca.pem'
dataprotect.sink_timeout = 5s
dataprotect.sink_secret_directory = '$tmp/secrets'
CONF
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE app LOGIN;
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE victim (id int, email encrypted_text('pii'));
INSERT INTO victim VALUES (1, 'anna@example.org');
GRANT SELECT ON victim TO app;
SQL

sub reads
{
	$node->safe_psql('postgres', "SELECT email FROM victim;\n" x $_[0], connstr => $node->connstr('postgres') . ' user=app');
	return;
}

sub wait_for
{
	my ($name) = @_;
	my $seq = $node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log() \g /dev/null
SELECT seq FROM dataprotect.audit_head');
	ok(poll_sql($node, 'postgres', "SELECT cursor >= $seq FROM dataprotect.sinks WHERE name = '$name'"), "$name is sent everything");
	return $seq;
}

sub log_lines
{
	return $node->safe_psql('postgres', "SELECT line FROM dataprotect.audit_lines WHERE seq <= $_[0] ORDER BY seq",
		connstr => $node->connstr('postgres') . ' user=auditor');
}

# ---- S3: the double keeps what moto, which checks no signature, is sent ----
SKIP:
{
	skip 'moto is not there (DP_MOTO_ROOT)', 14 if !$moto;
	my $http = sub {
		my ($method, $path, $body) = @_;
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $moto->{port}) or die "moto: $!";
		binmode $socket;
		print $socket "$method $path HTTP/1.1\r\nHost: 127.0.0.1:$moto->{port}\r\nConnection: close\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\nContent-Length: "
		  . length($body) . "\r\n\r\n$body";
		local $/;
		return split /\r\n\r\n/, scalar <$socket>, 2;
	};
	my ($head) = $http->('PUT', '/audit', '');
	like($head, qr/^HTTP\S+ 200/, 'a bucket');
	$node->safe_psql('postgres', q{SELECT dataprotect.create_sink('archive', 's3://audit/db/one?region=us-east-1', '{"kms_key_id": "alias/audit", "batch_size": 20}')});
	reads(60);
	my $upto = wait_for('archive');
	my (undef, $list) = $http->('GET', '/audit?list-type=2', '');
	my @keys = sort $list =~ m{<Key>([^<]+)</Key>}g;
	my ($plain, $all) = ('', '');
	for my $key (@keys)
	{
		my ($headers, $body) = $http->('GET', "/audit/$key", '');
		like($headers, qr/^x-amz-server-side-encryption: aws:kms\r?$/mi, "$key is encrypted by KMS") if $key eq $keys[0];
		like($headers, qr/^x-amz-server-side-encryption-aws-kms-key-id: alias\/audit\r?$/mi, '... under that key') if $key eq $keys[0];
		gunzip(\$body, \$plain) or die "gunzip: $GunzipError";
		$all .= $plain;
	}
	cmp_ok(scalar(@keys), '>', 2, 'an object for each batch');
	is(scalar(grep { !m{^db/one/\d{4}/\d\d/\d\d/[0-9a-f-]{36}/(\d{20}-\d{20}|digest-\d{20})\.jsonl\.gz$} } @keys), 0, 'named by date, database and sequence');
	my $records = join '', grep { /^\{"metadata":\{"sequence":(\d+)/ && $1 <= $upto } map { "$_\n" } split /\n/, $all;
	is($records, log_lines($upto) . "\n", 'all of them hold the log, in order');
	my $signed = sigv4_verify(($double->requests)[0], $secret);
	ok($signed->{ok}, 'a request is signed');
	is_deeply([ grep { !$signed->{signed}{$_} } qw(host x-amz-date x-amz-content-sha256 x-amz-server-side-encryption x-amz-server-side-encryption-aws-kms-key-id) ],
		[], '... with all that decides');
	like($signed->{scope}, qr{^\d{8}/us-east-1/s3/aws4_request$}, '... for S3');

	# Rows of a retention policy go there before they are removed.
	$node->safe_psql('postgres', <<'SQL');
CREATE TABLE visit (id int PRIMARY KEY, at timestamptz NOT NULL, who encrypted_text('pii'));
CREATE INDEX ON visit (at);
INSERT INTO visit SELECT i, now() - interval '2 years', 'person ' || i FROM generate_series(1, 50) i;
SELECT dataprotect.create_retention_policy('visit', 'visit', 'at', '1 year', 'archive', '{"archive": "s3://audit/rows?region=us-east-1"}');
SELECT dataprotect.activate_retention('visit');
SET dataprotect.retention_batch_size = 20;
CALL dataprotect.run_retention('visit');
SQL
	ok(poll_sql($node, 'postgres', 'SELECT count(*) = 0 FROM visit'), 'a policy archives to S3');
	(undef, $list) = $http->('GET', '/audit?list-type=2&prefix=rows', '');
	$all = '';
	for my $key ($list =~ m{<Key>([^<]+)</Key>}g)
	{
		my (undef, $body) = $http->('GET', "/audit/$key", '');
		gunzip(\$body, \$plain) or die "gunzip: $GunzipError";
		$all .= $plain;
	}
	is(scalar(keys %{ { map { $_ => 1 } $all =~ /"row": \{.*?"id": (\d+)/g } }), 50, '... every row');
	# A run that made room for others goes on with the numbers that it began with.
	$node->safe_psql('postgres', "SELECT dataprotect._deliver_rows('s3://audit/again?region=us-east-1', 'rows-x-1', 1, 1, 'line') FROM generate_series(1, 2)");
	(undef, $list) = $http->('GET', '/audit?list-type=2&prefix=again', '');
	is(scalar(() = $list =~ m{<Key>}g), 2, '... nothing over what is there');
	unlike($all, qr/person \d/, '... as it is stored');
}

# ---- syslog ----
SKIP:
{
	skip 'rsyslog with its TLS is not there (rsyslog, rsyslog-gnutls, or DP_RSYSLOG_ROOT)', 13 if !$program || !$modules;
	my $rsyslog = start_rsyslog($port, 'good', "$tmp/good.log");
	start_rsyslog($other, 'bad', "$tmp/bad.log");
	$node->safe_psql('postgres', <<"SQL");
SELECT dataprotect.create_sink('syslog', 'syslog-tls://localhost:$port');
SELECT dataprotect.create_sink('cef', 'syslog-tls://localhost:$port', '{"format": "cef", "select": "alerts"}');
SELECT dataprotect.create_sink('untrusted', 'syslog-tls://localhost:$other');
SELECT dataprotect.create_sink('misnamed', 'syslog-tls://127.0.0.1:$port');
SQL
	reads(30);
	my $upto = wait_for('syslog');
	wait_for('cef');
	my @lines;
	my $got = sub {
		@lines = map { /^(\d+)\|1\|dataprotect\|[0-9a-f-]{36}\|audit\| ?(\{.*\})$/ ? $2 : () } split /\n/, slurp_file("$tmp/good.log");
		return grep { /"sequence":$upto,/ } @lines;
	};
	ok(poll_until('the last record in the file', $got), 'rsyslog writes what it was sent');
	is(join("\n", grep { /^\{"metadata":\{"sequence":(\d+)/ && $1 <= $upto } @lines), log_lines($upto), 'the log, in order, as RFC 5424');
	like(slurp_file("$tmp/good.log"), qr/^\d+\|1\|dataprotect\|\S+\|audit\| ?CEF:0\|dataprotect\|dataprotect\|1\|access\.granted\|access\.granted\|6\|rt=\d+ externalId=\d+ outcome=\w+ suser=/m,
		'an alert as CEF');
	ok(poll_sql($node, 'postgres', "SELECT bool_and(failures > 0 AND cursor = 0) FROM dataprotect.sinks WHERE name IN ('untrusted', 'misnamed')"),
		'a certificate of another authority, or of another name, is not believed');
	ok(!-s "$tmp/bad.log", '... and nothing is sent there');

	# A receiver that wants a certificate of the sender: it is shown the one that the sink names.
	start_rsyslog($strict, 'good', "$tmp/strict.log", 'x509/certvalid');
	$node->safe_psql('postgres', <<"SQL");
SELECT dataprotect.create_sink('shown', 'syslog-tls://localhost:$strict', '{"format": "cef", "client_cert": "client.pem"}');
SELECT dataprotect.create_sink('unshown', 'syslog-tls://localhost:$strict');
SELECT dataprotect.create_sink('open', 'syslog-tls://localhost:$strict', '{"client_cert": "open.pem"}');
SQL
	wait_for('shown');
	ok(poll_until('a line of the sink with a certificate', sub { slurp_file("$tmp/strict.log") =~ /CEF:0/ }), 'a client certificate is shown');
	ok(poll_sql($node, 'postgres', "SELECT failures > 0 AND cursor = 0 AND last_error LIKE '%certificate%' FROM dataprotect.sinks WHERE name = 'open'"),
		'... but not one whose file others can read');
	unlike(slurp_file("$tmp/strict.log"), qr/"sequence":/, '... and without one nothing is taken');
	$node->safe_psql('postgres', "SELECT dataprotect.drop_sink(s) FROM unnest('{shown,unshown,open}'::text[]) s");

	# away, and back
	$rsyslog->kill_kill;
	reads(10);
	ok(poll_sql($node, 'postgres', "SELECT failures > 0 FROM dataprotect.sinks WHERE name = 'syslog'"), 'rsyslog is away');
	start_rsyslog($port, 'good', "$tmp/good.log");
	$upto = wait_for('syslog');
	poll_until('the last record in the file', $got);
	my %seen;
	is(join("\n", grep { /^\{"metadata":\{"sequence":(\d+)/ && $1 <= $upto && !$seen{$1}++ } @lines), log_lines($upto), 'nothing is lost when it is back');
}

my $log = slurp_file($node->logfile);
unlike($log, qr/\Q$secret\E/, 'no secret in the server log');
done_testing();
