# If this fails, reading the audit log costs more than what is in it, or keeps
# the log from growing.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('audit_reading');
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'));
INSERT INTO person SELECT g, 'user' || g FROM generate_series(1, 20) AS g;
GRANT SELECT ON person TO app;
SQL

sub flush_log { return poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()') }

sub session
{
	my ($role) = @_;
	my %self = (in => '', out => '', err => '');
	$self{h} = IPC::Run::start([ 'psql', '-XAtq', '-U', $role, '-d', $node->connstr('postgres') ],
		'<', \$self{in}, '>', \$self{out}, '2>', \$self{err});
	return \%self;
}

sub ask
{
	my ($session, $sql) = @_;
	$session->{out} = '';
	$session->{in} .= "$sql\n\\echo ready\n";
	poll_until("answer to $sql", sub { $session->{h}->pump_nb; return $session->{out} =~ /^ready$/m });
	$session->{out} =~ s/^ready\n//m;
	return $session->{out};
}

# open-verification-stops-the-collector: whoever verifies holds nothing.
flush_log();
for my $isolation ('READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE')
{
	my $auditor = session('auditor');
	is(ask($auditor, "BEGIN ISOLATION LEVEL $isolation; SELECT ok FROM dataprotect.verify_audit_log();"), "t\n",
		"$isolation: the log verifies");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) WHERE a.usename = 'auditor' "
			  . "AND l.locktype IN ('relation', 'tuple') AND l.mode NOT IN ('AccessShareLock', 'SIReadLock')"),
		'0', "$isolation: the open transaction holds no lock that keeps anybody out");
	$node->safe_psql('postgres', 'SELECT email FROM person WHERE id = 1', extra_params => [ '-U', 'app' ]) for 1 .. 3;
	ok(flush_log(), "$isolation: the log goes on while it is open");
	is(ask($auditor, 'SELECT ok FROM dataprotect.verify_audit_log();'), "t\n", "$isolation: it verifies what came since");
	ask($auditor, 'COMMIT;');
	$auditor->{in} .= "\\q\n";
	eval { $auditor->{h}->finish };
}

# It sees rows, head and witness of one moment while the collector works.
my $writers = session('app');
$writers->{in} .= "SELECT email FROM person WHERE id = 2;\n" x 20000;
my $wrong = 0;
poll_until('the reads to be done', sub {
		$writers->{h}->pump_nb;
		$wrong++ if $node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()') ne 't';
		my $now = () = $writers->{out} =~ /^user2$/mg;
		return $now == 20000;
	});
is($wrong, 0, 'no false alarm while records come in');
$writers->{in} .= "\\q\n";
eval { $writers->{h}->finish };

# log-becomes-slow-to-read: what a query of the log costs grows with the rows,
# whatever ends of subtransactions are among them.  Counted in pages, not in time.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE searcher LOGIN;
SELECT dataprotect.grant_access('pii', 'searcher', 'search');
GRANT SELECT ON person TO searcher;
SQL
my $one = "SELECT FROM person WHERE id = 1 AND email = 'x';\n";
# What is done, and how it ends once the log has it.
my %shapes = (
	'savepoints within each other' => sub { ("BEGIN;\n" . "SAVEPOINT s;\n$one" x $_[0], "ROLLBACK;\n") },
	'undone from the inside out' => sub {
		return ("BEGIN;\n" . join('', map { "SAVEPOINT s$_;\n$one" } 1 .. $_[0] / 2),
			join('', map { "ROLLBACK TO s$_;\n$one" } reverse 1 .. $_[0] / 2) . "ROLLBACK;\n");
	});

# Ranges that lie within each other cost more: their index's pages overlap.
my %pages_a_row = ('savepoints within each other' => 10, 'undone from the inside out' => 25);

sub pages
{
	my ($query) = @_;
	my $plan = $node->safe_psql('postgres', "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) $query", extra_params => [ '-U', 'auditor' ]);
	my ($hit) = $plan =~ /"Shared Hit Blocks": (\d+)/;
	my ($read) = $plan =~ /"Shared Read Blocks": (\d+)/;
	return $hit + $read;
}
for my $shape (sort keys %shapes)
{
	my @cost;
	for my $n (1000, 4000)
	{
		my $role = "searcher_$n";
		# A worker that is at work in the database may be in the way for a moment.
		poll_until('the extension to be dropped', sub { $node->psql('postgres', 'DROP TABLE IF EXISTS person; DROP EXTENSION IF EXISTS dataprotect CASCADE') == 0 });
		$node->safe_psql('postgres', "CREATE EXTENSION dataprotect; "
			  . "SELECT dataprotect.create_key('pii'); CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii')); "
			  . "INSERT INTO person VALUES (1, 'a'); GRANT SELECT ON person TO searcher; GRANT dataprotect_auditor TO auditor; "
			  . "SELECT dataprotect.grant_access('pii', 'searcher', 'search')");
		my ($done, $end) = $shapes{$shape}->($n);
		my $searcher = session('searcher');
		ask($searcher, $done);
		flush_log();
		ask($searcher, $end);
		$searcher->{in} .= "\\q\n";
		eval { $searcher->{h}->finish };
		flush_log();
		is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_log WHERE event = 'value.revealed' AND outcome = 'rolled_back'",
				extra_params => [ '-U', 'auditor' ]), $n, "$shape: $n statements are told as rolled back");
		# The same plan for both: what is known of the tables must not depend on when autovacuum came.
		$node->safe_psql('postgres', 'ANALYZE');
		push @cost, pages('SELECT at, session_role, columns, values_opened, outcome FROM dataprotect.audit_log ORDER BY seq DESC');
	}
	cmp_ok($cost[1], '<=', $pages_a_row{$shape} * 4000, "$shape: some pages a row ($cost[0] for 1000, $cost[1] for 4000)");
}

# Conditions that batches are found by lose no row.
for my $where ('ref_seq <= 9000000000000000000 AND ref_end >= 1::bigint', 'ref_seq <= 9000000000000000000 AND ref_end >= (-1)::bigint',
	'ref_seq <= 9000000000000000000 AND ref_end >= (SELECT max(ref_seq) - 10 FROM dataprotect.audit_record)')
{
	my ($by_index, $by_all) = split /\|/, $node->safe_psql('postgres', "SELECT (SELECT count(*) FROM dataprotect.audit_record WHERE $where), "
		  . "count(*) FROM (SELECT ref_seq, ref_end FROM dataprotect.audit_record OFFSET 0) AS r WHERE $where");
	cmp_ok($by_all, '>', 0, "there are rows with $where");
	is($by_index, $by_all, '... and all are found');
}

# caught-errors-cost-a-flush: a statement has one intent and one result, however
# many subtransactions end inside it.
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'app', 'reveal'); GRANT SELECT ON person TO app");
flush_log();
# But for the worker's own that a grant was used first (159).
my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.audit_record WHERE event <> 159');
$node->safe_psql('postgres', "DO \$\$ DECLARE t text; BEGIN FOR i IN 1..500 LOOP SELECT email INTO t FROM person WHERE id = 1; "
	  . "BEGIN PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END \$\$", extra_params => [ '-U', 'app' ]);
flush_log();
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.audit_record WHERE event <> 159') - $before, 1,
	'a loop of reads and caught errors is one record');
is($node->safe_psql('postgres', "SELECT values_opened, outcome FROM dataprotect.audit_log WHERE session_role = 'app' ORDER BY seq DESC LIMIT 1",
		extra_params => [ '-U', 'auditor' ]), '500|ok', 'which counts every value');

$node->stop;
done_testing();
