package DataProtect::KmsDouble;

=head1 NAME

DataProtect::KmsDouble - a test double of AWS KMS for what no KMS does on request

=head1 SYNOPSIS

	my $kms = DataProtect::KmsDouble->start(dir => $dir, key => $key_32_bytes);
	$kms->mode('hang');
	my @requests = $kms->requests;
	$kms->stop;

This is a double, not a KMS: it decrypts nothing.  It answers every Decrypt with
one fixed key and every Encrypt with that same blob, or misbehaves as told.  It
keeps every request, so that signatures can be checked.  What the real protocol
looks like is tested against moto.

Modes: ok, hang (never answers), close (closes without a reply), redirect,
status:N (HTTP status N, no JSON), error:TYPE (HTTP 400 with that __type),
throttle:N (that error for the next N requests, then ok), garbage, empty,
truncated (JSON cut off under a right Content-Length), short (connection closed
before Content-Length bytes), huge (more than the agent takes), deep (nested
JSON), wrongkey (another key), shortkey (31 bytes), badbase64, doubled (Plaintext
twice), forward:PORT (passes everything to a server on that port).

=cut

use strict;
use warnings;

use parent 'DataProtect::Double';

use IO::Select;
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64);

sub start
{
	my ($class, %opt) = @_;
	my $self = bless { dir => $opt{dir}, key => $opt{key} }, $class;
	mkdir $self->{dir};
	$self->mode($opt{mode} || 'ok');
	return $self->listen($opt{port});
}

# Every request so far: hashes with line, headers (arrays of name and value) and body.
sub requests
{
	my ($self) = @_;
	my @found;
	for my $file (sort glob "$self->{dir}/request.*")
	{
		my ($head, $body) = split /\r\n\r\n/, _read($file), 2;
		my ($line, @headers) = split /\r\n/, $head;
		push @found, { line => $line, body => $body,
			headers => [ map { [ split /:[ \t]*/, $_, 2 ] } @headers ] };
	}
	return @found;
}

sub _read
{
	my ($path) = @_;
	open(my $fh, '<:raw', $path) or die "could not read \"$path\": $!";
	local $/;
	my $text = <$fh>;
	close $fh;
	return defined $text ? $text : '';
}

sub _write
{
	my ($path, $text) = @_;
	# All of it or nothing, for who reads meanwhile.
	my ($dir, $name) = $path =~ m{\A(.*)/([^/]+)\z};
	open(my $fh, '>:raw', "$dir/new.$name") or die "could not write \"$path\": $!";
	print $fh $text;
	close $fh or die "could not write \"$path\": $!";
	rename "$dir/new.$name", $path or die "could not write \"$path\": $!";
	return;
}

# One process, many connections: a hanging one must not hold up the next.
sub _serve
{
	my ($self, $listener) = @_;
	my $select = IO::Select->new($listener);
	my %buffer;
	my $count = 0;

	while (1)
	{
		for my $socket ($select->can_read(1))
		{
			if ($socket == $listener)
			{
				my $client = $listener->accept or next;
				$select->add($client);
				$buffer{$client} = '';
				next;
			}
			my $n = sysread $socket, $buffer{$socket}, 65536, length $buffer{$socket};
			if (!$n)
			{
				$select->remove($socket);
				delete $buffer{$socket};
				close $socket;
				next;
			}
			while ($buffer{$socket} =~ /\A(.*?\r\n\r\n)/s)
			{
				my $head = $1;
				my $length = $head =~ /^Content-Length:\s*(\d+)/mi ? $1 : 0;
				last if length $buffer{$socket} < length($head) + $length;
				my $request = substr $buffer{$socket}, 0, length($head) + $length, '';
				_write(sprintf('%s/request.%06d', $self->{dir}, ++$count), $request);
				my ($reply, $close) = $self->_answer($request);
				syswrite $socket, $reply if defined $reply;
				if ($close)
				{
					$select->remove($socket);
					delete $buffer{$socket};
					close $socket;
					last;
				}
			}
		}
	}
	return;
}

sub _http
{
	my ($status, $body, @more) = @_;
	return join("\r\n", "HTTP/1.1 $status Test", 'Content-Type: application/x-amz-json-1.1',
		'Content-Length: ' . length $body, @more, '', $body);
}

# The bytes to send (undef: none), and whether to close then.
sub _answer
{
	my ($self, $request) = @_;
	my $mode = _read("$self->{dir}/mode");
	my $key = encode_base64($self->{key}, '');
	my $good = $request =~ /^X-Amz-Target: TrentService\.Encrypt/mi
	  ? "{\"CiphertextBlob\":\"$key\",\"KeyId\":\"double\"}"
	  : "{\"KeyId\":\"double\",\"Plaintext\":\"$key\",\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\"}";

	if ($mode =~ /^throttle:(\d+)$/)
	{
		return _http(200, $good) if $1 == 0;
		$self->mode('throttle:' . ($1 - 1));
		return _http(400, '{"__type":"ThrottlingException","message":"Rate exceeded"}');
	}
	return _http(200, $good) if $mode eq 'ok';
	return (undef, 0) if $mode eq 'hang';
	return (undef, 1) if $mode eq 'close';
	return _http(302, '', "Location: http://127.0.0.1:$self->{port}/elsewhere") if $mode eq 'redirect';
	return _http($1, 'no JSON here') if $mode =~ /^status:(\d+)$/;
	return _http(400, "{\"__type\":\"com.amazonaws.kms#$1\",\"message\":\"secret-in-message\"}") if $mode =~ /^error:(.*)$/s;
	return _http(200, "\x00\xff<html>{" x 20) if $mode eq 'garbage';
	return _http(200, '') if $mode eq 'empty';
	return _http(200, substr $good, 0, length($good) - 5) if $mode eq 'truncated';
	return (substr(_http(200, $good), 0, -5), 1) if $mode eq 'short';
	return (_http(200, '{"Plaintext":"' . 'A' x (1 << 20) . '"}'), 1) if $mode eq 'huge';
	return _http(200, '{"a":' . '[' x 20000 . ']' x 20000 . '}') if $mode eq 'deep';
	return _http(200, '{"Plaintext":"' . encode_base64('x' x 32, '') . '"}') if $mode eq 'wrongkey';
	return _http(200, '{"Plaintext":"' . encode_base64('x' x 31, '') . '"}') if $mode eq 'shortkey';
	return _http(200, "{\"Plaintext\":\" $key\"}") if $mode eq 'badbase64';
	return _http(200, "{\"Plaintext\":\"$key\",\"Plaintext\":\"$key\"}") if $mode eq 'doubled';
	return _forward($request, $1) if $mode =~ /^forward:(\d+)$/;
	die "unknown mode \"$mode\"";
}

sub _forward
{
	my ($request, $port) = @_;
	my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
	  or return (undef, 1);
	my $reply = '';
	$request =~ s/\r\n\r\n/\r\nConnection: close\r\n\r\n/;
	print $server $request;
	while (sysread $server, $reply, 65536, length $reply) { }
	return ($reply, 1);
}

1;
