# Rows that decide something, written by somebody else than the extension: by a
# superuser, past triggers, as a replica, by COPY, from an edited dump, from another
# table or database, and old ones put back.  They give nothing, what they took away
# stays in force, it is reported, and an administrator repairs it.
# Cases: superuser-forges-grant, write-all-data-grants-itself, admin-grants-itself.
use strict;
use warnings;

use Test::More;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

use DataProtect::Test;

my $node = new_node('sealed_policy');
create_extension($node);

sub root { return $node->safe_psql('postgres', $_[0]); }

# As a role on a connection of its own: output, errors included.
sub as
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ]);
	return "$out$err";
}

sub problems { return root('SELECT rel, problem FROM dataprotect.verify_policy() ORDER BY 1, 2'); }

sub logged
{
	my ($event) = @_;
	root("SELECT dataprotect.flush_audit_log('180 s')");
	return as('auditor', "SELECT count(*) FROM dataprotect.audit_log WHERE event = '$event'");
}

# Decided before there was a key to seal it with.
root(<<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE evil LOGIN;
CREATE ROLE boss LOGIN SUPERUSER;
CREATE ROLE adm LOGIN IN ROLE dataprotect_admin;
CREATE ROLE second LOGIN;
CREATE ROLE team;
GRANT team TO adm;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE TABLE old (id int PRIMARY KEY, at timestamptz NOT NULL, note text);
CREATE INDEX ON old (at);
INSERT INTO old VALUES (1, '2000-01-01', 'held'), (2, '2000-01-01', 'due');
SELECT dataprotect.place_hold('old', $$note = 'held'$$, 'court');
CREATE TABLE acc (id int PRIMARY KEY);
SELECT dataprotect.create_account_type('acc', 'acc', 'id');
SELECT dataprotect.lockdown('not yet');
BEGIN;
SELECT dataprotect.create_retention_policy('old', 'old', 'at', '1 year', 'delete');
SELECT dataprotect.create_key('pii', mask => 'email');
COMMIT;
SELECT dataprotect.lift_lockdown('now');
SELECT dataprotect.create_key('other');
ALTER TABLE acc ADD email encrypted_text('pii');
SELECT dataprotect.bind_subject('acc', 'acc', 'id');
INSERT INTO acc VALUES (1, 'anna@example.org'), (2, 'bob@example.org'), (3, 'cyd@example.org');
CREATE TABLE u (id int, email encrypted_text('pii'), o encrypted_text('other'));
INSERT INTO u VALUES (1, 'secret@example.org', 'other');
GRANT SELECT ON u, acc TO PUBLIC;
SELECT dataprotect.grant_access(k, 'app', 'reveal') FROM unnest('{pii,other}'::text[]) k;
SELECT dataprotect.grant_access('pii', 'second', 'mask'), dataprotect.grant_access('pii', 'boss', 'reveal');
SQL
is(problems(), '', 'what was decided before the first key, and in its transaction, is sealed with it');

my $forged = "INSERT INTO dataprotect.access_grant (family, grantee, privilege, granted_by)"
  . " SELECT family, 'evil'::regrole, 'reveal', 'x' FROM dataprotect.key WHERE name = 'pii'";
my $copied = 'CREATE TEMP TABLE c AS SELECT * FROM dataprotect.access_grant WHERE grantee = %s::regrole; '
  . "UPDATE c SET id = 900, grantee = 'evil'::regrole, privilege = 'reveal'; "
  . 'INSERT INTO dataprotect.access_grant OVERRIDING SYSTEM VALUE TABLE c';
my $no_grant = q{DELETE FROM dataprotect.access_grant WHERE grantee = 'evil'::regrole};

# How a superuser writes a row into a table of the extension.
my %ways = (
	'INSERT' => [ $forged, $no_grant ],
	'as a replica' => [ "SET session_replication_role = replica; $forged", $no_grant ],
	'without triggers' => [
		"ALTER TABLE dataprotect.access_grant DISABLE TRIGGER ALL; $forged",
		"$no_grant; ALTER TABLE dataprotect.access_grant ENABLE TRIGGER ALL; "
		  . join('; ', map { "ALTER TABLE dataprotect.access_grant ENABLE ALWAYS TRIGGER $_" } qw(keys_changed seal_row note_change)) ],
	'a sealed row with another grantee' => [ sprintf($copied, "'second'"), $no_grant ],
	'a changed row' => [
		"UPDATE dataprotect.access_grant SET privilege = 'reveal' WHERE grantee = 'second'::regrole",
		"UPDATE dataprotect.access_grant SET privilege = 'mask' WHERE grantee = 'second'::regrole" ],
	'COPY' => [
		"COPY (SELECT 901, family, 'evil', 'reveal', seal FROM dataprotect.access_grant LIMIT 1) TO '/tmp/dp_sealed_policy_$$'; "
		  . "CREATE TEMP TABLE c (LIKE dataprotect.access_grant); "
		  . "COPY dataprotect.access_grant (id, family, grantee, privilege, granted_by) FROM PROGRAM "
		  . "'cut -f1-4 /tmp/dp_sealed_policy_$$ | sed ''s/\$/\\tx/''; rm /tmp/dp_sealed_policy_$$'", $no_grant ],
	'in a function of ours, by a trigger' => [
		"CREATE FUNCTION public.helper() RETURNS trigger LANGUAGE plpgsql AS \$f\$ BEGIN NEW.grantee := 'evil'::regrole; RETURN NEW; END \$f\$; "
		  . "CREATE TRIGGER aaa BEFORE INSERT ON dataprotect.access_grant FOR EACH ROW EXECUTE FUNCTION public.helper(); "
		  . "SELECT dataprotect.grant_access('pii', 'second', 'reveal')",
		"DROP TRIGGER aaa ON dataprotect.access_grant; DROP FUNCTION public.helper(); $no_grant" ],
	'in a function of ours, by a statement of its trigger' => [
		"CREATE FUNCTION public.helper() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS \$f\$ BEGIN $forged; RETURN NEW; END \$f\$; "
		  . "CREATE TRIGGER aaa AFTER INSERT ON dataprotect.trusted_function FOR EACH ROW EXECUTE FUNCTION public.helper(); "
		  . "SELECT dataprotect.trust_function('public.helper()', 'x')",
		"DROP TRIGGER aaa ON dataprotect.trusted_function; SELECT dataprotect.distrust_function('public.helper()', 'x'); "
		  . "DROP FUNCTION public.helper(); $no_grant" ],
	'in a transaction of its own' => [
		"SELECT dataprotect._autonomous(\$s\$$forged\$s\$)", $no_grant ],
	'by a function for internal use' => [
		"SELECT dataprotect._import_families(jsonb_build_array(to_jsonb(k) || '{\"family\": 77, \"name\": \"x\", \"uid\": \"00000000-0000-0000-0000-000000000001\"}')) "
		  . "FROM dataprotect.key k WHERE name = 'pii'; $forged", "DELETE FROM dataprotect.key WHERE name = 'x'; DELETE FROM dataprotect.epoch_key WHERE family = 77; $no_grant" ]);

for my $way (sort keys %ways)
{
	my ($tamper, $undo) = @{ $ways{$way} };
	is(as('app', 'SELECT email FROM u'), 'secret@example.org', "before: $way");
	root($tamper);
	unlike(as('evil', 'SELECT email FROM u'), qr/secret|\*@/, "forged grant gives nothing: $way");
	unlike(as('second', 'SELECT email FROM u'), qr/secret/, "nor a changed one: $way");
	like(problems(), qr/^dataprotect\.access_grant\|written or changed/m, "it is shown: $way");
	unlike(as('app', 'SELECT email FROM u'), qr/secret/, "the key's grants are closed: $way");
	is(as('app', 'SELECT o FROM u'), 'other', "other keys' are not: $way");
	root($undo);
	is(problems(), '', "gone with what was done: $way");
}
cmp_ok(logged('policy.tampered'), '>=', 1, 'it is in the audit log');
is(as('auditor', "SELECT DISTINCT outcome, keys, detail->>'table' FROM dataprotect.audit_log WHERE event = 'policy.tampered' AND detail->>'table' LIKE '%grant'"),
	'error|{pii}|dataprotect.access_grant', 'with the key and the table');

# Not only where a session looks for the first time.
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'boss' ]);
$session->query_safe('ALTER TABLE dataprotect.access_grant DISABLE TRIGGER ALL; SET ROLE app');
is($session->query('SELECT email FROM u'), 'secret@example.org', 'a superuser with a grant of his own');
unlike($session->query("RESET ROLE; $forged; SET ROLE evil; SELECT email FROM u"), qr/secret/, 'a session that has looked at the grants before');
$session->query_safe("RESET ROLE; $no_grant; ALTER TABLE dataprotect.access_grant ENABLE TRIGGER ALL; "
	  . join('; ', map { "ALTER TABLE dataprotect.access_grant ENABLE ALWAYS TRIGGER $_" } qw(keys_changed seal_row note_change)));
$session->quit;

# Old rows put back, rows taken away, and states, each with what it must not bring.
my %tables = (
	'a revoked grant put back' => {
		before => "SELECT dataprotect.grant_access('pii', 'evil', 'reveal'); CREATE TABLE kept AS SELECT * FROM dataprotect.access_grant WHERE grantee = 'evil'::regrole; "
		  . "SELECT dataprotect.revoke_access('pii', 'evil')",
		tamper => "DELETE FROM dataprotect.access_grant WHERE grantee = 'evil'::regrole; INSERT INTO dataprotect.access_grant OVERRIDING SYSTEM VALUE TABLE kept",
		sees => [ 'evil', 'SELECT email FROM u', qr/secret/ ],
		found => 'access_grant',
	},
	'a revoked grant taken away' => {
		tamper => "DELETE FROM dataprotect.access_grant WHERE grantee = 'evil'::regrole",
		sees => [ 'evil', 'SELECT email FROM u', qr/secret/ ],
		found => 'access_grant',
	},
	'a mask' => {
		tamper => "UPDATE dataprotect.key SET mask = 'partial(9,''x'',9)' WHERE name = 'pii'",
		sees => [ 'second', 'SELECT email FROM u', qr/secret|s\*\*/ ],
		found => 'key',
	},
	'a mask, and then something of ours that seals' => {
		tamper => "UPDATE dataprotect.key SET mask = 'partial(9,''x'',9)' WHERE name = 'pii'; SELECT dataprotect.rotate_key('pii')",
		sees => [ 'second', 'SELECT email FROM u', qr/secret|s\*\*/ ],
		found => 'key',
	},
	'a suspended key' => {
		before => "CREATE TABLE kept AS SELECT * FROM dataprotect.key WHERE name = 'pii'; SELECT dataprotect.suspend_key('pii', 'leak')",
		tamper => "UPDATE dataprotect.key SET state = 'a' WHERE name = 'pii'",
		sees => [ 'app', 'SELECT email FROM u', qr/secret/ ],
		found => 'key',
	},
	'a suspended key, by its old row' => {
		tamper => "UPDATE dataprotect.key SET state = 'a' WHERE name = 'pii'; UPDATE dataprotect.key k SET seal = o.seal FROM kept o WHERE k.family = o.family",
		sees => [ 'app', 'SELECT email FROM u', qr/secret/ ],
		found => 'key',
	},
	'a version under another key' => {
		before => "SELECT dataprotect.grant_access('other', 'evil', 'reveal')",
		tamper => "UPDATE dataprotect.key_version v SET family = (SELECT family FROM dataprotect.key WHERE name = 'other') "
		  . "FROM dataprotect.key k WHERE k.family = v.family AND k.name = 'pii' AND purpose = 2",
		sees => [ 'evil', 'SELECT email FROM u', qr/secret/ ],
		found => 'key_version',
		after => "SELECT dataprotect.revoke_access('other', 'evil')",
	},
	'a version as the literals\' key' => {
		tamper => "UPDATE dataprotect.key_version v SET family = 0, purpose = 5 FROM dataprotect.key k WHERE k.family = v.family AND k.name = 'pii' AND purpose = 2",
		sees => [ 'evil', 'SELECT email FROM u', qr/secret/ ],
		found => 'key_version',
	},
	'a suspended account' => {
		before => "SELECT dataprotect._subject_suspend('acc', '2', 'x')",
		tamper => "UPDATE dataprotect.key_version SET state = 'a' WHERE key_id = (SELECT key_id FROM dataprotect.subject_key WHERE subject = '2')",
		sees => [ 'app', 'SELECT email FROM acc WHERE id = 2', qr/bob/ ],
		found => 'key_version',
		after => "SELECT dataprotect._subject_resume('acc', '2', 'x')",
	},
	'a suspended account, by its key\'s old row' => {
		before => "CREATE TABLE kept AS SELECT v.* FROM dataprotect.key_version v JOIN dataprotect.subject_key s USING (key_id) WHERE s.subject = '2'; "
		  . "SELECT dataprotect._subject_suspend('acc', '2', 'x')",
		tamper => 'DELETE FROM dataprotect.key_version WHERE key_id IN (SELECT key_id FROM kept); INSERT INTO dataprotect.key_version TABLE kept',
		sees => [ 'app', 'SELECT email FROM acc WHERE id = 2', qr/bob/ ],
		after => "SELECT dataprotect._subject_resume('acc', '2', 'x')",
	},
	'a lockdown' => {
		before => "SELECT dataprotect.lockdown('x')",
		tamper => 'UPDATE dataprotect.instance SET lockdown_since = NULL',
		sees => [ 'app', 'SELECT email FROM u', qr/secret/ ],
		found => 'instance',
		after => "SELECT dataprotect.lift_lockdown('over')",
	},
	'the policy key' => {
		tamper => "$forged; CREATE TABLE dp_system AS SELECT * FROM dataprotect.key_version WHERE family = 0; DELETE FROM dataprotect.key_version WHERE family = 0 AND purpose = 8",
		sees => [ 'evil', 'SELECT email FROM u', qr/secret/ ],
		undo => "INSERT INTO dataprotect.key_version SELECT * FROM dp_system WHERE purpose = 8; $no_grant AND granted_by = 'x'; DROP TABLE dp_system",
	});

for my $what ('a revoked grant put back', grep { $_ ne 'a revoked grant put back' } sort keys %tables)
{
	my $t = $tables{$what};
	my ($role, $sql, $secret) = @{ $t->{sees} };
	root($t->{before}) if $t->{before};
	root('CREATE TABLE versions AS SELECT key_id, family, purpose FROM dataprotect.key_version');
	root($t->{tamper});
	unlike(as($role, $sql), $secret, "shows nothing: $what");
	like(problems(), qr/^dataprotect\.$t->{found}\|/m, "it is shown: $what") if $t->{found};
	root($t->{undo} // q{SELECT dataprotect.reseal_policy('looked at it')});
	# what was accepted is ours to change again
	root("UPDATE dataprotect.key SET mask = 'email' WHERE name = 'pii' AND mask <> 'email'; SELECT dataprotect.reseal_policy('as it was')")
	  if $what =~ /mask/;
	root('UPDATE dataprotect.key_version v SET family = o.family, purpose = o.purpose FROM versions o '
		  . "WHERE o.key_id = v.key_id AND v.family <> o.family; SELECT dataprotect.reseal_policy('as it was')")
	  if $what =~ /version/;
	root(q{SELECT dataprotect.suspend_key('pii', 'again')}) if $what eq 'a suspended key';
	root(q{SELECT dataprotect.lockdown('again')}) if $what eq 'a lockdown';
	root($t->{after}) if $t->{after};
	root('DROP TABLE versions');
	root('DROP TABLE IF EXISTS kept') unless $what eq 'a suspended key';
	is(problems(), '', "and repaired: $what");
}
is(as('app', 'SELECT email FROM u'), 'secret@example.org', 'afterwards all is as it was');
cmp_ok(logged('policy.resealed'), '>=', 5, 'what an administrator accepts is in the log');

# Lifecycle: what was removed still holds, what was added or changed does not run.
sub fails { my ($rc, $out, $err) = $node->psql('postgres', $_[0]); return $rc != 0 ? $err : "no error: $out"; }

my $changed = qr/was changed by somebody else than extension/;
root('CREATE TABLE kept AS SELECT * FROM dataprotect.hold; DELETE FROM dataprotect.hold');
like(fails(q{SELECT dataprotect.activate_retention('old')}), $changed, 'a hold that was deleted: nothing is activated');
root("UPDATE dataprotect.retention_policy SET state = 'active'");
$node->psql('postgres', 'CALL dataprotect.run_retention()');
is(root('SELECT count(*) FROM old'), '2', 'and no row goes');
root('INSERT INTO dataprotect.hold OVERRIDING SYSTEM VALUE TABLE kept');
is(problems(), '', 'put back as it was, it is sealed');
root('UPDATE dataprotect.hold SET released_at = now()');
$node->psql('postgres', 'CALL dataprotect.run_retention()');
is(root('SELECT count(*) FROM old'), '2', 'a hold that was released by hand: no row goes');
root('UPDATE dataprotect.hold SET released_at = NULL');
root("UPDATE dataprotect.retention_policy SET keep = '1 day', age_expression = 'at'");
$node->psql('postgres', 'CALL dataprotect.run_retention()');
is(root('SELECT count(*) FROM old'), '2', 'a policy that was changed by hand does not run');
like(problems(), qr/^dataprotect\.retention_policy\|written or changed/m, 'and is shown');
is(root("SELECT dataprotect.reseal_policy('agreed')"), '2', 'an administrator agrees');
$node->psql('postgres', 'CALL dataprotect.run_retention()');
is(root("SELECT string_agg(note, ',') FROM old"), 'held', 'then it runs, and the hold holds');

my $request = root("SELECT dataprotect.request_deletion('acc', '3', 'asked')");
root("UPDATE dataprotect.deletion_request SET grace_until = now() - interval '1 day' WHERE id = $request");
$node->psql('postgres', 'CALL dataprotect.run_deletions()');
is(root('SELECT count(*) FROM acc WHERE id = 3'), '1', 'a deletion whose grace was cut by hand waits');
like(root("SELECT detail FROM dataprotect.deletion_requests WHERE id = $request"), qr/XX001.*dataprotect\.deletion_request/, 'and says why');
root("INSERT INTO dataprotect.deletion_request (account_type, account_id, state, requested_by, grace_until, deadline)"
	  . " VALUES ('acc', '1', 'purging', 'x', now(), now())");
$node->psql('postgres', 'CALL dataprotect.run_deletions()');
is(root('SELECT count(*) FROM acc WHERE id = 1'), '1', 'a request that nobody made deletes nothing');
root("DELETE FROM dataprotect.deletion_request WHERE account_id = '1'; SELECT dataprotect.reseal_policy('clock')");
poll_sql($node, 'postgres', "SELECT state IN ('purged', 'verified', 'certified') FROM dataprotect.deletion_requests WHERE id = $request");
poll_sql($node, 'postgres', "SELECT count(*) = 1 FROM dataprotect.tombstone");
# Held for the while: the worker certifies by writing this row.
my $holder = $node->background_psql('postgres', on_error_die => 1);
$holder->query_safe("BEGIN; SELECT FROM dataprotect.deletion_request WHERE id = $request FOR UPDATE");
root('CREATE TABLE stones AS TABLE dataprotect.tombstone; DELETE FROM dataprotect.tombstone');
like(problems(), qr/^dataprotect\.tombstone\|rows were removed/m, 'a tombstone that was taken away is missed');
# once the deletion is certified, the id may register again, under a new key
like(fails(q{INSERT INTO acc VALUES (3, 'again@example.org')}),
	root('SELECT released_at IS NOT NULL FROM stones') eq 't' ? qr/^no error/ : qr/suspended or destroyed|deleted for good/, 'and its account still gets no key before its time');
root('INSERT INTO dataprotect.tombstone TABLE stones');
$holder->quit;

# Epochs: what somebody else wrote rolls none, destroys no root, and lets none be forgotten.
my $epochs = root('SELECT string_agg(state, \',\') FROM dataprotect.epochs');
my %epoch_rows = (
	epoch_schedule => [ 'INSERT INTO dataprotect.epoch_schedule (deletions, every, backups, waiting_days) VALUES (1, \'1 hour\', false, 7)' ],
	epoch => [ q{UPDATE dataprotect.epoch SET state = 'g', backups = false, waiting_days = 7, successor = key_id}, $changed ],
	epoch_root => [ q{INSERT INTO dataprotect.epoch_root (epoch, ordinal, uri, state) SELECT key_id, 1, kms_uri[1], 'deleted' FROM dataprotect.epoch}, $changed ],
	epoch_key => [ 'DELETE FROM dataprotect.epoch_key' ]);
for my $table (sort keys %epoch_rows)
{
	my ($forge, $error) = @{ $epoch_rows{$table} };
	root("CREATE TABLE kept_epoch AS TABLE dataprotect.$table; $forge");
	like(fails('SELECT dataprotect.run_epochs()'), $error // qr/^no error: 0/, "nothing is done by a forged row of $table");
	like(problems(), qr/^dataprotect\.$table\|/m, 'and it is shown');
	root("DELETE FROM dataprotect.$table; INSERT INTO dataprotect.$table TABLE kept_epoch; DROP TABLE kept_epoch");
	is(problems(), '', 'put back as it was, it is sealed');
}
is(root('SELECT string_agg(state, \',\') FROM dataprotect.epochs'), $epochs, 'the epochs are what they were');

# The worker looks where nobody does.
root("UPDATE dataprotect.subject_binding SET id_column = 'email'");
poll_until('the worker reports what nobody reads', sub { logged('policy.tampered') > 0
	  && as('auditor', "SELECT count(*) FROM dataprotect.audit_log WHERE event = 'policy.tampered' AND detail->>'table' = 'dataprotect.subject_binding'") >= 1 });
root("UPDATE dataprotect.subject_binding SET id_column = 'id'");
is(problems(), '', 'all is as the extension left it');

# Grants to oneself.
as('adm', "SELECT dataprotect.grant_access('pii', 'adm', 'mask'), dataprotect.grant_access('pii', 'team', 'mask'), dataprotect.grant_access('pii', 'second', 'mask')");
root("SELECT dataprotect.flush_audit_log('180 s')");
is(as('auditor', "SELECT string_agg(detail->>'grantee' || coalesce(' self ' || (detail->>'self'), ''), ', ' ORDER BY seq) FROM dataprotect.audit_log "
		  . "WHERE event = 'access.granted' AND session_role = 'adm'"), 'adm self true, team self true, second', 'a grant to oneself says so');

# Keys that were exported come back sealed; a copy of the database is judged there.
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-Xq', '-d', $node->connstr('copy'), '-c', "SET dataprotect.input = 'ciphertext'", '-f', $dump ], 'restored');
is($node->safe_psql('copy', 'SELECT rel, problem FROM dataprotect.verify_policy()'), '', 'a restored dump is sealed as it was');
is($node->safe_psql('copy', 'SELECT email FROM u', extra_params => [ '-U', 'app' ]), 'secret@example.org', 'and read as before');
my $text = slurp_file($dump);
$text =~ s/^(\d+\t\d+\t)app(\treveal\t)/$1evil$2/m or die 'no grant in the dump';
append_to_file("$dump.edited", $text);
$node->safe_psql('postgres', 'CREATE DATABASE edited');
$node->command_ok([ 'psql', '-Xq', '-d', $node->connstr('edited'), '-c', "SET dataprotect.input = 'ciphertext'", '-f', "$dump.edited" ], 'an edited dump is restored');
unlike(($node->psql('edited', 'SELECT email FROM u', extra_params => [ '-U', 'evil' ]))[1], qr/secret/, 'and what was edited gives nothing');

# What waits for a restore is run by the superuser who restores: nobody else has it wait
# (sqlrun/own_tables.h), and it is an index, a constraint or a comment.
$node->safe_psql('postgres', 'CREATE ROLE etl LOGIN IN ROLE pg_write_all_data, pg_read_all_data');
$node->safe_psql('postgres', 'CREATE DATABASE waiting');
$node->safe_psql('waiting', 'CREATE EXTENSION dataprotect; CREATE TABLE plain (id int)');
for my $write (
	"INSERT INTO dataprotect.put_off (statement, search_path, default_tablespace) VALUES ('ALTER ROLE etl SUPERUSER', '', '')",
	"INSERT INTO dataprotect.restored_row VALUES ('key', '()')",
	"UPDATE dataprotect.zz_restored SET rows = '{}'",
	'DELETE FROM dataprotect.zz_restored')
{
	my ($rc, $out, $err) = $node->psql('waiting', $write, extra_params => [ '-U', 'etl' ]);
	like($err, qr/permission denied for table \w+/, "refused: $write");
}
for my $text ('ALTER ROLE etl SUPERUSER', 'CREATE INDEX ON plain (id); ALTER ROLE etl SUPERUSER', 'ALTER TABLE plain OWNER TO etl', 'ALTER TABLE plain ADD c int DEFAULT f()',
	'ALTER TABLE plain ALTER id TYPE text USING f()', 'ALTER TABLE plain ADD CHECK (f())', 'ALTER TABLE plain ADD UNIQUE (id), DISABLE ROW LEVEL SECURITY', 'ALTER TABLE plain DISABLE TRIGGER ALL',
	'ALTER INDEX plain_id OWNER TO etl', 'ALTER VIEW plain SET (security_invoker = off)', 'COMMENT ON DATABASE waiting IS NULL', 'COMMENT ON ROLE etl IS NULL')
{
	my ($rc, $out, $err) = $node->psql('waiting', "SET dataprotect.input = 'ciphertext'; BEGIN; INSERT INTO dataprotect.put_off (statement, search_path, default_tablespace) VALUES ('$text', 'public', ''); "
		  . "INSERT INTO dataprotect.zz_restored VALUES (true, '{}')");
	like($err, qr/what was put off is not an index, a constraint or a comment/, 'nothing else is run either');
}
is($node->safe_psql('postgres', "SELECT rolsuper FROM pg_roles WHERE rolname = 'etl'"), 'f', 'nobody became superuser');

done_testing();
