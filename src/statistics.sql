--
-- Statistics are copies of values that outlive their rows: a wrapped key was
-- found in pg_statistic after it had been destroyed.  ANALYZE passes over columns
-- of ours that hold keys, sealed data or authenticators (all of type bytea) and
-- whose account a row is about.
--
-- This piece comes after all tables; an upgrade script that makes one calls
-- _keep_no_statistics() for it.
--
CREATE FUNCTION dataprotect._keep_no_statistics(rel regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT a.attname, a.attnum FROM pg_attribute a
        WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
            AND (a.atttypid IN ('bytea'::regtype, 'bytea[]'::regtype) OR a.attname IN ('subject', 'account_id'))
    LOOP
        EXECUTE format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STATISTICS 0', rel, r.attname);
        DELETE FROM pg_statistic s WHERE s.starelid = rel AND s.staattnum = r.attnum;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._keep_no_statistics(regclass) IS
    'have ANALYZE pass over the columns of a table of the extension that hold secrets or name accounts';

SELECT dataprotect._keep_no_statistics(c.oid)
    FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'dataprotect'
        JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p');
