--
-- Who may use what is said in one place, privileges.sql at the end of the
-- installation.  Whatever gave a privilege before (PUBLIC's by default, ALTER
-- DEFAULT PRIVILEGES) is taken away here, for objects of the installation and
-- for those that functions of ours make later.
--

-- An object as GRANT and REVOKE name it; privileges on columns count as the
-- table's.  Without a search path of its own, so that it is planned once with its
-- caller's query.
CREATE FUNCTION dataprotect._grantable(class oid, object oid, OUT kind text, OUT name text, OUT owner oid, OUT acl aclitem[])
    RETURNS SETOF record LANGUAGE sql STABLE AS $$
    SELECT 'SCHEMA', pg_catalog.quote_ident(n.nspname), n.nspowner, coalesce(n.nspacl, pg_catalog.acldefault('n', n.nspowner))
        FROM pg_catalog.pg_namespace n WHERE n.oid = $2 AND $1 = 'pg_catalog.pg_namespace'::pg_catalog.regclass
    UNION ALL
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::pg_catalog.regclass::text, c.relowner,
           coalesce(c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
           || ARRAY(SELECT pg_catalog.unnest(a.attacl) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid)
        FROM pg_catalog.pg_class c WHERE c.oid = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND $1 = 'pg_catalog.pg_class'::pg_catalog.regclass
    UNION ALL
    SELECT 'ROUTINE', p.oid::pg_catalog.regprocedure::text, p.proowner, coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
        FROM pg_catalog.pg_proc p WHERE p.oid = $2 AND $1 = 'pg_catalog.pg_proc'::pg_catalog.regclass
    UNION ALL
    SELECT 'TYPE', t.oid::pg_catalog.regtype::text, t.typowner, coalesce(t.typacl, pg_catalog.acldefault('T', t.typowner))
        FROM pg_catalog.pg_type t WHERE t.oid = $2 AND $1 = 'pg_catalog.pg_type'::pg_catalog.regclass
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid) -- its element's count
$$;
COMMENT ON FUNCTION dataprotect._grantable(oid, oid) IS 'kind, name, owner and privileges of an object that has privileges';

CREATE FUNCTION dataprotect._close(class oid, object oid) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        SELECT DISTINCT g.kind, g.name, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
            FROM dataprotect._grantable(class, object) g, aclexplode(g.acl) a WHERE a.grantee <> g.owner
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s CASCADE', r.kind, r.name, r.grantee);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._close(oid, oid) IS 'takes every privilege on an object from everybody but its owner';
