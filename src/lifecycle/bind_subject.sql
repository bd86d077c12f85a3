-- Binding a table's rows to accounts

-- Whether a column has the account's id: it is the root's, or a foreign key or an
-- annotated reference over it leads there, over other tables as well.  A column
-- that says nothing else (no key of its own table, no reference) may have it: it
-- becomes an edge that needs a decision.
CREATE FUNCTION dataprotect._has_account_id(account dataprotect.account_type, rel regclass, col name, id_column name, trail text[] = '{}') RETURNS bool
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    edge record;
    here text := format('%s.%I', rel, col);
    leads bool := false;
BEGIN
    IF rel = account.root AND col = id_column THEN
        RETURN true;
    ELSIF here = ANY (trail) THEN
        RETURN false;
    END IF;
    FOR edge IN SELECT e.to_rel, e.target_columns[array_position(e.columns, col)] AS target
                  FROM dataprotect._account_edges(account, ARRAY[rel]) e
                 WHERE e.from_rel = rel AND col = ANY (e.columns) AND e.name <> 'bind_subject'
    LOOP
        leads := true;
        IF dataprotect._has_account_id(account, edge.to_rel, edge.target, id_column, trail || here) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN NOT leads AND trail = '{}' AND NOT EXISTS (
        SELECT FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
         WHERE c.conrelid = rel AND c.contype IN ('p', 'u') AND cardinality(c.conkey) = 1 AND a.attname = col);
END $$;
COMMENT ON FUNCTION dataprotect._has_account_id(dataprotect.account_type, regclass, name, name, text[]) IS
    'whether a column can have what one column of the ids of an account type has';

CREATE FUNCTION dataprotect._do_bind_subject(rel regclass, account_type text, id_columns name[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(account_type);
    top regclass := dataprotect._top(rel);
    bound dataprotect.subject_binding;
    several name[] := CASE WHEN cardinality(id_columns) > 1 THEN id_columns END;
    id_column name := id_columns[cardinality(id_columns)];
    bad name;
    wanted name;
BEGIN
    PERFORM dataprotect._check_table_right(top);
    PERFORM dataprotect._check_table_right(account.root);
    IF cardinality(id_columns) IS DISTINCT FROM cardinality(account.id_columns) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('an id of an account of type "%s" is not of as many columns', account.name),
            format('It is of %s: %s.', cardinality(account.id_columns), array_to_string(account.id_columns, ', ')));
    END IF;
    IF (SELECT c.relkind NOT IN ('r', 'p') FROM pg_class c WHERE c.oid = top) THEN
        PERFORM dataprotect._raise('wrong_object_type', format('"%s" is not a table', top));
    END IF;
    PERFORM dataprotect._check_columns(top, id_columns);
    PERFORM dataprotect._id_type(top, c) FROM unnest(id_columns) c;
    SELECT a.attname INTO bad FROM pg_attribute a
     WHERE a.attrelid = top AND a.attname = ANY (id_columns)
       AND (a.attgenerated <> '' OR several IS NOT NULL AND dataprotect._undomained(a.atttypid) = 'bpchar'::regtype) ORDER BY a.attnum LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('generated column "%s" of table "%s" cannot say whose a row is', bad, top),
            'Values are sealed for the account before generated columns are computed.',
            'Fill an ordinary column in a BEFORE trigger.');
    END IF;
    SELECT x.c, x.id INTO bad, wanted FROM unnest(id_columns, account.id_columns) WITH ORDINALITY AS x(c, id, ord)
     WHERE NOT dataprotect._has_account_id(account, top, x.c, x.id) ORDER BY x.ord LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('column "%s" of table "%s" is not the id of an account of type "%s"', bad, top, account_type),
            format('It does not lead to column "%s" of "%s".', wanted, account.root),
            'Name the column that references the account; where no foreign key says so, annotate_account(... references_columns => ...) does.');
    END IF;
    IF EXISTS (SELECT FROM dataprotect.protected_columns p WHERE p.rel = top AND p.ordered) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('table "%s" has ordered columns', top),
            'An index in plaintext order fails everybody once one account''s key is destroyed.',
            'Call decrypt_column() and encrypt_column() without ordered => true.');
    END IF;
    IF dataprotect._unbindable(top) IS NOT NULL THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('column "%s" of table "%s" cannot be sealed for an account', dataprotect._unbindable(top), top),
            'Its encrypted values lie inside an array, a composite type or a domain, or are generated.',
            'Give the column an encrypted type itself, and compute in a view.');
    END IF;
    SELECT * INTO bound FROM dataprotect.subject_binding b WHERE b.rel = top;
    IF FOUND AND (bound.account_type <> _do_bind_subject.account_type OR coalesce(bound.id_columns, ARRAY[bound.id_column]) <> id_columns) THEN
        PERFORM dataprotect._raise('duplicate_object',
            format('table "%s" is bound to account type "%s" already', top, bound.account_type));
    END IF;
    INSERT INTO dataprotect.subject_binding (rel, account_type, id_column, bound_by, rel_oid, id_attnum, id_columns, id_attnums)
        VALUES (top, account_type, id_column, pg_get_userbyid(dataprotect._caller()), top,
                (dataprotect._attnums(top, ARRAY[id_column]))[1], several, dataprotect._attnums(top, several))
        ON CONFLICT DO NOTHING;
    PERFORM dataprotect._do_bind_refresh(top);
    PERFORM dataprotect._event('column.bound', NULL, jsonb_build_object('rel', top::text,
        'account_type', account_type, 'id_column', array_to_string(id_columns, ', ')));
END $$;
COMMENT ON FUNCTION dataprotect._do_bind_subject(regclass, text, name[]) IS 'body of dataprotect.bind_subject(); see definer.c';

CREATE FUNCTION dataprotect._do_bind_subject(rel regclass, account_type text, id_column name) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._do_bind_subject(rel, account_type, ARRAY[id_column]);
END $$;
COMMENT ON FUNCTION dataprotect._do_bind_subject(regclass, text, name) IS 'body of dataprotect.bind_subject(); see definer.c';

CREATE FUNCTION dataprotect.bind_subject(rel regclass, account_type text, id_column name) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.bind_subject(regclass, text, name) IS
    'seal the protected columns of a table under a key of each row''s account';

CREATE FUNCTION dataprotect.bind_subject(rel regclass, account_type text, id_columns name[]) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.bind_subject(regclass, text, name[]) IS
    'the same where an account''s id is of several columns';

-- The rows' values go back under their named keys; the accounts' keys stay, for
-- what else is sealed under them.
CREATE FUNCTION dataprotect._do_unbind_subject(rel regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    top regclass := dataprotect._top(rel);
    bound dataprotect.subject_binding := (SELECT b FROM dataprotect.subject_binding b WHERE b.rel = top);
    columns text := (SELECT string_agg(format('%I = %1$I', p), ', ') FROM dataprotect._protected_attributes(top) p);
    part regclass;
BEGIN
    PERFORM dataprotect._check_table_right(top);
    IF bound IS NULL THEN
        PERFORM dataprotect._raise('undefined_object', format('table "%s" is not bound to an account type', top));
    END IF;
    PERFORM dataprotect._bind_drop(top);
    DELETE FROM dataprotect.subject_binding b WHERE b.rel = top;
    IF columns IS NOT NULL THEN
        EXECUTE format('CREATE TRIGGER zz_dataprotect_subject BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject()', top);
        FOR part IN SELECT b FROM dataprotect._below(top) b JOIN pg_class c ON c.oid = b AND c.relkind IN ('r', 'p')
                     WHERE EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = b AND t.tgname = 'zz_dataprotect_subject') LOOP
            EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zz_dataprotect_subject', part);
        END LOOP;
        FOR part IN SELECT * FROM dataprotect._leaves(top) LOOP
            PERFORM dataprotect._apply_as(part, format('UPDATE ONLY %s SET %s', part, columns), NULL, true);
        END LOOP;
        PERFORM dataprotect._bind_drop(top);
    END IF;
    PERFORM dataprotect._event('column.unbound', NULL, jsonb_build_object('rel', top::text, 'account_type', bound.account_type));
END $$;
COMMENT ON FUNCTION dataprotect._do_unbind_subject(regclass) IS 'body of dataprotect.unbind_subject(); see definer.c';

CREATE FUNCTION dataprotect.unbind_subject(rel regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.unbind_subject(regclass) IS
    'seal the protected columns of a table under their named keys again';
