# If this fails, the extension cannot be installed, or takes text for other text, in a
# database whose encoding or locale provider is another than the usual ones.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('encodings', conf => "fsync = off\n");
my $icu = $node->safe_psql('postgres', "SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'") eq 't';
my $renamed = $node->safe_psql('postgres', 'SHOW server_version_num') >= 170000 ? '' : " LC_COLLATE 'C' LC_CTYPE 'C'";

# encoding, a word that it has, as UTF-8 writes it, and what names the database's locale
my @encodings = (
	[ 'LATIN1', "M\xc3\xbcller \xc3\x9f", "LOCALE 'C'" ],
	[ 'EUC_JP', "\xe6\x9d\xb1\xe4\xba\xac", "LOCALE 'C'" ],
	[ 'SQL_ASCII', 'Anna', "LOCALE 'C'" ],
	$icu ? [ 'UTF8', "I\xc4\xb1\xc4\xb0i M\xc3\xbcller", "LOCALE_PROVIDER icu ICU_LOCALE 'tr'$renamed", 'icu' ] : ());

for my $case (@encodings)
{
	my ($encoding, $word, $locale, $name) = @$case;
	my $database = lc($name // $encoding);

	$node->safe_psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING '$encoding' $locale");
	my $client = $encoding eq 'SQL_ASCII' ? $encoding : 'UTF8';
	local $ENV{PGCLIENTENCODING} = $client;
	my ($rc, $out, $err) = $node->psql($database, 'CREATE EXTENSION dataprotect');
	is($rc, 0, "$database: the extension is made") or do { diag($err); next };

	my $role = "$word $database";
	$node->psql('postgres', "CREATE ROLE \"$role\" LOGIN", extra_params => [ '-d', $node->connstr($database) ]);
	my $script = <<"SQL";
\\set ON_ERROR_STOP on
GRANT dataprotect_auditor TO CURRENT_USER;
SELECT dataprotect.create_key('k', mask => 'partial(1,''*'',1)', description => '$word') \\g /dev/null
SELECT dataprotect.grant_access('k', current_user::regrole, 'reveal', '$word', '$word'), dataprotect.grant_access('k', '"$role"', 'mask') \\g /dev/null
CREATE SCHEMA "$word";
CREATE TABLE "$word"."T $word" (id int PRIMARY KEY, "$word" text DEFAULT '$word', plain text, doc jsonb);
CREATE INDEX ON "$word"."T $word" ("$word");
GRANT USAGE ON SCHEMA "$word" TO "$role";
GRANT SELECT ON "$word"."T $word" TO "$role";
INSERT INTO "$word"."T $word" SELECT g, '$word' || g, '$word' || g, jsonb_build_object('$word', '$word' || g) FROM generate_series(1, 40) g;
CALL dataprotect.encrypt_column('"$word"."T $word"', '$word', 'k', searchable => true);
CALL dataprotect.encrypt_column('"$word"."T $word"', 'doc', 'k');
SELECT dataprotect.rotate_key('k') \\g /dev/null
CALL dataprotect.reencrypt('"$word"."T $word"');
INSERT INTO "$word"."T $word" (id) VALUES (41);
SET dataprotect.purpose = '$word';
SELECT count(*) FILTER (WHERE "$word"::text = plain), count(*) FILTER (WHERE doc ->> '$word' = plain),
	count(*) FILTER (WHERE length("$word") = length(plain) AND upper("$word") = upper(plain)), max("$word") FILTER (WHERE id = 41) = '$word' FROM "$word"."T $word";
SELECT id FROM "$word"."T $word" WHERE "$word" = '${word}7';
SELECT id FROM "$word"."T $word" WHERE "$word" LIKE '%${word}_8';
SELECT dataprotect.place_hold('"$word"."T $word"', 'plain = ''${word}3''', '$word') > 0;
SELECT string_agg(reason, '') = '$word' FROM dataprotect.holds;
SELECT dataprotect.flush_audit_log('180 s');
SELECT bool_or(purpose = '$word' AND columns @> ARRAY['$word.T $word.$word']) FROM dataprotect.audit_log WHERE event = 'value.revealed';
SELECT bool_or(detail::text LIKE '%$word%') FROM dataprotect.audit_log WHERE event = 'access.granted';
SELECT ok FROM dataprotect.verify_audit_log();
SELECT count(*) FROM dataprotect.verify_policy();
SELECT sum(failures) FROM dataprotect.verify();
SELECT length(dataprotect.report()) > 1000;
SELECT count(*) >= 0 FROM dataprotect.find_personal_data('$word');
CALL dataprotect.decrypt_column('"$word"."T $word"', '$word');
SELECT count(*) FILTER (WHERE "$word" = plain) FROM "$word"."T $word";
SQL
	($rc, $out, $err) = $node->psql($database, $script);
	is($out, "40|40|40|t\n7\n18\n28\n38\nt\nt\nt\nt\nt\nt\n0\n0\nt\nt\n40", "$database: text is what it was, wherever it stands") or diag($err);
	is($err =~ /((?:ERROR|FATAL|WARNING).*)/ ? $1 : '', '', "$database: without a complaint");
	my $masked = $node->safe_psql($database, "SET ROLE \"$role\"; SELECT doc FROM \"$word\".\"T $word\" WHERE id = 1");
	unlike($masked, qr/\Q$word\E1/, "$database: and who gets a mask gets one");
}

# A database of no encoding takes bytes of any; what is sealed is the same everywhere, and so is text.
$node->safe_psql('sql_ascii', "CREATE TABLE bytes (v text); INSERT INTO bytes VALUES (E'\\377\\376')");
psql_fails($node, 'sql_ascii', "CALL dataprotect.encrypt_column('bytes', 'v', 'k')", qr/invalid byte sequence for encoding "UTF8"/,
	'bytes that are no text in any encoding are refused');
is($node->safe_psql('sql_ascii', 'SELECT octet_length(v) FROM bytes'), '2', 'and stay');

# What cannot be written as UTF-8 cannot be sealed: MULE_INTERNAL has no conversion.
if ($node->safe_psql('postgres', "SELECT pg_char_to_encoding('MULE_INTERNAL')") >= 0)
{
	$node->safe_psql('postgres', "CREATE DATABASE mule TEMPLATE template0 ENCODING 'MULE_INTERNAL' LOCALE 'C'");
	$node->safe_psql('mule', 'CREATE EXTENSION dataprotect');
	psql_fails($node, 'mule', "SELECT dataprotect.create_key('k')", qr/conversion function for encoding "MULE_INTERNAL" to "UTF8" does not exist/, 'an encoding without a conversion to UTF8 gets no key');
}

# A value goes from one encoding into another by a dump; names of roles, which databases
# share, are ASCII where databases have different encodings.
my $dump = $node->basedir . '/moved.sql';
$node->safe_psql('postgres', "CREATE DATABASE moved TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
$node->safe_psql('moved', <<"SQL");
SET client_encoding = UTF8;
CREATE EXTENSION dataprotect;
SELECT dataprotect.create_key('k', description => 'M\xc3\xbcller') \\g /dev/null
SELECT dataprotect.grant_access('k', current_user::regrole, 'reveal', reason => '\xc3\x9f') \\g /dev/null
CREATE TABLE moved (v encrypted_text('k', 'searchable'));
INSERT INTO moved VALUES ('M\xc3\xbcller');
SQL
{
	local $ENV{PGOPTIONS} = '-c dataprotect.output=ciphertext';
	$node->command_ok([ 'pg_dump', '-f', $dump, '-h', $node->host, '-p', $node->port, 'moved' ], 'a database in LATIN1 is dumped');
}
$node->safe_psql('postgres', "CREATE DATABASE other TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
{
	local $ENV{PGOPTIONS} = '-c dataprotect.input=ciphertext';
	$node->command_ok([ 'psql', '-Xq', '-h', $node->host, '-p', $node->port, '-f', $dump, 'other' ], 'and restored in UTF8');
}
my ($rc, $out, $err) = $node->psql('other', "SET client_encoding = UTF8; SELECT v, octet_length(v) FROM moved WHERE v = 'M\xc3\xbcller'");
is($out, "M\xc3\xbcller|7", 'where its values are the same text') or diag($err);

is(join("\n", grep { /PANIC|TRAP:|terminated by signal|XX000/ } split /\n/, slurp_file($node->logfile)), '', 'nothing went wrong beside it');
$node->stop;
done_testing();
