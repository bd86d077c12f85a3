# If this fails, an application can tell a protected column from a plain one by
# the types, modifiers or bytes that its driver gets, or what stores a query's
# result stores plaintext.
# Cases: asyncpg_probe, django_probe, odbc_probe, pdo_probe, psycopg2_probe, psycopg3_probe, sqlalchemy_probe, activerecord_probe, JdbcProbe.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::SameOutput;
use DataProtect::Test;

my $node = new_node('wire', conf => "listen_addresses = '127.0.0.1'\ndataprotect.catalog_types = auto\n");
my $clients = "$FindBin::RealBin/../clients";
create_extension($node);
load_wire_tables($node);

my ($python) = grep { -x } '/usr/bin/python3';

my $connection = 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres';
SKIP:
{
	skip 'python3 is not installed', 2 if !$python;
	same_output('libpq', $python, "$clients/wire_probe.py", "$connection user=app");
}

# Drivers and mappers, each where its package is installed.
my @where = ('127.0.0.1', $node->port, 'app');
for my $driver ([ psycopg2 => 'python3-psycopg2' ], [ psycopg => 'python3-psycopg' ], [ asyncpg => 'python3-asyncpg' ],
	[ sqlalchemy => 'python3-sqlalchemy' ], [ django => 'python3-django' ], [ pyodbc => 'python3-pyodbc, odbc-postgresql' ])
{
  SKIP:
	{
		my ($module, $package) = @$driver;
		skip "$module is not installed ($package)", 2
		  if !$python || !IPC::Run::run([ $python, '-c', "import $module" . ($module eq 'pyodbc' ? "; [d for d in pyodbc.drivers() if 'Unicode' in d][0]" : '') ],
			'>', \my $said, '2>', \my $complained);
		same_output($module, $python, "$clients/wire_drivers.py", $module, @where);
	}
}
for my $driver ([ 'PDO', 'php-cli, php-pgsql', [ 'php', '-r', 'exit(extension_loaded("pdo_pgsql") ? 0 : 1);' ], [ 'php', "$clients/wire_pdo.php" ] ],
	[ 'DBD::Pg', 'libdbd-pg-perl', [ '/usr/bin/perl', '-MDBD::Pg', '-e1' ], [ '/usr/bin/perl', "$clients/wire_dbd.pl" ] ],
	[ "Ruby's pg", 'ruby-pg', [ 'ruby', '-rpg', '-e1' ], [ 'ruby', "$clients/wire_pg.rb" ] ],
	[ 'ActiveRecord', 'ruby-activerecord', [ 'ruby', '-ractive_record', '-rpg', '-e1' ], [ 'ruby', "$clients/wire_activerecord.rb" ] ])
{
  SKIP:
	{
		my ($name, $package, $check, $command) = @$driver;
		skip "$name is not installed ($package)", 2 if !eval { IPC::Run::run($check, '>', \my $said, '2>', \my $complained) };
		same_output($name, @$command, @where);
	}
}
SKIP:
{
	my ($jar) = grep { -e } '/usr/share/java/postgresql.jar';
	skip 'JDBC or a JDK is not installed (libpostgresql-jdbc-java, default-jdk-headless)', 2 if !$jar || !`which javac 2>/dev/null`;
	same_output('JDBC', 'java', '-Xshare:auto', '-cp', $jar, "$clients/WireJdbc.java",
		'jdbc:postgresql://127.0.0.1:' . $node->port . '/postgres?user=app&sslmode=disable');
}

my $bouncer;
END
{
	my $status = $?;
	$bouncer->kill_kill if $bouncer;
	$? = $status;
}

SKIP:
{
	my ($pgbouncer) = grep { -x } '/usr/sbin/pgbouncer';
	skip 'pgbouncer is not installed', 2 if !$pgbouncer || !$python || !IPC::Run::run([ $python, '-c', 'import psycopg2' ], '>', \my $said, '2>', \my $complained);
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file("$dir/users", qq{"app" ""\n});
	append_to_file("$dir/ini", "[databases]\npostgres = host=127.0.0.1 port=" . $node->port . <<"INI");

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
default_pool_size = 1
INI
	my ($out, $err) = ('', '');
	$bouncer = IPC::Run::start([ $pgbouncer, '-q', "$dir/ini" ], '<', \undef, '>', \$out, '2>', \$err);
	poll_until('pgbouncer',
		sub { IPC::Run::run([ 'psql', '-XAtc', 'SELECT 1', "host=127.0.0.1 port=$port user=app dbname=postgres" ], '>', \my $answer, '2>', \my $refused) });
	local $ENV{DP_POOLED} = 1;
	same_output('psycopg2 behind pgbouncer', $python, "$clients/wire_drivers.py", 'psycopg2', '127.0.0.1', $port, 'app');
	$bouncer->kill_kill;
	undef $bouncer;
}

# postgres_fdw finds and gets what a client does.
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', <<"SQL");
CREATE EXTENSION postgres_fdw;
CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '@{[ $node->port ]}', dbname 'postgres');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'app', password_required 'false');
IMPORT FOREIGN SCHEMA public LIMIT TO (plain, prot) FROM SERVER s INTO public;
SQL
my %foreign;
for my $table ('plain', 'prot')
{
	$foreign{$table} = $node->safe_psql('elsewhere', <<"SQL") =~ s/\b$table\b/t/gr;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0 ORDER BY attnum;
SELECT * FROM $table ORDER BY id;
SELECT id, sum(pay) OVER () FROM $table WHERE name IN ('Ada', 'Bob') AND born < '2000-01-01' AND n8 > 1 AND active IS NOT NULL ORDER BY id;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM $table WHERE pay > 1 AND name = 'Ada';
BEGIN;
UPDATE $table SET pay = pay + 1, doc = '[1]', raw = '\\x01', name = 'other' WHERE born = '1980-03-01' RETURNING *;
INSERT INTO $table (id, active, tz) VALUES (9, true, '2020-01-01 00:00+00') RETURNING *;
ROLLBACK;
SQL
}
like($foreign{plain}, qr/numeric\(12,2\)/, 'postgres_fdw imports a plain table');
is($foreign{prot}, $foreign{plain}, 'and the protected one as it');

sub as
{
	my ($user, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $user ]);
	return $rc == 0 ? $out : $err;
}

# What \gdesc says: the types of a statement's columns.
sub types_for
{
	my ($user, $sql) = @_;
	return join ' ', map { (split /\|/)[1] } split /\n/, as($user, "$sql \\gdesc");
}

my $columns = 'SELECT name, pay FROM prot';
is(types_for('app', $columns), 'text numeric(12,2)', 'a role with reveal gets base types');
is(types_for('support', $columns), "encrypted_text('pii') encrypted_numeric('pay','12,2')", 'a role with a mask the encrypted ones');
is(types_for('clerk', $columns), "text encrypted_numeric('pay','12,2')", 'each column by its key');
is(types_for('clerk', 'SELECT array_agg(name), array_agg(born) FROM prot'), 'text[] date[]', 'a value without a modifier by those that the query names');
is(types_for('clerk', 'SELECT array_agg(pay), array_agg(name) FROM prot'), 'encrypted_numeric[] encrypted_text[]', 'any of them');
is(types_for('app', "SET dataprotect.output = 'mask'; $columns"), "encrypted_text('pii') encrypted_numeric('pay','12,2')",
	'who wants masks gets the encrypted types');
my $held = 'DECLARE c CURSOR WITH HOLD FOR SELECT name, pay FROM prot ORDER BY id';
is(types_for('app', "$held; FETCH 1 FROM c"), 'text numeric(12,2)', 'what is fetched of a held cursor has base types');
is(types_for('support', "$held; FETCH 1 FROM c"), "encrypted_text('pii') encrypted_numeric('pay','12,2')", 'for whom it may be shown');
is(types_for('app', "BEGIN; $held; SET LOCAL dataprotect.output = 'mask'; FETCH 1 FROM c"), "encrypted_text('pii') encrypted_numeric('pay','12,2')",
	'and who wants to see it');
is(types_for('app', <<'SQL'), 'text numeric(12,2)', 'of a cursor that a function opened, too');
CREATE FUNCTION pg_temp.opens() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'opened'; BEGIN OPEN c FOR SELECT name, pay FROM prot; RETURN c; END $$;
BEGIN;
SELECT pg_temp.opens() \g /dev/null
FETCH 1 FROM opened
SQL
for my $call ("'c', 0, 1, 0", "'c', 77, 1, 1", "'none', 0, 1, -1", "'c', 0, 1, NULL")
{
	unlike(as('app', "$held; SELECT 'rows', * FROM dataprotect._fetch($call) AS t (name encrypted_text, pay encrypted_numeric)"), qr/rows/, "no rows by _fetch($call)");
}
is(as('support', $columns . ' ORDER BY id'), "****|****\n****|****", 'masks are text');

# json-output: what JSON shows to a role that may not read, and of what nobody can.
my $members = "SELECT jsonb_object_agg(key, value) FROM prot p, jsonb_each(to_jsonb(p)) WHERE p.id = 1 AND key IN ('pay', 'active', 'doc', 'name')";
is(as('support', $members), '{"doc": "****", "pay": "****", "name": "****", "active": "****"}', 'JSON of a masked role has masks');
like(as('clerk', $members), qr/^\{"doc": \{"a": 1, "l": \[1, 2\]\}, "pay": "enc:v1:[^"]*", "name": "Ada", "active": false\}$/,
	'JSON of a role without a right to one column has its ciphertext');
is(as('support', 'SELECT json_object_agg(n4, 1) FROM prot WHERE id = 1'), '{ "****" : 1 }', 'and as the name of a member');
$node->safe_psql('postgres', "SELECT dataprotect.suspend_key('pay', 'test')");
is(as('app', 'SELECT to_json(pay) FROM prot WHERE id = 1'), 'null', 'JSON of what is unreadable is null');
$node->safe_psql('postgres', "SELECT dataprotect.resume_key('pay', 'test')");
is(as('app', 'BEGIN; CREATE TEMP TABLE j (j json); INSERT INTO j SELECT doc FROM prot WHERE id = 1; SELECT j FROM j; ROLLBACK'),
	'{"a": 1, "l": [1, 2]}', 'a protected jsonb is assigned to json');

# reflection: who reads the catalogs finds the types that it gets.
my $found = 'SELECT a.*, t.typname, format_type(atttypid, atttypmod) FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid';
for my $catalog (
	'SELECT * FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position',
	"SELECT data_type, count(*) FROM information_schema.columns WHERE table_name = %s AND data_type <> 'ARRAY' GROUP BY 1 ORDER BY 1",
	"SELECT attname, typname, format_type, attlen, atttypmod FROM ($found) s WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
	"WITH a AS MATERIALIZED ($found) SELECT (SELECT format_type(a.atttypid, a.atttypmod)) FROM a WHERE attrelid = %s::regclass ORDER BY attnum",
	'SELECT (a).atttypid, (a).atttypmod FROM (SELECT a FROM pg_class c LEFT JOIN pg_attribute a ON attrelid = c.oid WHERE c.oid = %s::regclass) s ORDER BY (a).attnum',
	'SELECT atttypid::regtype, count(*) FROM pg_attribute a FULL JOIN pg_attribute b USING (attrelid, attnum, atttypid) WHERE attrelid = %s::regclass GROUP BY atttypid ORDER BY atttypid',
	'SELECT atttypid, attnum FROM pg_attribute WHERE attrelid = %s::regclass UNION SELECT oid, 0 FROM pg_type t WHERE EXISTS (SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND atttypid = t.oid) ORDER BY 1, 2',
	'PREPARE c AS SELECT atttypid::regtype, attname FROM pg_attribute WHERE attrelid = %s::regclass ORDER BY attnum; EXECUTE c',
	'BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT atttypid::regtype FROM pg_attribute WHERE attrelid = %s::regclass ORDER BY attnum; COMMIT; FETCH ALL FROM c',
	# what tools with a tree of objects ask of a table
	'SELECT a.attname, a.atttypid, a.atttypmod, a.attlen, a.attndims, a.attcollation, co.collname, t.typname, t.typtype, t.typcategory, t.typelem, bt.typname, '
	  . 'format_type(t.oid, NULL), format_type(t.oid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid '
	  . 'LEFT JOIN pg_type bt ON bt.oid = t.typbasetype LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum LEFT JOIN pg_collation co ON co.oid = a.attcollation '
	  . 'WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attnum',
	"SELECT c.relname, a.attname, a.attnotnull OR (t.typtype = 'd' AND t.typnotnull), CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END, information_schema._pg_char_max_length(a.atttypid, a.atttypmod), "
	  . 'information_schema._pg_numeric_precision(a.atttypid, a.atttypmod), information_schema._pg_numeric_scale(a.atttypid, a.atttypmod) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid '
	  . 'JOIN pg_type t ON t.oid = a.atttypid WHERE c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum',
	'\\d %s')
{
	my ($plain, $protected) = map {
		my $table = $_;
		(my $out = as('app', $catalog =~ s/%s/$catalog =~ m{^\\} ? $table : "'$table'"/egr)) =~ s/\b(?:v_)?$table(_pkey)?\b/t/g;
		$out =~ s/ +/ /g;
		$out
	} 'plain', 'prot';
	cmp_ok(length $plain, '>', 100, "there is something to find by $catalog");
	is($protected, $plain, "found as plain by $catalog");
}
my $pay = "SELECT format_type(atttypid, atttypmod), attlen FROM pg_attribute WHERE attrelid = 'public.prot'::regclass AND attname = 'pay'";
my $stored = "encrypted_numeric('pay','12,2')|-1";
for my $who (
	[ 'app', '', 'numeric(12,2)|-1', 'a role that may read' ],
	[ 'clerk', '', $stored, 'one that may not' ],
	[ 'support', '', $stored, 'one that gets masks' ],
	[ 'app', "SET dataprotect.output = 'mask'", $stored, 'one that wants masks' ],
	[ 'clerk', 'SET dataprotect.catalog_types = base', 'numeric(12,2)|-1', 'one whose setting says so' ],
	[ 'app', 'SET dataprotect.catalog_types = encrypted', $stored, 'one whose setting says not' ],
	[ 'app', "SET search_path = ''", $stored, 'a tool that carries definitions' ],
	[ 'app', "SET dataprotect.catalog_types = base; SET search_path = ''", $stored, 'such a tool, whatever the setting' ],
	[ 'app', "SELECT set_config('search_path', '', false) <> ''", "f\n$stored", 'the same, as pg_dump sets it' ],
	[ 'app', 'SET search_path = pg_catalog', 'numeric(12,2)|-1', 'postgres_fdw' ])
{
	my ($user, $set, $type, $what) = @$who;
	is(as($user, $set ? "$set; $pay" : $pay), $type, "$what finds $type");
}
is(as('app', "CREATE TEMP TABLE s AS $pay; SELECT * FROM s"), $stored, 'what stores finds what is stored');
is(as('app', "CREATE TEMP VIEW s AS $pay; SELECT * FROM s"), $stored, 'and so does a view');
is(as('app', "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS \$\$ SELECT s.format_type || '|' || attlen FROM ($pay) s \$\$; SELECT pg_temp.f()"), $stored, 'and code');
{
	my ($dump, $complaint) = ('', '');
	IPC::Run::run([ 'pg_dump', '-U', 'app', '-h', $node->host, '-p', $node->port, '-t', 'prot', 'postgres' ], '>', \$dump, '2>', \$complaint) or diag($complaint);
	like($dump, qr/pay encrypted_numeric\('pay','12,2'\)/, 'a dump by a role that may read has the encrypted types');
}

# What stores a result, or hands it to code, has the encrypted types.
my %stores = (
	'a view' => 'CREATE TEMP VIEW s AS SELECT name, pay FROM prot',
	'a table' => 'CREATE TEMP TABLE s AS SELECT name, pay FROM prot',
	'SELECT INTO' => 'SELECT name, pay INTO TEMP s FROM prot',
	'a materialised view' => 'CREATE MATERIALIZED VIEW s AS SELECT name, pay FROM prot',
	'a table made in EXPLAIN' => 'EXPLAIN ANALYZE CREATE TEMP TABLE s AS SELECT name, pay FROM prot');
for my $what (sort keys %stores)
{
	is(as('app', "BEGIN; $stores{$what}; SET LOCAL dataprotect.catalog_types = encrypted; SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 's'::regclass AND attnum > 0; ROLLBACK"
		  ) =~ /(encrypted.*)/ && $1, "encrypted_text('pii') encrypted_numeric('pay','12,2')", "$what stores the encrypted types");
}
for my $make ('CREATE TEMP TABLE s AS EXECUTE p', 'EXPLAIN ANALYZE CREATE TEMP TABLE s AS EXECUTE p')
{
	like(as('app', "PREPARE p AS SELECT name FROM prot ORDER BY id; $make"), qr/ERROR:  a prepared statement that shows protected columns cannot make a table/, "$make is refused");
}
is(as('app', "PREPARE p AS SELECT id FROM prot; CREATE TEMP TABLE s AS EXECUTE p; SELECT count(*) FROM s"), '2', 'but of one that shows none');
is(as('app', <<'SQL'), 'encrypted_numeric|encrypted_numeric', 'code gets the encrypted types');
CREATE FUNCTION pg_temp.of_sql() RETURNS text LANGUAGE sql AS 'SELECT pg_typeof(pay)::text FROM (SELECT pay FROM prot ORDER BY id LIMIT 1) s';
CREATE FUNCTION pg_temp.of_plpgsql() RETURNS text LANGUAGE plpgsql AS 'DECLARE r record; BEGIN SELECT pay FROM prot ORDER BY id LIMIT 1 INTO r; RETURN pg_typeof(r.pay); END';
SELECT pg_temp.of_sql(), pg_temp.of_plpgsql();
SQL
unlike(as('app', 'BEGIN; COPY (SELECT name, pay FROM prot ORDER BY pay) TO STDOUT; ROLLBACK'), qr/ERROR/, 'COPY of a query');

# A sort's file holds no value: the cast comes after it.
like(as('app', 'EXPLAIN (COSTS OFF, VERBOSE) SELECT pay FROM prot ORDER BY id DESC'),
	qr/Output: \S+\.pay\n  ->  (?:Sort|Index Scan Backward).*\n(?:.*\n)*?\s+Output: (?:prot\.)?pay, (?:prot\.)?id/, 'what is sorted is ciphertext');

# Statements that were prepared keep their types, whoever runs them.
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
my $ask = sub {
	my $answer = $session->query($_[0]);
	my $error = $session->{stderr};
	$session->{stderr} = '';
	return $answer . ($error =~ /(ERROR:.*)/ ? $1 : '');
};
$ask->('PREPARE p AS SELECT name, pay FROM prot WHERE id = 1; PREPARE w AS UPDATE prot SET name = name WHERE id = 1 RETURNING name, pay');
for my $invalidated (0, 1)
{
	my $again = $invalidated ? ', analysed again' : '';
	my $changed = sub { $node->safe_psql('postgres', 'ALTER TABLE prot ALTER name SET STATISTICS ' . int(rand 1000)) if $invalidated; };
	for my $p ('p', 'w')
	{
		$changed->();
		is($ask->("EXECUTE $p"), 'Ada|200.50', "$p by its role$again");
		$ask->('SET ROLE support');
		$changed->();
		is($ask->("EXECUTE $p"), '****|', "$p by a role with masks$again");
		$ask->('SET ROLE clerk');
		$changed->();
		like($ask->("EXECUTE $p"), qr/ERROR:  permission denied for key "pay"/, "$p by a role without a right to one column$again");
		$ask->('RESET ROLE');
	}
}
$ask->('SET ROLE clerk; PREPARE c AS SELECT name, pay FROM prot WHERE id = 1');
like($ask->('EXECUTE c'), qr/^Ada\|enc:v1:/, 'prepared without a right to one column');
$ask->('RESET ROLE');
$node->safe_psql('postgres', 'ALTER TABLE prot ALTER name SET STATISTICS 7');
is($ask->('EXECUTE c'), 'Ada|200.50', 'run with one, analysed again');
$session->quit;

$node->stop;
done_testing();
