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
	notes encrypted_jsonb('pii'));
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
GRANT SELECT, INSERT ON app.person, app.mailable, public.bound TO app, dumper;
SELECT dataprotect.flush_audit_log();
SQL

my $question = <<'SQL';
SELECT md5(string_agg(concat_ws(',', id, email, pay, born, notes), ';' ORDER BY id)) FROM app.person
UNION ALL SELECT md5(string_agg(concat_ws(',', id, person, note), ';' ORDER BY id)) FROM public.bound
UNION ALL SELECT string_agg(email, ';' ORDER BY id) FROM app.mailable WHERE id < 3
SQL
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

# The whole, by sections.
run_with('', 'pg_dump', connection('postgres', 'dumper'), '-Fc', '-f', "$dir/whole.dump");
$node->safe_psql('postgres', 'CREATE DATABASE restored');
for my $step ([ '--section=pre-data' ], [ '--section=data', '-n', 'dataprotect' ],
	[ '--section=data', '-N', 'dataprotect' ], [ '--section=post-data' ])
{
	($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error',
		connection('restored', 'postgres'), @$step, "$dir/whole.dump");
	ok($ok, "pg_restore @$step") or diag($text);
}
is($node->safe_psql('restored', $question), $answer, 'the restored database reads the same values');
is($node->safe_psql('restored', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'every restored value authenticates');
is($node->safe_psql('restored', <<'SQL'), '0|2|1', 'envelopes, keys and grants are those of the source');
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
ok($node->safe_psql('restored', "SELECT count(*) FROM dataprotect.audit_record r, dataprotect.audit_record s WHERE r.seq = s.seq AND r.ctid <> s.ctid") == 0,
	'without a number given twice');

# A folder, dumped and restored by several processes, with a statement for each row; the keys' tables in order.
($ok, $text) = run_with('', 'pg_dump', connection('postgres', 'dumper'), '-Fd', '-j', '2', '--inserts', '-f', "$dir/folder");
ok($ok, 'a dump into a folder by two processes') or diag($text);
$node->safe_psql('postgres', 'CREATE DATABASE by_inserts');
for my $step ([ '-j', '2', '--section=pre-data' ], [ '--section=data', '-n', 'dataprotect' ],
	[ '-j', '2', '--section=data', '-N', 'dataprotect' ], [ '-j', '2', '--section=post-data' ])
{
	($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'pg_restore', '--exit-on-error', connection('by_inserts', 'postgres'), @$step, "$dir/folder");
	ok($ok, "pg_restore @$step") or diag($text);
}
is($node->safe_psql('by_inserts', $question), $answer, 'what was restored by INSERT reads the same');

# One go, where the alphabet allows it; and what goes wrong says what to do.
($ok, $text) = run_with('', 'pg_dump', connection('postgres', 'dumper'), '-N', 'app', '-f', "$dir/after.sql");
$node->safe_psql('postgres', 'CREATE DATABASE one_go');
($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/after.sql", connection('one_go', 'postgres'));
ok($ok, 'a plain dump restores in one go') or diag($text);
is($node->safe_psql('one_go', 'SELECT note FROM public.bound WHERE id = 7'), 'needle-bound-7', 'and reads');

$node->safe_psql('postgres', 'CREATE DATABASE forgot');
($ok, $text) = run_with('', 'psql', '-X', '-f', "$dir/after.sql", connection('forgot', 'postgres'));
like($text, qr/set "dataprotect.input" to "ciphertext"/, 'a restore without the setting says what is missing');
is($node->safe_psql('forgot', 'SELECT count(*) FROM public.bound'), '0', 'and seals nothing twice');

$node->safe_psql('postgres', 'CREATE DATABASE wrong_order');
($ok, $text) = run_with('-c dataprotect.input=ciphertext', 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", connection('wrong_order', 'postgres'));
like($text, qr/restore the rows of schema "dataprotect" first/, 'searchable values before their keys: the error says what to do');

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
