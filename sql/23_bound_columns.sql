-- Protecting and unprotecting columns of a table whose rows are sealed for accounts.
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE TABLE account (id int PRIMARY KEY, name text, email varchar(40) UNIQUE, score int);
INSERT INTO account SELECT n, 'name ' || n, 'a' || n || '@example.org', n FROM generate_series(1, 20) n;
GRANT SELECT, INSERT, UPDATE ON account TO regress_app;
CALL dataprotect.encrypt_column('account', 'name', 'pii');
CALL dataprotect.encrypt_column('account', 'score', 'pii', ordered => true);
SELECT dataprotect.create_account_type('person', 'account', 'id');
SELECT dataprotect.bind_subject('account', 'person', 'id');
ALTER TABLE account DROP COLUMN score;
SELECT dataprotect.bind_subject('account', 'person', 'id');
-- bound: another column is protected for the accounts at once
CALL dataprotect.encrypt_column('account', 'email', 'pii');
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'dataprotect_subject_check';
SELECT col, version IS NULL AS no_version, "values", failures FROM dataprotect.verify('account') ORDER BY 1;
SELECT count(DISTINCT dataprotect._envelope_key_id(email)) AS keys,
       bool_and(dataprotect._envelope_key_id(email) = dataprotect._envelope_key_id(name)) AS same_key FROM account;
-- and no order is allowed any more
ALTER TABLE account ADD COLUMN sorted encrypted_int4('pii', 'ordered');
ALTER TABLE account ADD COLUMN plain int;
CALL dataprotect.encrypt_column('account', 'plain', 'pii', ordered => true);
\c - regress_app
SELECT name, email FROM account WHERE email = 'a7@example.org';
INSERT INTO account VALUES (21, 'name 21', 'a21@example.org') RETURNING name, email;
UPDATE account SET email = (SELECT email FROM account WHERE id = 2) WHERE id = 3;
-- unprotect one column: the other stays bound
\c - :su
\set SHOW_CONTEXT never
CALL dataprotect.reencrypt('account');
CREATE ROLE regress_decryptor LOGIN SUPERUSER;
SELECT dataprotect.grant_access('pii', 'regress_decryptor', 'reveal') > 0 AS granted;
\c - regress_decryptor
CALL dataprotect.decrypt_column('account', 'name');
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'dataprotect_subject_check';
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'account'::regclass AND NOT tgisinternal;
SELECT id, name, email FROM account WHERE id IN (7, 21) ORDER BY id;
\c - :su
DROP TABLE account CASCADE;
SELECT dataprotect.revoke_access('pii', 'regress_decryptor') AS revoked;
DROP ROLE regress_decryptor;
DELETE FROM dataprotect.subject_binding;
DELETE FROM dataprotect.account_type;
SELECT dataprotect.reseal_policy('the tables are gone') > 0 AS accepted;
