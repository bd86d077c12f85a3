# Guessing: a right and a wrong guess must get word for word the same answer,
# whatever index, plan, constraint or error they meet.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('probing');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE many (id int, email encrypted_text('pii'), tok encrypted_text('pii', 'searchable'));
INSERT INTO many SELECT g, 'user' || g, 'user' || g FROM generate_series(1, 2000) g;
INSERT INTO many SELECT id + 5000, email, tok FROM victim;
CREATE INDEX ON many USING hash (email);
CREATE INDEX ON many (tok encrypted_text_token_ops);
CREATE INDEX ON many (id, tok encrypted_text_token_ops);
ANALYZE many;
GRANT ALL ON many TO PUBLIC;
SQL

my @probes = (
	"SELECT id FROM many WHERE email = '%s'",
	"SELECT id FROM many WHERE tok = '%s'",
	"SELECT count(*) FROM many WHERE tok = '%s'::text",
	"SELECT count(*) FROM many WHERE tok = '%s'::varchar",
	"SELECT count(*) FROM many WHERE tok IN ('%s', 'x')",
	"SELECT count(*) FROM many WHERE tok = ANY (ARRAY['%s', 'x']::encrypted_text[])",
	"SELECT count(*) FROM many WHERE id = 5002 AND tok = '%s'",
	"SELECT count(*) FROM many WHERE id < 0 AND tok = '%s'",
	"SELECT count(*) FROM many WHERE id = 5002 AND email LIKE '%s'",
	"SELECT EXISTS (SELECT FROM many WHERE tok = '%s')",
	"SELECT (SELECT id FROM many WHERE tok = '%s' LIMIT 1)",
	"PREPARE q(text) AS SELECT id FROM many WHERE tok = \$1; EXECUTE q('%s')",
	"SET plan_cache_mode = force_generic_plan; PREPARE q(text) AS SELECT id FROM many WHERE email = \$1; EXECUTE q('%s')",
	"EXPLAIN SELECT id FROM many WHERE tok = '%s'",
	"EXPLAIN SELECT id FROM many WHERE email = '%s' AND id < 100",
	"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT id FROM many WHERE tok = '%s'",
	"EXPLAIN SELECT id FROM many WHERE tok < '%s'",
	"UPDATE many SET id = id WHERE tok = '%s'",
	"DELETE FROM many WHERE email = '%s'",
	"SELECT g FROM (VALUES ('%s'), ('y')) v(g) JOIN many ON tok = g",
	"INSERT INTO many VALUES (1, '%s', '%s')",
	"INSERT INTO many VALUES (1, '%s', '%s') RETURNING id, length(pg_typeof(tok)::text)",
	"DECLARE c CURSOR FOR SELECT id FROM many WHERE tok = '%s'; FETCH 1 FROM c",
	"DO \$\$ DECLARE r int; BEGIN FOR r IN SELECT id FROM many WHERE tok = '%s' LOOP RAISE NOTICE '%%', r; END LOOP; END \$\$",
	"DO \$\$ BEGIN PERFORM FROM many WHERE email = '%s'; IF FOUND THEN RAISE NOTICE 'found'; END IF; EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%%', SQLERRM; END \$\$",
);
my @settings = ('', 'SET enable_seqscan = off;', 'SET enable_seqscan = off; SET enable_bitmapscan = off;');
for my $role (attackers())
{
	for my $setting ($role eq 'nobody' ? @settings : $settings[2])
	{
		for my $probe (@probes)
		{
			(my $sql = $probe) =~ s/%%/%/g;
			no_oracle($node, $role, "$setting $sql", "$setting $probe");
		}
	}
}

# Statistics have nothing to say.
for my $table (qw(many victim))
{
	$node->safe_psql('postgres', "ANALYZE $table");
	is($node->safe_psql('postgres', <<"SQL"), '', "ANALYZE keeps no value of $table");
SELECT attname FROM pg_stats WHERE tablename = '$table' AND attname NOT IN ('id')
AND (most_common_vals IS NOT NULL OR histogram_bounds IS NOT NULL OR correlation IS NOT NULL OR n_distinct NOT IN (0, -0.1::float4, -1))
SQL
	is($node->safe_psql('postgres', <<"SQL"), '0', "pg_statistic has no slot for columns of $table");
SELECT count(*) FROM pg_statistic s JOIN pg_attribute a ON a.attrelid = s.starelid AND a.attnum = s.staattnum
WHERE starelid = '$table'::regclass AND attname <> 'id' AND (stakind1 <> 0 OR stakind2 <> 0 OR stakind3 <> 0)
SQL
}
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE lists (id int, l encrypted_text('pii')[]);
INSERT INTO lists SELECT id, ARRAY[email] FROM victim;
ANALYZE lists;
SQL
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stats WHERE tablename = 'lists' AND attname = 'l' AND (most_common_elems IS NOT NULL OR histogram_bounds IS NOT NULL OR most_common_vals IS NOT NULL)"),
	'0', 'nor has ANALYZE of an array of them');

# Definitions that would store what follows from a value.
for my $role (qw(owner super reader))
{
	refused($node, $role, $_, $_) for (
		"CREATE INDEX ON victim ((email::text))",
		"CREATE INDEX ON victim (id) WHERE email < 'm'",
		"CREATE INDEX ON victim (id) WHERE ARRAY[email] < ARRAY['m'::encrypted_text]",
		"CREATE INDEX ON victim ((ARRAY[email] < ARRAY['m'::encrypted_text]))",
		'CREATE FUNCTION low(encrypted_text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN $1 < \'m\'; END$$; CREATE INDEX ON victim (low(email))',
		'CREATE FUNCTION open(encrypted_text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN $1::text; END$$; CREATE INDEX ON victim (open(email))',
		'CREATE FUNCTION open2(victim) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN $1.email::text; END$$; CREATE INDEX ON victim (open2(victim))',
		'CREATE FUNCTION open3(encrypted_text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN $1::text; END$$; ALTER TABLE victim ADD COLUMN g text GENERATED ALWAYS AS (open3(email)) STORED',
		'CREATE STATISTICS st ON (email::text), id FROM victim',
		'CREATE STATISTICS st2 (mcv) ON email, tok FROM victim',
		'CREATE MATERIALIZED VIEW mv AS SELECT id, email::text FROM victim',
		"CREATE MATERIALIZED VIEW mv2 AS SELECT id FROM victim WHERE email < 'm'",
		'CREATE MATERIALIZED VIEW mv3 AS SELECT id, row_number() OVER (ORDER BY email) FROM victim',
		"CREATE TABLE part (email encrypted_text('pii')) PARTITION BY RANGE (email)",
		"CREATE TABLE part2 (email encrypted_text('pii')) PARTITION BY LIST (email)",
		"CREATE TABLE part3 (email encrypted_text('pii')) PARTITION BY HASH (email)",
		"CREATE TABLE part4 (email encrypted_text('pii')) PARTITION BY RANGE ((email::text))",
		'CREATE TYPE span AS RANGE (subtype = encrypted_text)',
		'CREATE INDEX ON victim (email)',
		'CREATE INDEX ON victim (tok)',
		'CREATE UNIQUE INDEX ON victim (email)',
		'CREATE INDEX ON victim USING brin (ord)',
		'CREATE INDEX ON lists (l)',
		'CREATE INDEX ON lists USING gin (l)',
		'CLUSTER victim USING victim_ord',
		'ALTER TABLE victim CLUSTER ON victim_ord',
		'CREATE TABLE bare (s encrypted_text)',
		'CREATE TABLE bare2 AS SELECT COALESCE(email, tok) AS s FROM victim',
		'CREATE TABLE bare3 (s encrypted_text[])',
		'ALTER TABLE victim ADD COLUMN s encrypted_text',
		'SELECT NULL::encrypted_text AS s INTO bare4',
		"CREATE TABLE ordered_bool (b encrypted_bool('pii')); CREATE INDEX ON ordered_bool USING hash (b)",
	);
	$node->safe_psql('postgres', 'DROP FUNCTION IF EXISTS low(encrypted_text), open(encrypted_text), open2(victim), open3(encrypted_text); DROP TABLE IF EXISTS ordered_bool');
}

# A search_path of one's own: nobody gets his operator between another's query
# and ours.
$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA trap;
GRANT ALL ON SCHEMA trap TO PUBLIC;
SQL
as($node, 'nobody', <<'SQL');
CREATE TABLE trap.caught (t text);
GRANT ALL ON trap.caught TO PUBLIC;
CREATE FUNCTION trap.catch(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO trap.caught VALUES ($1); RETURN true; END $$;
CREATE OPERATOR trap.= (FUNCTION = trap.catch, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION trap.upper(encrypted_text) RETURNS text LANGUAGE sql AS $$ SELECT 'trapped' $$;
CREATE TYPE trap.encrypted_text AS (a int);
SQL
is((as($node, 'reader', "SET search_path = public, trap; SELECT count(*) FROM victim WHERE email = 'x' OR email = 'y'::text OR email = 'z'::varchar"))[0],
	'0', 'reader: exact operators win over an attacker\'s in the path');
is($node->safe_psql('postgres', 'SELECT count(*) FROM trap.caught'), '0', 'the trap caught nothing');

# Who may only read, and make temporary tables, seals no guess to compare with: the unique index is his own.
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('alone');
CREATE TABLE quiet (id int, mail encrypted_text('alone', 'searchable'));
GRANT SELECT ON quiet TO nobody;
SQL
$node->safe_psql('postgres', "INSERT INTO quiet VALUES (1, '" . secret() . "')");
for my $own (
	"CREATE TEMP TABLE g (mail encrypted_text('alone', 'searchable'))",
	'CREATE TEMP TABLE g (LIKE quiet)',
	'CREATE TEMP TABLE g AS SELECT mail FROM quiet WITH NO DATA',
	"CREATE TEMP TABLE g () INHERITS (quiet)",
	"CREATE DOMAIN pg_temp.d AS encrypted_text('alone', 'searchable'); CREATE TEMP TABLE g (mail pg_temp.d)",
	"CREATE TYPE pg_temp.c AS (mail encrypted_text('alone', 'searchable')); CREATE TEMP TABLE g OF pg_temp.c")
{
	no_oracle($node, 'nobody', "$own; CREATE UNIQUE INDEX ON g (mail encrypted_text_token_ops); INSERT INTO g (mail) VALUES ('%s'); INSERT INTO g (mail) SELECT mail FROM quiet", $own);
	denied($node, 'nobody', "BEGIN; $own; INSERT INTO g (mail) VALUES ('guess'); ROLLBACK", "seals nothing: $own") if $own !~ /INHERITS/;
}
# Nor who sees masks: the guess's own token would be shown to him, too.
$node->safe_psql('postgres', "SELECT dataprotect.alter_key('alone', mask => 'token'), dataprotect.grant_access('alone', 'masked', 'mask'), dataprotect.grant_access('alone', 'searcher', 'search', search_limit => 3); GRANT SELECT ON quiet TO PUBLIC");
my $guesses = "CREATE TEMP TABLE g (mail encrypted_text('alone', 'searchable')); CREATE UNIQUE INDEX ON g (mail encrypted_text_token_ops)";
for my $try ("$guesses; INSERT INTO g (mail) VALUES ('%s'); INSERT INTO g (mail) SELECT mail FROM quiet", "SELECT q.mail::text = g.mail::text FROM quiet q, (SELECT '%s'::encrypted_text('alone') AS mail OFFSET 0) g",
	"$guesses; INSERT INTO g VALUES ('%s'); SELECT mail::text IN (SELECT mail::text FROM quiet) FROM g")
{
	no_oracle($node, 'masked', $try, $try);
}
denied($node, 'masked', "SELECT 'guess'::encrypted_text('alone')", 'a mask seals nothing');
# Who may search asks for what he seals, and for so many an hour.
(undef, my $limited) = as($node, 'searcher', "CREATE TEMP TABLE g (mail encrypted_text('alone', 'searchable')); INSERT INTO g SELECT 'guess' || n FROM generate_series(1, 100) n");
like($limited, qr/has searched protected columns for too many/, 'searcher: guesses that are sealed first count as searches') or diag($limited);
# Rows that may be read are not compared with each other by an index of one's own, nor do sizes of one tell.
for my $role ('nobody', 'masked', 'searcher', 'super', 'admin')
{
	denied($node, $role, "CREATE TEMP TABLE g (id int, tok encrypted_text('pii', 'searchable'), ord encrypted_text('pii', 'ordered'), e encrypted_text('pii')); $_", "$role: $_")
	  for 'CREATE UNIQUE INDEX ON g (tok encrypted_text_token_ops)', 'CREATE INDEX ON g (id, tok encrypted_text_token_ops)', 'CREATE INDEX ON g USING hash (e)', 'ALTER TABLE g ADD UNIQUE (ord)', 'CREATE TEMP TABLE h (LIKE victim INCLUDING INDEXES)';
}
allowed($node, 'nobody', "CREATE TEMP TABLE g (id int PRIMARY KEY, tok encrypted_text('pii', 'searchable')); CREATE UNIQUE INDEX ON g (id) INCLUDE (tok); INSERT INTO g SELECT id, tok FROM victim", 'others go on');
allowed($node, 'reader', "CREATE TEMP TABLE g (tok encrypted_text('pii', 'searchable')); CREATE INDEX ON g (tok encrypted_text_token_ops); INSERT INTO g SELECT tok FROM victim", 'reader: as do his own');
$node->safe_psql('postgres', 'GRANT INSERT ON quiet TO nobody, searcher');
allowed($node, 'searcher', "BEGIN; INSERT INTO quiet SELECT n, 'new' || n FROM generate_series(1, 100) n; ROLLBACK", 'and what is written by right of the table does not');
allowed($node, 'nobody', "BEGIN; CREATE TEMP TABLE g (LIKE quiet); INSERT INTO g VALUES (2, 'staged'); INSERT INTO quiet SELECT * FROM g; ROLLBACK", 'who may write the table stages rows for it');

log_conceals($node);
$node->stop;
done_testing();
