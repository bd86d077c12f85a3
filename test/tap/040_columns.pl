# If this fails, encrypt_column locks or changes something before it refuses,
# plaintext is left in the table's files, a dump of protected tables cannot be
# restored, or verify() does not notice a damaged value.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('columns', conf => "full_page_writes = on\n");
load_company($node, 'company');
create_extension($node, 'company');
$node->safe_psql('company', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA company TO app;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA company TO app;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
SQL

my @relations = qw(customer customer_list address payment revenue_by_month staff);

sub rows
{
	my ($relation) = @_;
	return $node->safe_psql('company',
		qq{SELECT count(*), md5(string_agg(r::text, ',' ORDER BY r::text COLLATE "C")) FROM company.$relation r},
		extra_params => [ '-U', 'app' ]);
}
my %before = map { $_ => rows($_) } @relations;

# A refusal comes before any lock: a reader of the table does not hold it up, and
# it does not hold up a reader.
$node->safe_psql('company', q{CREATE INDEX first_letter ON company.customer ((coalesce(first_name, '.')))});
my $reader = $node->background_psql('company');
$reader->query_safe('BEGIN; SELECT count(*) FROM company.customer');
psql_fails(
	$node, 'company',
	"SET lock_timeout = '100ms'; CALL dataprotect.encrypt_column('company.customer', 'first_name', 'pii')",
	qr/cannot encrypt column "first_name".*Index "first_letter" is over an expression/s,
	'a refusal takes no lock');
$node->safe_psql('company', q{CREATE FUNCTION company.same(anyelement, anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
	CREATE VIEW company.impossible AS SELECT company.same(last_name::text, 'x') AS x, company.same(email, 'x') AS y FROM company.customer});
psql_fails(
	$node, 'company',
	q{SET lock_timeout = '100ms'; CALL dataprotect.encrypt_columns('company.customer', '{"last_name": "pii", "email": "pii"}')},
	qr/cannot encrypt column.*View "impossible" would have no meaning/s,
	'view-fails-after-the-lock: nor does one by a view');
$node->safe_psql('company', 'DROP VIEW company.impossible');
psql_fails(
	$node, 'company',
	"SET lock_timeout = '100ms'; CALL dataprotect.encrypt_column('company.customer', 'last_name', 'pii')",
	qr/canceling statement due to lock timeout/,
	'the change itself waits for readers');
$reader->query_safe('COMMIT');
$reader->quit;
is(sqlstate_of($node, 'company', "CALL dataprotect.encrypt_column('company.customer', 'first_name', 'pii')"),
	'2BP01', 'SQLSTATE of a refusal');
$node->safe_psql('company', 'DROP INDEX company.first_letter');

# The table is encrypted within the caller's transaction: rolled back, nothing is left.
$node->safe_psql('company', <<'SQL');
BEGIN;
CALL dataprotect.encrypt_column('company.customer', 'email', 'pii');
ROLLBACK;
SQL
is($node->safe_psql('company', 'SELECT count(*) FROM dataprotect.protected_columns'), '0', 'rolled back');
is(rows('customer'), $before{customer}, 'and the rows are as they were');

for my $column ([ 'customer', 'email' ], [ 'customer', 'first_name' ], [ 'customer', 'last_name' ], [ 'customer', 'born' ],
	[ 'address', 'phone' ], [ 'staff', 'email' ], [ 'staff', 'salary' ], [ 'payment', 'amount' ])
{
	$node->safe_psql('company', "CALL dataprotect.encrypt_column('company.$column->[0]', '$column->[1]', 'pii')");
}
is(rows($_), $before{$_}, "$_ gives a reader the rows it gave before") for @relations;
is( $node->safe_psql('company', q{SELECT string_agg(indexdef, '|' ORDER BY indexname COLLATE "C") FROM pg_indexes
		WHERE schemaname = 'company' AND indexname IN ('customer_last_name_idx', 'customer_email_key', 'staff_email_key')}),
	'CREATE UNIQUE INDEX customer_email_key ON company.customer USING btree (email encrypted_text_token_ops)'
	  . '|CREATE INDEX customer_last_name_idx ON company.customer USING hash (last_name)'
	  . '|CREATE UNIQUE INDEX staff_email_key ON company.staff USING btree (email encrypted_text_token_ops)',
	'indexes became what they should');
is($node->safe_psql('company', 'SELECT sum(failures), count(*) FROM dataprotect.verify()'), '0|8', 'every value authenticates');

# Values that were there before are in no file of the table any more, and what is
# written from now on is in no file at all, WAL included.
$node->safe_psql('company', "INSERT INTO company.staff (name, email) VALUES ('new', 'written.afterwards\@company.example')",
	extra_params => [ '-U', 'app' ]);
my $heap = $node->safe_psql('company', "SELECT pg_relation_filepath('company.customer')");
$node->safe_psql('company', 'CHECKPOINT');
my $oid = $node->safe_psql('company', 'SELECT oid FROM pg_database WHERE datname = current_database()');
$node->stop;
is_deeply([ files_with($node->data_dir . "/base/$oid", 'person17@mail.example') ], [], 'no e-mail in the database\'s files');
is_deeply([ files_with($node->data_dir, 'written.afterwards') ], [], 'nothing written afterwards in the data directory');

# reencrypt() that is killed goes on where it was, and two at once share the work.
$node->start;
$node->safe_psql('company', <<'SQL');
CREATE TABLE company.big (id int, v encrypted_text('pii'), n int DEFAULT 0);
INSERT INTO company.big SELECT i, 'big ' || i FROM generate_series(1, 20000) i;
SELECT dataprotect.rotate_key('pii');
SQL
my $slow = "SET dataprotect.retention_batch_size = 200; SET dataprotect.retention_cost_delay = '20ms';";
my $worker = $node->background_psql('company', on_error_stop => 0);
$worker->query_safe($slow);
$worker->{stdin} .= "CALL dataprotect.reencrypt('company.big');\n";
$worker->{run}->pump_nb;
poll_sql($node, 'company', "SELECT coalesce(max(blocks_done) > 5, false) FROM dataprotect.reencrypt_progress WHERE rel = 'company.big'::regclass");
is($node->safe_psql('company', q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'CALL dataprotect.reencrypt%'}),
	'1', 'terminated half-way');
eval { $worker->quit };
poll_sql($node, 'company', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'CALL dataprotect.reencrypt%'});
my ($done_blocks, $all_blocks, $stale) = split /\|/, $node->safe_psql('company', q{
	SELECT blocks_done, blocks, (SELECT count(*) FROM company.big WHERE dataprotect._envelope_key_id(v) IN
			(SELECT x.key_id FROM dataprotect.key_version x JOIN dataprotect.key k USING (family) WHERE k.name = 'pii' AND x.key_id <> k.current_key_id))
	FROM dataprotect.reencrypt_progress WHERE rel = 'company.big'::regclass AND finished_at IS NULL});
cmp_ok($done_blocks, '<', $all_blocks, 'it has not finished');
cmp_ok($stale, '<', 20000, 'but what it did is kept');
# rows move while two sessions finish the job
my @pids = map {
	my $n = $_;
	my $pid = fork;
	if ($pid == 0)
	{
		exec 'psql', '-X', '-q', '-d', $node->connstr('company'), '-o', '/dev/null', '-c', 'SET client_min_messages = error',
		  '-c', 'SET dataprotect.retention_batch_size = 200', '-c',
		  $n < 2 ? "CALL dataprotect.reencrypt('company.big')" : 'UPDATE company.big SET n = n + 1 WHERE id % 7 = 0'
		  or exit 1;
	}
	$pid;
} 0 .. 2;
my @codes = map { waitpid $_, 0; $? } @pids;
is_deeply(\@codes, [ 0, 0, 0 ], 'two reencrypt() and an UPDATE at once');
is($node->safe_psql('company', q{SELECT version, "values", failures FROM dataprotect.verify('company.big')}),
	'2|20000|0', 'every value is under the new version');
is( $node->safe_psql('company', q{SELECT finished_at IS NOT NULL, values_done FROM dataprotect.reencrypt_progress WHERE rel = 'company.big'::regclass}),
	't|20000', 'and was sealed anew once');
$node->stop;

# One flipped byte of one value is one failure, and told by its column and key.
my $file = $node->data_dir . "/$heap";
open(my $fh, '+<:raw', $file) or die "could not open \"$file\": $!";
my $page = '';
read($fh, $page, 8192);
# the first tuple lies at the end of its page; 24 bytes before its end are within its last value
my $lp = unpack('V', substr($page, 24, 4));
my ($offset, $length) = ($lp & 0x7fff, $lp >> 17);
my $end = $offset + $length;
# the last column is updated_at; created_at, referred_by and address_id come before it, then born
my $born = $end - 8 - 8 - 4 - 4 - 10;
substr($page, $born, 1) = chr(ord(substr($page, $born, 1)) ^ 1);
seek($fh, 0, 0);
print $fh $page;
close $fh;
$node->start;
is( $node->safe_psql('company', q{SELECT col, key, version, failures FROM dataprotect.verify('company.customer') WHERE failures > 0}),
	'born|pii|1|1', 'verify() finds the damaged value');
my ($rc, $out, $err) = $node->psql('company', 'SELECT max(born) FROM company.customer', extra_params => [ '-U', 'app' ]);
isnt($rc, 0, 'and nobody gets a wrong one');
unlike($err, qr/\d{4}-\d\d-\d\d/, 'nor part of it in the message');

# A dump carries ciphertext, and restores into a database whose keys come later.
my $dump = $node->basedir . '/company.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('company'), '-f', $dump, '--exclude-table=company.customer*' ],
	'pg_dump by a superuser without a grant');
unlike(slurp_file($dump), qr/staff1\@company/, 'the dump has no plaintext');
like(slurp_file($dump), qr/enc:v1:/, 'the dump has ciphertext');
$node->command_ok([ 'pg_dump', '-s', '-d', $node->connstr('company'), '-f', "$dump.schema" ], 'pg_dump of the schema');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', "$dump.schema" ],
	'the schema restores before any key is there');
is( $node->safe_psql('restored', q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid = 'company.staff'::regclass AND attname = 'email'}),
	q{encrypted_text('pii','searchable','80')}, 'modifiers say what they said');
is($node->safe_psql('restored', 'SELECT count(*) FROM company.staff'), '0', 'and its tables can be used');

done_testing();
