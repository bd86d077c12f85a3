-- Account types: a root table and what becomes of everything that hangs on it

-- Tables and columns are known by identity (OID, attribute number) and by name:
-- the numbers follow a rename, the names a dump.  root_oid differs from root only
-- in a restored database, where the names count (_settle_names()).
CREATE TABLE dataprotect.account_type (
    name text PRIMARY KEY,
    root regclass NOT NULL,
    id_column name NOT NULL,
    grace interval NOT NULL,
    deadline interval NOT NULL,
    created_by name NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    grace_readable bool NOT NULL DEFAULT false,
    grace_hides bool NOT NULL DEFAULT false,
    recipients text[] NOT NULL DEFAULT '{}',    -- to be told of an erasure (GDPR, Article 19)
    root_oid oid,
    id_attnum int2,
    seal bytea,
    id_columns name[],                  -- of an id of several columns, id_column being the last
    id_attnums int2[]
);
COMMENT ON TABLE dataprotect.account_type IS 'account types; see dataprotect.create_account_type()';

-- What columns mean: the account id of the root (the account's own row), columns
-- that reference something (the rows they lead to, or lead away to), any other
-- columns of an account's table (what is personal in it).
CREATE TABLE dataprotect.account_rule (
    account_type text NOT NULL REFERENCES dataprotect.account_type ON DELETE CASCADE,
    rel regclass NOT NULL,
    columns name[] NOT NULL,
    action text NOT NULL CHECK (action IN ('delete', 'nullify', 'anonymise', 'keep', 'shared')),
    legal_basis text CHECK (action <> 'keep' OR legal_basis <> ''),
    targets regclass[] NOT NULL,        -- what the columns led to when it was decided
    annotated_by name NOT NULL,
    annotated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    reference regclass,                 -- what they reference where no foreign key says so
    reference_columns name[],
    match jsonb NOT NULL DEFAULT '{}',  -- columns that say whether this reference is meant, with their values
    rel_oid oid NOT NULL,
    attnums int2[] NOT NULL,
    reference_attnums int2[],
    seal bytea,
    replacement text,                   -- what anonymising writes into the columns
    PRIMARY KEY (account_type, rel, columns, match)
);
COMMENT ON TABLE dataprotect.account_rule IS 'annotations of account types; see dataprotect.annotate_account()';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.account_type', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.account_rule', '');

CREATE FUNCTION dataprotect._attnums(rel regclass, columns name[]) RETURNS int2[]
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT array_agg(a.attnum ORDER BY c.ord)
      FROM unnest(columns) WITH ORDINALITY AS c(name, ord)
      LEFT JOIN pg_attribute a ON a.attrelid = rel AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped);
END $$;
COMMENT ON FUNCTION dataprotect._attnums(regclass, name[]) IS 'numbers of columns; NULL for what is none';

CREATE FUNCTION dataprotect._attnames(rel regclass, attnums int2[]) RETURNS name[]
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT array_agg(a.attname ORDER BY c.ord)
      FROM unnest(attnums) WITH ORDINALITY AS c(num, ord)
      LEFT JOIN pg_attribute a ON a.attrelid = rel AND a.attnum = c.num AND NOT a.attisdropped);
END $$;
COMMENT ON FUNCTION dataprotect._attnames(regclass, int2[]) IS 'names of columns; NULL for one that was dropped';

-- Names of columns as they are now, where numbers are this database's.
CREATE FUNCTION dataprotect._names_now(rel regclass, rel_oid oid, attnums int2[], names name[]) RETURNS name[]
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT CASE WHEN rel = rel_oid AND array_position(attnums, NULL) IS NULL THEN dataprotect._attnames(rel, attnums) ELSE names END);
END $$;
COMMENT ON FUNCTION dataprotect._names_now(regclass, oid, int2[], name[]) IS 'columns that were written down, by the names that they have now';

-- The columns of an id, one or several, by their present names; those that were written
-- down where one of them is gone.
CREATE FUNCTION dataprotect._id_columns(rel regclass, rel_oid oid, id_column name, id_attnum int2, id_columns name[], id_attnums int2[]) RETURNS name[]
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    written name[] := coalesce(id_columns, ARRAY[id_column]);
    names name[] := dataprotect._names_now(rel, rel_oid, coalesce(id_attnums, ARRAY[id_attnum]), written);
BEGIN
    RETURN CASE WHEN names IS NULL OR array_position(names, NULL) IS NOT NULL THEN written ELSE names END;
END $$;
COMMENT ON FUNCTION dataprotect._id_columns(regclass, oid, name, int2, name[], int2[]) IS 'columns of an account''s id, by the names that they have now';

-- Annotations as they stand now: of tables and columns that still exist.
CREATE FUNCTION dataprotect._rules_of(account_type text) RETURNS SETOF dataprotect.account_rule
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT r.account_type, r.rel, n.columns, r.action, r.legal_basis, r.targets, r.annotated_by, r.annotated_at,
           r.reference, m.reference_columns, r.match, r.rel_oid, r.attnums, r.reference_attnums, r.seal, r.replacement
      FROM dataprotect.account_rule r
      JOIN pg_class c ON c.oid = r.rel,
           LATERAL (SELECT array_agg(a.attname ORDER BY k.ord) AS columns
                      FROM unnest(r.columns, r.attnums) WITH ORDINALITY AS k(name, num, ord)
                      LEFT JOIN pg_attribute a ON a.attrelid = r.rel AND NOT a.attisdropped AND a.attnum > 0
                                              AND CASE WHEN r.rel = r.rel_oid THEN a.attnum = k.num ELSE a.attname = k.name END) n,
           LATERAL (SELECT array_agg(a.attname ORDER BY k.ord) AS reference_columns
                      FROM unnest(r.reference_columns, r.reference_attnums) WITH ORDINALITY AS k(name, num, ord)
                      LEFT JOIN pg_attribute a ON a.attrelid = r.reference AND NOT a.attisdropped AND a.attnum > 0
                                              AND CASE WHEN r.rel = r.rel_oid THEN a.attnum = k.num ELSE a.attname = k.name END) m
     WHERE r.account_type = $1 AND array_position(n.columns, NULL) IS NULL
       AND (r.reference IS NULL OR array_position(m.reference_columns, NULL) IS NULL);
END $$;
COMMENT ON FUNCTION dataprotect._rules_of(text) IS 'annotations of an account type whose tables and columns exist, by their present names';

-- Write present names and numbers down, and forget what is gone.
CREATE FUNCTION dataprotect._settle_names(account_type text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    rules dataprotect.account_rule[] := ARRAY(SELECT r FROM dataprotect._rules_of($1) r);
BEGIN
    UPDATE dataprotect.account_type t
       SET id_column = (dataprotect._names_now(t.root, t.root_oid, ARRAY[t.id_attnum], ARRAY[t.id_column]))[1]
     WHERE t.name = $1 AND t.id_column IS DISTINCT FROM
           coalesce((dataprotect._names_now(t.root, t.root_oid, ARRAY[t.id_attnum], ARRAY[t.id_column]))[1], t.id_column);
    UPDATE dataprotect.account_type t
       SET root_oid = t.root, id_attnum = (dataprotect._attnums(t.root, ARRAY[t.id_column]))[1]
     WHERE t.name = $1 AND (t.root_oid IS DISTINCT FROM t.root::oid
                            OR t.id_attnum IS DISTINCT FROM (dataprotect._attnums(t.root, ARRAY[t.id_column]))[1]);
    UPDATE dataprotect.account_type t
       SET id_columns = n.names, id_attnums = dataprotect._attnums(t.root, n.names)
      FROM (SELECT o.name, dataprotect._id_columns(o.root, o.root_oid, o.id_column, o.id_attnum, o.id_columns, o.id_attnums) AS names
              FROM dataprotect.account_type o WHERE o.name = $1 AND o.id_columns IS NOT NULL) n
     WHERE t.name = n.name AND (t.id_columns <> n.names OR t.id_attnums IS DISTINCT FROM dataprotect._attnums(t.root, n.names));
    IF rules IS DISTINCT FROM ARRAY(SELECT r FROM dataprotect.account_rule r WHERE r.account_type = $1)
       OR EXISTS (SELECT FROM unnest(rules) r WHERE r.rel <> r.rel_oid) THEN
        -- What is written anew is sealed anew: not what somebody else wrote.
        PERFORM dataprotect._need_policy('account_rule');
        DELETE FROM dataprotect.account_rule r WHERE r.account_type = $1;
        INSERT INTO dataprotect.account_rule
            SELECT r.account_type, r.rel, r.columns, r.action, r.legal_basis, r.targets, r.annotated_by, r.annotated_at,
                   r.reference, r.reference_columns, r.match, r.rel, dataprotect._attnums(r.rel, r.columns),
                   dataprotect._attnums(r.reference, r.reference_columns), NULL, r.replacement
              FROM unnest(rules) r ON CONFLICT DO NOTHING;
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._settle_names(text) IS 'bring the tables and columns of an account type''s annotations up to date';

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
    found_type.id_columns := dataprotect._id_columns(found_type.root, found_type.root_oid, found_type.id_column, found_type.id_attnum,
                                                     found_type.id_columns, found_type.id_attnums);
    found_type.id_column := found_type.id_columns[cardinality(found_type.id_columns)];
    RETURN found_type;
END $$;
COMMENT ON FUNCTION dataprotect._find_account_type(text) IS 'the account type of that name, or an error';

-- What the columns of an account's id have, of its text: the text itself, or, where they
-- are several, what stands in it as in an array: '{7,42}'.
CREATE FUNCTION dataprotect._id_values(account dataprotect.account_type, id text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parts text[];
BEGIN
    IF coalesce(cardinality(account.id_columns), 1) = 1 THEN
        RETURN ARRAY[id];
    END IF;
    BEGIN
        parts := id::text[];
    EXCEPTION WHEN data_exception THEN
        NULL;
    END;
    IF id IS NOT NULL AND (parts IS NULL OR cardinality(parts) <> cardinality(account.id_columns) OR array_ndims(parts) <> 1
                           OR array_position(parts, NULL) IS NOT NULL) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('not the id of an account of type "%s"', account.name),
            format('It is of %s columns: %s.', cardinality(account.id_columns), array_to_string(account.id_columns, ', ')),
            'Write their values as an array of text: ''{7,42}'', or ARRAY[7, 42]::text.');
    END IF;
    RETURN parts;
END $$;
COMMENT ON FUNCTION dataprotect._id_values(dataprotect.account_type, text) IS 'values of the columns of an account''s id';

-- SQL text of an id, as text, of columns that have it.
CREATE FUNCTION dataprotect._id_expression(columns name[], prefix text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN cardinality(columns) = 1 THEN format('%s%I::pg_catalog.text', prefix, columns[1])
                ELSE (SELECT format('(ARRAY[%s])::pg_catalog.text', string_agg(format('%s%I::pg_catalog.text', prefix, c), ', ' ORDER BY ord))
                        FROM unnest(columns) WITH ORDINALITY AS x(c, ord)) END;
$$;
COMMENT ON FUNCTION dataprotect._id_expression(name[], text) IS 'SQL text of the text of an id of these columns';

CREATE FUNCTION dataprotect._id_column_types(account dataprotect.account_type) RETURNS oid[]
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(SELECT dataprotect._column_type(account.root, c) FROM unnest(account.id_columns) WITH ORDINALITY AS x(c, ord) ORDER BY ord);
END $$;
COMMENT ON FUNCTION dataprotect._id_column_types(dataprotect.account_type) IS 'types of the columns of an account''s id';

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

CREATE FUNCTION dataprotect._check_account_times(grace interval, deadline interval) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT isfinite(dataprotect._now() + deadline) OR dataprotect._now() + grace < dataprotect._now() OR dataprotect._now() + deadline <= dataprotect._now() + grace THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'the deadline must lie after the grace period');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_account_times(interval, interval) IS 'error unless a deadline lies after a grace period';

-- Error unless columns, each of a type that an id can have, tell a table's rows apart.
CREATE FUNCTION dataprotect._check_id_columns(rel regclass, columns name[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bad name;
BEGIN
    PERFORM dataprotect._check_columns(rel, columns);
    PERFORM dataprotect._id_type(rel, c) FROM unnest(columns) c;
    IF cardinality(columns) > 1 THEN
        SELECT a.attname INTO bad FROM pg_attribute a
         WHERE a.attrelid = rel AND a.attname = ANY (columns)
           AND (NOT a.attnotnull OR dataprotect._undomained(a.atttypid) = 'bpchar'::regtype) ORDER BY a.attnum LIMIT 1;
        IF FOUND THEN
            PERFORM dataprotect._raise('invalid_parameter_value',
                format('column "%s" of relation "%s" cannot be one of the columns of an account''s id', bad, rel),
                'Each of them is NOT NULL, and not of type character(n), whose text can have two forms.');
        END IF;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_index i
                    WHERE i.indrelid = rel AND i.indisunique AND i.indisvalid AND i.indnkeyatts = cardinality(columns) AND i.indpred IS NULL
                      AND NOT EXISTS (SELECT FROM generate_series(0, i.indnkeyatts - 1) k
                                       WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum = i.indkey[k]
                                                            AND a.attname = ANY (columns)))) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            CASE WHEN cardinality(columns) = 1 THEN format('column "%s" of relation "%s" is not unique', columns[1], rel)
                 ELSE format('columns %s of relation "%s" are not unique', columns, rel) END,
            NULL,
            'An account is one row of its root table.');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_id_columns(regclass, name[]) IS 'error where columns cannot be the id of accounts';

CREATE FUNCTION dataprotect._do_create_account_type(name text, root regclass, id_columns name[],
        grace interval, deadline interval, grace_readable bool, recipients text[], grace_hides bool) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    several name[] := CASE WHEN cardinality(id_columns) > 1 THEN id_columns END;
    id_column name := id_columns[cardinality(id_columns)];
BEGIN
    IF coalesce(name, '') = '' OR root IS NULL OR id_column IS NULL OR grace IS NULL OR deadline IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed',
            'an account type needs a name, a table, an id column, a grace period and a deadline');
    END IF;
    PERFORM dataprotect._check_account_times(grace, deadline);
    IF (SELECT c.relkind NOT IN ('r', 'p') FROM pg_class c WHERE c.oid = root) THEN
        PERFORM dataprotect._raise('wrong_object_type', format('"%s" is not a table', root));
    END IF;
    PERFORM dataprotect._check_table_right(root);
    PERFORM dataprotect._check_id_columns(root, id_columns);
    BEGIN
        INSERT INTO dataprotect.account_type (name, root, id_column, grace, deadline, created_by, grace_readable, recipients,
                                              grace_hides, root_oid, id_attnum, id_columns, id_attnums)
            VALUES (name, root, id_column, grace, deadline, pg_get_userbyid(dataprotect._caller()),
                    coalesce(grace_readable, false), coalesce(recipients, '{}'), coalesce(grace_hides, false),
                    root, (dataprotect._attnums(root, ARRAY[id_column]))[1], several, dataprotect._attnums(root, several));
    EXCEPTION WHEN unique_violation THEN
        PERFORM dataprotect._raise('duplicate_object', format('account type "%s" already exists', name),
            NULL, 'dataprotect.alter_account_type() changes one, dataprotect.drop_account_type() removes it.');
    END;
    PERFORM dataprotect._event('account_type.created', NULL, jsonb_build_object('account_type', name,
        'root', root::text, 'id_column', array_to_string(id_columns, ', '), 'grace', grace, 'deadline', deadline,
        'grace_hides', coalesce(grace_hides, false)));
END $$;
COMMENT ON FUNCTION dataprotect._do_create_account_type(text, regclass, name[], interval, interval, bool, text[], bool) IS
    'body of dataprotect.create_account_type(); see definer.c';

CREATE FUNCTION dataprotect._do_create_account_type(name text, root regclass, id_column name,
        grace interval, deadline interval, grace_readable bool, recipients text[], grace_hides bool) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._do_create_account_type(name, root, ARRAY[id_column], grace, deadline, grace_readable, recipients, grace_hides);
END $$;
COMMENT ON FUNCTION dataprotect._do_create_account_type(text, regclass, name, interval, interval, bool, text[], bool) IS
    'body of dataprotect.create_account_type(); see definer.c';

CREATE FUNCTION dataprotect.create_account_type(name text, root regclass, id_column name,
        grace interval = '30 days', deadline interval = '90 days', grace_readable bool = false,
        recipients text[] = '{}', grace_hides bool = false) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.create_account_type(text, regclass, name, interval, interval, bool, text[], bool) IS
    'say which table''s rows are accounts, how long a deletion can be taken back and when it must be done';

CREATE FUNCTION dataprotect.create_account_type(name text, root regclass, id_columns name[],
        grace interval = '30 days', deadline interval = '90 days', grace_readable bool = false,
        recipients text[] = '{}', grace_hides bool = false) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.create_account_type(text, regclass, name[], interval, interval, bool, text[], bool) IS
    'the same with an id of several columns, which is written as an array: ''{7,42}''';

CREATE FUNCTION dataprotect._do_alter_account_type(name text, grace interval, deadline interval, grace_readable bool,
        recipients text[], grace_hides bool) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(_do_alter_account_type.name);
BEGIN
    PERFORM dataprotect._check_table_right(account.root);
    PERFORM dataprotect._check_account_times(coalesce(_do_alter_account_type.grace, account.grace),
                                             coalesce(_do_alter_account_type.deadline, account.deadline));
    UPDATE dataprotect.account_type t
       SET grace = coalesce(_do_alter_account_type.grace, t.grace),
           deadline = coalesce(_do_alter_account_type.deadline, t.deadline),
           grace_readable = coalesce(_do_alter_account_type.grace_readable, t.grace_readable),
           recipients = coalesce(_do_alter_account_type.recipients, t.recipients),
           grace_hides = coalesce(_do_alter_account_type.grace_hides, t.grace_hides)
     WHERE t.name = account.name;
    PERFORM dataprotect._event('account_type.annotated', NULL, jsonb_strip_nulls(jsonb_build_object('account_type', account.name,
        'act', 'altered', 'grace', _do_alter_account_type.grace, 'deadline', _do_alter_account_type.deadline,
        'grace_readable', _do_alter_account_type.grace_readable, 'recipients', _do_alter_account_type.recipients,
        'grace_hides', _do_alter_account_type.grace_hides)));
END $$;
COMMENT ON FUNCTION dataprotect._do_alter_account_type(text, interval, interval, bool, text[], bool) IS
    'body of dataprotect.alter_account_type(); see definer.c';

CREATE FUNCTION dataprotect.alter_account_type(name text, grace interval = NULL, deadline interval = NULL,
        grace_readable bool = NULL, recipients text[] = NULL, grace_hides bool = NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.alter_account_type(text, interval, interval, bool, text[], bool) IS
    'change an account type; requests that were made keep their dates';

CREATE FUNCTION dataprotect._do_drop_account_type(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(_do_drop_account_type.name);
    bound regclass;
BEGIN
    IF EXISTS (SELECT FROM pg_class c WHERE c.oid = account.root) THEN
        PERFORM dataprotect._check_table_right(account.root);
        IF EXISTS (SELECT FROM dataprotect.deletion_requests r WHERE r.account_type = account.name AND r.state IN
                       ('requested', 'held', 'purging', 'purged', 'shredded', 'verified')) THEN
            PERFORM dataprotect._raise('object_in_use',
                format('account type "%s" has deletion requests that are not finished', account.name),
                NULL,
                'See dataprotect.deletion_requests.');
        END IF;
    END IF;
    SELECT b.rel INTO bound FROM dataprotect.subject_binding b JOIN pg_class c ON c.oid = b.rel
     WHERE b.account_type = account.name LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('dependent_objects_still_exist',
            format('table "%s" is bound to account type "%s"', bound, account.name),
            NULL,
            'dataprotect.unbind_subject() brings its values back under their named keys.');
    END IF;
    DELETE FROM dataprotect.subject_binding b WHERE b.account_type = account.name;
    DELETE FROM dataprotect.account_type t WHERE t.name = account.name;
    PERFORM dataprotect._event('account_type.annotated', NULL, jsonb_build_object('account_type', account.name, 'act', 'dropped'));
END $$;
COMMENT ON FUNCTION dataprotect._do_drop_account_type(text) IS 'body of dataprotect.drop_account_type(); see definer.c';

CREATE FUNCTION dataprotect.drop_account_type(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.drop_account_type(text) IS
    'forget an account type and its annotations; finished requests and their certificates stay';

-- What becomes of the account's own row.
CREATE FUNCTION dataprotect._account_root_action(account dataprotect.account_type) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT coalesce((SELECT r.action FROM dataprotect._rules_of(account.name) r
                      WHERE r.rel = account.root AND r.columns = account.id_columns
                        AND r.action IN ('delete', 'anonymise') AND r.reference IS NULL LIMIT 1), 'delete'));
END $$;
COMMENT ON FUNCTION dataprotect._account_root_action(dataprotect.account_type) IS 'what becomes of an account''s own row';

-- Condition that chooses the account's own row under alias t.
CREATE FUNCTION dataprotect._account_own_row(account dataprotect.account_type, id text) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(format('t.%I OPERATOR(pg_catalog.=) %L::%s', x.c, x.v, dataprotect._id_type(account.root, x.c)), ' AND ' ORDER BY x.ord)
      FROM unnest(account.id_columns, dataprotect._id_values(account, id)) WITH ORDINALITY AS x(c, v, ord);
$$;
COMMENT ON FUNCTION dataprotect._account_own_row(dataprotect.account_type, text) IS 'condition that chooses an account''s own row';
