-- If this fails, retention does not end, leaves rows that are due, or takes rows
-- before their time.  The worker may run a policy before CALL does: what is shown
-- is the same either way.
\set VERBOSITY terse
SELECT dataprotect.create_key('retention');
CREATE SCHEMA keep;
SET search_path = keep;
CREATE FUNCTION keep.run(policy text) RETURNS void LANGUAGE sql AS $$ SELECT dataprotect.activate_retention(policy) $$;

-- self-reference-chain: one run follows it to its end, a row that references
-- itself goes too; a younger row keeps what it references, and what that does
CREATE TABLE post (id int PRIMARY KEY, reply_to int REFERENCES post, at timestamptz);
CREATE INDEX ON post (at);
CREATE INDEX ON post (reply_to);
INSERT INTO post SELECT g, nullif(g - 1, 0), timestamptz '2020-01-01' + g * interval '1 day' FROM generate_series(1, 100) g;
INSERT INTO post VALUES (1000, 1000, '2020-01-01'), (1001, NULL, '2020-01-01'), (1002, 1001, '2020-01-01'), (1003, 1002, now());
-- older rows that reference younger ones
INSERT INTO post SELECT g, NULL, timestamptz '2021-01-01' - g * interval '1 hour' FROM generate_series(2000, 2009) g;
UPDATE post SET reply_to = id - 1 WHERE id BETWEEN 2001 AND 2009;
SELECT dataprotect.create_retention_policy('post', 'keep.post', 'at', '1 year', 'delete');
SELECT action, rel, rows FROM dataprotect.preview_retention('post');
SELECT rows_due FROM dataprotect.retention_policies WHERE name = 'post';
SELECT keep.run('post');
CALL dataprotect.run_retention('post');
SELECT id FROM post ORDER BY id;
SELECT sum(rows_done), min(outcome), max(detail) FROM dataprotect.retention_runs WHERE policy = 'post' AND outcome <> 'running';

-- self-reference-with-children-option
CREATE TABLE reply (id int PRIMARY KEY, reply_to int REFERENCES reply, at timestamptz);
CREATE INDEX ON reply (at);
CREATE INDEX ON reply (reply_to);
CREATE FUNCTION keep.fill() RETURNS void LANGUAGE sql AS $$
	TRUNCATE keep.reply;
	INSERT INTO keep.reply SELECT g, nullif(g - 1, 0), timestamptz '2020-01-01' + g * interval '1 day' FROM generate_series(1, 10) g;
	INSERT INTO keep.reply VALUES (11, 10, now()), (12, NULL, now());
$$;
SELECT keep.fill();
SELECT dataprotect.create_retention_policy('nullify', 'keep.reply', 'at', '1 year', 'delete', '{"children": {"keep.reply": "nullify"}}');
SELECT keep.run('nullify');
CALL dataprotect.run_retention('nullify');
SELECT id, reply_to FROM reply ORDER BY id;
SELECT dataprotect.drop_retention_policy('nullify');
SELECT keep.fill();
SELECT dataprotect.create_retention_policy('delete', 'keep.reply', 'at', '1 year', 'delete', '{"children": {"keep.reply": "delete"}}');
SELECT keep.run('delete');
CALL dataprotect.run_retention('delete');
SELECT id, reply_to FROM reply ORDER BY id;
SELECT dataprotect.drop_retention_policy('delete');
ALTER TABLE reply DROP CONSTRAINT reply_reply_to_fkey, ADD FOREIGN KEY (reply_to) REFERENCES reply ON DELETE SET NULL;
SELECT keep.fill();
SELECT dataprotect.create_retention_policy('set null', 'keep.reply', 'at', '1 year', 'delete');
SELECT keep.run('set null');
CALL dataprotect.run_retention('set null');
SELECT id, reply_to FROM reply ORDER BY id;
SELECT dataprotect.drop_retention_policy('set null');

-- range-age: the upper bound ages a row, unless the policy says otherwise
CREATE TABLE contract (id int, valid daterange);
CREATE INDEX ON contract (lower(valid));
CREATE INDEX ON contract (upper(valid));
INSERT INTO contract VALUES (1, '[2010-01-01,)'), (2, daterange('2010-01-01', (now() - interval '1 year')::date)), (3, 'empty'), (4, NULL),
	(5, daterange('2000-01-01', (now() - interval '12 years')::date));
SELECT dataprotect.create_retention_policy('lower', 'keep.contract', 'valid', '10 years', 'delete', '{"bound": "lower"}');
SELECT action, rel, rows FROM dataprotect.preview_retention('lower');
SELECT dataprotect.create_retention_policy('contract', 'keep.contract', 'valid', '10 years', 'delete');
SELECT action, rel, rows FROM dataprotect.preview_retention('contract');
SELECT keep.run('contract');
CALL dataprotect.run_retention('contract');
SELECT id FROM contract ORDER BY id;
SELECT dataprotect.create_retention_policy('bad', 'keep.post', 'at', '10 years', 'delete', '{"bound": "lower"}');
SELECT dataprotect.create_retention_policy('bad', 'keep.contract', 'valid', '10 years', 'delete', '{"bound": "middle"}');

-- soft-delete-trigger: rows that a trigger or rule keeps end the run with its name;
-- younger ones go all the same
CREATE TABLE soft (id int, at timestamptz, deleted_at timestamptz);
CREATE INDEX ON soft (at);
CREATE FUNCTION keep.soft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF old.id % 2 = 0 THEN RETURN old; END IF;
	UPDATE keep.soft SET deleted_at = now() WHERE id = old.id;
	RETURN NULL;
END $$;
CREATE TRIGGER keeper BEFORE DELETE ON soft FOR EACH ROW EXECUTE FUNCTION keep.soft();
INSERT INTO soft SELECT g, timestamptz '2020-01-01' + (g / 10) * interval '1 day' FROM generate_series(1, 60) g;
CREATE TABLE ruled (id int, at timestamptz, deleted_at timestamptz);
CREATE INDEX ON ruled (at);
CREATE RULE keeper AS ON DELETE TO ruled DO INSTEAD UPDATE keep.ruled SET deleted_at = now() WHERE id = old.id;
INSERT INTO ruled SELECT * FROM soft;
SELECT dataprotect.create_retention_policy('soft', 'keep.soft', 'at', '1 year', 'delete');
SELECT dataprotect.create_retention_policy('ruled', 'keep.ruled', 'at', '1 year', 'delete');
SET dataprotect.retention_batch_size = 7;
SELECT keep.run('soft'), keep.run('ruled');
CALL dataprotect.run_retention('soft');
CALL dataprotect.run_retention('ruled');
SELECT count(*) FROM soft;
SELECT DISTINCT policy, outcome, detail FROM dataprotect.retention_runs WHERE policy IN ('soft', 'ruled') AND outcome <> 'running' ORDER BY policy;
SELECT name, rows_due FROM dataprotect.retention_policies WHERE name IN ('soft', 'ruled') ORDER BY name;
SELECT dataprotect.pause_retention('soft'), dataprotect.pause_retention('ruled');

-- trigger-undoes-anonymise: one pass, before or after the change
CREATE TABLE undone (id int PRIMARY KEY, at timestamptz, email text);
CREATE INDEX ON undone (at);
INSERT INTO undone VALUES (1, '2020-01-01', 'ann@x.org'), (2, '2020-01-01', 'bob@x.org'), (3, '2020-01-02', NULL);
CREATE FUNCTION keep.keep_mail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.email := old.email; RETURN new; END $$;
CREATE TRIGGER k BEFORE UPDATE ON undone FOR EACH ROW EXECUTE FUNCTION keep.keep_mail();
CREATE FUNCTION keep.put_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF new.email IS NULL AND old.email IS NOT NULL THEN
		UPDATE keep.undone SET email = old.email WHERE id = new.id;
	END IF;
	RETURN NULL;
END $$;
SELECT dataprotect.create_retention_policy('undone', 'keep.undone', 'at', '1 year', 'anonymise', '{"columns": {"email": null}}');
SELECT keep.run('undone');
CALL dataprotect.run_retention('undone');
DROP TRIGGER k ON undone;
CREATE TRIGGER back AFTER UPDATE ON undone FOR EACH ROW EXECUTE FUNCTION keep.put_back();
CALL dataprotect.run_retention('undone');
DROP TRIGGER back ON undone;
CALL dataprotect.run_retention('undone');
SELECT count(email) FROM undone;
RESET dataprotect.retention_batch_size;

-- one row at fault does not keep the others
CREATE TABLE fault (id int, at timestamptz);
CREATE INDEX ON fault (at);
INSERT INTO fault SELECT g, timestamptz '2020-01-01' + g * interval '1 minute' FROM generate_series(1, 100) g;
CREATE FUNCTION keep.fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF old.id IN (3, 70) THEN RAISE EXCEPTION 'secret %', old; END IF; RETURN old; END $$;
CREATE TRIGGER f BEFORE DELETE ON fault FOR EACH ROW EXECUTE FUNCTION keep.fault();
SELECT dataprotect.create_retention_policy('fault', 'keep.fault', 'at', '1 year', 'delete');
SELECT keep.run('fault');
CALL dataprotect.run_retention('fault');
SELECT id FROM fault ORDER BY id;
SELECT DISTINCT outcome, detail FROM dataprotect.retention_runs WHERE policy = 'fault' AND outcome <> 'running';
SELECT dataprotect.pause_retention('fault');

-- sub-partitions: each by itself, at any depth
CREATE TABLE pt (id int, at timestamptz NOT NULL, region text, PRIMARY KEY (id, at, region)) PARTITION BY RANGE (at);
CREATE TABLE pt_2022 PARTITION OF pt FOR VALUES FROM (MINVALUE) TO ('2023-01-01');
CREATE TABLE pt_2023 PARTITION OF pt FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE pt_2024 PARTITION OF pt FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (region);
CREATE TABLE pt_2024_eu PARTITION OF pt_2024 FOR VALUES IN ('eu');
CREATE TABLE pt_2024_rest PARTITION OF pt_2024 DEFAULT;
CREATE TABLE pt_mixed PARTITION OF pt FOR VALUES FROM ('2025-01-01') TO (MAXVALUE) PARTITION BY RANGE (at);
CREATE TABLE pt_mixed_old PARTITION OF pt_mixed FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
CREATE TABLE pt_mixed_new PARTITION OF pt_mixed FOR VALUES FROM ('2025-07-01') TO (MAXVALUE);
CREATE TABLE pt_mixed_default PARTITION OF pt_mixed DEFAULT;
INSERT INTO pt SELECT g, timestamptz '2022-06-01' + g * interval '10 days', CASE WHEN g % 2 = 0 THEN 'eu' ELSE 'us' END FROM generate_series(1, 110) g;
INSERT INTO pt VALUES (1000, now(), 'eu');
CREATE VIEW v23 AS SELECT * FROM pt_2023;
SELECT dataprotect.create_retention_policy('pt', 'keep.pt', 'at', '1 year', 'drop_partition');
SELECT action, rel, rows FROM dataprotect.preview_retention('pt');
SELECT keep.run('pt');
CALL dataprotect.run_retention('pt');
SELECT tableoid::regclass, count(*) FROM pt GROUP BY 1 ORDER BY 1;
SELECT DISTINCT outcome, detail FROM dataprotect.retention_runs WHERE policy = 'pt' AND outcome <> 'running';
DROP VIEW v23;
CALL dataprotect.run_retention('pt');
SELECT tableoid::regclass, count(*) FROM pt GROUP BY 1 ORDER BY 1;
SELECT rows_due, problem FROM dataprotect.retention_policies WHERE name = 'pt';

-- hold-does-not-cover-children: what references a held row is held, near and far
CREATE TABLE customer (id int PRIMARY KEY);
CREATE TABLE inv (id int PRIMARY KEY, customer int REFERENCES customer, at timestamptz);
CREATE TABLE line (id int PRIMARY KEY, inv_id int REFERENCES inv, at timestamptz);
CREATE INDEX ON line (inv_id);
CREATE INDEX ON line (at);
INSERT INTO customer VALUES (7), (8);
INSERT INTO inv VALUES (1, 7, '2020-01-01'), (2, 7, '2020-01-01'), (3, 8, '2020-01-01');
INSERT INTO line VALUES (1, 1, '2020-01-01'), (2, 1, '2020-01-01'), (3, 2, '2020-01-01'), (4, 3, '2020-01-01'), (5, NULL, '2020-01-01');
SELECT dataprotect.place_hold('keep.inv', 'id = 1', 'court') > 0, dataprotect.place_hold('keep.customer', 'id = 8', 'court') > 0;
SELECT dataprotect.create_retention_policy('lines', 'keep.line', 'at', '1 year', 'delete');
SELECT action, rel, rows FROM dataprotect.preview_retention('lines');
SELECT keep.run('lines');
CALL dataprotect.run_retention('lines');
SELECT id FROM line ORDER BY id;
SELECT max(detail) FROM dataprotect.retention_runs WHERE policy = 'lines';

-- datestyle-deletes-too-early, time-zone-of-the-session: when a day ends is the
-- policy's own affair
CREATE TABLE zoned (id int, at timestamptz);
CREATE INDEX ON zoned (at);
CREATE TABLE zoneless (id int, at timestamp);
CREATE INDEX ON zoneless (at);
INSERT INTO zoned VALUES (1, now() - interval '20 hours');
INSERT INTO zoneless VALUES (1, (now() AT TIME ZONE 'UTC') - interval '20 hours');
SET timezone = 'Pacific/Kiritimati';
SELECT dataprotect.create_retention_policy('zoned', 'keep.zoned', 'at', '1 day', 'delete');
SELECT dataprotect.create_retention_policy('zoneless', 'keep.zoneless', 'at', '1 day', 'delete', '{"timezone": "UTC"}');
SELECT dataprotect.create_retention_policy('nowhere', 'keep.zoneless', 'at', '1 day', 'delete', '{"timezone": "Mars/Olympus"}');
SELECT keep.run('zoned'), keep.run('zoneless');
SET timezone = 'Asia/Shanghai';
SET datestyle = 'SQL, MDY';
SELECT action, rows FROM dataprotect.preview_retention('zoned');
CALL dataprotect.run_retention('zoned');
SET timezone = 'Pacific/Kiritimati';
SELECT action, rows FROM dataprotect.preview_retention('zoneless');
CALL dataprotect.run_retention('zoneless');
SHOW timezone;
RESET datestyle;
RESET timezone;
SELECT (SELECT count(*) FROM zoned), (SELECT count(*) FROM zoneless);

SELECT count(dataprotect.drop_retention_policy(name)) > 0 AS dropped FROM dataprotect.retention_policies;
DROP SCHEMA keep CASCADE;
SELECT count(*) FROM dataprotect.retention_policies;
