-- What anonymising a table's rows writes

-- A value that says nothing, for a column that does not allow nulls; NULL where
-- its type has none.
CREATE FUNCTION dataprotect._neutral_value(type oid, typmod int, is_unique bool) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    base oid := coalesce(dataprotect._base_type(type), type);
    kind pg_type := (SELECT t FROM pg_type t WHERE t.oid = base);
    width int := CASE WHEN type IN ('varchar'::regtype, 'bpchar'::regtype) AND typmod > 4 THEN typmod - 4 END;
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
         WHERE b.rel = $2 AND a.attrelid = $2 AND a.attname = b.id_column
    ), rule AS (
        SELECT c AS col, r.action, r.replacement
          FROM dataprotect._rules_of($1) r, unnest(r.columns) c
         WHERE r.rel = $2 AND r.targets = '{}' AND r.action <> 'shared'
           AND NOT EXISTS (SELECT 1 FROM dataprotect._foreign_keys(ARRAY[$2]) f WHERE f.from_rel = $2 AND f.columns = r.columns)
           AND NOT EXISTS (SELECT 1 FROM dataprotect.account_type t
                            WHERE t.name = $1 AND t.root = $2 AND r.columns = ARRAY[t.id_column])
    ), chosen AS (
        SELECT a.attname, a.attnotnull, a.atttypid, a.atttypmod, coalesce(rule.action, 'anonymise') AS action,
               rule.col IS NOT NULL AS named, rule.replacement,
               EXISTS (SELECT 1 FROM pg_catalog.pg_index i
                        WHERE i.indrelid = $2 AND i.indisunique AND a.attnum = ANY (i.indkey::int2[])) AS is_unique,
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
