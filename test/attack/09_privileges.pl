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

done_testing();
