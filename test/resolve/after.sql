--
-- After CREATE EXTENSION: what the plain expressions have become, and what the
-- encrypted ones give.
--
SET search_path = resolve, pg_catalog;
DO $$
BEGIN
    EXECUTE (SELECT 'ALTER TABLE resolve.v ' || string_agg(format('ADD COLUMN %I %I(''k'')%s', 'e_' || name, 'encrypted_' || ltrim(name, '_'),
                                                                     CASE WHEN is_array THEN '[]' ELSE '' END), ', ') FROM resolve.protected);
END $$;

-- No expression over plain types may resolve differently, or begin to.
CREATE TABLE changed AS
    SELECT id, resolve.filled(pattern, args, '{}') AS expression, before, shape,
           CASE WHEN before IS NULL THEN resolve.type_of(resolve.filled(pattern, args, '{}')) ELSE resolve.shape_of(resolve.filled(pattern, args, '{}')) END AS now
    FROM call;
DELETE FROM changed WHERE now IS NOT DISTINCT FROM shape;

-- Each argument of a base type encrypted in turn, then all of them.
CREATE TABLE tried AS
    SELECT c.kind, resolve.filled(c.pattern, c.args, e.encrypted) AS expression, c.before
    FROM call c, LATERAL (
        SELECT ARRAY[i] AS encrypted FROM generate_subscripts(c.args, 1) i WHERE c.args[i] IN (SELECT name FROM protected)
        UNION SELECT array_agg(i) FROM generate_subscripts(c.args, 1) i WHERE c.args[i] IN (SELECT name FROM protected)) e
    WHERE c.before !~ '^error';
ALTER TABLE tried ADD COLUMN after text;
UPDATE tried SET after = resolve.type_of(expression);
-- an encrypted result is its base type's, as a client is told
UPDATE tried SET after = dataprotect._base_type(after::regtype)::text
    WHERE after ~ '^encrypted_[a-z0-9]+$' AND dataprotect._base_type(after::regtype) IS NOT NULL;
UPDATE tried SET after = dataprotect._base_type(trim(after, '[]')::regtype)::text || '[]' WHERE after ~ '^encrypted_[a-z0-9]+\[\]$';
-- and a side of operators between arrays the array (src/types/array_side.c)
UPDATE tried SET after = dataprotect._base_type(substring(after FROM 'encrypted_.*')::regtype)::text || '[]' WHERE after ~ '^dataprotect._(sealed|plain)_array_of_';
-- What one column takes from another.
INSERT INTO tried
    SELECT 'store', format('%s into %s', x.source, x.target), 'stored', CASE WHEN resolve.stores(x.source, x.target) THEN 'stored' END
    FROM protected s, protected t, LATERAL (VALUES ('e_' || s.name, 'e_' || t.name), ('p_' || s.name, 'e_' || t.name), ('e_' || s.name, 'p_' || t.name)) x (source, target)
    WHERE resolve.stores('p_' || s.name, 'p_' || t.name);

-- What remains, by the first reason that fits it.
CREATE TABLE remaining AS
    SELECT t.*, (SELECT r.reason FROM reason r WHERE t.expression ~ r.pattern ORDER BY r.id LIMIT 1) AS reason
    FROM tried t WHERE t.after IS DISTINCT FROM t.before;
