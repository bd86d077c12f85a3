# Referential integrity and index maintenance compare for nobody.  A function of
# the attacker's at each place where PostgreSQL runs one within them learns
# nothing from that.  Cases: foreign-key-index-expression,
# foreign-key-column-updated-without-reveal.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('exempt');

# What the function tries: each form of comparison of a protected value, over the
# table, and over its own argument where it has one.
my %probe = (
	'order' => 'SELECT string_agg((email < \'m\')::text, \',\') FROM public.victim',
	'equality' => 'SELECT count(*) FILTER (WHERE email = \'' . secret() . '\')::text FROM public.victim',
	'equality of columns' => 'SELECT count(*) FILTER (WHERE a.email = b.email)::text FROM public.victim a, public.victim b',
	'like' => 'SELECT count(*) FILTER (WHERE email LIKE \'a%\')::text FROM public.victim',
	'sort' => 'SELECT string_agg(id::text, \',\') FROM (SELECT id FROM public.victim ORDER BY email) s',
	'group' => 'SELECT string_agg(n::text, \',\') FROM (SELECT count(*) AS n FROM public.victim GROUP BY email ORDER BY 1) s',
	'index order' => 'SELECT string_agg(id::text, \',\') FROM (SELECT id FROM public.victim ORDER BY ord) s',
	'token' => 'SELECT count(*) FILTER (WHERE tok = \'' . secret() . '\')::text FROM public.victim',
	'array' => 'SELECT string_agg((ARRAY[email] < ARRAY[\'m\'::encrypted_text])::text, \',\') FROM public.victim',
	'text' => 'SELECT max(email::text) FROM public.victim');
my $body = join '', map { "BEGIN v := NULL; EXECUTE \$q\$$probe{$_}\$q\$ INTO v; RAISE WARNING 'ORACLE $_ %', v; EXCEPTION WHEN insufficient_privilege OR serialization_failure THEN RAISE WARNING 'silent'; END;\n" } sort keys %probe;

# The attacker's functions, as itself, in a schema of its own.
my @attackers = qw(nobody masked);
for my $role (@attackers)
{
	$node->safe_psql('postgres', "CREATE SCHEMA $role AUTHORIZATION $role");
	my ($out, $err, $state) = as($node, $role, <<SQL);
CREATE FUNCTION $role.peek() RETURNS int IMMUTABLE LANGUAGE plpgsql AS \$\$ DECLARE v text; BEGIN $body RETURN 0; END \$\$;
CREATE FUNCTION $role.peek(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \$\$ BEGIN RETURN \$1 + $role.peek(); END \$\$;
CREATE FUNCTION $role.peek_sql(int) RETURNS int IMMUTABLE LANGUAGE sql AS \$\$ SELECT \$1 + $role.peek() \$\$;
CREATE FUNCTION $role.peek_ok(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS \$\$ BEGIN PERFORM $role.peek(); RETURN true; END \$\$;
CREATE FUNCTION $role.peek_row() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM $role.peek(); RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END \$\$;
CREATE FUNCTION $role.peek_less(a encrypted_text, b encrypted_text) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT \$1 < \$2';
CREATE DOMAIN $role.peeking AS int CHECK ($role.peek_ok(VALUE));
SQL
	is($state, '00000', "$role: has its functions") or diag($err);
}

# Places: what is done to the parent table p and the child table c before rows go
# in; and acts that make the foreign key's own queries run over them.
my %place = (
	'index expression of the parent' => 'CREATE INDEX ON p ((id + R.peek(7)))',
	'index expression of the child' => 'CREATE INDEX ON c ((pid + R.peek(7)))',
	'index expression, SQL function' => 'CREATE INDEX ON p ((id + R.peek_sql(7)))',
	'index predicate of the parent' => 'CREATE INDEX ON p (id) WHERE R.peek_ok(7)',
	'index predicate of the child' => 'CREATE INDEX ON c (pid) WHERE R.peek_ok(pid)',
	'CHECK of the parent' => 'ALTER TABLE p ADD CHECK (R.peek_ok(7)) NOT VALID',
	'CHECK of the child' => 'ALTER TABLE c ADD CHECK (pid IS NULL OR R.peek_ok(pid)) NOT VALID',
	'domain of the child' => 'ALTER TABLE c ADD d R.peeking DEFAULT 1',
	'default of the child' => 'ALTER TABLE c ALTER pid SET DEFAULT R.peek(1)',
	'generated column of the child' => 'ALTER TABLE c ADD g int GENERATED ALWAYS AS (pid + R.peek(7)) STORED',
	'generated column of the parent' => 'ALTER TABLE p ADD g int GENERATED ALWAYS AS (id + R.peek(7)) STORED',
	'trigger before, parent' => 'CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON p FOR EACH ROW EXECUTE FUNCTION R.peek_row()',
	'trigger before, child' => 'CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON c FOR EACH ROW EXECUTE FUNCTION R.peek_row()',
	'trigger after, child' => 'CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON c FOR EACH ROW EXECUTE FUNCTION R.peek_row()',
	'trigger condition, child' => 'CREATE TRIGGER t BEFORE UPDATE ON c FOR EACH ROW WHEN (R.peek_ok(7)) EXECUTE FUNCTION R.peek_row()',
	'policy of the parent' => 'ALTER TABLE p ENABLE ROW LEVEL SECURITY; ALTER TABLE p FORCE ROW LEVEL SECURITY; CREATE POLICY x ON p USING (R.peek_ok(id))',
	'statistics expression' => 'CREATE STATISTICS R.s ON (id + R.peek(7)), id FROM p',
	'partition of the child' => 'CREATE TABLE pc (pid int REFERENCES p ON DELETE CASCADE) PARTITION BY RANGE ((pid + R.peek(7))); CREATE TABLE pc1 PARTITION OF pc DEFAULT');
my %act = (
	'insert of a child' => 'INSERT INTO c (pid) VALUES (1)',
	'insert of a child by default' => 'INSERT INTO c DEFAULT VALUES',
	'insert of a partitioned child' => 'INSERT INTO pc VALUES (1)',
	'update of a child' => 'UPDATE c SET pid = 2',
	'delete of a parent, cascading' => 'DELETE FROM p WHERE id = 1',
	'update of a parent, cascading' => 'UPDATE p SET id = 11 WHERE id = 1');
my %rule = ('cascade' => 'ON DELETE CASCADE ON UPDATE CASCADE', 'set null' => 'ON DELETE SET NULL ON UPDATE SET NULL', 'set default' => 'ON DELETE SET DEFAULT ON UPDATE CASCADE');

# Nothing that begins with ORACLE, but for what a mask tells of itself, no secret, and no internal error; what the
# statement itself does is PostgreSQL's business.
my @uncalled;
sub silent
{
	my ($role, $sql, $name) = @_;
	my ($out, $err, $state) = as($node, $role, $sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	push @uncalled, "$role: $name" if $err !~ /silent/;
	ok($state !~ /^(?:none|XX|57|08)/ && "$out$err" !~ ($role eq 'masked' ? qr/ORACLE (?!text \*{4}$|like 0$)|Zq9x/m : qr/ORACLE|Zq9x/), "$role: $name") or diag("$sql\n$state\n$out\n$err");
	return;
}

for my $role (@attackers)
{
	for my $place (sort keys %place)
	{
		for my $rule (sort keys %rule)
		{
			(my $make = $place{$place}) =~ s/\bR\./$role./g;
			my $acts = join ";\n", map { "SAVEPOINT s; $act{$_}; ROLLBACK TO s" } sort keys %act;
			my ($out, $err, $state) = as($node, $role, <<SQL);
SET client_min_messages = error;
SET search_path = $role, public;
DROP TABLE IF EXISTS p, c, pc CASCADE;
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE c (pid int DEFAULT 2 REFERENCES p $rule{$rule});
INSERT INTO p VALUES (1), (2);
INSERT INTO c VALUES (1), (2);
$make;
SQL
			like($state, qr/^(?:00000|42P17)$/, "$role: $place is made") or diag($err);
			# A session of its own: nothing is planned or folded yet.
			silent($role, <<SQL, "$place, $rule");
SET client_min_messages = warning;
SET search_path = $role, public;
SET plan_cache_mode = force_custom_plan;
SET constraint_exclusion = on;
\\set ON_ERROR_STOP off
BEGIN;
$acts;
ROLLBACK;
SQL
		}
	}
}
# Where PostgreSQL does not call them, it must not be for want of a row or a right.
is(join("\n", @uncalled), '', 'in each schema the functions were called, and learnt nothing');

# The same with a foreign key over protected columns themselves, whose queries
# compare protected values: expressions of the attacker's in the same plan.
for my $role (@attackers)
{
	for my $options ("'ordered'", "'searchable'")
	{
		my $unique = $options =~ /ordered/ ? 'ep (e)' : 'ep (e encrypted_text_token_ops)';
		# sealed in a transaction before: who writes a value sees his own conditions of it
		# (an administrator makes the key for him: test/attack/36)
		allowed($node, 'super', <<SQL, "$role: $options: a foreign key of his own");
DROP TABLE IF EXISTS $role.ec, $role.ep, $role.spare;
SET search_path = $role;
CREATE TABLE ep (e encrypted_text('pii', $options));
CREATE UNIQUE INDEX ON $unique;
CREATE TABLE ec (e encrypted_text('pii', $options) REFERENCES ep (e) ON UPDATE CASCADE, f encrypted_text('pii', $options));
CREATE TABLE spare (e encrypted_text('pii', $options));
ALTER TABLE ec OWNER TO $role; ALTER TABLE ep OWNER TO $role; ALTER TABLE spare OWNER TO $role;
SET ROLE $role;
INSERT INTO ep VALUES ('anna'), ('zoe');
INSERT INTO ec VALUES ('anna', 'bob');
INSERT INTO spare VALUES ('xaver');
SQL
		for my $place (
			'ALTER TABLE ec ADD CHECK (e < \'m\')', 'ALTER TABLE ec ADD CHECK (' . $role . '.peek_less(e, f))', 'ALTER TABLE ec ADD CHECK (e = f)',
			'ALTER TABLE ec ADD CHECK (e = \'anna\')', 'ALTER TABLE ec ADD CHECK (e < \'m\') NOT VALID', 'CREATE TRIGGER t BEFORE UPDATE ON ec FOR EACH ROW WHEN (NEW.e < NEW.f) EXECUTE FUNCTION ' . $role . '.peek_row()')
		{
			my ($out, $err, $state) = as($node, $role, <<SQL);
SET client_min_messages = warning;
BEGIN;
$place;
UPDATE ep SET e = (SELECT e FROM spare) WHERE ctid = '(0,1)';
SELECT 'ORACLE: the cascade told whether the condition held' FROM ec;
SQL
			ok($state =~ /^(?:42501|42830|42P16|0A000|42704|42P17|22023|55000)$/ && "$out$err" !~ /ORACLE/, "$role: $options: $place") or diag("$state\n$out\n$err");
		}
	}
}

# What a writer may do: insert a reference and change it, with no right to read.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE ref_p (tok encrypted_text('pii', 'ordered'), tok2 encrypted_text('pii', 'searchable'));
CREATE UNIQUE INDEX ON ref_p (tok);
CREATE UNIQUE INDEX ON ref_p (tok2 encrypted_text_token_ops);
CREATE TABLE ref_c (id int, tok encrypted_text('pii', 'ordered') REFERENCES ref_p (tok) ON UPDATE CASCADE);
GRANT ALL ON ref_p, ref_c TO PUBLIC;
SQL
allowed($node, 'nobody', "INSERT INTO ref_p VALUES ('a', 'a'), ('b', 'b'); INSERT INTO ref_c VALUES (1, 'a')", 'inserts a reference');
allowed($node, 'nobody', "UPDATE ref_c SET tok = 'b'", 'changes it');
refused($node, 'nobody', "UPDATE ref_c SET tok = 'nosuch'", 'to one that is not there', qr/^23503$/);
refused($node, 'nobody', "DELETE FROM ref_p WHERE ctid = '(0,2)'", 'deletes a referenced row', qr/^23503$/);
is((as($node, 'reader', 'SELECT tok FROM ref_c'))[0], 'b', 'the reference is what was written');

log_conceals($node);
$node->stop;
done_testing();
