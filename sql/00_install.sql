-- The extension installs, and what it needs first is said.
SELECT current_user AS su \gset
SELECT count(*) FROM pg_type WHERE typname LIKE 'encrypted\_%';
-- before the first key a literal can be written, for DDL, and no column filled
SELECT 'x'::encrypted_text;
SELECT dataprotect.create_key('no spaces');
SELECT dataprotect.create_key('pii', mask => 'email', description => 'contact data');
SELECT dataprotect.create_key('pii');
SELECT dataprotect.create_key('money', mask => 'null');
SELECT dataprotect.create_key('hr', mask => 'partial(1,''*'',1)');
SELECT dataprotect.create_key('born', mask => 'year');
SELECT name, state, cardinality(kms_uri) AS uris, current_version, rotation_period, mask, description
FROM dataprotect.keys ORDER BY name;
SELECT name, version, purpose, state FROM dataprotect.key_versions ORDER BY name, purpose;
-- refused: settings that do not fit, and nothing is changed by that
SELECT dataprotect.create_key('k', kms_uri => '{}');
SELECT dataprotect.create_key('k', kms_uri => '{file:///etc/hostname}');
SELECT dataprotect.create_key('k', mask => 'blur');
SELECT dataprotect.create_key('k', keep => '23 hours');
SELECT dataprotect.create_key('k', rotation_period => '-1 day');
SELECT count(*) FROM dataprotect.keys;
CREATE ROLE regress_app LOGIN;
CREATE ROLE regress_mask LOGIN;
CREATE ROLE regress_search LOGIN;
CREATE ROLE regress_none LOGIN;
GRANT USAGE, CREATE ON SCHEMA public TO regress_app;
SELECT dataprotect.grant_access(k, 'regress_app', 'reveal') > 0 AS granted FROM unnest('{pii,money,hr,born}'::text[]) k;
SELECT dataprotect.grant_access(k, 'regress_mask', 'mask') > 0 AS granted FROM unnest('{pii,money,hr,born}'::text[]) k;
SELECT dataprotect.grant_access('pii', 'regress_search', 'search') > 0 AS granted;
SELECT key, grantee, privilege, in_force FROM dataprotect.grants ORDER BY 1, 2;
SELECT key, role, level FROM dataprotect.access_review WHERE role LIKE 'regress%' ORDER BY 1, 2;
