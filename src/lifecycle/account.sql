-- Account types: a root table and what becomes of everything that hangs on it

CREATE TABLE dataprotect.account_type (
    name text PRIMARY KEY,
    root regclass NOT NULL,
    id_column name NOT NULL,
    grace interval NOT NULL,
    deadline interval NOT NULL,
    created_by name NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE dataprotect.account_type IS 'account types; see dataprotect.create_account_type()';

-- What columns mean: the account id of the root (the account's own row), the
-- referencing columns of a foreign key (the rows it leads to, or leads away to),
-- any other columns of an account's table (what is personal in it).
CREATE TABLE dataprotect.account_rule (
    account_type text NOT NULL REFERENCES dataprotect.account_type ON DELETE CASCADE,
    rel regclass NOT NULL,
    columns name[] NOT NULL,
    action text NOT NULL CHECK (action IN ('delete', 'nullify', 'anonymise', 'keep')),
    legal_basis text CHECK (action <> 'keep' OR legal_basis <> ''),
    targets regclass[] NOT NULL,        -- what foreign keys over the columns led to when it was decided
    annotated_by name NOT NULL,
    annotated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (account_type, rel, columns)
);
COMMENT ON TABLE dataprotect.account_rule IS 'annotations of account types; see dataprotect.annotate_account()';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.account_type', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.account_rule', '');

CREATE FUNCTION dataprotect._find_account_type(name text) RETURNS dataprotect.account_type
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_type dataprotect.account_type;
BEGIN
    SELECT * INTO found_type FROM dataprotect.account_type t WHERE t.name = _find_account_type.name;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object',
            pg_catalog.format('account type "%s" does not exist', _find_account_type.name),
            NULL,
            'dataprotect.create_account_type() makes one.');
    END IF;
    RETURN found_type;
END $$;
COMMENT ON FUNCTION dataprotect._find_account_type(text) IS 'the account type of that name, or an error';

CREATE FUNCTION dataprotect._check_columns(rel regclass, columns name[]) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    missing name;
BEGIN
    IF coalesce(cardinality(columns), 0) = 0 THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'no columns given');
    END IF;
    SELECT c INTO missing FROM unnest(columns) c
     WHERE c IS NULL OR NOT EXISTS (SELECT 1 FROM pg_attribute a
                                     WHERE a.attrelid = rel AND a.attname = c AND a.attnum > 0 AND NOT a.attisdropped);
    IF FOUND THEN
        PERFORM dataprotect._raise('undefined_column',
            format('column "%s" of relation "%s" does not exist', missing, rel));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_columns(regclass, name[]) IS 'error where a table lacks one of these columns';

-- Type in which an account id is compared; error where it cannot be one.
CREATE FUNCTION dataprotect._id_type(rel regclass, id_column name) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    id_type text;
BEGIN
    PERFORM dataprotect._check_columns(rel, ARRAY[id_column]);
    SELECT CASE WHEN b.oid = 'varchar'::regtype THEN 'text' ELSE b.typname END INTO id_type
      FROM pg_attribute a
      JOIN pg_type t ON t.oid = a.atttypid
      JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
     WHERE a.attrelid = rel AND a.attname = id_column
       AND b.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype, 'text'::regtype,
                     'varchar'::regtype, 'bpchar'::regtype, 'uuid'::regtype);
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('datatype_mismatch',
            format('column "%s" of relation "%s" cannot identify an account', id_column, rel),
            'An account id is a number, a text or a uuid, and is not itself protected.');
    END IF;
    RETURN format('pg_catalog.%I', id_type);
END $$;
COMMENT ON FUNCTION dataprotect._id_type(regclass, name) IS 'type in which an account id is compared';

CREATE FUNCTION dataprotect._do_create_account_type(name text, root regclass, id_column name,
        grace interval, deadline interval) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(name, '') = '' OR root IS NULL OR id_column IS NULL OR grace IS NULL OR deadline IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed',
            'an account type needs a name, a table, an id column, a grace period and a deadline');
    END IF;
    IF dataprotect._now() + grace < dataprotect._now() OR dataprotect._now() + deadline <= dataprotect._now() + grace THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'the deadline must lie after the grace period');
    END IF;
    IF (SELECT c.relkind NOT IN ('r', 'p') FROM pg_class c WHERE c.oid = root) THEN
        PERFORM dataprotect._raise('wrong_object_type', format('"%s" is not a table', root));
    END IF;
    PERFORM dataprotect._check_table_right(root);
    PERFORM dataprotect._id_type(root, id_column);
    IF NOT EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                    WHERE i.indrelid = root AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
                      AND i.indpred IS NULL AND a.attname = id_column) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('column "%s" of relation "%s" is not unique', id_column, root),
            NULL,
            'An account is one row of its root table.');
    END IF;
    BEGIN
        INSERT INTO dataprotect.account_type (name, root, id_column, grace, deadline, created_by)
            VALUES (name, root, id_column, grace, deadline, pg_get_userbyid(dataprotect._caller()));
    EXCEPTION WHEN unique_violation THEN
        PERFORM dataprotect._raise('duplicate_object', format('account type "%s" already exists', name));
    END;
    PERFORM dataprotect._event('account_type.created', NULL, jsonb_build_object('account_type', name,
        'root', root::text, 'id_column', id_column, 'grace', grace, 'deadline', deadline));
END $$;
COMMENT ON FUNCTION dataprotect._do_create_account_type(text, regclass, name, interval, interval) IS 'body of dataprotect.create_account_type(); see definer.c';

CREATE FUNCTION dataprotect.create_account_type(name text, root regclass, id_column name,
        grace interval = '30 days', deadline interval = '90 days') RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.create_account_type(text, regclass, name, interval, interval) IS
    'say which table''s rows are accounts, how long a deletion can be taken back and when it must be done';

-- Foreign keys that lead away from a table, those of partitions counted for the
-- partitioned table.
CREATE FUNCTION dataprotect._referenced_by(rel regclass,
        OUT columns name[], OUT target regclass, OUT target_columns name[], OUT operators text[],
        OUT constraint_name name, OUT casts bool) RETURNS SETOF record
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.child_columns, t.target, r.parent_columns, r.operators, r.constraint_name, r.casts
      FROM (SELECT DISTINCT dataprotect._top(c.confrelid) AS target FROM pg_catalog.pg_constraint c
             WHERE c.contype = 'f' AND c.conparentid = 0
               AND c.conrelid IN (SELECT dataprotect._below(dataprotect._top($1)))) t,
           dataprotect._referencing(t.target) r
     WHERE r.child = dataprotect._top($1);
$$;
COMMENT ON FUNCTION dataprotect._referenced_by(regclass) IS 'foreign keys that lead away from a table';

CREATE FUNCTION dataprotect._do_annotate_account(name text, rel regclass, columns name[], action text,
        legal_basis text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(_do_annotate_account.name);
    top regclass := dataprotect._top(_do_annotate_account.rel);
    targets regclass[];
BEGIN
    IF _do_annotate_account.action IS NULL OR _do_annotate_account.action NOT IN ('delete', 'nullify', 'anonymise', 'keep') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('unknown account action "%s"', _do_annotate_account.action),
            NULL,
            'Actions are delete, nullify, anonymise and keep.');
    END IF;
    IF _do_annotate_account.action = 'keep' AND coalesce(_do_annotate_account.legal_basis, '') = '' THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'action "keep" needs a legal basis');
    END IF;
    PERFORM dataprotect._check_table_right(top);
    PERFORM dataprotect._check_columns(top, _do_annotate_account.columns);
    IF top = account.root AND _do_annotate_account.columns = ARRAY[account.id_column]
       AND _do_annotate_account.action NOT IN ('delete', 'anonymise') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the row of an account itself can be deleted or anonymised');
    END IF;
    -- An edge that comes later is another, whatever its columns.
    targets := ARRAY(SELECT DISTINCT r.target FROM dataprotect._referenced_by(top) r
                      WHERE r.columns = _do_annotate_account.columns ORDER BY 1);
    IF targets <> '{}' THEN
        -- rows of the table at the other end may go as well
        IF _do_annotate_account.action IN ('delete', 'anonymise') THEN
            PERFORM dataprotect._check_table_right(t) FROM unnest(targets) t;
        END IF;
    ELSIF _do_annotate_account.action = 'delete'
          AND NOT (top = account.root AND _do_annotate_account.columns = ARRAY[account.id_column]) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('columns %s of relation "%s" are not a foreign key', _do_annotate_account.columns, top),
            NULL,
            'Rows are deleted along foreign keys; other columns can be anonymised, nullified or kept.');
    END IF;
    INSERT INTO dataprotect.account_rule (account_type, rel, columns, action, legal_basis, targets, annotated_by)
        VALUES (_do_annotate_account.name, top, _do_annotate_account.columns, _do_annotate_account.action,
                _do_annotate_account.legal_basis, targets, pg_get_userbyid(dataprotect._caller()))
        ON CONFLICT (account_type, rel, columns) DO UPDATE
           SET action = excluded.action, legal_basis = excluded.legal_basis, targets = excluded.targets,
               annotated_by = excluded.annotated_by, annotated_at = dataprotect._now();
    PERFORM dataprotect._event('account_type.annotated', NULL, jsonb_build_object('account_type', _do_annotate_account.name,
        'rel', top::text, 'columns', _do_annotate_account.columns, 'action', _do_annotate_account.action,
        'legal_basis', _do_annotate_account.legal_basis));
END $$;
COMMENT ON FUNCTION dataprotect._do_annotate_account(text, regclass, name[], text, text) IS 'body of dataprotect.annotate_account(); see definer.c';

CREATE FUNCTION dataprotect.annotate_account(name text, rel regclass, columns name[], action text,
        legal_basis text = NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.annotate_account(text, regclass, name[], text, text) IS
    'say what becomes of the rows, or of the columns, that belong to an account when it is deleted';

CREATE FUNCTION dataprotect._account_rules(account_type text) RETURNS jsonb
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('rel', r.rel::oid, 'columns', r.columns, 'action', r.action,
                                                 'targets', r.targets::oid[], 'basis', r.legal_basis)), '[]')
      FROM dataprotect.account_rule r WHERE r.account_type = $1;
$$;
COMMENT ON FUNCTION dataprotect._account_rules(text) IS 'annotations of an account type';

-- What becomes of the account's own row.
CREATE FUNCTION dataprotect._account_root_action(account dataprotect.account_type) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT r.action FROM dataprotect.account_rule r
                      WHERE r.account_type = account.name AND r.rel = account.root
                        AND r.columns = ARRAY[account.id_column]), 'delete');
$$;
COMMENT ON FUNCTION dataprotect._account_root_action(dataprotect.account_type) IS 'what becomes of an account''s own row';

-- Condition that chooses the account's own row under alias t.
CREATE FUNCTION dataprotect._account_own_row(account dataprotect.account_type, id text) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('t.%I OPERATOR(pg_catalog.=) %L::%s', account.id_column, id,
                  dataprotect._id_type(account.root, account.id_column));
$$;
COMMENT ON FUNCTION dataprotect._account_own_row(dataprotect.account_type, text) IS 'condition that chooses an account''s own row';

-- Paths from the root to the rows of one account.
CREATE FUNCTION dataprotect._account_tree(account dataprotect.account_type, id text,
        OUT ord bigint, OUT depth int, OUT parent regclass, OUT child regclass, OUT child_columns name[],
        OUT parent_columns name[], OUT sets_null bool, OUT constraint_name name, OUT action text, OUT basis text,
        OUT loops bool, OUT alias text, OUT up text, OUT casts bool, OUT above regclass[]) RETURNS SETOF record
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.ordinality, t.depth, t.parent, t.child, t.child_columns, t.parent_columns, t.sets_null, t.constraint_name,
           t.action, t.basis, t.loops, t.child_alias, t.child_up, t.casts, t.above
      FROM dataprotect._fk_tree(account.root, account.root::text, 't', dataprotect._account_own_row(account, id), '',
               ARRAY[account.root], dataprotect._account_rules(account.name), ARRAY['delete', 'anonymise', 'keep'])
           WITH ORDINALITY t;
$$;
COMMENT ON FUNCTION dataprotect._account_tree(dataprotect.account_type, text) IS
    'foreign keys that lead to the rows of an account, parents before children';
