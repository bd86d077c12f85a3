import java.math.BigDecimal;
import java.sql.*;
import java.time.*;
import java.util.*;
import org.jooq.*;
import org.jooq.Record;
import org.jooq.impl.DSL;

/* What jOOQ makes of a table.  Called with host, port, user and the table's name. */
public class WireJOOQ {
	static void show(Record row) {
		for (Field<?> field : row.fields()) {
			Object value = row.get(field);
			System.out.println(field.getName() + " " + field.getDataType() + " " + (value == null ? "null" : value.getClass().getSimpleName() + " " +
				(value instanceof byte[] ? Arrays.toString((byte[]) value) : value)));
		}
	}

	public static void main(String[] args) throws Exception {
		try (Connection connection = DriverManager.getConnection("jdbc:postgresql://" + args[0] + ":" + args[1] + "/postgres?sslmode=disable&user=" + args[2])) {
			connection.setAutoCommit(false);
			DSLContext db = DSL.using(connection, SQLDialect.POSTGRES);
			Table<?> named = db.meta().getTables(args[3]).get(0);
			for (Field<?> field : named.fields())
				System.out.println("found " + field.getName() + " " + field.getDataType() + " " + field.getDataType().length() + " " + field.getDataType().precision() + " " + field.getDataType().scale());
			db.selectFrom(named).orderBy(named.field("id")).fetch().forEach(row -> show(row));
			db.fetch("SELECT * FROM " + args[3] + " ORDER BY id").forEach(row -> show(row));
			Map<String, Object> values = new LinkedHashMap<>();
			values.put("name", "Eve");
			values.put("n2", (short) 3);
			values.put("n8", 1L << 40);
			values.put("pay", new BigDecimal("1.25"));
			values.put("active", true);
			values.put("born", java.sql.Date.valueOf("2000-02-29"));
			values.put("u", new UUID(0, 9));
			values.put("raw", new byte[] {0, 1, -1});
			values.forEach((name, value) -> {
				db.update(named).set(DSL.field(DSL.name(name)), (Object) value).where("id = 1").execute();
				System.out.println("where " + name + " " + db.fetchCount(db.selectFrom(named).where(DSL.field(DSL.name(name)).eq((Object) value))));
				System.out.println("in " + name + " " + db.fetchCount(db.selectFrom(named).where(DSL.field(DSL.name(name)).in((Object) value))));
			});
			db.selectFrom(named).where("id = 1").fetch().forEach(row -> show(row));
			connection.rollback();
		}
	}
}
