# Bad input, mistaken or hostile: a clear error with SQLSTATE, nothing changed,
# the server up.
use strict;
use warnings;

use MIME::Base64;
use Test::More;

use PostgreSQL::Test::Utils;

use DataProtect::Attack;
use DataProtect::Test;

# The same attempts every time: a small generator with a seed of its own.
my $state = 20260101;
sub random_below
{
	$state = ($state * 1103515245 + 12345) % 2147483648;
	return int($state / 65536) % $_[0];
}

my $node = attack_node('bad_input');
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'super', 'reveal')");

sub clear_error
{
	my ($role, $sql, $pattern, $name) = @_;
	my ($out, $err, $sqlstate) = as($node, $role, $sql);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($sqlstate =~ $pattern && $err !~ /Zq9x/ && $err =~ /(?:HINT|DETAIL):/, $name) or diag("$sql\n$sqlstate\n$err");
	return;
}

# --- keys and modifiers
clear_error('super', $_->[0], $_->[1], $_->[0]) for (
	[ "BEGIN; CREATE TABLE bad (s encrypted_text('nosuch')); INSERT INTO bad VALUES ('x')", qr/^42704/ ],
	[ "CREATE TABLE bad (s encrypted_text)", qr/^42P16/ ],
	[ "CREATE TABLE bad (s encrypted_text(''))", qr/^22023/ ],
	[ "CREATE TABLE bad (s encrypted_text('pii', 'pii'))", qr/^22023/ ],
	[ "CREATE TABLE bad (s encrypted_text('pii', 'searchable', 'searchable'))", qr/^22023/ ],
	[ "CREATE TABLE bad (s encrypted_text('pii', '(x)'))", qr/^22023/ ],
	[ "CREATE TABLE bad (s encrypted_text('pii', '(99999999999999999999)'))", qr/^22023/ ],
	[ "CREATE TABLE bad (s encrypted_numeric('pii', '(5,2)', '(5,2)'))", qr/^22023/ ],
	[ "CREATE TABLE bad (s encrypted_int4('pii', '(5)'))", qr/^22023/ ],
	[ "CREATE TABLE bad (s encrypted_bool('pii', 'searchable'))", qr/^22023/ ],
	[ "CREATE TABLE bad (s encrypted_bool('pii', 'ordered', 'searchable'))", qr/^22023/ ],
	[ "SELECT dataprotect.create_key('')", qr/^42602/ ],
	[ "SELECT dataprotect.create_key('9x')", qr/^42602/ ],
	[ "SELECT dataprotect.create_key('x', ARRAY['file:///etc/passwd'])", qr/^(?:42501|22023)/ ],
	[ "SELECT dataprotect.create_key('x', ARRAY['https://example.org/key'])", qr/^(?:42501|22023|0A000)/ ],
	[ "SELECT dataprotect.create_key('x', mask => 'partial(0,''x'',0)')", qr/^22023/ ],
	[ "SELECT dataprotect.grant_access('nosuch', 'nobody', 'reveal')", qr/^42704/ ],
	[ "SELECT dataprotect.grant_access('pii', 'nobody', 'all')", qr/^22023/ ],
);
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname = 'bad'"), '0', 'no table was left');
is($node->safe_psql('postgres', "SELECT string_agg(name, ',') FROM dataprotect.keys"), 'pii', 'nor a key');

# --- key files and the KMS
my $loose = kms_dir($node) . '/loose.key';
create_key_file($loose);
chmod 0644, $loose;
clear_error('super', "SELECT dataprotect.create_key('loose', ARRAY['file://$loose'])", qr/^(?!00000|XX)/, 'a key file that others may read');
chmod 0600, $loose;
append_to_file($loose, 'x');
clear_error('super', "SELECT dataprotect.create_key('long', ARRAY['file://$loose'])", qr/^(?!00000|XX)/, 'a key file of the wrong length');
unlink $loose;
clear_error('super', "SELECT dataprotect.create_key('gone', ARRAY['file://$loose'])", qr/^(?!00000|XX)/, 'a key file that is not there');
symlink '/etc/hostname', $loose;
clear_error('super', "SELECT dataprotect.create_key('linked', ARRAY['file://$loose'])", qr/^(?!00000|XX)/, 'a key file that is a link');
clear_error('super', "SELECT dataprotect.create_key('up', ARRAY['file://" . kms_dir($node) . "/../../../../../../etc/hostname'])", qr/^(?!00000|XX)/, 'a path with ..');
is($node->safe_psql('postgres', "SELECT string_agg(name, ',') FROM dataprotect.keys"), 'pii', 'no key was made');

# --- a fuzzed modifier is accepted or refused, never worse
my @pieces = ('pii', 'searchable', 'ordered', '(50)', '(5,2)', '(-1)', '(', ')', '()', '(,)', '(1,2,3,4,5,6,7,8,9)', '(2147483648)', "''",
	'PII', ' pii', 'pii ', 'searchable ', '(50', '50)', "\xc3\xa9", 'x' x 70, '%s%n', '\\', '(1 000)', '( 5 , 2 )', '(+5)', '(0)', '(0x10)');
my %seen;
my @types = map { "encrypted_$_" } qw(text numeric int4 bool timestamptz interval bytea jsonb);
my $script = '';
for my $round (1 .. 400)
{
	my @words = map { my $w = $pieces[ random_below(scalar @pieces) ]; $w =~ s/'/''/g; "'$w'" } 0 .. random_below(4);
	my $type = $types[ random_below(scalar @types) ];
	$script .= "CREATE TEMP TABLE f$round (c $type(" . join(', ', @words) . "));\n";
}
my ($out, $err) = ('', '');
$node->psql('postgres', "\\set VERBOSITY verbose\n$script", stdout => \$out, stderr => \$err, on_error_stop => 0);
$seen{$_}++ for $err =~ /ERROR:\s+(\w{5}):/g;
diag('modifiers: ' . join ', ', map { "$_ $seen{$_}" } sort keys %seen);
is(join(',', grep { !/^(?:22023|22008|42601|42704|54000)$/ } keys %seen), '', 'fuzzed modifiers end in errors of the user\'s');

# --- envelopes: every byte flipped, cut, lengthened, taken for another type
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE damage (id int, s encrypted_text('pii'), t encrypted_text('pii', 'searchable'), n encrypted_int4('pii'));
CREATE INDEX ON damage USING hash (s);
GRANT ALL ON damage TO PUBLIC;
SQL
$node->safe_psql('postgres', "INSERT INTO damage (s, t, n) VALUES ('good-Zq9x', 'good-Zq9x', 77123451)");
my %armor;
($armor{s}, $armor{t}, $armor{n}) = split /\|/, $node->safe_psql('postgres', 'SELECT s, t, n FROM damage', extra_params => [ '-U', 'nobody' ]);
my @damaged;
for my $column (qw(s t n))
{
	my $bytes = decode_base64(substr $armor{$column}, 7);
	for my $i (0 .. length($bytes) - 1)
	{
		my $copy = $bytes;
		substr($copy, $i, 1) = chr(ord(substr $copy, $i, 1) ^ (1 << random_below(8)));
		push @damaged, [ $column, $copy ];
	}
	push @damaged, map { [ $column, substr $bytes, 0, $_ ] } 0, 1, 8, 9, 21, 36, length($bytes) - 1;
	push @damaged, [ $column, "$bytes\0" ], [ $column, "\0$bytes" ], [ $column, $bytes x 2 ];
}
push @damaged, [ 's', decode_base64(substr $armor{n}, 7) ], [ 'n', decode_base64(substr $armor{s}, 7) ];
for (1 .. 100)
{
	push @damaged, [ 's', join '', map { chr random_below(256) } 1 .. random_below(90) ];
	push @damaged, [ 't', "\x11" . join '', map { chr random_below(256) } 1 .. random_below(90) ];
}
# Each is stored (or refused), read, compared, looked up by index, and taken back.
my %result;
$script = "SET dataprotect.input = 'ciphertext';\n";
for my $try (@damaged)
{
	my ($column, $bytes) = @$try;
	my $text = 'enc:v1:' . encode_base64($bytes, '');
	$script .= <<"SQL";
BEGIN;
INSERT INTO damage (id, $column) VALUES (99, '$text');
SAVEPOINT a;
SELECT 'READ ' || $column FROM damage WHERE id = 99;
ROLLBACK TO a;
SELECT 'COMPARED' FROM damage WHERE id = 99 AND $column <= $column;
ROLLBACK TO a;
SELECT 'CAST ' || upper($column\::text) FROM damage WHERE id = 99;
ROLLBACK;
SQL
}
$node->psql('postgres', "\\set VERBOSITY verbose\n$script", stdout => \$out, stderr => \$err, on_error_stop => 0, extra_params => [ '-U', 'super' ]);
%result = ();
$result{$_}++ for $err =~ /ERROR:\s+(\w{5}):/g;
diag('envelopes: ' . join ', ', map { "$_ $result{$_}" } sort keys %result);
is($out, '', 'no damaged envelope opens');
is(join(',', grep { !/^(?:22P02|XX001|42704|25P02|3B001)$/ } keys %result), '', 'damage ends in "malformed", "damaged" or "no such key"');
my @texts = $err =~ /ERROR:\s+XX001: ([^\n]+)/g;
my %texts = map { $_ => 1 } @texts;
is(scalar(keys %texts), 1, 'every integrity failure reads the same');
is($node->safe_psql('postgres', 'SELECT s, t, n FROM damage', extra_params => [ '-U', 'reader' ]), 'good-Zq9x|good-Zq9x|77123451', 'the good row is as it was');

# Texts that look like ciphertext.
for my $text ('enc:v1:', 'enc:v1:!!!', 'enc:v1:AAAA', 'enc:v1:' . 'A' x 4000, "enc:v1:\n", 'enc:v1: ')
{
	refused($node, 'nobody', "INSERT INTO damage (s) VALUES ('$text')", 'text that looks like ciphertext', qr/^22P02/);
	refused($node, 'super', "SET dataprotect.input = 'ciphertext'; INSERT INTO damage (s) VALUES ('$text')", 'malformed ciphertext', qr/^22P02/);
}
allowed($node, 'reader', "BEGIN; INSERT INTO damage (s) VALUES ('enc:v2:x'), ('ENC:V1:x'), (' enc:v1:x'), ('enc:v1'); ROLLBACK", 'what only resembles it is plaintext');

# --- values of the base types, by a role without rights
for my $try (
	[ 'n', "'12x-Zq9x'", qr/^22P02/ ], [ 'n', "'99999999999999'", qr/^22003/ ], [ 'n', "''", qr/^22P02/ ],
	[ 'doc', "'{\"Zq9x\"'", qr/^22P02/ ], [ 'born', "'Zq9x'", qr/^22007/ ], [ 'born', "'1977-13-77'", qr/^22008/ ],
	[ 'amount', "'Zq9x'", qr/^22P02/ ], [ 'amount', "'77123451771234517712345.00'", qr/^22003/ ], [ 'raw', "'\\x5a713978g'", qr/^22/ ])
{
	my ($column, $value, $sqlstate) = @$try;
	my (undef, $message, $found) = as($node, 'nobody', "INSERT INTO victim (id, $column) VALUES (500, $value)");
	like($found, $sqlstate, "input of $column is refused");
	$message =~ s/^LINE .*\n.*\n//mg;	# psql shows what it sent
	unlike($message, qr/Zq9x|7712345/, "the message says no value of $column");
}

# --- COPY that passes over what it cannot read (17 and newer) says no value that is protected
if ($node->safe_psql('postgres', 'SHOW server_version_num') >= 170000)
{
	my $limit = $node->safe_psql('postgres', 'SHOW server_version_num') >= 180000 ? ', REJECT_LIMIT 5' : '';
	for my $try ([ 'n', "600\t12x-Zq9x", qr/^22P02/ ], [ 'n', "600\t77123450x", qr/^22P02/ ], [ 'doc', "600\t{\"Zq9x\"", qr/^22P02/ ],
		[ 'born', "600\tZq9x", qr/^22007/ ], [ 'amount', "600\t77123451771234517712345.00", qr/^22003/ ])
	{
		my ($column, $line, $sqlstate) = @$try;
		my (undef, $message, $found) = as($node, 'nobody',
			"SET client_min_messages = log;\nCOPY victim (id, $column) FROM STDIN WITH (ON_ERROR ignore, LOG_VERBOSITY verbose$limit);\n600\t\\N\n$line\n\\.\n");
		$message =~ s/^CONTEXT: .*$//mg;	# to the client alone, who sent it
		like($found, $sqlstate, "COPY that ignores errors ends at a bad value of $column");
		unlike($message, qr/Zq9x|7712345/, "and says nothing of it: $column");
	}
	my ($o, $message, $found) = as($node, 'nobody',
		"SET client_min_messages = log;\nCOPY victim (id, email) FROM STDIN WITH (ON_ERROR ignore, LOG_VERBOSITY verbose$limit);\n6oo\tZq9x-skipped\n601\tZq9x-kept\n\\.\n");
	is($found, '00000', 'a bad value of a plain column is passed over');
	like($message, qr/skipp.*id.*6oo/s, 'and named');
	unlike($message, qr/Zq9x/, 'without the protected one beside it');
	is($node->safe_psql('postgres', "SELECT count(*) FROM victim WHERE id IN (600, 601)"), '1', 'the other row is there, and none of those that failed');
	$node->safe_psql('postgres', 'DELETE FROM victim WHERE id = 601');
}

# --- states in which nothing may be written or read
$node->safe_psql('postgres', "SELECT dataprotect.suspend_key('pii', 'test')");
refused($node, 'reader', "INSERT INTO damage (s) VALUES ('x')", 'writing under a suspended key', qr/^55000/);
is((as($node, 'reader', 'SELECT s::text IS NULL, n::int IS NULL FROM damage'))[0], 't|t', 'reading under a suspended key gives NULL');
like((as($node, 'reader', 'SELECT s::text FROM damage'))[1], qr/WARNING/, 'with a warning');
$node->safe_psql('postgres', "SELECT dataprotect.resume_key('pii', 'test')");

# --- the KMS away: protected reads fail with the key's name, others work
rename kms_dir($node) . '/root.key', kms_dir($node) . '/away.key' or die $!;
$node->restart;
is($node->safe_psql('postgres', 'SELECT count(*), max(id) FROM damage'), '1|', 'without KMS: plain columns are read');
my ($o, $e, $s) = as($node, 'reader', 'SELECT email FROM victim');
ok($s !~ /^(?:00000|none|XX0|57)/, "without KMS: a protected read fails ($s)");
like($e, qr/"pii".*\n.*KMS "file:.*HINT/s, 'without KMS: the error names key and KMS, with a hint');
conceals($node, 'nobody', 'SELECT email FROM victim', 'without KMS: ciphertext is shown as ever');
rename kms_dir($node) . '/away.key', kms_dir($node) . '/root.key' or die $!;
poll_until('the KMS to be back', sub { (as($node, 'reader', 'SELECT email FROM victim WHERE id = 2'))[0] eq secret() });
is((as($node, 'reader', 'SELECT email FROM victim WHERE id = 2'))[0], secret(), 'with the KMS back: read again without a restart');

is($node->safe_psql('postgres', "SELECT count(*) FROM victim WHERE id BETWEEN 1 AND 5"), '5', 'the server is up');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP/, 'nothing crashed');
log_conceals($node);
$node->stop;
done_testing();
