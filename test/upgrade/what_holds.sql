-- What an administrator has set up, and what must hold before and after an update.
SELECT name, state, current_version, mask FROM dataprotect.keys ORDER BY 1;
SELECT key, grantee, privilege FROM dataprotect.grants ORDER BY 1, 2, 3;
SELECT * FROM dataprotect.protected_columns ORDER BY 1, 2;
SELECT function, in_force FROM dataprotect.trusted_functions;
SELECT name, rel, keep, action, state FROM dataprotect.retention_policies ORDER BY 1;
SELECT rel, predicate, reason FROM dataprotect.holds ORDER BY 1;
SELECT account_type, account_id, state FROM dataprotect.deletion_requests ORDER BY id;
SELECT 'SELECT title, state FROM dataprotect.incidents' WHERE to_regclass('dataprotect.incidents') IS NOT NULL \gexec
SELECT * FROM up.my_keys ORDER BY 1;
SELECT * FROM dataprotect.verify_policy();
SELECT ok FROM dataprotect.verify_audit_log();
SELECT sum(failures) FROM dataprotect.verify();
