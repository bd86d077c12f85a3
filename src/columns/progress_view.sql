--
-- How far long work is.  What one backend does at a time is in its own slot
-- (base/progress.h); what goes on from transaction to transaction is in tables.
--
CREATE VIEW dataprotect.progress AS
    SELECT p.pid, p.command, p.rel::pg_catalog.regclass AS rel, a.attname AS col, 'running' AS step, p.unit, p.total, p.done,
           CASE WHEN p.total > 0 THEN round(100.0 * least(p.done, p.total) / p.total, 1) END AS percent, p.started_at
    FROM dataprotect._progress() p
        LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = p.rel AND a.attnum = p.attnum
    UNION ALL
    SELECT NULL, 'reencrypt', r.rel, r.col,
           CASE WHEN r.problem IS NOT NULL THEN 'waiting after ' || r.problem WHEN r.background THEN 'background' ELSE 'running' END,
           'blocks', r.blocks, r.blocks_done,
           CASE WHEN r.blocks > 0 THEN round(100.0 * least(r.blocks_done, r.blocks) / r.blocks, 1) END, r.started_at
    FROM dataprotect.reencrypt_progress r WHERE r.ended_at IS NULL
    UNION ALL
    SELECT NULL, 'encrypt_columns', o.rel, o.col, o.step, NULL, NULL, NULL, NULL, NULL
    FROM dataprotect.online_progress o;
COMMENT ON VIEW dataprotect.progress IS
    'long work of this database that is going on: encrypt_column, verify and drill of sessions (pid), reencrypt, and protecting online, which go on from transaction to transaction; total is an estimate for values; the building of indexes is in pg_stat_progress_create_index';
