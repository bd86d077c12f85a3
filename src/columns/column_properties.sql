-- What a column has by itself and ALTER TYPE would lose: how it is stored, what it depends on,
-- the sequence of an identity.

-- DROP EXTENSION takes along what was said to depend on it.
CREATE FUNCTION dataprotect._extension_statements(class oid, object oid, described text) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('ALTER %s DEPENDS ON EXTENSION %I', $3, e.extname)
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = $1 AND d.objid = $2 AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'x'
    ORDER BY e.extname
$$;
COMMENT ON FUNCTION dataprotect._extension_statements(oid, oid, text) IS
    'statements that make an object depend on extensions as it does now';

-- ALTER TYPE sets both back.  Encrypted types are stored EXTERNAL by default: that and
-- the base type's default stand for each other, so that nothing is lost on the way back.
CREATE FUNCTION dataprotect._storage_statements(rel regclass, cols name[]) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.statement
    FROM (SELECT m.member, m.depth, a.attnum, a.attcompression, format('ALTER TABLE ONLY %I.%I ALTER COLUMN %I SET ', n.nspname, c.relname, a.attname) AS alter,
                 b.typstorage AS base, own.typstorage AS now,
                 CASE a.attstorage WHEN own.typstorage THEN b.typstorage WHEN b.typstorage THEN own.typstorage ELSE a.attstorage END AS storage
          FROM dataprotect._columns_members($1, $2) m
              JOIN pg_attribute a ON a.attrelid = m.member AND a.attnum = m.attnum
              JOIN pg_class c ON c.oid = m.member JOIN pg_namespace n ON n.oid = c.relnamespace
              CROSS JOIN LATERAL dataprotect._column_kind(m.member, a.attname) k
              JOIN pg_type own ON own.oid = a.atttypid
              -- the type that the column gets: text is stored as varchar is, and an array as any
              CROSS JOIN LATERAL (SELECT CASE WHEN k.is_array THEN 'x' WHEN dataprotect._base_type(k.base::regtype) IS NULL THEN 'e'
                                              ELSE (SELECT t.typstorage FROM pg_type t WHERE t.oid = dataprotect._base_type(k.base::regtype)) END) b(typstorage)) x
        CROSS JOIN LATERAL (
            SELECT 1, x.alter || 'STORAGE ' || CASE x.storage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END
            WHERE x.storage <> x.base AND x.base <> 'p'
            UNION ALL
            SELECT 2, x.alter || 'COMPRESSION ' || CASE x.attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END
            WHERE x.attcompression <> '' AND x.base <> 'p') s(place, statement)
    ORDER BY x.depth, x.member, x.attnum, s.place
$$;
COMMENT ON FUNCTION dataprotect._storage_statements(regclass, name[]) IS
    'statements that store columns as they are stored now once their types have changed';

-- An identity is of an integer type: of a sealed column, the sequence goes on as that of a default.
CREATE FUNCTION dataprotect._capture_identity(rel regclass, cols name[], OUT drops text[], OUT creates text[], OUT changes text[])
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t       record;
    at      record;
BEGIN
    drops := '{}';
    creates := '{}';
    changes := '{}';
    FOR t IN
        SELECT a.attname, format('%I.%I', n.nspname, c.relname) AS relation, s.oid, format('%I.%I', sn.nspname, s.relname) AS sequence,
               q.*, s.relacl, s.relowner, s.relpersistence, x.description
        FROM pg_attribute a
            JOIN pg_class c ON c.oid = a.attrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
                AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
            JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
            JOIN pg_namespace sn ON sn.oid = s.relnamespace
            JOIN pg_sequence q ON q.seqrelid = s.oid
            LEFT JOIN pg_description x ON x.classoid = 'pg_class'::regclass AND x.objoid = s.oid AND x.objsubid = 0
        WHERE a.attrelid = rel AND a.attname = ANY (cols) AND a.attidentity <> ''
        ORDER BY a.attnum
    LOOP
        EXECUTE format('SELECT last_value, is_called FROM %s', t.sequence) INTO at;
        drops := drops || format('ALTER TABLE %s ALTER COLUMN %I DROP IDENTITY', t.relation, t.attname);
        creates := creates
            || format('CREATE %sSEQUENCE %s AS %s INCREMENT %s MINVALUE %s MAXVALUE %s START %s CACHE %s%s',
                      CASE t.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, t.sequence, t.seqtypid::regtype,
                      t.seqincrement, t.seqmin, t.seqmax, t.seqstart, t.seqcache, CASE WHEN t.seqcycle THEN ' CYCLE' ELSE '' END)
            || format('SELECT setval(%L, %s, %L)', t.sequence, at.last_value, at.is_called)
            || CASE WHEN pg_get_userbyid(t.relowner) = current_user THEN '{}'
                    ELSE ARRAY[format('ALTER SEQUENCE %s OWNER TO %I', t.sequence, pg_get_userbyid(t.relowner))] END
            || format('ALTER SEQUENCE %s OWNED BY %s.%I', t.sequence, t.relation, t.attname)
            -- an identity asks nobody for a right on its sequence
            || ARRAY(SELECT format('GRANT %s ON SEQUENCE %s TO %s', string_agg(DISTINCT g.privilege, ', '), t.sequence,
                                   CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
                     FROM (SELECT x.grantee, x.privilege_type AS privilege FROM aclexplode(t.relacl) x
                           UNION SELECT x.grantee, 'USAGE' FROM pg_class c, aclexplode(c.relacl) x WHERE c.oid = rel AND x.privilege_type = 'INSERT'
                           UNION SELECT x.grantee, 'USAGE' FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = rel AND x.privilege_type = 'INSERT') g
                     WHERE g.grantee <> t.relowner GROUP BY g.grantee ORDER BY g.grantee)
            || format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT nextval(%L::regclass)', t.relation, t.attname, t.sequence);
        IF t.description IS NOT NULL THEN
            creates := creates || format('COMMENT ON SEQUENCE %s IS %L', t.sequence, t.description);
        END IF;
        changes := changes || format('column "%s" is no identity column any more: its default takes values from sequence %s, on which whoever inserts needs USAGE', t.attname, t.sequence);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._capture_identity(regclass, name[]) IS
    'statements that make a default of an identity column''s sequence';
