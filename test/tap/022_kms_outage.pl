# If this fails, a KMS that goes away takes more with it than the values whose
# keys are not in the cache, or does not come back by itself, or every session
# asks it for the same key.
#
# The KMS is moto, which speaks Amazon's protocol.  DataProtect::KmsDouble stands
# in between only to count requests and to cut the line (moto forgets its keys
# when it stops).
use strict;
use warnings;

use IPC::Run ();
use Time::HiRes qw(time);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::KmsDouble;
use DataProtect::Test;

plan skip_all => 'moto is not there (DP_MOTO_ROOT)' if !have_moto();

my $moto = start_moto();
my $tmp = PostgreSQL::Test::Utils::tempdir();
my $line = DataProtect::KmsDouble->start(dir => "$tmp/line", key => 'x' x 32, mode => "forward:$moto->{port}");
my $uri = 'aws-kms://alias/pii?region=eu-central-1';

delete local @ENV{qw(AWS_PROFILE AWS_SHARED_CREDENTIALS_FILE)};
local $ENV{AWS_ACCESS_KEY_ID} = 'AKIAFROMTHEENVIRONMENT';
local $ENV{AWS_SECRET_ACCESS_KEY} = 'secret/from+the+environment';
local $ENV{AWS_SESSION_TOKEN} = 'token-from-the-environment';

my $node = new_node('kms_outage', start => 0, init => [ allows_streaming => 1 ]);
$node->append_conf('postgresql.conf', sprintf(<<'CONF', kms_dir($node), $line->endpoint));
dataprotect.kms_allowed = 'aws-kms://alias/*, file://%s/*'
dataprotect.kms_aws_endpoint = '%s'
dataprotect.kms_timeout = 2s
max_connections = 250
CONF
$node->start;
create_extension($node);
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');

# Ask moto itself, without a signature: it does not check them.
sub moto_call
{
	my ($action, $json) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $moto->{port}) or die "moto: $!";
	print $socket "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
	  . "Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=0\r\n"
	  . "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: TrentService.$action\r\n"
	  . 'Content-Length: ' . length($json) . "\r\n\r\n$json";
	local $/;
	return scalar readline $socket;
}
my ($root) = moto_call('CreateKey', '{}') =~ /"KeyId": ?"([^"]+)"/ or die 'moto made no key';
moto_call('CreateAlias', "{\"AliasName\":\"alias/pii\",\"TargetKeyId\":\"$root\"}");

sub sqlstate
{
	my ($sql, @more) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose', @more ]);
	return $rc == 0 ? "ok $out" : $err;
}

sub read_as_app
{
	my ($name, $on) = @_;
	return ($on || $node)->psql('postgres', "SELECT v FROM public.$name ORDER BY id LIMIT 1", extra_params => [ '-U', 'app' ]);
}

sub create_table
{
	my ($name, $key) = @_;
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE public.$name (id int PRIMARY KEY, v encrypted_text('$key'));
GRANT SELECT, INSERT ON public.$name TO app;
SELECT dataprotect.grant_access('$key', 'app', 'reveal');
INSERT INTO public.$name SELECT g, 'person ' || g FROM generate_series(1, 100) g;
SQL
	return;
}

# The first key is under two KMSs, one of which will be away; with it the
# system's own keys, without which nothing is read.
$node->safe_psql('postgres', "SELECT dataprotect.create_key('both', ARRAY['$uri', '" . kms_uri($node) . "'])");
create_table('twice', 'both');
$node->safe_psql('postgres', 'CREATE TABLE public.plain AS SELECT 1 AS one');

# Creation
my $before = $line->requests;
$node->safe_psql('postgres', "SELECT dataprotect.create_key('pii', ARRAY['$uri'])");
my @created = grep { $_->{body} =~ /"Plaintext"/ } splice @{ [ $line->requests ] }, $before;
is(scalar(@created), 1, 'create_key costs one Encrypt');
create_table('person', 'pii');
is((read_as_app('person'))[1], 'person 1', 'a value under an AWS key is read');
is($node->safe_psql('postgres', "SELECT provider, failures, circuit FROM dataprotect.kms_status WHERE kms_uri = '$uri'"),
	'aws-kms|0|closed', 'kms_status knows the URI');
is($node->safe_psql('postgres', "SELECT bool_and(ok), count(*), count(*) FILTER (WHERE key = 'pii' AND kms_uri = '$uri') FROM dataprotect.drill()"),
	't|5|1', 'drill opens each key from each KMS');

# Refused creation, and nothing left of it
for my $case (
	[ 'aws-kms://alias/nothere?region=eu-central-1', qr/42704.*NotFoundException/s, 'a root that is not there' ],
	[ 'aws-kms://alias/pii?region=us-east-1', qr/42704.*NotFoundException/s, 'a region without that root' ],
	[ 'aws-kms://alias/pii', qr/22023: +invalid KMS URI.*DETAIL.*region.*HINT/s, 'a URI without region' ],
	[ "aws-kms://$root?region=eu-central-1", qr/42501: .*not allowed.*HINT.*kms_allowed/s, 'a URI that is not allowed' ],
	[ 'gcp-kms://projects/pii', qr/0A000: .*gcp-kms.*DETAIL.*aws-kms/s, 'a scheme that is not supported' ])
{
	like(sqlstate("SELECT dataprotect.create_key('other', ARRAY['$case->[0]'])"), $case->[1], "create_key refuses $case->[2]");
}
is($node->safe_psql('postgres', 'SELECT string_agg(name, $$,$$ ORDER BY name) FROM dataprotect.keys'), 'both,pii', 'nothing is left of what was refused');

# The KMS goes away: what is in the arena goes on, in new sessions too.
$line->stop;
is((read_as_app('person'))[1], 'person 1', 'with the KMS away, keys in the arena go on');

# Restart without it.
$node->restart;
is($node->safe_psql('postgres', 'SELECT one FROM public.plain'), '1', 'the server starts without its KMS; unprotected tables work');
my $started = time;
like((read_as_app('person'))[2], qr/could not fetch key "pii".*KMS "\Q$uri\E"/s, 'a protected read names the key and the KMS');
ok(time - $started < 4, 'within the time limit');
like(sqlstate('SELECT v FROM public.person LIMIT 1', '-U', 'app'), qr/ERROR:  08006: /, 'SQLSTATE 08006');
is($node->safe_psql('postgres', 'SELECT count(*) FROM public.person'), '100', 'a statement that opens nothing works on the protected table');
is((read_as_app('twice'))[1], 'person 1', 'a key under a second KMS opens from there');
like(sqlstate("SELECT dataprotect.create_key('late', ARRAY['$uri'])"), qr/08006/, 'create_key fails while the KMS is away');

# It is there again, but hangs: the second KMS still gets its share of the time.
$line = DataProtect::KmsDouble->start(dir => "$tmp/line2", key => 'x' x 32, port => $line->{port}, mode => 'hang');
$node->restart;
$started = time;
is((read_as_app('twice'))[1], 'person 1', 'a first KMS that hangs leaves time for the second');
ok(time - $started < 3, 'within the time limit');

# And it is back: two hundred sessions at once cost one call.
$line->mode("forward:$moto->{port}");
ok(poll_until('the KMS to be used again', sub { return ((read_as_app('person'))[1] // '') eq 'person 1' }),
	'works again when the KMS is back, with no restart');

$before = $line->requests;
$node->restart;
my $script = "$tmp/read.sql";
append_to_file($script, "SELECT v FROM public.person WHERE id = 7;\n");
my ($out, $err) = ('', '');
IPC::Run::run([ 'pgbench', '-n', '-c', '200', '-j', '2', '-t', '1', '-U', 'app', '-f', $script,
		'-h', $node->host, '-p', $node->port, 'postgres' ], '>', \$out, '2>', \$err);
like($out, qr{processed: 200/200}, '200 sessions read at once') or diag($err);
my @decrypts = splice @{ [ $line->requests ] }, $before;
my ($version) = $node->safe_psql('postgres', "SELECT e.epoch FROM dataprotect.key k JOIN dataprotect.epoch e ON e.key_id = k.epoch WHERE k.name = 'pii'");
is(scalar(grep { $_->{body} =~ /"dataprotect:version":"$version"/ } @decrypts), 1, 'and cost one KMS call for their key');
cmp_ok(scalar(@decrypts), '<=', 2, 'and at most one for the system keys');
is($node->safe_psql('postgres', "SELECT calls, failures FROM dataprotect.kms_status WHERE kms_uri = '$uri'"), scalar(@decrypts) . '|0', 'kms_status agrees');

# Background refresh, and an outage during it.
$node->append_conf('postgresql.conf', "dataprotect.key_cache_soft_ttl = 1s\n");
$node->restart;
read_as_app('person');
my $calls = "SELECT calls FROM dataprotect.kms_status WHERE kms_uri = '$uri'";
ok(poll_until('a refresh', sub { read_as_app('person'); return $node->safe_psql('postgres', $calls) > 1 }),
	'a key past its soft TTL is refreshed in the background');
$line->mode('close');
my $failures = "SELECT failures > 0 FROM dataprotect.kms_status WHERE kms_uri = '$uri'";
my $unread = 0;
poll_until('a refresh to fail', sub {
	$unread++ if (read_as_app('person'))[1] ne 'person 1';
	return $node->safe_psql('postgres', $failures) eq 't' });
is($unread, 0, 'reads go on while the refresh fails');
$line->mode("forward:$moto->{port}");

# Hard TTL: an end to it.
$node->append_conf('postgresql.conf', "dataprotect.key_cache_hard_ttl = 2s\n");
$node->restart;
read_as_app('person');
$line->mode('close');
ok(poll_until('the hard TTL', sub { return (read_as_app('person'))[0] != 0 }), 'after the hard TTL a key is gone without its KMS');
like((read_as_app('person'))[2], qr/could not fetch key "pii"/, 'with the error of an outage');
$line->mode("forward:$moto->{port}");
ok(poll_until('the KMS to be used again', sub { return ((read_as_app('person'))[1] // '') eq 'person 1' }), 'and back with it');

# A standby has a key agent of its own.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('kms_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is(scalar(key_agents($standby)), 1, 'a standby has a key agent');
is((read_as_app('person', $standby))[1], 'person 1', 'a standby opens values by itself');
$standby->stop;

# The credentials stay where they belong.
my $log = slurp_file($node->logfile);
unlike($log, qr/secret\/from|token-from/, 'no credential in the server log');
$node->stop;
is(scalar(files_with($node->data_dir, 'secret/from+the')), 0, 'no credential in the data directory');
$line->stop;
stop_moto($moto);
done_testing();
