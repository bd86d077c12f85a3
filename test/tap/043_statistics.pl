# ANALYZE of whatever contains protected values succeeds and keeps nothing of them;
# of the extension's own tables nothing secret gets into statistics.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use DataProtect::Test;
use Test::More;

my $node = new_node('statistics');
create_extension($node);
sub sql { return $node->safe_psql('postgres', @_); }

sql(<<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE keeper LOGIN;
GRANT ALL ON SCHEMA public TO keeper;
SET ROLE keeper;
CREATE TYPE addr AS (street encrypted_text('pii'), zip int);
CREATE DOMAIN home AS addr;
CREATE TYPE person AS (name text, a addr);
CREATE DOMAIN keyed AS encrypted_text('pii');
CREATE TABLE rows (id int, street encrypted_text('pii'));
CREATE TYPE late AS (zip int);
CREATE DOMAIN late_home AS late;
CREATE VIEW seen AS SELECT 1 AS id;
CREATE TABLE people (id int, a addr, many addr[], h home, p person, k keyed, ks keyed[], e encrypted_text('pii')[],
	r rows, l late, ll late[], lh late_home, v seen);
CREATE MATERIALIZED VIEW copied AS SELECT id, a FROM people;
CREATE TABLE parts (id int, a addr) PARTITION BY LIST (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE par (a addr);
CREATE TABLE kid (b int) INHERITS (par);
ALTER TYPE late ADD ATTRIBUTE s encrypted_text('pii');
CREATE OR REPLACE VIEW seen AS SELECT 1 AS id, NULL::encrypted_text('pii') AS s;
INSERT INTO people SELECT g, x, ARRAY[x], x, ROW('n', x)::person, 's' || g, ARRAY['s' || g]::keyed[], ARRAY['s' || g]::encrypted_text('pii')[],
	ROW(g, 's' || g)::rows, y, ARRAY[y], y, ROW(g, 's' || g)::seen
FROM generate_series(1, 100) g, LATERAL (SELECT ROW('s' || g % 7, g)::addr AS x, ROW(g, 's' || g % 7)::late AS y) z;
UPDATE people SET a = NULL WHERE id <= 25;
REFRESH MATERIALIZED VIEW copied;
INSERT INTO parts SELECT 1, a FROM people;
INSERT INTO par SELECT a FROM people;
INSERT INTO kid SELECT a, 1 FROM people;
SQL

# analyze-of-a-composite
my ($rc, $out, $err) = $node->psql('postgres', 'ANALYZE', extra_params => [ '-U', 'keeper' ]);
is($rc, 0, 'analyze-of-a-composite: the owner may') or diag($err);
$node->safe_psql('postgres', 'VACUUM ANALYZE people; ANALYZE parts; ANALYZE par');
my $bearing = "tablename IN ('people', 'copied', 'parts', 'parts_1', 'par', 'kid') AND attname NOT IN ('id', 'b')";
is(sql("SELECT string_agg(DISTINCT tablename || '.' || attname || inherited, ' ') FROM pg_stats WHERE $bearing
	AND (most_common_vals IS NOT NULL OR histogram_bounds IS NOT NULL OR correlation IS NOT NULL OR most_common_elems IS NOT NULL
		OR elem_count_histogram IS NOT NULL OR n_distinct NOT IN (0, -0.1::float4))"), '', 'nothing of the values, and no count of distinct ones');
is(sql("SELECT count(*) FROM pg_statistic s, pg_class c WHERE c.oid = s.starelid AND c.relname IN ('people', 'copied', 'parts', 'parts_1', 'par', 'kid')
	AND format('%s %s %s', s.stavalues1, s.stavalues2, s.stavalues3) LIKE '%enc:%'"), '0', 'no envelope in pg_statistic');
is(sql("SELECT count(*) FROM pg_stats WHERE tablename = 'people' AND attname <> 'id'"), '12', 'every column was analyzed');
is(sql("SELECT null_frac, avg_width > 40 FROM pg_stats WHERE tablename = 'people' AND attname = 'a'"), '0.25|t', 'null fraction and width are kept');
is(sql("SELECT count(*) FROM pg_stats WHERE tablename = 'people' AND attname = 'id' AND histogram_bounds IS NOT NULL"), '1', 'other columns as ever');

# A target that somebody sets makes no difference.
sql('ALTER TABLE people ALTER a SET STATISTICS 10000; ANALYZE people');
is(sql("SELECT count(*) FROM pg_stats WHERE tablename = 'people' AND attname = 'a' AND histogram_bounds IS NULL AND most_common_vals IS NULL"), '1',
	'a high target keeps nothing either');

# What is taken for the number of distinct values is the same, whatever they are, and has
# joins hash that are cheaper so.
sql(<<'SQL');
CREATE TABLE alike (id int, s encrypted_text('pii'), b encrypted_bool('pii'), k keyed);
CREATE TABLE apart (LIKE alike);
INSERT INTO alike SELECT g, 'same', true, 'same' FROM generate_series(1, 3000) g;
INSERT INTO apart SELECT g, 's' || g, g % 2 = 0, 's' || g FROM generate_series(1, 3000) g;
ANALYZE alike, apart;
SQL
is(sql("SELECT string_agg(attname || ' ' || n_distinct, ' ' ORDER BY attname) FROM pg_stats WHERE tablename = '$_' AND attname <> 'id'"),
	'b 0 k -0.1 s -0.1', "$_: a part of the rows") for 'alike', 'apart';
sql("UPDATE apart SET k = NULL WHERE id % 4 = 0; CREATE TABLE doc (j encrypted_jsonb('pii'));
	CREATE INDEX ON doc USING gin (j encrypted_jsonb_entry_ops); INSERT INTO doc SELECT jsonb_build_object('a', g) FROM generate_series(1, 100) g; ANALYZE apart, doc");
is(sql("SELECT n_distinct FROM pg_stats WHERE tablename = 'apart' AND attname = 'k'"), '-0.075', 'a part of those that are not null');
is(sql("SELECT n_distinct FROM pg_stats WHERE tablename = 'doc'"), '-0.1', 'an index for what is in a value is none for values');
like(sql('EXPLAIN SELECT count(*) FROM apart a JOIN apart b USING (s)'), qr/Hash Join/, 'a join by equality hashes');

# Autovacuum, which is nobody's statement.
sql("CREATE TABLE auto (a addr) WITH (autovacuum_analyze_threshold = 1, autovacuum_analyze_scale_factor = 0)");
$node->append_conf('postgresql.conf', "autovacuum_naptime = 1s\nlog_autovacuum_min_duration = 0");
$node->reload;
sql("INSERT INTO auto SELECT ROW('s' || g, g)::addr FROM generate_series(1, 200) g");
ok(poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'auto'"), 'autovacuum gets through');
is(sql("SELECT count(*) FROM pg_stats WHERE tablename = 'auto' AND (histogram_bounds IS NOT NULL OR most_common_vals IS NOT NULL)"), '0',
	'... and keeps nothing');

# wrapped-key-survives-in-statistics: whoever analyzes, with whatever target.
sql(<<'SQL');
CREATE ROLE admin LOGIN IN ROLE dataprotect_admin, keeper;
CREATE TABLE acct (id int PRIMARY KEY, email encrypted_text('pii'));
ALTER TABLE acct OWNER TO keeper;
SELECT dataprotect.create_account_type('acct', 'acct', 'id', '0 seconds', '1 day');
SELECT dataprotect.bind_subject('acct', 'acct', 'id');
INSERT INTO acct SELECT g, 'user' || g FROM generate_series(1, 20) g;
SELECT dataprotect.flush_audit_log('20 s');
SET default_statistics_target = 10000;
ANALYZE;
SQL
is(sql("SELECT count(*) > 20 FROM dataprotect.key_version WHERE wrapped IS NOT NULL"), 't', 'there are wrapped keys');
is(sql(<<'SQL'), '', 'wrapped-key-survives-in-statistics: none of the bytes of ours is in pg_stats');
SELECT string_agg(s.tablename || '.' || s.attname, ' ') FROM pg_stats s
	JOIN pg_attribute a ON a.attrelid = format('%I.%I', s.schemaname, s.tablename)::regclass AND a.attname = s.attname
WHERE s.schemaname = 'dataprotect' AND (a.atttypid IN ('bytea'::regtype, 'bytea[]'::regtype) OR a.attname IN ('subject', 'account_id'))
SQL

# Without the extension the user's types are analyzed as before.
sql(<<'SQL');
DO $$DECLARE c record; BEGIN
	FOR c IN SELECT a.*, r.relkind FROM pg_attribute a JOIN pg_class r ON r.oid = a.attrelid CROSS JOIN LATERAL dataprotect._encrypted_parts(a.atttypid, a.atttypmod) p
		WHERE a.atttypid >= 16384 AND NOT a.attisdropped AND r.relkind IN ('r', 'p', 'c') AND a.attinhcount = 0 AND p.key IS NOT NULL
			AND (r.relkind <> 'c' OR p.path = '') ORDER BY r.relkind DESC LOOP
		EXECUTE format('ALTER %s %s DROP %s IF EXISTS %I CASCADE', CASE c.relkind WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
			c.attrelid::regclass, CASE c.relkind WHEN 'c' THEN 'ATTRIBUTE' ELSE 'COLUMN' END, c.attname);
	END LOOP;
END$$;
DROP EXTENSION dataprotect CASCADE;
ANALYZE people;
SQL
is(sql("SELECT string_agg(typname::text, ' ') FROM pg_type WHERE typanalyze <> 0 AND NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = typanalyze)"), '',
	'no type asks for a function that is gone');
is(sql("SELECT count(*) FROM pg_stats WHERE tablename = 'people' AND attname = 'id'"), '1', 'ANALYZE works without the extension');

$node->stop;
done_testing();
