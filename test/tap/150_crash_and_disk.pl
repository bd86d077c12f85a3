# If this fails, a crash or a restart loses keys or values, or leaves plaintext
# or keys behind: in files, in temporary files of sorts and joins, in memory that
# another process could read, in a core dump.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('crash', conf => <<'CONF');
restart_after_crash = on
full_page_writes = on
wal_level = logical
log_statement = all
log_min_duration_statement = 0
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
CONF
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE ROLE writer LOGIN;
CREATE TABLE old_plain (id int PRIMARY KEY, email text);
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii','searchable'), o encrypted_text('pii','ordered') COLLATE "C", h encrypted_text('pii'));
CREATE UNIQUE INDEX person_email ON person (email encrypted_text_token_ops);
CREATE INDEX person_o ON person (o);
CREATE INDEX person_h ON person USING hash (h);
GRANT INSERT, SELECT ON person TO writer;
SQL

# A session that stays, to see what a crash does to it and what lies in its files.
sub open_session
{
	my ($session) = @_;
	$session->{run} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		'<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{err}, IPC::Run::timeout(TIMEOUT));
	return $session;
}

sub ask
{
	my ($session, $sql) = @_;
	$session->{out} = $session->{err} = '';
	$session->{in} .= "$sql;\n\\echo :done\n";
	$session->{run}->pump until $session->{out} =~ /:done\n/;
	(my $answer = $session->{out}) =~ s/\n?:done\n//;
	return $answer . ($session->{err} =~ /((?:ERROR|FATAL):.*)/ ? $1 : '');
}

# Everything an application does, so that every kind of file is written.
my $email = "'needle-' || i || '\@example.org'";
$node->safe_psql('postgres', "INSERT INTO person SELECT i, $email, $email, $email FROM generate_series(1, 3000) i");
$node->safe_psql('postgres', <<'SQL');
UPDATE person SET email = 'needle-updated-' || id WHERE id <= 100;
INSERT INTO person SELECT id, 'needle-conflict', 'x', 'x' FROM person WHERE id = 7 ON CONFLICT (id) DO UPDATE SET h = 'needle-upserted';
DELETE FROM person WHERE id > 2900;
BEGIN; INSERT INTO person VALUES (9999, 'needle-rolled-back', 'needle-rolled-back', 'needle-rolled-back'); ROLLBACK;
VACUUM ANALYZE person;
REINDEX TABLE person;
CLUSTER person USING person_pkey;
CREATE TABLE copied AS SELECT id, email FROM person WHERE false;
SQL
for my $bad (
	"INSERT INTO person VALUES (1, 'needle-dup-pk', 'a', 'a')",
	"INSERT INTO person VALUES (5000, 'needle-updated-5', 'a', 'a')",
	"INSERT INTO person (id, email) VALUES (5001, 'needle-check'), (5001, 'needle-check2')",
	"SELECT 'needle-cast'::encrypted_date")
{
	my ($rc, $out, $err) = $node->psql('postgres', $bad, extra_params => [ '-U', 'writer' ]);
	isnt($rc, 0, 'it fails: ' . substr($bad, 0, 40));
	unlike($err =~ s/^LINE.*//mr, qr/needle-(dup|updated|check|cast)/, 'and the error shows no value');
}

# Sorts, hash joins, aggregates and cursors that spill.
my $s = open_session({ in => '' });
ask($s, "SET work_mem = '64kB'; SET temp_file_limit = -1; SET max_parallel_workers_per_gather = 0; SET enable_indexscan = off; SET enable_bitmapscan = off; SET hash_mem_multiplier = 1");
my $pgsql_tmp = $node->data_dir . '/base/pgsql_tmp';
for my $spill (
	[ 'a sort', 'SELECT email, o, h FROM person ORDER BY h, id', {} ],
	[ 'a sort of another column', 'SELECT email, o, h FROM person ORDER BY id % 10, id', {} ],
	[ 'a hash join', 'SELECT a.email, b.o FROM person a JOIN person b ON a.h = b.h', { enable_mergejoin => 'off', enable_nestloop => 'off' } ],
	[ 'a merge join', 'SELECT a.email, b.o FROM person a JOIN person b ON a.h = b.h', { enable_hashjoin => 'off', enable_nestloop => 'off' } ],
	[ 'DISTINCT', 'SELECT DISTINCT email, o FROM person', { enable_sort => 'off' } ],
	[ 'a materialised CTE', 'WITH m AS MATERIALIZED (SELECT email, o, h FROM person) SELECT (SELECT count(*) FROM m), email FROM m', {} ])
{
	my ($what, $sql, $set) = @$spill;
	ask($s, 'BEGIN');
	ask($s, "SET LOCAL $_ = $set->{$_}") for keys %$set;
	my $declared = ask($s, "DECLARE c NO SCROLL CURSOR FOR $sql");
	ask($s, 'FETCH 20 FROM c');
	my @files = glob("$pgsql_tmp/*");
	cmp_ok(scalar(@files), '>', 0, "$what spills to disk") or diag($declared);
	is(join(' ', files_with($pgsql_tmp, 'needle')), '', "and leaves no plaintext there");
	ask($s, 'ROLLBACK');
}
# Text that a query derives is ordinary text: shows that this way of looking finds.
ask($s, 'BEGIN');
ask($s, 'DECLARE c NO SCROLL CURSOR FOR SELECT email::text, o::text, h::text FROM (SELECT email::text, o::text, h::text, id FROM person OFFSET 0) d ORDER BY id % 10');
ask($s, 'FETCH 20 FROM c');
cmp_ok(scalar(files_with($pgsql_tmp, 'needle')), '>', 0, 'derived text does reach temporary files');
ask($s, 'ROLLBACK');

ask($s, 'BEGIN');
ask($s, 'DECLARE held CURSOR WITH HOLD FOR SELECT email, o, h FROM person');
ask($s, 'COMMIT');
is(join(' ', files_with($pgsql_tmp, 'needle')), '', 'nor does a held cursor');
ask($s, 'CLOSE held');

# A crash: one backend is killed, the postmaster starts all anew.
my ($backend) = ask($s, 'SELECT pg_backend_pid()');
my @agents = key_agents($node);
$node->safe_psql('postgres', 'CREATE TABLE before_crash AS SELECT 1 AS n');
kill9_process($node, sub { $backend });
$s->{run}->kill_kill;
poll_until('another key agent', sub { my @now = key_agents($node); return @now == 1 && $now[0] != $agents[0] });
is($node->safe_psql('postgres', "SELECT email FROM person WHERE id = 8"), 'needle-updated-8', 'after a crash restart values are read again');
is($node->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM person WHERE email = 'needle-500\@example.org'"), '500', 'by an index');
is($node->safe_psql('postgres', "INSERT INTO person (id, email) VALUES (6000, 'needle-after-crash'); SELECT email FROM person WHERE id = 6000"), 'needle-after-crash', 'and written');
is($node->safe_psql('postgres', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'all of them authenticate');

# The whole server is killed.
kill9_node($node);
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM person WHERE email LIKE \'needle%\''), '2901', 'after SIGKILL of every process all values are read');
is($node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log()'), 't', 'the audit log goes on');
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'and is whole');

# Processes of the server: no core, nobody of the same user reads their memory.
$s = open_session({ in => '' });
is(ask($s, 'SELECT email FROM person WHERE id = 8'), 'needle-updated-8', 'a session that has keys');
($backend) = ask($s, 'SELECT pg_backend_pid()');
SKIP:
{
	skip 'root reads everything', 2 if $> == 0;
	ok(!open(my $memory, '<', "/proc/$backend/mem"), "another process of the server's user does not read a backend's memory");
	ok(!open(my $environ, '<', "/proc/$backend/environ"), 'nor its environment');
}
is((stat("/proc/$backend/mem"))[4], 0, 'a backend is not dumpable: /proc gives it to root');

# Stop in order; look at every file, the write-ahead log and statistics included.
ask($s, 'CHECKPOINT');
$s->{run}->kill_kill;
$node->stop;
is(join(' ', files_with($node->data_dir, 'needle')), '', 'no value lies in the stopped data directory');
unlike(slurp_file($node->logfile), qr/needle-[0-9a-z]+/, 'nor in the server log, with every statement logged');

# A column that is protected later: what was there before stays where it was until
# it is rewritten; what is written from then on does not appear.
$node->start;
$node->safe_psql('postgres', "INSERT INTO old_plain SELECT i, 'hayword-' || i FROM generate_series(1, 500) i");
$node->safe_psql('postgres', "CALL dataprotect.encrypt_column('old_plain', 'email', 'pii'); INSERT INTO old_plain VALUES (1000, 'strawman-1'); UPDATE old_plain SET email = 'strawman-2' WHERE id = 1");
my $path = $node->safe_psql('postgres', "SELECT pg_relation_filepath('old_plain')");
$node->safe_psql('postgres', 'VACUUM ANALYZE old_plain; CHECKPOINT');
$node->stop;
is(join(' ', files_with($node->data_dir, 'strawman')), '', 'what is written after encrypt_column lies nowhere');
my @left = files_with($node->data_dir, 'hayword');
is(scalar(grep { /\Q$path\E/ } @left), 0, 'the rewritten table has nothing of what was there before');
is(scalar(grep { !m{/pg_wal/} } @left), 0, 'only the write-ahead log has') or diag("@left");

# Clean start after a stop in order.
$node->start;
is($node->safe_psql('postgres', "SELECT email FROM old_plain WHERE id IN (1, 1000) ORDER BY id"), "strawman-2\nstrawman-1", 'after a restart values are read');
$node->stop;
done_testing();
