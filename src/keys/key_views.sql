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
    SELECT coalesce(k.name, 'system') AS name, v.version,
           CASE v.purpose WHEN 2 THEN 'data' WHEN 3 THEN 'subject' WHEN 4 THEN 'search' WHEN 5 THEN 'literal'
                WHEN 6 THEN 'audit seal' WHEN 7 THEN 'audit chain' WHEN 8 THEN 'policy' END AS purpose,
           CASE v.state WHEN 'a' THEN 'active' WHEN 'r' THEN 'retired' WHEN 's' THEN 'suspended'
                WHEN 'd' THEN 'destroyed' WHEN 'p' THEN CASE WHEN s.key_id IS NULL THEN 'spare' ELSE 'active' END END AS state,
           to_hex(v.key_id) AS key_id, e.epoch, e.kms_uri, s.account_type, s.subject, v.created_at, v.state_since, v.reason, v.seals
    FROM dataprotect.key_version v
         LEFT JOIN dataprotect.key k ON k.family = v.family
         LEFT JOIN dataprotect.epoch e ON e.key_id = v.epoch
         LEFT JOIN dataprotect.subject_key s ON s.key_id = v.key_id;
COMMENT ON VIEW dataprotect.key_versions IS 'every key below the epochs: versions, subjects'' keys, the system''s own';
