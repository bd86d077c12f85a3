-- Deciding what becomes of edges and columns

CREATE FUNCTION dataprotect._check_match(rel regclass, match jsonb) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bad text;
BEGIN
    IF jsonb_typeof(match) <> 'object' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'match is not an object of columns and values',
            NULL,
            'For example {"author_type": "User"}.');
    END IF;
    PERFORM dataprotect._check_columns(rel, ARRAY(SELECT k::name FROM jsonb_object_keys(match) k)) WHERE match <> '{}';
    SELECT k INTO bad FROM jsonb_object_keys(match) k
     WHERE jsonb_typeof(match -> k) NOT IN ('string', 'number')
        OR NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = dataprotect._undomained(a.atttypid)
                        WHERE a.attrelid = rel AND a.attname = k AND a.attnum > 0
                          AND (t.typtype = 'e' OR t.oid IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'name'::regtype,
                                                            'int2'::regtype, 'int4'::regtype, 'int8'::regtype)));
    IF FOUND THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('column "%s" cannot say what a reference means', bad),
            'Such a column is of a text, integer or enum type, and its value is a text or a number.');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_match(regclass, jsonb) IS 'error unless these are columns and values that a row can be asked for';

-- 'AND t."author_type" = ''User''', or nothing.
CREATE FUNCTION dataprotect._match_condition(rel regclass, match jsonb) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF $2 = '{}' THEN
        RETURN '';
    END IF;
    RETURN (
    SELECT coalesce(string_agg(format(' AND t.%I OPERATOR(pg_catalog.=) %L%s', a.attname, m.value,
                                      dataprotect._operand_cast(CASE dataprotect._undomained(a.atttypid) WHEN 'bpchar'::regtype THEN 'bpchar'::regtype
                                          WHEN 'varchar'::regtype THEN 'text'::regtype ELSE dataprotect._undomained(a.atttypid) END)), ''
                               ORDER BY a.attnum), '')
      FROM jsonb_each_text(match) m JOIN pg_attribute a ON a.attrelid = rel AND a.attname = m.key);
END $$;
COMMENT ON FUNCTION dataprotect._match_condition(regclass, jsonb) IS 'condition that a reference is meant for this table';

-- What annotated columns reference, where no foreign key says so.
CREATE FUNCTION dataprotect._annotated_reference(account dataprotect.account_type, top regclass, columns name[],
        references_columns name[], references_rel regclass, OUT reference regclass, OUT reference_columns name[]) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bad name;
BEGIN
    IF references_columns IS NULL THEN
        -- a bound table has the account's id in the column
        IF top <> account.root AND EXISTS (
               SELECT FROM dataprotect._bindings_of(account.name) b WHERE b.rel = top AND b.id_columns = columns) THEN
            reference := account.root;
            reference_columns := account.id_columns;
        END IF;
        RETURN;
    END IF;
    reference := dataprotect._top(coalesce(references_rel, account.root));
    reference_columns := references_columns;
    PERFORM dataprotect._check_columns(reference, references_columns);
    IF cardinality(columns) <> cardinality(references_columns) THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'columns and the columns that they reference are not as many');
    END IF;
    IF dataprotect._reference_operators(top, columns, reference, references_columns) IS NULL THEN
        PERFORM dataprotect._raise('datatype_mismatch',
            format('columns %s of relation "%s" cannot be compared with %s of "%s"', columns, top, references_columns, reference),
            'Their types have no equality operator in common.');
    END IF;
    SELECT c INTO bad FROM unnest(references_columns) c
     WHERE NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = c
                        WHERE i.indrelid = reference AND i.indisvalid AND a.attnum = ANY (i.indkey::int2[]));
    IF FOUND THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('column "%s" of relation "%s" has no index', bad, reference),
            'What is referenced is looked for by these columns.');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._annotated_reference(dataprotect.account_type, regclass, name[], name[], regclass) IS
    'what annotated columns reference';

-- What is written instead of a person's data must be such that every row can have it.
CREATE FUNCTION dataprotect._check_replacement(rel regclass, col name, replacement text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    att pg_attribute := (SELECT a FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = col AND NOT a.attisdropped);
    of_type text := format_type(att.atttypid, att.atttypmod);
    value text := dataprotect._replacement_value(replacement);
    room int := dataprotect._room_for_text(att.atttypid, att.atttypmod);
    longest int := length(replace(replacement, '{uuid}', repeat('x', 36)));
    fresh bool := replacement LIKE '%{uuid}%';
    refused name;
BEGIN
    IF att.attgenerated <> '' OR att.attidentity <> '' THEN
        PERFORM dataprotect._raise('invalid_parameter_value', format('column "%s" of relation "%s" is generated', col, rel));
    ELSIF dataprotect._bears(att.atttypid) THEN
        PERFORM dataprotect._raise('feature_not_supported', format('protected column "%s" can only be replaced by null', col));
    ELSIF fresh AND (SELECT t.typcategory <> 'S' FROM pg_type t WHERE t.oid = att.atttypid) THEN
        PERFORM dataprotect._raise('datatype_mismatch', format('replacement of column "%s" needs a text type', col));
    ELSIF longest > room THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('replacement of column "%s" is %s characters long', col, longest), format('Its type is %s.', of_type));
    ELSIF NOT fresh AND dataprotect._must_differ(rel, col) THEN
        PERFORM dataprotect._raise('invalid_parameter_value', format('column "%s" of relation "%s" is unique', col, rel),
            'Two accounts would have the same replacement.', 'Write {uuid} where a new value belongs each time.');
    END IF;
    -- its type and domain take it, and what is asked of this column alone
    PERFORM dataprotect._value_as(rel, format('SELECT (%s)::%s IS NULL', value, of_type));
    SELECT k.conname INTO refused FROM pg_constraint k
     WHERE k.conrelid = rel AND k.contype = 'c' AND k.conkey = ARRAY[att.attnum]
       AND dataprotect._value_as(rel, format('SELECT (%s) IS FALSE FROM (SELECT (%s)::%s AS %I) t',
                                             pg_get_expr(k.conbin, k.conrelid), value, of_type, col))::bool LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('invalid_parameter_value', format('replacement of column "%s" violates check constraint "%s"', col, refused));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_replacement(regclass, name, text) IS 'error where a column cannot have a replacement';

CREATE FUNCTION dataprotect._do_annotate_account(name text, rel regclass, columns name[], action text,
        legal_basis text, references_columns name[], references_rel regclass, match jsonb, replacement text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(_do_annotate_account.name);
    top regclass := dataprotect._top(_do_annotate_account.rel);
    given name[] := _do_annotate_account.columns;
    wanted text := _do_annotate_account.action;
    meant jsonb := coalesce(_do_annotate_account.match, '{}');
    targets regclass[];
    away record;
    own_row bool;
BEGIN
    IF wanted IS NULL OR wanted NOT IN ('delete', 'nullify', 'anonymise', 'keep', 'shared') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('unknown account action "%s"', wanted),
            NULL,
            'Actions are delete, nullify, anonymise, keep and shared.');
    END IF;
    IF wanted = 'keep' AND coalesce(_do_annotate_account.legal_basis, '') = '' THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'action "keep" needs a legal basis');
    END IF;
    PERFORM dataprotect._check_table_right(top);
    PERFORM dataprotect._check_columns(top, given);
    PERFORM dataprotect._check_match(top, meant);
    own_row := top = account.root AND given = account.id_columns;
    IF own_row AND wanted NOT IN ('delete', 'anonymise') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the row of an account itself can be deleted or anonymised');
    END IF;
    PERFORM dataprotect._settle_names(account.name);
    away := dataprotect._annotated_reference(account, top, given, _do_annotate_account.references_columns,
                                             _do_annotate_account.references_rel);
    -- An edge that comes later is another, whatever its columns.
    targets := ARRAY(SELECT DISTINCT f.to_rel FROM dataprotect._foreign_keys(ARRAY[top]) f
                      WHERE f.from_rel = top AND f.columns = given
                      UNION SELECT away.reference WHERE away.reference IS NOT NULL ORDER BY 1);
    IF targets <> '{}' THEN
        -- rows of the table at the other end may go as well
        IF wanted IN ('delete', 'anonymise') THEN
            PERFORM dataprotect._check_table_right(t) FROM unnest(targets) t;
        END IF;
    ELSIF wanted = 'delete' AND NOT own_row THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('columns %s of relation "%s" are not a foreign key', given, top),
            NULL,
            'Rows are deleted along references: foreign keys, or what references_columns says; other columns can be anonymised, nullified, kept or shared.');
    END IF;
    IF _do_annotate_account.replacement IS NOT NULL THEN
        IF wanted <> 'anonymise' OR targets <> '{}' OR own_row THEN
            PERFORM dataprotect._raise('invalid_parameter_value', 'a replacement is for columns that are anonymised, and no references');
        END IF;
        PERFORM dataprotect._check_replacement(top, c, _do_annotate_account.replacement) FROM unnest(given) c;
    END IF;
    INSERT INTO dataprotect.account_rule (account_type, rel, columns, action, legal_basis, targets, annotated_by, annotated_at,
                                          reference, reference_columns, match, rel_oid, attnums, reference_attnums, replacement)
        VALUES (account.name, top, given, wanted, _do_annotate_account.legal_basis, targets,
                pg_get_userbyid(dataprotect._caller()), dataprotect._now(), away.reference, away.reference_columns, meant,
                top, dataprotect._attnums(top, given), dataprotect._attnums(away.reference, away.reference_columns),
                _do_annotate_account.replacement)
        ON CONFLICT (account_type, rel, columns, match) DO UPDATE
           SET action = excluded.action, legal_basis = excluded.legal_basis, targets = excluded.targets,
               annotated_by = excluded.annotated_by, annotated_at = excluded.annotated_at, reference = excluded.reference,
               reference_columns = excluded.reference_columns, rel_oid = excluded.rel_oid, attnums = excluded.attnums,
               reference_attnums = excluded.reference_attnums, replacement = excluded.replacement;
    PERFORM dataprotect._event('account_type.annotated', NULL, jsonb_strip_nulls(jsonb_build_object('account_type', account.name,
        'rel', top::text, 'columns', given, 'action', wanted, 'legal_basis', _do_annotate_account.legal_basis,
        'references', away.reference::text, 'references_columns', away.reference_columns,
        'match', nullif(meant, '{}'), 'replacement', _do_annotate_account.replacement)));
END $$;
COMMENT ON FUNCTION dataprotect._do_annotate_account(text, regclass, name[], text, text, name[], regclass, jsonb, text) IS
    'body of dataprotect.annotate_account(); see definer.c';

CREATE FUNCTION dataprotect.annotate_account(name text, rel regclass, columns name[], action text,
        legal_basis text = NULL, references_columns name[] = NULL, references_rel regclass = NULL, match jsonb = NULL,
        replacement text = NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.annotate_account(text, regclass, name[], text, text, name[], regclass, jsonb, text) IS
    'say what becomes of the rows, or of the columns, that belong to an account when it is deleted';

CREATE FUNCTION dataprotect._do_unannotate_account(name text, rel regclass, columns name[], match jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(_do_unannotate_account.name);
    top regclass := dataprotect._top(_do_unannotate_account.rel);
    taken int;
BEGIN
    PERFORM dataprotect._check_table_right(account.root);
    PERFORM dataprotect._check_table_right(top);
    PERFORM dataprotect._settle_names(account.name);
    DELETE FROM dataprotect.account_rule r
     WHERE r.account_type = account.name AND r.rel = top AND r.columns = _do_unannotate_account.columns
       AND (_do_unannotate_account.match IS NULL OR r.match = _do_unannotate_account.match);
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken = 0 THEN
        PERFORM dataprotect._raise('undefined_object',
            format('columns %s of relation "%s" are not annotated for account type "%s"',
                   _do_unannotate_account.columns, top, account.name));
    END IF;
    PERFORM dataprotect._event('account_type.annotated', NULL, jsonb_build_object('account_type', account.name, 'act', 'taken back',
        'rel', top::text, 'columns', _do_unannotate_account.columns));
END $$;
COMMENT ON FUNCTION dataprotect._do_unannotate_account(text, regclass, name[], jsonb) IS
    'body of dataprotect.unannotate_account(); see definer.c';

CREATE FUNCTION dataprotect.unannotate_account(name text, rel regclass, columns name[], match jsonb = NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.unannotate_account(text, regclass, name[], jsonb) IS
    'take a decision of annotate_account() back: the edge is undecided again';
