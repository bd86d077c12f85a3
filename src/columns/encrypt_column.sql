-- encrypt_columns() and decrypt_column(): one transaction each, all or nothing, and
-- one rewrite a table however many columns.  encrypt_column() is the case of one.

-- State of a key as in dataprotect.key; NULL where there is no such key.
CREATE FUNCTION dataprotect._key_state(key text) RETURNS "char"
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT k.state FROM dataprotect.key k WHERE k.name = $1
$$;
COMMENT ON FUNCTION dataprotect._key_state(text) IS
    'state of a key: a active, s suspended, d destroyed; NULL where there is none';

CREATE FUNCTION dataprotect._refuse_obstacles(verb text, rel regclass, col name, problems text[], advice text[])
    RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF cardinality(problems) > 0 THEN
        PERFORM dataprotect._raise('dependent_objects_still_exist',
            format('cannot %s column "%s" of table "%s"', verb, col, (SELECT c.relname FROM pg_class c WHERE c.oid = rel)),
            array_to_string(problems, E'\n'),
            array_to_string(ARRAY(
                      SELECT a FROM unnest(advice) WITH ORDINALITY u(a, n) GROUP BY a ORDER BY min(n)), E'\n'));
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._refuse_obstacles(text, regclass, name, text[], text[]) IS
    'errors with every object that stands in the way, if there is one';

-- Made types are named after their base types, whatever schema those are in.
CREATE FUNCTION dataprotect._type_name_is_free(base oid) RETURNS bool
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT EXISTS (SELECT FROM pg_type t JOIN pg_type b ON t.typname = 'encrypted_' || b.typname
                           JOIN pg_namespace n ON n.oid = t.typnamespace
                       WHERE b.oid = $1 AND n.nspname IN ('public', 'dataprotect') AND NOT dataprotect._is_orphan_type(t.oid))
$$;
COMMENT ON FUNCTION dataprotect._type_name_is_free(oid) IS
    'whether an encrypted type over a type can have its name';

-- What to do about a type that has no encrypted one: never a call that is refused as well.
CREATE FUNCTION dataprotect._encrypted_type_advice(rel regclass, col name, base oid, typmod int4) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    change      text := format('Change the column first: ALTER TABLE %s ALTER COLUMN %I TYPE %%s%s.', rel, col,
                               (SELECT CASE WHEN k.is_array THEN '[]' END FROM dataprotect._column_kind(rel, col) k));
BEGIN
    IF (SELECT t.typtype = 'd' FROM pg_type t WHERE t.oid = base) THEN
        RETURN format(change, (SELECT format_type(t.typbasetype, t.typtypmod) FROM pg_type t WHERE t.oid = base));
    END IF;
    PERFORM dataprotect._check_base_type(base::regtype);
    IF NOT dataprotect._type_name_is_free(base) THEN
        RETURN format('Type encrypted_%s is over another type of that name: rename one of the two.',
                      (SELECT t.typname FROM pg_type t WHERE t.oid = base));
    END IF;
    RETURN format('An administrator makes one with SELECT dataprotect.create_encrypted_type(%L).', format_type(base, NULL));
EXCEPTION WHEN wrong_object_type THEN
    RETURN 'Change the column to text or another type that has one first.';
END
$$;
COMMENT ON FUNCTION dataprotect._encrypted_type_advice(regclass, name, oid, int4) IS
    'what can be done about a column whose type has no encrypted type';

-- Types without an encrypted one get it in the same call, from who may make types.
CREATE FUNCTION dataprotect._can_make_type(base oid) RETURNS bool
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._check_base_type(base::regtype);
    RETURN dataprotect._type_name_is_free(base)
        AND has_function_privilege('dataprotect.create_encrypted_type(regtype)', 'EXECUTE');
EXCEPTION WHEN wrong_object_type THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION dataprotect._can_make_type(oid) IS
    'whether the current role can have an encrypted type made over a type';
CREATE TYPE dataprotect._column_wish AS (col name, key text, searchable bool, ordered bool, padded bool, wordsearch bool);
COMMENT ON TYPE dataprotect._column_wish IS 'what is asked for a column that is to be protected';

-- Everything that can be known before the table is locked.
CREATE FUNCTION dataprotect._check_encrypt(rel regclass, col name, key text, searchable bool, ordered bool, wordsearch bool)
    RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    state       "char";
    base        oid;
    typmod      int4;
    obstacle    text;
    problems    text[];
    advice      text[];
BEGIN
    PERFORM dataprotect._check_column(rel, col);
    SELECT t.base, t.typmod INTO base, typmod FROM dataprotect._column_kind(rel, col) t;
    IF dataprotect._base_type(base::regtype) IS NOT NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('column "%s" is already encrypted', col),
            format('Its type is %s.', (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
                                       WHERE a.attrelid = rel AND a.attname = col)),
            'Call decrypt_column() first to change its key or how it is indexed.');
    END IF;
    state := dataprotect._key_state(key);
    IF state IS NULL THEN
        PERFORM dataprotect._raise('undefined_object',
            format('key "%s" does not exist', key),
            NULL,
            'Make it with dataprotect.create_key().');
    ELSIF state <> 'a' THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', format('key "%s" is not active', key));
    END IF;
    IF dataprotect._encrypted_type(base::regtype) IS NULL AND NOT dataprotect._can_make_type(base) THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('type %s of column "%s" has no encrypted type', format_type(base, NULL), col),
            NULL,
            dataprotect._encrypted_type_advice(rel, col, base, typmod));
    END IF;
    IF typmod >= 0 AND (dataprotect._base_modifier(base, typmod) IS NULL
                        OR base = 'interval'::regtype AND format_type(base, typmod) !~ '^interval\(') THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('modifier of type %s of column "%s" cannot be kept', format_type(base, typmod), col),
            NULL,
            'Change the column to the type without it first.');
    END IF;
    IF ordered THEN
        obstacle := dataprotect._order_obstacle(rel, key);
        IF obstacle IS NOT NULL THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('column "%s" cannot be ordered', col),
                CASE obstacle WHEN 'bound' THEN 'Its table is subject-bound.'
                                             ELSE format('Key "%s" expires.', key) END,
                'Leave out ordered => true; a hash index or a token class serves equality.');
        END IF;
    END IF;
    SELECT array_agg(o.problem), array_agg(o.advice) INTO problems, advice
    FROM (SELECT * FROM dataprotect._column_obstacles(rel, col)
          UNION ALL SELECT * FROM dataprotect._type_obstacles(rel, col)
          UNION ALL SELECT * FROM dataprotect._generated_obstacles(rel, col, key, searchable)
          UNION ALL SELECT * FROM dataprotect._index_obstacles(rel, col, searchable, ordered, wordsearch)
          UNION ALL SELECT * FROM dataprotect._policy_obstacles(rel, ARRAY[col])
          UNION ALL SELECT * FROM dataprotect._publication_obstacles(rel, ARRAY[col])
          UNION ALL SELECT * FROM dataprotect._dependent_obstacles(rel, ARRAY[col])
          UNION ALL SELECT * FROM dataprotect._function_obstacles(rel, ARRAY[col])) o;
    PERFORM dataprotect._refuse_obstacles('encrypt', rel, col, problems, advice);
END
$$;
COMMENT ON FUNCTION dataprotect._check_encrypt(regclass, name, text, bool, bool, bool) IS
    'errors unless encrypt_columns can do what it is asked to';

-- Each statement, or, where the type is none for it or a value too long, the one at the same place of otherwise.
CREATE FUNCTION dataprotect._make_again(creates text[], otherwise text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    FOR i IN 1..cardinality(creates) LOOP
        IF otherwise[i] IS NULL THEN
            EXECUTE creates[i];
        ELSE
            BEGIN
                EXECUTE creates[i];
            EXCEPTION WHEN program_limit_exceeded OR datatype_mismatch THEN
                EXECUTE otherwise[i];
            END;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._make_again(text[], text[]) IS
    'execute each statement, or the other one at its place where it does not fit';

-- Change the types of a table's columns with all around them; the table is locked
-- already.
CREATE FUNCTION dataprotect._change_columns(rel regclass, cols name[], targets text[], bases text[],
                                            token_classes text[], fold_classes text[])
    RETURNS text[]
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET default_tablespace = ''
    SET check_function_bodies = off
AS $$
DECLARE
    functions   record;
    views       record;
    around      record;
    indexes     record;
    generated   record;
    statement   text;
    changes     text;
BEGIN
    SELECT * INTO functions FROM dataprotect._capture_functions(rel, cols);
    SELECT * INTO views FROM dataprotect._capture_views(rel, cols);
    SELECT * INTO around FROM dataprotect._capture_table(rel, cols, bases);
    SELECT * INTO indexes FROM dataprotect._capture_indexes(rel, cols, token_classes, fold_classes);
    SELECT * INTO generated FROM dataprotect._capture_generated(rel, cols);
    -- ALTER TYPE would set the new type's default collation
    SELECT string_agg(format('ALTER COLUMN %I TYPE %s%s USING CAST(%1$I AS %4$s)', u.col, u.target,
                             ' COLLATE ' || quote_ident(n.nspname) || '.' || quote_ident(l.collname), u.base), ', ')
    INTO changes
    FROM unnest(cols, targets, bases) AS u(col, target, base)
        JOIN pg_attribute a ON a.attrelid = rel AND a.attname = u.col
        LEFT JOIN pg_collation l ON l.oid = a.attcollation
        LEFT JOIN pg_namespace n ON n.oid = l.collnamespace;

    FOREACH statement IN ARRAY functions.drops || views.drops || around.drops || indexes.drops || generated.drops LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('ALTER TABLE %s %s', rel, changes);
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    FOREACH statement IN ARRAY generated.creates LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM dataprotect._make_again(around.creates || indexes.creates, around.otherwise || indexes.otherwise);
    FOREACH statement IN ARRAY views.creates || functions.creates LOOP
        EXECUTE statement;
    END LOOP;
    RETURN around.changes || indexes.changes;
END
$$;
COMMENT ON FUNCTION dataprotect._change_columns(regclass, name[], text[], text[], text[], text[]) IS
    'change columns'' types in one rewrite and make again what depends on them; returns what became of them';

-- Subject binding follows the set of a table's protected columns: loosened, its
-- trigger and constraint are away; else they are made for the columns there are.
CREATE FUNCTION dataprotect._refresh_binding(rel regclass, loosen bool) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF dataprotect._order_obstacle(rel, '') = 'bound' THEN
        EXECUTE format('SELECT dataprotect.%I($1)', CASE WHEN loosen THEN '_bind_drop' ELSE '_bind_refresh' END)
        USING rel;
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._refresh_binding(regclass, bool) IS
    'loosen a subject-bound table, or bind its new set of protected columns';

-- Bodies written as strings depend on nothing in the catalogs; their text may tell.
CREATE FUNCTION dataprotect._mentioning_functions(rel regclass, col name) RETURNS SETOF regprocedure
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure
    FROM pg_proc p JOIN pg_class c ON c.oid = $1
    WHERE p.oid >= 16384 AND p.prolang <> (SELECT l.oid FROM pg_language l WHERE l.lanname = 'c')
        AND p.prosrc ~* ('\m' || regexp_replace($2::text, '(\W)', '\\\1', 'g') || '\M')
        AND p.prosrc ~* ('\m' || regexp_replace(c.relname::text, '(\W)', '\\\1', 'g') || '\M')
        AND p.pronamespace <> 'dataprotect'::regnamespace
$$;
COMMENT ON FUNCTION dataprotect._mentioning_functions(regclass, name) IS
    'functions whose text names a table and one of its columns';

-- Whoever else has a function run by who reads gets no value: those of ordinary roles without the
-- right, that nobody trusts; of the table's triggers each one, since they are given the rows.
CREATE FUNCTION dataprotect._masked_functions(rel regclass, col name, of_key text) RETURNS SETOF regprocedure
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.oid::regprocedure
    FROM (SELECT dataprotect._mentioning_functions($1, $2)
          UNION SELECT t.tgfoid::regprocedure FROM pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal) f(function)
        JOIN pg_proc p ON p.oid = f.function JOIN pg_roles o ON o.oid = p.proowner
    WHERE NOT o.rolsuper
        AND NOT EXISTS (SELECT FROM dataprotect.trusted_functions t WHERE t.function = p.oid::regprocedure::text AND t.in_force)
        AND NOT EXISTS (SELECT FROM dataprotect.grants g JOIN pg_roles r ON r.oid = to_regrole(g.grantee)
                        WHERE g.key = $3 AND g.privilege = 'reveal' AND g.in_force AND pg_has_role(p.proowner, r.oid, 'USAGE'))
$$;
COMMENT ON FUNCTION dataprotect._masked_functions(regclass, name, text) IS
    'functions that are run with a column''s values by who may read them, and are given none since their owners may not';

CREATE FUNCTION dataprotect._tell_functions(rel regclass, col name, of_key text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names   text;
BEGIN
    SELECT string_agg(f::oid::regproc::text, ', ' ORDER BY f::oid::regproc::text) INTO names FROM dataprotect._mentioning_functions(rel, col) f;
    IF names IS NOT NULL THEN
        RAISE NOTICE 'functions that name the column: %', names
            USING HINT = 'They run on, but for calls of functions over anyelement with the column and a plain value: cast one there.';
    END IF;
    SELECT string_agg(f::text, ', ' ORDER BY f::text) INTO names FROM dataprotect._masked_functions(rel, col, of_key) f;
    IF names IS NOT NULL THEN
        RAISE NOTICE 'functions that are given no value of column "%", whoever runs them: %', col, names
            USING HINT = 'Their owners may not read it. Grant them "reveal" on the key, or call dataprotect.trust_function() for each that is meant to.';
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._tell_functions(regclass, name, text) IS
    'names the functions that a column''s protection concerns';

CREATE FUNCTION dataprotect._encrypt_table(rel regclass, wishes dataprotect._column_wish[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind        record;
    rules       text[];
    w           record;
    types       record;
    changes     text[];
    change      text;
    few_values  CONSTANT int := 100;
BEGIN
    FOR i IN 1..cardinality(wishes) LOOP
        SELECT k.base, dataprotect._encrypted_type(k.base::regtype) AS encrypted INTO kind
        FROM dataprotect._column_kind(rel, (wishes[i]).col) k;
        IF kind.encrypted IS NULL THEN
            RAISE NOTICE 'type % is made for column "%"', dataprotect.create_encrypted_type(kind.base::regtype), (wishes[i]).col;
        END IF;
        IF NOT (wishes[i]).searchable AND EXISTS (
            SELECT FROM dataprotect._column_indexes(rel, (wishes[i]).col) x
            WHERE (NOT (wishes[i]).ordered OR x.folded) AND (x.is_unique OR x.method = 'btree' AND NOT x.simple))
            AND dataprotect._token_class(dataprotect._encrypted_type(kind.base::regtype)) <> '' THEN
            wishes[i].searchable := true;
            RAISE NOTICE 'column "%" becomes searchable, since it is unique or part of an index of several columns',
                (wishes[i]).col;
        END IF;
        rules := rules || ARRAY(SELECT dataprotect._domain_rules(rel, (wishes[i]).col));
    END LOOP;
    -- ALTER TYPE removes the statistics, and ANALYZE will not count again
    SELECT array_agg(u.col ORDER BY u.n) AS cols,
           array_agg(format('%s(%s)', e.encrypted, concat_ws(',', quote_literal(u.key),
                            CASE WHEN u.searchable THEN quote_literal('searchable') END,
                            CASE WHEN u.ordered THEN quote_literal('ordered') END,
                            CASE WHEN u.padded THEN quote_literal('padded') END,
                            quote_literal(dataprotect._base_modifier(k.base, k.typmod)))) || e.brackets
                     ORDER BY u.n) AS targets,
           -- without a length: bit is bit(1), "bit" any
           array_agg(format_type(k.base, -1) || e.brackets ORDER BY u.n) AS bases,
           array_agg(CASE WHEN u.ordered THEN NULL ELSE dataprotect._token_class(e.encrypted) END ORDER BY u.n) AS token_classes,
           array_agg(e.encrypted::text || '_token_ops' ORDER BY u.n) AS fold_classes,
           array_agg(CASE WHEN cardinality(k.domains) > 0 THEN k.domains[cardinality(k.domains)]::regtype END ORDER BY u.n) AS domains,
           array_agg((SELECT s.n_distinct FROM pg_stats s
                      WHERE s.schemaname = ns.nspname AND s.tablename = c.relname AND s.attname = u.col
                      ORDER BY s.inherited DESC LIMIT 1) ORDER BY u.n) AS distinct_values
    INTO types
    FROM unnest(wishes) WITH ORDINALITY AS u(col, key, searchable, ordered, padded, wordsearch, n)
        JOIN pg_class c ON c.oid = rel
        JOIN pg_namespace ns ON ns.oid = c.relnamespace
        CROSS JOIN LATERAL dataprotect._column_kind(rel, u.col) k
        CROSS JOIN LATERAL (SELECT dataprotect._encrypted_type(k.base::regtype),
                                   CASE WHEN k.is_array THEN '[]' ELSE '' END) e(encrypted, brackets);
    PERFORM dataprotect._progress_begin('encrypt_column', rel, (
        SELECT (cardinality(wishes) * sum(CASE WHEN c.reltuples < 0 THEN 50 * dataprotect._table_blocks(c.oid) ELSE c.reltuples END))::bigint
        FROM dataprotect._column_partitions(rel, types.cols[1]) m JOIN pg_class c ON c.oid = m.member));
    changes := dataprotect._change_columns(rel, types.cols, types.targets, types.bases, types.token_classes,
                                           types.fold_classes);
    PERFORM dataprotect._progress_end();
    FOREACH change IN ARRAY rules LOOP
        EXECUTE change;
    END LOOP;
    FOR w IN SELECT u.col, u.of_domain FROM unnest(types.cols, types.domains) AS u(col, of_domain) WHERE u.of_domain IS NOT NULL LOOP
        RAISE NOTICE 'column "%" is no longer of domain %: the domain''s rules are now the column''s', w.col, w.of_domain;
    END LOOP;
    PERFORM dataprotect._refresh_binding(rel, false);
    FOREACH change IN ARRAY changes LOOP
        RAISE NOTICE '%', change;
    END LOOP;
    FOR w IN SELECT string_agg(DISTINCT format('"%s"', p.pubname), ', ') AS publications FROM pg_publication_tables p
             WHERE format('%I.%I', p.schemaname, p.tablename)::regclass IN (SELECT m.member FROM dataprotect._column_members(rel, types.cols[1]) m)
             HAVING count(*) > 0 LOOP
        RAISE NOTICE 'the table is published by %', w.publications
            USING HINT = 'The rewrite is not replicated: protect the subscribers'' columns as well, or they go on with the plaintext that they have.';
    END LOOP;
    FOR w IN SELECT u.*, d.distinct_values
             FROM unnest(wishes) WITH ORDINALITY AS u(col, key, searchable, ordered, padded, wordsearch, n)
                 JOIN unnest(types.distinct_values) WITH ORDINALITY AS d(distinct_values, n) USING (n) ORDER BY n LOOP
        IF w.distinct_values > 0 AND w.distinct_values < few_values AND cardinality(changes) > 0
            AND EXISTS (SELECT FROM dataprotect._column_indexes(rel, w.col)) THEN
            RAISE WARNING 'indexes on column "%" disclose how often each of about % values occurs', w.col, w.distinct_values
                USING HINT = 'Whoever reads the disk and knows the usual frequencies can tell the values; drop the indexes.';
        END IF;
        PERFORM dataprotect._tell_functions(rel, w.col, w.key);
        RAISE NOTICE 'column "%" is encrypted under key "%"', w.col, w.key
            USING HINT = format('Run ANALYZE %s. WAL and backups from before this moment still hold the plaintext.', rel);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._encrypt_table(regclass, dataprotect._column_wish[]) IS
    'protect columns of a table that is locked and checked, in one rewrite';

-- What is padded is padded so that nobody sees whether it is empty.
CREATE FUNCTION dataprotect._check_lengths(rel regclass, col name, padded bool) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text;
BEGIN
    SELECT format('The predicate of index "%s" uses its value.', c.relname) INTO problem
    FROM dataprotect._column_members(rel, col) m JOIN pg_index i ON i.indrelid = m.member JOIN pg_class c ON c.oid = i.indexrelid
    WHERE dataprotect._index_predicate(i.indexrelid, ARRAY[col]) LIKE '%dataprotect.not\_empty(%'
        AND dataprotect._index_predicate(i.indexrelid, '{}') NOT LIKE '%dataprotect.not\_empty(%'
    ORDER BY 1 LIMIT 1;
    IF padded AND problem IS NOT NULL THEN
        PERFORM dataprotect._refuse_obstacles('encrypt', rel, col, ARRAY[problem],
            ARRAY['Drop the index, or leave out padded => true: an index that knows empty texts tells them apart.']);
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._check_lengths(regclass, name, bool) IS
    'errors where an index would tell what padding hides';

-- Foreign keys compare by tokens: equal types, and both sides at once.
CREATE FUNCTION dataprotect._check_links(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    other   record;
BEGIN
    SELECT l.linked, l.linked_col, a.atttypid INTO other
    FROM dataprotect._linked_columns(rel, col) l
        JOIN pg_attribute a ON a.attrelid = l.linked AND a.attname = l.linked_col
        CROSS JOIN dataprotect._column_kind(l.linked, l.linked_col) theirs
        CROSS JOIN dataprotect._column_kind(rel, col) own
    WHERE (theirs.base, theirs.is_array) <> (own.base, own.is_array)
    LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('column "%s" of table "%s" is tied by a foreign key to a column of another type', col,
                   (SELECT c.relname FROM pg_class c WHERE c.oid = rel)),
            format('Column "%s" of table %s has type %s.', other.linked_col, other.linked, format_type(other.atttypid, NULL)),
            'Give both the same type first.');
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._check_links(regclass, name) IS
    'errors where foreign keys tie a column to one of another type';

-- The wishes in the argument of encrypt_columns(): an object with a member for each
-- column, whose value is a key's name or an object of encrypt_column()'s arguments.
CREATE FUNCTION dataprotect._column_wishes(rel regclass, columns jsonb) RETURNS dataprotect._column_wish[]
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    options     CONSTANT text[] := '{key,searchable,ordered,padded,wordsearch}';
    result      dataprotect._column_wish[] := '{}';
    c           record;
    bad         text;
BEGIN
    IF columns IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'columns must not be null');
    END IF;
    IF jsonb_typeof(columns) <> 'object' OR columns = '{}' THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'columns must be a JSON object with a member for each column',
            NULL,
            'As in {"email": {"key": "pii", "searchable": true}, "phone": "pii"}.');
    END IF;
    FOR c IN SELECT e.key AS col, CASE jsonb_typeof(e.value) WHEN 'string' THEN jsonb_build_object('key', e.value) ELSE e.value END AS wish
             FROM jsonb_each(columns) e
                 LEFT JOIN pg_attribute a ON a.attrelid = rel AND a.attname = e.key
             ORDER BY a.attnum, e.key LOOP
        PERFORM dataprotect._check_column(rel, c.col::name);
        IF length(c.col::name) < length(c.col) OR jsonb_typeof(c.wish) <> 'object' THEN
            PERFORM dataprotect._raise('invalid_parameter_value', format('member "%s" must be a key''s name or an object', c.col));
        END IF;
        SELECT k INTO bad FROM jsonb_object_keys(c.wish) k WHERE k <> ALL (options) ORDER BY k LIMIT 1;
        IF bad IS NOT NULL THEN
            PERFORM dataprotect._raise('invalid_parameter_value', format('unrecognized option "%s" for column "%s"', bad, c.col),
                NULL,
                format('Options are %s.', array_to_string(options, ', ')));
        END IF;
        SELECT e.key INTO bad FROM jsonb_each(c.wish) e WHERE jsonb_typeof(e.value) = 'null' ORDER BY e.key = 'key' DESC LIMIT 1;
        IF bad IS NOT NULL OR NOT c.wish ? 'key' THEN
            PERFORM dataprotect._raise('null_value_not_allowed', 'key, searchable, ordered, padded and wordsearch must not be null');
        END IF;
        SELECT e.key INTO bad FROM jsonb_each(c.wish) e
        WHERE jsonb_typeof(e.value) <> CASE e.key WHEN 'key' THEN 'string' ELSE 'boolean' END LIMIT 1;
        IF bad IS NOT NULL THEN
            PERFORM dataprotect._raise('invalid_parameter_value',
                format('option "%s" for column "%s" must be a %s', bad, c.col, CASE bad WHEN 'key' THEN 'string' ELSE 'Boolean' END));
        END IF;
        result := result || ROW(c.col, c.wish ->> 'key', coalesce((c.wish ->> 'searchable')::bool, false),
                                coalesce((c.wish ->> 'ordered')::bool, false),
                                coalesce((c.wish ->> 'padded')::bool, false),
                                coalesce((c.wish ->> 'wordsearch')::bool, false))::dataprotect._column_wish;
    END LOOP;
    RETURN result;
END
$$;
COMMENT ON FUNCTION dataprotect._column_wishes(regclass, jsonb) IS
    'what encrypt_columns() is asked for, column by column';

-- All that foreign keys tie to the columns goes along, under the same key.  Wishes
-- for the columns that were named come first, so that errors are about them.
CREATE FUNCTION dataprotect._linked_wishes(rel regclass, wishes dataprotect._column_wish[])
    RETURNS TABLE (tied regclass, wish dataprotect._column_wish, is_tied bool)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    contradiction record;
BEGIN
    SELECT l.linked, l.linked_col, min(u.key), max(u.key) INTO contradiction
    FROM unnest(wishes) u CROSS JOIN LATERAL dataprotect._linked_columns(rel, u.col) l
    GROUP BY 1, 2
    HAVING count(DISTINCT (u.key, u.searchable, u.ordered, u.padded, u.wordsearch)) > 1
    LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('columns that foreign keys tie together need the same key and options: column "%s" of table %s',
                   contradiction.linked_col, contradiction.linked));
    END IF;
    RETURN QUERY
        SELECT t.linked, ROW(t.linked_col, t.key, t.searchable OR t.n > 1 AND NOT t.ordered, t.ordered, t.padded, t.wordsearch)::dataprotect._column_wish,
               t.n > 1
        FROM (SELECT l.linked, l.linked_col, u.key, u.searchable, u.ordered, u.padded, u.wordsearch, min(u.place) AS place,
                     l.n, bool_or((l.linked, l.linked_col) = (rel, u.col)) AS named
              FROM unnest(wishes) WITH ORDINALITY AS u(col, key, searchable, ordered, padded, wordsearch, place)
                  CROSS JOIN LATERAL (SELECT x.*, count(*) OVER () AS n FROM dataprotect._linked_columns(rel, u.col) x) l
              GROUP BY 1, 2, 3, 4, 5, 6, 7, 9) t
        ORDER BY t.named DESC, t.place, t.linked;
END
$$;
COMMENT ON FUNCTION dataprotect._linked_wishes(regclass, dataprotect._column_wish[]) IS
    'wishes for columns and for all that foreign keys tie to them';

-- So does what is computed from them; padded, as every generated column.
CREATE FUNCTION dataprotect._tied_wishes(rel regclass, wishes dataprotect._column_wish[])
    RETURNS TABLE (tied regclass, wish dataprotect._column_wish, is_tied bool)
    LANGUAGE sql STABLE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH l AS (
        SELECT x.*, row_number() OVER () AS n FROM dataprotect._linked_wishes($1, $2) x
    ),
    g AS (
        SELECT l.tied, d.col, min(l.n) AS n, (array_agg((l.wish).key ORDER BY l.n))[1] AS key, bool_or((l.wish).wordsearch) AS wordsearch
        FROM l CROSS JOIN LATERAL dataprotect._dependent_generated(l.tied, ARRAY[(l.wish).col]) d
        WHERE d.depth = 0 AND d.formula IS NOT NULL AND (NOT d.sealed OR d.col = (l.wish).col)
        GROUP BY 1, 2
    ),
    named AS (
        SELECT l.tied, l.n, l.is_tied,
               ROW((l.wish).col, (l.wish).key, (l.wish).searchable, (l.wish).ordered, (l.wish).padded OR g.col IS NOT NULL,
                   (l.wish).wordsearch)::dataprotect._column_wish AS wish, false AS follows
        FROM l LEFT JOIN g ON g.tied = l.tied AND g.col = (l.wish).col
    )
    SELECT t.tied, t.wish, t.is_tied
    FROM (SELECT * FROM named
          UNION ALL
          SELECT g.tied, g.n, false, ROW(g.col, g.key, false, false, true, g.wordsearch)::dataprotect._column_wish, true
          FROM g WHERE NOT EXISTS (SELECT FROM l WHERE l.tied = g.tied AND (l.wish).col = g.col)) t
    ORDER BY t.follows, t.n
$$;
COMMENT ON FUNCTION dataprotect._tied_wishes(regclass, dataprotect._column_wish[]) IS
    'wishes for columns, for all that foreign keys tie to them, and for what is computed from these';

-- Before the lock: under it the views themselves are made again.
CREATE FUNCTION dataprotect._check_views(rel regclass, cols name[]) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    types       oid[] := ARRAY(
        SELECT CASE WHEN k.is_array THEN t.typarray ELSE t.oid END
        FROM unnest(cols) WITH ORDINALITY AS u(col, n)
            CROSS JOIN LATERAL dataprotect._column_kind(rel, u.col) k
            LEFT JOIN pg_type t ON t.oid = dataprotect._encrypted_type(k.base::regtype)
        ORDER BY u.n);
    problems    text[];
    advice      text[];
BEGIN
    SELECT array_agg(o.problem), array_agg(o.advice) INTO problems, advice
    FROM (SELECT * FROM dataprotect._view_obstacles(rel, cols, types)
          UNION ALL SELECT * FROM dataprotect._policy_trials(rel, cols, types)) o;
    PERFORM dataprotect._refuse_obstacles('encrypt', rel, cols[1], problems, advice);
END
$$;
COMMENT ON FUNCTION dataprotect._check_views(regclass, name[]) IS
    'errors where a view or policy could not be made again over protected columns';

-- Returns what was done: [{"rel": ..., "col": ..., "key": ...}, ...]
CREATE FUNCTION dataprotect._encrypt_columns(rel regclass, wishes dataprotect._column_wish[]) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    foreign_keys record;
    tied        record;
    t           record;
    statement   text;
BEGIN
    FOR pass IN 1..2 LOOP
        PERFORM dataprotect._check_encrypt(x.tied, (x.wish).col, (x.wish).key, (x.wish).searchable, (x.wish).ordered, (x.wish).wordsearch),
                dataprotect._check_links(x.tied, (x.wish).col),
                dataprotect._check_lengths(x.tied, (x.wish).col, (x.wish).padded)
        FROM dataprotect._tied_wishes(rel, wishes) x;
        IF pass = 1 THEN
            PERFORM dataprotect._check_views(x.tied, array_agg((x.wish).col))
            FROM dataprotect._tied_wishes(rel, wishes) x GROUP BY x.tied;
            FOR t IN SELECT DISTINCT x.tied FROM dataprotect._tied_wishes(rel, wishes) x ORDER BY 1 LOOP
                EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', t.tied);
            END LOOP;
        END IF;
    END LOOP;

    SELECT array_agg(x.tied ORDER BY x.tied, a.attnum) AS rels, array_agg((x.wish).col ORDER BY x.tied, a.attnum) AS cols,
           array_agg(x.wish ORDER BY x.tied, a.attnum) AS wishes,
           string_agg(format('%s.%I', x.tied, (x.wish).col), ', ' ORDER BY x.tied, a.attnum) FILTER (WHERE x.is_tied) AS together
    INTO tied
    FROM dataprotect._tied_wishes(rel, wishes) x
        JOIN pg_attribute a ON a.attrelid = x.tied AND a.attname = (x.wish).col;
    SELECT * INTO foreign_keys FROM dataprotect._capture_foreign_keys(tied.rels, tied.cols);
    FOREACH statement IN ARRAY foreign_keys.drops LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM dataprotect._encrypt_table(g.tied, g.wishes)
    FROM (SELECT u.tied, array_agg(ROW(u.col, u.key, u.searchable, u.ordered, u.padded, u.wordsearch)::dataprotect._column_wish ORDER BY u.n) AS wishes
          FROM ROWS FROM (unnest(tied.rels), unnest(tied.wishes)) WITH ORDINALITY
              AS u(tied, col, key, searchable, ordered, padded, wordsearch, n) GROUP BY 1 ORDER BY 1) g;
    FOREACH statement IN ARRAY foreign_keys.creates LOOP
        EXECUTE statement;
    END LOOP;
    IF tied.together IS NOT NULL THEN
        RAISE NOTICE 'protected together, since foreign keys tie them: %', tied.together;
    END IF;
    RETURN (SELECT jsonb_agg(jsonb_build_object('rel', u.tied::oid::bigint, 'col', u.col, 'key', u.key) ORDER BY u.n)
            FROM ROWS FROM (unnest(tied.rels), unnest(tied.wishes)) WITH ORDINALITY
                AS u(tied, col, key, searchable, ordered, padded, wordsearch, n));
END
$$;
COMMENT ON FUNCTION dataprotect._encrypt_columns(regclass, dataprotect._column_wish[]) IS
    'check, lock and protect columns, with all that foreign keys tie to them; returns what was done';

CREATE FUNCTION dataprotect._do_encrypt_columns_at_once(rel regclass, columns jsonb) RETURNS jsonb
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._encrypt_columns($1, dataprotect._column_wishes($1, $2))
$$;
COMMENT ON FUNCTION dataprotect._do_encrypt_columns_at_once(regclass, jsonb) IS
    'body of dataprotect._encrypt_columns_at_once(); see definer.c';

CREATE FUNCTION dataprotect._log_encrypt_columns_at_once(rel regclass, columns jsonb, done jsonb) RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._column_event('column.encrypted', d.rel::oid::regclass, d.col, d.key)
    FROM jsonb_to_recordset($3) AS d(rel bigint, col name, key text)
$$;
COMMENT ON FUNCTION dataprotect._log_encrypt_columns_at_once(regclass, jsonb, jsonb) IS
    'events of dataprotect._encrypt_columns_at_once(); see definer.c';

CREATE PROCEDURE dataprotect._encrypt_columns_at_once(rel regclass, columns jsonb)
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_definer_enter_recorded';
COMMENT ON PROCEDURE dataprotect._encrypt_columns_at_once(regclass, jsonb) IS
    'encrypt_columns(online => false)';

CREATE FUNCTION dataprotect._do_encrypt_column_at_once(rel regclass, col name, key text, searchable bool, ordered bool, padded bool, wordsearch bool)
    RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._check_column(rel, col);
    RETURN dataprotect._encrypt_columns(rel, dataprotect._column_wishes(rel, jsonb_build_object(col,
        jsonb_build_object('key', key, 'searchable', searchable, 'ordered', ordered, 'padded', padded,
                                               'wordsearch', wordsearch))));
END
$$;
COMMENT ON FUNCTION dataprotect._do_encrypt_column_at_once(regclass, name, text, bool, bool, bool, bool) IS
    'body of dataprotect._encrypt_column_at_once(); see definer.c';

CREATE FUNCTION dataprotect._log_encrypt_column_at_once(rel regclass, col name, key text, searchable bool, ordered bool, padded bool, wordsearch bool,
                                                done jsonb)
    RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._log_encrypt_columns_at_once($1, NULL, $8)
$$;
COMMENT ON FUNCTION dataprotect._log_encrypt_column_at_once(regclass, name, text, bool, bool, bool, bool, jsonb) IS
    'event of dataprotect._encrypt_column_at_once(); see definer.c';

CREATE PROCEDURE dataprotect._encrypt_column_at_once(rel regclass, col name, key text, searchable bool, ordered bool, padded bool, wordsearch bool)
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_definer_enter_recorded';
COMMENT ON PROCEDURE dataprotect._encrypt_column_at_once(regclass, name, text, bool, bool, bool, bool) IS
    'encrypt_column(online => false)';

-- A scan without a query (stored_scan.h), by the states of keys: opens nothing.
CREATE FUNCTION dataprotect._unreadable_values(rel regclass, col name)
    RETURNS TABLE (key_id int8, "values" bigint, failures bigint)
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_verify_unreadable';
COMMENT ON FUNCTION dataprotect._unreadable_values(regclass, name) IS
    'stored values of a column by key id, and how many of them cannot be read';

-- Values inside of composite types are no column's own.
CREATE FUNCTION dataprotect._column_key(rel regclass, col name) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.key FROM dataprotect.protected_columns p
    WHERE p.rel = $1 AND p.col = $2 AND (p.path IS NULL OR p.path = '[]')
$$;
COMMENT ON FUNCTION dataprotect._column_key(regclass, name) IS
    'key of a column whose values, or whose arrays'' elements, are protected';

CREATE FUNCTION dataprotect._check_decrypt(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    key_name    text;
    problems    text[];
    advice      text[];
    cols        CONSTANT name[] := col || dataprotect._decrypted_with(rel, col);
BEGIN
    PERFORM dataprotect._check_column(rel, col);
    key_name := dataprotect._column_key(rel, col);
    IF key_name IS NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', format('column "%s" is not encrypted', col));
    END IF;
    -- for any other role the values are masks or ciphertext: they would be stored
    IF NOT dataprotect._may_reveal(key_name) THEN
        PERFORM dataprotect._raise('insufficient_privilege',
            format('permission denied for key "%s"', key_name),
            'decrypt_column() needs the privilege reveal, and dataprotect.output = auto.',
            format('An administrator grants it: SELECT dataprotect.grant_access(%L, %L, ''reveal'').',
                                key_name, current_user));
    END IF;
    SELECT array_agg(o.problem), array_agg(o.advice) INTO problems, advice
    FROM (SELECT x.* FROM unnest(cols) c CROSS JOIN LATERAL dataprotect._column_obstacles(rel, c) x
          UNION ALL SELECT * FROM dataprotect._policy_obstacles(rel, cols)
          UNION ALL SELECT * FROM dataprotect._publication_obstacles(rel, cols)
          UNION ALL SELECT * FROM dataprotect._dependent_obstacles(rel, cols)
          UNION ALL SELECT * FROM dataprotect._function_obstacles(rel, cols)
          UNION ALL SELECT format('It is computed from protected column "%s".', c), format('Decrypt column "%s": this one follows.', c)
                    FROM dataprotect._dependent_generated(rel, ARRAY[col]) d CROSS JOIN LATERAL unnest(d.columns) c
                    WHERE d.col = _check_decrypt.col AND d.depth = 0 AND d.sealed AND dataprotect._protected_type(rel, c) IS NOT NULL) o;
    PERFORM dataprotect._refuse_obstacles('decrypt', rel, col, problems, advice);
END
$$;
COMMENT ON FUNCTION dataprotect._check_decrypt(regclass, name) IS
    'errors unless decrypt_column can do what it is asked to';

CREATE FUNCTION dataprotect._decrypt_one(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    cols        CONSTANT name[] := col || dataprotect._decrypted_with(rel, col);
    key_name    text;
    unreadable  bigint;
    types       record;
    c           name;
BEGIN
    key_name := dataprotect._column_key(rel, col);

    -- a value whose key is suspended or destroyed reads as NULL; it must not become one
    SELECT sum(x.failures) INTO unreadable
    FROM dataprotect._columns_members(rel, cols) m JOIN pg_attribute a ON a.attrelid = m.member AND a.attnum = m.attnum
        CROSS JOIN LATERAL dataprotect._unreadable_values(m.member, a.attname) x;
    IF unreadable > 0 THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('cannot decrypt column "%s" of table "%s"', col, (SELECT c.relname FROM pg_class c WHERE c.oid = rel)),
            format('%s values under key "%s" cannot be read: their keys are suspended, expired or destroyed.',
                                  unreadable, key_name),
            'Resume the keys, or remove the values.');
    END IF;
    SELECT array_agg(
               -- '(50)' on a text column was varchar's
               CASE WHEN k.base = 'text'::regtype AND k.modifier IS NOT NULL THEN 'varchar' || k.modifier
                    WHEN k.base = 'varbit'::regtype THEN 'varbit' || coalesce(k.modifier, '')
                    WHEN k.modifier IS NOT NULL THEN regexp_replace(format_type(k.base, NULL), '^\w+', '\&' || k.modifier)
                    ELSE format_type(k.base, -1) END || k.brackets ORDER BY k.n) AS targets,
           array_agg(format_type(k.base, -1) || k.brackets ORDER BY k.n) AS bases,
           array_agg(NULL::text) AS classes
    INTO types
    FROM (SELECT u.n, dataprotect._base_type(t.base::regtype) AS base, CASE WHEN t.is_array THEN '[]' ELSE '' END AS brackets,
                 '(' || substring(format_type(t.base, t.typmod) FROM ',''([-0-9,]+)''\)$') || ')' AS modifier
          FROM unnest(cols) WITH ORDINALITY AS u(col, n) CROSS JOIN LATERAL dataprotect._column_kind(rel, u.col) t) k;
    PERFORM dataprotect._refresh_binding(rel, true);
    PERFORM dataprotect._change_columns(rel, cols, types.targets, types.bases, types.classes, types.classes);
    PERFORM dataprotect._refresh_binding(rel, false);
    FOREACH c IN ARRAY cols LOOP
        RAISE NOTICE 'column "%" is no longer encrypted', c
            USING HINT = format('Run ANALYZE %s.', rel);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._decrypt_one(regclass, name) IS
    'turn one column back, of a table that is locked and checked';

CREATE FUNCTION dataprotect._do_decrypt_column(rel regclass, col name) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    key_name    text;
    foreign_keys record;
    link        record;
    statement   text;
BEGIN
    FOR pass IN 1..2 LOOP
        PERFORM dataprotect._check_decrypt(rel, col);
        PERFORM dataprotect._check_decrypt(l.linked, l.linked_col)
        FROM dataprotect._linked_columns(rel, col) l WHERE (l.linked, l.linked_col) <> (rel, col);
        IF pass = 1 THEN
            FOR link IN SELECT DISTINCT l.linked FROM dataprotect._linked_columns(rel, col) l ORDER BY 1 LOOP
                EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', link.linked);
            END LOOP;
        END IF;
    END LOOP;
    key_name := dataprotect._column_key(rel, col);

    SELECT array_agg(l.linked) AS rels, array_agg(l.linked_col) AS cols INTO link
    FROM dataprotect._linked_columns(rel, col) l;
    SELECT * INTO foreign_keys FROM dataprotect._capture_foreign_keys(link.rels, link.cols);
    FOREACH statement IN ARRAY foreign_keys.drops LOOP
        EXECUTE statement;
    END LOOP;
    FOR i IN 1..cardinality(link.rels) LOOP
        PERFORM dataprotect._decrypt_one(link.rels[i], link.cols[i]);
    END LOOP;
    FOREACH statement IN ARRAY foreign_keys.creates LOOP
        EXECUTE statement;
    END LOOP;
    RETURN key_name;
END
$$;
COMMENT ON FUNCTION dataprotect._do_decrypt_column(regclass, name) IS 'body of dataprotect.decrypt_column(); see definer.c';

-- The event is written by whatever ALTER TABLE decrypts the column (guard_alter.c).
CREATE FUNCTION dataprotect._log_decrypt_column(rel regclass, col name, done text) RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NULL::void
$$;
COMMENT ON FUNCTION dataprotect._log_decrypt_column(regclass, name, text) IS
    'part of dataprotect.decrypt_column(), which ALTER TABLE records; see definer.c';

CREATE PROCEDURE dataprotect.decrypt_column(rel regclass, col name)
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_definer_enter_recorded';
COMMENT ON PROCEDURE dataprotect.decrypt_column(regclass, name) IS
    'turn a protected column back into plaintext; the caller needs reveal on its key';
