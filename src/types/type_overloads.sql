--
-- What else makes a call resolve for an encrypted type as it does for its base
-- type.  PostgreSQL counts exact matches, then preferred types; it never chains two
-- implicit casts.  The casts of types.sql serve most calls.  Where its own resolver,
-- asked here, finds nothing or another operator or function, an overload in SQL
-- stands in: the planner inlines it to the base type's own over opened values.
-- An overload must not make a call over plain types resolve differently; test/resolve
-- enumerates both.
--
CREATE FUNCTION dataprotect._operator_for(name text, left_type oid, right_type oid) RETURNS oid
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_operator_for_sql';
COMMENT ON FUNCTION dataprotect._operator_for(text, oid, oid) IS 'operator that PostgreSQL chooses for argument types (0 on the left: a prefix operator), or 0';

CREATE FUNCTION dataprotect._operator_astray(wanted oid, left_type oid, right_type oid, exactly bool) RETURNS bool
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_operator_astray_sql';
COMMENT ON FUNCTION dataprotect._operator_astray(oid, oid, oid, bool) IS
    'whether PostgreSQL chooses, for argument types, no operator or one that is not like the wanted one: in what it takes, or else in what it gives';

CREATE FUNCTION dataprotect._function_astray(wanted oid, argtypes oid[]) RETURNS bool
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_function_astray_sql';
COMMENT ON FUNCTION dataprotect._function_astray(oid, oid[]) IS
    'whether PostgreSQL chooses, for argument types, no function or one that does not take what the wanted one takes';

CREATE FUNCTION dataprotect._stand_in(state anyelement, value anycompatible) RETURNS anyelement
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'dp_stand_in';
COMMENT ON FUNCTION dataprotect._stand_in(anyelement, anycompatible) IS 'never called: aggregates over encrypted types are planned as those over base types (src/types/resolve.c)';

-- Types that become a type without being asked, encrypted ones aside.
CREATE FUNCTION dataprotect._becoming(type oid) RETURNS SETOF oid
    LANGUAGE sql STABLE STRICT ROWS 5 SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.castsource FROM pg_cast c JOIN pg_type s ON s.oid = c.castsource
        WHERE c.casttarget = $1 AND c.castcontext = 'i' AND c.castsource <> $1 AND dataprotect._base_type(c.castsource) IS NULL
$$;
COMMENT ON FUNCTION dataprotect._becoming(oid) IS 'plain types with an implicit cast to a type';

-- Whether an operator with one encrypted argument in the place of "mine", beside
-- "other", leaves plain expressions alone: whatever becomes "mine" has an operator
-- with "other", or one with the preferred type wins, and an untyped literal finds
-- what it found.
CREATE FUNCTION dataprotect._overload_is_safe(name text, mine oid, other oid, on_left bool) RETURNS bool
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    WITH has (type, preferred) AS (
        SELECT CASE WHEN $4 THEN o.oprleft ELSE o.oprright END, t.typispreferred AND t.typcategory = m.typcategory
        FROM pg_operator o JOIN pg_type t ON t.oid = CASE WHEN $4 THEN o.oprleft ELSE o.oprright END, pg_type m
        WHERE o.oprname = $1 AND CASE WHEN $4 THEN o.oprright ELSE o.oprleft END = $3 AND m.oid = $2 AND dataprotect._base_type(t.oid) IS NULL)
    SELECT (NOT EXISTS (SELECT FROM dataprotect._becoming($2) x WHERE x NOT IN (SELECT type FROM has))
            OR EXISTS (SELECT FROM has WHERE preferred))
        AND (EXISTS (SELECT FROM has WHERE type = $3) OR EXISTS (SELECT FROM has WHERE preferred)
             OR CASE WHEN $4 THEN dataprotect._operator_for($1, 'unknown'::regtype, $3)
                     ELSE dataprotect._operator_for($1, $3, 'unknown'::regtype) END = 0)
$$;
COMMENT ON FUNCTION dataprotect._overload_is_safe(text, oid, oid, bool) IS 'whether an operator with one encrypted argument leaves expressions over plain types alone';

-- An argument of an overload's body, opened where it is encrypted.
CREATE FUNCTION dataprotect._opened(number int, declared oid, wanted oid) RETURNS text
    LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN declared OPERATOR(pg_catalog.=) wanted THEN pg_catalog.format('$%s', number)
                ELSE pg_catalog.format('$%s::%s', number, pg_catalog.format_type(wanted, -1)) END
$$;
COMMENT ON FUNCTION dataprotect._opened(int, oid, oid) IS 'an argument as an overload hands it on';

-- COMMENT ON would hold a lock for each of thousands of functions to the end of
-- CREATE EXTENSION: more than a small server has room for.
CREATE FUNCTION dataprotect._remark(routine regprocedure, remark text) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_remark';
COMMENT ON FUNCTION dataprotect._remark(regprocedure, text) IS 'comments on a function that this transaction has made';

-- What declares an overload in SQL.
CREATE FUNCTION dataprotect._overload(signature text, returns text, like_function oid, body text) RETURNS text
    LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.format('CREATE FUNCTION %1$s RETURNS %2$s LANGUAGE sql %3$s %4$s PARALLEL SAFE AS %5$L; '
                             'SELECT dataprotect._remark(%1$L, %6$L); ', signature, returns,
                             CASE p.provolatile WHEN 'v' THEN 'VOLATILE' ELSE 'STABLE' END, CASE WHEN p.proisstrict THEN 'STRICT' ELSE '' END,
                             'SELECT ' OPERATOR(pg_catalog.||) body, 'the base type''s own, over opened values')
    FROM pg_catalog.pg_proc p WHERE p.oid OPERATOR(pg_catalog.=) like_function
$$;
COMMENT ON FUNCTION dataprotect._overload(text, text, oid, text) IS 'what declares a function in SQL that stands in for one over the base type';

-- One operator.  A comparison keeps an encrypted side that indexes know: the other
-- side becomes the base type where it can, else both are compared by the base
-- type's order.
CREATE FUNCTION dataprotect._operator_overload(enc text, operator oid, left_type oid, right_type oid) RETURNS text
    LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    o pg_catalog.pg_operator;
    c record;
    v_schema text := quote_ident((parse_ident(enc))[1]);
    v_left text := format_type(left_type, NULL);
    v_right text := format_type(right_type, NULL);
    v_function text;
    v_arguments text := concat_ws(', ', nullif(v_left, '-'), v_right);
    v_options text := '';
    v_base oid;
    v_plain_left bool;
    v_becomes bool;
    v_target text;
    v_declaration text;
BEGIN
    SELECT * INTO STRICT o FROM pg_operator WHERE oid = operator;
    SELECT * INTO c FROM dataprotect._comparisons() x WHERE x.op = o.oprname AND o.oprresult = 'bool'::regtype AND o.oprleft <> 0;
    v_target := format('OPERATOR(%I.%s)', (SELECT nspname FROM pg_namespace WHERE oid = o.oprnamespace), o.oprname);
    IF c.op IS NULL THEN
        -- citext has several operators over one function
        v_function := dataprotect._member(enc, '_' || (SELECT proname FROM pg_proc WHERE oid = o.oprcode) || coalesce(
            (SELECT nullif('_' || count(*), '_0') FROM pg_operator x WHERE x.oprcode = o.oprcode AND x.oprleft = o.oprleft AND x.oprright = o.oprright AND x.oid < o.oid), ''));
        v_declaration := dataprotect._overload(format('%s(%s)', v_function, v_arguments), format_type(o.oprresult, NULL), o.oprcode,
            CASE WHEN o.oprleft = 0 THEN format('%s %s', v_target, dataprotect._opened(1, right_type, o.oprright))
                 ELSE format('%s %s %s', dataprotect._opened(1, left_type, o.oprleft), v_target, dataprotect._opened(2, right_type, o.oprright)) END);
    ELSE
        v_function := dataprotect._member(enc, '_' || c.name);
        v_options := format(', COMMUTATOR = OPERATOR(%1$s.%2$s), NEGATOR = OPERATOR(%1$s.%3$s), RESTRICT = %4$s, JOIN = %5$s',
                            v_schema, c.commutator, c.negator, c.restrict, c.join_sel);
        IF dataprotect._base_type(left_type) IS NOT NULL AND dataprotect._base_type(right_type) IS NOT NULL THEN
            v_declaration := dataprotect._overload(format('%s(%s)', v_function, v_arguments), 'bool', o.oprcode,
                format('$1 OPERATOR(%s.%s) %s', v_schema, o.oprname, dataprotect._opened(2, right_type, o.oprright)));
        ELSE
            v_base := coalesce(dataprotect._base_type(left_type), dataprotect._base_type(right_type));
            v_plain_left := dataprotect._base_type(left_type) IS NULL;
            v_becomes := (left_type IN (SELECT dataprotect._becoming(v_base)) AND v_plain_left)
                OR (right_type IN (SELECT dataprotect._becoming(v_base)) AND NOT v_plain_left);
            IF v_becomes THEN
                v_declaration := dataprotect._overload(format('%s(%s)', v_function, v_arguments), 'bool', o.oprcode,
                    CASE WHEN v_plain_left THEN format('%s OPERATOR(%s.%s) $2', dataprotect._opened(1, left_type, v_base), v_schema, o.oprname)
                         ELSE format('$1 OPERATOR(%s.%s) %s', v_schema, o.oprname, dataprotect._opened(2, right_type, v_base)) END);
            ELSE
                v_declaration := dataprotect._declaration(format('%s(%s)', v_function, v_arguments), 'bool',
                    format('dp_%s_%s', c.name, CASE WHEN v_plain_left THEN 'be' ELSE 'eb' END),
                    'STABLE STRICT PARALLEL SAFE' || CASE WHEN c.name IN ('eq', 'ne') THEN ' LEAKPROOF' ELSE '' END, 'comparison');
            END IF;
        END IF;
    END IF;
    RETURN v_declaration || format('CREATE OPERATOR %s.%s (FUNCTION = %s%s, RIGHTARG = %s%s); ', v_schema, o.oprname, v_function,
                   CASE WHEN o.oprleft = 0 THEN '' ELSE ', LEFTARG = ' || v_left END, v_right, v_options);
END $$;
COMMENT ON FUNCTION dataprotect._operator_overload(text, oid, oid, oid) IS 'what declares an operator of an encrypted type that stands in for one of its base type';

-- The overloads that operators over the base type may need.  Pass 1, both arguments
-- encrypted: serves untyped literals and types that become the encrypted one.  Pass 2,
-- one of them, beside what the operator takes or what becomes it (char(n) becomes
-- text).  Pass 3, both encrypted and of different types.
CREATE FUNCTION dataprotect._operator_variants(enc regtype, base regtype, OUT pass int, OUT wanted oid, OUT l oid, OUT r oid, OUT mine oid, OUT other oid,
                                               OUT on_left bool) RETURNS SETOF record
    LANGUAGE sql STABLE STRICT ROWS 200 SET search_path = pg_catalog, pg_temp AS $$
    WITH plain AS MATERIALIZED (
        SELECT o.oid, o.oprleft AS l, o.oprright AS r, dataprotect._encrypted_type(o.oprleft)::oid AS el, dataprotect._encrypted_type(o.oprright)::oid AS er
        FROM pg_operator o
        WHERE $2 IN (o.oprleft, o.oprright) AND o.oprnamespace <> 'dataprotect'::regnamespace AND o.oprcode <> 0
            AND dataprotect._base_type(o.oprleft) IS NULL AND dataprotect._base_type(o.oprright) IS NULL)
    SELECT 1, oid, CASE l WHEN 0 THEN 0 ELSE el END, er, NULL::oid, NULL::oid, NULL::bool FROM plain WHERE (l = r OR l = 0) AND er = $1
    UNION ALL
    SELECT 2, oid, el, r, l, r, true FROM plain WHERE el = $1
    UNION ALL
    SELECT 2, oid, l, er, r, l, false FROM plain WHERE er = $1 AND l <> 0
    UNION ALL
    SELECT 2, oid, $1, x, l, x, true FROM plain, dataprotect._becoming($2) x WHERE l = r AND dataprotect._operator_astray(oid, $2, x, true) IS FALSE
    UNION ALL
    SELECT 2, oid, x, $1, r, x, false FROM plain, dataprotect._becoming($2) x WHERE l = r AND dataprotect._operator_astray(oid, x, $2, true) IS FALSE
    UNION ALL
    SELECT 3, oid, el, er, NULL, NULL, NULL FROM plain WHERE el <> er AND $1 IN (el, er)
    ORDER BY 1, 2
$$;
COMMENT ON FUNCTION dataprotect._operator_variants(regtype, regtype) IS 'operators that an encrypted type may need beside its casts, and what each would stand in for';

CREATE FUNCTION dataprotect._create_operator_overloads(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET check_function_bodies = off SET jit = off AS $$
DECLARE
    v_made bool := true;
    v_unknown oid := 'unknown'::regtype;
    v_statements text;
BEGIN
    PERFORM set_config('search_path', format('pg_catalog, %I, pg_temp', (parse_ident(enc))[1]), true);
    -- one overload may lead another call astray
    WHILE v_made LOOP
        v_made := false;
        FOR i IN 1..3 LOOP
            SELECT string_agg(dataprotect._operator_overload(enc, v.wanted, v.l, v.r), '') INTO v_statements
                FROM (SELECT DISTINCT ON (o.oprname, v.l, v.r) v.wanted, v.l, v.r
                    FROM dataprotect._operator_variants(enc::regtype, base) v JOIN pg_operator o ON o.oid = v.wanted
                    WHERE v.pass = i
                      AND (dataprotect._operator_astray(v.wanted, v.l, v.r, i < 3)
                           OR i = 1 AND v.l <> 0 AND (dataprotect._operator_astray(v.wanted, v.l, v_unknown, true)
                                                      OR dataprotect._operator_astray(v.wanted, v_unknown, v.r, true)))
                      AND NOT EXISTS (SELECT FROM pg_operator x WHERE x.oprname = o.oprname AND x.oprleft = v.l AND x.oprright = v.r AND x.oprcode <> 0)
                      AND (i <> 2 OR dataprotect._overload_is_safe(o.oprname, v.mine, v.other, v.on_left))
                    ORDER BY o.oprname, v.l, v.r, v.wanted) v;
            IF v_statements IS NOT NULL THEN
                EXECUTE v_statements;
                v_made := true;
            END IF;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_operator_overloads(text, regtype) IS 'declares the operators of an encrypted type without which calls would not resolve as for its base type';

-- Operators that are safe and cannot be told to be, since an untyped literal finds one
-- beside it (date + time, where interval + time takes the literal): made, and taken
-- back where the literal then finds another.
CREATE FUNCTION dataprotect._operators_beside_literals(name text, mine oid, other oid, enc oid) RETURNS oid[]
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(CASE WHEN plain = 0 THEN 0 ELSE dataprotect._operator_for($1, l, r) END ORDER BY place)
    FROM (SELECT 'unknown'::regtype::oid) u (unknown),
        LATERAL (VALUES (1, unknown, $3, 1::oid), (2, $3, unknown, 1), (3, unknown, $4, dataprotect._operator_for($1, unknown, $2)),
                        (4, $4, unknown, dataprotect._operator_for($1, $2, unknown))) x (place, l, r, plain)
$$;
COMMENT ON FUNCTION dataprotect._operators_beside_literals(text, oid, oid, oid) IS
    'operators that untyped literals find beside a type, and beside an encrypted one where they find one beside its base type';

CREATE FUNCTION dataprotect._try_operator_overloads(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET check_function_bodies = off SET jit = off AS $$
DECLARE
    c record;
    v_before oid[];
BEGIN
    PERFORM set_config('search_path', format('pg_catalog, %I, pg_temp', (parse_ident(enc))[1]), true);
    FOR c IN
        SELECT DISTINCT ON (o.oprname, v.l, v.r) o.oprname, v.*
        FROM dataprotect._operator_variants(enc::regtype, base) v JOIN pg_operator o ON o.oid = v.wanted
        WHERE v.pass = 2 AND o.oprresult <> 'bool'::regtype AND NOT EXISTS (SELECT FROM dataprotect._becoming(v.mine))
          AND dataprotect._operator_astray(v.wanted, v.l, v.r, true)
          AND NOT EXISTS (SELECT FROM pg_operator x WHERE x.oprname = o.oprname AND x.oprleft = v.l AND x.oprright = v.r AND x.oprcode <> 0)
        ORDER BY o.oprname, v.l, v.r, v.wanted
    LOOP
        v_before := dataprotect._operators_beside_literals(c.oprname, c.mine, c.other, enc::regtype);
        BEGIN
            EXECUTE dataprotect._operator_overload(enc, c.wanted, c.l, c.r);
            IF v_before IS DISTINCT FROM dataprotect._operators_beside_literals(c.oprname, c.mine, c.other, enc::regtype) THEN
                PERFORM dataprotect._raise('triggered_action_exception', 'an untyped literal finds another operator');
            END IF;
        EXCEPTION WHEN triggered_action_exception THEN
            NULL;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._try_operator_overloads(text, regtype) IS 'declares operators of an encrypted type, each where it leads no other expression astray';

-- Arrays of an encrypted type beside arrays of its base type: the latter's elements
-- are sealed.  No array of another type may find these operators, nor an untyped
-- literal beside a plain array.  Where no other type becomes the encrypted one, the
-- plain side is anyarray.  Where one does (int4 becomes encrypted_numeric), its arrays
-- become the encrypted one's, too: there each side has a type that arrays of one type
-- alone become, and that is good for nothing else.  Made types go without.
CREATE FUNCTION dataprotect._array_operators(OUT op text, OUT function text, OUT commutator text, OUT negator text, OUT restrict text, OUT join_sel text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE ROWS 9 SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.op, 'array_' || c.name, c.commutator, c.negator, c.restrict, c.join_sel FROM dataprotect._comparisons() c
    UNION ALL
    VALUES ('@>', 'arraycontains', '<@', '', 'arraycontsel', 'arraycontjoinsel'),
           ('<@', 'arraycontained', '@>', '', 'arraycontsel', 'arraycontjoinsel'),
           ('&&', 'arrayoverlap', '&&', '', 'arraycontsel', 'arraycontjoinsel')
$$;
COMMENT ON FUNCTION dataprotect._array_operators() IS 'the operators between arrays, their functions and what belongs to them';

-- left_value, right_value: the two sides as arrays of the encrypted type.
CREATE FUNCTION dataprotect._create_array_operators(enc text, left_type text, right_type text, left_value text, right_value text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET check_function_bodies = off SET jit = off AS $$
DECLARE
    v_schema text := quote_ident((parse_ident(enc))[1]);
BEGIN
    EXECUTE (
        SELECT string_agg(
                dataprotect._overload(format('%s(%s, %s)', dataprotect._member(enc, '_' || x.function), left_type, right_type), 'bool',
                    format('pg_catalog.%I', x.function)::regproc, format('pg_catalog.%I(%s, %s)', x.function, left_value, right_value)), '')
            || string_agg(
                format('CREATE OPERATOR %1$s.%2$s (FUNCTION = %3$s, LEFTARG = %4$s, RIGHTARG = %5$s, COMMUTATOR = OPERATOR(%1$s.%6$s)%7$s, RESTRICT = %8$s, JOIN = %9$s); ',
                       v_schema, x.op, dataprotect._member(enc, '_' || x.function), left_type, right_type, x.commutator,
                       CASE WHEN x.negator <> '' THEN format(', NEGATOR = OPERATOR(%s.%s)', v_schema, x.negator) ELSE '' END, x.restrict, x.join_sel), '')
        FROM dataprotect._array_operators() x);
END $$;
COMMENT ON FUNCTION dataprotect._create_array_operators(text, text, text, text, text) IS 'declares operators between arrays, of which one or both are of an encrypted type';

-- Rows with arrays are compared column by column, by operators of a btree family.
CREATE FUNCTION dataprotect._order_array_operators(enc text, left_type text, right_type text, left_value text, right_value text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET check_function_bodies = off SET jit = off AS $$
DECLARE
    v_order text := format('%s(%s, %s)', dataprotect._member(enc, '_array_cmp'), left_type, right_type);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_opfamily f WHERE f.opfname = 'protected_arrays' AND f.opfnamespace = 'dataprotect'::regnamespace) THEN
        CREATE OPERATOR FAMILY dataprotect.protected_arrays USING btree;
    END IF;
    EXECUTE dataprotect._overload(v_order, 'int4', 'pg_catalog.btarraycmp'::regproc, format('pg_catalog.btarraycmp(%s, %s)', left_value, right_value));
    EXECUTE (SELECT format('ALTER OPERATOR FAMILY dataprotect.protected_arrays USING btree ADD %s, FUNCTION 1 (%s, %s) %s',
                           string_agg(format('OPERATOR %s %I.%s (%s, %s)', c.strategy, (parse_ident(enc))[1], c.op, left_type, right_type), ', '),
                           left_type, right_type, v_order)
             FROM dataprotect._comparisons() c WHERE c.strategy IS NOT NULL);
END $$;
COMMENT ON FUNCTION dataprotect._order_array_operators(text, text, text, text, text) IS 'tells what comparisons of arrays of an encrypted type with others are';

CREATE FUNCTION dataprotect._array_side(enc text, side text) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_catalog.format('dataprotect.%I', pg_catalog.format('_%s_array_of_%s', side, (pg_catalog.parse_ident(enc))[2]))
$$;
COMMENT ON FUNCTION dataprotect._array_side(text, text) IS 'the type of one side, sealed or plain, of an operator between arrays';

-- A type that the arrays become, and the way back to the first of them.
CREATE FUNCTION dataprotect._create_array_side(side text, collatable bool, arrays text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_in text := format('dataprotect.%I', (parse_ident(side))[2] || '_in');
    v_out text := format('dataprotect.%I', (parse_ident(side))[2] || '_out');
BEGIN
    EXECUTE format('CREATE TYPE %s', side);
    PERFORM dataprotect._declare(v_in || '(cstring)', side, 'dp_array_side_in', 'STABLE STRICT PARALLEL SAFE', 'input: refused');
    PERFORM dataprotect._declare(format('%s(%s)', v_out, side), 'cstring', 'dp_array_side_out', 'STABLE STRICT PARALLEL SAFE', 'output: as the array shows its elements');
    EXECUTE format('CREATE TYPE %s (INPUT = %s, OUTPUT = %s, ALIGNMENT = double, STORAGE = extended, COLLATABLE = %s)', side, v_in, v_out, collatable::text);
    EXECUTE format('COMMENT ON TYPE %s IS %L', side, 'a side of operators between arrays: what only arrays of one type become');
    FOR i IN 1..cardinality(arrays) LOOP
        PERFORM dataprotect._declare(format('%s(%s)', side, arrays[i]), side, 'dp_array_side', 'STABLE STRICT PARALLEL SAFE', 'an array as the side of an operator');
        EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION %2$s(%1$s) AS IMPLICIT', arrays[i], side);
    END LOOP;
    PERFORM dataprotect._declare(format('dataprotect._array(%s)', side), arrays[1], 'dp_array_side', 'STABLE STRICT PARALLEL SAFE', 'the array that is the side of an operator');
    -- NULLIF gives a side
    EXECUTE format('CREATE CAST (%s AS %s) WITH FUNCTION dataprotect._array(%1$s) AS IMPLICIT', side, arrays[1]);
END $$;
COMMENT ON FUNCTION dataprotect._create_array_side(text, bool, text[]) IS 'declares a type for a side of operators between arrays';

CREATE FUNCTION dataprotect._create_array_overloads(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    v_enc text := enc || '[]';
    v_sealed text := dataprotect._array_side(enc, 'sealed');
    v_plain text := dataprotect._array_side(enc, 'plain');
    v_sealed_value text := 'dataprotect._array($%s)';
    v_plain_value text := format('dataprotect._array($%%s)::%s[]', enc);
    v_pair record;
BEGIN
    IF (parse_ident(enc))[1] <> 'pg_catalog'
        OR EXISTS (SELECT FROM pg_proc p WHERE p.oid::regproc = to_regproc(dataprotect._member(enc, '_array_cmp')))
        OR NOT EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod WHERE o.opcintype = enc::regtype AND o.opcdefault AND m.amname = 'btree')
    THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM pg_cast c WHERE c.casttarget = enc::regtype AND c.castcontext = 'i' AND c.castsource <> enc::regtype) THEN
        PERFORM dataprotect._create_array_side(v_sealed, (SELECT typcollation <> 0 FROM pg_type WHERE oid = enc::regtype), ARRAY[v_enc]);
        PERFORM dataprotect._create_array_side(v_plain, (SELECT typcollation <> 0 FROM pg_type WHERE oid = enc::regtype),
                                               ARRAY[base::text || '[]'] || CASE base WHEN 'text'::regtype THEN ARRAY['varchar[]'] ELSE '{}' END);
        PERFORM dataprotect._create_array_operators(enc, a.l, a.r, a.lv, a.rv), dataprotect._order_array_operators(enc, a.l, a.r, a.lv, a.rv)
            FROM (VALUES (v_sealed, v_plain, format(v_sealed_value, 1), format(v_plain_value, 2)),
                         (v_plain, v_sealed, format(v_plain_value, 1), format(v_sealed_value, 2))) a (l, r, lv, rv);
        RETURN;
    END IF;
    -- with both encrypted: one that is exact, else either of the others would do
    FOR v_pair IN SELECT * FROM (VALUES (v_enc, v_enc), (v_enc, 'anyarray'), ('anyarray', v_enc)) a (l, r) LOOP
        IF NOT EXISTS (SELECT FROM pg_operator o WHERE o.oprname = '&&' AND o.oprleft = v_pair.l::regtype AND o.oprright = v_pair.r::regtype AND o.oprcode <> 0) THEN
            PERFORM dataprotect._create_array_operators(enc, v_pair.l, v_pair.r, format('$1::%s', v_enc), format('$2::%s', v_enc));
        END IF;
        PERFORM dataprotect._order_array_operators(enc, v_pair.l, v_pair.r, format('$1::%s', v_enc), format('$2::%s', v_enc));
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_array_overloads(text, regtype) IS 'declares the operators between arrays of an encrypted type and arrays of its base type';

-- Rows are compared column by column by operators that a btree family tells to be
-- "=" or "<".  Overloads belong to none that an index has: they stand in families of
-- schema dataprotect, one for each family of the operators that they stand in for.
CREATE FUNCTION dataprotect._create_mixed_families() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET check_function_bodies = off SET jit = off AS $$
DECLARE
    v_family record;
BEGIN
    FOR v_family IN
        WITH mixed AS (
            SELECT o.oprleft AS l, o.oprright AS r, c.strategy, c.name, f.prosrc,
                   dataprotect._operator_for(o.oprname, coalesce(dataprotect._base_type(o.oprleft)::oid, o.oprleft),
                                             coalesce(dataprotect._base_type(o.oprright)::oid, o.oprright)) AS plain,
                   coalesce(dataprotect._base_type(o.oprleft), dataprotect._base_type(o.oprright)) AS base
            FROM pg_operator o JOIN dataprotect._comparisons() c ON c.op = o.oprname AND c.strategy IS NOT NULL JOIN pg_proc f ON f.oid = o.oprcode
            WHERE o.oid >= 16384 AND o.oprnamespace = 'pg_catalog'::regnamespace
                AND NOT EXISTS (SELECT FROM pg_amop a JOIN pg_am m ON m.oid = a.amopmethod WHERE a.amopopr = o.oid AND m.amname = 'btree')),
        placed AS (
            SELECT x.*, 'dataprotect.' || quote_ident(y.opfname) AS family, p.oprleft AS plain_left, p.oprright AS plain_right, s.amproc
            FROM mixed x JOIN pg_operator p ON p.oid = x.plain JOIN pg_amop a ON a.amopopr = p.oid JOIN pg_opfamily y ON y.oid = a.amopfamily
                JOIN pg_amproc s ON s.amprocfamily = y.oid AND s.amproclefttype = p.oprleft AND s.amprocrighttype = p.oprright AND s.amprocnum = 1
                JOIN pg_am m ON m.oid = y.opfmethod
            WHERE x.base IS NOT NULL AND m.amname = 'btree' AND EXISTS (SELECT FROM pg_opclass c WHERE c.opcfamily = y.oid AND c.opcdefault)),
        pairs AS (
            SELECT family, format('pg_catalog.encrypted_%s_cmp(%s, %s)', (SELECT typname FROM pg_type WHERE oid = base), format_type(l, NULL), format_type(r, NULL)) AS signature,
                   format('%s, %s', format_type(l, NULL), format_type(r, NULL)) AS types, min(prosrc) FILTER (WHERE name = 'lt') AS prosrc,
                   min(amproc::oid) AS amproc, dataprotect._opened(1, l, min(plain_left)) AS left_value, dataprotect._opened(2, r, min(plain_right)) AS right_value,
                   string_agg(format('OPERATOR %s pg_catalog.%s (%s, %s)', strategy, (SELECT op FROM dataprotect._comparisons() c WHERE c.name = placed.name),
                                     format_type(l, NULL), format_type(r, NULL)), ', ') AS operators
            FROM placed GROUP BY family, base, l, r)
        SELECT format('CREATE OPERATOR FAMILY %s USING btree', family) AS made,
               string_agg(CASE WHEN prosrc LIKE 'dp\_lt\_%' THEN dataprotect._declaration(signature, 'int4', replace(prosrc, '_lt_', '_cmp_'), 'STABLE STRICT PARALLEL SAFE', 'order')
                               ELSE dataprotect._overload(signature, 'int4', amproc, format('%s(%s, %s)', amproc::regproc, left_value, right_value)) END, '') AS functions,
               format('ALTER OPERATOR FAMILY %s USING btree ADD ', family) || string_agg(format('%s, FUNCTION 1 (%s) %s', operators, types, signature), ', ') AS filled
        FROM pairs GROUP BY family
    LOOP
        EXECUTE v_family.made;
        EXECUTE v_family.functions;
        EXECUTE v_family.filled;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_mixed_families() IS 'tells what comparisons of encrypted types with others are';

-- Functions and aggregates.
CREATE FUNCTION dataprotect._function_overload(enc text, function oid, argtypes oid[]) RETURNS text
    LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p pg_catalog.pg_proc;
    v_signature text;
    v_returns text;
BEGIN
    SELECT * INTO STRICT p FROM pg_proc WHERE oid = function;
    v_signature := format('%I.%I(%s)', (parse_ident(enc))[1], p.proname,
                          (SELECT string_agg(format_type(a, NULL), ', ' ORDER BY n) FROM unnest(argtypes) WITH ORDINALITY u (a, n)));
    v_returns := CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END || format_type(p.prorettype, NULL);
    IF p.prokind = 'a' THEN
        RETURN format('CREATE AGGREGATE %1$s (SFUNC = dataprotect._stand_in, STYPE = %2$s); COMMENT ON AGGREGATE %1$s IS %3$L; ',
                      v_signature, v_returns, 'the base type''s own, over opened values');
    END IF;
    RETURN dataprotect._overload(v_signature, v_returns, function, format('%I.%I(%s)',
        (SELECT nspname FROM pg_namespace WHERE oid = p.pronamespace), p.proname,
        (SELECT string_agg(dataprotect._opened(n::int, a, p.proargtypes[n - 1]), ', ' ORDER BY n) FROM unnest(argtypes) WITH ORDINALITY u (a, n))));
END $$;
COMMENT ON FUNCTION dataprotect._function_overload(text, oid, oid[]) IS 'what declares a function or aggregate over an encrypted type that stands in for one over its base type';

CREATE FUNCTION dataprotect._create_function_overloads(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET check_function_bodies = off SET jit = off AS $$
DECLARE
    v_statements text;
BEGIN
    PERFORM set_config('search_path', format('pg_catalog, %I, pg_temp', (parse_ident(enc))[1]), true);
    FOR i IN 1..2 LOOP
        WITH plain AS MATERIALIZED (
            SELECT p.oid, p.proname, string_to_array(p.proargtypes::text, ' ')::oid[] AS args -- from 1
            FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
            WHERE base = ANY (p.proargtypes::oid[]) AND p.prokind IN ('f', 'a') AND p.provariadic = 0
                AND p.pronamespace = 'pg_catalog'::regnamespace AND l.lanname IN ('internal', 'sql') AND p.oid < 16384
                AND p.prorettype NOT IN ('internal'::regtype, 'cstring'::regtype) AND p.proname NOT IN ('in_range')
                AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[]) a WHERE a IN ('internal'::regtype, 'cstring'::regtype))
                AND NOT EXISTS (SELECT FROM pg_aggregate a WHERE a.aggfnoid = p.oid AND a.aggkind <> 'n')
                AND EXISTS (SELECT FROM pg_proc q WHERE q.proname = p.proname AND q.pronamespace = p.pronamespace
                            AND q.pronargs = p.pronargs AND q.oid <> p.oid)),
        variants AS (
            SELECT 1 AS pass, plain.oid, plain.proname, (SELECT array_agg(coalesce(dataprotect._encrypted_type(a)::oid, a) ORDER BY n) FROM unnest(plain.args) WITH ORDINALITY u (a, n)) AS args
            FROM plain
            UNION ALL
            SELECT 2, plain.oid, plain.proname, plain.args[:n - 1] || enc::regtype::oid || plain.args[n + 1:]
            FROM plain, generate_subscripts(plain.args, 1) n WHERE plain.args[n] = base AND cardinality(plain.args) > 1)
        SELECT string_agg(dataprotect._function_overload(enc, v.oid, v.args), '' ORDER BY v.oid, v.args) INTO v_statements
            FROM (SELECT DISTINCT ON (v.proname, v.args) v.* FROM variants v
                  WHERE v.pass = i AND enc::regtype = ANY (v.args) AND dataprotect._function_astray(v.oid, v.args)
                      AND NOT EXISTS (SELECT FROM pg_proc q WHERE q.proname = v.proname AND q.proargtypes = array_to_string(v.args, ' ')::oidvector)
                  ORDER BY v.proname, v.args, v.oid) v;
        IF v_statements IS NOT NULL THEN
            EXECUTE v_statements;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._create_function_overloads(text, regtype) IS 'declares the functions over an encrypted type without which calls would not resolve as for its base type';

-- A value within a range of its base type, whose operators take any element: where
-- nothing becomes the base type, which would find them, too.
CREATE FUNCTION dataprotect._create_range_overloads(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET check_function_bodies = off AS $$
DECLARE
    v_statements text;
BEGIN
    SELECT string_agg(format('CREATE FUNCTION %1$s(%2$s, %3$s) RETURNS bool LANGUAGE sql STABLE STRICT PARALLEL SAFE AS %4$L; '
                             'CREATE FUNCTION %1$s(%3$s, %2$s) RETURNS bool LANGUAGE sql STABLE STRICT PARALLEL SAFE AS %5$L; '
                             'SELECT dataprotect._remark(%8$L, %6$L); SELECT dataprotect._remark(%9$L, %6$L); '
                             'CREATE OPERATOR %7$s.<@ (FUNCTION = %1$s, LEFTARG = %2$s, RIGHTARG = %3$s); '
                             'CREATE OPERATOR %7$s.@> (FUNCTION = %1$s, LEFTARG = %3$s, RIGHTARG = %2$s); ',
                             dataprotect._member(enc, '_within'), enc, format_type(x.range, NULL), format('SELECT $1::%s OPERATOR(pg_catalog.<@) $2', base),
                             format('SELECT $1 OPERATOR(pg_catalog.@>) $2::%s', base), 'the base type''s own, over opened values',
                             quote_ident((parse_ident(enc))[1]),
                             format('%s(%s, %s)', dataprotect._member(enc, '_within'), enc, format_type(x.range, NULL)),
                             format('%s(%s, %s)', dataprotect._member(enc, '_within'), format_type(x.range, NULL), enc)), '') INTO v_statements
        FROM pg_range r, LATERAL (VALUES (r.rngtypid), (r.rngmultitypid)) x (range)
        WHERE r.rngsubtype = base AND r.rngtypid < 16384 AND NOT EXISTS (SELECT FROM dataprotect._becoming(base));
    IF v_statements IS NOT NULL THEN
        EXECUTE v_statements;
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._create_range_overloads(text, regtype) IS 'declares what finds values of an encrypted type in ranges';
