# Every function that the extension puts into a database, called with whatever its
# declared types allow: NULL, extremes, empty and giant values, rows and arrays of
# others, ciphertext where something else is meant.  From a fixed seed: nothing
# crashes, nothing is an internal error, no protected value comes back.
#
#	DP_ARGUMENTS=50 DP_ARGUMENTS_SEED=7 make attack TESTS=test/attack/31_any_arguments.pl
#
# calls each fifty times.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $rounds = $ENV{DP_ARGUMENTS} || 1;
my $seed = $ENV{DP_ARGUMENTS_SEED} || 1;
my $node = attack_node('any_arguments', conf => "log_statement = none\nlog_min_messages = log\nlog_min_error_statement = panic\n");
$node->safe_psql('postgres', "CREATE TABLE plain (id int, note text)");

# The same numbers on every machine.
sub random
{
	my ($n) = @_;
	$seed = ($seed * 1103515245 + 12345) % 2147483648;
	return int($seed / 65536) % $n;
}

my @texts = ("''", "'x'", "'pii'", "'nobody'", "repeat('a', 100000)", "'{\"a\": [1]}'", "'enc:v1:AAAA'", "E'a\\\\b''c\\n'", "'public.victim'", "'email'");
my @whole = ('0', '1', '-1', '2147483647', "'-2147483648'");
my %values = (
	text => \@texts, name => [ "''", "'email'", "'id'", "repeat('n', 63)" ], varchar => \@texts, bpchar => \@texts, cstring => [ "''", "'x'", "'enc:v1:AAAA'", "'1'" ],
	'"char"' => [ "''", "'a'", "'d'" ], int2 => [ '0', '1', '32767', "'-32768'" ], int4 => \@whole, int8 => [ @whole, '9223372036854775807', "'-9223372036854775808'" ],
	oid => [ '0', '1', '4294967295', "'victim'::regclass", "'pg_class'::regclass", "'nobody'::regrole" ],
	regclass => [ '0', '1', "'victim'", "'pg_class'", "'victim_email'", "'dataprotect.key'" ], regtype => [ '0', "'text'", "'encrypted_text'", "'int4[]'" ],
	regrole => [ '0', "'nobody'", "'admin'" ], regprocedure => [ '0', "'pg_catalog.now()'" ],
	bool => [ 'true', 'false' ], float4 => [ '0', "'NaN'", "'-Infinity'", "'3e38'" ], float8 => [ '0', "'NaN'", "'Infinity'", "'1e308'" ],
	numeric => [ '0', "'NaN'", "'-Infinity'", '1e1000' ], bytea => [ "''", "'\\x00'", "decode(repeat('ff', 64), 'hex')", "decode(repeat('01', 100000), 'hex')" ],
	date => [ "'infinity'", "'4713-01-01 BC'", "'2020-01-01'" ], time => [ "'24:00'", "'00:00'" ], timestamp => [ "'-infinity'", "'294276-12-31'" ],
	timestamptz => [ "'infinity'", "'4713-01-02 BC'", "'2020-01-01'" ], interval => [ "'0'", "'-178000000 years'", "'178000000 years'", "'1 hour'" ],
	uuid => [ "'00000000-0000-0000-0000-000000000000'" ], inet => [ "'::/0'", "'10.0.0.1'" ], cidr => [ "'::/0'" ],
	json => [ "'null'", "'{}'" ], jsonb => [ "'null'", "'{}'", "'[]'", "'[[[1]]]'", "'{\"keys\": [], \"email\": {\"key\": \"pii\"}}'" ], jsonpath => [ "'\$'" ],
	tid => [ "'(0,0)'", "'(0,1)'", "'(4294967295,65535)'" ], xid => [ "'0'", "'3'" ], int8range => [ "'empty'", "'[0,)'" ],
	encrypted_text => [ '(SELECT min(id)::text FROM public.victim)', '(SELECT email FROM public.victim WHERE id = 1)', "''", "repeat('b', 50000)" ],
	encrypted_int4 => [ '(SELECT n FROM public.victim WHERE id = 1)', '0' ], encrypted_date => [ '(SELECT born FROM public.victim WHERE id = 1)', "'infinity'" ],
	encrypted_numeric => [ '(SELECT amount FROM public.victim WHERE id = 1)', "'NaN'" ], encrypted_jsonb => [ '(SELECT doc FROM public.victim WHERE id = 1)', "'[]'" ],
	encrypted_bytea => [ '(SELECT raw FROM public.victim WHERE id = 1)', "''" ]);
my %any = map { $_ => [ '1', "'x'::text", 'ROW(1, NULL)', "'{}'::int[]", '(SELECT email FROM public.victim WHERE id = 2)', '(SELECT v FROM public.victim v WHERE id = 1)' ] }
  qw(anyelement anynonarray record anycompatible any "any");
$any{$_} = [ "'{}'::int[]", "ARRAY[NULL]::text[]", 'ARRAY[ROW(1)]', 'ARRAY(SELECT email FROM public.victim)' ] for qw(anyarray anycompatiblearray);

sub value
{
	my ($type) = @_;
	return "NULL::$type" if !exists $any{$type} && random(6) == 0;
	return $any{$type}[ random(scalar @{ $any{$type} }) ] if exists $any{$type};
	if ($type =~ /^(.*)\[\]$/)
	{
		my $element = $1;
		return ("'{}'::$type", "'{NULL}'::$type", "ARRAY[" . value($element) . "]::$type")[ random(3) ];
	}
	my $base = $type =~ s/^encrypted_//r;
	my $list = $values{$type} || $values{$base};
	return "NULL::$type" if !$list;
	return "($list->[ random(scalar @$list) ])::$type";
}

my @functions = map { [ split /\t/, $_, -1 ] } split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT format('%I.%I', p.pronamespace::regnamespace, p.proname) || E'\t' || p.prokind::text || E'\t' ||
       coalesce((SELECT string_agg(CASE t.typname WHEN 'char' THEN '"char"' WHEN 'any' THEN '"any"' ELSE CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 AND t.typlen = -1
                                   THEN (SELECT e.typname FROM pg_type e WHERE e.oid = t.typelem) || '[]' ELSE t.typname END END, ' ' ORDER BY a.n)
                   FROM unnest(p.proargtypes) WITH ORDINALITY a (oid, n) JOIN pg_type t ON t.oid = a.oid), '')
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
 WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dataprotect') AND p.prokind IN ('f', 'p')
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype) AND NOT 'internal'::regtype = ANY (p.proargtypes)
   AND has_function_privilege('admin', p.oid, 'EXECUTE')
 ORDER BY p.pronamespace::regnamespace::text, p.proname, p.proargtypes::text
SQL
cmp_ok(scalar(@functions), '>', 500, 'functions to call: ' . @functions);

for my $role (qw(nobody admin))
{
	my $sql = "SET statement_timeout = '60s';\n";
	my $calls = 0;
	for my $round (1 .. $rounds)
	{
		for my $function (@functions)
		{
			my ($name, $kind, $types) = @$function;
			my $arguments = join ', ', map { value($_) } split / /, $types;
			# What would wait for others, or end what the next call needs, is undone.
			$sql .= $kind eq 'p' ? "BEGIN; CALL $name($arguments); ROLLBACK;\n" : "BEGIN; SELECT left(x::text, 1000) FROM (SELECT $name($arguments) AS x) s LIMIT 5; ROLLBACK;\n";
			$calls++;
		}
	}
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-U', $role, '-d', $node->connstr('postgres') ], '<', \$sql, '>', \$out, '2>', \$err);
	$run->finish;
	my @internal = grep { /^(?:psql:\S+\s+)?(?:ERROR|FATAL|PANIC):\s+XX(?!001)/ } split /\n/, $err;
	is(join("\n", @internal), '', "$role: no call of $calls is an internal error");
	unlike($err, qr/server closed the connection|connection to server was lost/, "$role: the server stands");
	unlike($out . $err, qr/@{[ MARKER ]}|7712345/, "$role: no protected value comes back");
	my %states;
	$states{$1}++ while $err =~ /ERROR:  (\w{5}):/g;
	my $refused = 0;
	$refused += $_ for values %states;
	note "$role: $calls calls, $refused errors: " . join ' ', map { "$_ $states{$_}" } sort { $states{$b} <=> $states{$a} } keys %states;
	cmp_ok($refused, '<', $calls * 0.8, "$role: a part of the calls is answered");
}
is($node->safe_psql('postgres', 'SELECT count(*), count(email) FROM victim'), '5|5', 'what was there is there');
unlike(slurp_file($node->logfile), qr/terminated by signal|server process .* was terminated/, 'no process crashed');

log_conceals($node);
done_testing();
