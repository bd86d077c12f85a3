-- If this fails, policies and holds are accepted that cannot work, or follow a name
-- to what it was never meant for.
\set VERBOSITY terse
CREATE SCHEMA made;
SET search_path = made;

-- policy-on-the-audit-partitions
SELECT dataprotect.create_retention_policy('own', 'dataprotect.audit_record', 'at', '1 month', 'drop_partition');
SELECT dataprotect.create_retention_policy('own', 'dataprotect.retention_run', 'started_at', '1 second', 'delete');
SELECT dataprotect.place_hold('dataprotect.audit_record', 'true', 'x');
SELECT dataprotect.create_account_type('own', 'dataprotect.hold', 'id');

-- temporary-table
CREATE TEMP TABLE here (id int PRIMARY KEY, at timestamptz);
CREATE INDEX ON here (at);
SELECT dataprotect.create_retention_policy('here', 'here', 'at', '1 year', 'delete');
SELECT dataprotect.place_hold('here', 'true', 'x');

-- nullify-over-not-null, also by the foreign key itself
CREATE TABLE p (id int PRIMARY KEY, at timestamptz);
CREATE INDEX ON p (at);
CREATE TABLE c (id int, p int NOT NULL REFERENCES p);
CREATE INDEX ON c (p);
SELECT dataprotect.create_retention_policy('p', 'made.p', 'at', '1 year', 'delete', '{"children": {"made.c": "nullify"}}');
ALTER TABLE c DROP CONSTRAINT c_p_fkey, ADD FOREIGN KEY (p) REFERENCES p ON DELETE SET NULL;
SELECT dataprotect.create_retention_policy('p', 'made.p', 'at', '1 year', 'delete');

-- schema-changes-under-a-policy: columns by identity, the whole message, no policy
-- without its table
CREATE TABLE d (id int PRIMARY KEY, at timestamptz, note text, mail text);
CREATE INDEX ON d (at);
INSERT INTO d SELECT g, '2020-01-01', 'x', 'm' || g FROM generate_series(1, 3) g;
SELECT dataprotect.create_retention_policy('d', 'made.d', 'at', '1 year', 'delete', '{"every": "100 years"}');
SELECT dataprotect.create_retention_policy('n', 'made.d', 'at', '1 year', 'nullify', '{"columns": ["note"], "every": "100 years", "where": "mail <> ''m3''"}');
SELECT dataprotect.create_retention_policy('bad', 'made.d', 'at', '1 year', 'delete', '{"where": "id IN (SELECT 1)"}');
SELECT dataprotect.create_retention_policy('bad', 'made.d', 'at', '1 year', 'delete', '{"where": 3}');
ALTER TABLE d RENAME note TO body;
ALTER TABLE d RENAME mail TO address;
ALTER TABLE d ADD note text, ADD mail text;
UPDATE d SET note = 'new', mail = 'new';
SELECT dataprotect.activate_retention('n');
CALL dataprotect.run_retention('n');
SELECT * FROM d ORDER BY id;
ALTER TABLE d RENAME at TO created_at;
SELECT age_column, rows_due, problem FROM dataprotect.retention_policies WHERE name = 'd';
CREATE TABLE e (id int, d int REFERENCES d);
SELECT dataprotect.activate_retention('d');
CREATE INDEX ON e (d);
SELECT dataprotect.activate_retention('d');
SELECT dataprotect.alter_retention_policy('d', options => '{"every": "100 years", "children": {"made.e": "delete"}}');
SELECT name, keep, state, options FROM dataprotect.retention_policies WHERE name = 'd';
SELECT dataprotect.activate_retention('d');
CALL dataprotect.run_retention('d');
SELECT count(*) FROM d;
SELECT dataprotect.alter_retention_policy('d', keep => '2 years');
SELECT name, keep, state FROM dataprotect.retention_policies WHERE name = 'd';
SELECT dataprotect.alter_retention_policy('d', keep => '1 month');
SELECT name, keep, state FROM dataprotect.retention_policies WHERE name = 'd';
SELECT dataprotect.alter_retention_policy('d', age_column => 'nosuch');
SELECT dataprotect.alter_retention_policy('nosuch', keep => '1 month');
SELECT dataprotect.drop_retention_policy('n');
SELECT dataprotect.drop_retention_policy('n');
ALTER TABLE d DROP created_at;
SELECT name, rows_due, problem FROM dataprotect.retention_policies;
DROP TABLE d CASCADE;
SELECT name, rel, state, rows_due FROM dataprotect.retention_policies;
CREATE TABLE d (id int PRIMARY KEY, at timestamptz);
CREATE INDEX ON d (at);
SELECT dataprotect.create_retention_policy('d', 'made.d', 'at', '2 years', 'delete');

-- holds: a renamed column is followed, a dropped one leaves a hold on every row
CREATE TABLE inv (id int PRIMARY KEY, at timestamptz, amt numeric);
CREATE INDEX ON inv (at);
INSERT INTO inv SELECT g, '2015-01-01', g FROM generate_series(1, 40) g;
SELECT dataprotect.place_hold('made.inv', 'amt = ANY (ARRAY[3, 4])', 'case B') > 0;
ALTER TABLE inv RENAME amt TO amount;
ALTER TABLE inv ADD amt numeric DEFAULT 3;
SELECT dataprotect.create_retention_policy('inv', 'made.inv', 'at', '1 year', 'delete');
SELECT action, rows FROM dataprotect.preview_retention('inv');
SET client_min_messages = error;
ALTER TABLE inv DROP amount;
SELECT action, rows FROM dataprotect.preview_retention('inv');

-- anonymise-constants: what cannot be stored, or makes old rows young, is refused at once
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE DOMAIN short AS text CHECK (length(VALUE) < 5);
CREATE TABLE an (id int PRIMARY KEY, at timestamptz, email varchar(20) UNIQUE, nick text CHECK (nick ~ '^[a-z]+$'),
	g text GENERATED ALWAYS AS (email || '!') STORED, n numeric(4,2), d short, code text, valid_at date);
CREATE INDEX ON an (at);
CREATE UNIQUE INDEX an_code ON an (lower(code));
INSERT INTO an (id, at, email, nick) SELECT g, CASE WHEN g < 4 THEN timestamptz '2020-01-01' END, 'e' || g || '@x', 'nick' FROM generate_series(1, 5) g;
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"email": "gone {uuid}@example.invalid"}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"email": "a constant that is too long"}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"email": "same@x"}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"nick": "Gone 1"}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"g": "abc"}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"id": 7}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"at": "2030-01-01"}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'nullify', '{"columns": ["at"]}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"n": 100}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"d": "longer"}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise', '{"columns": {"code": "X"}}');
SELECT dataprotect.create_retention_policy('p', 'made.an', 'at', '1 year', 'anonymise',
	'{"columns": {"nick": "gone", "code": "{uuid}", "n": 1.5, "d": "x", "valid_at": "2000-01-01"}, "every": "100 years"}');
\set VERBOSITY terse
SET client_min_messages = notice;
SELECT dataprotect.activate_retention('p');
CALL dataprotect.run_retention('p');
SELECT id, nick, length(code) AS code, n, d, valid_at FROM an ORDER BY id;

-- rows without an age: counted, and decided
SELECT action, rows FROM dataprotect.preview_retention('p');
SELECT dataprotect.create_retention_policy('due', 'made.an', 'at', '1 year', 'delete', '{"no_age": "due", "every": "100 years"}');
CREATE INDEX ON an ((COALESCE(at, '-infinity'::timestamptz)));
SELECT dataprotect.create_retention_policy('due', 'made.an', 'at', '1 year', 'delete', '{"no_age": "maybe"}');
SELECT dataprotect.create_retention_policy('due', 'made.an', 'at', '1 year', 'delete', '{"no_age": "due", "every": "100 years"}');
INSERT INTO an (id, at) VALUES (6, now());
SELECT action, rows, oldest = '2020-01-01' AS oldest FROM dataprotect.preview_retention('due');
SELECT rows_due, problem FROM dataprotect.retention_policies WHERE name = 'due';
SELECT dataprotect.activate_retention('due');
CALL dataprotect.run_retention('due');
SELECT id FROM an ORDER BY id;
SELECT rows_done, outcome, detail FROM dataprotect.retention_runs WHERE policy = 'due' AND rows_done > 0;

-- what depends on the row is tried on some, and undone
CREATE TABLE kind (code text PRIMARY KEY);
CREATE TABLE row_wise (id int PRIMARY KEY, at timestamptz, email text, phone text, kind text REFERENCES kind, room int4range,
	CHECK (email IS NOT NULL OR phone IS NOT NULL), EXCLUDE USING gist (room WITH &&));
CREATE INDEX ON row_wise (at);
INSERT INTO kind VALUES ('a');
INSERT INTO row_wise SELECT g, '2020-01-01', 'e' || g, CASE WHEN g > 3 THEN 'p' || g END, 'a', int4range(g, g + 1) FROM generate_series(1, 3) g;
CREATE FUNCTION stubborn() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.id < 9 AND NEW.phone = 'none' THEN RAISE 'no, %', NEW.email; END IF; RETURN NEW; END$$;
CREATE TRIGGER stubborn BEFORE UPDATE ON row_wise FOR EACH ROW EXECUTE FUNCTION stubborn();
\set VERBOSITY default
SELECT dataprotect.create_retention_policy('r', 'made.row_wise', 'at', '1 year', 'nullify', '{"columns": ["email"]}');
SELECT dataprotect.create_retention_policy('r', 'made.row_wise', 'at', '1 year', 'anonymise', '{"columns": {"kind": "gone"}}');
SELECT dataprotect.create_retention_policy('r', 'made.row_wise', 'at', '1 year', 'anonymise', '{"columns": {"room": "[2,4)"}}');
SELECT dataprotect.create_retention_policy('r', 'made.row_wise', 'at', '1 year', 'anonymise', '{"columns": {"phone": "none"}}');
\set VERBOSITY terse
INSERT INTO row_wise VALUES (0, '2019-01-01', 'e9', 'p9', 'a', NULL);
SELECT count(*) FILTER (WHERE email LIKE 'e%') AS unchanged FROM row_wise;
SELECT dataprotect.create_retention_policy('r', 'made.row_wise', 'at', '1 year', 'anonymise', '{"columns": {"email": "gone"}}');
SELECT dataprotect.alter_retention_policy('r', action => 'nullify', options => '{"columns": ["email", "phone"]}');
DROP TRIGGER stubborn ON row_wise;

-- how long a row is kept, said by the row or by another table; the policy's time is the least
CREATE TABLE tenant (id int PRIMARY KEY, at interval, kept interval);
CREATE TABLE invoice (id int PRIMARY KEY, tenant int, at timestamptz, day date, own interval);
CREATE INDEX ON invoice (at);
CREATE INDEX ON invoice (day);
INSERT INTO tenant VALUES (1, NULL, '10 years'), (2, NULL, '1 month'), (3, '100 years', NULL);
INSERT INTO invoice SELECT g, g, now() - interval '2 years', current_date - 730, CASE g WHEN 1 THEN interval '5 years' WHEN 2 THEN '18 months' END
  FROM generate_series(1, 4) g;
INSERT INTO invoice VALUES (5, 2, now() - interval '3 months', current_date, NULL), (6, 2, NULL, NULL, NULL);
SELECT dataprotect.create_retention_policy('bad', 'made.invoice', 'at', '1 year', 'delete', '{"keep": "own) OR (true"}');
SELECT dataprotect.create_retention_policy('bad', 'made.invoice', 'at', '1 year', 'delete', '{"keep": "(SELECT kept FROM tenant)"}');
SELECT dataprotect.create_retention_policy('bad', 'made.invoice', 'at', '1 year', 'delete', '{"keep": "id"}');
SELECT dataprotect.create_retention_policy('bad', 'made.invoice', 'at', '1 year', 'delete', '{"keep": 7}');
SELECT dataprotect.create_retention_policy('bad', 'made.invoice', 'at', '1 year', 'delete', '{"keep": {"table": "made.tenant"}}');
SELECT dataprotect.create_retention_policy('bad', 'made.invoice', 'at', '1 year', 'delete', '{"keep": {"table": "made.tenant", "column": "id", "key": {"tenant": "id"}}}');
SELECT dataprotect.create_retention_policy('bad', 'made.invoice', 'at', '1 year', 'delete', '{"keep": {"table": "made.tenant", "column": "kept", "key": {"tenant": "kept"}}}');
SELECT dataprotect.create_retention_policy('row', 'made.invoice', 'day', '1 year', 'delete', '{"keep": "own", "every": "100 years", "where": "id < 3 OR true"}');
SELECT dataprotect.create_retention_policy('tenant', 'made.invoice', 'at', '1 year', 'delete',
	'{"keep": {"table": "made.tenant", "column": "kept", "key": {"tenant": "id"}}, "every": "100 years"}');
ALTER TABLE tenant RENAME kept TO retained;
ALTER TABLE tenant ADD kept interval DEFAULT '0';
SELECT action, rows FROM dataprotect.preview_retention('row');
SELECT action, rows FROM dataprotect.preview_retention('tenant');
SELECT dataprotect.activate_retention('tenant');
CALL dataprotect.run_retention('tenant');
SELECT array_agg(id ORDER BY id) FROM invoice;
UPDATE invoice SET own = '1 day' WHERE id = 1;
SELECT dataprotect.activate_retention('row');
CALL dataprotect.run_retention('row');
SELECT array_agg(id ORDER BY id) FROM invoice;
-- what asks for the time is told by whom it is asked for
SET timezone = 'UTC'; SET datestyle = 'ISO';
SELECT dataprotect._stored_predicate('x', 'made.invoice', dataprotect._canonical_predicate('made.invoice', e), NULL, 't', '2020-02-03 04:05:06+00')
  FROM unnest(ARRAY['at < now()', 'day < current_date', 'at + own < localtimestamp', 'at < CURRENT_TIMESTAMP AND day > ''2020-01-01''']) e;
RESET timezone; RESET datestyle;
ALTER TABLE tenant DROP retained;
CALL dataprotect.run_retention('tenant');
-- of a key over several columns one that can be NULL is enough, and a tenant stays
CREATE TABLE team (tenant int, id int, at date, PRIMARY KEY (tenant, id));
CREATE INDEX ON team (at);
CREATE TABLE task (id int, tenant int NOT NULL, team int, FOREIGN KEY (tenant, team) REFERENCES team);
CREATE TABLE file (id int, tenant int NOT NULL, team int, FOREIGN KEY (tenant, team) REFERENCES team ON DELETE SET NULL (team));
CREATE TABLE fixed (id int, tenant int NOT NULL, team int, FOREIGN KEY (tenant, team) REFERENCES team ON DELETE SET NULL);
CREATE INDEX ON task (tenant, team);
CREATE INDEX ON file (tenant, team);
CREATE INDEX ON fixed (tenant, team);
INSERT INTO team VALUES (7, 1, '2020-01-01'), (7, 2, current_date);
INSERT INTO task VALUES (1, 7, 1), (2, 7, 2);
INSERT INTO file VALUES (1, 7, 1), (2, 7, 2);
SELECT dataprotect.create_retention_policy('keys', 'made.team', 'at', '1 year', 'delete', '{"children": {"made.task": "nullify"}, "every": "100 years"}');
DROP TABLE fixed;
SELECT dataprotect.create_retention_policy('keys', 'made.team', 'at', '1 year', 'delete', '{"children": {"made.task": "nullify"}, "every": "100 years"}');
SELECT dataprotect.activate_retention('keys');
CALL dataprotect.run_retention('keys');
SELECT t.*, f.* FROM task t JOIN file f USING (id) ORDER BY t.id;
SET client_min_messages = error;
SELECT count(dataprotect.drop_retention_policy(name)) FROM dataprotect.retention_policies;
DROP SCHEMA made CASCADE;
