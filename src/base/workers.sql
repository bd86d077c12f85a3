--
-- The background workers: shared by all databases, told by whoever asks.
--
CREATE FUNCTION dataprotect._workers(
    OUT database oid, OUT kind text, OUT state text, OUT pid int, OUT last_began timestamptz,
    OUT last_ended timestamptz, OUT failures int, OUT last_error text, OUT next_due timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dp_worker_list';
COMMENT ON FUNCTION dataprotect._workers() IS 'each kind of background work in each database that has the extension';

CREATE VIEW dataprotect.workers AS
    SELECT d.datname AS database, w.kind, w.state, w.pid, w.last_began, w.last_ended, w.failures,
           w.last_error, w.next_due
    FROM dataprotect._workers() w JOIN pg_catalog.pg_database d ON d.oid = w.database;
COMMENT ON VIEW dataprotect.workers IS 'background work in every database of the server: running, due, idle, failing or closed, how its last round ended and when the next is due';
