-- Running statements with the rights of a table's owner, for a caller who has them.

CREATE FUNCTION dataprotect._caller() RETURNS oid
    AS 'MODULE_PATHNAME', 'dp_definer_caller'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION dataprotect._caller() IS
    'the role that the session acts as, looking through SECURITY DEFINER functions';

CREATE FUNCTION dataprotect._entered_by() RETURNS oid
    AS 'MODULE_PATHNAME', 'dp_definer_entered_by'
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION dataprotect._entered_by() IS
    'the immediate caller of the public function that is running, or NULL';

CREATE FUNCTION dataprotect._tids_as(rel regclass, sql text, tids tid[] = NULL) RETURNS tid[]
    AS 'MODULE_PATHNAME', 'dp_run_as_tids'
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._tids_as(regclass, text, tid[]) IS
    'choose rows of a table with the rights of its owner';

CREATE FUNCTION dataprotect._value_as(rel regclass, sql text, tids tid[] = NULL) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_run_as_value'
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._value_as(regclass, text, tid[]) IS
    'one value of a query run with the rights of a table''s owner';

CREATE FUNCTION dataprotect._apply_as(rel regclass, sql text, tids tid[] = NULL, silent bool = false) RETURNS bigint
    AS 'MODULE_PATHNAME', 'dp_run_as_apply'
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._apply_as(regclass, text, tid[], bool) IS
    'change rows of a table with the rights of its owner, whose triggers then gain nothing';

-- Rows known by their keys: $1, $2, .. are arrays of the given types, vals has
-- their values row by row.
CREATE FUNCTION dataprotect._rows_as(rel regclass, sql text, types oid[], vals text[], changes bool = false) RETURNS SETOF text[]
    AS 'MODULE_PATHNAME', 'dp_run_as_rows'
    LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._rows_as(regclass, text, oid[], text[], bool) IS
    'rows of a statement over keys, run with the rights of a table''s owner';

-- Whoever makes a rule about a table could have changed its rows anyway.
CREATE FUNCTION dataprotect._check_table_right(rel regclass) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner oid;
    schema oid;
    persistence "char";
BEGIN
    SELECT c.relowner, c.relnamespace, c.relpersistence INTO owner, schema, persistence
      FROM pg_catalog.pg_class c WHERE c.oid = rel;
    IF owner IS NULL THEN
        PERFORM dataprotect._raise('undefined_table', 'relation does not exist');
    END IF;
    IF NOT pg_catalog.pg_has_role(dataprotect._caller(), owner, 'USAGE')
       OR NOT pg_catalog.pg_has_role(coalesce(dataprotect._entered_by(), dataprotect._caller()), owner, 'USAGE') THEN
        PERFORM dataprotect._raise('insufficient_privilege',
            pg_catalog.format('must be owner of relation %s', rel),
            'Retention, holds and deletion act with the rights of a table''s owner.');
    END IF;
    IF schema = 'dataprotect'::pg_catalog.regnamespace THEN
        PERFORM dataprotect._raise('wrong_object_type',
            pg_catalog.format('"%s" is a table of dataprotect itself', rel),
            'It is under no policy, no hold and no account.', NULL, rel);
    END IF;
    IF persistence = 't' THEN
        PERFORM dataprotect._raise('wrong_object_type',
            pg_catalog.format('"%s" is a temporary table', rel),
            'It lives in one session, and workers do not see it.', NULL, rel);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_table_right(regclass) IS
    'error unless the session''s role and the immediate caller both have the rights of the table''s owner';
