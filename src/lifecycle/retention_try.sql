-- What a policy is to write is tried when it is made, and before each run

CREATE FUNCTION dataprotect._refuse_change(rel regclass, col name, reason text, hint text DEFAULT NULL) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._raise('invalid_parameter_value',
        format('column "%s" of relation "%s" cannot be changed by retention', col, rel), reason, hint, rel);
$$;
COMMENT ON FUNCTION dataprotect._refuse_change(regclass, name, text, text) IS 'the error for a column that a policy cannot write';

-- Does an expression over a row, as PostgreSQL prints it, name a column?  A quoted
-- text that reads like one counts too.
CREATE FUNCTION dataprotect._names_column(expression text, col name) RETURNS bool
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT expression ~ ('(^|[^[:alnum:]_$".])' || regexp_replace(quote_ident(col), '([.*+?()|{}\[\]\\^$])', '\\\1', 'g') || '($|[^[:alnum:]_$"(])');
$$;
COMMENT ON FUNCTION dataprotect._names_column(text, name) IS 'whether an expression names a column';

-- CHECK constraints over columns that get values, and no others, asked with these
-- values.  Those over other columns too depend on the row, and speak at the run.
CREATE FUNCTION dataprotect._retention_try_checks(policy dataprotect.retention_policy, wanted jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    con record;
    violated bool;
    columns text := (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ') FROM pg_attribute a
                      WHERE a.attrelid = policy.base AND wanted ? a.attname AND a.attnum > 0 AND NOT a.attisdropped);
BEGIN
    FOR con IN
        SELECT c.conname, pg_get_expr(c.conbin, c.conrelid) AS expression, min(a.attname::text) AS col
          FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
         WHERE c.conrelid = policy.base AND c.contype = 'c'
         GROUP BY c.oid, c.conname, c.conbin, c.conrelid HAVING bool_and(wanted ? a.attname) ORDER BY c.conname
    LOOP
        BEGIN
            violated := dataprotect._value_as(policy.base, format('SELECT (%s) IS FALSE FROM jsonb_to_record(%L) AS t(%s)',
                con.expression, wanted, columns))::bool;
        EXCEPTION WHEN OTHERS THEN
            violated := false;    -- the run will tell
        END;
        IF violated THEN
            PERFORM dataprotect._refuse_change(policy.base, con.col, format('Its replacement violates check constraint "%s".', con.conname));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._retention_try_checks(dataprotect.retention_policy, jsonb) IS
    'error where what a policy writes violates a CHECK constraint';

-- Would the values be stored?  Types with their lengths, domains, CHECK, UNIQUE; and
-- columns that nobody may write, or that the age is read from.
CREATE FUNCTION dataprotect._retention_try_change(policy dataprotect.retention_policy) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    reason text;
    wanted jsonb := '{}';   -- column -> value, for one row
    fixed name[] := '{}';   -- the same value in every row
    index name;
BEGIN
    FOR item IN
        SELECT a.attname, a.attgenerated, a.attidentity, format_type(a.atttypid, a.atttypmod) AS type, k.value #>> '{}' AS value
          FROM (SELECT c AS col, NULL::jsonb AS value
                  FROM jsonb_array_elements_text(CASE policy.action WHEN 'nullify' THEN policy.options -> 'columns' ELSE '[]' END) c
                UNION ALL
                SELECT e.key, e.value FROM jsonb_each(CASE policy.action WHEN 'anonymise' THEN policy.options -> 'columns' ELSE '{}' END) e) k
          JOIN pg_attribute a ON a.attrelid = policy.base AND a.attname = k.col AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum
    LOOP
        IF item.attgenerated <> '' OR item.attidentity = 'a' THEN
            PERFORM dataprotect._refuse_change(policy.base, item.attname, 'It is generated always.');
        END IF;
        IF dataprotect._names_column(policy.age_expression, item.attname) THEN
            PERFORM dataprotect._refuse_change(policy.base, item.attname, 'The age of a row is read from it: old rows would become new ones.');
        END IF;
        CONTINUE WHEN item.value IS NULL;
        IF item.value NOT LIKE '%{uuid}%' THEN
            fixed := fixed || item.attname;
        END IF;
        item.value := replace(item.value, '{uuid}', '00000000-0000-0000-0000-000000000000');
        wanted := wanted || jsonb_build_object(item.attname, item.value);
        BEGIN
            PERFORM dataprotect._value_as(policy.base, format('SELECT x.%I IS NULL FROM jsonb_to_record(%L) AS x(%1$I %3$s)', item.attname,
                jsonb_build_object(item.attname, item.value), item.type));
            reason := NULL;
        EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
            reason := SQLERRM;
        END;
        IF reason IS NOT NULL THEN
            PERFORM dataprotect._refuse_change(policy.base, item.attname, format('Its replacement cannot be stored: %s.', reason),
                CASE WHEN item.attname <> ALL (fixed) THEN 'A {uuid} has 36 characters.' END);
        END IF;
    END LOOP;
    SELECT c.relname INTO index
      FROM dataprotect._below(policy.base) b JOIN pg_index i ON i.indrelid = b AND i.indisunique AND i.indpred IS NULL
      JOIN pg_class c ON c.oid = i.indexrelid
     CROSS JOIN LATERAL (SELECT u AS attnum FROM unnest(i.indkey[0:i.indnkeyatts - 1]) u WHERE u <> 0
                         UNION SELECT d.refobjsubid FROM pg_depend d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND i.indexprs IS NOT NULL
                            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0) k
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
     GROUP BY c.oid, c.relname HAVING bool_and(a.attname = ANY (fixed)) ORDER BY c.relname LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._refuse_change(policy.base, fixed[1],
            format('Every old row would get the same values of unique index "%s".', index),
            'Put {uuid} into a text, which is another in each row.');
    END IF;
    IF wanted <> '{}' THEN
        PERFORM dataprotect._retention_try_checks(policy, wanted);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_try_change(dataprotect.retention_policy) IS
    'error where what a policy is to write cannot be stored, or makes old rows young';

-- What depends on the row (CHECK over other columns, foreign and exclusion keys,
-- triggers) is tried on a few old rows, each change undone at once.  One that can
-- be changed is enough: the run tells of the others.
CREATE FUNCTION dataprotect._retention_try_rows(policy dataprotect.retention_policy) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    cutoff timestamptz := dataprotect._retention_cutoff(policy);
    assignments text;
    leaf regclass;
    old tid;
    changed bool := false;
    broken text;
    code text;
    reason text;
    at_fault regclass;
BEGIN
    IF policy.action NOT IN ('nullify', 'anonymise') THEN
        RETURN;
    END IF;
    PERFORM dataprotect._retention_settle(policy);
    assignments := (dataprotect._retention_change(policy)).assignments;
    FOR leaf IN SELECT * FROM dataprotect._leaves(policy.base) LOOP
        FOR old IN SELECT unnest(dataprotect._tids_as(leaf, format('SELECT array_agg(x.c) FROM (SELECT t.ctid AS c FROM ONLY %s t WHERE %s LIMIT 3 FOR UPDATE OF t SKIP LOCKED) x',
                       leaf, dataprotect._retention_due_condition(policy, leaf, 't', cutoff)), NULL))
        LOOP
            BEGIN
                PERFORM dataprotect._apply_as(leaf, format('UPDATE ONLY %s t SET %s WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1)', leaf, assignments),
                                              ARRAY[old]);
                changed := true;
                PERFORM dataprotect._raise('object_not_in_prerequisite_state', 'tried, and undone');
            EXCEPTION WHEN OTHERS THEN
                IF changed THEN
                    RETURN;
                END IF;
                GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME, code = RETURNED_SQLSTATE;
                at_fault := leaf;
                -- what a trigger says may quote a row
                reason := CASE WHEN broken <> '' THEN format('violates constraint "%s"', broken)
                               ELSE format('is an error with SQLSTATE %s%s', code, coalesce(', as by ' || dataprotect._retention_code(policy.action, leaf), '')) END;
            END;
        END LOOP;
    END LOOP;
    IF reason IS NOT NULL THEN
        PERFORM dataprotect._raise('invalid_parameter_value', format('old rows of "%s" cannot be changed as the policy says', at_fault),
            format('It was tried on some, and undone: the change %s.', reason), NULL, at_fault);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_try_rows(dataprotect.retention_policy) IS
    'error where none of a few old rows can be changed as a policy says';
