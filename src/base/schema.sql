--
-- The schema and the two roles.  Roles belong to the cluster and not to the
-- extension: they are made once and stay after DROP EXTENSION.
--
CREATE SCHEMA dataprotect;
COMMENT ON SCHEMA dataprotect IS 'dataprotect: keys, grants, audit, retention and deletion';

DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dataprotect_admin') THEN
		CREATE ROLE dataprotect_admin NOLOGIN;
	END IF;
	IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dataprotect_auditor') THEN
		CREATE ROLE dataprotect_auditor NOLOGIN;
	END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
	NULL;	-- another database's CREATE EXTENSION was a moment faster
END
$$;
COMMENT ON ROLE dataprotect_admin IS 'administers dataprotect: keys, grants, policies';
COMMENT ON ROLE dataprotect_auditor IS 'reads the audit log and the reports of dataprotect';
