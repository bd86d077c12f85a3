package DataProtect::SigV4;

=head1 NAME

DataProtect::SigV4 - an independent signer, to check what the server sends

=head1 DESCRIPTION

AWS Signature Version 4 as the AWS documentation describes it ("Create a signed
AWS API request", IAM User Guide), for requests without a query and to paths that need
no encoding.
The server's signatures come from libcurl; this module shares nothing with it.
test/tap checks this module itself against Amazon's published test suite
(aws-sig-v4-test-suite).

=cut

use strict;
use warnings;

use Digest::SHA qw(sha256_hex hmac_sha256 hmac_sha256_hex);
use Exporter 'import';

our @EXPORT = qw(sigv4_signature sigv4_verify);

# method, headers (hash, lower-case names), signed (array of names), body,
# path ("/"), scope "DATE/REGION/SERVICE/aws4_request", secret.
sub sigv4_signature
{
	my (%r) = @_;
	my $canonical_headers = join '', map {
		my $value = $r{headers}{$_};
		$value =~ s/^\s+|\s+$//g;
		$value =~ s/\s+/ /g;
		"$_:$value\n"
	} @{ $r{signed} };
	my $canonical = join "\n", $r{method}, $r{path} || '/', '', $canonical_headers,
	  join(';', @{ $r{signed} }), sha256_hex($r{body});
	my $to_sign = join "\n", 'AWS4-HMAC-SHA256', $r{headers}{'x-amz-date'}, $r{scope}, sha256_hex($canonical);

	my $key = "AWS4$r{secret}";
	$key = hmac_sha256($_, $key) for split m{/}, $r{scope};
	return hmac_sha256_hex($to_sign, $key);
}

# Check one request of DataProtect::KmsDouble.  Returns what its Authorization
# header says (access key, scope, signed) and whether the signature is right.
sub sigv4_verify
{
	my ($request, $secret) = @_;
	my %headers = map { (lc $_->[0] => $_->[1]) } @{ $request->{headers} };
	my ($method, $path) = $request->{line} =~ m{^(\S+) (/[A-Za-z0-9/._~-]*) HTTP} or return { ok => 0 };
	my ($access_key, $scope, $signed, $signature) = ($headers{authorization} || '') =~
	  m{^AWS4-HMAC-SHA256 Credential=([^/]+)/(\S+?), ?SignedHeaders=(\S+?), ?Signature=([0-9a-f]{64})$}
	  or return { ok => 0 };
	my $wanted = sigv4_signature(
		method => $method, path => $path, headers => \%headers, signed => [ split /;/, $signed ],
		body => $request->{body}, scope => $scope, secret => $secret);
	return {
		ok => $wanted eq $signature ? 1 : 0, access_key => $access_key, scope => $scope,
		signed => { map { $_ => 1 } split /;/, $signed }, headers => \%headers };
}

1;
