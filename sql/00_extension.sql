-- What the installation makes, and what it refuses.
CREATE EXTENSION dataprotect;

SELECT extversion, extnamespace::regnamespace FROM pg_extension WHERE extname = 'dataprotect';
SELECT rolname, rolcanlogin, rolsuper FROM pg_roles WHERE rolname LIKE 'dataprotect%' ORDER BY rolname;

-- Every base type of the documentation has its encrypted type.
SELECT t.typname, t.typcategory = b.typcategory AS same_category, t.typstorage
  FROM pg_type t JOIN pg_type b ON t.typname = 'encrypted_' || b.typname AND b.typnamespace = 'pg_catalog'::regnamespace
 WHERE t.typtype = 'b' ORDER BY t.typname COLLATE "C";

-- Operators are stable; equality is leakproof.
SELECT o.oprname, p.provolatile, p.proleakproof
  FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
 WHERE o.oprleft = 'encrypted_text'::regtype AND o.oprright = 'encrypted_text'::regtype
 ORDER BY o.oprname COLLATE "C";

-- The defaults of the settings.
SELECT name, CASE WHEN name IN ('dataprotect.kms_allowed', 'dataprotect.default_kms_uri') THEN '...' ELSE boot_val END AS default,
       unit, context
  FROM pg_settings WHERE name LIKE 'dataprotect.%' ORDER BY name COLLATE "C";

-- The prefix is reserved.
SET dataprotect.nonsense = 1;
SET dataprotect.input = 'whatever';
