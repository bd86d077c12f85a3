# What a permitted reader's own errors and messages say of the values that he opened is his; the server log, which
# others read, has none of it.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('logged', conf => "log_min_messages = debug1\nlog_error_verbosity = verbose\n");
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION says(t text) RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$BEGIN RAISE WARNING 'value %', t; RETURN t; END$$;
CREATE FUNCTION fails(t text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION USING MESSAGE = t, DETAIL = t, HINT = t; END$$;
CREATE FUNCTION named(t text) RETURNS text LANGUAGE plpgsql AS $$BEGIN EXECUTE format('SELECT * FROM %I', t); RETURN t; END$$;
CREATE FUNCTION hints(t text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no' USING HINT = t; END$$;
CREATE FUNCTION fails_at(t text, i int, n int) RETURNS text LANGUAGE plpgsql AS $$BEGIN IF i >= n THEN RAISE EXCEPTION '%', t USING HINT = t; END IF; RETURN t; END$$;
CREATE FUNCTION class(t text, c text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION '%', t USING ERRCODE = c; END$$;
SQL
my @tries = (
	'SELECT tok::text::regclass FROM victim', 'SELECT split_part(tok, \'@\', 1)::regclass FROM victim', 'SELECT translate(tok, \'-@.\', \'___\')::regclass FROM victim',
	'SELECT translate(tok, \'-@.\', \'___\')::regtype FROM victim', 'SELECT translate(tok, \'-@.\', \'___\')::regrole FROM victim', 'SELECT translate(tok, \'-@.\', \'___\')::regproc FROM victim',
	'SELECT translate(tok, \'-@.\', \'___\')::regconfig FROM victim', 'SELECT translate(tok, \'-@.\', \'___\')::regnamespace FROM victim', 'SELECT current_setting(tok) FROM victim',
	'SELECT lo_get(n::oid) FROM victim', 'SELECT lo_unlink(n::oid) FROM victim', 'SELECT pg_get_viewdef(n::oid) FROM victim', 'SELECT has_table_privilege(tok::text, \'select\') FROM victim',
	'SELECT has_database_privilege(tok::text, \'connect\') FROM victim', 'SELECT nextval(translate(tok, \'-@.\', \'___\')) FROM victim', 'SELECT convert_to(\'a\', tok::name) FROM victim', 'SELECT encode(raw, tok) FROM victim',
	'SELECT set_config(tok, \'x\', false) FROM victim', 'SELECT to_timestamp(tok, tok) FROM victim', 'SELECT tok::text::int FROM victim', 'SELECT tok::text::json FROM victim', 'SELECT doc::jsonb::int FROM victim',
	'SELECT pg_size_bytes(tok) FROM victim', 'SELECT now() AT TIME ZONE tok FROM victim', 'SELECT \'a\' ~ (\'(\' || tok) FROM victim', 'SELECT jsonb_path_query(doc, (\'strict $.\' || translate(tok, \'-@.\', \'___\'))::jsonpath) FROM victim',
	'SELECT chr(n) FROM victim', 'SELECT repeat(\'x\', n * 10) FROM victim', 'SELECT make_date(n, 1, 1) FROM victim', 'SELECT (ARRAY[1])[n:n] || set_byte(\'a\', n, 1)::text::int FROM victim', 'SELECT generate_series(1, 2, n - n) FROM victim',
	'SELECT hints(tok) FROM victim', 'SELECT doc::text::int FROM victim', 'SELECT (doc::jsonb)::text::regclass FROM victim', 'SELECT current_setting(\'"\' || tok || \'"\' || tok) FROM victim',
	# what a portal holds that goes on, in a statement later than the one that opened it
	'BEGIN; DECLARE c CURSOR FOR SELECT fails_at(v, i, 10) FROM (SELECT tok::text AS v FROM victim ORDER BY 1) s, generate_series(1, 20) i; FETCH 1 FROM c; SELECT 1; FETCH 90 FROM c',
	'SELECT says(tok) FROM victim', 'SELECT fails(tok) FROM victim', 'SELECT named(tok) FROM victim', 'SELECT named(translate(tok, \'-@.\', \'___\')) FROM victim',
	'DO $$ DECLARE t text; BEGIN SELECT tok INTO t FROM victim WHERE id = 2; RAISE LOG \'%\', t; RAISE INFO \'%\', t; PERFORM t::regclass; END $$',
	'DO $$ BEGIN PERFORM fails(tok) FROM victim; EXCEPTION WHEN OTHERS THEN RAISE LOG \'caught %\', SQLERRM; END $$',
	'SET force_parallel_mode = on; SELECT says(tok) FROM victim', 'SET debug_parallel_query = on; SELECT says(tok) FROM victim',
	map({ "SELECT class(tok, '$_') FROM victim" } qw(42P01 3F000 0A000 55000 XX000 53100 58030 08000 00000 01000 P0002)));
my ($said, $open) = ('', 0);
for my $sql (@tries)
{
	my ($out, $err) = as($node, 'reader', $sql);
	$said .= $err;
	my @lines = grep { /zq9x|7712345\d|anna|mallory|zoe/i } split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile);
	is(join("\n", @lines), '', $sql);
	truncate $node->logfile, 0;
}
like($said, qr/schema "\S*zq9x\S*" does not exist/, 'the reader is told');
like($said, qr/large object 7712345\d does not exist/, 'in full');
# What is no value stays, so that a log is of use.
as($node, 'reader', 'SELECT count(tok::text) FROM victim; SELECT * FROM nowhere_at_all');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/relation "nowhere_at_all" does not exist/, 'names in a statement that opened nothing stay');
as($node, 'reader', 'DO $$ BEGIN PERFORM tok::text FROM victim; PERFORM * FROM nowhere_either; END $$');
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/relation "nowhere_either" does not exist/, 'and those that the statement has');

$node->stop;
done_testing();
