// What node's drivers and mappers make of a table, value by value with its type.
// Called with a library's name, host, port, user and a table's name.
const [library, host, port, user, table] = process.argv.slice(2);
const where = { host, port: +port, user, database: 'postgres' };
const values = { name: 'Eve', code: 'c', n2: 3, n4: 4, n8: 1099511627776, f8: 2.5, pay: 1.25, active: true, born: '2000-02-29', tz: new Date(0),
	u: '00000000-0000-0000-0000-000000000009', ip: '10.0.0.9', doc: { b: [null, 1] }, raw: Buffer.from([0, 1, 255]) };

function show(what, value) {
	console.log(what, value === null || value === undefined ? value : value.constructor && value.constructor.name,
		JSON.stringify(value, (_, v) => typeof v === 'bigint' ? String(v) : v));
}
function showRow(what, row) {
	for (const [name, value] of Object.entries(row)) show(`${what} ${name}`, value);
}
// A step in a transaction that is rolled back: outcome, or how it failed.
async function step(what, begin, run, rollback) {
	await begin();
	try {
		show(what, await run());
	} catch (error) {
		console.log(what, error.code || (error.parent && error.parent.code) || (error.cause && error.cause.code) || error.name);
	}
	await rollback();
}

const libraries = {
	async pg() {
		const client = new (require('pg').Client)(where);
		await client.connect();
		const all = await client.query(`SELECT * FROM ${table} ORDER BY id`);
		for (const field of all.fields) console.log(field.name, field.dataTypeID, field.dataTypeModifier, field.dataTypeSize);
		for (const row of all.rows) showRow('row', row);
		for (const row of (await client.query({ text: `SELECT * FROM ${table} ORDER BY id`, name: 'all', rowMode: 'array' })).rows) show('prepared', row);
		for (const [name, value] of Object.entries(values))
			for (const [sql, parameter] of [[`UPDATE ${table} SET ${name} = $1 WHERE id = 1 RETURNING ${name}`, value],
				[`SELECT count(*) FROM ${table} WHERE ${name} = $1`, value], [`SELECT count(*) FROM ${table} WHERE ${name} = ANY ($1)`, [value]]])
				await step(`${name} ${sql.split(' ')[0]}`, () => client.query('BEGIN'), async () => (await client.query(sql, [parameter])).rows, () => client.query('ROLLBACK'));
		show('json', (await client.query(`SELECT json_agg(json_build_object('n', n4, 'on', active, 'd', doc)) FROM ${table} WHERE id = 1`)).rows);
		await client.end();
	},

	async postgres() {
		const sql = require('postgres')({ ...where, max: 1 });
		for (const row of await sql`SELECT * FROM ${sql(table)} ORDER BY id`) showRow('row', row);
		await sql.begin(async t => {
			for (const [name, value] of Object.entries(values)) {
				try {
					show(`set ${name}`, await t.savepoint(s => s`UPDATE ${s(table)} SET ${s({ [name]: value })} WHERE id = 1 RETURNING ${s(name)}`));
					show(`find ${name}`, await t.savepoint(s => s`SELECT count(*) FROM ${s(table)} WHERE ${s(name)} = ${value}`));
				} catch (error) {
					console.log(name, error.code || error.name);
				}
			}
			for await (const rows of t`SELECT active, pay, doc, born FROM ${t(table)} ORDER BY id`.cursor(1)) showRow('cursor', rows[0]);
			throw 'undo';
		}).catch(error => { if (error !== 'undo') throw error; });
		await sql.end();
	},

	async sequelize() {
		const { Sequelize, DataTypes, Op } = require('sequelize');
		const sequelize = new Sequelize('postgres', user, '', { host, port, dialect: 'postgres', logging: false });
		const columns = await sequelize.getQueryInterface().describeTable(table);
		for (const [name, column] of Object.entries(columns)) show(`column ${name}`, column);
		const Row = sequelize.define('row', { id: { type: DataTypes.INTEGER, primaryKey: true }, name: DataTypes.TEXT, code: DataTypes.STRING(20), n2: DataTypes.SMALLINT,
			n4: DataTypes.INTEGER, n8: DataTypes.BIGINT, f8: DataTypes.DOUBLE, pay: DataTypes.DECIMAL(12, 2), active: DataTypes.BOOLEAN, born: DataTypes.DATEONLY,
			tz: DataTypes.DATE, u: DataTypes.UUID, ip: DataTypes.INET, doc: DataTypes.JSONB, raw: DataTypes.BLOB }, { tableName: table, timestamps: false });
		for (const row of await Row.findAll({ order: ['id'] })) showRow('row', row.get({ plain: true }));
		const inTransaction = (what, run) => {
			let transaction;
			return step(what, async () => { transaction = await sequelize.transaction(); }, () => run(transaction), () => transaction.rollback());
		};
		for (const [name, value] of Object.entries(values)) {
			await inTransaction(`save ${name}`, async transaction => {
				const row = await Row.findByPk(1, { transaction });
				await row.update({ [name]: value }, { transaction });
				return (await Row.findByPk(1, { transaction })).get(name);
			});
			await inTransaction(`where ${name}`, transaction => Row.count({ where: { [name]: value }, transaction }));
		}
		await inTransaction('between', async transaction => (await Row.findAll({ where: { pay: { [Op.between]: [100, 1000] }, active: false,
			born: { [Op.lt]: '1985-01-01' }, name: { [Op.iLike]: 'a%' }, 'doc.a': 1 }, transaction })).length);
		await inTransaction('increment', async transaction => (await Row.increment('n4', { where: { id: 1 }, transaction }), (await Row.findByPk(1, { transaction })).n4));
		await inTransaction('aggregates', async transaction => [await Row.sum('pay', { transaction }), await Row.max('n4', { transaction }), await Row.min('born', { transaction })]);
		await inTransaction('create', async transaction => (await Row.bulkCreate([{ id: 9, ...values }], { transaction, returning: true }))[0].get({ plain: true }));
		await sequelize.close();
	},

	async typeorm() {
		require('reflect-metadata');
		const { DataSource, EntitySchema, In, Between, MoreThan, LessThan } = require('typeorm');
		const Row = new EntitySchema({ name: 'Row', tableName: table, columns: { id: { type: 'int', primary: true }, name: { type: 'text' }, code: { type: 'varchar', length: 20 },
			n4: { type: 'int' }, n8: { type: 'bigint' }, f8: { type: 'double precision' }, pay: { type: 'numeric', precision: 12, scale: 2 }, active: { type: Boolean },
			born: { type: 'date' }, tz: { type: 'timestamptz' }, u: { type: 'uuid' }, doc: { type: 'jsonb' }, raw: { type: 'bytea' } } });
		const source = new DataSource({ type: 'postgres', ...where, username: user, entities: [Row] });
		await source.initialize();
		const rows = source.getRepository('Row');
		for (const row of await rows.find({ order: { id: 'ASC' } })) showRow('row', row);
		const found = await source.createQueryRunner().getTable(table);
		for (const column of found.columns) console.log('column', column.name, column.type, column.length, column.precision, column.scale, column.isNullable, column.default);
		const inTransaction = (what, run) => {
			const runner = source.createQueryRunner();
			return step(what, () => runner.startTransaction(), () => run(runner.manager.getRepository('Row')), async () => { await runner.rollbackTransaction(); await runner.release(); });
		};
		for (const [name, condition] of [['name', In(['Ada', 'x'])], ['n4', 20], ['n8', MoreThan(5)], ['pay', Between(100, 1000)], ['active', false],
			['born', Between('1980-01-01', '1981-01-01')], ['tz', LessThan(new Date('2020-06-01'))], ['u', '00000000-0000-0000-0000-000000000002'], ['raw', Buffer.from([0, 2])]])
			await inTransaction(`where ${name}`, async row => (await row.findBy({ [name]: condition })).map(r => r.id));
		await inTransaction('save', async row => {
			const entity = await row.findOneBy({ id: 1 });
			Object.assign(entity, { name: 'changed', doc: { b: [null] }, raw: Buffer.from([1]) });
			await row.save(entity);
			return row.findOneBy({ id: 1 });
		});
		await inTransaction('increment', async row => { await row.increment({ id: 1 }, 'n4', 3); return (await row.findOneBy({ id: 1 })).n4; });
		await inTransaction('aggregates', async row => [await row.sum('pay'), await row.maximum('n4'), await row.average('f8')]);
		// what a migration would change
		show('migration', (await source.driver.createSchemaBuilder().log()).upQueries.map(q => q.query).filter(q => /ALTER COLUMN|TYPE/.test(q)));
		await source.destroy();
	},

	async knex() {
		const knex = require('knex')({ client: 'pg', connection: where, pool: { min: 1, max: 1 } });
		for (const row of await knex(table).orderBy('id')) showRow('row', row);
		for (const [name, info] of Object.entries(await knex(table).columnInfo())) show(`column ${name}`, info);
		for (const [name, value] of Object.entries(values)) {
			let transaction;
			await step(`set ${name}`, async () => { transaction = await knex.transaction(); }, () => transaction(table).where({ id: 1 }).update({ [name]: value }).returning(name), () => transaction.rollback());
			await step(`where ${name}`, async () => { transaction = await knex.transaction(); }, () => transaction(table).where({ [name]: value }).count(), () => transaction.rollback());
			await step(`in ${name}`, async () => { transaction = await knex.transaction(); }, () => transaction(table).whereIn(name, [value]).count(), () => transaction.rollback());
		}
		await knex.destroy();
	},

	async drizzle() {
		const { drizzle } = require('drizzle-orm/node-postgres');
		const { pgTable, integer, text, varchar, bigint, doublePrecision, numeric, boolean, date, timestamp, uuid, jsonb } = require('drizzle-orm/pg-core');
		const { eq, gt, and, inArray, sql } = require('drizzle-orm');
		const client = new (require('pg').Client)(where);
		await client.connect();
		const db = drizzle(client);
		const rows = pgTable(table, { id: integer().primaryKey(), name: text(), code: varchar({ length: 20 }), n4: integer(), n8: bigint({ mode: 'bigint' }), f8: doublePrecision(),
			pay: numeric({ precision: 12, scale: 2 }), active: boolean(), born: date(), tz: timestamp({ withTimezone: true }), u: uuid(), doc: jsonb() });
		for (const row of await db.select().from(rows).orderBy(rows.id)) showRow('row', row);
		for (const [name, value] of Object.entries({ ...values, n8: 1099511627776n, pay: '1.25' })) {
			if (!rows[name]) continue;
			await step(`set ${name}`, () => client.query('BEGIN'), () => db.update(rows).set({ [name]: value }).where(eq(rows.id, 1)).returning(), () => client.query('ROLLBACK'));
			await step(`where ${name}`, () => client.query('BEGIN'), () => db.select({ id: rows.id }).from(rows).where(inArray(rows[name], [value])), () => client.query('ROLLBACK'));
		}
		show('and', await db.select({ id: rows.id, sum: sql`sum(${rows.pay}) OVER ()` }).from(rows).where(and(gt(rows.n8, 5n), eq(rows.active, false))));
		await client.end();
	},
};

libraries[library]().catch(error => { console.error(error); process.exit(1); });
