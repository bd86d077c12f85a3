# If this fails, an ordinary driver does not read or write protected values as it
# does plain ones, or a statement that was prepared keeps a right that is gone.
use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('clients', conf => "listen_addresses = '127.0.0.1'\n");
my $clients = "$FindBin::RealBin/../clients";
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
CREATE ROLE app LOGIN;
CREATE ROLE support LOGIN;
CREATE ROLE nobody LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal'), dataprotect.grant_access('pii', 'support', 'mask');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii','searchable'), n4 encrypted_int4('pii'),
	pay encrypted_numeric('pii'), born encrypted_date('pii'), doc encrypted_jsonb('pii'));
CREATE UNIQUE INDEX person_email ON person (email encrypted_text_token_ops);
CREATE INDEX person_n4 ON person USING hash (n4);
GRANT SELECT, INSERT, UPDATE, DELETE ON person TO app, support, nobody;
INSERT INTO person SELECT i, CASE i WHEN 1 THEN 'ada@example.org' ELSE 'p' || i || '@example.org' END, i + 41, 12.50, '1815-12-10', '{"a": 1}'
	FROM generate_series(1, 50) i;
UPDATE person SET n4 = 2 WHERE id = 2;
SQL

# Lines of a client to tests of ours.
sub run_client
{
	my ($what, @command) = @_;
	my ($out, $err) = ('', '');
	my $rc = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	my $n = 0;
	for my $line (split /\n/, $out)
	{
		if ($line =~ /^ok (.*)/) { pass("$what: $1"); $n++; }
		elsif ($line =~ /^not ok (.*)/) { fail("$what: $1"); $n++; }
		elsif ($line =~ /^skip (.*)/)
		{
		  SKIP: { skip "$what: $1", 1; }
		}
	}
	ok($rc && $n > 0, "$what ran to its end") or diag($err);
	return;
}

# The system's Python: the one that Debian's packages install for.
my ($python) = grep { -x } '/usr/bin/python3';
SKIP:
{
	skip 'python3 is not installed', 1 if !$python;
	run_client('libpq', $python, "$clients/libpq_probe.py", 'host=' . $node->host . ' port=' . $node->port . ' user=app dbname=postgres');
	$node->safe_psql('postgres', 'DELETE FROM person WHERE id >= 100');
	skip 'psycopg2 is not installed (python3-psycopg2)', 1 if system("$python -c 'import psycopg2' 2>/dev/null") != 0;
	run_client('python', $python, "$clients/python_probe.py", $node->host, $node->port, 'app');
}
SKIP:
{
	my ($jar) = grep { -e } '/usr/share/java/postgresql.jar';
	my $java = `which java 2>/dev/null`;
	chomp $java;
	skip 'JDBC or a JDK is not installed (libpostgresql-jdbc-java, default-jdk-headless)', 1 if !$jar || !$java || !`which javac 2>/dev/null`;
	for my $mode ('extended', 'simple', 'extendedForPrepared')
	{
		run_client("JDBC $mode", $java, '-Xshare:auto', '-cp', $jar, "$clients/JdbcProbe.java",
			'jdbc:postgresql://127.0.0.1:' . $node->port . "/postgres?user=app&sslmode=disable&preferQueryMode=$mode");
		$node->safe_psql('postgres', 'DELETE FROM person WHERE id >= 300');
	}
}

sub as
{
	my ($user, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $user ]);
	return $rc == 0 ? $out : $err;
}

# COPY, in every format and direction.
my $dir = $node->basedir;
for my $format ('text', 'csv', 'binary')
{
	my $file = "$dir/person.$format";
	is(as('app', "\\copy person (id, email, n4, born, doc) TO '$file' WITH (FORMAT $format)"), '', "COPY TO, $format");
	like(slurp_file($file), qr/ada\@example\.org/, 'has plaintext for a role with reveal');
	is(as('app', "BEGIN; DELETE FROM person; \n\\copy person (id, email, n4, born, doc) FROM '$file' WITH (FORMAT $format)\n"
		  . "SELECT count(*), count(DISTINCT email::text), sum(n4), min(born::date), min(doc::text) FROM person; ROLLBACK"),
		'50|50|' . (42 + 2 + 48 * 41 + (50 * 51 / 2 - 3)) . '|1815-12-10|{"a": 1}', "COPY FROM, $format");
	like(as('support', "\\copy person TO '$file.masked' WITH (FORMAT $format)"), qr/mask/i, "COPY TO of masked values is refused, $format");
	unlike(slurp_file("$file.masked"), qr/ada\@|example/, 'and wrote nothing of them') if -e "$file.masked";
	if ($format eq 'binary')
	{
		as('nobody', "\\copy person (id, email) TO '$file.cipher' WITH (FORMAT binary)");
		unlike(slurp_file("$file.cipher"), qr/ada\@example/, 'binary COPY without a grant is ciphertext');
		next;
	}
	is(as('nobody', "\\copy person (id, email) TO '$file.cipher' WITH (FORMAT $format)"), '', "without a grant COPY TO works, $format");
	like(slurp_file("$file.cipher"), qr/^1[\t,]enc:v1:/m, 'and is ciphertext');
	like(as('app', "BEGIN; DELETE FROM person; \n\\copy person (id, email) FROM '$file.cipher' WITH (FORMAT $format)\nROLLBACK"),
		qr/encrypted form is not accepted/, 'which is not taken for plaintext');
}
like(as('app', "\\copy (SELECT email, count(*) FROM person GROUP BY email ORDER BY email LIMIT 1) TO STDOUT"), qr/^ada\@example\.org\t1$/, 'COPY of a query');

# Prepared statements, many executions, generic plans, and a right that goes.
my $session = IPC::Run::start(
	[ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres') ],
	'<', \my $in, '>', \my $out, '2>', \my $err, IPC::Run::timeout(TIMEOUT));

sub ask
{
	my ($sql) = @_;
	$out = $err = '';
	$in .= "$sql;\n\\echo :done\n";
	$session->pump until $out =~ /:done\n/;
	(my $answer = $out) =~ s/\n?:done\n//;
	return $answer . ($err =~ /(ERROR:.*)/ ? $1 : '');
}

ask('SET enable_seqscan = off');
for my $mode ('auto', 'force_generic_plan', 'force_custom_plan')
{
	ask("DEALLOCATE ALL; SET plan_cache_mode = $mode");
	ask('PREPARE by_email(text) AS SELECT id, email FROM person WHERE email = $1');
	ask('PREPARE by_varchar(varchar) AS SELECT id FROM person WHERE email = $1');
	ask('PREPARE by_number(int) AS SELECT id FROM person WHERE n4 = $1');
	ask('PREPARE add(text) AS INSERT INTO person (id, email) SELECT max(id) + 1, $1 FROM person RETURNING email');
	my %seen = map { $_ => 1 } map { ask("EXECUTE by_email('p$_\@example.org')") eq "$_|p$_\@example.org" ? 'good' : "bad $_" } 2 .. 13;
	is(join(' ', keys %seen), 'good', "$mode: twelve executions answer for their parameter");
	like(ask("EXPLAIN (COSTS OFF) EXECUTE by_email('x')"), qr/person_email/, "$mode: by the token index");
	is(ask("EXECUTE by_varchar('p5\@example.org')"), '5', "$mode: a varchar parameter");
	is(ask('EXECUTE by_number(2)'), '2', "$mode: a number");
	like(ask('EXPLAIN (COSTS OFF) EXECUTE by_number(2)'), qr/person_n4/, "$mode: by the hash index");
	ask('BEGIN');
	is(join(' ', map { ask("EXECUTE add('new$_')") } 1 .. 7), join(' ', map { "new$_" } 1 .. 7), "$mode: seven inserts");
	is(ask("SELECT count(DISTINCT format('%s', e)) FROM (SELECT DISTINCT ON (email) email AS e FROM person WHERE email LIKE 'new%') s"), '7', "$mode: seven values");
	ask('ROLLBACK');
	$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'app')");
	like(ask("EXECUTE by_email('p5\@example.org')"), qr/permission denied for key "pii"/, "$mode: nothing after the revocation");
	$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'app', 'mask')");
	like(ask("EXECUTE by_email('p5\@example.org')"), qr/permission denied for key "pii"/, "$mode: nothing by a mask");
	$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'app', 'search')");
	is(ask("EXECUTE by_email('p5\@example.org')"), '5|p***@***.org', "$mode: masked by search");
	$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'app', 'reveal')");
	is(ask("EXECUTE by_email('p5\@example.org')"), '5|p5@example.org', "$mode: all of it by a new grant");
}

# Cursors and roles: what is shown is decided for who is fetching.
$node->safe_psql('postgres', 'GRANT nobody, support TO app');
$session->finish;
$in = '';
$session = IPC::Run::start(
	[ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(TIMEOUT));
ask('BEGIN');
ask("DECLARE c CURSOR FOR SELECT id, email FROM person ORDER BY id");
is(ask('FETCH 1 FROM c'), '1|ada@example.org', 'a cursor shows values to its role');
ask('SET LOCAL ROLE support');
is(ask('FETCH 1 FROM c'), '2|p***@***.org', 'after SET ROLE it shows masks');
ask('SET LOCAL ROLE app');
is(ask('FETCH 1 FROM c'), '3|p3@example.org', 'and values again');
ask('SET LOCAL ROLE nobody');
like(ask('FETCH 1 FROM c'), qr/permission denied for key "pii"/, 'or nothing');
ask('ROLLBACK; BEGIN; SET LOCAL ROLE nobody');
ask("DECLARE c CURSOR FOR SELECT id, email FROM person ORDER BY id");
like(ask('FETCH 1 FROM c'), qr/^1\|enc:v1:/, 'a cursor shows ciphertext to a role without a grant');
ask('SET LOCAL ROLE app');
is(ask('FETCH 1 FROM c'), '2|p2@example.org', 'and values to one with a grant');
ask('COMMIT');
ask("DECLARE h CURSOR WITH HOLD FOR SELECT id, email, n4 FROM person ORDER BY id");
is(ask('FETCH 1 FROM h'), '1|ada@example.org|42', 'a held cursor shows values');
ask('SET ROLE nobody');
like(ask('FETCH 1 FROM h'), qr/^2\|enc:v1:.*\|enc:v1:/, 'a held cursor shows ciphertext after SET ROLE');
ask('RESET ROLE; CLOSE h');
ask('BEGIN');
ask("DECLARE o CURSOR FOR SELECT id FROM person WHERE email LIKE 'p%'");
like(ask('FETCH 1 FROM o'), qr/^\d+$/, 'a cursor that opens values');
ask('SET LOCAL ROLE nobody');
like(ask('FETCH 1 FROM o'), qr/permission denied for key "pii"/, 'opens none for another role');
ask('ROLLBACK');

# Row-level security: = is leakproof, so that indexes are used.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE tenant_row (tenant name, v encrypted_text('pii','searchable'), h encrypted_text('pii'));
ALTER TABLE tenant_row ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON tenant_row USING (tenant = current_user);
CREATE UNIQUE INDEX tenant_row_v ON tenant_row (v encrypted_text_token_ops);
CREATE INDEX tenant_row_h ON tenant_row USING hash (h);
GRANT SELECT ON tenant_row TO app;
INSERT INTO tenant_row SELECT CASE WHEN i % 2 = 0 THEN 'app' ELSE 'nobody' END, 'v' || i, 'h' || i FROM generate_series(1, 100) i;
SQL
ask('SET plan_cache_mode = force_generic_plan; PREPARE rls(text) AS SELECT h FROM tenant_row WHERE h = $1; PREPARE rlst(text) AS SELECT v FROM tenant_row WHERE v = $1');
ask('SET enable_seqscan = off');
like(ask("EXPLAIN (COSTS OFF) EXECUTE rls('h4')"), qr/tenant_row_h/, 'under row-level security the hash index is used');
like(ask("EXPLAIN (COSTS OFF) EXECUTE rlst('v4')"), qr/tenant_row_v/, 'and the token index');
is(ask("EXECUTE rls('h4')"), 'h4', 'for a row of the role');
is(ask("EXECUTE rls('h5')"), '', 'and for none of another');
$session->finish;

unlike(slurp_file($node->logfile), qr/ada\@example\.org|new[0-9]/, 'no value in the server log');
$node->stop;
done_testing();
