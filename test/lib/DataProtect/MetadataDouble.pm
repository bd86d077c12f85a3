package DataProtect::MetadataDouble;

=head1 NAME

DataProtect::MetadataDouble - a test double of Amazon's instance metadata and container endpoint

=head1 SYNOPSIS

	my $metadata = DataProtect::MetadataDouble->start(dir => "$tmp/metadata");
	$metadata->mode('life:20');
	my @requests = $metadata->requests;
	$metadata->stop;

This is a double, written from Amazon's documentation of IMDSv2 (PUT
/latest/api/token, then GET /latest/meta-data/iam/security-credentials/ with the
token) and of the container provider (GET /container, with an Authorization header).
Access keys are numbered: ASIAINSTANCE1, ASIACONTAINER2, in the order in which they are handed out.

Modes: ok (an hour's life), life:SECONDS, status:N, garbage.

=cut

use strict;
use warnings;

use parent 'DataProtect::Double';

use POSIX ();

sub start
{
	my ($class, %opt) = @_;
	my $self = bless {%opt}, $class;

	mkdir $self->{dir};
	$self->mode('ok');
	return $self->listen;
}

# "METHOD path token authorization" of every request so far.
sub requests
{
	my ($self) = @_;
	open(my $fh, '<', "$self->{dir}/requests") or return;
	my @found = <$fh>;
	chomp @found;
	return @found;
}

sub _serve
{
	my ($self, $listener) = @_;
	my $count = 0;

	while (my $client = $listener->accept)
	{
		my $request = '';
		while ($request !~ /\r\n\r\n/ && sysread $client, $request, 65536, length $request) { }
		next if $request !~ m{^(\S+) (\S+) HTTP};
		my ($method, $path) = ($1, $2);
		my ($token) = $request =~ /^X-aws-ec2-metadata-token: (\S+)\r$/mi;
		my ($authorization) = $request =~ /^Authorization: (\S+)\r$/mi;
		open(my $fh, '>>', "$self->{dir}/requests") or die;
		print $fh join(' ', $method, $path, $token || '-', $authorization || '-'), "\n";
		close $fh;
		my ($status, $reply) = $self->_answer($method, $path, $token, $authorization, \$count);
		syswrite $client, "HTTP/1.1 $status Test\r\nConnection: close\r\nContent-Length: " . length($reply) . "\r\n\r\n$reply";
		close $client;
	}
	return;
}

sub _answer
{
	my ($self, $method, $path, $token, $authorization, $count) = @_;
	open(my $fh, '<', "$self->{dir}/mode");
	my $mode = <$fh>;
	my $life = $mode =~ /^life:(\d+)$/ ? $1 : 3600;
	my $keys = sub {
		my ($kind) = @_;
		return (200, sprintf('{"Code":"Success","AccessKeyId":"ASIA%s%d","SecretAccessKey":"secret/of+the+double","Token":"token/of+the+double%d","Expiration":"%s"}',
				$kind, ++$$count, $$count, POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time + $life))));
	};

	return ($1, 'secret-in-message') if $mode =~ /^status:(\d+)$/;
	return (200, '<html>') if $mode eq 'garbage';
	return (200, 'TOKENOFTHEDOUBLE==') if $method eq 'PUT' && $path eq '/latest/api/token';
	return $keys->('CONTAINER') if $method eq 'GET' && $path eq '/container' && ($authorization || '') eq 'container-token';
	return (401, '') if ($token || '') ne 'TOKENOFTHEDOUBLE==';
	return (200, "role-of-instance\n") if $path eq '/latest/meta-data/iam/security-credentials/';
	return $keys->('INSTANCE') if $path eq '/latest/meta-data/iam/security-credentials/role-of-instance';
	return (404, '');
}

1;
