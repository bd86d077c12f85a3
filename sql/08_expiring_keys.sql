-- Keys with "keep": what may be asked for, what they refuse; how they end, test/tap/067_expiring_keys.pl
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT dataprotect.create_key('brief', keep => '30 days', rotation_period => '1 day'), dataprotect.create_key('usual', keep => '1 year'),
       dataprotect.create_key('unrotated', keep => '2 days', rotation_period => NULL), dataprotect.create_key('lasting');
SELECT name, rotation_period, keep FROM dataprotect.keys WHERE name IN ('brief', 'usual', 'unrotated', 'lasting') ORDER BY name;
SELECT name, version, state, expires_at - created_at AS lasts FROM dataprotect.key_versions WHERE name IN ('brief', 'lasting') ORDER BY name;
-- the end of a version is what it was when it began
SELECT dataprotect.alter_key('brief', keep => '60 days');
SELECT dataprotect.rotate_key('brief');
SELECT version, state, expires_at - created_at AS lasts FROM dataprotect.key_versions WHERE name = 'brief' ORDER BY version;
SELECT dataprotect.alter_key('brief', keep => '1 day');
SELECT rotation_period, keep FROM dataprotect.keys WHERE name = 'brief';
SELECT dataprotect.alter_key('brief', rotation_period => '20 days');
SELECT rotation_period, keep FROM dataprotect.keys WHERE name = 'brief';
-- refused
SELECT dataprotect.create_key('never', keep => '0');
SELECT dataprotect.create_key('never', keep => '-1 year');
SELECT dataprotect.alter_key('brief', keep => '1 hour');
SELECT dataprotect.alter_key('lasting', keep => '1 year');
CREATE TABLE expiring (id int, v encrypted_text('brief', 'ordered'));
CREATE TABLE expiring (id int, v encrypted_text('brief', 'searchable'));
CREATE DOMAIN expiring_domain AS encrypted_text('brief', 'searchable');
CREATE TABLE expiring (id int, v expiring_domain);
DROP DOMAIN expiring_domain;
CREATE TABLE expiring (id int, v text UNIQUE);
CALL dataprotect.encrypt_column('expiring', 'v', 'brief');
DROP TABLE expiring;
-- a value stays in its period, and reencrypt() says that it is where it belongs
CREATE TABLE expiring (id int, v encrypted_text('brief'));
INSERT INTO expiring VALUES (1, 'a');
SELECT dataprotect.rotate_key('brief');
INSERT INTO expiring VALUES (2, 'b');
CALL dataprotect.reencrypt('expiring');
SELECT version, "values", failures FROM dataprotect.verify('expiring') ORDER BY 1;
DROP TABLE expiring;
