"""What Python's drivers and mappers make of a table, value by value with its type.

Called with a driver's name, host, port, user and a table's name.  The output for a
protected table must be that for its plain copy.
"""
import asyncio
import datetime as dt
import decimal
import io
import os
import sys
import uuid

DRIVER, HOST, PORT, USER, TABLE = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
COLUMNS = "id name code n2 n4 n8 f4 f8 pay active born at ts tz iv u ip doc raw".split()
UTC = dt.timezone.utc
VALUES = dict(name="Eve", code="c", n2=3, n4=4, n8=2**40, f4=0.5, f8=2.5, pay=decimal.Decimal("1.25"), active=True,
              born=dt.date(2000, 2, 29), at=dt.time(1, 2, 3), ts=dt.datetime(2000, 1, 1, 5), tz=dt.datetime(2000, 1, 1, tzinfo=UTC),
              iv=dt.timedelta(days=1, hours=2), u=uuid.UUID(int=9), raw=b"\x00\x01\xff")


def show(what, *values):
    print(what, *[f"{type(v).__name__} {bytes(v) if isinstance(v, memoryview) else v!r}" for v in values])


def dbapi(connection, placeholder, adapt):
    cursor = connection.cursor()
    cursor.execute(f"SELECT * FROM {TABLE} ORDER BY id")
    print([(d[0], d[1]) for d in cursor.description])
    for row in cursor.fetchall():
        for name, value in zip(COLUMNS, row):
            show(name, value)
    for name, value in VALUES.items():
        cursor.execute(f"UPDATE {TABLE} SET {name} = {placeholder} WHERE id = 1 RETURNING {name}", (adapt(value),))
        show("set " + name, *cursor.fetchone())
    cursor.execute(f"SELECT count(*) FROM {TABLE} WHERE name = {placeholder} AND born = {placeholder} AND u = {placeholder}",
                   tuple(adapt(VALUES[name]) for name in ("name", "born", "u")))
    show("found", *cursor.fetchone())
    connection.rollback()


def versioned(module):
    print("version", getattr(module, "__version__", None) or module.VERSION)


BULK = [(20 + i, f"n{i}" if i % 3 else None, i, i * 10, decimal.Decimal(i) / 4, i % 2 == 0, dt.date(2000, 1, 1 + i), uuid.UUID(int=i)) for i in range(9)]
BULK_COLUMNS = "id, name, n2, n8, pay, active, born, u"
BULK_AFTER = f"SELECT {BULK_COLUMNS} FROM {TABLE} WHERE id >= 20 ORDER BY id"
# A table of one's own with the same columns, whose definition changes under what was prepared.
OWN_TABLE = [f"CREATE TEMP TABLE own (LIKE {TABLE})", f"INSERT INTO own SELECT * FROM {TABLE} WHERE id <= 2"]
CHANGES = ["ALTER TABLE own ADD COLUMN extra int DEFAULT 7", "ALTER TABLE own DROP COLUMN code", "ALTER TABLE own ALTER COLUMN name SET STATISTICS 20",
           "ALTER TABLE own RENAME COLUMN pay TO paid", "DROP INDEX IF EXISTS nothing", "CREATE INDEX ON own (id)", "ANALYZE own"]


def outcome(what, error, call):
    try:
        show(what, call())
    except error as failure:
        print(what, "fails", type(failure).__name__, getattr(failure, "sqlstate", None) or getattr(failure, "pgcode", None))


def psycopg2_bulk(connection, extras):
    cursor = connection.cursor()
    insert = f"INSERT INTO {TABLE} ({BULK_COLUMNS}) VALUES "
    marks = "(" + ", ".join(["%s"] * 8) + ")"
    for what, run in (("executemany", lambda: cursor.executemany(insert + marks, BULK)), ("batch", lambda: extras.execute_batch(cursor, insert + marks, BULK, page_size=4)),
                      ("values", lambda: show("returned", extras.execute_values(cursor, insert + "%s RETURNING id, name, pay, active", BULK, fetch=True)))):
        run()
        cursor.execute(BULK_AFTER)
        show(what, *cursor.fetchall())
        connection.rollback()
    for form in ("", "WITH (FORMAT csv, HEADER)", "WITH (FORMAT binary)"):
        data = io.BytesIO()
        cursor.copy_expert(f"COPY (SELECT {BULK_COLUMNS} FROM {TABLE} ORDER BY id) TO STDOUT {form}", data)
        show("copied", data.getvalue())
        cursor.execute(f"UPDATE {TABLE} SET name = NULL, pay = 0")
        cursor.execute(f"DELETE FROM {TABLE}")
        cursor.copy_expert(f"COPY {TABLE} ({BULK_COLUMNS}) FROM STDIN {form}", io.BytesIO(data.getvalue()))
        cursor.execute(f"SELECT {BULK_COLUMNS} FROM {TABLE} ORDER BY id")
        show("copied back", *cursor.fetchall())
        connection.rollback()
    cursor.execute("LISTEN wire")
    cursor.execute(f"SELECT pg_notify('wire', name || pay::text) FROM {TABLE} WHERE id = 1")
    connection.commit()
    connection.poll()
    show("notified", *[notice.payload for notice in connection.notifies])
    for sql in OWN_TABLE:
        cursor.execute(sql)
    cursor.execute("PREPARE every AS SELECT * FROM own ORDER BY id; PREPARE one(int) AS SELECT name, active FROM own WHERE id = $1")
    connection.commit()
    for change in CHANGES:
        cursor.execute(change)
        connection.commit()
        for statement in ("EXECUTE every", "EXECUTE one(1)"):
            outcome(change + ": " + statement, Exception, lambda: cursor.execute(statement) or [d[1] for d in cursor.description] + cursor.fetchall())
            connection.rollback()


def psycopg2():
    import psycopg2.extras
    psycopg2.extras.register_uuid()
    versioned(psycopg2)
    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, dbname="postgres")
    dbapi(connection, "%s", lambda value: value)
    if not os.environ.get("DP_POOLED"):  # prepares and listens: a session's, which is another client's behind a pooler
        psycopg2_bulk(connection, psycopg2.extras)
    cursor = connection.cursor("server_side")
    cursor.execute(f"SELECT active, pay, doc FROM {TABLE} ORDER BY id")
    for row in cursor:
        show("server side", *row)
    connection.rollback()
    connection.autocommit = True
    cursor = connection.cursor("held", withhold=True)
    cursor.execute(f"SELECT active, pay, born FROM {TABLE} ORDER BY id")
    for row in cursor:
        show("held", *row)
    cursor.close()


def psycopg_bulk(connection, psycopg, binary):
    cursor = connection.cursor(binary=binary)
    insert = f"INSERT INTO {TABLE} ({BULK_COLUMNS}) VALUES (" + ", ".join(["%s"] * 8) + ") RETURNING id, name, pay, active, u"
    cursor.executemany(insert, BULK, returning=True)
    while True:
        show("executemany", *cursor.fetchall())
        if not cursor.nextset():
            break
    show("after", *cursor.execute(BULK_AFTER).fetchall())
    connection.rollback()
    for form, types in (("", None), ("WITH (FORMAT binary)", ["int4", "text", "int2", "int8", "numeric", "bool", "date", "uuid"])):
        with cursor.copy(f"COPY {TABLE} ({BULK_COLUMNS}) FROM STDIN {form}") as copy:
            if types:
                copy.set_types(types)
            for row in BULK:
                copy.write_row(row)
        show("copied in", *cursor.execute(BULK_AFTER).fetchall())
        with cursor.copy(f"COPY ({BULK_AFTER}) TO STDOUT {form}") as copy:
            copy.set_types(types or ["int4", "text", "int2", "int8", "numeric", "bool", "date", "uuid"])
            show("copied out", *copy.rows())
        connection.rollback()
    show("stream", *cursor.stream(f"SELECT id, name, pay, born FROM {TABLE} ORDER BY id"))
    connection.rollback()
    if hasattr(connection, "pipeline"):
        with connection.pipeline():
            cursors = [connection.execute(f"SELECT {name} FROM {TABLE} WHERE {name} = %s OR id = 2", (value,), binary=binary) for name, value in VALUES.items()]
            changed = connection.execute(f"UPDATE {TABLE} SET pay = pay + 1, born = born + 1 RETURNING id, pay, born", binary=binary)
        for piped in cursors + [changed]:
            show("pipelined", *sorted(piped.fetchall(), key=repr))
        connection.rollback()
    for sql in OWN_TABLE:
        connection.execute(sql)
    connection.commit()
    for change in CHANGES:
        for sql, parameters in (("SELECT * FROM own ORDER BY id", None), ("SELECT name, active FROM own WHERE id = %s", (1,))):
            for _ in range(3):
                connection.execute(sql, parameters, prepare=True)
            connection.commit()
            connection.execute(change.replace("own", "own"))
            connection.commit()
            outcome(change, psycopg.Error, lambda: connection.execute(sql, parameters, prepare=True, binary=binary).fetchall())
            connection.rollback()
            change = "SELECT 1"
    connection.execute("DROP TABLE own")
    connection.commit()


def psycopg():
    import psycopg
    versioned(psycopg)
    for binary in (False, True):
        connection = psycopg.connect(host=HOST, port=PORT, user=USER, dbname="postgres", prepare_threshold=1)
        connection.cursor_factory = psycopg.Cursor if not binary else lambda c, **kw: BinaryCursor(c, **kw)

        class BinaryCursor(psycopg.Cursor):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.format = psycopg.pq.Format.BINARY
        for _ in range(3):
            dbapi(connection, "%b" if binary else "%s", lambda value: value)
        psycopg_bulk(connection, psycopg, binary)
        cursor = connection.cursor("server_side")
        cursor.execute(f"SELECT active, pay, doc FROM {TABLE} WHERE name = %s ORDER BY id", ("Ada",), binary=binary)
        for row in cursor:
            show("server side", *row)
        connection.rollback()
        connection.autocommit = True
        cursor = connection.cursor("held", withhold=True)
        cursor.execute(f"SELECT active, pay, born FROM {TABLE} ORDER BY id", binary=binary)
        for row in cursor:
            show("held", *row)


async def asyncpg_bulk(connection, asyncpg):
    columns = BULK_COLUMNS.split(", ")
    for what in ("copied", "executemany"):
        transaction = connection.transaction()
        await transaction.start()
        if what == "copied":
            print(await connection.copy_records_to_table(TABLE, records=BULK, columns=columns))
        else:
            await connection.executemany(f"INSERT INTO {TABLE} ({BULK_COLUMNS}) VALUES ({', '.join('$%d' % (i + 1) for i in range(8))})", BULK)
        show(what, *[tuple(row) for row in await connection.fetch(BULK_AFTER)])
        for form in ("binary", "text", "csv"):
            data = io.BytesIO()
            await connection.copy_from_query(BULK_AFTER, output=data, format=form)
            show("out " + form, data.getvalue())
        await transaction.rollback()
    heard = []
    await connection.add_listener("wire", lambda c, pid, channel, payload: heard.append(payload))
    await connection.execute(f"SELECT pg_notify('wire', name || pay::text) FROM {TABLE} WHERE id = 1")
    await asyncio.sleep(0.2)
    show("notified", *heard)
    for sql in OWN_TABLE:
        await connection.execute(sql)
    for change in CHANGES:
        statement = await connection.prepare("SELECT name, active FROM own WHERE id = $1")
        await connection.fetch("SELECT * FROM own ORDER BY id")
        await connection.execute(change)
        for what in ("every", "one"):
            try:
                show(change + ": " + what, *[tuple(row) for row in await (connection.fetch("SELECT * FROM own ORDER BY id") if what == "every" else statement.fetch(1))])
            except asyncpg.PostgresError as failure:
                print(change, what, "fails", type(failure).__name__)


def asyncpg():
    import asyncpg
    versioned(asyncpg)

    async def run():
        connection = await asyncpg.connect(host=HOST, port=PORT, user=USER, database="postgres")
        for row in await connection.fetch(f"SELECT * FROM {TABLE} ORDER BY id"):
            for name, value in row.items():
                show(name, value)
        print([a.name + " " + a.type.name for a in (await connection.prepare(f"SELECT * FROM {TABLE}")).get_attributes()])
        transaction = connection.transaction()
        await transaction.start()
        for name, value in VALUES.items():
            statement = await connection.prepare(f"UPDATE {TABLE} SET {name} = $1 WHERE id = 1 RETURNING {name}")
            show("set " + name + " " + statement.get_parameters()[0].name, await statement.fetchval(value))
            show("find " + name, await connection.fetchval(f"SELECT count(*) FROM {TABLE} WHERE {name} = $1", value))
            show("find any of " + name, await connection.fetchval(f"SELECT count(*) FROM {TABLE} WHERE {name} = ANY ($1)", [value]))
        show("row", await connection.fetchval(f"SELECT ROW(n4, active) FROM {TABLE} WHERE id = 2"))
        show("array", await connection.fetchval(f"SELECT array_agg(pay ORDER BY id) FROM {TABLE}"))
        async for row in connection.cursor(f"SELECT born FROM {TABLE} ORDER BY id", prefetch=1):
            show("cursor", *row.values())
        await transaction.rollback()
        await asyncpg_bulk(connection, asyncpg)
        await connection.close()
    asyncio.run(run())


def sqlalchemy(driver="psycopg2"):
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql as pg
    versioned(sa)
    engine = sa.create_engine(f"postgresql+{driver}://{USER}@/postgres?host={HOST}&port={PORT}")
    types = dict(id=sa.Integer, name=sa.Text, code=sa.String(20), n2=sa.SmallInteger, n4=sa.Integer, n8=sa.BigInteger, f4=sa.Float, f8=sa.Float,
                 pay=sa.Numeric(12, 2), active=sa.Boolean, born=sa.Date, at=sa.Time, ts=sa.DateTime, tz=sa.DateTime(timezone=True),
                 iv=sa.Interval, u=pg.UUID(as_uuid=True), doc=pg.JSONB, raw=sa.LargeBinary)
    table = sa.Table(TABLE, sa.MetaData(), *[sa.Column(name, kind, primary_key=name == "id") for name, kind in types.items()])
    with engine.connect() as connection, connection.begin() as transaction:
        for row in connection.execute(sa.select(table).order_by(table.c.id)):
            show("row", *row)
        for name, value in VALUES.items():
            change = table.update().where(table.c.id == 1).values({name: value}).returning(table.c[name])
            show("set " + name, *connection.execute(change).fetchone())
        for name in ("name", "code", "pay", "active", "born", "tz", "u", "raw"):
            show("find " + name, *connection.execute(sa.select(sa.func.count()).where(table.c[name] == VALUES[name])).fetchone())
        rows = [dict(zip(BULK_COLUMNS.split(", "), row)) for row in BULK]
        connection.execute(table.insert(), rows)
        show("many", *connection.execute(sa.select(*[table.c[name] for name in BULK_COLUMNS.split(", ")]).where(table.c.id >= 20).order_by(table.c.id)).fetchall())
        upsert = pg.insert(table).values(rows)
        upsert = upsert.on_conflict_do_update(index_elements=["id"], set_={"pay": upsert.excluded.pay + 1, "name": sa.func.coalesce(table.c.name, "none")})
        show("upserted", *sorted(connection.execute(upsert.returning(table.c.id, table.c.pay, table.c.name)).fetchall(), key=repr))
        show("grouped", *connection.execute(sa.select(table.c.active, sa.func.sum(table.c.pay), sa.func.max(table.c.born), sa.func.count(table.c.name.distinct()))
                                            .group_by(table.c.active).order_by(table.c.active)).fetchall())
        show("window", *connection.execute(sa.select(table.c.id, sa.func.row_number().over(partition_by=table.c.active, order_by=table.c.born), sa.func.lag(table.c.pay).over(order_by=table.c.id))
                                           .order_by(table.c.id)).fetchall())
        show("streamed", *connection.execution_options(stream_results=True).execute(sa.select(table.c.active, table.c.pay, table.c.doc).order_by(table.c.id)).fetchall())
        show("newest", *connection.execute(sa.select(table.c.name, table.c.active).order_by(table.c.born.desc()).limit(1)).fetchone())
        transaction.rollback()
    for column in sa.inspect(engine).get_columns(TABLE):
        print(column["name"], repr(column["type"]), column["nullable"], column["default"])
    for found in (sa.inspect(engine).get_pk_constraint(TABLE), sa.inspect(engine).get_indexes(TABLE), sa.inspect(engine).get_unique_constraints(TABLE),
                  sa.inspect(engine).get_foreign_keys(TABLE), sa.inspect(engine).get_check_constraints(TABLE)):
        print(found)
    from sqlalchemy.ext.automap import automap_base
    base = automap_base()
    base.prepare(autoload_with=engine)
    mapped = base.classes[TABLE]
    from sqlalchemy.orm import Session
    with Session(engine) as session:
        row = session.get(mapped, 1)
        row.pay, row.active, row.doc, row.born = decimal.Decimal("3.125"), True, {"b": [None]}, dt.date(1999, 1, 1)
        session.flush()
        session.expire(row)
        show("mapped", *[getattr(row, name) for name in COLUMNS])
        show("found", session.query(mapped.id).filter(mapped.doc["b"].isnot(None), mapped.active.is_(True), mapped.tz < dt.datetime.now(UTC)).count())
        session.rollback()


def sqlalchemy_psycopg():
    sqlalchemy("psycopg")


def pg8000():
    import pg8000.dbapi
    versioned(pg8000)
    connection = pg8000.dbapi.connect(USER, host=HOST, port=PORT, database="postgres")
    dbapi(connection, "%s", lambda value: value)
    cursor = connection.cursor()
    cursor.executemany(f"INSERT INTO {TABLE} ({BULK_COLUMNS}) VALUES (" + ", ".join(["%s"] * 8) + ")", BULK)
    cursor.execute(BULK_AFTER)
    show("executemany", *cursor.fetchall())
    data = io.BytesIO()
    cursor.execute(f"COPY ({BULK_AFTER}) TO STDOUT WITH (FORMAT binary)", stream=data)
    show("copied", data.getvalue())
    connection.rollback()


def django():
    import io
    from django.conf import settings
    settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "HOST": HOST, "PORT": PORT, "USER": USER, "NAME": "postgres"}},
                       USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
    import django
    versioned(django)
    django.setup()
    from django.db import models, transaction
    fields = dict(name=models.TextField(), code=models.CharField(max_length=20), n2=models.SmallIntegerField(), n4=models.IntegerField(),
                  n8=models.BigIntegerField(), f8=models.FloatField(), pay=models.DecimalField(max_digits=12, decimal_places=2),
                  active=models.BooleanField(), born=models.DateField(), at=models.TimeField(), tz=models.DateTimeField(), iv=models.DurationField(),
                  u=models.UUIDField(), doc=models.JSONField(), raw=models.BinaryField())
    Meta = type("Meta", (), dict(db_table=TABLE, app_label="wire", managed=False))
    Row = type("Row", (models.Model,), dict(__module__="wire", Meta=Meta, id=models.IntegerField(primary_key=True), **fields))
    for row in Row.objects.order_by("id"):
        for name in fields:
            show(name, getattr(row, name))
    with transaction.atomic():
        row = Row.objects.get(id=1)
        for name in fields:
            if name in VALUES:
                setattr(row, name, VALUES[name])
        row.save()
        for name in fields:
            show("saved " + name, getattr(Row.objects.get(id=1), name))
        for name in ("name", "pay", "born", "u", "active"):
            show("find " + name, Row.objects.filter(**{name: VALUES[name]}).count())
        names = BULK_COLUMNS.split(", ")
        base = dict(code="c", n4=1, f8=0.5, at=dt.time(1), tz=dt.datetime(2000, 1, 1, tzinfo=UTC), iv=dt.timedelta(1), doc={"a": [1]}, raw=b"\0")
        Row.objects.bulk_create([Row(**dict(base, **{k: ("" if v is None else v) for k, v in zip(names, row)})) for row in BULK])
        made = list(Row.objects.filter(id__gte=20).order_by("id"))
        for number, row in enumerate(made):
            row.pay, row.active, row.doc = decimal.Decimal(number), number % 3 == 0, {"n": number}
        Row.objects.bulk_update(made, ["pay", "active", "doc"], batch_size=4)
        show("bulk", *Row.objects.filter(id__gte=20).order_by("id").values_list("id", "name", "pay", "active", "doc", "born", "u"))
        show("made", *[v for v in (Row.objects.update_or_create(id=20, defaults={"name": "twenty", "n8": 2**41})[1], Row.objects.get(id=20).n8)])
        show("computed", Row.objects.filter(id__gte=20).update(pay=models.F("pay") * 2, n4=models.F("n2") + 1), *Row.objects.filter(id__gte=20).order_by("id").values_list("pay", "n4"))
        show("aggregates", *[sorted(Row.objects.aggregate(models.Sum("pay"), models.Max("born"), models.Min("name"), models.Count("u", distinct=True), models.Avg("n8")).items())])
        show("annotated", *Row.objects.values("active").annotate(n=models.Count("id"), pays=models.Sum("pay")).order_by("active"))
        for lookup, value in (("name__in", ["n1", "twenty"]), ("name__icontains", "TW"), ("name__startswith", "n"), ("pay__range", (1, 9)), ("born__year", 2000), ("born__gt", dt.date(2000, 1, 4)),
                              ("doc__n", 3), ("doc__has_key", "n"), ("tz__date", dt.date(2000, 1, 1)), ("n8__lte", 30), ("active", True), ("u__in", [uuid.UUID(int=3)]), ("iv__gte", dt.timedelta(1)),
                              ("name__regex", "^n[1-3]"), ("code__iexact", "C"), ("at__hour", 1), ("raw", b"\0")):
            show("where " + lookup, *Row.objects.filter(id__gte=20, **{lookup: value}).order_by("id").values_list("id", flat=True))
        show("streamed", *[r.active for r in Row.objects.order_by("id").iterator(chunk_size=1)])
        transaction.set_rollback(True)
    # outside of a transaction its cursor is WITH HOLD
    show("streamed", *[value for r in Row.objects.order_by("id").iterator(chunk_size=1) for value in (r.active, r.born, r.pay)])
    from django.core.management import call_command
    out = io.StringIO()
    call_command("inspectdb", TABLE, stdout=out)
    print(*[line for line in out.getvalue().split("\n") if " = models." in line], sep="\n")


def pyodbc():
    import pyodbc
    driver = [name for name in pyodbc.drivers() if "Unicode" in name][0]
    connection = pyodbc.connect(f"DRIVER={{{driver}}};SERVER={HOST};PORT={PORT};DATABASE=postgres;UID={USER}")
    cursor = connection.cursor()
    cursor.execute(f"SELECT * FROM {TABLE} ORDER BY id")
    print([(d[0], d[1].__name__, d[3], d[4], d[5]) for d in cursor.description])
    for row in cursor.fetchall():
        show("row", *row)
    for name in ("name", "n4", "f8", "pay", "born", "ts", "raw"):
        cursor.execute(f"UPDATE {TABLE} SET {name} = ? WHERE id = 1", VALUES[name])
        show("set " + name, cursor.rowcount)
        show("is", *cursor.execute(f"SELECT {name} FROM {TABLE} WHERE id = 1").fetchone())
    connection.rollback()
    for column in cursor.columns(table=TABLE):
        print([value for name, value in zip([d[0] for d in cursor.description], column) if name != "table oid"])


globals()[DRIVER]()
