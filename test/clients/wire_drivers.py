"""What Python's drivers and mappers make of a table, value by value with its type.

Called with a driver's name, host, port, user and a table's name.  The output for a
protected table must be that for its plain copy.
"""
import asyncio
import datetime as dt
import decimal
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


def psycopg2():
    import psycopg2.extras
    psycopg2.extras.register_uuid()
    connection = psycopg2.connect(host=HOST, port=PORT, user=USER, dbname="postgres")
    dbapi(connection, "%s", lambda value: value)
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


def psycopg():
    import psycopg
    for binary in (False, True):
        connection = psycopg.connect(host=HOST, port=PORT, user=USER, dbname="postgres", prepare_threshold=1)
        connection.cursor_factory = psycopg.Cursor if not binary else lambda c, **kw: BinaryCursor(c, **kw)

        class BinaryCursor(psycopg.Cursor):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.format = psycopg.pq.Format.BINARY
        for _ in range(3):
            dbapi(connection, "%b" if binary else "%s", lambda value: value)
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


def asyncpg():
    import asyncpg

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
        await connection.close()
    asyncio.run(run())


def sqlalchemy():
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql as pg
    engine = sa.create_engine(f"postgresql+psycopg2://{USER}@/postgres?host={HOST}&port={PORT}")
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
        show("newest", *connection.execute(sa.select(table.c.name, table.c.active).order_by(table.c.born.desc()).limit(1)).fetchone())
        transaction.rollback()
    for column in sa.inspect(engine).get_columns(TABLE):
        print(column["name"], repr(column["type"]), column["nullable"], column["default"])
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


def django():
    import io
    from django.conf import settings
    settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "HOST": HOST, "PORT": PORT, "USER": USER, "NAME": "postgres"}},
                       USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField")
    import django
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
