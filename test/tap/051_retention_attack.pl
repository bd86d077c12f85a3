# If this fails, somebody gains rights from retention, holds or deletion: whoever
# wrote a trigger on a table, or administers dataprotect without owning it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('attack');
$node->safe_psql('postgres', 'CREATE DATABASE lab');
create_extension($node, 'lab');
$node->safe_psql('lab', <<'SQL');
CREATE ROLE mallory LOGIN;
CREATE ROLE victim LOGIN;
CREATE ROLE officer LOGIN IN ROLE dataprotect_admin;
CREATE ROLE outsider LOGIN;
GRANT mallory TO officer;
CREATE SCHEMA m AUTHORIZATION mallory;
CREATE SCHEMA v AUTHORIZATION victim;
SET ROLE mallory;
CREATE TABLE m.log (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON m.log (at);
INSERT INTO m.log SELECT i, now() - i * interval '1 day' FROM generate_series(1, 40) i;
CREATE TABLE m.seen (what text);
RESET ROLE;
SET ROLE victim;
CREATE TABLE v.secret (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON v.secret (at);
INSERT INTO v.secret SELECT i, now() - i * interval '1 day' FROM generate_series(1, 40) i;
GRANT USAGE ON SCHEMA v TO officer;
SQL

sub as { my ($role, $sql) = @_; return "SET SESSION AUTHORIZATION $role; $sql"; }

sub refused
{
	my ($role, $sql, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return psql_fails($node, 'lab', as($role, $sql), $pattern, $name);
}

# Who may call what.
my %call = (
	create_retention_policy => "SELECT dataprotect.create_retention_policy('x', 'v.secret', 'at', '1 day', 'delete')",
	place_hold => "SELECT dataprotect.place_hold('v.secret', 'true', 'x')",
	run_retention => 'CALL dataprotect.run_retention()',
	run_deletions => 'CALL dataprotect.run_deletions()',
	create_account_type => "SELECT dataprotect.create_account_type('x', 'v.secret', 'id')",
	bind_subject => "SELECT dataprotect.bind_subject('v.secret', 'x', 'id')",
	request_deletion => "SELECT dataprotect.request_deletion('x', '1')",
	_apply_as => "SELECT dataprotect._apply_as('v.secret', 'DROP TABLE v.secret')",
	_tids_as => "SELECT dataprotect._tids_as('v.secret', 'SELECT ''{}''::tid[]')",
	_deletion_step => 'SELECT dataprotect._deletion_step(1)',
	retention_policy => "UPDATE dataprotect.retention_policy SET state = 'active'",
	hold => 'DELETE FROM dataprotect.hold',
);
refused('outsider', $call{$_}, qr/permission denied/, "an outsider cannot use $_") for sort keys %call;
refused('officer', $call{$_}, qr/permission denied/, "an administrator cannot use $_ directly")
  for qw(_apply_as _tids_as _deletion_step retention_policy hold);
refused('officer', $call{$_}, qr/must be owner of relation v.secret/, "an administrator cannot $_ on another's table")
  for qw(create_retention_policy place_hold create_account_type);

# Another's table as a child, or as an archive.
$node->safe_psql('lab', <<'SQL');
GRANT REFERENCES, SELECT ON m.log TO victim;
GRANT USAGE ON SCHEMA m TO victim;
GRANT USAGE ON SCHEMA v TO mallory;
SET ROLE victim;
CREATE TABLE v.child (log int REFERENCES m.log);
CREATE INDEX ON v.child (log);
CREATE TABLE v.sink (id int, at timestamptz);
SQL
refused('officer', "SELECT dataprotect.create_retention_policy('x', 'm.log', 'at', '1 day', 'delete', '{\"children\": {\"v.child\": \"delete\"}}')",
	qr/must be owner of relation v.child/, "another's referencing rows cannot be removed by a rule");
refused('officer', "SELECT dataprotect.create_retention_policy('x', 'm.log', 'at', '1 day', 'archive', '{\"archive\": \"v.sink\", \"children\": {}}')",
	qr/must be owner of relation v.sink/, "another's table cannot be an archive");
$node->safe_psql('lab', 'DROP TABLE v.child');

# Predicates: one expression, nothing more, no code of ordinary roles.
my %predicate = (
	'true) OR (true' => qr/syntax error/,
	'true; DROP TABLE m.log' => qr/not a single expression/,
	'true UNION SELECT true' => qr/not a single expression/,
	'true FROM v.secret' => qr/not a single expression/,
	'true AS x' => qr/not a single expression/,
	'id IN (SELECT id FROM v.secret)' => qr/cannot use subquery/,
	'count(*) > 1' => qr/aggregate functions are not allowed/,
	'id = $1' => qr/no parameter/,
	'm.peek(id)' => qr/must belong to a superuser/,
	'random() > 0' => qr/must not be volatile/,
	'id' => qr/must be type boolean/,
	'nosuch' => qr/does not exist/,
	'ctid IS NULL' => qr/system column/,
);
$node->safe_psql('lab', 'SET ROLE mallory; CREATE FUNCTION m.peek(int) RETURNS bool LANGUAGE sql STABLE AS $$ SELECT true $$');
for my $text (sort keys %predicate)
{
	refused('officer', "SELECT dataprotect.place_hold('m.log', \$p\$$text\$p\$, 'x')", $predicate{$text}, "hold refused: $text");
}
is($node->safe_psql('lab', as('officer', "SELECT dataprotect.place_hold('m.log', 'id = 39 -- it''s', 'x')")), '1',
	'a comment at the end does not reach the stored predicate');
is($node->safe_psql('lab', 'SELECT predicate FROM dataprotect.holds'), '(id = 39)', 'what is stored is what was parsed');

# A trigger runs as its table's owner, cannot become anybody else, and leaves
# nothing behind that would run later with the worker's rights.
$node->safe_psql('lab', <<'SQL');
SET ROLE mallory;
CREATE FUNCTION m.spy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO m.seen VALUES (current_user);
	BEGIN
		RESET SESSION AUTHORIZATION;
		INSERT INTO m.seen VALUES ('escaped by RESET SESSION AUTHORIZATION');
	EXCEPTION WHEN OTHERS THEN INSERT INTO m.seen VALUES (SQLSTATE);
	END;
	BEGIN
		EXECUTE 'SET ROLE postgres';
		INSERT INTO m.seen VALUES ('escaped by SET ROLE');
	EXCEPTION WHEN OTHERS THEN INSERT INTO m.seen VALUES (SQLSTATE);
	END;
	PERFORM set_config('search_path', 'm', false), set_config('dataprotect.purpose', 'mine', false);
	RETURN OLD;
END $$;
CREATE TRIGGER spy BEFORE DELETE ON m.log FOR EACH ROW EXECUTE FUNCTION m.spy();
CREATE FUNCTION m.late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO m.seen VALUES ('late ' || current_user);
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER late AFTER DELETE ON m.log DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION m.late();
CREATE FUNCTION m.unholy(timestamptz, timestamptz) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO m.seen VALUES ('operator ' || current_user);
	RETURN true;
END $$;
CREATE OPERATOR m.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = m.unholy);
SQL
$node->safe_psql('lab', as('officer', "SELECT dataprotect.create_retention_policy('log', 'm.log', 'at', '30 days', 'delete')"));
$node->safe_psql('lab', as('officer', "SELECT dataprotect.activate_retention('log')"));
poll_sql($node, 'lab', "SELECT count(*) FROM dataprotect.retention_runs WHERE outcome = 'ok' AND rows_done > 0", '1');
is($node->safe_psql('lab', 'SELECT count(*), max(id) FROM m.log'), '30|39', 'the worker removed what is old and not held');
is($node->safe_psql('lab', "SELECT string_agg(DISTINCT what, ',' ORDER BY what) FROM m.seen"), '42501,late mallory,mallory',
	'triggers ran as the owner, deferred ones too, and no operator of the owner was used');

# A trigger that defers its constraints again stops the batch instead.
$node->safe_psql('lab', <<'SQL');
TRUNCATE m.seen;
SET ROLE mallory;
CREATE OR REPLACE FUNCTION m.spy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	SET CONSTRAINTS ALL DEFERRED;
	RETURN OLD;
END $$;
INSERT INTO m.log VALUES (1000, '2001-01-01');
SQL
$node->psql('lab', as('officer', "CALL dataprotect.run_retention('log')"));
is($node->safe_psql('lab', 'SELECT (SELECT count(*) FROM m.log WHERE id = 1000), (SELECT count(*) FROM m.seen)'), '1|0',
	'a trigger cannot leave work for the moment of commit');
is($node->safe_psql('lab', "SELECT outcome, detail FROM dataprotect.retention_runs ORDER BY started_at DESC LIMIT 1"),
	'error|m.log: SQLSTATE 42501: cannot fire deferred trigger within security-restricted operation; 1 old rows stay: held',
	'and the run says so');

# forced-row-security: policies that bind the owner, too, keep no row that is due, and
# only retention passes them.
$node->safe_psql('lab', <<'SQL');
DROP TRIGGER spy ON m.log;
ALTER TABLE m.log ENABLE ROW LEVEL SECURITY;
ALTER TABLE m.log FORCE ROW LEVEL SECURITY;
CREATE POLICY none ON m.log USING (id < 0);
SQL
$node->psql('lab', as('officer', "SELECT * FROM dataprotect.preview_retention('log')"), stderr => \my $notice);
like($notice, qr/row security of table "m.log" is set aside/, 'forced-row-security: the preview says so');
$node->psql('lab', as('officer', "CALL dataprotect.run_retention('log')"));
is($node->safe_psql('lab', 'SELECT count(*) FROM m.log WHERE id = 1000'), '0', 'forced-row-security: old rows go');
is($node->safe_psql('lab', "SELECT outcome FROM dataprotect.retention_runs ORDER BY started_at DESC LIMIT 1"), 'ok', 'forced-row-security: the run is well');
is($node->safe_psql('lab', as('mallory', 'SELECT count(*) FROM m.log')), '0', 'forced-row-security: its owner sees what the policies show');
$node->safe_psql('lab', <<'SQL');
CREATE FUNCTION m.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO m.seen SELECT 'row ' || count(*) FROM m.log; RETURN OLD; END $$;
ALTER FUNCTION m.look() OWNER TO mallory;
CREATE TRIGGER look BEFORE DELETE ON m.log FOR EACH ROW EXECUTE FUNCTION m.look();
INSERT INTO m.log VALUES (1001, '2001-01-01');
SQL
$node->psql('lab', as('officer', "SET row_security = on; CALL dataprotect.run_retention('log')"));
is($node->safe_psql('lab', q{SELECT (SELECT count(*) FROM m.log WHERE id = 1001), (SELECT count(*) FROM m.seen WHERE what LIKE 'row%')}), '1|0',
	'forced-row-security: nor does a trigger see more in a run');
$node->safe_psql('lab', 'DROP TRIGGER look ON m.log');
$node->safe_psql('lab', <<'SQL');
CREATE TABLE m.person (id int PRIMARY KEY, name text);
INSERT INTO m.person VALUES (1, 'ann'), (2, 'bob');
ALTER TABLE m.person OWNER TO mallory, ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY none ON m.person USING (id < 0);
SELECT dataprotect.create_account_type('person', 'm.person', 'id', '0 s');
SELECT dataprotect.request_deletion('person', '1');
SQL
ok(poll_sql($node, 'lab', 'SELECT state FROM dataprotect.deletion_requests', 'certified'), 'forced-row-security: an account is found');
is($node->safe_psql('lab', 'SELECT string_agg(name, $$ $$) FROM m.person'), 'bob', 'forced-row-security: and removed, and no other');

# Names that are code where they are not quoted.
$node->safe_psql('lab', <<'SQL');
CREATE SCHEMA "s""'; DROP TABLE m.log; --";
CREATE TABLE "s""'; DROP TABLE m.log; --"."t); DELETE FROM m.log; --" ("a""t'" timestamptz NOT NULL, "c$$" text);
CREATE INDEX ON "s""'; DROP TABLE m.log; --"."t); DELETE FROM m.log; --" ("a""t'");
INSERT INTO "s""'; DROP TABLE m.log; --"."t); DELETE FROM m.log; --" VALUES ('2001-01-01', 'x'), (now(), 'x');
SELECT dataprotect.create_retention_policy('q''"; DROP TABLE m.log', '"s""''; DROP TABLE m.log; --"."t); DELETE FROM m.log; --"',
	'a"t''', '1 year', 'anonymise', '{"columns": {"c$$": "''); DROP TABLE m.log; --"}}');
SELECT dataprotect.activate_retention('q''"; DROP TABLE m.log');
SQL
poll_sql($node, 'lab', q{SELECT count(*) FROM dataprotect.retention_runs WHERE policy LIKE 'q''%' AND outcome = 'ok'}, '1');
is($node->safe_psql('lab', q{SELECT string_agg("c$$", ' ' ORDER BY "a""t'") FROM "s""'; DROP TABLE m.log; --"."t); DELETE FROM m.log; --"}),
	q{'); DROP TABLE m.log; -- x}, 'names and values with quotes are names and values');

$node->stop;
done_testing();
