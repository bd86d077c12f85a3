# search-as-a-dictionary: a role with "search" asks for every value there could be.
# If this fails, a column of few possible values is read out with nobody told.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('searching');
$node->safe_psql('postgres', <<'E');
SELECT dataprotect.create_key('birth');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE clerk LOGIN;
CREATE ROLE quick LOGIN;
CREATE ROLE opener LOGIN;
SELECT dataprotect.grant_access('birth', 'clerk', 'search');
SELECT dataprotect.grant_access('birth', 'quick', 'search');
SELECT dataprotect.grant_access('birth', 'opener', 'reveal');
ALTER ROLE quick SET dataprotect.search_limit = 300;
CREATE TABLE hashed (id int, d encrypted_date('birth'));
CREATE TABLE token (id int, d encrypted_date('birth', 'searchable'));
CREATE TABLE bare (id int, d encrypted_date('birth'));
INSERT INTO hashed SELECT g, date '1950-01-01' + g * 37 FROM generate_series(1, 20) g;
INSERT INTO token SELECT g, date '1950-01-01' + g * 37 FROM generate_series(1, 20) g;
INSERT INTO bare SELECT g, date '1950-01-01' + g * 37 FROM generate_series(1, 20) g;
CREATE INDEX ON hashed USING hash (d);
CREATE INDEX ON token (d encrypted_date_token_ops);
ANALYZE;
GRANT SELECT ON hashed, token, bare TO clerk, quick, opener;
E

# Ask for n dates from a day on; prints how many were found.
sub loop
{
	my ($table, $from, $n, $how) = @_;
	my $set = $how eq 'seq' ? 'SET enable_indexscan = off; SET enable_bitmapscan = off;' : 'SET enable_seqscan = off;';
	return <<"E";
$set
CREATE FUNCTION pg_temp.found() RETURNS int LANGUAGE plpgsql AS \$\$
DECLARE v date; n int := 0; r int; BEGIN
  FOR v IN SELECT date '1950-01-01' + g FROM generate_series($from, $from + $n - 1) g LOOP
    FOR r IN SELECT id FROM $table t WHERE t.d = v LOOP n := n + 1; END LOOP;
  END LOOP;
  RETURN n; END \$\$;
SELECT pg_temp.found();
E
}

sub alerts
{
	my ($role) = @_;
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM dataprotect.audit_log WHERE event = 'access.searched' AND role = '$role'", extra_params => [ '-U', 'auditor' ]);
}

is($node->safe_psql('postgres', loop('hashed', 0, 200, 'index'), extra_params => [ '-U', 'clerk' ]), 5, 'some searches by a hash index');
is($node->safe_psql('postgres', loop('hashed', 0, 200, 'index'), extra_params => [ '-U', 'clerk' ]), 5, 'and the same again');
is($node->safe_psql('postgres', loop('hashed', 0, 200, 'index'), extra_params => [ '-U', 'opener' ]), 5, 'a role that may read searches as well');
is(alerts('clerk'), 0, 'no alert for as many as that');
is($node->safe_psql('postgres', loop('hashed', 200, 600, 'index'), extra_params => [ '-U', 'clerk' ]), 15, 'many searches');
is(alerts('clerk'), 1, 'hash index: beyond the limit there is an alert, once');
like(slurp_file($node->logfile), qr/role "clerk" has searched protected columns for about [56]\d\d different values/, 'and a line in the server log');
is($node->safe_psql('postgres', loop('hashed', 0, 1500, 'index'), extra_params => [ '-U', 'opener' ]), 20, 'a role that may read is not counted');
is(alerts('opener'), 0, 'nor told of');

# The other ways to compare, each by a role of its own
for my $case ([ 'token', 'index' ], [ 'bare', 'seq' ], [ 'token', 'seq' ])
{
	my ($table, $how) = @$case;
	my $role = "clerk_${table}_$how";
	$node->safe_psql('postgres', "CREATE ROLE $role LOGIN; SELECT dataprotect.grant_access('birth', '$role', 'search'); GRANT SELECT ON $table TO $role");
	is($node->safe_psql('postgres', loop($table, 0, 800, $how), extra_params => [ '-U', $role ]), 20, "$table, $how: many searches");
	is(alerts($role), 1, "$table, $how: an alert");
}

# Literals, parameters and lists
my $role = 'clerk_literals';
$node->safe_psql('postgres', "CREATE ROLE $role LOGIN; SELECT dataprotect.grant_access('birth', '$role', 'search'); GRANT SELECT ON hashed, token TO $role");
my $literals = join '', map { "SELECT count(*) FROM hashed WHERE d = date '1950-01-01' + $_;" } 1 .. 300;
my $lists = '';
for my $month (0 .. 41)
{
	my $list = join ', ', map { sprintf "'%d-%02d-%02d'", 1960 + int($month / 12), 1 + $month % 12, $_ } 1 .. 8;
	$lists .= "SELECT count(*) FROM token WHERE d IN ($list);";
}
$node->safe_psql('postgres', "SET enable_seqscan = off; $literals $lists", extra_params => [ '-U', $role ]);
is(alerts($role), 1, 'literals and lists count');

# The limit
my ($ret, $out, $err) = $node->psql('postgres', loop('hashed', 0, 800, 'index'), extra_params => [ '-U', 'quick', '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  54000: role "quick" has searched protected columns for too many different values/, 'beyond search_limit searches are refused');
($ret, $out, $err) = $node->psql('postgres', loop('hashed', 2000, 1, 'index'), extra_params => [ '-U', 'quick' ]);
like($err, qr/too many different values/, 'in the next session too');
($ret, $out, $err) = $node->psql('postgres', 'SET dataprotect.search_limit = 0', extra_params => [ '-U', 'quick' ]);
like($err, qr/permission denied to set parameter/, 'and the role cannot lift it');
is($node->safe_psql('postgres', loop('hashed', 0, 800, 'index'), extra_params => [ '-U', 'opener' ]), 20, 'others go on');

# A limit of the grant's own
$node->safe_psql('postgres', q{CREATE ROLE bounded LOGIN; CREATE ROLE bounded_too LOGIN IN ROLE bounded; GRANT SELECT ON hashed, token TO bounded;
	SELECT dataprotect.grant_access('birth', 'bounded', 'search', search_limit => 300)});
is($node->safe_psql('postgres', loop('hashed', 0, 100, 'index'), extra_params => [ '-U', 'bounded' ]), 2, 'a grant with a limit: below it');
($ret, $out, $err) = $node->psql('postgres', loop('token', 0, 800, 'index'), extra_params => [ '-U', 'bounded', '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  54000: role "bounded" has searched .*DETAIL:  The limit is 300 within the hour/s, 'beyond the limit of its grant a role is refused');
($ret, $out, $err) = $node->psql('postgres', loop('hashed', 2000, 1, 'index'), extra_params => [ '-U', 'bounded' ]);
like($err, qr/too many different values/, 'in the next session too, over another table');
($ret, $out, $err) = $node->psql('postgres', 'SET dataprotect.search_limit = 0; ' . loop('hashed', 2000, 1, 'index'), extra_params => [ '-U', 'bounded' ]);
like($err, qr/permission denied to set|too many different values/, 'and no setting lifts it');
($ret, $out, $err) = $node->psql('postgres', loop('hashed', 0, 800, 'index'), extra_params => [ '-U', 'bounded_too' ]);
like($err, qr/"bounded_too" has searched .* for too many different values/, 'a member of the role is bounded as it is');
is($node->safe_psql('postgres', "SELECT search_limit FROM dataprotect.grants WHERE grantee = 'bounded'"), '300', 'the grant says so');
($ret, $out, $err) = $node->psql('postgres', "UPDATE dataprotect.access_grant SET search_limit = NULL WHERE grantee = 'bounded'::regrole; "
	. "SET SESSION AUTHORIZATION bounded; SELECT count(*) FROM hashed WHERE d = date '1950-02-07'");
unlike("$out", qr/^1$/m, 'a limit that is taken from the row by hand takes the grant with it');
$node->safe_psql('postgres', "UPDATE dataprotect.access_grant SET search_limit = 300 WHERE grantee = 'bounded'::regrole");
$node->safe_psql('postgres', q{SELECT dataprotect.grant_access('birth', 'bounded', 'search', search_limit => 5000)});
is($node->safe_psql('postgres', loop('hashed', 0, 800, 'index'), extra_params => [ '-U', 'bounded' ]), 20, 'a second grant with a higher limit counts');
for my $wrong (q{'search', search_limit => 0}, q{'search', search_limit => -1}, q{'reveal', search_limit => 10}, q{'mask', search_limit => 10})
{
	($ret, $out, $err) = $node->psql('postgres', "SELECT dataprotect.grant_access('birth', 'clerk', $wrong)");
	like($err, qr/a limit of searches is positive/, "refused: $wrong");
}

done_testing();
