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
