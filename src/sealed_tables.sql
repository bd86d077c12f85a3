--
-- The triggers of sealed tables; each has a column "seal".  ALWAYS: what a replica
-- role writes is not ours either, but our functions may be called under it.
--
-- This piece comes after all tables; an upgrade script that seals one more calls
-- _seal_table() for it.
--
CREATE FUNCTION dataprotect._seal_table(tbl text, rooted bool) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER seal_row BEFORE INSERT OR UPDATE ON dataprotect.%I
                    FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_row()', tbl);
    EXECUTE format('ALTER TABLE dataprotect.%I ENABLE ALWAYS TRIGGER seal_row', tbl);
    IF rooted THEN
        EXECUTE format('CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON dataprotect.%I
                        FOR EACH ROW EXECUTE FUNCTION dataprotect._note_change()', tbl);
        EXECUTE format('ALTER TABLE dataprotect.%I ENABLE ALWAYS TRIGGER note_change', tbl);
    END IF;
    EXECUTE format('COMMENT ON COLUMN dataprotect.%I.seal IS %L', tbl,
                   'code of the row under the policy key; see dataprotect.verify_policy()');
END $$;
COMMENT ON FUNCTION dataprotect._seal_table(text, bool) IS 'puts the triggers of sealed tables on a table of the extension';

SELECT dataprotect._seal_table(t.tbl, t.rooted) FROM dataprotect._sealed_tables() t;
