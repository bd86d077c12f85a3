-- @after

-- Operators between arrays of an encrypted type and plain arrays take any array at their
-- plain side.  They are changed where they are: views and rules may stand upon them.
WITH beside AS (
    SELECT o.oid AS operator, o.oprcode::oid AS function,
           CASE WHEN l.base IS NULL THEN 'anyarray'::regtype::oid ELSE o.oprleft END AS l,
           CASE WHEN r.base IS NULL THEN 'anyarray'::regtype::oid ELSE o.oprright END AS r
    FROM pg_catalog.pg_operator o
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
            AND d.refclassid = 'pg_catalog.pg_extension'::regclass
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'dataprotect'
        JOIN (SELECT t.typarray, t.oid, dataprotect._base_type(t.oid)::oid AS base FROM pg_catalog.pg_type t WHERE t.typarray <> 0) l ON l.typarray = o.oprleft
        JOIN (SELECT t.typarray, t.oid, dataprotect._base_type(t.oid)::oid AS base FROM pg_catalog.pg_type t WHERE t.typarray <> 0) r ON r.typarray = o.oprright
    WHERE l.base = r.oid OR r.base = l.oid
), functions AS (
    UPDATE pg_catalog.pg_proc p SET proargtypes = pg_catalog.format('%s %s', b.l, b.r)::oidvector FROM beside b WHERE p.oid = b.function
)
UPDATE pg_catalog.pg_operator o SET oprleft = b.l, oprright = b.r FROM beside b WHERE o.oid = b.operator;

-- Types that others become had no such operators.
SELECT dataprotect._create_array_overloads(pg_catalog.format('pg_catalog.%I', t.typname), dataprotect._base_type(t.oid))
    FROM pg_catalog.pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND dataprotect._base_type(t.oid) IS NOT NULL ORDER BY t.oid;
