# If this fails, somebody who follows the documentation meets an error: statements of
# the tutorial and of the README's tour do not run, or say something else than they promise.
use strict;
use warnings;

use Cwd qw(abs_path);
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $top = abs_path("$FindBin::RealBin/../..");
my $node = new_node('documents');

# The SQL of a page's fenced blocks, from the heading on.
sub sql_of
{
	my ($page, $from) = @_;
	my $text = slurp_file("$top/$page");
	$text =~ s/.*?^(?=#+ \Q$from\E)//ms if defined $from;
	$text =~ s/(?<=\n)(?=## ).*?\z//s if defined $from && ($text =~ s/\A(#+ [^\n]*\n)//);
	return join("\n", $text =~ /^```sql\n(.*?)^```/msg);
}

# Run it as it stands; the answer, or a failed test with the error.
sub run_sql
{
	my ($database, $sql, $what) = @_;
	my ($rc, $out, $err) = $node->psql($database, $sql, on_error_stop => 1);
	is($rc, 0, $what) or diag($err);
	return ($out, $err);
}

my $tutorial = sql_of('doc/tutorial.md');
cmp_ok(length($tutorial), '>', 3000, 'the tutorial has statements');
$node->safe_psql('postgres', 'CREATE DATABASE tutorial');
my ($out) = run_sql('tutorial', $tutorial, 'the tutorial runs from top to bottom');
like($out, qr/^full_name\|name\|/m, 'it finds names');
like($out, qr/^7\|Clara Meyer\|customer7\@example\.org\|1971-12-02$/m, 'the application reads as before');
like($out, qr/^7\|C\*\|c\*\|/m, 'support sees masks');
like($out, qr/^7\|enc:v1:/m, 'a superuser sees ciphertext');
like($out, qr/^Clara Meyer\|customer7\@example\.org$/m, 'support sees one address for a reason');
like($out, qr/^old tickets\|\d+\|ok$/m, 'retention runs');
like($out, qr/^9\|\|\|?$/m, 'a customer who leaves is unreadable at once');
like($out, qr/^9\|Eva Meyer\|customer9\@example\.org\|1972-06-19$/m, 'and back when cancelled');

# The README's tour, over tables that it takes for granted.
$node->safe_psql('postgres', 'CREATE DATABASE tour');
$node->safe_psql('tour', <<'SQL');
CREATE EXTENSION dataprotect;
CREATE TABLE customer (id int, email text);
INSERT INTO customer VALUES (1, 'anna@example.org');
GRANT SELECT ON customer TO shop, support;
SQL
my $tour = sql_of('README.md', 'Five minutes');
like($tour, qr/encrypt_column/, 'the tour has statements');
run_sql('tour', $tour, 'the tour runs');
is($node->psql('tour', 'SELECT email FROM customer', extra_params => [ '-U', 'shop' ], stdout => \my $seen), 0, 'the application reads');
is($seen, 'anna@example.org', 'what it read before');
$node->psql('tour', 'SELECT email FROM customer', extra_params => [ '-U', 'support' ], stdout => \$seen);
is($seen, 'a***@***.org', 'support sees what the tour says');

# Every block of every page runs, here or in a test that is named before it, or it says why not:
#	<!-- run here -->			with the page's other ones, top down, after what stands in %before
#	<!-- run by PATH -->		the same commands in another test
#	<!-- not run: REASON -->
# In the tutorial and the README all blocks of SQL run, as above.
my %before = (
	'doc/lifecycle.md' => <<'SQL',
CREATE EXTENSION dataprotect;
SELECT dataprotect.create_key('pii');
CREATE TABLE customer (id int PRIMARY KEY, email text);
CREATE TABLE posts (id int PRIMARY KEY, user_id int, body text);
CREATE TABLE comments (id int PRIMARY KEY, author_type text, author_id int, body text);
CREATE TABLE rental (rental_id int PRIMARY KEY, rental_date timestamptz);
CREATE TABLE payment (payment_id int PRIMARY KEY, rental_id int REFERENCES rental);
CREATE INDEX ON rental (rental_date); CREATE INDEX ON payment (rental_id);
CREATE INDEX ON posts (user_id); CREATE INDEX ON comments (author_id);
SELECT dataprotect.create_account_type('customer', 'customer', 'id');
SQL
	'doc/howto.md' => <<'SQL');
CREATE EXTENSION dataprotect;
CREATE ROLE auditor LOGIN;
CREATE ROLE desk LOGIN;
CREATE TABLE customer (id int PRIMARY KEY, email text UNIQUE, phone text);
INSERT INTO customer SELECT g, 'c' || g || '@example.org', '+49 30 ' || g FROM generate_series(1, 20) g;
GRANT SELECT, UPDATE ON customer TO shop, desk;
SQL
my @unsaid;
for my $page ('README.md', 'pgxs/citus.md', map { "doc/" . (split m{/})[-1] } sort glob("$top/doc/*.md"))
{
	my $text = slurp_file("$top/$page");
	my $run = '';
	while ($text =~ /^(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)^```$/msg)
	{
		my ($mark, $kind, $block) = (defined $1 ? $1 : '', $2, $3);
		next if $kind eq 'sql' && $mark eq '' && $page =~ /^(?:doc\/tutorial|README)\.md$/;
		if ($mark eq 'run here' && $kind eq 'sql') { $run .= "$block\n"; next; }
		next if $mark =~ /^not run: \S.{8}/ || ($mark =~ /^run by (\S+)$/ && -e "$top/$1");
		push @unsaid, "$page: $mark " . (split /\n/, $block)[0];
	}
	next if $run eq '';
	my $database = 'page_' . ($page =~ /(\w+)\.md$/)[0];
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, $before{$page}) if $before{$page};
	run_sql($database, $run, "what $page says runs");
}
is_deeply(\@unsaid, [], 'every block runs, or says where it does or why not');

# Messages of the troubleshooting page are the sources' own.
my $sources = join '', map { slurp_file($_) } glob("$top/src/*.c"), glob("$top/src/*/*.c"), glob("$top/src/*/*.sql");
$sources =~ s/"\s*\n\s*"//g;
my @unknown;
for my $message (slurp_file("$top/doc/troubleshooting.md") =~ /^\| (?:[\dA-Z, ]+ \| )?`([^`]+)` \| /mg)
{
	next if $message =~ /^(enc:v1|j\*)/;
	my $pattern = join '.{1,24}?', map { (my $part = quotemeta) =~ s/\\"/\\\\?"/g; $part } split /…/, $message;
	push @unknown, $message if $sources !~ /$pattern/;
}
is_deeply(\@unknown, [], 'every message that is explained is one of the server');

# All messages, and no error without a condition.
chomp(my $include = `$ENV{PG_CONFIG} --includedir-server`);
is(`$^X $top/pgxs/messages.pl $include/utils/errcodes.h --check`, '', 'doc/messages.md is what the sources say');

# Every page that another one links to is there, with the heading.
my @pages = ('README.md', map { "doc/" . (split m{/})[-1] } glob("$top/doc/*.md"));
my @dead;
for my $page (@pages)
{
	my $text = slurp_file("$top/$page");
	my ($dir) = $page =~ m{^(.*/)?};
	$dir = '' if !defined $dir;
	while ($text =~ /\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)/g)
	{
		my ($target, $anchor) = ($1, $2);
		my $path = $target eq '' ? $page : "$dir$target";
		1 while $path =~ s{[^/]+/\.\./}{};
		if (!-e "$top/$path") { push @dead, "$page: $path"; next; }
		next if !defined $anchor;
		my $other = slurp_file("$top/$path");
		my %anchors = map { my $h = lc $_; $h =~ s/[^\w\- ]//g; $h =~ s/ /-/g; ("#$h" => 1) } $other =~ /^#+ (.*)$/mg;
		$anchors{"#$_"} = 1 for $other =~ /<a id="([^"]+)">/g;
		push @dead, "$page: $path$anchor" if !$anchors{$anchor};
	}
}
is_deeply(\@dead, [], 'no link of the documentation is dead');

$node->stop;
done_testing();
