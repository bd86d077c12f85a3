--
-- Which release runs here: the library that the server has loaded, and the objects
-- of this database, which an update of the package alone does not change.
--
CREATE FUNCTION dataprotect._library_version(OUT version text, OUT released text) RETURNS record
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_library_version_sql';
COMMENT ON FUNCTION dataprotect._library_version() IS 'version of the loaded library, and the day of its release as CHANGELOG.md has it';

CREATE FUNCTION dataprotect.dataprotect_version(
    OUT library text, OUT extension text, OUT available text, OUT released date, OUT age interval, OUT consistent bool) RETURNS record
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT l.version, e.extversion, a.default_version, d.day, age(now()::date::timestamp, d.day::timestamp),
           l.version = e.extversion AND a.default_version IS NOT DISTINCT FROM l.version
        FROM dataprotect._library_version() l
            CROSS JOIN LATERAL (SELECT CASE WHEN l.released ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$' THEN l.released::date END) d (day)
            JOIN pg_extension e ON e.extname = 'dataprotect'
            LEFT JOIN pg_available_extensions a ON a.name = 'dataprotect'
$$;
COMMENT ON FUNCTION dataprotect.dataprotect_version() IS
    'version of the loaded library, of this database''s objects and of the files on disk; released and age: of the library, null before a release; consistent: all three are one version';
