# If this fails, a root key in Vault's transit engine is not used, or what Vault
# refuses, or is not asked for, comes out wrong.  DataProtect::VaultDouble is a
# double written from the published API; the real server is asked by
# test/tap/027_kms_vault_login.pl, where there is one.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;
use DataProtect::VaultDouble;

my $tmp = PostgreSQL::Test::Utils::tempdir;
my $token = 's.TokenOfTheTest';
my $vault = DataProtect::VaultDouble->start(dir => "$tmp/vault", token => $token, keys => [ 'pii', 'other' ]);
my $node = new_node('kms_vault');
my $token_file = kms_dir($node) . '/token';

sub set_token
{
	my ($text, $mode) = @_;
	unlink $token_file;
	append_to_file($token_file, $text);
	chmod $mode || 0600, $token_file;
	return;
}
set_token("$token\n");

sub use_vault
{
	my ($address) = @_;
	$node->append_conf('postgresql.conf', <<"CONF");
dataprotect.kms_vault_address = '$address'
dataprotect.kms_vault_token_file = '$token_file'
dataprotect.kms_vault_namespace = 'team/a'
dataprotect.kms_allowed = 'hcvault://*'
dataprotect.key_cache_soft_ttl = 1d
CONF
	$node->restart;
	return;
}
use_vault($vault->address);
create_extension($node);

sub sealed_and_read
{
	my ($name) = @_;
	$node->safe_psql('postgres', <<"SQL");
SELECT dataprotect.create_key('$name', ARRAY['hcvault://transit/pii']);
SELECT dataprotect.grant_access('$name', 'reader', 'reveal');
CREATE TABLE $name (v encrypted_text('$name'));
GRANT SELECT ON $name TO reader;
INSERT INTO $name VALUES ('under Vault');
SQL
	$node->restart;
	return $node->safe_psql('postgres', "SELECT v FROM $name", extra_params => [ '-U', 'reader' ]);
}
sub drill
{
	return $node->safe_psql('postgres', "SELECT DISTINCT ok, coalesce(detail, '') FROM dataprotect.drill() WHERE kms_uri = 'hcvault://transit/pii'");
}
$node->safe_psql('postgres', 'CREATE ROLE reader LOGIN');
is(sealed_and_read('one'), 'under Vault', 'a value is read whose epoch key Vault opened after a restart');
is(drill(), 't|', 'a drill opens it too');
my ($first) = $vault->requests;
like($first, qr{^POST /v1/transit/encrypt/pii HTTP}, 'asked as the API says');
like($first, qr/^X-Vault-Token: \Q$token\E\r$/m, 'with the token of the file');
like($first, qr{^X-Vault-Namespace: team/a\r$}m, 'in the namespace');
like($first, qr/"associated_data":"[A-Za-z0-9+\/]{40}"/, 'the context goes along');
is($node->safe_psql('postgres', "SELECT provider, circuit, credentials_expire IS NULL, last_drill_ok FROM dataprotect.kms_status WHERE kms_uri = 'hcvault://transit/pii'"),
	'hcvault|closed|t|t', 'kms_status knows it; a token in a file does not say when it expires');
like($node->safe_psql('postgres', "SELECT convert_from(wrapped[1], 'UTF8') FROM dataprotect.epoch"), qr/^vault:v1:/, 'what is stored is text of Vault\'s');

is($node->safe_psql('postgres', <<'SQL'), "1\nt", 'the same root wraps anew, and opens what it has wrapped');
CREATE TEMP TABLE before AS SELECT wrapped, dataprotect._sealed(e) AS sealed FROM dataprotect.epoch e;
SELECT dataprotect.rewrap_key('one', ARRAY['hcvault://transit/pii']);
SELECT b.sealed AND dataprotect._sealed(e) FROM before b, dataprotect.epoch e;
SQL
is(join(' ', map { m{^POST /v1/transit/(\w+)} } ($vault->requests)[-3 .. -1]), 'decrypt encrypt decrypt', 'which is shown');

# What is not what was asked for
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
my $blob = '(SELECT wrapped[1] FROM dataprotect.epoch LIMIT 1)';
like(probe('hcvault://transit/pii', $blob), qr/^XX001 Vault returned HTTP status 400: the wrapped key does not open/, 'a wrapped key opens for its own key id alone');
like(probe('hcvault://transit/other', $blob), qr/^XX001 /, 'and under its own root');
like(probe('hcvault://transit/pii', "'vault:v1:\"}'::text::bytea"), qr/^XX001 The wrapped key was not made by Vault/, 'no stored text becomes JSON');
for my $case (
	[ 'status:403', qr/^f\|Vault returned HTTP status 403: the token has no right/, 'a token without the right' ],
	[ 'status:404', qr/^f\|Vault returned HTTP status 404/, 'a mount that is not there' ],
	[ 'wrongkey', qr/^f\|The KMS returned another key/, 'another key' ],
	[ 'garbage', qr/^f\|The reply of Vault is not the JSON/, 'no JSON' ],
	[ 'status:503', qr/^f\|Vault is sealed/, 'a sealed Vault' ])
{
	$vault->mode($case->[0]);
	like(drill(), $case->[1], "reported: $case->[2]");
}
is($node->safe_psql('postgres', 'SELECT v FROM one', extra_params => [ '-U', 'reader' ]), 'under Vault', 'keys in the cache go on meanwhile');
$vault->mode('ok');
poll_until('Vault to be asked again', sub { drill() eq 't|' });
$vault->mode('foreign');
like(($node->psql('postgres', "SELECT dataprotect.create_key('k', ARRAY['hcvault://transit/other'])"))[2],
	qr/does not hold what was asked for/, 'a ciphertext that is none is not stored');
$vault->mode('ok');
like(($node->psql('postgres', "SELECT dataprotect.create_key('k', ARRAY['hcvault://transit/absent'])"))[2],
	qr/no such key/, 'a root that is not there');
like(($node->psql('postgres', "SELECT dataprotect.create_key('k', ARRAY['hcvault://transit/../sys/seal'])"))[2],
	qr/invalid KMS URI/, 'no way to another path of the API');

# The token's file is read for each call.
set_token('s.expired');
like(drill(), qr/^f\|.*403/, 'a token that Vault does not take');
set_token($token, 0640);
like(drill(), qr/^f\|The token file has permissions 0640/, 'a token file that others read is refused');
set_token("$token\nX-Vault-Wrap-TTL: 60s");
like(drill(), qr/^f\|The token file does not hold one token/, 'nor one with another header in it');
set_token("$token\n");
is(drill(), 't|', 'a token that was renewed works at once');
unlike(slurp_file($node->logfile), qr/\Q$token\E|secret-in-message/, 'no token and no message of Vault\'s is in the log');
$vault->stop;

$node->stop;
done_testing();
