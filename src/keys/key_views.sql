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
           CASE v.state WHEN 'd' THEN 'destroyed' WHEN 's' THEN 'suspended' ELSE
               CASE WHEN EXISTS (SELECT FROM dataprotect.subject_key n
                                 WHERE n.family = s.family AND n.account_type = s.account_type AND n.subject = s.subject
                                   AND n.version > s.version) THEN 'retired'
                    WHEN v.state = 'p' AND s.key_id IS NULL THEN 'spare' WHEN v.state = 'r' THEN 'retired' ELSE 'active' END
           END AS state,
           to_hex(v.key_id) AS key_id, e.epoch, e.kms_uri, s.account_type, s.subject, v.created_at, v.state_since, v.reason, v.seals
    FROM dataprotect.key_version v
         LEFT JOIN dataprotect.key k ON k.family = v.family
         LEFT JOIN dataprotect.epoch e ON e.key_id = v.epoch
         LEFT JOIN dataprotect.subject_key s ON s.key_id = v.key_id;
COMMENT ON VIEW dataprotect.key_versions IS 'every key below the epochs: versions, subjects'' keys, the system''s own';
