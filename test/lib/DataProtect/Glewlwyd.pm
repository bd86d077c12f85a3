package DataProtect::Glewlwyd;

=head1 NAME

DataProtect::Glewlwyd - a real OpenID Connect issuer, Debian's glewlwyd

=head1 SYNOPSIS

	plan skip_all => '...' if !DataProtect::Glewlwyd->is_there;
	my $issuer = DataProtect::Glewlwyd->start($folder);
	$issuer->{issuer}, $issuer->{keys_url};		# what jwt_issuer and jwt_keys_url are
	my $token = $issuer->token;					# ann's, for the audience "openid"
	$issuer->stop;

On SQLite, on a free loopback port, as whoever runs the test.

=cut

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

use DataProtect::Test;

my $program = '/usr/bin/glewlwyd';
my $schema = '/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3';
my $json = JSON::PP->new->canonical;

sub is_there { return -x $program && -r $schema && -x '/usr/bin/sqlite3' }

sub start
{
	my ($class, $folder) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $self = bless { folder => $folder, port => $port, api => "http://127.0.0.1:$port/api", issuer => "http://127.0.0.1:$port/api/oidc" }, $class;

	$self->{keys_url} = "$self->{issuer}/jwks";
	system("sqlite3 $folder/glewlwyd.db <$schema >/dev/null") == 0 or die 'sqlite3';
	system("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out $folder/glewlwyd.key 2>/dev/null && "
		  . "openssl pkey -in $folder/glewlwyd.key -pubout -out $folder/glewlwyd.pub") == 0 or die 'openssl';
	append_to_file("$folder/glewlwyd.conf", <<"CONF");
port=$port
bind_address="127.0.0.1"
external_url="http://127.0.0.1:$port/"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="WARNING"
cookie_secure=0
session_expiration=3600
session_key="GLEWLWYD2_SESSION_ID"
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database = { type = "sqlite3"; path = "$folder/glewlwyd.db"; };
CONF
	$self->{pid} = fork;
	die $! if !defined $self->{pid};
	if ($self->{pid} == 0)
	{
		open STDOUT, '>', "$folder/glewlwyd.log";
		open STDERR, '>&', \*STDOUT;
		exec $program, "--config-file=$folder/glewlwyd.conf" or POSIX::_exit(1);
	}
	poll_until('glewlwyd to answer', sub { return HTTP::Tiny->new->get("$self->{api}/scope/")->{status} != 599; });
	$self->_set_up;
	return $self;
}

# Status, body and headers of a request; cookies of who => are kept.
sub _call
{
	my ($self, $who, $method, $path, $data) = @_;
	my $http = HTTP::Tiny->new(max_redirect => 0);
	my %headers = ('Content-Type' => 'application/json');

	$headers{Cookie} = $self->{cookie}{$who} if $self->{cookie}{$who};
	my $reply = $http->request($method, "$self->{api}/$path", { headers => \%headers, $data ? (content => $json->encode($data)) : () });
	for my $cookie (map { ref $_ ? @$_ : $_ } grep { defined } $reply->{headers}{'set-cookie'})
	{
		($self->{cookie}{$who}) = $cookie =~ /^([^;]+)/;
	}
	return $reply;
}

sub _must
{
	my ($self, @call) = @_;
	my $reply = $self->_call(@call);
	$reply->{status} == 200 or die "glewlwyd: $call[1] $call[2]: $reply->{status} $reply->{content}";
	return;
}

sub _set_up
{
	my ($self) = @_;
	$self->_must('admin', POST => 'auth/', { username => 'admin', password => 'password' });
	$self->_must('admin', POST => 'mod/plugin/', { module => 'oidc', name => 'oidc', display_name => 'oidc', parameters => {
			iss => $self->{issuer}, 'jwt-type' => 'rsa', 'jwt-key-size' => '256', key => slurp_file("$self->{folder}/glewlwyd.key"),
			cert => slurp_file("$self->{folder}/glewlwyd.pub"), 'access-token-duration' => 3600, 'refresh-token-duration' => 3600, 'code-duration' => 600,
			'refresh-token-rolling' => JSON::PP::false, 'allow-non-oidc' => JSON::PP::true, scope => [], 'additional-parameters' => [], claims => [],
			'jwks-show' => JSON::PP::true, 'subject-type' => 'public', 'request-parameter-allow' => JSON::PP::false,
			map { ("auth-type-$_-enabled" => ($_ eq 'token' || $_ eq 'id-token') ? JSON::PP::true : JSON::PP::false) }
			  qw(code token id-token none password client device refresh) } });
	$self->_must('admin', POST => 'client/', { client_id => 'app', name => 'app', confidential => JSON::PP::false, enabled => JSON::PP::true,
			redirect_uri => ['http://127.0.0.1/cb'], authorization_type => [ 'token', 'id_token' ], scope => [] });
	$self->_must('admin', POST => 'user/', { username => 'ann', password => 'annspassword', name => 'Ann', email => '', enabled => JSON::PP::true,
			scope => [ 'openid', 'g_profile' ] });
	$self->_must('ann', POST => 'auth/', { username => 'ann', password => 'annspassword' });
	$self->_must('ann', PUT => 'auth/grant/app', { scope => 'openid' });
	return;
}

sub token
{
	my ($self) = @_;
	my $reply = $self->_call('ann', GET => 'oidc/auth?response_type=token%20id_token&client_id=app&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcb'
		  . '&scope=openid&state=x&nonce=n&g_continue');
	my ($token) = ($reply->{headers}{location} || '') =~ /access_token=([^&]+)/ or die "glewlwyd gave no token: $reply->{status} $reply->{content}";
	return $token;
}

sub stop
{
	my ($self) = @_;
	return if !$self->{pid};
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $self->{pid};
	return;
}

sub DESTROY { local $?; $_[0]->stop; return }

1;
