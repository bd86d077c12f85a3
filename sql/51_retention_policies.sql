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
SELECT count(dataprotect.drop_retention_policy(name)) FROM dataprotect.retention_policies;
DROP SCHEMA made CASCADE;
