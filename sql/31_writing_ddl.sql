-- Statements around the writing of protected columns: cases alter-type-decrypts, trigger-when-needs-reveal,
-- dump-inserts-of-a-column-with-a-modifier, foreign-key-column-updated-without-reveal.
\set SHOW_CONTEXT never
SELECT current_user AS su \gset
SELECT dataprotect.create_key('wd');
CREATE ROLE regress_wd_owner LOGIN; CREATE ROLE regress_wd_masked LOGIN; CREATE ROLE regress_wd_admin LOGIN IN ROLE dataprotect_admin;
CREATE ROLE regress_wd_restore LOGIN IN ROLE dataprotect_admin;
CREATE ROLE regress_wd_search LOGIN; CREATE ROLE regress_wd_none LOGIN; CREATE ROLE regress_wd_auditor LOGIN IN ROLE dataprotect_auditor;
GRANT CREATE ON SCHEMA public TO regress_wd_owner, regress_wd_masked;
SELECT count(dataprotect.grant_access('wd', r::regrole, p))
FROM (VALUES ('regress_wd_owner', 'reveal'), ('regress_wd_masked', 'mask'), ('regress_wd_search', 'search')) g (r, p);
-- a column becomes plaintext only by an administrator who may read it, and that is in the log
\c - regress_wd_owner
CREATE TABLE wd (id int, phone encrypted_text('wd', '(20)'), tags encrypted_text('wd')[]); INSERT INTO wd VALUES (1, '+4912345', '{a,b}');
GRANT ALL ON wd TO regress_wd_none;
ALTER TABLE wd ALTER COLUMN phone TYPE varchar(30);
ALTER TABLE wd ALTER COLUMN phone TYPE text USING phone::text;
ALTER TABLE wd ADD COLUMN x int, ALTER COLUMN phone SET DATA TYPE bytea USING NULL;
ALTER TABLE wd ALTER COLUMN tags TYPE text[] USING NULL;
DO $$ BEGIN ALTER TABLE wd ALTER COLUMN phone TYPE text; END $$;
-- a longer modifier reads nothing
ALTER TABLE wd ALTER COLUMN phone TYPE encrypted_text('wd', '(30)');
ALTER TABLE wd ALTER COLUMN phone TYPE encrypted_text('wd');
ALTER TABLE wd ALTER COLUMN phone TYPE encrypted_text('wd', '(3)');
ALTER TABLE wd ALTER COLUMN phone TYPE encrypted_text('wd', '(20)');
\c - regress_wd_masked
CREATE TABLE wdm (id int, name encrypted_text('wd')); INSERT INTO wdm VALUES (1, 'Ada');
ALTER TABLE wdm ALTER COLUMN name TYPE text;
\c - :su
GRANT regress_wd_owner, regress_wd_masked TO regress_wd_admin;
GRANT regress_wd_masked TO regress_wd_restore;
\c - regress_wd_restore
ALTER TABLE wdm ALTER COLUMN name TYPE text;
ALTER TABLE wdm ALTER COLUMN name TYPE text USING coalesce(name::text, 'none');
\c - :su
REVOKE regress_wd_masked FROM regress_wd_restore;
\c - regress_wd_admin
ALTER TABLE wd ALTER COLUMN phone TYPE varchar(30);
ALTER TABLE wdm ALTER COLUMN name TYPE varchar(30);
SELECT attrelid::regclass, attname, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid IN ('wd'::regclass, 'wdm'::regclass) AND attnum >= 2 AND NOT attisdropped ORDER BY attrelid::regclass::text, attnum;
CALL dataprotect.encrypt_column('wd', 'phone', 'wd');
CALL dataprotect.decrypt_column('wd', 'phone');
CALL dataprotect.encrypt_column('wd', 'phone', 'wd');
\c - :su
SELECT dataprotect.flush_audit_log('60 s');
\c - regress_wd_auditor
SELECT event, outcome, role, keys, detail FROM dataprotect.audit_log WHERE event = 'column.decrypted' AND keys = '{wd}' ORDER BY seq;
-- the refused one of the length 3 had to look; nothing else of the owner's did
SELECT count(*) FROM dataprotect.audit_log WHERE event = 'value.revealed' AND session_role = 'regress_wd_owner';

-- triggers that ask whether a value changed: every writer fires them, nobody is shown anything
\c - regress_wd_owner
CREATE TABLE wt (id int PRIMARY KEY, v encrypted_text('wd'), p text, d int);
INSERT INTO wt VALUES (1, 'a', 'x', 0), (2, NULL, 'x', 0);
CREATE FUNCTION wt_fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% fired for %', tg_name, new.id; RETURN new; END $$;
CREATE TRIGGER a_distinct BEFORE UPDATE OF v ON wt FOR EACH ROW WHEN (old.v IS DISTINCT FROM new.v) EXECUTE FUNCTION wt_fired();
CREATE TRIGGER b_unequal BEFORE UPDATE ON wt FOR EACH ROW WHEN (old.v <> new.v AND new.d IS NOT NULL) EXECUTE FUNCTION wt_fired();
CREATE TRIGGER c_equal AFTER UPDATE ON wt FOR EACH ROW WHEN (new.v = old.v) EXECUTE FUNCTION wt_fired();
CREATE TRIGGER d_row AFTER UPDATE ON wt FOR EACH ROW WHEN (old.* IS DISTINCT FROM new.*) EXECUTE FUNCTION wt_fired();
CREATE TRIGGER e_not BEFORE UPDATE ON wt FOR EACH ROW WHEN (NOT (old IS NOT DISTINCT FROM new)) EXECUTE FUNCTION wt_fired();
GRANT ALL ON wt TO regress_wd_none, regress_wd_search, regress_wd_masked;
\c - regress_wd_none
UPDATE wt SET v = 'b' WHERE id = 1;
UPDATE wt SET d = d;
UPDATE wt SET d = d + 1 WHERE id = 1;
-- the same again: another stored value, as far as this role may know
UPDATE wt SET v = 'b' WHERE id = 1;
UPDATE wt SET v = 'c' WHERE id = 2;
UPDATE wt SET v = NULL WHERE id = 2;
INSERT INTO wt VALUES (1, 'd') ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v;
\c - regress_wd_search
UPDATE wt SET v = 'd' WHERE id = 1;
UPDATE wt SET v = 'e' WHERE id = 1;
\c - regress_wd_masked
UPDATE wt SET v = '****' WHERE id = 1;
\c - regress_wd_owner
UPDATE wt SET v = 'e' WHERE id = 1;
SELECT * FROM wt ORDER BY id;

-- ciphertext goes into columns with a modifier as well, by a role without any privilege
\c - :su
CREATE TABLE wi (id serial, v encrypted_text('wd', '(40)'), n encrypted_numeric('wd', '(5,2)'), t encrypted_timestamp('wd', '(3)'), s encrypted_text('wd', 'searchable', '(40)'));
INSERT INTO wi (v, n, t, s) VALUES ('abc', 12.5, '2020-01-02 03:04:05.678', 'def');
GRANT ALL ON wi, wi_id_seq TO regress_wd_restore, regress_wd_owner;
\c - regress_wd_restore
SET dataprotect.input = ciphertext;
\set ECHO none
SELECT format('INSERT INTO wi (v, n, t, s) VALUES (%L, %L, %L, %L)', v, n, t, s) FROM wi \gexec
SELECT format('UPDATE wi SET v = %L, n = %L, t = %L, s = %L WHERE id = 1', v, n, t, s) FROM wi WHERE id = 2 \gexec
PREPARE wi_insert (text, text) AS INSERT INTO wi (v, s) VALUES ($1, $2);
SELECT format('EXECUTE wi_insert(%L, %L)', v, s) FROM wi WHERE id = 1 \gexec
\set ECHO all
\c - regress_wd_owner
SELECT * FROM wi ORDER BY id;

-- a hint leads on: refusals-that-point-in-a-circle
\c - :su
CREATE TYPE wh_pair AS (a int, b int);
CREATE TABLE wh (x name, y "char", a text[], p wh_pair, c cidr);
CALL dataprotect.encrypt_column('wh', 'x', 'wd');
ALTER TABLE wh ALTER COLUMN x TYPE varchar(4);
CALL dataprotect.encrypt_column('wh', 'x', 'wd');
CALL dataprotect.encrypt_column('wh', 'a', 'wd');
CALL dataprotect.encrypt_column('wh', 'p', 'wd');
CALL dataprotect.encrypt_column('wh', 'c', 'wd');
\c - regress_wd_owner

-- a foreign key's column is updated with no more right than it is inserted with
CREATE TABLE wp (tok encrypted_text('wd', 'ordered'));
CREATE UNIQUE INDEX ON wp (tok);
CREATE TABLE wc (id int, tok encrypted_text('wd', 'ordered') REFERENCES wp (tok) ON UPDATE CASCADE);
GRANT ALL ON wp, wc TO regress_wd_none, regress_wd_masked;
\c - regress_wd_none
INSERT INTO wp VALUES ('a'), ('b');
INSERT INTO wc VALUES (1, 'a');
UPDATE wc SET tok = 'b';
\set VERBOSITY terse
UPDATE wc SET tok = 'nosuch';
\set VERBOSITY default
UPDATE wp SET tok = 'z' WHERE ctid = '(0,2)';
-- what is said of a row that is refused shows masks
\c - regress_wd_masked
INSERT INTO wc VALUES (2, 'nosuch');
INSERT INTO wp VALUES ('z');
CREATE TABLE wk (id int, v encrypted_text('wd') CHECK (v <> 'bad'));
INSERT INTO wk VALUES (2, 'bad');
\c - regress_wd_owner
SELECT * FROM wc;
\c - :su
SET client_min_messages = warning;
DROP TABLE wh; DROP TYPE wh_pair; DROP TYPE encrypted_cidr CASCADE;
DROP TABLE wd, wdm, wt, wi, wc, wp, wk;
