# If this fails, constants or parameters of statements, and so personal data,
# are in the server log or in pg_stat_activity of a database with dataprotect.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('log_hygiene', conf => <<'CONF');
session_preload_libraries = 'auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_nested_statements = on
log_statement = all
log_min_duration_statement = 0
log_duration = on
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
log_min_messages = info
log_min_error_statement = info
log_destination = 'stderr'
debug_print_parse = on
debug_print_plan = on
log_lock_waits = on
deadlock_timeout = '100ms'
CONF
create_extension($node);
$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii', 'searchable'), day date,
	note text NOT NULL CHECK (note <> 'forbidden'));
CREATE UNIQUE INDEX ON person (email encrypted_text_token_ops);
CREATE TYPE colour AS ENUM ('red');
GRANT ALL ON person TO app;
SQL

# Every needle begins with "zq"; the log must not contain one.
sub log_text { return slurp_file($node->logfile) }

sub run
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 0, extra_params => [ '-U', 'app' ]);
	return ($out, $err);
}

my $clients = '';
for my $case (
	[ 'a row', "INSERT INTO person VALUES (1, 'zq-insert', '2020-02-02', 'zq-note')" ],
	[ 'a comparison', "SELECT * FROM person WHERE email = 'zq-compare'" ],
	[ 'ILIKE', "SELECT * FROM person WHERE email ILIKE 'zq-like%'" ],
	[ 'a number', 'SELECT * FROM person WHERE id = 4242424242' ],
	[ 'a unique violation', "INSERT INTO person VALUES (1, 'zq-second', NULL, 'zq-note')" ],
	[ 'a check violation', "INSERT INTO person VALUES (2, 'zq-check', NULL, 'forbidden')" ],
	[ 'a not-null violation', "INSERT INTO person VALUES (2, 'zq-null', NULL, NULL)" ],
	[ 'bad input', "SELECT 'zq-int'::int" ],
	[ 'a bad date', "INSERT INTO person VALUES (3, 'x', 'zq-date', 'y')" ],
	[ 'a bad enum', "SELECT 'zq-enum'::colour" ],
	[ 'bad JSON', q{SELECT '{"a": zq-json}'::json} ],
	[ 'a syntax error', "SELECT 'zq-one' FORM 'zq-two'" ],
	[ 'an open quote', "SELECT 'zq-open" ],
	[ 'dollar quotes', 'SELECT $q$zq-dollar$q$' ],
	[ 'escapes', q{SELECT E'zq-\\'escape'} ],
	[ 'Unicode escapes', q{SELECT U&'zq\\0041'} ],
	[ 'a comment', "SELECT 1 -- zq-comment\n" ],
	[ 'a block comment', 'SELECT /* zq-a /* zq-b */ zq-c */ 1' ],
	[ 'a prepared statement', "PREPARE p AS SELECT * FROM person WHERE email = \$1; EXECUTE p('zq-execute')" ],
	[ 'DO', q{DO $$ BEGIN PERFORM 'zq-perform'; RAISE WARNING 'x % y', 'zq-raise'; EXECUTE 'SELECT ''zq-dynamic''::int'; END $$} ],
	[ 'a cursor', "BEGIN; DECLARE c CURSOR FOR SELECT * FROM person WHERE email = 'zq-cursor'; FETCH ALL FROM c; COMMIT" ],
	[ 'COPY of a bad row', "COPY person FROM STDIN;\n9\tzq-copy\tzq-bad-date\tzq-note\n\\.\n" ],
	[ 'COPY of a doubled row', "COPY person (id, email, note) FROM STDIN;\n1\tzq-copy2\tzq-note\n\\.\n" ],
	[ 'EXPLAIN', "EXPLAIN SELECT * FROM person WHERE note = 'zq-explain'" ],
	[ 'SET', "SET dataprotect.purpose = 'zq-purpose'" ],
	[ 'a value in the wrong quotes', 'SELECT * FROM person WHERE email = "zq@example.com"' ],
	[ 'a name as long as a value', 'SELECT "zq-' . 'x' x 80 . '"' ],
	[ 'division', "SELECT length('zq-division') / 0" ],
	[ 'CREATE TABLE AS', "CREATE TEMP TABLE t AS SELECT 'zq-ctas' AS a; SELECT * FROM t WHERE a = 'zq-ctas2'" ])
{
	my ($name, $sql) = @$case;
	my ($out, $err) = run($sql);
	$clients .= $err;
	my $log = log_text();
	my @found = $log =~ /.*zq.*/g;
	is(join("\n", @found), '', "$name leaves nothing in the log");
	truncate $node->logfile, 0;
}
like($clients, qr/Key \(id\)=\(1\) already exists/, 'the client still gets its own details');
like($clients, qr/invalid input syntax for type integer: "zq-int"/, 'and its own messages');
run("SELECT 1 / 0 AS zq_is_a_name; SELECT * FROM nowhere WHERE a = 'zq'");
like(log_text(), qr/relation "nowhere" does not exist/, 'messages without data stay');
like(log_text(), qr/STATEMENT:\s+SELECT \* FROM nowhere WHERE a = \?/, 'statements are shown without constants');
like(log_text(), qr/LOG:.*statement: SELECT \? \/ \? AS zq_is_a_name/, 'names stay');
truncate $node->logfile, 0;

# Parameters of the extended protocol.
my $script = $node->basedir . '/bind.sql';
append_to_file($script, "\\set v 73573573\nSELECT * FROM person WHERE id = :v AND note = 'zq-bench';\nSELECT 1 / (:v::int - :v::int);\n");
$node->command_checks_all(
	[ 'pgbench', '-n', '-t', '1', '-M', 'extended', '-U', 'app', '-f', $script, $node->connstr('postgres') ],
	2, [qr/./], [qr/division by zero/], 'bound parameters');
unlike(log_text(), qr/73573573|zq/, 'parameters are not in the log');
truncate $node->logfile, 0;

# Deadlocks show the other process's statement.
my @sessions;
run("INSERT INTO person VALUES (10, 'a', NULL, 'x'), (11, 'b', NULL, 'x')");
for my $order ([ 10, 11 ], [ 11, 10 ])
{
	my %self = (out => '', err => '');
	$self{h} = IPC::Run::start(
		[ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres'), '-c',
			"BEGIN; UPDATE person SET note = 'zq-lock' WHERE id = $order->[0]; SELECT pg_sleep(0.5); "
			  . "UPDATE person SET note = 'zq-lock' WHERE id = $order->[1]; COMMIT" ],
		'>', \$self{out}, '2>', \$self{err});
	push @sessions, \%self;
}
eval { $_->{h}->finish } for @sessions;
like(log_text(), qr/deadlock detected/, 'a deadlock is in the log');
unlike(log_text(), qr/zq/, 'its statements are not');
truncate $node->logfile, 0;

# pg_stat_activity.
my %sleeper = (in => '', out => '', err => '');
$sleeper{h} = IPC::Run::start(
	[ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres'), '-c',
		"SELECT pg_sleep(600) FROM person WHERE note <> 'zq-activity' AND email <> 'zq-mail'" ],
	'<', \$sleeper{in}, '>', \$sleeper{out}, '2>', \$sleeper{err});
poll_sql($node, 'postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
is($node->safe_psql('postgres', "SELECT query FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
	'SELECT pg_sleep(?) FROM person WHERE note <> ? AND email <> ?', 'pg_stat_activity shows no constants');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
eval { $sleeper{h}->finish };

# Memory contexts are named after statements; asked for by a superuser, from any session.
my $keeper = $node->background_psql('postgres', on_error_die => 1, extra_params => [ '-U', 'app' ]);
$keeper->query_safe("PREPARE zq_name AS SELECT * FROM person WHERE note = 'zq-kept'; EXECUTE zq_name;");
truncate $node->logfile, 0;
$node->safe_psql('postgres', "SELECT pg_log_backend_memory_contexts(pid) FROM pg_stat_activity WHERE usename = 'app' AND state = 'idle'");
poll_until('memory contexts', sub { return log_text() =~ /Grand total/ });
like(log_text(), qr/CachedPlanSource: .* used/, 'memory contexts are in the log');
unlike(log_text(), qr/zq/, 'and no statements of theirs');
$keeper->quit;

# Whatever PostgreSQL says of its own.
$node->safe_psql('postgres', "ALTER SYSTEM SET log_min_messages = 'debug5'; ALTER SYSTEM SET debug_print_rewritten = on; ALTER SYSTEM SET backtrace_functions = 'int4in,int4div,_bt_check_unique'; SELECT pg_reload_conf()");
poll_sql($node, 'postgres', "SELECT current_setting('log_min_messages') = 'debug5'");
truncate $node->logfile, 0;
my $anything = $node->basedir . '/debug.sql';
append_to_file($anything, "\\set v 73573573\nSELECT * FROM person WHERE id = :v AND note = 'zq-debug';\nINSERT INTO person VALUES (:v, 'zq-debug2', NULL, 'zq-debug3');\nSELECT 'zq-debug4', 1 / (:v::int - :v::int);\n");
$node->command_checks_all([ 'pgbench', '-n', '-t', '1', '-M', $_, '-U', 'app', '-f', $anything, $node->connstr('postgres') ], 2, [qr/./], [qr/division by zero|duplicate key/], "$_ protocol at debug5")
  for qw(prepared extended simple);
run("BEGIN; DECLARE c CURSOR FOR SELECT * FROM person WHERE note = 'zq-debug5'; FETCH c; NOTIFY zqless, 'zq-debug6'; ROLLBACK; COPY person (id, email, note) FROM STDIN;\n1\tzq-debug7\tzq-debug8\n\\.\n");
run("DO \$\$ BEGIN EXECUTE 'INSERT INTO person VALUES (\$1, \$2, NULL, \$3)' USING 1, 'zq-debug9', 'zq-debugA'; EXCEPTION WHEN OTHERS THEN RAISE LOG 'taken'; END \$\$");
$node->safe_psql('postgres', "ALTER SYSTEM RESET ALL; SELECT pg_reload_conf()");
like(log_text(), qr/DEBUG:/, 'debug messages are in the log');
is(join("\n", (grep { /73573573|zq-/ } split /\n/, log_text())[ 0 .. 4 ] ) =~ s/\n+\z//r, '', 'with no constant and no parameter');
truncate $node->logfile, 0;

# Elsewhere nothing changes, as soon as the launcher has looked.
poll_until('plain database to be known', sub {
		$node->psql('plain', "SELECT 'visible' || 'constant'");
		return log_text() =~ /'visible' \|\| 'constant'/;
	});
like(log_text(), qr/'visible' \|\| 'constant'/, 'a database without the extension logs as ever');

$node->stop;
done_testing();
