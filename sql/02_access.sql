-- What each privilege shows, and refuses.
SELECT current_user AS su \gset
\c - regress_app
CREATE TABLE people (id int PRIMARY KEY, email encrypted_text('pii','searchable'), name encrypted_text('hr'), pay encrypted_numeric('money'), birth encrypted_date('born'));
INSERT INTO people VALUES (1, 'ada@example.org', 'Ada', 100.5, '1815-12-10'), (2, 'grace@example.org', 'Grace', 200, '1906-12-09');
GRANT SELECT, INSERT, UPDATE ON people TO regress_mask, regress_search, regress_none;
SELECT * FROM people ORDER BY email;
-- mask: the value is its mask
\c - regress_mask
SELECT * FROM people;
SELECT email::text, upper(name), pay + 1 AS pay, birth + 1 AS birth, name || '!' AS concat FROM people;
SELECT sum(pay), min(birth), string_agg(name, ',') FROM people;
SELECT id FROM people WHERE email = 'ada@example.org';
SELECT id FROM people ORDER BY name;
SELECT count(*) FROM people GROUP BY pay;
-- search: masked, and equality against a constant or parameter
\c - regress_search
SELECT email FROM people;
SELECT id FROM people WHERE email = 'ada@example.org';
PREPARE s(text) AS SELECT id FROM people WHERE email = $1;
EXECUTE s('grace@example.org');
SELECT id FROM people WHERE email <> 'ada@example.org';
SELECT id FROM people WHERE email < 'b';
SELECT id FROM people ORDER BY email;
SELECT DISTINCT email FROM people;
SELECT a.id FROM people a JOIN people b ON a.email = b.email;
SELECT p.id FROM people p JOIN (VALUES ('ada@example.org'), ('x')) v(g) ON p.email = v.g;
SELECT id FROM people WHERE email LIKE 'ada%';
SELECT id FROM people WHERE name = 'Ada';
-- none: ciphertext, and no operation
\c - regress_none
SELECT left(email::text, 7) FROM people;
SELECT left(format('%s', email), 7) AS email, left(to_json(name)::text, 8) AS name FROM people WHERE id = 1;
SELECT id FROM people WHERE email = 'ada@example.org';
SELECT id FROM people WHERE email = 'nobody@example.org';
SELECT id FROM people ORDER BY email;
SELECT count(DISTINCT email) FROM people;
SELECT max(pay) FROM people;
SELECT pay::int FROM people;
SELECT row(email) = row(email) FROM people;
SELECT ARRAY[email] < ARRAY[email] FROM people;
SELECT array_position(array_agg(email), 'ada@example.org') FROM people;
SELECT encrypted_text_hash(email) FROM people;
SELECT encrypted_text_cmp(email, email) FROM people;
SELECT encrypted_text_token_cmp(email, email) FROM people;
SELECT email OPERATOR(pg_catalog.#<#) email FROM people;
-- writing needs no grant, and is not reading
INSERT INTO people VALUES (3, 'linus@example.org', 'Linus', 1, '1969-12-28');
UPDATE people SET pay = 2 WHERE id = 3;
UPDATE people SET pay = pay + 1 WHERE id = 3;
UPDATE people SET name = email WHERE id = 3;
-- ciphertext as input: refused for what it is, for whom it is not
SELECT 'enc:v1:AAAA'::encrypted_text;
SET dataprotect.input = 'ciphertext';
INSERT INTO people (id, email) VALUES (4, 'enc:v1:AAAA');
RESET dataprotect.input;
-- the table's owner and a superuser have no right by default
\c - :su
SELECT pay::numeric FROM people;
SELECT id FROM people ORDER BY pay;
-- nor does the superuser get any by lending itself a role
SET ROLE regress_app;
SELECT count(*) FROM people WHERE pay > 0;
RESET ROLE;
SET SESSION AUTHORIZATION regress_app;
SELECT count(*) FROM people WHERE pay > 0;
RESET SESSION AUTHORIZATION;
SELECT dataprotect.grant_access('money', current_user::regrole, 'reveal', reason => 'test') > 0 AS granted;
SELECT sum(pay) FROM people;
SELECT dataprotect.revoke_access('money', current_user::regrole);
SELECT sum(pay) FROM people;
-- output forms
\c - regress_app
SET dataprotect.output = 'mask';
SELECT email, name FROM people WHERE id = 1;
SET dataprotect.output = 'ciphertext';
SELECT left(format('%s', email), 7) FROM people WHERE id = 1;
RESET dataprotect.output;
-- purposes
\c - :su
SELECT dataprotect.revoke_access('hr', 'regress_app');
SELECT dataprotect.grant_access('hr', 'regress_app', 'reveal', purpose => 'payroll') > 0 AS granted;
\c - regress_app
SELECT upper(name) FROM people WHERE id = 1;
SET dataprotect.purpose = 'payroll';
SELECT upper(name) FROM people WHERE id = 1;
SET dataprotect.purpose = 'curiosity';
SELECT upper(name) FROM people WHERE id = 1;
RESET dataprotect.purpose;
\c - :su
SELECT dataprotect.grant_access('hr', 'regress_app', 'reveal') > 0 AS granted;
-- bad grants
SELECT dataprotect.grant_access('hr', 'regress_app', 'everything');
SELECT dataprotect.grant_access('nokey', 'regress_app', 'mask');
SELECT dataprotect.grant_access('hr', 'regress_app', 'mask', valid_until => now() - interval '1 day');
SELECT dataprotect.grant_access('hr', 'regress_app', 'mask', claims => '["medical"]');
SELECT dataprotect.grant_access('hr', 'regress_app', 'mask', ticket => '');
SELECT dataprotect.authenticate('a.b.c');
\c - regress_none
SELECT dataprotect.grant_access('hr', 'regress_none', 'reveal');
SELECT dataprotect.create_key('mine');
SELECT * FROM dataprotect.keys;
SELECT dataprotect._subject_key_ids('a', 'b');
\c - :su
