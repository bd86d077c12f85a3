# If this fails, a grant outlives its role, or depends on which process of a
# session asks; or statements stand still while grants or keys change all the time.
# Cases: grant-outlives-its-role, require-tls-and-parallel-plans.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('grants', start => 0);
my $dir = $node->basedir . '/tls';
mkdir $dir;
system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
	'-keyout', "$dir/server.key", '-out', "$dir/server.crt");
chmod 0600, "$dir/server.key";
$node->append_conf('postgresql.conf', "ssl = on\nssl_cert_file = '$dir/server.crt'\nssl_key_file = '$dir/server.key'\nlisten_addresses = '127.0.0.1'\nfsync = off\n");
$node->append_conf('pg_hba.conf', "host all all 127.0.0.1/32 trust\n");
$node->start;
create_extension($node);
$node->safe_psql('postgres', 'CREATE DATABASE other');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# --- roles that go
sql("SELECT dataprotect.create_key('pii'), dataprotect.create_key('more')");
sql('CREATE ROLE doctor; CREATE ROLE nurse; CREATE ROLE clerk');
sql("SELECT dataprotect.grant_access(k, r::regrole, 'reveal') FROM unnest(ARRAY['pii', 'more']) k, unnest(ARRAY['doctor', 'nurse', 'clerk']) r");
sql('BEGIN; DROP ROLE doctor; ROLLBACK');
is(sql("SELECT count(*) FROM dataprotect.grants WHERE in_force AND grantee = 'doctor'"), '2', 'a DROP ROLE that is rolled back ends nothing');
sql('DROP ROLE doctor');
is(sql('SELECT string_agg(DISTINCT grantee, \',\') FROM dataprotect.grants WHERE in_force'), 'clerk,nurse', 'DROP ROLE ends the grants of the role, in its transaction');
is(sql("SELECT string_agg(DISTINCT revoke_reason, ',') FROM dataprotect.grants WHERE NOT in_force"), 'its role was dropped', 'with the reason');
$node->safe_psql('other', 'DROP ROLE nurse');
ok(poll_sql($node, 'postgres', 'SELECT count(*) = 4 FROM dataprotect.grants WHERE NOT in_force'), 'a role dropped in a database without the extension: the worker ends its grants');
sql('CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor');
sub log_has { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'auditor' ]); }
is(log_has('SELECT dataprotect.flush_audit_log()'), 't', 'everything is logged');
is(log_has("SELECT count(*) FROM dataprotect.audit_log WHERE event = 'access.revoked' AND outcome = 'ok'"), '4', 'each is an event');
sql('DROP ROLE clerk; CREATE ROLE clerk');
is(sql('SELECT count(*) FROM dataprotect.grants WHERE in_force'), '0', 'a role of the same name made again has none of them');
is(sql('CREATE ROLE alone; DROP ROLE alone; SELECT 1'), '1', 'roles without grants come and go');

# --- a parallel worker has its leader's connection
sql(<<'SQL');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal', require_tls => true);
CREATE TABLE big (e encrypted_text('pii'));
INSERT INTO big SELECT 'v1' || g FROM generate_series(1, 5000) g;
ALTER TABLE big SET (parallel_workers = 2);
ANALYZE big;
GRANT SELECT ON big TO app;
SQL
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off;';
my $query = q{SELECT count(*) FROM big WHERE e::text LIKE 'v1%'};
for my $mode ('require', 'disable')
{
	my @as = (extra_params => [ '-d', 'host=127.0.0.1 user=app dbname=postgres port=' . $node->port . " sslmode=$mode" ]);
	for my $plan ('', $parallel)
	{
		my ($rc, $out, $err) = $node->psql('postgres', "$plan $query", @as);
		my $name = ($plan ? 'a parallel plan' : 'a serial plan') . " over a connection with sslmode=$mode";
		if ($mode eq 'require')
		{
			is($out, '5000', "$name reads") or diag($err);
		}
		else
		{
			like($err, qr/permission denied for key/, "$name is denied");
		}
	}
}
like($node->safe_psql('postgres', "$parallel EXPLAIN $query"), qr/Workers Planned: 2/, 'the plan was parallel');

# --- grants on the key that is read, and keys, change without a pause
sql(<<'SQL');
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE ROLE other_role;
CREATE PROCEDURE change_all_the_time(what text) LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		IF what = 'grants' THEN
			PERFORM dataprotect.grant_access('pii', 'other_role', 'reveal'); COMMIT;
			PERFORM dataprotect.revoke_access('pii', 'other_role', 'reveal'); COMMIT;
		ELSE
			PERFORM dataprotect.suspend_key('more', 'x'); COMMIT;
			PERFORM dataprotect.resume_key('more', 'x'); COMMIT;
		END IF;
	END LOOP;
END $$;
SQL

sub session
{
	my ($role, $query) = @_;
	my %s = (in => '', out => '', err => '');
	$s{h} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-U', $role, '-c', $query ], '<', \$s{in}, '>', \$s{out}, '2>', \$s{err});
	return \%s;
}
my $endless = 'SELECT count(big.e::text) FROM big, big b, big c';
for my $what ('grants', 'keys')
{
	my $changes = session('postgres', "CALL change_all_the_time('$what')");
	ok(poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM dataprotect.policy_journal WHERE tbl = '" . ($what eq 'grants' ? 'access_grant' : 'key') . "'"), "$what change");
	is($node->safe_psql('postgres', "SET statement_timeout = '180s'; SELECT count(*) FROM (SELECT e FROM big ORDER BY e OFFSET 0) s", extra_params => [ '-U', 'app' ]),
		'5000', "a sort goes on while $what change");
	my $read = session('app', $endless);
	ok(poll_sql($node, 'postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'app' AND state = 'active' AND backend_type = 'client backend'}), 'a statement is running');
	sql($what eq 'grants' ? "SELECT dataprotect.revoke_access('pii', 'app', 'reveal')" : "SELECT dataprotect.lockdown('test')");
	poll_until('the end of the statement', sub { $read->{h}->pump_nb; return !$read->{h}->pumpable });
	like($read->{err}, qr/permission denied for key "pii"/, 'what was revoked meanwhile ends it');
	sql($what eq 'grants' ? "SELECT dataprotect.grant_access('pii', 'app', 'reveal')" : q{SELECT dataprotect.lift_lockdown('test')});
	sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL change_all_the_time%'});
	eval { $_->{h}->finish } for ($changes, $read);
}

# --- grants that are looked at again
sql('CREATE ROLE used LOGIN; CREATE ROLE unused LOGIN; CREATE TABLE few (e encrypted_text(\'pii\')); INSERT INTO few VALUES (\'x\'), (\'y\'); GRANT SELECT ON few TO used, unused');
sql("SELECT dataprotect.grant_access('pii', 'used', 'reveal', ticket => 'T-1'), dataprotect.grant_access('pii', 'unused', 'reveal')");
my $see = 'SELECT max(e::text) FROM few';
my @used = (extra_params => [ '-U', 'used' ]);
is($node->safe_psql('postgres', $see, @used), 'y', 'a grant is used');
my $first = q{SELECT string_agg(outcome || ' ' || (detail ->> 'ticket'), ',') FROM dataprotect.audit_log WHERE event = 'access.first_used' AND detail ->> 'role' = 'used'};
poll_until('first-use', sub { return log_has($first) eq 'ok T-1' });
$node->safe_psql('postgres', $see, @used);
poll_until('what was seen', sub { return sql("SELECT values_seen, never_used, tickets FROM dataprotect.access_review WHERE role = 'used'") eq '4|f|T-1' });
is(log_has($first), 'ok T-1', 'the first use of a grant is told, once');
is(sql("SELECT values_seen, never_used, last_use IS NULL FROM dataprotect.access_review WHERE role = 'unused'"), '0|t|t', 'and what was never used is known');
psql_fails($node, 'postgres', "SELECT dataprotect.revoke_access('pii', 'used', 'revael')", qr/unrecognized privilege "revael"/, 'a mistake in an argument is an error');
sql('ALTER SYSTEM SET dataprotect.grant_confirmation = \'4s\'; SELECT pg_reload_conf()');
ok(poll_sql($node, 'postgres', "SELECT current_setting('dataprotect.grant_confirmation') = '4s'"), 'grants must be confirmed');
# In short transactions, to which the time goes on; a machine that is too slow once tries again.
is(sql(<<'SQL'), 't', 'a grant that is confirmed in time stays');
CREATE ROLE wanted;
DO $$ DECLARE g bigint; stays bool;
BEGIN
	WHILE stays IS NOT TRUE LOOP
		g := dataprotect.grant_access('pii', 'wanted', 'mask'); COMMIT;
		WHILE EXISTS (SELECT FROM dataprotect.grants WHERE id = g AND revoked_at IS NULL AND lapses_at IS NULL) LOOP
			PERFORM dataprotect._review_grants(); COMMIT;
		END LOOP;
		BEGIN
			PERFORM dataprotect.confirm_grant(g);
			stays := (SELECT lapses_at IS NULL AND confirmed_by = current_user AND in_force FROM dataprotect.grants WHERE id = g);
		EXCEPTION WHEN object_not_in_prerequisite_state THEN
			CONTINUE;
		END;
	END LOOP;
	PERFORM set_config('dataprotect.purpose', stays::text, false);
END $$;
SELECT current_setting('dataprotect.purpose')::bool;
SQL
ok(poll_sql($node, 'postgres', "SELECT revoke_reason = 'nobody confirmed it' FROM dataprotect.grants WHERE grantee = 'used'"), 'one that is not lapses');
unlike($node->safe_psql('postgres', 'SELECT e FROM few', @used), qr/^[xy]$/m, 'and shows nothing any more');
poll_until('warnings', sub { return log_has(q{SELECT string_agg(event, ' ' ORDER BY seq) FROM dataprotect.audit_log
	WHERE event IN ('access.unconfirmed', 'access.lapsed') AND detail ->> 'grantee' = 'used'}) eq 'access.unconfirmed access.lapsed' });
is(sql(q{SELECT count(DISTINCT event) FROM dataprotect.alerts WHERE event IN ('access.unconfirmed', 'access.lapsed') AND key = 'pii'}), '2', 'both are alerts');

$node->stop;
done_testing();
