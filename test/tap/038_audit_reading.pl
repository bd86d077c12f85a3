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

$node->stop;
done_testing();
