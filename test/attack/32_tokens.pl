# Tokens: whose was forged, stolen, used before or meant for somebody else must give
# nothing, and no token may be found anywhere.  If this fails, anybody is anybody.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use File::Temp ();
use IO::Socket::INET ();
use MIME::Base64 qw(encode_base64url);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Glewlwyd;
use DataProtect::Test;
use DataProtect::Token;

my $folder = File::Temp->newdir;
my $issuer = DataProtect::Token->new("$folder");
my $node = attack_node('tokens', conf => <<"CONF");
dataprotect.jwt_issuer = 'https://issuer.example'
dataprotect.jwt_audience = 'db'
dataprotect.jwt_keys_file = '$folder/jwks.json'
dataprotect.jwt_mfa = 'mfa, gold'
log_statement = all
log_min_duration_statement = 0
log_min_messages = debug1
CONF
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE two LOGIN;
CREATE ROLE doctor LOGIN;
SELECT dataprotect.grant_access('pii', 'two', 'reveal', require_mfa => true),
	dataprotect.grant_access('pii', 'doctor', 'reveal', claims => '{"groups": ["medical"], "ward": 7}');
SQL
my $read = 'SELECT email FROM victim WHERE id = 2';
my @tokens;

sub token
{
	push @tokens, $issuer->token(@_);
	return $tokens[-1];
}

sub auth
{
	my ($token, $more) = @_;
	return "SELECT dataprotect.authenticate('$token'" . ($more || '') . ')';
}

# ---- what works
for my $key (qw(rs es ed))
{
	my ($out) = as($node, 'two', auth(token({ key => $key }, amr => [ 'pwd', 'mfa' ])) . "; $read");
	like($out, qr/"mfa": true.*\n.*Zq9x/, "$key: a second factor opens a grant that asks for one");
}
like((as($node, 'two', auth(token(acr => 'gold')) . "; $read"))[0], qr/Zq9x/, 'by acr');
like((as($node, 'two', auth(token(aud => [ 'other', 'db' ], amr => ['mfa'])) . "; $read"))[0], qr/Zq9x/, 'one of several audiences');
like((as($node, 'two', auth(token({ header => { kid => undef } }, amr => ['mfa'])) . "; $read"))[0], qr/Zq9x/, 'a token that names no key');
like((as($node, 'doctor', auth(token(groups => [ 'x', 'medical' ], ward => 7)) . "; $read"))[0], qr/Zq9x/, 'claims that a grant asks for');

# ---- what does not suffice
conceals($node, 'two', $read, 'no token');
conceals($node, 'two', auth(token()) . "; $read", 'a token without a second factor');
conceals($node, 'two', auth(token(amr => ['pwd'])) . "; $read", 'one with another');
conceals($node, 'two', auth(token(amr => 'mfa,x')) . "; $read", 'one that is no list');
conceals($node, 'doctor', auth(token(groups => ['medical'])) . "; $read", 'a claim that is missing');
conceals($node, 'doctor', auth(token(groups => 'medical', ward => 7)) . "; $read", 'a claim of another shape');
conceals($node, 'nobody', auth(token(amr => ['mfa'], groups => ['medical'], ward => 7)) . "; $read", 'a role without a grant');

# ---- what is refused
my $good = token(amr => ['mfa']);
my ($head, $body, $signature) = split /\./, $good;
my $now = time;
my $pem = slurp_file("$folder/rs.der");
my @refused = (
	[ 'alg none', token({ header => { alg => 'none', kid => undef }, signature => '' }) ],
	[ 'alg none with a signature', token({ header => { alg => 'none' } }) ],
	[ 'alg nOnE', token({ header => { alg => 'nOnE' }, signature => 'x' }) ],
	[ 'HMAC under the public key', token({ header => { alg => 'HS256', kid => 'rs' }, signature => sub { hmac_sha256($_[0], $pem) } }) ],
	[ 'RS256 by an EC key', token({ header => { alg => 'RS256', kid => 'es' } }) ],
	[ 'ES256 by an RSA key', token({ key => 'rs', header => { alg => 'ES256' } }) ],
	[ 'EdDSA by an EC key', token({ header => { alg => 'EdDSA' } }) ],
	[ 'an algorithm that is none', token({ header => { alg => 'ES256K' } }) ],
	[ 'no algorithm', token({ header => { alg => undef } }) ],
	[ 'two algorithms', token({ header_text => '{"alg":"ES256","kid":"es","alg":"ES256"}' }) ],
	[ 'a stranger\'s key under our name', token({ key => 'stranger', header => { kid => 'es' } }) ],
	[ 'a stranger\'s key without a name', token({ key => 'stranger', header => { kid => undef } }) ],
	[ 'another of our keys', token({ header => { kid => 'ed' } }) ],
	[ 'a key that does not exist', token({ header => { kid => '../../etc/passwd' } }) ],
	[ 'its own key', token({ key => 'stranger', header => { kid => undef, jwk => { kty => 'EC', crv => 'P-256' } } }) ],
	[ 'jku', token({ header => { jku => 'https://issuer.example/keys' } }) ],
	[ 'x5u', token({ header => { x5u => 'https://issuer.example/keys' } }) ],
	[ 'x5c', token({ header => { x5c => ['AAAA'] } }) ],
	[ 'crit', token({ header => { crit => ['exp'] } }) ],
	[ 'b64', token({ header => { b64 => JSON::PP::false() } }) ],
	[ 'no signature', "$head.$body." ],
	[ 'two parts', "$head.$body" ],
	[ 'half a signature', "$head.$body." . substr($signature, 0, 43) ],
	[ 'a signature of zeros', token({ signature => "\0" x 64 }) ],
	[ 'other claims under the signature', "$head." . encode_base64url('{"sub":"root"}') . ".$signature" ],
	[ 'a space at the end', "$good " ],
	[ 'a line at the end', "$good\n" ],
	[ 'padding', "$good==" ],
	[ 'nothing', '' ],
	[ 'dots', '..' ],
	[ 'long', 'A' x 20000 ],
	[ 'deep', token({ claims_text => '[' x 3000 . ']' x 3000 }) ],
	[ 'an array of claims', token({ claims_text => '[]' }) ],
	[ 'text that is none', token({ claims_text => "{\"sub\":\"\xff\"}" }) ],
	[ 'a NUL', token({ claims_text => '{"sub":"a\u0000b"}' }) ],
	[ 'another issuer', token(iss => 'https://issuer.example.org') ],
	[ 'no issuer', token(iss => undef) ],
	[ 'another audience', token(aud => 'other') ],
	[ 'a prefix of the audience', token(aud => 'd') ],
	[ 'other audiences', token(aud => [ 'd', 'b' ]) ],
	[ 'no audience', token(aud => undef) ],
	[ 'no subject', token(sub => undef) ],
	[ 'an empty subject', token(sub => '') ],
	[ 'a subject of several lines', token(sub => "ann\nroot") ],
	[ 'a long subject', token(sub => 'a' x 256) ],
	[ 'expired', token(exp => $now - 61, iat => $now) ],
	[ 'never expires', token(exp => undef) ],
	[ 'expires late', token(exp => $now + 100000) ],
	[ 'expires at infinity', token({ claims_text => '{"iss":"https://issuer.example","aud":"db","sub":"a","jti":"i","iat":1,"exp":1e999}' }) ],
	[ 'an end that is no time', token(exp => 'later') ],
	[ 'not yet', token(nbf => $now + 400) ],
	[ 'from the future', token(iat => $now + 400) ],
	[ 'no identifier', token(jti => undef) ],
	[ 'no time of issue', token(iat => undef) ],
	[ 'from before the server started', token(iat => $now - 3600) ]);
for my $case (@refused)
{
	my ($name, $token) = @$case;
	my ($out, $err, $state) = as($node, 'two', auth($token) . ";\n$read");
	is($state, '28000', "refused: $name") or diag($err);
	my $shown = substr($token, 0, 40);
	unlike($err =~ s/^LINE.*$//mr, qr/Zq9x|\Q$shown\E/, "$name: not repeated") if length $shown > 10;
}

# ---- once
like((as($node, 'two', auth($good) . "; $read"))[0], qr/Zq9x/, 'a token works');
is((as($node, 'two', auth($good)))[2], '28000', 'but not again');
my $undone = token(amr => ['mfa']);
conceals($node, 'two', 'BEGIN; ' . auth($undone) . "; ROLLBACK; $read", 'what a rolled back transaction took');
is((as($node, 'two', auth($undone)))[2], '28000', 'and it is used up');

# ---- how long
sub mfa { return auth(token(amr => ['mfa']), $_[0]); }

for my $end ('DISCARD ALL', 'RESET ALL', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT')
{
	like((as($node, 'two', mfa() . "; $read"))[0], qr/Zq9x/, "before $end");
	conceals($node, 'two', mfa() . "; $end; $read", "after $end");
}
conceals($node, 'two', 'BEGIN; ' . mfa(', true') . "; COMMIT; $read", 'a transaction\'s token after it');
like((as($node, 'two', 'BEGIN; ' . mfa(', true') . "; $read; COMMIT"))[0], qr/Zq9x/, 'and within it');
conceals($node, 'two', 'BEGIN; SAVEPOINT s; ' . mfa() . "; ROLLBACK TO s; $read", 'a savepoint\'s token after it was rolled back');
conceals($node, 'two', mfa() . "; DO \$\$ BEGIN PERFORM dataprotect.authenticate('x'); EXCEPTION WHEN OTHERS THEN NULL; END \$\$; $read",
	'after a refused token');
conceals($node, 'two', mfa() . '; ' . auth(token()) . "; $read", 'after a weaker token');

# ---- by whom
for my $definer ('', 'SECURITY DEFINER')
{
	allowed($node, 'nobody', <<"SQL", "somebody writes a function $definer");
DROP FUNCTION IF EXISTS spoil CASCADE;
CREATE FUNCTION spoil(t text) RETURNS text LANGUAGE plpgsql $definer AS \$\$ BEGIN RETURN dataprotect.authenticate(t)::text; EXCEPTION WHEN insufficient_privilege OR invalid_authorization_specification THEN RETURN SQLSTATE; END \$\$;
SQL
	like((as($node, 'two', mfa() . "; SELECT spoil('x'); $read"))[0], qr/^42501\n.*Zq9x/m, "code of others $definer does not end who the session is");
	is((as($node, 'two', "SELECT spoil('" . token() . "')"))[0], '42501', 'nor make it another');
}
allowed($node, 'nobody', "CREATE OR REPLACE VIEW shown AS SELECT dataprotect.authenticate('x') AS a; GRANT SELECT ON shown TO two", 'somebody writes a view');
is((as($node, 'two', mfa() . '; SELECT * FROM shown'))[2], '42501', 'nor does a view');
like((as($node, 'two', 'CREATE FUNCTION twos(t text) RETURNS jsonb LANGUAGE sql AS \'SELECT dataprotect.authenticate(t)\'; SELECT twos(\'' . token(amr => ['mfa']) . "'); $read"))[0], qr/Zq9x/, 'his own code goes on');
is($node->safe_psql('postgres', "SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc WHERE pronamespace = 'dataprotect'::regnamespace AND provolatile = 'v' AND has_function_privilege('nobody', oid, 'EXECUTE')"),
	'_fetch _own_sql _own_ts_stat _own_ts_stat authenticate dataprotect_version take_standby_log',
	'what is volatile and everybody\'s is known: of these two do something, one of them for whoever has the chain key');
conceals($node, 'two', 'SET dataprotect.purpose = \'x\'; ' . auth(token(amr => ['mfa'], exp => time - 59)) .
	'; SELECT pg_sleep(1.5); SELECT left(email::text, 4) FROM victim', 'after the token ran out');
$node->safe_psql('postgres', 'ALTER ROLE two SET dataprotect.pooled = on');
is((as($node, 'two', mfa(', false')))[2], '55P02', 'clients that share a session take none for it');
conceals($node, 'two', 'BEGIN; ' . mfa() . "; COMMIT; $read", 'where clients share a session, it ends with the transaction');
like((as($node, 'two', 'BEGIN; ' . mfa() . "; $read"))[0], qr/Zq9x/, 'and holds in it');
$node->safe_psql('postgres', 'ALTER ROLE two RESET dataprotect.pooled');
like((as($node, 'two', mfa() . '; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; '
			. "SELECT count(*) FROM victim WHERE email::text LIKE '%Zq9x%'"))[0], qr/^5$/m, 'plans run without workers');

# ---- keys are the file's
for my $change ([ 'for encryption', es => { use => 'enc' } ], [ 'of another algorithm', es => { alg => 'RS256' } ], [ 'of another curve', es => { crv => 'P-384' } ],
	[ 'of another kind', es => { kty => 'oct', k => 'AAAA' } ])
{
	my ($name, @change) = @$change;
	$issuer->write_keys(@change);
	is((as($node, 'two', mfa()))[2], '28000', "a key $name");
}
$issuer->write_keys;
chmod 0666, "$folder/jwks.json";
is((as($node, 'two', mfa()))[2], 'F0000', 'a file of keys that everybody writes');
unlink "$folder/jwks.json";
is((as($node, 'two', mfa()))[2], 'F0000', 'no file of keys');
$issuer->write_keys;

# ---- the log
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', "SELECT DISTINCT actor FROM dataprotect.audit_log WHERE event = 'value.revealed' AND session_role = 'two' AND outcome = 'ok'",
		extra_params => [ '-U', 'auditor' ]), 'ann@example.org', 'the subject is the actor');
poll_until('refused tokens are events, counted where there are many', sub {
		return $node->safe_psql('postgres', "SELECT bool_and(outcome = 'error' AND role = 'two' AND keys = '{}')
				AND sum(coalesce((detail ->> 'denied')::int, 1)) >= ${\ scalar @refused} FROM dataprotect.audit_log WHERE event = 'identity.refused'",
			extra_params => [ '-U', 'auditor' ]) eq 't';
	});
is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_log WHERE event = 'access.granted' AND detail ->> 'require_mfa' = 'true'",
		extra_params => [ '-U', 'auditor' ]), '1', 'the grant is on record with what it asks for');

# ---- no token anywhere
my %found;
my $activity = $node->safe_psql('postgres', "SELECT string_agg(query, ' ') FROM pg_stat_activity") . slurp_file($node->logfile);
for my $token (grep { length > 60 } @tokens)
{
	my (undef, $claims, $sign) = split /\./, $token;
	$found{$token} = 1 if index($activity, substr($claims, -40)) >= 0 || (length($sign) > 40 && index($activity, substr($sign, -40)) >= 0);
}
is(scalar(keys %found), 0, 'no token in the server log or pg_stat_activity') or diag((keys %found)[0]);
unlike($activity, qr/ann\@example\.org/, 'nor its subject');
log_conceals($node);

# ---- the issuer's keys over the network: only from where the setting says, and no
# answer takes the place of keys
my $listener = IO::Socket::INET->new(Listen => 20, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die $!;
my $web = fork;
die $! if !defined $web;
if ($web == 0)
{
	$SIG{TERM} = 'DEFAULT';
	while (my $client = $listener->accept)
	{
		my $request = '';
		while (my $line = <$client>)
		{
			$request .= $line;
			last if $line =~ /^\r?\n$/;
		}
		append_to_file("$folder/requests", $request);
		print $client slurp_file("$folder/answer");
		close $client;
	}
	POSIX::_exit(0);
}
END { kill 'TERM', $web if $web }

sub answer
{
	my ($body, $status) = @_;
	unlink "$folder/answer.new";
	append_to_file("$folder/answer.new", 'HTTP/1.1 ' . ($status || '200 OK') . "\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body");
	rename "$folder/answer.new", "$folder/answer" or die $!;
	return;
}

sub set_url
{
	my ($url) = @_;
	$node->append_conf('postgresql.conf', "dataprotect.jwt_keys_file = ''\ndataprotect.jwt_keys_url = '$url'\n");
	$node->restart;
	return;
}

# A token counts as used only when it was taken, so the same may be tried until it is.
sub becomes
{
	my ($what, $state, $token) = @_;
	poll_until($what, sub { return (as($node, 'two', auth($token ? $token : token(amr => ['mfa']))))[2] eq $state; });
	return;
}

$node->append_conf('postgresql.conf', "dataprotect.jwt_keys_refresh = 1s\n");
my $url = 'http://127.0.0.1:' . $listener->sockport . '/keys';
answer('away', '503 Service Unavailable');
set_url($url);
my ($out, $err, $state) = as($node, 'two', mfa());
is($state, '08006', 'an issuer that has no keys yet') or diag($err);
like($err, qr/returned HTTP status 503/, 'and why');
for my $bad ([ 'a page of a proxy', '<html>"keys"</html>' ], [ 'no set', '{"key": []}' ], [ 'a redirect', slurp_file($issuer->write_keys), "302 Found\r\nLocation: $url" ],
	[ 'more than 64 kB', '{"keys": [], "x": "' . 'x' x 70000 . '"}' ])
{
	my ($name, @answer) = @$bad;
	answer(@answer);
	is((as($node, 'two', mfa()))[2], '08006', "no keys: $name");
}
answer(slurp_file($issuer->write_keys(es => { kid => 'old' })));
becomes('keys that were fetched to be believed', '00000', token({ header => { kid => 'old' } }, amr => ['mfa']));
is((as($node, 'two', mfa()))[2], '28000', 'not by a name that the set does not have');
answer('{"keys": 7}');
becomes('a set that is none to open nothing', '08006');
answer(slurp_file($issuer->write_keys));
becomes('a key of another name to be believed when the issuer has it', '00000', token(amr => ['mfa']));
becomes('the name that was withdrawn to count no more', '28000', token({ header => { kid => 'old' } }));
answer('away', '500 Internal Server Error');
is((as($node, 'two', mfa()))[2], '00000', 'while the issuer is away its last keys count');
is((as($node, 'two', auth(token({ key => 'stranger' }))))[2], '28000', 'and nobody else\'s');
like(slurp_file("$folder/requests"), qr{\A(GET /keys HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n)+\z}, 'nothing was asked for but the set');
unlike(slurp_file("$folder/requests"), qr/ey[A-Za-z0-9_-]{10}/, 'and no token was sent');
set_url('http://issuer.example/keys');
is((as($node, 'two', mfa()))[2], '08006', 'a URL without TLS');
log_conceals($node);

# ---- an issuer that is none of ours
SKIP:
{
	skip 'glewlwyd is not there', 5 if !DataProtect::Glewlwyd->is_there;
	my $real = DataProtect::Glewlwyd->start("$folder");
	my $theirs = $real->token;

	$node->safe_psql('postgres', q{SELECT dataprotect.revoke_access('pii', 'doctor'), dataprotect.grant_access('pii', 'doctor', 'reveal', claims => '{"client_id": "app"}')});
	is((as($node, 'doctor', auth($theirs)))[2], '08006', 'its token is nothing to a server that asks elsewhere');
	$node->append_conf('postgresql.conf', "dataprotect.jwt_issuer = '$real->{issuer}'\ndataprotect.jwt_audience = 'openid'\n");
	set_url($real->{keys_url});
	my ($shown, $why);
	poll_until('a token that was issued after the start', sub {
			($shown, $why) = as($node, 'doctor', auth($real->token) . "; $read");
			return $why !~ /issued before the server started/;
		});
	like($shown, qr/Zq9x/, 'glewlwyd: its token opens what its claims are asked for') or diag($why);
	is((as($node, 'doctor', auth(token({ header => { kid => undef } }, iss => $real->{issuer}, aud => 'openid', client_id => 'app'))))[2], '28000',
		'a token of ours is none of its');
	my ($h, $c, $s) = split /\./, $real->token;
	is((as($node, 'doctor', auth(join '.', $h, $c, scalar reverse $s)))[2], '28000', 'nor is one whose signature was changed');
	$real->stop;
	conceals($node, 'doctor', "SELECT 1; $read", 'without a token nothing');
}

done_testing();
