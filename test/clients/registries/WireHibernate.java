import jakarta.persistence.*;
import java.math.BigDecimal;
import java.time.*;
import java.util.*;
import org.hibernate.Session;
import org.hibernate.SessionFactory;
import org.hibernate.annotations.JdbcTypeCode;
import org.hibernate.boot.model.naming.Identifier;
import org.hibernate.boot.model.naming.PhysicalNamingStrategyStandardImpl;
import org.hibernate.cfg.Configuration;
import org.hibernate.engine.jdbc.env.spi.JdbcEnvironment;
import org.hibernate.type.SqlTypes;

/* What Hibernate makes of a table.  Called with host, port, user and the table's name. */
public class WireHibernate {
	@Entity(name = "Row")
	@Table(name = "the_table")
	public static class Row {
		@Id public Integer id;
		@Column(columnDefinition = "text") public String name;
		@Column(length = 20) public String code;
		public Short n2;
		public Integer n4;
		public Long n8;
		public Float f4;
		public Double f8;
		@Column(precision = 12, scale = 2) public BigDecimal pay;
		public Boolean active;
		public LocalDate born;
		public LocalTime at;
		public LocalDateTime ts;
		public Instant tz;
		public UUID u;
		@JdbcTypeCode(SqlTypes.JSON) public Map<String, Object> doc;
		public byte[] raw;
	}

	static void show(String what, Object value) {
		System.out.println(what + " " + (value == null ? "null" : value.getClass().getSimpleName() + " " +
			(value instanceof byte[] ? Arrays.toString((byte[]) value) : value instanceof Object[] ? Arrays.deepToString((Object[]) value) : value)));
	}

	static void show(Row row) throws Exception {
		for (var field : Row.class.getFields())
			show(field.getName(), field.get(row));
	}

	static void find(Session session, String condition, Object value) {
		show("where " + condition, session.createQuery("select r.id from Row r where r." + condition + " order by r.id", Integer.class).setParameter("v", value).list());
	}

	public static void main(String[] args) throws Exception {
		Configuration configuration = new Configuration().addAnnotatedClass(Row.class)
			.setProperty("hibernate.connection.url", "jdbc:postgresql://" + args[0] + ":" + args[1] + "/postgres?sslmode=disable")
			.setProperty("hibernate.connection.username", args[2])
			/* the table must be what the mapping says, by the driver's metadata */
			.setProperty("hibernate.hbm2ddl.auto", "validate")
			.setPhysicalNamingStrategy(new PhysicalNamingStrategyStandardImpl() {
				@Override
				public Identifier toPhysicalTableName(Identifier name, JdbcEnvironment context) {
					return Identifier.toIdentifier(args[3]);
				}
			});
		try (SessionFactory factory = configuration.buildSessionFactory(); Session session = factory.openSession()) {
			session.beginTransaction();
			show(session.find(Row.class, 1));
			for (int run = 0; run < 7; run++)
				show("all", session.createQuery("select r.name, r.pay, r.active, r.born, r.tz, r.u, r.raw from Row r order by r.id", Object[].class).list().toArray());
			find(session, "name = :v", "Ada");
			find(session, "name in :v", List.of("Ada", "x"));
			find(session, "n8 > :v", 5L);
			find(session, "pay >= :v", new BigDecimal("100"));
			find(session, "active = :v", false);
			find(session, "born < :v", LocalDate.of(1985, 1, 1));
			find(session, "tz < :v", Instant.parse("2020-06-01T00:00:00Z"));
			find(session, "u = :v", new UUID(0, 2));
			find(session, "raw = :v", new byte[] {0, 2});
			show("aggregates", session.createQuery("select sum(r.pay), max(r.n4), avg(r.f8), min(r.born) from Row r", Object[].class).list().toArray());
			show("functions", session.createQuery("select upper(r.name), coalesce(r.code, '-'), year(r.born), r.n4 + 1 from Row r order by r.id", Object[].class).list().toArray());
			Row row = session.find(Row.class, 1);
			row.name = "changed";
			row.active = true;
			row.pay = new BigDecimal("1.25");
			row.doc = Map.of("b", List.of(1));
			row.raw = new byte[] {0, 1, -1};
			row.tz = Instant.EPOCH;
			session.flush();
			session.clear();
			show(session.find(Row.class, 1));
			Row made = new Row();
			made.id = 9;
			made.active = false;
			made.n8 = 1L << 40;
			session.persist(made);
			session.flush();
			session.clear();
			show(session.find(Row.class, 9));
			session.createMutationQuery("update Row r set r.n4 = r.n4 + 3, r.born = :b where r.name = :n").setParameter("b", LocalDate.of(2000, 2, 29)).setParameter("n", "changed").executeUpdate();
			session.clear();
			show(session.find(Row.class, 1));
			session.getTransaction().rollback();
		}
	}
}
