# If this fails, tables with protected columns that Citus distributes are not what they
# are on one server: keys and grants of the nodes differ, values are lost on the way from
# node to node or come to a disk or a role as plaintext.
#
# With a real Citus: it is looked for among the extensions of this PostgreSQL.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $sharedir = qx("$ENV{PG_CONFIG}" --sharedir);
chomp $sharedir;
plan skip_all => 'Citus is not there' if !-e "$sharedir/extension/citus.control";

my @nodes;
for my $name (qw(coordinator worker1 worker2))
{
	my $node = new_node($name, start => 0, conf => "wal_level = logical\nmax_worker_processes = 24\nmax_prepared_transactions = 50\nmax_wal_senders = 10\nmax_replication_slots = 10\ncitus.node_conninfo = 'sslmode=disable'\n");
	$node->append_conf('postgresql.conf', "citus.local_hostname = '" . $node->host . "'\n");
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'citus,dataprotect'\n");
	push @nodes, $node;
}
my ($coordinator, @workers) = @nodes;
# one root for all: in the field, the same KMS
for my $node (@nodes)
{
	$node->append_conf('postgresql.conf', $_) for grep { /kms/ } split /^/m, slurp_file($coordinator->data_dir . '/postgresql.conf');
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION citus');
	$node->safe_psql('postgres', 'SET citus.enable_ddl_propagation = off; CREATE EXTENSION dataprotect');
}
$coordinator->safe_psql('postgres', sprintf("SELECT citus_set_coordinator_host('%s', %d)", $coordinator->host, $coordinator->port));
$coordinator->safe_psql('postgres', sprintf("SELECT citus_add_node('%s', %d)", $_->host, $_->port)) for @workers;


sub at
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $coordinator->psql('postgres', $sql, extra_params => [ '-U', $role ]);
	return $rc == 0 ? $out : "$out$err";
}
sub is_at
{
	my ($role, $sql, $expected, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(at($role, $sql), $expected, $what);
	return;
}

# Keys and grants: made on the coordinator, given to every node (pgxs/citus.md).
my $root = $coordinator->safe_psql('postgres', 'SELECT current_user');
$coordinator->safe_psql('postgres', <<SQL);
SELECT dataprotect.create_key('pii', mask => 'email');
CREATE ROLE app LOGIN; CREATE ROLE support LOGIN; CREATE ROLE nobody LOGIN; CREATE ROLE officer LOGIN;
ALTER ROLE $root SET dataprotect.input = 'ciphertext';
GRANT dataprotect_auditor TO officer;
CREATE SCHEMA shop; GRANT USAGE ON SCHEMA shop TO app, support, nobody;
SELECT success, result FROM run_command_on_workers(format('SELECT dataprotect.import_keys(%L)', dataprotect.export_keys()));
SELECT success, result FROM run_command_on_all_nodes(\$\$SELECT dataprotect.grant_access('pii', 'app', 'reveal'), dataprotect.grant_access('pii', 'support', 'mask')\$\$);
SQL
is($coordinator->safe_psql('postgres', 'SELECT count(DISTINCT result), bool_and(success) FROM run_command_on_all_nodes($$SELECT string_agg(key_id::text, \',\' ORDER BY key_id) FROM dataprotect.key_version$$)'),
	'1|t', 'every node has the same keys');

$coordinator->safe_psql('postgres', <<'SQL');
CREATE TABLE shop.person (id int PRIMARY KEY, mail encrypted_text('pii', 'searchable'), note encrypted_text('pii'), at date NOT NULL DEFAULT current_date);
CREATE TABLE shop.country (code text PRIMARY KEY, head encrypted_text('pii'));
CREATE TABLE shop.by_mail (mail encrypted_text('pii', 'searchable'), n int);
CREATE TABLE shop.filled (id int, mail encrypted_text('pii'));
GRANT ALL ON ALL TABLES IN SCHEMA shop TO app; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO support, nobody;
SQL
at('app', "INSERT INTO shop.filled SELECT g, 'needle' || g FROM generate_series(1, 50) g");
for my $table (qw(person filled))
{
	at($root, "SELECT create_distributed_table('shop.$table', 'id')");
}
at($root, "SELECT create_reference_table('shop.country')");
at($root, "SELECT truncate_local_data_after_distributing_table('shop.filled')");
is_at($root, "SELECT string_agg(table_name::text || ' ' || citus_table_type, ',' ORDER BY table_name::text) FROM citus_tables",
	'shop.country reference,shop.filled distributed,shop.person distributed', 'tables with protected columns are distributed, with their rows, and referenced');
is_at('app', 'SELECT count(DISTINCT mail), min(mail) FROM shop.filled', '50|needle1', 'rows from before are there');
at($root, 'CREATE INDEX ON shop.person USING hash (mail)');

# Writing
at('app', "INSERT INTO shop.person (id, mail, note) SELECT g, ('needle' || g || '\@example.org')::encrypted_text, 'of needle'::encrypted_text FROM generate_series(1, 100) g");
at('app', "INSERT INTO shop.person VALUES (201, 'needle201\@example.org', 'n'), (202, 'needle202\@example.org', 'm')");
at('app', "COPY shop.person (id, mail, note) FROM STDIN;\n301\tneedle301\@example.org\tx\n302\tneedle302\@example.org\ty\n\\.\n");
at('app', "INSERT INTO shop.country VALUES ('DE', 'needle head')");
at('app', "INSERT INTO shop.person (id, mail) SELECT id + 1000, mail FROM shop.person WHERE id <= 5");
is_at('app', "UPDATE shop.person SET mail = 'new\@example.org' WHERE id = 3; SELECT mail FROM shop.person WHERE id = 3", 'new@example.org', 'a row is updated by its distribution column');
is_at('app', "UPDATE shop.person SET note = 'all' WHERE at > '2000-01-01'; SELECT count(*), min(note) FROM shop.person", '109|all', 'and rows of all shards');

# Reading
is_at('app', 'SELECT id, mail FROM shop.person WHERE id IN (1, 201, 301) ORDER BY id',
	"1|needle1\@example.org\n201|needle201\@example.org\n301|needle301\@example.org", 'values come back from every way in');
is_at('app', "SELECT id FROM shop.person WHERE mail = 'needle7\@example.org'", '7', 'a search is sent to the shards');
like(at('app', "EXPLAIN SELECT id FROM shop.person WHERE mail = 'needle7\@example.org'"), qr/Citus Adaptive(?s:.*)Index Scan|Citus Adaptive(?s:.*)Bitmap/, 'and uses their index');
is_at('app', "PREPARE p(text) AS SELECT id FROM shop.person WHERE mail = \$1; EXECUTE p('needle8\@example.org')", '8', 'a parameter likewise');
is_at('app', 'SELECT count(*), count(DISTINCT mail), min(mail), max(length(note)) FROM shop.person', '109|105|needle100@example.org|3', 'aggregates');
is_at('app', 'SELECT mail FROM shop.person ORDER BY mail LIMIT 2', "needle100\@example.org\nneedle10\@example.org", 'order');
is_at('app', "SELECT p.id, c.head FROM shop.person p JOIN shop.country c ON c.code = 'DE' WHERE p.id = 1", '1|needle head', 'a join with a reference table');
is_at('app', 'SELECT count(*) FROM shop.person a JOIN shop.person b USING (id) WHERE a.mail = b.mail', '109', 'a join where the rows are');
is_at('app', 'SET citus.enable_repartition_joins = on; SELECT count(*) FROM shop.person a JOIN shop.person b ON a.mail = b.mail', '117', 'a repartition join over protected values');
is_at('support', 'SELECT mail::text FROM shop.person WHERE id = 1', 'n***@***.org', 'support sees the mask, as text');
unlike(at('support', 'SELECT mail, note FROM shop.person WHERE id = 1'), qr/needle|all/, 'and nothing else where he asks for the value');
is_at('support', 'SELECT count(*), min(mail) FROM shop.person', '109|n***@***.org', 'and nothing more in aggregates');
unlike(at('nobody', 'SELECT mail, note FROM shop.person WHERE id = 1'), qr/needle|all/, 'others see no value');
unlike(at($root, 'COPY shop.person TO STDOUT'), qr/needle/, 'nor does who has no grant by COPY');

# By a protected column: its hash is that of the token.
at($root, "SELECT create_distributed_table('shop.by_mail', 'mail')");
at('app', "INSERT INTO shop.by_mail SELECT ('needle' || g)::encrypted_text, g FROM generate_series(1, 20) g");
at('app', "INSERT INTO shop.by_mail VALUES ('needle7', 30)");
is_at('app', "SELECT n FROM shop.by_mail WHERE mail = 'needle7' ORDER BY n", "7\n30", 'a table distributed by a searchable column');
like(at('app', "EXPLAIN SELECT n FROM shop.by_mail WHERE mail = 'needle7'"), qr/Task Count: 1\b/, 'is asked on one node');
is_at('app', 'SELECT count(*) FROM shop.by_mail a JOIN shop.by_mail b ON a.mail = b.mail', '23', 'and joined where the rows are');

# Citus sends no condition that is not immutable with a change: the rows are chosen first.
like(at('app', "DELETE FROM shop.person WHERE mail = 'needle202\@example.org'"), qr/STABLE functions used in UPDATE queries/, 'a change that chooses rows by a protected value is refused');
at('app', "WITH w AS MATERIALIZED (SELECT id FROM shop.person WHERE mail = 'needle202\@example.org') DELETE FROM shop.person WHERE id IN (SELECT id FROM w)");
is_at('app', 'SELECT count(*) FROM shop.person', '108', 'unless they are chosen beforehand');

# Rebalancing: shards go to the other node.
for my $mode (qw(block_writes force_logical))
{
	my $shard = at($root, "SELECT min(shardid) FROM citus_shards WHERE table_name = 'shop.person'::regclass AND nodeport = " . $workers[0]->port);
	at($root, sprintf("SELECT citus_move_shard_placement(%s, '%s', %d, '%s', %d, '%s')", $shard, (map { ($_->host, $_->port) } @workers), $mode));
	is_at($root, "SELECT nodeport FROM citus_shards WHERE shardid = $shard", $workers[1]->port, "a shard is moved ($mode)");
	is_at('app', 'SELECT count(*), count(DISTINCT mail) FROM shop.person', '108|104', 'everything is there');
	is_at('app', "SELECT id FROM shop.person WHERE mail = 'needle7\@example.org'", '7', 'and found');
}

# One log: each node's own, with the node beside it.
is(at('officer', "SELECT bool_and(result = 't') FROM run_command_on_all_nodes('SELECT dataprotect.flush_audit_log()')"), 't', 'every node has its log');
is_at('officer', <<'SQL', "1|t\n2|t\n3|t", 'who read what is asked of all nodes');
SELECT n.nodeid, bool_or(e.session_role = 'app' AND e.outcome = 'ok')
  FROM run_command_on_all_nodes($$SELECT jsonb_agg(to_jsonb(l)) FROM dataprotect.audit_log l WHERE event = 'value.revealed'$$) n,
       jsonb_to_recordset(n.result::jsonb) AS e(session_role text, outcome text, values_opened bigint)
 GROUP BY n.nodeid ORDER BY 1
SQL
is_at('officer', "SELECT bool_and(result = 't') FROM run_command_on_all_nodes('SELECT ok FROM dataprotect.verify_audit_log()')", 't', 'every chain holds');
my $calls = at($root, "SELECT max(result::int) FROM run_command_on_all_nodes('SELECT sum(calls) FROM dataprotect.kms_status')");
cmp_ok($calls, '<', 10, 'nodes asked the KMS for their root, not for each value or shard');

# What lies on the disks
my @plain;
for my $node (@nodes)
{
	$node->safe_psql('postgres', 'CHECKPOINT');
	my $dir = $node->data_dir;
	push @plain, split /\n/, qx(grep -rlaE 'needle[0-9]' "$dir" --include='[0-9]*' --include='t*' --include=log);
}
is("@plain", '', 'no node has plaintext in its data, WAL or log');
$_->stop for @nodes;
done_testing();
