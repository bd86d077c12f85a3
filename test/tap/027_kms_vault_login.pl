# If this fails, the key agent does not log in to Vault, or its token dies under it.
# DataProtect::VaultDouble is a double written from the published API; where bao or
# vault is in PATH, that is used as well, over TLS, and the test says so.
use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;
use DataProtect::VaultDouble;

my $tmp = PostgreSQL::Test::Utils::tempdir;
my $vault = DataProtect::VaultDouble->start(dir => "$tmp/vault", token => 's.Nobodys', keys => ['pii'],
	logins => {
		'approle' => { role_id => 'role-of-the-test', secret_id => 'secret-id-of-the-test' },
		'team/k8s' => { role => 'dataprotect', jwt => 'eyJ.service-account.of_the_test' },
		'cert' => { name => 'dataprotect' } });
my $node = new_node('kms_vault_login', start => 0);
my $dir = kms_dir($node);

sub put_secret
{
	my ($name, $text, $mode) = @_;
	unlink "$dir/$name";
	append_to_file("$dir/$name", $text);
	chmod $mode || 0600, "$dir/$name";
	return "$dir/$name";
}
my $secret_id = put_secret('secret_id', "secret-id-of-the-test\n");
my $jwt = put_secret('jwt', 'eyJ.service-account.of_the_test', 0644);

sub use_login
{
	my (%set) = @_;
	my %conf = (kms_allowed => 'hcvault://*', kms_vault_address => $vault->address, kms_vault_namespace => 'team/a',
		kms_vault_role => '', kms_vault_token_file => '', kms_timeout => '60s', %set);
	$node->append_conf('postgresql.conf', join '', map { "dataprotect.$_ = '$conf{$_}'\n" } sort keys %conf);
	$node->restart;
	return;
}
sub state_of
{
	my ($key) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT state FROM dataprotect._kms_root_state('hcvault://transit/@{[$key || 'pii']}')");
	return $rc == 0 ? $out : $err;
}
sub logins { return scalar grep { m{^POST /v1/auth/[\w/-]+/login } } $vault->requests }
sub renewals { return scalar grep { m{^POST /v1/auth/token/renew-self } } $vault->requests }

$node->start;
create_extension($node);

# AppRole
use_login(kms_vault_login => 'approle', kms_vault_role => 'role-of-the-test', kms_vault_token_file => $secret_id);
is(state_of(), 'enabled', 'AppRole logs in');
is($node->safe_psql('postgres', "SELECT credentials_expire > now() FROM dataprotect.kms_status WHERE kms_uri = 'hcvault://transit/pii'"), 't',
	'kms_status says when its token expires');
is(state_of(), 'enabled', 'and its token is kept');
is(logins(), 1, 'one login for both');
like(($vault->requests)[0], qr{^POST /v1/auth/approle/login HTTP.*^X-Vault-Namespace: team/a\r$}ms, 'asked as the API says, in the namespace');
unlike(($vault->requests)[0], qr/^X-Vault-Token/m, 'without a token');
like(($vault->requests)[1], qr/^X-Vault-Token: s\.OfALogin1\r$/m, 'whose token comes along');

# A token that was revoked, and one whose life is short
unlink "$tmp/vault/tokens";
is(state_of(), 'enabled', 'a token that was revoked is replaced within the call');
is(logins(), 2, 'by one login');
unlink "$tmp/vault/tokens";
append_to_file("$tmp/vault/life", "6\n");
like(state_of(), qr/HTTP status 403/, 'but not with a login for each refusal');
$node->restart;
is(state_of(), 'enabled', 'another agent logs in');
my $failed = 0;
ok(poll_until('a renewal', sub { $failed++ if state_of() ne 'enabled'; return renewals() > 0 }), 'a token is renewed before its end');
is($failed, 0, 'and no call fails meanwhile');
unlink "$tmp/vault/life";

# What is wrong is said.
put_secret('secret_id', "another\n");
$node->restart;
like(state_of(), qr/HTTP status 400 to the login/, 'a secret id that Vault does not know');
put_secret('secret_id', "secret-id-of-the-test\n", 0644);
ok(poll_until('the file to be looked at', sub { state_of() =~ /file of the secret id has permissions 0644/ }), 'a secret id that others read is refused');
put_secret('secret_id', "a\",\"x\":\"b\n");
ok(poll_until('the file to be looked at', sub { state_of() =~ /does not hold one token/ }), 'nothing in the file becomes JSON');
put_secret('secret_id', "secret-id-of-the-test\n");
ok(poll_until('the login', sub { state_of() eq 'enabled' }), 'mended, it works without a restart');
$vault->mode('status:503');
$node->restart;
like(state_of(), qr/HTTP status 503 to the login/, 'a sealed Vault');
$vault->mode('ok');

# Kubernetes, at another mount, and a certificate
use_login(kms_vault_login => 'kubernetes:team/k8s', kms_vault_role => 'dataprotect', kms_vault_token_file => $jwt);
is(state_of(), 'enabled', 'a service account of Kubernetes logs in');
use_login(kms_vault_login => 'cert', kms_vault_role => 'dataprotect');
is(state_of(), 'enabled', 'a certificate logs in');
use_login(kms_vault_login => 'ldap', kms_vault_role => 'dataprotect');
like(state_of(), qr/kms_vault_login must be approle, kubernetes or cert/, 'another method is refused');
use_login(kms_vault_login => 'approle:../sys', kms_vault_role => 'x', kms_vault_token_file => $secret_id);
like(state_of(), qr/kms_vault_login must be/, 'and another path of the API');
unlike(slurp_file($node->logfile), qr/s\.OfALogin|secret-id-of|eyJ\.|secret-in-message/, 'no token and no secret is in the log');
$vault->stop;

# The real thing, where it is there: over TLS, by AppRole and by certificate
my ($program) = grep { -x } map { my $folder = $_; map { "$folder/$_" } qw(bao vault) } split /:/, $ENV{PATH};
SKIP:
{
	skip 'neither bao nor vault is in PATH: only the double was asked', 1 if !defined $program;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my ($log, $out) = ('', '');
	mkdir "$tmp/tls";
	local @ENV{qw(VAULT_ADDR BAO_ADDR)} = ("https://127.0.0.1:$port") x 2;
	local @ENV{qw(VAULT_TOKEN BAO_TOKEN)} = ('root-of-the-test') x 2;
	local @ENV{qw(VAULT_CACERT BAO_CACERT)} = ("$tmp/tls/vault-ca.pem") x 2;
	local $ENV{HOME} = $tmp;
	my $server = IPC::Run::start([ $program, 'server', '-dev-tls', "-dev-tls-cert-dir=$tmp/tls", '-dev-root-token-id=root-of-the-test',
			"-dev-listen-address=127.0.0.1:$port" ], '<', \undef, '>&', \$log);
	my $bao = sub {
		my @arguments = @_;
		IPC::Run::run([ $program, @arguments ], '>', \$out, '2>&1') or die "@arguments: $out";
		chomp $out;
		return $out;
	};
	poll_until('the real server', sub {
		$server->pump_nb;
		@ENV{qw(VAULT_CACERT BAO_CACERT)} = (glob("$tmp/tls/*-ca.pem")) x 2;
		return $ENV{BAO_CACERT} && system("$program status >/dev/null 2>&1") == 0 });
	append_to_file("$tmp/policy", 'path "transit/*" { capabilities = ["create", "read", "update", "delete"] }');
	$bao->('policy', 'write', 'pii', "$tmp/policy");
	$bao->('secrets', 'enable', 'transit');
	$bao->('write', '-f', 'transit/keys/pii');
	$bao->('write', "transit/keys/$_->[0]", "type=$_->[1]") for [ ed => 'ed25519' ], [ ec => 'ecdsa-p384' ], [ rsa => 'rsa-2048' ];
	$bao->('auth', 'enable', 'approle');
	$bao->('write', 'auth/approle/role/dataprotect', 'token_policies=pii', 'token_ttl=1h');
	put_secret('secret_id', $bao->('write', '-f', '-field=secret_id', 'auth/approle/role/dataprotect/secret-id'));
	my %real = (kms_vault_address => "https://127.0.0.1:$port", kms_vault_namespace => '', kms_ca_file => $ENV{BAO_CACERT});
	use_login(%real, kms_vault_login => 'approle', kms_vault_token_file => $secret_id,
		kms_vault_role => $bao->('read', '-field=role_id', 'auth/approle/role/dataprotect/role-id'));
	is(state_of(), 'enabled', "$program: AppRole logs in, over TLS");
	is($node->safe_psql('postgres', "SELECT dataprotect.create_key('pii', ARRAY['hcvault://transit/pii']); SELECT bool_and(ok) FROM dataprotect.drill()"),
		"\nt", 'a key of it wraps and unwraps');
	$node->safe_psql('postgres', <<'SQL');
CREATE ROLE reader LOGIN;
SELECT dataprotect.grant_access('pii', 'reader', 'reveal');
CREATE TABLE one (v encrypted_text('pii'));
GRANT SELECT ON one TO reader;
INSERT INTO one VALUES ('under the real one');
SQL
	$node->restart;
	is($node->safe_psql('postgres', 'SELECT v FROM one', extra_params => [ '-U', 'reader' ]), 'under the real one', 'a value is read after a restart');
	$bao->('write', '-f', 'transit/keys/pii/rotate');
	is($node->safe_psql('postgres', "SELECT dataprotect.rewrap_key('pii', ARRAY['hcvault://transit/pii']); SELECT convert_from(wrapped[1], 'UTF8') ~ '^vault:v2:' FROM dataprotect.epoch"),
		"1\nt", 'a root that was rotated wraps anew what is under it');
	$bao->('write', 'transit/keys/pii/config', 'min_decryption_version=2');
	$node->restart;
	is($node->safe_psql('postgres', 'SELECT v FROM one', extra_params => [ '-U', 'reader' ]), 'under the real one', 'and its old version is not needed any more');
	my $digest = sha256_hex('what is signed');
	for my $kind ([ ed => 'Ed25519' ], [ ec => 'ECDSA-SHA384' ], [ rsa => 'RSA-PSS-SHA256' ])
	{
		my $uri = "hcvault://transit/$kind->[0]";
		is($node->safe_psql('postgres', "SELECT s.algorithm, dataprotect._kms_verify('$uri', '\\x$digest', s.signature, s.version) FROM dataprotect._kms_sign('$uri', '\\x$digest') s"),
			"$kind->[1]|t", "it signs by $kind->[1]");
	}
	is($node->safe_psql('postgres', "SELECT state FROM dataprotect._kms_destroy_root('hcvault://transit/ed', 7)"), 'deleted', 'it deletes a key');
	is(state_of('ed'), 'deleted', 'which is gone');

	IPC::Run::run([ 'openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
			'-subj', '/CN=dataprotect', '-addext', 'extendedKeyUsage=clientAuth', '-keyout', "$tmp/key.pem", '-out', "$tmp/cert.pem" ], '>&', \$out) or die $out;
	my $pair = put_secret('client.pem', slurp_file("$tmp/cert.pem") . slurp_file("$tmp/key.pem"));
	$bao->('auth', 'enable', 'cert');
	$bao->('write', 'auth/cert/certs/dataprotect', "certificate=\@$tmp/cert.pem", 'token_policies=pii');
	use_login(%real, kms_vault_login => 'cert', kms_vault_role => 'dataprotect', kms_vault_client_cert => $pair);
	is(state_of(), 'enabled', 'a certificate logs in');
	$server->kill_kill(grace => 0);
}
$node->stop;
done_testing();
