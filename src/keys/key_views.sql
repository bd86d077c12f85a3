--
-- Views
--
CREATE VIEW dataprotect.keys AS
    SELECT k.name,
           CASE k.state WHEN 'a' THEN 'active' WHEN 's' THEN 'suspended' ELSE 'destroyed' END AS state,
           k.kms_uri, k.current_version, k.rotation_period, k.keep, k.mask, k.description, k.created_at, k.state_since, k.reason
    FROM dataprotect.key k;
COMMENT ON VIEW dataprotect.keys IS 'the named keys';

CREATE VIEW dataprotect.key_versions AS
    SELECT coalesce(k.name, 'system') AS name, coalesce(s.version, v.version) AS version,
           CASE v.purpose WHEN 2 THEN 'data' WHEN 3 THEN 'subject' WHEN 4 THEN 'search' WHEN 5 THEN 'literal'
                WHEN 6 THEN 'audit seal' WHEN 7 THEN 'audit chain' WHEN 8 THEN 'policy' END AS purpose,
           CASE WHEN v.state = 'd' THEN 'destroyed' WHEN v.state = 's' THEN 'suspended' WHEN coalesce(p.expires_at, v.expires_at) <= now() THEN 'expired' ELSE
               CASE WHEN EXISTS (SELECT FROM dataprotect.subject_key n
                                 WHERE n.family = s.family AND n.account_type = s.account_type AND n.subject = s.subject
                                   AND n.version > s.version) THEN 'retired'
                    WHEN v.state = 'p' AND s.key_id IS NULL THEN 'spare' WHEN v.state = 'r' THEN 'retired' ELSE 'active' END
           END AS state,
           to_hex(v.key_id) AS key_id, e.epoch, e.kms_uri, s.account_type, s.subject, v.created_at, v.state_since, v.reason, v.seals,
           coalesce(p.expires_at, v.expires_at) AS expires_at
    FROM dataprotect.key_version v
         LEFT JOIN dataprotect.key k ON k.family = v.family
         LEFT JOIN dataprotect.epoch e ON e.key_id = v.epoch
         LEFT JOIN dataprotect.subject_key s ON s.key_id = v.key_id
         LEFT JOIN dataprotect.key_version p ON p.family = s.family AND p.purpose = 2 AND p.version = s.version AND p.expires_at IS NOT NULL;
COMMENT ON VIEW dataprotect.key_versions IS 'every key below the epochs: versions, subjects'' keys, the system''s own';

-- What the agent knows of each URI, and what drills have found of this database's
-- epoch keys under it: the oldest of them counts, from its making where none has opened it.
CREATE FUNCTION dataprotect._memory_locked() RETURNS bool
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_arena_locked_sql';
COMMENT ON FUNCTION dataprotect._memory_locked() IS 'whether the memory that holds keys is kept out of swap space';

CREATE VIEW dataprotect.kms_status AS
    SELECT coalesce(s.kms_uri, d.kms_uri) AS kms_uri, coalesce(s.provider, split_part(d.kms_uri, ':', 1)) AS provider,
           coalesce(s.calls, 0) AS calls, coalesce(s.failures, 0) AS failures, s.last_success, s.last_failure, s.last_error,
           coalesce(s.circuit, 'closed') AS circuit, s.mean_ms, s.max_ms, s.credentials_expire,
           d.last_drill, d.last_drill_ok, d.drill_age
    FROM dataprotect._kms_status() s
         FULL JOIN (SELECT u.uri AS kms_uri, max(x.drilled_at) AS last_drill, bool_and(x.ok) AS last_drill_ok,
                           greatest(now() - min(coalesce(x.succeeded_at, e.created_at)), interval '0') AS drill_age
                    FROM dataprotect.epoch e CROSS JOIN unnest(e.kms_uri) u (uri)
                         LEFT JOIN dataprotect.epoch_drill x ON x.epoch = e.key_id AND x.kms_uri = u.uri
                    WHERE EXISTS (SELECT FROM dataprotect.key_version v WHERE v.epoch = e.key_id AND v.wrapped IS NOT NULL)
                    GROUP BY u.uri) d ON d.kms_uri = s.kms_uri;
COMMENT ON VIEW dataprotect.kms_status IS
    'health of each KMS key that the key agent was asked to use since the server started, all databases together, and when drills of this one opened its keys';
