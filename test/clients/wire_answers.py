"""What the server says of statements that are prepared, described and run.

Called with a connection string; reads one transaction a line, a JSON array of
{"sql": ..., "params": [[value or null, type or 0, binary], ...]}, and writes a line
for each, a JSON array of what was said of its statements: types of parameters,
names, types, modifiers and sources of columns, and the rows in text and in binary,
in any order, or the SQLSTATE.  Every transaction is rolled back.
"""
import ctypes
import ctypes.util
import json
import re
import struct
import sys

pq = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
POINTER, TEXT, INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int


def declare(name, result, *arguments):
    getattr(pq, name).restype = result
    getattr(pq, name).argtypes = list(arguments)


declare("PQconnectdb", POINTER, TEXT)
declare("PQstatus", INT, POINTER)
declare("PQexec", POINTER, POINTER, TEXT)
declare("PQprepare", POINTER, POINTER, TEXT, TEXT, INT, POINTER)
declare("PQdescribePrepared", POINTER, POINTER, TEXT)
declare("PQexecPrepared", POINTER, POINTER, TEXT, INT, POINTER, POINTER, POINTER, INT)
declare("PQresultErrorField", TEXT, POINTER, INT)
declare("PQresultStatus", INT, POINTER)
declare("PQcmdStatus", TEXT, POINTER)
for function in ("PQntuples", "PQnfields", "PQnparams", "PQclear"):
    declare(function, INT, POINTER)
declare("PQfname", TEXT, POINTER, INT)
for function in ("PQparamtype", "PQftype", "PQftable"):
    declare(function, ctypes.c_uint, POINTER, INT)
for function in ("PQfmod", "PQfsize", "PQftablecol"):
    declare(function, INT, POINTER, INT)
declare("PQgetvalue", POINTER, POINTER, INT, INT)
for function in ("PQgetlength", "PQgetisnull"):
    declare(function, INT, POINTER, INT, INT)
declare("PQsetNoticeProcessor", POINTER, POINTER, POINTER, POINTER)

FIRST_OWN = 16384
BINARY = {16: lambda v: b"\1" if v == "true" else b"\0", 17: lambda v: bytes.fromhex(v[2:]), 20: lambda v: struct.pack(">q", int(v)),
          21: lambda v: struct.pack(">h", int(v)), 23: lambda v: struct.pack(">i", int(v)), 25: str.encode, 1043: str.encode,
          700: lambda v: struct.pack(">f", float(v)), 701: lambda v: struct.pack(">d", float(v)), 3802: lambda v: b"\1" + v.encode()}
SILENT = ctypes.CFUNCTYPE(None, POINTER, POINTER)(lambda argument, message: None)


class Failed(Exception):
    pass


def done(result):
    if pq.PQresultStatus(result) not in (1, 2):
        state = pq.PQresultErrorField(result, ord("C"))
        pq.PQclear(result)
        raise Failed("error " + (state or b"none").decode())
    return result


# A ciphertext is never the same, and other text beside it always is.
SEALED = re.compile("enc:v1:[A-Za-z0-9+/=]+")


def field(result, row, column, own):
    if pq.PQgetisnull(result, row, column):
        return None
    value = ctypes.string_at(pq.PQgetvalue(result, row, column), pq.PQgetlength(result, row, column))
    if own:
        try:
            value.decode()
        except UnicodeDecodeError:
            return "sealed"
    return SEALED.sub("enc", value.decode("latin1"))


def rows(result):
    own = [pq.PQftype(result, j) >= FIRST_OWN for j in range(pq.PQnfields(result))]
    found = [[field(result, i, j, own[j]) for j in range(len(own))] for i in range(pq.PQntuples(result))]
    return sorted(json.dumps(row) for row in found)


class Session:
    def __init__(self, where):
        self.conn = pq.PQconnectdb(where.encode())
        if pq.PQstatus(self.conn):
            raise SystemExit("no connection")
        pq.PQsetNoticeProcessor(self.conn, ctypes.cast(SILENT, POINTER), None)
        result = done(pq.PQexec(self.conn, b"SELECT oid::int, relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"))
        self.tables = {int(oid): name for oid, name in map(json.loads, rows(result))}
        pq.PQclear(result)

        self.prepared = 0

    def name(self):
        return b"s%d" % self.prepared

    def simple(self, sql):
        pq.PQclear(done(pq.PQexec(self.conn, sql.encode())))

    def described(self, sql, params):
        self.prepared += 1
        oids = (ctypes.c_uint * len(params))(*[p[1] for p in params])
        pq.PQclear(done(pq.PQprepare(self.conn, self.name(), sql.encode(), len(params), oids)))
        result = done(pq.PQdescribePrepared(self.conn, self.name()))
        types = [pq.PQparamtype(result, i) for i in range(pq.PQnparams(result))]
        columns = [(pq.PQfname(result, i).decode(), pq.PQftype(result, i), pq.PQfmod(result, i), pq.PQfsize(result, i),
                    self.tables.get(pq.PQftable(result, i)), pq.PQftablecol(result, i)) for i in range(pq.PQnfields(result))]
        pq.PQclear(result)
        return types, columns

    def run(self, params, types, binary):
        values, formats = [], []
        for (value, _, as_binary), oid in zip(params, types):
            encoded = None if value is None else str(value).encode()
            formats.append(0)
            if as_binary and value is not None and oid in BINARY:
                try:
                    encoded, formats[-1] = BINARY[oid](str(value)), 1
                except (struct.error, ValueError):
                    pass
            values.append(encoded)
        n = len(values)
        result = done(pq.PQexecPrepared(self.conn, self.name(), n, (TEXT * n)(*values), (INT * n)(*[len(v or b"") for v in values]), (INT * n)(*formats), binary))
        answer = [pq.PQcmdStatus(result).decode()] + rows(result)
        pq.PQclear(result)
        return answer

    def statement(self, sql, params):
        said = []
        try:
            types, columns = self.described(sql, params)
            said += ["params " + json.dumps(types), "columns " + json.dumps(columns)]
            once = sql.startswith(("DECLARE", "FETCH", "CLOSE"))
            if not once:
                self.simple("SAVEPOINT a")
            said += self.run(params, types, 0)
            if not once:
                self.simple("ROLLBACK TO a")
                said += ["binary"] + self.run(params, types, 1)
        except Failed as failure:
            said.append(str(failure))
        return said


def main():
    session = Session(sys.argv[1])
    for number, line in enumerate(sys.stdin):
        session.simple(f"SET plan_cache_mode = {'force_generic_plan' if number % 3 == 0 else 'auto'}; BEGIN")
        answers = []
        for statement in json.loads(line):
            answers.append(session.statement(statement["sql"], statement["params"]))
            if answers[-1][-1].startswith("error"):
                break
        session.simple("ROLLBACK; CLOSE ALL; DEALLOCATE ALL")
        print(json.dumps(answers), flush=True)


main()
