--
-- Comparisons of encrypted types, and the operator families that indexes and
-- joins use.  A family holds the encrypted type and its base type, with every
-- operator between and within them, so that a plan may compare, sort or hash
-- either side.  Operators within the base type are those of schema dataprotect:
-- only plans find them there.
--
CREATE FUNCTION dataprotect._comparisons(OUT op text, OUT name text, OUT commutator text, OUT negator text,
                                         OUT restrict text, OUT join_sel text, OUT strategy int) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE ROWS 6 SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('=', 'eq', '=', '<>', 'eqsel', 'eqjoinsel', 3),
           ('<>', 'ne', '<>', '=', 'neqsel', 'neqjoinsel', NULL),
           ('<', 'lt', '>', '>=', 'scalarltsel', 'scalarltjoinsel', 1),
           ('<=', 'le', '>=', '>', 'scalarlesel', 'scalarlejoinsel', 2),
           ('>', 'gt', '<', '<=', 'scalargtsel', 'scalargtjoinsel', 5),
           ('>=', 'ge', '<=', '<', 'scalargesel', 'scalargejoinsel', 4)
$$;
COMMENT ON FUNCTION dataprotect._comparisons() IS 'the six comparison operators, what belongs to them, and their places in a btree class';

-- Which of a type's arguments are encrypted, as the names of C functions end.
CREATE FUNCTION dataprotect._sides(enc text, left_type text, right_type text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN left_type OPERATOR(pg_catalog.=) enc THEN 'e' ELSE 'b' END OPERATOR(pg_catalog.||) CASE WHEN right_type OPERATOR(pg_catalog.=) enc THEN 'e' ELSE 'b' END
$$;
COMMENT ON FUNCTION dataprotect._sides(text, text, text) IS 'which arguments of a comparison are encrypted';

-- The pairs that a family covers, with the schema of their operators.
CREATE FUNCTION dataprotect._family_pairs(enc text, base text, mixed_schema text, OUT l text, OUT r text, OUT schema text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE STRICT ROWS 4 SET search_path = pg_catalog, pg_temp AS $$
    VALUES (enc, enc, quote_ident((parse_ident(enc))[1])), (enc, base, mixed_schema), (base, enc, mixed_schema), (base, base, 'dataprotect')
$$;
COMMENT ON FUNCTION dataprotect._family_pairs(text, text, text) IS 'pairs of types in the operator families of an encrypted type';

-- The comparison operators of a family.
CREATE FUNCTION dataprotect._create_operators(enc text, base text, mixed_schema text, ordered bool) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE (
        SELECT string_agg(
                dataprotect._declaration(format('%s(%s, %s)', dataprotect._member(enc, '_' || c.name), p.l, p.r), 'bool',
                    format('dp_%s_%s', c.name, dataprotect._sides(enc, p.l, p.r)),
                    'STABLE STRICT PARALLEL SAFE' || CASE WHEN c.name IN ('eq', 'ne') THEN ' LEAKPROOF' ELSE '' END, 'comparison'), '')
            || string_agg(
                format('CREATE OPERATOR %1$s.%2$s (FUNCTION = %3$s, LEFTARG = %4$s, RIGHTARG = %5$s, '
                       'COMMUTATOR = OPERATOR(%1$s.%7$s), NEGATOR = OPERATOR(%1$s.%8$s), RESTRICT = %6$s, JOIN = %9$s%10$s); ',
                       p.schema, c.op, dataprotect._member(enc, '_' || c.name), p.l, p.r, c.restrict, c.commutator, c.negator, c.join_sel,
                       CASE WHEN c.name <> 'eq' THEN '' WHEN ordered THEN ', HASHES, MERGES' ELSE ', HASHES' END), '')
        FROM dataprotect._comparisons() c, dataprotect._family_pairs(enc, base, mixed_schema) p WHERE ordered OR c.name IN ('eq', 'ne'));
END $$;
COMMENT ON FUNCTION dataprotect._create_operators(text, text, text, bool) IS 'declares the comparison operators of an encrypted type and its base type';

CREATE FUNCTION dataprotect._create_hash_class(enc text, base text, mixed_schema text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family text := dataprotect._member(enc, '_hash_ops');
    v_hash text := dataprotect._member(enc, '_hash');
    v_extended text := dataprotect._member(enc, '_hash_extended');
    v_members text;
BEGIN
    PERFORM dataprotect._declare(format('%s(%s)', v_hash, enc), 'int4', 'dp_hash_e', 'STABLE STRICT PARALLEL SAFE', 'index hash');
    PERFORM dataprotect._declare(format('%s(%s, int8)', v_extended, enc), 'int8', 'dp_hash_extended_e', 'STABLE STRICT PARALLEL SAFE', 'hash with seed');
    PERFORM dataprotect._declare(format('%s(%s)', v_hash, base), 'int4', 'dp_hash_b', 'STABLE STRICT PARALLEL SAFE', 'index hash of a base value');
    PERFORM dataprotect._declare(format('%s(%s, int8)', v_extended, base), 'int8', 'dp_hash_extended_b', 'STABLE STRICT PARALLEL SAFE', 'hash of a base value with seed');
    EXECUTE format('CREATE OPERATOR FAMILY %s USING hash', v_family);
    EXECUTE format('CREATE OPERATOR CLASS %s DEFAULT FOR TYPE %s USING hash FAMILY %1$s AS '
                   'OPERATOR 1 %3$s.= (%2$s, %2$s), FUNCTION 1 %4$s(%2$s), FUNCTION 2 %5$s(%2$s, int8)',
                   v_family, enc, quote_ident((parse_ident(enc))[1]), v_hash, v_extended);
    SELECT string_agg(format('OPERATOR 1 %s.= (%s, %s)', p.schema, p.l, p.r), ', ') INTO v_members
        FROM dataprotect._family_pairs(enc, base, mixed_schema) p WHERE p.l <> enc OR p.r <> enc;
    EXECUTE format('ALTER OPERATOR FAMILY %s USING hash ADD %s, '
                   'FUNCTION 1 (%3$s, %3$s) %4$s(%3$s), FUNCTION 2 (%3$s, %3$s) %5$s(%3$s, int8)',
                   v_family, v_members, base, v_hash, v_extended);
END $$;
COMMENT ON FUNCTION dataprotect._create_hash_class(text, text, text) IS 'declares the hash class of an encrypted type';

-- A btree family over some three-way comparison; infix: '' for plaintext, '_token'
-- for tokens, whose operators are named like #<# and share "=".
CREATE FUNCTION dataprotect._create_btree_class(enc text, base text, mixed_schema text, infix text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_schema text := quote_ident((parse_ident(enc))[1]);
    v_family text := dataprotect._member(enc, infix || '_ops');
    v_cmp text := dataprotect._member(enc, infix || '_cmp');
    v_sort text := dataprotect._member(enc, infix || '_sortsupport');
    v_remark text := CASE infix WHEN '' THEN 'plaintext order' ELSE 'order of search tokens' END;
    v_op text := CASE infix WHEN '' THEN '%s' ELSE '#%s#' END;
    v_members text;
    v_own text;
    r record;
BEGIN
    FOR r IN SELECT * FROM dataprotect._family_pairs(enc, base, mixed_schema) LOOP
        PERFORM dataprotect._declare(format('%s(%s, %s)', v_cmp, r.l, r.r), 'int4',
            format('dp%s_cmp_%s', infix, dataprotect._sides(enc, r.l, r.r)), 'STABLE STRICT PARALLEL SAFE', v_remark);
    END LOOP;
    PERFORM dataprotect._declare(v_sort || '(internal)', 'void', format('dp%s_sort_support', infix), 'STABLE STRICT PARALLEL SAFE', v_remark);
    SELECT string_agg(format('OPERATOR %s %s.%s (%s, %s)', c.strategy, p.schema,
                             CASE c.name WHEN 'eq' THEN '=' ELSE format(v_op, c.op) END, p.l, p.r), ', ') FILTER (WHERE p.l <> enc OR p.r <> enc),
           string_agg(format('OPERATOR %s %s.%s (%s, %s)', c.strategy, p.schema,
                             CASE c.name WHEN 'eq' THEN '=' ELSE format(v_op, c.op) END, p.l, p.r), ', ') FILTER (WHERE p.l = enc AND p.r = enc)
        INTO v_members, v_own
        FROM dataprotect._comparisons() c, dataprotect._family_pairs(enc, base, mixed_schema) p WHERE c.strategy IS NOT NULL;
    EXECUTE format('CREATE OPERATOR FAMILY %s USING btree', v_family);
    EXECUTE format('CREATE OPERATOR CLASS %s %s FOR TYPE %s USING btree FAMILY %1$s AS %4$s, '
                   'FUNCTION 1 %5$s(%3$s, %3$s), FUNCTION 2 %6$s(internal)',
                   v_family, CASE infix WHEN '' THEN 'DEFAULT' ELSE '' END, enc, v_own, v_cmp, v_sort);
    EXECUTE format('ALTER OPERATOR FAMILY %s USING btree ADD %s, FUNCTION 1 (%3$s, %4$s) %5$s(%3$s, %4$s), '
                   'FUNCTION 1 (%4$s, %3$s) %5$s(%4$s, %3$s), FUNCTION 1 (%4$s, %4$s) %5$s(%4$s, %4$s)',
                   v_family, v_members, enc, base, v_cmp);
    -- window frames: RANGE with an offset of each type that the base type takes
    IF infix = '' THEN
        FOR r IN
            SELECT format_type(p.amprocrighttype, NULL) AS offset_type
            FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod JOIN pg_amproc p ON p.amprocfamily = c.opcfamily
            WHERE a.amname = 'btree' AND c.opcdefault AND c.opcintype = base::regtype AND p.amproclefttype = c.opcintype AND p.amprocnum = 3
        LOOP
            v_members := format('%s(%s, %2$s, %3$s, bool, bool)', dataprotect._member(enc, '_in_range'), enc, r.offset_type);
            PERFORM dataprotect._declare(v_members, 'bool', 'dp_in_range', 'STABLE STRICT PARALLEL SAFE', 'bounds of window frames');
            EXECUTE format('ALTER OPERATOR FAMILY %s USING btree ADD FUNCTION 3 (%s, %s) %s', v_family, enc, r.offset_type, v_members);
        END LOOP;
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._create_btree_class(text, text, text, text) IS 'declares a btree class of an encrypted type, by plaintext or by token';

CREATE FUNCTION dataprotect._create_token_operators(enc text, base text, mixed_schema text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE (
        SELECT string_agg(
                dataprotect._declaration(format('%s(%s, %s)', dataprotect._member(enc, '_token_' || c.name), p.l, p.r), 'bool',
                    format('dp_token_%s_%s', c.name, dataprotect._sides(enc, p.l, p.r)), 'STABLE STRICT PARALLEL SAFE', 'comparison of search tokens'), '')
            || string_agg(
                format('CREATE OPERATOR %1$s.#%2$s# (FUNCTION = %3$s, LEFTARG = %4$s, RIGHTARG = %5$s, '
                       'COMMUTATOR = OPERATOR(%1$s.#%6$s#), NEGATOR = OPERATOR(%1$s.#%7$s#), RESTRICT = scalarltsel, JOIN = scalarltjoinsel); ',
                       p.schema, c.op, dataprotect._member(enc, '_token_' || c.name), p.l, p.r, c.commutator, c.negator), '')
        FROM dataprotect._comparisons() c, dataprotect._family_pairs(enc, base, mixed_schema) p WHERE c.name NOT IN ('eq', 'ne'));
END $$;
COMMENT ON FUNCTION dataprotect._create_token_operators(text, text, text) IS 'declares the operators of the token order of an encrypted type';

-- An expression (enc, base) would compete with the base type's own operator where
-- a type that becomes the base type, and has no operator with it, stands on the
-- left: "int = numeric" would not be unique.  Such operators are kept where only
-- plans find them (src/types/resolve.c).
CREATE FUNCTION dataprotect._mixed_schema(schema text, base regtype) RETURNS text
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN EXISTS (
        SELECT FROM pg_cast c JOIN pg_type s ON s.oid = c.castsource
            JOIN pg_type t ON t.oid = c.casttarget
        WHERE c.casttarget = base AND c.castcontext = 'i' AND c.castsource <> base AND s.typnamespace = 'pg_catalog'::regnamespace
            AND dataprotect._base_type(c.castsource) IS NULL AND NOT t.typispreferred
            AND NOT EXISTS (SELECT FROM pg_operator o WHERE o.oprname = '=' AND o.oprleft = c.castsource AND o.oprright = base)
            AND NOT EXISTS (SELECT FROM pg_operator o JOIN pg_type p ON p.oid = o.oprleft
                            WHERE o.oprname = '=' AND o.oprright = base AND p.typispreferred AND p.typcategory = t.typcategory))
    THEN 'dataprotect' ELSE quote_ident(schema) END
$$;
COMMENT ON FUNCTION dataprotect._mixed_schema(text, regtype) IS 'where comparisons of an encrypted type with its base type can stand';
