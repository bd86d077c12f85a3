-- length-tells-the-value: 'padded' rounds lengths up
\set VERBOSITY terse
SELECT dataprotect.create_key('padding');
CREATE TABLE answers (id int, loose encrypted_text('padding'), padded encrypted_text('padding', 'padded'),
                      amount encrypted_numeric('padding', 'padded', 'searchable', '(20,2)'),
                      raw encrypted_bytea('padding', 'padded'),
                      flag encrypted_bool('padding'), doc encrypted_jsonb('padding'));
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = 'answers'::regclass AND attnum > 0 ORDER BY attnum;
INSERT INTO answers VALUES
    (1, 'yes', 'yes', 1, '\x', true, '{"hiv": true}'),
    (2, 'no', 'no', 9999.12, '\x80', false, '{"hiv": false}'),
    (3, '', '', NULL, '\x8000', NULL, NULL);
-- one length a column where it is padded
SELECT count(DISTINCT pg_column_size(loose)) AS loose, count(DISTINCT pg_column_size(padded)) AS padded,
       count(DISTINCT pg_column_size(amount)) AS amount, count(DISTINCT pg_column_size(raw)) AS raw,
       count(DISTINCT pg_column_size(flag)) AS flag, count(DISTINCT pg_column_size(doc)) AS doc FROM answers;
SELECT dataprotect.grant_access('padding', current_user::regrole, 'reveal') > 0 AS granted;
SELECT id, loose::text, padded::text, amount::numeric, raw::bytea, flag::bool, doc::jsonb FROM answers ORDER BY id;
-- every length comes back, and steps are powers of two
INSERT INTO answers (id, padded) SELECT 100 + n, repeat('x', n) FROM generate_series(0, 1100) n;
SELECT count(*) FILTER (WHERE length(padded::text) = id - 100 AND padded::text = repeat('x', id - 100)) AS right_ones,
       array_agg(DISTINCT pg_column_size(padded::encrypted_text) - CASE WHEN id - 100 < 64 THEN 38 ELSE 41 END ORDER BY pg_column_size(padded::encrypted_text) - CASE WHEN id - 100 < 64 THEN 38 ELSE 41 END)
       FILTER (WHERE id IN (100, 115, 116, 131, 132, 163, 164, 1123)) AS some_lengths
    FROM answers WHERE id >= 100;
-- equality is that of the value, padded or not
SELECT a.id, b.id FROM answers a JOIN answers b ON a.loose = b.padded WHERE a.id < 10 AND b.id < 10 ORDER BY 1;
SELECT id FROM answers WHERE amount = 1;
-- a value moved between the two takes the form of its column, and keeps it through reencrypt
UPDATE answers SET padded = loose, loose = padded WHERE id < 10;
SELECT count(DISTINCT pg_column_size(loose)) AS loose, count(DISTINCT pg_column_size(padded)) AS padded FROM answers WHERE id < 10;
SELECT dataprotect.rotate_key('padding');
CALL dataprotect.reencrypt('answers');
SELECT count(DISTINCT pg_column_size(padded)) AS padded FROM answers WHERE id < 10;
SELECT id, padded::text FROM answers WHERE id < 10 ORDER BY id;
SELECT rel, col, sum(failures) AS failures FROM dataprotect.verify('answers') GROUP BY rel, col ORDER BY col::text;
-- a bound column as well
CREATE TABLE padded_account (id int PRIMARY KEY, answer encrypted_text('padding', 'padded'));
SELECT dataprotect.create_account_type('padded', 'padded_account', 'id');
SELECT dataprotect.bind_subject('padded_account', 'padded', 'id');
INSERT INTO padded_account VALUES (1, 'yes'), (2, 'no');
SELECT count(DISTINCT pg_column_size(answer)) AS bound FROM padded_account;
SELECT id, answer::text FROM padded_account ORDER BY id;
-- made types: labels of enums are padded unasked
CREATE TYPE answer AS ENUM ('yes', 'no', 'will not say');
SELECT dataprotect.create_encrypted_type('answer') IS NOT NULL AS made;
CREATE TABLE enum_answers (id int, a encrypted_answer('padding'));
INSERT INTO enum_answers VALUES (1, 'yes'), (2, 'will not say');
SELECT count(DISTINCT pg_column_size(a)) AS labels FROM enum_answers;
CREATE TABLE twice (a encrypted_text('padding', 'padded', 'padded'));
DROP TABLE answers, padded_account, enum_answers;
DROP TYPE encrypted_answer CASCADE;
DROP TYPE answer;
