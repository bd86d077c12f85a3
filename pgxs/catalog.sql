-- Everything that the extension has put into a database, a line a property, by names:
-- two databases in which these lines are the same have the same extension, whatever
-- way it came there (psql -qAt -f catalog.sql).  Order of columns and OIDs aside.
SET search_path = pg_catalog, pg_temp;
SET dataprotect.catalog_types = 'encrypted';
WITH member AS MATERIALIZED (
    SELECT d.classid, d.objid, i.type || ' ' || i.identity AS name
      FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'dataprotect'
           CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) i
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
       AND (i.schema IS NULL OR i.schema !~ '^pg_t(emp|oast)')
), rel AS (
    SELECT m.name, c.* FROM member m JOIN pg_class c ON c.oid = m.objid AND m.classid = 'pg_class'::regclass
), line (name, what, value) AS (
    SELECT name, 'is there', '' FROM member
    UNION ALL
    SELECT name, 'comment', obj_description(objid, classid::regclass::text::name) FROM member
    UNION ALL
    SELECT m.name, 'privileges', (SELECT string_agg(a.grantee::text || ' ' || a.privilege || a.grantable, ', ' ORDER BY a.grantee, a.privilege)
                                    FROM (SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END AS grantee, x.privilege_type AS privilege,
                                                 CASE WHEN x.is_grantable THEN '*' ELSE '' END AS grantable
                                            FROM aclexplode(g.acl) x) a)
      FROM member m, dataprotect._grantable(m.classid, m.objid) g
    UNION ALL
    SELECT m.name, 'definition', regexp_replace(pg_get_functiondef(p.oid), '''[^'']*/dataprotect(\.so)?''', '''library''')
      FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid WHERE p.prokind <> 'a'
    UNION ALL
    SELECT m.name, 'definition', (to_jsonb(a) - 'aggfnoid')::text
      FROM member m JOIN pg_aggregate a ON m.classid = 'pg_proc'::regclass AND a.aggfnoid = m.objid
    UNION ALL
    SELECT name, 'definition', pg_get_viewdef(oid) FROM rel WHERE relkind = 'v'
    UNION ALL
    SELECT name, 'options', concat_ws(' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity, relreplident, reloptions::text) FROM rel
    UNION ALL
    SELECT r.name, 'column ' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attstorage, a.attidentity, a.attgenerated,
                                                    nullif(coalesce(a.attstattarget, -1), -1), a.attcollation::regcollation, pg_get_expr(f.adbin, f.adrelid), col_description(r.oid, a.attnum))
      FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
           LEFT JOIN pg_attrdef f ON f.adrelid = r.oid AND f.adnum = a.attnum
    UNION ALL
    SELECT r.name, 'constraint ' || k.conname, pg_get_constraintdef(k.oid) FROM rel r JOIN pg_constraint k ON k.conrelid = r.oid WHERE k.contype <> 'n'
    UNION ALL
    SELECT r.name, 'index', pg_get_indexdef(i.indexrelid) FROM rel r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL
    SELECT r.name, 'trigger ' || t.tgname, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid) FROM rel r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT r.name, 'dumped', e.extcondition[array_position(e.extconfig, r.oid)] FROM rel r JOIN pg_extension e ON e.extname = 'dataprotect' AND r.oid = ANY (e.extconfig)
    UNION ALL
    SELECT r.name, 'sequence', concat_ws(' ', s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcache, s.seqcycle) FROM rel r JOIN pg_sequence s ON s.seqrelid = r.oid
    UNION ALL
    SELECT m.name, 'type', (to_jsonb(t) - ARRAY['oid', 'typrelid', 'typarray', 'typelem', 'typnamespace', 'typowner', 'typacl', 'typcollation', 'typbasetype', 'typsubscript'])::text || t.typsubscript::regproc
      FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
    UNION ALL
    SELECT m.name, 'attribute ' || a.attname, a.attnum || ' ' || format_type(a.atttypid, a.atttypmod)
      FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c' JOIN pg_attribute a ON a.attrelid = c.oid
    UNION ALL
    SELECT m.name, 'cast', concat_ws(' ', c.castfunc::regprocedure, c.castcontext, c.castmethod) FROM member m JOIN pg_cast c ON m.classid = 'pg_cast'::regclass AND c.oid = m.objid
    UNION ALL
    SELECT m.name, 'operator', concat_ws(' ', o.oprcode::regprocedure, o.oprresult::regtype, o.oprcanmerge, o.oprcanhash, nullif(o.oprcom, 0)::regoperator,
                                         nullif(o.oprnegate, 0)::regoperator, o.oprrest, o.oprjoin)
      FROM member m JOIN pg_operator o ON m.classid = 'pg_operator'::regclass AND o.oid = m.objid
    UNION ALL
    SELECT m.name, 'class', concat_ws(' ', c.opcdefault, c.opckeytype::regtype, f.opfname)
      FROM member m JOIN pg_opclass c ON m.classid = 'pg_opclass'::regclass AND c.oid = m.objid JOIN pg_opfamily f ON f.oid = c.opcfamily
    UNION ALL
    SELECT m.name, 'member', concat_ws(' ', 'operator', a.amopstrategy, a.amoppurpose, a.amopopr::regoperator)
      FROM member m JOIN pg_amop a ON m.classid = 'pg_opfamily'::regclass AND a.amopfamily = m.objid
    UNION ALL
    SELECT m.name, 'member', concat_ws(' ', 'function', a.amprocnum, a.amproclefttype::regtype, a.amprocrighttype::regtype, a.amproc::oid::regprocedure)
      FROM member m JOIN pg_amproc a ON m.classid = 'pg_opfamily'::regclass AND a.amprocfamily = m.objid
    UNION ALL
    SELECT m.name, 'event trigger', concat_ws(' ', t.evtevent, t.evtfoid::regproc, t.evtenabled, t.evttags::text)
      FROM member m JOIN pg_event_trigger t ON m.classid = 'pg_event_trigger'::regclass AND t.oid = m.objid
)
SELECT replace(name || ': ' || what || ': ' || value, E'\n', '\n') FROM line WHERE value IS NOT NULL ORDER BY (name || ': ' || what || ': ' || value) COLLATE "C";
