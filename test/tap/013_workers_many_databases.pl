# If this fails, a server with more databases than it has worker slots leaves some
# of them without audit, retention or deletion, or creates no key there
# (worker-slots), or databases that came and went use up a table
# (after-128-databases).
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);
use Test::More;

use DataProtect::Test;

use constant DATABASES => 100;
use constant MORE => 40;	# one after the other, so that there have been over 128

my $node = new_node('many', conf => "fsync = off\nfull_page_writes = off\nmax_wal_size = 8GB\ndataprotect.worker_naptime = 10s\nlog_statement = none\n");
is($node->safe_psql('postgres', 'SHOW max_worker_processes'), '8', 'PostgreSQL\'s default number of worker processes');
is($node->safe_psql('postgres', 'SHOW dataprotect.max_workers'), '3', 'and ours');

$node->safe_psql('postgres', 'CREATE DATABASE tenant');
create_extension($node, 'tenant');
$node->safe_psql('tenant', q{
	SELECT dataprotect.create_key('pii');
	CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
	CREATE TABLE visits (at timestamptz);
	CREATE INDEX ON visits (at);
	SELECT dataprotect.create_retention_policy('visits', 'visits', 'at', '1 year', 'delete')});

sub make_tenant
{
	my ($name) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE tenant STRATEGY file_copy");
	my ($rc, $out, $err) = $node->psql($name, q{
		SELECT dataprotect.create_key('second');
		INSERT INTO visits VALUES ('2020-01-01');
		SELECT dataprotect.activate_retention('visits')}, on_error_stop => 1);
	return $rc == 0 ? '' : "$name: $err";
}

my $began = time;
my @failed = grep { $_ ne '' } map { make_tenant("tenant_$_") } 1 .. DATABASES;
is("@failed", '', 'a key can be made in each database');
note sprintf '%d databases made in %.0f s', DATABASES, time - $began;

# Fair: all are served, not only the first ones.
$began = time;
my @waiting = map { "tenant_$_" } 1 .. DATABASES;
poll_until(
	'the old row of every database to be deleted',
	sub {
		@waiting = grep { $node->safe_psql($_, 'SELECT count(*) FROM visits') ne '0' } @waiting;
		return !@waiting;
	});
is("@waiting", '', 'retention reaches every database');
note sprintf 'the last one had its round after %.0f s', time - $began;
# A round may meet DDL of a database that is just being made, and comes back.
poll_sql($node, 'tenant', 'SELECT max(failures) FROM dataprotect.workers', '0');
is($node->safe_psql('tenant', 'SELECT count(DISTINCT database) FROM dataprotect.workers'), DATABASES + 1, 'dataprotect.workers has all');

# Records of every database reach its table: all at once, and one alone at once.
$node->safe_psql("tenant_$_", "SELECT dataprotect.create_key('third')") for 1 .. DATABASES;
@waiting = map { "tenant_$_" } 1 .. DATABASES;
poll_until(
	'the records of every database to be in its table',
	sub {
		@waiting = grep { $node->safe_psql($_, "SELECT count(*) FROM dataprotect.audit_log WHERE event = 'key.created' AND keys = '{third}'", extra_params => [ '-U', 'auditor' ]) ne '1' } @waiting;
		return !@waiting;
	});
is("@waiting", '', 'records of every database reach its table without being asked for');
$began = time;
is($node->safe_psql('tenant_50', "SELECT dataprotect.create_key('fourth'); SET SESSION AUTHORIZATION auditor; SELECT dataprotect.flush_audit_log('180s')") =~ /t$/ ? 1 : 0,
	1, 'who waits for one database does not wait for the others');
note sprintf 'flush_audit_log() in one of %d databases took %.2f s', DATABASES, time - $began;
# One that ends is still shown when the next one begins.
poll_sql($node, 'postgres', "SELECT count(*) <= 3 FROM pg_stat_activity WHERE backend_type = 'dataprotect worker'");

# Databases that come and go.
@failed = ();
for my $number (1 .. MORE)
{
	$node->safe_psql('postgres', 'CREATE DATABASE passing TEMPLATE tenant STRATEGY file_copy');
	my $flushed = $node->safe_psql('passing', "SELECT dataprotect.create_key('second'); SET SESSION AUTHORIZATION auditor; SELECT dataprotect.flush_audit_log('180s')");
	my $verified = $node->safe_psql('passing', 'SELECT ok FROM dataprotect.verify_audit_log()');
	push @failed, "number $number: $flushed, $verified" if $flushed !~ /t$/ || $verified ne 't';
	$node->safe_psql('postgres', 'DROP DATABASE passing');
}
is("@failed", '', 'after 128 databases the next one is collected as well');

$node->stop;
done_testing();
