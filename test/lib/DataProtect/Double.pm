package DataProtect::Double;

=head1 NAME

DataProtect::Double - a server that stands in for another in a test: its process

=head1 SYNOPSIS

	package DataProtect::SomeDouble;
	use parent 'DataProtect::Double';

	sub _serve { my ($self, $listener) = @_; ... }	# in a process of its own

	my $double = bless { dir => $folder }, 'DataProtect::SomeDouble';
	$double->listen($port);
	$double->mode('ok');
	$double->stop;

The process ends when the object goes, or at stop.  How it answers is a word, the
mode, in a file of its folder.

=cut

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();

# On a loopback port, a free one where none is given.
sub listen
{
	my ($self, $port) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port || 0, Listen => 128, ReuseAddr => 1)
	  or die "could not listen: $!";

	$self->{port} = $listener->sockport;
	$self->{pid} = fork;
	die "could not fork: $!" if !defined $self->{pid};
	if ($self->{pid} == 0)
	{
		$SIG{PIPE} = 'IGNORE';
		$SIG{TERM} = 'DEFAULT';
		eval { $self->_serve($listener) };
		print STDERR $@ if $@;
		POSIX::_exit(1);
	}
	close $listener;
	return $self;
}

sub stop
{
	my ($self) = @_;
	return if !$self->{pid};
	kill 'KILL', $self->{pid};
	waitpid $self->{pid}, 0;
	delete $self->{pid};
	return;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	$self->stop;
	return;
}

sub endpoint { return "http://127.0.0.1:$_[0]{port}" }

# Set the mode for all later requests.
sub mode
{
	my ($self, $mode) = @_;
	open(my $fh, '>', "$self->{dir}/mode.new") or die "could not set the mode: $!";
	print $fh $mode;
	close $fh or die "could not set the mode: $!";
	rename "$self->{dir}/mode.new", "$self->{dir}/mode" or die "could not set the mode: $!";
	return;
}

1;
