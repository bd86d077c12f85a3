-- Primary, unique and foreign keys are kept over tokens, with their names and comments (cases:
-- unique-constraint-by-name; columns, G and I).
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA keys;
GRANT USAGE ON SCHEMA keys TO regress_app, regress_none;
SET search_path = keys, public;
CREATE TABLE home (username text PRIMARY KEY, path text);
INSERT INTO home VALUES ('ada', '/a'), ('bob', '/b');
CALL dataprotect.encrypt_column('home', 'username', 'pii');
-- both sides of a foreign key in one step, whichever is named
CREATE TABLE person (email varchar(40) PRIMARY KEY, boss text CONSTRAINT own_boss REFERENCES person DEFERRABLE);
CREATE TABLE visit (id int PRIMARY KEY, email text CONSTRAINT of_person REFERENCES person ON UPDATE CASCADE ON DELETE CASCADE);
COMMENT ON CONSTRAINT of_person ON visit IS 'who';
COMMENT ON CONSTRAINT person_pkey ON person IS 'by mail';
INSERT INTO person SELECT 'm' || g, 'm' || g / 2 FROM generate_series(0, 50) g;
INSERT INTO visit SELECT g, 'm' || g % 50 FROM generate_series(1, 100) g;
CALL dataprotect.encrypt_column('visit', 'email', 'pii');
CREATE VIEW constraints AS
    SELECT conrelid::regclass AS rel, conname, contype, condeferrable AS deferrable, convalidated AS valid,
        pg_get_constraintdef(oid) AS definition, obj_description(oid, 'pg_constraint') AS comment
    FROM pg_constraint WHERE connamespace = 'keys'::regnamespace AND contype IN ('p', 'u', 'f');
SELECT * FROM constraints ORDER BY rel::text, conname;
SELECT rel, col, key, searchable FROM dataprotect.protected_columns WHERE rel::text ~ '^(home|person|visit)$' ORDER BY rel::text, col;
-- constraints by name
CREATE TABLE w (id int PRIMARY KEY, email text CONSTRAINT w_email_uq UNIQUE, tenant int, late text UNIQUE DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT w_two UNIQUE NULLS NOT DISTINCT (tenant, email));
COMMENT ON CONSTRAINT w_email_uq ON w IS 'one account per address';
INSERT INTO w VALUES (1, 'a', 1, 'x');
SET client_min_messages = warning;
CALL dataprotect.encrypt_column('w', 'email', 'pii');
CALL dataprotect.encrypt_column('w', 'late', 'pii');
RESET client_min_messages;
SELECT * FROM constraints WHERE rel = 'w'::regclass ORDER BY conname;
GRANT ALL ON home, person, visit, w TO regress_app, regress_none;

\c - regress_app
SET search_path = keys, public;
INSERT INTO home VALUES ('ada', '/c');
INSERT INTO home VALUES (NULL, '/c');
SELECT path FROM home WHERE username = 'bob';
INSERT INTO visit VALUES (200, 'm51');
INSERT INTO visit VALUES (200, 'm1');
DELETE FROM person WHERE email = 'm25';
UPDATE person SET email = 'new' WHERE email = 'm49';
SELECT count(*) FROM visit WHERE email = 'new';
DELETE FROM person WHERE email = 'new';
SELECT count(*) FROM visit WHERE email = 'new';
SELECT count(*) FROM person p JOIN visit v USING (email);
INSERT INTO w VALUES (2, 'a', 2, 'y') ON CONFLICT ON CONSTRAINT w_email_uq DO NOTHING;
INSERT INTO w VALUES (2, 'a', 2, 'y') ON CONFLICT (email) DO UPDATE SET tenant = 7 RETURNING id, tenant;
INSERT INTO w VALUES (2, 'b', 7, 'x');
INSERT INTO w VALUES (2, NULL, 7, 'z'), (3, NULL, 7, 'zz');
-- who may not read: the same rules, and no values in the messages
\c - regress_none
SET search_path = keys, public;
\set VERBOSITY terse
INSERT INTO home VALUES ('ada', '/c');
INSERT INTO visit VALUES (201, 'nobody');
INSERT INTO visit VALUES (201, 'm1');
INSERT INTO w VALUES (4, 'a', 2, 'y') ON CONFLICT ON CONSTRAINT w_email_uq DO NOTHING;
SELECT p.email FROM person p JOIN visit v USING (email);

-- in DDL of one's own: CREATE TABLE, ALTER TABLE, LIKE, partitions, in a function that runs twice
\c - :su
SET search_path = keys, public;
CREATE TABLE n1 (id int, e encrypted_text('pii', 'searchable') PRIMARY KEY, f encrypted_int4('pii', 'searchable') UNIQUE);
CREATE TABLE n2 (e encrypted_text('pii', 'searchable') REFERENCES n1);
ALTER TABLE n1 ADD CONSTRAINT n1_more UNIQUE (id, e);
CREATE TABLE n3 (LIKE n1 INCLUDING ALL);
CREATE TABLE n4 (e encrypted_text('pii', 'searchable'));
ALTER TABLE n4 ADD PRIMARY KEY (e);
ALTER TABLE n4 ADD FOREIGN KEY (e) REFERENCES n1;
CREATE TABLE part (id int, e encrypted_text('pii', 'searchable'), UNIQUE (id, e)) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
ALTER TABLE part ADD CONSTRAINT part_uq UNIQUE (e, id);
CREATE FUNCTION twice() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE keys.n2 ADD CONSTRAINT u UNIQUE (e);
    ALTER TABLE keys.n2 DROP CONSTRAINT u;
END $$;
SELECT twice();
SELECT twice();
CREATE TABLE o (a encrypted_text('pii', 'ordered') UNIQUE);
SELECT i.indrelid::regclass AS rel, i.indexrelid::regclass AS index, c.opcname FROM pg_index i JOIN pg_opclass c ON c.oid = i.indclass[0]
WHERE i.indrelid::regclass::text ~ '^(n[1-4]|part|part_1|o)$' ORDER BY 1, 2;
-- what has no token is refused as before
CREATE TABLE n5 (e encrypted_text('pii') UNIQUE);
CREATE TABLE n5 (e encrypted_text('pii'));
ALTER TABLE n5 ADD UNIQUE (e);
-- options of a key's index, and where it is, at once, online and back
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE "regress Place" LOCATION '';
RESET allow_in_place_tablespaces;
CREATE TABLE placed (id int PRIMARY KEY, at_once varchar(10) NOT NULL, online varchar(10) NOT NULL, note text,
    CONSTRAINT "At once" UNIQUE (at_once) INCLUDE (id) WITH (fillfactor = 70, deduplicate_items = off) USING INDEX TABLESPACE "regress Place",
    CONSTRAINT "On ""line" UNIQUE (online) WITH (fillfactor = 60) USING INDEX TABLESPACE "regress Place",
    CONSTRAINT later UNIQUE (id, at_once) WITH (fillfactor = 50) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO placed VALUES (1, 'a', 'b', 'c');
ALTER TABLE placed REPLICA IDENTITY USING INDEX "On ""line";
CREATE VIEW places AS SELECT c.relname, c.reloptions, s.spcname, i.indisreplident, k.condeferred, i.indnatts
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_constraint k ON k.conindid = c.oid LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
WHERE i.indrelid = 'placed'::regclass ORDER BY 1;
SELECT * FROM places;
SET client_min_messages = warning;
CALL dataprotect.encrypt_column('placed', 'at_once', 'pii');
CALL dataprotect.encrypt_column('placed', 'online', 'pii', online => true);
RESET client_min_messages;
SELECT * FROM places;
SELECT col, type FROM dataprotect.protected_columns WHERE rel = 'placed'::regclass ORDER BY 1;
-- a foreign key between other types is refused before anything is locked, and so is one that leads to a table of somebody else
CREATE TABLE big (a int8 PRIMARY KEY);
CREATE TABLE small (a int4 REFERENCES big);
CALL dataprotect.encrypt_column('small', 'a', 'pii');
-- and back
SELECT dataprotect.grant_access('pii', :'su', 'reveal') > 0 AS granted;
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('person', 'email');
CALL dataprotect.decrypt_column('w', 'email');
CALL dataprotect.decrypt_column('home', 'username');
CALL dataprotect.decrypt_column('placed', 'at_once');
CALL dataprotect.decrypt_column('placed', 'online');
SELECT * FROM places;
SELECT rel, conname, definition, comment FROM constraints WHERE rel::text ~ '^(home|person|visit|w)$' ORDER BY rel::text, conname;
SELECT dataprotect.revoke_access('pii', :'su') > 0 AS revoked;
DROP SCHEMA keys CASCADE;
DROP TABLESPACE "regress Place";
