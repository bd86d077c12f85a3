-- Who saw a person's values: the statements of the audit log that opened values under
-- the keys of one account (audit/subjects.h).  A key's id is the account's pseudonym;
-- deletion requests keep it when the account is gone.

CREATE VIEW dataprotect.account_keys AS
    SELECT s.account_type, s.subject AS account_id, s.key_id, 'key:' || lpad(to_hex(s.key_id), 16, '0') AS pseudonym
      FROM dataprotect.subject_key s
    UNION
    SELECT r.account_type, r.account_id, k.key_id, 'key:' || lpad(to_hex(k.key_id), 16, '0')
      FROM dataprotect.deletion_request r CROSS JOIN LATERAL unnest(r.key_ids) k (key_id);
COMMENT ON VIEW dataprotect.account_keys IS 'the keys of accounts, erased ones included, and the pseudonyms by which the audit log names them';

CREATE VIEW dataprotect.audit_subjects WITH (security_barrier) AS
    SELECT i.seq, i.at, s.at AS written_at, p.detail -> 'ids' AS ids, decode(p.detail ->> 'filter', 'hex') AS filter, s.sealed
      FROM dataprotect.audit_record s
           CROSS JOIN LATERAL dataprotect._audit_unseal(s.sealed) p
           CROSS JOIN LATERAL (SELECT x.seq, x.at FROM dataprotect.audit_record x
                                WHERE x.instance = s.instance AND x.ring_seq = (p.detail ->> 'statement')::bigint AND x.kind = 'i' AND x.seq < s.seq
                                ORDER BY x.seq DESC LIMIT 1) i
     WHERE s.kind = 'e' AND s.event = 4;
COMMENT ON VIEW dataprotect.audit_subjects IS
    'whose values the statements of audit_log have opened: key ids, or, where they are many, a filter of 2048 bits that may name too many';

CREATE VIEW dataprotect.audit_unfinished WITH (security_barrier) AS
    SELECT i.seq, i.at, i.at AS written_at FROM dataprotect.audit_record i
     WHERE i.kind = 'i' AND i.event = 1 AND i.outcome = 'l'
     UNION ALL
    SELECT i.seq, i.at, r.at FROM dataprotect.audit_record r
           CROSS JOIN LATERAL (SELECT x.seq, x.at FROM dataprotect.audit_record x
                                WHERE x.instance = r.instance AND x.ring_seq = r.ref_seq AND x.kind = 'i' AND x.seq < r.seq
                                ORDER BY x.seq DESC LIMIT 1) i
     WHERE r.kind = 'r' AND r.outcome = 'l'
     UNION ALL
    SELECT i.seq, i.at, 'infinity' FROM dataprotect.audit_open o
           CROSS JOIN LATERAL (SELECT x.seq, x.at FROM dataprotect.audit_record x
                                WHERE x.instance = o.instance AND x.ring_seq = o.ring_seq AND x.kind = 'i' ORDER BY x.seq LIMIT 1) i
     WHERE o.kind = 'i';
COMMENT ON VIEW dataprotect.audit_unfinished IS
    'statements of audit_log that a crash has cut off, or that still run: whose values they have opened is not known';

CREATE FUNCTION dataprotect.disclosures(account_type text, id text, from_time timestamptz = NULL, to_time timestamptz = NULL,
        OUT at timestamptz, OUT session_role text, OUT actor text, OUT columns text[], OUT values_opened bigint, OUT purpose text, OUT grant_id bigint,
        OUT role text, OUT client text, OUT outcome text, OUT exact bool, OUT seq bigint) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH k AS MATERIALIZED (SELECT array_agg(a.key_id) AS ids FROM dataprotect.account_keys a
                             WHERE a.account_type = $1 AND (a.account_id = $2 OR a.pseudonym = $2)),
         seen AS MATERIALIZED (
            SELECT s.seq, bool_or(s.ids IS NOT NULL) AS exact FROM dataprotect.audit_subjects s
             WHERE dataprotect._names_subject(s.sealed, (SELECT k.ids FROM k))
               AND s.at >= coalesce($3, '-infinity') AND s.at <= coalesce($4, 'infinity') AND s.written_at >= coalesce($3, '-infinity')
             GROUP BY s.seq),
         unfinished AS MATERIALIZED (
            SELECT DISTINCT u.seq FROM dataprotect.audit_unfinished u
             WHERE u.at >= coalesce($3, '-infinity') AND u.at <= coalesce($4, 'infinity') AND u.written_at >= coalesce($3, '-infinity'))
    SELECT l.at, l.session_role, l.actor, l.columns, l.values_opened, l.purpose,
           (SELECT g.id FROM dataprotect.grants g
             WHERE g.key::text = ANY (l.keys) AND g.granted_at <= l.at AND (g.revoked_at IS NULL OR g.revoked_at > l.at)
               AND (g.valid_until IS NULL OR g.valid_until > l.at) AND (g.purpose IS NULL OR g.purpose = l.purpose)
               AND EXISTS (SELECT FROM pg_roles r, pg_roles m WHERE m.rolname = l.role AND r.oid = to_regrole(g.grantee) AND (r.oid = m.oid OR pg_has_role(m.oid, r.oid, 'USAGE')))
             ORDER BY array_position(ARRAY['reveal', 'search', 'mask'], g.privilege), g.id LIMIT 1),
           l.role, l.client, l.outcome, s.exact, l.seq
      FROM seen s CROSS JOIN LATERAL (SELECT * FROM dataprotect.audit_log x WHERE x.seq = s.seq OFFSET 0) l
     UNION ALL
    SELECT l.at, l.session_role, l.actor, l.columns, l.values_opened, l.purpose, NULL, l.role, l.client, l.outcome, false, l.seq
      FROM unfinished u CROSS JOIN LATERAL (SELECT * FROM dataprotect.audit_log x WHERE x.seq = u.seq OFFSET 0) l
     -- What a crash cut off, or still runs, has not said whose values it opened.
     WHERE l.event = 'value.revealed' AND l.outcome IN ('lost', 'started') AND l.seq NOT IN (SELECT s.seq FROM seen s) AND (SELECT k.ids FROM k) IS NOT NULL
     ORDER BY 12
$$;
COMMENT ON FUNCTION dataprotect.disclosures(text, text, timestamptz, timestamptz) IS
    'who opened values of an account (by its id, or by the pseudonym "key:..." in account_keys), when, for what, by which grant; where "exact" is false perhaps';
