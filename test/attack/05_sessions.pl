# Borrowed identities and rights that end: SET ROLE, SET SESSION AUTHORIZATION,
# SECURITY DEFINER, cursors and prepared statements that outlive a grant.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('sessions');
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN;
CREATE ROLE via NOLOGIN;
CREATE ROLE noinherit LOGIN NOINHERIT IN ROLE reader;
GRANT via TO app;
GRANT reader TO searcher;
REVOKE reader FROM searcher;
CREATE FUNCTION open_all() RETURNS SETOF text LANGUAGE sql AS $$ SELECT email::text FROM victim $$;
CREATE FUNCTION open_as_reader() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS $$ SELECT email::text FROM victim $$;
CREATE FUNCTION open_as_reader_plpgsql() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN (SELECT max(email::text) FROM victim); END $$;
CREATE VIEW reader_view AS SELECT id, email, email::text AS t FROM victim;
ALTER FUNCTION open_as_reader OWNER TO reader;
ALTER FUNCTION open_as_reader_plpgsql OWNER TO reader;
ALTER VIEW reader_view OWNER TO reader;
GRANT SELECT ON reader_view TO PUBLIC;
SQL

# A superuser lends itself no right.
for my $become ('SET ROLE reader', 'SET SESSION AUTHORIZATION reader', 'BEGIN; SET LOCAL ROLE reader',
	"SELECT set_config('role', 'reader', false)", 'SET ROLE noinherit', 'SET SESSION AUTHORIZATION reader; SET ROLE reader')
{
	denied($node, 'super', "$become; SELECT email::text FROM victim", "$become, then a cast");
	conceals($node, 'super', "$become; SELECT email, n FROM victim", "$become, then output");
	denied($node, 'super', "$become; SELECT id FROM victim ORDER BY ord", "$become, then a sort");
	denied($node, 'super', "$become; SELECT id FROM victim WHERE email = 'x'", "$become, then a search");
}
denied($node, 'super', "SELECT $_()", "SECURITY DEFINER: $_") for qw(open_as_reader open_as_reader_plpgsql);
denied($node, 'super', 'GRANT reader TO super; SELECT email::text FROM victim', 'membership given to oneself');
denied($node, 'super', 'CREATE ROLE son SUPERUSER LOGIN IN ROLE reader; SET SESSION AUTHORIZATION son; SELECT email::text FROM victim',
	'a superuser among one\'s members');
denied($node, 'super', "DO \$\$ BEGIN SET LOCAL ROLE reader; PERFORM email::text FROM victim; END \$\$", 'SET ROLE within DO');
denied($node, 'super', 'ALTER ROLE super SET role = \'reader\'; SET ROLE reader; SELECT email::text FROM victim', 'role by ALTER ROLE');
conceals($node, 'super', "SELECT dataprotect.grant_access('pii', 'super', 'mask'); SELECT email FROM victim", 'a grant of its own, as far as it goes');
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'super')");
denied($node, $_, 'SET ROLE reader', 'SET ROLE without membership') for qw(nobody owner masked admin dumper);

# Rights of others go as far as they say.
allowed($node, 'nobody', 'SELECT open_as_reader()', 'a SECURITY DEFINER function of a reader is a door that the reader opened');
denied($node, 'nobody', 'SELECT open_all()', 'an ordinary function is not');
denied($node, 'nobody', 'SELECT t FROM reader_view', 'a view of a reader reads as whoever asks');
conceals($node, 'nobody', 'SELECT id, email FROM reader_view', 'output of a reader\'s view');
denied($node, 'noinherit', 'SELECT email::text FROM victim', 'a membership that is not inherited');
allowed($node, 'noinherit', 'SET ROLE reader; SELECT email::text FROM victim', 'SET ROLE of a member');

# One connection; a step that begins with "!" is somebody else's.
sub steps
{
	my ($role, @steps) = @_;
	my $other = 'psql -XAtq -d "' . $node->connstr('postgres') . '" -c';
	my $script = "\\set VERBOSITY verbose\n";
	for my $step (@steps)
	{
		$script .= $step =~ /^!(.*)/s ? "\\! $other \"$1\" > /dev/null\n" : "$step;\n";
	}
	my ($out, $err) = ('', '');
	$node->psql('postgres', $script, stdout => \$out, stderr => \$err, on_error_stop => 0, extra_params => [ '-U', $role ]);
	return ($out, $err);
}

my $grant = "!SELECT dataprotect.grant_access('pii', 'app', 'reveal')";
my $revoke = "!SELECT dataprotect.revoke_access('pii', 'app')";
my @after = (
	'cast'                => 'SELECT email::text FROM victim',
	'output'              => 'SELECT email FROM victim',
	'sort'                => 'SELECT id FROM victim ORDER BY ord',
	'search'              => "SELECT id FROM victim WHERE tok = '" . secret() . "'",
);
while (my ($what, $sql) = splice @after, 0, 2)
{
	my ($out, $err) = steps('app', $grant, "PREPARE q AS $sql", 'SET plan_cache_mode = force_generic_plan', 'EXECUTE q',
		'EXECUTE q', "SELECT 'REVOKED'", $revoke, 'EXECUTE q', $sql, "SET enable_seqscan = off; $sql");
	my ($before, $after) = split /REVOKED/, $out;
	ok($before =~ /\S/ && $err =~ /^(?:(?!ERROR).|\n)*$|42501/, "app: prepared $what worked before");
	$after =~ s{enc:v1:\S+}{}g;
	is($after =~ s/\s+//gr, '', "app: prepared $what shows nothing after REVOKE");
}

my ($out, $err) = steps('app', $grant, 'BEGIN', 'DECLARE c CURSOR FOR SELECT id, email::text FROM victim', 'FETCH 1 FROM c',
	"SELECT 'REVOKED'", $revoke, 'FETCH 1 FROM c', 'ROLLBACK');
like($out, qr/^1\|mallory-Zq9x/, 'app: a cursor reads before');
unlike($out, qr/REVOKED.*Zq9x/s, 'app: and not after REVOKE');
like($err, qr/42501/, 'app: but an error');

($out, $err) = steps('app', $grant, 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(email::text) FROM victim',
	"SELECT 'REVOKED'", $revoke, 'SELECT email::text FROM victim', 'ROLLBACK');
like($out, qr/^5\n/, 'app: a REPEATABLE READ transaction reads before');
unlike($out, qr/Zq9x/, 'app: and not after REVOKE, whatever its snapshot');

($out, $err) = steps('app', "!SELECT dataprotect.grant_access('pii', 'via', 'reveal')", 'SELECT count(email::text) FROM victim',
	"SELECT 'REVOKED'", '!REVOKE via FROM app', 'SELECT email::text FROM victim');
like($out, qr/^5\nREVOKED\s*$/, 'app: a membership that is revoked ends at once');
like($err, qr/42501/, 'app: by an error');

# however long a machine takes to come to the first read
for my $seconds (1.5, 15, 120)
{
	($out, $err) = steps('app', $revoke,
		"!SELECT dataprotect.grant_access('pii', 'app', 'reveal', valid_until => clock_timestamp() + interval '$seconds s')",
		'SELECT count(email::text) FROM victim', "SELECT pg_sleep($seconds + 0.5)", "SELECT 'REVOKED'", 'SELECT email::text FROM victim');
	last if $out =~ /^5\n/;
}
like($out, qr/^5\n/, 'app: a grant with an end works until then');
unlike($out, qr/REVOKED.*Zq9x/s, 'app: and no longer');

($out, $err) = steps('app', "!SELECT dataprotect.grant_access('pii', 'app', 'reveal', purpose => 'case 12')",
	'SELECT email FROM victim', "SET dataprotect.purpose = 'case 1'", 'SELECT email FROM victim', "SET dataprotect.purpose = 'CASE 12'",
	'SELECT email FROM victim', 'BEGIN', "SET LOCAL dataprotect.purpose = 'case 12'", 'SELECT count(email::text) FROM victim', 'COMMIT',
	'SELECT email FROM victim');
unlike($out, qr/Zq9x/, 'app: a grant for a purpose is none for another');
like($out, qr/^5$/m, 'app: it is one for that purpose');

($out, $err) = steps('reader', 'SELECT count(email::text) FROM victim', "SELECT 'REVOKED'", "!SELECT dataprotect.lockdown('test')",
	'SELECT email FROM victim', 'SELECT email::text FROM victim', "SELECT id FROM victim WHERE tok = 'x'");
unlike($out, qr/Zq9x/, 'reader: lockdown takes effect at once');
$node->safe_psql('postgres', "SELECT dataprotect.lift_lockdown('test')");
($out, $err) = steps('reader', 'SELECT count(email::text) FROM victim', "!SELECT dataprotect.suspend_key('pii', 'test')",
	'SELECT email FROM victim', 'SELECT email::text IS NULL FROM victim');
unlike($out, qr/Zq9x/, 'reader: so does suspending the key');
$node->safe_psql('postgres', "SELECT dataprotect.resume_key('pii', 'test')");

# A cursor declared by one role and fetched as another, both ways.
$node->safe_psql('postgres', 'GRANT reader TO app; GRANT nobody TO app; GRANT nobody TO reader');
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'app')");
my @cursors = ('SELECT email::text FROM victim', 'SELECT email FROM victim', 'SELECT id FROM victim WHERE email <> tok',
	'SELECT id, email LIKE \'a%\' FROM victim ORDER BY id', 'SELECT count(*) FROM victim GROUP BY email');
for my $query (@cursors)
{
	($out, $err) = steps('reader', 'BEGIN', "DECLARE c CURSOR FOR $query", 'SET ROLE nobody', 'FETCH ALL FROM c', 'ROLLBACK');
	$out =~ s{enc:v1:\S+}{}g;
	is($out =~ s/\s+//gr, '', "declared as reader, fetched as nobody: $query");
	($out, $err) = steps('reader', 'BEGIN', 'SET ROLE nobody', "DECLARE c CURSOR WITH HOLD FOR $query", 'COMMIT', 'FETCH ALL FROM c');
	$out =~ s{enc:v1:\S+}{}g;
	is($out =~ s/\s+//gr, '', "materialised as nobody at commit: $query");
	next if $query ne 'SELECT email FROM victim';
	($out, $err) = steps('reader', "DECLARE c CURSOR WITH HOLD FOR $query", 'SET ROLE nobody', 'FETCH ALL FROM c');
	like($out, qr/enc:v1:/, 'there are rows of a held cursor');
	$out =~ s{enc:v1:\S+}{}g;
	is($out =~ s/\s+//gr, '', 'held for reader, fetched as nobody');
}

# A transaction's own grant and its rollback.
($out, $err) = steps('super', 'BEGIN', "SELECT dataprotect.grant_access('pii', 'super', 'reveal')", 'SELECT count(email::text) FROM victim',
	'ROLLBACK', "SELECT 'BACK'", 'SELECT email::text FROM victim', 'SELECT email FROM victim');
unlike($out, qr/BACK.*Zq9x/s, 'super: a grant that was rolled back is gone');

# The administrator administers; he does not read.
denied($node, 'admin', $_, $_) for (
	'SELECT email::text FROM victim', 'SELECT * FROM dataprotect.key_version', 'UPDATE dataprotect.access_grant SET revoked_at = NULL',
	"SELECT dataprotect._reencrypt_blocks('victim', '{email}', 0, 9)", "SELECT dataprotect._autonomous('GRANT reader TO admin')", 'SET ROLE reader');

log_conceals($node);
$node->stop;
done_testing();
