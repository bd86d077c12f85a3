# Every way to compare values: what no plan shows, too (records, arrays, sorts,
# plpgsql), by every role that may not compare.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('comparing');

# A helper that everybody may use: compares through plpgsql and SQL functions.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION plpgsql_lt(a encrypted_text, b encrypted_text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN a < b; END $$;
CREATE FUNCTION plpgsql_eq(a encrypted_text, b encrypted_text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN a = b; END $$;
CREATE FUNCTION plpgsql_array(a encrypted_text, b encrypted_text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN ARRAY[a] < ARRAY[b]; END $$;
CREATE FUNCTION sql_lt(a encrypted_text, b encrypted_text) RETURNS bool LANGUAGE sql AS $$ SELECT a < b $$;
CREATE FUNCTION sql_lt_immutable(a encrypted_text, b encrypted_text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN a < b; END $$;
CREATE FUNCTION definer_lt(a encrypted_text, b encrypted_text) RETURNS bool SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN RETURN a < b; END $$;
CREATE TYPE pair AS (s encrypted_text('pii'), i int);
SQL

my $two = 'FROM victim a, victim b WHERE a.id < b.id AND';
my @comparisons = (
	"SELECT a.id, b.id $two a.email = b.email",
	"SELECT a.id, b.id $two a.email <> b.email",
	"SELECT a.id, b.id $two a.email < b.email",
	"SELECT a.id, b.id $two a.n >= b.n",
	"SELECT a.id, b.id $two a.tok #<# b.tok",
	"SELECT a.id, b.id $two a.email IS DISTINCT FROM b.email",
	"SELECT a.id, b.id $two row(a.email, 1) = row(b.email, 1)",
	"SELECT a.id, b.id $two row(a.email, 1) < row(b.email, 1)",
	"SELECT a.id, b.id $two row(a.email, 1) IS DISTINCT FROM row(b.email, 1)",
	"SELECT a.id, b.id $two ARRAY[a.email] = ARRAY[b.email]",
	"SELECT a.id, b.id $two ARRAY[a.email] < ARRAY[b.email]",
	"SELECT a.id, b.id $two ARRAY[a.email] \@> ARRAY[b.email]",
	"SELECT a.id, b.id $two ARRAY[a.email] <\@ ARRAY[b.email]",
	"SELECT a.id, b.id $two ARRAY[a.email] && ARRAY[b.email]",
	"SELECT a.id, b.id $two array_position(ARRAY[a.email], b.email) = 1",
	"SELECT a.id, b.id $two array_positions(ARRAY[a.email], b.email) <> '{}'",
	"SELECT array_remove(ARRAY[a.email], b.email) FROM victim a, victim b",
	"SELECT array_replace(ARRAY[a.email], b.email, NULL) FROM victim a, victim b",
	"SELECT array_larger(ARRAY[a.email], ARRAY[b.email]) FROM victim a, victim b",
	'SELECT max(ARRAY[email]) FROM victim',
	"SELECT a.id, b.id $two a.email = ANY (ARRAY[b.email, b.tok])",
	"SELECT a.id, b.id $two a.email = ALL (ARRAY[b.email])",
	"SELECT a.id FROM victim a WHERE a.email IN (SELECT email FROM victim b WHERE b.id <> a.id)",
	"SELECT a.id FROM victim a WHERE a.email NOT IN (SELECT email FROM victim b WHERE b.id <> a.id)",
	"SELECT a.id FROM victim a WHERE EXISTS (SELECT FROM victim b WHERE b.id <> a.id AND b.email = a.email)",
	"SELECT a.id FROM victim a WHERE (a.email, a.n) = (SELECT email, n FROM victim LIMIT 1)",
	"SELECT a.id FROM victim a WHERE (a.email, 1) IN (('x', 1), ('y', 2))",
	"SELECT a.id FROM victim a WHERE a.email < ANY (VALUES ('x'), ('y'))",
	'SELECT GREATEST(a.email, b.email) FROM victim a, victim b',
	'SELECT LEAST(a.n, b.n) FROM victim a, victim b',
	'SELECT NULLIF(a.email, b.email) FROM victim a, victim b',
	'SELECT CASE a.email WHEN b.email THEN 1 END FROM victim a, victim b',
	'SELECT width_bucket(a.email, ARRAY[b.email]) FROM victim a, victim b',
	'SELECT id FROM victim ORDER BY email',
	'SELECT id FROM victim ORDER BY ord',
	'SELECT id FROM victim ORDER BY n DESC LIMIT 1',
	'SELECT id FROM victim ORDER BY row(email, id)',
	'SELECT id FROM victim ORDER BY ARRAY[email]',
	'SELECT id FROM (SELECT email, id FROM victim) x ORDER BY x',
	'SELECT id FROM victim ORDER BY email USING >',
	'SELECT id FROM victim ORDER BY tok USING #<#',
	'SELECT DISTINCT email FROM victim',
	'SELECT DISTINCT ARRAY[email] FROM victim',
	'SELECT DISTINCT row(email, 1) FROM victim',
	'SELECT DISTINCT ON (email) id FROM victim',
	'SELECT count(*) FROM victim GROUP BY email',
	'SELECT count(*) FROM victim GROUP BY ARRAY[email]',
	'SELECT count(*) FROM victim GROUP BY ROLLUP (email, n)',
	'SELECT count(*) FROM victim GROUP BY victim.*',
	'SELECT count(DISTINCT email) FROM victim',
	'SELECT array_agg(id ORDER BY email) FROM victim',
	'SELECT array_agg(DISTINCT email) FROM victim',
	'SELECT mode() WITHIN GROUP (ORDER BY email) FROM victim',
	'SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY email) FROM victim',
	'SELECT rank() OVER (ORDER BY email) FROM victim',
	'SELECT count(*) OVER (PARTITION BY email) FROM victim',
	'SELECT id, ntile(2) OVER (ORDER BY n) FROM victim',
	"SELECT rank('m'::encrypted_text) WITHIN GROUP (ORDER BY email) FROM victim",
	'SELECT email FROM victim UNION SELECT tok FROM victim',
	'SELECT email FROM victim INTERSECT SELECT tok FROM victim',
	'SELECT email FROM victim EXCEPT SELECT tok FROM victim',
	'WITH RECURSIVE r AS (SELECT email FROM victim UNION SELECT email FROM r) SELECT count(*) FROM r',
	'SELECT count(*) FROM victim a JOIN victim b ON a.email = b.email',
	'SET enable_hashjoin = off; SET enable_nestloop = off; SELECT count(*) FROM victim a JOIN victim b ON a.email = b.email',
	'SET enable_hashjoin = off; SET enable_mergejoin = off; SELECT count(*) FROM victim a JOIN victim b ON a.email = b.email',
	'SET enable_mergejoin = off; SET enable_nestloop = off; SELECT count(*) FROM victim a JOIN victim b USING (tok)',
	"SELECT g FROM victim, (VALUES ('a'), ('b')) v(g) WHERE email = g",
	"SELECT g FROM (VALUES ('a'), ('b')) v(g) LEFT JOIN victim ON tok = g",
	"SET enable_seqscan = off; SELECT g FROM (VALUES ('a'), ('b')) v(g), LATERAL (SELECT id FROM victim WHERE tok = g) x",
	'WITH RECURSIVE r(id, email) AS (SELECT 0, NULL::encrypted_text UNION ALL SELECT v.id, v.email FROM victim v, r WHERE r.id = 0) SEARCH BREADTH FIRST BY email SET o SELECT id FROM r ORDER BY o',
	'WITH RECURSIVE r(id, email) AS (SELECT id, email FROM victim WHERE id = 1 UNION ALL SELECT v.id, v.email FROM victim v, r WHERE v.id = r.id % 5 + 1) CYCLE email SET c USING p SELECT id, c FROM r LIMIT 9',
	'WITH RECURSIVE r AS (SELECT email FROM victim UNION SELECT email FROM r) SELECT count(*) FROM r',
	'SELECT mode() WITHIN GROUP (ORDER BY email) FROM victim',
	'SELECT count(*) OVER (ORDER BY n RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM victim',
	'SELECT hash_record(row(email)) FROM victim',
	'SELECT hash_record_extended(row(email), 1) FROM victim',
	'SELECT hash_array(ARRAY[email]) FROM victim',
	'SELECT hash_array_extended(ARRAY[n], 3) FROM victim',
	'SELECT record_eq(row(a.email), row(b.email)) FROM victim a, victim b',
	'SELECT btrecordcmp(row(a.email), row(b.email)) FROM victim a, victim b',
	'SELECT btarraycmp(ARRAY[a.email], ARRAY[b.email]) FROM victim a, victim b',
	'SELECT plpgsql_lt(a.email, b.email) FROM victim a, victim b',
	'SELECT plpgsql_eq(a.email, b.email) FROM victim a, victim b',
	'SELECT plpgsql_array(a.email, b.email) FROM victim a, victim b',
	'SELECT sql_lt(a.email, b.email) FROM victim a, victim b',
	'SELECT sql_lt_immutable(a.email, b.email) FROM victim a, victim b',
	'SELECT definer_lt(a.email, b.email) FROM victim a, victim b',
	'SELECT (email, 1)::pair < (tok, 1)::pair FROM victim',
	'SELECT (email, 1)::pair = (tok, 1)::pair FROM victim',
	'SELECT id FROM victim ORDER BY (email, 1)::pair',
	"DO \$\$ DECLARE a encrypted_text; b encrypted_text; BEGIN SELECT email INTO a FROM victim WHERE id = 2; SELECT email INTO b FROM victim WHERE id = 4; IF a = b THEN RAISE NOTICE 'same'; END IF; END \$\$",
	"DO \$\$ DECLARE a encrypted_text; BEGIN SELECT email INTO a FROM victim WHERE id = 2; CASE a WHEN 'x' THEN NULL; ELSE NULL; END CASE; END \$\$",
	"DO \$\$ DECLARE a encrypted_text[]; BEGIN a := (SELECT array_agg(email) FROM victim); IF a[2] = a[4] THEN RAISE NOTICE 'same'; END IF; END \$\$",
	"DO \$\$ DECLARE r int; a encrypted_text; BEGIN SELECT email INTO a FROM victim WHERE id = 2; FOR r IN SELECT id FROM victim WHERE email = a LOOP RAISE NOTICE '%', r; END LOOP; END \$\$",
	"DO \$\$ DECLARE r int; a encrypted_text; BEGIN SELECT tok INTO a FROM victim WHERE id = 2; SET LOCAL enable_seqscan = off; FOR r IN SELECT id FROM victim WHERE tok = a LOOP RAISE NOTICE '%', r; END LOOP; END \$\$",
	'CREATE TEMP TABLE c (s encrypted_text(\'pii\') CHECK (s < \'m\')); INSERT INTO c SELECT email FROM victim',
	'CREATE TEMP TABLE c (s encrypted_text(\'pii\')); INSERT INTO c SELECT email FROM victim; ALTER TABLE c ADD CHECK (s < \'m\')',
	'CREATE TEMP TABLE c (s encrypted_text(\'pii\')); INSERT INTO c SELECT email FROM victim; ALTER TABLE c ADD CHECK (ARRAY[s] < ARRAY[\'m\'::encrypted_text])',
	'CREATE TEMP TABLE c (s encrypted_text(\'pii\')); INSERT INTO c SELECT email FROM victim; ALTER TABLE c ADD CHECK (row(s) IN (row(\'x\'::encrypted_text)))',
	'CREATE DOMAIN pg_temp.low AS encrypted_text CHECK (VALUE < \'m\'); SELECT email::pg_temp.low FROM victim',
	'CREATE DOMAIN pg_temp.low AS encrypted_text[] CHECK (VALUE < ARRAY[\'m\'::encrypted_text]); SELECT ARRAY[email]::pg_temp.low FROM victim',
	'CREATE TEMP TABLE c (s encrypted_text(\'pii\')); CREATE FUNCTION pg_temp.t() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE \'low\'; RETURN NEW; END$$; CREATE TRIGGER t BEFORE INSERT ON c FOR EACH ROW WHEN (NEW.s < \'m\') EXECUTE FUNCTION pg_temp.t(); INSERT INTO c SELECT email FROM victim',
	'CREATE TEMP TABLE c (s encrypted_text(\'pii\')); INSERT INTO c SELECT email FROM victim; ALTER TABLE c ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON c USING (s < \'m\'); SELECT count(*) FROM c',
	'MERGE INTO victim v USING (VALUES (\'a\')) g(s) ON v.email = g.s WHEN MATCHED THEN DO NOTHING',
	'UPDATE victim SET id = id FROM (VALUES (\'x\')) g(s) WHERE email = g.s',
	'DELETE FROM victim WHERE email < \'a\'',
	'SELECT id FROM victim WHERE email BETWEEN \'a\' AND \'b\'',
	'SELECT id FROM victim WHERE email BETWEEN SYMMETRIC \'b\' AND \'a\'',
	'SELECT id FROM victim WHERE n > 1',
	'SELECT id FROM victim WHERE NOT email = \'a\' OR email <> \'b\'',
	'SELECT id FROM victim WHERE born < \'1980-01-01\'',
	'SET enable_seqscan = off; SELECT id FROM victim WHERE ord > \'m\'',
	'SET enable_seqscan = off; SET enable_sort = off; SELECT id FROM victim ORDER BY ord',
	'SET enable_seqscan = off; SET enable_sort = off; SELECT id FROM victim ORDER BY ord, id',
	'SET enable_seqscan = off; SET enable_sort = off; SELECT id FROM victim ORDER BY tok USING #<#',
	'SET enable_seqscan = off; SELECT a.id FROM victim a JOIN victim b ON a.ord = b.ord AND a.id <> b.id',
);
# Equality with a constant in disguise is what "search" allows.
my $searches = qr/\(\('x', 1\)|CASE a WHEN 'x'|IN \(row\('x'|^MERGE|^UPDATE/;
for my $role (attackers(), 'searcher')
{
	my $n = 0;
	for my $sql (@comparisons)
	{
		$n++;
		next if $role eq 'searcher' && $sql =~ $searches || $role eq 'super' && $sql =~ /CREATE POLICY/;
		denied($node, $role, $sql, "comparison $n: " . substr($sql =~ s/\s+/ /gr, 0, 100));
	}
}

# What "search" is for, and nothing beyond it.
my $email = secret();
is((as($node, 'searcher', "SELECT id FROM victim WHERE email = '$email' ORDER BY id"))[0], "2\n4",
	'searcher: equality with a constant');
is((as($node, 'searcher', "PREPARE q(text) AS SELECT count(*) FROM victim WHERE tok = \$1; EXECUTE q('$email')"))[0], '2',
	'searcher: equality with a parameter');
is((as($node, 'searcher', "SET enable_seqscan = off; SELECT count(*) FROM victim WHERE tok = '$email'"))[0], '2',
	'searcher: equality by an index');
is((as($node, 'searcher', 'SET enable_seqscan = off; SELECT count(*) FROM victim'))[0], '5',
	'searcher: counting all rows needs no index that is denied');
denied($node, 'searcher', "SET enable_seqscan = off; SELECT id FROM victim WHERE tok #<# 'x'", 'range of tokens by an index');
for my $role (attackers())
{
	denied($node, $role, "SELECT id FROM victim WHERE email = 'x'", 'equality with a constant');
	denied($node, $role, "PREPARE q(text) AS SELECT count(*) FROM victim WHERE tok = \$1; EXECUTE q('x')",
		'equality with a parameter');
}

# The order in which rows come, without asking for one.
for my $role (attackers(), 'searcher')
{
	for my $setting ('', 'SET enable_seqscan = off;', 'SET enable_seqscan = off; SET enable_bitmapscan = off;')
	{
		for my $query ('SELECT id FROM victim', 'SELECT id FROM victim WHERE id > 0', 'SELECT id FROM victim WHERE ord IS NOT NULL',
			'SELECT id FROM victim WHERE tok IS NOT NULL', 'SELECT a.id FROM victim a, LATERAL (SELECT id FROM victim b WHERE b.id = a.id) x')
		{
			my ($out) = as($node, $role, "$setting $query");
			is($out =~ s/\n/,/gr, '1,2,3,4,5', "$role: rows in no telling order: $setting $query");
		}
	}
}

# Comparisons of bytes, which PostgreSQL has for any type, say nothing: equal
# values are anywhere among copies of themselves, tokens or not.
for my $column (qw(email tok))
{
	my ($out) = as($node, 'nobody', <<"SQL");
CREATE TEMP TABLE copies (s encrypted_text('pii', 'searchable'));
INSERT INTO copies SELECT '$email' FROM generate_series(1, 60);
SELECT count(*) FILTER (WHERE x *< y) BETWEEN 1 AND 59, count(*) FILTER (WHERE x *= y)
FROM (SELECT row($column, 1) AS x FROM victim WHERE id = 3) v, (SELECT row(s, 1) AS y FROM copies) c
SQL
	like($out, $column eq 'tok' ? qr/^t\|0$/ : qr/\|0$/, "record images of $column have no order and no equals");
}

log_conceals($node);
$node->stop;
done_testing();
