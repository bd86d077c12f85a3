--
-- The expressions that are tried, over a table with a column of every type that
-- built-in operators and functions take: p_TYPE of the type itself, e_TYPE of its
-- encrypted form.  Made in a database without the extension; after.sql encrypts an
-- argument, or all.
--
CREATE SCHEMA resolve;
SET search_path = resolve, pg_catalog;

-- The base types of the extension (src/types/typeinfo.c).
CREATE TABLE base (name text PRIMARY KEY);
INSERT INTO base VALUES ('text'), ('bytea'), ('int2'), ('int4'), ('int8'), ('float4'), ('float8'), ('numeric'), ('bool'), ('date'),
    ('time'), ('timestamp'), ('timestamptz'), ('interval'), ('uuid'), ('inet'), ('jsonb');

-- What can be protected: they, and arrays of them.
CREATE TABLE protected AS SELECT name, false AS is_array FROM base UNION ALL SELECT '_' || name, true FROM base;

-- Types whose values can stand in a column.
CREATE TABLE usable AS
    SELECT t.oid AS type, t.typname::text AS name FROM pg_type t
    WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm') AND t.oid < 16384
      AND t.typname !~ '^(pg_|_pg_)' AND t.typname NOT IN ('_cstring', 'unknown', 'refcursor', '_refcursor', 'gtsvector', '_gtsvector');

-- One call: the arguments' types by name, "null" for an untyped one, and what stands around them.
CREATE TABLE call (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    pattern text NOT NULL,      -- $1, $2, ... stand for the arguments
    args text[] NOT NULL,
    before text,                -- what it gives without the extension: its type, or NULL where it does not resolve
    shape text                  -- and how PostgreSQL wrote it out
);

CREATE FUNCTION resolve.put(pattern text, args text[]) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    FOR i IN REVERSE cardinality(args)..1 LOOP
        pattern := replace(pattern, '$' || i, args[i]);
    END LOOP;
    RETURN pattern;
END $$;
CREATE FUNCTION resolve.filled(pattern text, args text[], encrypted int[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT resolve.put(pattern, array_agg(CASE WHEN a = 'null' THEN 'NULL' WHEN i = ANY (encrypted) THEN 'e_' || a ELSE quote_ident('p_' || a) END ORDER BY i))
    FROM unnest(args) WITH ORDINALITY u (a, i)
$$;
-- The type of an expression, NULL where it does not resolve; any other error is told.
CREATE FUNCTION resolve.type_of(expr text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_type text;
BEGIN
    EXECUTE format('SELECT pg_catalog.pg_typeof((SELECT %s FROM resolve.v LIMIT 1))', expr) INTO v_type;
    RETURN v_type;
EXCEPTION
    WHEN undefined_function OR ambiguous_function OR datatype_mismatch OR cannot_coerce OR indeterminate_datatype OR wrong_object_type
        OR ambiguous_parameter OR undefined_object OR invalid_parameter_value OR feature_not_supported THEN
        RETURN NULL;
    WHEN OTHERS THEN
        RETURN 'error ' || SQLSTATE || ': ' || SQLERRM;
END $$;
-- How PostgreSQL writes an expression out, its casts included. What runs SQL in a statement's own
-- words is run by a function of the extension (columns/own_runner.h): the same function for all that.
CREATE FUNCTION resolve.shape_of(expr text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_line text;
    v_function oid;
BEGIN
    FOR v_line IN EXECUTE format('EXPLAIN (VERBOSE, COSTS OFF) SELECT %s FROM resolve.v', expr) LOOP
        IF v_line ~ '^ *Output: ' THEN
            LOOP
                v_function := substring(v_line FROM 'dataprotect\._own_sql\(''(\d+)''::oid, ');
                EXIT WHEN v_function IS NULL;
                v_line := replace(v_line, format('dataprotect._own_sql(%L::oid, ', v_function::text),
                                  (SELECT p.proname || '(' FROM pg_proc p WHERE p.oid = v_function));
            END LOOP;
            RETURN v_line;
        END IF;
    END LOOP;
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

DO $$
BEGIN
    EXECUTE (SELECT format('CREATE TABLE resolve.v (%s)', string_agg(format('%I %s', 'p_' || name, type::regtype), ', ')) FROM resolve.usable);
END $$;

-- What a type becomes without being asked: itself, what it casts to implicitly, and what takes anything.
CREATE TABLE becomes AS
    SELECT type, type AS target FROM usable
    UNION SELECT castsource, casttarget FROM pg_cast WHERE castcontext = 'i' AND castsource <> casttarget
    UNION SELECT u.type, t.oid FROM usable u, pg_type t WHERE t.typname LIKE 'any%' AND t.typtype = 'p';

-- Operators: a base type beside every type, or beside an untyped argument, where the name has an operator that could take both.
INSERT INTO call (kind, pattern, args)
    SELECT DISTINCT 'operator', format('$1 %s $2', o.oprname), ARRAY[l.name, r.name]
        FROM pg_operator o JOIN becomes bl ON bl.target = o.oprleft JOIN usable l ON l.type = bl.type
            JOIN becomes br ON br.target = o.oprright JOIN usable r ON r.type = br.type
        WHERE o.oid < 16384 AND (l.name IN (SELECT name FROM base) OR r.name IN (SELECT name FROM base))
          AND NOT ((o.oprleft::regtype::text LIKE 'any%' AND o.oprright::regtype::text LIKE 'any%') AND l.name <> r.name)
    UNION
    SELECT DISTINCT 'operator', format('$1 %s $2', o.oprname), a.args
        FROM pg_operator o, base b, LATERAL (VALUES (ARRAY[b.name, 'null']), (ARRAY['null', b.name])) a (args)
        WHERE o.oid < 16384 AND o.oprkind = 'b'
    UNION
    SELECT DISTINCT 'operator', format('%s $1', o.oprname), ARRAY[b.name] FROM pg_operator o, base b WHERE o.oprkind = 'l' AND o.oid < 16384;

-- Functions and aggregates as they are declared, with what casts to an argument's type in its place, and untyped arguments.
INSERT INTO call (kind, pattern, args)
    WITH f AS (
        SELECT p.oid, p.proname, p.prokind, p.proargtypes::oid[] AS argtypes, a.aggkind, a.aggnumdirectargs AS direct
        FROM pg_proc p LEFT JOIN pg_aggregate a ON a.aggfnoid = p.oid
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 AND p.pronargs > 0 AND p.prokind IN ('f', 'a', 'w') AND p.provariadic = 0
          AND p.prorettype NOT IN ('internal'::regtype, 'trigger'::regtype, 'event_trigger'::regtype, 'cstring'::regtype)
          AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[]) t WHERE t NOT IN (SELECT type FROM usable))
          AND EXISTS (SELECT FROM unnest(p.proargtypes::oid[]) t JOIN usable u ON u.type = t JOIN base b ON b.name = u.name)
          AND p.proname !~ '^(pg_|lo_|lo|binary_upgrade|txid_|nextval|setval|currval|query_to|table_to|schema_to|cursor_to|database_to|brin_|ts_stat|dblink|encrypted_)'),
    written AS (
        SELECT f.*, u.names,
               CASE WHEN aggkind IN ('o', 'h') THEN
                        format('%I(%s) WITHIN GROUP (ORDER BY %s)', proname,
                               (SELECT coalesce(string_agg('$' || i, ', ' ORDER BY i), '') FROM generate_series(1, direct) i),
                               (SELECT string_agg('$' || i, ', ' ORDER BY i) FROM generate_series(direct + 1, cardinality(argtypes)) i))
                    ELSE format('%I(%s)%s', proname, (SELECT string_agg('$' || i, ', ' ORDER BY i) FROM generate_series(1, cardinality(argtypes)) i),
                                CASE WHEN prokind = 'w' THEN ' OVER ()' ELSE '' END) END AS pattern
        FROM f, LATERAL (SELECT array_agg(u.name ORDER BY i) AS names FROM unnest(argtypes) WITH ORDINALITY a (t, i) JOIN usable u ON u.type = a.t) u)
    SELECT 'function', pattern, names FROM written
    UNION
    SELECT 'function', pattern, names[1:i - 1] || s.name || names[i + 1:]
        FROM written, generate_subscripts(names, 1) i, pg_cast c, usable s
        WHERE c.casttarget = argtypes[i] AND c.castcontext = 'i' AND s.type = c.castsource AND s.name IN (SELECT name FROM base)
    UNION
    SELECT 'function', pattern, names[1:i - 1] || 'null'::text || names[i + 1:]
        FROM written, generate_subscripts(names, 1) i WHERE cardinality(names) > 1;

-- What joins two values into one type, lists and casts.
INSERT INTO call (kind, pattern, args)
    SELECT 'form', f.pattern, ARRAY[b.name, t.name]
    FROM base b, (SELECT name FROM base UNION SELECT unnest(ARRAY['varchar', 'bpchar', 'name', 'json', 'timetz', 'cidr', 'money', 'null'])) t,
        (VALUES ('coalesce($1, $2)'), ('coalesce($2, $1)'), ('CASE WHEN p_bool THEN $1 ELSE $2 END'), ('greatest($1, $2)'), ('nullif($1, $2)'),
                ('$1 IN ($2, $2)'), ('$1 = ANY (ARRAY[$2])'), ('ARRAY[$1, $2]'), ('(SELECT x FROM (SELECT $1 UNION SELECT $2) u (x) LIMIT 1)'),
                ('(SELECT x FROM (SELECT $2 UNION ALL SELECT $1) u (x) LIMIT 1)'), ('$1 IN (SELECT $2)'), ('ROW($1, 1) = ROW($2, 1)'),
                ('$1 IS DISTINCT FROM $2'), ('$1 BETWEEN $2 AND $2'), ('lag($1, 1, $2) OVER ()')) f (pattern)
    UNION ALL
    SELECT 'cast', format('CAST($1 AS %s)', t.oid::regtype), ARRAY[b.name]
    FROM base b, pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b' AND t.oid < 16384 AND t.typname !~ '^_'
    UNION ALL
    SELECT 'window', format('count(*) OVER (ORDER BY $1 RANGE BETWEEN %s PRECEDING AND CURRENT ROW)', o.literal), ARRAY[b.name]
    FROM base b, (VALUES ('1'), ('1::int8'), ('1.5'), ('1.5::float8'), ('interval ''1 day''')) o (literal)
    UNION ALL
    SELECT 'subscript', '($1)[''a'']', ARRAY['jsonb'];

-- Arrays beside arrays, elements and untyped arguments.
INSERT INTO call (kind, pattern, args)
    SELECT DISTINCT 'array operator', format('$1 %s $2', o.oprname), a.args
    FROM pg_operator o, base b, (SELECT name FROM base UNION SELECT unnest(ARRAY['varchar', 'bpchar', 'name', 'json', 'timetz'])) t,
        LATERAL (VALUES (ARRAY['_' || b.name, '_' || t.name]), (ARRAY['_' || t.name, '_' || b.name]), (ARRAY['_' || b.name, t.name]), (ARRAY[t.name, '_' || b.name]),
                        (ARRAY['_' || t.name, b.name]), (ARRAY[b.name, '_' || t.name]), (ARRAY['_' || b.name, 'null']), (ARRAY['null', '_' || b.name])) a (args)
    WHERE o.oid < 16384 AND (o.oprleft IN ('anyarray'::regtype, 'anycompatiblearray'::regtype) OR o.oprright IN ('anyarray'::regtype, 'anycompatiblearray'::regtype))
    UNION
    SELECT 'array call', f.pattern, ARRAY['_' || b.name, '_' || t.name]
    FROM base b, (SELECT name FROM base UNION SELECT unnest(ARRAY['varchar', 'bpchar', 'name', 'timetz'])) t,
        (VALUES ('array_cat($1, $2)'), ('array_cat($2, $1)'), ('coalesce($1, $2)'), ('coalesce($2, $1)'), ('CASE WHEN p_bool THEN $1 ELSE $2 END'), ('greatest($1, $2)'),
                ('nullif($1, $2)'), ('$1 IN ($2, $2)'), ('ARRAY[$1, $2]'), ('(SELECT x FROM (SELECT $1 UNION SELECT $2) u (x) LIMIT 1)'), ('$1 IN (SELECT $2)'),
                ('ROW($1, 1) = ROW($2, 1)'), ('$1 IS DISTINCT FROM $2'), ('$1 BETWEEN $2 AND $2'), ('lag($1, 1, $2) OVER ()'), ('array_cat($1, NULL)'),
                ('coalesce($1, NULL)'), ('coalesce($1, ''{}'')')) f (pattern)
    UNION
    SELECT 'array call', f.pattern, ARRAY['_' || b.name, t.name]
    FROM base b, (SELECT name FROM base UNION SELECT unnest(ARRAY['varchar', 'bpchar', 'name', 'timetz', 'null'])) t,
        (VALUES ('array_append($1, $2)'), ('array_prepend($2, $1)'), ('array_position($1, $2)'), ('array_position($1, $2, 1)'), ('array_positions($1, $2)'),
                ('array_remove($1, $2)'), ('array_replace($1, $2, $2)'), ('width_bucket($2, $1)'), ('$2 = ANY ($1)'), ('$2 <> ALL ($1)'), ('$2 < ANY ($1)'),
                ('ARRAY[($1)[1], $2]'), ('coalesce(($1)[1], $2)')) f (pattern)
    UNION
    SELECT 'array call', f.pattern, ARRAY['_' || b.name]
    FROM base b, (VALUES ('cardinality($1)'), ('array_length($1, 1)'), ('array_ndims($1)'), ('array_dims($1)'), ('array_lower($1, 1)'), ('array_upper($1, 1)'),
                         ('array_to_string($1, '','')'), ('array_to_string($1, '','', ''*'')'), ('unnest($1)'), ('array_agg($1)'), ('array_agg(($1)[1])'), ('trim_array($1, 1)'),
                         ('to_json($1)'), ('to_jsonb($1)'), ('array_to_json($1)'), ('generate_subscripts($1, 1)'), ('($1)[1]'), ('($1)[1:2]'), ('($1)[1] = ($1)[2]'),
                         ('array_fill(($1)[1], ARRAY[2])'), ('$1::text'), ('max($1)'), ('count(DISTINCT $1)'), ('first_value($1) OVER ()'), ('format(''%s'', $1)'),
                         ('concat($1)'), ('num_nulls(VARIADIC $1)'), ('jsonb_build_array(VARIADIC $1)'), ('mode() WITHIN GROUP (ORDER BY $1)'), ('pg_column_size($1)'),
                         ('ARRAY[$1, ''{}'']'), ('$1 || ''{}'''), ('''{}'' || $1'), ('NULL || $1'), ('$1 = ''{}'''), ('ARRAY(SELECT unnest($1))')) f (pattern)
    UNION
    SELECT 'cast', format('CAST($1 AS %s)', t.oid::regtype), ARRAY['_' || b.name]
    FROM base b, pg_type t JOIN pg_type e ON e.typarray = t.oid WHERE e.typnamespace = 'pg_catalog'::regnamespace AND e.typtype = 'b' AND e.oid < 16384;

UPDATE call SET before = resolve.type_of(resolve.filled(pattern, args, '{}'));
UPDATE call SET shape = resolve.shape_of(resolve.filled(pattern, args, '{}')) WHERE before IS NOT NULL;

-- Whether a value of one column may be stored in another.
CREATE FUNCTION resolve.stores(source text, target text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('EXPLAIN INSERT INTO resolve.v (%I) SELECT %I FROM resolve.v', target, source);
    RETURN true;
EXCEPTION WHEN datatype_mismatch THEN
    RETURN false;
END $$;
