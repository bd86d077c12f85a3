# If this fails, a root key in a file is used although it is not safe, a URI gets
# past dataprotect.kms_allowed, or a mistake is reported in a way nobody can mend.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('kms_file');
create_extension($node);
my $dir = kms_dir($node);

# What the agent says of a URI: SQLSTATE and detail.  The blob is no wrapped
# key, so that a good key file ends in 22-something-else: XX001.
sub drill
{
	my ($uri) = @_;
	return $node->safe_psql('postgres', <<"SQL");
BEGIN;
INSERT INTO dataprotect.epoch (key_id, epoch, kms_uri, wrapped) VALUES (1, 1, '{$uri}', '{"\\\\x0102"}');
SELECT sqlstate || ' ' || detail FROM dataprotect._epoch_probe(1, 1);
ROLLBACK;
SQL
}

like(drill("file://$dir/root.key"), qr/^XX001 The wrapped key does not open/, 'a good key file is read');

my %key = map { $_ => create_key_file("$dir/$_.key") } qw(group others short long folder);
chmod 0640, $key{group};
chmod 0602, $key{others};
append_to_file($key{long}, 'x');
truncate $key{short}, 31;
unlink $key{folder};
mkdir $key{folder}, 0700;
symlink "$dir/root.key", "$dir/link.key";
system('mkfifo', '-m', '0600', "$dir/fifo.key") == 0 or die 'mkfifo';
my $inside = $node->data_dir . '/inside.key';
create_key_file($inside);
symlink $node->data_dir, "$dir/folder_link";

for my $case (
	[ 'group', qr/^F0000 .*permissions 0640.*0600/, 'readable by the group' ],
	[ 'others', qr/^F0000 .*permissions 0602/, 'writable by others' ],
	[ 'short', qr/^F0000 .*31 bytes instead of 32/, 'of 31 bytes' ],
	[ 'long', qr/^F0000 .*33 bytes instead of 32/, 'of 33 bytes' ],
	[ 'folder', qr/^F0000 .*not a regular file/, 'that is a folder' ],
	[ 'fifo', qr/^F0000 .*not a regular file/, 'that is a FIFO (and nothing hangs)' ],
	[ 'link', qr/^F0000 .*symbolic link/, 'that is a symbolic link' ],
	[ 'absent', qr/^F0000 .*No such file/, 'that is not there' ])
{
	like(drill("file://$dir/$case->[0].key"), $case->[1], "a key file $case->[2] is refused");
}
like(drill("file://$dir/folder_link/inside.key"), qr/^F0000 .*inside the data directory/,
	'a key file inside the data directory is refused, by way of a symbolic link too');

like(drill('file:///etc/passwd'), qr/^42501 No pattern of dataprotect.kms_allowed/,
	'the agent itself refuses what is not allowed');
like(drill("file://$dir/../kms/root.key"), qr/^22023 .*"\.\."/, 'no way around a pattern by ..');
like(drill("file://$dir//root.key"), qr/^22023 /, 'no way around a pattern by an empty component');

# The file is read for each call: no restart after a mistake is mended.
chmod 0600, $key{group};
like(drill("file://$dir/group.key"), qr/^XX001 /, 'a file that was mended works at once');

is($node->safe_psql('postgres', <<"SQL"), 'file|t|t|closed', 'kms_status counts calls and failures');
SELECT provider, calls = failures, last_error LIKE 'The wrapped key%', circuit
FROM dataprotect.kms_status WHERE kms_uri = 'file://$dir/root.key'
SQL
is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.kms_status WHERE kms_uri LIKE '%passwd%'"),
	'0', 'a URI that is not allowed leaves no trace in kms_status');

$node->safe_psql('postgres', 'CREATE ROLE nobody_special LOGIN; CREATE ROLE watcher LOGIN; GRANT dataprotect_auditor TO watcher');
like(($node->psql('postgres', "SET ROLE nobody_special; SELECT * FROM dataprotect.kms_status"))[2],
	qr/permission denied/, 'kms_status is not for everybody');
is(($node->psql('postgres', "SET ROLE watcher; SELECT count(*) > 0 FROM dataprotect.kms_status"))[1],
	't', 'an auditor reads kms_status');
like(($node->psql('postgres', "SET ROLE watcher; SELECT dataprotect._epoch_probe(1, 1)"))[2],
	qr/permission denied/, 'an auditor does not drill');

# Drills: what they found stays, the age is that of the last success.
$node->safe_psql('postgres', "SELECT dataprotect.create_key('pii')");
my $drilled = "FROM dataprotect.kms_status WHERE kms_uri = 'file://$dir/root.key'";
is($node->safe_psql('postgres', "SELECT mean_ms > 0, max_ms >= mean_ms, credentials_expire IS NULL, last_drill IS NULL, drill_age >= interval '0' $drilled"),
	't|t|t|t|t', 'kms_status has the times of calls, and the age of a key that no drill has opened');
is($node->safe_psql('postgres', "SELECT bool_and(ok) FROM dataprotect.drill(); SELECT last_drill IS NOT NULL, last_drill_ok $drilled"),
	"t\nt|t", 'a drill that opened the keys is in kms_status');
chmod 0640, "$dir/root.key";
is($node->safe_psql('postgres', "SELECT bool_or(ok) FROM dataprotect.drill(); SELECT last_drill_ok $drilled"),
	"f\nf", 'so is one that failed');
is($node->safe_psql('postgres', 'SELECT succeeded_at < drilled_at FROM dataprotect.epoch_drill'),
	't', 'which does not make the last success younger');
is($node->safe_psql('postgres', "SELECT dataprotect.flush_audit_log()", extra_params => [ '-U', 'watcher' ]), 't', 'audit log is complete');
is($node->safe_psql('postgres', "SELECT (detail ->> 'opened')::int > 0, (detail ->> 'failed')::int > 0 FROM dataprotect.audit_log WHERE event = 'keys.drilled' ORDER BY seq",
		extra_params => [ '-U', 'watcher' ]), "t|f\nf|t", 'each drill is an event with what it found');
chmod 0600, "$dir/root.key";
is($node->safe_psql('postgres', "SELECT state FROM dataprotect._kms_root_state('file://$dir/never.key'); SELECT last_drill IS NULL, drill_age IS NULL FROM dataprotect.kms_status WHERE kms_uri LIKE '%/never.key'"),
	"deleted\nt|t", 'a URI without keys has no drill');

# The agent: one, not dumpable, and back after it was ended.
my @agents = key_agents($node);
is(scalar(@agents), 1, 'one key agent runs');
my $pid = $agents[0];
SKIP:
{
	skip 'root reads everything', 1 if $> == 0;
	ok(!open(my $memory, '<', "/proc/$pid/mem") && !open(my $environ, '<', "/proc/$pid/environ"),
		'the key agent is not dumpable: its own user reads neither its memory nor its environment');
}
kill 'TERM', $pid;
poll_until('another key agent', sub { my @now = key_agents($node); return @now == 1 && $now[0] != $pid });
like(drill("file://$dir/root.key"), qr/^XX001 /, 'a terminated agent is replaced and serves requests');

$node->stop;

# Without any pattern nothing is allowed but what the server was started with as its
# default, whatever a session calls its default; the log warns of one that never matches.
$node->append_conf('postgresql.conf', "dataprotect.kms_allowed = ''\n");
$node->start;
like(drill("file://$dir/root.key"), qr/^XX001 /, 'the default needs no pattern');
like(drill("file://$dir/link.key"), qr/^42501 /, 'an empty list allows nothing else');
is($node->safe_psql('postgres', "SELECT ok FROM dataprotect.check_setup() WHERE item = 'default KMS root'"), 't', 'check_setup() is content with the default');
$node->safe_psql('postgres', "ALTER SYSTEM SET dataprotect.default_kms_uri = 'file://$dir/link.key'");
$node->reload;
poll_sql($node, 'postgres', "SELECT current_setting('dataprotect.default_kms_uri') LIKE '%link.key'");
like(drill("file://$dir/link.key"), qr/^42501 /, 'a default that came later is none until the server starts with it');
like($node->safe_psql('postgres', "SELECT detail FROM dataprotect.check_setup() WHERE item = 'default KMS root' AND NOT ok"), qr/kms_allowed/, 'check_setup() says so');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET dataprotect.default_kms_uri');
$node->stop;
$node->append_conf('postgresql.conf', "dataprotect.kms_allowed = 'file:///*/root.key, file://$dir/root.key'\n");
my $log_offset = -s $node->logfile;
$node->start;
like(slurp_file($node->logfile, $log_offset), qr{pattern "file:///\*/root.key" in dataprotect.kms_allowed matches nothing},
	'a star inside a pattern is reported at start');
like(drill("file://$dir/root.key"), qr/^XX001 /, 'a whole URI in the list allows itself');
like(drill("file://$dir/link.key"), qr/^42501 /, 'and no other');

# A year without a drill.  Nobody had asked the KMS since the start.
my $overdue = "FROM dataprotect.alerts WHERE event = 'drill.overdue'";
$node->stop;
start_at($node, '300d');
$node->safe_psql('postgres', 'SELECT dataprotect._tell_drills()');
is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.drill_alert"), '0', 'ten months are no alert');
$node->stop;
start_at($node, '400d');
# An alert may be there before the transaction that told of it has ended.
ok(poll_sql($node, 'postgres', "SELECT count(*) > 0 AND EXISTS (SELECT FROM dataprotect.drill_alert) $overdue"), 'a year without a drill that succeeded is an alert');
is($node->safe_psql('postgres', "SELECT drill_age > interval '399 days' $drilled"), 't', 'and its age is in kms_status');
$node->safe_psql('postgres', 'SELECT dataprotect._tell_drills()');
is($node->safe_psql('postgres', "SELECT dataprotect.flush_audit_log()", extra_params => [ '-U', 'watcher' ]), 't', 'audit log is complete');
is($node->safe_psql('postgres', "SELECT detail ->> 'kms_uri' = 'file://$dir/root.key', detail -> 'keys' FROM dataprotect.audit_log WHERE event = 'drill.overdue'",
		extra_params => [ '-U', 'watcher' ]), 't|["pii", "system"]', 'told once, with the keys');
is($node->safe_psql('postgres', "SELECT bool_and(ok) FROM dataprotect.drill(); SELECT drill_age < interval '1 day' $drilled"), "t\nt", 'a drill ends it');

$node->stop;
$node->append_conf('postgresql.conf', "dataprotect.kms_allowed = 'file://$dir/*'\n");
$node->start;

# Of two roots the first answers and cannot open; a row of a key is lost.
create_key_file("$dir/first.key");
$node->safe_psql('postgres', <<"SQL");
SELECT dataprotect.create_key('by_two', ARRAY['file://$dir/first.key', 'file://$dir/root.key']);
SELECT dataprotect.create_key('by_one');
SELECT dataprotect.grant_access(k, current_user::regrole, 'reveal') FROM unnest('{by_two,by_one}'::text[]) k;
CREATE TABLE two (v encrypted_text('by_two'));
CREATE TABLE one (v encrypted_text('by_one'));
INSERT INTO two VALUES ('opened by the second');
INSERT INTO one VALUES ('of another key');
CREATE TABLE lost AS SELECT v.* FROM dataprotect.key_version v JOIN dataprotect.key k ON k.current_key_id = v.key_id WHERE k.name = 'by_two';
SQL
unlink "$dir/first.key";
create_key_file("$dir/first.key");
$node->restart;
is($node->safe_psql('postgres', 'SELECT v FROM two'), 'opened by the second', 'a root that answers and cannot open does not hide the one that can');
is($node->safe_psql('postgres', "SELECT failures > 0, circuit, last_error LIKE '%does not open under this key file%' FROM dataprotect.kms_status WHERE kms_uri LIKE '%first.key'"), 't|closed|t', 'and is reported');
like($node->safe_psql('postgres', "SELECT string_agg(ok || ' ' || kms_uri, ',' ORDER BY kms_uri) FROM dataprotect.drill() WHERE key = 'by_two'"), qr{^false file://\S+first.key,true file://\S+root.key$}, 'by a drill, too');
$node->safe_psql('postgres', 'DELETE FROM dataprotect.key_version v USING lost WHERE v.key_id = lost.key_id');
psql_fails($node, 'postgres', 'SELECT v FROM two', qr/key of a protected value does not exist/, 'a value whose key was lost is an error');
is($node->safe_psql('postgres', 'SELECT v FROM one'), 'of another key', 'others are read');
$node->safe_psql('postgres', 'INSERT INTO dataprotect.key_version SELECT * FROM lost');
is($node->safe_psql('postgres', 'SELECT v FROM two'), 'opened by the second', 'and it is, when the row is back');
$node->stop;
done_testing();
