# If this fails, logical decoding shows plaintext, or a subscriber cannot take
# and read protected values.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $publisher = new_node('publisher', init => [ allows_streaming => 'logical' ], conf => "max_worker_processes = 32\n");
my $subscriber = new_node('subscriber', init => [ allows_streaming => 'logical' ],
	conf => "max_worker_processes = 32\ndataprotect.kms_allowed = 'file://" . kms_dir($publisher) . "/*'\n");
create_extension($publisher);
create_extension($subscriber);

my $schema = <<'SQL';
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii','searchable'), pay encrypted_numeric('pii'));
CREATE UNIQUE INDEX person_email ON person (email encrypted_text_token_ops);
SQL
$publisher->safe_psql('postgres', <<"SQL");
SELECT dataprotect.create_key('pii', mask => 'email');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
$schema
INSERT INTO person SELECT i, 'needle' || i || '\@example.org', i FROM generate_series(1, 50) i;
SQL

# Decoding, by a role that may read everything: ciphertext all the same.
$publisher->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')");
$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO person VALUES (1001, 'needle-inserted@example.org', 1);
UPDATE person SET email = 'needle-updated@example.org' WHERE id = 1001;
BEGIN;
SELECT dataprotect.rotate_key('pii');
INSERT INTO person VALUES (1002, 'needle-rotated@example.org', 2);
COMMIT;
DELETE FROM person WHERE id = 1002;
-- keys of accounts are minted and claimed while decoding is behind
CREATE TABLE bound (person int, note encrypted_text('pii','searchable'));
CREATE TRIGGER zz_dataprotect_subject BEFORE INSERT OR UPDATE ON bound
	FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject('person', 'person');
INSERT INTO bound SELECT i, 'needle-note-' || i FROM generate_series(1, 3) i;
SELECT dataprotect._subject_destroy('person', '2', 'test');
SQL
$publisher->restart;		# nothing is known of keys when decoding begins
my $changes = $publisher->safe_psql('postgres', "SELECT data FROM pg_logical_slot_get_changes('decoded', NULL, NULL)");
like($changes, qr/table public\.person: INSERT: id\[integer\]:1001 .*enc:v1:/, 'decoded changes carry ciphertext');
like($changes, qr/table public\.person: INSERT: id\[integer\]:1002 .*enc:v1:/, 'under a key made in the meantime too');
is(scalar(() = $changes =~ /table public\.bound: INSERT: .*enc:v1:/g), 3, "and under accounts' keys, one of them destroyed by now");
unlike($changes, qr/needle/, 'and no plaintext, for a role with reveal too');
$publisher->safe_psql('postgres', "SELECT pg_drop_replication_slot('decoded')");

# A subscriber: the publisher's keys, and input = ciphertext for the owner.
my $keys = $publisher->safe_psql('postgres', 'SELECT dataprotect.export_keys()');
$subscriber->safe_psql('postgres', "SELECT dataprotect.import_keys(\$keys\$$keys\$keys\$)");
$subscriber->safe_psql('postgres', <<"SQL");
CREATE ROLE replica LOGIN SUPERUSER;
ALTER ROLE replica SET dataprotect.input = 'ciphertext';
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
$schema
SQL
$publisher->safe_psql('postgres', 'CREATE PUBLICATION people FOR TABLE person');
my $connection = 'host=' . $publisher->host . ' port=' . $publisher->port . ' dbname=postgres';
my ($rc, $out, $err) = $subscriber->psql('postgres', "CREATE SUBSCRIPTION people CONNECTION '$connection' PUBLICATION people",
	extra_params => [ '-U', 'replica' ]);
is($rc, 0, 'the subscription is made') or diag($err);
poll_sql($subscriber, 'postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')");
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM person'), '51', 'the first copy arrived');
is($subscriber->safe_psql('postgres', 'SELECT email, pay FROM person WHERE id = 7'), 'needle7@example.org|7', 'and reads');

$publisher->safe_psql('postgres', <<'SQL');
INSERT INTO person VALUES (2001, 'needle-streamed@example.org', 3);
UPDATE person SET pay = 700 WHERE id = 7;
DELETE FROM person WHERE id = 8;
SQL
$publisher->wait_for_catchup('people');
is($subscriber->safe_psql('postgres', 'SELECT email, pay FROM person WHERE id IN (7, 8, 2001) ORDER BY id'),
	"needle7\@example.org|700\nneedle-streamed\@example.org|3", 'changes arrive and read');
is($subscriber->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM person WHERE email = 'needle-streamed\@example.org'"), '2001',
	'the token that came blinded finds its row');
is($publisher->safe_psql('postgres', 'SELECT dataprotect._envelope_key_id(email) FROM person WHERE id = 7'),
	$subscriber->safe_psql('postgres', 'SELECT dataprotect._envelope_key_id(email) FROM person WHERE id = 7'), 'values keep the key they were sealed under');

# Binary transfer, too.
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION people SET (binary = true)');
$publisher->safe_psql('postgres', "INSERT INTO person VALUES (2002, 'needle-binary\@example.org', 4)");
$publisher->wait_for_catchup('people');
is($subscriber->safe_psql('postgres', 'SELECT email FROM person WHERE id = 2002'), 'needle-binary@example.org', 'binary transfer carries ciphertext as well');

# Without the setting nothing is sealed twice: the worker stops with a hint.
$subscriber->safe_psql('postgres', 'ALTER ROLE replica RESET dataprotect.input; ALTER SUBSCRIPTION people DISABLE');
poll_sql($subscriber, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'logical replication worker'", '0');
my $offset = -s $subscriber->logfile;
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION people ENABLE');
$publisher->safe_psql('postgres', "INSERT INTO person VALUES (2003, 'needle-refused\@example.org', 5)");
poll_until('the refusal', sub { return slurp_file($subscriber->logfile, $offset) =~ /in its encrypted form is not accepted/ });
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM person WHERE id = 2003'), '0', 'ciphertext is not taken for plaintext');
$subscriber->safe_psql('postgres', "ALTER ROLE replica SET dataprotect.input = 'ciphertext'");
$publisher->wait_for_catchup('people');
is($subscriber->safe_psql('postgres', 'SELECT email FROM person WHERE id = 2003'), 'needle-refused@example.org', 'and arrives once the setting is there');

# replication-stopped-by-a-text: what somebody writes into a column of plain text is text for a
# subscriber of plaintext, whatever it looks like, and is opened as nobody's value.
my $stolen = $subscriber->safe_psql('postgres', "SET dataprotect.output = 'ciphertext'; SELECT email FROM person WHERE id = 7");
my @texts = ('ordinary', 'enc:v1:', 'enc:v1:AAAA', 'enc:v1:=not base64=', $stolen, substr($stolen, 0, -8) . 'AAAAAAA=', "enc:v1:kAAA$stolen", 'last');
$publisher->safe_psql('postgres', 'CREATE TABLE repl (id int PRIMARY KEY, t text); CREATE PUBLICATION texts FOR TABLE repl');
$publisher->safe_psql('postgres', "INSERT INTO repl VALUES (0, '$stolen')");
$subscriber->safe_psql('postgres', "CREATE TABLE repl (id int PRIMARY KEY, t encrypted_text('pii')); CREATE SUBSCRIPTION texts CONNECTION '$connection' PUBLICATION texts");
poll_sql($subscriber, 'postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')");
$publisher->safe_psql('postgres', "INSERT INTO repl VALUES ($_, '$texts[$_ - 1]')") for 1 .. @texts;
$publisher->wait_for_catchup('texts');
is($subscriber->safe_psql('postgres', 'SELECT t FROM repl ORDER BY id'), join("\n", $stolen, @texts), 'every text arrives as it was written');
is($subscriber->safe_psql('postgres', "SELECT count(*) FROM repl WHERE t = 'needle7\@example.org'"), '0', 'and none opens as a value');
$subscriber->safe_psql('postgres', 'ALTER SUBSCRIPTION texts SET (binary = true)');
$publisher->safe_psql('postgres', "INSERT INTO repl VALUES (99, '$stolen')");
$publisher->wait_for_catchup('texts');
is($subscriber->safe_psql('postgres', 'SELECT t FROM repl WHERE id = 99'), $stolen, 'by binary transfer, too');

for my $node ($publisher, $subscriber)
{
	unlike(slurp_file($node->logfile), qr/needle[^ ]*\@/, 'no plaintext in the log of the ' . $node->name);
	$node->stop;
	is(join(' ', files_with($node->data_dir, 'needle')), '', 'nor on its disk');
}
done_testing();
