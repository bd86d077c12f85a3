# If this fails, a root key in a KMIP server is not used, or one is that does not fit,
# or a server is spoken to that is not the right one.  The server is PyKMIP's.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $python = '/usr/bin/python3';
# It uses what Python has no more from 3.12 on.
plan skip_all => 'PyKMIP is not there, or not for this Python' if system("$python -c 'import ssl, kmip.services.server; ssl.wrap_socket' 2>/dev/null") != 0;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $port = PostgreSQL::Test::Cluster::get_free_port();
sub openssl
{
	my (@arguments) = @_;
	my $out = '';
	IPC::Run::run([ 'openssl', @arguments ], '<', \undef, '>&', \$out) or die "openssl @arguments: $out";
	return;
}
# An authority, and certificates by it.
sub authority
{
	my ($name) = @_;
	openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', "/CN=authority $name", '-keyout', "$tmp/$name.key", '-out', "$tmp/$name.pem");
	return;
}
sub certificate
{
	my ($by, $name, $extensions) = @_;
	openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', "/CN=$name", '-keyout', "$tmp/$name.key", '-out', "$tmp/$name.csr");
	append_to_file("$tmp/$name.ext", "$extensions\n");
	openssl('x509', '-req', '-days', '2', '-in', "$tmp/$name.csr", '-CA', "$tmp/$by.pem", '-CAkey', "$tmp/$by.key", '-CAcreateserial', '-extfile', "$tmp/$name.ext", '-out', "$tmp/$name.pem");
	append_to_file("$tmp/$name.both", slurp_file("$tmp/$name.pem") . slurp_file("$tmp/$name.key"));
	chmod 0600, "$tmp/$name.both";
	return;
}
authority($_) for qw(good bad);
certificate('good', 'server', 'subjectAltName = DNS:localhost, IP:127.0.0.1');
certificate('good', 'database', 'extendedKeyUsage = clientAuth');
certificate('good', 'somebody', 'extendedKeyUsage = clientAuth');
certificate('bad', 'stranger', 'extendedKeyUsage = clientAuth');

# The server, of one version of the protocol or of all; its process and what it forks.
mkdir "$tmp/policy";
append_to_file("$tmp/server.conf", <<"CONF");
[server]
hostname=127.0.0.1
port=$port
certificate_path=$tmp/server.pem
key_path=$tmp/server.key
ca_path=$tmp/good.pem
auth_suite=TLS1.2
policy_path=$tmp/policy
enable_tls_client_auth=True
logging_level=ERROR
database_path=$tmp/kmip.db
CONF
append_to_file("$tmp/serve.py", <<'PY');
import os, sys, warnings
warnings.filterwarnings('ignore')
os.setsid()
from kmip.core.messages import contents
from kmip.services.server import engine, server
if len(sys.argv) > 2:
    usual = engine.KmipEngine.__init__
    def of_version(self, *args, **more):
        usual(self, *args, **more)
        self._protocol_versions = [contents.ProtocolVersion(*map(int, sys.argv[2].split('.')))]
    engine.KmipEngine.__init__ = of_version
kmip = server.KmipServer(config_path=sys.argv[1] + '/server.conf', log_path=sys.argv[1] + '/server.log')
with kmip:
    kmip.serve()
PY
append_to_file("$tmp/keys.py", <<'PY');
import sys, warnings
warnings.filterwarnings('ignore')
from kmip.core import enums
from kmip.pie import client
tmp, port, who, version = sys.argv[1:5]
with client.ProxyKmipClient(hostname='127.0.0.1', port=int(port), cert=tmp + '/' + who + '.pem', key=tmp + '/' + who + '.key', ca=tmp + '/good.pem', ssl_version='PROTOCOL_TLSv1_2',
                            kmip_version=enums.KMIPVersion[version]) as kmip:
    for act in sys.argv[5:]:
        verb, what = act.split('=')
        if verb == 'make':
            bits, active, *usage = what.split(',')
            key = kmip.create(enums.CryptographicAlgorithm.AES, int(bits), cryptographic_usage_mask=[enums.CryptographicUsageMask[u] for u in usage or ['ENCRYPT', 'DECRYPT']])
            if active == 'active':
                kmip.activate(key)
            print(key)
        elif verb == 'revoke':
            kmip.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, what)
PY
my ($server, $said) = (undef, '');
sub start_server
{
	my (@version) = @_;
	$server = IPC::Run::start([ $python, "$tmp/serve.py", $tmp, @version ], '<', \undef, '>&', \$said);
	poll_until('the KMIP server', sub { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp') ? 1 : 0; }) or die $said;
	return;
}
sub stop_server
{
	return if !$server;
	kill 'KILL', -$server->{KIDS}[0]{PID};
	eval { $server->finish };
	undef $server;
	return;
}
END { my $status = $?; stop_server(); $? = $status; }
sub at_server
{
	my ($who, @acts) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $python, "$tmp/keys.py", $tmp, $port, $who, @acts ], '<', \undef, '>', \$out, '2>', \$err) or die "$err$said";
	return split /\n/, $out;
}
start_server();
my ($root, $short, $sleeping, $one_way, $old) = at_server('database', 'KMIP_1_4', 'make=256,active', 'make=128,active', 'make=256,not', 'make=256,active,ENCRYPT', 'make=256,active');

# The client's file is read for each call.
my $node = new_node('kms_kmip', start => 0);
my ($file, $ca) = (kms_dir($node) . '/client.pem', "$tmp/trusted.pem");
sub put
{
	my ($from, $to) = @_;
	append_to_file("$to.new", slurp_file($from));
	chmod 0600, "$to.new";
	rename "$to.new", $to;
	return;
}
put("$tmp/database.both", $file);
put("$tmp/good.pem", $ca);
$node->append_conf('postgresql.conf', <<"CONF");
dataprotect.kms_allowed = 'kmip://*, file://@{[kms_dir($node)]}/*'
dataprotect.key_cache_soft_ttl = 1d
dataprotect.kms_kmip_server = 'localhost:$port'
dataprotect.kms_kmip_client_cert = '$file'
dataprotect.kms_ca_file = '$ca'
CONF
$node->start;
create_extension($node);
$node->safe_psql('postgres', <<"SQL");
CREATE ROLE reader LOGIN;
SELECT dataprotect.create_key('of_the_system', ARRAY['@{[kms_uri($node)]}']);
SELECT dataprotect.create_key('pii', ARRAY['kmip://$root']), dataprotect.grant_access('pii', 'reader', 'reveal');
CREATE TABLE t (v encrypted_text('pii'));
GRANT SELECT ON t TO reader;
INSERT INTO t VALUES ('under the server');
SQL
sub seen { return $node->safe_psql('postgres', 'SELECT v FROM t', extra_params => [ '-U', 'reader' ]) }
sub drill
{
	my ($uri) = @_;
	return $node->safe_psql('postgres', "SELECT DISTINCT ok, coalesce(detail, '') FROM dataprotect.drill() WHERE key = 'pii' AND kms_uri LIKE 'kmip:%'");
}
is(seen(), 'under the server', 'a value under a key of the server is read');
like(drill(), qr/^t\|/, 'and a drill opens its epoch key there');
like($node->safe_psql('postgres', "SELECT encode(wrapped[1], 'hex') FROM dataprotect.epoch WHERE kms_uri = '{kmip://$root}'"), qr/^01[0-9a-f]{120}$/,
	'what is stored is format, IV, ciphertext and tag');
is($node->safe_psql('postgres', "SELECT provider, failures, circuit FROM dataprotect.kms_status WHERE kms_uri = 'kmip://$root'"), 'kmip|0|closed', 'kms_status knows the server');

# What does not fit is told apart.
sub probe
{
	my ($uri, $blob) = @_;
	return $node->safe_psql('postgres', <<"SQL");
BEGIN;
INSERT INTO dataprotect.epoch (key_id, epoch, kms_uri, wrapped) VALUES (1, 1, '{$uri}', ARRAY[$blob]);
SELECT sqlstate || ' ' || detail FROM dataprotect._epoch_probe(1, 1);
ROLLBACK;
SQL
}
sub refusal
{
	my ($id) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT dataprotect.create_key('k', ARRAY['kmip://$id'])");
	return $stderr;
}
my $blob = "(SELECT wrapped[1] FROM dataprotect.epoch WHERE kms_uri = '{kmip://$root}')";
like(probe("kmip://$root", $blob), qr/^XX001 The KMIP server could not open/, 'a wrapped key opens for its own key id alone');
like(probe("kmip://$root", "set_byte($blob, 20, get_byte($blob, 20) # 1)"), qr/^XX001 /, 'a changed one does not open');
like(probe("kmip://$root", "'\\x0102'::bytea"), qr/^XX001 The wrapped key was not made by a KMIP server/, 'another thing is none');
like(probe('kmip://999', $blob), qr/^42704 The KMIP server knows no key/, 'a key that is not there');
like(refusal($short), qr/55000.*no AES key of 256 bits/s, 'a key of 128 bits is refused');
like(refusal($sleeping), qr/55000.*not active/s, 'a key that is not active is refused');
like(refusal('999'), qr/42704.*knows no key/s, 'as is one that is not there');
is($node->safe_psql('postgres', "SELECT state FROM dataprotect._kms_root_state('kmip://$_')"), $_ eq $root ? 'enabled' : $_ eq '999' ? 'deleted' : 'disabled', "the state of a root: $_")
  for $root, $sleeping, '999';

# The server goes, and comes back with another version of the protocol.
stop_server();
like(drill(), qr/^f\|The KMIP server could not be asked/, 'a server that is gone is reported');
is(seen(), 'under the server', 'and keys in the cache go on');
start_server('2.0');
poll_until('the server to be asked again', sub { drill() =~ /^t\|/ });
pass('one that speaks version 2.0 alone is understood');
is($node->safe_psql('postgres', "SELECT dataprotect.create_key('newer', ARRAY['kmip://$old']); SELECT state FROM dataprotect._kms_root_state('kmip://$old')") =~ s/^\s+//r, 'enabled', 'in all that is asked of it');
stop_server();
start_server('1.4');
poll_until('the server to be asked again', sub { drill() =~ /^t\|/ });
pass('and the way back');

# A root ends at the server: by us, and by its owner.
$node->safe_psql('postgres', "SELECT dataprotect.rewrap_key('newer', ARRAY['@{[kms_uri($node)]}'])");
is($node->safe_psql('postgres', "SELECT state FROM dataprotect._kms_destroy_root('kmip://$old', 7)"), 'deleted', 'a root is revoked and destroyed');
is($node->safe_psql('postgres', "SELECT state FROM dataprotect._kms_destroy_root('kmip://$sleeping', 7)"), 'deleted', 'one that never was active, too');
at_server('database', 'KMIP_1_4', "revoke=$one_way");
is($node->safe_psql('postgres', "SELECT state FROM dataprotect._kms_root_state('kmip://$one_way')"), 'disabled', 'a root that was revoked opens nothing, and is there');
like(probe("kmip://$one_way", $blob), qr/^42501 .*not active/, 'which is what is said of it');

# Who is spoken to, and as whom.
chmod 0644, $file;
like(drill(), qr/^f\|The file of the client certificate has permissions 0644/, 'a file that others read is refused');
put("$tmp/somebody.both", $file);
like(drill(), qr/^f\|The KMIP server refused \(reason 0x0c\)/, 'a certificate without a right on the key');
put("$tmp/stranger.both", $file);
like(drill(), qr/^f\|The KMIP server could not be asked/, 'a certificate of an authority that the server does not know');
put("$tmp/database.both", $file);
put("$tmp/bad.pem", $ca);
$node->restart;
like(drill(), qr/^f\|.*certificate/i, 'a server of an authority that is not trusted');
put("$tmp/good.pem", $ca);

# What takes the connection and says nothing.
stop_server();
$node->append_conf('postgresql.conf', "dataprotect.kms_timeout = 1s\n");
$node->reload;
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 8, ReuseAddr => 1) or die $!;
poll_until('it to be asked', sub { drill() =~ /^f\|.*(?:time limit|timeout)/i });
pass('a server that says nothing is given up');
close $silent;
$node->append_conf('postgresql.conf', "dataprotect.kms_timeout = 10s\n");
start_server();
$node->restart;
is(seen(), 'under the server', 'and nothing was lost by all that');
$node->stop;
done_testing();
