-- Binding a table's rows to accounts

CREATE FUNCTION dataprotect._do_bind_subject(rel regclass, account_type text, id_column name) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(account_type);
    top regclass := dataprotect._top(rel);
    bound dataprotect.subject_binding;
BEGIN
    PERFORM dataprotect._check_table_right(top);
    PERFORM dataprotect._check_table_right(account.root);
    IF (SELECT c.relkind NOT IN ('r', 'p') FROM pg_class c WHERE c.oid = top) THEN
        PERFORM dataprotect._raise('wrong_object_type', format('"%s" is not a table', top));
    END IF;
    PERFORM dataprotect._id_type(top, id_column);
    IF EXISTS (SELECT FROM dataprotect.protected_columns p WHERE p.rel = top AND p.ordered) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('table "%s" has ordered columns', top),
            'An index in plaintext order fails everybody once one account''s key is destroyed.',
            'Call decrypt_column() and encrypt_column() without ordered => true.');
    END IF;
    IF dataprotect._unbindable(top) IS NOT NULL THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('column "%s" of table "%s" cannot be sealed for an account', dataprotect._unbindable(top), top),
            'Its encrypted values lie inside an array, a composite type or a domain.',
            'Give the column an encrypted type itself.');
    END IF;
    SELECT * INTO bound FROM dataprotect.subject_binding b WHERE b.rel = top;
    IF FOUND AND (bound.account_type <> _do_bind_subject.account_type OR bound.id_column <> _do_bind_subject.id_column) THEN
        PERFORM dataprotect._raise('duplicate_object',
            format('table "%s" is bound to account type "%s" already', top, bound.account_type));
    END IF;
    INSERT INTO dataprotect.subject_binding (rel, account_type, id_column, bound_by)
        VALUES (top, account_type, id_column, pg_get_userbyid(dataprotect._caller()))
        ON CONFLICT DO NOTHING;
    PERFORM dataprotect._do_bind_refresh(top);
    PERFORM dataprotect._event('column.bound', NULL, jsonb_build_object('rel', top::text,
        'account_type', account_type, 'id_column', id_column));
END $$;
COMMENT ON FUNCTION dataprotect._do_bind_subject(regclass, text, name) IS 'body of dataprotect.bind_subject(); see definer.c';

CREATE FUNCTION dataprotect.bind_subject(rel regclass, account_type text, id_column name) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.bind_subject(regclass, text, name) IS
    'seal the protected columns of a table under a key of each row''s account';
