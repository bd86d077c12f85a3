# If this fails, a backup from before a deletion opens the erased account with all
# that the KMS still gives, or does not open the others; or a root is destroyed
# while something lives by it, or reported destroyed while it is not.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('epochs', init => [ allows_streaming => 1 ]);
create_extension($node, 'postgres');
my $first = kms_dir($node) . '/root.key';
my $second = "$first.epoch2";

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub fails
{
	my ($statement, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return psql_fails($node, 'postgres', $statement, $pattern, $name);
}
sub app { my ($at, $statement) = @_; return $at->safe_psql('postgres', $statement, extra_params => [ '-U', 'app' ]); }
sub epoch { my ($column, $number) = @_; return sql("SELECT $column FROM dataprotect.epochs WHERE epoch = $number"); }

sql(<<'SQL');
SELECT dataprotect.create_key('k');
CREATE ROLE app LOGIN;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
SELECT dataprotect.grant_access('k', 'app', 'reveal');
CREATE TABLE u (id int PRIMARY KEY, name encrypted_text('k', 'searchable'));
GRANT ALL ON u TO app;
SELECT dataprotect.create_account_type('u', 'u', 'id', '0 s');
SELECT dataprotect.bind_subject('u', 'u', 'id');
INSERT INTO u SELECT g, 'name ' || g FROM generate_series(1, 5) g;
SQL
my $old_export = sql('SELECT dataprotect.export_keys()');
my $old_text = sql('SELECT name FROM u WHERE id = 2');
$node->backup('before');

# What a root is not given up for.
fails("SELECT dataprotect.roll_epoch('')", qr/a reason must be given/, 'a reason is needed');
fails("SELECT dataprotect.roll_epoch('x', ARRAY['file://$first'])", qr/is a root of the epoch that is to be given up/, 'the same root is no new one');
symlink(kms_dir($node), kms_dir($node) . '/link') or die;
fails("SELECT dataprotect.roll_epoch('x', ARRAY['file://" . kms_dir($node) . "/link/root.key'])", qr/is a root of the epoch that is to be given up/,
	'nor by another name');
fails("SELECT dataprotect.roll_epoch('x', ARRAY['file:///elsewhere/x.key'])", qr/not allowed|kms_allowed/, 'nor one that is not allowed');
fails("SELECT dataprotect.schedule_epochs(deletions => 1, kms_uri => ARRAY['file://$first'])", qr/no "\{epoch\}"/, 'each epoch to come has its own');
$node->safe_psql('postgres', 'CREATE DATABASE other');
create_extension($node, 'other');
$node->safe_psql('other', "SELECT dataprotect.create_key('k')");
fails("SELECT dataprotect.roll_epoch('x')", qr/keys of database "other" are under the same roots/, 'nor one that another database lives by');
create_key_file(kms_dir($node) . '/other.key');
$node->safe_psql('other', "SELECT dataprotect.rewrap_key('k', ARRAY['file://" . kms_dir($node) . "/other.key'])");
$node->safe_psql('postgres', 'DROP DATABASE other');

# A deletion waits for the roots where a schedule destroys them.
sql('SELECT dataprotect.schedule_epochs(deletions => 1)');
my $request = sql("SELECT dataprotect.request_deletion('u', '2', 'letter')");
ok(poll_sql($node, 'postgres', 'SELECT state FROM dataprotect.epochs WHERE epoch = 1', 'emptied'), 'the schedule opens the next epoch');
ok(poll_sql($node, 'postgres', "SELECT state = 'purged' AND detail LIKE 'waits: %roots of epoch 1%an export of the keys' FROM dataprotect.deletion_requests WHERE id = $request"),
	'a deletion is not over while the roots are there');
is(epoch('keys', 1), 0, 'what lives is wrapped anew');
is(epoch('waits_for', 1), 'drill_export()', 'the old root waits for an export of the keys');
is(app($node, 'SELECT string_agg(name::text, $$,$$ ORDER BY id) FROM u'), 'name 1,name 3,name 4,name 5', 'and opens');
is(sql('SELECT count(*) FROM dataprotect.drill() WHERE ok'), 2, 'under the new root alone');
ok(-e $first && -s $second == 32, 'both roots are there');
fails("SELECT dataprotect.drill_export(\$\$" . $old_export . '$$)', qr/does not open what old backups have/, 'an export from before does not do');
my $export = sql('SELECT dataprotect.export_keys()');
my $erasures = sql('SELECT dataprotect.export_erasures()');
cmp_ok(sql("SELECT dataprotect.drill_export(\$\$$export\$\$)"), '>', 5, 'one of now does');
sql('SELECT dataprotect.run_epochs()');
is(epoch('state', 1), 'destroyed', 'then the old root goes');
ok(!-e $first, 'and its file with it');
like(epoch('roots', 1), qr/"state": "deleted"/, 'as is reported');
ok(poll_sql($node, 'postgres', "SELECT state FROM dataprotect.deletion_requests WHERE id = $request", 'certified'), 'the deletion ends');
like(sql("SELECT dataprotect.deletion_certificate($request) -> 'roots_destroyed'"), qr/root\.key/, 'and names the root');
sql('SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT event, ',' ORDER BY event) FROM dataprotect.audit_log WHERE event ~ '^(epoch|root)[.]'),
		extra_params => [ '-U', 'auditor' ]), 'epoch.destroyed,epoch.emptied,epoch.rolled,root.scheduled', 'each step is an event');
is(app($node, 'SELECT count(*) FROM u WHERE name = $$name 3$$'), 1, 'the survivors are searched and read');

# A server that is killed in the middle goes on where it was.
sql("SELECT dataprotect.roll_epoch('again', backups => false)");
kill9_node($node);
$node->start;
sql('SELECT dataprotect.run_epochs()');
is(epoch('state', 2) . ' ' . epoch('keys', 2), 'destroyed 0', 'after a crash, too, an epoch is given up');
ok(!-e $second && -s "$first.epoch3" == 32, 'its root goes, the next one stays');
is(app($node, 'SELECT string_agg(name::text, $$,$$ ORDER BY id) FROM u'), 'name 1,name 3,name 4,name 5', 'and all that lives opens');
$export = sql('SELECT dataprotect.export_keys()');

# The backup from before, with all that there is still: the root of now.
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'before');
$restored->start;
psql_fails($restored, 'postgres', 'SET ROLE app; SELECT name FROM u WHERE id = 2', qr/could not fetch key/, 'restored-backup: a backup opens nothing by itself');
psql_fails($restored, 'postgres', 'SELECT dataprotect.import_keys($$' . $old_export . '$$)', qr/could not fetch|not authentic|policy key/, 'nor with an export from then');
cmp_ok($restored->safe_psql('postgres', 'SELECT dataprotect.import_keys($$' . $export . '$$)'), '>=', 5, 'an export of now brings the keys back');
is(app($restored, 'SELECT string_agg(name::text, $$,$$ ORDER BY id) FROM u WHERE id <> 2'), 'name 1,name 3,name 4,name 5', 'the survivors open');
is(app($restored, 'SELECT name::text IS NULL FROM u WHERE id = 2'), 't', 'the erased does not');
is($restored->safe_psql('postgres', 'SELECT state FROM dataprotect.replay_erasures($$' . $erasures . '$$)'), 'requested', 'and is erased again');
is($restored->safe_psql('postgres', "SELECT count(*) FROM dataprotect.verify_policy()"), '0', 'sealed rows are as they should be');
app($restored, q(INSERT INTO u VALUES (6, 'name 6')));
is(app($restored, 'SELECT name FROM u WHERE id = 6'), 'name 6', 'the restored database goes on');
$restored->stop;

done_testing();
