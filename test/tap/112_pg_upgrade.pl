# If this fails, a cluster with protected columns cannot be taken to the next
# version by pg_upgrade, or loses there what its columns and rights meant.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $old = new_node('old');
my $new = new_node('new', start => 0);

# one root key for both
$new->append_conf('postgresql.conf', sprintf("dataprotect.kms_allowed = 'file://%s/*'\ndataprotect.default_kms_uri = '%s'\n", kms_dir($old), kms_uri($old)));

create_extension($old);
$old->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
SELECT dataprotect.create_key('hr-2.x');
CREATE ROLE app LOGIN;
CREATE ROLE masked LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal'), dataprotect.grant_access('hr-2.x', 'app', 'reveal'),
	dataprotect.grant_access('pii', 'masked', 'mask'),
	dataprotect.grant_access('hr-2.x', current_user::regrole, 'reveal');
CREATE TYPE "Mo.od" AS ENUM ('sad', 'glad');
SELECT dataprotect.create_encrypted_type('"Mo.od"');
ALTER TYPE "Mo.od" RENAME TO feeling;
CREATE SCHEMA a_before;
CREATE DOMAIN a_before.mail AS encrypted_text('pii', '(60)');
CREATE TABLE a_before.person (id int PRIMARY KEY, mail encrypted_text('pii', 'searchable', '(50)'), pay encrypted_numeric('hr-2.x', 'ordered', '(7,2)'),
	second a_before.mail, feels "encrypted_Mo.od"('pii'), tags encrypted_text('pii', '(9)')[], word text DEFAULT ('x'::encrypted_text('hr-2.x', '(8)'))::text);
CREATE UNIQUE INDEX ON a_before.person (mail encrypted_text_token_ops);
CREATE INDEX ON a_before.person (pay);
CREATE TABLE a_before.account (mail text CONSTRAINT account_uq UNIQUE CHECK (mail LIKE '%@%'), login text PRIMARY KEY, tenant int, UNIQUE (tenant, login));
CREATE UNIQUE INDEX account_lower ON a_before.account (lower(mail));
CREATE TABLE a_before.login (at int, login text CONSTRAINT login_of REFERENCES a_before.account);
INSERT INTO a_before.account SELECT 'Mail' || g || '@x', 'l' || g, g FROM generate_series(1, 500) g;
INSERT INTO a_before.login SELECT g, 'l' || g FROM generate_series(1, 500) g;
CALL dataprotect.encrypt_column('a_before.account', 'mail', 'pii');
CALL dataprotect.encrypt_column('a_before.login', 'login', 'pii');
CREATE VIEW a_before.seen AS SELECT id, mail, upper(mail) AS loud FROM a_before.person WHERE id > 0;
INSERT INTO a_before.person (id, mail, pay, second, feels)
	SELECT g, 'p' || g || '@x.org', g + 0.5, 's' || g, CASE WHEN g % 2 = 0 THEN feeling 'sad' ELSE 'glad' END FROM generate_series(1, 50) g;
CREATE FUNCTION a_before.helps(t text) RETURNS text LANGUAGE sql AS 'SELECT t';
ALTER FUNCTION a_before.helps OWNER TO masked;
SELECT dataprotect.trust_function('a_before.helps(text)', 'read by two');
GRANT USAGE ON SCHEMA a_before TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA a_before TO app, masked;
SELECT dataprotect.flush_audit_log();
SQL

my $question = <<'SQL';
SET enable_seqscan = off;
SELECT login FROM a_before.account WHERE mail = 'Mail77@x' OR lower(mail) = 'mail78@x' ORDER BY tenant;
SELECT at FROM a_before.login JOIN a_before.account USING (login) WHERE login = 'l9';
SELECT id, mail, pay, second, feels FROM a_before.person WHERE mail IN ('p7@x.org', 'p8@x.org') ORDER BY pay;
SELECT * FROM a_before.seen WHERE id = 9;
SQL
my $catalogs = <<'SQL';
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'a_before.person'::regclass AND attnum > 0 ORDER BY 1;
SELECT format_type(typbasetype, typtypmod) FROM pg_type WHERE typname = 'mail';
SELECT c.conname, pg_get_constraintdef(c.oid), o.opcname FROM pg_constraint c LEFT JOIN pg_index i ON i.indexrelid = c.conindid
	LEFT JOIN pg_opclass o ON o.oid = i.indclass[i.indnkeyatts - 1] WHERE c.conrelid IN ('a_before.account'::regclass, 'a_before.login'::regclass) ORDER BY 1;
SELECT pg_get_indexdef('a_before.account_lower'::regclass);
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'a_before.person'::regclass;
SELECT key, grantee, privilege FROM dataprotect.grants ORDER BY 1, 2;
SELECT function, in_force FROM dataprotect.trusted_functions;
SELECT name, state, current_version, mask FROM dataprotect.keys ORDER BY 1;
SQL
my @ask = map { my ($role, $sql) = @$_; sub { $_[0]->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]) } }
  ([ app => $question ], [ masked => 'SELECT id, mail, second FROM a_before.person WHERE id < 9 ORDER BY id' ]);
my @answers = map { $_->($old) } @ask;
like($answers[0], qr/^7\|p7\@x\.org\|7\.50\|s7\|glad$/m, 'the old server reads its values');
my $meaning = $old->safe_psql('postgres', $catalogs);
$old->stop;

my $bin = $old->config_data('--bindir');
my ($out, $err) = ('', '');
chdir $old->basedir or die "could not enter \"" . $old->basedir . "\": $!";
my $ok = IPC::Run::run([ 'pg_upgrade', '-b', $bin, '-B', $bin, '-d', $old->data_dir, '-D', $new->data_dir, '-s', $new->host,
		'-p', $old->port, '-P', $new->port ], '<', \undef, '>', \$out, '2>', \$err);
ok($ok, 'pg_upgrade takes the cluster over') or diag($out, $err, map { slurp_file($_) } glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_dump_*.log'));

SKIP:
{
	skip 'there is no new cluster', 9 if !$ok;
	$new->start;
	is($new->safe_psql('postgres', $catalogs), $meaning, 'modifiers, keys, grants and trusted functions mean what they meant');
	is($ask[0]->($new), $answers[0], 'a reader reads what he read');
	is($ask[1]->($new), $answers[1], 'and others their masks');
	$new->safe_psql('postgres', "INSERT INTO a_before.person (id, mail, pay) VALUES (51, 'new\@x.org', 3); CREATE TABLE more (m encrypted_text('pii', 'searchable', '(50)'), n encrypted_text('pii', '(77)'))");
	is($new->safe_psql('postgres', "SELECT count(DISTINCT a.atttypmod) FROM pg_attribute a WHERE (attrelid, attname) IN (('more'::regclass, 'm'), ('a_before.person'::regclass, 'mail'))"),
		'1', 'new columns share the modifiers of old ones');
	psql_fails($new, 'postgres', "INSERT INTO a_before.account VALUES ('Mail7\@x', 'other', 1)", qr/duplicate key value violates unique constraint "account_/, 'constraints over tokens hold');
	psql_fails($new, 'postgres', "INSERT INTO a_before.login VALUES (1, 'nobody')", qr/violates foreign key constraint "login_of"/, 'and foreign keys');
	psql_fails($new, 'postgres', "INSERT INTO a_before.account VALUES ('mail7', 'other', 1)", qr/violates check constraint/, 'and CHECKs');
	psql_fails($new, 'postgres', "INSERT INTO a_before.person (id, mail) VALUES (52, repeat('x', 51))", qr/invalid value/, 'lengths are enforced');
	is($new->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the audit chain is whole');
}

done_testing();
