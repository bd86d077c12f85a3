-- Rows that belong to an account: sealed under a key of the account's own

CREATE TABLE dataprotect.subject_binding (
    rel regclass PRIMARY KEY,
    account_type text NOT NULL,
    id_column name NOT NULL,
    bound_by name NOT NULL,
    bound_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    rel_oid oid,                        -- as in account_type
    id_attnum int2,
    seal bytea,
    id_columns name[],                  -- as there
    id_attnums int2[]
);
COMMENT ON TABLE dataprotect.subject_binding IS 'tables whose rows are sealed for an account; see dataprotect.bind_subject()';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.subject_binding', '');

-- 'dataprotect._sealed_for(col, type, id) AND ..', or NULL without protected columns.
CREATE FUNCTION dataprotect._sealed_condition(binding dataprotect.subject_binding) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(format('dataprotect._sealed_for(%I, %L::pg_catalog.text, %s)', p, binding.account_type,
                             dataprotect._id_expression(coalesce(binding.id_columns, ARRAY[binding.id_column]), '')), ' AND ')
      FROM dataprotect._protected_attributes(binding.rel) p;
$$;
COMMENT ON FUNCTION dataprotect._sealed_condition(dataprotect.subject_binding) IS
    'condition that a row of a bound table is sealed for its account';

-- Take the trigger and the constraint off; the rows stay as they are.
CREATE FUNCTION dataprotect._bind_drop(rel regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conrelid = rel AND c.conname = 'dataprotect_subject_check') THEN
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT dataprotect_subject_check', rel);
    END IF;
    IF EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = rel AND t.tgname = 'zz_dataprotect_subject') THEN
        EXECUTE format('DROP TRIGGER zz_dataprotect_subject ON %s', rel);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._bind_drop(regclass) IS 'take the trigger and the constraint of a bound table away';

CREATE FUNCTION dataprotect._bind_trigger(binding dataprotect.subject_binding) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part regclass;
BEGIN
    EXECUTE format('CREATE TRIGGER zz_dataprotect_subject BEFORE INSERT OR UPDATE ON %s '
                   'FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject(%L, %s)',
                   binding.rel, binding.account_type,
                   (SELECT string_agg(quote_literal(c), ', ' ORDER BY ord)
                      FROM unnest(coalesce(binding.id_columns, ARRAY[binding.id_column])) WITH ORDINALITY AS x(c, ord)));
    FOR part IN SELECT b FROM dataprotect._below(binding.rel) b JOIN pg_class c ON c.oid = b AND c.relkind IN ('r', 'p')
                 WHERE EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = b AND t.tgname = 'zz_dataprotect_subject'
                                                            AND t.tgenabled <> 'A')
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER zz_dataprotect_subject', part);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._bind_trigger(dataprotect.subject_binding) IS 'put the trigger on a bound table';

-- Bring a bound table's trigger, constraint and rows in line with its protected
-- columns.  Called by bind_subject(), and whenever a column becomes protected.
-- Rows are re-sealed without the table's own triggers: nothing about them changes.
CREATE FUNCTION dataprotect._do_bind_refresh(rel regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    binding dataprotect.subject_binding;
    sealed text;
    part regclass;
BEGIN
    SELECT * INTO binding FROM dataprotect.subject_binding b WHERE b.rel = dataprotect._top(_do_bind_refresh.rel);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM dataprotect._need_policy('subject_binding');
    binding.id_columns := dataprotect._id_columns(binding.rel, binding.rel_oid, binding.id_column, binding.id_attnum,
                                                  binding.id_columns, binding.id_attnums);
    PERFORM dataprotect._check_table_right(binding.rel);
    IF dataprotect._unbindable(binding.rel) IS NOT NULL THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('column "%s" of table "%s" cannot be sealed for an account',
                             dataprotect._unbindable(binding.rel), binding.rel));
    END IF;
    PERFORM dataprotect._bind_drop(binding.rel);
    sealed := dataprotect._sealed_condition(binding);
    IF sealed IS NULL THEN
        RETURN;
    END IF;
    PERFORM dataprotect._bind_trigger(binding);
    FOR part IN SELECT * FROM dataprotect._leaves(binding.rel) LOOP
        PERFORM dataprotect._apply_as(part, format('UPDATE ONLY %s SET %s WHERE NOT (%s)', part,
            (SELECT string_agg(format('%I = %1$I', p), ', ') FROM dataprotect._protected_attributes(binding.rel) p),
            sealed), NULL, true);
    END LOOP;
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT dataprotect_subject_check CHECK (%s)', binding.rel, sealed);
END $$;
COMMENT ON FUNCTION dataprotect._do_bind_refresh(regclass) IS 'body of dataprotect._bind_refresh(); see definer.c';

CREATE FUNCTION dataprotect._bind_refresh(rel regclass) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._bind_refresh(regclass) IS
    'bring trigger, constraint and rows of a bound table in line with its protected columns';
