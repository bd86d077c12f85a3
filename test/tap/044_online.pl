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
-- each writer writes the same to both; what refers follows
CREATE TABLE person (id serial PRIMARY KEY, email varchar(80) NOT NULL CONSTRAINT one_each UNIQUE, copy text, CHECK (char_length(email) > 3));
CREATE TABLE visit (id serial PRIMARY KEY, person int REFERENCES person ON DELETE CASCADE,
	email varchar(80) NOT NULL CONSTRAINT whose REFERENCES person (email) ON UPDATE CASCADE ON DELETE CASCADE);
CREATE INDEX visit_email ON visit (email);
CREATE INDEX person_low ON person (lower(email)) WHERE email IS NOT NULL;
CREATE TABLE running ();
CREATE TABLE fault (what text);
CREATE TABLE waited (longest interval, statements int);
CREATE SEQUENCE number;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
INSERT INTO person (email, copy) SELECT 'straw' || g || '@example.org', 'straw' || g || '@example.org' FROM generate_series(1, 4000) g;
INSERT INTO visit (person, email) SELECT id, email FROM person WHERE id % 2 = 0;
CREATE PROCEDURE write() LANGUAGE plpgsql AS $$
DECLARE
	v_started timestamptz;
	v_longest interval := '0';
	i bigint;
	one int;
BEGIN
	FOR n IN 1..1000000 LOOP
		IF to_regclass('public.running') IS NULL THEN
			INSERT INTO waited VALUES (v_longest, n);
			COMMIT;
			EXIT;
		END IF;
		i := nextval('number');
		one := 1 + (random() * 3999)::int;
		v_started := clock_timestamp();
		UPDATE person SET email = 'new' || i || '@example.org', copy = 'new' || i || '@example.org' WHERE id = one;
		INSERT INTO person (email, copy) VALUES ('made' || i || '@example.org', 'made' || i || '@example.org');
		BEGIN
			INSERT INTO visit (person, email) SELECT id, email FROM person WHERE id = one;
		EXCEPTION WHEN foreign_key_violation THEN	-- it changed meanwhile
		END;
		BEGIN
			INSERT INTO person (email, copy) VALUES ('made' || i || '@example.org', 'twice');
			INSERT INTO fault VALUES ('two of one address');
		EXCEPTION WHEN unique_violation THEN
		END;
		BEGIN
			INSERT INTO visit (email) VALUES ('nobody' || i || '@example.org');
			INSERT INTO fault VALUES ('of nobody');
		EXCEPTION WHEN foreign_key_violation THEN
		END;
		BEGIN
			INSERT INTO person (email) VALUES ('x');
			INSERT INTO fault VALUES ('too short');
		EXCEPTION WHEN check_violation THEN
		END;
		COMMIT;
		v_longest := greatest(v_longest, clock_timestamp() - v_started);
		DELETE FROM person WHERE id > 4000 AND id % 3 = 0;
		UPDATE person SET email = 'undone', copy = 'not' WHERE id = 2;
		ROLLBACK;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SQL
my $differ = 'SELECT count(*) FROM person WHERE email IS DISTINCT FROM copy::varchar';
my $astray = 'SELECT count(*) FROM visit v LEFT JOIN person p ON p.id = v.person WHERE v.email IS DISTINCT FROM p.email';

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
ok(poll_sql($node, 'postgres', 'SELECT count(*) FROM dataprotect.online_progress', '2'), 'it has begun, on both sides of the foreign key');
my $column = $node->safe_psql('postgres', q{SELECT attname FROM pg_attribute WHERE attrelid = 'person'::regclass AND attname ~ '^dataprotect_online'});
ok(poll_sql($node, 'postgres', "SELECT count(*) > 0 FROM person WHERE $column IS NOT NULL"), 'others write on');
is($node->safe_psql('postgres', "$differ OR $column IS NOT NULL AND $column <> copy"), '0', 'both columns, in step');
kill9_node($node);
eval { $_->{run}->finish } for $writer, $call;
$node->start;
is($node->safe_psql('postgres', 'SELECT DISTINCT step FROM dataprotect.online_progress'), 'fill', 'a server that was killed knows where it was');
is($node->safe_psql('postgres', $differ), '0', 'and lost nothing');

# Killed while the worker builds indexes, which wait for whoever has an older snapshot.
sub begin_call
{
	my $call = $node->background_psql('postgres', on_error_stop => 0);
	$call->query_until(qr/^$/m, <<'SQL');
\echo
SET client_min_messages = warning;
SET dataprotect.retention_batch_size = 2000;
CALL dataprotect.encrypt_column('person', 'email', 'pii', online => true);
SQL
	return $call;
}
my $step = q{SELECT step FROM dataprotect.online_progress WHERE rel = 'person'::regclass};
$writer = writer();
my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM fault');
$call = begin_call();
ok(poll_sql($node, 'postgres', 'SELECT count(*) > 0 FROM pg_stat_progress_create_index'), 'indexes are being built');
ok(poll_sql($node, 'postgres', $step, 'index'), 'and it says so');
kill9_node($node);
eval { $_->{run}->finish } for $writer, $call, $old;
$node->start;
like($node->safe_psql('postgres', $step), qr/^(index|swap)$/, 'killed meanwhile, it knows that');

# The worker goes on by itself; killed when all is there and a reader is in the way of the swap.
ok(poll_sql($node, 'postgres', $step, 'swap'), 'the worker builds them without a call');
$old = $node->background_psql('postgres');
$old->query_safe('BEGIN; SELECT count(*) FROM person');
$writer = writer();
$call = begin_call();
ok(poll_sql($node, 'postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE relation IN ('person'::regclass, 'visit'::regclass) AND mode = 'AccessExclusiveLock'}),
	'it tries to swap');
kill9_node($node);
eval { $_->{run}->finish } for $writer, $call, $old;
$node->start;
is($node->safe_psql('postgres', $step), 'swap', 'killed before the swap, it knows that');
is($node->safe_psql('postgres', $_), '0', 'and all is as it was') for $differ, $astray;

# The same call goes on, beside writers and a reader who is in the way of the swap for a while.
$writer = writer();
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM person');
$call = begin_call();
ok(poll_sql($node, 'postgres', "SELECT count(*) = 0 FROM person WHERE $column IS NULL"), 'all is filled, and it waits for the reader');
my $made = $node->safe_psql('postgres', 'SELECT max(id) FROM person');
ok(poll_sql($node, 'postgres', "SELECT max(id) > $made FROM person"), 'and nobody for it');
$reader->query_safe('COMMIT');
$reader->quit;
# Killed after the swap, before the rest.
ok(poll_sql($node, 'postgres', q{SELECT count(*) FROM dataprotect.protected_columns}, '2'), 'both columns are swapped');
kill9_node($node);
eval { $_->{run}->finish } for $writer, $call;
$node->start;
is($node->safe_psql('postgres', $_), '0', 'killed after the swap, all is as it was written') for $astray, 'SELECT count(*) FROM person WHERE email::text <> copy';
$writer = writer();
$call = begin_call();
ok(poll_sql($node, 'postgres', 'SELECT count(*) FROM dataprotect.online_progress', '0'), 'it ends');
$made = $node->safe_psql('postgres', 'SELECT max(id) FROM person');
ok(poll_sql($node, 'postgres', "SELECT max(id) > $made FROM person"), 'others write on');
$call->quit;
$node->safe_psql('postgres', 'DROP TABLE running');
$writer->quit;
note('the longest that a writer waited, and its rounds: ' . $node->safe_psql('postgres', 'SELECT longest, statements FROM waited'));
is($node->safe_psql('postgres', 'SELECT count(*) FROM fault'), '0', 'keys, foreign keys and checks held at every moment');
is($node->safe_psql('postgres', "SELECT rel, col, type, key FROM dataprotect.protected_columns ORDER BY 1"),
	"person|email|encrypted_text|pii\nvisit|email|encrypted_text|pii", 'the columns are protected');
is($node->safe_psql('postgres', q{SELECT string_agg(c.relname, ' ' ORDER BY c.relname COLLATE "C") FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
	WHERE indisvalid AND indrelid IN ('person'::regclass, 'visit'::regclass)}), 'one_each person_low person_pkey visit_email visit_pkey', 'with the indexes there were');
is($node->safe_psql('postgres', q{SELECT string_agg(conname, ' ' ORDER BY conname COLLATE "C") FROM pg_constraint
	WHERE convalidated AND contype <> 'n' AND conrelid IN ('person'::regclass, 'visit'::regclass)}),
	'one_each person_email_check person_pkey visit_person_fkey visit_pkey whose', 'and the constraints');
is($node->safe_psql('postgres', $astray), '0', 'who refers refers to the same');
is($node->safe_psql('postgres', 'SELECT count(*) FROM person WHERE email::text <> copy'), '0', 'and every value is the one that was written');
is($node->safe_psql('postgres', q{SELECT count(*) FROM dataprotect.verify('person') WHERE failures > 0}), '0', 'and opens');

# What is gone is gone from the files with a rewrite.
$node->safe_psql('postgres', 'ALTER TABLE person DROP COLUMN copy; VACUUM FULL person; CHECKPOINT');
my $file = $node->data_dir . '/' . $node->safe_psql('postgres', q{SELECT pg_relation_filepath('person')});
unlike(slurp_file($file), qr/straw\d|new\d|made\d/, 'no plaintext is in the table\'s file');

$node->stop;
done_testing();
