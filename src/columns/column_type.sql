-- What a column's type comes down to: a scalar base type with its own modifier, as
-- a value or as the elements of an array, under any number of domains.  A domain's
-- rules become the column's own: a value of an encrypted type is none of the
-- domain's base type.

-- dimensions of an array are no part of its type
CREATE FUNCTION dataprotect._column_kind(rel regclass, col name, OUT base oid, OUT typmod int4, OUT is_array bool,
                                         OUT domains oid[])
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t       record;
BEGIN
    domains := '{}';
    SELECT a.atttypid, a.atttypmod INTO base, typmod FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = col;
    LOOP
        SELECT y.typtype, y.typbasetype, y.typtypmod INTO t FROM pg_type y WHERE y.oid = base;
        EXIT WHEN t.typtype IS DISTINCT FROM 'd';
        domains := base || domains;
        typmod := t.typtypmod;
        base := t.typbasetype;
    END LOOP;
    SELECT y.typelem INTO t FROM pg_type y WHERE y.oid = base AND y.typsubscript = 'array_subscript_handler'::regproc;
    is_array := FOUND;
    IF is_array THEN
        base := t.typelem;
    END IF;
    IF base = 'varchar'::regtype THEN
        base := 'text'::regtype;
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._column_kind(regclass, name) IS
    'the scalar base type of a column (text''s for varchar), its modifier, whether in an array, and the domains around it, the innermost first';

-- The encrypted type that a column has, as its value or as its elements; NULL: none.
CREATE FUNCTION dataprotect._protected_type(rel regclass, col name) RETURNS regtype
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.base FROM dataprotect._column_kind($1, $2) t WHERE dataprotect._base_type(t.base) IS NOT NULL
$$;
COMMENT ON FUNCTION dataprotect._protected_type(regclass, name) IS
    'encrypted type of a column''s values, or of the elements of its arrays';

-- Empty where values of the type have no tokens.
CREATE FUNCTION dataprotect._token_class(enc regtype) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree'
                             WHERE o.opcintype = $1 AND o.opcname LIKE '%\_token\_ops') THEN $1::text || '_token_ops' ELSE '' END
$$;
COMMENT ON FUNCTION dataprotect._token_class(regtype) IS 'operator class of an encrypted type''s tokens';

-- Of a type whose encrypted one is made in the same call, too.
CREATE FUNCTION dataprotect._will_have_tokens(base oid) RETURNS bool
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN dataprotect._encrypted_type($1::regtype) IS NOT NULL
                THEN dataprotect._token_class(dataprotect._encrypted_type($1::regtype)) <> ''
                ELSE $1 = 'bpchar'::regtype
                    OR EXISTS (SELECT FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod AND a.amname = 'hash'
                                   JOIN pg_amproc m ON m.amprocfamily = o.opcfamily AND m.amproclefttype = $1 AND m.amprocnum = 1
                                   JOIN pg_proc p ON p.oid = m.amproc AND p.prosrc = 'citext_hash'
                               WHERE o.opcintype = $1 AND o.opcdefault) END
$$;
COMMENT ON FUNCTION dataprotect._will_have_tokens(oid) IS
    'whether values of a base type can have tokens when they are protected';

-- VALUE in a domain's CHECK, outside of strings and quoted names, is the column.
CREATE FUNCTION dataprotect._domain_check(definition text, col name) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(CASE piece[1] WHEN 'VALUE' THEN quote_ident($2) ELSE piece[1] END, '' ORDER BY n)
    FROM regexp_matches($1, $re$('(?:[^']|'')*'|"(?:[^"]|"")*"|[A-Za-z_][A-Za-z_0-9$]*|.|\n)$re$, 'g')
        WITH ORDINALITY AS m(piece, n)
$$;
COMMENT ON FUNCTION dataprotect._domain_check(text, name) IS
    'the definition of a domain''s constraint as one of a column';

-- What a column loses with its domains, as statements that give it back.
CREATE FUNCTION dataprotect._domain_rules(rel regclass, col name) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH d AS (
        SELECT u.oid, u.place
        FROM unnest((SELECT t.domains FROM dataprotect._column_kind($1, $2) t)) WITH ORDINALITY AS u(oid, place)
    )
    SELECT s.statement FROM (
        SELECT d.place, 0, format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', $1, $2) AS statement
        FROM d JOIN pg_type t ON t.oid = d.oid AND t.typnotnull
        UNION ALL
        -- under its name, which applications know from errors, where that is free
        SELECT d.place, k.oid::bigint,
               format('ALTER TABLE %s ADD %s%s', $1,
                      CASE WHEN EXISTS (SELECT FROM pg_constraint x, dataprotect._column_members($1, $2) m
                                        WHERE x.conrelid = m.member AND x.conname = k.conname) THEN ''
                           ELSE format('CONSTRAINT %I ', k.conname) END,
                      dataprotect._domain_check(pg_get_constraintdef(k.oid), $2))
        FROM d JOIN pg_constraint k ON k.contypid = d.oid AND k.contype = 'c'
        UNION ALL
        -- the outermost default counts, and the column's own before it
        SELECT 0, 0, format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', m.member::regclass, $2, o.value)
        FROM dataprotect._column_members($1, $2) m
            JOIN pg_attribute a ON a.attrelid = m.member AND a.attnum = m.attnum AND NOT a.atthasdef
            CROSS JOIN (SELECT pg_get_expr(t.typdefaultbin, 0) AS value
                        FROM d JOIN pg_type t ON t.oid = d.oid AND t.typdefaultbin IS NOT NULL
                        ORDER BY d.place DESC LIMIT 1) o) s(place, k, statement)
    ORDER BY s.place, s.k
$$;
COMMENT ON FUNCTION dataprotect._domain_rules(regclass, name) IS
    'statements that put NOT NULL, CHECK and DEFAULT of a column''s domains on the column itself';

CREATE FUNCTION dataprotect._type_obstacles(rel regclass, col name) RETURNS TABLE (problem text, advice text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH t AS (SELECT * FROM dataprotect._column_kind($1, $2)),
    d AS (SELECT unnest(t.domains) AS oid FROM t)
    SELECT format('Constraint "%s" of domain %s runs code of an ordinary role.', k.conname, d.oid::regtype),
           'Rewrite the constraint with functions of PostgreSQL, or of an extension that a superuser owns.'
    FROM d JOIN pg_constraint k ON k.contypid = d.oid
    WHERE EXISTS (
        SELECT FROM pg_depend p
            LEFT JOIN pg_proc f ON p.refclassid = 'pg_proc'::regclass AND f.oid = p.refobjid
            LEFT JOIN pg_operator o ON p.refclassid = 'pg_operator'::regclass AND o.oid = p.refobjid
            JOIN pg_roles r ON r.oid = coalesce(f.proowner, o.oprowner) AND NOT r.rolsuper
        WHERE p.classid = 'pg_constraint'::regclass AND p.objid = k.oid)
    UNION ALL
    SELECT format('Constraint "%s" of domain %s is not valid.', k.conname, d.oid::regtype),
           format('ALTER DOMAIN %s VALIDATE CONSTRAINT %I first.', d.oid::regtype, k.conname)
    FROM d JOIN pg_constraint k ON k.contypid = d.oid AND NOT k.convalidated
    UNION ALL
    SELECT format('Index "%s" is over arrays.', x.name),
           'Drop the index: the elements of arrays are sealed one by one, and no index knows them.'
    FROM t, dataprotect._column_indexes($1, $2) x WHERE t.is_array
    UNION ALL
    SELECT 'Its table is subject-bound, and values in arrays are bound to no account.',
           'Keep the elements in a table of their own that is bound.'
    FROM t WHERE t.is_array AND dataprotect._order_obstacle($1, '') = 'bound';
END
$$;
COMMENT ON FUNCTION dataprotect._type_obstacles(regclass, name) IS
    'what in the type of a column cannot be kept';
