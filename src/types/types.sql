--
-- Encrypted types.  One C implementation serves every base type; what differs
-- is declared here, by the same function that serves create_encrypted_type().
--
CREATE TABLE dataprotect.type_modifier (
    typmod int4 PRIMARY KEY,
    definition text NOT NULL,
    key name NOT NULL,
    searchable bool NOT NULL,
    ordered bool NOT NULL,
    base_typmod int4 NOT NULL
);
COMMENT ON TABLE dataprotect.type_modifier IS 'modifiers of encrypted types by the number that columns carry; filled by DDL itself, so never dumped';

CREATE VIEW dataprotect.type_modifiers AS SELECT * FROM dataprotect.type_modifier;
COMMENT ON VIEW dataprotect.type_modifiers IS 'modifiers of encrypted types by the number that columns carry';

CREATE FUNCTION dataprotect._encrypted_type(base regtype) RETURNS regtype
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_encrypted_type_sql';
COMMENT ON FUNCTION dataprotect._encrypted_type(regtype) IS 'encrypted type over a base type (text''s for varchar), or null';

CREATE FUNCTION dataprotect._base_type(encrypted regtype) RETURNS regtype
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_base_type_sql';
COMMENT ON FUNCTION dataprotect._base_type(regtype) IS 'base type of an encrypted type, or null where it is none';

CREATE FUNCTION dataprotect._check_base_type(base regtype) RETURNS void
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_check_base_type_sql';
COMMENT ON FUNCTION dataprotect._check_base_type(regtype) IS 'raises an error where no encrypted type can be made over a type';

CREATE FUNCTION dataprotect._envelope_key_id(value anyelement) RETURNS int8
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_envelope_key_id_sql';
COMMENT ON FUNCTION dataprotect._envelope_key_id(anyelement) IS 'id of the key that a protected value is sealed under; opens nothing';

CREATE FUNCTION dataprotect._check_value(value anyelement) RETURNS bool
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_check_value_sql';
COMMENT ON FUNCTION dataprotect._check_value(anyelement) IS 'whether a protected value authenticates; null where its key is gone; shows nothing of it';

CREATE FUNCTION dataprotect._typanalyze(internal) RETURNS bool
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_type_analyze';
COMMENT ON FUNCTION dataprotect._typanalyze(internal) IS 'ANALYZE of encrypted types: null fraction and width only';

-- Declares one function in C with its comment; _open_type() says who may call it.
CREATE FUNCTION dataprotect._declare(signature text, returns text, symbol text, properties text, remark text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE FUNCTION %s RETURNS %s LANGUAGE c %s AS %L, %L',
                   signature, returns, properties, dataprotect._library(), symbol);
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', signature, remark);
END $$;
COMMENT ON FUNCTION dataprotect._declare(text, text, text, text, text) IS 'declares a C function of an encrypted type';

-- Where the module lies: as it was said for _typanalyze.
CREATE FUNCTION dataprotect._library() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.probin FROM pg_catalog.pg_proc p WHERE p.oid = 'dataprotect._typanalyze(internal)'::regprocedure
$$;
COMMENT ON FUNCTION dataprotect._library() IS 'library of the extension''s C functions';

-- What PostgreSQL asks EXECUTE for of whoever uses the type, or an operator or
-- cast of it.  These functions look at the rights on keys themselves; those
-- that only index access methods call are not among them.
CREATE FUNCTION dataprotect._type_routines(type regtype) RETURNS SETOF regprocedure
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.oid::regprocedure
        FROM (SELECT unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout])
                  FROM pg_catalog.pg_type t WHERE t.oid = $1
              UNION SELECT c.castfunc FROM pg_catalog.pg_cast c WHERE $1 IN (c.castsource, c.casttarget)
              UNION SELECT o.oprcode FROM pg_catalog.pg_operator o WHERE $1 IN (o.oprleft, o.oprright)) used (routine)
            JOIN pg_catalog.pg_proc p ON p.oid = used.routine
        WHERE p.probin = dataprotect._library()
$$;
COMMENT ON FUNCTION dataprotect._type_routines(regtype) IS 'functions of an encrypted type that everybody must be able to call';

CREATE FUNCTION dataprotect._open_type(type regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_routine regprocedure;
BEGIN
    PERFORM dataprotect._close('pg_type'::regclass, type);
    PERFORM dataprotect._close('pg_proc'::regclass, p.oid)
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.typnamespace = p.pronamespace
        WHERE t.oid = type AND starts_with(p.proname, t.typname || '_') AND p.probin = dataprotect._library();
    EXECUTE format('GRANT USAGE ON TYPE %s TO PUBLIC', type);
    FOR v_routine IN SELECT dataprotect._type_routines(type) LOOP
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', v_routine);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._open_type(regtype) IS 'lets everybody use an encrypted type; what a value shows depends on its key';

-- The type and its input and output.
CREATE FUNCTION dataprotect._create_type_io(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t pg_catalog.pg_type;
BEGIN
    SELECT * INTO STRICT t FROM pg_catalog.pg_type WHERE oid = base;
    EXECUTE format('CREATE TYPE %s', enc);
    PERFORM dataprotect._declare(enc || '_in(cstring, oid, int4)', enc, 'dp_type_in', 'STABLE STRICT PARALLEL SAFE',
        'input: seals');
    PERFORM dataprotect._declare(enc || '_out(' || enc || ')', 'cstring', 'dp_type_out', 'STABLE STRICT PARALLEL SAFE',
        'output: plaintext, mask or ciphertext, by the role''s grants');
    PERFORM dataprotect._declare(enc || '_recv(internal, oid, int4)', enc, 'dp_type_recv', 'STABLE STRICT PARALLEL SAFE',
        'binary input: seals');
    PERFORM dataprotect._declare(enc || '_send(' || enc || ')', 'bytea', 'dp_type_send', 'STABLE STRICT PARALLEL SAFE',
        'binary output: plaintext, mask or ciphertext, by the role''s grants');
    PERFORM dataprotect._declare(enc || '_typmod_in(cstring[])', 'int4', 'dp_typmod_in', 'STABLE STRICT',
        'modifier: key, words and base modifier to a number');
    PERFORM dataprotect._declare(enc || '_typmod_out(int4)', 'cstring', 'dp_typmod_out', 'STABLE STRICT',
        'modifier: a number to key, words and base modifier');
    EXECUTE format('CREATE TYPE %s (INPUT = %1$s_in, OUTPUT = %1$s_out, RECEIVE = %1$s_recv, SEND = %1$s_send, '
                   'TYPMOD_IN = %1$s_typmod_in, TYPMOD_OUT = %1$s_typmod_out, ANALYZE = dataprotect._typanalyze, '
                   'STORAGE = external, CATEGORY = %2$L, COLLATABLE = %3$s)',
                   enc, t.typcategory, (t.typcollation <> 0)::text);
    -- ANALYZE of arrays would compare their elements; no command sets this for an array type.
    UPDATE pg_catalog.pg_type a SET typanalyze = 'dataprotect._typanalyze(internal)'::regprocedure
        FROM pg_catalog.pg_type e WHERE e.oid = enc::regtype AND a.oid = e.typarray;
    EXECUTE format('COMMENT ON TYPE %s IS %L', enc, format('%s, always stored and moved as ciphertext', base));
END $$;
COMMENT ON FUNCTION dataprotect._create_type_io(text, regtype) IS 'declares an encrypted type with its input and output';

-- Casts: to the base type implicitly; from it, and from what casts to it, on
-- assignment; to what it casts to, as strictly as the base type does.
CREATE FUNCTION dataprotect._create_type_casts(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
    v_function text;
BEGIN
    PERFORM dataprotect._declare(enc || '_coerce(' || enc || ', int4, bool)', enc, 'dp_coerce', 'STABLE STRICT PARALLEL SAFE',
        'seals a value for a column');
    EXECUTE format('CREATE CAST (%s AS %1$s) WITH FUNCTION %1$s_coerce(%1$s, int4, bool) AS IMPLICIT', enc);
    PERFORM dataprotect._declare(enc || '_reveal(' || enc || ')', base::text, 'dp_to_base', 'STABLE STRICT PARALLEL SAFE',
        'opens a value: plaintext or mask, by the role''s grants');
    EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %1$s_reveal(%1$s) AS IMPLICIT', enc, base);

    FOR r IN
        SELECT base AS source
        UNION
        SELECT c.castsource::regtype FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.castsource
        WHERE c.casttarget = base AND c.castsource <> base AND c.castcontext IN ('a', 'i')
          AND c.castmethod IN ('f', 'b') AND dataprotect._base_type(c.castsource) IS NULL
          AND t.typtype IN ('b') AND t.typnamespace = 'pg_catalog'::regnamespace
    LOOP
        v_function := format('%s_seal(%s, int4, bool)', enc, r.source);
        PERFORM dataprotect._declare(v_function, enc, 'dp_from_base', 'STABLE STRICT PARALLEL SAFE', 'seals a value');
        EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %s AS ASSIGNMENT', r.source, enc, v_function);
    END LOOP;

    FOR r IN
        SELECT c.casttarget::regtype AS target, c.castcontext FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
        WHERE c.castsource = base AND c.casttarget <> base AND c.castmethod IN ('f', 'b')
          AND dataprotect._base_type(c.casttarget) IS NULL
          AND t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace
    LOOP
        v_function := format('%s_to_%s(%1$s)', enc, (SELECT typname FROM pg_catalog.pg_type WHERE oid = r.target));
        PERFORM dataprotect._declare(v_function, r.target::text, 'dp_to_other', 'STABLE STRICT PARALLEL SAFE',
            'opens a value and casts it');
        -- varchar as easily as text: functions over varchar, UNION and COALESCE with varchar columns
        EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %s %s', enc, r.target, v_function,
                       CASE WHEN r.target = 'varchar'::regtype AND r.castcontext = 'i' THEN 'AS IMPLICIT'
                            WHEN r.castcontext = 'e' THEN '' ELSE 'AS ASSIGNMENT' END);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_type_casts(text, regtype) IS 'declares the casts of an encrypted type';

-- The six comparison operators for one pair of argument types.
CREATE FUNCTION dataprotect._create_operators(enc text, left_type text, right_type text, sides text, ordered bool) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
    v_schema text := substring(enc from '^(.*)\.[^.]*$');
    v_function text;
BEGIN
    FOR r IN
        SELECT * FROM (VALUES
            ('=', 'eq', '=', '<>', 'eqsel', 'eqjoinsel', 'HASHES, MERGES', 'LEAKPROOF'),
            ('<>', 'ne', '<>', '=', 'neqsel', 'neqjoinsel', '', 'LEAKPROOF'),
            ('<', 'lt', '>', '>=', 'scalarltsel', 'scalarltjoinsel', '', ''),
            ('<=', 'le', '>=', '>', 'scalarlesel', 'scalarlejoinsel', '', ''),
            ('>', 'gt', '<', '<=', 'scalargtsel', 'scalargtjoinsel', '', ''),
            ('>=', 'ge', '<=', '<', 'scalargesel', 'scalargejoinsel', '', ''))
            o(op, name, commutator, negator, restrict, join_sel, extra, leak)
        WHERE ordered OR name IN ('eq', 'ne')
    LOOP
        v_function := format('%s_%s(%s, %s)', enc, r.name, left_type, right_type);
        PERFORM dataprotect._declare(v_function, 'bool', format('dp_%s_%s', r.name, sides),
            'STABLE STRICT PARALLEL SAFE ' || r.leak, 'comparison');
        EXECUTE format('CREATE OPERATOR %s.%s (FUNCTION = %s_%s, LEFTARG = %s, RIGHTARG = %s, '
                       'COMMUTATOR = OPERATOR(%1$s.%8$s), NEGATOR = OPERATOR(%1$s.%9$s), RESTRICT = %7$s, JOIN = %10$s%11$s)',
                       v_schema, r.op, enc, r.name, left_type, right_type, r.restrict, r.commutator, r.negator, r.join_sel,
                       CASE WHEN r.extra = '' THEN '' ELSE ', ' || CASE WHEN ordered THEN r.extra ELSE 'HASHES' END END);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_operators(text, text, text, text, bool) IS 'declares the comparison operators of an encrypted type against one type';

-- Operator families: hash (equality), plaintext order (default btree), tokens.
CREATE FUNCTION dataprotect._create_opclasses(enc text, bases text[], ordered bool, searchable bool) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schema text := substring(enc from '^(.*)\.[^.]*$');
    b text;
    v_ops text;
BEGIN
    PERFORM dataprotect._declare(format('%s_hash(%1$s)', enc), 'int4', 'dp_hash_e', 'STABLE STRICT PARALLEL SAFE', 'index hash');
    PERFORM dataprotect._declare(format('%s_hash_extended(%1$s, int8)', enc), 'int8', 'dp_hash_extended_e', 'STABLE STRICT PARALLEL SAFE', 'hash with seed');
    EXECUTE format('CREATE OPERATOR FAMILY %s_hash_ops USING hash', enc);
    EXECUTE format('CREATE OPERATOR CLASS %s_hash_ops DEFAULT FOR TYPE %1$s USING hash FAMILY %1$s_hash_ops AS '
                   'OPERATOR 1 %2$s.= (%1$s, %1$s), FUNCTION 1 %1$s_hash(%1$s), FUNCTION 2 %1$s_hash_extended(%1$s, int8)', enc, v_schema);
    FOREACH b IN ARRAY bases LOOP
        PERFORM dataprotect._declare(format('%s_hash(%s)', enc, b), 'int4', 'dp_hash_b', 'STABLE STRICT PARALLEL SAFE', 'index hash of a base value');
        PERFORM dataprotect._declare(format('%s_hash_extended(%s, int8)', enc, b), 'int8', 'dp_hash_extended_b', 'STABLE STRICT PARALLEL SAFE', 'hash of a base value with seed');
        EXECUTE format('ALTER OPERATOR FAMILY %s_hash_ops USING hash ADD '
                       'OPERATOR 1 %3$s.= (%1$s, %2$s), OPERATOR 1 %3$s.= (%2$s, %1$s), '
                       'FUNCTION 1 (%2$s, %2$s) %1$s_hash(%2$s), FUNCTION 2 (%2$s, %2$s) %1$s_hash_extended(%2$s, int8)', enc, b, v_schema);
    END LOOP;

    IF ordered THEN
        PERFORM dataprotect._declare(format('%s_cmp(%1$s, %1$s)', enc), 'int4', 'dp_cmp_ee', 'STABLE STRICT PARALLEL SAFE', 'plaintext order');
        PERFORM dataprotect._declare(enc || '_sortsupport(internal)', 'void', 'dp_sort_support', 'STABLE STRICT PARALLEL SAFE', 'plaintext order');
        EXECUTE format('CREATE OPERATOR FAMILY %s_ops USING btree', enc);
        EXECUTE format('CREATE OPERATOR CLASS %s_ops DEFAULT FOR TYPE %1$s USING btree FAMILY %1$s_ops AS '
                       'OPERATOR 1 %2$s.<, OPERATOR 2 %2$s.<=, OPERATOR 3 %2$s.=, OPERATOR 4 %2$s.>=, OPERATOR 5 %2$s.>, '
                       'FUNCTION 1 %1$s_cmp(%1$s, %1$s), FUNCTION 2 %1$s_sortsupport(internal)', enc, v_schema);
        FOREACH b IN ARRAY bases LOOP
            PERFORM dataprotect._declare(format('%s_cmp(%1$s, %s)', enc, b), 'int4', 'dp_cmp_eb', 'STABLE STRICT PARALLEL SAFE', 'plaintext order');
            PERFORM dataprotect._declare(format('%s_cmp(%s, %1$s)', enc, b), 'int4', 'dp_cmp_be', 'STABLE STRICT PARALLEL SAFE', 'plaintext order');
            SELECT string_agg(format('OPERATOR %s %s.%s (%s, %s)', o.n, v_schema, o.op, s.l, s.r), ', ') INTO v_ops
                FROM (VALUES (1, '<'), (2, '<='), (3, '='), (4, '>='), (5, '>')) o(n, op), (VALUES (enc, b), (b, enc)) s(l, r);
            EXECUTE format('ALTER OPERATOR FAMILY %s_ops USING btree ADD %s, '
                           'FUNCTION 1 (%1$s, %3$s) %1$s_cmp(%1$s, %3$s), FUNCTION 1 (%3$s, %1$s) %1$s_cmp(%3$s, %1$s)', enc, v_ops, b);
            PERFORM dataprotect._declare(format('%s_cmp(%s, %2$s)', enc, b), 'int4', 'dp_cmp_bb', 'STABLE STRICT PARALLEL SAFE', 'plaintext order of base values');
            EXECUTE format('ALTER OPERATOR FAMILY %s_ops USING btree ADD FUNCTION 1 (%2$s, %2$s) %1$s_cmp(%2$s, %2$s)', enc, b);
        END LOOP;
    END IF;

    IF searchable THEN
        PERFORM dataprotect._create_token_class(enc, bases, v_schema);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._create_opclasses(text, text[], bool, bool) IS 'declares the operator classes of an encrypted type';

CREATE FUNCTION dataprotect._create_token_class(enc text, bases text[], schema text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
    b text;
BEGIN
    FOR r IN SELECT * FROM (VALUES ('#<#', 'lt', '#>#', '#>=#'), ('#<=#', 'le', '#>=#', '#>#'),
                                   ('#>#', 'gt', '#<#', '#<=#'), ('#>=#', 'ge', '#<=#', '#<#')) o(op, name, commutator, negator)
    LOOP
        PERFORM dataprotect._declare(format('%s_token_%s(%1$s, %1$s)', enc, r.name), 'bool', format('dp_token_%s_ee', r.name),
            'STABLE STRICT PARALLEL SAFE', 'comparison of search tokens');
        EXECUTE format('CREATE OPERATOR %s.%s (FUNCTION = %s_token_%s, LEFTARG = %3$s, RIGHTARG = %3$s, '
                       'COMMUTATOR = OPERATOR(%1$s.%5$s), NEGATOR = OPERATOR(%1$s.%6$s), RESTRICT = scalarltsel, JOIN = scalarltjoinsel)',
                       schema, r.op, enc, r.name, r.commutator, r.negator);
    END LOOP;
    PERFORM dataprotect._declare(format('%s_token_cmp(%1$s, %1$s)', enc), 'int4', 'dp_token_cmp_ee', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens');
    PERFORM dataprotect._declare(enc || '_token_sortsupport(internal)', 'void', 'dp_token_sort_support', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens');
    EXECUTE format('CREATE OPERATOR FAMILY %s_token_ops USING btree', enc);
    EXECUTE format('CREATE OPERATOR CLASS %s_token_ops FOR TYPE %1$s USING btree FAMILY %1$s_token_ops AS '
                   'OPERATOR 1 %2$s.#<#, OPERATOR 2 %2$s.#<=#, OPERATOR 3 %2$s.=, OPERATOR 4 %2$s.#>=#, OPERATOR 5 %2$s.#>#, '
                   'FUNCTION 1 %1$s_token_cmp(%1$s, %1$s), FUNCTION 2 %1$s_token_sortsupport(internal)', enc, schema);
    FOREACH b IN ARRAY bases LOOP
        PERFORM dataprotect._declare(format('%s_token_cmp(%1$s, %s)', enc, b), 'int4', 'dp_token_cmp_eb', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens');
        PERFORM dataprotect._declare(format('%s_token_cmp(%s, %1$s)', enc, b), 'int4', 'dp_token_cmp_be', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens');
        EXECUTE format('ALTER OPERATOR FAMILY %s_token_ops USING btree ADD OPERATOR 3 %3$s.= (%1$s, %2$s), OPERATOR 3 %3$s.= (%2$s, %1$s), '
                       'FUNCTION 1 (%1$s, %2$s) %1$s_token_cmp(%1$s, %2$s), FUNCTION 1 (%2$s, %1$s) %1$s_token_cmp(%2$s, %1$s)', enc, b, schema);
        PERFORM dataprotect._declare(format('%s_token_cmp(%s, %2$s)', enc, b), 'int4', 'dp_token_cmp_bb', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens of base values');
        EXECUTE format('ALTER OPERATOR FAMILY %s_token_ops USING btree ADD FUNCTION 1 (%2$s, %2$s) %1$s_token_cmp(%2$s, %2$s)', enc, b);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_token_class(text, text[], text) IS 'declares the token order of an encrypted type';

CREATE FUNCTION dataprotect._create_encrypted_type(schema text, base regtype) RETURNS regtype
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
    t pg_catalog.pg_type;
    v_name text;
    v_enc text;
    v_bases text[];
    v_hashable bool;
    v_ordered bool;
    v_searchable bool;
    b text;
BEGIN
    PERFORM dataprotect._check_base_type(base);
    IF dataprotect._encrypted_type(base) IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object',
            MESSAGE = format('type %s has an encrypted type already: %s', base, dataprotect._encrypted_type(base));
    END IF;
    SELECT * INTO STRICT t FROM pg_catalog.pg_type WHERE oid = base;
    v_name := 'encrypted_' || t.typname;
    IF octet_length(v_name) > 40 THEN
        RAISE EXCEPTION USING ERRCODE = 'name_too_long', MESSAGE = 'the base type''s name is too long';
    END IF;
    v_enc := format('%I.%I', schema, v_name);
    -- Not varchar: it has no operators of its own, so that one of ours would take over
    -- every varchar = 'literal' in the database.  A varchar reaches text's operators.
    v_bases := CASE base WHEN 'text'::regtype THEN ARRAY['text', 'bpchar', 'name'] ELSE ARRAY[base::text] END;
    v_hashable := EXISTS (SELECT FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod
                          WHERE (c.opcintype = base OR (t.typtype = 'e' AND c.opcintype = 'anyenum'::regtype)) AND c.opcdefault AND a.amname = 'hash');
    v_ordered := EXISTS (SELECT FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod
                         WHERE (c.opcintype = base OR (t.typtype = 'e' AND c.opcintype = 'anyenum'::regtype)) AND c.opcdefault AND a.amname = 'btree');
    v_searchable := base = ANY (ARRAY['text', 'bytea', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'date', 'time',
                                      'timestamp', 'timestamptz', 'uuid']::regtype[]);
    PERFORM dataprotect._create_type_io(v_enc, base);
    PERFORM dataprotect._create_type_casts(v_enc, base);
    IF v_hashable THEN
        PERFORM dataprotect._create_operators(v_enc, v_enc, v_enc, 'ee', v_ordered);
        FOREACH b IN ARRAY v_bases LOOP
            PERFORM dataprotect._create_operators(v_enc, v_enc, b, 'eb', v_ordered);
            PERFORM dataprotect._create_operators(v_enc, b, v_enc, 'be', v_ordered);
        END LOOP;
        PERFORM dataprotect._create_opclasses(v_enc, v_bases, v_ordered, v_searchable AND v_ordered);
    END IF;
    RETURN v_enc::regtype;
END $$;
COMMENT ON FUNCTION dataprotect._create_encrypted_type(text, regtype) IS 'declares the encrypted type over a base type in a schema';

DO $$
DECLARE
    b regtype;
BEGIN
    FOREACH b IN ARRAY ARRAY['text', 'bytea', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'bool', 'date', 'time',
                             'timestamp', 'timestamptz', 'interval', 'uuid', 'inet', 'jsonb']::regtype[]
    LOOP
        PERFORM dataprotect._create_encrypted_type('@extschema@', b);
    END LOOP;
END $$;

-- Concatenation: || of text and of anything else would be ambiguous otherwise.
SELECT dataprotect._declare('@extschema@.encrypted_text_concat(' || s.l || ', ' || s.r || ')', 'text', 'dp_concat_' || s.sides,
                            'STABLE STRICT PARALLEL SAFE', 'concatenation')
FROM (VALUES ('@extschema@.encrypted_text', '@extschema@.encrypted_text', 'ee'), ('@extschema@.encrypted_text', 'text', 'eb'),
             ('text', '@extschema@.encrypted_text', 'be')) s(l, r, sides);
CREATE OPERATOR @extschema@.|| (FUNCTION = @extschema@.encrypted_text_concat, LEFTARG = @extschema@.encrypted_text, RIGHTARG = @extschema@.encrypted_text);
CREATE OPERATOR @extschema@.|| (FUNCTION = @extschema@.encrypted_text_concat, LEFTARG = @extschema@.encrypted_text, RIGHTARG = text);
CREATE OPERATOR @extschema@.|| (FUNCTION = @extschema@.encrypted_text_concat, LEFTARG = text, RIGHTARG = @extschema@.encrypted_text);

CREATE FUNCTION dataprotect.create_encrypted_type(base regtype) RETURNS regtype
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schema text;
    v_type regtype;
BEGIN
    SELECT n.nspname INTO STRICT v_schema
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        WHERE t.oid = dataprotect._encrypted_type('text');
    v_type := dataprotect._create_encrypted_type(v_schema, base);
    PERFORM dataprotect._open_type(v_type);
    PERFORM dataprotect._event('type.created', NULL, jsonb_build_object('base', base::text));
    RETURN v_type;
END $$;
COMMENT ON FUNCTION dataprotect.create_encrypted_type(regtype) IS
    'makes encrypted_<name> over any scalar base type, beside the extension''s own encrypted types';
