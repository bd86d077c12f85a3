"""psycopg2, and asyncpg and SQLAlchemy where they are installed.

Called with host, port, user; prints "ok NAME", "not ok NAME: ..." or "skip NAME".
"""
import asyncio
import datetime
import decimal
import io
import sys

import psycopg2
import psycopg2.extras

HOST, PORT, USER = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def check(name, got, wanted):
    print(f"ok {name}" if got == wanted else f"not ok {name}: got {got!r}, wanted {wanted!r}")


def with_psycopg2():
    conn = psycopg2.connect(host=HOST, port=PORT, user=USER, dbname="postgres")
    cur = conn.cursor()
    cur.execute("SELECT id FROM person WHERE email = %s", ("ada@example.org",))
    check("psycopg2: equality with a parameter", cur.fetchall(), [(1,)])
    cur.execute("SELECT id FROM person WHERE email = ANY(%s) ORDER BY id", (["ada@example.org", "p3@example.org"],))
    check("psycopg2: ANY of a list", cur.fetchall(), [(1,), (3,)])
    cur.execute("SELECT id FROM person WHERE email IN %s ORDER BY id", (("ada@example.org", "p3@example.org"),))
    check("psycopg2: IN of a tuple", cur.fetchall(), [(1,), (3,)])
    cur.execute("SELECT n4::int, pay::numeric, born::date, doc::jsonb FROM person WHERE id = 1")
    check("psycopg2: casts give the base types' adaptation", cur.fetchone(),
          (42, decimal.Decimal("12.50"), datetime.date(1815, 12, 10), {"a": 1}))
    cur.execute("INSERT INTO person (id, email, n4, pay, born, doc) VALUES (%s, %s, %s, %s, %s, %s) RETURNING email",
                (200, "o'hara@example.org", 1, decimal.Decimal("1.25"), datetime.date(2000, 1, 2), psycopg2.extras.Json({"b": [1]})))
    check("psycopg2: adaptation of what goes in", cur.fetchone(), ("o'hara@example.org",))
    psycopg2.extras.execute_values(cur, "INSERT INTO person (id, email) VALUES %s", [(201, "x1"), (202, "x2")])
    cur.execute("SELECT count(*) FROM person WHERE email LIKE 'x%%'")
    check("psycopg2: execute_values", cur.fetchone(), (2,))
    named = conn.cursor("server_side")
    named.itersize = 5
    named.execute("SELECT email FROM person WHERE id BETWEEN 2 AND 20 ORDER BY id")
    check("psycopg2: a named cursor", [r[0] for r in named], [f"p{i}@example.org" for i in range(2, 21)])
    out = io.StringIO()
    cur.copy_expert("COPY (SELECT id, email FROM person WHERE id < 3 ORDER BY id) TO STDOUT WITH (FORMAT csv)", out)
    check("psycopg2: COPY out", out.getvalue(), "1,ada@example.org\n2,p2@example.org\n")
    cur.copy_expert("COPY person (id, email) FROM STDIN", io.StringIO("203\ttabbed\n"))
    cur.execute("SELECT email FROM person WHERE id = 203")
    check("psycopg2: COPY in", cur.fetchone(), ("tabbed",))
    conn.rollback()
    conn.close()


async def with_asyncpg():
    import asyncpg
    conn = await asyncpg.connect(host=HOST, port=PORT, user=USER, database="postgres")
    check("asyncpg: prepared equality", await conn.fetchval("SELECT id FROM person WHERE email = $1", "ada@example.org"), 1)
    check("asyncpg: a value in text", await conn.fetchval("SELECT email::text FROM person WHERE id = $1", 1), "ada@example.org")
    await conn.set_type_codec("encrypted_text", schema="pg_catalog", encoder=str, decoder=str, format="text")
    check("asyncpg: with a codec", await conn.fetchval("SELECT email FROM person WHERE id = $1", 1), "ada@example.org")
    async with conn.transaction():
        rows = [r[0] async for r in conn.cursor("SELECT email::text FROM person WHERE id <= 20 ORDER BY id", prefetch=3)]
    check("asyncpg: Execute with a row limit", (len(rows), rows[19]), (20, "p20@example.org"))
    await conn.close()


def with_sqlalchemy():
    import sqlalchemy as sa
    engine = sa.create_engine(f"postgresql+psycopg2://{USER}@/postgres?host={HOST}&port={PORT}")
    person = sa.table("person", sa.column("id", sa.Integer), sa.column("email", sa.String), sa.column("n4", sa.Integer))
    with engine.connect() as conn:
        check("SQLAlchemy: where", conn.execute(sa.select(person.c.id).where(person.c.email == "ada@example.org")).scalar(), 1)
        check("SQLAlchemy: like, order, limit",
              [r[0] for r in conn.execute(sa.select(person.c.email).where(person.c.email.like("p%")).order_by(person.c.email).limit(2))],
              ["p10@example.org", "p11@example.org"])
        check("SQLAlchemy: arithmetic", conn.execute(sa.select(sa.func.sum(person.c.n4)).where(person.c.id <= 2)).scalar(), 44)


def main():
    with_psycopg2()
    for name, run in (("asyncpg", lambda: asyncio.run(with_asyncpg())), ("sqlalchemy", with_sqlalchemy)):
        try:
            __import__(name)
        except ImportError:
            print(f"skip {name} is not installed")
            continue
        run()


main()
