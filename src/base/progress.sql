-- See progress.h.
CREATE FUNCTION dataprotect._progress(OUT pid int4, OUT command text, OUT rel oid, OUT attnum int2, OUT unit text, OUT total int8, OUT done int8,
                                      OUT started_at timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_progress_list';
COMMENT ON FUNCTION dataprotect._progress() IS 'long work that sessions in this database do now';
CREATE FUNCTION dataprotect._progress_begin(command text, rel oid, total int8) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_progress_begin_sql';
COMMENT ON FUNCTION dataprotect._progress_begin(text, oid, int8) IS 'this session begins long work; the functions that do it count';
CREATE FUNCTION dataprotect._progress_end() RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_progress_end_sql';
COMMENT ON FUNCTION dataprotect._progress_end() IS 'it is done';
CREATE FUNCTION dataprotect._progress_tell(command text, done int8, total int8, unit text) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_progress_tell_sql';
COMMENT ON FUNCTION dataprotect._progress_tell(text, int8, int8, text) IS 'notice of how far work is that is done in several transactions, where the last one is long ago';
