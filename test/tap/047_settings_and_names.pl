# If this fails, what the extension does depends on settings of the session or
# database that calls it, or on how somebody named his things.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('settings', conf => "max_worker_processes = 24\n");

# Each is legal, and read or written differently by default.
my %hostile = (
	array_nulls => 'off',
	backslash_quote => 'on',
	bytea_output => 'escape',
	DateStyle => "'SQL, DMY'",
	default_text_search_config => "'simple'",
	escape_string_warning => 'off',
	extra_float_digits => '-15',
	gin_fuzzy_search_limit => '1',
	IntervalStyle => 'sql_standard',
	quote_all_identifiers => 'on',
	search_path => 'trap, public',
	standard_conforming_strings => 'off',
	TimeZone => "'Pacific/Marquesas'",
	transform_null_equals => 'on',
	xmlbinary => 'hex',
	xmloption => 'document');

# What is done in both databases.  Strings with a backslash are written as E'',
# and dates as ISO, so that the script itself means the same.
my $script = <<'SQL';
CREATE EXTENSION dataprotect;
SELECT dataprotect.create_key('pii', mask => 'partial(1,''x'',1)');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE SCHEMA "Sch.ema's";
CREATE TYPE "Sch.ema's"."Mo.od" AS ENUM ('a''b', E'c\\d');
CREATE TYPE public.span AS RANGE (subtype = timestamptz);
SELECT dataprotect.create_encrypted_type('"Sch.ema''s"."Mo.od"');
SELECT dataprotect.create_encrypted_type('span');
SELECT dataprotect.create_encrypted_type('xml');
CREATE TABLE "Sch.ema's"."T able" (id int PRIMARY KEY, "v\" varchar(20) DEFAULT E'x\\y''z', "d""q" timestamp(3) DEFAULT '2020-02-01 10:00',
	i interval DEFAULT '-1 day +02:03:04', f float8 DEFAULT 0.1, b bytea DEFAULT decode('00ff5c', 'hex'), n numeric(6,2),
	m "Sch.ema's"."Mo.od" DEFAULT E'c\\d', r span, x xml, a text, "select" text,
	CHECK (a <> E'\\' OR id > 0));
INSERT INTO "Sch.ema's"."T able" (id, n, r, x, a, "select") SELECT g, g, span('2020-02-01 10:00+00', '2020-03-01 10:00+00'), '<a>b</a>',
	chr(92) || g, 'w' || g FROM generate_series(1, 20) g;
CREATE INDEX "i\" ON "Sch.ema's"."T able" (a) WHERE a <> E'\\';
CREATE INDEX plain ON "Sch.ema's"."T able" ("select");
CREATE VIEW "Sch.ema's"."V\" AS SELECT id, "select" || E'\\' AS s, "v\", "d""q" + interval '-1 day +02:03:04' AS later FROM "Sch.ema's"."T able"
	WHERE "d""q" > timestamp '2000-02-01' AND a <> E'\\';
CREATE RULE "r\" AS ON UPDATE TO "Sch.ema's"."V\" DO INSTEAD UPDATE "Sch.ema's"."T able" SET "select" = new.s || E'\\' WHERE id = new.id;
CREATE FUNCTION "Sch.ema's".note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER "t\" BEFORE UPDATE ON "Sch.ema's"."T able" FOR EACH ROW WHEN (new.id > 0) EXECUTE FUNCTION "Sch.ema's".note(E'a\\b', '''');
COMMENT ON COLUMN "Sch.ema's"."T able"."v\" IS E'it''s \\ here';
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', E'v\\', 'pii', searchable => true);
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'd"q', 'pii');
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'i', 'pii');
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'f', 'pii');
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'b', 'pii');
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'n', 'pii', ordered => true);
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'm', 'pii');
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'r', 'pii');
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'x', 'pii');
CALL dataprotect.encrypt_column('"Sch.ema''s"."T able"', 'select', 'pii');
INSERT INTO "Sch.ema's"."T able" (id) VALUES (21);
UPDATE "Sch.ema's"."V\" SET s = 'changed' WHERE id = 3;
SELECT dataprotect.rotate_key('pii');
CALL dataprotect.reencrypt('"Sch.ema''s"."T able"');
CALL dataprotect.decrypt_column('"Sch.ema''s"."T able"', 'd"q');
CALL dataprotect.decrypt_column('"Sch.ema''s"."T able"', 'i');
CREATE TABLE public.old (id int PRIMARY KEY, at timestamptz NOT NULL, note text, flag text);
INSERT INTO public.old SELECT g, timestamptz '2020-02-01 10:00+00', chr(92) || g, NULL FROM generate_series(1, 9) g;
CREATE INDEX ON public.old (at);
SELECT dataprotect.place_hold('public.old', E'note = ''\\\\3'' AND at > ''2020-01-02''::date AND id <> 4', E'it''s \\ held');
SELECT dataprotect.place_hold('public.old', 'flag = NULL', 'holds nothing');
SELECT dataprotect.create_retention_policy('p\', 'public.old', 'at', interval '1 year 2 days', 'delete');
SELECT dataprotect.preview_retention('p\');
SELECT dataprotect.activate_retention('p\');
CALL dataprotect.run_retention('p\');
SQL
$script =~ s/'p\\'/E'p\\\\'/g;

my $question = <<'SQL';
SELECT * FROM "Sch.ema's"."T able" ORDER BY id;
SELECT * FROM "Sch.ema's"."V\" ORDER BY id;
SELECT attname, format_type(atttypid, atttypmod), pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
	WHERE attrelid = '"Sch.ema''s"."T able"'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = '"Sch.ema''s"."T able"'::regclass ORDER BY 1;
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = '"Sch.ema''s"."T able"'::regclass ORDER BY 1;
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = '"Sch.ema''s"."T able"'::regclass ORDER BY 1;
SELECT pg_get_viewdef('"Sch.ema''s"."V\"'::regclass), definition FROM pg_rules WHERE rulename = 'r\';
SELECT col_description('"Sch.ema''s"."T able"'::regclass, 2);
SELECT rel, col, key, version, "values", failures FROM dataprotect.verify() ORDER BY 1, 2, 4;
SELECT rel, col, type, key, searchable, ordered FROM dataprotect.protected_columns ORDER BY 1, 2;
SELECT id, note, flag FROM old ORDER BY id;
SELECT rel, predicate, reason FROM dataprotect.holds ORDER BY id;
SELECT name, state, keep FROM dataprotect.retention_policies;
SELECT ok FROM dataprotect.verify_audit_log();
SQL

$node->safe_psql('postgres', 'CREATE DATABASE ordinary');
$node->safe_psql('postgres', 'CREATE DATABASE hostile');
$node->safe_psql('hostile', 'CREATE SCHEMA trap');
$node->safe_psql('postgres', "ALTER DATABASE hostile SET $_ = $hostile{$_}") for sort keys %hostile;

# Every setting that is pinned is among those that are hostile.
for my $database (qw(ordinary hostile))
{
	my $err = '';
	$node->psql($database, $script, stderr => \$err, on_error_stop => 0, on_error_die => 0);
	my $failed = join("\n", $err =~ /^(psql:.*?ERROR: .*(?:\n(?!psql:).*)*)/mg);
	is($failed, '', "standard-conforming-strings-off: all goes through in a database with $database settings");
}
is( $node->safe_psql('ordinary', 'SELECT string_agg(name, \',\' ORDER BY name) FROM dataprotect._pinned_settings()'),
	join(',', sort grep { !/^(?:search_path|TimeZone|default_text.*)$/i } map { lc } keys %hostile),
	'every pinned setting is tried');
my $neutral = "SET search_path = public, pg_catalog; SET standard_conforming_strings = on; SET DateStyle = ISO; SET IntervalStyle = postgres; SET TimeZone = UTC; "
  . 'SET bytea_output = hex; SET extra_float_digits = 1; SET quote_all_identifiers = off; SET transform_null_equals = off; SET xmloption = content; SET backslash_quote = safe_encoding;';
my %answers = map { $_ => $node->safe_psql($_, "$neutral\n$question") } qw(ordinary hostile);
is_deeply([ split /\n/, $answers{hostile} ], [ split /\n/, $answers{ordinary} ], 'and comes to the same');
like($answers{ordinary}, qr/x\\y'z/, 'which is what was written');

# quoted-names: no schema of the user's is needed, and none comes in between
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', 'CREATE SCHEMA "My Sche.ma"; DROP SCHEMA public; CREATE EXTENSION dataprotect');
is($node->safe_psql('elsewhere', <<'SQL'), 'b|a', 'quoted-names: types work without a schema public, in a path with a quoted name');
SELECT dataprotect.create_key('k') \g /dev/null
SELECT dataprotect.grant_access('k', current_user::regrole, 'reveal') \g /dev/null
SET search_path = "My Sche.ma";
CREATE TYPE "Mood" AS ENUM ('b', 'a');
SELECT dataprotect.create_encrypted_type('"Mood"') \g /dev/null
CREATE TABLE q (v dataprotect."encrypted_Mood"('k', 'ordered'), t encrypted_text('k'));
INSERT INTO q VALUES ('a', 'y'), ('b', 'x');
SELECT string_agg(v::text, '|' ORDER BY v) FROM q WHERE t || 'z' <> 'xy';
SQL
$node->safe_psql('elsewhere', 'DROP TABLE "My Sche.ma".q; DROP EXTENSION dataprotect CASCADE; CREATE EXTENSION dataprotect');
is($node->safe_psql('elsewhere', 'SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = \'dataprotect\''), 'pg_catalog',
	'the extension can be made again, in pg_catalog');
psql_fails($node, 'elsewhere', 'DROP EXTENSION dataprotect CASCADE; CREATE EXTENSION dataprotect SCHEMA "My Sche.ma"', qr/must be installed in schema "pg_catalog"/,
	'and nowhere else');

# What writes SQL has its settings fixed; what has not, holds no backslash.
is($node->safe_psql('ordinary', <<'SQL'), '', 'no routine depends on the session\'s settings');
SELECT p.oid::regprocedure, s.name FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	CROSS JOIN dataprotect._pinned_settings() s
	WHERE p.pronamespace = 'dataprotect'::regnamespace AND l.lanname IN ('plpgsql', 'sql')
		AND (l.lanname = 'plpgsql' AND p.prokind = 'f' OR position(chr(92) IN p.prosrc) > 0 OR p.prosrc ~ 'pg_get_')
		AND NOT lower(p.proconfig::text) LIKE '%' || s.name || '=%'
SQL

done_testing();
