# explain-insert-tells-a-value-is-there: a role that may only insert compares the
# blocks and WAL of inserting a guess with those of a value that is not there.  If
# this fails, EXPLAIN, pg_stat_statements or pg_statio_* tells which values a column
# holds, and how often.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('block_counts');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dataprotect, pg_stat_statements'\nautovacuum = off");
$node->restart;
$node->safe_psql('postgres', <<'E');
CREATE EXTENSION pg_stat_statements;
SELECT dataprotect.create_key('counted');
CREATE ROLE writer LOGIN;
CREATE TABLE patient (id int, town encrypted_text('counted'));
CREATE INDEX patient_town ON patient USING hash (town);
CREATE TABLE token (id int, town encrypted_text('counted', 'searchable'));
CREATE INDEX token_town ON token (town encrypted_text_token_ops);
CREATE TABLE parted (id int, town encrypted_text('counted')) PARTITION BY HASH (id);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX parted_town ON parted USING hash (town);
INSERT INTO patient SELECT g, CASE WHEN g % 2 = 0 THEN 'Berlin' ELSE 'town' || g END FROM generate_series(1, 8000) g;
INSERT INTO token SELECT id, CASE WHEN id % 2 = 0 THEN 'Berlin' ELSE 'town' || id END FROM patient;
INSERT INTO parted SELECT id, CASE WHEN id % 2 = 0 THEN 'Berlin' ELSE 'town' || id END FROM patient;
CREATE TABLE plain (id int, town text);
CREATE INDEX plain_town ON plain USING hash (town);
INSERT INTO plain SELECT id, CASE WHEN id % 2 = 0 THEN 'Berlin' ELSE 'town' || id END FROM patient;
GRANT INSERT ON patient, token, parted, plain TO writer;
CHECKPOINT;
E

my @writer = (extra_params => [ '-U', 'writer' ]);

# A fresh session for each guess, so that all caches are the same.
sub counts
{
	my ($table, $guess) = @_;
	my $out = $node->safe_psql('postgres', <<"E", @writer);
BEGIN;
INSERT INTO $table VALUES (0, 'warm');
EXPLAIN (ANALYZE, BUFFERS, WAL, COSTS OFF, TIMING OFF, SUMMARY OFF) INSERT INTO $table VALUES (0, '$guess');
ROLLBACK;
E
	return $out =~ s/.*?(Insert on)/$1/sr;
}

# Values of one length that are not there: not each need tell in each place.
my @absent = ('Dublin', 'London', 'Munich', 'Zurich', 'Moscow', 'Prague');
counts('plain', $_) for 'Berlin', @absent;
ok((grep { counts('plain', 'Berlin') ne counts('plain', $_) } @absent), 'of a plain column the counts tell (so they would be seen here)');
for my $table ('patient', 'token', 'parted')
{
	counts($table, $_) for 'Berlin', 'Dublin';
	my ($there, $not) = (counts($table, 'Berlin'), counts($table, 'Dublin'));
	like($there, qr/shared hit/, "$table: blocks are counted");
	is($there, $not, "$table: EXPLAIN (BUFFERS, WAL) counts the same, there or not");
}

# pg_statio_* and pg_stat_statements, which everybody and the role itself read
sub statio
{
	my ($index, $table, $guess) = @_;
	my $read = "SELECT coalesce(sum(idx_blks_hit + idx_blks_read), 0) FROM pg_statio_all_indexes WHERE indexrelname ~ '$index'";
	my $before = $node->safe_psql('postgres', $read, @writer);
	$node->safe_psql('postgres', "COPY $table FROM STDIN;\n0\t$guess\n\\.\nINSERT INTO $table VALUES (0, '$guess'); SELECT pg_stat_force_next_flush();", @writer);
	return $node->safe_psql('postgres', $read, @writer) - $before;
}
ok((grep { statio('plain_town', 'plain', 'Berlin') != statio('plain_town', 'plain', $_) } @absent), 'pg_statio_* tells of a plain column');
is(statio($_->[1], $_->[0], 'Berlin'), statio($_->[1], $_->[0], 'Dublin'), "$_->[0]: pg_statio_* counts the same, there or not")
	for [ 'patient', '^patient_town' ], [ 'token', '^token_town' ], [ 'parted', '^parted.*town' ];

sub statements
{
	my ($table, $guess) = @_;
	$node->safe_psql('postgres', 'SELECT pg_stat_statements_reset()');
	$node->safe_psql('postgres', "INSERT INTO $table VALUES (0, '$guess')", @writer);
	return $node->safe_psql('postgres', "SELECT shared_blks_hit + shared_blks_read, wal_records FROM pg_stat_statements WHERE query ~ '^INSERT INTO $table'", @writer);
}
statements('patient', $_) for 'Berlin', 'Dublin';
is(statements('patient', 'Berlin'), statements('patient', 'Dublin'), 'pg_stat_statements counts the same, there or not');

# An index that is made or rebuilt later is seen to as well, in a session that has seen the table.
my $session = $node->background_psql('postgres', extra_params => [ '-U', 'writer' ]);
$session->query_safe("INSERT INTO patient VALUES (0, 'warm')");
$node->safe_psql('postgres', 'CREATE INDEX patient_again ON patient USING hash (town); REINDEX INDEX patient_town;');
my @later;
for my $guess ('Berlin', 'Dublin', 'Berlin', 'Dublin')
{
	push @later, $session->query_safe("BEGIN; EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) INSERT INTO patient VALUES (0, '$guess'); ROLLBACK");
}
is($later[2], $later[3], 'a new and a rebuilt index count the same');
$session->quit;

# The server's own total of WAL is right: what was hidden is added.
my $wal = $node->safe_psql('postgres', <<'E');
SELECT pg_stat_reset_shared('wal') \g /dev/null
SELECT pg_current_wal_insert_lsn() AS before \gset
INSERT INTO patient SELECT g, 'town' || g FROM generate_series(1, 2000) g;
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT pg_current_wal_insert_lsn() - :'before'::pg_lsn AS written \gset
SELECT wal_bytes > :written * 0.7 FROM pg_stat_wal;
E
is($wal, 't', 'pg_stat_wal has the WAL of these indexes');

done_testing();
