# Types that come to contain protected values after something was made over them:
# each container that orders, compares or keeps values, over each type around the
# gaining one, by each way to gain.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('gaining');

# Containers and ways are made by a plain role, as an attacker would.
$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA own AUTHORIZATION nobody;
SET ROLE nobody;
-- Runs both statements and undoes them; what the second one said.
CREATE FUNCTION own.attempt(setup text, gain text, OUT state text, OUT said text) LANGUAGE plpgsql AS $$
DECLARE
	v_message text;
	v_detail text;
BEGIN
	BEGIN
		EXECUTE setup;
		BEGIN
			EXECUTE gain;
			state := '00000';
			said := ' / ';
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS v_message = MESSAGE_TEXT, v_detail = PG_EXCEPTION_DETAIL;
			state := SQLSTATE;
			said := v_message || ' / ' || v_detail;
		END;
		RAISE EXCEPTION SQLSTATE 'UNDO0';
	EXCEPTION WHEN SQLSTATE 'UNDO0' THEN NULL;
	END;
END $$;
CREATE FUNCTION own.scalar(anyelement) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
SQL

# How the type T comes to be, and how it gains.  The first column is "a".
my %ways = (
	'ADD ATTRIBUTE' => [ 'CREATE TYPE own.t AS (a int)', "ALTER TYPE own.t ADD ATTRIBUTE s encrypted_text('pii')" ],
	'ALTER ATTRIBUTE TYPE' => [
		'CREATE TYPE own.t AS (a int, s text)',
		"ALTER TYPE own.t ALTER ATTRIBUTE s TYPE encrypted_text('pii')"
	],
	'ADD COLUMN' => [ 'CREATE TABLE own.t (a int)', "ALTER TABLE own.t ADD COLUMN s encrypted_text('pii')" ],
	'ADD COLUMN of an array' => [ 'CREATE TABLE own.t (a int)', "ALTER TABLE own.t ADD COLUMN s encrypted_text('pii')[]" ],
	'ALTER COLUMN TYPE' => [
		'CREATE TABLE own.t (a int, s text)',
		"ALTER TABLE own.t ALTER COLUMN s TYPE encrypted_text('pii')"
	],
	'replacing a view' => [
		'CREATE VIEW own.t AS SELECT id AS a FROM public.victim',
		'CREATE OR REPLACE VIEW own.t AS SELECT id AS a, email AS s FROM public.victim'
	],
	'an attribute of an attribute' => [
		'CREATE TYPE own.deep AS (b int); CREATE TYPE own.t AS (a int, d own.deep)',
		"ALTER TYPE own.deep ADD ATTRIBUTE s encrypted_text('pii')"
	],
	'an attribute whose type has one' => [
		"CREATE TYPE own.deep AS (b encrypted_text('pii')); CREATE TYPE own.t AS (a int)",
		'ALTER TYPE own.t ADD ATTRIBUTE d own.deep'
	]);

# The type K that the container is made over.
my %around = (
	'itself' => [ '', 'own.t' ],
	'an array' => [ '', 'own.t[]' ],
	'a domain' => [ 'CREATE DOMAIN own.dom AS own.t', 'own.dom' ],
	'a row' => [ 'CREATE TYPE own.pair AS (x int, y own.t)', 'own.pair' ],
	'an array of a domain of a row' => [
		'CREATE TYPE own.pair AS (x int, y own.t[]); CREATE DOMAIN own.dom AS own.pair', 'own.dom[]' ]);

# SQL with %K for the type; the name in the report.
my %containers = (
	'btree index' => [ 'CREATE TABLE own.c (id int, k %K); CREATE INDEX in_way ON own.c (k)', 'in_way' ],
	'second column of an index' => [ 'CREATE TABLE own.c (id int, k %K); CREATE INDEX in_way ON own.c (id, k)', 'in_way' ],
	'hash index' => [ 'CREATE TABLE own.c (id int, k %K); CREATE INDEX in_way ON own.c USING hash (k)', 'in_way' ],
	'UNIQUE' => [ 'CREATE TABLE own.c (id int, k %K CONSTRAINT in_way UNIQUE)', 'in_way' ],
	'EXCLUDE' => [ 'CREATE TABLE own.c (id int, k %K, CONSTRAINT in_way EXCLUDE USING btree (k WITH =))', 'in_way' ],
	'expression of an index' =>
	  [ 'CREATE TABLE own.c (id int, k %K); CREATE INDEX in_way ON own.c (own.scalar(k))', 'in_way' ],
	'expression that makes the type' =>
	  [ 'CREATE TABLE own.c (id int); CREATE FUNCTION own.mk(int) RETURNS %K IMMUTABLE LANGUAGE sql AS $f$ SELECT NULL::%K $f$; CREATE INDEX in_way ON own.c (own.mk(id))', 'in_way' ],
	'predicate of an index' => [ 'CREATE TABLE own.c (id int, k %K); CREATE INDEX in_way ON own.c (id) WHERE k > k', 'in_way' ],
	'index of a partition' => [
		'CREATE TABLE own.c (id int, k %K) PARTITION BY LIST (id); CREATE TABLE own.c1 PARTITION OF own.c FOR VALUES IN (1); CREATE INDEX in_way ON own.c1 (k)',
		'in_way'
	],
	'statistics' => [ 'CREATE TABLE own.c (id int, k %K); CREATE STATISTICS own.in_way ON id, k FROM own.c', 'in_way' ],
	'statistics on an expression' =>
	  [ 'CREATE TABLE own.c (id int, k %K); CREATE STATISTICS own.in_way ON id, (k = k) FROM own.c', 'in_way' ],
	'partition key' => [ 'CREATE TABLE own.in_way (id int, k %K) PARTITION BY RANGE (k)', 'partition key of table own.in_way' ],
	'hash partition key' => [ 'CREATE TABLE own.in_way (id int, k %K) PARTITION BY HASH (k)', 'partition key of table own.in_way' ],
	'CHECK' => [ 'CREATE TABLE own.c (id int, k %K, CONSTRAINT in_way CHECK (k >= k))', 'in_way' ],
	'CHECK of a domain' => [ 'CREATE DOMAIN own.strict AS %K CONSTRAINT in_way CHECK (VALUE >= VALUE)', 'in_way' ],
	'generated column' =>
	  [ 'CREATE TABLE own.c (id int, k %K, in_way bool GENERATED ALWAYS AS (k >= k) STORED)', 'in_way' ],
	'range' => [ 'CREATE TYPE own.in_way AS RANGE (subtype = %K)', 'range type own.in_way' ],
	'materialized view' =>
	  [ 'CREATE TABLE own.c (id int, k %K); CREATE MATERIALIZED VIEW own.in_way AS SELECT k::text FROM own.c', 'in_way' ],
	'sorted materialized view' =>
	  [ 'CREATE TABLE own.c (id int, k %K); CREATE MATERIALIZED VIEW own.in_way AS SELECT id FROM own.c ORDER BY k', 'in_way' ],
	'materialized view over a view' => [
		'CREATE TABLE own.c (id int, k %K); CREATE VIEW own.v AS SELECT id, k::text AS x FROM own.c; CREATE MATERIALIZED VIEW own.in_way AS SELECT x FROM own.v',
		'in_way'
	],
	'index of a materialized view' => [
		'CREATE TABLE own.c (id int, k %K); CREATE MATERIALIZED VIEW own.m AS SELECT k FROM own.c; CREATE INDEX in_way ON own.m (k)',
		'in_way'
	],
	'CLUSTER' => [ 'CREATE TABLE own.c (id int, k %K); CREATE INDEX in_way ON own.c (k); ALTER TABLE own.c CLUSTER ON in_way', 'in_way' ],
	# PostgreSQL itself refuses some ways where a column of the type exists.
	'multirange' => [ 'CREATE TYPE own.in_way AS RANGE (subtype = %K); CREATE TABLE own.c (m own.in_way_multirange)', 'in_way' ]);

# What keeps the values as they are, or nothing of them.
my %harmless = (
	'a column' => 'CREATE TABLE own.c (id int PRIMARY KEY, k %K)',
	'a column copied into an index' => 'CREATE TABLE own.c (id int, k %K); CREATE INDEX ON own.c (id) INCLUDE (k)',
	'a view that computes' => 'CREATE TABLE own.c (id int, k %K); CREATE VIEW own.v AS SELECT k::text FROM own.c ORDER BY k',
	'a materialized copy' => 'CREATE TABLE own.c (id int, k %K); CREATE MATERIALIZED VIEW own.m AS SELECT id, k FROM own.c',
	'whether it is there' => 'CREATE TABLE own.c (id int, k %K, CHECK (k IS NOT NULL OR id > 0))',
	'a function' => 'CREATE FUNCTION own.f(%K) RETURNS int LANGUAGE sql AS $f$ SELECT 1 $f$');

# Each [ name, setup, gain ], all in one session: [ name, state, said ].
sub attempts
{
	my (@tries) = @_;
	my $n = 0;
	my $values = join ",\n", map { '(' . $n++ . ", \$do\$$_->[1]\$do\$, \$do\$$_->[2]\$do\$)" } @tries;
	my $out = $node->safe_psql('postgres', <<"SQL");
SET ROLE nobody;
SELECT n || '|' || state || '|' || translate(said, E'\\n', ' ')
FROM (VALUES $values) t (n, setup, gain), own.attempt(setup, gain) ORDER BY n
SQL
	return map { my ($i, $state, $said) = split /\|/, $_, 3; [ $tries[$i][0], $state, $said ] } split /\n/, $out;
}

sub attempt
{
	my ($result) = attempts([ '', @_ ]);
	return @{$result}[ 1, 2 ];
}

# Refused by the object's name; by PostgreSQL itself where it knows no way.
my $postgres = qr/cannot alter (?:type|table) "\w+" because|cannot alter type of a column used/;
my %name_of;
my @tries;
my @fine;
for my $way (sort keys %ways)
{
	my ($make, $gain) = @{ $ways{$way} };
	for my $around (sort keys %around)
	{
		my ($wrap, $type) = @{ $around{$around} };
		for my $container (sort keys %containers)
		{
			my ($sql, $name) = @{ $containers{$container} };
			my $test = "$container over $around: $way is refused by name";
			$sql =~ s/%K/$type/g;
			$name_of{$test} = $name;
			push @tries, [ $test, "$make; $wrap; $sql", $gain ];
		}
		next if $way =~ /^ALTER/;	# PostgreSQL refuses these where a column is there
		for my $fine (sort keys %harmless)
		{
			(my $sql = $harmless{$fine}) =~ s/%K/$type/g;
			push @fine, [ "$fine of $around: $way goes on", "$make; $wrap; $sql", $gain ];
		}
	}
}
my @results = attempts(@tries);
is(scalar @results, scalar @tries, 'every attempt was made');
for my $result (@results)
{
	my ($test, $state, $said) = @$result;
	ok($state eq '0A000' && ($said =~ /cannot contain a protected value.*\Q$name_of{$test}\E/ || $said =~ $postgres), $test)
	  or diag("$state $said");
}
is("$_->[1] $_->[2]", '00000  / ', $_->[0]) for attempts(@fine);

# A field that bears nothing may be indexed, before and after.
for my $first (1, 0)
{
	my @sql = ('CREATE INDEX ON own.c (((k).a)); ALTER TABLE own.c ADD CHECK ((k).a > 0)', $ways{'ADD ATTRIBUTE'}[1]);
	@sql = reverse @sql if !$first;
	my ($state, $said) = attempt("$ways{'ADD ATTRIBUTE'}[0]; CREATE TABLE own.c (k own.t); $sql[0]", $sql[1]);
	is("$state $said", '00000  / ', 'an index on a plain field of a row');
}

# The row itself, in the table that gains; and encrypt_column.
for my $container ('CREATE INDEX in_way ON own.t (own.scalar(t))', 'ALTER TABLE own.t ADD CONSTRAINT in_way CHECK (t >= t)',
	'CREATE MATERIALIZED VIEW own.in_way AS SELECT row_to_json(t) FROM own.t')
{
	my ($state, $said) = attempt("$ways{'ADD COLUMN'}[0]; $container", $ways{'ADD COLUMN'}[1]);
	ok($state eq '0A000' && $said =~ /cannot contain a protected value.*in_way/s, "whole row: $container")
	  or diag("$state $said");
}

# composite-attribute-added-later: what it was good for.
my ($out, $err, $state) = as($node, 'nobody', <<'SQL');
SET search_path = own, public;
CREATE TYPE comp AS (a int);
CREATE TABLE t (id int, k comp);
CREATE INDEX t_k ON t (k);
ALTER TYPE comp ADD ATTRIBUTE s encrypted_text('pii');
SQL
is($state, '0A000', 'composite-attribute-added-later: refused');
like($err, qr/index own\.t_k|index t_k/, '... by the name of the index');
denied($node, 'nobody', "CREATE TYPE own.late AS (s encrypted_text('pii')); CREATE TABLE own.l (id int, k own.late); INSERT INTO own.l SELECT id, ROW(email)::own.late FROM victim; SELECT id FROM own.l ORDER BY k",
	'composite-attribute-added-later: no order without an index either');
refused($node, 'nobody', 'CREATE INDEX ON own.l (k)', 'composite-attribute-added-later: no index afterwards');

# An index over what a function makes is one over protected values.
refused($node, 'nobody', <<'SQL', 'an index over a function that brings values in', qr/^42P17|^42/);
CREATE FUNCTION own.bring(int) RETURNS encrypted_text IMMUTABLE LANGUAGE plpgsql AS
	$$ BEGIN RETURN (SELECT email FROM public.victim WHERE id = $1); END $$;
CREATE TABLE own.ids (id int);
CREATE INDEX ON own.ids (own.bring(id));
SQL

log_conceals($node);
$node->stop;
done_testing();
