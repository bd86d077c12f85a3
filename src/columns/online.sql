-- online => true: a table in use is protected behind a new column.
--
--	begin	a sealed column and a trigger that keeps it in step: a moment's lock
--	fill	rows that are there, a few blocks a transaction
--	prove	CHECK: one is null where the other is; validated beside all writers
--	swap	the plain column goes, the sealed one gets its name: a moment's lock
--	wipe	rows are written anew, so that none holds what was dropped; VACUUM
--			then removes the old ones
--
-- What is done is read from the catalogs and the rows themselves: whenever the
-- call ends, the next one with the same arguments goes on.  No state but this.

CREATE FUNCTION dataprotect._online_fill() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_online_fill';
COMMENT ON FUNCTION dataprotect._online_fill() IS
    'row trigger of a table that is being protected online: seals one column''s value into another';

CREATE FUNCTION dataprotect._touch_blocks(rel regclass, source name, target name, first bigint, "end" bigint) RETURNS bigint
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_touch_blocks';
COMMENT ON FUNCTION dataprotect._touch_blocks(regclass, name, name, bigint, bigint) IS
    'write rows of some blocks anew: those without the sealed value, and those that hold values of dropped columns';

-- The sealed column's name tells whose it is; NULL where there is none.
CREATE FUNCTION dataprotect._online_target(rel regclass, col name) RETURNS name
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.attname
    FROM pg_attribute a JOIN pg_attribute t ON t.attrelid = a.attrelid AND NOT t.attisdropped
        AND t.attname = 'dataprotect_online_' || a.attnum
    WHERE a.attrelid = $1 AND a.attname = $2 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION dataprotect._online_target(regclass, name) IS 'the sealed column that will replace a plain one';

CREATE FUNCTION dataprotect._online_trigger() RETURNS name
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT '~~dataprotect_online_'::name $$;
COMMENT ON FUNCTION dataprotect._online_trigger() IS 'beginning of the trigger''s name: the last of a row''s triggers';

-- What can be kept by a swap only with work under the lock, or not at all.
CREATE FUNCTION dataprotect._online_obstacles(rel regclass, col name) RETURNS TABLE (problem text, advice text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'The table is partitioned, or others inherit from it.', 'Leave out online => true.'
    FROM pg_class c WHERE c.oid = $1 AND (c.relkind <> 'r' OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid))
    UNION ALL
    SELECT 'The table is bound to accounts.', 'Leave out online => true.'
    WHERE dataprotect._order_obstacle($1, '') = 'bound'
    UNION ALL
    SELECT 'The column is an array, or of a domain.', 'Leave out online => true.'
    FROM dataprotect._column_kind($1, $2) k WHERE k.is_array OR cardinality(k.domains) > 0
    UNION ALL
    SELECT format('Index "%s" contains it.', x.relname),
           'Drop the index, and make it again with CREATE INDEX CONCURRENTLY afterwards; or leave out online => true.'
    FROM pg_attribute a JOIN pg_index i ON i.indrelid = a.attrelid JOIN pg_class x ON x.oid = i.indexrelid
    WHERE a.attrelid = $1 AND a.attname = $2
        AND (a.attnum = ANY (i.indkey::int2[])
             OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.refobjsubid = a.attnum))
    UNION ALL
    SELECT format('Constraint "%s" names it.', k.conname), 'Drop the constraint and make it again afterwards; or leave out online => true.'
    FROM pg_attribute a JOIN pg_constraint k ON k.contype IN ('c', 'f', 'p', 'u', 'x')
        AND (k.conrelid = a.attrelid AND a.attnum = ANY (k.conkey) OR k.confrelid = a.attrelid AND a.attnum = ANY (k.confkey))
    WHERE a.attrelid = $1 AND a.attname = $2 AND k.conname NOT LIKE 'dataprotect\_online\_%'
    UNION ALL
    SELECT format('Trigger "%s" would run after the one that seals.', t.tgname), 'Give the trigger another name.'
    FROM pg_trigger t
    WHERE t.tgrelid = $1 AND NOT t.tgisinternal AND t.tgtype & 3 = 3 AND t.tgname > dataprotect._online_trigger()
        AND t.tgname NOT LIKE '~~dataprotect\_online\_%'
    UNION ALL
    SELECT format('Column "%s" has a security label.', $2), 'Remove the label first.'
    FROM pg_attribute a JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = a.attrelid AND l.objsubid = a.attnum
    WHERE a.attrelid = $1 AND a.attname = $2
$$;
COMMENT ON FUNCTION dataprotect._online_obstacles(regclass, name) IS
    'objects around a column that encrypt_columns(online => true) does not keep';

-- The sealed type of a column as DDL writes it.
CREATE FUNCTION dataprotect._wish_type(rel regclass, wish dataprotect._column_wish) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%s(%s)', dataprotect._encrypted_type(k.base::regtype), concat_ws(',', quote_literal(($2).key),
                  CASE WHEN ($2).searchable THEN quote_literal('searchable') END,
                  CASE WHEN ($2).ordered THEN quote_literal('ordered') END,
                  CASE WHEN ($2).padded THEN quote_literal('padded') END,
                  CASE WHEN ($2).wordsearch THEN quote_literal('wordsearch') END,
                  quote_literal(dataprotect._base_modifier(k.base, k.typmod)))) || CASE WHEN k.is_array THEN '[]' ELSE '' END
    FROM dataprotect._column_kind($1, ($2).col) k
$$;
COMMENT ON FUNCTION dataprotect._wish_type(regclass, dataprotect._column_wish) IS 'the encrypted type that is asked for a column';

CREATE FUNCTION dataprotect._check_online(rel regclass, wish dataprotect._column_wish) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    problems    text[];
    advice      text[];
BEGIN
    PERFORM dataprotect._check_encrypt(rel, wish.col, wish.key, wish.searchable, wish.ordered, wish.wordsearch);
    SELECT array_agg(o.problem), array_agg(o.advice) INTO problems, advice
    FROM dataprotect._online_obstacles(rel, wish.col) o;
    PERFORM dataprotect._refuse_obstacles('encrypt', rel, wish.col, problems, advice);
    PERFORM dataprotect._check_views(rel, ARRAY[wish.col]);
END
$$;
COMMENT ON FUNCTION dataprotect._check_online(regclass, dataprotect._column_wish) IS
    'errors unless encrypt_columns(online => true) can do what it is asked to';

CREATE FUNCTION dataprotect._online_begin(rel regclass, wish dataprotect._column_wish) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target      name := dataprotect._online_target(rel, wish.col);
    number      int2 := (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = wish.col);
    kind        record;
    statement   text;
BEGIN
    SELECT k.base INTO kind FROM dataprotect._column_kind(rel, wish.col) k;
    IF dataprotect._encrypted_type(kind.base::regtype) IS NULL THEN
        PERFORM dataprotect.create_encrypted_type(kind.base::regtype);
    END IF;
    IF target IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = target
                       AND translate(format_type(a.atttypid, a.atttypmod), ' ()', '') = translate(dataprotect._wish_type(rel, wish), ' ()', '')) THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('column "%s" is being protected with other options', wish.col),
                NULL,
                format('Go on with those, or call dataprotect.online_cancel(%L, %L) first.', rel, wish.col));
        END IF;
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', rel);
    target := 'dataprotect_online_' || number;
    EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s%s', rel, target, dataprotect._wish_type(rel, wish),
        (SELECT format(' COLLATE %I.%I', n.nspname, l.collname) FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation
            JOIN pg_namespace n ON n.oid = l.collnamespace WHERE a.attrelid = rel AND a.attname = wish.col));
    EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION dataprotect._online_fill(%L, %L)',
                   dataprotect._online_trigger() || number::text, rel, wish.col, target);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', rel, dataprotect._online_trigger() || number::text);
    FOR statement IN SELECT dataprotect._column_grants(rel, wish.col, target) LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._online_begin(regclass, dataprotect._column_wish) IS
    'give a table the sealed column and the trigger that keeps it in step, unless it has them';

CREATE FUNCTION dataprotect._column_grants(rel regclass, source name, target name) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('GRANT %s (%I) ON TABLE %s TO %s%s', x.privilege_type, $3, $1,
                  CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
                  CASE WHEN bool_or(x.is_grantable) THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_attribute a, aclexplode(a.attacl) x
    WHERE a.attrelid = $1 AND a.attname = $2
    GROUP BY x.grantee, x.privilege_type
$$;
COMMENT ON FUNCTION dataprotect._column_grants(regclass, name, name) IS
    'statements that give a column the privileges that another has';

CREATE FUNCTION dataprotect._online_constrain(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target      name := dataprotect._online_target(rel, col);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = rel AND k.conname = target || '_same') THEN
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK ((%I IS NULL) = (%I IS NULL)) NOT VALID', rel, target || '_same', col, target);
    END IF;
    IF (SELECT a.attnotnull FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = col)
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = rel AND k.conname = target || '_set') THEN
        EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%I IS NOT NULL) NOT VALID', rel, target || '_set', target);
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._online_constrain(regclass, name) IS
    'what every row must fulfil before the columns are swapped';

CREATE FUNCTION dataprotect._online_prove(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k           record;
BEGIN
    FOR k IN SELECT x.conname FROM pg_constraint x WHERE x.conrelid = rel AND NOT x.convalidated
                 AND x.conname IN (dataprotect._online_target(rel, col) || '_same', dataprotect._online_target(rel, col) || '_set') LOOP
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', rel, k.conname);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._online_prove(regclass, name) IS
    'check the rows that are there, beside all writers';

CREATE FUNCTION dataprotect._online_undo(rel regclass, target name) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('DROP TRIGGER %I ON %s', t.tgname, $1) FROM pg_trigger t
    WHERE t.tgrelid = $1 AND t.tgname = '~~' || $2 AND t.tgfoid = 'dataprotect._online_fill'::regproc
    UNION ALL
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', $1, k.conname) FROM pg_constraint k
    WHERE k.conrelid = $1 AND k.conname IN ($2 || '_same', $2 || '_set')
$$;
COMMENT ON FUNCTION dataprotect._online_undo(regclass, name) IS
    'statements that take the trigger and the constraints of a sealed column away';

CREATE FUNCTION dataprotect._do_online_swap(rel regclass, wish dataprotect._column_wish) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET check_function_bodies = off
    SET jit = off
AS $$
DECLARE
    target      name;
    a           pg_attribute%ROWTYPE;
    functions   record;
    views       record;
    around      record;
    after       text[];
    statement   text;
BEGIN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', rel);
    PERFORM dataprotect._check_online(rel, wish);
    target := dataprotect._online_target(rel, wish.col);
    SELECT x.* INTO a FROM pg_attribute x WHERE x.attrelid = rel AND x.attname = wish.col;
    IF NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = rel AND k.conname = target || '_same' AND k.convalidated)
        OR NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = rel AND t.tgenabled = 'A' AND t.tgfoid = 'dataprotect._online_fill'::regproc
                       AND t.tgname = dataprotect._online_trigger() || a.attnum::text) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('column "%s" was not kept in step', wish.col),
            'Its trigger or constraint was disabled or dropped.',
            format('Call dataprotect.online_cancel(%L, %L) and begin again.', rel, wish.col));
    END IF;
    SELECT * INTO functions FROM dataprotect._capture_functions(rel, ARRAY[wish.col]);
    SELECT * INTO views FROM dataprotect._capture_views(rel, ARRAY[wish.col]);
    SELECT * INTO around FROM dataprotect._capture_table(rel, ARRAY[wish.col],
        ARRAY(SELECT format_type(k.base, -1) FROM dataprotect._column_kind(rel, wish.col) k));
    after := ARRAY(SELECT dataprotect._column_grants(rel, wish.col, wish.col))
        || ARRAY(SELECT format('COMMENT ON COLUMN %s.%I IS %L', rel, wish.col, d) FROM col_description(rel, a.attnum) d WHERE d IS NOT NULL)
        || ARRAY(SELECT format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', rel, wish.col, o) FROM unnest(a.attoptions) o
                 WHERE o LIKE 'n\_distinct%');
    FOREACH statement IN ARRAY functions.drops || views.drops || around.drops
        || CASE WHEN a.attnotnull THEN ARRAY[format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', rel, target)] ELSE '{}' END
        || ARRAY(SELECT dataprotect._online_undo(rel, target))
        || format('ALTER TABLE %s DROP COLUMN %I', rel, wish.col)
        || format('ALTER TABLE %s RENAME COLUMN %I TO %I', rel, target, wish.col) LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    FOREACH statement IN ARRAY after || around.creates || views.creates || functions.creates LOOP
        EXECUTE statement;
    END LOOP;
    RETURN wish.key;
END
$$;
COMMENT ON FUNCTION dataprotect._do_online_swap(regclass, dataprotect._column_wish) IS
    'body of dataprotect._online_swap(); see definer.c';

CREATE FUNCTION dataprotect._log_online_swap(rel regclass, wish dataprotect._column_wish, done text) RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._column_event('column.encrypted', $1, ($2).col, $3)
$$;
COMMENT ON FUNCTION dataprotect._log_online_swap(regclass, dataprotect._column_wish, text) IS
    'event of dataprotect._online_swap(); see definer.c';

CREATE FUNCTION dataprotect._online_swap(rel regclass, wish dataprotect._column_wish) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_definer_enter_recorded';
COMMENT ON FUNCTION dataprotect._online_swap(regclass, dataprotect._column_wish) IS
    'put the sealed column in the place of the plain one';

-- A step that needs a moment's lock waits for it only that long, so that nobody
-- queues behind; false where it did not get it.
CREATE FUNCTION dataprotect._online_step(step text, rel regclass, wish dataprotect._column_wish) RETURNS bool
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $$
BEGIN
    CASE step
        WHEN 'begin' THEN PERFORM dataprotect._online_begin(rel, wish);
        WHEN 'constrain' THEN PERFORM dataprotect._online_constrain(rel, wish.col);
        WHEN 'swap' THEN PERFORM dataprotect._online_swap(rel, wish);
    END CASE;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION dataprotect._online_step(text, regclass, dataprotect._column_wish) IS
    'a step of encrypt_columns(online => true) that locks the table for a moment; false where it could not';

CREATE FUNCTION dataprotect._online_batch(rel regclass) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT greatest(1, (current_setting('dataprotect.retention_batch_size')::float8
                        / CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN c.reltuples / c.relpages ELSE 50 END)::bigint)
    FROM pg_class c WHERE c.oid = $1
$$;
COMMENT ON FUNCTION dataprotect._online_batch(regclass) IS 'number of blocks that are worked on in one transaction';

-- Without SET: it commits (reencrypt.sql).
CREATE PROCEDURE dataprotect._encrypt_online(rel regclass, columns jsonb)
    LANGUAGE plpgsql
AS $$
DECLARE
    wishes      dataprotect._column_wish[];
    wish        dataprotect._column_wish;
    target      pg_catalog.name;
    batch       pg_catalog.int8;
    blocks      pg_catalog.int8;
    position    pg_catalog.int8;
    steps       pg_catalog.text[];
    step        pg_catalog.text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    wishes := dataprotect._column_wishes(rel, columns);
    batch := dataprotect._online_batch(rel);
    -- everything that is refused is refused before anything begins
    FOREACH wish IN ARRAY wishes LOOP
        IF dataprotect._column_key(rel, wish.col) IS DISTINCT FROM wish.key THEN
            PERFORM dataprotect._check_online(rel, wish);
        END IF;
    END LOOP;
    FOREACH wish IN ARRAY wishes LOOP
        steps := CASE WHEN dataprotect._column_key(rel, wish.col) = wish.key THEN '{wipe}'
                      ELSE '{begin,fill,constrain,prove,swap,wipe}' END::text[];
        FOREACH step IN ARRAY steps LOOP
            IF step IN ('begin', 'constrain', 'swap') THEN
                WHILE NOT dataprotect._online_step(step, rel, wish) LOOP
                    COMMIT;
                    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                    PERFORM pg_sleep(0.1);
                END LOOP;
            ELSIF step = 'prove' THEN
                PERFORM dataprotect._online_prove(rel, wish.col);
            ELSE
                target := CASE step WHEN 'fill' THEN dataprotect._online_target(rel, wish.col) ELSE '' END;
                position := 0;
                blocks := dataprotect._table_blocks(rel);
                WHILE position < blocks LOOP
                    COMMIT;
                    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                    PERFORM pg_sleep(extract(epoch FROM current_setting('dataprotect.retention_cost_delay')::interval));
                    PERFORM dataprotect._touch_blocks(rel, wish.col, target, position, least(position + batch, blocks));
                    position := position + batch;
                END LOOP;
            END IF;
            COMMIT;
            PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        END LOOP;
        RAISE NOTICE 'column "%" is encrypted under key "%"', wish.col, wish.key
            USING HINT = format('It is now the last column of its table. Run VACUUM (ANALYZE) %s: until then old row versions hold the plaintext, as do WAL and backups from before this moment.', rel);
    END LOOP;
END
$$;
COMMENT ON PROCEDURE dataprotect._encrypt_online(regclass, jsonb) IS 'encrypt_columns(online => true)';

CREATE FUNCTION dataprotect.online_cancel(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target      name;
    statement   text;
BEGIN
    PERFORM dataprotect._check_column(rel, col);
    target := dataprotect._online_target(rel, col);
    IF target IS NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', format('column "%s" is not being protected online', col));
    END IF;
    FOR statement IN SELECT dataprotect._online_undo(rel, target) LOOP
        EXECUTE statement;
    END LOOP;
    EXECUTE format('ALTER TABLE %s DROP COLUMN %I', rel, target);
END
$$;
COMMENT ON FUNCTION dataprotect.online_cancel(regclass, name) IS
    'give up protecting a column online: the sealed column goes, the plain one stays as it is';

CREATE VIEW dataprotect.online_progress AS
    SELECT c.oid::pg_catalog.regclass AS rel, a.attname AS col,
           pg_catalog.format_type(t.atttypid, t.atttypmod) AS type,
           CASE WHEN k.oid IS NULL THEN 'fill' WHEN NOT k.convalidated THEN 'prove' ELSE 'swap' END AS step
    FROM pg_catalog.pg_attribute t
        JOIN pg_catalog.pg_class c ON c.oid = t.attrelid AND c.relkind = 'r'
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.attrelid AND NOT a.attisdropped AND a.attnum > 0
            AND t.attname = 'dataprotect_online_' || a.attnum
        LEFT JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.conname = t.attname || '_same'
    WHERE NOT t.attisdropped AND t.atttypid >= 16384;
COMMENT ON VIEW dataprotect.online_progress IS 'columns that encrypt_columns(online => true) has begun and not finished, and the step that it is at';

-- Public: at once, or online.  Only the latter may set the path, whose steps each end
-- with COMMIT: the caller's transaction goes on after the former.
CREATE PROCEDURE dataprotect.encrypt_columns(rel regclass, columns jsonb, online bool = false)
    LANGUAGE plpgsql
AS $$
BEGIN
    IF online THEN    -- each step is a COMMIT
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        CALL dataprotect._encrypt_online(rel, columns);
    ELSE
        CALL dataprotect._encrypt_columns_at_once(rel, columns);
    END IF;
END
$$;
COMMENT ON PROCEDURE dataprotect.encrypt_columns(regclass, jsonb, bool) IS
    'protect several columns of a table in one rewrite, or online: {"column": {"key": ..., "searchable": ..., "ordered": ..., "padded": ...}, ...}';

CREATE PROCEDURE dataprotect.encrypt_column(rel regclass, col name, key text, searchable bool = false, ordered bool = false,
                                            padded bool = false, wordsearch bool = false, online bool = false)
    LANGUAGE plpgsql
AS $$
BEGIN
    IF online THEN    -- each step is a COMMIT
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        CALL dataprotect._encrypt_online(rel, pg_catalog.jsonb_build_object(col, pg_catalog.jsonb_build_object(
            'key', key, 'searchable', searchable, 'ordered', ordered, 'padded', padded, 'wordsearch', wordsearch)));
    ELSE
        CALL dataprotect._encrypt_column_at_once(rel, col, key, searchable, ordered, padded, wordsearch);
    END IF;
END
$$;
COMMENT ON PROCEDURE dataprotect.encrypt_column(regclass, name, text, bool, bool, bool, bool, bool) IS
    'protect a column under a key, keeping views, rules, triggers, defaults, privileges and indexes around it';
