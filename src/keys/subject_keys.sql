--
-- Subjects' keys, for account deletion
--
CREATE FUNCTION dataprotect._subject_key_ids(account_type text, subject text) RETURNS int8[]
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(s.key_id ORDER BY s.key_id), '{}') FROM dataprotect.subject_key s
    WHERE s.account_type = $1 AND s.subject = $2
$$;
COMMENT ON FUNCTION dataprotect._subject_key_ids(text, text) IS 'ids of the keys claimed for an account';

CREATE FUNCTION dataprotect._subject_set_state(account_type text, subject text, from_states "char"[], to_state "char", why text, event text) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_rows int;
BEGIN
    UPDATE dataprotect.key_version v
        SET state = to_state, state_since = now(), reason = why,
            wrapped = CASE WHEN to_state <> 'd' THEN v.wrapped END
        WHERE v.key_id = ANY (dataprotect._subject_key_ids($1, $2)) AND v.state = ANY (from_states);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    PERFORM dataprotect._event(event, NULL,
        jsonb_build_object('account_type', $1, 'subject', $2, 'keys', v_rows, 'reason', why));
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION dataprotect._subject_set_state(text, text, "char"[], "char", text, text) IS 'moves an account''s keys to another state; how many moved';

-- Waits for claims of the account's keys under way, and holds new ones back.
CREATE FUNCTION dataprotect._subject_lock(account_type text, subject text) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_subject_lock_sql';
COMMENT ON FUNCTION dataprotect._subject_lock(text, text) IS 'excludes claims of an account''s keys until the end of the transaction';

-- The lock first: a claim under way is waited for, and a later one finds the account closed.
CREATE FUNCTION dataprotect._subject_suspend(account_type text, subject text, reason text) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._subject_lock($1, $2);
    INSERT INTO dataprotect.suspended_subject (account_type, subject, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;
    RETURN dataprotect._subject_set_state($1, $2, '{a,p}', 's', $3, 'subject.suspended');
END $$;
COMMENT ON FUNCTION dataprotect._subject_suspend(text, text, text) IS 'makes an account''s values unreadable until resumed, and claims no key for it; how many keys';

CREATE FUNCTION dataprotect._subject_resume(account_type text, subject text, reason text) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._subject_lock($1, $2);
    DELETE FROM dataprotect.suspended_subject s WHERE s.account_type = $1 AND s.subject = $2;
    RETURN dataprotect._subject_set_state($1, $2, '{s}', 'a', $3, 'subject.resumed');
END $$;
COMMENT ON FUNCTION dataprotect._subject_resume(text, text, text) IS 'makes a suspended account''s values readable again; how many keys';

CREATE FUNCTION dataprotect._subject_destroy(account_type text, subject text, reason text) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._subject_lock($1, $2);
    INSERT INTO dataprotect.tombstone (account_type, subject, reason) VALUES ($1, $2, $3)
        ON CONFLICT ON CONSTRAINT tombstone_pkey DO UPDATE SET destroyed_at = now(), reason = excluded.reason, released_at = NULL;
    DELETE FROM dataprotect.suspended_subject s WHERE s.account_type = $1 AND s.subject = $2;
    RETURN dataprotect._subject_set_state($1, $2, '{a,p,r,s}', 'd', $3, 'subject.destroyed');
END $$;
COMMENT ON FUNCTION dataprotect._subject_destroy(text, text, text) IS 'destroys an account''s keys and forbids minting for it again; how many keys';

-- The id of an account whose deletion is certified may begin a new life: its keys
-- are none of the old one's.
CREATE FUNCTION dataprotect._subject_release(account_type text, subject text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._subject_lock($1, $2);
    DELETE FROM dataprotect.subject_key s USING dataprotect.key_version v
        WHERE s.account_type = $1 AND s.subject = $2 AND v.key_id = s.key_id AND v.state = 'd';
    UPDATE dataprotect.tombstone t SET released_at = now() WHERE t.account_type = $1 AND t.subject = $2;
END $$;
COMMENT ON FUNCTION dataprotect._subject_release(text, text) IS 'lets the id of an erased account be used again, under new keys';
