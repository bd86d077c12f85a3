# If this fails, a database that was restored from a backup shows accounts that
# were erased since, or one that was not restored shows nothing.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $lists = PostgreSQL::Test::Utils::tempdir;
my $node = new_node('writer', init => [ allows_streaming => 1 ], conf => "dataprotect.erasure_directory = '$lists'\n");
$node->safe_psql('postgres', 'CREATE DATABASE app');
create_extension($node, 'app');

sub sql { my ($statement, $at, $database) = @_; return ($at || $node)->safe_psql($database || 'app', $statement); }
sub names
{
	my ($at, $database) = @_;
	return $at->safe_psql($database || 'app', "SELECT string_agg(coalesce(name::text, '-'), ',' ORDER BY id) FROM u", extra_params => [ '-U', 'app' ]);
}
sub closed
{
	my ($at, $why, $name, $database) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$database ||= 'app';
	my ($rc, $out, $err) = $at->psql($database, 'SELECT name FROM u WHERE id = 1', extra_params => [ '-U', 'app' ]);
	like($out, qr/^enc:v1:/, "$name: output is ciphertext");
	like($err, $why, "$name: and says why");
	($rc, $out, $err) = $at->psql($database, 'SELECT upper(name::text) FROM u', extra_params => [ '-U', 'app' ]);
	like("$rc $err", qr/^3 .*ERROR:  protected values are not shown: this database may have accounts that were erased/s, "$name: nothing is computed");
	return;
}
sub certified
{
	my ($account, $at, $database) = @_;
	$at ||= $node;
	my $request = sql("SELECT dataprotect.request_deletion('u', '$account', 'letter')", $at, $database);
	return poll_sql($at, $database || 'app', "SELECT state FROM dataprotect.deletion_requests WHERE id = $request", 'certified');
}

sql(<<'SQL');
SELECT dataprotect.create_key('k');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('k', 'app', 'reveal');
CREATE TABLE u (id int PRIMARY KEY, name encrypted_text('k'));
GRANT ALL ON u TO app;
SELECT dataprotect.create_account_type('u', 'u', 'id', '0 s');
SELECT dataprotect.bind_subject('u', 'u', 'id');
INSERT INTO u SELECT g, 'name ' || g FROM generate_series(1, 5) g;
CREATE TABLE unbound AS SELECT g AS id FROM generate_series(1, 3) g;
ALTER TABLE unbound ADD PRIMARY KEY (id);
SELECT dataprotect.create_account_type('unbound', 'unbound', 'id', '0 s');
SQL
ok(poll_sql($node, 'app', 'SELECT count(*) FROM dataprotect.erasure_list', '1'), 'a list is begun');
my ($list) = glob("$lists/*.erasures");
is(-s $list, 0, 'in a file');
is((stat $list)[2] & 0777, 0600, 'that is the server\'s own');
$node->backup('before');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'before', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE app');

# The database that erases goes on, and so does its standby.
ok(certified(2), 'an account is erased');
is(scalar(split /\n/, slurp_file($list)), 1, 'before it is certified it is on the list');
like(slurp_file($list), qr/"account_id": "2"/, 'by its id');
like(sql("SELECT dataprotect.deletion_certificate(1) -> 'own_records'"), qr/\.erasures/, 'as the certificate says');
is(names($node), 'name 1,name 3,name 4,name 5', 'whoever erased goes on');
$node->wait_for_catchup($standby);
is(names($standby), 'name 1,name 3,name 4,name 5', 'and so does a standby');
$standby->stop;

# A copy answers to the list of the one that it was copied from.
closed($node, qr/has some that this database does not know/, 'a copy from before', 'copied');
is(sql('SELECT account_type, id, state FROM dataprotect.replay_erasures()', $node, 'copied'), 'u|2|requested', 'what it does not know is replayed');
ok(poll_sql($node, 'copied', 'SELECT dataprotect._erasure_doubt() IS NULL'), 'to its end');
is(names($node, 'copied'), 'name 1,name 3,name 4,name 5', 'then it is read, without the erased');
ok(certified(3, $node, 'copied'), 'it erases in its own name');
ok(poll_sql($node, 'copied', 'SELECT count(*) FROM dataprotect.erasure_list', '2'), 'on a list of its own');
is(names($node), 'name 1,name 3,name 4,name 5', 'which is no concern of the first');

# One that is made only now, and one of a table without a value of its own key.
sql("INSERT INTO u VALUES (6, 'name 6')");
ok(certified(6), 'an account that came after the backup is erased');
my $request = sql("SELECT dataprotect.request_deletion('unbound', '2', 'letter')");
ok(poll_sql($node, 'app', "SELECT state FROM dataprotect.deletion_requests WHERE id = $request", 'certified'), 'one of an unbound table as well');

# A base backup from before, on the same keys.
$node->stop;
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'before');
$restored->start;
closed($restored, qr/has some that this database does not know/, 'restored-backup');
ok(poll_sql($restored, 'app', "SELECT count(*) FROM dataprotect.alerts WHERE event = 'erasures.unknown'", '1'), 'restored-backup: an alert says so, once');
my $whole = slurp_file($list);
my $write = sub { open(my $file, '>', "$list.new") or die $!; print $file $_[0]; close $file; return rename("$list.new", $list) || die $!; };
$write->($whole =~ s/"account_id": "2"/"account_id": "4"/r);
psql_fails($restored, 'app', 'SELECT * FROM dataprotect.replay_erasures()', qr/was altered/, 'restored-backup: an altered list is refused');
$write->($whole);
is(sql('SELECT account_type, id, state FROM dataprotect.replay_erasures() ORDER BY 1, 2', $restored), "u|2|requested\nu|6|not here\nunbound|2|requested",
	'restored-backup: what was erased since is found');
ok(poll_sql($restored, 'app', 'SELECT dataprotect._erasure_doubt() IS NULL'), 'restored-backup: and gone again');
is(names($restored), 'name 1,name 3,name 4,name 5', 'restored-backup: then the others are read');
is(sql('SELECT count(*) FROM u WHERE id = 2', $restored), '0', 'restored-backup: the erased is not there');
ok(poll_sql($restored, 'app', 'SELECT count(*) FROM unbound WHERE id = 2', '0'), 'restored-backup: in an unbound table neither');

# Doubt: no list, another one.
ok(poll_sql($restored, 'app', "SELECT DISTINCT state FROM dataprotect.deletion_requests", 'certified'), 'the replayed erasures end');
rename($list, "$list.away") or die $!;
closed($restored, qr/cannot be read/, 'a list that is gone');
psql_fails($restored, 'app', "SELECT dataprotect.accept_restore('')", qr/needs a reason/, 'an administrator says why');
psql_fails($restored, 'app', "SET ROLE app; SELECT dataprotect.accept_restore('x')", qr/permission denied/, 'nobody else');
sql("SELECT dataprotect.accept_restore('moved to another host')", $restored);
is(names($restored), 'name 1,name 3,name 4,name 5', 'that it goes on');
ok(poll_sql($restored, 'app', 'SELECT count(*) FROM dataprotect.deletion_request WHERE listed_at IS NULL', '0'), 'the list is written anew');
like(slurp_file($list), qr/"account_id": "2"/, 'with what was erased');
psql_fails($restored, 'app', "SELECT dataprotect.accept_restore('again')", qr/there is no doubt/, 'once');
$write->("{}\n");
closed($restored, qr/is not the one that this database knows/, 'another list in its place');
$restored->stop;

done_testing();
