# If this fails, pg_stat_activity shows a constant of a statement to whoever
# watches, at some moment of the statement.  (literals-in-pg_stat_activity)
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('activity', init => [ extra => [ '--encoding=UTF8', '--locale=C' ] ], conf => <<'CONF');
track_activity_query_size = 32kB
max_parallel_workers_per_gather = 2
max_parallel_maintenance_workers = 2
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
CONF
create_extension($node);
$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
CREATE ROLE mon LOGIN IN ROLE pg_monitor;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE victim (id int PRIMARY KEY, email encrypted_text('pii'));
CREATE TABLE locked (id int, email encrypted_text('pii'));
CREATE FUNCTION add_victim(int, text) RETURNS void LANGUAGE sql AS 'INSERT INTO victim VALUES ($1, $2)';
CREATE TYPE ctype AS (e encrypted_text('pii'));
CREATE TABLE compt (c ctype);
CREATE TABLE big AS SELECT g AS id, 'n' || g AS n FROM generate_series(1, 30000) AS g;
ALTER TABLE big SET (parallel_workers = 2);
CREATE FUNCTION wait_here(int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
	$$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN $1; END $$;
GRANT ALL ON victim, locked, compt, big TO app;
SQL

sub session
{
	my ($role) = @_;
	my %self = (in => '', out => '', err => '');
	$self{h} = IPC::Run::start([ 'psql', '-Xqt', '-U', $role, '-d', $node->connstr('postgres') ],
		'<', \$self{in}, '>', \$self{out}, '2>', \$self{err});
	return \%self;
}

# Who has gone has no row.
sub end
{
	my ($session) = @_;
	$session->{in} .= "\\q\n";
	eval { $session->{h}->finish };
	none_left();
	return;
}
sub none_left
{
	poll_sql($node, 'plain', "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
	return;
}

sub ask
{
	my ($session, $sql) = @_;
	$session->{out} = '';
	$session->{in} .= "$sql\n\\echo ready\n";
	poll_until("answer to $sql", sub { $session->{h}->pump_nb; return $session->{out} =~ /^ready$/m });
	return;
}

sub watch
{
	my ($what, $where) = @_;
	return $node->safe_psql('plain', "SELECT $what FROM pg_stat_activity WHERE " . ($where || "usename = 'app'"),
		extra_params => [ '-U', 'mon' ]);
}

# Somebody who keeps the table locked, and a key that PL/pgSQL waits for.
my $holder = session('postgres');
ask($holder, 'BEGIN; LOCK TABLE locked; SELECT pg_advisory_xact_lock(7);');

# What is sent, and while it waits or afterwards everybody looks.
my $secret = 's3cret@example.org';
my @statements = (
	[ 'INSERT', "BEGIN; INSERT INTO victim VALUES (900, '$secret');" ],
	[ 'a function that writes', "SELECT add_victim(901, '$secret');" ],
	[ 'PREPARE', "PREPARE p1 AS SELECT id FROM victim WHERE email = '$secret';" ],
	[ 'EXECUTE', "PREPARE p2(text) AS SELECT id FROM victim WHERE email = \$1; EXECUTE p2('$secret');" ],
	[ 'COPY of a query', "COPY (SELECT id FROM victim WHERE email = '$secret') TO STDOUT;" ],
	[ 'a statement that does not parse', "INSERT INTO victim VALUES (902, '$secret') garbage;" ],
	[ 'an unknown column', "INSERT INTO victim (id, emial) VALUES (902, '$secret');" ],
	[ 'an unknown table', "INSERT INTO victims VALUES (902, '$secret');" ],
	[ 'MERGE', "MERGE INTO victim v USING (SELECT 903 i, '$secret' e) s ON v.id = s.i WHEN NOT MATCHED THEN INSERT VALUES (s.i, s.e);" ],
	[ 'a composite column', "INSERT INTO compt VALUES (row('$secret')::ctype);" ],
	[ 'an array', "SELECT id FROM victim WHERE email = ANY (ARRAY['$secret', 'x']);" ],
	[ 'DO', "DO \$\$ BEGIN INSERT INTO victim VALUES (904, '$secret'); END \$\$;" ],
	[ 'a cursor', "BEGIN; DECLARE c CURSOR FOR SELECT id FROM victim WHERE email = '$secret'; FETCH c; COMMIT;" ],
	[ 'EXPLAIN', "EXPLAIN SELECT id FROM victim WHERE email = '$secret';" ],
	[ 'CREATE TABLE AS', "CREATE TEMP TABLE t AS SELECT id FROM victim WHERE email = '$secret';" ],
	[ 'a temporary view', "CREATE TEMP VIEW v AS SELECT id FROM victim WHERE email = '$secret';" ],
	[ 'VALUES', "VALUES ('$secret');" ],
	[ 'SET', "SET dataprotect.purpose = '$secret';" ],
	[ 'a comment', "SELECT 1 /* $secret */; -- $secret" ],
	[ 'a quoted name', "SELECT 1 AS \"$secret\";" ]);
for my $case (@statements)
{
	my ($name, $sql) = @$case;
	my $session = session('app');
	ask($session, 'SELECT 1;');
	ask($session, $sql);
	my $seen = watch('query');
	unlike($seen, qr/s3cret/, "$name: not shown afterwards");
	like($seen, qr/\S/, "$name: but something is");
	end($session);
}

# Waits within one message of several statements, for a table's lock while the
# statement is analysed, for a row, in the planner.
my @waits = (
	[ 'a second statement of the message', "SELECT wait_here(1)\\; SELECT id FROM victim WHERE email = '$secret';" ],
	[ 'a table that is locked', "INSERT INTO locked VALUES (950, '$secret');" ],
	[ 'a comparison with a table that is locked', "SELECT * FROM locked WHERE email = '$secret';" ],
	[ 'a function', "SELECT wait_here(1) FROM victim WHERE email <> '$secret';" ],
	[ 'COPY', "COPY (SELECT wait_here(1), '$secret') TO STDOUT;" ],
	[ 'DO', "DO \$\$ BEGIN PERFORM wait_here(1), '$secret'; END \$\$;" ],
	[ 'EXECUTE', "PREPARE q(text) AS SELECT wait_here(1) WHERE \$1 <> ''; EXECUTE q('$secret');" ],
	[ 'an argument of EXECUTE', "PREPARE r(int) AS SELECT \$1 WHERE 'x' <> '$secret'; EXECUTE r(wait_here(1));" ],
	[ 'LOCK', "BEGIN; LOCK TABLE locked /* $secret */;" ]);
$node->safe_psql('postgres', "INSERT INTO victim VALUES (1, 'x')");
for my $case (@waits)
{
	my ($name, $sql) = @$case;
	my $session = session('app');
	ask($session, 'SELECT 1;');
	$session->{in} .= "$sql\n";
	poll_until("$name to wait", sub {
			$session->{h}->pump_nb;
			return watch('count(*)', "usename = 'app' AND wait_event_type = 'Lock'") eq '1';
		});
	unlike(watch('query'), qr/s3cret/, "$name: not shown while it waits");
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
	ask($session, 'ROLLBACK;');
	end($session);
}

# The extended protocol, each message of its own, and many at once.
for my $mode ('extended', 'prepared')
{
	for my $pipeline (0, 1)
	{
		my $file = $node->basedir . "/bench_${mode}_$pipeline.sql";
		my $waiting = "SELECT wait_here(1) WHERE '$secret' <> '';\n";
		my $insert = "INSERT INTO locked VALUES (1, '$secret');\n";
		append_to_file($file, $pipeline ? "\\startpipeline\nSELECT id FROM victim WHERE email = '$secret';\n$waiting\\endpipeline\n" : $waiting);
		append_to_file("$file.lock", $pipeline ? "\\startpipeline\nSELECT id FROM victim WHERE email = '$secret';\n$insert\\endpipeline\n" : $insert);
		for my $script ($file, "$file.lock")
		{
			my ($out, $err) = ('', '');
			my $h = IPC::Run::start([ 'pgbench', '-n', '-t', '1', '-M', $mode, '-U', 'app', '-f', $script, $node->connstr('postgres') ],
				'>', \$out, '2>', \$err);
			poll_until("$script to wait", sub {
					$h->pump_nb;
					return watch('count(*)', "usename = 'app' AND wait_event_type = 'Lock'") eq '1';
				});
			my $seen = watch('query');
			unlike($seen, qr/s3cret/, "$mode" . ($pipeline ? ', pipeline' : '') . ': not shown while it waits');
			like($seen, qr/WHERE \? <> \?/, "$mode: the text is, without constants") if $script eq $file;
			$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
			eval { $h->finish };
			none_left();
		}
	}
}

# Parallel workers have a row of their own.
my $parallel = session('app');
ask($parallel, 'SELECT 1;');
$parallel->{in} .= "SELECT count(*) FROM big WHERE wait_here(id) > 0 AND n <> '$secret';\n";
poll_until('parallel workers to wait', sub {
		$parallel->{h}->pump_nb;
		return watch('count(*)', "backend_type = 'parallel worker' AND wait_event_type = 'Lock'") ne '0';
	});
my $workers = watch('query', "backend_type = 'parallel worker'");
unlike($workers, qr/s3cret/, 'parallel workers do not show it');
like($workers, qr/count\(\*\) FROM big WHERE wait_here\(id\) > \? AND n <> \?/, 'but the statement');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
eval { $parallel->{h}->finish };
none_left();

# Sampled while statements run: no moment shows it.
my $file = $node->basedir . '/mixed.sql';
append_to_file($file, "SELECT id FROM victim WHERE email = '$secret';\nBEGIN;\nSELECT '$secret';\nCOMMIT;\n");
for my $mode (qw(simple extended prepared))
{
	my ($out, $err, $leaks, $states) = ('', '', 0, '');
	my $h = IPC::Run::start([ 'pgbench', '-n', '-t', '300', '-c', '2', '-M', $mode, '-U', 'app', '-f', $file, $node->connstr('postgres') ],
		'>', \$out, '2>', \$err);
	my $n = 0;
	poll_until("$mode to end", sub {
			eval { $h->pump_nb };
			$leaks += watch("count(*) FILTER (WHERE query LIKE '%s3cret%')");
			$n++;
			return !$h->pumpable;
		});
	eval { $h->finish };
	none_left();
	is($leaks, 0, "$mode: none of $n looks shows it");
}

# All else is as ever.
my $session = session('app');
ask($session, "BEGIN; SELECT id FROM victim WHERE email = '$secret';");
is(watch("state, query, xact_start IS NOT NULL, query_start >= xact_start, state_change >= query_start"),
	'idle in transaction|SELECT id FROM victim WHERE email = ?;|t|t|t', 'state and times in a transaction');
ask($session, "SELECT 1 / 0 AS x, '$secret';");
is(watch('state, xact_start IS NOT NULL'), 'idle in transaction (aborted)|f', 'state in a failed transaction');
ask($session, 'ROLLBACK;');
is(watch('state, xact_start IS NULL'), 'idle|t', 'state after a transaction');
ask($session, 'SELECT FROM victim;');
is(watch('state, query'), 'idle|SELECT FROM victim;', 'a statement without a constant');
for my $shift (0 .. 2)
{
	# Longer than what is kept, of characters of three bytes.
	ask($session, 'SELECT ' . join(', ', map { 'a AS ' . "\xe2\x82\xac" x 20 . $_ } 1 .. 150) . ' FROM (VALUES (1)) AS ' . 'v' x $shift . 'v (a);');
	is(watch("left(query, 6), convert_from(convert_to(query, 'UTF8'), 'UTF8') = query"), 'SELECT|t', 'a long text is cut between characters');
}
ask($session, "SELECT '$secret' FROM FROM;");
is(watch('state, query'), 'idle|(withheld by dataprotect)', 'a statement that does not parse');
end($session);

$session = session('postgres');
ask($session, "SET track_activities = off; SELECT '$secret';");
is(watch("count(*) FILTER (WHERE state = 'disabled')", "backend_type = 'client backend' AND usename = 'postgres' AND pid <> pg_backend_pid()"),
	'1', 'track_activities = off is obeyed');
ask($session, "SET track_activities = on; SELECT '$secret';");
is(watch("count(*) FILTER (WHERE query LIKE 'SELECT ?%')", "usename = 'postgres'"), '1', 'and on again');
$node->append_conf('postgresql.conf', "track_activities = on\n");
$node->reload;
ask($session, "SELECT '$secret';");
unlike(watch('query'), qr/s3cret/, 'a reload of the settings changes nothing');
is($node->safe_psql('postgres', 'SHOW track_activities'), 'on', 'the setting shows');
$session->{in} .= "\\q\n";
eval { $session->{h}->finish };

ok(poll_sql($node, 'postgres', "SELECT active_time > 0 AND idle_in_transaction_time > 0 FROM pg_stat_database WHERE datname = 'postgres'"), 'times of sessions are counted');

poll_until('plain database to be known', sub {
		return $node->safe_psql('plain', "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND 'x' = 'x'") =~ /'x' = 'x'/;
	});
pass('a database without the extension shows statements as ever');
$holder->{in} .= "\\q\n";
eval { $holder->{h}->finish };
$node->stop;
done_testing();
