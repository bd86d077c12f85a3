-- What may be done to a key depends on the columns that name it, and on the values
-- under it.

CREATE FUNCTION dataprotect._refuse_values_under(key_name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_found text;
BEGIN
    SELECT string_agg(format('%s.%I: %s', v.rel, v.col, v.n), ', ' ORDER BY v.rel::text, v.col) INTO v_found
        FROM (SELECT s.rel, s.col, sum(x."values") AS n
              FROM dataprotect._storing_columns() s
                  CROSS JOIN LATERAL dataprotect._column_partitions(s.rel, s.col) m
                  CROSS JOIN LATERAL dataprotect._count_by_key(m.member, s.col) x
                  JOIN dataprotect.key_version h ON h.key_id = x.key_id
                  JOIN dataprotect.key k ON k.family = h.family AND k.name = key_name
              GROUP BY 1, 2) v;
    IF v_found IS NOT NULL THEN
        PERFORM dataprotect._raise('dependent_objects_still_exist',
            format('there are values under key "%s"', key_name),
            format('Values by column: %s.', left(v_found, 2000)),
            'Decrypt the columns, move them to another key or delete the rows; or pass force => true, and the values are lost for good.');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._refuse_values_under(text) IS 'raises an error that counts the values under a key by column, unless there are none';

-- Commands that register a modifier hold the table ROW EXCLUSIVE to their end.
CREATE FUNCTION dataprotect._lock_modifiers() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- what follows must see what was committed before the lock
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'a key is renamed or dropped at isolation level READ COMMITTED only');
    END IF;
    LOCK TABLE dataprotect.type_modifier IN SHARE ROW EXCLUSIVE MODE;
END $$;
COMMENT ON FUNCTION dataprotect._lock_modifiers() IS 'keeps modifiers from being registered until the transaction ends';

-- Columns carry numbers: they follow.  What is in a function's text does not.
CREATE FUNCTION dataprotect.rename_key(name text, new_name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_family int4 := dataprotect._family_of(rename_key.name);
BEGIN
    PERFORM dataprotect._check_key_name(rename_key.new_name);
    PERFORM dataprotect._lock_modifiers();
    UPDATE dataprotect.key k SET name = rename_key.new_name WHERE k.family = v_family AND k.name = rename_key.name;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object', format('key "%s" does not exist', rename_key.name));
    END IF;
    -- a definition begins with the quoted name, which has no quotes inside
    UPDATE dataprotect.type_modifier m
        SET key = rename_key.new_name,
            definition = quote_literal(rename_key.new_name) || substr(m.definition, length(quote_literal(rename_key.name)) + 1)
        WHERE m.key = rename_key.name;
    PERFORM dataprotect._modifiers_collected();
    UPDATE dataprotect.reencrypt_state s SET keys = array_replace(s.keys, rename_key.name::name, rename_key.new_name::name)
        WHERE rename_key.name::name = ANY (s.keys);
    PERFORM dataprotect._event('key.renamed', rename_key.new_name, jsonb_build_object('from', rename_key.name));
END $$;
COMMENT ON FUNCTION dataprotect.rename_key(text, text) IS
    'gives a named key another name: grants, values and the columns'' modifiers follow';

-- Where a key's modifiers are stored, by what the catalogs say.
CREATE FUNCTION dataprotect._modifier_users(key_name text) RETURNS text
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    WITH m AS (SELECT DISTINCT typmod FROM dataprotect.type_modifier WHERE key = key_name)
    SELECT string_agg(u.what, ', ' ORDER BY u.what) FROM (
        SELECT format('%s.%I', a.attrelid::regclass, a.attname)
            FROM pg_attribute a JOIN m ON m.typmod = a.atttypmod WHERE a.atttypid >= 16384 AND NOT a.attisdropped
        UNION SELECT format('domain %s', t.oid::regtype) FROM pg_type t JOIN m ON m.typmod = t.typtypmod WHERE t.oid >= 16384
        UNION SELECT 'an expression or query' FROM dataprotect._modifiers_in_expressions() e(typmod) JOIN m USING (typmod)) u(what)
$$;
COMMENT ON FUNCTION dataprotect._modifier_users(text) IS 'columns, domains and expressions that name a key, or null';

CREATE FUNCTION dataprotect.drop_key(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(drop_key.name);
    v_users text;
    v_versions int8;
    v_unused int8;
    v_grants int8;
BEGIN
    PERFORM dataprotect._lock_modifiers();
    PERFORM FROM dataprotect.key k WHERE k.family = v_family FOR UPDATE;
    v_users := dataprotect._modifier_users(drop_key.name);
    IF v_users IS NOT NULL THEN
        PERFORM dataprotect._raise('dependent_objects_still_exist',
            format('key "%s" is named by columns', drop_key.name),
            format('Named by: %s.', left(v_users, 2000)),
            'Decrypt or drop the columns first.');
    END IF;
    -- Seals are counted ahead of use, in a transaction of their own: a session that is about
    -- to seal waits here or is waited for, and is counted, or finds no key.
    SELECT count(*) INTO v_versions FROM dataprotect.key_version v WHERE v.family = v_family AND v.purpose = 2;
    DELETE FROM dataprotect.key_version v WHERE v.family = v_family AND v.purpose = 2 AND v.seals = 0 AND v.state <> 'd';
    GET DIAGNOSTICS v_unused = ROW_COUNT;
    IF v_unused < v_versions OR EXISTS (SELECT FROM dataprotect.key_version v WHERE v.family = v_family AND v.purpose <> 2) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('key "%s" has been used', drop_key.name),
            'There may be values under it in backups, and its tombstone keeps it from coming back.',
            'Suspend and destroy it instead.');
    END IF;
    WITH gone AS (DELETE FROM dataprotect.access_grant g WHERE g.family = v_family RETURNING g.revoked_at)
    SELECT count(*) FILTER (WHERE revoked_at IS NULL) INTO v_grants FROM gone;
    DELETE FROM dataprotect.key k WHERE k.family = v_family;
    DELETE FROM dataprotect.type_modifier m WHERE m.key = drop_key.name;
    PERFORM dataprotect._modifiers_collected();
    PERFORM dataprotect._event('key.dropped', drop_key.name, jsonb_build_object('grants', v_grants));
END $$;
COMMENT ON FUNCTION dataprotect.drop_key(text) IS 'removes a key under which nothing was ever sealed and that no column names, with its grants';
