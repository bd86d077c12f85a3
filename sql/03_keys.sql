-- Rotation, suspension, lockdown, destruction.
SELECT current_user AS su \gset
\c - regress_app
CREATE TABLE k (id int, v encrypted_text('pii'));
INSERT INTO k VALUES (1, 'under version one');
\c - :su
SELECT dataprotect.rotate_key('pii');
\c - regress_app
INSERT INTO k VALUES (2, 'under version two');
SELECT v FROM k ORDER BY id;
\c - :su
SELECT k.id, v.version, v.state FROM k JOIN dataprotect.key_version v ON v.key_id = dataprotect._envelope_key_id(k.v) ORDER BY 1;
SELECT name, version, purpose, state FROM dataprotect.key_versions WHERE name = 'pii' ORDER BY version;
SELECT dataprotect._reencrypt_blocks('k', '{v}', 0, 1000);
SELECT k.id, v.version FROM k JOIN dataprotect.key_version v ON v.key_id = dataprotect._envelope_key_id(k.v) ORDER BY 1;
-- a key that is suspended reads as null, with one warning a statement; writing is refused
SELECT dataprotect.suspend_key('pii', '');
SELECT dataprotect.suspend_key('pii', 'incident 7');
\c - regress_app
SELECT id, v FROM k ORDER BY id;
SELECT id, v::text IS NULL AS is_null FROM k WHERE v = 'under version one' OR id = 2;
SELECT id FROM k ORDER BY v, id;
INSERT INTO k VALUES (3, 'x');
\c - :su
SELECT dataprotect.suspend_key('pii', 'again');
SELECT dataprotect.resume_key('pii', 'incident closed');
\c - regress_app
SELECT v FROM k ORDER BY id;
\c - :su
SELECT dataprotect.lockdown('breach');
\c - regress_app
SELECT v::text FROM k;
SELECT left(format('%s', v), 7) FROM k;
\c - :su
SELECT dataprotect.lift_lockdown('over');
\c - regress_app
SELECT v FROM k ORDER BY id;
\c - :su
-- taken back by ROLLBACK
BEGIN;
SELECT dataprotect.suspend_key('pii', 'never');
ROLLBACK;
\c - regress_app
SELECT v FROM k ORDER BY id;
\c - :su
-- destruction
SELECT dataprotect.create_key('doomed');
SELECT dataprotect.grant_access('doomed', 'regress_app', 'reveal') > 0 AS granted;
\c - regress_app
CREATE TABLE d (v encrypted_text('doomed'));
INSERT INTO d VALUES ('gone soon');
\c - :su
SELECT dataprotect.destroy_key('doomed', 'end of contract');
SELECT dataprotect.suspend_key('doomed', 'end of contract');
SELECT dataprotect.destroy_key('doomed', 'end of contract', force => true);
\c - regress_app
SELECT v FROM d;
SELECT v::text FROM d;
INSERT INTO d VALUES ('x');
\c - :su
SELECT name, version, state FROM dataprotect.key_versions WHERE name = 'doomed';
SELECT dataprotect.resume_key('doomed', 'please');
SELECT key, ok, detail FROM dataprotect.drill() ORDER BY 1;
-- a key made in a transaction that rolls back is there all the same
BEGIN;
SELECT dataprotect.create_key('kept');
ROLLBACK;
SELECT name, state FROM dataprotect.keys WHERE name = 'kept';

-- keys beside the backups: what is lost comes back, what was destroyed does not
SELECT count(*) AS before FROM dataprotect.key_version \gset
SELECT dataprotect.export_keys() AS exported \gset
DELETE FROM dataprotect.key_version WHERE state = 'r';
SELECT dataprotect.import_keys(:'exported');
SELECT count(*) = :before AS all_there FROM dataprotect.key_version;
SELECT v.state, wrapped IS NULL AS gone FROM dataprotect.key_version v JOIN dataprotect.key k USING (family) WHERE k.name = 'doomed';
SELECT dataprotect.import_keys('{}');
SELECT dataprotect.import_keys(jsonb_set(:'exported', '{database_uid}', '"00000000-0000-0000-0000-000000000000"'));
DROP TABLE k, d;
-- a version that sealed too often, or too long, gets a successor
UPDATE dataprotect.key_version v SET seals = (1 << 28) - 10 FROM dataprotect.key k WHERE k.current_key_id = v.key_id AND k.name = 'hr';
SELECT dataprotect._reserve_seals(current_key_id, 100) FROM dataprotect.key WHERE name = 'hr';
UPDATE dataprotect.key_version v SET created_at = v.created_at - interval '2 years' FROM dataprotect.key k WHERE k.current_key_id = v.key_id AND k.name = 'money';
SELECT dataprotect._rotate_due();
SELECT dataprotect._rotate_due();
SELECT name, current_version FROM dataprotect.keys WHERE name IN ('hr', 'money') ORDER BY 1;
