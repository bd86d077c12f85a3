# If this fails, a KMS's signature is not what openssl verifies, or a root's state is
# told wrong, or a root that was to go stays.  AWS KMS is moto, the token SoftHSM's;
# Vault is a double (DataProtect::VaultDouble): see test/tap/027_kms_vault_login.pl.
use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;
use DataProtect::VaultDouble;

my $tmp = PostgreSQL::Test::Utils::tempdir();
my $token = 's.TokenOfTheTest';
my $vault = DataProtect::VaultDouble->start(dir => "$tmp/vault", token => $token, keys => ['sealing'], signing => ['signing']);
my $moto = have_moto() ? start_moto() : undef;
my ($module) = grep { -e } map { "$_/softhsm/libsofthsm2.so" } glob('/usr/lib /usr/lib64 /usr/lib/*-linux-gnu /usr/local/lib');
my $have_token = $module && !grep { system("$_ --help >/dev/null 2>&1") >> 8 == 127 } qw(softhsm2-util pkcs11-tool);

mkdir "$tmp/tokens", 0700;
append_to_file("$tmp/softhsm2.conf", "directories.tokendir = $tmp/tokens\nobjectstore.backend = file\nlog.level = ERROR\n");
local $ENV{SOFTHSM2_CONF} = "$tmp/softhsm2.conf";
delete local @ENV{qw(AWS_PROFILE AWS_SHARED_CREDENTIALS_FILE AWS_SESSION_TOKEN)};
local $ENV{AWS_ACCESS_KEY_ID} = 'AKIAFROMTHEENVIRONMENT';
local $ENV{AWS_SECRET_ACCESS_KEY} = 'secret/from+the+environment';

sub run_quietly
{
	my @command = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '>', \$out, '2>', \$err) or die "@command: $err$out";
	return $out;
}

my $node = new_node('kms_roots');
my $dir = kms_dir($node);
for my $secret ([ token => $token ], [ pin => '12345' ])
{
	append_to_file("$dir/$secret->[0]", "$secret->[1]\n");
	chmod 0600, "$dir/$secret->[0]";
}
$node->append_conf('postgresql.conf', <<"CONF");
dataprotect.kms_allowed = 'file://$dir/*, aws-kms://*, hcvault://*, pkcs11:token=hsm;*'
dataprotect.kms_vault_address = '@{[$vault->address]}'
dataprotect.kms_vault_token_file = '$dir/token'
dataprotect.kms_aws_endpoint = '@{[$moto ? $moto->{endpoint} : 'http://127.0.0.1:1']}'
dataprotect.kms_pkcs11_module = '@{[$module || '/nowhere.so']}'
dataprotect.kms_pkcs11_pin_file = '$dir/pin'
CONF
$node->restart;
create_extension($node);

my $digest = sha256_hex('what is signed');
append_to_file("$tmp/digest", pack('H*', $digest));

# Signed, and verified by openssl alone, by what the call returned.
sub signs
{
	my ($uri, $algorithm, $name) = @_;
	my ($got, $signature, $key, $version, $options) = split /\|/, $node->safe_psql('postgres',
		"SELECT algorithm, encode(signature, 'hex'), encode(public_key, 'hex'), version, openssl_options FROM dataprotect._kms_sign('$uri', '\\x$digest')");
	is($got, $algorithm, "$name signs by $algorithm");
	for my $file ([ signature => $signature ], [ public => $key ])
	{
		unlink "$tmp/$file->[0]";
		append_to_file("$tmp/$file->[0]", pack('H*', $file->[1]));
	}
	my $out = `openssl pkeyutl -verify -rawin @{[$options || '']} -pubin -keyform DER -inkey $tmp/public -in $tmp/digest -sigfile $tmp/signature 2>&1`;
	like($out, qr/Signature Verified Successfully/, 'openssl agrees, by the options returned');
	my $other = sha256_hex('another');
	is($node->safe_psql('postgres', "SELECT dataprotect._kms_verify('$uri', '\\x$digest', '\\x$signature', $version), dataprotect._kms_verify('$uri', '\\x$other', '\\x$signature', $version)"),
		't|f', 'and so does the root, of this digest alone');
	return;
}
sub root_state
{
	my ($uri) = @_;
	return $node->safe_psql('postgres', "SELECT state, delete_at > now() + interval '6 days', root_uri FROM dataprotect._kms_root_state('$uri')");
}
sub destroy
{
	my ($uri, $days) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT state, delete_at > now() + interval '6 days' FROM dataprotect._kms_destroy_root('$uri', @{[$days || 7]})");
	return $rc == 0 ? $out : $err;
}
sub refused
{
	my ($sql) = @_;
	return ($node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]))[2];
}

# A file
create_key_file("$dir/old.key");
my $file = "file://$dir/old.key";
signs($file, 'Ed25519', 'a key beside the root\'s file');
is((stat "$dir/old.key.ed25519")[2] & 07777, 0600, 'which is its owner\'s alone');
my $made = slurp_file("$dir/old.key.ed25519");
signs($file, 'Ed25519', 'the same key');
is(slurp_file("$dir/old.key.ed25519"), $made, 'is made once');
is(root_state($file), "enabled||$file", 'the file is there');
like(refused("SELECT dataprotect._kms_sign('file://$dir/absent.key', '\\x$digest')"), qr/F0000/, 'no key that signs is made where there is no root');
ok(!-e "$dir/absent.key.ed25519", 'and none is left');
like(destroy($file, 3), qr/7 to 30 days/, 'a waiting period that AWS does not know is refused everywhere');
is(destroy($file), 'deleted|', 'a file is destroyed at once');
ok(!-e "$dir/old.key" && !-e "$dir/old.key.ed25519", 'and is gone with the key that signs');
is(root_state($file), "deleted||$file", 'its state says so');
is(destroy($file), 'deleted|', 'a second time changes nothing');
like(refused("SELECT * FROM dataprotect._kms_root_state('file://$dir/nowhere/x.key')"), qr/F0000/, 'a folder that is not there proves nothing');
like(refused("SELECT * FROM dataprotect._kms_destroy_root('file:///etc/passwd', 7)"), qr/42501/, 'what is not allowed is not destroyed');
append_to_file("$dir/notes.txt", "not a key\n");
chmod 0600, "$dir/notes.txt";
like(destroy("file://$dir/notes.txt"), qr/bytes instead of 32/, 'nor is what is no key file');
ok(-e "$dir/notes.txt", 'which stays');
$node->safe_psql('postgres', 'CREATE ROLE nobody_special LOGIN; GRANT dataprotect_auditor TO nobody_special');
like(refused("SET ROLE nobody_special; SELECT * FROM dataprotect._kms_destroy_root('file://$dir/root.key', 7)"), qr/permission denied/, 'and not by everybody');

# Vault (a double)
signs('hcvault://transit/signing', 'Ed25519', 'Vault');
like(refused("SELECT dataprotect._kms_sign('hcvault://transit/sealing', '\\x$digest')"), qr/55000.*another kind/s, 'a key that seals does not sign');
is(root_state('hcvault://transit/signing'), 'enabled||hcvault://transit/signing', 'Vault has the key');
is(destroy('hcvault://transit/signing'), 'deleted|', 'Vault deletes it at once');
like((grep { /^DELETE/ } $vault->requests)[0], qr{^DELETE /v1/transit/keys/signing HTTP}, 'asked as the API says');
is(root_state('hcvault://transit/signing'), 'deleted||hcvault://transit/signing', 'and has it no more');
$vault->mode('status:503');
like(refused("SELECT * FROM dataprotect._kms_root_state('hcvault://transit/sealing')"), qr/08006/, 'a sealed Vault has not lost a key');

# AWS KMS (moto)
SKIP:
{
	skip 'moto is not there (DP_MOTO_ROOT)', 1 if !$moto;
	my $call = sub {
		my ($region, $action, $json) = @_;
		my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $moto->{port}) or die "moto: $!";
		print $socket "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
		  . "Authorization: AWS4-HMAC-SHA256 Credential=a/20260101/$region/kms/aws4_request, SignedHeaders=host, Signature=0\r\n"
		  . "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: TrentService.$action\r\n"
		  . 'Content-Length: ' . length($json) . "\r\n\r\n$json";
		local $/;
		return scalar readline $socket;
	};
	my $create = sub {
		my ($json) = @_;
		my ($arn) = $call->('eu-central-1', 'CreateKey', $json) =~ /"Arn": ?"([^"]+)"/ or die 'moto made no key';
		return $arn;
	};
	for my $kind ([ RSA_2048 => 'RSA-PSS-SHA256' ], [ ECC_NIST_P256 => 'ECDSA-SHA256' ], [ ECC_NIST_P384 => 'ECDSA-SHA384' ])
	{
		signs('aws-kms://' . $create->("{\"KeySpec\":\"$kind->[0]\",\"KeyUsage\":\"SIGN_VERIFY\"}"), $kind->[1], "AWS $kind->[0]");
	}
	my $arn = $create->('{}');
	$call->('eu-central-1', 'CreateAlias', "{\"AliasName\":\"alias/old\",\"TargetKeyId\":\"$arn\"}");
	my $alias = 'aws-kms://alias/old?region=eu-central-1';
	like(refused("SELECT dataprotect._kms_sign('$alias', '\\x$digest')"), qr/could not sign.*DETAIL/s, 'a key that encrypts does not sign');
	is(root_state($alias), "enabled||aws-kms://$arn", 'an alias is resolved to the key that it means');
	is(destroy($alias), 'pending deletion|t', 'destruction waits as AWS does, with the date');
	is(root_state("aws-kms://$arn"), "pending deletion|t|aws-kms://$arn", 'the key says so itself');
	is(destroy("aws-kms://$arn", 30), 'pending deletion|t', 'what is pending is not scheduled anew');
	$call->('eu-central-1', 'CancelKeyDeletion', '{"KeyId":"' . ($arn =~ s{.*/}{}r) . '"}');
	like(root_state("aws-kms://$arn"), qr/^disabled\|\|/, 'a deletion that was cancelled is seen');
	like(root_state('aws-kms://00000000-0000-0000-0000-000000000000?region=eu-central-1'), qr/^deleted\|\|/, 'a key that is not there is deleted');
	like(refused("SELECT * FROM dataprotect._kms_root_state('aws-kms://alias/absent?region=eu-central-1')"), qr/42704/, 'an alias that is not there proves nothing');

	my $primary = $create->('{"MultiRegion":true}');
	$call->('eu-central-1', 'ReplicateKey', "{\"KeyId\":\"@{[$primary =~ s{.*/}{}r]}\",\"ReplicaRegion\":\"us-east-1\"}");
	my $replica = $primary =~ s/eu-central-1/us-east-1/r;
	like(destroy("aws-kms://$replica"), qr/replica of a multi-Region key/, 'a replica is not destroyed alone');
	is(destroy("aws-kms://$primary"), 'pending deletion|t', 'a multi-Region key is destroyed');
	like(root_state("aws-kms://$replica"), qr/^pending deletion/, 'with its replica');

	# An epoch whose root waits at AWS, is cancelled there, waits again and goes.
	my $old = $create->('{}');
	my $epoch = sub { return $node->safe_psql('postgres', "SELECT state, roots -> 0 ->> 'state' FROM dataprotect.epochs WHERE epoch = 1"); };
	my $deletion = sub { return $node->safe_psql('postgres', 'SELECT state, detail FROM dataprotect.deletion_requests'); };
	$node->safe_psql('postgres', <<"SQL");
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
SELECT dataprotect.create_key('k', ARRAY['aws-kms://$old']);
CREATE TABLE u (id int PRIMARY KEY, name encrypted_text('k'));
SELECT dataprotect.create_account_type('u', 'u', 'id', '0 s');
SELECT dataprotect.bind_subject('u', 'u', 'id');
INSERT INTO u SELECT g, 'name ' || g FROM generate_series(1, 2) g;
SELECT dataprotect.schedule_epochs(deletions => 1, kms_uri => ARRAY['file://$dir/epoch{epoch}.key'], backups => false, waiting_days => 7);
SELECT dataprotect.request_deletion('u', '1', 'letter');
SQL
	ok(poll_until('the old root to wait', sub { return $epoch->() eq 'pending|pending'; }), 'an old root is scheduled for destruction');
	like(root_state("aws-kms://$old"), qr/^pending deletion\|t/, 'at AWS');
	ok(poll_until('the deletion to wait', sub { return $deletion->() =~ /^purged\|waits: .*is pending until/; }), 'the deletion waits for it, and says until when');
	$call->('eu-central-1', 'CancelKeyDeletion', '{"KeyId":"' . ($old =~ s{.*/}{}r) . '"}');
	$node->safe_psql('postgres', 'SELECT dataprotect.run_epochs()');
	is($epoch->(), 'pending|cancelled', 'whoever cancels it there is found out');
	is($node->safe_psql('postgres', "SELECT dataprotect.flush_audit_log(); SELECT detail ->> 'state' FROM dataprotect.audit_log WHERE event = 'root.cancelled'",
			extra_params => [ '-U', 'auditor' ]), "t\ndisabled", 'as an event');
	like($deletion->(), qr/^purged/, 'and nothing is certified');
	$node->safe_psql('postgres', "SELECT dataprotect.destroy_roots(1, 'again')");
	ok(poll_until('the root to wait again', sub { $node->safe_psql('postgres', 'SELECT dataprotect.run_epochs()'); return $epoch->() eq 'pending|pending'; }),
		'it is asked for again');
	stop_moto($moto);
	$moto = start_moto($moto->{port});	# which has no key any more, as AWS after the wait
	ok(poll_until('the root to be gone', sub { $node->safe_psql('postgres', 'SELECT dataprotect.run_epochs()'); return $epoch->() eq 'destroyed|deleted'; }),
		'a root that AWS does not have any more is destroyed');
	ok(poll_until('the certificate', sub { return $deletion->() =~ /^certified/; }), 'the deletion ends');
	like($node->safe_psql('postgres', "SELECT dataprotect.deletion_certificate(1) -> 'roots_destroyed'"), qr/\Q$old\E/, 'and names it');
}

# A token (SoftHSM)
SKIP:
{
	skip 'SoftHSM and pkcs11-tool are not there', 1 if !$have_token;
	run_quietly('softhsm2-util', '--init-token', '--free', '--label', 'hsm', '--pin', '12345', '--so-pin', '54321');
	my @tool = ('pkcs11-tool', '--module', $module, '--login', '--pin', '12345', '--token-label', 'hsm');
	my $id = 10;
	for my $kind ([ 'rsa:2048' => 'RSA-PSS-SHA256' ], [ 'EC:prime256v1' => 'ECDSA-SHA256' ], [ 'EC:secp384r1' => 'ECDSA-SHA384' ])
	{
		my $label = 'signs' . ++$id;
		run_quietly(@tool, '--keypairgen', '--key-type', $kind->[0], '--label', $label, '--id', $id, '--sensitive');
		signs("pkcs11:token=hsm;object=$label", $kind->[1], "a token's $kind->[0]");
	}
	my $uri = "pkcs11:token=hsm;object=signs$id";
	is(root_state($uri), "enabled||$uri", 'the token has the key');
	is(destroy($uri), 'deleted|', 'it destroys it at once');
	is(root_state($uri), "deleted||$uri", 'and has it no more');
	unlike(run_quietly(@tool, '--list-objects'), qr/signs$id/, 'as another program sees');
}
unlike(slurp_file($node->logfile), qr/\Q$token\E|secret\/from/, 'no credential is in the log');
$vault->stop;
stop_moto($moto) if $moto;
$node->stop;
done_testing();
