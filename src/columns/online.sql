-- online => true: a table in use is protected behind a new column.
--
--	begin	a sealed column and a trigger that keeps it in step; what the swap will do
--			is rehearsed and rolled back: a moment's lock
--	fill	rows that are there, a few blocks a transaction
--	constrain, prove	CHECK: one is null where the other is; validated beside all writers
--	index	the worker builds indexes beside all writers (CREATE INDEX CONCURRENTLY)
--	swap	the plain column goes, the sealed one gets its name, its indexes and
--			constraints theirs: a moment's lock
--	validate	foreign keys, beside all writers
--	wipe	rows are written anew, so that none holds what was dropped; VACUUM
--			then removes the old ones
--
-- All columns that foreign keys tie together go through each step together.  What is
-- done is read from the catalogs and the rows themselves: whenever the call ends, the
-- next one with the same arguments goes on.  No state but this.

CREATE FUNCTION dataprotect._touch_blocks(rel regclass, source name, target name, first bigint, "end" bigint) RETURNS bigint[]
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_touch_blocks';
COMMENT ON FUNCTION dataprotect._touch_blocks(regclass, name, name, bigint, bigint) IS
    'write rows of some blocks anew: those without the sealed value, and those that hold values of dropped columns; how many, and the block to go on with';

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

-- The sealed type of a column as DDL writes it.
CREATE FUNCTION dataprotect._wish_type(rel regclass, wish dataprotect._column_wish) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%s(%s)', dataprotect._encrypted_type(k.base::regtype), concat_ws(',', quote_literal(($2).key),
                  CASE WHEN ($2).searchable THEN quote_literal('searchable') END,
                  CASE WHEN ($2).ordered THEN quote_literal('ordered') END,
                  CASE WHEN ($2).padded THEN quote_literal('padded') END,
                  quote_literal(dataprotect._base_modifier(k.base, k.typmod)))) || CASE WHEN k.is_array THEN '[]' ELSE '' END
    FROM dataprotect._column_kind($1, ($2).col) k
$$;
COMMENT ON FUNCTION dataprotect._wish_type(regclass, dataprotect._column_wish) IS 'the encrypted type that is asked for a column';

-- The column with all that foreign keys tie to it, each with the options that it gets.
CREATE FUNCTION dataprotect._online_group(rel regclass, wish dataprotect._column_wish)
    RETURNS TABLE (tied regclass, member dataprotect._column_wish)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT x.tied, ROW((x.wish).col, (x.wish).key,
        (x.wish).searchable OR EXISTS (
            SELECT FROM dataprotect._column_indexes(x.tied, (x.wish).col) i
            WHERE (NOT (x.wish).ordered OR i.folded) AND (i.is_unique OR i.method = 'btree' AND NOT i.simple))
        AND (SELECT dataprotect._will_have_tokens(k.base) FROM dataprotect._column_kind(x.tied, (x.wish).col) k),
        (x.wish).ordered, (x.wish).padded, (x.wish).wordsearch)::dataprotect._column_wish
    FROM dataprotect._tied_wishes($1, ARRAY[$2]) x
    ORDER BY x.tied, (x.wish).col
$$;
COMMENT ON FUNCTION dataprotect._online_group(regclass, dataprotect._column_wish) IS
    'wishes for a column and for all that foreign keys tie to it';

CREATE FUNCTION dataprotect._check_online(rel regclass, wish dataprotect._column_wish) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    g           record;
    problems    text[];
    advice      text[];
BEGIN
    FOR g IN SELECT x.tied, (x.wish).* FROM dataprotect._tied_wishes(rel, ARRAY[wish]) x LOOP
        PERFORM dataprotect._check_encrypt(g.tied, g.col, g.key, g.searchable, g.ordered, g.wordsearch),
                dataprotect._check_links(g.tied, g.col),
                dataprotect._check_lengths(g.tied, g.col, g.padded);
        SELECT array_agg(o.problem), array_agg(o.advice) INTO problems, advice
        FROM dataprotect._online_obstacles(g.tied, g.col) o;
        PERFORM dataprotect._refuse_obstacles('encrypt', g.tied, g.col, problems, advice);
    END LOOP;
    PERFORM dataprotect._check_views(x.tied, array_agg((x.wish).col))
    FROM dataprotect._tied_wishes(rel, ARRAY[wish]) x GROUP BY x.tied;
END
$$;
COMMENT ON FUNCTION dataprotect._check_online(regclass, dataprotect._column_wish) IS
    'errors unless encrypt_columns(online => true) can do what it is asked to';

-- The whole swap as it will be, but for indexes; rolled back.
CREATE FUNCTION dataprotect._online_rehearse(rel regclass, wish dataprotect._column_wish) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rehearsed   CONSTANT text := 'rehearsed';
BEGIN
    PERFORM dataprotect._online_exchange_group(rel, wish, true);
    PERFORM dataprotect._raise('no_data_found', rehearsed);
EXCEPTION WHEN no_data_found THEN
    IF SQLERRM <> rehearsed THEN
        RAISE;
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._online_rehearse(regclass, dataprotect._column_wish) IS
    'errors where the columns could not be swapped; changes nothing';

CREATE FUNCTION dataprotect._online_exchange_group(rel regclass, wish dataprotect._column_wish, rehearse bool) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- before the foreign keys go, which make it a group
    members     CONSTANT dataprotect._online_member[] := ARRAY(
        SELECT ROW(g.tied, (g.member).col)::dataprotect._online_member FROM dataprotect._online_group(rel, wish) g);
    keys        record;
    statement   text;
BEGIN
    SELECT k.* INTO keys
    FROM (SELECT array_agg(m.tied) AS rels, array_agg(m.col) AS cols FROM unnest(members) m) x
        CROSS JOIN LATERAL dataprotect._capture_foreign_keys(x.rels, x.cols) k;
    FOREACH statement IN ARRAY keys.drops LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM dataprotect._online_exchange(g.tied, g.cols, rehearse)
    FROM (SELECT m.tied, array_agg(m.col) AS cols FROM unnest(members) m GROUP BY 1 ORDER BY 1) g;
    IF NOT rehearse THEN
        FOREACH statement IN ARRAY keys.creates LOOP
            EXECUTE statement || CASE WHEN statement LIKE 'ALTER TABLE %' THEN ' NOT VALID' ELSE '' END;
        END LOOP;
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._online_exchange_group(regclass, dataprotect._column_wish, bool) IS
    'swap all columns of a group, whose tables are locked';

-- The triggers of a table, of its partitions or of what inherits from it, and the
-- privileges of those who write.
CREATE FUNCTION dataprotect._online_attend(rel regclass, col name, target name, trigger_name name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    m           record;
    statement   text;
BEGIN
    FOR m IN SELECT x.member::regclass AS of_table, x.depth, c.relispartition FROM dataprotect._column_members(rel, col) x
                 JOIN pg_class c ON c.oid = x.member ORDER BY x.depth, x.member LOOP
        IF m.depth = 0 OR NOT m.relispartition THEN
            EXECUTE format('CREATE TRIGGER %I BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION dataprotect._online_fill(%L, %L)',
                           trigger_name, m.of_table, col, target);
        END IF;
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', m.of_table, trigger_name);
        FOR statement IN SELECT dataprotect._column_grants(m.of_table, col, target) LOOP
            EXECUTE statement;
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._online_attend(regclass, name, name, name) IS
    'keep a new sealed column in step with the plain one in all tables that hold them';

CREATE FUNCTION dataprotect._online_begin(rel regclass, wish dataprotect._column_wish) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    members     dataprotect._online_member[];
    m           record;
    other       name;
    base        oid;
BEGIN
    members := ARRAY(SELECT ROW(g.tied, (g.member).col)::dataprotect._online_member FROM dataprotect._online_group(rel, wish) g);
    FOR base IN SELECT DISTINCT k.base FROM unnest(members) x CROSS JOIN LATERAL dataprotect._column_kind(x.tied, x.col) k LOOP
        IF dataprotect._encrypted_type(base::regtype) IS NULL THEN
            RAISE NOTICE 'type % is made', dataprotect.create_encrypted_type(base::regtype);
        END IF;
    END LOOP;
    FOR m IN SELECT g.tied, g.member, dataprotect._online_target(g.tied, (g.member).col) AS target FROM dataprotect._online_group(rel, wish) g LOOP
        IF m.target IS NOT NULL AND NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = m.tied AND a.attname = m.target
                AND translate(format_type(a.atttypid, a.atttypmod), ' ()', '') = translate(dataprotect._wish_type(m.tied, m.member), ' ()', '')) THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('column "%s" is being protected with other options', (m.member).col),
                NULL,
                format('Go on with those, or call dataprotect.online_cancel(%L, %L) first.', m.tied, (m.member).col));
        END IF;
        SELECT p.col INTO other FROM dataprotect._online_pairs(m.tied) p
        WHERE (m.tied, p.col) <> ALL (SELECT x.tied, x.col FROM unnest(members) x) LIMIT 1;
        IF FOUND THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('column "%s" of table "%s" is being protected online', other, (SELECT c.relname FROM pg_class c WHERE c.oid = m.tied)),
                NULL,
                format('Go on with it, or call dataprotect.online_cancel(%L, %L) first.', m.tied, other));
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM unnest(members) x WHERE dataprotect._online_target(x.tied, x.col) IS NULL) THEN
        RETURN;
    END IF;
    PERFORM dataprotect._online_lock(members);
    FOR m IN SELECT g.tied, g.member, 'dataprotect_online_' || a.attnum AS target, dataprotect._online_trigger() || a.attnum::text AS trigger_name
             FROM dataprotect._online_group(rel, wish) g JOIN pg_attribute a ON a.attrelid = g.tied AND a.attname = (g.member).col
             WHERE dataprotect._online_target(g.tied, (g.member).col) IS NULL LOOP
        EXECUTE format('ALTER TABLE %s ADD COLUMN %I %s%s', m.tied, m.target, dataprotect._wish_type(m.tied, m.member),
            (SELECT format(' COLLATE %I.%I', n.nspname, l.collname) FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation
                JOIN pg_namespace n ON n.oid = l.collnamespace WHERE a.attrelid = m.tied AND a.attname = (m.member).col));
        PERFORM dataprotect._online_attend(m.tied, (m.member).col, m.target, m.trigger_name);
    END LOOP;
    PERFORM dataprotect._online_rehearse(rel, wish);
END
$$;
COMMENT ON FUNCTION dataprotect._online_begin(regclass, dataprotect._column_wish) IS
    'give tables the sealed columns and the triggers that keep them in step, unless they have them';

CREATE FUNCTION dataprotect._online_constrain(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target      CONSTANT name := dataprotect._online_target(rel, col);
    m           record;
BEGIN
    FOR m IN SELECT x.member::regclass AS of_table, dataprotect._is_required(x.member, col) AS is_required
             FROM dataprotect._column_members(rel, col) x ORDER BY x.depth, x.member LOOP
        IF NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = m.of_table AND k.conname = target || '_same') THEN
            EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK ((%I IS NULL) = (%I IS NULL)) NOT VALID', m.of_table, target || '_same', col, target);
        END IF;
        IF m.is_required
            AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = m.of_table AND k.conname = target || '_set') THEN
            EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%I IS NOT NULL) NOT VALID', m.of_table, target || '_set', target);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._online_constrain(regclass, name) IS
    'what every row must fulfil before the columns are swapped';

CREATE FUNCTION dataprotect._online_prove(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target      CONSTANT name := dataprotect._online_target(rel, col);
    k           record;
BEGIN
    FOR k IN SELECT x.conname, x.conrelid::regclass AS of_table FROM dataprotect._column_members(rel, col) m
                 JOIN pg_constraint x ON x.conrelid = m.member AND x.coninhcount = 0 AND NOT x.convalidated
                     AND x.conname IN (target || '_same', target || '_set') LOOP
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.of_table, k.conname);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._online_prove(regclass, name) IS
    'check the rows that are there, beside all writers';

-- Tables in one order; a lock that is not had soon is let go of by the step.
CREATE FUNCTION dataprotect._online_lock(members dataprotect._online_member[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t           regclass;
BEGIN
    FOR t IN SELECT DISTINCT m.tied FROM unnest(members) m ORDER BY 1 LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', t);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._online_lock(dataprotect._online_member[]) IS 'lock the tables of a group';

CREATE FUNCTION dataprotect._do_online_swap(rel regclass, wish dataprotect._column_wish) RETURNS jsonb
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    members     dataprotect._online_member[];
    m           record;
    change      text;
    changes     text[];
    done        jsonb;
BEGIN
    members := ARRAY(SELECT ROW(g.tied, (g.member).col)::dataprotect._online_member FROM dataprotect._online_group(rel, wish) g);
    PERFORM dataprotect._online_lock(members);
    PERFORM dataprotect._check_online(rel, wish);
    FOR m IN SELECT g.tied, (g.member).col, dataprotect._online_target(g.tied, (g.member).col) AS target FROM dataprotect._online_group(rel, wish) g LOOP
        IF (m.tied, m.col) <> ALL (SELECT x.tied, x.col FROM unnest(members) x) OR EXISTS (
            SELECT FROM dataprotect._column_members(m.tied, m.col) t
            WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = t.member AND k.conname = m.target || '_same' AND k.convalidated)
                OR NOT EXISTS (SELECT FROM dataprotect._online_pairs(t.member) p WHERE p.col = m.col AND p.target = m.target AND p.in_force)
                OR dataprotect._is_required(t.member, m.col) AND NOT EXISTS (
                    SELECT FROM pg_constraint k WHERE k.conrelid = t.member AND k.conname = m.target || '_set' AND k.convalidated)) THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('column "%s" was not kept in step', m.col),
                'Its trigger or constraint was disabled or dropped, or others were made that are over it.',
                format('Call dataprotect.online_cancel(%L, %L) and begin again.', m.tied, m.col));
        END IF;
    END LOOP;
    IF EXISTS (SELECT FROM unnest(members) x, dataprotect._column_members(x.tied, x.col) t, dataprotect._online_indexes(t.member) i
               WHERE NOT i.built) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', format('an index over column "%s" was made meanwhile', wish.col),
            NULL, 'Make the same call again.');
    END IF;
    SELECT jsonb_agg(jsonb_build_object('rel', x.tied::oid::bigint, 'col', x.col, 'key', wish.key)) INTO done FROM unnest(members) x;
    changes := ARRAY(SELECT c FROM (SELECT DISTINCT t.member, t.depth FROM unnest(members) x, dataprotect._column_members(x.tied, x.col) t) t,
                         dataprotect._online_indexes(t.member) i, string_to_table(i.change, E'\n') c
                     WHERE i.change <> '' AND NOT i.attached ORDER BY t.member, t.depth, c);
    PERFORM dataprotect._online_exchange_group(rel, wish, false);
    FOREACH change IN ARRAY changes LOOP
        RAISE NOTICE '%', change;
    END LOOP;
    RETURN done;
END
$$;
COMMENT ON FUNCTION dataprotect._do_online_swap(regclass, dataprotect._column_wish) IS
    'body of dataprotect._online_swap(); see definer.c';

CREATE FUNCTION dataprotect._log_online_swap(rel regclass, wish dataprotect._column_wish, done jsonb) RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._log_encrypt_columns_at_once($1, NULL, $3)
$$;
COMMENT ON FUNCTION dataprotect._log_online_swap(regclass, dataprotect._column_wish, jsonb) IS
    'event of dataprotect._online_swap(); see definer.c';

CREATE FUNCTION dataprotect._online_swap(rel regclass, wish dataprotect._column_wish) RETURNS jsonb
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_definer_enter_recorded';
COMMENT ON FUNCTION dataprotect._online_swap(regclass, dataprotect._column_wish) IS
    'put the sealed columns in the place of the plain ones';

-- Foreign keys are made without a look at the rows; here they are looked at.
CREATE FUNCTION dataprotect._online_validate(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k           record;
BEGIN
    FOR k IN SELECT x.conrelid::regclass AS of, x.conname FROM pg_attribute a JOIN pg_constraint x ON x.contype = 'f' AND NOT x.convalidated
                 AND x.conrelid = a.attrelid AND a.attnum = ANY (x.conkey)
             WHERE a.attrelid = rel AND a.attname = col LOOP
        EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', k.of, k.conname);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._online_validate(regclass, name) IS
    'check the foreign keys of a column that was swapped, beside all writers';

-- True when all indexes of a group are there; else the worker is asked for them.
CREATE FUNCTION dataprotect._online_indexed(rel regclass, wish dataprotect._column_wish) RETURNS bool
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT m.member FROM dataprotect._online_group(rel, wish) g,
                                dataprotect._column_members(g.tied, (g.member).col) m) t, dataprotect._online_indexes(t.member) i
               WHERE NOT i.built) THEN
        PERFORM dataprotect._online_index_wake();
        RETURN false;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION dataprotect._online_indexed(regclass, dataprotect._column_wish) IS
    'whether the indexes over the sealed columns are built; wakes the worker where not';

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
        WHEN 'constrain' THEN PERFORM dataprotect._online_constrain(g.tied, (g.member).col) FROM dataprotect._online_group(rel, wish) g;
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

CREATE FUNCTION dataprotect._online_leaves(rel regclass, col name) RETURNS regclass[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(m.member::regclass ORDER BY m.depth, m.member), '{}')
    FROM dataprotect._column_members($1, $2) m JOIN pg_class c ON c.oid = m.member AND c.relkind = 'r'
$$;
COMMENT ON FUNCTION dataprotect._online_leaves(regclass, name) IS 'the tables that store the rows of a table, its partitions and what inherits from it';

-- Without SET: it commits (reencrypt.sql).
CREATE PROCEDURE dataprotect._encrypt_online(rel regclass, columns jsonb)
    LANGUAGE plpgsql
AS $$
DECLARE
    wishes      dataprotect._column_wish[];
    wish        dataprotect._column_wish;
    members     dataprotect._online_member[];
    m           dataprotect._online_member;
    leaf        pg_catalog.regclass;
    target      pg_catalog.name;
    batch       pg_catalog.int8;
    blocks      pg_catalog.int8;
    position    pg_catalog.int8;
    step        pg_catalog.text;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    wishes := dataprotect._column_wishes(rel, columns);
    -- everything that is refused is refused before anything begins
    FOREACH wish IN ARRAY wishes LOOP
        IF dataprotect._column_key(rel, wish.col) IS DISTINCT FROM wish.key THEN
            PERFORM dataprotect._check_online(rel, wish);
        END IF;
    END LOOP;
    FOREACH wish IN ARRAY wishes LOOP
        FOREACH step IN ARRAY CASE WHEN dataprotect._column_key(rel, wish.col) = wish.key THEN '{validate,wipe}'
                                   ELSE '{begin,fill,constrain,prove,index,swap,validate,wipe}' END::text[] LOOP
            members := ARRAY(SELECT ROW(g.tied, (g.member).col)::dataprotect._online_member FROM dataprotect._online_group(rel, wish) g);
            IF step IN ('begin', 'constrain', 'swap') THEN
                WHILE NOT dataprotect._online_step(step, rel, wish) LOOP
                    COMMIT;
                    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                    PERFORM pg_sleep(0.1);
                END LOOP;
            ELSIF step = 'index' THEN
                WHILE NOT dataprotect._online_indexed(rel, wish) LOOP
                    COMMIT;
                    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                    PERFORM pg_sleep(0.1);
                END LOOP;
            ELSE
                FOREACH m IN ARRAY members LOOP
                    IF step = 'prove' THEN
                        PERFORM dataprotect._online_prove(m.tied, m.col);
                    ELSIF step = 'validate' THEN
                        PERFORM dataprotect._online_validate(m.tied, m.col);
                    ELSE
                        target := CASE step WHEN 'fill' THEN dataprotect._online_target(m.tied, m.col) ELSE '' END;
                        FOREACH leaf IN ARRAY dataprotect._online_leaves(m.tied, m.col) LOOP
                            position := 0;
                            batch := dataprotect._online_batch(leaf);
                            blocks := dataprotect._table_blocks(leaf);
                            WHILE position < blocks LOOP
                                COMMIT;
                                PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                                PERFORM pg_sleep(extract(epoch FROM current_setting('dataprotect.retention_cost_delay')::interval));
                                position := (dataprotect._touch_blocks(leaf, m.col, target, position, least(position + batch, blocks)))[2];
                            END LOOP;
                        END LOOP;
                    END IF;
                    COMMIT;
                    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                END LOOP;
            END IF;
            COMMIT;
            PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        END LOOP;
        FOREACH m IN ARRAY members LOOP
            PERFORM dataprotect._tell_functions(m.tied, m.col, wish.key);
            RAISE NOTICE 'column "%" is encrypted under key "%"', m.col, wish.key
                USING HINT = format('It is now the last column of its table. Run VACUUM (ANALYZE) %s: until then old row versions hold the plaintext, as do WAL and backups from before this moment.', m.tied);
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE dataprotect._encrypt_online(regclass, jsonb) IS 'encrypt_columns(online => true)';

CREATE FUNCTION dataprotect._do_online_cancel(rel regclass, col name) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    m           record;
    statement   text;
    dropped     text;
BEGIN
    PERFORM dataprotect._check_column(rel, col);
    IF dataprotect._online_target(rel, col) IS NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', format('column "%s" is not being protected online', col));
    END IF;
    FOR m IN SELECT l.linked, l.linked_col, dataprotect._online_target(l.linked, l.linked_col) AS target
             FROM dataprotect._linked_columns(rel, col) l WHERE dataprotect._online_target(l.linked, l.linked_col) IS NOT NULL LOOP
        FOR statement IN SELECT dataprotect._online_undo(m.linked, m.target) LOOP
            EXECUTE statement;
        END LOOP;
        EXECUTE format('ALTER TABLE %s DROP COLUMN %I', m.linked, m.target);
        dropped := concat_ws(', ', dropped, format('%s.%I', m.linked, m.linked_col));
    END LOOP;
    RETURN dropped;
END
$$;
COMMENT ON FUNCTION dataprotect._do_online_cancel(regclass, name) IS 'body of dataprotect.online_cancel(); see definer.c';

CREATE FUNCTION dataprotect._log_online_cancel(rel regclass, col name, done text) RETURNS void
    LANGUAGE sql
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._event('column.online_cancelled', NULL, pg_catalog.jsonb_build_object('columns', done));
$$;
COMMENT ON FUNCTION dataprotect._log_online_cancel(regclass, name, text) IS 'event of dataprotect.online_cancel(); see definer.c';

CREATE FUNCTION dataprotect.online_cancel(rel regclass, col name) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_definer_enter_recorded';
COMMENT ON FUNCTION dataprotect.online_cancel(regclass, name) IS
    'give up protecting a column online, with what foreign keys tie to it: the sealed columns go, the plain ones stay as they are';

CREATE VIEW dataprotect.online_progress AS
    SELECT c.oid::pg_catalog.regclass AS rel, a.attname AS col,
           pg_catalog.format_type(t.atttypid, t.atttypmod) AS type,
           CASE WHEN k.oid IS NULL THEN 'fill' WHEN NOT k.convalidated THEN 'prove'
                WHEN c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey) AND NOT EXISTS (
                             SELECT FROM pg_catalog.pg_index b JOIN pg_catalog.pg_class n ON n.oid = b.indexrelid
                             WHERE b.indrelid = c.oid AND b.indisvalid AND n.relname = 'dataprotect_online_' || i.indexrelid))
                    THEN 'index' ELSE 'swap' END AS step
    FROM pg_catalog.pg_attribute t
        JOIN pg_catalog.pg_class c ON c.oid = t.attrelid AND c.relkind IN ('r', 'p') AND t.attinhcount = 0
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
