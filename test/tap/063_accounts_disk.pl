# If this fails, a certificate says that an account's keys are destroyed while
# the server's files still contain them.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('accounts_disk');
create_extension($node, 'postgres');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub state { return sql("SELECT state || ': ' || coalesce(detail, '') FROM dataprotect.deletion_requests WHERE id = $_[0]"); }

sql(<<'SQL');
ALTER SYSTEM SET dataprotect.worker_naptime = '1s';
SELECT pg_reload_conf();
SELECT dataprotect.create_key('pii');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'), v int);
CREATE TABLE letter (id int PRIMARY KEY, person int NOT NULL REFERENCES person, body encrypted_text('pii'));
CREATE INDEX ON letter (person);
INSERT INTO person SELECT g, 'person' || g, g FROM generate_series(1, 20) g;
INSERT INTO letter SELECT g, g, 'letter' || g FROM generate_series(1, 20) g;
SELECT dataprotect.create_account_type('person', 'person', 'id', '0 seconds');
SELECT dataprotect.annotate_account('person', 'letter', '{person}', 'delete');
SELECT dataprotect.bind_subject('person', 'person', 'id');
SELECT dataprotect.bind_subject('letter', 'person', 'person');
SQL

# Columns that cannot be sealed for an account are refused by name.
sql(<<'SQL');
CREATE DOMAIN d1 AS encrypted_text('pii');
CREATE DOMAIN d2 AS d1;
CREATE DOMAIN plain AS text;
CREATE TABLE arrays (id int PRIMARY KEY, person int REFERENCES person, tags encrypted_text('pii')[]);
CREATE TABLE domains (id int PRIMARY KEY, person int REFERENCES person, d d1);
CREATE TABLE deep (id int PRIMARY KEY, person int REFERENCES person, d d2);
CREATE TABLE harmless (id int PRIMARY KEY, person int REFERENCES person, d plain, email encrypted_text('pii'));
SQL
psql_fails($node, 'postgres', "SELECT dataprotect.bind_subject('$_->[0]', 'person', 'person')",
	qr/column "$_->[1]" of table "public.$_->[0]" cannot be sealed for an account/, "refused: $_->[0]")
	for ([ 'arrays', 'tags' ], [ 'domains', 'd' ], [ 'deep', 'd' ]);
sql("SELECT dataprotect.bind_subject('harmless', 'person', 'person')");
pass('a domain over a plain type is nobody\'s business');
sql('ALTER TABLE harmless ADD tags encrypted_text(\'pii\')[]; DROP TABLE arrays, domains, deep');
sql("SELECT dataprotect.annotate_account('person', 'harmless', '{person}', 'delete')");
is(sql("SELECT problem FROM dataprotect.check_account_type('person') WHERE rel = 'harmless'::regclass"),
	'column "tags" contains encrypted values that cannot be sealed under the account\'s own key',
	'and so is one that comes later reported');
sql(q{DROP TABLE harmless; DELETE FROM dataprotect.account_rule WHERE action = 'delete' AND rel NOT IN (SELECT oid FROM pg_class);
	SELECT dataprotect.reseal_policy('the table is gone')});

# The account's wrapped keys, and what an old transaction keeps of them.
sub wrapped
{
	return map { pack('H*', $_) } split /\n/, sql("SELECT encode(v.wrapped, 'hex') FROM dataprotect.key_version v
		JOIN dataprotect.subject_key s USING (key_id) WHERE s.subject = '$_[0]'");
}
my @keys = wrapped(5);
is(scalar @keys, 1, 'an account has a key');
my @others = wrapped(6);
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM person');
my $request = sql("SELECT dataprotect.request_deletion('person', '5')");
poll_until('purged', sub { return state($request) =~ /^purged/; });
# A key that is claimed behind the request's back, as by a backend that was not
# told of it.
my $late = sql("SELECT v.key_id FROM dataprotect.key_version v WHERE v.state = 'p'
	AND NOT EXISTS (SELECT 1 FROM dataprotect.subject_key s WHERE s.key_id = v.key_id) ORDER BY 1 DESC LIMIT 1");
sql("ALTER TABLE dataprotect.subject_key DISABLE TRIGGER USER;
	INSERT INTO dataprotect.subject_key (family, account_type, subject, key_id) VALUES (-1, 'person', '5', $late);
	ALTER TABLE dataprotect.subject_key ENABLE TRIGGER USER");
push @keys, pack('H*', sql("SELECT encode(wrapped, 'hex') FROM dataprotect.key_version WHERE key_id = $late"));
# It may see the keys but not the account's rows.
my $second = $node->background_psql('template1');
$second->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
$reader->quit;
ok(poll_until('waits', sub { return state($request) =~ /^purged: waits: the destroyed keys are in old row versions of dataprotect.key_version, which a transaction of process \d+ may still see/; }),
	'destroyed keys that something may still see keep the request from being verified') or diag(state($request));
$second->quit;
poll_until('certified', sub { return state($request) =~ /^certified/; }) or diag(state($request));
is(sql("SELECT jsonb_array_length(dataprotect.deletion_certificate($request) -> 'keys_destroyed')"), '2',
	'a key that was claimed late is destroyed as well');
like(sql("SELECT dataprotect.deletion_certificate($request) ->> 'residual'"), qr/WAL from before then \(segments still on the server/,
	'the certificate names WAL');

my $data = $node->data_dir;
$node->stop;
for my $i (0 .. $#keys)
{
	is(join(' ', files_with("$data/base", $keys[$i])), '', "key $i is in no file of the database");
}
isnt(join(' ', files_with("$data/base", $others[0])), '', 'another account\'s is');
done_testing();
