-- What anonymising a table's rows writes

-- The characters that a text column has room for, that of a domain as well; NULL: any number.
CREATE FUNCTION dataprotect._room_for_text(type oid, typmod int) RETURNS int
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    WITH RECURSIVE under(oid, typmod, typtype, typbasetype, typtypmod) AS (
        SELECT t.oid, $2, t.typtype, t.typbasetype, t.typtypmod FROM pg_type t WHERE t.oid = $1
        UNION ALL
        SELECT t.oid, u.typtypmod, t.typtype, t.typbasetype, t.typtypmod FROM pg_type t JOIN under u ON t.oid = u.typbasetype
         WHERE u.typtype = 'd')
    SELECT u.typmod - 4 FROM under u
     WHERE u.typtype <> 'd' AND u.oid IN ('varchar'::regtype, 'bpchar'::regtype) AND u.typmod > 4);
END $$;
COMMENT ON FUNCTION dataprotect._room_for_text(oid, int) IS 'how long a text column''s values can be';

-- Whether two rows cannot have the same value in a column: a unique index is over it, or
-- over what is computed from it, and no other column of that index differs by itself.
CREATE FUNCTION dataprotect._must_differ(rel regclass, col name) RETURNS bool
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN EXISTS (
        SELECT FROM dataprotect._below($1) b JOIN pg_index i ON i.indrelid = b
          JOIN pg_attribute a ON a.attrelid = b AND a.attname = $2
         WHERE (i.indisunique OR i.indisexclusion)
           AND (a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
                OR i.indexprs IS NOT NULL AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                                                         AND d.refclassid = 'pg_class'::regclass AND d.refobjid = b AND d.refobjsubid = a.attnum))
           AND NOT EXISTS (SELECT FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) k, pg_index o
                            WHERE i.indisunique AND k <> 0 AND k <> a.attnum AND o.indrelid = b AND o.indisunique AND o.indisvalid
                              AND o.indnkeyatts = 1 AND o.indpred IS NULL AND o.indkey[0] = k));
END $$;
COMMENT ON FUNCTION dataprotect._must_differ(regclass, name) IS 'whether a column''s values differ from row to row';

-- A value that says nothing, for a column that does not allow nulls; NULL where
-- its type has none.
CREATE FUNCTION dataprotect._neutral_value(type oid, typmod int, is_unique bool) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    base oid := coalesce(dataprotect._base_type(type), type);
    kind pg_type := (SELECT t FROM pg_type t WHERE t.oid = base);
    width int := dataprotect._room_for_text(type, typmod);
BEGIN
    IF kind.oid = 'uuid'::regtype THEN
        RETURN 'pg_catalog.gen_random_uuid()';
    ELSIF kind.typcategory = 'S' AND is_unique THEN
        RETURN format('pg_catalog.left(pg_catalog.replace(pg_catalog.gen_random_uuid()::pg_catalog.text, ''-'', ''''), %s)',
                      coalesce(width, 32));
    ELSIF is_unique THEN
        RETURN NULL;
    ELSIF kind.typcategory = 'S' THEN
        RETURN quote_literal(left('removed', coalesce(width, 7)));
    ELSIF kind.typcategory = 'N' AND kind.typtype = 'b' THEN
        RETURN '''0''';
    ELSIF kind.typcategory = 'D' AND kind.oid NOT IN ('time'::regtype, 'timetz'::regtype) THEN
        RETURN '''1900-01-01''';
    END IF;
    RETURN CASE kind.oid
        WHEN 'bool'::regtype THEN '''false'''
        WHEN 'bytea'::regtype THEN ''''''
        WHEN 'json'::regtype THEN '''{}'''
        WHEN 'jsonb'::regtype THEN '''{}'''
        WHEN 'inet'::regtype THEN '''0.0.0.0'''
        WHEN 'interval'::regtype THEN '''0'''
        WHEN 'time'::regtype THEN '''00:00'''
        WHEN 'timetz'::regtype THEN '''00:00+00'''
    END;
END $$;
COMMENT ON FUNCTION dataprotect._neutral_value(oid, int, bool) IS 'SQL text of a value that says nothing about anybody';

-- A constant, or one with a new identifier each time.
CREATE FUNCTION dataprotect._replacement_value(replacement text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN replacement LIKE '%{uuid}%'
                THEN format('pg_catalog.replace(%L, ''{uuid}'', pg_catalog.gen_random_uuid()::pg_catalog.text)', replacement)
                ELSE quote_literal(replacement) END;
$$;
COMMENT ON FUNCTION dataprotect._replacement_value(text) IS 'SQL text of what is written instead of a person''s data';

-- Columns of a table that a person's data is taken out of, with what is written
-- (NULL where nothing fits).  Named ones, where columns of the table were
-- annotated; else every column of text, documents or bytes that is no key, and
-- in any case the protected ones that are not kept.
CREATE FUNCTION dataprotect._personal_columns(account_type text, rel regclass,
        OUT col name, OUT value text, OUT named bool) RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH keys AS (
        SELECT c.conkey FROM pg_catalog.pg_constraint c WHERE c.conrelid = $2 AND c.contype IN ('p', 'f')
        UNION ALL
        SELECT array_agg(a.attnum) FROM dataprotect._foreign_keys(ARRAY[$2]) f, pg_catalog.pg_attribute a
         WHERE f.from_rel = $2 AND a.attrelid = $2 AND a.attname = ANY (f.columns)
        UNION ALL
        SELECT array_agg(a.attnum) FROM dataprotect._rules_of($1) r, pg_catalog.pg_attribute a
         WHERE r.rel = $2 AND r.reference IS NOT NULL AND a.attrelid = $2
           AND (a.attname = ANY (r.columns) OR r.match ? a.attname::text)
        UNION ALL
        SELECT ARRAY[a.attnum] FROM dataprotect._bindings_of($1) b, pg_catalog.pg_attribute a
         WHERE b.rel = $2 AND a.attrelid = $2 AND a.attname = ANY (b.id_columns)
    ), rule AS (
        SELECT c AS col, r.action, r.replacement
          FROM dataprotect._rules_of($1) r, unnest(r.columns) c
         WHERE r.rel = $2 AND r.targets = '{}' AND r.action <> 'shared'
           AND NOT EXISTS (SELECT 1 FROM dataprotect._foreign_keys(ARRAY[$2]) f WHERE f.from_rel = $2 AND f.columns = r.columns)
           AND NOT EXISTS (SELECT 1 FROM dataprotect.account_type t
                            WHERE t.name = $1 AND t.root = $2 AND r.columns = coalesce(t.id_columns, ARRAY[t.id_column]))
    ), chosen AS (
        SELECT a.attname, a.attnotnull, a.atttypid, a.atttypmod, coalesce(rule.action, 'anonymise') AS action,
               rule.col IS NOT NULL AS named, rule.replacement,
               dataprotect._must_differ($2, a.attname) AS is_unique,
               p IS NOT NULL AS protected
          FROM pg_catalog.pg_attribute a
          JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
          LEFT JOIN rule ON rule.col = a.attname
          LEFT JOIN dataprotect._protected_attributes($2) p ON p = a.attname
         WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
           AND NOT EXISTS (SELECT 1 FROM keys WHERE a.attnum = ANY (keys.conkey))
           AND CASE WHEN rule.col IS NOT NULL THEN rule.action IN ('anonymise', 'nullify')
                    WHEN p IS NOT NULL THEN true
                    WHEN EXISTS (SELECT 1 FROM rule WHERE rule.action <> 'keep') THEN false
                    ELSE t.typcategory = 'S' OR t.oid IN ('json'::regtype, 'jsonb'::regtype, 'xml'::regtype,
                                                          'bytea'::regtype, 'inet'::regtype, 'cidr'::regtype)
               END
    )
    SELECT attname, CASE WHEN replacement IS NOT NULL THEN dataprotect._replacement_value(replacement)
                         WHEN NOT attnotnull THEN 'NULL'
                         WHEN action = 'anonymise' THEN dataprotect._neutral_value(atttypid, atttypmod, is_unique) END,
           named
      FROM chosen ORDER BY attname;
END $$;
COMMENT ON FUNCTION dataprotect._personal_columns(text, regclass) IS
    'columns that anonymising clears, and what it writes there';
