"""What the server says of a table's columns and parameters, to the byte.

Called with a connection string and a table's name; prints, for each statement, the
types, modifiers and values that libpq gets: simple and prepared, text and binary,
with the parameters' types.  The output for a protected table must be that for its
plain copy.
"""
import ctypes
import ctypes.util
import sys

pq = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
POINTER, TEXT, INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int


def declare(name, result, *arguments):
    getattr(pq, name).restype = result
    getattr(pq, name).argtypes = list(arguments)


declare("PQconnectdb", POINTER, TEXT)
declare("PQstatus", INT, POINTER)
declare("PQerrorMessage", TEXT, POINTER)
declare("PQexec", POINTER, POINTER, TEXT)
declare("PQprepare", POINTER, POINTER, TEXT, TEXT, INT, POINTER)
declare("PQdescribePrepared", POINTER, POINTER, TEXT)
declare("PQdescribePortal", POINTER, POINTER, TEXT)
declare("PQexecPrepared", POINTER, POINTER, TEXT, INT, POINTER, POINTER, POINTER, INT)
declare("PQresultErrorField", TEXT, POINTER, INT)
declare("PQresultStatus", INT, POINTER)
declare("PQcmdTuples", TEXT, POINTER)
for name in ("PQntuples", "PQnfields", "PQnparams", "PQclear"):
    declare(name, INT, POINTER)
declare("PQfname", TEXT, POINTER, INT)
declare("PQparamtype", ctypes.c_uint, POINTER, INT)
declare("PQftype", ctypes.c_uint, POINTER, INT)
for name in ("PQfmod", "PQfformat", "PQfsize", "PQftablecol"):
    declare(name, INT, POINTER, INT)
declare("PQgetvalue", POINTER, POINTER, INT, INT)
for name in ("PQgetlength", "PQgetisnull"):
    declare(name, INT, POINTER, INT, INT)

# T is the table; what follows a bar are the parameters, as text.
STATEMENTS = """
SELECT * FROM T ORDER BY id
SELECT * FROM T WHERE id = 1
SELECT id, name, pay FROM T ORDER BY pay DESC NULLS LAST LIMIT 1 OFFSET 1
SELECT DISTINCT active FROM T ORDER BY active
SELECT DISTINCT ON (name) name, pay FROM T ORDER BY name, id
SELECT name, count(*) FROM T GROUP BY name ORDER BY 1
SELECT name AS n, pay, count(*) FROM T GROUP BY ROLLUP (name, pay) ORDER BY name, pay
SELECT max(born), min(pay), array_agg(n4 ORDER BY id), array_agg(active ORDER BY id) FROM T
SELECT name FROM T UNION SELECT name FROM T ORDER BY name
SELECT pay FROM T UNION ALL SELECT pay FROM T
SELECT n4 FROM T INTERSECT SELECT n4 FROM T ORDER BY n4
SELECT born FROM T EXCEPT SELECT born FROM T WHERE id = 1
SELECT name, pay FROM T WHERE id = 1 FOR UPDATE
SELECT name FROM T ORDER BY id FOR SHARE SKIP LOCKED
WITH c AS (SELECT id, tz, code FROM T) SELECT tz, code FROM c ORDER BY id
WITH RECURSIVE r AS (SELECT id, n8 FROM T WHERE id = 1 UNION ALL SELECT t.id, t.n8 FROM r JOIN T t ON t.id = r.id + 1) SELECT * FROM r ORDER BY id
WITH c AS (UPDATE T SET n4 = n4 WHERE id = 1 RETURNING id, n4, doc) SELECT n4, doc FROM c ORDER BY id
WITH a AS (SELECT id, u FROM T), b AS (SELECT a.u FROM a WHERE a.id IN (SELECT id FROM a)) SELECT u FROM b ORDER BY u LIMIT 1
SELECT row_number() OVER (PARTITION BY active ORDER BY born), active, born, lag(raw) OVER (ORDER BY id) FROM T ORDER BY id
SELECT sum(pay) OVER (PARTITION BY name), name FROM T ORDER BY id
SELECT (SELECT code FROM T x WHERE x.id = t.id) FROM T t ORDER BY t.id
SELECT t.ip, s.f8 FROM T t LEFT JOIN T s ON s.id = t.id + 1 ORDER BY t.id
SELECT CASE WHEN id = 1 THEN pay END, coalesce(name, code), nullif(n4, n4), greatest(born, born) FROM T ORDER BY id
SELECT unnest(ARRAY[n8, n8]) FROM T WHERE id = 2
SELECT ARRAY[pay, pay], (ARRAY[iv])[1] FROM T WHERE id = 1
SELECT ROW(id, n4, active, pay), ROW(id, ROW(name)) FROM T
SELECT t::record FROM T t ORDER BY id
SELECT array_agg(t::record ORDER BY id) FROM T t
SELECT array_agg(ROW(id, name, pay, active, NULL) ORDER BY id), ARRAY(SELECT ROW(x.*, x.born) FROM T x ORDER BY x.id) FROM T
SELECT ROW(id, ARRAY[ROW(n4, ROW(name, tz))]), ROW(t.*) FROM T t ORDER BY id
SELECT (SELECT ROW(code, n8) FROM T x WHERE x.id = t.id) FROM T t ORDER BY t.id
SELECT DISTINCT ARRAY[t::record] AS r FROM T t ORDER BY r
SELECT max(id), (array_agg(t::record ORDER BY id))[1] FROM T t
SELECT v_T_rows()::record AS r
SELECT (v_T_rows()).*
SELECT v_T_record() AS r, ARRAY[v_T_record()]
SELECT r FROM v_T_record() AS r (name text, n4 int, days date[])
SELECT r.* FROM v_T_rows() r
SELECT r::record, coalesce(r::record, r::record) FROM (SELECT t AS r FROM T t WHERE id = 1) x
SELECT x.at FROM T, LATERAL (SELECT T.at) x ORDER BY T.id
SELECT ts FROM (SELECT ts, id FROM T) s ORDER BY id
SELECT name FROM T WHERE name IS NULL
SELECT * FROM v_T ORDER BY id
UPDATE T SET pay = pay WHERE id = 1 RETURNING *
UPDATE T t SET pay = 4 WHERE id = 1 RETURNING t::record, ARRAY[t::record], ROW(pay, ROW(name))
DECLARE c CURSOR FOR SELECT array_agg(t::record ORDER BY id), ROW(max(pay)) FROM T t; FETCH ALL FROM c
DECLARE c CURSOR WITH HOLD FOR SELECT t::record, ARRAY[ROW(name)] FROM T t ORDER BY id; FETCH ALL FROM c
DELETE FROM T WHERE id = 2 RETURNING name, born, active
INSERT INTO T (id, name, active) VALUES (7, 'x', true) RETURNING id, name, active, pay
INSERT INTO T (id, name, n2, n4, n8, f4, f8, pay, active) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING * |8|Eve|1|2|3|4.5|5.5|6.75|f
INSERT INTO T (id, born, at, ts, tz, iv, u, ip, doc, raw) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING * |9|2001-02-03|04:05|2001-02-03 04:05|2001-02-03 04:05+00|1 day|00000000-0000-0000-0000-000000000005|10.1.1.1|[1]|\\x00ff
INSERT INTO T (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING name |1|other
UPDATE T SET pay = $1, code = $2 WHERE id = $3 RETURNING pay, code |1.005|short|1
UPDATE T SET pay = $1 WHERE id = $2 RETURNING pay |none|1
SELECT id FROM T WHERE pay = $1 |200.50
SELECT id, born FROM T WHERE born = $1 AND active = $2 |1980-03-01|f
SELECT id FROM T WHERE name IN ($1, $2) ORDER BY id |Ada|Bob
SELECT id FROM T WHERE name = ANY ($1) ORDER BY id |{Ada,Bob}
SELECT name FROM T WHERE n8 = $1 |5
SELECT name FROM T WHERE raw = $1 |\\xff5c
SELECT id FROM T WHERE name LIKE $1 ORDER BY name LIMIT $2 |A%|5
DECLARE c CURSOR FOR SELECT name, pay, active FROM T ORDER BY id; FETCH ALL FROM c
DECLARE c CURSOR FOR SELECT * FROM T ORDER BY id FOR UPDATE; FETCH 1 FROM c; UPDATE T SET pay = 3 WHERE CURRENT OF c RETURNING pay; FETCH 1 FROM c
DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM T ORDER BY id; FETCH 1 FROM c; MOVE NEXT FROM c; FETCH PRIOR FROM c
DECLARE c SCROLL CURSOR FOR SELECT name, born FROM T ORDER BY born; FETCH LAST FROM c; FETCH PRIOR FROM c
PREPARE p AS SELECT pay, active FROM T WHERE name = $1; EXECUTE p ('Ada'); SELECT parameter_types FROM pg_prepared_statements WHERE name = 'p'
PREPARE i AS INSERT INTO T (id, pay) VALUES ($1, $2) RETURNING pay; EXECUTE i (70, 1.5); SELECT parameter_types FROM pg_prepared_statements WHERE name = 'i'
SELECT to_jsonb(n4), to_jsonb(active), to_json(doc), to_jsonb(tz), to_json(name), to_jsonb(pay) FROM T ORDER BY id
SELECT to_jsonb(t), row_to_json(t) FROM T t ORDER BY id
SELECT json_agg(doc ORDER BY id), jsonb_agg(t ORDER BY id), json_agg(f8 ORDER BY id) FROM T t
SELECT json_build_object('n', n4, 'on', active, 'd', doc, 'b', born, 'l', ARRAY[pay, pay]), jsonb_build_array(n8, ts, iv, u, ip, raw) FROM T ORDER BY id
SELECT jsonb_build_object('d', doc) #> '{d,a}' FROM T WHERE id = 1
SELECT json_object_agg(n4, pay ORDER BY id), jsonb_object_agg(name, active), json_build_object(n2, n2, born, 1) FROM T GROUP BY n2, born, id ORDER BY id
EXPLAIN (COSTS OFF) SELECT name FROM v_T WHERE id = 1
"""


# The numbers of the types that the table itself makes, which no two tables share.
OWN = {}


def value_of(result, row, i):
    value = ctypes.string_at(pq.PQgetvalue(result, row, i), pq.PQgetlength(result, row, i))
    for number, name in OWN.items():
        value = value.replace(number.to_bytes(4, "big"), name.encode())
    return value


def show(result, label):
    error = pq.PQresultErrorField(result, ord("C"))
    if error:
        print(" ", label, "SQLSTATE", error.decode())
    for i in range(pq.PQnfields(result)):
        print(" ", label, "column", pq.PQfname(result, i).decode(),
              OWN.get(pq.PQftype(result, i), pq.PQftype(result, i)), pq.PQfmod(result, i),
              pq.PQfsize(result, i), pq.PQftablecol(result, i), pq.PQfformat(result, i))
    for row in range(pq.PQntuples(result)):
        print(" ", label, [None if pq.PQgetisnull(result, row, i) else value_of(result, row, i)
                           for i in range(pq.PQnfields(result))])
    print(" ", label, "rows", pq.PQcmdTuples(result).decode())
    pq.PQclear(result)


def simple(conn, sql):
    pq.PQclear(pq.PQexec(conn, b"BEGIN"))
    for part in sql.split("; "):
        show(pq.PQexec(conn, part.encode()), "simple")
    pq.PQclear(pq.PQexec(conn, b"ROLLBACK; DEALLOCATE ALL"))


def prepared(conn, sql, values):
    pq.PQclear(pq.PQexec(conn, b"BEGIN"))
    pq.PQclear(pq.PQprepare(conn, b"s", sql.encode(), 0, None))
    described = pq.PQdescribePrepared(conn, b"s")
    print("  parameters", [pq.PQparamtype(described, i) for i in range(pq.PQnparams(described))])
    show(described, "described")
    for binary in (0, 1):
        pq.PQclear(pq.PQexec(conn, b"SAVEPOINT s"))
        show(pq.PQexecPrepared(conn, b"s", len(values), (ctypes.c_char_p * len(values))(*[v.encode() for v in values]),
                               None, None, binary), "binary" if binary else "text")
        pq.PQclear(pq.PQexec(conn, b"ROLLBACK TO s"))
    pq.PQclear(pq.PQexec(conn, b"ROLLBACK; DEALLOCATE ALL"))


def main():
    conn = pq.PQconnectdb(sys.argv[1].encode())
    if pq.PQstatus(conn) != 0:
        raise SystemExit(pq.PQerrorMessage(conn).decode())
    table = sys.argv[2]
    types = pq.PQexec(conn, f"SELECT oid, typarray FROM pg_type WHERE oid = '{table}'::regtype".encode())
    OWN.update({int(value_of(types, 0, 0)): "(row)", int(value_of(types, 0, 1)): "(rows)"})
    pq.PQclear(types)
    for line in STATEMENTS.strip().split("\n"):
        sql, *values = line.replace("\\\\", "\\").split("|")
        print(sql)
        # "T" alone, or after "v_", stands for the table
        words = [table if word == "T" else word for word in sql.replace("v_T", "v_" + table).split(" ")]
        sql = " ".join(table + word[1:] if word.startswith("T.") or word.startswith("T;") or word.startswith("T,") else word
                       for word in words).strip()
        if not values:
            simple(conn, sql)
        if "; " not in sql:
            prepared(conn, sql, values)
    # what is held outlives its transaction
    pq.PQclear(pq.PQexec(conn, f"DECLARE h SCROLL CURSOR WITH HOLD FOR SELECT * FROM {table} ORDER BY id".encode()))
    simple(conn, "FETCH 1 FROM h; FETCH LAST FROM h; FETCH NEXT FROM h; MOVE FIRST FROM h; FETCH ALL FROM h; FETCH 0 FROM h")
    prepared(conn, "FETCH FIRST FROM h", [])
    show(pq.PQdescribePortal(conn, b"h"), "portal")
    pq.PQclear(pq.PQexec(conn, f"DECLARE b BINARY CURSOR WITH HOLD FOR SELECT * FROM {table} ORDER BY id".encode()))
    simple(conn, "FETCH 1 FROM b; SELECT 1 FROM h")


main()
