# If this fails, keys can be found in the memory of a session that does nothing, in a
# core file, or anywhere after a lockdown.
use strict;
use warnings;

use File::Basename qw(dirname);
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $top = dirname(__FILE__) . '/../..';
my $node = new_node('memory', start => 0, conf => "shared_buffers = 16MB\nfsync = off\nautovacuum = off\n");
my ($finder, $library) = map { $node->basedir . "/$_" } 'find_keys', 'dumpable.so';
my $cc = $ENV{CC} || 'cc';
system($cc, '-O1', '-w', "-I$top/src", '-o', $finder, "$top/test/memory/find_keys.c", (map { "$top/src/crypto/$_.c" } qw(aead keywrap prf random short_gcm)), '-lcrypto') == 0
  or die 'could not build find_keys';
system($cc, '-shared', '-fPIC', '-o', $library, "$top/test/memory/dumpable.c") == 0 or die 'could not build dumpable.so';
{
	local $ENV{LD_PRELOAD} = join ':', grep { defined && length } $library, $ENV{LD_PRELOAD};
	$node->start;
}
create_extension($node);
sub sql { return $node->safe_psql('postgres', $_[0]); }
sql(<<'SQL');
CREATE ROLE app LOGIN;
SELECT dataprotect.create_key('pii'), dataprotect.create_key('of_accounts');
SELECT dataprotect.grant_access(k, 'app', 'reveal') FROM unnest('{pii,of_accounts}'::text[]) k;
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii', 'searchable'), amount encrypted_int4('pii', 'ordered'));
CREATE INDEX ON person (amount);
CREATE TABLE account (id int PRIMARY KEY, note encrypted_text('of_accounts'));
SELECT dataprotect.create_account_type('account', 'account', 'id');
SELECT dataprotect.bind_subject('account', 'account', 'id');
INSERT INTO person SELECT i, 'p' || i, i FROM generate_series(1, 20) i;
INSERT INTO account VALUES (1, 'of an account');
GRANT ALL ON person, account TO app;
SQL
my $keys = sql(<<'SQL');
SELECT format('epoch %s %s %s', key_id, encode(uuid_send(i.uid) || int8send(key_id) || int4send(epoch) || int2send(1::int2), 'hex'), encode(wrapped[1], 'hex'))
  FROM dataprotect.epoch, dataprotect.instance i
UNION ALL
SELECT format('%s %s %s %s', (array['data', 'account', 'search', 'literal', 'audit', 'chain', 'policy'])[purpose - 1], epoch,
       encode(uuid_send(i.uid) || int8send(key_id) || substr(int2send(purpose), 2) || int4send(version), 'hex'), encode(wrapped, 'hex'))
  FROM dataprotect.key_version v, dataprotect.instance i WHERE v.purpose <> 3 OR EXISTS (SELECT FROM dataprotect.subject_key s WHERE s.key_id = v.key_id)
SQL

# Where what was found, by process: "kind form mapping" each.
sub look
{
	my (@where) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $finder, kms_dir($node) . '/root.key', @where ], '<', \$keys, '>', \$out, '2>', \$err);
	# a process may have ended since it was listed
	die "find_keys: $err" if $err =~ /\S/ && $err !~ /cannot be looked into/;
	return $err =~ /\S/ ? undef : $out;
}

my $session = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres') ],
	'<', \my $in, '>', \my $out, '2>', \my $err, IPC::Run::timeout(4 * TIMEOUT));

sub ask
{
	my ($sql) = @_;
	$out = '';
	$in .= "$sql;\n\\echo :done\n";
	$session->pump until $out =~ /:done\n/;
	(my $answer = $out) =~ s/\n?:done\n//;
	return $answer;
}

my $read = "SELECT count(*) FROM person WHERE email = 'p7' AND amount = 7; SELECT id, email, amount FROM person ORDER BY amount; SELECT note FROM account; UPDATE account SET note = 'changed'";
my $pid = ask('SELECT pg_backend_pid()');
plan skip_all => 'no process may be looked into here' if !defined look($pid);
my $secret = slurp_file("/proc/$pid/maps") =~ /secretmem/;
# What the kernel shows to nobody is passed over; where it has no such memory, the arena is one of the shared mappings.
my $arena = qr{/dev/zero};

# --- what is in use is found: the rest of this file could not fail else
ask("BEGIN; $read");
my $used = look($pid);
like($used, qr/^$pid $_ /m, "in an open transaction that used it, the $_ key is found") for qw(data account search);
like($used, qr/ (subkey|turned subkey) /, 'and what AES-GCM derives from one');
like($used, qr/^$pid search HMAC state/m, 'and what HMAC keeps of one');

# --- a session that does nothing holds none
sub is_clean
{
	my ($process) = @_;
	my $found = look($process);
	return 0 if !defined $found;
	$found = join '', grep { $secret || !/$arena/ } map { "$_\n" } split /\n/, $found;
	return $found eq "" || (note($found =~ m{\A(.*)}) && 0);
}
ask('COMMIT');
sub soon { my ($what, $code) = @_; return ok(poll_until($what, $code), $what); }
soon('an idle session has no key, no round key and no derived one in its memory, soon after', sub { is_clean($pid) });
is(ask("SELECT note FROM account"), 'changed', 'and goes on');
like(ask('SELECT 1 / 0'), qr/^$/, 'an error does not keep them');
soon('in memory either', sub { is_clean($pid) });
my ($agent) = key_agents($node);
ok($agent, 'the key agent is there');
soon('nor has the key agent', sub { is_clean($agent) });

SKIP:
{
	skip 'no gcore', 1 if system('sh', '-c', 'command -v gcore >/dev/null 2>&1') != 0;
	my $core = $node->basedir . '/core';
	IPC::Run::run([ 'gcore', '-o', $core, $pid ], '<', \undef, '>', \my $made, '2>&1') && -e "$core.$pid" or skip 'gcore cannot attach here', 1;
	my $found = look("$core.$pid");
	is($found, '', 'a core file of it has none, the arena included');
	unlink "$core.$pid";
}
is(sql('SELECT dataprotect._memory_locked()'), 't', 'what is in use is locked into memory') if $secret;
SKIP:
{
	skip 'no swap here', 1 if slurp_file('/proc/swaps') !~ /\n\S/;
	unlike(slurp_file("/proc/$pid/smaps"), qr/secretmem[^\n]*\n(?:\w+:[^\n]*\n)*?Swap:\s+[1-9]/, 'nothing of the arena is in swap');
}

# --- after a lockdown nobody has one, whatever he was doing
ask("BEGIN; $read");
like(look($pid), qr/^$pid data /m, 'a session that waits in a transaction has keys');
sql("SELECT dataprotect.lockdown('test')");
# Where the arena can be looked at, what writes the audit log keeps its own keys there.
sub everybody_is_clean
{
	my @processes = ($agent, split /\n/, sql("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type !~ 'walwriter|checkpointer|startup'"));
	for my $process (@processes)
	{
		my $found = look($process);
		next if !defined $found;
		my @left = grep { !/^\d+ (audit|chain|policy) .*$arena/ } split /\n/, $found;
		return note(join "\n", @left) && 0 if @left;
	}
	return 1;
}
soon('after lockdown() no process has a key', \&everybody_is_clean);
unlike(ask("SELECT note FROM account"), qr/changed/, 'the session reads nothing');
ask('ROLLBACK');
sql("SELECT dataprotect.lift_lockdown('test')");
is(ask('SELECT note FROM account'), 'changed', 'and reads again when it is over');

# --- so for a key that is suspended
ask('BEGIN; SELECT note FROM account');
sql("SELECT dataprotect.suspend_key('of_accounts', 'test')");
soon('a suspended key leaves a session that waits in a transaction', sub { my $found = look($pid); defined $found && $found !~ /^$pid account (?!.*$arena)/m });
ask('ROLLBACK');
$session->finish;
$node->stop;
done_testing();
