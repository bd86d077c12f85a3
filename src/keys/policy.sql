--
-- Sealed policy: rows that decide something carry a code under the policy key, and
-- a journal tells which rows there are.  See policy_seal.h and policy_root.h.
--
-- C code writes and reads policy_journal by attribute number: append only.
CREATE TABLE dataprotect.policy_journal (
    id int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tbl name NOT NULL,
    scope int8 NOT NULL,
    change bytea NOT NULL,
    statements int8 NOT NULL,
    mac bytea NOT NULL
);
CREATE INDEX policy_journal_scope_idx ON dataprotect.policy_journal (tbl, scope);
COMMENT ON TABLE dataprotect.policy_journal IS
    'changes of sealed rows by the extension, as differences of what they weigh; never written otherwise';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.policy_journal', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.policy_journal_id_seq', '');

CREATE FUNCTION dataprotect._seal_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_policy_seal_sql';
COMMENT ON FUNCTION dataprotect._seal_row() IS 'row trigger: seals what functions of the extension write, and nothing else';

CREATE FUNCTION dataprotect._note_change() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_policy_note_sql';
COMMENT ON FUNCTION dataprotect._note_change() IS 'row trigger: notes in the journal what functions of the extension change, and nothing else';

CREATE FUNCTION dataprotect._sealed(row_of_ours anyelement) RETURNS bool
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_policy_sealed_sql';
COMMENT ON FUNCTION dataprotect._sealed(anyelement) IS 'is a row of a sealed table as the extension wrote it?';

CREATE FUNCTION dataprotect._sealed_tables(OUT tbl text, OUT scope_column text, OUT rooted bool) RETURNS SETOF record
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_policy_tables_sql';
COMMENT ON FUNCTION dataprotect._sealed_tables() IS 'the tables that are sealed, and the column whose rows add up together';

CREATE FUNCTION dataprotect._policy_whole(tbl text, scope int8) RETURNS bool
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_policy_whole_sql';
COMMENT ON FUNCTION dataprotect._policy_whole(text, int8) IS
    'are the rows of a scope all sealed, all there, and none an old one? Otherwise that is reported';

CREATE FUNCTION dataprotect._policy_adds_up(tbl text, scope int8) RETURNS bool
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_policy_adds_up_sql';
COMMENT ON FUNCTION dataprotect._policy_adds_up(text, int8) IS 'are the sealed rows of a scope those that the journal tells of?';

CREATE FUNCTION dataprotect._is_closed(function regprocedure) RETURNS bool
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_own_is_closed_sql';
COMMENT ON FUNCTION dataprotect._is_closed(regprocedure) IS 'may only the extension''s own code and superusers call a function, whatever its privileges say?';

CREATE FUNCTION dataprotect._is_mine(xid) RETURNS bool
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_policy_is_mine_sql';
COMMENT ON FUNCTION dataprotect._is_mine(xid) IS 'is a transaction id that of this transaction or of a part of it?';

CREATE FUNCTION dataprotect._reseal_rows(tbl text, mine bool, only_new bool DEFAULT false) RETURNS int8
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_policy_reseal_sql';
COMMENT ON FUNCTION dataprotect._reseal_rows(text, bool, bool) IS
    'seals the rows of a table that are not sealed, or, only_new, that never were; how many';

CREATE FUNCTION dataprotect._fold_journal(tbl text, scope int8, anew bool, since int8 DEFAULT 0) RETURNS int8
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_policy_fold_sql';
COMMENT ON FUNCTION dataprotect._fold_journal(text, int8, bool, int8) IS
    'makes one note of those of a scope, or, anew, of the rows that are there; how many statements it stands for, since how many';

-- What somebody else has done does not decide, and is not quietly forgotten.
CREATE FUNCTION dataprotect._need_policy(tbl text, scope int8 DEFAULT 0) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT dataprotect._policy_whole(tbl, scope) THEN
        PERFORM dataprotect._raise('data_corrupted',
            format('table "dataprotect.%s" was changed by somebody else than extension "dataprotect"', tbl),
            'Rows were written, changed, removed or put back there without its functions.',
            'dataprotect.verify_policy() shows what; an administrator who has looked calls dataprotect.reseal_policy().',
            format('dataprotect.%I', tbl)::regclass);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._need_policy(text, int8) IS 'error unless the rows of a scope of a sealed table are as the extension left them';

-- The first key brings the policy key: what was decided before is sealed now, rows
-- of transactions that go on by these themselves.
CREATE FUNCTION dataprotect._seal_first(mine bool) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Keys are committed by others, who would wait for our lock.
    PERFORM dataprotect._reseal_rows(t.tbl, mine) FROM dataprotect._sealed_tables() t
    WHERE t.tbl <> 'type_modifier' AND (NOT mine OR t.tbl NOT IN ('epoch', 'epoch_key', 'key', 'key_version', 'subject_key'));
    IF NOT mine THEN
        PERFORM dataprotect._adopt_modifiers();
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._seal_first(bool) IS 'seals all rows, or those of this transaction; where the first key is made, and nowhere else';

-- Scopes of a table, of rows as of the journal.
CREATE FUNCTION dataprotect._policy_scopes(tbl text) RETURNS SETOF int8
    LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_column text := (SELECT t.scope_column FROM dataprotect._sealed_tables() t WHERE t.tbl = $1);
BEGIN
    RETURN QUERY EXECUTE format('SELECT j.scope FROM dataprotect.policy_journal j WHERE j.tbl = %L UNION SELECT %s FROM dataprotect.%I',
                                tbl, CASE WHEN v_column IS NULL THEN '0::int8' ELSE quote_ident(v_column) || '::int8' END, tbl);
END $$;
COMMENT ON FUNCTION dataprotect._policy_scopes(text) IS 'groups of rows of a sealed table that add up together';

CREATE FUNCTION dataprotect.verify_policy(OUT rel text, OUT "row" jsonb, OUT problem text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT * FROM dataprotect._sealed_tables() LOOP
        verify_policy.rel := 'dataprotect.' || t.tbl;
        verify_policy.problem := 'written or changed by somebody else than the extension';
        FOR verify_policy."row" IN
            EXECUTE format('SELECT to_jsonb(x) - ''{seal,wrapped}''::text[] FROM dataprotect.%I x WHERE NOT dataprotect._sealed(x)%s', t.tbl,
                           CASE WHEN t.tbl = 'type_modifier' AND NOT dataprotect._modifiers_adopted() THEN ' AND x.seal IS NOT NULL' END)
        LOOP
            RETURN NEXT;
        END LOOP;
        verify_policy.problem := 'rows were removed or put back by somebody else than the extension';
        FOR verify_policy."row" IN
            SELECT CASE WHEN t.scope_column IS NOT NULL THEN jsonb_build_object(t.scope_column, s) END
            FROM dataprotect._policy_scopes(t.tbl) s WHERE t.rooted AND NOT dataprotect._policy_adds_up(t.tbl, s)
        LOOP
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect.verify_policy() IS
    'rows that decide something and are not as the extension left them: written, changed, removed or put back by somebody else';

CREATE FUNCTION dataprotect.reseal_policy(reason text) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    f record;
    t record;
    s int8;
    v_found int := 0;
BEGIN
    PERFORM dataprotect._check_reason(reseal_policy.reason);
    PERFORM dataprotect._need_approval('reseal_policy', (SELECT jsonb_build_object('findings', count(*),
            'digest', encode(sha256(convert_to(coalesce(string_agg(v::text, E'\n' ORDER BY v::text), ''), 'UTF8')), 'hex'))
        FROM dataprotect.verify_policy() v))
        WHERE current_setting('dataprotect.approvals')::bool;
    FOR f IN SELECT * FROM dataprotect.verify_policy() LOOP
        PERFORM dataprotect._event('policy.resealed', NULL, jsonb_build_object('table', f.rel,
            'row', left(f."row"::text, 1500), 'problem', f.problem, 'reason', left(reseal_policy.reason, 500)));
        v_found := v_found + 1;
    END LOOP;
    FOR t IN SELECT * FROM dataprotect._sealed_tables() LOOP
        PERFORM dataprotect._reseal_rows(t.tbl, false);
        PERFORM dataprotect._reseal_rows(t.tbl, true);
        CONTINUE WHEN NOT t.rooted;
        FOR s IN SELECT p FROM dataprotect._policy_scopes(t.tbl) p WHERE NOT dataprotect._policy_adds_up(t.tbl, p) LOOP
            PERFORM dataprotect._fold_journal(t.tbl, s, true);
        END LOOP;
    END LOOP;
    PERFORM dataprotect._adopt_modifiers();
    -- Everybody looks again.
    PERFORM dataprotect._modifiers_collected();
    UPDATE dataprotect.key k SET description = k.description WHERE false;
    UPDATE dataprotect.access_grant g SET reason = g.reason WHERE false;
    RETURN v_found;
END $$;
COMMENT ON FUNCTION dataprotect.reseal_policy(text) IS
    'accepts what verify_policy() shows, as it is now, once an administrator has looked; each row is an event; how many';

-- The worker's round: what nobody has asked for yet is looked at, too.
CREATE FUNCTION dataprotect._watch_policy() RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
    s int8;
    v_bad int := 0;
BEGIN
    IF dataprotect._adopt_modifiers() AND NOT dataprotect._policy_whole('type_modifier', 0) THEN
        v_bad := v_bad + 1;
    END IF;
    FOR t IN SELECT * FROM dataprotect._sealed_tables() x WHERE x.rooted LOOP
        FOR s IN SELECT p FROM dataprotect._policy_scopes(t.tbl) p LOOP
            IF NOT dataprotect._policy_whole(t.tbl, s) THEN
                v_bad := v_bad + 1;
            ELSIF (SELECT count(*) FROM dataprotect.policy_journal j WHERE j.tbl = t.tbl AND j.scope = s) > 32 THEN
                PERFORM dataprotect._fold_journal(t.tbl, s, false);
            END IF;
        END LOOP;
    END LOOP;
    RETURN v_bad;
END $$;
COMMENT ON FUNCTION dataprotect._watch_policy() IS 'reports sealed tables that somebody else has changed, and keeps the journal short; how many';

-- Another policy key: every row is sealed anew, in one transaction beside which nobody
-- writes.  Nothing becomes ours by it: what does not fit now is for an administrator first.
CREATE FUNCTION dataprotect._rotate_policy_key() RETURNS int4
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '1min' AS $$
DECLARE
    t record;
    n record;
    v_notes jsonb := '[]';
    v_version int4;
BEGIN
    PERFORM dataprotect._adopt_modifiers();
    -- A step of a deletion locks holds first.
    FOR t IN SELECT x.tbl FROM dataprotect._sealed_tables() x ORDER BY x.tbl <> 'hold', x.tbl LOOP
        EXECUTE format('LOCK TABLE dataprotect.%I IN EXCLUSIVE MODE', t.tbl);
    END LOOP;
    LOCK TABLE dataprotect.policy_journal IN EXCLUSIVE MODE;
    IF NOT dataprotect._modifiers_adopted() OR EXISTS (SELECT FROM dataprotect.verify_policy()) THEN
        PERFORM dataprotect._raise('data_corrupted',
            'the key that seals policy cannot be replaced while policy is not as the extension left it',
            'Rows were written, changed, removed or put back by somebody else, or a restored database has not settled yet.',
            'dataprotect.verify_policy() shows what; an administrator who has looked calls dataprotect.reseal_policy().');
    END IF;
    SELECT coalesce(jsonb_agg(jsonb_build_array(x.tbl, s, dataprotect._fold_journal(x.tbl, s, false))), '[]') INTO v_notes
        FROM dataprotect._sealed_tables() x, LATERAL dataprotect._policy_scopes(x.tbl) s WHERE x.rooted;
    v_version := dataprotect._mint_system_version(8::int2);
    FOR t IN SELECT x.tbl FROM dataprotect._sealed_tables() x ORDER BY x.tbl LOOP
        PERFORM dataprotect._reseal_rows(t.tbl, false);
    END LOOP;
    FOR n IN SELECT e ->> 0 AS tbl, (e ->> 1)::int8 AS scope, (e ->> 2)::int8 AS statements FROM jsonb_array_elements(v_notes) e LOOP
        PERFORM dataprotect._fold_journal(n.tbl, n.scope, true, n.statements);
    END LOOP;
    PERFORM dataprotect._adopt_modifiers();
    IF EXISTS (SELECT FROM dataprotect.verify_policy()) THEN
        PERFORM dataprotect._raise('data_corrupted',
            'policy could not be sealed under another key',
            NULL,
            'Nothing was changed. See dataprotect.verify_policy().');
    END IF;
    RETURN v_version;
END $$;
COMMENT ON FUNCTION dataprotect._rotate_policy_key() IS
    'seals all policy under another key, at once; an error where any of it is not as the extension left it';
