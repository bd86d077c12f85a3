--
-- What a dump of the extension's tables needs to be restored in any order, by several
-- processes too: columns/restored_rows.c.
--
-- This piece comes after all tables.
--
CREATE FUNCTION dataprotect._restored_tables() RETURNS TABLE (tbl name, rel regclass, condition text)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.relname, c.oid::regclass, x.condition
    FROM pg_extension e, unnest(e.extconfig, e.extcondition) x(oid, condition), pg_class c
    WHERE e.extname = 'dataprotect' AND c.oid = x.oid AND c.relkind = 'r'
        AND c.relname NOT IN ('put_off', 'restored_row', 'zz_restored') ORDER BY 1
$$;
COMMENT ON FUNCTION dataprotect._restored_tables() IS 'tables of this schema whose rows are in dumps, and which rows';

-- What is referenced comes first, and what keys are wrapped for before all.
CREATE FUNCTION dataprotect._restore_order() RETURNS SETOF name
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_todo oid[] := ARRAY(SELECT t.rel FROM dataprotect._restored_tables() t WHERE t.tbl <> 'instance');
    v_next oid[];
BEGIN
    RETURN NEXT 'instance';
    WHILE cardinality(v_todo) > 0 LOOP
        v_next := ARRAY(SELECT t FROM unnest(v_todo) t WHERE NOT EXISTS (SELECT FROM pg_constraint f
            WHERE f.contype = 'f' AND f.conrelid = t AND f.confrelid <> t AND f.confrelid = ANY (v_todo)));
        RETURN QUERY SELECT c.relname FROM pg_class c WHERE c.oid = ANY (v_next) ORDER BY 1;
        v_todo := ARRAY(SELECT t FROM unnest(v_todo) t WHERE t <> ALL (v_next));
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._restore_order() IS 'tables of this schema whose rows are in dumps, in the order in which they can be filled';

CREATE FUNCTION dataprotect._hold_restored_table(tbl name) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- before all other triggers on rows
    EXECUTE format('CREATE TRIGGER aa_hold_restored BEFORE INSERT ON dataprotect.%I
                    FOR EACH ROW EXECUTE FUNCTION dataprotect._hold_restored_row()', tbl);
    EXECUTE format('ALTER TABLE dataprotect.%I ENABLE ALWAYS TRIGGER aa_hold_restored', tbl);
    EXECUTE format('CREATE TRIGGER zz_release_restored AFTER INSERT ON dataprotect.%I
                    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._release_restored()', tbl);
    EXECUTE format('ALTER TABLE dataprotect.%I ENABLE ALWAYS TRIGGER zz_release_restored', tbl);
END $$;
COMMENT ON FUNCTION dataprotect._hold_restored_table(name) IS 'has the rows of a table of the extension held back while a dump is restored';

-- An upgrade runs this again, and _count_restored() below (pgxs/upgrade.pl).
SELECT dataprotect._hold_restored_table(t.tbl) FROM dataprotect._restored_tables() t
 WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.rel AND g.tgname = 'aa_hold_restored');
CREATE TRIGGER zz_release_restored AFTER INSERT ON dataprotect.zz_restored
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._release_restored();
ALTER TABLE dataprotect.zz_restored ENABLE ALWAYS TRIGGER zz_release_restored;

-- pg_dump writes this behind the table's name: its column "rows" becomes what is counted as the dump is made.
CREATE FUNCTION dataprotect._count_restored() RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT pg_extension_config_dump('dataprotect.zz_restored',
        'AS z(single, stored), (SELECT pg_catalog.jsonb_object_agg(c.tbl, c.n) FROM ('
        || string_agg(format('SELECT %L::text, (SELECT pg_catalog.count(*) FROM dataprotect.%I %s)', t.tbl, t.tbl, t.condition), ' UNION ALL ' ORDER BY t.tbl)
        || ') c(tbl, n)) r(rows)')
    FROM dataprotect._restored_tables() t
$$;
COMMENT ON FUNCTION dataprotect._count_restored() IS 'has dumps count the rows of this schema that are in them';
SELECT dataprotect._count_restored();
