# A superuser's function that hands what it is told to another one, which runs it, is what that is: whoever stores
# a call of it has a reader run his statements no more than by calling the other.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('handed');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE loot (by text, t text);
GRANT ALL ON loot TO PUBLIC;
CREATE FUNCTION run(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN EXECUTE q; RETURN q; END$$;
CREATE FUNCTION h_plpgsql(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN run(q); END$$;
CREATE FUNCTION h_sql(q text) RETURNS text LANGUAGE sql AS $$SELECT run($1)$$;
CREATE FUNCTION h_atomic(q text) RETURNS text LANGUAGE sql RETURN run(q);
CREATE FUNCTION h_twice(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM h_sql(q); RETURN q; END$$;
CREATE FUNCTION h_quoted(q text) RETURNS text LANGUAGE sql AS $$SELECT public . "run" /* ( */ ($1)$$;
CREATE FUNCTION h_upper(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN RUN
	(q); END$$;
CREATE FUNCTION h_called(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN CALL runs(q); RETURN q; END$$;
CREATE PROCEDURE runs(q text) LANGUAGE plpgsql AS $$BEGIN EXECUTE q; END$$;
CREATE FUNCTION h_circle(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN IF q = '' THEN RETURN h_round(q); END IF; RETURN run(q); END$$;
CREATE FUNCTION h_round(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN h_circle(q); END$$;
CREATE FUNCTION h_from(q text) RETURNS SETOF text LANGUAGE sql STABLE AS $$SELECT r FROM run(q) r$$;
-- what only looks like it
CREATE FUNCTION o_string(q text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN 'run(' || lower(q) || ')'; END$$;
CREATE FUNCTION o_comment(q text) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT lower($1) -- run($1)
$$;
CREATE FUNCTION o_column(q text) RETURNS text IMMUTABLE LANGUAGE sql AS $$SELECT run.x FROM (SELECT lower($1) AS x) run$$;
CREATE FUNCTION o_number(n int) RETURNS text LANGUAGE sql AS $$SELECT run('SELECT ' || n)$$;
SQL

# In each place where a reader's statement evaluates what somebody stored.
for my $function (qw(run h_plpgsql h_sql h_atomic h_twice h_quoted h_upper h_called h_circle h_round h_from))
{
	my $call = "$function('INSERT INTO loot SELECT ''$function'', email FROM victim')";
	as($node, 'nobody', "CREATE VIEW v_$function AS SELECT $call AS x; GRANT SELECT ON v_$function TO PUBLIC");
	refused($node, 'reader', "SELECT count(x) FROM v_$function", "a view of $call");
	next if $function eq 'h_from';
	as($node, 'nobody', "CREATE TABLE d_$function (id int, t text DEFAULT $call); GRANT ALL ON d_$function TO PUBLIC");
	refused($node, 'reader', "INSERT INTO d_$function (id) VALUES (1)", "a default of $call");
	as($node, 'nobody', "CREATE TABLE r_$function (id int); INSERT INTO r_$function VALUES (1); CREATE POLICY p ON r_$function USING ($call IS NOT NULL); ALTER TABLE r_$function ENABLE ROW LEVEL SECURITY; GRANT ALL ON r_$function TO PUBLIC");
	refused($node, 'reader', "SELECT count(*) FROM r_$function", "a policy of $call");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM loot'), '0', 'nothing was carried off');
for my $function (qw(o_string o_comment o_column))
{
	as($node, 'nobody', "CREATE VIEW v_$function AS SELECT $function(email) AS x FROM victim; GRANT SELECT ON v_$function TO PUBLIC");
	like((as($node, 'reader', "SELECT min(x) FROM v_$function"))[0], qr/anna-zq9x/, "$function goes on");
}
as($node, 'nobody', 'CREATE VIEW v_number AS SELECT o_number(7) AS x; GRANT SELECT ON v_number TO PUBLIC');
is((as($node, 'reader', 'SELECT x FROM v_number'))[0], 'SELECT 7', 'so does one that is told numbers');

# The reader's own calls run what he says; and a function is what it calls now.
is((as($node, 'reader', "SELECT h_twice('INSERT INTO loot SELECT ''own'', email FROM victim')"))[2], '00000', 'a reader hands on his own');
is($node->safe_psql('postgres', "SELECT count(*) FROM loot WHERE by = 'own'"), '5', 'and it ran');
$node->safe_psql('postgres', 'CREATE FUNCTION late(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN runs_late(q); END$$; CREATE FUNCTION runs_late(q text) RETURNS text LANGUAGE sql AS $$SELECT $1$$');
as($node, 'nobody', "CREATE VIEW v_late AS SELECT late('INSERT INTO loot SELECT ''late'', email FROM victim') AS x; GRANT SELECT ON v_late TO PUBLIC");
allowed($node, 'reader', 'SELECT count(x) FROM v_late', 'before what it calls runs anything');
$node->safe_psql('postgres', 'CREATE OR REPLACE FUNCTION runs_late(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN EXECUTE q; RETURN q; END$$');
refused($node, 'reader', 'SELECT count(x) FROM v_late', 'after');

# The limit (doc/security.md): a row that is written, and a trigger of a superuser's that runs what is in it.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE queue (q text);
CREATE FUNCTION runs_row() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN EXECUTE NEW.q; RETURN NEW; END$$;
CREATE TRIGGER q BEFORE INSERT ON queue FOR EACH ROW EXECUTE FUNCTION runs_row();
GRANT ALL ON queue TO PUBLIC;
CREATE FUNCTION h_row(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN INSERT INTO queue VALUES (q); RETURN q; END$$;
SQL
as($node, 'nobody', "CREATE VIEW v_row AS SELECT h_row('INSERT INTO loot SELECT ''row'', email FROM victim') AS x; GRANT SELECT ON v_row TO PUBLIC");
as($node, 'reader', 'SELECT count(x) FROM v_row');
is($node->safe_psql('postgres', "SELECT count(*) FROM loot WHERE by = 'row'"), '5', 'a trigger that runs what a row says runs it for the reader');

$node->stop;
done_testing();
