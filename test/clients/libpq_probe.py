"""libpq itself: binary results, parameters in both formats, single rows.

Called with a connection string; prints "ok NAME" or "not ok NAME: ...".
"""
import ctypes
import ctypes.util
import struct
import sys

pq = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
pq.PQconnectdb.restype = ctypes.c_void_p
pq.PQexecParams.restype = ctypes.c_void_p
pq.PQgetResult.restype = ctypes.c_void_p
pq.PQgetvalue.restype = ctypes.c_void_p
pq.PQresultErrorField.restype = ctypes.c_char_p
pq.PQerrorMessage.restype = ctypes.c_char_p
for name in ("PQstatus", "PQerrorMessage", "PQgetResult", "PQsetSingleRowMode"):
    getattr(pq, name).argtypes = [ctypes.c_void_p]
for name in ("PQntuples", "PQresultStatus", "PQclear"):
    getattr(pq, name).argtypes = [ctypes.c_void_p]
for name in ("PQgetvalue", "PQgetlength", "PQgetisnull"):
    getattr(pq, name).argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
pq.PQresultErrorField.argtypes = [ctypes.c_void_p, ctypes.c_int]
pq.PQftype.argtypes = [ctypes.c_void_p, ctypes.c_int]
PARAMS = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
          ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
pq.PQexecParams.argtypes = PARAMS
pq.PQsendQueryParams.argtypes = PARAMS


def arguments(conn, sql, values, formats, oids, binary):
    n = len(values)
    formats = formats or [0] * n
    return (conn, sql.encode(), n, (ctypes.c_uint * n)(*(oids or [0] * n)),
            (ctypes.c_char_p * n)(*values),
            (ctypes.c_int * n)(*[0 if v is None else len(v) for v in values]),
            (ctypes.c_int * n)(*formats), 1 if binary else 0)


def rows(result):
    status = pq.PQresultStatus(result)
    if status not in (1, 2, 9):
        state = pq.PQresultErrorField(result, ord("C"))
        raise RuntimeError(state.decode() if state else "?")
    return [[None if pq.PQgetisnull(result, i, j) else
             ctypes.string_at(pq.PQgetvalue(result, i, j), pq.PQgetlength(result, i, j))
             for j in range(pq.PQnfields(ctypes.c_void_p(result)))]
            for i in range(pq.PQntuples(result))]


def query(conn, sql, values=(), formats=None, oids=None, binary=False):
    result = pq.PQexecParams(*arguments(conn, sql, list(values), formats, oids, binary))
    try:
        return rows(result)
    finally:
        pq.PQclear(result)


def state_of(conn, *args, **kwargs):
    try:
        query(conn, *args, **kwargs)
    except RuntimeError as e:
        return str(e)
    return "00000"


def check(name, got, wanted):
    print(f"ok {name}" if got == wanted else f"not ok {name}: got {got!r}, wanted {wanted!r}")


def fields(row):
    """The types and values of a row in binary form."""
    found, at = [], 4
    while at < len(row):
        oid, length = struct.unpack_from("!Ii", row, at)
        at += 8
        found.append((oid, None if length < 0 else row[at:at + length]))
        at += max(length, 0)
    return found


def main():
    conn = pq.PQconnectdb(sys.argv[1].encode())
    if pq.PQstatus(conn) != 0:
        print("not ok connect:", pq.PQerrorMessage(conn).decode())
        return
    cols = "SELECT email, n4, born, doc FROM person WHERE id = 1"
    check("text results", query(conn, cols),
          [[b"ada@example.org", b"42", b"1815-12-10", b'{"a": 1}']])
    check("binary results are those of the base types", query(conn, cols, binary=True),
          [[b"ada@example.org", struct.pack("!i", 42), struct.pack("!i", -67227), b'\x01{"a": 1}']])
    check("parameter in text, type unknown", query(conn, "SELECT id FROM person WHERE email = $1", [b"ada@example.org"]), [[b"1"]])
    for oid, what in ((25, "text"), (1043, "varchar"), (1042, "bpchar")):
        for fmt in (0, 1):
            check(f"parameter of type {what}, format {fmt}",
                  query(conn, "SELECT id FROM person WHERE email = $1", [b"ada@example.org"], [fmt], [oid]), [[b"1"]])
    check("binary int parameter", query(conn, "SELECT id FROM person WHERE n4 = $1", [struct.pack("!i", 42)], [1], [23]), [[b"1"]])
    check("a parameter of a wider type than the column", query(conn, "SELECT id FROM person WHERE n4 = $1", [struct.pack("!q", 42)], [1], [20]), [[b"1"]])
    check("a list of a wider type than the column",
          query(conn, "SELECT id FROM person WHERE n4 = ANY ($1)", [b"{42,5000000000}"], [0], [1016]), [[b"1"]])
    for what, sql in (("", "SELECT person FROM person WHERE id = 1"), (" of a sorted query", "SELECT person FROM person WHERE id <= 1 ORDER BY id")):
        row = fields(query(conn, sql, binary=True)[0][0])
        check(f"a row of a named type{what} has fields of the base types",
              ([oid for oid, value in row if oid >= 16384], (25, b"ada@example.org") in row or (1043, b"ada@example.org") in row, (23, struct.pack("!i", 42)) in row),
              ([], True, True))
    check("insert with binary parameters",
          query(conn, "INSERT INTO person (id, email, n4, born) VALUES (100, $1, $2, $3) RETURNING email, n4, born",
                [b"bin@example.org", struct.pack("!i", 7), struct.pack("!i", 0)], [1, 1, 1], binary=True),
          [[b"bin@example.org", struct.pack("!i", 7), struct.pack("!i", 0)]])
    check("null both ways", query(conn, "INSERT INTO person (id, email) VALUES (101, $1) RETURNING email, n4", [None], binary=True), [[None, None]])
    check("a parameter that is no value of the base type: its SQLSTATE",
          state_of(conn, "INSERT INTO person (id, born) VALUES (102, $1)", [b"not-a-date"]), "22007")
    check("a binary parameter that is too short", state_of(conn, "INSERT INTO person (id, n4) VALUES (102, $1)", [b"\0"], [1]), "08P01")
    pq.PQsendQueryParams(*arguments(conn, "SELECT email FROM person WHERE id <= 20 ORDER BY id", [], None, None, True))
    pq.PQsetSingleRowMode(conn)
    got = []
    while True:
        result = pq.PQgetResult(conn)
        if not result:
            break
        got += rows(result)
        pq.PQclear(result)
    check("row by row", (len(got), got[0], got[19]), (20, [b"ada@example.org"], [b"p20@example.org"]))


main()
