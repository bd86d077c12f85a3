# Writers who paste: ciphertext as text, another subject's value, another key's;
# and writers who guess whether their value is the one that is there.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('pasting');
my $armor = $node->safe_psql('postgres', 'SELECT email FROM victim WHERE id = 1');
like($armor, qr/^enc:v1:/, 'a role without rights reads ciphertext');

for my $role (qw(nobody owner masked searcher reader admin super))
{
	refused($node, $role, $_, $_, qr/^22P02/) for (
		"INSERT INTO victim (id, email) VALUES (50, '$armor')", "UPDATE victim SET email = '$armor' WHERE id = 2",
		"SELECT '$armor'::encrypted_text", "SELECT '$armor'::encrypted_int4", "PREPARE q(encrypted_text) AS SELECT \$1::text; EXECUTE q('$armor')",
		"COPY victim (id, email) FROM STDIN;\n50\t$armor\n\\.", "SELECT id FROM victim WHERE email = '$armor'");
}
for my $role (qw(nobody owner masked searcher reader dumper creator))
{
	denied($node, $role, "SET dataprotect.input = 'ciphertext'; $_", "input as ciphertext: $_") for (
		"INSERT INTO victim (id, email) VALUES (50, '$armor')", "SELECT '$armor'::encrypted_text::text",
		"COPY victim (id, email) FROM STDIN;\n50\t$armor\n\\.");
}
conceals($node, $_, "SET dataprotect.input = 'ciphertext'; BEGIN; INSERT INTO victim (id, email) VALUES (50, '$armor'); SELECT email FROM victim WHERE id = 50; ROLLBACK",
	'an administrator restores what he cannot read') for qw(admin super);
denied($node, $_, "SET dataprotect.input = 'ciphertext'; SELECT '$armor'::encrypted_text::text", 'and cannot read it by restoring') for qw(admin super);

# A value under a key cannot be read through another key.
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('other');
SELECT dataprotect.grant_access('other', 'nobody', 'reveal');
CREATE TABLE mine (id int, s encrypted_text('other'), t encrypted_text('other', 'searchable'), n encrypted_int8('other'));
GRANT ALL ON mine TO PUBLIC;
SQL
$node->safe_psql('postgres', "INSERT INTO mine (id, s) VALUES (1, 'mine')");
refused($node, 'nobody', $_, $_) for (
	'INSERT INTO mine (s) SELECT email FROM victim', 'INSERT INTO mine (s) VALUES ((SELECT email FROM victim WHERE id = 1))',
	'UPDATE mine SET s = email FROM victim; INSERT INTO mine (s) SELECT tok FROM victim',
	"DO \$\$ DECLARE v encrypted_text; BEGIN SELECT email INTO v FROM victim WHERE id = 1; INSERT INTO mine (s) VALUES (v); END \$\$",
	"DO \$\$ DECLARE v mine; BEGIN SELECT email INTO v.s FROM victim WHERE id = 1; RAISE NOTICE '%', v.s::text; END \$\$",
	"CREATE TEMP TABLE x AS SELECT email FROM victim; ALTER TABLE x ALTER email TYPE encrypted_text('other'); SELECT email FROM x",
	"CREATE TEMP TABLE x AS SELECT email FROM victim; ALTER TABLE x ALTER email TYPE text; SELECT email FROM x",
	'CREATE TEMP TABLE x AS SELECT email FROM victim; SELECT email::text FROM x',
	"CREATE TEMP TABLE x AS SELECT tok FROM victim; ALTER TABLE x ALTER tok TYPE encrypted_text('pii'); SELECT tok FROM x",
	'INSERT INTO mine (n) SELECT n FROM victim', 'INSERT INTO mine (s) SELECT n FROM victim', 'INSERT INTO mine (s) SELECT doc FROM victim',
	'SELECT email::text FROM victim UNION ALL SELECT s FROM mine', 'SELECT COALESCE(email, s)::text FROM victim, mine');
conceals($node, 'nobody', 'TABLE mine', 'what was tried left nothing readable');

# Rows of accounts: a key for each.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE account (id int PRIMARY KEY, email encrypted_text('pii'), note encrypted_text('pii', 'searchable'));
GRANT ALL ON account TO PUBLIC;
SELECT dataprotect.create_account_type('person', 'account', 'id');
SELECT dataprotect.bind_subject('account', 'person', 'id');
INSERT INTO account VALUES (1, 'one-Zq9x', 'n1-Zq9x'), (2, 'two-Zq9x', 'n2-Zq9x');
ALTER TABLE account OWNER TO owner;
SQL
is($node->safe_psql('postgres', 'SELECT string_agg(email, \',\' ORDER BY id) FROM account', extra_params => [ '-U', 'reader' ]),
	'one-Zq9x,two-Zq9x', 'reader: reads rows of accounts');
for my $role (qw(nobody owner reader super))
{
	# A reader may move what he reads: from note to email it is sealed anew.
	refused($node, $role, $_, $_) for grep { $role ne 'reader' || !/note FROM account/ } (
		'UPDATE account SET email = (SELECT email FROM account WHERE id = 1) WHERE id = 2',
		'UPDATE account a SET email = b.email FROM account b WHERE b.id <> a.id',
		'INSERT INTO account SELECT 3, email, note FROM account WHERE id = 1',
		'INSERT INTO account (id, email) VALUES (2, (SELECT email FROM account WHERE id = 1)) ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email',
		'UPDATE account SET email = note FROM (SELECT note AS n FROM account WHERE id = 1) x WHERE id = 2; UPDATE account SET email = (SELECT note FROM account WHERE id = 1) WHERE id = 2',
		"DO \$\$ DECLARE v account; BEGIN SELECT * INTO v FROM account WHERE id = 1; UPDATE account SET email = v.email WHERE id = 2; END \$\$",
		'CREATE TEMP TABLE x AS SELECT * FROM account WHERE id = 1; UPDATE x SET id = 2; UPDATE account a SET email = x.email FROM x WHERE a.id = 2');
}
my $other = $node->safe_psql('postgres', 'SELECT email FROM account WHERE id = 1');
refused($node, $_, "SET dataprotect.input = 'ciphertext'; UPDATE account SET email = '$other' WHERE id = 2", 'ciphertext of another account')
  for qw(admin super);
# The guard cannot be switched off by who owns the table or replicates into it.
refused($node, 'super', "SET session_replication_role = replica; UPDATE account SET email = (SELECT email FROM account WHERE id = 1) WHERE id = 2", 'as a replica');
refused($node, 'owner', 'ALTER TABLE account DISABLE TRIGGER ALL; UPDATE account SET email = (SELECT email FROM account WHERE id = 1) WHERE id = 2', 'with triggers disabled');
refused($node, 'owner', <<'SQL', 'by a later trigger that changes the id');
CREATE FUNCTION swap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := 2; RETURN NEW; END $$;
CREATE TRIGGER zzz_swap BEFORE INSERT ON account FOR EACH ROW EXECUTE FUNCTION swap();
BEGIN; DELETE FROM account WHERE id = 2; INSERT INTO account VALUES (9, 'nine', 'nine');
SQL
$node->safe_psql('postgres', 'DROP TRIGGER IF EXISTS zzz_swap ON account; ALTER TABLE account ENABLE TRIGGER USER; ALTER TABLE account ENABLE ALWAYS TRIGGER zz_dataprotect_subject');
denied($node, $_, 'CREATE TEMP TABLE own (id text, email encrypted_text(\'pii\')); CREATE TRIGGER t BEFORE INSERT OR UPDATE ON own FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject(\'person\', \'id\')',
	'the sealing trigger on a table of one\'s own') for qw(nobody owner);

# Whether a guess is what is there must not show in what the update leaves.
for my $guess ('one-Zq9x', 'wrong-Zq9x')
{
	my ($out) = as($node, 'nobody', <<"SQL");
BEGIN;
CREATE TEMP TABLE before AS SELECT email::encrypted_text AS e FROM account WHERE id = 1;
UPDATE account SET email = '$guess' WHERE id = 1;
SELECT row(b.e, 1) *= row(a.email, 1), pg_column_size(a.email) > 0 FROM account a, before b WHERE a.id = 1;
ROLLBACK
SQL
	like($out, qr/^f\|t$|^$/, "nobody: a guess leaves another envelope: $guess");
	my @shown;
	($out) = as($node, 'nobody', "BEGIN; SELECT email FROM account WHERE id = 1; UPDATE account SET email = '$guess' WHERE id = 1; SELECT email FROM account WHERE id = 1; ROLLBACK");
	@shown = split /\n/, $out;
	isnt($shown[0], $shown[1], "nobody: and another text form: $guess");
}
is($node->safe_psql('postgres', 'SELECT string_agg(email, \',\' ORDER BY id) FROM account', extra_params => [ '-U', 'reader' ]),
	'one-Zq9x,two-Zq9x', 'the rows are as they were');

# Administrators' functions and other people's tables: nothing of a table's owner
# runs with more than his rights.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE whoami (who text, what text);
GRANT ALL ON whoami TO PUBLIC;
GRANT owner TO admin;
SQL
as($node, 'owner', <<'SQL');
CREATE TABLE log_rows (id int PRIMARY KEY, at timestamptz, email encrypted_text('pii'));
CREATE INDEX ON log_rows (at);
CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO whoami VALUES (current_user, TG_OP); RETURN COALESCE(NEW, OLD); END $$;
CREATE TRIGGER spy BEFORE INSERT OR UPDATE OR DELETE ON log_rows FOR EACH ROW EXECUTE FUNCTION spy();
INSERT INTO log_rows SELECT g, now() - interval '2 years', 'x' FROM generate_series(1, 5) g;
SQL
$node->safe_psql('postgres', 'TRUNCATE whoami');
my ($out, $err) = as($node, 'admin', <<'SQL');
SELECT dataprotect.create_retention_policy('old', 'log_rows', 'at', '1 year', 'delete');
SELECT dataprotect.activate_retention('old');
CALL dataprotect.run_retention('old');
SQL
poll_sql($node, 'postgres', 'SELECT count(*) FROM log_rows', '0') or diag($err);
is($node->safe_psql('postgres', 'SELECT DISTINCT who FROM whoami'), 'owner', 'retention fires triggers as the table\'s owner');
for my $predicate ('1 = 1; DROP TABLE victim', '(SELECT pg_read_file(\'/etc/passwd\')) IS NULL', 'id IN (SELECT 1 FROM dataprotect.key_version)',
	'pg_sleep(0) IS NULL AND email = \'x\'')
{
	refused($node, 'admin', "SELECT dataprotect.place_hold('log_rows', \$p\$$predicate\$p\$, 'test'); SELECT * FROM log_rows; SELECT dataprotect.preview_retention('old'); SELECT 1/0",
		"predicate: $predicate");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM victim'), '5', 'no table was dropped');

log_conceals($node);
$node->stop;
done_testing();
