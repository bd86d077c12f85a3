# If this fails, a tool that a DBA has in a cron job breaks protected tables, stops at
# them, or brings their plaintext to where it must not be.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('tools', conf => "wal_level = logical\nmax_worker_processes = 16\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, mail text, login text UNIQUE, born date, note text);
INSERT INTO person SELECT g, 'needle' || g || '@x.org', 'needle-l' || g, date '1970-01-01' + g, repeat('needle ', 300) FROM generate_series(1, 500) g;
CREATE INDEX ON person (mail);
CREATE INDEX ON person (born);
CALL dataprotect.encrypt_column('person', 'mail', 'pii');
CALL dataprotect.encrypt_column('person', 'login', 'pii');
CALL dataprotect.encrypt_column('person', 'born', 'pii', ordered => true);
CALL dataprotect.encrypt_column('person', 'note', 'pii');
GRANT SELECT, INSERT, UPDATE ON person TO app;
SQL
my $question = <<'SQL';
SET enable_seqscan = off;
SELECT id FROM person WHERE mail = 'needle7@x.org' OR login = 'needle-l9' ORDER BY id;
SELECT string_agg(id::text, ',' ORDER BY born) FROM person WHERE born BETWEEN '1970-01-05' AND '1970-01-08';
SELECT count(*), min(length(note)) FROM person;
SQL
my $ask = sub { $node->safe_psql('postgres', $question, extra_params => [ '-U', 'app' ]) };
my $answer = $ask->();
is($answer, "7\n9\n4,5,6,7\n500|2100", 'the table is read by its indexes');

sub runs
{
	my ($what, @command) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	local ($ENV{PGHOST}, $ENV{PGPORT}) = ($node->host, $node->port);
	my ($out, $err) = ('', '');
	ok(IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err), $what) or diag($out, $err);
	return "$out$err";
}

sub extension_there
{
	return $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = '$_[0]'") eq '1';
}

runs('vacuumdb', qw(vacuumdb --full --analyze -t person postgres));
is($ask->(), $answer, 'the answers are the same after VACUUM FULL');
runs('reindexdb', qw(reindexdb --concurrently -t person postgres));
is($ask->(), $answer, 'and after REINDEX CONCURRENTLY');
SKIP:
{
	skip 'amcheck is not there', 1 if !extension_there('amcheck');
	$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
	runs('pg_amcheck finds nothing in table and indexes', qw(pg_amcheck --heapallindexed -t public.person postgres));
}
SKIP:
{
	my $repack = $node->config_data('--bindir') . '/pg_repack';
	skip 'pg_repack is not there (postgresql-15-repack)', 3 if !-x $repack || !extension_there('pg_repack');
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_repack');
	my $said = runs('pg_repack rewrites the table while it is used', $repack, qw(-t person -d postgres));
	is($ask->(), $answer, 'the answers are the same after it');
	is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.protected_columns WHERE rel = 'person'::regclass"), '4', 'the columns are protected as before');
}
SKIP:
{
	skip 'pg_partman is not there (postgresql-15-partman)', 3 if !extension_there('pg_partman');
	$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA partman;
CREATE EXTENSION pg_partman SCHEMA partman;
CREATE TABLE visit (at timestamptz NOT NULL, who encrypted_text('pii', 'searchable')) PARTITION BY RANGE (at);
CREATE INDEX ON visit (who encrypted_text_token_ops);
GRANT SELECT, INSERT ON visit TO app;
SELECT partman.create_parent('public.visit', 'at', 'native', 'daily');
INSERT INTO visit VALUES (now(), 'needle-today');
SQL
	is($node->safe_psql('postgres', "SELECT who FROM visit WHERE who = 'needle-today'", extra_params => [ '-U', 'app' ]), 'needle-today', 'a partition of pg_partman stores and finds protected values');
	$node->safe_psql('postgres', "UPDATE partman.part_config SET premake = 6; CALL partman.run_maintenance_proc()");
	is($node->safe_psql('postgres', "SELECT count(DISTINCT (atttypid, atttypmod)) FROM pg_attribute WHERE attname = 'who' AND attrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'visit'::regclass)"),
		'1', 'partitions that its maintenance makes have the same protected column');
	ok($node->safe_psql('postgres', "SELECT count(*) FROM pg_inherits WHERE inhparent = 'visit'::regclass") > 8, 'and are there');
}
SKIP:
{
	skip 'wal2json is not there (postgresql-15-wal2json)', 2 if !-e $node->config_data('--pkglibdir') . '/wal2json.so';
	# a setting of newer minor versions
	if ($node->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'"))
	{
		$node->append_conf('postgresql.conf', "output_plugin_libraries = 'pgoutput, test_decoding, wal2json'\n");
		$node->reload;
		poll_sql($node, 'postgres', "SELECT current_setting('output_plugin_libraries') LIKE '%wal2json'");
	}
	$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('j', 'wal2json')");
	$node->safe_psql('postgres', "INSERT INTO person VALUES (1001, 'needle-json', 'needle-login', '2000-01-01', 'needle-note')", extra_params => [ '-U', 'app' ]);
	my $json = $node->safe_psql('postgres', "SELECT data FROM pg_logical_slot_get_changes('j', NULL, NULL)");
	like($json, qr/"columnvalues":\[1001,"enc:v1:/, 'wal2json gives ciphertext');
	unlike($json, qr/needle/, 'and nothing else');
	$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('j')");
}
$node->stop;
command_ok([ 'pg_checksums', '--enable', '-D', $node->data_dir ], 'pg_checksums takes the cluster');
command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'and finds nothing');
is(join(' ', files_with($node->data_dir . '/base', 'needle')), '', 'no plaintext lies on the disk') or diag('plain tables before protection count: VACUUM FULL was run');

# The same cluster by hard links into a new one, as an upgrade on the same machine does it.
my $new = new_node('linked', start => 0, init => [ extra => [ '--data-checksums' ] ]);
$new->append_conf('postgresql.conf', sprintf("dataprotect.kms_allowed = 'file://%s/*'\ndataprotect.default_kms_uri = '%s'\n", kms_dir($node), kms_uri($node)));
my $bin = $node->config_data('--bindir');
chdir $node->basedir or die;
command_ok([ 'pg_upgrade', '--link', '-b', $bin, '-B', $bin, '-d', $node->data_dir, '-D', $new->data_dir, '-s', $new->host, '-p', $node->port, '-P', $new->port ], 'pg_upgrade --link takes it over');
$new->start;
is($new->safe_psql('postgres', $question =~ s/FROM person$/FROM person WHERE id <= 500/mr =~ s/SELECT count.*/SELECT count(*), min(length(note)) FROM person WHERE id <= 500;/r, extra_params => [ '-U', 'app' ]), $answer, 'and answers as before');
is($new->safe_psql('postgres', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'every value opens');
$new->stop;
done_testing();
