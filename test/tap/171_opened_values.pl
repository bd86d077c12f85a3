# If this fails, a value that a statement has opened is used after it was wiped
# (the server crashes, or sorts wrongly), outlives the right to read it, or is
# taken for another value.  Cases: sort-while-a-key-changes-crash.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $rows = 40_000;
my $sorts = 6;
my $node = new_node('opened', conf => "fsync = off\nlog_statement = none\nautovacuum = off\n");
create_extension($node);
$node->safe_psql('postgres', <<SQL);
SELECT dataprotect.create_key('pii'), dataprotect.create_key('other');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal'), dataprotect.grant_access('other', 'app', 'reveal');
CREATE TABLE item (id int, email encrypted_text('pii'), amount encrypted_numeric('other', 'ordered'));
INSERT INTO item SELECT g, 'user' || lpad(((g * 7919) % 3000)::text, 5, '0'), (g * 31) % 1000 FROM generate_series(1, $rows) g;
GRANT ALL ON item TO app;
SQL

# Rows in order, told by a window over the sorted rows; one line: rows, rows out of order.
my $sorted = 'SELECT count(*), count(*) FILTER (WHERE v < before) FROM (SELECT %1$s::%2$s AS v, lag(%1$s::%2$s) OVER () AS before FROM (SELECT %1$s FROM item ORDER BY %1$s) s) t';

# --- keys change every few milliseconds while values are sorted
my ($admin_err, $admin_out) = ('', '');
append_to_file($node->basedir . '/change.sql', <<'SQL');
UPDATE dataprotect.key SET description = 'change ' || clock_timestamp() WHERE name = 'pii';
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
\sleep 5 ms
SQL
my $admin = IPC::Run::start([ 'pgbench', '-n', '-R', '20', '-T', '600', '-M', 'simple', '-f', $node->basedir . '/change.sql', '-h', $node->host, '-p', $node->port, 'postgres' ],
	'<', \undef, '>', \$admin_out, '2>', \$admin_err);
for my $run (1 .. $sorts)
{
	for my $work_mem ('64kB', '256MB')
	{
		my ($rc, $out, $err) = $node->psql('postgres',
			"SET work_mem = '$work_mem'; SET max_parallel_workers_per_gather = 0; " . sprintf($sorted, 'email', 'text'), extra_params => [ '-U', 'app' ]);
		is($rc == 0 ? $out : $err =~ /ERROR: .*(retry|changed|not in the key cache)/i ? "$rows|0" : $err, "$rows|0", "sort $run under $work_mem while keys change: every row, in order");
	}
}
$admin->kill_kill;
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time() IS NOT NULL'), 't', 'the server stands');
unlike(slurp_file($node->logfile), qr/terminated by signal|server process .* was terminated/, 'no process of it crashed');

# --- a right or key that goes within one statement goes for what was opened before, too
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION suspend_once() RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dataprotect.suspend_key('other', 'test');
	RETURN true;
END $$;
CREATE TABLE twice (id int, amount encrypted_int4('other', 'ordered'));
INSERT INTO twice VALUES (1, 7);
CREATE INDEX ON twice (amount);
SELECT dataprotect.grant_access('other', current_user::regrole, 'reveal');
SQL
my ($rc, $out, $err) = $node->psql('postgres', <<'SQL');
BEGIN;
SELECT amount = 7 AND amount = 7, amount::int4, suspend_once(), amount::int4, amount = 7 FROM twice WHERE amount = 7;
ROLLBACK;
SQL
like($out, qr/^t\|7\|t\|\|$/m, 'a value that was opened before its key was suspended is not shown after, in the same statement');

# --- one envelope under two types, and equal values in different envelopes, stay apart
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE mixed (id int, a encrypted_text('pii'), b encrypted_int4('pii'), c encrypted_text('pii'));
INSERT INTO mixed SELECT g, g % 5, g % 5, g % 7 FROM generate_series(1, 3000) g;
GRANT ALL ON mixed TO app;
SQL
is($node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]), '3000|3000|429', 'comparisons and output agree with what was written');
SELECT count(*) FILTER (WHERE a = (id % 5)::text AND a::text = (id % 5)::text), count(*) FILTER (WHERE b = id % 5 AND b::int4 = id % 5),
	count(*) FILTER (WHERE a = '3' AND c = a) + count(*) FILTER (WHERE a <> '3' AND c = a) - count(*) FILTER (WHERE a = c) + count(*) FILTER (WHERE c = '1') FROM mixed
SQL
# --- an error within a comparison leaves nothing behind that a later one trips over
is($node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]), "200\n3000|0", 'errors between an opening and its use');
DO $$
BEGIN
	FOR i IN 1 .. 200 LOOP
		BEGIN
			PERFORM count(*) FROM mixed WHERE a = '3' AND 1 / (b::int4 - 3) > 5;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$;
SELECT 200;
SELECT count(*), count(*) FILTER (WHERE a::text <> (id % 5)::text) FROM mixed WHERE a <= '9';
SQL

# --- an ordered index that has lost whole pages is cleaned in processes that have read nothing of it
$node->safe_psql('postgres', "CREATE TABLE gone (id int, v encrypted_text('pii', 'ordered')); CREATE INDEX ON gone (v)");
my $from = 0;
sub lose_pages
{
	my $to = $from + 4000;
	$node->safe_psql('postgres', "INSERT INTO gone SELECT g, 'v' || lpad(g::text, 6, '0') FROM generate_series($from + 1, $to) g");
	$node->safe_psql('postgres', "DELETE FROM gone WHERE id BETWEEN $from + 500 AND $to - 500");
	$from = $to;
	return;
}
for my $vacuum ('VACUUM gone', 'VACUUM')
{
	lose_pages();
	is(($node->psql('postgres', $vacuum))[2], '', "$vacuum in a session of its own");
}
lose_pages();
my $clean = q{SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'gone' AND autovacuum_count > 0 AND n_dead_tup = 0};
$node->append_conf('postgresql.conf', "autovacuum = on\nautovacuum_naptime = 1s\nautovacuum_vacuum_scale_factor = 0\nautovacuum_vacuum_threshold = 10");
$node->restart;
ok($node->poll_query_until('postgres', $clean, '1'), 'autovacuum after a restart');
$node->safe_psql('postgres', 'GRANT SELECT ON gone TO app');
is($node->safe_psql('postgres', q{SET enable_seqscan = off; SELECT count(*) FROM gone WHERE v >= 'v'}, extra_params => [ '-U', 'app' ]), $from - 3 * 3001,
	'and the index finds what is left');

$node->stop;
done_testing();
