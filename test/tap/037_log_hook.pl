# If this fails, a message that any role can raise ends the server, or loses its
# text on the way to the client.  (log-message-of-a-parallel-worker-crash)
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('log_hook', conf => <<'CONF');
log_min_messages = debug1
log_error_verbosity = verbose
log_destination = 'stderr,csvlog'
logging_collector = on
max_worker_processes = 16
CONF
create_extension($node);
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my $force = $version >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE nobody LOGIN;
GRANT CREATE ON SCHEMA public TO nobody;
SQL
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

# Each level with each kind of text in each field that RAISE can set.
my @levels = qw(DEBUG LOG INFO NOTICE WARNING EXCEPTION);
my %texts = (
	plain   => "'hello'",
	empty   => "''",
	quote   => q{'say "this" and ''that'' \\ %'},
	lines   => "E'one\\n\\ntwo\\n'",
	plan    => "E'duration: 1 ms  plan:\\nQuery Text: SELECT 1\\nSeq Scan (cost=0)'",
	open    => "'statement: SELECT ''open'",
	huge    => "repeat('x', 3000000)",
	euro    => "repeat('\x{e2}\x{82}\x{ac}', 5000)",
	long_plan => "E'plan:\\n' || repeat(E'x (cost=1)\\n', 20000)",
	null    => 'NULL');
my $body = '';
for my $name (sort keys %texts)
{
	for my $level (@levels)
	{
		my $text = $texts{$name};
		my $message = $name eq 'null' ? "''" : $text;
		my $fields = join ', ', map { "$_ = coalesce($text, '')" } qw(DETAIL HINT COLUMN CONSTRAINT DATATYPE TABLE SCHEMA);
		$body .= "BEGIN RAISE $level USING MESSAGE = $message, $fields; EXCEPTION WHEN OTHERS THEN NULL; END;\n";
		$body .= "BEGIN RAISE $level USING MESSAGE = $message; EXCEPTION WHEN OTHERS THEN NULL; END;\n";
		$body .= "BEGIN RAISE $level '%', $text; EXCEPTION WHEN OTHERS THEN NULL; END;\n";
	}
}
(my $no_catch = $body) =~ s/^.*RAISE EXCEPTION.*\n//mg;
$no_catch =~ s/BEGIN (RAISE.*?;) EXCEPTION WHEN OTHERS THEN NULL; END;/$1/g;
$node->safe_psql('postgres', <<"SQL", extra_params => [ '-U', 'nobody' ]);
CREATE FUNCTION raise_all() RETURNS int LANGUAGE plpgsql AS \$f\$ BEGIN $body RETURN 1; END \$f\$;
CREATE FUNCTION raise_in_worker() RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS \$f\$ BEGIN $no_catch RETURN 1; END \$f\$;
CREATE FUNCTION raise_log() RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS \$f\$ BEGIN RAISE LOG 'hello'; RETURN 1; END \$f\$;
CREATE FUNCTION fail_in_worker() RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
	\$f\$ BEGIN RAISE EXCEPTION USING MESSAGE = '', DETAIL = '', HINT = ''; END \$f\$;
CREATE TABLE t (a int CHECK (raise_log() = 1));
SQL

sub run
{
	my ($sql, $level) = @_;
	my ($out, $err) = ('', '');
	my $rc = $node->psql('postgres', "SET client_min_messages = $level;\n$sql\n", stdout => \$out, stderr => \$err,
		extra_params => [ '-U', 'nobody' ]);
	return ($rc, $out, $err);
}

for my $level (qw(debug1 log error))
{
	my ($rc, $out, $err) = run('SELECT raise_all();', $level);
	is("$rc $out", '0 1', "every message of the leader passes (client_min_messages = $level)");
	($rc, $out, $err) = run("SET $force = on; SELECT raise_in_worker();", $level);
	is("$rc $out", '0 1', "every message of a parallel worker passes (client_min_messages = $level)");
}
my ($rc, $out, $err) = run("SET $force = on; SELECT raise_log();", 'log');
like($err, qr/LOG:\s+(?:\w+: )?hello/, 'a message of a parallel worker arrives');
is($out, '1', 'and the query returns');
($rc, $out, $err) = run("SET $force = on; SELECT fail_in_worker();", 'log');
is($rc, 3, 'an error of a parallel worker without any text is an error');
($rc, $out, $err) = run("COPY t FROM STDIN;\n1\n2\n\\.\n", 'log');
is($rc, 0, 'messages within COPY');

# A connection's settings are not text of any encoding: nothing may stumble.
{
	local $ENV{PGOPTIONS} = "-c application_name=\xff\xfe -c dataprotect.purpose=\xe2\x82";
	($rc, $out, $err) = run("SELECT raise_all();", 'log');
	is("$rc $out", '0 1', 'messages of a session whose settings are not text');
}

# The statement is longer than what is looked through, the message repeats it.
my $long = 'x' x 2_000_000;
($rc, $out, $err) = run("DO \$\$ BEGIN RAISE WARNING '%', '$long'; END \$\$;", 'log');
is($rc, 0, 'a statement of megabytes that raises its own text');
like($err, qr/x{1000}/, 'which its client gets');

is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server was not restarted');
my $logs = '';
$logs .= slurp_file($_) for glob($node->data_dir . '/log/*');
unlike($logs, qr/was terminated by signal|all server processes terminated/, 'and no process of it was');
unlike($logs, qr/x{3000}/, 'texts too long to look through are withheld');
$node->stop;
done_testing();
