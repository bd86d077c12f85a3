package DataProtect::Token;

=head1 NAME

DataProtect::Token - an issuer of JSON Web Tokens, by the openssl command

=head1 SYNOPSIS

	my $issuer = DataProtect::Token->new($folder);	# keys, and jwks.json there
	my $token = $issuer->token(sub => 'ann', amr => ['mfa']);
	my $other = $issuer->token({ header => { alg => 'ES256', kid => 'es' } }, sub => 'ann');

Claims that are not given are those of a good token; undef takes one out.

=cut

use strict;
use warnings;

use JSON::PP ();
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Utils;

my $json = JSON::PP->new->canonical;
my $made = 0;

sub new
{
	my ($class, $folder) = @_;
	my $self = bless { folder => $folder }, $class;
	my %make = (rs => '-algorithm RSA -pkeyopt rsa_keygen_bits:2048', es => '-algorithm EC -pkeyopt ec_paramgen_curve:P-256',
		ed => '-algorithm ED25519', stranger => '-algorithm EC -pkeyopt ec_paramgen_curve:P-256');

	for my $key (sort keys %make)
	{
		system("openssl genpkey $make{$key} -out $folder/$key.pem 2>/dev/null && openssl pkey -in $folder/$key.pem -pubout -outform DER -out $folder/$key.der") == 0
		  or die "openssl cannot make a key";
	}
	$self->write_keys;
	return $self;
}

# What the end of a SubjectPublicKeyInfo has.
sub _jwk
{
	my ($self, $key) = @_;
	my $der = slurp_file("$self->{folder}/$key.der");

	return { kty => 'OKP', crv => 'Ed25519', x => encode_base64url(substr($der, -32)) } if $key eq 'ed';
	return { kty => 'EC', crv => 'P-256', x => encode_base64url(substr($der, -64, 32)), y => encode_base64url(substr($der, -32)) } if $key ne 'rs';
	return { kty => 'RSA', n => encode_base64url(substr($der, -5 - 256, 256)), e => 'AQAB' };
}

# Members that all, or one key, have in other ways than usual: write_keys(rs => { use => 'enc' })
sub write_keys
{
	my ($self, %change) = @_;
	my @keys = map { { kid => $_, %{ $self->_jwk($_) }, %{ $change{$_} || {} } } } qw(rs es ed);

	open my $out, '>', "$self->{folder}/jwks.json" or die $!;
	print $out $json->encode({ keys => \@keys });
	close $out;
	chmod 0644, "$self->{folder}/jwks.json";
	return "$self->{folder}/jwks.json";
}

sub _sign
{
	my ($self, $key, $hash, $text) = @_;
	my $folder = $self->{folder};
	my $options = $hash ? '-digest sha256' : '';

	open my $out, '>', "$folder/text" or die $!;
	print $out $text;
	close $out;
	system("openssl pkeyutl -sign -rawin $options -inkey $folder/$key.pem -in $folder/text -out $folder/signature 2>/dev/null") == 0
	  or die 'openssl does not sign';
	my $signature = slurp_file("$folder/signature");
	return $signature if $key eq 'rs' || $key eq 'ed';

	# DER to two numbers beside each other
	my (undef, undef, undef, $n) = unpack 'CCCC', $signature;
	my $r = substr($signature, 4, $n);
	my $s = substr($signature, 6 + $n);
	return join '', map { my $x = $_; $x =~ s/^\0+//; ("\0" x (32 - length $x)) . $x } $r, $s;
}

sub token
{
	my ($self, @claims) = @_;
	my $how = ref $claims[0] ? shift @claims : {};
	my $now = time;
	my %claims = (iss => 'https://issuer.example', aud => 'db', sub => 'ann@example.org', iat => $now, exp => $now + 600,
		jti => "token $$ " . ++$made, @claims);
	my $key = $how->{key} || 'es';
	my %alg = (rs => 'RS256', es => 'ES256', ed => 'EdDSA', stranger => 'ES256');
	my %header = (alg => $alg{$key}, kid => $key, %{ $how->{header} || {} });

	delete $claims{$_} for grep { !defined $claims{$_} } keys %claims;
	delete $header{$_} for grep { !defined $header{$_} } keys %header;
	my $text = join '.', map { encode_base64url($_) } $how->{header_text} || $json->encode(\%header), $how->{claims_text} || $json->encode(\%claims);
	my $signature = exists $how->{signature} ? $how->{signature} : $self->_sign($key, $key ne 'ed', $text);
	return "$text." . encode_base64url(ref $signature ? $signature->($text) : $signature);
}

1;
