# If this fails, something that PostgreSQL's caches said is used after they were thrown
# away, as they are whenever another session changes a table, and all of them where a
# session is too far behind: rows of ours are left without a seal (which looks like
# tampering, and closes keys), or worse.
#
# Sessions write for new accounts under ever new versions of a key, while others do
# nothing but have the tables of keys, and all else, invalidated.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $seconds = $ENV{DP_INVALIDATIONS_SECONDS} || 15;
my $node = new_node('invalidated', conf => "fsync = off\nautovacuum = off\nlog_statement = none\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
CREATE ROLE app LOGIN;
CREATE ROLE guest LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE account (id int PRIMARY KEY, email encrypted_text('pii'));
CREATE SEQUENCE ids;
SELECT dataprotect.create_account_type('account', 'account', 'id', '0 s'), dataprotect.bind_subject('account', 'account', 'id');
CREATE VIEW seen AS SELECT id, email FROM account;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE account SET email = new.email WHERE id = new.id; RETURN new; END $$;
CREATE TRIGGER seen INSTEAD OF UPDATE ON seen FOR EACH ROW EXECUTE FUNCTION instead();
GRANT ALL ON account, seen TO app;
GRANT USAGE ON SEQUENCE ids TO app;
SQL

my $dir = $node->basedir;
sub script
{
	my ($name, $text) = @_;
	append_to_file("$dir/$name.sql", $text);
	return ('-f', "$dir/$name.sql");
}

# What is done, and by whom the caches are emptied.
my %scripts = (
	app => [
		script('claims', "INSERT INTO account SELECT i, 'mail' || i FROM (SELECT nextval('ids') AS i FROM generate_series(1, 300)) s;\n"),
		script('again', "\\set r random(0, 9)\nUPDATE account SET email = 'mail' || id WHERE id % 10 = :r;\n"),
		script('rolled_back', "BEGIN;\nINSERT INTO account VALUES (nextval('ids'), 'nobody');\nROLLBACK;\n"),
		script('through', "UPDATE seen SET email = email WHERE id = (SELECT max(id) FROM account);\n"),
		script('shown', "SELECT count(*) FROM account WHERE email IS NULL;\n") ],
	'' => [
		script('rotate', "SELECT dataprotect.rotate_key('pii');\n\\sleep 200 ms\n"),
		script('grant', "SELECT dataprotect.grant_access('pii', 'guest', 'mask');\nSELECT dataprotect.revoke_access('pii', 'guest');\n\\sleep 20 ms\n") ]);
my $empty = script('empty', join('', map { "GRANT SELECT ON dataprotect.$_ TO guest;\nREVOKE SELECT ON dataprotect.$_ FROM guest;\n" } ('key_version') x 8, qw(key spare_key subject_key access_grant instance)));
my $overflow = script('overflow', "BEGIN;\nCREATE TEMP TABLE t (a int, b int, c int, d int);\nCREATE INDEX ON t (a);\nROLLBACK;\n");

my @runs;
sub start
{
	my ($clients, $role, @files) = @_;
	my $out = '';
	push @runs, [ \$out, IPC::Run::start([ 'pgbench', '-n', '-c', $clients, '-T', $seconds, '--max-tries', '20', @files, '-h', $node->host, '-p', $node->port,
				$role ? ('-U', $role) : (), 'postgres' ], '<', \undef, '>&', \$out) ];
	return;
}
start(3, $_, @{ $scripts{$_} }) for sort keys %scripts;
start(1, '', '-f', "$dir/empty.sql");
start(2, '', '-f', "$dir/overflow.sql");
$_->[1]->finish for @runs;
my $log = slurp_file($node->logfile);
unlike($log, qr/terminated by signal|PANIC|TRAP:/, 'no process crashed') or do { $node->_update_pid(0); done_testing(); exit 1 };
my @said = map { grep { /ERROR|FATAL|PANIC/ && !/could not (?:serialize|claim)|was changed meanwhile|tuple concurrently updated/ } split /\n/, ${ $_->[0] } } @runs;
is(join("\n", @said), '', 'no session met an error');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM account'), '>', 300, 'accounts were made');
is($node->safe_psql('postgres', 'SELECT string_agg(v::text, chr(10)) FROM dataprotect.verify_policy() v'), '', 'every row of ours has its seal');
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.verify() WHERE failures <> 0'), '0', 'every value opens');
is($node->safe_psql('postgres', "SELECT count(*) FROM account WHERE email::text <> 'mail' || id", extra_params => [ '-U', 'app' ]), '0', 'and is right');
$log = slurp_file($node->logfile);
is(join("\n", grep { /by somebody else|policy\.tampered|PANIC|TRAP:|terminated by signal|XX000/ } split /\n/, $log), '', 'and nothing looked like tampering');
$node->stop;
done_testing();
