# If this fails, a root key in a token is not used, or is used although the token
# would give it away, or a token that was lost stays lost.  The token is SoftHSM's.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run ();
use Test::More;

use DataProtect::Test;

my ($module) = grep { -e } map { "$_/softhsm/libsofthsm2.so" } glob('/usr/lib /usr/lib64 /usr/lib/*-linux-gnu /usr/local/lib');
plan skip_all => 'SoftHSM is not there' if !$module || system('softhsm2-util --version >/dev/null 2>&1') != 0;

my $tmp = PostgreSQL::Test::Utils::tempdir;
my $store = "$tmp/tokens";
mkdir $store, 0700;
append_to_file("$tmp/softhsm2.conf", "directories.tokendir = $store\nobjectstore.backend = file\nlog.level = ERROR\n");
$ENV{SOFTHSM2_CONF} = "$tmp/softhsm2.conf";

sub softhsm
{
	my @command = @_;
	my ($out, $err);
	IPC::Run::run([ 'softhsm2-util', @command ], '>', \$out, '2>', \$err) or die "softhsm2-util @command: $err$out";
	return;
}

# One key of so many bytes under a label; the file that it comes from is gone then.
# softhsm2-util stops at the file's first zero byte or newline: they are printable.
sub put_key
{
	my ($token, $label, $bytes, $id) = @_;
	append_to_file("$tmp/import.key", join('', map { chr(33 + int(rand(94))) } 1 .. $bytes));
	softhsm('--import', "$tmp/import.key", '--aes', '--token', $token, '--pin', '12345', '--label', $label, '--id', $id);
	unlink "$tmp/import.key";
	return;
}

softhsm('--init-token', '--free', '--label', 'hsm', '--pin', '12345', '--so-pin', '54321');
put_key('hsm', 'root', 32, '01');
put_key('hsm', 'short', 16, '02');
put_key('hsm', 'twice', 32, '03');
put_key('hsm', 'twice', 32, '04');

# In front of the module, what hangs or crashes when it is told to by a file.
append_to_file("$tmp/front.c", <<"C");
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
unsigned long C_GetFunctionList(void **list);
unsigned long C_GetFunctionList(void **list)
{
	void *real = dlopen("$module", RTLD_NOW);
	if (access("$tmp/hang", F_OK) == 0)
		for (;;)
			pause();
	if (access("$tmp/crash", F_OK) == 0)
		abort();
	return ((unsigned long (*)(void **)) dlsym(real, "C_GetFunctionList"))(list);
}
C
my $front = system('cc', '-shared', '-fPIC', '-o', "$tmp/front.so", "$tmp/front.c", '-ldl') == 0 ? "$tmp/front.so" : undef;

my $node = new_node('kms_pkcs11');
my $pin_file = kms_dir($node) . '/pin';
append_to_file($pin_file, "12345\n");
chmod 0600, $pin_file;
$node->append_conf('postgresql.conf', <<"CONF");
dataprotect.kms_pkcs11_module = '@{[$front // $module]}'
dataprotect.kms_timeout = 10s
dataprotect.kms_pkcs11_pin_file = '$pin_file'
dataprotect.kms_allowed = 'pkcs11:token=hsm;*, pkcs11:token=other;*, file://@{[kms_dir($node)]}/*'
dataprotect.key_cache_soft_ttl = 1d
CONF
$node->restart;
create_extension($node);

# A key in the token does all that a key does.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE reader LOGIN;
SELECT dataprotect.create_key('pii', ARRAY['pkcs11:token=hsm;object=root']);
SELECT dataprotect.grant_access('pii', 'reader', 'reveal');
CREATE TABLE t (v encrypted_text('pii'));
GRANT SELECT ON t TO reader;
INSERT INTO t VALUES ('under the token');
SQL
sub seen { return $node->safe_psql('postgres', 'SELECT v FROM t', extra_params => [ '-U', 'reader' ]) }
sub drill
{
	return $node->safe_psql('postgres', "SELECT DISTINCT ok, coalesce(detail, '') FROM dataprotect.drill() WHERE key = 'pii' AND kms_uri LIKE 'pkcs11:%'");
}
is(seen(), 'under the token', 'a value under a key of the token is read');
like(drill(), qr/^t\|/, 'and a drill opens its epoch key there');
$node->restart;
is(seen(), 'under the token', 'after a restart the token opens the key again');
is($node->safe_psql('postgres', "SELECT provider, failures, circuit FROM dataprotect.kms_status WHERE kms_uri LIKE 'pkcs11:%'"),
	'pkcs11|0|closed', 'kms_status knows the token');
like($node->safe_psql('postgres', "SELECT encode(wrapped[1], 'hex') FROM dataprotect.epoch WHERE kms_uri = '{pkcs11:token=hsm;object=root}'"),
	qr/^01[0-9a-f]{120}$/, 'what is stored is format, IV, ciphertext and tag');

# A blob that was changed, or of another database's context, does not open.
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
my $blob = "(SELECT wrapped[1] FROM dataprotect.epoch WHERE kms_uri = '{pkcs11:token=hsm;object=root}')";
my $uri = 'pkcs11:token=hsm;object=root';
like(probe($uri, $blob), qr/^XX001 The wrapped key does not open under this key of the token/, 'a wrapped key opens for its own key id alone');
like(probe($uri, "set_byte($blob, 20, get_byte($blob, 20) # 1)"), qr/^XX001 /, 'a changed one does not open');
like(probe($uri, "'\\x0102'::bytea"), qr/^XX001 The wrapped key was not made by a token/, 'another thing is none');
like(probe('pkcs11:token=hsm;object=absent', $blob), qr/^42704 The token has no AES key/, 'a key that is not there');
like(probe('pkcs11:token=hsm;object=twice', $blob), qr/^42704 The token has more than one/, 'a label that two keys have');
like(probe('pkcs11:token=hsm;object=short', $blob), qr/^55000 .*256 bits/, 'a key of 128 bits is refused');
like(probe('pkcs11:token=other;object=root', $blob), qr/^08006 The token is not there/, 'a token that is not there');
is(seen(), 'under the token', 'none of that disturbs the token in use');

# A key that could leave the token is none.
SKIP:
{
	skip 'pkcs11-tool is not there', 1 if system('pkcs11-tool --help >/dev/null 2>&1') >> 8 == 127;
	my ($out, $err);
	IPC::Run::run([ 'pkcs11-tool', '--module', $module, '--login', '--pin', '12345', '--token-label', 'hsm',
			'--keygen', '--key-type', 'AES:32', '--label', 'loose', '--id', '05', '--extractable' ], '>', \$out, '2>', \$err)
	  or die "pkcs11-tool: $err";
	like(probe('pkcs11:token=hsm;object=loose', $blob), qr/^55000 .*give the key away/, 'a key that the token would give away is refused');
}

# URIs carry no PIN and no module; what is wrong with one is said without it.
for my $case (
	[ 'pkcs11:token=hsm;object=root;pin-value=12345', 'a PIN in the URI' ],
	[ 'pkcs11:token=hsm;object=root?module-path=/tmp/x.so', 'a module in the URI' ],
	[ 'pkcs11:object=root;token=hsm', 'another order' ])
{
	my (undef, undef, $stderr) = $node->psql('postgres', "SELECT dataprotect.create_key('k', ARRAY['$case->[0]'])");
	like($stderr, qr/invalid KMS URI "pkcs11:"/, "refused: $case->[1]");
	unlike($stderr =~ s/^LINE.*//mr, qr/12345/, 'and not repeated');
}

# The token goes away and comes back; a session that is lost is opened again.
rename $store, "$store.away" or die 'rename';
mkdir $store, 0700;
$node->safe_psql('postgres', 'SELECT 1');
like(drill(), qr/^f\|.*token/i, 'a token that is gone is reported');
is(seen(), 'under the token', 'and keys in the cache go on');
rmdir $store or die "rmdir: $!";
rename "$store.away", $store or die 'rename';
poll_until('the token to be found again', sub { drill() =~ /^t\|/ });
pass('a token that came back is used without a restart');

# A module that hangs, or falls, takes nobody with it.
SKIP:
{
	skip 'no compiler', 5 if !defined $front;
	my $agent = (key_agents($node))[0];
	$node->append_conf('postgresql.conf', "dataprotect.kms_timeout = 3s\n");
	$node->reload;
	poll_sql($node, 'postgres', 'SHOW dataprotect.kms_timeout', '3s');
	append_to_file("$tmp/hang", '');
	my $drill = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT ok, detail FROM dataprotect.drill() WHERE key = 'pii'" ], '<', \undef, '>', \my $said, '2>', \my $errors);
	poll_until('the module to be asked', sub { my @of = split /\n/, `ps -o pid= --ppid $agent`; return @of > 0 });
	$node->safe_psql('postgres', "SELECT dataprotect.create_key('beside', ARRAY['@{[kms_uri($node)]}'])");
	is($node->safe_psql('postgres', "SELECT bool_and(ok) FROM dataprotect.drill() WHERE key = 'beside'"), 't', 'beside a module that hangs other roots are used');
	$drill->finish or die $errors;
	like($said, qr/^f\|The KMS did not answer within the time limit/, 'it is given up after its time');
	unlink "$tmp/hang";
	append_to_file("$tmp/crash", '');
	ok(poll_until('a crash to be told', sub { drill() =~ /^f\|The process that served the call ended/ }), 'and what crashes has failed');
	unlink "$tmp/crash";
	poll_until('the module to be asked again', sub { drill() =~ /^t\|/ });
	is((key_agents($node))[0], $agent, 'the key agent is the same all the while');
	poll_until('no process to be left', sub { return `ps -o pid= --ppid $agent` !~ /\d/ });
	pass('which has left nothing behind');
	$node->append_conf('postgresql.conf', "dataprotect.kms_timeout = 10s\n");
	$node->reload;
}

# A refused PIN is tried once, not until the token locks itself.
my $key_agent = (key_agents($node))[0];
append_to_file("$pin_file.new", "99999\n");
chmod 0600, "$pin_file.new";
rename "$pin_file.new", $pin_file;
kill 'TERM', $key_agent;
poll_until('another key agent', sub { my @now = key_agents($node); return @now == 1 && $now[0] != $key_agent });
like(drill(), qr/^f\|The token refused the PIN/, 'a wrong PIN is reported');
like(drill(), qr/^f\|The token refused the PIN; it is not tried again/, 'and not tried again') for 1 .. 3;
append_to_file("$pin_file.new", "12345\n");
chmod 0644, "$pin_file.new";
rename "$pin_file.new", $pin_file;
like(drill(), qr/^f\|The PIN file has permissions 0644/, 'a PIN file that others read is refused');
chmod 0600, $pin_file;
like(drill(), qr/^t\|/, 'a PIN that was mended works at once');
unlike(slurp_file($node->logfile), qr/12345|99999/, 'no PIN is in the log');

# From a file to the token and back, without touching data.
is($node->safe_psql('postgres', "SELECT dataprotect.create_key('moving'); SELECT dataprotect.rewrap_key('moving', ARRAY['$uri', '@{[kms_uri($node)]}'])") =~ s/^\s+//r,
	'1', 'a key moves into the token, with a file beside it');
$node->stop;
done_testing();
