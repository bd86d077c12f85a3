# If this fails, a long session grows with every table, type or function that it
# ever met, for good (case memory-grows-with-temporary-tables).
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('memory_by_relations', conf => "fsync = off\nmax_locks_per_transaction = 512\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE TABLE guarded (id int, s encrypted_text('pii'));
INSERT INTO guarded VALUES (1, 'x');
SQL

# All contexts of the library in one session, before and after a loop whose body
# is run 1,500 times.
sub grows
{
	my ($what, $limit_kb, $body) = @_;
	my $measure = "SELECT coalesce(sum(total_bytes), 0) FROM pg_backend_memory_contexts WHERE name LIKE 'dataprotect%' OR name LIKE 'audit %'";
	my $loop = sub { return "DO \$\$ BEGIN FOR i IN 1..$_[0] LOOP $body IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END \$\$"; };
	my $out = $node->safe_psql('postgres', join(";\n", 'SELECT count(id) FROM guarded', $loop->(50), $measure, $loop->(1500), $measure));
	my (undef, $before, $after) = split /\n/, $out;
	cmp_ok($before, '>', 0, "$what: the contexts are there");
	cmp_ok($after - $before, '<=', $limit_kb * 1024, "$what: they do not grow") or diag("$before -> $after");
	return;
}

grows('temporary tables that come and go', 64, <<'SQL');
EXECUTE 'CREATE TEMP TABLE tt (a int)'; EXECUTE 'INSERT INTO tt VALUES (1)'; EXECUTE 'DROP TABLE tt';
SQL
grows('protected ones', 64, <<'SQL');
EXECUTE 'CREATE TEMP TABLE tt (a encrypted_text(''pii''))'; EXECUTE 'INSERT INTO tt VALUES (''x'')'; EXECUTE 'DROP TABLE tt';
SQL
grows('ones of a subtransaction that is rolled back', 64, <<'SQL');
BEGIN
	EXECUTE 'CREATE TEMP TABLE tt (a int)'; EXECUTE 'INSERT INTO tt VALUES (1)'; RAISE EXCEPTION 'x';
EXCEPTION WHEN raise_exception THEN NULL; END;
SQL
grows('types and functions', 64, <<'SQL');
EXECUTE 'CREATE TYPE pg_temp.tt AS ENUM (''a'')'; EXECUTE 'CREATE TABLE pg_temp.uu (t pg_temp.tt)';
EXECUTE 'CREATE FUNCTION pg_temp.ff(x int) RETURNS int IMMUTABLE LANGUAGE sql AS ''SELECT x''';
EXECUTE 'SELECT pg_temp.ff(id), t FROM guarded, pg_temp.uu';
EXECUTE 'DROP FUNCTION pg_temp.ff'; EXECUTE 'DROP TABLE pg_temp.uu'; EXECUTE 'DROP TYPE pg_temp.tt';
SQL

# Of tables that stay a bounded number is remembered.
$node->safe_psql('postgres', "DO \$\$ BEGIN FOR i IN 1..1500 LOOP EXECUTE format('CREATE TABLE t_%s (a int)', i); IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END \$\$");
grows('fifteen hundred tables that stay', 192, "EXECUTE format('INSERT INTO t_%s VALUES (1)', i);");

done_testing();
