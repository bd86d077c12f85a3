-- What stands in the way of deleting an account

-- The action for a table's rows that belong to an account (not what cuts them
-- off): delete, anonymise or keep; several where annotations contradict.
CREATE FUNCTION dataprotect._account_row_actions(account dataprotect.account_type, rel regclass) RETURNS text[]
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN $2 = account.root THEN ARRAY[dataprotect._account_root_action(account)] ELSE
        (SELECT array_agg(DISTINCT t.action ORDER BY t.action) FROM dataprotect._account_tree(account, '0') t
          WHERE t.child = $2 AND NOT t.loops AND t.action IN ('delete', 'anonymise', 'keep')) END;
$$;
COMMENT ON FUNCTION dataprotect._account_row_actions(dataprotect.account_type, regclass) IS
    'what becomes of the rows of a table that belong to an account';

-- Rows of a table are looked for as its owner, who must be able to read the
-- tables on the way to it; a superuser reads no table of an ordinary role.
CREATE FUNCTION dataprotect._account_reading_problem(rel regclass, others regclass[]) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner pg_roles := (SELECT o FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner WHERE c.oid = rel);
    other record;
BEGIN
    FOR other IN SELECT c.oid::regclass AS rel, c.relowner, o.rolsuper FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner
                  WHERE c.oid = ANY (others) ORDER BY c.oid::regclass::text
    LOOP
        IF owner.rolsuper AND NOT other.rolsuper THEN
            RETURN format('it belongs to a superuser and "%s" to an ordinary role', other.rel);
        END IF;
        IF NOT has_table_privilege(owner.oid, other.rel, 'SELECT') THEN
            RETURN format('its owner may not read "%s"', other.rel);
        END IF;
        IF NOT pg_has_role(other.relowner, owner.oid, 'USAGE') THEN
            RETURN format('it belongs to "%s"; code of "%s" of "%s" would run with these rights',
                          owner.rolname, other.rel, pg_get_userbyid(other.relowner));
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_reading_problem(regclass, regclass[]) IS
    'why the owner of a table cannot look for rows in it by way of other tables, or NULL';

-- What is wrong with one edge, or NULL.
CREATE FUNCTION dataprotect._account_edge_problem(account dataprotect.account_type, child regclass, child_columns name[],
        parent regclass, action text, loops bool, sets_null bool, constraint_name name, casts bool, above regclass[])
    RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parent_actions text[];
    fixed name;
BEGIN
    IF action IS NULL THEN
        RETURN format('foreign key "%s" to "%s" is not annotated', constraint_name, parent);
    END IF;
    IF casts THEN
        RETURN format('foreign key "%s" to "%s" compares by a cast', constraint_name, parent);
    END IF;
    IF NOT loops AND dataprotect._account_reading_problem(child, above) IS NOT NULL THEN
        RETURN dataprotect._account_reading_problem(child, above);
    END IF;
    SELECT a.attname INTO fixed FROM pg_attribute a
     WHERE a.attrelid = child AND a.attname = ANY (child_columns) AND a.attnotnull LIMIT 1;
    IF action = 'nullify' THEN
        RETURN CASE WHEN fixed IS NOT NULL THEN format('column "%s" does not allow nulls', fixed) END;
    END IF;
    IF loops THEN
        RETURN format('rows of "%s" reference the account''s rows in a circle; they can only be nullified', child);
    END IF;
    IF action = 'delete' THEN
        RETURN NULL;
    END IF;
    parent_actions := dataprotect._account_row_actions(account, parent);
    IF 'delete' = ANY (parent_actions) AND NOT sets_null AND (action = 'keep' OR fixed IS NOT NULL) THEN
        RETURN format('its rows stay, but the rows of "%s" that they reference are deleted', parent);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_edge_problem(dataprotect.account_type, regclass, name[], regclass, text, bool, bool, name, bool, regclass[]) IS
    'why an annotated foreign key cannot be followed, or NULL';

-- What is wrong with what happens to a table's rows, or NULL.
CREATE FUNCTION dataprotect._account_table_problem(account dataprotect.account_type, rel regclass) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    actions text[] := dataprotect._account_row_actions(account, rel);
    bound bool := EXISTS (SELECT 1 FROM dataprotect.subject_binding b
                           WHERE b.rel = _account_table_problem.rel AND b.account_type = account.name);
    bad name;
BEGIN
    SELECT c.relname INTO bad FROM dataprotect._below(rel) b JOIN pg_class c ON c.oid = b
     WHERE c.relkind NOT IN ('r', 'p') LIMIT 1;
    IF FOUND THEN
        RETURN format('"%s" is not an ordinary table', bad);
    END IF;
    IF bound AND dataprotect._unbindable(rel) IS NOT NULL THEN
        RETURN format('column "%s" contains encrypted values that cannot be sealed under the account''s own key',
                      dataprotect._unbindable(rel));
    END IF;
    IF cardinality(actions) > 1 THEN
        RETURN format('annotations contradict each other: %s', array_to_string(actions, ', '));
    END IF;
    IF actions = '{keep}' AND bound THEN
        SELECT p INTO bad FROM dataprotect._protected_attributes(rel) p LIMIT 1;
        IF FOUND THEN
            RETURN format('its rows are kept, but column "%s" is sealed under the account''s own key', bad);
        END IF;
    END IF;
    IF actions = '{anonymise}' THEN
        SELECT p.col INTO bad FROM dataprotect._personal_columns(account.name, rel) p WHERE p.value IS NULL LIMIT 1;
        IF FOUND THEN
            RETURN format('no neutral value fits column "%s"', bad);
        END IF;
        SELECT p.col INTO bad FROM dataprotect._personal_columns(account.name, rel) p
          JOIN dataprotect._protected_attributes(rel) a ON a = p.col WHERE p.value <> 'NULL' LIMIT 1;
        IF FOUND AND bound THEN
            RETURN format('column "%s" does not allow nulls and is sealed under the account''s own key', bad);
        END IF;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_table_problem(dataprotect.account_type, regclass) IS
    'why a table''s rows cannot be dealt with as annotated, or NULL';

-- Rows at the other end go where nobody else references them: whoever does is read.
CREATE FUNCTION dataprotect._account_away_problem(rel regclass, target regclass) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT format('foreign key "%s" to "%s" compares by a cast', r.constraint_name, target)
                       FROM dataprotect._referencing(target) r WHERE r.casts LIMIT 1),
                    'what it references: ' || dataprotect._account_reading_problem(target, ARRAY(
                        SELECT r.child FROM dataprotect._referencing(target) r) || rel));
$$;
COMMENT ON FUNCTION dataprotect._account_away_problem(regclass, regclass) IS
    'why rows that a table''s rows reference cannot go with them, or NULL';

-- Whoever decided what happens to rows could have changed them himself; that is
-- asked again whenever the decision is used.
CREATE FUNCTION dataprotect._account_rights_problem(decided_by name, tables regclass[]) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    role oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = decided_by);
    strange regclass;
BEGIN
    IF role IS NULL THEN
        RETURN format('role "%s", who decided it, does not exist any more', decided_by);
    END IF;
    SELECT c.oid::regclass INTO strange FROM pg_class c
     WHERE c.oid = ANY (tables) AND NOT pg_has_role(role, c.relowner, 'USAGE')
     ORDER BY array_position(tables, c.oid::regclass) LIMIT 1;
    IF FOUND THEN
        RETURN format('role "%s", who decided it, has not the rights of the owner of "%s"', decided_by, strange);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_rights_problem(name, regclass[]) IS
    'why a decision about tables is none any more, or NULL';

CREATE FUNCTION dataprotect._account_check(account dataprotect.account_type,
        OUT rel regclass, OUT columns name[], OUT action text, OUT problem text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    item record;
    reached regclass[];
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = account.root) THEN
        RETURN QUERY SELECT account.root, ARRAY[account.id_column], NULL::text, 'the root table does not exist any more';
        RETURN;
    END IF;
    reached := ARRAY(SELECT t.child FROM dataprotect._account_tree(account, '0') t WHERE t.action IS NOT NULL
                      UNION SELECT account.root);
    RETURN QUERY SELECT account.root, ARRAY[account.id_column], dataprotect._account_root_action(account),
                        coalesce(dataprotect._account_rights_problem(account.created_by, ARRAY[account.root]),
                                 dataprotect._account_table_problem(account, account.root));
    -- who decided
    RETURN QUERY
        SELECT p.* FROM (
            SELECT a.rel, a.columns, a.action, dataprotect._account_rights_problem(a.annotated_by, a.rel ||
                       CASE WHEN a.action IN ('delete', 'anonymise') THEN a.targets END) AS problem
              FROM dataprotect.account_rule a WHERE a.account_type = account.name) p
         WHERE p.problem IS NOT NULL;
    -- edges that lead to the account's rows
    FOR item IN SELECT DISTINCT ON (t.child, t.child_columns, t.parent) t.*
                  FROM dataprotect._account_tree(account, '0') t
                 ORDER BY t.child, t.child_columns, t.parent, t.loops
    LOOP
        RETURN QUERY SELECT item.child, item.child_columns, item.action,
            coalesce(dataprotect._account_edge_problem(account, item.child, item.child_columns, item.parent, item.action,
                                                       item.loops, item.sets_null, item.constraint_name, item.casts,
                                                       item.above),
                     CASE WHEN item.action IN ('delete', 'anonymise', 'keep') AND NOT item.loops
                          THEN dataprotect._account_table_problem(account, item.child) END);
    END LOOP;
    -- edges that lead away from them
    RETURN QUERY
        SELECT t.rel, r.columns, a.action,
               CASE WHEN r.target <> ALL (a.targets)
                    THEN format('foreign key "%s" to "%s" is not annotated', r.constraint_name, r.target)
                    WHEN a.action = 'delete' AND dataprotect._account_row_actions(account, t.rel) <> '{delete}'
                    THEN format('its rows stay, and what they reference in "%s" with them', r.target)
                    WHEN a.action IN ('delete', 'anonymise') THEN dataprotect._account_away_problem(t.rel, r.target) END
          FROM unnest(reached) AS t(rel) CROSS JOIN LATERAL dataprotect._referenced_by(t.rel) r
          LEFT JOIN dataprotect.account_rule a
                 ON a.account_type = account.name AND a.rel = t.rel AND a.columns = r.columns
         WHERE r.target <> ALL (reached);
    -- annotations that are never used
    RETURN QUERY
        SELECT a.rel, a.columns, a.action, 'no foreign key leads from the account to this table'
          FROM dataprotect.account_rule a WHERE a.account_type = account.name AND a.rel <> ALL (reached);
END $$;
COMMENT ON FUNCTION dataprotect._account_check(dataprotect.account_type) IS
    'edges and annotations of an account type, with what is wrong about them';

CREATE FUNCTION dataprotect.check_account_type(name text,
        OUT rel regclass, OUT columns name[], OUT action text, OUT problem text) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.rel, c.columns, c.action, c.problem
      FROM dataprotect._account_check(dataprotect._find_account_type($1)) c
     ORDER BY c.problem IS NULL, c.rel::text, c.columns::text;
$$;
COMMENT ON FUNCTION dataprotect.check_account_type(text) IS
    'foreign keys of an account type with what was decided about them; problem is NULL where nothing is wrong';
