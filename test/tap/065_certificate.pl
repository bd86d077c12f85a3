# If this fails, a certificate cannot be checked outside the database or does not
# say what was left, an erased id can never be used again, or a restored backup
# brings an erased account back for good.
use strict;
use warnings;

use Digest::SHA ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('certificate');
create_extension($node, 'postgres');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub fails
{
	my ($statement, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return psql_fails($node, 'postgres', $statement, $pattern, $name);
}
sub certified
{
	my ($request, $name, $db) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll_sql($node, $db // 'postgres', "SELECT state FROM dataprotect.deletion_requests WHERE id = $request", 'certified'), $name);
}
sub app { return $node->safe_psql($_[1] // 'postgres', $_[0], extra_params => [ '-U', 'app' ]); }

sql(<<'SQL');
ALTER SYSTEM SET dataprotect.worker_naptime = '1s';
SELECT pg_reload_conf();
SELECT dataprotect.create_key('k');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('k', 'app', 'reveal'), dataprotect.grant_access('k', current_user::regrole, 'reveal');
CREATE TABLE u (email text PRIMARY KEY, name encrypted_text('k'));
CREATE TABLE o (id int PRIMARY KEY, owner text REFERENCES u, what text, note encrypted_text('k'));
CREATE TABLE inv (id int PRIMARY KEY, owner text REFERENCES u ON DELETE SET NULL, total int);
CREATE TABLE elsewhere (x int);
GRANT ALL ON u, o TO app;
INSERT INTO u VALUES ('ann@x.example', 'Ann'), ('bob@x.example', 'Bob'), ('eve@x.example', 'Eve');
INSERT INTO o SELECT g, CASE g % 2 WHEN 0 THEN 'ann@x.example' ELSE 'bob@x.example' END, 'thing ' || g, 'note ' || g FROM generate_series(1, 10) g;
INSERT INTO inv VALUES (1, 'ann@x.example', 7);
SELECT dataprotect.create_account_type('u', 'u', 'email', '0 s', recipients => '{"mail house"}');
SELECT dataprotect.annotate_account('u', 'o', '{owner}', 'delete'), dataprotect.annotate_account('u', 'inv', '{owner}', 'keep', 'tax law');
SELECT dataprotect.bind_subject('u', 'u', 'email'), dataprotect.bind_subject('o', 'u', 'owner');
SQL

# In a database of another encoding, too, what is signed is UTF-8; looked at below.
$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0});
create_extension($node, 'latin');
$node->safe_psql('latin', <<'SQL');
SELECT dataprotect.create_key('k');
CREATE TABLE u (id int PRIMARY KEY, name encrypted_text('k'));
INSERT INTO u VALUES (1, 'Ann');
SELECT dataprotect.create_account_type('u', 'u', 'id', '0 s');
SELECT dataprotect.bind_subject('u', 'u', 'id');
SELECT dataprotect.request_deletion('u', '1', U&'L\00F6schung');
SQL

# The rights of people: streamed export, corrections.
is(sql("SELECT string_agg(rel || ' ' || n, ', ' ORDER BY rel::text) FROM (SELECT rel, count(*) AS n FROM dataprotect.export_account_rows('u', 'ann\@x.example') GROUP BY rel) x"),
	'inv 1, o 5, u 1', 'export-of-a-large-account: rows come one at a time');
is(sql("SELECT e ->> 'complete', e -> 'unreadable' FROM dataprotect.export_account('u', 'ann\@x.example') e"), 'true|[]', 'an export says that it is complete');
sql("SELECT dataprotect.revoke_access('k', current_user::regrole)");
is(sql("SELECT e ->> 'complete', e -> 'unreadable' FROM dataprotect.export_account('u', 'ann\@x.example') e"), 'false|["public.o.note", "public.u.name"]',
	'export-gaps: or which values the caller could not read');
sql("GRANT dataprotect_auditor TO current_user; SELECT dataprotect.flush_audit_log('60 s')");
is(sql("SELECT string_agg(DISTINCT (detail -> 'tables')::text || coalesce((detail ->> 'bytes')::int > 500, false)::text, ' ') FROM dataprotect.audit_log WHERE event = 'account.exported'"),
	'{"public.o": 5, "public.u": 1, "public.inv": 1}false {"public.o": 5, "public.u": 1, "public.inv": 1}true', 'exports are events, with the rows of each table');
my $correction = sql("SELECT dataprotect.request_correction('u', 'bob\@x.example', '{\"u\": {\"name\": \"Robert\"}}', 'letter')");
is(sql("SELECT deadline - requested_at > '27 days', overdue, done_at FROM dataprotect.correction_requests WHERE id = $correction"), 't|f|', 'a correction has a deadline');
sql("SELECT dataprotect.finish_correction($correction, 'done')");
is(sql("SELECT done_at IS NOT NULL FROM dataprotect.correction_requests WHERE id = $correction"), 't', 'and an end');
fails("SELECT dataprotect.finish_correction($correction, 'again')", qr/does not exist, or is done/, 'once');
fails("SELECT dataprotect.request_correction('u', 'nobody', '{\"u\": 1}')", qr/does not exist/, 'of an account that exists');

# restored-backup: taken before the erasures.
my $backup = $node->basedir . '/backup.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $backup, '-d', $node->connstr('postgres') ], 'a backup');

my $hold = sql("SELECT dataprotect.place_hold('o', \$\$owner = 'ann\@x.example'\$\$, 'dispute with ann\@x.example')");
my $request = sql("SELECT dataprotect.request_deletion('u', 'ann\@x.example', 'letter')");
ok(poll_sql($node, 'postgres', "SELECT state FROM dataprotect.deletion_requests WHERE id = $request", 'held'), 'held');
sql("SELECT dataprotect.release_hold($hold, 'over')");
certified($request, 'the deletion ends');
my $old_key = sql("SELECT c ->> 'keys_destroyed' FROM dataprotect.deletion_certificate($request) c");

# What a certificate says.
my $c = "dataprotect.deletion_certificate($request)";
is(sql("SELECT $c -> 'kept'"), '[{"rows": 1, "table": "public.inv", "legal_basis": "tax law"}]', 'what was kept, how much, and why');
is(sql("SELECT $c -> 'holds_met'"), "[$hold]", 'which holds were met');
is(sql("SELECT $c -> 'recipients_to_be_told'"), '["mail house"]', 'who is to be told');
like(sql("SELECT $c -> 'not_searched'"), qr/"names": \["public.elsewhere"\].*"tables": 1/, 'what was not searched, by name and number');
is(sql("SELECT string_agg(e ->> 'table', ' ' ORDER BY e ->> 'table') FROM jsonb_array_elements($c -> 'own_records') e"),
	'dataprotect audit log dataprotect.deletion_request dataprotect.hold dataprotect.tombstone',
	'id-remains-after-certified: what names the person on is said, with basis and end');
is(sql("SELECT count(*) FROM jsonb_each($c) WHERE key IN ('performed_by', 'validated_by', 'system', 'tool', 'plan', 'techniques', 'verification', 'backups') AND value <> 'null'"),
	'8', 'the fields of the sample certificate of NIST SP 800-88');

# Checked by openssl alone.
my $dir = $node->basedir;
sub write_to { my ($name, $what) = @_; open(my $out, '>:raw', "$dir/$name") or die $!; print $out $what; close $out; return "$dir/$name"; }
my $key = write_to('key.pem', sql('SELECT dataprotect.certificate_public_pem()') . "\n");
my $text = write_to('certificate.txt', sql("SELECT $c - '{mac,signature}'::text[]"));
my $signature = "$dir/certificate.sig";
$node->command_ok([ 'sh', '-c', 'printf %s "$1" | base64 -d >"$2"', 'sh', sql("SELECT $c ->> 'signature'"), $signature ], 'the signature');
my @verify = ('openssl', 'pkeyutl', '-verify', '-pubin', '-inkey', $key, '-rawin', '-sigfile', $signature, '-in');
command_ok([ @verify, $text ], 'openssl verifies the certificate');
my $altered = sql("SELECT replace(($c - '{mac,signature}'::text[])::text, 'tax law', 'no reason')");
command_fails([ @verify, write_to('altered.txt', $altered) ], 'and not an altered one');

certified(1, 'a deletion in a database of another encoding', 'latin');
{
	local $ENV{PGCLIENTENCODING} = 'UTF8';
	my $latin = sub { return $node->safe_psql('latin', "SELECT " . $_[0] =~ s/C/dataprotect.deletion_certificate(1)/r) };
	like($latin->("C - '{mac,signature}'::text[]"), qr/L(?:\xC3\xB6|\x{F6})schung/, 'has its certificate');
	my $there = write_to('latin.txt', $latin->("C - '{mac,signature}'::text[]"));
	my $its_key = write_to('latin.pem', $node->safe_psql('latin', 'SELECT dataprotect.certificate_public_pem()') . "\n");
	$node->command_ok([ 'sh', '-c', 'printf %s "$1" | base64 -d >"$2"', 'sh', $latin->("C ->> 'signature'"), "$dir/latin.sig" ], 'its signature');
	command_ok([ 'openssl', 'pkeyutl', '-verify', '-pubin', '-inkey', $its_key, '-rawin', '-sigfile', "$dir/latin.sig", '-in', $there ],
		'openssl verifies it as UTF-8');
}

# Signed by the KMS root as well, whose public key is had from the root itself.
my $root = sql("SELECT substr($c -> 'kms_signatures' -> 0 ->> 'kms_uri', 8)");
is(sql("SELECT count(*), min(s ->> 'algorithm') FROM jsonb_array_elements($c -> 'kms_signatures') s"), '1|Ed25519', 'the root of the account\'s key signed');
open(my $seed, '<:raw', "$root.ed25519") or die "$root: $!";
my $public = write_to('root.pkcs8', pack('H*', '302e020100300506032b657004220420') . do { local $/; <$seed> });
command_ok([ 'openssl', 'pkey', '-inform', 'DER', '-in', $public, '-pubout', '-outform', 'DER', '-out', "$dir/root.der" ], 'its public key');
$node->command_ok([ 'sh', '-c', 'printf %s "$1" | base64 -d | cmp - "$2"', 'sh', sql("SELECT $c -> 'kms_signatures' -> 0 ->> 'public_key'"), "$dir/root.der" ], 'is the one of the certificate');
$node->command_ok([ 'sh', '-c', 'printf %s "$1" | base64 -d >"$2"', 'sh', sql("SELECT $c -> 'kms_signatures' -> 0 ->> 'signature'"), "$dir/root.sig" ], 'its signature');
my $by_root = sql("SELECT $c -> 'kms_signatures' -> 0 ->> 'verify'");
$by_root =~ s!PUBLIC_KEY!$dir/root.der!;
$by_root =~ s!SIGNATURE!$dir/root.sig!;
my $signed = sql("SELECT $c - '{mac,signature,kms_signatures}'::text[]");
for my $case ([ $signed, 1, 'openssl verifies what the root signed, by the command of the certificate' ], [ $signed =~ s/tax law/no reason/r, 0, 'and not an altered document' ])
{
	my ($document, $good, $name) = @$case;
	my $digest = write_to('document.sha256', Digest::SHA::sha256($document));
	is(system(($by_root =~ s!DIGEST!$digest!r) . " >$dir/openssl.log 2>&1") == 0 ? 1 : 0, $good, $name);
}
is(sql("SELECT signatures -> 0 ->> 'missing' <> '', away FROM dataprotect._kms_signatures('{}', '{file:///nonexistent/root}')"), 't|', 'a root that does not sign is named, with the reason');
fails("BEGIN; UPDATE dataprotect.deletion_request SET certificate = jsonb_set(certificate, '{kms_signatures}', '[]') WHERE id = $request; SELECT $c", qr/was altered/, 'a signature that is taken away is missed');
sql("UPDATE dataprotect.deletion_request SET certificate = jsonb_set(certificate, '{reason}', '\"x\"') WHERE id = $request");
fails("SELECT $c", qr/was altered/, 'nor does the database');

# registering-again: a new life under a new key.
app("INSERT INTO u VALUES ('ann\@x.example', 'Ann again')");
is(app("SELECT name FROM u WHERE email = 'ann\@x.example'"), 'Ann again', 'registering-again: the id is used again');
my $exported = sql("SELECT dataprotect.export_erasures()");
is(sql("SELECT count(*) FROM jsonb_array_elements('$exported'::jsonb -> 'kms_signatures') s WHERE s ->> 'missing' IS NULL"), '1', 'a list of erasures is signed by the root, too');
$node->command_ok([ 'sh', '-c', 'printf %s "$1" | base64 -d >"$2"', 'sh', sql("SELECT '$exported'::jsonb -> 'kms_signatures' -> 0 ->> 'signature'"), "$dir/root.sig" ], 'its signature');
my $listed = write_to('list.sha256', Digest::SHA::sha256(sql("SELECT '$exported'::jsonb - '{mac,signature,kms_signatures}'::text[]")));
is(system(($by_root =~ s!DIGEST!$listed!r) . " >$dir/openssl.log 2>&1"), 0, 'openssl verifies it as a certificate');
# By a root of its own, where a setting names one.
create_key_file("$dir/kms/signer.key");
sql("ALTER SYSTEM SET dataprotect.signing_kms_uri = 'file://$dir/kms/signer.key, file:///not/allowed'; SELECT pg_reload_conf()");
poll_sql($node, 'postgres', "SELECT current_setting('dataprotect.signing_kms_uri') <> ''");
my $again = sql("SELECT dataprotect.request_deletion('u', 'ann\@x.example', 'again')");
certified($again, 'registering-again: and deleted again');
is(sql("SELECT string_agg((s ->> 'kms_uri') || ' ' || coalesce(s ->> 'algorithm', s ->> 'missing'), ', ' ORDER BY s ->> 'kms_uri') FROM dataprotect.deletion_certificate($again) c, jsonb_array_elements(c -> 'kms_signatures') s"),
	"file:///not/allowed KMS URI \"file:///not/allowed\" is not allowed on this server: No pattern of dataprotect.kms_allowed matches it., file://$dir/kms/signer.key Ed25519",
	'the root that is named to sign does, instead of that of the key, and one that may not be used does not');
sql('ALTER SYSTEM RESET dataprotect.signing_kms_uri; SELECT pg_reload_conf()');
isnt(sql("SELECT dataprotect.deletion_certificate($again) ->> 'keys_destroyed'"), $old_key, 'registering-again: its key was another');
is(sql("SELECT count(*) FROM dataprotect.key_version v JOIN dataprotect.deletion_request r ON v.key_id = ANY (r.key_ids) WHERE v.state <> 'd' OR v.wrapped IS NOT NULL"),
	'0', 'registering-again: both are destroyed');

# unbind_subject
my $notes = app("SELECT md5(string_agg(note, ',' ORDER BY id)) FROM o");
sql("SELECT dataprotect.unbind_subject('o')");
is(app("SELECT md5(string_agg(note, ',' ORDER BY id)) FROM o"), $notes, 'values of an unbound table are what they were');
is(sql("SELECT count(DISTINCT dataprotect._envelope_key_id(note)) FROM o"), '1', 'under the named key');
fails("SELECT dataprotect.unbind_subject('o')", qr/is not bound/, 'once');

# restored-backup: erased again, keys at once.
$node->safe_psql('postgres', 'CREATE DATABASE restored');
for my $section ([ '--section=pre-data' ], [ '--section=data', '-n', 'dataprotect' ], [ '--section=data', '-N', 'dataprotect' ], [ '--section=post-data' ])
{
	local $ENV{PGOPTIONS} = '-c dataprotect.input=ciphertext';
	$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), @$section, $backup ], "restored: @$section");
}
is(app("SELECT name FROM u WHERE email = 'ann\@x.example'", 'restored'), 'Ann', 'restored-backup: the backup knows nothing of the erasure');
psql_fails($node, 'restored', "SELECT * FROM dataprotect.replay_erasures('" . ($exported =~ s/ann\@x/eve\@x/gr) . "')", qr/no list of erasures/,
	'restored-backup: an altered list is refused');
is($node->safe_psql('restored', "SELECT account_type, id, state FROM dataprotect.replay_erasures('$exported')"), 'u|ann@x.example|requested',
	'restored-backup: what was erased since is found');
isnt(app("SELECT name FROM u WHERE email = 'ann\@x.example'", 'restored'), 'Ann', 'restored-backup: unreadable from then on');
certified(1, 'restored-backup: and removed', 'restored');
is($node->safe_psql('restored', "SELECT (SELECT count(*) FROM u), (SELECT count(*) FROM o)"), '2|5', 'restored-backup: nobody else');
is($node->safe_psql('restored', "SELECT state FROM dataprotect.replay_erasures('$exported')"), 'known', 'restored-backup: once');

# Of a type whose table is not bound to subjects, too.
$node->safe_psql('restored', <<'SQL');
CREATE TABLE plain (id int PRIMARY KEY);
CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b));
INSERT INTO plain VALUES (42);
INSERT INTO pair VALUES (7, 42);
SELECT dataprotect.create_account_type('plain', 'plain', 'id', '0 s');
SELECT dataprotect.create_account_type('pair', 'pair', '{a,b}'::name[], '0 s');
SQL
is($node->safe_psql('restored', <<'SQL'), 'here, not here, here, not an id of this account type, no such account type', 'an unbound account that was erased is found, or is not here');
SELECT string_agg(dataprotect._erasure_state(jsonb_build_object('account_type', v[1], 'account_id', v[2], 'requested_at', now())), ', ' ORDER BY n)
  FROM (VALUES (1, ARRAY['plain', '42']), (2, ARRAY['plain', '43']), (3, ARRAY['pair', '{7,42}']), (4, ARRAY['pair', '42']), (5, ARRAY['none', '1'])) x(n, v)
SQL

$node->stop;
done_testing();
