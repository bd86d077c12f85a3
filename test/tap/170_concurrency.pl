# If this fails, sessions that write protected values at once, while keys rotate
# and grants change, meet errors, deadlock, or leave indexes that do not agree
# with their tables.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('concurrency', conf => "log_lock_waits = on\ndeadlock_timeout = 100ms\nfsync = off\nlog_statement = none\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION amcheck;
SELECT dataprotect.create_key('pii', mask => 'email'), dataprotect.create_key('account');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
DO $$ BEGIN EXECUTE format('GRANT dataprotect_auditor TO %I', current_user); END $$;
SELECT dataprotect.grant_access('pii', 'app', 'reveal'), dataprotect.grant_access('account', 'app', 'reveal'),
	dataprotect.grant_access('pii', current_user::regrole, 'reveal'), dataprotect.grant_access('account', current_user::regrole, 'reveal');
CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, h encrypted_text('pii'),
	t encrypted_text('pii','searchable'), o encrypted_int4('pii','ordered'), n int NOT NULL DEFAULT 0);
CREATE INDEX item_h ON item USING hash (h);
CREATE UNIQUE INDEX item_t ON item (t encrypted_text_token_ops);
CREATE INDEX item_o ON item (o);
CREATE TABLE bound (id bigint GENERATED ALWAYS AS IDENTITY, customer int, note encrypted_text('account'),
	CHECK (dataprotect._sealed_for(note, 'customer', customer::text)));
CREATE TRIGGER zz_dataprotect_subject BEFORE INSERT OR UPDATE ON bound
	FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject('customer', 'customer');
GRANT SELECT, INSERT, UPDATE, DELETE ON item, bound TO app;
SQL

my $dir = $node->basedir;

sub script
{
	my ($name, $text) = @_;
	append_to_file("$dir/$name.sql", $text);
	return "$dir/$name.sql";
}

# few values, so that sessions meet on the same buckets, pages and tokens
my @user = (
	script('upsert', "\\set v random(1, 200)\nINSERT INTO item (h, t, o) VALUES ('h' || (:v % 7), 't' || :v, :v % 50) ON CONFLICT (t) DO UPDATE SET n = item.n + 1, h = EXCLUDED.h, o = EXCLUDED.o;\n"),
	script('insert', "\\set v random(1, 20)\nINSERT INTO item (h, t, o) VALUES ('h' || (:v % 7), NULL, :v % 50);\n"),
	script('update', "\\set v random(1, 200)\nUPDATE item SET o = o + 1 WHERE t = 't' || :v;\n"),
	script('remove', "\\set v random(1, 200)\nDELETE FROM item WHERE t = 't' || :v;\n"),
	script('find', "\\set v random(1, 200)\nSELECT count(h::text) FROM item WHERE h = 'h' || (:v % 7);\nSELECT max(o) FROM item WHERE o BETWEEN :v % 50 AND 40;\n"),
	script('claim', "\\set c random(1, 100000)\nBEGIN;\nINSERT INTO bound (customer, note) VALUES (:c / 500, 'note of ' || :c / 500);\nEND;\n"),
	script('shown', "SELECT email FROM (SELECT o::text AS email FROM item ORDER BY o DESC LIMIT 5) s;\n"));
my @admin = (
	script('rotate', "SELECT dataprotect.rotate_key('pii');\n\\sleep 300 ms\n"),
	script('grants', "SELECT dataprotect.grant_access('pii', 'other', 'mask');\nSELECT dataprotect.revoke_access('pii', 'other');\n\\sleep 50 ms\n"),
	script('vacuum', "VACUUM item;\n\\sleep 500 ms\n"));

my ($admin_out, $admin_err) = ('', '');
my $admin = IPC::Run::start([ 'pgbench', '-n', '-c', '2', '-T', '12', '-M', 'simple', (map { ('-f', $_) } @admin), '-h', $node->host, '-p', $node->port, 'postgres' ],
	'<', \undef, '>', \$admin_out, '2>', \$admin_err);
my $transactions = 0;
for my $mode ('simple', 'extended', 'prepared')
{
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'pgbench', '-n', '-c', '6', '-j', '2', '-T', '3', '-M', $mode, (map { ('-f', $_) } @user), '-h', $node->host, '-p', $node->port, '-U', 'app', 'postgres' ],
		'<', \undef, '>', \$out, '2>', \$err);
	ok($ok, "$mode: sessions that write at once meet no error") or diag($err);
	my ($done) = $out =~ /number of transactions actually processed: (\d+)/;
	cmp_ok($done || 0, '>', 100, "$mode: and get on");
	$transactions += $done || 0;
}
$admin->finish;
is($admin_err =~ /(ERROR.*)/ ? $1 : '', '', 'nor does who rotates, grants and vacuums');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'no deadlock');

# A version that comes and is taken from the cache within one statement makes it
# retryable: seldom, however many keys there are and wherever they meet.
my @errors = slurp_file($node->logfile) =~ /((?:ERROR|PANIC|FATAL):.*)/g;
my @retries = grep { /a key needed by an index was not in the key cache/ } @errors;
is(scalar(@errors) - scalar(@retries), 0, 'no error in the server log') or diag(join "\n", @errors);
note(scalar(@retries) . " of $transactions transactions were told to retry");
cmp_ok(scalar(@retries) * 100, '<', $transactions, 'and hardly a statement told to retry because keys changed');

cmp_ok($node->safe_psql('postgres', "SELECT current_version FROM dataprotect.keys WHERE name = 'pii'"), '>', 3, 'the key was rotated meanwhile');
is($node->safe_psql('postgres', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'every value authenticates');
is($node->safe_psql('postgres', "SELECT count(DISTINCT t::text) - count(t) FROM item"), '0', 'no value is there twice under a unique index');
for my $index ('item_pkey', 'item_t', 'item_o')
{
	is(($node->psql('postgres', "SELECT bt_index_parent_check('$index', true)"))[2], '', "amcheck finds $index as it should be");
}
for my $v (0 .. 6)
{
	my $sql = "SELECT count(*) FROM item WHERE h = 'h$v'";
	is($node->safe_psql('postgres', "SET enable_seqscan = off; $sql"), $node->safe_psql('postgres', "SET enable_indexscan = off; SET enable_bitmapscan = off; $sql"),
		"the hash index knows every h$v");
}
is($node->safe_psql('postgres', 'SELECT max(n) FROM (SELECT count(DISTINCT dataprotect._envelope_key_id(note)) AS n FROM bound GROUP BY customer) s'), '1', 'one key for each account');
is($node->safe_psql('postgres', "SELECT count(*) FROM bound WHERE note::text <> 'note of ' || customer"), '0', 'and every note opens');
is($node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log()'), 't', 'everything is in the audit log');
is($node->safe_psql('postgres', 'SELECT ok, first_bad, detail FROM dataprotect.verify_audit_log()'), 't||', 'which is whole');
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_log WHERE event = 'value.revealed' AND role = 'app'"), '>', 100, 'and has the statements');

$node->stop;
done_testing();
