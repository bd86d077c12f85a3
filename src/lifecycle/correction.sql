-- Requests to correct data (GDPR, Article 16), with a deadline

CREATE TABLE dataprotect.correction_request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_type text NOT NULL,
    account_id text NOT NULL,
    what jsonb NOT NULL,
    reason text,
    requested_by name NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    deadline timestamptz NOT NULL,
    done_at timestamptz,
    done_by name,
    note text
);
COMMENT ON TABLE dataprotect.correction_request IS 'requests to correct an account''s data; see dataprotect.request_correction()';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.correction_request', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.correction_request_id_seq', '');

CREATE VIEW dataprotect.correction_requests AS
    SELECT c.id, c.account_type, c.account_id, c.what, c.reason, c.requested_by, c.requested_at, c.deadline, c.done_at, c.done_by, c.note,
           c.done_at IS NULL AND c.deadline < dataprotect._now() AS overdue
      FROM dataprotect.correction_request c;
COMMENT ON VIEW dataprotect.correction_requests IS 'requests to correct an account''s data, and how far they are';

CREATE FUNCTION dataprotect.request_correction(account_type text, id text, what jsonb, reason text = NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(request_correction.account_type);
    spelled text := dataprotect._account_id(account, request_correction.id);
    request bigint;
BEGIN
    IF jsonb_typeof(request_correction.what) IS DISTINCT FROM 'object' OR request_correction.what = '{}' THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'a correction says what is wrong',
            NULL, 'For example {"public.customer": {"email": "the new address is in the letter of 3 May"}}.');
    END IF;
    INSERT INTO dataprotect.correction_request (account_type, account_id, what, reason, requested_by, deadline)
        VALUES (account.name, spelled, request_correction.what, request_correction.reason, pg_get_userbyid(dataprotect._caller()),
                dataprotect._now() + interval '1 month')
        RETURNING correction_request.id INTO request;
    PERFORM dataprotect._event('correction.requested', NULL, jsonb_build_object('request', request, 'account_type', account.name,
        'account_id', spelled));
    RETURN request;
END $$;
COMMENT ON FUNCTION dataprotect.request_correction(text, text, jsonb, text) IS
    'write down that an account''s data is to be corrected, within a month (GDPR, Article 12(3))';

CREATE FUNCTION dataprotect.finish_correction(request bigint, note text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE dataprotect.correction_request c
       SET done_at = dataprotect._now(), done_by = pg_get_userbyid(dataprotect._caller()), note = finish_correction.note
     WHERE c.id = request AND c.done_at IS NULL;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object', format('correction request %s does not exist, or is done', request));
    END IF;
    PERFORM dataprotect._event('correction.done', NULL, jsonb_build_object('request', request, 'note', note));
END $$;
COMMENT ON FUNCTION dataprotect.finish_correction(bigint, text) IS 'write down that a correction was made, or why not';
