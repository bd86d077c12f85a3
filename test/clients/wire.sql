-- Tables for the programs beside this file: plain and prot have the same rows.  Role app may read and
-- write both; support gets masks, clerk may read one of the two keys.
SELECT dataprotect.create_key('pii'), dataprotect.create_key('pay');
CREATE ROLE app LOGIN;
CREATE ROLE support LOGIN;
CREATE ROLE clerk LOGIN;
SELECT dataprotect.grant_access(k, 'app', 'reveal'), dataprotect.grant_access(k, 'support', 'mask') FROM unnest(ARRAY['pii', 'pay']) k;
SELECT dataprotect.grant_access('pii', 'clerk', 'reveal');
CREATE TABLE plain (id int PRIMARY KEY, name text, code varchar(20), n2 int2, n4 int4, n8 int8, f4 float4, f8 float8,
	pay numeric(12,2), active bool, born date, at time, ts timestamp, tz timestamptz, iv interval, u uuid, ip inet, doc jsonb, raw bytea);
CREATE TABLE prot (id int PRIMARY KEY, name encrypted_text('pii'), code encrypted_text('pii', '(20)'), n2 encrypted_int2('pii'),
	n4 encrypted_int4('pii'), n8 encrypted_int8('pii'), f4 encrypted_float4('pii'), f8 encrypted_float8('pii'),
	pay encrypted_numeric('pay', '(12,2)'), active encrypted_bool('pii'), born encrypted_date('pii'), at encrypted_time('pii'),
	ts encrypted_timestamp('pii'), tz encrypted_timestamptz('pii'), iv encrypted_interval('pii'), u encrypted_uuid('pii'),
	ip encrypted_inet('pii'), doc encrypted_jsonb('pii'), raw encrypted_bytea('pii'));
INSERT INTO plain VALUES
	(1, 'Ada', 'c1', 2, 20, 20000000000, 0.5, 0.25, 200.50, false, '1980-03-01', '08:02', '2020-01-03 10:00', '2020-01-03 10:00+00',
	 '2 hours', '00000000-0000-0000-0000-000000000002', '10.0.0.2', '{"a": 1, "l": [1, 2]}', '\x0002'),
	(2, 'Bob', NULL, 3, 30, 5, 1.5, 2.5, 1, true, '1990-01-01', '09:00', '2021-01-01', '2021-01-01 00:00+00',
	 '1 day', '00000000-0000-0000-0000-000000000003', '::1', '[]', '\xff5c');
INSERT INTO prot SELECT * FROM plain;
CREATE VIEW v_plain AS SELECT * FROM plain;
CREATE VIEW v_prot AS SELECT * FROM prot;
-- rows from functions, of a type that has a name and of none
CREATE FUNCTION v_plain_rows() RETURNS SETOF plain LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT * FROM plain ORDER BY id; END $$;
CREATE FUNCTION v_prot_rows() RETURNS SETOF prot LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT * FROM prot ORDER BY id; END $$;
CREATE FUNCTION v_plain_record() RETURNS record LANGUAGE sql AS 'SELECT name, n4, ARRAY[born, born] FROM plain ORDER BY id';
CREATE FUNCTION v_prot_record() RETURNS record LANGUAGE sql AS 'SELECT name, n4, ARRAY[born, born] FROM prot ORDER BY id';
GRANT ALL ON plain, prot, v_plain, v_prot TO app, support, clerk;
GRANT CREATE ON SCHEMA public TO app;
GRANT support, clerk TO app;
