-- doc/catalog.md, of the catalogs of a database that has the extension and nothing else
-- of its kind: what DBAs find in \df+, \d+ and pg_settings, on one page (make reference).
SET search_path = pg_catalog, pg_temp;
SET dataprotect.catalog_types = 'encrypted';

CREATE FUNCTION pg_temp.cell(t text) RETURNS text LANGUAGE sql AS $$ SELECT replace(coalesce(regexp_replace(t, '\s+', ' ', 'g'), ''), '|', '\|') $$;
CREATE FUNCTION pg_temp.code(t text) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN t <> '' THEN '`' || pg_temp.cell(t) || '`' ELSE '' END $$;
CREATE FUNCTION pg_temp.whom(acl aclitem[], privilege text, owner oid) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(CASE a.grantee WHEN 0 THEN 'everybody' ELSE a.grantee::regrole::text END, ', ' ORDER BY a.grantee::regrole::text), 'superusers')
      FROM aclexplode(acl) a WHERE a.privilege_type = privilege AND a.grantee <> owner
$$;

CREATE TEMP VIEW page AS
WITH member AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'dataprotect'
     WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), routine AS (
    SELECT p.oid, p.proname, p.prokind, p.proretset, p.prorettype, p.proowner, p.proacl,
           (SELECT string_agg(concat_ws(' ', i.name, format_type(i.typ, NULL)) || coalesce(' = ' || regexp_replace(pg_get_function_arg_default(p.oid, i.nth::int), '::[a-z ]+(\[\])?$', ''), ''), ', ' ORDER BY i.nth)
              FROM (SELECT a.name, a.typ, row_number() OVER (ORDER BY a.n) AS nth
                      FROM ROWS FROM (unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])), unnest(p.proargmodes), unnest(p.proargnames)) WITH ORDINALITY a (typ, mode, name, n)
                     WHERE coalesce(a.mode, 'i') IN ('i', 'b', 'v')) i) AS takes,
           (SELECT string_agg(a.name || ' ' || format_type(a.typ, NULL), ', ' ORDER BY a.n)
              FROM ROWS FROM (unnest(p.proallargtypes), unnest(p.proargmodes), unnest(p.proargnames)) WITH ORDINALITY a (typ, mode, name, n)
             WHERE a.mode IN ('o', 'b', 't')) AS gives
      FROM member m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
     WHERE p.pronamespace = 'dataprotect'::regnamespace AND p.proname !~ '^_' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
), visible AS (
    SELECT c.oid, c.relname, c.relowner, c.relacl FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
     WHERE c.relkind = 'v' AND c.relname !~ '^_'
)
SELECT 1 AS part, '' AS name, 0 AS n, $md$# Catalog

Made by `make reference` of the comments in the catalogs; [the reference](reference.md) has the same by topic, and
[troubleshooting](troubleshooting.md) the errors. Functions and views are in schema `dataprotect`, types in `pg_catalog`.

## Functions and procedures

| call | gives | what it does | for |
|---|---|---|---|$md$ AS line
UNION ALL
SELECT 2, r.proname || coalesce(r.takes, ''), 0,
       format('| %s | %s | %s | %s |', pg_temp.code(CASE r.prokind WHEN 'p' THEN 'CALL ' ELSE '' END || r.proname || '(' || coalesce(r.takes, '') || ')'),
              CASE WHEN r.prokind = 'p' OR r.prorettype = 'void'::regtype THEN ''
                   ELSE CASE WHEN r.proretset THEN 'rows: ' ELSE '' END || pg_temp.code(coalesce(r.gives, format_type(r.prorettype, NULL))) END,
              pg_temp.cell(obj_description(r.oid, 'pg_proc')), pg_temp.whom(coalesce(r.proacl, acldefault('f', r.proowner)), 'EXECUTE', r.proowner))
  FROM routine r
UNION ALL
SELECT 3, '', 0, E'\n## Views'
UNION ALL
SELECT 4, v.relname, 0, format(E'\n### %s\n\n%s. For %s.\n\n| column | type | |\n|---|---|---|', v.relname, pg_temp.cell(obj_description(v.oid, 'pg_class')),
                               pg_temp.whom(coalesce(v.relacl, acldefault('r', v.relowner)), 'SELECT', v.relowner))
  FROM visible v
UNION ALL
SELECT 4, v.relname, a.attnum, format('| %s | %s | %s |', pg_temp.code(a.attname), pg_temp.code(format_type(a.atttypid, a.atttypmod)), pg_temp.cell(col_description(v.oid, a.attnum)))
  FROM visible v JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 5, '', 0, E'\n## Types\n\n| type | over | |\n|---|---|---|'
UNION ALL
SELECT 6, t.typname, 0, format('| %s | %s | %s |', pg_temp.code(t.typname), pg_temp.code(format_type(dataprotect._base_type(t.oid), NULL)),
                               pg_temp.cell(obj_description(t.oid, 'pg_type')))
  FROM member m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
 WHERE dataprotect._base_type(t.oid) IS NOT NULL
UNION ALL
SELECT 7, '', 0, E'\n## Settings\n\nWho may change one, and when it takes effect: `user`, `superuser` (any session), `sighup` (reload), `postmaster` (restart).\n\n| setting | default | may be | by | |\n|---|---|---|---|---|'
UNION ALL
SELECT 8, s.name, 0, format('| %s | %s | %s | %s | %s |', pg_temp.code(s.name), pg_temp.code(nullif(s.boot_val || coalesce(' ' || s.unit, ''), '')),
                            CASE WHEN s.enumvals IS NOT NULL THEN pg_temp.code(array_to_string(s.enumvals, ', ')) WHEN s.vartype IN ('integer', 'real') THEN s.min_val || ' to ' || s.max_val
                                 WHEN s.vartype = 'bool' THEN 'on, off' ELSE 'text' END, s.context, pg_temp.cell(concat_ws(' ', s.short_desc, s.extra_desc)))
  FROM pg_settings s WHERE s.name LIKE 'dataprotect.%'
UNION ALL
SELECT 9, '', 0, E'\n## Events\n\nWhat `audit_log.event` may be:\n'
UNION ALL
SELECT 10, e.name, 0, '- ' || pg_temp.code(e.name) FROM generate_series(1, 1000) n, dataprotect._event_name(n::int2) e (name) WHERE e.name ~ '^[a-z_]+\.[a-z_]+$';
SELECT line FROM page ORDER BY part, name COLLATE "C", n;
