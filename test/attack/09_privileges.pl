# Power over the extension's own objects by privileges that nobody meant to
# give: ALTER DEFAULT PRIVILEGES from before the installation and from after it.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = new_node('privileges', conf => "max_worker_processes = 16\n");

# What many DBAs say of the role that owns everything: what comes is for the application.
sub generous
{
	my ($where) = @_;
	my $kinds = $where eq '' ? 'TABLES SEQUENCES ROUTINES TYPES SCHEMAS' : 'TABLES SEQUENCES ROUTINES TYPES';
	return join '', map {
		my $kind = $_;
		map { "ALTER DEFAULT PRIVILEGES $where GRANT ALL ON $kind TO $_;\n" } 'PUBLIC', 'app', 'helper WITH GRANT OPTION'
	} split / /, $kinds;
}

$node->safe_psql('postgres', <<'SQL' . generous('') . 'CREATE EXTENSION dataprotect;' . generous('IN SCHEMA dataprotect'));
CREATE ROLE app LOGIN;
CREATE ROLE helper LOGIN;
CREATE TYPE mood AS ENUM ('good', 'bad');
SQL
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
SELECT dataprotect.create_encrypted_type('mood');
CREATE TABLE victim (id int, email encrypted_text('pii'), mood encrypted_mood('pii'));
INSERT INTO victim VALUES (1, 'anna@example.org', 'good');
SELECT dataprotect.flush_audit_log('60 s');
SQL
my $partition = $node->safe_psql('postgres',
	"SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'dataprotect.audit_record'::regclass LIMIT 1");
like($partition, qr/^dataprotect\.audit_record_y/, 'the audit log has a partition of this month');

# default-privileges
my @attempts = (
	"SELECT dataprotect.grant_access('pii', 'app', 'reveal')",
	"INSERT INTO dataprotect.access_grant (family, grantee, privilege, granted_by) VALUES (1, 'app'::regrole, 'search', 'x')",
	"SELECT * FROM dataprotect.access_grant",
	"UPDATE dataprotect.key SET mask = 'null'",
	"SELECT wrapped FROM dataprotect.key_version",
	"DELETE FROM dataprotect.audit_record",
	"DELETE FROM $partition",
	"SELECT * FROM $partition",
	"TRUNCATE $partition",
	"CREATE TRIGGER planted BEFORE INSERT ON dataprotect.audit_record FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
	"SELECT nextval('dataprotect.key_family_seq')",
	"SELECT setval('dataprotect.key_family_seq', 1)",
	"CREATE TABLE dataprotect.planted (i int)",
	"SELECT dataprotect._event('key.created', 'pii', '{}')",
	"SELECT dataprotect._autonomous('SELECT 1')",
	"SELECT dataprotect._close(0, 0)",
	"SELECT dataprotect._set_privileges()",
	"SELECT encrypted_mood_hash('good'::encrypted_mood)",
	"CALL dataprotect.run_retention('x')");
for my $role (qw(app helper))
{
	denied($node, $role, $_, "default-privileges: $_") for @attempts;
}
denied($node, 'helper', 'GRANT EXECUTE ON FUNCTION dataprotect.grant_access TO app', 'default-privileges: nothing can be handed on');

# What is meant for everybody stays, types that were made later included.
my ($out, $err, $sqlstate) = as($node, 'app', "SELECT email IS NULL, mood IS NULL FROM victim WHERE id = 1");
is($out, 'f|f', 'an encrypted type can be used by everybody') or diag($err);
($out, $err) = as($node, 'app', "SELECT email FROM victim");
unlike($out . $err, qr/anna/, 'default-privileges: a table that was given shows no plaintext');

# What is for the extension's own use is called by its own code alone, whatever the
# privileges say: public functions do some of their work with their caller's rights.
# A new one is refused by itself; one that must be called by others' statements
# stands in is_open() of src/keys/own_function.c, in pgxs/lint_catalog.sql and here.
$node->safe_psql('postgres', 'CREATE ROLE adm LOGIN IN ROLE dataprotect_admin; CREATE ROLE aud LOGIN IN ROLE dataprotect_auditor; '
	  . 'CREATE TABLE mine (id int, note text); ALTER TABLE mine OWNER TO adm; GRANT CREATE ON SCHEMA public TO adm');
my %open = (
	_kept_value => 'in plans of UPDATE over protected columns', _raise => 'raises an error and does nothing else',
	_row_shown => 'in the conditions of queries on tables with hidden rows; called by nobody else',
	_sealed_for => 'in the CHECK of bound tables', _seen_by => 'in plans, before what others wrote is called',
	map({ $_ => 'in conditions, put there by the planner' } qw(_as_date _as_float4 _as_int2 _as_int4 _as_timestamp)),
	map({ $_ => 'in queries of the catalogs by clients' } qw(_catalog_length _catalog_modifier _catalog_type)),
	map { $_ => 'column of a view' } qw(_audit_line _audit_unseal _base_type _clock_status _column_now _digest_line _encrypted_parts _event_name
	  _kms_status _modifier_parts _now _progress _retention_backlog _workers));
my $internal = <<'SQL';
SELECT p.proname || E'\t' || CASE WHEN p.prokind = 'p' THEN 'CALL ' WHEN p.prorettype = 'trigger'::regtype THEN 'SELECT ' ELSE 'SELECT * FROM ' END || format('%s.%I(%s)', p.pronamespace::regnamespace, p.proname,
       (SELECT string_agg(format(CASE p.prokind WHEN 'p' THEN 'NULL::%s' ELSE '(SELECT NULL::%s)' END, CASE WHEN t.typtype = 'p' THEN 'text' ELSE a.type::regtype::text END), ', ' ORDER BY a.n)
          FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a (type, n) JOIN pg_type t ON t.oid = a.type))
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
 WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dataprotect') AND p.proname ~ '^_' AND has_function_privilege('%ROLE%', p.oid, 'EXECUTE')
   AND NOT EXISTS (SELECT FROM pg_operator o WHERE o.oprcode = p.oid) AND NOT EXISTS (SELECT FROM pg_amproc a WHERE a.amproc = p.oid)
 ORDER BY 1
SQL
my %called;
for my $role (qw(adm aud app))
{
	for my $line (split /\n/, $node->safe_psql('postgres', $internal =~ s/%ROLE%/$role/r))
	{
		my ($name, $call) = split /\t/, $line;
		$called{$name} = 1;
		next if $open{$name};
		refused($node, $role, $call, "internal function: $name", qr/^42501/);
	}
}
cmp_ok(scalar(keys %called), '>', 30, 'internal functions were found');
is(join(' ', grep { !$called{$_} && $node->safe_psql('postgres', "SELECT to_regproc('dataprotect.$_')") ne '' } sort keys %open), '', 'no function is called open that nobody may call');

# What an attacker would do with them.
$node->safe_psql('postgres', q{CREATE TABLE theirs (id int, email encrypted_text('pii')); INSERT INTO theirs VALUES (1, 'Zq9x-anna')});
for my $attempt (
	[ '_reencrypt_begin', "SELECT dataprotect._reencrypt_begin('mine', '{note}')", 'begins a pass over a column' ],
	[ '_reencrypt_batch', "SELECT dataprotect._reencrypt_batch('mine', '{note}')", 'goes through blocks' ],
	[ '_reencrypt_blocks', "SELECT dataprotect._reencrypt_blocks('mine', '{note}', 0, 1000)", 'goes through blocks that nobody counts' ],
	[ '_reencrypt_step', 'SELECT dataprotect._reencrypt_step()', 'does what the worker does' ],
	[ '_reencrypt_end', "SELECT dataprotect._reencrypt_end('mine', '{note}')", 'ends a pass, with its event' ],
	[ '_key_state', "SELECT dataprotect._key_state('pii')", 'asks for the state of a key' ],
	[ '_has_stale_versions', "SELECT dataprotect._has_stale_versions('pii')", 'asks for the versions of a key' ],
	[ '_export_rows', "SELECT * FROM dataprotect._export_rows('person', '1')", 'asks where an account has rows, without an event' ],
	[ '_export_rows_noted', "SELECT * FROM dataprotect._export_rows_noted('person', '1')", 'notes an export that there was not' ],
	[ '_rows_as_json', "SELECT * FROM dataprotect._rows_as_json('theirs', 'theirs', '{\"(0,1)\"}')", 'reads rows by their place' ],
	[ '_change_column', "SELECT dataprotect._change_column('mine', 'note', 'text')", 'changes a column without what goes with it' ])
{
	my ($name, $call, $what) = @$attempt;
	my ($o, $e, $state) = as($node, 'adm', $call);
	like($state, qr/^42(501|883)/, "adm $what") or diag("$o$e");
	($o, $e, $state) = as($node, 'adm', "DO \$do\$ BEGIN EXECUTE '" . ($call =~ s/'/''/gr) . "'; END \$do\$");
	like($state, qr/^42(501|883)/, "adm $what in a block") or diag("$o$e");
}
refused($node, 'adm', "CREATE FUNCTION helper() RETURNS text LANGUAGE sql AS 'SELECT dataprotect._key_state(''pii'')::text'; SELECT helper()",
	'calls one in a function of its own', qr/^42501/);
refused($node, 'adm', "CREATE VIEW keys_state AS SELECT dataprotect._key_state(k) FROM unnest('{pii}'::text[]) k; SELECT * FROM keys_state",
	'calls one in a view', qr/^42501/);
# And what they are for goes on.
allowed($node, 'adm', "CALL dataprotect.encrypt_column('mine', 'note', 'pii'); SELECT dataprotect.rotate_key('pii'); CALL dataprotect.reencrypt('mine'); SELECT count(*) FROM dataprotect.workers, dataprotect.kms_status",
	'protects a column and re-encrypts it');

done_testing();
