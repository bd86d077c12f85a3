-- Rules about what the extension puts into a live database.  Run by
-- lint_catalog.sh in a database that has the extension; dp_lint_undumped holds
-- pgxs/lint_undumped.txt.  One row a finding: rule, object, what is wrong.

CREATE TEMP TABLE dp_lint_member AS
SELECT d.classid, d.objid,
       pg_catalog.pg_describe_object(d.classid, d.objid, 0) AS description
  FROM pg_catalog.pg_depend d
  JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
 WHERE d.refclassid = 'pg_catalog.pg_extension'::regclass
   AND d.deptype = 'e' AND e.extname = 'dataprotect';

-- Functions that belong to a type, a cast, an operator or an index class:
-- whoever may use the type needs them, and they check access themselves.
CREATE TEMP TABLE dp_lint_plumbing AS
SELECT oid FROM (
        SELECT pg_catalog.unnest(ARRAY[typinput, typoutput, typreceive, typsend,
                                       typmodin, typmodout, typanalyze, typsubscript])
          FROM pg_catalog.pg_type
  UNION SELECT castfunc FROM pg_catalog.pg_cast
  UNION SELECT pg_catalog.unnest(ARRAY[oprcode, oprrest, oprjoin]) FROM pg_catalog.pg_operator
  UNION SELECT amproc FROM pg_catalog.pg_amproc
  UNION SELECT pg_catalog.unnest(ARRAY[aggfnoid, aggtransfn, aggfinalfn, aggcombinefn,
                                       aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn])
          FROM pg_catalog.pg_aggregate
       ) AS used (oid)
 WHERE oid::oid <> 0;

-- Encrypted types of this extension, made by the installation.
CREATE TEMP TABLE dp_lint_type AS
SELECT t.oid, t.typname
  FROM pg_catalog.pg_type t
  JOIN dp_lint_member m ON m.classid = 'pg_catalog.pg_type'::regclass AND m.objid = t.oid
 WHERE t.typtype = 'b' AND t.typcategory <> 'A';

CREATE TEMP TABLE dp_lint_finding (rule text, object text, problem text);

INSERT INTO dp_lint_finding
SELECT 'installed', 'extension dataprotect', 'has no member objects'
 WHERE NOT EXISTS (SELECT FROM dp_lint_member);

-- privileges: who may read a view may call what it calls.
INSERT INTO dp_lint_finding
SELECT DISTINCT 'privileges', m.description, format('is read by %s, who may not call %s', CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, d.refobjid::regprocedure)
  FROM dp_lint_member m
  JOIN pg_catalog.pg_class v ON v.oid = m.objid AND v.relkind = 'v'
  JOIN pg_catalog.pg_rewrite r ON r.ev_class = v.oid
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_catalog.pg_proc'::regclass
 CROSS JOIN LATERAL pg_catalog.aclexplode(v.relacl) g
 WHERE m.classid = 'pg_catalog.pg_class'::regclass AND g.privilege_type = 'SELECT'
   AND (dataprotect._is_closed(d.refobjid) OR NOT CASE g.grantee WHEN 0 THEN pg_catalog.has_function_privilege('public', d.refobjid, 'EXECUTE')
                    ELSE pg_catalog.has_function_privilege(g.grantee, d.refobjid, 'EXECUTE') END);

-- comment: what a DBA meets in \df+ or \d+ says what it is for.
INSERT INTO dp_lint_finding
SELECT 'comment', m.description, 'has no COMMENT'
  FROM dp_lint_member m
 WHERE (m.classid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_namespace'::regclass,
                      'pg_catalog.pg_event_trigger'::regclass)
        OR m.classid = 'pg_catalog.pg_class'::regclass
           AND EXISTS (SELECT FROM pg_catalog.pg_class c
                        WHERE c.oid = m.objid AND c.relkind IN ('r', 'p', 'v', 'm', 'f'))
        OR m.classid = 'pg_catalog.pg_type'::regclass
           AND EXISTS (SELECT FROM pg_catalog.pg_type t
                        WHERE t.oid = m.objid AND t.typcategory <> 'A'
                          AND (t.typrelid = 0
                               OR EXISTS (SELECT FROM pg_catalog.pg_class c
                                           WHERE c.oid = t.typrelid AND c.relkind = 'c'))))
   AND pg_catalog.obj_description(m.objid, m.classid::regclass::text::name) IS NULL;

INSERT INTO dp_lint_finding
SELECT 'comment', 'role ' || name, CASE WHEN r.oid IS NULL THEN 'does not exist' ELSE 'has no COMMENT' END
  FROM (VALUES ('dataprotect_admin'), ('dataprotect_auditor')) AS wanted (name)
  LEFT JOIN pg_catalog.pg_roles r ON r.rolname = wanted.name
 WHERE pg_catalog.shobj_description(r.oid, 'pg_authid') IS NULL;

-- privileges: on everything that the extension made, then or later, exactly what
-- dataprotect._privileges() says, and what encrypted types need.
CREATE TEMP TABLE dp_lint_object AS
SELECT classid AS class, objid AS object FROM dp_lint_member
 UNION
SELECT 'pg_catalog.pg_class'::regclass, oid FROM pg_catalog.pg_class
 WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'dataprotect')
 UNION
SELECT 'pg_catalog.pg_proc'::regclass, oid FROM pg_catalog.pg_proc
 WHERE pronamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'dataprotect')
    OR probin = dataprotect._library()
 UNION
SELECT 'pg_catalog.pg_type'::regclass, oid FROM pg_catalog.pg_type
 WHERE dataprotect._base_type(oid) IS NOT NULL;

CREATE TEMP TABLE dp_lint_wanted AS
SELECT CASE l.kind WHEN 'SCHEMA' THEN 'pg_catalog.pg_namespace'::regclass
                   WHEN 'ROUTINE' THEN 'pg_catalog.pg_proc'::regclass
                   ELSE 'pg_catalog.pg_class'::regclass END::oid AS class,
       CASE l.kind WHEN 'SCHEMA' THEN pg_catalog.to_regnamespace(l.name)::oid
                   WHEN 'ROUTINE' THEN CASE WHEN l.name LIKE '%(%' THEN pg_catalog.to_regprocedure(l.name)::oid ELSE pg_catalog.to_regproc(l.name)::oid END
                   ELSE pg_catalog.to_regclass(l.name)::oid END AS object,
       grantee, l.name,
       CASE l.kind WHEN 'SCHEMA' THEN 'USAGE' WHEN 'ROUTINE' THEN 'EXECUTE' ELSE 'SELECT' END AS privilege
  FROM dataprotect._privileges() l, pg_catalog.regexp_split_to_table(l.grantees, ', ') AS grantee
 UNION ALL
SELECT class, object, 'PUBLIC', object::regtype::text, 'USAGE' FROM dp_lint_object
 WHERE class = 'pg_catalog.pg_type'::regclass AND dataprotect._base_type(object) IS NOT NULL
 UNION
SELECT 'pg_catalog.pg_proc'::regclass, routine::oid, 'PUBLIC', routine::text, 'EXECUTE'
  FROM dp_lint_object, dataprotect._type_routines(object) AS routine
 WHERE class = 'pg_catalog.pg_type'::regclass AND dataprotect._base_type(object) IS NOT NULL;

CREATE TEMP TABLE dp_lint_actual AS
SELECT o.class, o.object, g.kind || ' ' || g.name AS name, a.privilege_type AS privilege, a.is_grantable,
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee
  FROM dp_lint_object o, dataprotect._grantable(o.class, o.object) g, pg_catalog.aclexplode(g.acl) a
 WHERE a.grantee <> g.owner;

INSERT INTO dp_lint_finding
SELECT 'privileges', a.name, a.privilege || ' is granted to ' || a.grantee || CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END
  FROM dp_lint_actual a
 WHERE a.is_grantable
    OR NOT EXISTS (SELECT FROM dp_lint_wanted w
                    WHERE (w.class, w.object, w.grantee, w.privilege) = (a.class, a.object, a.grantee, a.privilege));

INSERT INTO dp_lint_finding
SELECT 'privileges', w.name, w.privilege || ' is not granted to ' || w.grantee
  FROM dp_lint_wanted w
 WHERE NOT EXISTS (SELECT FROM dp_lint_actual a
                    WHERE (w.class, w.object, w.grantee, w.privilege) = (a.class, a.object, a.grantee, a.privilege));

-- ... and what is meant for somebody is said there: a name without "_" in front.
INSERT INTO dp_lint_finding
SELECT 'privileges', public.kind || ' dataprotect.' || public.name, 'stands in no line of dataprotect._privileges()'
  FROM (SELECT 'ROUTINE', p.oid, p.proname FROM pg_catalog.pg_proc p
          JOIN dp_lint_object o ON o.class = 'pg_catalog.pg_proc'::regclass AND o.object = p.oid
         WHERE p.pronamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'dataprotect')
           AND p.prorettype NOT IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
         UNION ALL
        SELECT 'TABLE', c.oid, c.relname FROM pg_catalog.pg_class c
          JOIN dp_lint_object o ON o.class = 'pg_catalog.pg_class'::regclass AND o.object = c.oid
         WHERE c.relkind = 'v') AS public (kind, oid, name)
 WHERE public.name !~ '^_'
   AND NOT EXISTS (SELECT FROM dp_lint_wanted w WHERE w.object = public.oid);

-- ... and what is for internal use is called by nobody else, whatever its privileges
-- say; but for these, each with its reason in src/keys/own_function.c.
INSERT INTO dp_lint_finding
SELECT DISTINCT 'privileges', a.name, 'is for internal use, and open to ' || a.grantee
  FROM dp_lint_actual a
  JOIN pg_catalog.pg_proc p ON a.class = 'pg_catalog.pg_proc'::regclass AND p.oid = a.object
 WHERE p.proname ~ '^_' AND a.privilege = 'EXECUTE' AND NOT dataprotect._is_closed(p.oid::regprocedure)
   AND p.pronamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'dataprotect')
   AND p.oid NOT IN (SELECT oid FROM dp_lint_plumbing)
   AND p.proname NOT IN ('_array', '_fetch', '_for_client', '_kept_value', '_own_sql', '_own_ts_stat', '_raise', '_row_shown', '_sealed_for', '_seen_by', '_catalog_length', '_catalog_modifier', '_catalog_type',
                         '_as_date', '_as_float4', '_as_int2', '_as_int4', '_as_timestamp',
                         '_audit_line', '_audit_may_read', '_audit_unseal', '_known_keys', '_names_subject', '_base_type', '_clock_status', '_column_now', '_digest_line',
                         '_encrypted_parts', '_event_name', '_function_digest',
                         '_kms_status', '_modifier_parts', '_now', '_progress', '_retention_backlog', '_workers');

-- search-path: nobody's schema comes between a function and pg_catalog.  A
-- procedure that commits cannot carry a SET clause; it sets the path itself.
INSERT INTO dp_lint_finding
SELECT 'search-path', m.description,
       CASE WHEN p.prosecdef THEN 'is SECURITY DEFINER' ELSE 'is PL/pgSQL' END
       || ' without SET search_path = pg_catalog, pg_temp'
  FROM dp_lint_member m
  JOIN pg_catalog.pg_proc p ON m.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = m.objid
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE (p.prosecdef OR l.lanname = 'plpgsql')
   AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) AS setting
                    WHERE setting ~ '^search_path=pg_catalog, *(dataprotect, *)?"?pg_temp"?$')
   AND NOT (p.prokind = 'p' AND NOT p.prosecdef AND p.prosrc ~* '\mCOMMIT\M'
            AND p.prosrc ~* 'set_config\(\s*''search_path''\s*,\s*''pg_catalog, *pg_temp''');

-- volatility: IMMUTABLE would put plaintext into expression indexes, generated
-- columns and cached plans.
INSERT INTO dp_lint_finding
SELECT 'volatility', m.description, 'is IMMUTABLE and handles an encrypted type'
  FROM dp_lint_member m
  JOIN pg_catalog.pg_proc p ON m.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = m.objid
 WHERE p.provolatile = 'i' AND p.prokind <> 'a' -- all aggregates are, and are never folded
   AND p.oid <> ALL (ARRAY(SELECT b.oid FROM pg_catalog.pg_proc b WHERE b.proname IN ('blind', 'not_empty') AND b.pronamespace = 'dataprotect'::regnamespace)) -- gives what is sealed
   AND p.prosrc NOT IN ('dp_derive', 'dp_derive_seal', 'dp_derivation_in', 'dp_derivation_out') -- likewise
   AND (p.prorettype IN (SELECT oid FROM dp_lint_type)
        OR EXISTS (SELECT FROM pg_catalog.unnest(p.proargtypes) AS argument
                    WHERE argument IN (SELECT oid FROM dp_lint_type)));

-- statistics: ANALYZE copies no secret of ours into pg_statistic, where it would
-- outlive its row.
INSERT INTO dp_lint_finding
SELECT 'statistics', c.oid::regclass || '.' || a.attname, 'ANALYZE copies its values (dataprotect._keep_no_statistics)'
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'dataprotect'::regnamespace AND c.relkind IN ('r', 'p', 'm')
   AND (a.atttypid IN ('pg_catalog.bytea'::regtype, 'pg_catalog.bytea[]'::regtype)
        OR a.attname IN ('subject', 'account_id'))
   AND a.attstattarget IS DISTINCT FROM 0;

-- sealed: rows that decide something carry a seal; a table without says here why not.
CREATE TEMP TABLE dp_lint_unsealed (name, reason) AS VALUES
    ('access_use', 'made of the audit log, for people'),
    ('access_use_head', 'likewise'),
    ('access_use_open', 'likewise'),
    ('alert', 'what was told already'),
    ('audit_archive', 'signed with the key of the chain'),
    ('audit_cursor', 'where the collector is; the chain authenticates the records'),
    ('audit_digest', 'signed'),
    ('audit_head', 'the chain authenticates it'),
    ('audit_link', 'signed with the keys of the chain that it links'),
    ('audit_prepared', 'transactions that have not ended; the chain authenticates their ends'),
    ('audit_open', 'records that are not complete yet; the chain authenticates them after'),
    ('audit_batch', 'the chain authenticates it'),
    ('audit_record', 'has no rows'),
    ('clock_record', 'a floor under the machine''s clock: lowered, it is that clock alone, which whoever may set it owns'),
    ('modifier_secret', 'before the first key, when no policy key is there; afterwards not read'),
    ('policy_journal', 'each note has a code of its own'),
    ('reencrypt_state', 'how far a run has come; values and rights are looked at anew'),
    ('put_off', 'statements that a superuser gives to superusers, in a database without keys'),
    ('restored_row', 'rows on their way, with the seals that they came with'),
    ('zz_restored', 'when they arrive: there are no keys before'),
    ('spare_key', 'keys that no account has: who takes one away wastes it'),
    ('epoch_drill', 'when a drill succeeded, for alerts'),
    ('sink_state', 'how far a sink has come'),
    ('deadline_alert', 'what was told already'),
    ('kms_alert', 'what was told already'),
    ('drill_alert', 'what was told already'),
    ('grant_use', 'what was told already'),
    ('incident', 'for people; each act is an event'),
    ('incident_note', 'likewise'),
    ('erasure_alert', 'what was told already'),
    ('erasure_list', 'against restores, not forgers: who writes it can hide that a restored database is behind (README, Not yet)'),
    ('retention_run', 'how far runs came; what is due is chosen anew'),
    ('deletion_row', 'the rows that the plan found; each batch looks at them anew, under the sealed plan'),
    ('deletion_work', 'likewise'),
    ('deletion_scrub', 'which relations are rewritten already; the verification looks at all'),
    ('hidden_row', 'which rows queries leave out: who writes it hides rows of tables that he owns anyway, or shows what was not erased yet'),
    ('hidden_table', 'likewise'),
    ('correction_request', 'for people');
INSERT INTO dp_lint_finding
SELECT 'sealed', 'dataprotect.' || c.relname, 'has neither a seal nor a reason in lint_catalog.sql why its rows decide nothing'
  FROM pg_catalog.pg_class c
 WHERE c.relnamespace = 'dataprotect'::regnamespace AND c.relkind = 'r'
   AND c.relname NOT IN (SELECT tbl FROM dataprotect._sealed_tables())
   AND c.relname NOT IN (SELECT name FROM dp_lint_unsealed);
INSERT INTO dp_lint_finding
SELECT 'sealed', 'dataprotect.' || u.name, 'is said to have no seal in lint_catalog.sql, and has one or does not exist'
  FROM dp_lint_unsealed u
 WHERE pg_catalog.to_regclass('dataprotect.' || u.name) IS NULL OR u.name IN (SELECT tbl FROM dataprotect._sealed_tables());

-- events: what a public function changes is in the log, or it stands here why not.
-- Bodies in SQL are followed by the names in them, C by definer.c's naming.
CREATE TEMP TABLE dp_lint_no_event (name, reason) AS VALUES
    ('authenticate', 'C writes identity.authenticated, identity.refused'),
    ('certificate_public_pem', 'shows a public key'),
    ('dataprotect_version', 'shows'),
    ('deletion_certificate', 'shows what was signed'),
    ('digest_kms_public_pem', 'shows a public key'),
    ('digest_public_pem', 'likewise'),
    ('flush_audit_log', 'waits'),
    ('run_deletions', 'what is due: each step is an event'),
    ('run_retention', 'what is due: each run is an event'),
    ('signing_keys', 'shows public keys'),
    ('start_maintenance', 'asks for what is due, every minute where a schedule says so; each run is an event'),
    ('take_standby_log', 'records of the log themselves'),
    ('verify', 'shows no value'),
    ('verify_audit_log', 'shows'),
    ('verify_policy', 'shows');
WITH RECURSIVE routine AS (
    SELECT p.oid, p.proname::text COLLATE "default" AS name, p.prosrc, l.lanname FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
     WHERE p.pronamespace = 'dataprotect'::regnamespace),
calls AS (
    SELECT DISTINCT r.name AS caller, found[1] AS callee
      FROM routine r, pg_catalog.regexp_matches(r.prosrc, 'dataprotect\.([a-z_0-9]+)', 'g') AS found WHERE r.lanname IN ('sql', 'plpgsql')
    UNION
    SELECT r.name, part.name FROM routine r JOIN routine part ON part.name IN ('_do_' || r.name, '_log_' || r.name)),
telling (name) AS (
    SELECT '_event' UNION SELECT c.caller FROM telling t JOIN calls c ON c.callee = t.name),
changing AS (
    SELECT DISTINCT p.proname::text COLLATE "default" AS name FROM dp_lint_member m
      JOIN pg_catalog.pg_proc p ON m.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = m.objid
     WHERE p.pronamespace = 'dataprotect'::regnamespace AND p.provolatile = 'v' AND p.proname !~ '^_' AND p.oid NOT IN (SELECT oid FROM dp_lint_plumbing)
       AND p.prorettype NOT IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype))
INSERT INTO dp_lint_finding
SELECT 'events', 'dataprotect.' || name, 'writes no event, and lint_catalog.sql has no reason'
  FROM changing WHERE name NOT IN (SELECT name FROM telling) AND name NOT IN (SELECT name FROM dp_lint_no_event)
 UNION ALL
SELECT 'events', 'dataprotect.' || name, 'is said to write no event in lint_catalog.sql, and writes one or does not exist'
  FROM dp_lint_no_event WHERE name IN (SELECT name FROM telling) OR name NOT IN (SELECT name FROM changing);

-- dump: a table whose rows pg_dump would leave behind is named to it, or in
-- lint_undumped.txt as one that is made anew.
INSERT INTO dp_lint_finding
SELECT 'dump', m.description, 'its rows are not dumped (pg_extension_config_dump)'
  FROM dp_lint_member m
  JOIN pg_catalog.pg_class c ON m.classid = 'pg_catalog.pg_class'::regclass AND c.oid = m.objid
 WHERE c.relkind IN ('r', 'S')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension e
                    WHERE e.extname = 'dataprotect' AND c.oid = ANY (e.extconfig))
   AND NOT EXISTS (SELECT FROM dp_lint_undumped u
                    WHERE u.name = c.relnamespace::regnamespace::text || '.' || c.relname);

INSERT INTO dp_lint_finding
SELECT 'dump', u.name, 'stands in lint_undumped.txt and does not exist'
  FROM dp_lint_undumped u WHERE pg_catalog.to_regclass(u.name) IS NULL;

-- documented: every public function, procedure and view stands in README.md or doc/.
INSERT INTO dp_lint_finding
SELECT DISTINCT 'documented', 'dataprotect.' || name, 'is not in README.md'
  FROM (SELECT p.proname FROM pg_catalog.pg_proc p
          JOIN dp_lint_member m ON m.classid = 'pg_catalog.pg_proc'::regclass AND p.oid = m.objid
         WHERE p.pronamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'dataprotect')
           AND p.oid NOT IN (SELECT oid FROM dp_lint_plumbing)
           AND p.prorettype NOT IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
         UNION
        SELECT c.relname FROM pg_catalog.pg_class c
          JOIN dp_lint_member m ON m.classid = 'pg_catalog.pg_class'::regclass AND c.oid = m.objid
         WHERE c.relkind = 'v') AS public (name)
 WHERE name !~ '^_'
   AND NOT EXISTS (SELECT FROM dp_lint_readme r WHERE r.line ~ ('\m' || name || '\M'));

-- ... and the tables of functions there name none that does not exist.
INSERT INTO dp_lint_finding
SELECT 'documented', 'dataprotect.' || name, 'stands in README.md and does not exist'
  FROM (SELECT DISTINCT found[1] AS name
          FROM dp_lint_readme r, pg_catalog.regexp_matches(r.line, '`([a-z_]+)\(', 'g') AS found
         WHERE r.line ~ '^\| `'
           AND r.number > (SELECT min(number) FROM dp_lint_readme WHERE line LIKE '%# Functions and%')
           AND r.number < (SELECT min(number) FROM dp_lint_readme WHERE line LIKE '%# Views%')) AS documented
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_proc p
                    WHERE p.proname = documented.name
                      AND p.pronamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'dataprotect'));

SELECT rule, object, problem FROM dp_lint_finding ORDER BY rule, object, problem;
