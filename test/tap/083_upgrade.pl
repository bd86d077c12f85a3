# If this fails, a database that was used under one release is not, after ALTER
# EXTENSION UPDATE, what a fresh installation of the next one is, or it loses on the way
# what it held; or nobody is told that library and objects are of different releases.
#
# The next release is this one with a difference of each kind: pgxs/upgrade.pl makes the
# script between the two. pgxs/try_upgrade.sh does the same with a real older release.
use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use IO::Uncompress::Gunzip ();
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $top = abs_path("$FindBin::RealBin/../..");
my $work = PostgreSQL::Test::Utils::tempdir();
my ($old) = slurp_file("$top/dataprotect.control") =~ /^default_version = '([\d.]+)'/m;
my $next = $old =~ s/\d/9/gr;

sub write_file
{
	my ($path, $text) = @_;
	open(my $fh, '>:raw', "$path.new") or die "could not write \"$path\": $!";
	print $fh $text;
	close $fh or die "could not write \"$path\": $!";
	rename "$path.new", $path or die "could not rename to \"$path\": $!";
	return;
}

sub upgrade_script
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ $^X, "$top/pgxs/upgrade.pl", 'script', "$work/upgrade", $old, $next, "$work/next.sql" ], '<', \undef, '>', \$out, '2>', \$err);
	return ($out, $err);
}

# PostgreSQL finds its files from where its programs are: a copy can be given other ones.
my $bin = qx("$ENV{PG_CONFIG}" --bindir);
chomp $bin;
my ($major) = $bin =~ m{/usr/lib/postgresql/(\d+)/bin$} or plan skip_all => 'this PostgreSQL is no copy that pgxs/prefix.sh made';
my $prefix = $bin =~ s{/usr/lib/postgresql/\d+/bin$}{}r;
my $copy = "$work/pg";
my ($lib, $share) = ("usr/lib/postgresql/$major", "usr/share/postgresql/$major");
for my $part ("$lib/bin", "$lib/lib", $share)
{
	system('mkdir', '-p', "$copy/$part") == 0 or die;
	# what is a file of its own is never written to
	system('sh', '-c', 'cp -rs "$1"/. "$2"', 'sh', "$prefix/$part", "$copy/$part") == 0 or die 'could not copy PostgreSQL';
}
for my $program ("$lib/bin/postgres", map { "$lib/bin/$_" } qw(initdb pg_ctl pg_config psql))
{
	unlink "$copy/$program";
	system('cp', "$prefix/$program", "$copy/$program") == 0 or die;
}
my $extension = "$copy/$share/extension";
my $library = "$copy/$lib/lib/dataprotect.so";

# This release, as it is kept, and the next one.
mkdir "$work/upgrade" or die;
is(system($^X, "$top/pgxs/upgrade.pl", 'freeze', "$work/upgrade", $old, "$extension/dataprotect--$old.sql"), 0, 'a release is kept');
my $install = slurp_file("$extension/dataprotect--$old.sql");

sub changed
{
	my ($what, $pattern, $by) = @_;
	die "there is no $what in the install script any more: change the test" if $install !~ s/$pattern/$by->()/e;
	return;
}
changed('table', qr/(?<=CREATE TABLE dataprotect\.incident_note \(\n)/, sub { "    weight int NOT NULL CHECK (weight > 0), -- 1, '2' and (3\n" });
changed('table that gets a column', qr/(?<=CREATE TABLE dataprotect\.deadline_alert \(\n)/, sub { "    remark text DEFAULT 'a, (' CHECK (remark <> ''),    -- it's new\n" });
changed('view whose columns become more', qr/(?<=w\.last_error, w\.next_due)/, sub { ', w.state AS once_more' });
changed('view whose columns are others', qr/CREATE VIEW dataprotect\.clock_status AS.*?;\n/s, sub { "CREATE VIEW dataprotect.clock_status AS SELECT true AS another;\n" });
changed('function', qr/RETURN v_message \|\| '\. ' \|\| v_detail/, sub { "RETURN v_detail || v_message" });
changed('function whose form changes', qr/dataprotect\._core_limit\(\) RETURNS int8/, sub { "dataprotect._core_limit(mine bool = false) RETURNS int8" });
changed('its comment', qr/COMMENT ON FUNCTION dataprotect\._core_limit\(\)/, sub { 'COMMENT ON FUNCTION dataprotect._core_limit(bool)' });
changed('privilege', qr/('TABLE', 'dataprotect\.workers', ')[^']*/, sub { "$1dataprotect_auditor" });
changed('index', qr/CREATE INDEX (\w+) ON (dataprotect\.\w+) \((\w+)/, sub { "CREATE INDEX $1 ON $2 (($3 IS NULL), $3" });
changed('function that goes', qr/CREATE FUNCTION dataprotect\.digest_public_pem\(.*?;\nCOMMENT ON FUNCTION dataprotect\.digest_public_pem\(.*?;\n/s, sub { '' });
changed('its line', qr/    \('ROUTINE', 'dataprotect\.digest_public_pem', [^\n]*\n/, sub { '' });
changed('place for what is new', qr/(?=^SELECT dataprotect\._seal_table\()/m, sub { <<'SQL' });
CREATE TABLE dataprotect.novelty (id int PRIMARY KEY, secret bytea);
COMMENT ON TABLE dataprotect.novelty IS 'of the next release';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.novelty', '');
CREATE FUNCTION dataprotect._novelty() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$BEGIN RETURN NEW; END$$;
COMMENT ON FUNCTION dataprotect._novelty() IS 'its trigger';
CREATE TRIGGER novel BEFORE INSERT ON dataprotect.novelty FOR EACH ROW EXECUTE FUNCTION dataprotect._novelty();
ALTER TABLE dataprotect.novelty ENABLE ALWAYS TRIGGER novel;
CREATE VIEW dataprotect._novelties AS SELECT id FROM dataprotect.novelty;
COMMENT ON VIEW dataprotect._novelties IS 'likewise';
SQL
write_file("$work/next.sql", $install);

# What holds data is a person's: without a hand the build stops, by the statement's name.
my ($script, $err) = upgrade_script();
is($script, '', 'a changed table makes no script by itself');
like($err, qr/needs a line \@covers.*changed: CREATE TABLE dataprotect\.incident_note/, 'and is named');
write_file("$work/upgrade/$old--$next.sql", <<'SQL');
-- @covers CREATE TABLE dataprotect.incident_note
ALTER TABLE dataprotect.incident_note ADD COLUMN weight int NOT NULL DEFAULT 1 CHECK (weight > 0);
ALTER TABLE dataprotect.incident_note ALTER COLUMN weight DROP DEFAULT;
-- @covers CREATE TABLE dataprotect.nosuch
SQL
($script, $err) = upgrade_script();
like($err, qr/not changed: CREATE TABLE dataprotect\.nosuch/, 'what is said to be covered must have changed');
write_file("$work/upgrade/$old--$next.sql", slurp_file("$work/upgrade/$old--$next.sql") =~ s/^-- \@covers[^\n]*nosuch\n//mr);
($script, $err) = upgrade_script();
is($err, '', 'the script is made');

# The old release is in use.
my $node = new_node('upgraded', install_path => "$copy/$lib", conf => "max_worker_processes = 16\n");
my $ask = sub { my ($role, $file) = @_; return $node->safe_psql('postgres', slurp_file("$top/test/upgrade/$file"), extra_params => [ '-U', $role ]); };
$node->safe_psql('postgres', slurp_file("$top/test/upgrade/every_state.sql"));
my $user = $node->safe_psql('postgres', 'SELECT current_user');
my %before = (reader => $ask->('up_app', 'questions.sql'), others => $ask->('up_support', 'others.sql'), admin => $ask->($user, 'what_holds.sql'));
like($before{reader}, qr/^40\|text 40\|\\x0028\|40\|80\|120\|40\.5\|10\|50\.00\|t\|2020-02-10\|08:40:00\|/m, 'the old release is read');

# Objects of each release that is kept, as it went out, become this version's.
sub catalog_of
{
	my ($database) = @_;
	return { map { ($_ => 1) } split /\n/, $node->safe_psql($database, slurp_file("$top/pgxs/catalog.sql")) };
}
for my $kept (glob("$top/src/upgrade/dataprotect--*.sql.gz"))
{
	my ($release) = $kept =~ /--([\d.]+)\.sql\.gz$/;
	next if $release eq $old;
	IO::Uncompress::Gunzip::gunzip($kept => \my $objects) or die "could not read \"$kept\"";
	write_file("$extension/dataprotect--$release.sql", $objects);
	$node->safe_psql('postgres', "CREATE DATABASE \"of $release\"; CREATE DATABASE \"beside $release\"");
	$node->safe_psql("of $release", "CREATE EXTENSION dataprotect VERSION '$release'; ALTER EXTENSION dataprotect UPDATE");
	$node->safe_psql("beside $release", 'CREATE EXTENSION dataprotect');
	my ($updated, $fresh) = (catalog_of("of $release"), catalog_of("beside $release"));
	is_deeply([ grep { !$updated->{$_} } sort keys %$fresh ], [], "release $release: nothing of a fresh installation is missing after its update");
	is_deeply([ grep { !$fresh->{$_} } sort keys %$updated ], [], 'and nothing is there beside');
	$node->safe_psql("of $release", "SELECT dataprotect.create_key('pii'); CREATE TABLE t (v encrypted_text('pii')); INSERT INTO t VALUES ('x')");
	is($node->safe_psql("of $release", 'SELECT count(*) FROM t'), '1', 'and it works');
	$node->safe_psql('postgres', "DROP DATABASE \"of $release\"");
	$node->safe_psql('postgres', "DROP DATABASE \"beside $release\"");
}

# The new package comes while the server runs.
my $binary = slurp_file($library);
is($binary =~ s/\x00\Q$old\E\x00/\x00$next\x00/g, 1, 'the next library is this one under another version') or BAIL_OUT('its version is not found');
unlink $library, "$extension/dataprotect.control";
write_file($library, $binary);
write_file("$extension/dataprotect.control", slurp_file("$top/dataprotect.control") =~ s/\Q$old\E/$next/r);
write_file("$extension/dataprotect--$next.sql", $install);
write_file("$extension/dataprotect--$old--$next.sql", $script);
my $versions = 'SELECT library, extension, available, consistent FROM dataprotect.dataprotect_version()';
is($node->safe_psql('postgres', $versions), "$old|$old|$next|f", 'files of another release are noticed');
is($ask->('up_app', 'questions.sql'), $before{reader}, 'and what runs goes on');

# It restarts: the library is newer than the objects.
$node->restart;
is($node->safe_psql('postgres', $versions), "$next|$old|$next|f", 'so is a library of another release');
is($node->safe_psql('postgres', "SELECT ok, severity FROM dataprotect.check_setup() WHERE item = 'one version'"), 'f|high', 'check_setup() says it');
is(sqlstate_of($node, 'postgres', 'SELECT t FROM up.every'), '55000', 'which reads nothing of them');
psql_fails($node, 'postgres', "INSERT INTO up.ticket VALUES (99, 1, 'x', now())",
	qr/extension "dataprotect" of this database is version \Q$old\E, and the loaded library is \Q$next\E.*HINT:  Run ALTER EXTENSION dataprotect UPDATE/s, 'and says what to do');
is($node->safe_psql('postgres', 'SELECT count(*) FROM up.plain'), '3', 'tables without protected columns are there meanwhile');

$node->safe_psql('postgres', 'ALTER EXTENSION dataprotect UPDATE');
is($node->safe_psql('postgres', $versions), "$next|$next|$next|t", 'after the update all are one release');
is($ask->('up_app', 'questions.sql'), $before{reader}, 'a reader reads what he read');
is($ask->('up_support', 'others.sql'), $before{others}, 'and others what they saw');
is($ask->($user, 'what_holds.sql'), $before{admin}, 'keys, grants, policies, requests and seals are what they were');
$node->safe_psql('postgres', "INSERT INTO up.ticket VALUES (99, 1, 'written after', now())", extra_params => [ '-U', 'up_app' ]);
is($node->safe_psql('postgres', 'SELECT body FROM up.ticket WHERE id = 99', extra_params => [ '-U', 'up_app' ]), 'written after', 'it is written to');
is($node->safe_psql('postgres', 'SELECT count(*) FROM up.my_workers'), $node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.workers'), 'a view over a view of ours is kept');
psql_fails($node, 'postgres', "ALTER EXTENSION dataprotect UPDATE TO '$old'", qr/has no update path/, 'there is no way back');

# Object by object it is a fresh installation.
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', 'CREATE EXTENSION dataprotect');
my %catalog = map { my $database = $_; ($database => { map { ($_ => 1) } split /\n/, $node->safe_psql($database, slurp_file("$top/pgxs/catalog.sql")) }) } qw(postgres fresh);
cmp_ok(scalar keys %{ $catalog{fresh} }, '>', 10000, 'the catalogs are compared');
is_deeply([ grep { !$catalog{postgres}{$_} } sort keys %{ $catalog{fresh} } ], [], 'nothing of a fresh installation is missing');
is_deeply([ grep { !$catalog{fresh}{$_} } sort keys %{ $catalog{postgres} } ], [], 'and nothing is there beside');
is(scalar(grep { /novelty.*column secret.* 0\b/ } keys %{ $catalog{postgres} }), 1, 'what came with the update keeps no statistics either');

$node->stop;
done_testing();
