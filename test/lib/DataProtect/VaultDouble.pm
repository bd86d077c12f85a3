package DataProtect::VaultDouble;

=head1 NAME

DataProtect::VaultDouble - a test double of Vault's transit engine

=head1 SYNOPSIS

	my $vault = DataProtect::VaultDouble->start(token => 's.secret', keys => [ 'pii' ]);
	$vault->mode('status:503');
	my @requests = $vault->requests;
	$vault->stop;

This is a double, written from the published API (POST /v1/transit/encrypt/:name
and decrypt/:name, C<associated_data>, C<X-Vault-Token>), not a Vault: it hides
nothing, and its "ciphertext" is the plaintext beside its associated data.  The keys
named in C<signing> are Ed25519 pairs that openssl makes in its folder; they sign, and
are described and deleted as the API says.  C<logins> says of each mount of an auth
method what logs in there; a token is good while it stands in the file tokens of its
folder, and as long as its file life says.  Where
C<bao> or C<vault> is in PATH, test/tap/027_kms_vault_login.pl runs against that as well.

Modes: ok, status:N (HTTP status N with Vault's form of errors), wrongkey (another
plaintext), foreign (a ciphertext that is none), garbage.

=cut

use strict;
use warnings;

use parent 'DataProtect::Double';

use IPC::Run ();
use JSON::PP ();
use MIME::Base64 qw(encode_base64 decode_base64);

sub start
{
	my ($class, %opt) = @_;
	my $self = bless {%opt}, $class;

	mkdir $self->{dir};
	$self->mode('ok');
	for my $key (@{ $self->{signing} || [] })
	{
		system('openssl', 'genpkey', '-algorithm', 'ed25519', '-out', "$self->{dir}/$key.pem") == 0 or die 'openssl genpkey';
	}
	return $self->listen;
}

sub address { return $_[0]->endpoint }

# The text of every request so far.
sub requests
{
	my ($self) = @_;
	my @found;
	for my $file (sort glob "$self->{dir}/request.*")
	{
		open(my $fh, '<:raw', $file) or die "$file: $!";
		local $/;
		push @found, scalar <$fh>;
	}
	return @found;
}

# One connection after another: the client sends a whole request and waits.
sub _serve
{
	my ($self, $listener) = @_;
	my $count = 0;

	while (my $client = $listener->accept)
	{
		my $request = '';
		while (sysread $client, $request, 65536, length $request)
		{
			my ($head, $body) = $request =~ /\A(.*?\r\n\r\n)(.*)\z/s or next;
			my ($length) = $head =~ /^Content-Length:\s*(\d+)/mi;
			last if length $body >= ($length || 0);
		}
		next if $request eq '';
		open(my $fh, '>:raw', sprintf('%s/request.%06d', $self->{dir}, ++$count));
		print $fh $request;
		close $fh;
		my ($status, $reply) = $self->_answer($request);
		syswrite $client, "HTTP/1.1 $status Test\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
		  . length($reply) . "\r\n\r\n$reply";
		close $client;
	}
	return;
}

sub _lines
{
	my ($file) = @_;
	open(my $fh, '<', $file) or return;
	my @lines = <$fh>;
	chomp @lines;
	return @lines;
}

# What a login or a renewal answers with; the life is a file's that the test writes.
sub _token
{
	my ($self, $token) = @_;
	my ($life) = _lines("$self->{dir}/life");
	return (200, JSON::PP::encode_json({ auth => { client_token => $token, lease_duration => ($life || 3600) + 0, renewable => JSON::PP::true } }));
}

# {logins}: by mount, what the body of a login must be.
sub _login
{
	my ($self, $mount, $request) = @_;
	my ($body) = $request =~ /\r\n\r\n(.*)\z/s;
	my $in = eval { JSON::PP::decode_json($body) } || {};
	my $wanted = $self->{logins}{$mount} or return (404, _errors());
	my $json = JSON::PP->new->canonical;

	return (400, _errors('invalid role or secret-in-message')) if $json->encode($in) ne $json->encode($wanted);
	my $token = 's.OfALogin' . (1 + scalar _lines("$self->{dir}/issued"));
	for my $file (qw(issued tokens))
	{
		open(my $fh, '>>', "$self->{dir}/$file") or die;
		print $fh "$token\n";
		close $fh;
	}
	return $self->_token($token);
}

sub _errors { return JSON::PP::encode_json({ errors => [@_] }) }

sub _run
{
	my ($command, $in) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run($command, '<', \$in, '>', \$out, '2>', \$err) or die "@$command: $err";
	return $out;
}

# GET, DELETE and .../config of a key that is there as long as its file is.
sub _manage
{
	my ($self, $method, $key, $tail) = @_;
	my $pem = "$self->{dir}/$key.pem";
	my $symmetric = grep { $_ eq $key } @{ $self->{keys} };

	return (404, _errors()) if !-e $pem && !$symmetric;
	return (204, '') if $method eq 'POST' && $tail eq '/config' && open(my $fh, '>', "$self->{dir}/$key.deletable");
	if ($method eq 'DELETE')
	{
		return (400, _errors('deletion is not allowed for this key')) if !-e "$self->{dir}/$key.deletable";
		unlink $pem;
		return (204, '');
	}
	return (200, JSON::PP::encode_json({ data => { name => $key, type => 'aes256-gcm96', latest_version => 1, keys => { 1 => 1700000000 } } }))
	  if $symmetric;
	my $der = _run([ 'openssl', 'pkey', '-in', $pem, '-pubout', '-outform', 'DER' ], '');
	return (200, JSON::PP::encode_json({ data => { name => $key, type => 'ed25519', latest_version => 1,
			keys => { 1 => { name => 'ed25519', public_key => encode_base64(substr($der, -32), '') } } } }));
}

sub _sign
{
	my ($self, $key, $in) = @_;
	my $pem = "$self->{dir}/$key.pem";

	return (400, _errors('key type does not support signing')) if !-e $pem;
	open(my $fh, '>:raw', "$self->{dir}/message") or die;
	print $fh decode_base64($in->{input});
	close $fh;
	my $signature = _run([ 'openssl', 'pkeyutl', '-sign', '-rawin', '-inkey', $pem, '-in', "$self->{dir}/message" ], '');
	return (200, JSON::PP::encode_json({ data => { signature => "vault:v$in->{key_version}:" . encode_base64($signature, '') } }));
}

sub _answer
{
	my ($self, $request) = @_;
	open(my $fh, '<', "$self->{dir}/mode");
	my $mode = <$fh>;
	return ($1, _errors('secret-in-message')) if $mode =~ /^status:(\d+)$/;
	return $self->_login($1, $request) if $request =~ m{^POST /v1/auth/([\w/-]+)/login HTTP};
	my ($token) = $request =~ /^X-Vault-Token: (\S+)\r$/mi;
	return (403, _errors('permission denied'))
	  if !defined $token || ($token ne $self->{token} && !grep { $_ eq $token } _lines("$self->{dir}/tokens"));
	return $self->_token($token) if $request =~ m{^POST /v1/auth/token/renew-self HTTP};
	return $self->_manage($1, $2, $3 || '') if $request =~ m{^(GET|DELETE|POST) /v1/transit/keys/([\w-]+)(/config)? HTTP};
	my ($verb, $key) = $request =~ m{^POST /v1/transit/(encrypt|decrypt|sign)/([\w.-]+) HTTP} or return (404, _errors());
	my ($body) = $request =~ /\r\n\r\n(.*)\z/s;
	my $in = eval { JSON::PP::decode_json($body) } or return (400, _errors('failed to parse JSON input'));

	return (200, '<html>') if $mode eq 'garbage';
	return $self->_sign($key, $in) if $verb eq 'sign';
	return (400, _errors('encryption key not found')) if !grep { $_ eq $key } @{ $self->{keys} };
	if ($verb eq 'encrypt')
	{
		my $text = 'vault:v1:' . encode_base64("$key $in->{associated_data} $in->{plaintext}", '');
		$text = 'other:"text' if $mode eq 'foreign';
		return (200, JSON::PP::encode_json({ request_id => 'double', data => { ciphertext => $text, key_version => 1 } }));
	}
	my ($of, $aad, $plain) = split / /, decode_base64(substr $in->{ciphertext}, length 'vault:v1:');
	return (400, _errors('cipher: message authentication failed'))
	  if $in->{ciphertext} !~ /^vault:v1:/ || ($of || '') ne $key || ($aad || '') ne $in->{associated_data};
	$plain = encode_base64('x' x 32, '') if $mode eq 'wrongkey';
	return (200, JSON::PP::encode_json({ data => { plaintext => $plain }, lease_duration => 0 }));
}

1;
