# Copies and by-products: dumps, base backups, logical decoding, logs,
# statistics views, files.
use strict;
use warnings;

use Test::More;

use PostgreSQL::Test::Utils;

use DataProtect::Attack;
use DataProtect::Test;

# pg_stat_statements keeps utility statements (DECLARE, COPY, DO) as they were
# written, literals included: with protected data they are left out.
my $node = attack_node('copies',
	init => [ allows_streaming => 'logical' ],
	conf => <<'CONF');
shared_preload_libraries = 'dataprotect, pg_stat_statements, auto_explain'
log_statement = 'all'
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_error_verbosity = verbose
log_min_messages = info
auto_explain.log_min_duration = 0
pg_stat_statements.track_utility = off
auto_explain.log_analyze = on
auto_explain.log_verbose = on
debug_print_plan = off
CONF
my $dir = PostgreSQL::Test::Utils::tempdir();
my $connstr = $node->connstr('postgres');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements');

# --- dumps
for my $role (qw(dumper super owner))
{
	my $file = "$dir/$role.sql";
	my @tables = $role eq 'owner' || $role eq 'dumper' ? ('-t', 'victim') : ();
	$node->command_ok([ 'pg_dump', '-d', $connstr, '-U', $role, '-f', $file, @tables ], "$role: pg_dump works");
	my $dump = slurp_file($file);
	unlike($dump, qr/Zq9x|7712345\d/, "$role: and holds no value");
	like($dump, qr/enc:v1:/, "$role: but ciphertext");
	unlike($dump, qr/\bwrapped\b.*\\x[0-9a-f]{200}/, "$role: no unwrapped key") if $role ne 'super';
}
$node->command_ok([ 'pg_dump', '-d', $connstr, '-U', 'nobody', '-t', 'victim', '--inserts', '-f', "$dir/inserts.sql" ],
	'nobody: pg_dump --inserts');
unlike(slurp_file("$dir/inserts.sql"), qr/Zq9x|7712345\d/, 'nobody: and holds no value');

# --- base backup, data directory and WAL
$node->command_ok([ 'pg_basebackup', '-d', $connstr, '-U', 'dumper', '-D', "$dir/backup", '-c', 'fast', '--no-sync' ],
	'dumper: pg_basebackup works');
for my $needle ('Zq9x', '77123453', pack('N', 77123453), pack('V', 77123453))
{
	my $name = $needle =~ /^[\x20-\x7e]+$/ ? $needle : unpack('H*', $needle);
	my @in = grep { !m{/pg_stat|pg_stat_tmp} } files_with("$dir/backup", $needle);
	is("@in", '', "no file of the backup holds $name");
	$node->safe_psql('postgres', 'CHECKPOINT');
	@in = grep { !m{/pg_stat|pg_stat_tmp} } files_with($node->data_dir, $needle);
	is("@in", '', "nor does the data directory, WAL included: $name");
}

# --- logical decoding, whoever reads it
$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('t', 'test_decoding'), pg_create_logical_replication_slot('p', 'pgoutput')");
$node->safe_psql('postgres', 'CREATE PUBLICATION pub FOR TABLE victim; ALTER TABLE victim REPLICA IDENTITY FULL');
$node->safe_psql('postgres', "INSERT INTO victim (id, email, tok, n) VALUES (60, 'late-Zq9x', 'late-Zq9x', 77123459)");
$node->safe_psql('postgres', 'UPDATE victim SET id = 61 WHERE id = 60; DELETE FROM victim WHERE id = 61');
for my $role (qw(dumper super))
{
	conceals($node, $role, "SELECT data FROM pg_logical_slot_peek_changes('t', NULL, NULL)", 'test_decoding');
	my ($out, $err, $state) = as($node, $role, "SELECT data FROM pg_logical_slot_peek_changes('t', NULL, NULL)");
	like($out, qr/enc:v1:/, "$role: test_decoding gives ciphertext") or diag($err);
	conceals($node, $role, "SELECT data FROM pg_logical_slot_peek_binary_changes('p', NULL, NULL, 'proto_version', '1', 'publication_names', 'pub')", 'pgoutput');
	conceals($node, $role, "SELECT data FROM pg_logical_slot_peek_binary_changes('p', NULL, NULL, 'proto_version', '1', 'publication_names', 'pub', 'binary', 'true')", 'pgoutput, binary');
}
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'super', 'reveal')");
conceals($node, 'super', "SELECT data FROM pg_logical_slot_peek_changes('t', NULL, NULL)", 'test_decoding, even with a grant');
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'super')");
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('t'), pg_drop_replication_slot('p')");

# --- what a reader's and a writer's statements leave behind
my $email = secret();
my @statements = (
	"INSERT INTO victim (id, email) VALUES (70, '$email')",
	"UPDATE victim SET email = '$email' WHERE id = 70",
	"SELECT id FROM victim WHERE email = '$email'",
	"SELECT id FROM victim WHERE email LIKE '%Zq9x%'",
	"PREPARE q(text) AS SELECT id FROM victim WHERE email = \$1; EXECUTE q('$email')",
	"DECLARE c CURSOR WITH HOLD FOR SELECT id FROM victim WHERE tok = '$email'; FETCH c; CLOSE c",
	"CREATE TEMP TABLE x AS SELECT id FROM victim WHERE tok = '$email'",
	"EXPLAIN ANALYZE SELECT id FROM victim WHERE tok = '$email'",
	"COPY (SELECT id FROM victim WHERE tok = '$email') TO STDOUT",
	"DO \$\$ BEGIN UPDATE victim SET email = '$email' WHERE id = 70; END \$\$",
	"INSERT INTO victim (id, email) VALUES (1, '$email')",
	"INSERT INTO victim (id, n) VALUES (71, '7712345x')",
	"INSERT INTO victim (id, n) VALUES (71, '77123459771234597712345')",
	"INSERT INTO victim (id, amount) VALUES (71, 77123459771234597712345.1)",
	"INSERT INTO victim (id, doc) VALUES (71, '{\"Zq9x\": bad')",
	"INSERT INTO victim (id, born) VALUES (71, '1977-01-99 Zq9x')",
	"SELECT (email || 'Zq9x')::int FROM victim",
	"COPY victim (id, email) FROM STDIN;\n80\t$email\n81\tZq9x\tZq9x\n\\.",
	"COPY victim (id, n) FROM STDIN;\n80\t7712345x\n\\.",
	"COPY victim (n, id) FROM STDIN;\n77123451\tx\n\\.",
	"DELETE FROM victim WHERE email = '$email' AND id = 70",
	"SELECT 1 / 0 FROM victim WHERE email = '$email'",
	"\\bind $email\nSELECT 1",
);
$node->safe_psql('postgres', 'ALTER TABLE victim ADD CHECK (id <> 99)');
for my $role (qw(reader nobody))
{
	as($node, $role, $_) for @statements, "INSERT INTO victim (id, email) VALUES (99, '$email')";
}
log_conceals($node, 'a server that logs everything logs no value');
like(slurp_file($node->logfile), qr/LOG: .*statement/, 'it does log statements');
my $remembered = $node->safe_psql('postgres', 'SELECT query FROM pg_stat_statements');
unlike($remembered, qr/Zq9x|7712345\d/, 'pg_stat_statements keeps no value');
for my $role (qw(nobody owner super))
{
	conceals($node, $role, 'SELECT * FROM pg_stat_activity', 'pg_stat_activity');
	conceals($node, $role, 'SELECT * FROM pg_stats', 'pg_stats');
	conceals($node, $role, 'SELECT * FROM pg_stat_statements', 'pg_stat_statements');
	conceals($node, $role, 'SELECT * FROM pg_prepared_statements', 'pg_prepared_statements');
	conceals($node, $role, 'SELECT * FROM pg_cursors', 'pg_cursors');
}

# A statement that runs, as others see it.
my $sleeper = IPC::Run::start(
	[ 'psql', '-X', '-d', $connstr, '-U', 'reader', '-c', "SELECT pg_sleep(20) FROM victim WHERE email = '$email' LIMIT 1" ],
	'>', \my $sleep_out, '2>', \my $sleep_err);
poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = 'reader' AND state = 'active'");
conceals($node, 'super', "SELECT query FROM pg_stat_activity WHERE usename = 'reader'", 'pg_stat_activity of a running statement');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'");
$sleeper->finish;

# --- error texts for a role without rights, about values that others stored
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE uniq (id int, tok encrypted_text('pii', 'searchable'), CHECK (id > 0));
CREATE UNIQUE INDEX ON uniq (tok encrypted_text_token_ops);
CREATE TABLE refers (tok encrypted_text('pii', 'searchable') REFERENCES uniq (tok));
INSERT INTO uniq SELECT id, tok FROM victim WHERE id IN (1, 2, 3);
INSERT INTO refers SELECT tok FROM uniq;
GRANT ALL ON uniq, refers TO PUBLIC;
SQL
for my $role (attackers())
{
	refused($node, $role, $_, $_) for (
		'INSERT INTO uniq SELECT id, tok FROM victim', 'UPDATE uniq SET id = -id', 'DELETE FROM uniq',
		'INSERT INTO uniq SELECT -1, tok FROM victim', 'UPDATE uniq SET tok = (SELECT tok FROM victim WHERE id = 1) WHERE id = 2',
		'CREATE TEMP TABLE c AS SELECT * FROM victim; ALTER TABLE c ADD CHECK (id < 0)',
		'CREATE TEMP TABLE c AS SELECT tok FROM uniq; INSERT INTO c SELECT tok FROM uniq; CREATE UNIQUE INDEX ON c (tok encrypted_text_token_ops)');
}

$node->stop;
done_testing();
