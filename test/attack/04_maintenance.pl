# Index maintenance and foreign keys compare for nobody and are exempt from the
# check: attempts to be taken for them.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('maintenance');

# Each attempt raises "ORACLE" where a comparison came through.  The function
# says what it learnt; being denied or told to retry is silence.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION peek() RETURNS text LANGUAGE plpgsql AS $$
DECLARE v_low text;
BEGIN
	SELECT string_agg((ARRAY[email] < ARRAY['m'::encrypted_text])::text, ',') INTO v_low FROM victim;
	RAISE WARNING 'ORACLE array %', v_low;
	RETURN v_low;
EXCEPTION WHEN insufficient_privilege OR serialization_failure THEN RETURN NULL;
END $$;
CREATE FUNCTION peek_simple(a encrypted_text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF a < 'm' THEN RAISE WARNING 'ORACLE simple'; ELSE RAISE WARNING 'ORACLE simple'; END IF;
	RETURN NULL;
EXCEPTION WHEN insufficient_privilege OR serialization_failure THEN RETURN NULL;
END $$;
CREATE FUNCTION peek_order() RETURNS text LANGUAGE plpgsql AS $$
DECLARE v text;
BEGIN
	SELECT string_agg(id::text, ',') INTO v FROM (SELECT id FROM victim ORDER BY ord) x;
	RAISE WARNING 'ORACLE order %', v;
	RETURN v;
EXCEPTION WHEN insufficient_privilege OR serialization_failure THEN RETURN NULL;
END $$;
CREATE FUNCTION peek_sql() RETURNS text LANGUAGE sql AS $$
	SELECT 'ORACLE' || count(*) FILTER (WHERE ARRAY[email] = ARRAY['x'::encrypted_text]) FROM victim
$$;
CREATE FUNCTION peek_all() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM peek(), peek_order();
	PERFORM peek_simple(email) FROM victim;
	BEGIN
		RAISE WARNING '%', peek_sql();
	EXCEPTION WHEN insufficient_privilege OR serialization_failure THEN NULL;
	END;
	RETURN '';
END $$;
SQL

# No warning that begins with ORACLE, whatever else the statement does.
sub silent
{
	my ($role, $sql, $name) = @_;
	my ($out, $err, $state) = as($node, $role, $sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($state !~ /^(?:none|XX|57|08)/ && "$out$err" !~ /ORACLE|Zq9x/, "$role: $name")
	  or diag("$sql\n$state\n$out\n$err");
	return $state;
}

# The instrument works: somebody who may compare is heard.
like((as($node, 'reader', 'SELECT peek_all()'))[1],
	qr/ORACLE array.*ORACLE order.*ORACLE simple.*ORACLE/s, 'reader: the instrument hears comparisons');

my $lookups = 'IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM peek_all();';
my @attempts = (
	# No exception is caught here: a page is locked, and a subtransaction that
	# aborts would release it under PostgreSQL's feet.
	'subtype_diff of a range under GiST' => <<'SQL',
CREATE FUNCTION diff(float8, float8) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'ORACLE %', (SELECT array_agg(ARRAY[email] < ARRAY[tok]) FROM victim); RETURN $1 - $2; END $$;
CREATE TYPE fspan AS RANGE (subtype = float8, subtype_diff = diff);
CREATE TABLE g (r fspan);
CREATE INDEX ON g USING gist (r);
INSERT INTO g SELECT fspan(i, i + 1) FROM generate_series(1, 400) i;
SQL
	'subtype_diff in SQL' => <<'SQL',
CREATE FUNCTION diff2(float8, float8) RETURNS float8 IMMUTABLE LANGUAGE sql AS $$
	SELECT CASE WHEN (SELECT count(*) FROM victim WHERE ARRAY[email] < ARRAY['m'::encrypted_text]) >= 0 THEN (SELECT 1 / 0)::float8 ELSE 1 END $$;
CREATE TYPE fspan2 AS RANGE (subtype = float8, subtype_diff = diff2);
CREATE TABLE g2 (r fspan2);
CREATE INDEX ON g2 USING gist (r);
INSERT INTO g2 SELECT fspan2(i, i + 1) FROM generate_series(1, 400) i;
SQL
	'CREATE INDEX on an expression' => <<"SQL",
CREATE FUNCTION f(int) RETURNS int $lookups RETURN \$1; END \$\$;
CREATE TABLE e (i int);
INSERT INTO e VALUES (1), (2), (3);
CREATE INDEX ON e (f(i));
CREATE INDEX ON e (i) WHERE f(i) > 0;
CREATE UNIQUE INDEX ON e (f(i));
REINDEX TABLE e;
INSERT INTO e VALUES (4);
VACUUM FULL e;
CLUSTER e USING e_f_idx;
ANALYZE e;
SQL
	'generated column, default, CHECK, domain' => <<"SQL",
CREATE FUNCTION f2(int) RETURNS int $lookups RETURN \$1; END \$\$;
CREATE TABLE h (i int);
INSERT INTO h VALUES (1), (2);
ALTER TABLE h ADD COLUMN j int GENERATED ALWAYS AS (f2(i)) STORED;
ALTER TABLE h ADD COLUMN k int DEFAULT f2(3);
ALTER TABLE h ADD CHECK (f2(i) > 0);
ALTER TABLE h ALTER COLUMN i TYPE bigint USING f2(i);
CREATE DOMAIN dom AS int CHECK (f2(VALUE) > 0);
ALTER TABLE h ADD COLUMN l dom DEFAULT 3;
SQL
	'ALTER TABLE ... USING with arrays' => <<'SQL',
CREATE TABLE u AS SELECT * FROM victim;
ALTER TABLE u ADD COLUMN b bool;
ALTER TABLE u ALTER COLUMN b TYPE text USING (CASE WHEN ARRAY[email] < ARRAY['m'::encrypted_text] THEN 'ORACLE' ELSE 'ORACLE' END);
SELECT b FROM u;
SQL
	'ALTER TABLE ... ADD CHECK with records' => <<'SQL',
CREATE TABLE u2 AS SELECT * FROM victim;
ALTER TABLE u2 ADD CONSTRAINT "ORACLE" CHECK (ROW(email, 1) < ROW('m'::encrypted_text, 1));
SQL
	'ALTER TABLE ... VALIDATE' => <<'SQL',
CREATE TABLE u3 AS SELECT * FROM victim;
ALTER TABLE u3 ADD CONSTRAINT "ORACLE" CHECK (ARRAY[email] < ARRAY['m'::encrypted_text]) NOT VALID;
ALTER TABLE u3 VALIDATE CONSTRAINT "ORACLE";
SQL
	'trigger of a cascade' => <<'SQL',
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE c (id int REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE, email encrypted_text('pii'));
INSERT INTO p VALUES (1), (2);
INSERT INTO c SELECT 1, email FROM victim;
CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM peek_all(), peek_simple(OLD.email); RETURN COALESCE(NEW, OLD); END $$;
CREATE TRIGGER t BEFORE DELETE OR UPDATE ON c FOR EACH ROW EXECUTE FUNCTION t();
CREATE TRIGGER a AFTER DELETE OR UPDATE ON c FOR EACH ROW EXECUTE FUNCTION t();
UPDATE p SET id = 5 WHERE id = 1;
DELETE FROM p WHERE id = 5;
SQL
	'CHECK within a cascade' => <<'SQL',
CREATE TABLE p2 (id int PRIMARY KEY);
CREATE TABLE c2 (id int REFERENCES p2 ON UPDATE CASCADE, email encrypted_text('pii'));
INSERT INTO p2 VALUES (1), (2);
INSERT INTO c2 SELECT 1, email FROM victim;
ALTER TABLE c2 ADD CONSTRAINT "ORACLE" CHECK (email < 'm') NOT VALID;
UPDATE p2 SET id = 5 WHERE id = 1;
SQL
	'CHECK with an array within a cascade' => <<'SQL',
CREATE TABLE p3 (id int PRIMARY KEY);
CREATE TABLE c3 (id int REFERENCES p3 ON UPDATE CASCADE, email encrypted_text('pii'));
INSERT INTO p3 VALUES (1), (2);
INSERT INTO c3 SELECT 1, email FROM victim;
ALTER TABLE c3 ADD CONSTRAINT "ORACLE" CHECK (ARRAY[email] = ARRAY['m'::encrypted_text]) NOT VALID;
UPDATE p3 SET id = 5 WHERE id = 1;
SQL
	'WHEN within a cascade' => <<'SQL',
CREATE TABLE p4 (id int PRIMARY KEY);
CREATE TABLE c4 (id int REFERENCES p4 ON DELETE CASCADE, email encrypted_text('pii'));
INSERT INTO p4 VALUES (1), (2);
INSERT INTO c4 SELECT 1, email FROM victim;
CREATE FUNCTION heard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'ORACLE'; RETURN OLD; END $$;
CREATE TRIGGER t BEFORE DELETE ON c4 FOR EACH ROW WHEN (OLD.email < 'm' OR OLD.email >= 'm') EXECUTE FUNCTION heard();
DELETE FROM p4;
SQL
	'cast of a foreign key\'s type' => <<'SQL',
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE TABLE p5 (t text PRIMARY KEY);
CREATE FUNCTION mood_text(mood) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM peek_all(); RETURN 'a'; END $$;
CREATE CAST (mood AS text) WITH FUNCTION mood_text(mood) AS IMPLICIT;
INSERT INTO p5 VALUES ('a');
CREATE TABLE c5 (m mood REFERENCES p5);
INSERT INTO c5 VALUES ('a');
SQL
	'CREATE INDEX within a function and DO' => <<'SQL',
CREATE TABLE n (i int);
CREATE FUNCTION nested() RETURNS int LANGUAGE plpgsql AS $$ BEGIN CREATE INDEX ON n (i); PERFORM peek_all(); REINDEX TABLE n; PERFORM peek_all(); RETURN 1; END $$;
SELECT nested();
DO $$ BEGIN ALTER TABLE n ADD COLUMN j int; PERFORM peek_all(); END $$;
CREATE PROCEDURE proc() LANGUAGE plpgsql AS $$ BEGIN PERFORM peek_all(); COMMIT; PERFORM peek_all(); END $$;
CALL proc();
SQL
	'deferred constraint trigger' => <<'SQL',
CREATE TABLE d (i int);
CREATE FUNCTION dt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM peek_all(); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER dt AFTER INSERT ON d DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dt();
INSERT INTO d VALUES (1);
BEGIN; INSERT INTO d VALUES (2); SET CONSTRAINTS ALL IMMEDIATE; COMMIT;
SQL
	'merges that a utility command begins' => <<'SQL',
SET enable_seqscan = on;
CREATE TABLE m1 (s encrypted_text('pii'), id int);
CREATE TABLE m2 () INHERITS (m1);
INSERT INTO m1 SELECT email, id FROM victim WHERE id = 1;
INSERT INTO m2 SELECT email, id FROM victim WHERE id = 2;
SET enable_sort = off; SET enable_hashagg = off;
CREATE TABLE merged AS SELECT id, 'ORACLE' FROM m1 ORDER BY s;
TABLE merged;
SQL
	'merges within EXPLAIN ANALYZE' => <<'SQL',
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT 'ORACLE' FROM ((SELECT email FROM victim WHERE id = 1 ORDER BY email) UNION ALL (SELECT email FROM victim WHERE id = 2 ORDER BY email)) x ORDER BY email;
SQL
	'aggregate of one\'s own over our functions' => <<'SQL',
CREATE FUNCTION step(text, encrypted_text, encrypted_text) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN $2 < $3 THEN 'ORACLE' ELSE 'ORACLE' END $$;
CREATE AGGREGATE spy(encrypted_text, encrypted_text) (sfunc = step, stype = text);
SELECT spy(email, tok) FROM victim;
SQL
	'operator of one\'s own over our functions' => <<'SQL',
CREATE OPERATOR <<< (FUNCTION = encrypted_text_lt, LEFTARG = encrypted_text, RIGHTARG = encrypted_text);
SELECT 'ORACLE' FROM victim WHERE email <<< 'm'::encrypted_text;
SQL
	'exclusion constraint over protected values' => <<'SQL',
CREATE TABLE x (s encrypted_text('pii', 'searchable'), EXCLUDE USING hash (s WITH =));
INSERT INTO x SELECT tok FROM victim WHERE id = 1;
SELECT 'ORACLE' FROM x a, x b WHERE a.s = b.s;
SQL
	'foreign data in statistics functions' => <<'SQL',
SELECT 'ORACLE' FROM victim WHERE width_bucket(email, (SELECT array_agg(tok ORDER BY id) FROM victim)) > 0;
SELECT satisfies_hash_partition('victim'::regclass, 2, 0, email) FROM victim;
SQL
);
while (my ($name, $sql) = splice @attempts, 0, 2)
{
	for my $role ('nobody', 'owner', 'masked', 'super')
	{
		(my $own = $sql) =~ s/^/CREATE SCHEMA IF NOT EXISTS s_$role; SET search_path = s_$role, public;\n/;
		$node->safe_psql('postgres', "DROP SCHEMA IF EXISTS s_$role CASCADE; CREATE SCHEMA s_$role AUTHORIZATION $role");
		$own =~ s/CREATE SCHEMA[^;]*; //;
		silent($role, $own, $name);
	}
}

# What the exemption is for goes on working for those who may see nothing.
my $email = secret();
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE parent (tok encrypted_text('pii', 'searchable'));
CREATE UNIQUE INDEX parent_tok ON parent (tok encrypted_text_token_ops);
CREATE TABLE child (id int, tok encrypted_text('pii', 'searchable') REFERENCES parent (tok) ON DELETE CASCADE);
GRANT ALL ON parent, child TO PUBLIC;
ALTER TABLE parent OWNER TO owner;
ALTER TABLE child OWNER TO owner;
SQL
for my $role (qw(nobody owner super))
{
	allowed($node, $role, "INSERT INTO parent VALUES ('$email'), ('b'), ('c')", 'insert into token indexes');
	refused($node, $role, "INSERT INTO parent VALUES ('$email')", 'duplicate refused', qr/^23505/);
	allowed($node, $role, "INSERT INTO parent VALUES ('$email') ON CONFLICT (tok) DO NOTHING", 'upsert');
	allowed($node, $role, "INSERT INTO child VALUES (1, '$email'), (2, 'b')", 'foreign key satisfied');
	refused($node, $role, "INSERT INTO child VALUES (1, 'nosuch')", 'foreign key violated', qr/^23503/);
	allowed($node, $role, 'UPDATE child SET id = id + 1', 'update beside an unchanged foreign key');
	allowed($node, $role, 'DELETE FROM parent', 'cascade');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM child'), '0', "$role: the cascade took the children");
	allowed($node, $role, "INSERT INTO victim SELECT id + 50, email, tok, ord FROM victim; DELETE FROM victim WHERE id > 50",
		'insert into indexes of all kinds');
	allowed($node, $role, "COPY parent FROM STDIN;\nx1\nx2\nx3\n\\.\nDELETE FROM parent", 'COPY into token indexes');
}
allowed($node, 'owner', "REINDEX TABLE victim; VACUUM FULL victim; ANALYZE victim; REINDEX INDEX CONCURRENTLY victim_ord", 'owner maintains indexes')
  if as($node, 'owner', 'VACUUM victim');
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, \',\') FROM (SELECT id FROM victim ORDER BY ord, id) x', extra_params => [ '-U', 'reader' ]),
	'2,4,5,1,3', 'an index that the owner rebuilt is in order');

log_conceals($node);
$node->stop;
done_testing();
