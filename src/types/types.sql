--
-- Encrypted types.  One C implementation serves every base type; what differs
-- is declared here, by the same function that serves create_encrypted_type().
--
-- Written by DDL itself, in its transaction (src/types/modifier_registry.h).
-- Nothing is unique here: a constraint would make one transaction wait for another.
CREATE TABLE dataprotect.type_modifier (
    typmod int4 NOT NULL,
    type regtype NOT NULL,
    definition text COLLATE "C" NOT NULL,
    key name NOT NULL,
    searchable bool NOT NULL,
    ordered bool NOT NULL,
    base_typmod int4 NOT NULL,
    role oid NOT NULL,
    padded bool NOT NULL
);
CREATE INDEX type_modifier_typmod ON dataprotect.type_modifier (typmod);
CREATE INDEX type_modifier_words ON dataprotect.type_modifier (type, definition);
CREATE INDEX type_modifier_role ON dataprotect.type_modifier (role);
COMMENT ON TABLE dataprotect.type_modifier IS 'modifiers of encrypted types by the number that columns carry; filled by DDL itself, so never dumped';

CREATE TABLE dataprotect.modifier_secret (secret bytea NOT NULL);
COMMENT ON TABLE dataprotect.modifier_secret IS 'what the numbers of modifiers are made from, so that nobody can choose one; of this database alone, so never dumped';
INSERT INTO dataprotect.modifier_secret
    SELECT pg_catalog.uuid_send(pg_catalog.gen_random_uuid()) || pg_catalog.uuid_send(pg_catalog.gen_random_uuid());

CREATE VIEW dataprotect.type_modifiers AS
    SELECT DISTINCT typmod, type, definition, key, searchable, ordered, padded, base_typmod FROM dataprotect.type_modifier;
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

CREATE FUNCTION dataprotect._typanalyze(internal) RETURNS bool
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_type_analyze';
COMMENT ON FUNCTION dataprotect._typanalyze(internal) IS 'ANALYZE of encrypted types: null fraction and width only';

-- The collector of modifiers that nothing uses any more.
CREATE FUNCTION dataprotect._claim_modifier(typmod int4) RETURNS bool
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_modifier_claim';
COMMENT ON FUNCTION dataprotect._claim_modifier(int4) IS 'keeps others from beginning to use a modifier until the transaction ends; false where somebody does';

CREATE FUNCTION dataprotect._modifiers_collected() RETURNS void
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dp_modifier_collected';
COMMENT ON FUNCTION dataprotect._modifiers_collected() IS 'makes every session ask the table of modifiers again';

CREATE FUNCTION dataprotect._modifiers_in_tree(tree pg_node_tree) RETURNS int4[]
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_modifier_in_tree';
COMMENT ON FUNCTION dataprotect._modifiers_in_tree(pg_node_tree) IS 'type modifiers that a stored expression or query mentions';

-- Columns and domains first: they tell most of it.
CREATE FUNCTION dataprotect._unused_modifiers() RETURNS SETOF int4
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.typmod FROM dataprotect.type_modifier m
    EXCEPT
    SELECT a.atttypmod FROM pg_attribute a WHERE a.atttypmod >= 0 AND a.atttypid >= 16384
    EXCEPT
    SELECT t.typtypmod FROM pg_type t WHERE t.typtypmod >= 0
$$;
COMMENT ON FUNCTION dataprotect._unused_modifiers() IS 'registered modifiers that no column and no domain has';

CREATE FUNCTION dataprotect._modifiers_in_expressions() RETURNS SETOF int4
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT unnest(dataprotect._modifiers_in_tree(x.tree))
    FROM (SELECT ev_action FROM pg_rewrite WHERE oid >= 16384
          UNION ALL SELECT ev_qual FROM pg_rewrite WHERE oid >= 16384
          UNION ALL SELECT adbin FROM pg_attrdef WHERE oid >= 16384
          UNION ALL SELECT conbin FROM pg_constraint WHERE oid >= 16384
          UNION ALL SELECT prosqlbody FROM pg_proc WHERE oid >= 16384
          UNION ALL SELECT proargdefaults FROM pg_proc WHERE oid >= 16384
          UNION ALL SELECT typdefaultbin FROM pg_type WHERE oid >= 16384
          UNION ALL SELECT polqual FROM pg_policy WHERE oid >= 16384
          UNION ALL SELECT polwithcheck FROM pg_policy WHERE oid >= 16384
          UNION ALL SELECT tgqual FROM pg_trigger WHERE oid >= 16384
          UNION ALL SELECT indexprs FROM pg_index WHERE indexrelid >= 16384
          UNION ALL SELECT indpred FROM pg_index WHERE indexrelid >= 16384
          UNION ALL SELECT partexprs FROM pg_partitioned_table
          UNION ALL SELECT stxexprs FROM pg_statistic_ext
          UNION ALL SELECT prqual FROM pg_publication_rel) x(tree)
    WHERE x.tree IS NOT NULL
$$;
COMMENT ON FUNCTION dataprotect._modifiers_in_expressions() IS 'type modifiers in every expression and query that the database stores';

CREATE FUNCTION dataprotect._collect_modifiers() RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_claimed int4[];
    v_removed int;
BEGIN
    -- each statement below must see what was committed before its claim
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN 0;
    END IF;
    SELECT array_agg(u.typmod) INTO v_claimed
        FROM (SELECT typmod FROM dataprotect._unused_modifiers() typmod LIMIT 1000) u
        WHERE dataprotect._claim_modifier(u.typmod);
    IF v_claimed IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM dataprotect.type_modifier m
        WHERE m.typmod = ANY (v_claimed) AND m.typmod IN (SELECT dataprotect._unused_modifiers()
                                                          EXCEPT SELECT dataprotect._modifiers_in_expressions());
    GET DIAGNOSTICS v_removed = ROW_COUNT;
    PERFORM dataprotect._modifiers_collected();
    RETURN v_removed;
END $$;
COMMENT ON FUNCTION dataprotect._collect_modifiers() IS 'removes registered modifiers that nothing uses any more, up to a thousand; how many rows went';

CREATE FUNCTION dataprotect._base_code(base regtype) RETURNS text
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_base_code_sql';
COMMENT ON FUNCTION dataprotect._base_code(regtype) IS 'number of a base type as the cast to it records it; null for those of the extension';

CREATE FUNCTION dataprotect._belong_to_type(class regclass, object oid, type regtype) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_belong_to_type_sql';
COMMENT ON FUNCTION dataprotect._belong_to_type(regclass, oid, regtype) IS 'records that an object goes when a type goes';

-- What is made for a type is named after it, beside it.
CREATE FUNCTION dataprotect._member(enc text, suffix text) RETURNS text
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT format('%I.%I', n[1], n[2] || suffix) FROM (SELECT parse_ident(enc)) p(n)
$$;
COMMENT ON FUNCTION dataprotect._member(text, text) IS 'quoted name of an object that is made for an encrypted type';

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
    PERFORM dataprotect._declare(dataprotect._member(enc, '_in') || '(cstring, oid, int4)', enc, 'dp_type_in', 'STABLE STRICT PARALLEL SAFE',
        'input: seals');
    PERFORM dataprotect._declare(dataprotect._member(enc, '_out') || '(' || enc || ')', 'cstring', 'dp_type_out', 'STABLE STRICT PARALLEL SAFE',
        'output: plaintext, mask or ciphertext, by the role''s grants');
    PERFORM dataprotect._declare(dataprotect._member(enc, '_recv') || '(internal, oid, int4)', enc, 'dp_type_recv', 'STABLE STRICT PARALLEL SAFE',
        'binary input: seals');
    PERFORM dataprotect._declare(dataprotect._member(enc, '_send') || '(' || enc || ')', 'bytea', 'dp_type_send', 'STABLE STRICT PARALLEL SAFE',
        'binary output: plaintext, mask or ciphertext, by the role''s grants');
    PERFORM dataprotect._declare(dataprotect._member(enc, '_typmod_in') || '(cstring[])', 'int4', 'dp_typmod_in', 'STABLE STRICT',
        'modifier: key, words and base modifier to a number');
    PERFORM dataprotect._declare(dataprotect._member(enc, '_typmod_out') || '(int4)', 'cstring', 'dp_typmod_out', 'STABLE STRICT',
        'modifier: a number to key, words and base modifier');
    EXECUTE format('CREATE TYPE %s (INPUT = %s, OUTPUT = %s, RECEIVE = %s, SEND = %s, '
                   'TYPMOD_IN = %s, TYPMOD_OUT = %s, ANALYZE = dataprotect._typanalyze, '
                   'STORAGE = external, CATEGORY = %L, COLLATABLE = %s)',
                   enc, dataprotect._member(enc, '_in'), dataprotect._member(enc, '_out'),
                   dataprotect._member(enc, '_recv'), dataprotect._member(enc, '_send'),
                   dataprotect._member(enc, '_typmod_in'), dataprotect._member(enc, '_typmod_out'),
                   t.typcategory, (t.typcollation <> 0)::text);
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
    v_function := format('%s(%s, int4, bool)', dataprotect._member(enc, '_coerce'), enc);
    PERFORM dataprotect._declare(v_function, enc, 'dp_coerce', 'STABLE STRICT PARALLEL SAFE',
        'seals a value for a column');
    EXECUTE format('CREATE CAST (%s AS %1$s) WITH FUNCTION %s AS IMPLICIT', enc, v_function);
    -- the argument's name records the number of the base type (src/types/typeinfo.c)
    v_function := format('%s(%s %s)', dataprotect._member(enc, '_reveal'), dataprotect._base_code(base), enc);
    PERFORM dataprotect._declare(v_function, base::text, 'dp_to_base', 'STABLE STRICT PARALLEL SAFE',
        'opens a value: plaintext or mask, by the role''s grants');
    EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %s(%1$s) AS IMPLICIT', enc, base, dataprotect._member(enc, '_reveal'));

    FOR r IN
        SELECT base AS source
        UNION
        SELECT c.castsource::regtype FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.castsource
        WHERE c.casttarget = base AND c.castsource <> base AND c.castcontext IN ('a', 'i')
          AND c.castmethod IN ('f', 'b') AND dataprotect._base_type(c.castsource) IS NULL
          AND t.typtype IN ('b') AND t.typnamespace = 'pg_catalog'::regnamespace
    LOOP
        v_function := format('%s(%s, int4, bool)', dataprotect._member(enc, '_seal'), r.source);
        PERFORM dataprotect._declare(v_function, enc, 'dp_from_base', 'STABLE STRICT PARALLEL SAFE', 'seals a value');
        EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %s AS ASSIGNMENT', r.source, enc, v_function);
    END LOOP;

    FOR r IN
        SELECT c.casttarget::regtype AS target, c.castcontext FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
        WHERE c.castsource = base AND c.casttarget <> base AND c.castmethod IN ('f', 'b')
          AND dataprotect._base_type(c.casttarget) IS NULL
          AND t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace
    LOOP
        v_function := format('%s(%s)', dataprotect._member(enc, '_to_' || (SELECT typname FROM pg_catalog.pg_type WHERE oid = r.target)), enc);
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
    v_schema text := quote_ident((parse_ident(enc))[1]);
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
        v_function := dataprotect._member(enc, '_' || r.name);
        PERFORM dataprotect._declare(format('%s(%s, %s)', v_function, left_type, right_type), 'bool', format('dp_%s_%s', r.name, sides),
            'STABLE STRICT PARALLEL SAFE ' || r.leak, 'comparison');
        EXECUTE format('CREATE OPERATOR %s.%s (FUNCTION = %s, LEFTARG = %s, RIGHTARG = %s, '
                       'COMMUTATOR = OPERATOR(%1$s.%7$s), NEGATOR = OPERATOR(%1$s.%8$s), RESTRICT = %6$s, JOIN = %9$s%10$s)',
                       v_schema, r.op, v_function, left_type, right_type, r.restrict, r.commutator, r.negator, r.join_sel,
                       CASE WHEN r.extra = '' THEN '' ELSE ', ' || CASE WHEN ordered THEN r.extra ELSE 'HASHES' END END);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_operators(text, text, text, text, bool) IS 'declares the comparison operators of an encrypted type against one type';

-- Operator families: hash (equality), plaintext order (default btree), tokens.
CREATE FUNCTION dataprotect._create_hash_class(enc text, bases text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schema text := quote_ident((parse_ident(enc))[1]);
    v_family text := dataprotect._member(enc, '_hash_ops');
    v_hash text := dataprotect._member(enc, '_hash');
    v_extended text := dataprotect._member(enc, '_hash_extended');
    b text;
BEGIN
    PERFORM dataprotect._declare(format('%s(%s)', v_hash, enc), 'int4', 'dp_hash_e', 'STABLE STRICT PARALLEL SAFE', 'index hash');
    PERFORM dataprotect._declare(format('%s(%s, int8)', v_extended, enc), 'int8', 'dp_hash_extended_e', 'STABLE STRICT PARALLEL SAFE', 'hash with seed');
    EXECUTE format('CREATE OPERATOR FAMILY %s USING hash', v_family);
    EXECUTE format('CREATE OPERATOR CLASS %s DEFAULT FOR TYPE %s USING hash FAMILY %1$s AS '
                   'OPERATOR 1 %3$s.= (%2$s, %2$s), FUNCTION 1 %4$s(%2$s), FUNCTION 2 %5$s(%2$s, int8)',
                   v_family, enc, v_schema, v_hash, v_extended);
    FOREACH b IN ARRAY bases LOOP
        PERFORM dataprotect._declare(format('%s(%s)', v_hash, b), 'int4', 'dp_hash_b', 'STABLE STRICT PARALLEL SAFE', 'index hash of a base value');
        PERFORM dataprotect._declare(format('%s(%s, int8)', v_extended, b), 'int8', 'dp_hash_extended_b', 'STABLE STRICT PARALLEL SAFE', 'hash of a base value with seed');
        EXECUTE format('ALTER OPERATOR FAMILY %s USING hash ADD '
                       'OPERATOR 1 %4$s.= (%2$s, %3$s), OPERATOR 1 %4$s.= (%3$s, %2$s), '
                       'FUNCTION 1 (%3$s, %3$s) %5$s(%3$s), FUNCTION 2 (%3$s, %3$s) %6$s(%3$s, int8)',
                       v_family, enc, b, v_schema, v_hash, v_extended);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_hash_class(text, text[]) IS 'declares the hash class of an encrypted type';

CREATE FUNCTION dataprotect._create_order_class(enc text, bases text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schema text := quote_ident((parse_ident(enc))[1]);
    v_family text := dataprotect._member(enc, '_ops');
    v_cmp text := dataprotect._member(enc, '_cmp');
    v_sort text := dataprotect._member(enc, '_sortsupport');
    v_ops text;
    b text;
BEGIN
    PERFORM dataprotect._declare(format('%s(%s, %2$s)', v_cmp, enc), 'int4', 'dp_cmp_ee', 'STABLE STRICT PARALLEL SAFE', 'plaintext order');
    PERFORM dataprotect._declare(v_sort || '(internal)', 'void', 'dp_sort_support', 'STABLE STRICT PARALLEL SAFE', 'plaintext order');
    EXECUTE format('CREATE OPERATOR FAMILY %s USING btree', v_family);
    EXECUTE format('CREATE OPERATOR CLASS %s DEFAULT FOR TYPE %s USING btree FAMILY %1$s AS '
                   'OPERATOR 1 %3$s.<, OPERATOR 2 %3$s.<=, OPERATOR 3 %3$s.=, OPERATOR 4 %3$s.>=, OPERATOR 5 %3$s.>, '
                   'FUNCTION 1 %4$s(%2$s, %2$s), FUNCTION 2 %5$s(internal)', v_family, enc, v_schema, v_cmp, v_sort);
    FOREACH b IN ARRAY bases LOOP
        PERFORM dataprotect._declare(format('%s(%s, %s)', v_cmp, enc, b), 'int4', 'dp_cmp_eb', 'STABLE STRICT PARALLEL SAFE', 'plaintext order');
        PERFORM dataprotect._declare(format('%s(%s, %s)', v_cmp, b, enc), 'int4', 'dp_cmp_be', 'STABLE STRICT PARALLEL SAFE', 'plaintext order');
        SELECT string_agg(format('OPERATOR %s %s.%s (%s, %s)', o.n, v_schema, o.op, s.l, s.r), ', ') INTO v_ops
            FROM (VALUES (1, '<'), (2, '<='), (3, '='), (4, '>='), (5, '>')) o(n, op), (VALUES (enc, b), (b, enc)) s(l, r);
        EXECUTE format('ALTER OPERATOR FAMILY %s USING btree ADD %s, '
                       'FUNCTION 1 (%3$s, %4$s) %5$s(%3$s, %4$s), FUNCTION 1 (%4$s, %3$s) %5$s(%4$s, %3$s)',
                       v_family, v_ops, enc, b, v_cmp);
        PERFORM dataprotect._declare(format('%s(%s, %2$s)', v_cmp, b), 'int4', 'dp_cmp_bb', 'STABLE STRICT PARALLEL SAFE', 'plaintext order of base values');
        EXECUTE format('ALTER OPERATOR FAMILY %s USING btree ADD FUNCTION 1 (%2$s, %2$s) %3$s(%2$s, %2$s)', v_family, b, v_cmp);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_order_class(text, text[]) IS 'declares the plaintext order of an encrypted type';

CREATE FUNCTION dataprotect._create_token_class(enc text, bases text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schema text := quote_ident((parse_ident(enc))[1]);
    v_family text := dataprotect._member(enc, '_token_ops');
    v_cmp text := dataprotect._member(enc, '_token_cmp');
    v_sort text := dataprotect._member(enc, '_token_sortsupport');
    r record;
    b text;
BEGIN
    FOR r IN SELECT * FROM (VALUES ('#<#', 'lt', '#>#', '#>=#'), ('#<=#', 'le', '#>=#', '#>#'),
                                   ('#>#', 'gt', '#<#', '#<=#'), ('#>=#', 'ge', '#<=#', '#<#')) o(op, name, commutator, negator)
    LOOP
        PERFORM dataprotect._declare(format('%s(%s, %2$s)', dataprotect._member(enc, '_token_' || r.name), enc), 'bool',
            format('dp_token_%s_ee', r.name), 'STABLE STRICT PARALLEL SAFE', 'comparison of search tokens');
        EXECUTE format('CREATE OPERATOR %s.%s (FUNCTION = %s, LEFTARG = %s, RIGHTARG = %4$s, '
                       'COMMUTATOR = OPERATOR(%1$s.%5$s), NEGATOR = OPERATOR(%1$s.%6$s), RESTRICT = scalarltsel, JOIN = scalarltjoinsel)',
                       v_schema, r.op, dataprotect._member(enc, '_token_' || r.name), enc, r.commutator, r.negator);
    END LOOP;
    PERFORM dataprotect._declare(format('%s(%s, %2$s)', v_cmp, enc), 'int4', 'dp_token_cmp_ee', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens');
    PERFORM dataprotect._declare(v_sort || '(internal)', 'void', 'dp_token_sort_support', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens');
    EXECUTE format('CREATE OPERATOR FAMILY %s USING btree', v_family);
    EXECUTE format('CREATE OPERATOR CLASS %s FOR TYPE %s USING btree FAMILY %1$s AS '
                   'OPERATOR 1 %3$s.#<#, OPERATOR 2 %3$s.#<=#, OPERATOR 3 %3$s.=, OPERATOR 4 %3$s.#>=#, OPERATOR 5 %3$s.#>#, '
                   'FUNCTION 1 %4$s(%2$s, %2$s), FUNCTION 2 %5$s(internal)', v_family, enc, v_schema, v_cmp, v_sort);
    FOREACH b IN ARRAY bases LOOP
        PERFORM dataprotect._declare(format('%s(%s, %s)', v_cmp, enc, b), 'int4', 'dp_token_cmp_eb', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens');
        PERFORM dataprotect._declare(format('%s(%s, %s)', v_cmp, b, enc), 'int4', 'dp_token_cmp_be', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens');
        EXECUTE format('ALTER OPERATOR FAMILY %s USING btree ADD OPERATOR 3 %4$s.= (%2$s, %3$s), OPERATOR 3 %4$s.= (%3$s, %2$s), '
                       'FUNCTION 1 (%2$s, %3$s) %5$s(%2$s, %3$s), FUNCTION 1 (%3$s, %2$s) %5$s(%3$s, %2$s)',
                       v_family, enc, b, v_schema, v_cmp);
        PERFORM dataprotect._declare(format('%s(%s, %2$s)', v_cmp, b), 'int4', 'dp_token_cmp_bb', 'STABLE STRICT PARALLEL SAFE', 'order of search tokens of base values');
        EXECUTE format('ALTER OPERATOR FAMILY %s USING btree ADD FUNCTION 1 (%2$s, %2$s) %3$s(%2$s, %2$s)', v_family, b, v_cmp);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_token_class(text, text[]) IS 'declares the token order of an encrypted type';

-- Of what is made for a type, some bears the type nowhere in its declaration.
CREATE FUNCTION dataprotect._loose_members(schema oid, name text) RETURNS TABLE (class regclass, object oid, drop_statement text)
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'pg_opfamily'::regclass, f.oid, format('DROP OPERATOR FAMILY %I.%I USING %I', n.nspname, f.opfname, a.amname)
    FROM pg_opfamily f JOIN pg_am a ON a.oid = f.opfmethod JOIN pg_namespace n ON n.oid = f.opfnamespace
    WHERE f.opfnamespace = $1 AND f.opfname IN ($2 || '_hash_ops', $2 || '_ops', $2 || '_token_ops')
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, format('DROP FUNCTION %s', p.oid::regprocedure)
    FROM pg_proc p
    WHERE p.pronamespace = $1 AND p.probin = dataprotect._library()
        AND p.proname IN ($2 || '_typmod_in', $2 || '_typmod_out', $2 || '_sortsupport', $2 || '_token_sortsupport',
                          $2 || '_hash', $2 || '_hash_extended', $2 || '_cmp', $2 || '_token_cmp')
$$;
COMMENT ON FUNCTION dataprotect._loose_members(oid, text) IS 'operator families and functions that were made for an encrypted type and name it nowhere';

CREATE FUNCTION dataprotect._create_encrypted_type(schema text, base regtype) RETURNS regtype
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
    t pg_catalog.pg_type;
    v_name text;
    v_enc text;
    v_bases text[];
    v_schema oid;
    v_hashable bool;
    v_ordered bool;
    v_searchable bool;
    b text;
    r record;
BEGIN
    PERFORM dataprotect._check_base_type(base);
    IF dataprotect._encrypted_type(base) IS NOT NULL THEN
        PERFORM dataprotect._raise('duplicate_object',
            format('type %s has an encrypted type already: %s', base, dataprotect._encrypted_type(base)));
    END IF;
    SELECT * INTO STRICT t FROM pg_catalog.pg_type WHERE oid = base;
    v_name := 'encrypted_' || t.typname;
    IF octet_length(v_name) > 40 THEN
        PERFORM dataprotect._raise('name_too_long', 'the base type''s name is too long');
    END IF;
    v_enc := format('%I.%I', schema, v_name);
    v_schema := (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = schema);
    -- left by a type that was restored from a dump and dropped
    IF to_regtype(v_enc) IS NULL THEN
        FOR r IN SELECT * FROM dataprotect._loose_members(v_schema, v_name) m ORDER BY m.class = 'pg_proc'::regclass LOOP
            EXECUTE r.drop_statement;
        END LOOP;
    END IF;
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
    PERFORM dataprotect._create_json_cast(v_enc, base);
    IF v_hashable THEN
        PERFORM dataprotect._create_operators(v_enc, v_enc, v_enc, 'ee', v_ordered);
        FOREACH b IN ARRAY v_bases LOOP
            PERFORM dataprotect._create_operators(v_enc, v_enc, b, 'eb', v_ordered);
            PERFORM dataprotect._create_operators(v_enc, b, v_enc, 'be', v_ordered);
        END LOOP;
        PERFORM dataprotect._create_hash_class(v_enc, v_bases);
        IF v_ordered THEN
            PERFORM dataprotect._create_order_class(v_enc, v_bases);
        END IF;
        IF v_ordered AND v_searchable THEN
            PERFORM dataprotect._create_token_class(v_enc, v_bases);
        END IF;
    END IF;
    PERFORM dataprotect._belong_to_type(m.class, m.object, v_enc::regtype) FROM dataprotect._loose_members(v_schema, v_name) m;
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
        PERFORM dataprotect._create_encrypted_type('pg_catalog', b);
    END LOOP;
END $$;

-- Concatenation: || of text and of anything else would be ambiguous otherwise.
SELECT dataprotect._declare(pg_catalog.format('%s(%s, %s)', dataprotect._member(t.enc, '_concat'), pg_catalog.replace(s.l, 'enc', t.enc),
                                              pg_catalog.replace(s.r, 'enc', t.enc)),
                            'text', 'dp_concat_' || s.sides, 'STABLE STRICT PARALLEL SAFE', 'concatenation')
FROM (VALUES ('enc', 'enc', 'ee'), ('enc', 'text', 'eb'), ('text', 'enc', 'be')) s(l, r, sides),
    (VALUES ('pg_catalog.encrypted_text')) t(enc);
CREATE OPERATOR pg_catalog.|| (FUNCTION = pg_catalog.encrypted_text_concat, LEFTARG = pg_catalog.encrypted_text, RIGHTARG = pg_catalog.encrypted_text);
CREATE OPERATOR pg_catalog.|| (FUNCTION = pg_catalog.encrypted_text_concat, LEFTARG = pg_catalog.encrypted_text, RIGHTARG = text);
CREATE OPERATOR pg_catalog.|| (FUNCTION = pg_catalog.encrypted_text_concat, LEFTARG = text, RIGHTARG = pg_catalog.encrypted_text);

-- Evaluated in indexes by whoever writes, so open to all; it shows nothing (fold.h).
CREATE FUNCTION dataprotect.blind(value pg_catalog.encrypted_text, folds text) RETURNS pg_catalog.encrypted_text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_blind';
COMMENT ON FUNCTION dataprotect.blind(pg_catalog.encrypted_text, text) IS
    'a text as lower, upper, initcap, btrim, ltrim, rtrim or md5 fold it, sealed again: what an index over lower(column) becomes';

-- Not in pg_catalog, whose contents pg_dump leaves out unless an extension makes
-- them: what is made here belongs to the database's owner and is dumped.
CREATE FUNCTION dataprotect.create_encrypted_type(base regtype) RETURNS regtype
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_type regtype;
BEGIN
    v_type := dataprotect._create_encrypted_type(CASE WHEN to_regnamespace('public') IS NULL THEN 'dataprotect' ELSE 'public' END, base);
    PERFORM dataprotect._open_type(v_type);
    PERFORM dataprotect._event('type.created', NULL, jsonb_build_object('base', base::text));
    RETURN v_type;
END $$;
COMMENT ON FUNCTION dataprotect.create_encrypted_type(regtype) IS
    'makes encrypted_<name> over any scalar base type, in schema public, or in schema dataprotect where there is none';
