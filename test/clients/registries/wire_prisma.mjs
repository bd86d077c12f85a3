// What Prisma's client makes of a table, by its adapter over node's pg.
// Called with host, port, user and the table's name.
import prisma from '@prisma/client';
import { PrismaPg } from '@prisma/adapter-pg';

const [host, port, user, table] = process.argv.slice(2);
const db = new prisma.PrismaClient({ adapter: new PrismaPg({ host, port: +port, user, database: 'postgres' }), log: [] });
const rows = db[table];
const text = (value) => JSON.stringify(value, (key, v) => typeof v === 'bigint' ? `${v}n` : v instanceof Uint8Array ? Buffer.from(v).toString('hex') : v);
const kind = (value) => value === null ? 'null' : value.constructor.name;

async function step(name, act) {
	class Undone extends Error {}
	let outcome;
	try {
		await db.$transaction(async (inner) => {
			outcome = text(await act(inner[table], inner));
			throw new Undone();
		});
	} catch (error) {
		if (!(error instanceof Undone)) outcome = `${error.name} ${error.code ?? ''}`;
	}
	console.log(name, outcome);
}

for (const row of await rows.findMany({ orderBy: { id: 'asc' } }))
	for (const [column, value] of Object.entries(row)) console.log(column, kind(value), text(value));
const values = { name: 'Eve', n2: 3, n4: 4, n8: 5n, f8: 2.5, pay: '1.25', active: true, born: new Date('2000-02-29'), tz: new Date(0),
	u: '00000000-0000-0000-0000-000000000009', doc: { b: [1, null] }, raw: new Uint8Array([0, 1, 255]) };
for (const [column, value] of Object.entries(values)) {
	await step(`set ${column}`, (t) => t.update({ where: { id: 1 }, data: { [column]: value } }));
	await step(`null ${column}`, (t) => t.update({ where: { id: 1 }, data: { [column]: column === 'doc' ? prisma.Prisma.DbNull : null } }));
	await step(`where ${column}`, (t) => t.count({ where: { [column]: { equals: value } } }));
	if (column !== 'doc' && column !== 'active') {
		await step(`in ${column}`, (t) => t.count({ where: { [column]: { in: [value] } } }));
		await step(`order ${column}`, (t) => t.findMany({ select: { id: true }, orderBy: { [column]: 'desc' } }));
	}
}
await step('more', (t) => t.findMany({ where: { pay: { gt: 100 }, n4: { gte: 20, lt: 30 }, active: false }, select: { id: true } }));
await step('contains', (t) => t.findMany({ where: { name: { contains: 'D', mode: 'insensitive' } }, select: { name: true } }));
await step('member', (t) => t.findMany({ where: { doc: { path: ['a'], equals: 1 } }, select: { id: true } }));
await step('sum', (t) => t.aggregate({ _sum: { pay: true, n4: true }, _max: { born: true }, _avg: { f8: true } }));
await step('group', (t) => t.groupBy({ by: ['active'], _count: true, orderBy: { active: 'asc' } }));
await step('increment', (t) => t.update({ where: { id: 1 }, data: { n4: { increment: 3 } }, select: { n4: true } }));
await step('create', (t) => t.create({ data: { id: 3, ...values } }));
await step('upsert', (t) => t.upsert({ where: { id: 2 }, create: { id: 2 }, update: { name: 'again' } }));
await step('raw', (t, inner) => inner.$queryRawUnsafe(`SELECT * FROM ${table} WHERE id = $1 AND name = $2`, 1, 'Ada'));
await db.$disconnect();
