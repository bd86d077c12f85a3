import java.math.BigDecimal;
import java.sql.*;

/** JDBC: parameters, fetch sizes, server-side prepared statements. */
public class JdbcProbe {
    static void check(String name, Object got, Object wanted) {
        System.out.println(String.valueOf(wanted).equals(String.valueOf(got)) ? "ok " + name
            : "not ok " + name + ": got " + got + ", wanted " + wanted);
    }

    static String one(PreparedStatement s) throws SQLException {
        try (ResultSet r = s.executeQuery()) {
            return r.next() ? r.getString(1) : null;
        }
    }

    public static void main(String[] args) throws Exception {
        try (Connection c = DriverManager.getConnection(args[0])) {
            try (PreparedStatement s = c.prepareStatement("SELECT id FROM person WHERE email = ?")) {
                for (int i = 0; i < 12; i++) {
                    s.setString(1, i % 2 == 0 ? "ada@example.org" : "p3@example.org");
                    String got = one(s);
                    if (i >= 10)
                        check("JDBC: setString, execution " + (i + 1), got, i % 2 == 0 ? "1" : "3");
                }
            }
            try (Statement s = c.createStatement()) {
                s.execute("SET enable_seqscan = off");
            }
            try (PreparedStatement s = c.prepareStatement("EXPLAIN (COSTS OFF) SELECT id FROM person WHERE email = ?")) {
                s.setString(1, "ada@example.org");
                check("JDBC: a setString parameter uses the index", one(s).contains("person_email"), true);
            }
            try (PreparedStatement s = c.prepareStatement("SELECT id FROM person WHERE pay = ? AND born = ?")) {
                s.setBigDecimal(1, new BigDecimal("12.50"));
                s.setDate(2, Date.valueOf("1815-12-10"));
                check("JDBC: setBigDecimal and setDate", one(s), "1");
            }
            try (PreparedStatement s = c.prepareStatement("INSERT INTO person (id, email, n4, pay) VALUES (?, ?, ?, ?)")) {
                for (int i = 300; i < 310; i++) {
                    s.setInt(1, i);
                    s.setString(2, "batch" + i);
                    s.setInt(3, i);
                    s.setBigDecimal(4, new BigDecimal(i));
                    s.addBatch();
                }
                check("JDBC: batch", s.executeBatch().length, 10);
            }
            c.setAutoCommit(false);
            try (Statement s = c.createStatement()) {
                s.setFetchSize(7);
                int n = 0;
                String last = null;
                try (ResultSet r = s.executeQuery("SELECT email, n4, pay FROM person WHERE id <= 20 ORDER BY id")) {
                    while (r.next()) {
                        n++;
                        last = r.getString(1);
                        if (n == 1) {
                            check("JDBC: getInt", r.getInt(2), 42);
                            check("JDBC: getBigDecimal", r.getBigDecimal(3), "12.50");
                        }
                    }
                }
                check("JDBC: fetch size (portals with a row limit)", n + " " + last, "20 p20@example.org");
            }
            try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
                 ResultSet r = s.executeQuery("SELECT id, email FROM person WHERE id = 1")) {
                r.next();
                r.updateString(2, "changed");
                r.updateRow();
                check("JDBC: updatable result set", r.getString(2), "changed");
            }
            c.rollback();
        }
    }
}
