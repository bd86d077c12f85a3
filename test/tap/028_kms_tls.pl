# If this fails, a KMS is not spoken to over TLS, or one is that shows no certificate
# of the authorities that are trusted, or the certificate of another name.
#
# The KMS is moto, which speaks Amazon's protocol, by its own TLS; with stunnel in
# PATH, that stands in front of a second one.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

plan skip_all => 'moto is not there (DP_MOTO_ROOT)' if !have_moto();

my $tmp = PostgreSQL::Test::Utils::tempdir();
sub openssl
{
	my (@arguments) = @_;
	my $out = '';
	IPC::Run::run([ 'openssl', @arguments ], '<', \undef, '>&', \$out) or die "openssl @arguments: $out";
	return;
}
# An authority of its own each, and what it says of a server.
sub authority
{
	my ($name, $host) = @_;
	openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', "/CN=authority $name",
		'-keyout', "$tmp/$name.ca.key", '-out', "$tmp/$name.ca.pem");
	openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', "/CN=$name",
		'-keyout', "$tmp/$name.key", '-out', "$tmp/$name.csr");
	append_to_file("$tmp/$name.ext", "subjectAltName = $host\n");
	openssl('x509', '-req', '-days', '2', '-in', "$tmp/$name.csr", '-CA', "$tmp/$name.ca.pem", '-CAkey', "$tmp/$name.ca.key", '-CAcreateserial',
		'-extfile', "$tmp/$name.ext", '-out', "$tmp/$name.pem");
	return;
}
authority('good', 'DNS:localhost');
authority('elsewhere', 'DNS:kms.example.org');
append_to_file("$tmp/both.pem", slurp_file("$tmp/good.ca.pem") . slurp_file("$tmp/elsewhere.ca.pem"));

sub uri { return "aws-kms://alias/$_[0]?region=eu-central-1"; }
my $uri = uri('pii');
delete local @ENV{qw(AWS_PROFILE AWS_SHARED_CREDENTIALS_FILE)};
local $ENV{AWS_ACCESS_KEY_ID} = 'AKIAFROMTHEENVIRONMENT';
local $ENV{AWS_SECRET_ACCESS_KEY} = 'secret/from+the+environment';

my $node = new_node('kms_tls', start => 0, conf => "dataprotect.kms_allowed = 'aws-kms://*'\ndataprotect.kms_timeout = 10s\n");

# A moto whose TLS it is, or that of stunnel, by that certificate; the root of ours is made in it.
sub moto_behind
{
	my ($certificate, $alias, $stunnel) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $moto = start_moto($port, $stunnel ? () : ('-s', '-c', "$tmp/$certificate.pem", '-k', "$tmp/$certificate.key"));
	my ($front, $log) = (undef, '');
	if ($stunnel)
	{
		my $to = $port;
		$port = PostgreSQL::Test::Cluster::get_free_port();
		append_to_file("$tmp/stunnel.conf", "foreground = yes\npid =\n[kms]\naccept = 127.0.0.1:$port\nconnect = 127.0.0.1:$to\ncert = $tmp/$certificate.pem\nkey = $tmp/$certificate.key\n");
		$front = IPC::Run::start([ $stunnel, "$tmp/stunnel.conf" ], '<', \undef, '>&', \$log);
	}
	my $call = sub {
		my ($action, $json) = @_;
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'curl', '-sS', '--cacert', "$tmp/$certificate.ca.pem", '--connect-to', "kms.example.org:$port:127.0.0.1:$port", '-H', 'Content-Type: application/x-amz-json-1.1',
				'-H', "X-Amz-Target: TrentService.$action", '-H', 'Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=0',
				'-d', $json, 'https://' . ($certificate eq 'good' ? 'localhost' : 'kms.example.org') . ":$port/" ], '<', \undef, '>', \$out, '2>', \$err) or return;
		return $out;
	};
	my $root;
	poll_until('moto over TLS', sub { ($root) = ($call->('CreateKey', '{}') // '') =~ /"KeyId": ?"([^"]+)"/; return defined $root }) or die $moto->{log} . $log;
	$call->('CreateAlias', "{\"AliasName\":\"alias/$alias\",\"TargetKeyId\":\"$root\"}");
	return ("https://localhost:$port", $moto, $front);
}

sub use_endpoint
{
	my ($endpoint, $ca) = @_;
	$node->append_conf('postgresql.conf', "dataprotect.kms_aws_endpoint = '$endpoint'\ndataprotect.kms_ca_file = '$tmp/$ca.pem'\n");
	$node->restart if $node->{_pid};
	$node->start if !$node->{_pid};
	return;
}

SKIP:
{
	skip 'no curl', 1 if system('sh', '-c', 'command -v curl >/dev/null') != 0;
	my ($endpoint, $moto) = moto_behind('good', 'pii');
	use_endpoint($endpoint, 'good.ca');
	create_extension($node);
	$node->safe_psql('postgres', <<"SQL");
CREATE ROLE app LOGIN;
SELECT dataprotect.create_key('of_the_system');
SELECT dataprotect.create_key('pii', ARRAY['$uri']), dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE t (v encrypted_text('pii'));
INSERT INTO t VALUES ('over TLS');
GRANT SELECT ON t TO app;
SQL
	$node->restart;
	is($node->safe_psql('postgres', 'SELECT v FROM t', extra_params => [ '-U', 'app' ]), 'over TLS', 'a key is wrapped, and opened after a restart, over TLS');
	use_endpoint($endpoint, 'elsewhere.ca');
	my ($rc, $out, $err) = $node->psql('postgres', 'SELECT v FROM t', extra_params => [ '-U', 'app' ]);
	like($err, qr/could not fetch key.*certificate/is, 'a certificate of an authority that is not trusted is refused');
	use_endpoint($endpoint, 'good.ca');
	is($node->safe_psql('postgres', 'SELECT v FROM t', extra_params => [ '-U', 'app' ]), 'over TLS', 'and nothing is lost by it');
	stop_moto($moto);

	($endpoint, $moto) = moto_behind('elsewhere', 'other');
	use_endpoint($endpoint, 'both');
	psql_fails($node, 'postgres', "SELECT dataprotect.create_key('other', ARRAY['" . uri('other') . "'])", qr/certificate|SSL/i, 'and so is the certificate of another host');
	stop_moto($moto);

	my ($stunnel) = grep { -x } map { my $folder = $_; map { "$folder/$_" } qw(stunnel stunnel4) } split /:/, "$ENV{PATH}:/usr/sbin:/usr/bin";
	skip 'stunnel is not there', 1 if !defined $stunnel;
	($endpoint, $moto, my $front) = moto_behind('good', 'through', $stunnel);
	use_endpoint($endpoint, 'good.ca');
	$node->safe_psql('postgres', "SELECT dataprotect.create_key('through', ARRAY['" . uri('through') . "'])");
	is($node->safe_psql('postgres', "SELECT bool_and(ok) FROM dataprotect.drill() WHERE key = 'through'"), 't', 'stunnel stands in front of a KMS');
	$front->kill_kill(grace => 0);
	stop_moto($moto);
}
$node->stop('immediate');
done_testing();
