--
-- What a client's queries of the catalogs find protected columns to have.  The drivers'
-- own queries: test/tap/141.
--
SELECT dataprotect.create_key('refl') AS made;
CREATE ROLE refl_app;
SELECT dataprotect.grant_access('refl', r::regrole, 'reveal') > 0 AS granted FROM unnest(ARRAY['refl_app', current_user]) r;
CREATE TABLE refl (id int PRIMARY KEY, name encrypted_text('refl'), code encrypted_text('refl', '(20)'),
    pay encrypted_numeric('refl', '(12,2)'), days encrypted_date('refl')[]);
GRANT SELECT ON refl TO refl_app;
SET ROLE refl_app;
SET dataprotect.catalog_types = auto;
SELECT column_name, data_type, udt_name, character_maximum_length AS length, numeric_precision AS p, numeric_scale AS s
  FROM information_schema.columns WHERE table_name = 'refl' ORDER BY ordinal_position;
SELECT data_type, count(*) FROM information_schema.columns WHERE table_name = 'refl' GROUP BY data_type ORDER BY data_type;
SELECT format_type(atttypid, atttypmod), attlen FROM pg_attribute WHERE attrelid = 'refl'::regclass AND attnum > 0 ORDER BY attnum;
SELECT atttypid::regtype, count(*) FROM pg_attribute a FULL JOIN pg_attribute b USING (attrelid, attnum, atttypid)
 WHERE attrelid = 'refl'::regclass AND attnum > 0 GROUP BY atttypid ORDER BY atttypid;
SELECT (a).attname, (a).atttypid::regtype FROM (SELECT a FROM pg_attribute a WHERE attrelid = 'refl'::regclass AND attnum > 0) s ORDER BY (a).attnum;
-- a tool that carries definitions, and what stores
SET search_path = '';
SELECT pg_catalog.format_type(atttypid, atttypmod), attlen FROM pg_catalog.pg_attribute WHERE attrelid = 'public.refl'::pg_catalog.regclass AND attname = 'pay';
RESET search_path;
CREATE TEMP TABLE refl_stored AS SELECT format_type(atttypid, atttypmod), attlen FROM pg_attribute WHERE attrelid = 'refl'::regclass AND attname = 'pay';
SELECT * FROM refl_stored;
-- without the right
RESET ROLE;
SELECT dataprotect.revoke_access('refl', 'refl_app', 'reveal');
SET ROLE refl_app;
SELECT column_name, data_type, udt_name FROM information_schema.columns WHERE table_name = 'refl' AND column_name = 'pay';
SET dataprotect.catalog_types = base;
SELECT column_name, data_type, numeric_precision AS p, numeric_scale AS s FROM information_schema.columns WHERE table_name = 'refl' AND column_name = 'pay';
RESET dataprotect.catalog_types;
RESET ROLE;
SELECT dataprotect.revoke_access('refl', current_user::regrole, 'reveal');
DROP TABLE refl, pg_temp.refl_stored;
DROP ROLE refl_app;
