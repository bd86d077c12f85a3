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
    padded bool NOT NULL,
    seal bytea                          -- src/types/modifier_seal.h
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

CREATE FUNCTION dataprotect._subscript(internal) RETURNS internal
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_subscript';
COMMENT ON FUNCTION dataprotect._subscript(internal) IS 'subscripts of encrypted types: those of the base type';

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

-- When rows of type_modifier without a seal end to count: src/types/modifier_seal.h.
CREATE FUNCTION dataprotect._modifiers_adopted() RETURNS bool
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dp_modifiers_adopted_sql';
COMMENT ON FUNCTION dataprotect._modifiers_adopted() IS 'were the modifiers that this database was made with sealed?';

CREATE FUNCTION dataprotect._modifiers_mark() RETURNS bytea
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dp_modifiers_mark_sql';
COMMENT ON FUNCTION dataprotect._modifiers_mark() IS 'where modifiers are sealed, for the row of dataprotect.instance; null without a policy key';

-- Waits for nobody: whoever registers a modifier just now is asked again in the worker's next round.
CREATE FUNCTION dataprotect._adopt_modifiers() RETURNS bool
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_mark bytea := dataprotect._modifiers_mark();
    v_adopted bool := dataprotect._modifiers_adopted();
    v_now bytea;
BEGIN
    SELECT i.modifiers INTO v_now FROM dataprotect.instance i;
    IF v_mark IS NULL OR (v_adopted AND v_now IS NOT DISTINCT FROM v_mark) THEN
        RETURN v_adopted;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN v_adopted;
    END IF;
    PERFORM FROM dataprotect.instance i WHERE dataprotect._sealed(i) FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN v_adopted;
    END IF;
    IF NOT v_adopted THEN
        BEGIN
            LOCK TABLE dataprotect.type_modifier IN SHARE ROW EXCLUSIVE MODE NOWAIT;
        EXCEPTION WHEN lock_not_available THEN
            RETURN false;
        END;
        PERFORM dataprotect._reseal_rows('type_modifier', false, true);
    END IF;
    UPDATE dataprotect.instance SET modifiers = v_mark;
    PERFORM dataprotect._modifiers_collected();
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._adopt_modifiers() IS
    'seals the modifiers that a database was made or restored with, once; from then on only sealed ones count; false: not yet';

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

CREATE FUNCTION dataprotect._has_tokens(type regtype) RETURNS bool
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_has_tokens_sql';
COMMENT ON FUNCTION dataprotect._has_tokens(regtype) IS 'whether equality of an encrypted type has one form, so that its values may be searchable';

CREATE FUNCTION dataprotect._belong_to_type(class regclass, object oid, type regtype) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_belong_to_type_sql';
COMMENT ON FUNCTION dataprotect._belong_to_type(regclass, oid, regtype) IS 'records that an object goes when a type goes';

-- What is made for a type is named after it, beside it.
CREATE FUNCTION dataprotect._member(enc text, suffix text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.format('%I.%I', (pg_catalog.parse_ident(enc))[1], (pg_catalog.parse_ident(enc))[2] || suffix)
$$;
COMMENT ON FUNCTION dataprotect._member(text, text) IS 'quoted name of an object that is made for an encrypted type';

-- Where the module lies: as it was said for _typanalyze.
CREATE FUNCTION dataprotect._library() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.probin FROM pg_catalog.pg_proc p WHERE p.oid = 'dataprotect._typanalyze(internal)'::regprocedure
$$;
COMMENT ON FUNCTION dataprotect._library() IS 'library of the extension''s C functions';

-- What declares one function in C, with its comment; _open_type() says who may call
-- it.  Many are run as one text: each new operator makes PostgreSQL plan all anew.
CREATE FUNCTION dataprotect._declaration(signature text, returns text, symbol text, properties text, remark text) RETURNS text
    LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.format('CREATE FUNCTION %1$s RETURNS %2$s LANGUAGE c %3$s AS %4$L, %5$L; COMMENT ON FUNCTION %1$s IS %6$L; ',
                             signature, returns, properties, dataprotect._library(), symbol, remark)
$$;
COMMENT ON FUNCTION dataprotect._declaration(text, text, text, text, text) IS 'what declares a C function of an encrypted type';

CREATE FUNCTION dataprotect._declare(signature text, returns text, symbol text, properties text, remark text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE dataprotect._declaration(signature, returns, symbol, properties, remark);
END $$;
COMMENT ON FUNCTION dataprotect._declare(text, text, text, text, text) IS 'declares a C function of an encrypted type';

-- Functions and aggregates that stand in for those over the base type (type_overloads.sql).
CREATE FUNCTION dataprotect._overloads(type regtype) RETURNS SETOF regprocedure
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.oid::regprocedure
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p ON p.pronamespace = t.typnamespace AND p.proowner = t.typowner
            JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE t.oid = $1 AND ARRAY[t.oid, t.typarray] && p.proargtypes::oid[] AND p.oid >= 16384 AND (p.prokind = 'a' OR l.lanname = 'sql')
$$;
COMMENT ON FUNCTION dataprotect._overloads(regtype) IS 'functions and aggregates that stand in for those over the base type';

-- What PostgreSQL asks EXECUTE for of whoever uses the type, or an operator or
-- cast of it.  These functions look at the rights on keys themselves, or who calls;
-- those that only btree access methods call are not among them.
CREATE FUNCTION dataprotect._type_routines(type regtype) RETURNS SETOF regprocedure
    LANGUAGE sql STABLE STRICT ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.oid::regprocedure
        FROM (SELECT unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout])
                  FROM pg_catalog.pg_type t WHERE t.oid = $1
              UNION SELECT c.castfunc FROM pg_catalog.pg_cast c, pg_catalog.pg_type t WHERE t.oid = $1 AND (t.oid IN (c.castsource, c.casttarget) OR t.typarray = c.casttarget)
              UNION SELECT o.oprcode FROM pg_catalog.pg_operator o WHERE $1 IN (o.oprleft, o.oprright)
              UNION SELECT o.oprcode FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_amop m ON m.amopfamily = c.opcfamily
                        JOIN pg_catalog.pg_operator o ON o.oid = m.amopopr WHERE c.opcintype = $1
              UNION SELECT m.amproc FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_amproc m ON m.amprocfamily = c.opcfamily
                        JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod WHERE c.opcintype = $1 AND a.amname = 'hash') used (routine)
            JOIN pg_catalog.pg_proc p ON p.oid = used.routine
        WHERE p.probin = dataprotect._library()
    UNION
    SELECT dataprotect._overloads($1)
    UNION
    -- between arrays (type_overloads.sql)
    SELECT p.oid::regprocedure
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_type s ON s.typnamespace = 'dataprotect'::regnamespace
                AND s.typname IN ('_sealed_array_of_' || t.typname, '_plain_array_of_' || t.typname)
            JOIN pg_catalog.pg_proc p ON p.prorettype = s.oid OR s.oid = ANY (p.proargtypes::oid[])
        WHERE t.oid = $1 AND t.typnamespace = 'pg_catalog'::regnamespace
$$;
COMMENT ON FUNCTION dataprotect._type_routines(regtype) IS 'functions of an encrypted type that everybody must be able to call';

CREATE FUNCTION dataprotect._open_type(type regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_routine regprocedure;
    v_routines oid[] := ARRAY(SELECT dataprotect._type_routines(type));
BEGIN
    PERFORM dataprotect._close('pg_type'::regclass, type);
    EXECUTE format('GRANT USAGE ON TYPE %s TO PUBLIC', type);
    -- a routine without a privilege on record is everybody's, and nobody's to hand on
    FOR v_routine IN
        SELECT p.oid
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.typnamespace = p.pronamespace
        WHERE t.oid = type AND (starts_with(p.proname, t.typname || '_') AND p.probin = dataprotect._library() OR p.oid = ANY (v_routines))
            AND (p.proacl IS NOT NULL OR p.oid <> ALL (v_routines))
    LOOP
        PERFORM dataprotect._close('pg_proc'::regclass, v_routine);
        IF v_routine = ANY (v_routines) THEN
            EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', v_routine);
        END IF;
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
                   'STORAGE = external, CATEGORY = %L, COLLATABLE = %s%s)',
                   enc, dataprotect._member(enc, '_in'), dataprotect._member(enc, '_out'),
                   dataprotect._member(enc, '_recv'), dataprotect._member(enc, '_send'),
                   dataprotect._member(enc, '_typmod_in'), dataprotect._member(enc, '_typmod_out'),
                   t.typcategory, (t.typcollation <> 0)::text,
                   CASE WHEN t.typsubscript <> 0 AND t.typelem = 0 THEN ', SUBSCRIPT = dataprotect._subscript' ELSE '' END);
    -- ANALYZE of arrays would compare their elements; no command sets this for an array type.
    UPDATE pg_catalog.pg_type a SET typanalyze = 'dataprotect._typanalyze(internal)'::regprocedure
        FROM pg_catalog.pg_type e WHERE e.oid = enc::regtype AND a.oid = e.typarray;
    EXECUTE format('COMMENT ON TYPE %s IS %L', enc, format('%s, always stored and moved as ciphertext', base));
END $$;
COMMENT ON FUNCTION dataprotect._create_type_io(text, regtype) IS 'declares an encrypted type with its input and output';

-- Casts.  An encrypted type becomes, without being asked, its base type and
-- whatever that becomes, and takes in what its base type takes in; the base type
-- itself only on assignment, so that the result of both is the base type.
CREATE FUNCTION dataprotect._create_cast(source regtype, target regtype, context "char", enc text, suffix text,
                                         symbol text, extended bool, remark text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_function text := format('%s(%s%s)', dataprotect._member(enc, suffix), source, CASE WHEN extended THEN ', int4, bool' ELSE '' END);
BEGIN
    PERFORM dataprotect._declare(v_function, target::text, symbol, 'STABLE STRICT PARALLEL SAFE', remark);
    EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %s %s', source, target, v_function,
                   CASE context WHEN 'i' THEN 'AS IMPLICIT' WHEN 'a' THEN 'AS ASSIGNMENT' ELSE '' END);
END $$;
COMMENT ON FUNCTION dataprotect._create_cast(regtype, regtype, "char", text, text, text, bool, text) IS 'declares a cast of an encrypted type by a C function';

CREATE FUNCTION dataprotect._create_type_casts(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_function text;
BEGIN
    PERFORM dataprotect._create_cast(enc::regtype, enc::regtype, 'i', enc, '_coerce', 'dp_coerce', true, 'seals a value for a column');
    -- the argument's name records the number of the base type (src/types/typeinfo.c)
    v_function := format('%s(%s %s)', dataprotect._member(enc, '_reveal'), dataprotect._base_code(base), enc);
    PERFORM dataprotect._declare(v_function, base::text, 'dp_to_base', 'STABLE STRICT PARALLEL SAFE',
        'opens a value: plaintext or mask, by the role''s grants');
    EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %s(%1$s) AS IMPLICIT', enc, base, dataprotect._member(enc, '_reveal'));
    PERFORM dataprotect._create_cast(base, enc::regtype, 'a', enc, '_seal', 'dp_from_base', true, 'seals a value');

    -- only within a category: PostgreSQL prefers the preferred type of a category to others of it alone
    PERFORM dataprotect._create_cast(c.castsource::regtype, enc::regtype, CASE t.typcategory WHEN b.typcategory THEN c.castcontext ELSE 'a' END,
                                     enc, '_seal', 'dp_from_base', true, 'seals a value')
        FROM pg_cast c JOIN pg_type t ON t.oid = c.castsource JOIN pg_type b ON b.oid = c.casttarget
        WHERE c.casttarget = base AND c.castsource <> base AND c.castcontext IN ('a', 'i')
          AND c.castmethod IN ('f', 'b') AND dataprotect._base_type(c.castsource) IS NULL
          AND t.typtype IN ('b') AND t.typnamespace = 'pg_catalog'::regnamespace;
    -- a cast that takes the target's modifier is given it
    PERFORM dataprotect._create_cast(enc::regtype, c.casttarget::regtype, c.castcontext, enc, '_to_' || t.typname, 'dp_to_other',
                                     coalesce(p.pronargs > 1, false), 'opens a value and casts it')
        FROM pg_cast c JOIN pg_type t ON t.oid = c.casttarget LEFT JOIN pg_proc p ON p.oid = c.castfunc
        WHERE c.castsource = base AND c.casttarget <> base AND c.castmethod IN ('f', 'b')
          AND dataprotect._base_type(c.casttarget) IS NULL
          AND t.typtype = 'b' AND t.typnamespace = 'pg_catalog'::regnamespace;
    -- between encrypted types, as between their base types
    PERFORM dataprotect._create_cast(s.type, d.type, CASE f.typcategory WHEN t.typcategory THEN c.castcontext ELSE 'a' END, enc, CASE s.type WHEN enc::regtype THEN '_to_' || t.typname ELSE '_seal' END,
                                     'dp_recast', true, 'opens a value, casts it and seals it again')
        FROM pg_cast c, dataprotect._encrypted_type(c.castsource) s (type), dataprotect._encrypted_type(c.casttarget) d (type), pg_type f, pg_type t
        WHERE base IN (c.castsource, c.casttarget) AND c.castsource <> c.casttarget AND c.castcontext IN ('i', 'a')
          AND s.type <> d.type AND s.type IS NOT NULL AND d.type IS NOT NULL AND c.castsource <> 'varchar'::regtype
          AND c.casttarget <> 'varchar'::regtype AND f.oid = s.type AND t.oid = d.type;
END $$;
COMMENT ON FUNCTION dataprotect._create_type_casts(text, regtype) IS 'declares the casts of an encrypted type';
