# If this fails, a streaming standby does not read protected values, does not
# follow what the primary revokes, suspends or destroys, or cannot be promoted;
# or a base backup carries what it must not.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $primary = new_node('primary', init => [ allows_streaming => 1 ]);
create_extension($primary);
$primary->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
SELECT dataprotect.create_key('account');
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal'), dataprotect.grant_access('account', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii','searchable'), pay encrypted_numeric('pii','ordered'));
CREATE UNIQUE INDEX person_email ON person (email encrypted_text_token_ops);
CREATE INDEX person_pay ON person (pay);
CREATE TABLE bound (person int, note encrypted_text('account'));
CREATE TRIGGER zz_dataprotect_subject BEFORE INSERT OR UPDATE ON bound
	FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject('person', 'person');
GRANT SELECT, INSERT, UPDATE ON person, bound TO app, other;
INSERT INTO person SELECT i, 'needle' || i || '@example.org', i FROM generate_series(1, 100) i;
INSERT INTO bound SELECT i, 'needle-note-' || i FROM generate_series(1, 5) i;
SQL

# A base backup: no plaintext, no keys, no audit ring.
$primary->backup('base');
my $backup = $primary->backup_dir . '/base';
is(join(' ', files_with($backup, 'needle')), '', 'a base backup has no plaintext');
my @ring = grep { -e } glob("$backup/pg_dynshmem/*dataprotect*");
is("@ring", '', 'a base backup has no audit ring');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

sub on
{
	my ($node, $sql, $user) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $user || 'app' ]);
	return $rc == 0 ? $out : $err;
}

is(on($standby, "SELECT email FROM person WHERE id = 7"), 'needle7@example.org', 'the standby reads a protected value');
is(on($standby, "SET enable_seqscan = off; SELECT id FROM person WHERE email = 'needle8\@example.org'"), '8', 'by its token index');
is(on($standby, "SET enable_seqscan = off; SELECT string_agg(id::text, ',' ORDER BY pay) FROM person WHERE pay BETWEEN 3 AND 5"), '3,4,5', 'and by an ordered index');
is(on($standby, 'SELECT note FROM bound WHERE person = 3'), 'needle-note-3', "and under an account's key");
is(scalar(key_agents($standby)), 1, 'by a key agent of its own');
like(on($standby, 'SELECT email FROM person WHERE id = 7', 'other'), qr/^enc:v1:/, 'a role without grants reads ciphertext there too');
like(on($standby, "INSERT INTO person VALUES (1000, 'x', 1)"), qr/read-only transaction/, 'nothing is written there');
like(on($standby, "SELECT dataprotect.create_key('there')", 'postgres'), qr/read-only|recovery/, 'no key is made there');

# What happens on the primary while a session is open, in a transaction and on a
# cursor; the effect is due as soon as the change is replayed.
my %psql;
my $harness = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $standby->connstr('postgres') ],
	'<', \$psql{in}, '>', \$psql{out}, '2>', \$psql{err}, IPC::Run::timeout(TIMEOUT));

sub ask
{
	my ($sql) = @_;
	$psql{out} = $psql{err} = '';
	$psql{in} .= "$sql;\n\\echo :done\n";
	$harness->pump until $psql{out} =~ /:done\n/;
	(my $answer = $psql{out}) =~ s/\n?:done\n//;
	return $answer;
}

my $email = "SELECT left(format('%s', email), 7) FROM person WHERE id = 7";
ask('BEGIN');
is(ask($email), 'needle7', 'an open session reads');
ask("DECLARE c CURSOR FOR SELECT left(format('%s', email), 7) FROM person ORDER BY id");
is(ask('FETCH 1 FROM c'), 'needle1', 'and fetches');
$primary->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'app')");
$primary->wait_for_catchup($standby);
is(ask('FETCH 1 FROM c'), 'enc:v1:', 'after a revocation on the primary an open cursor shows ciphertext');
is(ask($email), 'enc:v1:', 'and so does the next statement of the transaction');
ask('ROLLBACK');
$primary->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'app', 'reveal')");
$primary->wait_for_catchup($standby);
is(ask($email), 'needle7', 'after a new grant it reads again');

$primary->safe_psql('postgres', "SELECT dataprotect.suspend_key('pii', 'test')");
$primary->wait_for_catchup($standby);
is(ask($email), '****', 'a key that the primary suspended does not open there');
$primary->safe_psql('postgres', "SELECT dataprotect.resume_key('pii', 'test')");
$primary->wait_for_catchup($standby);
is(ask($email), 'needle7', 'and opens again when resumed');
$primary->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii'); INSERT INTO person VALUES (101, 'needle101\@example.org', 101)");
$primary->wait_for_catchup($standby);
is(ask('SELECT email FROM person WHERE id = 101'), 'needle101@example.org', 'a new version of the key is found there');
$harness->finish;

# With no session there to hear of it, the change is seen all the same.
is(on($standby, 'SELECT note FROM bound WHERE person = 3'), 'needle-note-3', "an account's value opens");
poll_sql($standby, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'", '0');
$primary->safe_psql('postgres', "SELECT dataprotect._subject_suspend('person', '3', 'test'), dataprotect._subject_destroy('person', '4', 'test')");
$primary->wait_for_catchup($standby);
is(on($standby, 'SELECT note FROM bound WHERE person IN (3, 4, 5) ORDER BY person'), "\n\nneedle-note-5",
	"accounts' keys that were suspended and destroyed while no session was there do not open");
psql_fails($standby, 'postgres', "SELECT dataprotect.suspend_key('pii', 'x')", qr/read-only/, 'an administrator cannot change keys there');

# Retention waits for a standby that does not follow, and goes on when it does.
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
$primary->safe_psql('postgres', <<'SQL');
ALTER SYSTEM SET dataprotect.retention_replica_lag = '1s';
ALTER SYSTEM SET dataprotect.retention_batch_size = 5;
SELECT pg_reload_conf();
CREATE TABLE visit (id int PRIMARY KEY, at timestamptz);
CREATE INDEX ON visit (at);
INSERT INTO visit SELECT i, '2020-01-01' FROM generate_series(1, 100) i;
SELECT dataprotect.create_retention_policy('visits', 'public.visit', 'at', '1 year', 'delete', '{"every": "100 years"}');
SQL
# what the standby says of its lag it says when it hears of something
ok(poll_sql($primary, 'postgres', "SELECT pg_logical_emit_message(true, 'lag', 'x') IS NOT NULL AND (SELECT (dataprotect._load()).replica_lag > 1)", 't'), 'a standby that was stopped falls behind');
$primary->safe_psql('postgres', "SELECT dataprotect.activate_retention('visits')");
ok(poll_sql($primary, 'postgres', "SELECT sum(rows_done) > 0 FROM dataprotect.retention_runs WHERE policy = 'visits'", 't'), 'retention begins');
is($primary->safe_psql('postgres', 'SELECT count(*) > 0 FROM visit'), 't', 'and waits while the standby is behind');
$standby->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
ok(poll_sql($primary, 'postgres', 'SELECT count(*) FROM visit', '0'), 'it goes on when the standby has followed');
$primary->wait_for_catchup($standby);

# Promotion.
$primary->stop('immediate');
$standby->promote;
is(on($standby, 'SELECT note FROM bound WHERE person IN (3, 4, 5) ORDER BY person'), "\n\nneedle-note-5", 'the promoted server knows the states');
is(on($standby, 'SELECT email FROM person WHERE id = 101'), 'needle101@example.org', 'and reads');
is(on($standby, "INSERT INTO person VALUES (102, 'needle102\@example.org', 102); SELECT email FROM person WHERE pay = 102"), 'needle102@example.org', 'and writes');
is(on($standby, "INSERT INTO bound VALUES (77, 'needle-77'); SELECT note FROM bound WHERE person = 77"), 'needle-77', 'and makes keys for new accounts');
$standby->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii'); SELECT dataprotect.create_key('fresh')");
is($standby->safe_psql('postgres', 'SELECT count(DISTINCT current_key_id) FROM dataprotect.key'), '3', 'and rotates and makes named keys');
is($standby->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log()'), 't', 'its audit log goes on');
is($standby->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'and is whole');
$standby->stop;
is(join(' ', files_with($standby->data_dir, 'needle')), '', 'nothing of it lies on the disk in plaintext');

done_testing();
