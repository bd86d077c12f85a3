# A client speaks the protocol by hand.  If this fails, messages that no driver
# sends crash the server or show something.
use strict;
use warnings;

use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('protocol');

sub message { my ($type, $body) = @_; return $type . pack('N', 4 + length $body) . $body; }

# Log in as a role and send messages; everything that comes back until the server
# is ready again, or closes the connection (undef).
sub talk
{
	my ($role, @messages) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die "could not connect: $!";
	my $parameters = join '', map { "$_\0" } 'user', $role, 'database', 'postgres', '';
	print $socket pack('NN', 8 + length $parameters, 196608) . $parameters;
	my $answer = read_ready($socket);
	return $answer if !defined $answer;
	print $socket join('', @messages) . message('S', '');
	return read_ready($socket);
}

sub read_exactly
{
	my ($socket, $len) = @_;
	my $data = '';
	while (length $data < $len)
	{
		my $n = sysread $socket, $data, $len - length $data, length $data;
		return if !$n;
	}
	return $data;
}

sub read_ready
{
	my ($socket) = @_;
	my $all = '';
	while (1)
	{
		my $head = read_exactly($socket, 5);
		return if !defined $head;
		my ($type, $len) = unpack 'aN', $head;
		my $body = $len > 4 ? read_exactly($socket, $len - 4) : '';
		return if !defined $body;
		$all .= "$type$body\n";
		return $all if $type eq 'Z';
	}
}

my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my $pid = $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE backend_type = \'checkpointer\'');
sub bind_to { my ($portal, $statement) = @_; return message('B', "$portal\0$statement\0" . pack('nnn', 0, 0, 0)); }
sub parse { my ($name, $sql) = @_; return message('P', "$name\0$sql\0" . pack('n', 0)); }
sub execute { my ($portal) = @_; return message('E', "$portal\0" . pack('N', 0)); }

for my $role ('nobody', 'reader')
{
	for my $verb ('MOVE', 'FETCH 1 FROM')
	{
		my $answer = talk($role, parse('', "$verb x"), bind_to('x', ''), execute('x'));
		ok(defined $answer, "$role: a portal that fetches from itself ($verb): the connection goes on");
		$answer = talk($role, parse('a', "$verb y"), parse('b', "$verb x"), bind_to('x', 'a'), bind_to('y', 'b'), execute('x'));
		ok(defined $answer, "$role: two that fetch from each other ($verb)");
	}
	my $shown = talk($role, parse('', 'SELECT email FROM victim WHERE id = 2'), bind_to('x', ''), execute('x'), execute('x'), execute('nosuch'));
	ok(defined $shown && ($role eq 'reader') == ($shown =~ /Zq9x/ ? 1 : 0), "$role: a portal run twice shows what the role may see");
}
is($node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE backend_type = \'checkpointer\''), $pid, 'the server was not restarted');

log_conceals($node);
$node->stop;
done_testing();
