# Divided power: what one person approves for himself, under whatever name, must not
# count, and what was approved must be what is done, once.  (admin-grants-itself)
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('approvals');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE other LOGIN IN ROLE dataprotect_admin;
CREATE ROLE third LOGIN IN ROLE dataprotect_admin;
CREATE ROLE boss IN ROLE dataprotect_admin LOGIN;
CREATE ROLE maker LOGIN CREATEROLE IN ROLE dataprotect_admin;
CREATE ROLE deputy LOGIN IN ROLE admin;
CREATE ROLE team;
GRANT team TO admin;
SELECT dataprotect.create_key('spare');
CREATE FUNCTION lend() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT dataprotect.approve(max(id), 'mine') FROM dataprotect.approvals $$;
ALTER FUNCTION lend() OWNER TO other;
GRANT CREATE ON SCHEMA public TO admin;
SQL

# Without approvals it is marked, and told.
is((as($node, 'admin', "SELECT dataprotect.grant_access('spare', 'admin', 'reveal') > 0"))[2], '00000', 'an administrator grants itself');
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', "SELECT l.detail ->> 'self', a.severity FROM dataprotect.audit_log l JOIN dataprotect.alerts a ON a.id = l.seq
		WHERE l.event = 'access.granted' AND l.session_role = 'admin'", extra_params => [ '-U', 'auditor' ]), 'true|medium', 'which is on record as such, with an alert');
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('spare', 'admin')");

$node->append_conf('postgresql.conf', "dataprotect.approvals = on\n");
$node->reload;
poll_sql($node, 'postgres', "SELECT current_setting('dataprotect.approvals') = 'on'");

# What must be approved; the error says how to ask for it.
sub act_of
{
	my ($err) = @_;
	my ($act) = $err =~ /The act is: ([a-z_]+ \{.*\})$/m;
	return $act;
}

sub needs
{
	my ($role, $call, $name) = @_;
	my ($out, $err, $state) = as($node, $role, "SELECT dataprotect.$call");
	is($state, '42501', "$role: $name needs an approval") or diag($err);
	return act_of($err);
}

sub ask
{
	my ($role, $act) = @_;
	my ($out, $err) = as($node, $role, "SELECT dataprotect.request_approval(\$act\$$act\$act\$, 'why not')");
	return $out =~ /^(\d+)$/m ? $1 : $err;
}

sub approves
{
	my ($role, $request, $state, $name, $before) = @_;
	is((as($node, $role, ($before // '') . "SELECT dataprotect.approve($request, 'seen')"))[2], $state, "$role: $name");
	return;
}

$node->safe_psql('postgres', 'CREATE TABLE kept (id int, at timestamptz); CREATE INDEX ON kept (at); ALTER TABLE kept OWNER TO admin');
is((as($node, 'admin', "SELECT dataprotect.create_retention_policy('short', 'kept', 'at', '1 day', 'delete')"))[2], '00000', 'a policy is made, paused');
my ($hold) = (as($node, 'admin', "SELECT dataprotect.place_hold('kept', 'id > 0', 'court')"))[0] =~ /(\d+)/;
as($node, 'admin', "SELECT dataprotect.suspend_key('spare', 'x'); SELECT dataprotect.lockdown('drill')");
my %act;
for my $case (
	[ 'destroy_key(\'spare\', \'x\', true)', 'destroying a key by force' ],
	[ 'lift_lockdown(\'over\')', 'lifting a lockdown' ],
	[ 'grant_access(\'pii\', \'admin\', \'reveal\')', 'a grant to oneself' ],
	[ 'grant_access(\'pii\', \'team\', \'reveal\')', 'a grant to a role that one is a member of' ],
	[ 'alter_key(\'pii\', mask => \'email\')', 'a weaker mask' ],
	[ 'activate_retention(\'short\')', 'a retention that begins' ],
	[ "release_hold($hold, 'over')", 'releasing a hold' ],
	[ 'drop_sink(\'none\')', 'sending the log no more' ],
	[ 'reseal_policy(\'looked\')', 'accepting what others wrote' ],
	[ 'trust_function(\'lend()\', \'x\')', 'trusting a function' ])
{
	my ($call, $name) = @$case;
	$act{$call} = needs('admin', $call, $name);
	like($act{$call}, qr/^[a-z_]+ \{/, "$name: the error names the act");
	needs('super', $call, "$name, by a superuser");
}
needs('maker', "grant_access('pii', 'nobody', 'reveal')", 'a grant by who makes roles') if $node->safe_psql('postgres', 'SHOW server_version_num') < 160000;
is((as($node, 'admin', "SELECT dataprotect.grant_access('pii', 'nobody', 'mask') > 0; SELECT dataprotect.destroy_key('spare', 'unused') IS NULL"))[2],
	'00000', 'what is not dangerous needs none');

# One person
my $lift = 'lift_lockdown {}';
my $request = ask('admin', $lift);
like($request, qr/^\d+$/, 'an act is requested');
approves('admin', $request, '42501', 'the requester');
approves('admin', $request, '42501', 'the requester as another role', 'SET ROLE dataprotect_admin; ');
approves('deputy', $request, '42501', 'a member of the requester');
approves('deputy', $request, '42501', 'a member of the requester by another name', 'SET ROLE dataprotect_admin; ');
approves('super', $request, '42501', 'a superuser');
approves('super', $request, '42501', 'a superuser in another\'s clothes', 'SET SESSION AUTHORIZATION other; ');
approves('maker', $request, '42501', 'who makes roles') if $node->safe_psql('postgres', 'SHOW server_version_num') < 160000;
is((as($node, 'admin', 'SELECT lend()'))[2], '42501', 'by a function of another administrator');
$node->safe_psql('postgres', 'CREATE ROLE late LOGIN IN ROLE dataprotect_admin');
approves('late', $request, '42501', 'who became an administrator after');
$node->safe_psql('postgres', 'GRANT admin TO third');
approves('third', $request, '42501', 'who can now become the requester');
$node->safe_psql('postgres', 'REVOKE admin FROM third; REVOKE dataprotect_admin FROM boss');
approves('boss', $request, '42501', 'who is no administrator any more');
approves('nobody', $request, '42501', 'who is none');
is((as($node, 'super', "SELECT dataprotect.request_approval('$lift', 'mine')"))[2], '55000', 'nobody approves for a superuser, who could be anybody');
is((as($node, 'admin', "SELECT dataprotect.lift_lockdown('over')"))[2], '42501', 'nothing of this counts');

# By hand
$node->safe_psql('postgres', "UPDATE dataprotect.approval SET approved_at = now(), approver = 'other'::regrole, approved_by = 'other' WHERE id = $request");
is((as($node, 'admin', "SELECT dataprotect.lift_lockdown('over')"))[2], 'XX001', 'an approval that a superuser wrote');
$node->safe_psql('postgres', "UPDATE dataprotect.approval SET approved_at = NULL, approver = NULL, approved_by = NULL WHERE id = $request");
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.verify_policy()'), '0', 'undone, it is as it was');

# Two people
approves('other', $request, '00000', 'another administrator');
approves('third', $request, '55000', 'once is enough');
is((as($node, 'third', "SELECT dataprotect.lift_lockdown('over')"))[2], '42501', 'somebody else\'s approval');
is((as($node, 'admin', "BEGIN; SELECT dataprotect.lift_lockdown('over'); ROLLBACK"))[2], '00000', 'the act, rolled back');
is((as($node, 'admin', "SELECT dataprotect.lift_lockdown('over')"))[2], '00000', 'and done');
as($node, 'admin', "SELECT dataprotect.lockdown('again')");
is((as($node, 'admin', "SELECT dataprotect.lift_lockdown('over')"))[2], '42501', 'but not twice');
approves('other', ask('admin', $lift), '00000', 'again');
is((as($node, 'admin', "SELECT dataprotect.lift_lockdown('over')"))[2], '00000', 'a new approval, a new act');

# The very act
my $self = $act{"grant_access('pii', 'admin', 'reveal')"};
approves('other', ask('admin', $self), '00000', 'approves a grant');
for my $else ("grant_access('spare', 'admin', 'reveal')", "grant_access('pii', 'team', 'reveal')", "grant_access('pii', 'admin', 'search')",
	"grant_access('pii', 'admin', 'reveal', purpose => 'x')", "grant_access('pii', 'admin', 'reveal', valid_until => now() + interval '1 day')",
	"grant_access('pii', 'admin', 'reveal', ticket => '1')", "grant_access('pii', 'admin', 'reveal', require_tls => true)")
{
	needs('admin', $else, "$else, where another was approved,");
}
conceals($node, 'admin', 'SELECT email FROM victim', 'until then');
is((as($node, 'admin', "SELECT dataprotect.grant_access('pii', 'admin', 'reveal')"))[2], '00000', 'what was approved');
like((as($node, 'admin', 'SELECT email FROM victim'))[0], qr/Zq9x/, 'and it counts');

# Plaintext at rest, by whatever statement, and keys from elsewhere
as($node, 'admin', "CREATE TABLE again (email encrypted_text('pii'), other encrypted_text('pii')); INSERT INTO again VALUES ('x', 'y')");
my $decrypt = act_of((as($node, 'admin', "CALL dataprotect.decrypt_column('again', 'email')"))[1]);
is($decrypt, 'decrypt_column {"col": "email", "rel": "public.again"}', 'decrypt_column needs an approval');
is(act_of((as($node, 'admin', 'ALTER TABLE again ALTER email TYPE text'))[1]), $decrypt, 'and so does what does the same');
approves('other', ask('admin', $decrypt), '00000', 'approves that');
is((as($node, 'admin', 'ALTER TABLE again ALTER other TYPE text'))[2], '42501', 'of another column it says nothing');
is((as($node, 'admin', 'ALTER TABLE again ALTER email TYPE text, ALTER other TYPE text'))[2], '42501', 'nor of two');
is((as($node, 'admin', "CALL dataprotect.decrypt_column('again', 'email')"))[2], '00000', 'what was approved is done');
is($node->safe_psql('postgres', "SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = 'again'::regclass AND attnum > 0 ORDER BY attnum"),
	"text\nencrypted_text", 'and nothing else');
as($node, 'admin', 'CREATE TABLE exported AS SELECT dataprotect.export_keys() AS keys');
my $import = needs('admin', 'import_keys(keys) FROM exported', 'importing keys');
approves('other', ask('admin', $import), '00000', 'approves these');
is((as($node, 'admin', q{SELECT dataprotect.import_keys(keys || '{"note": 1}') FROM exported}))[2], '42501', 'not others');
is((as($node, 'admin', 'SELECT dataprotect.import_keys(keys) FROM exported'))[2], '00000', 'these');
is((as($node, 'admin', "SELECT dataprotect.confirm_grant(max(id)) FROM dataprotect.grants WHERE grantee = 'admin'"))[2], '42501', 'nobody confirms his own grant');
is((as($node, 'other', "SELECT dataprotect.confirm_grant(max(id)) FROM dataprotect.grants WHERE grantee = 'admin'"))[2], '00000', 'another does');
is((as($node, 'other', "SELECT dataprotect.confirm_grant(max(id)) FROM dataprotect.grants WHERE key = 'spare'"))[2], '55000', 'what has ended is not confirmed');
is((as($node, 'admin', "SELECT dataprotect.request_approval('$_', 'x')"))[2], '22023', "no act: $_")
  for ('', 'drop_database {}', 'lift_lockdown []', 'lift_lockdown {', 'lift_lockdown {} ; x', 'LIFT_LOCKDOWN {}');

# In time
$node->append_conf('postgresql.conf', "dataprotect.approval_period = 60\n");
$node->reload;
poll_sql($node, 'postgres', "SELECT current_setting('dataprotect.approval_period') = '1min'");
$request = ask('admin', $lift);
is($node->safe_psql('postgres', "SELECT expires_at - requested_at, state FROM dataprotect.approvals WHERE id = $request"), '00:01:00|requested', 'a request runs out');
$node->safe_psql('postgres', "UPDATE dataprotect.approval SET expires_at = expires_at + interval '1 day' WHERE id = $request");
approves('other', $request, 'XX001', 'a request that was made to last');
$node->safe_psql('postgres', "UPDATE dataprotect.approval SET expires_at = expires_at - interval '1 day' WHERE id = $request");
approves('other', $request, '00000', 'in time');

poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT event || ' ' || outcome, ', ' ORDER BY event || ' ' || outcome) FROM dataprotect.audit_log WHERE event LIKE 'approval.%'",
		extra_params => [ '-U', 'auditor' ]), 'approval.given ok, approval.refused error, approval.requested ok, approval.used ok, approval.used rolled_back', 'all of it is in the log');
log_conceals($node);

done_testing();
