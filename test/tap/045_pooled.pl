# If this fails, what one client of a pooled session said (its purpose above all)
# holds for the next one.  (purpose-outlives-the-client)
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('pooled');
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('k');
CREATE ROLE app LOGIN;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
SELECT dataprotect.grant_access('k', 'app', 'reveal', purpose => 'care');
CREATE TABLE med (d encrypted_text('k'));
INSERT INTO med VALUES ('diagnosis');
GRANT SELECT ON med TO app;
CREATE FUNCTION with_purpose() RETURNS text LANGUAGE plpgsql AS
	$$ BEGIN SET dataprotect.purpose = 'care'; RETURN (SELECT d FROM med); END $$;
CREATE PROCEDURE two_transactions() LANGUAGE plpgsql AS $$
DECLARE x text;
BEGIN
	SET LOCAL dataprotect.purpose = 'care';
	SELECT d INTO x FROM med;
	RAISE NOTICE 'first %', x;
	COMMIT;
	SELECT left(d::text, 3) INTO x FROM med;
	RAISE NOTICE 'second %', x;
END $$;
SQL

# One server session that clients use in turn.
sub client
{
	my ($session, $sql) = @_;
	$session->{out} = $session->{err} = '';
	$session->{in} .= "$sql\n\\echo ready\n\\warn ready\n";
	poll_until("answer to $sql", sub { $session->{h}->pump_nb; return $session->{out} =~ /^ready$/m && $session->{err} =~ /^ready$/m });
	$session->{out} =~ s/^ready\n//m;
	$session->{err} =~ s/^ready\n//m;
	return $session->{out};
}

sub session
{
	my %self = (in => "\\set VERBOSITY verbose\n", out => '', err => '');
	$self{h} = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres') ],
		'<', \$self{in}, '>', \$self{out}, '2>', \$self{err});
	return \%self;
}

my $read = 'SELECT d FROM med;';

# A session of one client, then of another after a reset, as session pooling has it.
my $session = session();
unlike(client($session, $read), qr/diagnosis/, 'no purpose, no value');
like(client($session, "SET dataprotect.purpose = 'care'; $read"), qr/diagnosis/, 'the purpose shows it');
for my $reset ('DISCARD ALL', 'RESET ALL', 'RESET dataprotect.purpose', 'SET dataprotect.purpose TO DEFAULT')
{
	client($session, "SET dataprotect.purpose = 'care'; $read");
	unlike(client($session, "$reset; $read"), qr/diagnosis/, "$reset takes it back");
}
client($session, "SET dataprotect.output = 'ciphertext'; DISCARD ALL;");
is(client($session, 'SHOW dataprotect.output;'), "auto\n", 'and the other settings');
$session->{in} .= "\\q\n";
eval { $session->{h}->finish };

# Transaction pooling.
$node->safe_psql('postgres', 'ALTER ROLE app SET dataprotect.pooled = on');
$session = session();
for my $set ("SET dataprotect.purpose = 'care'", "SET SESSION dataprotect.purpose = 'care'", "SET dataprotect.output = 'ciphertext'",
	"SET dataprotect.input = 'ciphertext'", "SET DataProtect.Purpose TO 'care'", 'SELECT with_purpose()')
{
	client($session, "$set;");
	like($session->{err}, qr/ERROR:\s+55P02: parameter ".*" cannot be set for a session that clients share.*HINT:\s+Use SET LOCAL/s,
		"$set is refused");
	unlike(client($session, $read), qr/diagnosis/, "$set: the next client sees nothing");
}
like(client($session, "BEGIN; SET LOCAL dataprotect.purpose = 'care'; $read COMMIT;"), qr/diagnosis/, 'SET LOCAL works');
unlike(client($session, $read), qr/diagnosis/, 'and ends with its transaction');
like(client($session, "BEGIN; SELECT set_config('dataprotect.purpose', 'care', false); $read COMMIT;"), qr/diagnosis/, 'set_config works');
unlike(client($session, $read), qr/diagnosis/, 'and ends with its transaction as well');
client($session, "SELECT set_config('dataprotect.purpose', 'care', false);");
unlike(client($session, $read), qr/diagnosis/, 'set_config of a statement alone');
client($session, "BEGIN; SELECT set_config('dataprotect.purpose', 'care', false); SAVEPOINT a; SET LOCAL dataprotect.purpose = 'x'; RELEASE a; COMMIT;");
is(client($session, 'SHOW dataprotect.purpose;'), "\n", 'nothing is left of several');
client($session, "BEGIN; SET LOCAL dataprotect.purpose = 'care'; SELECT 1 / 0; ROLLBACK;");
is(client($session, 'SHOW dataprotect.purpose;'), "\n", 'nor of a transaction that failed');
client($session, 'CALL two_transactions();');
like($session->{err}, qr/first diagnosis.*(?:second (?!dia)|42501)/s, 'a procedure has it for one of its transactions');
client($session, "SELECT set_config('dataprotect.pooled', 'off', false);");
like($session->{err}, qr/ERROR:\s+42501/, 'a client cannot switch it off');
client($session, "SET application_name = 'other'; SET work_mem = '1MB';");
is($session->{err}, '', 'other settings are none of its business');
is(client($session, 'SHOW work_mem;'), "1MB\n", 'and stay');
$session->{in} .= "\\q\n";
eval { $session->{h}->finish };

# The log has purpose and client of each read.
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', "SELECT count(*) FILTER (WHERE purpose IS DISTINCT FROM 'care') FROM dataprotect.audit_log WHERE event = 'value.revealed'",
		extra_params => [ '-U', 'auditor' ]), '0', 'every read in the log has its purpose');
$node->stop;
done_testing();
