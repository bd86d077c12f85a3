# What scans tables of other roles with power over them runs nothing of theirs:
# verify(), reencrypt(), encrypt_column() and decrypt_column(), called by a
# superuser, an administrator or an auditor.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('scans');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE helper LOGIN IN ROLE dataprotect_admin, owner;
SELECT dataprotect.grant_access('pii', 'helper', 'reveal'), dataprotect.grant_access('pii', 'super', 'reveal');
CREATE SCHEMA trap AUTHORIZATION owner;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
SET ROLE owner;
-- Who runs the owner's code, for how long it lasts: kept outside transactions by the log alone.
CREATE FUNCTION trap.inner_f() RETURNS int LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	RAISE WARNING 'TRAP ran as %', current_user;
	IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
		ALTER ROLE owner SUPERUSER;
	END IF;
	RETURN 1;
END $$;
CREATE FUNCTION trap.outer_f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN trap.inner_f(); END $$;
CREATE FUNCTION trap.row_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.inner_f(); RETURN new; END $$;
SQL

# A table with the owner's code wherever PostgreSQL calls one.
sub make_trap
{
	my ($type) = @_;
	$node->safe_psql('postgres', <<"SQL");
SET client_min_messages = error;
DROP TABLE IF EXISTS trap.bait CASCADE;
CREATE TABLE trap.bait (id int, x $type, g int GENERATED ALWAYS AS (trap.outer_f(id)) STORED);
INSERT INTO trap.bait (id, x) SELECT i, 'value ' || i || '-Zq9x' FROM generate_series(1, 100) i;
ALTER TABLE trap.bait OWNER TO owner;
CREATE INDEX ON trap.bait ((trap.outer_f(1) + id));
CREATE INDEX ON trap.bait (id) WHERE trap.outer_f(2) > 0;
ALTER TABLE trap.bait ADD CHECK (trap.outer_f(id) > 0);
CREATE TRIGGER t BEFORE UPDATE ON trap.bait FOR EACH ROW EXECUTE FUNCTION trap.row_f();
CREATE TRIGGER a AFTER UPDATE ON trap.bait FOR EACH ROW EXECUTE FUNCTION trap.row_f();
ALTER TABLE trap.bait ENABLE ALWAYS TRIGGER t, ENABLE ALWAYS TRIGGER a;
CREATE POLICY p ON trap.bait USING (trap.outer_f(id) > 0);
ALTER TABLE trap.bait ENABLE ROW LEVEL SECURITY;
CREATE RULE r AS ON UPDATE TO trap.bait DO ALSO SELECT trap.inner_f();
ALTER ROLE owner NOSUPERUSER;
SQL
	return;
}

sub untouched
{
	my ($role, $sql, $name, $state) = @_;
	my ($out, $err, $got) = as($node, $role, $sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($got, $state || '00000', "$role: $name") or diag($err);
	my %ran = map { $_ => 1 } $err =~ /TRAP ran as (\w+)/g;
	delete $ran{owner};
	is(join(' ', sort keys %ran), '', "$role: $name: the owner's code ran as nobody else");
	is($node->safe_psql('postgres', "SELECT rolsuper FROM pg_roles WHERE rolname = 'owner'"), 'f', "$role: $name: the owner stays what he is");
	return ($out, $err);
}

# The instrument works: a query by a superuser runs it.
make_trap("encrypted_text('pii')");
my (undef, $heard) = as($node, 'super', 'BEGIN; SELECT count(*) FROM trap.bait WHERE id > 5; ROLLBACK');
like($heard, qr/TRAP ran as super/, 'the instrument hears what a query runs');
$node->safe_psql('postgres', 'ALTER ROLE owner NOSUPERUSER');

# verify-runs-owners-functions
for my $role (qw(auditor admin super))
{
	make_trap("encrypted_text('pii')");
	my ($out, $err) = untouched($role, q(SELECT col, "values", failures FROM dataprotect.verify('trap.bait')), 'verify-runs-owners-functions');
	is($out, 'x|100|0', "$role: verify() saw every row, past the policy");
	unlike($err, qr/TRAP/, "$role: verify() runs nothing of the owner's at all");
	($out) = untouched($role, q(SELECT sum("values") BETWEEN 1 AND 100 FROM dataprotect.verify('trap.bait', 0.5)), 'a sample');
	is($out, 't', "$role: verify() of a sample");
}
untouched('auditor', 'SELECT count(*) FROM dataprotect.verify()', 'verify() of all');

# Other storage: partitions, a materialized view, rows that were deleted.
my ($out) = untouched('auditor', <<'SQL', 'partitions, children, deleted rows', '00000') if $node->safe_psql('postgres', <<'SETUP') eq '';
SELECT rel, col, "values", failures FROM dataprotect.verify() WHERE rel::text ~ '^trap.(pt|kid|par|mv)' ORDER BY rel::text;
SQL
CREATE TABLE trap.pt (id int, x encrypted_text('pii')) PARTITION BY LIST (id);
CREATE TABLE trap.pt1 PARTITION OF trap.pt FOR VALUES IN (1);
CREATE TABLE trap.pt2 (x encrypted_text('pii'), gone int, id int);
ALTER TABLE trap.pt2 DROP COLUMN gone;
ALTER TABLE trap.pt ATTACH PARTITION trap.pt2 FOR VALUES IN (2);
INSERT INTO trap.pt VALUES (1, 'a'), (2, 'b'), (2, 'c');
DELETE FROM trap.pt WHERE id = 1;
CREATE TABLE trap.par (x encrypted_text('pii'));
CREATE TABLE trap.kid () INHERITS (trap.par);
INSERT INTO trap.par VALUES ('a');
INSERT INTO trap.kid VALUES ('a'), ('b');
CREATE MATERIALIZED VIEW trap.mv AS SELECT x FROM trap.kid;
SETUP
is($out, "trap.kid|x|2|0\ntrap.mv|x|2|0\ntrap.par|x|1|0\ntrap.pt|x|2|0", 'each row is counted once');

# A damaged value counts as a failure, under its key.
my ($armor) = as($node, 'nobody', 'SELECT email FROM victim WHERE id = 1');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE trap.damaged (x encrypted_text('pii'));
INSERT INTO trap.damaged VALUES ('whole-Zq9x');
SET dataprotect.input = 'ciphertext';
INSERT INTO trap.damaged SELECT ('enc:v1:' || translate(encode(set_byte(b, length(b) - 1, get_byte(b, length(b) - 1) # 1), 'base64'), E'\\n', ''))::encrypted_text
FROM decode(substr('$armor', 8), 'base64') b;
SQL
($out) = untouched('auditor', q(SELECT "values", failures FROM dataprotect.verify('trap.damaged')), 'a damaged value');
is($out, '2|1', 'a damaged value is found');

# reencrypt: the owner's code runs, as the owner.
for my $role (qw(helper super))
{
	make_trap("encrypted_text('pii')");
	$node->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii')");
	untouched($role, q(CALL dataprotect.reencrypt('trap.bait')), 'reencrypt');
	is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT v.version::text, ' ') = max(k.current_version)::text
		FROM dataprotect.verify('trap.bait') v, dataprotect.keys k WHERE k.name = 'pii')), 't', "$role: reencrypt left no old version");
	is($node->safe_psql('postgres', q(SELECT sum("values") FROM dataprotect.verify('trap.bait'))), '100', "$role: ... and lost no row");
}
denied($node, $_, "SELECT dataprotect._reencrypt_blocks('trap.bait', '{x}', 0, 100)", 'blocks of a table of another role')
  for qw(nobody admin);
for my $args ("NULL, '{x}', 0, 1", "'trap.bait', '{id}', 0, 1", "'trap.bait', '{nosuch}', 0, 1", "'pg_catalog.pg_class', '{relacl}', 0, 1",
	"0, '{x}', 0, 1", "'trap.bait_expr_idx', '{x}', 0, 1", "'trap.pt', '{x}', 0, 1")
{
	conceals($node, 'super', "SELECT dataprotect._reencrypt_blocks($args)", "strange arguments: $args");
}
allowed($node, 'super', "SELECT dataprotect._reencrypt_blocks('trap.bait', '{x}', -5, 9223372036854775807), dataprotect._reencrypt_blocks('trap.bait', '{x}', 99999, 5)",
	'blocks that are none');

# encrypt_column and decrypt_column: nothing is queried.
for my $role (qw(helper super))
{
	make_trap('text');
	untouched($role, "CALL dataprotect.encrypt_column('trap.bait', 'x', 'pii')", 'encrypt_column');
	untouched($role, "CALL dataprotect.decrypt_column('trap.bait', 'x')", 'decrypt_column');
	is($node->safe_psql('postgres', "SELECT count(*) FROM trap.bait WHERE x LIKE 'value%'"), '100', "$role: and back");
	$node->safe_psql('postgres', 'ALTER ROLE owner NOSUPERUSER');
}

# A CHECK that only asks whether the column is null is evaluated anew all the same.
for my $role (qw(helper super))
{
	make_trap('text');
	$node->safe_psql('postgres', 'ALTER TABLE trap.bait ADD CHECK (x IS NOT NULL OR trap.outer_f(id) > 0), ADD CHECK (x IS NULL OR trap.outer_f(id) > 0)');
	$node->safe_psql('postgres', 'ALTER ROLE owner NOSUPERUSER');
	untouched($role, "CALL dataprotect.encrypt_column('trap.bait', 'x', 'pii')", 'CHECK of a null', '2BP01');
}

$node->stop;
done_testing();
