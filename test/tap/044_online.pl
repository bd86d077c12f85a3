# If this fails, protecting a table in use loses or changes what others write
# meanwhile, or does not go on after the server was killed.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('online');
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
-- each writer writes the same to both
CREATE TABLE person (id serial PRIMARY KEY, email varchar(80) NOT NULL, copy text);
CREATE TABLE running ();
GRANT ALL ON person, person_id_seq TO app;
INSERT INTO person (email, copy) SELECT 'straw' || g || '@example.org', 'straw' || g || '@example.org' FROM generate_series(1, 4000) g;
CREATE PROCEDURE write() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..1000000 LOOP
		EXIT WHEN to_regclass('public.running') IS NULL;
		UPDATE person SET email = 'new' || i || '@example.org', copy = 'new' || i || '@example.org' WHERE id = 1 + (random() * 3999)::int;
		INSERT INTO person (email, copy) VALUES ('made' || i || '@example.org', 'made' || i || '@example.org');
		COMMIT;
		DELETE FROM person WHERE id > 4000 AND id % 3 = 0;
		UPDATE person SET email = 'undone', copy = 'not' WHERE id = 2;
		ROLLBACK;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SQL
my $differ = 'SELECT count(*) FROM person WHERE email IS DISTINCT FROM copy::varchar';

sub writer
{
	my $writer = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'app' ]);
	$writer->query_until(qr/^$/m, "\\echo\nCALL write();\n");
	return $writer;
}

# Killed in the middle: the first call would take an hour.
my $writer = writer();
my $call = $node->background_psql('postgres', on_error_stop => 0);
$call->query_until(qr/^$/m, <<'SQL');
\echo
SET dataprotect.retention_batch_size = 100;
SET dataprotect.retention_cost_delay = '60s';
CALL dataprotect.encrypt_column('person', 'email', 'pii', online => true);
SQL
ok(poll_sql($node, 'postgres', 'SELECT count(*) FROM dataprotect.online_progress', '1'), 'it has begun');
my $column = $node->safe_psql('postgres', q{SELECT attname FROM pg_attribute WHERE attrelid = 'person'::regclass AND attname ~ '^dataprotect_online'});
ok(poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM person WHERE $column IS NOT NULL"), 'others write on');
is($node->safe_psql('postgres', "$differ OR $column IS NOT NULL AND $column <> copy"), '0', 'both columns, in step');
kill9_node($node);
eval { $_->{run}->finish } for $writer, $call;
$node->start;
is($node->safe_psql('postgres', 'SELECT step FROM dataprotect.online_progress'), 'fill', 'a server that was killed knows where it was');
is($node->safe_psql('postgres', $differ), '0', 'and lost nothing');

# The same call goes on, beside writers and a reader who is in the way of the swap for a while.
$writer = writer();
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM person');
$call = $node->background_psql('postgres', on_error_stop => 0);
$call->query_until(qr/^$/m, <<'SQL');
\echo
SET client_min_messages = warning;
SET dataprotect.retention_batch_size = 200;
CALL dataprotect.encrypt_column('person', 'email', 'pii', online => true);
SQL
ok(poll_sql($node, 'postgres', "SELECT count(*) = 0 FROM person WHERE $column IS NULL"), 'all is filled, and it waits for the reader');
my $made = $node->safe_psql('postgres', 'SELECT max(id) FROM person');
ok(poll_sql($node, 'postgres', "SELECT max(id) > $made FROM person"), 'and nobody for it');
$reader->query_safe('COMMIT');
$reader->quit;
ok(poll_sql($node, 'postgres', 'SELECT count(*) FROM dataprotect.online_progress', '0'), 'it ends');
$made = $node->safe_psql('postgres', 'SELECT max(id) FROM person');
ok(poll_sql($node, 'postgres', "SELECT max(id) > $made FROM person"), 'others write on');
$call->quit;
$node->safe_psql('postgres', 'DROP TABLE running');
$writer->quit;
is($node->safe_psql('postgres', "SELECT col, type, key FROM dataprotect.protected_columns"), 'email|encrypted_text|pii', 'the column is protected');
is($node->safe_psql('postgres', 'SELECT count(*) FROM person WHERE email::text <> copy'), '0', 'and every value is the one that was written');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dataprotect.verify('person') WHERE failures > 0}), '0', 'and opens');

# What is gone is gone from the files with a rewrite.
$node->safe_psql('postgres', 'ALTER TABLE person DROP COLUMN copy; VACUUM FULL person; CHECKPOINT');
my $file = $node->data_dir . '/' . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('person')});
unlike(slurp_file($file), qr/straw\d|new\d|made\d/, 'no plaintext is in the table\'s file');

$node->stop;
done_testing();
