# If this fails, a statement opens a value more often than it must: for an index's
# recheck and again for output, or at each comparison of a sort.
use strict;
use warnings;

use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('once', start => 0, conf => "autovacuum = off\ndataprotect.worker_naptime = 1h\n");
my $shim = $node->basedir . '/count_opens.so';
my $file = $node->basedir . '/count';
append_to_file($file, "\0" x 8);
plan skip_all => 'no C compiler'
  if system($ENV{CC} || 'cc', '-shared', '-fPIC', '-O1', '-o', $shim, dirname(__FILE__) . '/../lib/count_opens.c', '-ldl') != 0;
{
	local $ENV{LD_PRELOAD} = $shim;
	local $ENV{DP_COUNT_FILE} = $file;
	$node->start;
}
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE TABLE item (id int PRIMARY KEY, email encrypted_text('pii'), tok encrypted_text('pii', 'searchable'), ord encrypted_text('pii', 'ordered'),
	note encrypted_text('pii'));
INSERT INTO item SELECT g, 'user' || g, 'user' || g, 'user' || g, repeat('long', 60) || g FROM generate_series(1, 300) g;
CREATE INDEX ON item USING hash (email);
CREATE INDEX ON item (tok encrypted_text_token_ops);
CREATE INDEX ON item (ord);
ANALYZE item;
SQL

sub opens
{
	open(my $fh, '<:raw', $file) or die "could not read \"$file\": $!";
	read($fh, my $bytes, 8);
	close $fh;
	return unpack 'Q', $bytes;
}

# The build of an ordered index opens each value once, and puts all in order: few of
# them kept, many, values alike, NULLs, and keys that change meanwhile.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE sorted (id int, plain text COLLATE "C", ord encrypted_text('pii', 'ordered') COLLATE "C");
INSERT INTO sorted SELECT g, v, v FROM (SELECT g, CASE WHEN g % 50 <> 0 THEN md5((g % 7000)::text) END AS v FROM generate_series(1, 8000) g) s;
SELECT dataprotect.create_key('other');
SQL
my $in_order = q{SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
	SELECT count(*), count(*) FILTER (WHERE plain < before), count(plain) FROM (SELECT plain, lag(plain) OVER () AS before FROM (SELECT plain FROM sorted ORDER BY ord) x) y};
for my $memory ('1MB', '64MB')
{
	my $before = opens();
	$node->safe_psql('postgres', "SET maintenance_work_mem = '$memory'; SET max_parallel_maintenance_workers = 0; CREATE INDEX sorted_idx ON sorted (ord)");
	my $taken = opens() - $before;
	cmp_ok($taken, '<=', 8100, "an ordered index of 7,840 values opens each once ($taken)") if $memory eq '64MB';
	is($node->safe_psql('postgres', $in_order), '8000|0|7840', "and is in order, with maintenance_work_mem $memory");
	$node->safe_psql('postgres', 'DROP INDEX sorted_idx');
}
{
	my $disturber = $node->background_psql('postgres');
	$disturber->query_until(qr/begun/, "\\echo begun\nDO \$\$ BEGIN FOR i IN 1 .. 15 LOOP PERFORM dataprotect.suspend_key('other', 'x'); COMMIT; PERFORM dataprotect.resume_key('other', 'x'); COMMIT; END LOOP; END \$\$;\n\\echo ended\n");
	$node->safe_psql('postgres', 'SET max_parallel_maintenance_workers = 0; CREATE INDEX sorted_idx ON sorted (ord)');
	is($node->safe_psql('postgres', $in_order), '8000|0|7840', 'in order, too, while keys change');
	$disturber->quit;
}

# A user's sort of some thousand values opens each once, too, and twice where its runs
# are merged.
my $user_sort = q{SELECT count(*), count(*) FILTER (WHERE plain < before), count(plain) FROM (SELECT plain, lag(plain) OVER () AS before
	FROM (SELECT plain FROM sorted ORDER BY ord, id OFFSET 0) x) y};
for my $case ([ '4MB', 8100 ], [ '2MB', 3 * 8100 ])
{
	my ($memory, $most) = @$case;
	my $before = opens();
	is($node->safe_psql('postgres', "SET work_mem = '$memory'; SET max_parallel_workers_per_gather = 0; $user_sort"), '8000|0|7840',
		"a user's sort is in order, with work_mem $memory");
	my $taken = opens() - $before;
	cmp_ok($taken, '<=', $most, "and opens 7,840 values not more than $most times ($taken)");
}

# DISTINCT and aggregates over an order take what a sort has in place of a value as their
# first test of equality: equal values are one, whatever their keys, their length and
# where they lie, and while keys change.
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.grant_access('other', current_user::regrole, 'reveal');
CREATE TABLE one (p text, v encrypted_text('pii'), pn numeric, n encrypted_numeric('pii'), pd text, d encrypted_text('pii'));
CREATE TABLE two (v encrypted_text('other'));
ALTER TABLE one ALTER d SET STORAGE EXTERNAL;
INSERT INTO one SELECT p, p, pn, pn, pd, pd FROM (SELECT 'v' || g % 900 AS p, CASE WHEN g % 2 = 0 THEN g % 70 ELSE (g % 70)::numeric(9,2) END AS pn,
	CASE WHEN g < 200 THEN repeat(md5((g % 40)::text), 300) ELSE 'short' END AS pd FROM generate_series(1, 3000) g) s;
INSERT INTO two SELECT 'v' || g FROM generate_series(850, 1000) g;
SQL
my $both = q{(SELECT v FROM one UNION ALL SELECT v FROM two UNION ALL VALUES ('v1'::encrypted_text), ('w1'), ('w1')) s};
my @distinct = (
	[ 'SELECT count(DISTINCT p), count(DISTINCT pn), count(DISTINCT pd) FROM one', 'SELECT count(DISTINCT v), count(DISTINCT n), count(DISTINCT d) FROM one' ],
	[ 'SELECT mode() WITHIN GROUP (ORDER BY p), percentile_disc(0.3) WITHIN GROUP (ORDER BY pn) FROM one',
		'SELECT mode() WITHIN GROUP (ORDER BY v), percentile_disc(0.3) WITHIN GROUP (ORDER BY n) FROM one' ],
	[ 'SELECT string_agg(DISTINCT p, $$,$$) FROM one', 'SELECT string_agg(DISTINCT v, $$,$$) FROM one' ],
	[ 'SELECT 1002, count(DISTINCT p) FROM one', "SELECT count(DISTINCT v), (SELECT count(DISTINCT v) FROM one) FROM $both" ]);
for my $memory ('64kB', '1MB', '64MB')
{
	my $set = "SET work_mem = '$memory'; SET max_parallel_workers_per_gather = 0;";
	is($node->safe_psql('postgres', "$set $_->[1]"), $node->safe_psql('postgres', $_->[0]), "work_mem $memory: $_->[1]") for @distinct;
}
{
	my $disturber = $node->background_psql('postgres');
	$disturber->query_until(qr/begun/, "\\echo begun\nDO \$\$ BEGIN FOR i IN 1 .. 30 LOOP PERFORM dataprotect.suspend_key('other', 'x'); COMMIT; PERFORM dataprotect.resume_key('other', 'x'); COMMIT; END LOOP; END \$\$;\n\\echo ended\n");
	my $wrong = $node->safe_psql('postgres', <<'SQL');
SET work_mem = '64MB';
DO $$
DECLARE wrong int := 0;
BEGIN
	FOR i IN 1 .. 15 LOOP
		IF (SELECT count(DISTINCT v) FROM one) <> 900 THEN wrong := wrong + 1; END IF;
	END LOOP;
	PERFORM set_config('once.wrong', wrong::text, false);
END $$;
SELECT current_setting('once.wrong');
SQL
	is($wrong, '0', 'DISTINCT while keys change');
	$disturber->quit;
}

# How many openings a statement takes, once everything is loaded: the least of
# several runs, since workers of the server count as well.
my $session = $node->background_psql('postgres');
sub takes
{
	my ($sql) = @_;
	my $least;
	$session->query_safe($sql) for 1 .. 3;
	for (1 .. 8)
	{
		my $before = opens();
		$session->query_safe($sql);
		my $taken = opens() - $before;
		$least = $taken if !defined $least || $taken < $least;
	}
	return $least;
}

$session->query_safe($_) for (
	'SET enable_seqscan = off');
is(takes('SELECT 1'), 0, 'a statement without protected values opens nothing');
is(takes('SELECT email FROM item WHERE id = 7'), 1, 'a value that is shown is opened once');
is(takes("SELECT email FROM item WHERE email = 'user7'::text"), 1, 'one that a hash index found: once for its recheck and its output');
is(takes("SELECT tok FROM item WHERE tok = 'user7'::text"), 1, 'one that its token found: once, for its output');
cmp_ok(takes("SELECT ord FROM item WHERE ord = 'user7'::text"), '<', 20, 'one that an ordered index found: the way down, and itself once');
is(takes('SELECT count(*) FROM (SELECT email FROM item ORDER BY email OFFSET 0) s'), 300, 'a sort opens each value once');
is(takes('SELECT email FROM item ORDER BY email'), 300, 'and its output none again');
is(takes('SELECT email FROM item ORDER BY email, tok'), 300, 'a second column is opened where the first does not decide');
is(takes("SELECT count(*) FROM item WHERE email > 'user'::encrypted_text"), 301, 'a literal is opened once for all rows');
is(takes('SELECT email FROM item GROUP BY email'), 300, 'a hash, its equality and the output open each value once');
is(takes('SELECT count(*) FROM item a JOIN item b USING (email)'), 300, 'so does a hash join of a table with itself');
is(takes('SELECT count(*) FROM (SELECT note FROM item ORDER BY note OFFSET 0) s'), 300, 'a sort opens each long value once');
$session->quit;

$node->stop;
done_testing();
