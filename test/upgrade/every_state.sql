-- What a database has that was used for a while: values of every type, keys, grants,
-- accounts, policies and requests in every state that a day can bring.  Run under the
-- old release by test/tap/083_upgrade.pl and pgxs/try_upgrade.sh; questions.sql asks
-- before and after.
CREATE EXTENSION dataprotect;
CREATE ROLE up_app LOGIN;
CREATE ROLE up_support LOGIN;
CREATE ROLE up_nobody LOGIN;
SELECT dataprotect.create_key('pii', mask => 'email'), dataprotect.create_key('hr'), dataprotect.create_key('old'), dataprotect.create_key('asleep'),
       dataprotect.create_key('gone'), dataprotect.create_key('brief', keep => '60 days', rotation_period => '5 days');
SELECT dataprotect.grant_access(k, 'up_app', 'reveal') FROM unnest(ARRAY['pii', 'hr', 'old', 'asleep', 'gone', 'brief']) k;
SELECT dataprotect.grant_access('pii', 'up_support', 'mask'), dataprotect.grant_access('hr', 'up_support', 'search'), dataprotect.grant_access('hr', 'up_nobody', 'mask');
SELECT dataprotect.revoke_access('hr', 'up_nobody');

CREATE TYPE mood AS ENUM ('sad', 'glad');
SELECT dataprotect.create_encrypted_type('mood');
CREATE DOMAIN mail AS encrypted_text('pii', '(60)');
CREATE SCHEMA up AUTHORIZATION CURRENT_USER;
GRANT USAGE ON SCHEMA up TO up_app, up_support, up_nobody;
CREATE TABLE up.every (id int PRIMARY KEY, t text, b bytea, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(9,2), l bool, d date, tm time, ts timestamp,
    tz timestamptz, iv interval, u uuid, ip inet, j jsonb, vc varchar(30), ar text[]);
INSERT INTO up.every SELECT g, 'text ' || g, decode(lpad(to_hex(g), 4, '0'), 'hex'), g, g * 2, g * 3, g + 0.5, g / 4.0, g * 1.25, g % 2 = 0, date '2020-01-01' + g, time '08:00' + g * interval '1 min',
    timestamp '2021-02-03 04:05' + g * interval '1 day', timestamptz '2021-02-03 04:05+00' + g * interval '1 day', g * interval '1 hour', ('00000000-0000-0000-0000-' || lpad(g::text, 12, '0'))::uuid,
    ('10.0.0.' || g)::inet, jsonb_build_object('n', g), 'vc' || g, ARRAY['a' || g, 'b'] FROM generate_series(1, 40) g;
SELECT jsonb_object_agg(attname, jsonb_build_object('key', 'hr', 'searchable', attname IN ('t', 'i4', 'n', 'u'), 'ordered', attname IN ('d', 'tz'))) AS columns
    FROM pg_attribute WHERE attrelid = 'up.every'::regclass AND attnum > 1 \gset
CALL dataprotect.encrypt_columns('up.every', :'columns');
CREATE INDEX ON up.every (t encrypted_text_token_ops);
CREATE INDEX ON up.every USING hash (i8);
CREATE INDEX ON up.every (d);

CREATE TABLE up.customer (id int PRIMARY KEY, mail mail, feels encrypted_mood('pii'), pay encrypted_numeric('old', 'ordered', '(9,2)'), note encrypted_text('asleep'),
    lost encrypted_text('gone'), seen encrypted_timestamptz('brief'), at timestamptz NOT NULL DEFAULT now());
CREATE UNIQUE INDEX customer_feels ON up.customer (id, at);
CREATE TABLE up.ticket (id int PRIMARY KEY, customer int NOT NULL REFERENCES up.customer, body text, at timestamptz NOT NULL);
CREATE INDEX ON up.ticket (customer);
CREATE INDEX ON up.ticket (at);
SELECT dataprotect.create_account_type('customer', 'up.customer', 'id', grace_readable => true);
SELECT dataprotect.annotate_account('customer', 'up.ticket', '{customer}', 'delete');
CALL dataprotect.encrypt_column('up.ticket', 'body', 'pii');
SELECT dataprotect.bind_subject('up.ticket', 'customer', 'customer');
INSERT INTO up.customer SELECT g, 'm' || g || '@example.org', CASE g % 2 WHEN 0 THEN mood 'sad' ELSE 'glad' END, g * 10, 'note ' || g, 'lost ' || g, now() FROM generate_series(1, 12) g;
INSERT INTO up.ticket SELECT g, 1 + g % 12, 'ticket ' || g, now() - g * interval '10 days' FROM generate_series(1, 60) g;
CREATE VIEW up.seen AS SELECT id, mail, upper(body) AS loud FROM up.customer JOIN up.ticket USING (id);
CREATE VIEW up.by_array AS SELECT id, ARRAY[d] < ARRAY[date '2020-01-09'] AS earlier FROM up.every
    WHERE ARRAY[u] = ARRAY['00000000-0000-0000-0000-000000000007'::uuid] OR ARRAY[i2] <@ ARRAY[8, 9]::int2[];
CREATE VIEW up.my_keys AS SELECT name, state FROM dataprotect.keys;
CREATE VIEW up.my_workers AS SELECT database, state FROM dataprotect.workers;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA up TO up_app, up_support, up_nobody;
CREATE FUNCTION up.helps(t text) RETURNS text LANGUAGE sql AS 'SELECT t';
ALTER FUNCTION up.helps OWNER TO up_support;
SELECT dataprotect.trust_function('up.helps(text)', 'read by two');

SELECT dataprotect.rotate_key('old'), dataprotect.rotate_key('pii');
UPDATE up.customer SET pay = 1000 + id WHERE id > 9;
SELECT dataprotect.suspend_key('asleep', 'leave'), dataprotect.suspend_key('gone', 'end');
SELECT dataprotect.destroy_key('gone', 'end', force => true);
SELECT dataprotect.create_retention_policy('old tickets', 'up.ticket', 'at', '300 days', 'delete'), dataprotect.create_retention_policy('paused', 'up.ticket', 'at', '900 days', 'delete');
SELECT dataprotect.activate_retention('old tickets');
SELECT dataprotect.place_hold('up.ticket', 'id = 60', 'a lawsuit');
SELECT dataprotect.request_deletion('customer', '3', 'asked'), dataprotect.request_deletion('customer', '4', 'asked'), dataprotect.request_deletion('customer', '5', 'asked');
SELECT dataprotect.cancel_deletion(id, 'changed their mind') FROM dataprotect.deletion_requests WHERE account_id = '4';
SELECT dataprotect.retain_account('customer', '5', 'wants to stay');
-- not in every release
SELECT 'SELECT dataprotect.open_incident(''a lost laptop'')' WHERE to_regproc('dataprotect.open_incident') IS NOT NULL \gexec
SELECT dataprotect.flush_audit_log();
CREATE TABLE up.plain AS SELECT generate_series(1, 3) AS id;
