# If this fails, the test harness itself is broken: a throw-away server does
# not start, or its helpers do not see what they should.
use strict;
use warnings;

use IO::Socket::INET;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('harness', preload => 0);

is($node->safe_psql('postgres', 'SELECT 1'), '1', 'throw-away server answers');
is((stat(kms_dir($node) . '/root.key'))[7], 32, 'root key has 32 bytes');
is((stat(_))[2] & 07777, 0600, 'root key is readable by its owner only');
isnt(index(kms_dir($node), $node->data_dir), 0, 'root key lies outside the data directory');

$node->safe_psql('postgres', "CREATE TABLE marks (t text); INSERT INTO marks VALUES ('needle-7351'); CHECKPOINT");
cmp_ok(scalar(files_with($node->data_dir, 'needle-7351')), '>=', 1, 'files_with sees a stored value');
is(scalar(files_with($node->data_dir . '/base', 'needle-' . '7352')), 0, 'files_with does not see what is not there');

is(sqlstate_of($node, 'postgres', 'SELECT 1/0;'), '22012', 'sqlstate_of returns the SQLSTATE');
psql_fails($node, 'postgres', 'SELECT 1/0', qr/division by zero/, 'psql_fails sees the error');

kill9_node($node);
$node->start;
is($node->safe_psql('postgres', 'SELECT t FROM marks'), 'needle-7351', 'server recovers after SIGKILL of every process');

SKIP:
{
	skip 'libfaketime is not installed', 1 if !have_faketime();
	$node->stop;
	start_at($node, '+31d');
	is($node->safe_psql('postgres', 'SELECT now() > to_timestamp(' . time . ") + interval '30 days'"),
		't', 'server runs in the future');
}

SKIP:
{
	skip 'moto is neither installed nor in $DP_MOTO_ROOT', 2 if !have_moto();
	my $moto = start_moto();
	ok($moto->{port}, 'moto answers on its port');
	stop_moto($moto);
	ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $moto->{port}, Proto => 'tcp'),
		'moto is gone after it was stopped');
}

$node->stop;
done_testing();
