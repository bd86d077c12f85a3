import java.math.BigDecimal;
import java.sql.*;
import java.util.Arrays;

/* What the JDBC driver makes of a table.  Called with a URL and the table's name. */
public class WireJdbc {
	static void show(String what, Object value) {
		System.out.println(what + " " + (value == null ? "null" : value.getClass().getName() + " " +
			(value instanceof byte[] ? Arrays.toString((byte[]) value) : value)));
	}

	public static void main(String[] args) throws Exception {
		try (Connection db = DriverManager.getConnection(args[0])) {
			db.setAutoCommit(false);
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
