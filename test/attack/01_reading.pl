# Every way to make a value visible, by every role that may not see it.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('reading');

like(
	$node->safe_psql('postgres', 'SELECT email, n FROM victim WHERE id = 1', extra_params => [ '-U', 'reader' ]),
	qr/^mallory-Zq9x\@example\.org\|77123453$/, 'a role with reveal reads: the tests below see something');

my @columns = qw(email tok ord n amount born doc raw);

# What shows text forms gives ciphertext or masks.
my %shows = (
	'plain output'       => 'SELECT %s FROM victim',
	'whole row'          => 'SELECT victim FROM victim',
	'row()'              => 'SELECT row(%s) FROM victim',
	'array'              => 'SELECT array_agg(%s) FROM victim',
	'to_json'            => 'SELECT to_json(%s), to_jsonb(%s) FROM victim',
	'row_to_json'        => 'SELECT row_to_json(victim), json_agg(victim), jsonb_agg(%s) FROM victim',
	'json_build'         => "SELECT json_build_object('a', %s), jsonb_build_array(%s) FROM victim",
	'json_object_agg'    => 'SELECT json_object_agg(id, %s), jsonb_object_agg(id, %s) FROM victim',
	'format, concat'     => "SELECT format('%%s %%L', %s, %s), concat(%s, '-'), concat_ws('-', %s, id) FROM victim",
	'xml'                => "SELECT xmlforest(%s), xmlelement(name a, %s) FROM victim",
	'query_to_xml'       => "SELECT query_to_xml('SELECT %s FROM victim', true, false, '')",
	'array_to_string'    => "SELECT array_to_string(array_agg(%s), ',') FROM victim",
	'array_to_json'      => 'SELECT array_to_json(array_agg(%s)) FROM victim',
	'COALESCE, CASE'     => 'SELECT COALESCE(%s, NULL), CASE WHEN id > 0 THEN %s END FROM victim',
	'NULL tests, width'  => 'SELECT %s IS NULL, pg_column_size(%s) > 0, pg_typeof(%s) FROM victim',
	'first_value'        => 'SELECT first_value(%s) OVER (ORDER BY id), lag(%s) OVER (ORDER BY id) FROM victim',
	'CTE, lateral'       => 'WITH a AS MATERIALIZED (SELECT %s x FROM victim) SELECT b.x FROM a, LATERAL (SELECT a.x) b',
	'RETURNING'          => 'BEGIN; UPDATE victim SET id = id + 100 RETURNING %s; ROLLBACK',
	'cursor'             => 'BEGIN; DECLARE c CURSOR FOR SELECT %s FROM victim; FETCH ALL c; COMMIT',
	'held cursor'        => 'DECLARE c CURSOR WITH HOLD FOR SELECT %s FROM victim; FETCH ALL c; CLOSE c',
	'prepared'           => 'PREPARE q AS SELECT %s FROM victim; EXECUTE q; EXECUTE q',
	'temp copy'          => 'CREATE TEMP TABLE c AS SELECT %s AS x FROM victim; SELECT x FROM c',
	'RAISE'              => "DO \$\$ DECLARE r record; BEGIN FOR r IN SELECT %s AS x FROM victim LOOP RAISE NOTICE '%%', r.x; END LOOP; END \$\$",
	'RAISE EXCEPTION'    => "DO \$\$ BEGIN RAISE EXCEPTION '%%', (SELECT %s FROM victim WHERE id = 1); END \$\$",
	'own view'           => 'CREATE TEMP VIEW v AS SELECT %s AS x FROM victim; SELECT x FROM v',
	'own SQL function'   => 'CREATE FUNCTION pg_temp.f() RETURNS SETOF victim LANGUAGE sql AS $$SELECT * FROM victim$$; SELECT %s FROM pg_temp.f()',
	'EXPLAIN VERBOSE'    => 'EXPLAIN (ANALYZE, VERBOSE, COSTS OFF, TIMING OFF) SELECT %s FROM victim',
	'GUC auto'           => "SET dataprotect.output = 'auto'; SELECT %s FROM victim",
	'GUC purpose'        => "SET dataprotect.purpose = 'reveal'; SELECT %s FROM victim",
	'array_send'         => 'SELECT array_send(array_agg(%s)), record_send(row(%s)) FROM victim GROUP BY id, victim.*::text LIMIT 0',
	'string_to_table'    => 'SELECT row(%s)::text FROM victim',
	'subscript'          => 'SELECT (array_agg(%s))[1:2] FROM victim',
);
for my $role (attackers(), 'searcher')
{
	for my $name (sort keys %shows)
	{
		my $sql = join ";\n", map { (my $s = $shows{$name}) =~ s/(?<!%)%s/$_/g; $s =~ s/%%/%/g; $s }
		  $name =~ /^(?:plain output|format|to_json$)/ ? @columns : 'email';
		conceals($node, $role, $sql, $name);
	}
}

# Casts and functions need a plaintext; masks and NULL are what mask and search get.
my @casts = (
	'email::text', 'email::varchar', 'email::varchar(3)', 'email::bpchar', 'email::name', 'email::"char"',
	'CAST(email AS text)', 'upper(email)', 'length(email)', 'substr(email, 1, 3)', "email || ''",
	"'' || email", 'email || tok', 'md5(email)', 'left(email, 1)', 'reverse(email)', 'ascii(email)',
	"email LIKE 'a%'", "email ILIKE 'a%'", "email ~ '^a'", "strpos(email, 'a')", "regexp_replace(email, 'a', '')",
	'quote_literal(email)', 'to_tsvector(email)', 'hashtext(email)', 'n::int', 'n + 0', '-n', 'n::numeric',
	'abs(n)', 'n::bigint', 'n::float8', 'amount * 1', 'round(amount)', 'amount::int', 'born::date', 'born + 1',
	'extract(year from born)', 'born::timestamp', "doc->>'mail'", 'doc::jsonb', "doc @> '{}'",
	'jsonb_pretty(doc)', "jsonb_path_query(doc, '\$.*')", 'lo_from_bytea(0, raw)', 'generate_series(n, n)', "repeat('x', n)", 'raw::bytea', "encode(raw, 'escape')", 'get_byte(raw, 0)', 'octet_length(raw)');
for my $role (qw(nobody owner admin super creator dumper))
{
	denied($node, $role, "SELECT $_ FROM victim", "cast: $_") for @casts;
}
for my $role (qw(masked searcher))
{
	conceals($node, $role, "SELECT $_ FROM victim", "cast: $_") for @casts;
}
for my $aggregate ('max(email)', 'min(n)', 'sum(n)', 'avg(amount)', "string_agg(email, ',')", 'bool_or(n > 0)',
	'min(born)', 'bit_and(n)', "jsonb_agg(doc->'mail')")
{
	denied($node, 'nobody', "SELECT $aggregate FROM victim", "aggregate: $aggregate");
	conceals($node, 'masked', "SELECT $aggregate FROM victim", "aggregate: $aggregate");
}

# Masks do not become data: NULL in arithmetic, no COPY of them, no write-back.
is((as($node, 'masked', 'SELECT count(n + 0), count(amount * 2), sum(n) FROM victim'))[0], '0|0|',
	'masked: arithmetic gives NULL');
is((as($node, 'masked', 'SELECT DISTINCT email::text FROM victim'))[0], '****', 'masked: a cast gives the mask');
denied($node, $_, 'COPY victim (email) TO STDOUT', 'COPY of masks') for qw(masked searcher);
denied($node, $_, 'COPY (SELECT email FROM victim) TO STDOUT', 'COPY of a query of masks') for qw(masked searcher);
conceals($node, $_, 'COPY victim TO STDOUT', 'COPY') for qw(nobody owner admin super dumper);
conceals($node, $_, "SET dataprotect.output = 'ciphertext'; COPY victim TO STDOUT", 'COPY as ciphertext')
  for qw(masked searcher reader);
conceals($node, 'nobody', 'COPY (SELECT email, n FROM victim) TO STDOUT (FORMAT binary)', 'COPY binary');
conceals($node, 'reader', "SET dataprotect.output = 'ciphertext'; SELECT email, n, doc FROM victim",
	'output as ciphertext');
conceals($node, 'reader', "SET dataprotect.output = 'mask'; SELECT email, n, doc, email::text FROM victim",
	'output as mask');
conceals($node, 'reader', "SET dataprotect.output = 'mask'; SELECT n + 0, upper(email) FROM victim",
	'casts under output as mask');

# Values as other types: no cast, no binary trick, no function of ours with other types.
my @unsupported = (
	'email::encrypted_bytea', 'n::encrypted_int8', 'raw::encrypted_text', 'email::int', 'email::point',
	'CREATE CAST (encrypted_text AS bytea) WITHOUT FUNCTION',
	'CREATE CAST (encrypted_text AS text) WITH INOUT',
	"CREATE FUNCTION pg_temp.f(encrypted_text) RETURNS bytea LANGUAGE internal AS 'byteain'",
	"CREATE FUNCTION pg_temp.f(bytea) RETURNS int LANGUAGE c AS '\$libdir/dataprotect', 'dp_hash_e'",
	"CREATE TYPE pg_temp.t (INPUT = encrypted_text_in, OUTPUT = encrypted_text_out)",
	'CREATE OPERATOR CLASS oc FOR TYPE encrypted_text USING btree AS OPERATOR 1 <',
	'CREATE OPERATOR FAMILY of USING btree');
conceals($node, $_, 'SELECT email::bytea, email::json::text FROM victim', 'conversion by text forms') for attackers();
for my $try (@unsupported)
{
	my $sql = $try =~ /^CREATE/ ? $try : "SELECT $try FROM victim";
	refused($node, $_, $sql, "reinterpretation: $try") for qw(nobody owner);
}

# Support and internal functions called as they are.
my @calls = (
	'encrypted_text_hash(email)', 'encrypted_text_hash_extended(email, 0)', 'encrypted_text_cmp(email, tok)',
	"encrypted_text_cmp(email, 'a'::text)", 'encrypted_text_token_cmp(tok, tok)', "encrypted_text_hash('a'::text)",
	"encrypted_text_token_cmp(tok, 'a'::text)", 'encrypted_int4_cmp(n, n)', 'encrypted_int4_hash(1)',
	'dataprotect._envelope_key_id(email)', "dataprotect._reencrypt_blocks('victim', '{email}', 0, 1)",
	"dataprotect._count_by_key('victim', 'email')", "dataprotect._unreadable_values('victim', 'email')",
	"dataprotect._verify_column('victim', 'email', 1)",
	'dataprotect._mask_apply(\'full\', email)', 'dataprotect._autonomous(\'SELECT 1\')',
	'dataprotect._wrap_new(1, 2::int2, 1)', 'dataprotect._mint_key(\'x\', NULL, NULL, NULL, NULL, NULL)',
	'dataprotect.export_keys()', 'dataprotect.drill()', 'dataprotect.lockdown(\'x\')',
	"dataprotect.grant_access('pii', 'nobody', 'reveal')", "dataprotect.create_key('mine')",
	"dataprotect._event('key.created', 'pii', NULL)");
for my $call (@calls)
{
	denied($node, $_, "SELECT $call FROM victim LIMIT 1", "function: $call") for qw(nobody owner masked);
}
conceals($node, 'super', "SELECT $_ FROM victim LIMIT 1", "function: $_")
  for 'encrypted_text_hash(email)', 'encrypted_text_cmp(email, tok)', 'encrypted_text_token_cmp(tok, tok)',
  "dataprotect._reencrypt_blocks('victim', '{email}', 0, 1)";
for my $public ('encrypted_text_reveal(email)', 'email || email', 'encrypted_text_to_varchar(email)',
	'encrypted_text_eq(email, email)', "encrypted_text_eq(email, 'a'::text)", 'encrypted_text_lt(email, tok)',
	'encrypted_text_token_lt(tok, tok)', "encrypted_text_ge('a'::text, email)")
{
	denied($node, $_, "SELECT $public FROM victim", "function: $public") for qw(nobody owner admin super);
}
for my $table (qw(key key_version epoch access_grant subject_key tombstone type_modifier instance))
{
	denied($node, $_, "SELECT * FROM dataprotect.$table", "table $table") for qw(nobody owner masked reader);
	denied($node, 'admin', "DELETE FROM dataprotect.$table", "write to table $table");
}

# Parse trees and plans, which any role may have printed, hold constants byte by byte.
for my $role (qw(reader nobody))
{
	as($node, $role, "SET debug_print_parse = on; SET debug_print_rewritten = on; SET debug_print_plan = on; SELECT id FROM victim WHERE email = '" . secret() . "'");
}
unlike(slurp_file($node->logfile), qr/90 113 57 120/, 'no printed tree in the log holds a constant');

# What shows values by how much there is, and what newer versions can show them by.
my $version = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
my @newer = (
	[ 15, 'SELECT id FROM victim ORDER BY id LIMIT (SELECT n - 77123450 FROM victim WHERE id = 1)' ],
	[ 15, 'SELECT id FROM victim TABLESAMPLE BERNOULLI ((SELECT n - 77123450 FROM victim WHERE id = 1))' ],
	[ 15, 'SELECT pg_sleep((n - 77123450) * 0.001) FROM victim' ],
	[ 16, 'SELECT any_value(email)::text FROM victim' ],
	[ 16, "SELECT JSON_OBJECT('a': email::text) FROM victim" ],
	[ 17, 'MERGE INTO victim v USING (VALUES (2)) s(id) ON v.id = s.id WHEN MATCHED THEN UPDATE SET id = v.id RETURNING v.email::text' ],
	[ 17, q{SELECT j.* FROM victim, JSON_TABLE(doc, '$' COLUMNS (mail text PATH '$.mail')) j} ],
	[ 18, 'UPDATE victim SET id = id WHERE id = 2 RETURNING old.email::text, new.email::text' ],
	[ 18, 'SELECT casefold(email) FROM victim' ],
	[ 18, 'SELECT array_sort(array_agg(ord)) FROM victim' ],
);
for (grep { $version >= $_->[0] } @newer)
{
	denied($node, 'nobody', $_->[1], $_->[1]);
	conceals($node, 'masked', $_->[1], $_->[1]);
}
refused($node, 'owner', 'ALTER TABLE victim ADD virt text GENERATED ALWAYS AS (email::text) VIRTUAL', 'a virtual column') if $version >= 18;

log_conceals($node);
$node->stop;
done_testing();
