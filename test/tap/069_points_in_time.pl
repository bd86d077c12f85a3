# If this fails, a database that was restored to a point in time, or goes on beside its
# original, or has lost a KMS for good, does not read its values or cannot go on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('original', init => [ has_archiving => 1, allows_streaming => 1 ], conf => "autovacuum = off\n");
create_extension($node);
my $dir = kms_dir($node);
create_key_file("$dir/$_.key") for qw(a b c);

sub sql { my ($statement, $at) = @_; return ($at // $node)->safe_psql('postgres', $statement); }
sub app { my ($statement, $at) = @_; return ($at // $node)->safe_psql('postgres', $statement, extra_params => [ '-U', 'app' ]); }

sql(<<"SQL");
SELECT dataprotect.create_key('k'), dataprotect.create_key('two', ARRAY['file://$dir/a.key', 'file://$dir/b.key']);
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access(k, 'app', 'reveal') FROM unnest('{k,two}'::text[]) k;
CREATE TABLE t (id int PRIMARY KEY, v encrypted_text('k', 'searchable'), o encrypted_int4('k', 'ordered'), w encrypted_text('two'));
CREATE INDEX t_v ON t (v encrypted_text_token_ops);
CREATE INDEX t_o ON t (o);
CREATE TABLE u (id int PRIMARY KEY, name encrypted_text('k'));
GRANT ALL ON t, u TO app;
SELECT dataprotect.create_account_type('u', 'u', 'id'), dataprotect.bind_subject('u', 'u', 'id');
SQL
sub add
{
	my ($at, @ids) = @_;
	app("INSERT INTO t VALUES ($_, 'v$_', $_, 'w$_'); INSERT INTO u VALUES ($_, 'name $_')", $at) for @ids;
	return;
}
# Every value opens as what it was, is found by its token and in its order, and sealed rows are whole.
sub is_whole
{
	my ($at, $n, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(app(q{SELECT count(*) FILTER (WHERE v::text = 'v' || id AND o::int4 = id AND w::text = 'w' || id),
		(SELECT count(*) FILTER (WHERE name::text = 'name ' || id) FROM u), (SELECT count(*) FROM t s WHERE s.v = 'v2') FROM t}, $at), "$n|$n|1", "$what: every value is there");
	is(app('SET enable_seqscan = off; SELECT count(*) FROM t WHERE o BETWEEN 1 AND 1000000', $at), $n, "$what: and in the ordered index");
	is(sql('SELECT coalesce(sum(failures), 0), (SELECT count(*) FROM dataprotect.verify_policy()) FROM dataprotect.verify()', $at), '0|0', "$what: and whole");
	return;
}
sub goes_on
{
	my ($at, $n, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok(sql("SELECT dataprotect.rotate_key('k')", $at), '>', 1, "$what: the key rotates");
	add($at, $n + 1);
	$at->safe_psql('postgres', "CALL dataprotect.reencrypt('t'); CALL dataprotect.reencrypt('u')");
	is_whole($at, $n + 1, "$what, written and rotated");
	return;
}

sub point { sql("SELECT pg_create_restore_point('$_[0]')"); return; }
sub archived
{
	my $file = sql('SELECT pg_walfile_name(pg_switch_wal())');
	poll_sql($node, 'postgres', "SELECT last_archived_wal >= '$file' FROM pg_stat_archiver");
	return;
}
# Another server, as the first was at that point.
sub restored
{
	my ($point) = @_;
	my $at = PostgreSQL::Test::Cluster->new("at_$point");
	$at->init_from_backup($node, 'base', has_restoring => 1);
	$at->append_conf('postgresql.conf', "archive_mode = off\nrecovery_target_name = '$point'\nrecovery_target_action = promote\n");
	$at->start;
	poll_sql($at, 'postgres', 'SELECT NOT pg_is_in_recovery()');
	return $at;
}

add($node, 1 .. 3);
$node->backup('base');
add($node, 4);
point('before_rotation');
sql("SELECT dataprotect.rotate_key('k'), dataprotect.rotate_key('two')");
add($node, 5);
sql("CALL dataprotect.reencrypt('t'); CALL dataprotect.reencrypt('u')");
point('after_rotation');
add($node, 6);
archived();

my $clone = restored('before_rotation');
is_whole($clone, 4, 'before a rotation');
my $after = restored('after_rotation');
is_whole($after, 5, 'after a rotation');

# A clone that goes on beside its original: each rotates, and has accounts that the other does not know.
sql("SELECT dataprotect.rotate_key('k')", $clone);
add($clone, 101, 102);
is_whole($clone, 6, 'a clone that goes on');
my $keys = sql('SELECT dataprotect.export_keys()', $clone);
cmp_ok(sql('SELECT dataprotect.import_keys($$' . $keys . '$$)'), '>=', 3, 'the keys of a clone come beside those of its original');
my $rows = $node->basedir . '/rows';
for my $table ('t', 'u')
{
	$clone->safe_psql('postgres', "SET dataprotect.output = ciphertext; COPY (SELECT * FROM $table WHERE id > 100) TO '$rows.$table'");
	$node->safe_psql('postgres', "SET dataprotect.input = ciphertext; COPY $table FROM '$rows.$table'");
}
is_whole($node, 8, 'with the rows of a clone');
$clone->stop('immediate');

# Another cluster under a root of its own, out of reach of the first one's.
my $own = $after->basedir . '/own';
mkdir $own, 0700 or die;
create_key_file("$own/root.key");
$after->append_conf('postgresql.conf', "dataprotect.kms_allowed = 'file://$dir/*, file://$own/*'\n");
$after->restart;
sql("SELECT dataprotect.rewrap_key(k, ARRAY['file://$own/root.key']) FROM unnest('{k,two}'::text[]) k", $after);
$after->append_conf('postgresql.conf', "dataprotect.kms_allowed = 'file://$own/*'\ndataprotect.default_kms_uri = 'file://$own/root.key'\n");
$after->restart;
is_whole($after, 5, 'another cluster under another root');
goes_on($after, 5, 'another cluster under another root');
is(sql('SELECT bool_and(ok), count(DISTINCT kms_uri) FROM dataprotect.drill()', $after), 't|1', 'and under no other');
$after->stop('immediate');

# One KMS of two is lost for good.
unlink "$dir/a.key" or die;
$node->restart;
is_whole($node, 8, 'one KMS of two is lost for good');
is(sql("SELECT string_agg(ok::text, ' ' ORDER BY kms_uri) FROM dataprotect.drill() WHERE key = 'two'"), 'false true', 'a drill says which');
sql("SELECT dataprotect.rewrap_key('two', ARRAY['file://$dir/b.key', 'file://$dir/c.key'])");
is(sql("SELECT bool_and(ok), count(*) FROM dataprotect.drill() WHERE key = 'two'"), 't|2', 'and another takes its place');

# An epoch: its root goes, and what was before it is read with an export of the keys.
point('before_epoch');
# The policy key of now is another: an export fits what backups have all the same ("backup-before-another-policy-key").
sql('SELECT count(*) FROM dataprotect.rotate_system_keys()');
sql("SELECT dataprotect.roll_epoch('test', from_kms_uri => ARRAY['file://$dir/root.key'])");
poll_sql($node, 'postgres', "SELECT bool_and(state = 'emptied') FROM dataprotect.epochs WHERE waits_for = 'drill_export()'");
$keys = sql('SELECT dataprotect.export_keys()');
sql('SELECT dataprotect.drill_export($$' . $keys . '$$)');
poll_until('the end of an epoch', sub { sql('SELECT dataprotect.run_epochs()'); return sql("SELECT string_agg(DISTINCT state, ',') FROM dataprotect.epochs") eq 'active,destroyed'; });
add($node, 9);
point('after_epoch');
archived();
ok(!-e "$dir/root.key", 'the root of an epoch is destroyed');
my $before = restored('before_epoch');
psql_fails($before, 'postgres', 'SET ROLE app; SELECT v FROM t', qr/could not fetch key/, 'before an epoch: nothing opens by itself');
cmp_ok(sql('SELECT dataprotect.import_keys($$' . $keys . '$$)', $before), '>=', 1, 'before an epoch: an export of the keys is imported');
is_whole($before, 8, 'before an epoch');
$before->stop('immediate');
my $later = restored('after_epoch');
is_whole($later, 9, 'after an epoch');
goes_on($later, 9, 'after an epoch');
$later->stop('immediate');

is_whole($node, 9, 'the original');
$node->stop('immediate');
done_testing();
