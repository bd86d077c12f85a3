import java.math.BigDecimal;
import java.sql.*;
import java.util.Arrays;

/* What the JDBC driver makes of a table.  Called with a URL and the table's name. */
public class WireJdbc {
	static void show(String what, Object value) {
		System.out.println(what + " " + (value == null ? "null" : value.getClass().getName() + " " +
			(value instanceof byte[] ? Arrays.toString((byte[]) value) : value)));
	}

	/* Batches, generated keys, COPY, arrays, updatable rows, and a table that changes under what was prepared. */
	static void bulk(Connection db, String table) throws Exception {
		PreparedStatement insert = db.prepareStatement("INSERT INTO " + table + " (id, name, n8, pay, active, born, doc) VALUES (?, ?, ?, ?, ?, ?, ?::jsonb)", new String[] {"id", "name", "pay"});
		for (int i = 0; i < 9; i++) {
			insert.setInt(1, 20 + i);
			insert.setString(2, i % 3 == 0 ? null : "n" + i);
			insert.setLong(3, 1L << 33 + i);
			insert.setBigDecimal(4, new BigDecimal(i).divide(new BigDecimal(4)));
			insert.setBoolean(5, i % 2 == 0);
			insert.setObject(6, java.time.LocalDate.of(2000, 1, 1 + i));
			insert.setString(7, "{\"i\": " + i + "}");
			insert.addBatch();
		}
		System.out.println("batch " + Arrays.toString(insert.executeBatch()));
		ResultSet keys = insert.getGeneratedKeys();
		while (keys.next())
			System.out.println("generated " + keys.getObject(1) + " " + keys.getObject(2) + " " + keys.getObject(3));
		for (String format : new String[] {"text", "csv", "binary"}) {
			java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
			org.postgresql.copy.CopyManager copy = db.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
			System.out.println("copied " + copy.copyOut("COPY (SELECT id, name, n8, pay, active, born FROM " + table + " ORDER BY id) TO STDOUT (FORMAT " + format + ")", out) + " " +
				Arrays.toString(out.toByteArray()));
			Savepoint before = db.setSavepoint();
			db.createStatement().executeUpdate("DELETE FROM " + table);
			System.out.println("copied back " + copy.copyIn("COPY " + table + " (id, name, n8, pay, active, born) FROM STDIN (FORMAT " + format + ")",
				new java.io.ByteArrayInputStream(out.toByteArray())));
			ResultSet sums = db.createStatement().executeQuery("SELECT count(*), sum(n8), sum(pay), max(born), bool_or(active), string_agg(name, ',' ORDER BY id) FROM " + table);
			sums.next();
			for (int i = 1; i <= 6; i++)
				show("sum", sums.getObject(i));
			db.rollback(before);
		}
		for (Object[] any : new Object[][] {{"name", "text", new String[] {"n1", "n2", "x"}}, {"n8", "int8", new Long[] {1L << 34, 5L}}, {"pay", "numeric", new BigDecimal[] {new BigDecimal("0.5")}},
			{"born", "date", new Date[] {Date.valueOf("2000-01-02")}}, {"active", "bool", new Boolean[] {false}}}) {
			PreparedStatement in = db.prepareStatement("SELECT count(*), array_agg(" + any[0] + " ORDER BY id) FROM " + table + " WHERE " + any[0] + " = ANY (?)");
			in.setArray(1, db.createArrayOf((String) any[1], (Object[]) any[2]));
			ResultSet found = in.executeQuery();
			found.next();
			System.out.println("any " + any[0] + " " + found.getLong(1) + " " + found.getArray(2) + " " + found.getArray(2).getBaseTypeName());
		}
		Statement updatable = db.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
		ResultSet rows = updatable.executeQuery("SELECT id, name, pay, active FROM " + table + " WHERE id IN (1, 2) ORDER BY id");
		rows.next();
		rows.updateString("name", "by row");
		rows.updateBigDecimal("pay", new BigDecimal("7.5"));
		rows.updateRow();
		rows.refreshRow();
		System.out.println("updated " + rows.getString(2) + " " + rows.getBigDecimal(3) + " " + rows.getBoolean(4));
		Statement change = db.createStatement();
		change.execute("CREATE TEMP TABLE own (LIKE " + table + ")");
		change.execute("INSERT INTO own SELECT * FROM " + table + " WHERE id <= 2");
		PreparedStatement prepared = db.prepareStatement("SELECT * FROM own WHERE id = ?");
		for (String ddl : new String[] {"SELECT 1", "ALTER TABLE own ADD COLUMN extra int DEFAULT 7", "ALTER TABLE own DROP COLUMN code", "ANALYZE own", "ALTER TABLE own RENAME COLUMN pay TO paid"})
			for (int run = 0; run < 7; run++) {
				Savepoint before = db.setSavepoint();
				try {
					if (run == 0)
						change.execute(ddl);
					before = db.setSavepoint();
					prepared.setInt(1, 1 + run % 2);
					ResultSet row = prepared.executeQuery();
					row.next();
					System.out.println(ddl + " " + row.getMetaData().getColumnCount() + " " + row.getObject(2) + " " + row.getObject("active"));
				} catch (SQLException e) {
					System.out.println(ddl + " " + e.getSQLState());
					db.rollback(before);
				}
			}
		PreparedStatement described = db.prepareStatement("UPDATE " + table + " SET name = ?, n8 = ?, pay = ?, born = ?, raw = ? WHERE active = ? AND u = ?");
		for (int i = 1; i <= described.getParameterMetaData().getParameterCount(); i++)
			System.out.println("parameter " + described.getParameterMetaData().getParameterTypeName(i) + " " + described.getParameterMetaData().getParameterClassName(i));
		for (String what : new String[] {"primary keys", "indexes", "privileges", "types"}) {
			ResultSet found = what.equals("primary keys") ? db.getMetaData().getPrimaryKeys(null, "public", table) : what.equals("indexes") ? db.getMetaData().getIndexInfo(null, "public", table, false, false)
				: what.equals("privileges") ? db.getMetaData().getColumnPrivileges(null, "public", table, "pay") : db.getMetaData().getBestRowIdentifier(null, "public", table, 0, true);
			while (found.next()) {
				StringBuilder line = new StringBuilder(what);
				for (int i = 1; i <= found.getMetaData().getColumnCount(); i++)
					line.append(' ').append(found.getString(i));
				System.out.println(line);
			}
		}
	}

	public static void main(String[] args) throws Exception {
		try (Connection db = DriverManager.getConnection(args[0])) {
			db.setAutoCommit(false);
			System.out.println("version " + db.getMetaData().getDriverVersion());
			/* from the fifth execution on the driver prepares at the server, and asks for binary */
			for (int run = 0; run < 7; run++) {
				PreparedStatement all = db.prepareStatement("SELECT * FROM " + args[1] + " ORDER BY id");
				all.setFetchSize(run % 2);
				ResultSet row = all.executeQuery();
				ResultSetMetaData meta = row.getMetaData();
				for (int i = 1; run == 0 && i <= meta.getColumnCount(); i++)
					System.out.println(String.join(" ", meta.getColumnName(i), meta.getColumnTypeName(i), "" + meta.getColumnType(i),
						"" + meta.getPrecision(i), "" + meta.getScale(i), meta.getColumnClassName(i)));
				while (row.next())
					for (int i = 1; i <= meta.getColumnCount(); i++)
						show(meta.getColumnName(i), row.getObject(i));
			}
			Object[][] values = {{"name", "Eve"}, {"n2", 3}, {"n4", 4}, {"n8", 1L << 40}, {"f8", 2.5}, {"pay", new BigDecimal("1.25")},
				{"active", true}, {"born", Date.valueOf("2000-02-29")}, {"ts", Timestamp.valueOf("2000-01-01 05:00:00")},
				{"u", java.util.UUID.fromString("00000000-0000-0000-0000-000000000009")}, {"raw", new byte[] {0, 1, -1}}};
			for (Object[] value : values) {
				PreparedStatement set = db.prepareStatement("UPDATE " + args[1] + " SET " + value[0] + " = ? WHERE id = 1 RETURNING " + value[0]);
				for (int run = 0; run < 7; run++) {
					set.setObject(1, value[1]);
					ResultSet row = set.executeQuery();
					row.next();
					show("set " + value[0], row.getObject(1));
				}
			}
			ResultSet row = db.createStatement().executeQuery("SELECT raw, active, n8, born FROM " + args[1] + " WHERE id = 2");
			row.next();
			show("bytes", row.getBytes(1));
			show("boolean", row.getBoolean(2));
			show("long", row.getLong(3));
			show("date", row.getObject(4, java.time.LocalDate.class));
			bulk(db, args[1]);
			db.rollback();
			ResultSet columns = db.getMetaData().getColumns(null, "public", args[1], "%");
			while (columns.next()) {
				StringBuilder line = new StringBuilder("column");
				for (int i = 1; i <= columns.getMetaData().getColumnCount(); i++)
					line.append(' ').append(columns.getString(i));
				System.out.println(line);
			}
		}
	}
}
