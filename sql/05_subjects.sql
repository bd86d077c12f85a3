-- Rows that belong to an account: sealed for it, unreadable with it, never for another.
SELECT current_user AS su \gset
CREATE TABLE s (id int, email encrypted_text('pii'), pay encrypted_numeric('money'));
GRANT SELECT, INSERT, UPDATE, DELETE ON s TO regress_app, regress_none;
CREATE TRIGGER zz_dataprotect_subject BEFORE INSERT OR UPDATE ON s FOR EACH ROW
    EXECUTE FUNCTION dataprotect._seal_subject('cust', 'id');
ALTER TABLE s ENABLE ALWAYS TRIGGER zz_dataprotect_subject;
ALTER TABLE s ADD CHECK (dataprotect._sealed_for(email, 'cust', id::text)), ADD CHECK (dataprotect._sealed_for(pay, 'cust', id::text));
\c - regress_app
INSERT INTO s VALUES (1, 'ada@example.org', 1), (2, 'bob@example.org', 2), (1, 'ada2@example.org', NULL), (3, 'eve@example.org', NULL);
SELECT * FROM s ORDER BY id, email;
\c - :su
SELECT account_type, subject, count(*) FROM dataprotect.subject_key GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(DISTINCT dataprotect._envelope_key_id(email)) AS keys FROM s;
-- an unchanged plaintext keeps its envelope for a role that may read it
\c - regress_app
SET dataprotect.output = 'ciphertext';
SELECT format('%s', email) AS before FROM s WHERE id = 2 \gset
RESET dataprotect.output;
UPDATE s SET email = 'bob@example.org' WHERE id = 2;
SET dataprotect.output = 'ciphertext';
SELECT format('%s', email) = :'before' AS kept FROM s WHERE id = 2;
RESET dataprotect.output;
-- pasting another account's value
UPDATE s SET email = (SELECT email FROM s WHERE id = 2) WHERE id = 1;
INSERT INTO s SELECT 4, email, pay FROM s WHERE id = 2;
\c - regress_none
INSERT INTO s SELECT 4, email, pay FROM s WHERE id = 2;
-- an account without an id
INSERT INTO s VALUES (NULL, 'x@example.org', 1);
-- what bypasses the trigger meets the CHECK
\c - :su
ALTER TABLE s DISABLE TRIGGER zz_dataprotect_subject;
\set VERBOSITY terse
INSERT INTO s VALUES (9, 'x@example.org', 1);
\set VERBOSITY default
ALTER TABLE s ENABLE ALWAYS TRIGGER zz_dataprotect_subject;
-- the account's keys are suspended: unreadable, and nothing brings the values back
SELECT dataprotect._subject_suspend('cust', '1', 'closing');
\c - regress_app
SELECT * FROM s WHERE id = 1;
SELECT id, email::text IS NULL AS is_null FROM s ORDER BY 1, 2;
UPDATE s SET id = 2 WHERE id = 1;
UPDATE s SET email = 'other@example.org' WHERE id = 1;
SELECT dataprotect.create_key('x');
-- nor is a new key claimed for it, or for one that never had one
\c - :su
SELECT dataprotect._subject_suspend('cust', '3', 'closing');
\c - regress_app
UPDATE s SET pay = 3 WHERE id = 3;
-- others are not concerned, and what is not protected can be written
SELECT * FROM s WHERE id = 2;
DELETE FROM s WHERE id = 3;
\c - :su
SELECT dataprotect._subject_resume('cust', '1', 'stays');
\c - regress_app
SELECT * FROM s WHERE id = 1 ORDER BY email;
UPDATE s SET id = 5 WHERE id = 1 AND pay IS NULL;
SELECT * FROM s WHERE id = 5;
-- destruction leaves a tombstone
\c - :su
SELECT dataprotect._subject_destroy('cust', '1', 'closed');
\c - regress_app
SELECT * FROM s WHERE id = 1;
DELETE FROM s WHERE id = 1;
INSERT INTO s VALUES (1, 'again@example.org', 1);
\c - :su
SELECT v.state, v.wrapped IS NULL AS gone FROM dataprotect.key_version v JOIN dataprotect.subject_key s USING (key_id)
WHERE s.account_type = 'cust' AND s.subject = '1';
-- a paste of ciphertext that comes as text or varchar is no plaintext either
\c - regress_app
PREPARE as_text(text) AS INSERT INTO s VALUES (6, $1, 1);
PREPARE as_varchar(varchar) AS INSERT INTO s VALUES (6, $1, 1);
EXECUTE as_text('enc:v1:AAAA');
EXECUTE as_varchar('enc:v1:AAAA');
INSERT INTO s SELECT 6, 'enc:v1:AAAA'::text, 1;
\c - :su
DROP TABLE s;
