--
-- Statements of a restore that wait for the keys: put_off.h.  Rows of it: restored_rows.c.
--

CREATE TABLE dataprotect.put_off (
    noted_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
    statement text NOT NULL,
    search_path text NOT NULL,
    default_tablespace text NOT NULL
);
COMMENT ON TABLE dataprotect.put_off IS
    'indexes and constraints of a restore that wait for the keys of their values: they are made in the transaction that brings the keys';

CREATE TABLE dataprotect.restored_row (
    tbl name NOT NULL,
    line text NOT NULL
);
COMMENT ON TABLE dataprotect.restored_row IS 'rows of this schema that a restore has brought, until all of them are there';

SELECT pg_catalog.pg_extension_config_dump('dataprotect.put_off', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.restored_row', 'WHERE false');

-- The last in a dump's data by its name.  A dump has its one row, with what it counts (src/restored_tables.sql).
CREATE TABLE dataprotect.zz_restored (
    single bool PRIMARY KEY DEFAULT true CHECK (single),
    rows jsonb
);
COMMENT ON TABLE dataprotect.zz_restored IS 'one row: how many rows of which table of this schema are in the dump that is being restored; NULL once they are there';
INSERT INTO dataprotect.zz_restored DEFAULT VALUES;

CREATE FUNCTION dataprotect._hold_restored_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_hold_restored_row';
COMMENT ON FUNCTION dataprotect._hold_restored_row() IS 'row trigger: holds back what a restore brings until all of it is there';
CREATE FUNCTION dataprotect._release_restored() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_release_restored';
COMMENT ON FUNCTION dataprotect._release_restored() IS 'statement trigger: puts what a restore has brought in its place, once all of it is there';

-- The row that CREATE EXTENSION made gives way.
CREATE FUNCTION dataprotect._restore_counts() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE dataprotect.zz_restored SET rows = NEW.rows;
    RETURN CASE WHEN NOT FOUND THEN NEW END;
END $$;
COMMENT ON FUNCTION dataprotect._restore_counts() IS 'row trigger: takes what a dump counts in the place of what is there';
CREATE TRIGGER restore_counts BEFORE INSERT ON dataprotect.zz_restored
    FOR EACH ROW EXECUTE FUNCTION dataprotect._restore_counts();
ALTER TABLE dataprotect.zz_restored ENABLE ALWAYS TRIGGER restore_counts;
