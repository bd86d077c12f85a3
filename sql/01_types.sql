-- Every base type: what went in comes out, compares and sorts as the base type does.
SELECT current_user AS su \gset
\c - regress_app
CREATE TABLE every (
    id int PRIMARY KEY,
    c_text encrypted_text('pii'), c_bytea encrypted_bytea('pii'), c_int2 encrypted_int2('pii'), c_int4 encrypted_int4('pii'),
    c_int8 encrypted_int8('pii'), c_float4 encrypted_float4('pii'), c_float8 encrypted_float8('pii'),
    c_numeric encrypted_numeric('pii'), c_bool encrypted_bool('pii'), c_date encrypted_date('pii'), c_time encrypted_time('pii'),
    c_timestamp encrypted_timestamp('pii'), c_timestamptz encrypted_timestamptz('pii'), c_interval encrypted_interval('pii'),
    c_uuid encrypted_uuid('pii'), c_inet encrypted_inet('pii'), c_jsonb encrypted_jsonb('pii'));
CREATE TABLE plain (
    id int PRIMARY KEY,
    c_text text, c_bytea bytea, c_int2 int2, c_int4 int4, c_int8 int8, c_float4 float4, c_float8 float8, c_numeric numeric,
    c_bool bool, c_date date, c_time time, c_timestamp timestamp, c_timestamptz timestamptz, c_interval interval,
    c_uuid uuid, c_inet inet, c_jsonb jsonb);
INSERT INTO plain VALUES
    (1, 'Ada', '\x00ff', -32768, -2147483648, -9223372036854775808, -1.5, 2.2250738585072014e-308, -0.000000000000000001, false,
     '4713-01-01 BC', '00:00', '1999-12-31 23:59:59.999999', '1999-12-31 23:59:59+00', '-1 year 2 days -3 hours',
     '00000000-0000-0000-0000-000000000000', '::1', '{"b": 1, "a": [1.50, null, "x"]}'),
    (2, '', '\x', 0, 0, 0, '-0', 'NaN', 'NaN', true, 'infinity', '23:59:59.999999', '-infinity', 'infinity', '0',
     'ffffffff-ffff-ffff-ffff-ffffffffffff', '10.1.2.3/8', '[]'),
    (3, 'Ünïcödé ☃ ''quoted''', decode(repeat('ab', 3000), 'hex'), 32767, 2147483647, 9223372036854775807, 'Infinity', '-Infinity',
     12345678901234567890.123456789, NULL, '2000-02-29', '12:30', '2000-02-29 12:30', '2000-02-29 12:30+02', '178000000 years',
     '123e4567-e89b-12d3-a456-426614174000', '2001:db8::/32', 'null'),
    (4, repeat('long text ', 2000), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO every SELECT * FROM plain;
SELECT * FROM every WHERE id < 3;
-- casts give back what the table was filled from, in the base type
SELECT count(*) AS same FROM every e JOIN plain p USING (id)
WHERE row(e.c_text::text, e.c_bytea::bytea, e.c_int2::int2, e.c_int4::int4, e.c_int8::int8, e.c_float4::float4, e.c_float8::float8,
          e.c_numeric::numeric, e.c_bool::bool, e.c_date::date, e.c_time::time, e.c_timestamp::timestamp,
          e.c_timestamptz::timestamptz, e.c_interval::interval, e.c_uuid::uuid, e.c_inet::inet, e.c_jsonb::jsonb)::text
    = row(p.c_text, p.c_bytea, p.c_int2, p.c_int4, p.c_int8, p.c_float4, p.c_float8, p.c_numeric, p.c_bool, p.c_date, p.c_time,
          p.c_timestamp, p.c_timestamptz, p.c_interval, p.c_uuid, p.c_inet, p.c_jsonb)::text;
-- whatever the session's settings were when it was written
SET datestyle = 'SQL, DMY'; SET intervalstyle = iso_8601; SET extra_float_digits = -5; SET timezone = 'Asia/Tokyo';
INSERT INTO every (id, c_float8, c_date, c_timestamptz, c_interval) SELECT id + 100, c_float8, c_date, c_timestamptz, c_interval FROM plain;
RESET datestyle; RESET intervalstyle; RESET extra_float_digits; RESET timezone;
SELECT count(*) AS same FROM every e JOIN plain p ON e.id = p.id + 100
WHERE row(e.c_float8::float8, e.c_date::date, e.c_timestamptz::timestamptz, e.c_interval::interval)::text
    = row(p.c_float8, p.c_date, p.c_timestamptz, p.c_interval)::text;
DELETE FROM every WHERE id > 100;
-- order, equality and aggregates are the base type's
SELECT (SELECT array_agg(id ORDER BY c_numeric, id) FROM every) = (SELECT array_agg(id ORDER BY c_numeric, id) FROM plain) AS "numeric",
       (SELECT array_agg(id ORDER BY c_text DESC, id) FROM every) = (SELECT array_agg(id ORDER BY c_text DESC, id) FROM plain) AS "text",
       (SELECT array_agg(id ORDER BY c_float8 NULLS FIRST, id) FROM every) = (SELECT array_agg(id ORDER BY c_float8 NULLS FIRST, id) FROM plain) AS float8,
       (SELECT array_agg(id ORDER BY c_interval, id) FROM every) = (SELECT array_agg(id ORDER BY c_interval, id) FROM plain) AS "interval",
       (SELECT array_agg(id ORDER BY c_inet, id) FROM every) = (SELECT array_agg(id ORDER BY c_inet, id) FROM plain) AS inet,
       (SELECT array_agg(id ORDER BY c_jsonb, id) FROM every) = (SELECT array_agg(id ORDER BY c_jsonb, id) FROM plain) AS jsonb,
       (SELECT array_agg(id ORDER BY c_uuid, id) FROM every) = (SELECT array_agg(id ORDER BY c_uuid, id) FROM plain) AS uuid,
       (SELECT array_agg(id ORDER BY c_bytea, id) FROM every) = (SELECT array_agg(id ORDER BY c_bytea, id) FROM plain) AS bytea;
SELECT sum(c_int4), avg(c_int2), min(c_text), max(c_date), bool_or(c_bool), count(DISTINCT c_time) FROM every;
SELECT id FROM every WHERE c_int4 > 0 AND c_numeric >= 1.5 AND c_text <> 'x' AND c_uuid = '123e4567-e89b-12d3-a456-426614174000';
SELECT id FROM every WHERE c_int8 IN (0, 9223372036854775807) ORDER BY id;
SELECT id FROM every WHERE c_float8 = 'NaN' OR c_float4 = 0 OR c_jsonb = '{"a": [1.5, null, "x"], "b": 1.0}' ORDER BY id;
SELECT c_text || '!' AS concat, upper(c_text), c_text LIKE 'A%' AS l, c_text ILIKE 'aDa' AS il, length(c_text), c_jsonb -> 'a' -> 0 AS j,
       c_date + 1 AS d, c_int4 + 1 AS i, extract(year FROM c_timestamp) AS y, coalesce(c_text, 'none') AS co
FROM every WHERE id = 1;
SELECT e.id, p.id FROM every e JOIN plain p ON e.c_text = p.c_text ORDER BY 1;
SELECT e.id, f.id FROM every e JOIN every f USING (c_numeric) ORDER BY 1;
SELECT c_text, count(*) FROM (SELECT c_text FROM every WHERE id < 3 UNION ALL SELECT c_text FROM every WHERE id < 3) u GROUP BY 1 ORDER BY 1;
-- varchar, char(n), name parameters and literals of every kind
PREPARE by_varchar(varchar) AS SELECT id FROM every WHERE c_text = $1;
PREPARE by_bpchar(bpchar) AS SELECT id FROM every WHERE c_text = $1;
PREPARE by_enc(encrypted_text) AS SELECT id FROM every WHERE c_text = $1;
EXECUTE by_varchar('Ada'); EXECUTE by_bpchar('Ada   '); EXECUTE by_enc('Ada');
SELECT id FROM every WHERE c_text = 'Ada'::name::text;
SELECT id FROM every WHERE c_text = ANY ('{Ada,Bob}'::text[]);
-- nothing is stored under the literal key
UPDATE every SET c_text = 'Grace' WHERE id = 1;
\c - :su
SELECT DISTINCT v.name, v.purpose FROM every e JOIN dataprotect.key_version k ON k.key_id = dataprotect._envelope_key_id(e.c_text)
JOIN dataprotect.key_versions v ON v.key_id = to_hex(k.key_id);
-- 37 bytes over the plaintext, and one or four of a varlena
SELECT id, pg_column_size(c_text) - octet_length('Grace') AS over, pg_column_size(c_int8) - 8 AS over_int8 FROM every WHERE id = 1;
-- modifiers
\c - regress_app
CREATE TABLE m (a encrypted_text('pii', '(5)'), b encrypted_numeric('money', '(5,2)'), c encrypted_timestamp('pii', '(0)'));
\d m
INSERT INTO m VALUES ('short', 1.005, '2020-01-01 00:00:00.7');
SELECT * FROM m;
INSERT INTO m (a) VALUES ('longer');
INSERT INTO m (b) VALUES (1000);
INSERT INTO m (b) VALUES ('12x');
CREATE TABLE bad (a encrypted_text(''));
CREATE TABLE bad (a encrypted_text('searchable'));
CREATE TABLE bad (a encrypted_text('pii', 'sorted'));
CREATE TABLE bad (a encrypted_text('pii', 'ordered', 'ordered'));
CREATE TABLE bad (a encrypted_text('pii', '(x)'));
CREATE TABLE bad (a encrypted_text('pii', '(-1)'));
CREATE TABLE bad (a encrypted_int4('pii', '(4)'));
CREATE TABLE bad (a encrypted_bool('pii', 'searchable'));
CREATE TABLE unknown_key (a encrypted_text('nokey'));
INSERT INTO unknown_key VALUES ('x');
DROP TABLE unknown_key, m;
\c - :su
-- a type of one's own, and types that cannot be
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
SELECT dataprotect.create_encrypted_type('mood');
SELECT dataprotect.create_encrypted_type('mood');
SELECT dataprotect.create_encrypted_type('int4[]');
SELECT dataprotect.create_encrypted_type('varchar');
SELECT dataprotect.create_encrypted_type('pg_class');
\c - regress_app
CREATE TABLE moods (m encrypted_mood('pii'));
INSERT INTO moods VALUES ('happy'), ('sad');
SELECT m FROM moods ORDER BY m;
INSERT INTO moods VALUES ('angry');
SELECT m = 'sad' AS is_sad FROM moods ORDER BY 1;
DROP TABLE moods;
