# If this fails, a monitoring system misses a figure, asks for one that is not there,
# or learns something personal.
use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $dir = abs_path("$FindBin::RealBin/../../pgxs/metrics");
my $node = new_node('metrics');
create_extension($node);

sub monitor
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'monitor' ]);
	return wantarray ? ($out, $err) : $out;
}

# A server with something of each kind.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE monitor LOGIN IN ROLE pg_monitor;
CREATE ROLE nobody LOGIN;
SELECT dataprotect.create_key('pii');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'), at timestamptz NOT NULL);
CREATE INDEX ON person (at);
INSERT INTO person VALUES (7777, 'anna-Zq9x@example.org', now() - interval '2 years');
SELECT dataprotect.create_retention_policy('old', 'person', 'at', '1 year', 'delete');
SELECT dataprotect.create_account_type('member', 'person', 'id');
SELECT count(*) FROM dataprotect.drill();
SQL

my %names = map { $_ => 1 } split /\n/, monitor('SELECT DISTINCT name FROM dataprotect.metrics()');
is(monitor("SELECT value FROM dataprotect.metrics() WHERE name = 'protected_columns'"), '1', 'a member of pg_monitor gets the figures');
is(monitor("SELECT value FROM dataprotect.metrics() WHERE name = 'retention_rows_due' AND labels ->> 'policy' = 'old'"), '1', 'rows that are due are counted');
is(monitor("SELECT value FROM dataprotect.metrics() WHERE name = 'lockdown'"), '0', 'no lockdown');
$node->safe_psql('postgres', "SELECT dataprotect.lockdown('test')");
is(monitor("SELECT value FROM dataprotect.metrics() WHERE name = 'lockdown'"), '1', 'a lockdown shows');
$node->safe_psql('postgres', "SELECT dataprotect.lift_lockdown('test')");
unlike(monitor('SELECT string_agg(m::text, $$ $$) FROM dataprotect.metrics() m'), qr/Zq9x|7777/, 'nothing personal is among them');
like((monitor('SELECT count(*) FROM dataprotect.audit_log'))[1], qr/permission denied/, 'and the role reads nothing else');
my ($rc, $out, $err) = $node->psql('postgres', 'SELECT * FROM dataprotect.metrics()', extra_params => [ '-U', 'nobody' ]);
like($err, qr/permission denied/, 'others get none');

# The queries for the exporter: what they name is there, and they run with these rights.
my (%columns, $family);
my %queries;
for (split /\n/, slurp_file("$dir/postgres_exporter.yaml"))
{
	$family = $1 if /^(dataprotect\w*):/;
	$queries{$family} = JSON::PP->new->allow_nonref->decode($1) if /^  query: (".*")$/;
	push @{ $columns{$family} }, $1 if /^    - (\w+):$/;
}
cmp_ok(scalar(keys %queries), '>=', 9, 'families of metrics');
for my $family (sort keys %queries)
{
	for my $name ($queries{$family} =~ /name = '(\w+)'/g)
	{
		# those that need a sink, credentials that expire or a request are not there without
		next if $name =~ /^sink_|^kms_credentials|^deletion_next|^digest_age/;
		ok($names{$name}, "$family: metrics() has $name");
	}
	my ($rows, $problem) = monitor("SELECT row_to_json(q) FROM ($queries{$family}) q LIMIT 1");
	is($problem, '', "$family: its query runs");
	is_deeply([ sort keys %{ JSON::PP->new->decode($rows) } ], [ sort @{ $columns{$family} } ], "$family: and gives the columns that are declared") if $rows ne '';
}
my $rules = slurp_file("$dir/alert_rules.yaml");
my %exported = map { my $f = $_; map { ("${f}_$_" => 1) } @{ $columns{$f} } } keys %columns;
ok($exported{$_}, "an alert rule's $_ is exported") for sort { $a cmp $b } keys %{ { map { $_ => 1 } $rules =~ /\b(dataprotect_\w+)/g } };
my $dashboard = JSON::PP->new->decode(slurp_file("$dir/grafana_dashboard.json"));
ok($exported{$_}, "the dashboard's $_ is exported")
  for map { my $e = $_->{targets}[0]{expr}; $e =~ /(dataprotect_\w+)/ } @{ $dashboard->{panels} };

SKIP:
{
	skip 'promtool is not installed', 1 if system('command -v promtool >/dev/null 2>&1') != 0;
	is(system('promtool', 'check', 'rules', "$dir/alert_rules.yaml"), 0, 'promtool accepts the alert rules');
}
SKIP:
{
	skip 'prometheus-postgres-exporter is not installed', 2 if system('command -v prometheus-postgres-exporter >/dev/null 2>&1') != 0;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	local $ENV{DATA_SOURCE_NAME} = 'host=' . $node->host . ' port=' . $node->port . ' user=monitor dbname=postgres sslmode=disable';
	my $log = '';
	my $exporter = IPC::Run::start([ 'prometheus-postgres-exporter', "--extend.query-path=$dir/postgres_exporter.yaml", "--web.listen-address=127.0.0.1:$port", '--disable-default-metrics' ], '>&', \$log);
	my $page = '';
	poll_until('the exporter', sub { $page = HTTP::Tiny->new(timeout => 20)->get("http://127.0.0.1:$port/metrics")->{content} || ''; return $page =~ /^dataprotect_protected_columns\{/m });
	like($page, qr/^dataprotect_kms_up\{.*kms_uri="file:/m, 'the exporter hands out figures by KMS') or diag($log);
	my @missing = grep { $page !~ /^\Q$_\E[{ ]/m && !/sink|credentials|deletion_next|digest_age|kms_uri|_(state|severity|kind|policy)$/ } sort keys %exported;
	is("@missing", '', 'and all that there are on this server');
	$exporter->kill_kill;
}
$node->stop;
done_testing();
