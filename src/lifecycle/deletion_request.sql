-- Requests to delete an account, and taking them back

CREATE TABLE dataprotect.deletion_request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_type text NOT NULL,
    account_id text NOT NULL,
    state text NOT NULL CHECK (state IN ('requested', 'held', 'purging', 'purged', 'shredded', 'verified', 'certified',
                                         'cancelled', 'retained')),
    reason text,
    requested_by name NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT dataprotect._now(),
    grace_until timestamptz,
    deadline timestamptz,
    state_since timestamptz NOT NULL DEFAULT dataprotect._now(),
    detail text,
    phase int NOT NULL DEFAULT 0,       -- of purging: 0 collect rows, then the step of the plan
    plan bigint REFERENCES dataprotect.plan,
    passes int NOT NULL DEFAULT 0,      -- how often rows came back
    holds_seen text,                    -- the holds that no row of the account is under
    holds_met bigint[],                 -- the holds that kept it waiting
    key_ids int8[],                     -- the account's keys, remembered before they go
    purge_xid xid8,                     -- last transaction that removed rows
    purge_started_at timestamptz,
    purged_at timestamptz,
    destroyed_at timestamptz,           -- the account's keys
    verified_at timestamptz,
    certified_at timestamptz,
    listed_at timestamptz,              -- in the list outside of the database; erasure_list.sql
    verification jsonb,
    certificate jsonb,
    seal bytea,
    found_by text CHECK (found_by IN ('id', 'key', 'nothing'))     -- its own row, when the purge began
);
CREATE UNIQUE INDEX deletion_request_open_idx ON dataprotect.deletion_request (account_type, account_id)
    WHERE state IN ('requested', 'held', 'purging', 'purged', 'shredded', 'verified');
CREATE INDEX deletion_request_unlisted_idx ON dataprotect.deletion_request (id) WHERE listed_at IS NULL AND destroyed_at IS NOT NULL;
COMMENT ON TABLE dataprotect.deletion_request IS 'requests to delete an account; see dataprotect.request_deletion()';

CREATE TABLE dataprotect.deletion_work (
    request bigint NOT NULL REFERENCES dataprotect.deletion_request ON DELETE CASCADE,
    rel text NOT NULL,
    action text NOT NULL,
    rows bigint NOT NULL,
    PRIMARY KEY (request, rel, action)
);
COMMENT ON TABLE dataprotect.deletion_work IS 'rows that a deletion removed, changed or left, by table';

-- Old row versions and index entries of these tables have still to be cleared.
CREATE TABLE dataprotect.deletion_scrub (
    request bigint NOT NULL REFERENCES dataprotect.deletion_request ON DELETE CASCADE,
    rel regclass NOT NULL,
    scrubbed_at timestamptz,
    PRIMARY KEY (request, rel)
);
COMMENT ON TABLE dataprotect.deletion_scrub IS 'tables that are vacuumed and re-indexed for a deletion';

SELECT pg_catalog.pg_extension_config_dump('dataprotect.deletion_request', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.deletion_request_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.deletion_work', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.deletion_scrub', '');

CREATE VIEW dataprotect.deletion_requests AS
    SELECT id, account_type, account_id, state, requested_at, grace_until, deadline, state_since, detail,
           reason, requested_by, purged_at, destroyed_at, verified_at, certified_at,
           (SELECT p.version FROM dataprotect.plan p WHERE p.id = plan) AS plan_version,
           state IN ('requested', 'held', 'purging', 'purged', 'shredded', 'verified') AND deadline < dataprotect._now()
               AS overdue
      FROM dataprotect.deletion_request;
COMMENT ON VIEW dataprotect.deletion_requests IS 'requests to delete an account and how far they are';

-- The id of an account as its row spells it, or an error where there is none.
CREATE FUNCTION dataprotect._account_id(account dataprotect.account_type, id text) RETURNS text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    spelled text;
BEGIN
    PERFORM dataprotect._id_values(account, id);
    BEGIN
        spelled := dataprotect._value_as(account.root, format('SELECT %s FROM %s t WHERE %s',
            dataprotect._id_expression(account.id_columns, 't.'), account.root, dataprotect._account_own_row(account, id)));
    EXCEPTION WHEN data_exception THEN
        spelled := NULL;
    END;
    IF spelled IS NULL THEN
        PERFORM dataprotect._raise('no_data_found',
            format('account of type "%s" does not exist', account.name),
            format('Table "%s" has no row with that "%s".', account.root, array_to_string(account.id_columns, '", "')));
    END IF;
    RETURN spelled;
END $$;
COMMENT ON FUNCTION dataprotect._account_id(dataprotect.account_type, text) IS
    'the id of an account as its row spells it';

CREATE FUNCTION dataprotect._lock_deletion_request(request bigint) RETURNS dataprotect.deletion_request
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_request dataprotect.deletion_request;
BEGIN
    SELECT * INTO found_request FROM dataprotect.deletion_request r WHERE r.id = request FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object', format('deletion request %s does not exist', request));
    END IF;
    RETURN found_request;
END $$;
COMMENT ON FUNCTION dataprotect._lock_deletion_request(bigint) IS 'a deletion request, its row locked, or an error';

-- Every change of state is an event; so is a new reason for standing still.
CREATE FUNCTION dataprotect._deletion_note(request bigint, state text, detail text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before dataprotect.deletion_request := dataprotect._lock_deletion_request(request);
BEGIN
    IF before.state = _deletion_note.state AND before.detail IS NOT DISTINCT FROM _deletion_note.detail THEN
        RETURN;
    END IF;
    UPDATE dataprotect.deletion_request r
       SET state = _deletion_note.state, detail = _deletion_note.detail,
           state_since = CASE WHEN r.state = _deletion_note.state THEN r.state_since ELSE dataprotect._now() END
     WHERE r.id = request;
    PERFORM dataprotect._event('deletion.advanced', NULL, jsonb_build_object('request', request,
        'account_type', before.account_type, 'from', before.state, 'to', _deletion_note.state,
        'detail', _deletion_note.detail));
END $$;
COMMENT ON FUNCTION dataprotect._deletion_note(bigint, text, text) IS 'write a request''s state down';

-- The first thing that stands in the way of deleting such an account, or NULL.
CREATE FUNCTION dataprotect._account_obstacle(account dataprotect.account_type, plan_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT format('Table "%s", columns %s: %s.', c.rel, c.columns, c.problem)
      FROM dataprotect._account_check(account, plan_id) c WHERE c.problem IS NOT NULL
     ORDER BY c.rel::text, c.columns::text LIMIT 1);
END $$;
COMMENT ON FUNCTION dataprotect._account_obstacle(dataprotect.account_type, bigint) IS
    'the first problem of an account type, or NULL';

CREATE FUNCTION dataprotect.request_deletion(account_type text, id text, reason text = NULL) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'                -- a month is as long for whoever asks
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(request_deletion.account_type);
    plan_id bigint := dataprotect._account_current_plan(account);
    obstacle text := dataprotect._account_obstacle(account, plan_id);
    spelled text;
    request bigint;
BEGIN
    IF obstacle IS NOT NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('accounts of type "%s" cannot be deleted yet', account.name),
            obstacle,
            'dataprotect.check_account_type() lists what is missing; dataprotect.annotate_account() decides it.');
    END IF;
    spelled := dataprotect._account_id(account, request_deletion.id);
    BEGIN
        INSERT INTO dataprotect.deletion_request (account_type, account_id, state, reason, requested_by, grace_until, deadline, plan)
            VALUES (account.name, spelled, 'requested', request_deletion.reason,
                    pg_get_userbyid(dataprotect._caller()), dataprotect._now() + account.grace, dataprotect._now() + account.deadline, plan_id)
            RETURNING deletion_request.id INTO request;
    EXCEPTION WHEN unique_violation THEN
        PERFORM dataprotect._raise('duplicate_object',
            'deletion of this account is requested already',
            NULL,
            'See dataprotect.deletion_requests.');
    END;
    PERFORM dataprotect._note_own_row(account, plan_id, request, spelled);
    PERFORM dataprotect._subject_suspend(account.name, spelled, format('deletion request %s', request));
    IF account.grace_hides AND account.grace > interval '0' THEN
        PERFORM dataprotect._hide_rows(account, plan_id, request, spelled);
    END IF;
    PERFORM dataprotect._event('deletion.requested', NULL, jsonb_build_object('request', request,
        'account_type', account.name, 'account_id', spelled, 'reason', request_deletion.reason));
    PERFORM dataprotect._wake_maintenance();
    RETURN request;
END $$;
COMMENT ON FUNCTION dataprotect.request_deletion(text, text, text) IS
    'ask for the deletion of an account: unreadable at once, gone after the grace period';

-- Take a request back while nothing is removed yet.
CREATE FUNCTION dataprotect._deletion_withdraw(request bigint, state text, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before dataprotect.deletion_request := dataprotect._lock_deletion_request(request);
BEGIN
    IF coalesce(reason, '') = '' THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'taking a deletion back needs a reason');
    END IF;
    IF before.state NOT IN ('requested', 'held') OR before.purge_started_at IS NOT NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('deletion request %s cannot be taken back', request),
            format('It is in state "%s".', before.state)
                || CASE WHEN before.purge_started_at IS NOT NULL THEN ' The grace time is over, and rows are gone or being removed.' ELSE '' END);
    END IF;
    PERFORM dataprotect._deletion_note(request, _deletion_withdraw.state, reason);
    PERFORM dataprotect._subject_resume(before.account_type, before.account_id,
                                        format('deletion request %s %s', request, _deletion_withdraw.state));
    PERFORM dataprotect._show_rows(request);
    DELETE FROM dataprotect.deletion_row d WHERE d.request = _deletion_withdraw.request;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_withdraw(bigint, text, text) IS 'end a request that has removed nothing yet';

CREATE FUNCTION dataprotect.cancel_deletion(request bigint, reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._deletion_withdraw(request, 'cancelled', reason);
    PERFORM dataprotect._event('deletion.cancelled', NULL, jsonb_build_object('request', request, 'reason', reason));
END $$;
COMMENT ON FUNCTION dataprotect.cancel_deletion(bigint, text) IS
    'take a deletion back while its grace period lasts; the account is readable again';

CREATE FUNCTION dataprotect.retain_account(account_type text, id text, reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(retain_account.account_type);
    spelled text := dataprotect._account_id(account, retain_account.id);
    request bigint;
BEGIN
    IF coalesce(retain_account.reason, '') = '' THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'retaining an account needs a reason');
    END IF;
    SELECT r.id INTO request FROM dataprotect.deletion_request r
     WHERE r.account_type = account.name AND r.account_id = spelled
       AND r.state IN ('requested', 'held', 'purging', 'purged', 'shredded', 'verified');
    IF FOUND THEN
        PERFORM dataprotect._deletion_withdraw(request, 'retained', retain_account.reason);
    ELSE
        INSERT INTO dataprotect.deletion_request (account_type, account_id, state, reason, requested_by, detail)
            VALUES (account.name, spelled, 'retained', retain_account.reason,
                    pg_get_userbyid(dataprotect._caller()), retain_account.reason)
            RETURNING deletion_request.id INTO request;
    END IF;
    PERFORM dataprotect._event('account.retained', NULL, jsonb_build_object('request', request,
        'account_type', account.name, 'account_id', spelled, 'reason', retain_account.reason));
END $$;
COMMENT ON FUNCTION dataprotect.retain_account(text, text, text) IS
    'write down that an account''s owner keeps it; it can be deleted at any time later';
