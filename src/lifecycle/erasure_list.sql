-- What was erased is written down outside of the database as well, so that one
-- that was restored from an older backup can be told; see access/restored.h

CREATE TABLE dataprotect.erasure_list (
    file text PRIMARY KEY,
    length bigint NOT NULL,             -- bytes of it whose erasures this database knows
    ends bytea NOT NULL                 -- SHA-256 of the last of them
);
COMMENT ON TABLE dataprotect.erasure_list IS 'how far this database knows lists of erasures outside of it';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.erasure_list', '');

CREATE TABLE dataprotect.erasure_alert (
    doubt text PRIMARY KEY,
    told_at timestamptz NOT NULL DEFAULT dataprotect._now()
);
COMMENT ON TABLE dataprotect.erasure_alert IS 'doubts about lists of erasures that were told';

CREATE FUNCTION dataprotect._erasure_own_name() RETURNS text
    AS 'MODULE_PATHNAME', 'dp_erasure_own_name'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._erasure_own_name() IS 'the list that this database writes its erasures to, or NULL';

CREATE FUNCTION dataprotect._erasure_names() RETURNS text[]
    AS 'MODULE_PATHNAME', 'dp_erasure_names'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._erasure_names() IS 'lists of erasures of this database''s identity, those of its copies included';

CREATE FUNCTION dataprotect._erasure_read(file text, known bigint, known_ends bytea, OUT lines text, OUT length bigint, OUT ends bytea, OUT whole bool)
    RETURNS record
    AS 'MODULE_PATHNAME', 'dp_erasure_read'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._erasure_read(text, bigint, bytea) IS 'what a list of erasures has behind a place, and where it ends';

CREATE FUNCTION dataprotect._erasure_append(file text, known bigint, known_ends bytea, lines text, OUT length bigint, OUT ends bytea)
    RETURNS record
    AS 'MODULE_PATHNAME', 'dp_erasure_append'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._erasure_append(text, bigint, bytea, text) IS 'append to a list of erasures that ends at a place';

CREATE FUNCTION dataprotect._erasure_doubt() RETURNS text
    AS 'MODULE_PATHNAME', 'dp_erasure_doubt_sql'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._erasure_doubt() IS 'why protected values are not shown for the sake of erased accounts, or NULL';

-- An erasure as lists and exports have it.
CREATE FUNCTION dataprotect._erasure_of(request dataprotect.deletion_request) RETURNS jsonb
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('request', request.id, 'account_type', request.account_type, 'account_id', request.account_id,
        'requested_at', request.requested_at, 'erased_at', coalesce(request.destroyed_at, request.certified_at));
$$;
COMMENT ON FUNCTION dataprotect._erasure_of(dataprotect.deletion_request) IS 'what lists of erasures say of one';

-- How far each list that this database answers to is known: those that it knows,
-- or, where it knows none, all of its identity.
CREATE FUNCTION dataprotect._erasure_places(OUT file text, OUT length bigint, OUT ends bytea) RETURNS SETOF record
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH known AS (SELECT l.* FROM dataprotect.erasure_list l JOIN dataprotect.instance i ON starts_with(l.file, i.uid || '-'))
    SELECT k.file, k.length, k.ends FROM known k
    UNION ALL
    SELECT n, 0, sha256('') FROM unnest(dataprotect._erasure_names()) n WHERE NOT EXISTS (SELECT FROM known)
    ORDER BY 1;
$$;
COMMENT ON FUNCTION dataprotect._erasure_places() IS 'lists of erasures that this database answers to, and how far each is known';

-- What a list of erasures means here.
CREATE FUNCTION dataprotect._erasure_state(erasure jsonb) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    account dataprotect.account_type;
BEGIN
    IF EXISTS (SELECT FROM dataprotect.deletion_request r
                WHERE r.account_type = erasure ->> 'account_type' AND r.account_id = erasure ->> 'account_id'
                  AND r.requested_at >= (erasure ->> 'requested_at')::timestamptz
                  AND r.state IN ('purged', 'shredded', 'verified', 'certified')) THEN
        RETURN 'known';
    END IF;
    IF NOT EXISTS (SELECT FROM dataprotect.account_type t WHERE t.name = erasure ->> 'account_type') THEN
        RETURN 'no such account type';
    END IF;
    account := dataprotect._find_account_type(erasure ->> 'account_type');
    IF dataprotect._subject_key_ids(account.name, erasure ->> 'account_id') <> '{}' THEN
        RETURN 'here';
    END IF;
    PERFORM dataprotect._account_id(account, erasure ->> 'account_id');
    RETURN 'here';
EXCEPTION
    WHEN no_data_found THEN
        RETURN 'not here';
    WHEN invalid_parameter_value THEN   -- the columns of the id were others: it may be here under another id
        RETURN 'not an id of this account type';
END $$;
COMMENT ON FUNCTION dataprotect._erasure_state(jsonb) IS
    'whether this database has an account that was erased: known, here, not here, no such account type, not an id of this account type';

-- Erasures on lists that this database does not know; an error where a line is
-- none that it, or one that it was copied from, has signed.
CREATE FUNCTION dataprotect._unknown_erasures(OUT file text, OUT erasure jsonb) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    place record;
    line text;
BEGIN
    FOR place IN SELECT p.file, r.lines FROM dataprotect._erasure_places() p, dataprotect._erasure_read(p.file, p.length, p.ends) r LOOP
        FOR line IN SELECT l FROM regexp_split_to_table(place.lines, E'\n') l WHERE l <> '' LOOP
            BEGIN
                erasure := line;
            EXCEPTION WHEN invalid_text_representation OR untranslatable_character THEN
                erasure := NULL;
            END;
            IF NOT dataprotect._is_signed_here(erasure) THEN
                PERFORM dataprotect._raise('data_corrupted', format('list of erasures "%s" was altered', place.file),
                    'A line of it is not as this database, or one that it was copied from, signed it.');
            END IF;
            _unknown_erasures.file := place.file;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._unknown_erasures() IS 'erasures on lists that this database does not know';

-- Write what was erased to the own list, in a transaction of its own.  Nothing is
-- begun where lists of this identity exist and this database knows none.
CREATE FUNCTION dataprotect._list_erasures() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own text := dataprotect._erasure_own_name();
    place dataprotect.erasure_list;
    lines text;
    done record;
BEGIN
    IF own IS NULL OR NOT EXISTS (SELECT FROM dataprotect.account_type) THEN
        RETURN;
    END IF;
    SELECT * INTO place FROM dataprotect.erasure_list l WHERE l.file = own;
    IF FOUND AND NOT EXISTS (SELECT FROM dataprotect.deletion_request r WHERE r.listed_at IS NULL AND r.destroyed_at IS NOT NULL) THEN
        RETURN;
    END IF;
    SELECT * INTO place FROM dataprotect.erasure_list l WHERE l.file = own FOR UPDATE;
    IF NOT FOUND THEN
        IF dataprotect._erasure_doubt() IS NOT NULL THEN
            RETURN;
        END IF;
        INSERT INTO dataprotect.erasure_list VALUES (own, 0, sha256('')) RETURNING * INTO place;
    END IF;
    SELECT string_agg(dataprotect._sign_document(dataprotect._erasure_of(r)
               || jsonb_build_object('format', 'dataprotect erasure, version 1', 'database', current_database()))::text || E'\n', '' ORDER BY r.id)
      INTO lines FROM dataprotect.deletion_request r
     WHERE r.listed_at IS NULL AND r.destroyed_at IS NOT NULL;
    done := dataprotect._erasure_append(own, place.length, place.ends, coalesce(lines, ''));
    UPDATE dataprotect.erasure_list l SET length = done.length, ends = done.ends WHERE l.file = own;
    UPDATE dataprotect.deletion_request r SET listed_at = dataprotect._now()
     WHERE r.listed_at IS NULL AND r.destroyed_at IS NOT NULL;
END $$;
COMMENT ON FUNCTION dataprotect._list_erasures() IS 'write erasures to this database''s list outside of it';

-- Where every erasure of a list is known here, or of an account that is not here,
-- the list is known to its end; else it is told, once.  Another list in the place
-- of the one that was known stays in doubt.
CREATE FUNCTION dataprotect._settle_erasures() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    why text := dataprotect._erasure_doubt();
    place record;
    unknown int;
BEGIN
    IF why IS NULL THEN
        RETURN;
    END IF;
    FOR place IN
        SELECT p.file, r.length, r.ends FROM dataprotect._erasure_places() p, dataprotect._erasure_read(p.file, p.length, p.ends) r
         WHERE NOT r.whole AND (r.length, r.ends) IS DISTINCT FROM (p.length, p.ends)
    LOOP
        SELECT count(*) INTO unknown FROM dataprotect._unknown_erasures() u
         WHERE u.file = place.file AND dataprotect._erasure_state(u.erasure) NOT IN ('known', 'not here');
        CONTINUE WHEN unknown > 0;
        INSERT INTO dataprotect.erasure_list VALUES (place.file, place.length, place.ends)
            ON CONFLICT (file) DO UPDATE SET length = excluded.length, ends = excluded.ends;
    END LOOP;
    why := dataprotect._erasure_doubt();
    IF why IS NULL THEN
        DELETE FROM dataprotect.erasure_alert;
        PERFORM dataprotect._event('erasures.settled', NULL, '{}');
        RETURN;
    END IF;
    INSERT INTO dataprotect.erasure_alert (doubt) VALUES (why) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM dataprotect._event('erasures.unknown', NULL, jsonb_build_object('why', why));
        RAISE WARNING USING MESSAGE = 'protected values are not shown: this database may have accounts that were erased',
            DETAIL = why,
            HINT = 'Call dataprotect.replay_erasures(), or dataprotect.accept_restore() where nothing is missing.';
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._settle_erasures() IS 'see whether this database knows every erasure that it answers to';

-- The worker's look; what is wrong with a file keeps nothing else.
CREATE FUNCTION dataprotect._look_at_erasures() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._settle_erasures();
    PERFORM dataprotect._list_erasures();
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING USING MESSAGE = 'could not go through the lists of erasures', DETAIL = SQLERRM;
END $$;
COMMENT ON FUNCTION dataprotect._look_at_erasures() IS 'compare lists of erasures with this database, and write to its own';

CREATE FUNCTION dataprotect.accept_restore(reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own text := dataprotect._erasure_own_name();
    why text := dataprotect._erasure_doubt();
    place record;
BEGIN
    IF coalesce(reason, '') = '' THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'accepting a restored database needs a reason');
    END IF;
    IF why IS NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', 'there is no doubt about this database''s erasures');
    END IF;
    FOR place IN
        SELECT p.file, r.length, r.ends, r.whole, p.file = own AS is_own
          FROM (SELECT p.* FROM dataprotect._erasure_places() p WHERE p.file <> own
                UNION ALL SELECT own, coalesce(l.length, 0), coalesce(l.ends, sha256(''))
                  FROM (VALUES (own)) o(file) LEFT JOIN dataprotect.erasure_list l USING (file)) p,
               dataprotect._erasure_read(p.file, p.length, p.ends) r
    LOOP
        IF place.length IS NULL AND NOT place.is_own THEN
            DELETE FROM dataprotect.erasure_list l WHERE l.file = place.file;
            CONTINUE;
        ELSIF place.length IS NULL THEN
            SELECT a.length, a.ends INTO place.length, place.ends FROM dataprotect._erasure_append(own, 0, sha256(''), '') a;
        END IF;
        INSERT INTO dataprotect.erasure_list VALUES (place.file, place.length, place.ends)
            ON CONFLICT (file) DO UPDATE SET length = excluded.length, ends = excluded.ends;
        UPDATE dataprotect.deletion_request r SET listed_at = NULL
         WHERE coalesce(place.whole, true) AND place.is_own AND r.listed_at IS NOT NULL;
    END LOOP;
    DELETE FROM dataprotect.erasure_alert;
    PERFORM dataprotect._event('restore.accepted', NULL, jsonb_build_object('why', why, 'reason', reason));
    PERFORM dataprotect._wake_maintenance();
END $$;
COMMENT ON FUNCTION dataprotect.accept_restore(text) IS
    'show protected values though lists of erasures have some that this database does not know';
