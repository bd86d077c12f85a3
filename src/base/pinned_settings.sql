--
-- Settings that change how SQL of ours is read (src/base/pinned_settings.h).
--
CREATE FUNCTION dataprotect._pinned_settings(OUT name text, OUT value text) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dp_pinned_settings'
    LANGUAGE C STABLE;
COMMENT ON FUNCTION dataprotect._pinned_settings() IS 'settings that have a fixed value in every routine of the extension';

-- PL/pgSQL runs statements that it puts together; a function in SQL only matters
-- where it writes expressions out or has a backslash in its text: the others
-- stay cheap to call.  Without a search path of its own: a procedure that commits.
CREATE FUNCTION dataprotect._pinnable() RETURNS SETOF regprocedure
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.oid::regprocedure
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE p.pronamespace = 'dataprotect'::regnamespace AND p.proconfig IS NOT NULL
            AND (l.lanname = 'plpgsql' OR l.lanname = 'sql' AND (position(chr(92) IN p.prosrc) > 0 OR p.prosrc ~ 'pg_get_'))
$$;
COMMENT ON FUNCTION dataprotect._pinnable() IS 'routines of the extension whose statements must not depend on the session''s settings';

-- An upgrade script calls it at its end.
CREATE FUNCTION dataprotect._pin_routines() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_routine regprocedure;
    v_settings text;
BEGIN
    SELECT string_agg(format('SET %I = %L', s.name, s.value), ' ') INTO STRICT v_settings FROM dataprotect._pinned_settings() s;
    FOR v_routine IN SELECT dataprotect._pinnable() LOOP
        EXECUTE format('ALTER ROUTINE %s %s', v_routine, v_settings);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._pin_routines() IS 'gives routines of the extension their SET clauses';
