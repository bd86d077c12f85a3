package DataProtect::SinkDouble;

=head1 NAME

DataProtect::SinkDouble - a test double of what the audit log is sent to

=head1 SYNOPSIS

	my $sink = DataProtect::SinkDouble->start(dir => $dir);
	$sink->mode('status:503');
	my @lines = $sink->lines;		# JSON, as they came
	$sink->stop;

This is a double.  It answers as Splunk's documentation says of an HTTP Event
Collector with indexer acknowledgement (Splunk itself cannot be had for tests),
takes every other POST and PUT as a webhook or an S3 does, and keeps all
requests.  S3 itself is tested against moto, syslog against rsyslog.

Modes: ok, hang, close, redirect, status:N, garbage, noack (the collector gives no
number), ackfalse (never acknowledges), ackgarbage, forward:PORT (passes everything to a
server on that port).  What lines() gives is
all that was sent, taken or not.

=cut

use strict;
use warnings;

use parent 'DataProtect::KmsDouble';

use Exporter 'import';
use IO::Uncompress::Gunzip qw(gunzip $GunzipError);

our @EXPORT_OK = qw(body_of);

sub start
{
	my ($class, %opt) = @_;
	return $class->SUPER::start(%opt, key => '');
}

sub _http
{
	my ($status, $body, @more) = @_;
	return join("\r\n", "HTTP/1.1 $status Test", 'Content-Type: application/json',
		'Content-Length: ' . length $body, @more, '', $body);
}

sub _answer
{
	my ($self, $request) = @_;
	my $mode = DataProtect::KmsDouble::_read("$self->{dir}/mode");
	my ($path) = $request =~ m{\A[A-Z]+ (\S+)};

	return DataProtect::KmsDouble::_forward($request, $1) if $mode =~ /^forward:(\d+)$/;
	return (undef, 0) if $mode eq 'hang';
	return (undef, 1) if $mode eq 'close';
	return _http($1, 'no') if $mode =~ /^status:(\d+)$/;
	return _http(302, '', "Location: http://127.0.0.1:$self->{port}/elsewhere") if $mode eq 'redirect';
	if ($path =~ m{^/services/collector/ack})
	{
		my ($id) = $request =~ /"acks":\[(\d+)\]/;
		return _http(200, '{"acks":{"' . $id . '":false}}') if $mode eq 'ackfalse';
		return _http(200, '[{"acks":') if $mode eq 'ackgarbage';
		return _http(200, '{"acks":{"' . $id . '":true}}');
	}
	return _http(200, '') if $path !~ m{^/services/collector};
	return _http(200, "\x00\xff<html>{" x 20) if $mode eq 'garbage';
	return _http(200, '{"text":"Success","code":0}') if $mode eq 'noack';
	return _http(200, sprintf('{"text":"Success","code":0,"ackId":%d}', $self->{acks}++ || 0));
}

# The body of a request, unpacked.
sub body_of
{
	my ($request) = @_;
	my %headers = map { (lc $_->[0] => $_->[1]) } @{ $request->{headers} };
	my $body = $request->{body};
	return $body if ($headers{'content-encoding'} || '') ne 'gzip' && ($headers{'content-type'} || '') ne 'application/gzip';
	gunzip(\$body, \my $plain) or die "gunzip: $GunzipError";
	return $plain;
}

# The records and digests of every batch that was sent, in the order they came.
sub lines
{
	my ($self) = @_;
	my @lines;
	for my $request ($self->requests)
	{
		next if $request->{line} =~ m{/services/collector/ack};
		for my $line (split /\n/, body_of($request))
		{
			# what the collector takes is the event around the record
			$line =~ s/\A\{"time":.*?"event":(.*)\}\z/$1/ if $request->{line} =~ m{/services/collector};
			push @lines, $line;
		}
	}
	return @lines;
}

1;
