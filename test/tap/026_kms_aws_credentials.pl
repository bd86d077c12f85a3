# If this fails, the key agent does not find the credentials that Amazon's own tools
# would find, takes the wrong ones, or stops when they expire.
#
# KMS and STS are moto; DataProtect::KmsDouble stands in between to see which
# credentials come along.  Instance metadata and the container's endpoint are a double
# of ours (DataProtect::MetadataDouble), written from Amazon's documentation.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::KmsDouble;
use DataProtect::MetadataDouble;
use DataProtect::Test;

plan skip_all => 'moto is not there (DP_MOTO_ROOT)' if !have_moto();

my $moto = start_moto();
my $tmp = PostgreSQL::Test::Utils::tempdir();
my $kms = DataProtect::KmsDouble->start(dir => "$tmp/kms", key => 'x' x 32, mode => "forward:$moto->{port}");
my $sts = DataProtect::KmsDouble->start(dir => "$tmp/sts", key => 'x' x 32, mode => "forward:$moto->{port}");
my $metadata = DataProtect::MetadataDouble->start(dir => "$tmp/metadata");

sub put_file
{
	my ($path, $text) = @_;
	open(my $fh, '>', "$path.new") or die "$path: $!";
	print $fh $text;
	close $fh or die "$path: $!";
	chmod 0600, "$path.new";
	rename "$path.new", $path or die "$path: $!";
	return;
}

delete local @ENV{ grep { /^AWS_/ } keys %ENV };
local $ENV{AWS_CONFIG_FILE} = "$tmp/config";
local $ENV{AWS_SHARED_CREDENTIALS_FILE} = "$tmp/credentials";
local $ENV{AWS_ENDPOINT_URL_STS} = $sts->endpoint;
local $ENV{AWS_EC2_METADATA_SERVICE_ENDPOINT} = $metadata->endpoint;
local $ENV{AWS_CONTAINER_CREDENTIALS_FULL_URI} = $metadata->endpoint . '/container';
local $ENV{AWS_CONTAINER_AUTHORIZATION_TOKEN} = 'container-token';
local $ENV{AWS_REGION} = 'eu-central-1';
put_file("$tmp/credentials", "[root]\naws_access_key_id = AKIAROOT\naws_secret_access_key = secret/of+root\n");
put_file("$tmp/config", '');
put_file("$tmp/identity", "eyJhbGciOi.web+identity/token.x_y-z\n");

my $node = new_node('kms_aws_credentials', start => 0);
$node->append_conf('postgresql.conf', sprintf(<<'CONF', $kms->endpoint));
dataprotect.kms_allowed = 'aws-kms://*'
dataprotect.kms_aws_endpoint = '%s'
dataprotect.kms_timeout = 60s
CONF
$node->start;
create_extension($node);

# What AWS says of a key that is not there is an answer like any other: what counts is who asked.
my $uri = 'aws-kms://00000000-0000-0000-0000-000000000000?region=eu-central-1';
sub asks
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT state FROM dataprotect._kms_root_state('$uri')");
	return $err if $rc != 0;
	my $request = ($kms->requests)[-1];
	my ($key) = map { $_->[1] =~ m{Credential=([^/]+)/} } grep { lc $_->[0] eq 'authorization' } @{ $request->{headers} };
	my ($token) = map { $_->[1] } grep { lc $_->[0] eq 'x-amz-security-token' } @{ $request->{headers} };
	return join ' ', $key, defined $token ? 'with a token' : 'without';
}

sub expiry { return $node->safe_psql('postgres', "SELECT credentials_expire > now() FROM dataprotect.kms_status WHERE kms_uri = '$uri'"); }

my $n_written = 0;

sub slurp_if_there
{
	my ($path) = @_;
	open(my $fh, '<', $path) or return;
	local $/ = undef;
	return <$fh>;
}

# What STS was asked since the last look.
my $looked = 0;
sub asked_sts
{
	my @all = $sts->requests;
	my @new = @all[ $looked .. $#all ];
	$looked = @all;
	return map {
		my $request = $_;
		my ($key) = map { $_->[1] =~ m{Credential=([^/]+)/} } grep { lc $_->[0] eq 'authorization' } @{ $request->{headers} };
		{ body => $request->{body}, key => $key }
	} @new;
}

# Without a profile: the container, before the instance.
like(asks(), qr/^ASIACONTAINER1 with a token$/, 'without profiles the container\'s endpoint is asked');
is(asks(), 'ASIACONTAINER1 with a token', 'once');
is(expiry(), 't', 'kms_status says when it expires');
like(($metadata->requests)[0], qr{^GET /container - container-token$}, 'with its token');

# Profiles: keys, then roles over roles.
put_file("$tmp/config", "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = secret/of+default\n");
is(asks(), 'AKIADEFAULT without', 'a profile that is written counts at once, before the container');
is(expiry(), '', 'and does not expire');
put_file("$tmp/config", <<'INI');
# nested settings are not the profile's
[default]
role_arn = arn:aws:iam::123456789012:role/kms
source_profile = middle
external_id = with & and =
s3 =
  role_arn = arn:aws:iam::123456789012:role/not-this

[profile middle]
role_arn = arn:aws:iam::123456789012:role/middle
role_session_name = through-the-middle
source_profile = root
INI
like(asks(), qr/^ASIA(?!CONTAINER)\w+ with a token$/, 'a role is assumed');
my @sts = asked_sts();
is(scalar(@sts), 2, 'by way of the role that its source has');
is($sts[0]->{key}, 'AKIAROOT', 'the first is signed by the keys of the other file');
like($sts[0]->{body}, qr/^Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fmiddle&RoleSessionName=through-the-middle$/,
	'and asks for the middle one');
like($sts[1]->{key}, qr/^ASIA/, 'the second by what the first brought');
like($sts[1]->{body}, qr/role%2Fkms&RoleSessionName=dataprotect&ExternalId=with%20%26%20and%20%3D$/, 'and asks for the last one, all encoded');
asks();
is(scalar(asked_sts()), 0, 'what STS gave is kept');

put_file("$tmp/config", "[default]\nrole_arn = arn:aws:iam::123456789012:role/web\nweb_identity_token_file = $tmp/identity\n");
like(asks(), qr/^ASIA\w+ with a token$/, 'a role by web identity');
@sts = asked_sts();
like($sts[0]->{body}, qr/^Action=AssumeRoleWithWebIdentity&.*&WebIdentityToken=eyJhbGciOi\.web%2Bidentity%2Ftoken\.x_y-z$/, 'with the token of its file');
is($sts[0]->{key}, undef, 'and no signature');
put_file("$tmp/config", "[default]\nrole_arn = arn:aws:iam::123456789012:role/x\ncredential_source = Ec2InstanceMetadata\n");
like(asks(), qr/^ASIA(?!INSTANCE)\w+ with a token$/, 'a role whose source is the instance');
@sts = asked_sts();
like($sts[0]->{key}, qr/^ASIAINSTANCE\d+$/, 'whose keys sign');
is_deeply([ (map { (split / /)[0, 1] } $metadata->requests)[ -6 .. -1 ] ],
	[ 'PUT', '/latest/api/token', 'GET', '/latest/meta-data/iam/security-credentials/',
		'GET', '/latest/meta-data/iam/security-credentials/role-of-instance' ], 'asked by version 2 alone');

# What is wrong is said, and no other way is tried.
for my $case (
	[ "[default]\nrole_arn=r\nsource_profile=absent\n", qr/source_profile of the AWS profile is not in the files/, 'a source that is not there' ],
	[ "[default]\nrole_arn=r\nsource_profile=b\n[profile b]\nrole_arn=r\nsource_profile=default\n", qr/in a circle/, 'profiles in a circle' ],
	[ "[default]\nrole_arn=r\ncredential_source=Elsewhere\n", qr/credential_source/, 'a source that we do not know' ],
	[ "[default]\nrole_arn=r\n", qr/neither keys nor a role with a source/, 'a role without a source' ],
	[ "[default]\nrole_arn=r\nweb_identity_token_file=$tmp/nothere\n", qr/web identity token cannot be read/, 'a token file that is not there' ])
{
	put_file("$tmp/config", $case->[0]);
	like(asks(), $case->[1], "refused: $case->[2]");
}
is(scalar(asked_sts()), 0, 'STS is not asked for any of them');
my $web = "[default]\nrole_arn = arn:aws:iam::123456789012:role/web\nweb_identity_token_file = $tmp/identity\n";
$sts->mode('status:403');
put_file("$tmp/config", $web);
like(asks(), qr/STS \(AssumeRoleWithWebIdentity\) returned HTTP status 403 instead of credentials/, 'STS that refuses is named');
$sts->mode('garbage');
put_file("$tmp/config", "$web\n");
like(asks(), qr/returned something else than credentials/, 'so is an answer that is none');
$sts->mode('redirect');
put_file("$tmp/config", "$web\n\n");
like(asks(), qr/returned HTTP status 30\d/, 'a redirect is not followed with a token');
$sts->mode("forward:$moto->{port}");
ok(poll_until('STS to be asked again', sub { asks() =~ /^ASIA/ }), 'and works again when STS does');

# What expires is renewed before; what AWS does not take any more, at once.
$metadata->mode('life:8');
put_file("$tmp/config", '');
my $failed = 0;
my $first = asks();
ok(poll_until('other credentials', sub { my $now = asks(); $failed++ if $now !~ /^ASIACONTAINER/; return $now ne $first }),
	'credentials that are about to expire are fetched anew');
is($failed, 0, 'and no call fails meanwhile');
$metadata->mode('ok');
put_file("$tmp/config", "\n");
$first = asks();
$kms->mode('error:ExpiredTokenException');
like(asks(), qr/ExpiredTokenException/, 'AWS does not take them');
$kms->mode("forward:$moto->{port}");
isnt(asks(), $first, 'others are there at once');

# The instance is the last resort.
delete local @ENV{qw(AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN)};
$node->restart;
like(asks(), qr/^ASIAINSTANCE\d+ with a token$/, 'with nothing else, the instance\'s metadata');
$metadata->mode('status:500');
$node->restart;
like(asks(), qr/The instance's metadata returned HTTP status 500/, 'which may be out of order');
local $ENV{AWS_EC2_METADATA_SERVICE_ENDPOINT} = 'http://192.0.2.1';
$node->restart;
like(asks(), qr/AWS_EC2_METADATA_SERVICE_ENDPOINT must be https/, 'plain http goes to no other machine');

unlike(slurp_file($node->logfile), qr{secret/of|token/of|container-token|web\+identity|secret-in-message}, 'no credential is in the log');
# ---- credential_process: a program that prints them ----
my $program = "$tmp/print credentials";
my $runs = "$tmp/runs";
sub put_program
{
	my ($body) = @_;
	put_file($program, "#!/bin/sh\necho \"\$# \$2\" >>'$runs'\n$body\n");
	chmod 0700, $program;
	return;
}
sub printed
{
	my ($key, %more) = @_;
	my $more = join '', map { qq{, "$_": "$more{$_}"} } sort keys %more;
	return qq{printf '%s' '{"Version": 1, "AccessKeyId": "$key", "SecretAccessKey": "secret/of+it"$more}'};
}
sub runs { return -e $runs ? scalar(my @lines = split /\n/, slurp_file($runs)) : 0 }
my $stanza = qq{[default]\ncredential_process = "$program" --for 'the "server"'\n};
put_file("$tmp/credentials", "[root]\naws_access_key_id = AKIAROOT\naws_secret_access_key = secret/of+root\n");
put_program(printed('AKIAPRINTED'));
put_file("$tmp/config", $stanza);
is(asks(), 'AKIAPRINTED without', 'what credential_process prints counts, before the container');
is(asks(), 'AKIAPRINTED without', 'and again');
is(runs(), 1, 'it was run once: nothing says that it expires');
is(slurp_file($runs), qq{2 the "server"\n}, 'with its arguments, quotes taken off');
put_program(printed('ASIAPRINTED', SessionToken => 'session+of/it', Expiration => '2031-01-01T00:00:00Z'));
put_file("$tmp/config", "$stanza\n");
is(asks(), 'ASIAPRINTED with a token', 'with a session token and a time');
is(expiry(), 't', 'which kms_status tells');
put_program(printed('ASIASHORT', SessionToken => 't', Expiration => '2020-01-01T00:00:00Z'));
put_file("$tmp/config", $stanza);
unlike(asks(), qr/^ASIASHORT/, 'what has expired already is not used');
put_file("$tmp/config", "[default]\nrole_arn = arn:aws:iam::123456789012:role/above\nsource_profile = printed\n[profile printed]\ncredential_process = \"$program\"\n");
put_program(printed('AKIASOURCE'));
asked_sts();
like(asks(), qr/with a token$/, 'a role over it');
is_deeply([ map { $_->{key} } asked_sts() ], ['AKIASOURCE'], 'is asked for with what it printed');
put_file("$tmp/config", "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = s\ncredential_process = \"$program\"\n");
is(asks(), 'AKIADEFAULT without', 'keys of the profile count before it');

for my $case (
	[ 'exit 3', qr/could not be run, or failed/, 'one that fails' ],
	[ 'echo nothing', qr/something else than credentials/, 'one that prints something else' ],
	[ printed('AKIAX') =~ s/"Version": 1/"Version": 2/r, qr/something else than credentials/, 'one of another version' ],
	[ 'kill -9 $$', qr/could not be run, or failed/, 'one that is killed' ],
	[ 'head -c 100000 /dev/zero', qr/could not be run, or failed|something else/, 'one that prints too much' ])
{
	my ($body, $expected, $what) = @$case;
	put_program($body);
	put_file("$tmp/config", $stanza . ('#' x (1 + $n_written++)) . "\n");
	like(asks(), $expected, $what);
	unlike(asks(), qr/AKIAX|secret/, 'and nothing of what it printed is told');
}
put_program('sleep 1000');
$node->append_conf('postgresql.conf', 'dataprotect.kms_timeout = 2s');
$node->reload;
put_file("$tmp/config", "$stanza;late\n");
like(asks(), qr/did not end in time|KMS/, 'one that hangs is not waited for');
ok(poll_until('the program to be gone', sub { !grep { (slurp_if_there("/proc/$_/cmdline") // '') =~ /print credentials/ } map { m{/proc/(\d+)$} } glob '/proc/[0-9]*' }), 'and is killed');
$node->append_conf('postgresql.conf', 'dataprotect.kms_timeout = 60s');
$node->reload;
put_program(printed('AKIAPRINTED'));
for my $case (
	[ "[default]\ncredential_process = sh -c true\n", 0600, qr/by its full path/, 'a program that PATH would choose is none' ],
	[ "[default]\ncredential_process = /bin/sh 'x\n", 0600, qr/by its full path/, 'a quote that does not end' ],
	[ $stanza, 0622, qr/may be written by group or others/, 'a file that others may write names no program' ])
{
	my ($text, $mode, $expected, $what) = @$case;
	my $before = runs();
	put_file("$tmp/config", $text);
	chmod $mode, "$tmp/config";
	like(asks(), $expected, $what);
	is(runs(), $before, 'and none is run');
}
put_file("$tmp/config", $stanza);
is(asks(), 'AKIAPRINTED without', 'and one that is right is, again');

$node->stop;
$_->stop for $kms, $sts, $metadata;
stop_moto($moto);
done_testing();
