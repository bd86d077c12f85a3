# If this fails, somebody read protected values and the audit log does not say
# so, or says it of another statement, role or column.
use strict;
use warnings;

use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('audit_statements');
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
SELECT dataprotect.create_key('pay');
CREATE ROLE app LOGIN;
CREATE ROLE masked LOGIN;
CREATE ROLE teller LOGIN;
CREATE ROLE auditor LOGIN;
GRANT dataprotect_auditor TO auditor;
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii', 'searchable'),
	name encrypted_text('pii'), salary encrypted_int4('pay'), note text);
INSERT INTO person SELECT i, 'mail' || i, 'name' || i, i * 100, 'note' || i FROM generate_series(1, 50) AS i;
CREATE TABLE part (id int, secret encrypted_text('pii')) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);
INSERT INTO part SELECT i, 's' || i FROM generate_series(5, 14) AS i;
CREATE VIEW person_view AS SELECT id, email::text || '!' AS mail FROM person;
CREATE FUNCTION names(int) RETURNS SETOF text LANGUAGE plpgsql AS
	$$ BEGIN RETURN QUERY SELECT name::text FROM person WHERE id <= $1; END $$;
CREATE FUNCTION one_name(int) RETURNS text LANGUAGE sql AS 'SELECT name::text FROM person WHERE id = $1';
CREATE PROCEDURE walk() LANGUAGE plpgsql AS
	$$ DECLARE x text; BEGIN FOR i IN 1..3 LOOP SELECT name INTO x FROM person WHERE id = i; COMMIT; END LOOP; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, masked, teller;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
SELECT dataprotect.grant_access('pay', 'app', 'reveal');
SELECT dataprotect.grant_access('pii', 'teller', 'reveal');
SELECT dataprotect.grant_access('pii', 'masked', 'mask');
GRANT teller TO app;
SQL

# Rows that came since the last call, one a line.
my $seen = 0;

sub new_rows
{
	my ($columns) = @_;
	$columns ||= "outcome, values_opened, values_compared, columns::text, keys::text";
	$node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log()') eq 't'
	  or die 'audit log was not flushed in time';
	my $rows = $node->safe_psql('postgres',
		"SELECT $columns FROM dataprotect.audit_log WHERE seq > $seen AND event = 'value.revealed' ORDER BY seq",
		extra_params => [ '-U', 'auditor' ]);
	$seen = $node->safe_psql('postgres', 'SELECT max(seq) FROM dataprotect.audit_record');
	return $rows;
}

# Run SQL as a role; errors are part of the game.
sub run
{
	my ($sql, $role) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err, on_error_stop => 0,
		extra_params => [ '-U', $role || 'app' ]);
	return $out;
}

sub records
{
	my ($name, $sql, $wanted, $role) = @_;
	run($sql, $role);
	is(new_rows(), $wanted, $name);
	return;
}

new_rows();
my $email = '{public.person.email}|{pii}';

records('SELECT of one value', 'SELECT email FROM person WHERE id = 1', "ok|1|0|$email");
records('comparison without output', "SELECT id FROM person WHERE name = 'name7'", 'ok|0|50|{public.person.name}|{pii}');
records('two keys', 'SELECT name, salary FROM person WHERE id <= 3',
	'ok|6|0|{public.person.name,public.person.salary}|{pii,pay}');
records('whole row', 'SELECT person FROM person WHERE id = 1',
	'ok|3|0|{public.person.email,public.person.name,public.person.salary}|{pii,pay}');
records('view: the table is named', 'SELECT mail FROM person_view WHERE id <= 2', "ok|2|0|$email");
records('partitions: the table that was queried is named', 'SELECT secret FROM part',
	'ok|10|0|{public.part.secret}|{pii}');
records('a partition by its own name', 'SELECT secret FROM part_2', 'ok|5|0|{public.part_2.secret}|{pii}');
records('join and subquery',
	'SELECT p.name, (SELECT secret FROM part WHERE part.id = p.id) FROM person p WHERE p.id = 7',
	'ok|2|0|{public.person.name,public.part.secret}|{pii}');
records('function', 'SELECT * FROM names(4)', 'ok|4|0|{public.person.name}|{pii}');
records('statement that opens nothing', 'SELECT count(*), max(note) FROM person', '');
records('INSERT opens nothing', "INSERT INTO person VALUES (900, 'x', 'y', 1, 'z')", '');
records('mask that says nothing opens nothing', 'SELECT email FROM person WHERE id = 1', '', 'masked');
records('superuser without a grant opens nothing', 'SELECT email FROM person', '', 'postgres');
records('EXPLAIN opens nothing', 'EXPLAIN SELECT email FROM person', '');
records('EXPLAIN ANALYZE that compares', "EXPLAIN ANALYZE SELECT id FROM person WHERE id < 5 AND email = 'mail3'",
	"ok|0|4|$email");

records('INSERT RETURNING', "INSERT INTO person VALUES (901, 'x', 'y', 1, 'z') RETURNING email", "ok|1|0|$email");
records('UPDATE RETURNING', 'UPDATE person SET note = note WHERE id <= 5 RETURNING email', "ok|5|0|$email");
records('DELETE RETURNING', 'DELETE FROM person WHERE id >= 900 RETURNING email', "ok|2|0|$email");
records('COPY TO', 'COPY person (id, email) TO STDOUT', "ok|50|0|$email");
records('COPY TO of a query', 'COPY (SELECT email FROM person WHERE id <= 6) TO STDOUT', "ok|6|0|$email");
records('CREATE TABLE AS of derived text', 'CREATE TEMP TABLE t AS SELECT email::text FROM person WHERE id <= 3',
	"ok|3|0|$email");
records('prepared statement', 'PREPARE p AS SELECT email FROM person WHERE id = $1; EXECUTE p(1); EXECUTE p(2)',
	"ok|1|0|$email\nok|1|0|$email");
records('two statements of one message', 'SELECT email FROM person WHERE id = 1\; SELECT name FROM person WHERE id <= 2',
	"ok|1|0|$email\nok|2|0|{public.person.name}|{pii}");
records('DO block', 'DO $$ DECLARE x text; BEGIN SELECT email INTO x FROM person WHERE id = 1; END $$', "ok|1|0|$email");
records('procedure that commits', 'CALL walk()', 'ok|3|0|{public.person.name}|{pii}');
records('error caught inside', q{DO $$ DECLARE x text; BEGIN BEGIN SELECT email INTO x FROM person WHERE id = 1;
	RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END; END $$}, "ok|1|0|$email");

records('cursor', 'BEGIN; DECLARE c CURSOR FOR SELECT email FROM person; FETCH 2 FROM c; FETCH 3 FROM c; COMMIT',
	"ok|2|0|$email\nok|3|0|$email");
records('cursor WITH HOLD, fetched after its transaction',
	'BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT email FROM person WHERE id <= 9; COMMIT; FETCH 4 FROM c', "ok|4|0|$email");
records('FETCH after SET ROLE', 'BEGIN; DECLARE c CURSOR FOR SELECT email FROM person; SET ROLE teller; FETCH 2 FROM c; COMMIT',
	"ok|2|0|$email");

records('ROLLBACK', 'BEGIN; SELECT email FROM person WHERE id = 1; SELECT email FROM person WHERE id <= 2; ROLLBACK',
	"rolled_back|1|0|$email\nrolled_back|2|0|$email");
records('ROLLBACK TO SAVEPOINT',
	'BEGIN; SELECT email FROM person WHERE id = 1; SAVEPOINT s; SELECT email FROM person WHERE id <= 2; ROLLBACK TO s; '
	  . 'SELECT email FROM person WHERE id <= 3; COMMIT',
	"ok|1|0|$email\nrolled_back|2|0|$email\nok|3|0|$email");
records('COMMIT that fails', 'CREATE TEMP TABLE d (i int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO d VALUES (1); '
	  . 'BEGIN; INSERT INTO d VALUES (1); SELECT email FROM person WHERE id = 1; COMMIT', "rolled_back|1|0|$email");
records('error half-way', 'SELECT 1 / (10 - id), email FROM (SELECT id, email FROM person ORDER BY id) AS p', "error|9|0|$email");
records('error in a later statement', 'BEGIN; SELECT email FROM person WHERE id = 1; SELECT 1 / 0; COMMIT',
	"rolled_back|1|0|$email");
records('cancel', "SET statement_timeout = '200ms'; SELECT pg_sleep(0.15), email FROM person", "cancelled|1|0|$email");

is(run('SET ROLE teller; SELECT email FROM person WHERE id = 1'), 'mail1', 'a granted role reads');
is(new_rows('session_role, role, database, application LIKE \'%\', client IS NOT NULL'),
	'app|teller|postgres|t|t', 'who: the authenticated role and the current one');
run("SET dataprotect.purpose = 'ticket 4711'; SELECT email FROM person WHERE id = 1; SET dataprotect.purpose = 'other'; SELECT email FROM person WHERE id = 1");
is(new_rows('purpose'), "ticket 4711\nother", 'purpose of each statement');
unlike($node->safe_psql('postgres', "SELECT string_agg(sealed::text, ' ') FROM dataprotect.audit_record"),
	qr/@{[ unpack 'H*', 'ticket' ]}/, 'purpose is not readable in the table');

# Lost connections: the backend says so itself when it is told to go.
{
	my ($in, $out, $err) = ('', '', '');
	my $h = IPC::Run::start(
		[ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres'), '-c',
			'SELECT email, pg_sleep(CASE WHEN id = 5 THEN 600 ELSE 0 END) FROM person ORDER BY id' ],
		'<', \$in, '>', \$out, '2>', \$err);
	poll_sql($node, 'postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = 'app'");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = 'app'");
	eval { $h->finish };
	like(new_rows(), qr/^lost\|[45]\|0\|\Q$email\E$/, 'terminated backend');
}

# Parallel workers count for the leader.
$node->safe_psql('postgres', "INSERT INTO person SELECT i, 'm' || i, 'n' || i, i, 'n' FROM generate_series(1001, 6000) AS i; ANALYZE person");
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; '
  . 'SET max_parallel_workers_per_gather = 2;';
records('parallel workers', "$parallel SELECT sum(length(name::text)) FROM person", 'ok|5050|0|{public.person.name}|{pii}');
records('parallel query that opens nothing', "$parallel SELECT count(name) FROM person", '');

# The wire protocol by hand: portals that are executed in parts, and fast path.
sub wire
{
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die "connect: $!";
	my $startup = pack 'N', 196608;
	$startup .= "user\0app\0database\0postgres\0\0";
	print $socket pack('N', 4 + length $startup), $startup;
	my %self = (socket => $socket);
	wire_until_ready(\%self);
	return \%self;
}

sub wire_send
{
	my ($self, $type, $body) = @_;
	my $socket = $self->{socket};
	print $socket $type, pack('N', 4 + length $body), $body;
	return;
}

sub wire_until_ready
{
	my ($self) = @_;
	my $rows = 0;
	while (1)
	{
		my ($head, $body) = ('', '');
		read($self->{socket}, $head, 5) == 5 or die 'connection closed';
		my ($type, $len) = unpack 'aN', $head;
		read($self->{socket}, $body, $len - 4) if $len > 4;
		$rows++ if $type eq 'D' || $type eq 'V';
		die "server said $body" if $type eq 'E';
		return $rows if $type eq 'Z';
	}
}

sub wire_execute
{
	my ($self, $portal, $rows, $sql) = @_;
	if (defined $sql)
	{
		wire_send($self, 'P', "\0$sql\0" . pack('n', 0));
		wire_send($self, 'B', "$portal\0\0" . pack('nnn', 0, 0, 0));
	}
	wire_send($self, 'E', "$portal\0" . pack('N', $rows));
	wire_send($self, 'S', '');
	return wire_until_ready($self);
}

my $wire = wire();
wire_execute($wire, '', 0, 'BEGIN');
is(wire_execute($wire, 'a', 2, 'SELECT email FROM person WHERE id <= 20'), 2, 'two rows of a portal');
is(wire_execute($wire, 'a', 3), 3, 'three more');
wire_execute($wire, '', 0, 'COMMIT');
is(new_rows(), "ok|5|0|$email", 'repeated Execute of one portal is one statement');

wire_execute($wire, '', 0, 'BEGIN');
is(wire_execute($wire, 'a', 2, 'UPDATE person SET note = note WHERE id <= 20 RETURNING email'), 2, 'two rows of RETURNING');
is(wire_execute($wire, '', 0, 'SELECT name FROM person WHERE id = 1'), 1, 'another statement in between');
is(wire_execute($wire, 'a', 4), 4, 'and four more rows of RETURNING');
wire_execute($wire, '', 0, 'COMMIT');
# PostgreSQL runs RETURNING to its end first, and keeps the rows
is(new_rows(), "ok|20|0|$email\nok|1|0|{public.person.name}|{pii}",
	'portals that take turns keep their columns apart');

my $oid = $node->safe_psql('postgres', "SELECT 'one_name(int)'::regprocedure::oid");
wire_send($wire, 'F', pack('NnnNa*n', $oid, 0, 1, 1, '3', 0));
wire_until_ready($wire);
like(new_rows(), qr/^ok\|1\|0\|\{public.person.name\}\|\{pii\}$/, 'fast path');
close $wire->{socket};

# A backend that is idle in a transaction and loses its client has rolled back.
$wire = wire();
wire_execute($wire, '', 0, 'BEGIN');
wire_execute($wire, '', 0, 'SELECT email FROM person WHERE id = 1');
close $wire->{socket};
poll_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'app'");
is(new_rows(), "rolled_back|1|0|$email", 'client gone inside a transaction');

# Administrative acts.
$node->safe_psql('postgres', "SELECT dataprotect._event('hold.placed', 'pii', '{\"n\": 1}')");
run("BEGIN; SELECT dataprotect._event('hold.released', NULL, NULL); ROLLBACK", 'postgres');
run("BEGIN; SELECT dataprotect._event('retention.run', NULL, NULL); SAVEPOINT s; "
	  . "SELECT dataprotect._event('retention.paused', NULL, NULL); ROLLBACK TO s; COMMIT", 'postgres');
$node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log()');
is( $node->safe_psql('postgres',
		"SELECT event, outcome, keys::text, detail FROM dataprotect.audit_log WHERE event ~ '^(hold|retention)' ORDER BY seq",
		extra_params => [ '-U', 'auditor' ]),
	"hold.placed|ok|{pii}|{\"n\": 1}\nhold.released|rolled_back|{}|\nretention.run|ok|{}|\nretention.paused|rolled_back|{}|",
	'administrative acts with their outcome');
is(sqlstate_of($node, 'postgres', "SELECT dataprotect._event('no.such_event', NULL, NULL);"), '22023',
	'an event outside the catalogue is refused');

# Who may read.
psql_fails($node, 'postgres', 'SELECT * FROM dataprotect.audit_log', qr/Being a superuser is not enough/,
	'a superuser without membership does not read the log');
psql_fails($node, 'postgres', 'SET ROLE auditor; SELECT * FROM dataprotect.audit_log', qr/Being a superuser is not enough/,
	'nor by SET ROLE');
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT * FROM dataprotect.audit_log', extra_params => [ '-U', 'app' ]);
like($err, qr/permission denied for view audit_log/, 'another role does not read it');
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()', extra_params => [ '-U', 'auditor' ]),
	't', 'the chain holds');

$node->stop;
done_testing();
