# If this fails, an application that uses the present release of a driver or mapper
# can tell a protected column from a plain one.  Run by "make clients", which puts
# what the machine's registries have into $DP_CLIENTS; not part of the other tests.
# Cases: node_pg_probe, typeorm_probe, go_pq_probe, go_pgx_probe, and the Python ones by their present releases.
use strict;
use warnings;

use FindBin;
use Test::More;

use DataProtect::SameOutput;
use DataProtect::Test;

my $clients = $ENV{DP_CLIENTS} // '';
my $node = new_node('clients', conf => "listen_addresses = '127.0.0.1'\ndataprotect.catalog_types = auto\n");
create_extension($node);
load_wire_tables($node);

my @where = ('127.0.0.1', $node->port, 'app');
# What is in a folder of modules, by the name of its package.
sub python_has { return glob("$clients/python/lib/python3*/site-packages/$_[0]"); }
for my $driver ([ 'psycopg2' ], [ 'psycopg' ], [ 'asyncpg' ], [ 'sqlalchemy' ], [ 'sqlalchemy', 'sqlalchemy_psycopg' ], [ 'django' ], [ 'pg8000' ])
{
  SKIP:
	{
		my ($module, $program) = @$driver;
		$program //= $module;
		skip "Python's $module is not there", 2 if !python_has($module);
		same_output("Python's $program", "$clients/python/bin/python", "$FindBin::RealBin/wire_drivers.py", $program, @where);
	}
}
for my $library ('pg', 'postgres', 'sequelize', 'typeorm', 'knex', 'drizzle')
{
  SKIP:
	{
		my $module = $library eq 'drizzle' ? 'drizzle-orm' : $library;
		skip "node's $module is not there", 2 if !-d "$clients/node/node_modules/$module";
		same_output("node's $module", 'node', "$clients/node/wire_node.js", $library, @where);
	}
}
SKIP:
{
	skip 'Prisma is not there', 2 if !-d "$clients/node/node_modules/.prisma/client";
	same_output('Prisma', 'node', "$clients/node/wire_prisma.mjs", @where);
}
for my $program ([ "Go's lib/pq", 'wire_lib_pq' ], [ "Go's pgx", 'wire_pgx' ], [ "Rust's tokio-postgres", 'wire_rust' ], [ "Rust's sqlx", 'wire_sqlx' ])
{
  SKIP:
	{
		my ($name, $file) = @$program;
		skip "$name is not there", 2 if !-x "$clients/$file";
		same_output($name, "$clients/$file", @where);
	}
}
SKIP:
{
	my ($jar) = glob("$clients/java/lib/postgresql-*.jar");
	skip 'JDBC is not there', 2 if !defined $jar;
	same_output('JDBC', 'java', '-Xshare:auto', '-cp', $jar, "$FindBin::RealBin/WireJdbc.java",
		'jdbc:postgresql://127.0.0.1:' . $node->port . '/postgres?user=app&sslmode=disable');
}
SKIP:
{
	skip 'Hibernate and jOOQ are not there', 4 if !-d "$clients/java/lib";
	for my $library ('Hibernate', 'JOOQ')
	{
		same_output($library, 'java', '-cp', "$clients/java:$clients/java/lib/*", "Wire$library", @where);
	}
}
$node->stop;
done_testing();
