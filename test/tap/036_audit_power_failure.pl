# If this fails, a power failure makes the ring use numbers again that records
# had before, and the new records are dropped as "already written": reads are
# missing in a log that verifies.  (power-failure-forgets-the-rings-header)
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('audit_power', conf => "dataprotect.audit_ring_size = '256kB'\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'));
INSERT INTO person SELECT g, 'user' || g FROM generate_series(1, 20) AS g;
GRANT SELECT ON person TO app;
SQL

my $ring = $node->data_dir . '/pg_dynshmem/dataprotect.ring';
my $header = 20480;				# all that stands before the frames

sub reads
{
	my ($purpose, $n) = @_;
	$node->safe_psql('postgres', "SET dataprotect.purpose = '$purpose';\n" . "SELECT email FROM person WHERE id = 3;\n" x $n,
		extra_params => [ '-U', 'app' ]);
	return;
}

sub flush_log { return poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()') }

sub logged
{
	my ($purpose) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_log WHERE purpose = '$purpose'",
		extra_params => [ '-U', 'auditor' ]);
}

sub bytes_of
{
	my ($from, $len) = @_;
	open my $file, '<:raw', $ring or die "$ring: $!";
	seek $file, $from, 0;
	my $bytes;
	read $file, $bytes, $len;
	close $file;
	return $bytes;
}

sub put_back
{
	my ($at, $bytes) = @_;
	open my $file, '+<:raw', $ring or die "$ring: $!";
	seek $file, $at, 0;
	print $file $bytes;
	close $file;
	return;
}

sub verifies
{
	my ($name) = @_;
	is($node->safe_psql('postgres', 'SELECT ok, detail FROM dataprotect.verify_audit_log()'), 't|', $name);
	return;
}

# The whole file as it was before the life that the power failure ended.
$node->stop;
my $old = bytes_of(0, -s $ring);
$node->start;
reads('before', 30);
flush_log();
is(logged('before'), 30, 'reads are in the log');
kill9_node($node);
put_back(0, $old);
$node->start;
reads('old file', 5);
flush_log();
is(logged('old file'), 5, 'nothing is dropped after the ring file of an earlier life came back');
is(logged('before'), 30, 'and nothing is there twice');
verifies('the log verifies');

# The header as it was when the life began, frames as they were at its end:
# the kernel wrote back some pages and not others.
$node->stop;
$node->start;
flush_log();
my $at_start = bytes_of(0, $header);
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
my ($writer) = grep { defined } map { /^\s*(\d+)\s.*dataprotect audit writer/ ? $1 : undef }
  split /\n/, `ps -o pid=,args= --ppid $postmaster`;
kill 'STOP', $writer;
reads('only in the ring', 7);
kill9_node($node);
put_back(0, $at_start);
$node->start;
reads('after', 5);
flush_log();
is(logged('only in the ring'), 7, 'frames that follow an old header are found');
is(logged('after'), 5, 'new records follow them');
verifies('the log verifies');

# The segments have been moved away as well: the clock goes on.
$node->stop;
$old = bytes_of(0, -s $ring);
$node->start;
reads('more', 3);
flush_log();
kill9_node($node);
put_back(0, $old);
rename $node->data_dir . '/pg_dataprotect_audit', $node->basedir . '/moved' or die $!;
$node->start;
reads('without segments', 4);
flush_log();
is(logged('without segments'), 4, 'no number comes again, not even without segments');

$node->stop;
done_testing();
