--
-- Making encrypted types: those of the installation, and create_encrypted_type().
--
-- Of what is made for a type, some bears the type nowhere in its declaration.
CREATE FUNCTION dataprotect._loose_members(schema oid, name text) RETURNS TABLE (class regclass, object oid, drop_statement text)
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'pg_opfamily'::regclass, f.oid, format('DROP OPERATOR FAMILY %I.%I USING %I', n.nspname, f.opfname, a.amname)
    FROM pg_opfamily f JOIN pg_am a ON a.oid = f.opfmethod JOIN pg_namespace n ON n.oid = f.opfnamespace
    WHERE f.opfnamespace = $1 AND f.opfname IN ($2 || '_hash_ops', $2 || '_ops', $2 || '_token_ops', $2 || '_lexeme_ops')
    UNION ALL
    SELECT 'pg_operator'::regclass, o.oid, format('DROP OPERATOR %s', o.oid::regoperator)
    FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
    WHERE o.oprnamespace = 'dataprotect'::regnamespace AND p.pronamespace = $1 AND p.probin = dataprotect._library()
        AND p.proname IN (SELECT $2 || i.infix || c.name FROM dataprotect._comparisons() c, (VALUES ('_'), ('_token_')) i (infix))
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid, format('DROP FUNCTION %s', p.oid::regprocedure)
    FROM pg_proc p
    WHERE p.pronamespace = $1 AND p.probin = dataprotect._library()
        AND (p.proname IN ($2 || '_typmod_in', $2 || '_typmod_out', $2 || '_sortsupport', $2 || '_token_sortsupport',
                           $2 || '_hash', $2 || '_hash_extended', $2 || '_cmp', $2 || '_token_cmp')
             OR p.proname IN (SELECT $2 || i.infix || c.name FROM dataprotect._comparisons() c, (VALUES ('_'), ('_token_')) i (infix)))
$$;
COMMENT ON FUNCTION dataprotect._loose_members(oid, text) IS 'operator families, operators and functions that were made for an encrypted type and may name it nowhere';

-- DROP TYPE ... CASCADE of a base type takes the casts along and leaves a type that
-- nothing can be stored as.
CREATE FUNCTION dataprotect._is_orphan_type(encrypted oid) RETURNS bool
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p ON p.oid = t.typinput AND p.prosrc = 'dp_type_in'
        WHERE t.oid = $1 AND t.oid >= 16384 AND dataprotect._base_type(t.oid::regtype) IS NULL
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.atttypid IN (t.oid, t.typarray) AND NOT a.attisdropped)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
                                AND d.classid IN ('pg_rewrite'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass)))
$$;
COMMENT ON FUNCTION dataprotect._is_orphan_type(oid) IS 'whether an encrypted type''s base type is gone, and nothing uses it';

CREATE FUNCTION dataprotect._create_encrypted_type(schema text, base regtype) RETURNS regtype
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET client_min_messages = warning SET jit = off AS $$
DECLARE
    t pg_catalog.pg_type;
    v_name text;
    v_enc text;
    v_schema oid;
    v_hashable bool;
    v_ordered bool;
    v_searchable bool;
    v_mixed text;
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
    IF dataprotect._is_orphan_type(to_regtype(v_enc)) THEN
        EXECUTE format('DROP TYPE %s CASCADE', v_enc);
    END IF;
    -- left by a type that was restored from a dump and dropped
    IF to_regtype(v_enc) IS NULL THEN
        FOR r IN SELECT * FROM dataprotect._loose_members(v_schema, v_name) m ORDER BY array_position(ARRAY['pg_opfamily', 'pg_operator', 'pg_proc'], m.class::text) LOOP
            EXECUTE r.drop_statement;
        END LOOP;
    END IF;
    v_hashable := EXISTS (SELECT FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod
                          WHERE (c.opcintype = base OR (t.typtype = 'e' AND c.opcintype = 'anyenum'::regtype)) AND c.opcdefault AND a.amname = 'hash');
    v_ordered := EXISTS (SELECT FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am a ON a.oid = c.opcmethod
                         WHERE (c.opcintype = base OR (t.typtype = 'e' AND c.opcintype = 'anyenum'::regtype)) AND c.opcdefault AND a.amname = 'btree');
    PERFORM dataprotect._create_type_io(v_enc, base);
    PERFORM dataprotect._create_type_casts(v_enc, base);
    PERFORM dataprotect._create_json_cast(v_enc, base);
    PERFORM dataprotect._create_derive_cast(v_enc, base);
    v_mixed := dataprotect._mixed_schema(schema, base);
    v_searchable := dataprotect._has_tokens(v_enc::regtype);
    IF v_hashable THEN
        PERFORM dataprotect._create_operators(v_enc, base::text, v_mixed, v_ordered);
        PERFORM dataprotect._create_hash_class(v_enc, base::text, v_mixed);
        IF v_ordered THEN
            PERFORM dataprotect._create_btree_class(v_enc, base::text, v_mixed, '');
        END IF;
        IF v_ordered AND v_searchable THEN
            PERFORM dataprotect._create_token_operators(v_enc, base::text, v_mixed);
            PERFORM dataprotect._create_btree_class(v_enc, base::text, v_mixed, '_token');
        END IF;
    END IF;
    PERFORM dataprotect._belong_to_type(m.class, m.object, v_enc::regtype) FROM dataprotect._loose_members(v_schema, v_name) m;
    RETURN v_enc::regtype;
END $$;
COMMENT ON FUNCTION dataprotect._create_encrypted_type(text, regtype) IS 'declares the encrypted type over a base type in a schema';

-- The class of indexes over the words of a protected tsvector (lexeme_search.h), asked for by name.
CREATE FUNCTION dataprotect._create_lexeme_class(enc text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
    v_match text := dataprotect._member(enc, '_lexeme_match');
    v_tokens text := format('%s(%s, internal, internal)', dataprotect._member(enc, '_lexeme_tokens'), enc);
    v_query text := format('%s(%s, internal, int2, internal, internal, internal, internal)', dataprotect._member(enc, '_lexeme_query'), enc);
    v_consistent text := format('%s(internal, int2, %s, int4, internal, internal, internal)', dataprotect._member(enc, '_lexeme_consistent'), enc);
BEGIN
    PERFORM dataprotect._declare(format('%s(%s, tsquery)', v_match, enc), 'bool', 'dp_lexeme_may_match', 'STABLE STRICT PARALLEL SAFE',
        'true: what an index over words is asked, beside the condition itself');
    PERFORM dataprotect._declare(v_tokens, 'internal', 'dp_lexeme_extract_value', 'STABLE STRICT PARALLEL SAFE', 'keyed tokens of words for an index');
    PERFORM dataprotect._declare(v_query, 'internal', 'dp_lexeme_extract_query', 'STABLE STRICT PARALLEL SAFE', 'keyed tokens of a tsquery');
    PERFORM dataprotect._declare(v_consistent, '"char"', 'dp_lexeme_tri_consistent', 'STABLE STRICT PARALLEL SAFE', 'whether tokens may be those of a match');
    EXECUTE format('CREATE OPERATOR dataprotect.%%@@ (LEFTARG = %s, RIGHTARG = tsquery, FUNCTION = %s, RESTRICT = contsel, JOIN = contjoinsel)', enc, v_match);
    EXECUTE format('COMMENT ON OPERATOR dataprotect.%%@@ (%s, tsquery) IS %L', enc, 'condition of indexes over words');
    EXECUTE format('CREATE OPERATOR CLASS %s FOR TYPE %s USING gin AS OPERATOR 1 dataprotect.%%@@ (%2$s, tsquery), FUNCTION 1 btint4cmp(int4, int4), '
                   'FUNCTION 2 %s, FUNCTION 3 %s, FUNCTION 6 %s, FUNCTION 7 dataprotect._lexeme_options(internal), STORAGE int4',
                   dataprotect._member(enc, '_lexeme_ops'), enc, v_tokens, v_query, v_consistent);
    EXECUTE format('COMMENT ON OPERATOR CLASS %s USING gin IS %L', dataprotect._member(enc, '_lexeme_ops'),
                   'keyed tokens of words, for full-text search; discloses how often each occurs, and in which rows');
END $$;
COMMENT ON FUNCTION dataprotect._create_lexeme_class(text) IS 'declares the operator class of indexes over the words of a protected tsvector';

-- After all types that it may stand beside are made.
CREATE FUNCTION dataprotect._create_type_overloads(enc regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp SET client_min_messages = warning SET jit = off AS $$
DECLARE
    v_enc text := (SELECT format('%I.%I', n.nspname, t.typname) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = enc);
BEGIN
    PERFORM dataprotect._create_operator_overloads(v_enc, dataprotect._base_type(enc));
    PERFORM dataprotect._try_operator_overloads(v_enc, dataprotect._base_type(enc));
    PERFORM dataprotect._create_array_overloads(v_enc, dataprotect._base_type(enc));
    PERFORM dataprotect._create_function_overloads(v_enc, dataprotect._base_type(enc));
    PERFORM dataprotect._create_range_overloads(v_enc, dataprotect._base_type(enc));
END $$;
COMMENT ON FUNCTION dataprotect._create_type_overloads(regtype) IS 'declares the operators and functions of an encrypted type that its casts do not serve';

DO $$
DECLARE
    b regtype;
BEGIN
    FOREACH b IN ARRAY ARRAY['text', 'bytea', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'bool', 'date', 'time',
                             'timestamp', 'timestamptz', 'interval', 'uuid', 'inet', 'jsonb']::regtype[]
    LOOP
        PERFORM dataprotect._create_encrypted_type('pg_catalog', b);
    END LOOP;
    PERFORM dataprotect._create_type_overloads(t.oid)
        FROM pg_catalog.pg_type t WHERE dataprotect._base_type(t.oid) IS NOT NULL ORDER BY t.oid;
    PERFORM dataprotect._create_mixed_families();
END $$;

-- Evaluated in indexes by whoever writes, so open to all; it shows nothing (fold.h).
CREATE FUNCTION dataprotect.blind(value pg_catalog.encrypted_text, folds text) RETURNS pg_catalog.encrypted_text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_blind';
COMMENT ON FUNCTION dataprotect.blind(pg_catalog.encrypted_text, text) IS
    'a text as lower and its like fold it, or a part of it, sealed again: what an index over lower(column) becomes';
CREATE FUNCTION dataprotect.blind(value pg_catalog.encrypted_jsonb, folds text) RETURNS pg_catalog.encrypted_text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_blind';
COMMENT ON FUNCTION dataprotect.blind(pg_catalog.encrypted_jsonb, text) IS
    'a member of a document as text, folded or not, sealed again: what an index over document ->> name becomes';

CREATE FUNCTION dataprotect.not_empty(value pg_catalog.encrypted_text) RETURNS bool
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_not_empty';
COMMENT ON FUNCTION dataprotect.not_empty(pg_catalog.encrypted_text) IS
    'whether a text that is not padded is another than the empty one, by the length of what is sealed: what the predicate column <> '''' of an index becomes';

-- Search within texts (word_search.h).  The class is nobody's default: it is asked for by name.
CREATE FUNCTION dataprotect._may_match(value pg_catalog.encrypted_text, pattern text) RETURNS bool
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_word_may_match';
COMMENT ON FUNCTION dataprotect._may_match(pg_catalog.encrypted_text, text) IS 'true: what an index for word search is asked, beside the condition itself';
CREATE OPERATOR dataprotect.%~~ (LEFTARG = pg_catalog.encrypted_text, RIGHTARG = text, FUNCTION = dataprotect._may_match,
                                 RESTRICT = contsel, JOIN = contjoinsel);
COMMENT ON OPERATOR dataprotect.%~~ (pg_catalog.encrypted_text, text) IS 'condition of indexes for word search';
CREATE FUNCTION dataprotect._word_tokens(value pg_catalog.encrypted_text, internal, internal) RETURNS internal
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_word_extract_value';
COMMENT ON FUNCTION dataprotect._word_tokens(pg_catalog.encrypted_text, internal, internal) IS 'keyed tokens of a protected text for an index';
CREATE FUNCTION dataprotect._word_query(pg_catalog.encrypted_text, internal, int2, internal, internal, internal, internal) RETURNS internal
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_word_extract_query';
COMMENT ON FUNCTION dataprotect._word_query(pg_catalog.encrypted_text, internal, int2, internal, internal, internal, internal) IS 'keyed tokens of a LIKE pattern, a plain text: the type in the declaration is what GIN asks for';
CREATE FUNCTION dataprotect._word_consistent(internal, int2, pg_catalog.encrypted_text, int4, internal, internal, internal) RETURNS "char"
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_word_tri_consistent';
COMMENT ON FUNCTION dataprotect._word_consistent(internal, int2, pg_catalog.encrypted_text, int4, internal, internal, internal) IS 'whether tokens may be those of a match';
CREATE FUNCTION dataprotect._word_options(internal) RETURNS void
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_word_options';
COMMENT ON FUNCTION dataprotect._word_options(internal) IS 'options of encrypted_text_ngram_ops';
CREATE OPERATOR CLASS pg_catalog.encrypted_text_ngram_ops FOR TYPE pg_catalog.encrypted_text USING gin AS
    OPERATOR 1 dataprotect.%~~ (pg_catalog.encrypted_text, text),
    FUNCTION 1 btint4cmp(int4, int4),
    FUNCTION 2 dataprotect._word_tokens(pg_catalog.encrypted_text, internal, internal),
    FUNCTION 3 dataprotect._word_query(pg_catalog.encrypted_text, internal, int2, internal, internal, internal, internal),
    FUNCTION 6 dataprotect._word_consistent(internal, int2, pg_catalog.encrypted_text, int4, internal, internal, internal),
    FUNCTION 7 dataprotect._word_options(internal),
    STORAGE int4;
COMMENT ON OPERATOR CLASS pg_catalog.encrypted_text_ngram_ops USING gin IS
    'keyed tokens of three characters each, for LIKE and ILIKE; discloses how often each occurs, and in which rows';

-- Full-text search within texts (lexeme_search.h), asked for by name as well.
CREATE FUNCTION dataprotect._may_match(value pg_catalog.encrypted_text, query tsquery) RETURNS bool
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_lexeme_may_match';
COMMENT ON FUNCTION dataprotect._may_match(pg_catalog.encrypted_text, tsquery) IS 'true: what an index for full-text search is asked, beside the condition itself';
CREATE OPERATOR dataprotect.%@@ (LEFTARG = pg_catalog.encrypted_text, RIGHTARG = tsquery, FUNCTION = dataprotect._may_match,
                                 RESTRICT = contsel, JOIN = contjoinsel);
COMMENT ON OPERATOR dataprotect.%@@ (pg_catalog.encrypted_text, tsquery) IS 'condition of indexes for full-text search';
CREATE FUNCTION dataprotect._lexeme_tokens(value pg_catalog.encrypted_text, internal, internal) RETURNS internal
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_lexeme_extract_value';
COMMENT ON FUNCTION dataprotect._lexeme_tokens(pg_catalog.encrypted_text, internal, internal) IS 'keyed tokens of a protected text''s lexemes for an index';
CREATE FUNCTION dataprotect._lexeme_query(pg_catalog.encrypted_text, internal, int2, internal, internal, internal, internal) RETURNS internal
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_lexeme_extract_query';
COMMENT ON FUNCTION dataprotect._lexeme_query(pg_catalog.encrypted_text, internal, int2, internal, internal, internal, internal) IS 'keyed tokens of a tsquery: the type in the declaration is what GIN asks for';
CREATE FUNCTION dataprotect._lexeme_consistent(internal, int2, pg_catalog.encrypted_text, int4, internal, internal, internal) RETURNS "char"
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_lexeme_tri_consistent';
COMMENT ON FUNCTION dataprotect._lexeme_consistent(internal, int2, pg_catalog.encrypted_text, int4, internal, internal, internal) IS 'whether tokens may be those of a match';
CREATE FUNCTION dataprotect._lexeme_options(internal) RETURNS void
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_lexeme_options';
COMMENT ON FUNCTION dataprotect._lexeme_options(internal) IS 'options of encrypted_text_lexeme_ops';
CREATE OPERATOR CLASS pg_catalog.encrypted_text_lexeme_ops FOR TYPE pg_catalog.encrypted_text USING gin AS
    OPERATOR 1 dataprotect.%@@ (pg_catalog.encrypted_text, tsquery),
    FUNCTION 1 btint4cmp(int4, int4),
    FUNCTION 2 dataprotect._lexeme_tokens(pg_catalog.encrypted_text, internal, internal),
    FUNCTION 3 dataprotect._lexeme_query(pg_catalog.encrypted_text, internal, int2, internal, internal, internal, internal),
    FUNCTION 6 dataprotect._lexeme_consistent(internal, int2, pg_catalog.encrypted_text, int4, internal, internal, internal),
    FUNCTION 7 dataprotect._lexeme_options(internal),
    STORAGE int4;
COMMENT ON OPERATOR CLASS pg_catalog.encrypted_text_lexeme_ops USING gin IS
    'keyed tokens of lexemes, for full-text search; discloses how often each occurs, and in which rows';

-- Search within documents (document_search.h), asked for by name as well.
CREATE FUNCTION dataprotect._may_match(value pg_catalog.encrypted_jsonb, part jsonb) RETURNS bool
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_document_may_match';
COMMENT ON FUNCTION dataprotect._may_match(pg_catalog.encrypted_jsonb, jsonb) IS 'true: what an index over the entries of documents is asked, beside the condition itself';
CREATE FUNCTION dataprotect._may_match(value pg_catalog.encrypted_jsonb, name text) RETURNS bool
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_document_may_match';
COMMENT ON FUNCTION dataprotect._may_match(pg_catalog.encrypted_jsonb, text) IS 'true: what an index over the entries of documents is asked, beside the condition itself';
CREATE FUNCTION dataprotect._may_match(value pg_catalog.encrypted_jsonb, names text[]) RETURNS bool
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_document_may_match';
COMMENT ON FUNCTION dataprotect._may_match(pg_catalog.encrypted_jsonb, text[]) IS 'true: what an index over the entries of documents is asked, beside the condition itself';
CREATE OPERATOR dataprotect.%@> (LEFTARG = pg_catalog.encrypted_jsonb, RIGHTARG = jsonb, FUNCTION = dataprotect._may_match,
                                 RESTRICT = contsel, JOIN = contjoinsel);
COMMENT ON OPERATOR dataprotect.%@> (pg_catalog.encrypted_jsonb, jsonb) IS 'condition of indexes over the entries of documents, for @>';
CREATE OPERATOR dataprotect.%? (LEFTARG = pg_catalog.encrypted_jsonb, RIGHTARG = text, FUNCTION = dataprotect._may_match,
                                RESTRICT = contsel, JOIN = contjoinsel);
COMMENT ON OPERATOR dataprotect.%? (pg_catalog.encrypted_jsonb, text) IS 'condition of indexes over the entries of documents, for ?';
CREATE OPERATOR dataprotect.%?| (LEFTARG = pg_catalog.encrypted_jsonb, RIGHTARG = text[], FUNCTION = dataprotect._may_match,
                                 RESTRICT = contsel, JOIN = contjoinsel);
COMMENT ON OPERATOR dataprotect.%?| (pg_catalog.encrypted_jsonb, text[]) IS 'condition of indexes over the entries of documents, for ?|';
CREATE OPERATOR dataprotect.%?& (LEFTARG = pg_catalog.encrypted_jsonb, RIGHTARG = text[], FUNCTION = dataprotect._may_match,
                                 RESTRICT = contsel, JOIN = contjoinsel);
COMMENT ON OPERATOR dataprotect.%?& (pg_catalog.encrypted_jsonb, text[]) IS 'condition of indexes over the entries of documents, for ?&';
CREATE FUNCTION dataprotect._entry_tokens(value pg_catalog.encrypted_jsonb, internal, internal) RETURNS internal
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_document_extract_value';
COMMENT ON FUNCTION dataprotect._entry_tokens(pg_catalog.encrypted_jsonb, internal, internal) IS 'keyed tokens of a protected document''s entries for an index';
CREATE FUNCTION dataprotect._entry_query(pg_catalog.encrypted_jsonb, internal, int2, internal, internal, internal, internal) RETURNS internal
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_document_extract_query';
COMMENT ON FUNCTION dataprotect._entry_query(pg_catalog.encrypted_jsonb, internal, int2, internal, internal, internal, internal) IS 'keyed tokens of what a document is asked for: the type in the declaration is what GIN asks for';
CREATE FUNCTION dataprotect._entry_consistent(internal, int2, pg_catalog.encrypted_jsonb, int4, internal, internal, internal) RETURNS "char"
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_document_tri_consistent';
COMMENT ON FUNCTION dataprotect._entry_consistent(internal, int2, pg_catalog.encrypted_jsonb, int4, internal, internal, internal) IS 'whether tokens may be those of a match';
CREATE FUNCTION dataprotect._entry_options(internal) RETURNS void
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_word_options';
COMMENT ON FUNCTION dataprotect._entry_options(internal) IS 'options of encrypted_jsonb_entry_ops';
CREATE OPERATOR CLASS pg_catalog.encrypted_jsonb_entry_ops FOR TYPE pg_catalog.encrypted_jsonb USING gin AS
    OPERATOR 7 dataprotect.%@> (pg_catalog.encrypted_jsonb, jsonb),
    OPERATOR 9 dataprotect.%? (pg_catalog.encrypted_jsonb, text),
    OPERATOR 10 dataprotect.%?| (pg_catalog.encrypted_jsonb, text[]),
    OPERATOR 11 dataprotect.%?& (pg_catalog.encrypted_jsonb, text[]),
    FUNCTION 1 btint4cmp(int4, int4),
    FUNCTION 2 dataprotect._entry_tokens(pg_catalog.encrypted_jsonb, internal, internal),
    FUNCTION 3 dataprotect._entry_query(pg_catalog.encrypted_jsonb, internal, int2, internal, internal, internal, internal),
    FUNCTION 6 dataprotect._entry_consistent(internal, int2, pg_catalog.encrypted_jsonb, int4, internal, internal, internal),
    FUNCTION 7 dataprotect._entry_options(internal),
    STORAGE int4;
COMMENT ON OPERATOR CLASS pg_catalog.encrypted_jsonb_entry_ops USING gin IS
    'keyed tokens of members'' names and values, for @>, ?, ?| and ?&; discloses how often each occurs, and in which rows';

-- Not in pg_catalog, whose contents pg_dump leaves out unless an extension makes
-- them: what is made here belongs to the database's owner and is dumped.
CREATE FUNCTION dataprotect.create_encrypted_type(base regtype) RETURNS regtype
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_type regtype;
BEGIN
    v_type := dataprotect._create_encrypted_type(CASE WHEN to_regnamespace('public') IS NULL THEN 'dataprotect' ELSE 'public' END, base);
    PERFORM dataprotect._create_type_overloads(v_type);
    IF base = 'tsvector'::regtype THEN
        PERFORM dataprotect._create_lexeme_class(format('%I.%I', n.nspname, t.typname))
            FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = v_type;
    END IF;
    PERFORM dataprotect._open_type(v_type);
    PERFORM dataprotect._event('type.created', NULL, jsonb_build_object('base', base::text));
    RETURN v_type;
END $$;
COMMENT ON FUNCTION dataprotect.create_encrypted_type(regtype) IS
    'makes encrypted_<name> over any scalar base type, in schema public, or in schema dataprotect where there is none';

-- What a later version, or a later extension beside it, has more of than the one that
-- made the type: overloads are made where a call would go astray, and nowhere twice.
CREATE FUNCTION dataprotect.complete_encrypted_type(encrypted regtype) RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_base regtype := dataprotect._base_type(encrypted);
    v_before int;
    v_more int;
BEGIN
    IF v_base IS NULL OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = encrypted AND d.deptype = 'e') THEN
        PERFORM dataprotect._raise('wrong_object_type', format('type %s was not made by create_encrypted_type()', encrypted), NULL,
            'Types of the installation are brought up to date by ALTER EXTENSION dataprotect UPDATE.');
    END IF;
    v_before := (SELECT count(*) FROM dataprotect._overloads(encrypted));
    PERFORM dataprotect._create_type_overloads(encrypted);
    v_more := (SELECT count(*) FROM dataprotect._overloads(encrypted)) - v_before;
    IF v_more > 0 THEN
        PERFORM dataprotect._open_type(encrypted);
        PERFORM dataprotect._event('type.created', NULL, jsonb_build_object('base', v_base::text, 'completed', v_more));
    END IF;
    RETURN v_more;
END $$;
COMMENT ON FUNCTION dataprotect.complete_encrypted_type(regtype) IS
    'gives a type that create_encrypted_type() made the operators and functions that it would make now; returns how many';
