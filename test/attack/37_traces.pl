# What a condition that somebody stored over a protected value has PostgreSQL do where it holds, others feel,
# even where nothing is written: a transaction takes its number, a lock stays until its end.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('traces');
my $guess = secret();

# Every built-in function that is not volatile is called, with what may be a relation, a function or a rule of
# somebody's, and with what may be a number, a text or a time.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE felt (function regprocedure, trace text);
CREATE VIEW seen AS SELECT id FROM victim;
CREATE FUNCTION reads() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM seen; END;
SQL
my $calls = $node->safe_psql('postgres', <<'SQL');
SELECT p.oid::regprocedure || '|' || format('SELECT pg_catalog.%I(%s)', proname, (SELECT coalesce(string_agg(CASE
	WHEN t = 'oid'::regtype THEN (ARRAY['''seen''::regclass::oid', '''reads''::regproc::oid', '(SELECT oid FROM pg_rewrite WHERE ev_class = ''seen''::regclass)'])[x]
	WHEN t = 'regclass'::regtype THEN '''seen''::regclass'
	WHEN t = 'regproc'::regtype THEN '''reads''::regproc'
	WHEN t = 'text'::regtype THEN (ARRAY['''seen''', '''1''', '''public'''])[x]
	WHEN t = 'name'::regtype THEN '''seen''::name'
	WHEN t = 'bool'::regtype THEN 'true'
	WHEN t = ANY ('{int2,int4,int8,float4,float8,numeric}'::regtype[]) THEN '1::' || t::regtype
	WHEN t = ANY ('{xid,xid8}'::regtype[]) THEN '''700''::' || t::regtype
	WHEN t = ANY ('{date,timestamp,timestamptz}'::regtype[]) THEN 'now()::' || t::regtype
	ELSE 'NULL::' || format_type(t, NULL) END, ', ' ORDER BY n), '') FROM unnest(proargtypes::oid[]) WITH ORDINALITY u(t, n)))
FROM pg_proc p, generate_series(1, 3) x
WHERE pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384 AND provolatile <> 'v' AND prokind = 'f' AND NOT proretset
	AND prorettype <> 'trigger'::regtype
	AND NOT EXISTS (SELECT FROM unnest(proargtypes) u JOIN pg_type y ON y.oid = u WHERE typtype = 'p')
	AND proname !~ '(database|schema|table|query|cursor)_to_xml|^ts_stat|^ts_rewrite'
ORDER BY 1
SQL
my @calls = map { [ split /\|/, $_, 2 ] } split /\n/, $calls;
cmp_ok(scalar @calls, '>', 5000, 'functions to call');
# A savepoint each would take a number; what fails leaves no lock.
my $script = "\\set ON_ERROR_STOP 0\nSELECT count(*) FROM pg_locks \\gset\n";
for my $call (@calls)
{
	(my $name = $call->[0]) =~ s/'/''/g;
	$script .= "BEGIN;\n$call->[1] \\g /dev/null\nSELECT '$name' WHERE pg_current_xact_id_if_assigned() IS NOT NULL OR EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND relation >= 16384);\nROLLBACK;\n";
}
my ($out) = as($node, 'super', "SET client_min_messages = error;\n$script");
my %felt = map { $_ => 1 } grep { /\(/ } split /\n/, $out;
cmp_ok(scalar keys %felt, '>', 5, 'some are felt');

# Each of them, behind a condition over a value, is refused to who may read.
as($node, 'nobody', "CREATE FUNCTION mine() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT 1; END; CREATE VIEW empty AS SELECT 1 AS a");
my %one = map { $_->[0] => $_->[1] } @calls;
for my $function (sort keys %felt)
{
	my $call = $one{$function} or next;
	$call =~ s/^SELECT //;
	as($node, 'nobody', "CREATE OR REPLACE VIEW probe AS SELECT id, CASE WHEN tok = '$guess' THEN ($call)::text END AS felt FROM victim; GRANT SELECT ON probe TO PUBLIC");
	denied($node, 'reader', 'SELECT count(felt) FROM probe', "behind a condition: $function");
	as($node, 'nobody', 'DROP VIEW probe');
}
allowed($node, 'nobody', "CREATE VIEW probe AS SELECT id, CASE WHEN tok = '$guess' THEN pg_typeof(id)::text END AS felt FROM victim; GRANT SELECT ON probe TO PUBLIC");
is((as($node, 'reader', 'SELECT count(felt) FROM probe'))[0], '2', 'others go on');
# So in a CHECK, where the writer is who may read, and in an aggregate of his.
refused($node, 'nobody', "CREATE TABLE checked (tok encrypted_text('pii'), CHECK (CASE WHEN tok = '$guess' THEN pg_get_viewdef('seen'::regclass) = '' ELSE true END))", 'in a CHECK');

log_conceals($node);
$node->stop;
done_testing();
