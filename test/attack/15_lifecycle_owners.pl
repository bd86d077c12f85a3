# If this fails, whoever writes into our tables, owns a table beside another's or
# put code where PostgreSQL runs it for somebody else acts with the rights of
# that other: the owner of the table at hand, an administrator, the worker.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('owners');

sub root_sql { return $node->safe_psql('postgres', $_[0]); }

# vic owns what is worth reading; mal administers dataprotect for tables of his
# own and may reference vic's; etl loads data.
root_sql(<<'SQL');
CREATE ROLE vic LOGIN IN ROLE dataprotect_admin;
CREATE ROLE mal LOGIN IN ROLE dataprotect_admin;
CREATE ROLE etl LOGIN IN ROLE pg_write_all_data;
CREATE ROLE deputy LOGIN IN ROLE dataprotect_admin, mal;
SELECT dataprotect.grant_access('pii', 'vic', 'reveal');
CREATE SCHEMA v AUTHORIZATION vic;
CREATE SCHEMA m AUTHORIZATION mal;
GRANT USAGE ON SCHEMA m, v TO PUBLIC;
GRANT SELECT ON victim TO vic, etl;
CREATE TABLE loot (who name, place text, what text);
GRANT INSERT ON loot TO PUBLIC;
SET ROLE vic;
CREATE TABLE v.private (pin text);
INSERT INTO v.private VALUES ('K7Q');
SQL

# What each piece of planted code does: say as whom it runs, and try.
my (undef, $err) = as($node, 'mal', <<'SQL');
CREATE FUNCTION m.probe(place text) RETURNS bool LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	stolen text;
BEGIN
	INSERT INTO public.loot VALUES (current_user, place, 'ran');
	BEGIN EXECUTE 'ALTER ROLE mal SUPERUSER'; INSERT INTO public.loot VALUES (current_user, place, 'superuser');
	EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'SET ROLE vic'; INSERT INTO public.loot VALUES (current_user, place, 'SET ROLE');
	EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; INSERT INTO public.loot VALUES (current_user, place, 'RESET');
	EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'SELECT pin FROM v.private' INTO stolen; INSERT INTO public.loot VALUES (current_user, place, 'pin ' || stolen);
	EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'SELECT lower(email) FROM public.victim WHERE email IS NOT NULL LIMIT 1' INTO stolen;
		IF stolen NOT LIKE '%**%' THEN INSERT INTO public.loot VALUES (current_user, place, 'plaintext'); END IF;
	EXCEPTION WHEN OTHERS THEN NULL; END;
	RETURN true;
END $$;
CREATE FUNCTION m.imm(int, text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM m.probe($2); RETURN $1; END $$;
CREATE FUNCTION m.yes(int, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM m.probe($2); RETURN true; END $$;
CREATE FUNCTION m.age(timestamptz) RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM m.probe('age'); RETURN $1; END $$;
CREATE FUNCTION m.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM m.probe(TG_ARGV[0]); RETURN coalesce(OLD, NEW); END $$;
SQL
is($err, '', 'the attacker plants his code');

# Each of the statements, whatever becomes of the ones before.
sub try_all
{
	my ($role, @sql) = @_;
	$node->psql('postgres', join('', map { "$_;\n" } @sql), on_error_stop => 0, extra_params => [ '-U', $role ]);
	return;
}
my $superuser = root_sql('SELECT current_user');

# Nobody has got anything: code ran as its owner alone, and got nothing.
sub nothing_taken
{
	my ($name, @allowed) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $who = join ', ', map { "'$_'" } 'mal', @allowed;
	is(root_sql("SELECT DISTINCT who, place, what FROM loot WHERE who NOT IN ($who) OR what <> 'ran'
		UNION ALL SELECT rolname, NULL, 'superuser' FROM pg_roles WHERE rolname = 'mal' AND rolsuper"), '', $name)
	  or root_sql('ALTER ROLE mal NOSUPERUSER');
	return;
}

# write-all-data-grants-itself, write-all-data-to-superuser: our tables are
# written by our functions alone, whatever rights a role has on them.
my $written = root_sql(<<'SQL');
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'dataprotect'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
SQL
root_sql('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dataprotect TO etl; GRANT USAGE ON SCHEMA dataprotect TO etl');
for my $table (split /\n/, $written)
{
	denied($node, 'etl', "BEGIN; INSERT INTO dataprotect.$table DEFAULT VALUES; ROLLBACK", "write-all-data: no INSERT into $table");
	denied($node, 'etl', "BEGIN; DELETE FROM dataprotect.$table; ROLLBACK", "write-all-data: no DELETE from $table");
	denied($node, 'etl', "BEGIN; SELECT FROM dataprotect.$table FOR UPDATE; ROLLBACK", "write-all-data: no lock on rows of $table")
	  if $table ne 'audit_record';		# whose records are no rows: attack/09
}
denied($node, 'etl', "BEGIN; UPDATE dataprotect.key SET description = 'x'; ROLLBACK", 'write-all-data: no UPDATE');
denied($node, 'etl', 'COPY dataprotect.hold (rel, predicate, reason, placed_by) FROM stdin', 'write-all-data: no COPY');
denied($node, 'etl', "MERGE INTO dataprotect.hold h USING (SELECT 1) x ON true WHEN MATCHED THEN DELETE", 'write-all-data: no MERGE');
denied($node, 'etl', "WITH x AS (DELETE FROM dataprotect.hold RETURNING 1) SELECT * FROM x", 'write-all-data: no WITH');
root_sql('REVOKE ALL ON ALL TABLES IN SCHEMA dataprotect FROM etl');
conceals($node, 'etl', 'SELECT email FROM victim', 'write-all-data-grants-itself: and reads nothing');

# What gets into them all the same (a restore) is no text to be run.
root_sql(<<'SQL');
SET ROLE vic;
CREATE TABLE v.old (id int PRIMARY KEY, at timestamptz NOT NULL, c text);
CREATE INDEX ON v.old (at);
INSERT INTO v.old VALUES (1, now() - interval '3 years', 'x');
CREATE VIEW v.aged AS SELECT id, at AS aged, c FROM v.old WHERE c <> 'keep';
SELECT dataprotect.create_retention_policy('old', 'v.old', 'at', '1 year', 'delete'),
	dataprotect.create_retention_policy('aged', 'v.aged', 'aged', '1 year', 'delete');
RESET ROLE;
UPDATE dataprotect.retention_policy SET state = 'active', next_due = 'infinity';
SQL
my %forged = (
	"INSERT INTO dataprotect.hold (rel, predicate, reason, placed_by) VALUES ('v.old', \$p\$%s\$p\$, 'x', 'x')" => 'DELETE FROM dataprotect.hold',
	"UPDATE dataprotect.retention_policy SET age_expression = \$p\$%s\$p\$" => "UPDATE dataprotect.retention_policy SET age_expression = 'at'",
	"UPDATE dataprotect.retention_policy SET condition = \$p\$%s\$p\$ WHERE name = 'aged'" =>
	  "UPDATE dataprotect.retention_policy SET condition = '(c <> ''keep''::text)' WHERE name = 'aged'",
	"UPDATE dataprotect.retention_policy SET row_filter = \$p\$%s\$p\$" => 'UPDATE dataprotect.retention_policy SET row_filter = NULL');
for my $forgery (sort keys %forged)
{
	for my $text ('false) IS TRUE); ALTER ROLE mal SUPERUSER; SELECT 1 WHERE ((false', "m.yes(1, 'stored')",
		"EXISTS (SELECT 1 FROM v.private WHERE m.yes(1, 'stored'))", 'true) OR (true', 'at', 'id=77')
	{
		root_sql(sprintf("$forgery; SELECT dataprotect.reseal_policy('nobody looked')", $text));
		try_all($superuser, (map { ("CALL dataprotect.run_retention('$_')", "SELECT dataprotect.preview_retention('$_')") } 'old', 'aged'),
			'SELECT * FROM dataprotect.retention_policies');
		my ($where) = $forgery =~ /(predicate|age_expression|condition|row_filter)/;
		is(root_sql("SELECT outcome FROM dataprotect.retention_runs WHERE policy = 'aged' ORDER BY started_at DESC LIMIT 1"), 'error',
			"write-all-data-to-superuser: stored $where \"$text\" ends the run with an error") if $text ne 'at';
		root_sql("$forged{$forgery}; SELECT dataprotect.reseal_policy('as it was'); "
			  . "INSERT INTO v.old VALUES (1, now() - interval '3 years', 'x') ON CONFLICT DO NOTHING");
	}
}
nothing_taken('write-all-data-to-superuser: nothing stored ran');
$node->safe_psql('postgres', "CALL dataprotect.run_retention('aged')");
is(root_sql('SELECT count(*) FROM v.old'), '0', 'what was parsed and checked runs');

# hold-predicate-reads-as-another-owner: a predicate reads its row.
as($node, 'mal', <<'SQL');
CREATE DOMAIN m.d AS int CHECK (m.yes(VALUE, 'domain literal'));
CREATE TYPE m.c AS (x m.d);
CREATE TYPE m.e AS ENUM ('open', 'shut');
CREATE TABLE m.held (id int PRIMARY KEY, at timestamptz NOT NULL, day date, c text, e m.e, n numeric, j jsonb, dd m.d);
CREATE INDEX ON m.held (at);
SQL
for my $predicate (
	"table_to_xml('v.private', false, false, '')::text LIKE '%K%'", "query_to_xml('SELECT 1', true, true, '') IS NULL",
	"has_table_privilege('v.private', 'SELECT')", "has_table_privilege(c, 'SELECT')", "current_setting('server_version') = c",
	"pg_read_file('PG_VERSION') = c", "current_user = c", "session_user = c", "c::regclass IS NULL", "'v.private'::regclass::oid > 0",
	"to_regclass(c) IS NULL", "pg_get_viewdef(1) = c", "pg_stat_get_live_tuples(1) > 0", "obj_description(1, 'pg_class') = c",
	"pg_table_size('v.private') > 0", "pg_table_is_visible(1)", "txid_current_snapshot() IS NULL", "pg_is_in_recovery()",
	"inet_server_port() = id", "schema_to_xml('v', true, true, '') IS NULL", "(held.*)::text = c", "'(1)'::m.c IS NOT NULL",
	"'{1}'::m.d[] IS NOT NULL", "dd = '1'::m.d", "id::m.d = 1", "ROW(id)::m.c IS NULL", "m.yes(id, 'hold')",
	"dataprotect._now() > at", "current_database() = c", "ts_rewrite('a'::tsquery, 'SELECT 1') IS NULL", "to_tsvector(c) IS NULL")
{
	refused($node, 'mal', "SELECT dataprotect.place_hold('m.held', \$p\$$predicate\$p\$, 'x')",
		"hold-predicate-reads-as-another-owner: $predicate", qr/^42/);
}
for my $predicate ("at < now() - interval '1 day'", "day > current_date - 30", "date_trunc('year', at) = '2020-01-01'",
	"extract(year FROM at) = 2020", "c LIKE 'a%' AND lower(c) <> 'b'", "e = 'open'", "e IN ('open', 'shut')", "n::int % 2 = 1",
	"j ->> 'a' = 'b'", "to_char(at, 'YYYY') = c", "at::date = day", "id = ANY ('{1,2}')", "c ~ '^x' IS TRUE", "at < '2020-01-01'")
{
	allowed($node, 'mal', "SELECT dataprotect.place_hold('m.held', \$p\$$predicate\$p\$, 'x')", "a hold may say: $predicate");
}
nothing_taken('hold-predicate-reads-as-another-owner: no code of a predicate ran');
root_sql(q{DELETE FROM dataprotect.hold; SELECT dataprotect.reseal_policy('gone')});

# account-deletion-takes-foreign-rows: an edge is what was decided, not what has
# the same columns.
as($node, 'vic', <<'SQL');
CREATE TABLE v.secret (id int PRIMARY KEY, t text);
INSERT INTO v.secret VALUES (1, 'one'), (2, 'two'), (3, 'three');
GRANT REFERENCES ON v.secret TO mal;
SQL
as($node, 'mal', <<'SQL');
CREATE TABLE m.acc (id int PRIMARY KEY);
CREATE TABLE m.mine (id int PRIMARY KEY);
CREATE TABLE m.child (id int PRIMARY KEY, acc int REFERENCES m.acc, x int REFERENCES m.mine);
CREATE INDEX ON m.child (acc);
CREATE INDEX ON m.child (x);
GRANT SELECT ON ALL TABLES IN SCHEMA m TO PUBLIC;
INSERT INTO m.acc VALUES (1), (2);
INSERT INTO m.mine VALUES (1), (2);
INSERT INTO m.child VALUES (1, 1, 1), (2, 1, 2);
SELECT dataprotect.create_account_type('mal', 'm.acc', 'id', '1 day', '2 days');
SELECT dataprotect.annotate_account('mal', 'm.child', '{acc}', 'delete');
SQL
as($node, 'deputy', "SELECT dataprotect.annotate_account('mal', 'm.child', '{x}', 'delete')");
as($node, 'mal', <<'SQL');
SELECT dataprotect.request_deletion('mal', '1');
ALTER TABLE m.child ADD CONSTRAINT added FOREIGN KEY (x) REFERENCES v.secret;
SQL
like((as($node, 'mal', "SELECT dataprotect.request_deletion('mal', '2')"))[1], qr/foreign key "added" to "v.secret" is not annotated/,
	'account-deletion-takes-foreign-rows: a new edge is undecided');
root_sql("UPDATE dataprotect.deletion_request SET grace_until = now() - interval '1 second'; SELECT dataprotect.reseal_policy('clock')");
root_sql('CALL dataprotect.run_deletions()');
ok(poll_sql($node, 'postgres', "SELECT state, detail LIKE '%\"added\" to \"v.secret\" is not annotated%' FROM dataprotect.deletion_requests", 'requested|t'),
	'account-deletion-takes-foreign-rows: it stops what was asked before');
refused($node, 'mal', "SELECT dataprotect.annotate_account('mal', 'm.child', '{x}', 'delete')",
	'account-deletion-takes-foreign-rows: nor can he decide it', qr/42501/);
is(root_sql('SELECT count(*) FROM v.secret'), '3', 'account-deletion-takes-foreign-rows: the rows stay');

# Who decided has to have the rights still.
as($node, 'mal', 'ALTER TABLE m.child DROP CONSTRAINT added');
root_sql('REVOKE mal FROM deputy');
root_sql('CALL dataprotect.run_deletions()');
ok(poll_sql($node, 'postgres', "SELECT state, detail LIKE '%role \"deputy\", who decided it, has not the rights of the owner of \"m.child\"%' FROM dataprotect.deletion_requests", 'requested|t'),
	'rights of the one who decided are asked again');
root_sql('GRANT mal TO deputy');
root_sql('CALL dataprotect.run_deletions()');
ok(poll_sql($node, 'postgres', "SELECT state NOT IN ('requested', 'held') FROM dataprotect.deletion_requests", 't'), 'and the deletion goes on when he has them')
  or diag(root_sql('SELECT * FROM dataprotect.deletion_requests'));
root_sql('TRUNCATE loot');

# Every place at which PostgreSQL runs code of a table's owner.  %s is the table.
my %place = (
	index => "CREATE INDEX ON %s ((x + m.imm(7, 'index')))",
	predicate => "CREATE INDEX ON %s (x) WHERE m.yes(7, 'predicate')",
	check => "ALTER TABLE %s ADD CHECK (m.yes(7, 'check') AND x > 0)",
	default => "ALTER TABLE %s ALTER base SET DEFAULT m.imm(NULL, 'default')",
	generated => "ALTER TABLE %s ADD g int GENERATED ALWAYS AS (x + m.imm(7, 'generated')) STORED",
	before_row => "CREATE TRIGGER t BEFORE DELETE OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION m.fire('before_row')",
	after_row => "CREATE TRIGGER t AFTER DELETE OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION m.fire('after_row')",
	before_statement => "CREATE TRIGGER t BEFORE DELETE OR UPDATE ON %s EXECUTE FUNCTION m.fire('before_statement')",
	after_statement => "CREATE TRIGGER t AFTER DELETE OR UPDATE ON %s EXECUTE FUNCTION m.fire('after_statement')",
	deferred => "CREATE CONSTRAINT TRIGGER t AFTER DELETE OR UPDATE ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION m.fire('deferred')",
	rule => "CREATE RULE r AS ON DELETE TO %s DO ALSO SELECT m.probe('rule')",
	domain => "ALTER TABLE %s ADD d m.d DEFAULT 1",
	statistics => "CREATE STATISTICS m.statistics_%n ON (x + m.imm(7, 'statistics')), x FROM %s; ANALYZE %s",
	rls => "ALTER TABLE %s ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON %s USING (m.yes(7, 'rls'))",
	exclusion => "ALTER TABLE %s ADD EXCLUDE USING btree ((x + m.imm(7, 'exclusion')) WITH =) DEFERRABLE INITIALLY DEFERRED",
);

my $planted = 0;

sub plant
{
	my ($name, $table) = @_;
	(my $sql = $place{$name}) =~ s/%s/$table/g;
	$planted++;
	$sql =~ s/%n/$planted/;
	my (undef, $err) = as($node, 'mal', $sql);
	is($err, '', "code is planted: $name") if $err ne '';
	return;
}

# His own tables, dealt with by superusers and the worker.
for my $name (sort keys %place)
{
	as($node, 'mal', <<"SQL");
CREATE TABLE m.own_$name (id int PRIMARY KEY, at timestamptz NOT NULL, base int REFERENCES m.own_$name, x int, email encrypted_text('pii'));
CREATE INDEX ON m.own_$name (at);
CREATE INDEX ON m.own_$name (base);
INSERT INTO m.own_$name SELECT g, now() - interval '2 years', CASE g WHEN 2 THEN 1 END, g, 'x' FROM generate_series(1, 3) g;
SQL
	plant($name, "m.own_$name");
	as($node, 'mal', <<"SQL");
SELECT dataprotect.create_retention_policy('own_$name', 'm.own_$name', 'at', '1 year', 'delete', '{"every": "1 year"}');
SELECT dataprotect.create_account_type('own_$name', 'm.own_$name', 'id', '0 seconds');
SELECT dataprotect.annotate_account('own_$name', 'm.own_$name', '{base}', 'nullify');
SQL
	root_sql('TRUNCATE loot');
	try_all($superuser, "SELECT dataprotect.bind_subject('m.own_$name', 'own_$name', 'id')",
		"SELECT dataprotect.place_hold('m.own_$name', 'id = 3', 'x')", "SELECT dataprotect.export_account('own_$name', '1')",
		"SELECT dataprotect.check_account_type('own_$name')", "SELECT dataprotect.preview_retention('own_$name')",
		"SELECT dataprotect.request_deletion('own_$name', '1')", 'CALL dataprotect.run_deletions()',
		"SELECT dataprotect.activate_retention('own_$name')", 'SELECT * FROM dataprotect.retention_policies',
		"CALL dataprotect.run_retention('own_$name')", "SELECT dataprotect.pause_retention('own_$name')");
	# the worker may be at the deletion; a default and a domain are asked below alone
	ok(poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM loot WHERE what = 'ran'", 't'), "it runs: $name") if $name !~ /^(?:default|domain)$/;
	root_sql(q{DELETE FROM dataprotect.hold; DELETE FROM dataprotect.deletion_request; SELECT dataprotect.reseal_policy('gone')});
	nothing_taken("code of a table's owner: $name");
}

# A table of his that hangs on another's, while that other's retention, hold,
# preview or account deletion runs; and cascade-trigger-runs-as-other-owner.
for my $how ('CASCADE', 'SET NULL', 'SET DEFAULT')
{
	for my $name (sort keys %place)
	{
		(my $base = lc "b_${name}_$how") =~ s/\W/_/g;
		as($node, 'vic', <<"SQL");
CREATE TABLE v.$base (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON v.$base (at);
INSERT INTO v.$base SELECT g, now() - interval '2 years' FROM generate_series(1, 3) g;
GRANT REFERENCES ON v.$base TO mal;
SELECT dataprotect.create_retention_policy('$base', 'v.$base', 'at', '1 year', 'delete', '{"every": "1 year"}');
SELECT dataprotect.create_account_type('$base', 'v.$base', 'id', '0 seconds');
SQL
		my (undef, $err) = as($node, 'mal', <<"SQL");
CREATE TABLE m.$base (base int REFERENCES v.$base ON DELETE $how, x int);
CREATE INDEX ON m.$base (base);
GRANT SELECT ON m.$base TO PUBLIC;
INSERT INTO m.$base VALUES (1, 1), (2, 2);
SQL
		is($err, '', "a table is planted: $name") if $err ne '';
		plant($name, "m.$base");
		root_sql('TRUNCATE loot');
		as($node, 'mal', "SELECT dataprotect.place_hold('m.$base', 'x = 2', 'x')");
		my @sql = ("SELECT dataprotect.request_deletion('$base', '1')", "SELECT dataprotect.preview_retention('$base')", "SELECT dataprotect.activate_retention('$base')",
			"CALL dataprotect.run_retention('$base')", 'CALL dataprotect.run_deletions()',
			"SELECT * FROM dataprotect.retention_policies WHERE name = '$base'", "SELECT dataprotect.export_account('$base', '2')");
		try_all('vic', @sql);
		try_all($superuser, @sql, "UPDATE dataprotect.retention_policy SET state = 'active' WHERE name = '$base'", @sql,
			"DELETE FROM dataprotect.hold", "SELECT dataprotect.reseal_policy('gone')", @sql, "SELECT dataprotect.pause_retention('$base')",
			'DELETE FROM dataprotect.deletion_request', "SELECT dataprotect.reseal_policy('gone')");
		nothing_taken("cascade-trigger-runs-as-other-owner: $name, ON DELETE $how");
	}
}
is(root_sql("SELECT detail FROM dataprotect.retention_runs WHERE policy = 'b_after_row_cascade' ORDER BY started_at DESC LIMIT 1") =~
	/b_after_row_cascade.*"mal"/ ? 1 : 0, 1, 'cascade-trigger-runs-as-other-owner: the run names the table and its owner')
  or diag(root_sql("SELECT detail FROM dataprotect.retention_runs WHERE policy = 'b_after_row_cascade'"));

# Who may put triggers on a table gets its owner's rights by none of this.
as($node, 'vic', <<'SQL');
CREATE TABLE v.lent (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON v.lent (at);
INSERT INTO v.lent VALUES (1, now() - interval '2 years');
GRANT TRIGGER ON v.lent TO mal;
SELECT dataprotect.create_retention_policy('lent', 'v.lent', 'at', '1 year', 'delete');
SQL
as($node, 'mal', "CREATE TRIGGER t BEFORE DELETE ON v.lent FOR EACH ROW EXECUTE FUNCTION m.fire('lent')");
root_sql('TRUNCATE loot');
$node->psql('postgres', "SELECT dataprotect.activate_retention('lent')");
$node->psql('postgres', "CALL dataprotect.run_retention('lent')");
nothing_taken('a trigger that another role put on the table');

# An archive of another's.
as($node, 'mal', 'CREATE TABLE m.archive (id int, at timestamptz); GRANT INSERT, SELECT ON m.archive TO vic');
plant('after_row', 'm.archive');
as($node, 'mal', "CREATE TRIGGER u AFTER INSERT ON m.archive FOR EACH ROW EXECUTE FUNCTION m.fire('archive')");
as($node, 'vic', <<'SQL');
CREATE TABLE v.archived (id int PRIMARY KEY, at timestamptz);
CREATE INDEX ON v.archived (at);
INSERT INTO v.archived VALUES (1, now() - interval '2 years');
SQL
root_sql("SELECT dataprotect.create_retention_policy('archived', 'v.archived', 'at', '1 year', 'archive', '{\"archive\": \"m.archive\"}')");
root_sql('TRUNCATE loot');
$node->psql('postgres', "SELECT dataprotect.activate_retention('archived')");
root_sql("UPDATE dataprotect.retention_policy SET state = 'active' WHERE name = 'archived'");
$node->psql('postgres', "CALL dataprotect.run_retention('archived')");
nothing_taken('an archive of another owner');

# Ages are values of the row as well.
as($node, 'mal', 'CREATE VIEW m.view AS SELECT id, m.age(at) AS aged FROM m.held');
refused($node, 'mal', "SELECT dataprotect.create_retention_policy('view', 'm.view', 'aged', '1 year', 'delete')", 'an age that code computes');

log_conceals($node);
$node->stop;
done_testing();
