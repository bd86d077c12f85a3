# If this fails, a backup by pg_dump shows plaintext, or cannot be restored into
# a new database and read there again.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('dump');
my $dir = $node->basedir;

# Output and error text of a program that is to succeed with this server.
sub run_with
{
	my ($options, @command) = @_;
	local $ENV{PGOPTIONS} = $options;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	return ($ok, $out . $err);
}

sub connection
{
	my ($database, $user) = @_;
	return ('-h', $node->host, '-p', $node->port, '-U', $user, '-d', $database);
}

create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
SELECT dataprotect.create_key('other');
CREATE ROLE app LOGIN;
CREATE ROLE dumper LOGIN IN ROLE pg_read_all_data;
SELECT dataprotect.grant_access('pii', 'app', 'reveal', reason => 'the application');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
-- a schema that comes before "dataprotect" in the alphabet, and one after
CREATE SCHEMA app;
GRANT USAGE ON SCHEMA app TO app;
CREATE TABLE app.person (
	id int PRIMARY KEY,
	email encrypted_text('pii','searchable','(50)'),
	pay encrypted_numeric('pii','ordered','(7,2)'),
	born encrypted_date('pii') DEFAULT '1970-01-01',
	notes encrypted_jsonb('pii'),
	CHECK (email <> '' AND char_length(email) < 60 AND jsonb_typeof(notes) = 'object' AND pay > 0));
CREATE DOMAIN app.mail AS encrypted_text('pii','searchable','(60)') CHECK (VALUE LIKE '%@%');
CREATE TYPE app.mood AS ENUM ('sad', 'glad');
SELECT dataprotect.create_encrypted_type('app.mood');
CREATE TYPE app.place AS (street encrypted_text('pii'), zip int);
CREATE TABLE app.kind (id int PRIMARY KEY, mail app.mail, feels encrypted_mood('other'), tags encrypted_text('pii','searchable')[],
	home app.place, n encrypted_int4('pii','ordered') CHECK (n > 0), login text UNIQUE CHECK (login LIKE 'l%'), email text, words text);
CREATE UNIQUE INDEX kind_lower ON app.kind (lower(email));
-- computed anew where they are restored
CREATE TABLE app.computed (id int PRIMARY KEY, first text, last text, low text GENERATED ALWAYS AS (lower(first)) STORED UNIQUE,
	whole text GENERATED ALWAYS AS (coalesce(first, '') || ' ' || coalesce(last, '')) STORED);
INSERT INTO app.computed SELECT i, CASE WHEN i % 3 > 0 THEN 'Needle' || i END, CASE WHEN i % 4 > 0 THEN 'L' || i END FROM generate_series(1, 60) i;
CALL dataprotect.encrypt_columns('app.computed', '{"first": "pii", "last": "pii"}');
CREATE FUNCTION app.refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'fired'; END$$;
CREATE TRIGGER refuse BEFORE UPDATE ON app.computed FOR EACH ROW EXECUTE FUNCTION app.refuse();
CREATE EXTENSION pg_trgm;
CREATE INDEX kind_words ON app.kind USING gin (words gin_trgm_ops);
CREATE INDEX kind_n ON app.kind (n);
COMMENT ON INDEX app.kind_n IS 'by number';
CREATE TABLE app.child (id int PRIMARY KEY, login text REFERENCES app.kind (login));
INSERT INTO app.kind SELECT i, 'm@' || i, 'glad', ARRAY['t' || i]::encrypted_text('pii','searchable')[], ROW('street ' || i, i)::app.place,
	i, 'l' || i, 'Mail' || i, 'some words ' || i FROM generate_series(1, 50) i;
INSERT INTO app.child SELECT i, 'l' || i FROM generate_series(1, 50) i;
SELECT dataprotect.grant_access('other', current_user::regrole, 'reveal');
CALL dataprotect.encrypt_column('app.kind', 'login', 'pii');
CALL dataprotect.encrypt_column('app.kind', 'email', 'pii');
CALL dataprotect.encrypt_column('app.kind', 'words', 'pii', wordsearch => true);
CREATE TABLE app.bound (id int PRIMARY KEY, person int, note encrypted_text('pii','searchable'),
	CHECK (dataprotect._sealed_for(note, 'person', person::text)));
CREATE TRIGGER zz_dataprotect_subject BEFORE INSERT OR UPDATE ON app.bound
	FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject('person', 'person');
ALTER TABLE app.bound ENABLE ALWAYS TRIGGER zz_dataprotect_subject;
CREATE UNIQUE INDEX person_email ON app.person (email encrypted_text_token_ops);
CREATE INDEX person_pay ON app.person (pay);
CREATE INDEX person_born ON app.person USING hash (born);
CREATE VIEW app.mailable AS SELECT id, upper(email) AS email FROM app.person WHERE email LIKE '%@%';
CREATE TABLE public.bound (id int PRIMARY KEY, person int, note encrypted_text('pii'),
	CHECK (dataprotect._sealed_for(note, 'person', person::text)));
CREATE TRIGGER zz_dataprotect_subject BEFORE INSERT OR UPDATE ON public.bound
	FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject('person', 'person');
ALTER TABLE public.bound ENABLE ALWAYS TRIGGER zz_dataprotect_subject;
INSERT INTO app.person (id, email, pay, notes)
	SELECT i, 'needle' || i || '@example.org', i + 0.25, jsonb_build_object('secret', 'needle-note-' || i)
	FROM generate_series(1, 50) i;
SELECT dataprotect.rotate_key('pii');
INSERT INTO app.person (id, email, pay, notes)
	SELECT i, 'needle' || i || '@example.org', i + 0.25, jsonb_build_object('secret', 'needle-note-' || i)
	FROM generate_series(51, 100) i;
INSERT INTO public.bound SELECT i, i % 10, 'needle-bound-' || i FROM generate_series(1, 100) i;
INSERT INTO app.bound SELECT i, i % 10, 'needle-bound-' || i FROM generate_series(1, 100) i;
GRANT USAGE ON SCHEMA app TO dumper;
GRANT SELECT, INSERT ON app.person, app.mailable, app.bound, public.bound, app.kind, app.child, app.computed TO app, dumper;
SELECT dataprotect.flush_audit_log();
SQL

my $question = <<'SQL';
SET datestyle = 'ISO, MDY';
SELECT md5(string_agg(concat_ws(',', id, email, pay, born, notes), ';' ORDER BY id)) FROM app.person
UNION ALL SELECT md5(string_agg(concat_ws(',', id, person, note), ';' ORDER BY id)) FROM public.bound
UNION ALL SELECT md5(string_agg(concat_ws(',', id, person, note), ';' ORDER BY id)) FROM app.bound
UNION ALL SELECT md5(string_agg(k::text, ';' ORDER BY id)) FROM app.kind k
UNION ALL SELECT md5(string_agg(concat_ws(',', id, login), ';' ORDER BY id)) FROM app.child
UNION ALL SELECT string_agg(email, ';' ORDER BY id) FROM app.mailable WHERE id < 3
UNION ALL SELECT string_agg(concat_ws(',', id, first, last, low, whole), ';' ORDER BY id) FROM app.computed WHERE id < 13
SQL
my $times = "SET datestyle = ISO; SET timezone = UTC; SET intervalstyle = postgres; SELECT string_agg(k::text, ';' ORDER BY k::text) FROM dataprotect.key k; SELECT string_agg(g::text, ';' ORDER BY g::text) FROM dataprotect.access_grant g; SELECT string_agg(t::text, ';' ORDER BY t::text) FROM dataprotect.account_type t";
my $answer = $node->safe_psql('postgres', $question);
like($answer, qr/NEEDLE1\@EXAMPLE\.ORG/, 'the source database reads its values');

# What is in the dump.
my ($ok, $text) = run_with('', 'pg_dump', connection('postgres', 'dumper'), '-f', "$dir/plain.sql");
ok($ok, 'a role without grants dumps') or diag($text);
my $dump = slurp_file("$dir/plain.sql");
unlike($dump, qr/needle/i, 'a dump by a role without grants has no plaintext');
like($dump, qr/enc:v1:/, 'and has ciphertext');
like($dump, qr/encrypted_text\('pii','searchable','50'\)/, 'modifiers are dumped in words');
unlike($dump, qr/type_modifier/, 'registered modifiers are not data of a dump');

run_with('', 'pg_dump', connection('postgres', 'app'), '-t', 'app.person', '-f', "$dir/revealed.sql");
like(slurp_file("$dir/revealed.sql"), qr/needle1\@example\.org/, 'a dump by a role with reveal has plaintext');

# Schema only, where no key exists.
run_with('', 'pg_dump', connection('postgres', 'dumper'), '-s', '-f', "$dir/schema.sql");
$node->safe_psql('postgres', 'CREATE DATABASE schema_only');
($ok, $text) = run_with('', 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/schema.sql", connection('schema_only', 'postgres'));
ok($ok, 'the schema restores where no key exists') or diag($text);
is($node->safe_psql('schema_only', "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'app.person'::regclass AND attname = 'pay'"),
	"encrypted_numeric('pii','ordered','7,2')", 'with the modifiers it had');
psql_fails($node, 'schema_only', "INSERT INTO app.person (id, email) VALUES (1, 'x')", qr/key "pii" does not exist/, 'and takes no value before its key is there');

# The whole, in the worst order: the keys last.
run_with('', 'pg_dump', connection('postgres', 'dumper'), '-Fc', '-f', "$dir/whole.dump");
$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $dumped_at = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
for my $step ([ '--section=pre-data' ], [ '--section=data', '-N', 'dataprotect' ],
	[ '--section=post-data' ], [ '--section=data', '-n', 'dataprotect' ])
{
	($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error',
		connection('restored', 'postgres'), @$step, "$dir/whole.dump");
	ok($ok, "pg_restore @$step") or diag($text);
	next if $step->[0] ne '--section=post-data';
	is($node->safe_psql('restored', "SELECT count(*) > 5 FROM dataprotect.put_off"), 't', 'what needs the keys is put off');
}
is($node->safe_psql('restored', <<'COUNT'), $node->safe_psql('postgres', <<'COUNT'), 'indexes, constraints and comments are those of the source');
SELECT string_agg(indexdef, E'\n' ORDER BY indexname, schemaname) FROM pg_indexes WHERE schemaname IN ('app', 'public');
SELECT string_agg(conrelid::regclass || pg_get_constraintdef(oid), E'\n' ORDER BY conrelid::regclass::text, conname) FROM pg_constraint WHERE connamespace = 'app'::regnamespace;
SELECT obj_description('app.kind_n'::regclass);
COUNT
SELECT string_agg(indexdef, E'\n' ORDER BY indexname, schemaname) FROM pg_indexes WHERE schemaname IN ('app', 'public');
SELECT string_agg(conrelid::regclass || pg_get_constraintdef(oid), E'\n' ORDER BY conrelid::regclass::text, conname) FROM pg_constraint WHERE connamespace = 'app'::regnamespace;
SELECT obj_description('app.kind_n'::regclass);
COUNT
is($node->safe_psql('restored', 'SELECT count(*) FROM dataprotect.put_off UNION ALL SELECT count(*) FROM dataprotect.restored_row'), "0\n0", 'and nothing waits any more');
is($node->safe_psql('restored', "SELECT count(*) > 0 AND bool_and(v.state_since >= '$dumped_at') FROM dataprotect.key_version v WHERE v.purpose = 2 AND v.state = 'r'"), 't', 'the time of keys that were replaced begins again, for their values may still come');
is($node->safe_psql('restored', 'SELECT count(*) FROM dataprotect.verify_policy()'), '0', 'and what is sealed is as it was');
is($node->safe_psql('restored', $question), $answer, 'the restored database reads the same values');
is($node->safe_psql('restored', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'every restored value authenticates');
is($node->safe_psql('restored', <<'SQL'), '0|3|1', 'envelopes, keys and grants are those of the source');
SELECT (SELECT count(*) FROM app.person p WHERE NOT EXISTS
			(SELECT FROM dataprotect.key_version v WHERE v.key_id = dataprotect._envelope_key_id(p.email))),
	(SELECT count(*) FROM dataprotect.grants WHERE in_force),
	(SELECT count(*) FROM dataprotect.key_version WHERE family = 0 AND purpose = 4)
SQL
is($node->safe_psql('restored', 'SELECT uid FROM dataprotect.instance'), $node->safe_psql('postgres', 'SELECT uid FROM dataprotect.instance'),
	'the identity that keys are wrapped for came with them');
for my $find ([ "email = 'needle77\@example.org'", 'person_email' ], [ 'pay BETWEEN 77 AND 78', 'person_pay' ], [ "born = '1970-01-01'", 'person_born' ])
{
	like($node->safe_psql('restored', "SET enable_seqscan = off; SET enable_bitmapscan = off; EXPLAIN (COSTS OFF) SELECT id FROM app.person WHERE $find->[0]"),
		qr/Index.*$find->[1]/, "restored index $find->[1] is used");
}
is($node->safe_psql('restored', "SET enable_seqscan = off; SELECT id FROM app.person WHERE email = 'needle77\@example.org' AND pay = 77.25"),
	'77', 'and finds what it should');
psql_fails($node, 'restored', "INSERT INTO app.person (id, email) VALUES (1000, 'needle77\@example.org')", qr/duplicate key/, 'uniqueness holds between restored and new values');
is($node->safe_psql('restored', "INSERT INTO public.bound VALUES (101, 5, 'new'); SELECT count(DISTINCT dataprotect._envelope_key_id(note)) FROM public.bound WHERE person = 5"),
	'1', 'an account goes on with the key it had');
is($node->safe_psql('restored', "SELECT dataprotect.rotate_key('pii')"), '3', 'restored keys rotate');
$node->safe_psql('restored', "SELECT dataprotect.create_key('brand_new')");
is($node->safe_psql('restored', 'SELECT count(DISTINCT family) FROM dataprotect.key'), '3', 'new keys get numbers of their own');
is($node->safe_psql('restored', 'SELECT dataprotect.flush_audit_log()'), 't', 'the audit log goes on');
is($node->safe_psql('restored', 'SELECT ok, checked > 3 FROM dataprotect.verify_audit_log()'), 't|t', 'and is whole, the restored part included');
ok($node->safe_psql('restored', "SELECT count(*) FROM dataprotect.audit_record r, dataprotect.audit_record s WHERE r.seq = s.seq AND (r.kind, r.ring_seq, r.instance) <> (s.kind, s.ring_seq, s.instance)") == 0,
	'without a number given twice');

# A folder, dumped by several processes, with a statement for each row.
($ok, $text) = run_with('', 'pg_dump', connection('postgres', 'dumper'), '-Fd', '-j', '2', '--inserts', '-f', "$dir/folder");
ok($ok, 'a dump into a folder by two processes') or diag($text);

# One command, though searchable, checked and subject-bound rows come before their keys.
run_with('', 'pg_dump', connection('postgres', 'dumper'), '--rows-per-insert=7', '-f', "$dir/inserts.sql");
for my $way ([ plain => 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql" ],
	[ statements => 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-1', '-f', "$dir/inserts.sql" ],
	[ custom => 'pg_restore', '--exit-on-error', '-j', '4', "$dir/whole.dump" ],
	[ folder => 'pg_restore', '--exit-on-error', '-j', '3', "$dir/folder" ])
{
	my ($name, $program, @options) = @$way;

	$node->safe_psql('postgres', "CREATE DATABASE one_$name");
	# the processes of a restore and whoever brings the last rows may write dates otherwise
	$node->safe_psql('postgres', "ALTER DATABASE one_$name SET datestyle = 'SQL, DMY'; ALTER DATABASE one_$name SET timezone = 'Asia/Kolkata'; ALTER DATABASE one_$name SET intervalstyle = 'sql_standard'") if $name eq 'folder';
	($ok, $text) = run_with('-c dataprotect.input=ciphertext', $program, connection("one_$name", 'postgres'), @options);
	ok($ok, "$name: restored in one command") or diag($text);
	is($node->safe_psql("one_$name", $question), $answer, "$name: reads the same values");
	is($node->safe_psql("one_$name", "SET enable_seqscan = off; SELECT id FROM app.computed WHERE low = 'needle7'"), '7', "$name: and finds a computed one by its index");
	is($node->safe_psql("one_$name", 'SELECT sum(failures) FROM dataprotect.verify()'), '0', "$name: every value authenticates");
	is($node->safe_psql("one_$name", $times), $node->safe_psql('postgres', $times), "$name: times and intervals are those that were");
}
# Some of the extension's rows are not there: no keys come, and what is missing is told.
$node->safe_psql('postgres', 'CREATE DATABASE partly');
run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error', connection('partly', 'postgres'), '--section=pre-data', "$dir/whole.dump");
my $waiting = "SELECT ok, severity, detail FROM dataprotect.check_setup() WHERE item = 'restored rows'";
is($node->safe_psql('partly', $waiting), 't|high|None wait for others.', 'nothing waits yet');
run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error', connection('partly', 'postgres'), '--section=data', '-n', 'dataprotect', '-t', 'key', "$dir/whole.dump");
like($node->safe_psql('partly', $waiting), qr/^f\|high\|\d+ rows of schema dataprotect, keys .* wait .*: those of zz_restored/, 'rows wait for what counts them');
run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error', connection('partly', 'postgres'), '--section=data', '-n', 'dataprotect', '-t', 'zz_restored', "$dir/whole.dump");
my $missing = $node->safe_psql('partly', $waiting);
like($missing, qr/^f\|high\|.*wait .*: .*\d+ of key_version/, 'and for those that it counts');
unlike($missing, qr/ of key[,.]/, 'but not for those that came');
is($node->safe_psql('one_custom', $waiting), 't|high|None wait for others.', 'nothing waits where all came');

# Over what is there: dropped and restored again, by several processes.
($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error', '-j', '2', '--clean', '--if-exists',
	connection('one_custom', 'postgres'), "$dir/whole.dump");
ok($ok, 'restored over what was restored') or diag($text);
is($node->safe_psql('one_custom', $question), $answer, 'and reads the same values');
$node->safe_psql('one_custom', 'DROP TABLE app.bound');
($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error', '-t', 'bound', '-n', 'app', connection('one_custom', 'postgres'), "$dir/whole.dump");
ok($ok, 'one table alone') or diag($text);
is($node->safe_psql('one_custom', $question), $answer, 'reads as it did');

# Rows that come before their keys bring nobody another's values.
$node->safe_psql('postgres', 'CREATE DATABASE forged');
run_with('-c dataprotect.input=ciphertext', 'pg_restore', connection('forged', 'postgres'), @$_, "$dir/whole.dump")
  for [ '--section=pre-data' ], [ '--section=data', '-n', 'app' ];
$node->safe_psql('forged', "SET dataprotect.input = ciphertext; DELETE FROM app.bound WHERE id = 1; INSERT INTO app.bound SELECT 1, 1, note FROM app.bound WHERE id = 2");
($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'pg_restore', connection('forged', 'postgres'), '--section=data', '-n', 'dataprotect', "$dir/whole.dump");
like($text, qr/a restored value of relation "app\.bound" is sealed for another account/, 'a value that was put into another row is found');
is($node->safe_psql('forged', 'SELECT count(*) FROM dataprotect.key_version'), '0', 'and no key comes with it');

# What was stored before its key is compared, searched, written and sealed anew like any other.
is($node->safe_psql('one_plain', "SET enable_seqscan = off; SELECT id FROM app.person WHERE email = 'needle77\@example.org' AND pay = 77.25"),
	'77', 'an index over them finds');
psql_fails($node, 'one_plain', "INSERT INTO app.person (id, email) VALUES (1000, 'needle77\@example.org')", qr/duplicate key/, 'and is unique');
psql_fails($node, 'one_plain', "UPDATE app.person SET email = '' WHERE id = 5", qr/violates check constraint/, 'their checks hold');
is($node->safe_psql('one_plain', <<'SQL'), "1|1\n100", 'equal values are one, whenever they were stored');
CREATE TABLE twin (email encrypted_text('pii','searchable','(50)'));
INSERT INTO twin VALUES ('needle5@example.org');
SELECT count(*), count(DISTINCT p.email) FROM (SELECT email FROM twin UNION SELECT email FROM app.person WHERE id = 5) p;
SELECT count(*) FROM app.person a JOIN app.person b USING (email);
SQL
my ($before, $after) = map { $node->safe_psql($_, "SET ROLE dumper; SELECT md5(string_agg(format('%s', email), ';' ORDER BY id)) FROM app.person") } qw(postgres one_plain);
is($after, $before, 'and leave as the ciphertext that they came as');
$node->safe_psql('one_plain', "CALL dataprotect.reencrypt('app.person')");
is($node->safe_psql('one_plain', $question), $answer, 'sealed under the newest version they read the same');
is($node->safe_psql('one_plain', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'and authenticate');

# What goes wrong says what to do.
run_with('', 'pg_dump', connection('postgres', 'dumper'), '-N', 'app', '-f', "$dir/after.sql");
$node->safe_psql('postgres', 'CREATE DATABASE forgot');
($ok, $text) = run_with('', 'psql', '-X', '-f', "$dir/after.sql", connection('forgot', 'postgres'));
like($text, qr/set "dataprotect.input" to "ciphertext"/, 'a restore without the setting says what is missing');
is($node->safe_psql('forgot', 'SELECT count(*) FROM public.bound'), '0', 'and seals nothing twice');

$node->safe_psql('postgres', 'CREATE DATABASE occupied');
create_extension($node, 'occupied');
$node->safe_psql('occupied', "SELECT dataprotect.create_key('mine')");
psql_fails($node, 'occupied', "SET dataprotect.input = 'ciphertext'; INSERT INTO dataprotect.instance DEFAULT VALUES",
	qr/belong to another database/, 'a database with keys of its own keeps its identity');

# A role that is no administrator restores no ciphertext.
psql_fails($node, 'restored', "SET ROLE app; SET dataprotect.input = 'ciphertext'; INSERT INTO app.person (id, notes) VALUES (2000, 'enc:v1:AAAA')",
	qr/permission denied to write ciphertext/, 'the application cannot write ciphertext');

$node->stop;
done_testing();
