# Random statements over a plain and a protected copy of the same tables: queries,
# also through views, cursors, prepared statements and functions, of the role's own and
# of others, and changes with what they return.  If this fails, a role that may read gets other rows than from
# plain columns, a statement ends in an internal error, a role without the right can
# tell two databases apart that differ in protected values alone or is shown one, a
# function of such a role is handed one by somebody who may read, or something was
# opened that the audit log does not tell of.
#
#	DP_RANDOM=5000 DP_RANDOM_SEED=7 make attack TESTS=test/attack/30_random_queries.pl
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::RandomQueries;
use DataProtect::Test;

my $n = $ENV{DP_RANDOM} || 120;
my $seed = $ENV{DP_RANDOM_SEED} || 20261127;
my @texts = ('alpha', 'Alpha', 'beta', 'gamma', 'delta x', 'zeta');

my $node = attack_node('random');
$node->safe_psql('postgres', <<'E');
SELECT dataprotect.create_key('rq');
SELECT dataprotect.grant_access('rq', 'reader', 'reveal'), dataprotect.grant_access('rq', 'masked', 'mask'), dataprotect.grant_access('rq', 'searcher', 'search');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE SCHEMA plain;
CREATE SCHEMA prot;
CREATE SCHEMA twin;
CREATE TABLE plain.person (id int PRIMARY KEY, grp int, name text, amount numeric(10,2), n int, flag bool, born date, at timestamp, doc jsonb, code uuid);
CREATE TABLE plain.visit (id int PRIMARY KEY, person int, name text, amount numeric(10,2), n int, born date, code uuid);
CREATE TABLE prot.person (id int PRIMARY KEY, grp int, name encrypted_text('rq', 'searchable'), amount encrypted_numeric('rq', '(10,2)'), n encrypted_int4('rq'),
	flag encrypted_bool('rq'), born encrypted_date('rq', 'ordered'), at encrypted_timestamp('rq'), doc encrypted_jsonb('rq'), code encrypted_uuid('rq', 'searchable'));
CREATE TABLE prot.visit (id int PRIMARY KEY, person int, name encrypted_text('rq'), amount encrypted_numeric('rq', '(10,2)'), n encrypted_int4('rq'),
	born encrypted_date('rq'), code encrypted_uuid('rq'));
INSERT INTO plain.person SELECT g, g % 4, CASE WHEN g % 9 > 0 THEN (ARRAY['alpha', 'Alpha', 'beta', 'gamma', 'delta x', 'zeta'])[1 + g % 6] END,
	CASE WHEN g % 7 > 0 THEN g * 1.25 - 9 END, CASE WHEN g % 8 > 0 THEN g % 11 END, CASE WHEN g % 5 > 0 THEN g % 2 = 0 END,
	CASE WHEN g % 6 > 0 THEN date '1960-01-11' + g * 100 END, timestamp '2001-01-02 03:04:05' + g * interval '1 month', jsonb_build_object('a', g % 5),
	('00000000-0000-4000-8000-' || lpad((g % 20)::text, 12, '0'))::uuid FROM generate_series(1, 40) g;
INSERT INTO plain.visit SELECT g, g % 45, (ARRAY['alpha', 'beta', 'nobody', 'zeta'])[1 + g % 4], g * 2.5 - 9, g % 13, date '1960-01-11' + g * 50,
	('00000000-0000-4000-8000-' || lpad((g % 25)::text, 12, '0'))::uuid FROM generate_series(1, 60) g;
-- the mark, which stands in no statement
UPDATE plain.person SET name = name || ' Zq9x' || id WHERE id % 4 = 1;
UPDATE plain.visit SET name = name || ' Zq9x' || person WHERE person % 4 = 1;
UPDATE plain.person SET doc = doc || '{"m": "Zq9x"}' WHERE id % 4 = 2;
INSERT INTO prot.person SELECT * FROM plain.person;
INSERT INTO prot.visit SELECT * FROM plain.visit;
CREATE INDEX ON prot.person USING hash (name);
CREATE INDEX ON prot.person (name encrypted_text_token_ops);
CREATE INDEX ON prot.person (born);
CREATE INDEX ON prot.visit USING hash (n);
-- the same rows with other values of the same lengths and the same NULLs
CREATE TABLE twin.person (LIKE prot.person INCLUDING INDEXES);
CREATE TABLE twin.visit (LIKE prot.visit INCLUDING INDEXES);
INSERT INTO twin.person SELECT id, grp, translate(name, 'abeglmptxzZq9', 'zxtpmlgebaYk8'), amount, (n + 5) % 10, NOT flag, born + 1, at + interval '1 hour',
	CASE WHEN doc ? 'm' THEN jsonb_build_object('a', (id + 1) % 5, 'm', 'Yk8b') ELSE jsonb_build_object('a', (id + 1) % 5) END, overlay(code::text PLACING '7' FROM 10)::uuid FROM plain.person;
INSERT INTO twin.visit SELECT id, person, translate(name, 'abeglmptxzZq9', 'zxtpmlgebaYk8'), amount, (n + 3) % 10, born + 3, overlay(code::text PLACING '7' FROM 10)::uuid FROM plain.visit;
GRANT USAGE ON SCHEMA plain, prot, twin TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA plain, prot, twin TO PUBLIC;
-- a role that may read, and one that may not, write views and a function for all
CREATE ROLE friend LOGIN;
CREATE ROLE stranger LOGIN;
SELECT dataprotect.grant_access('rq', 'friend', 'reveal');
CREATE SCHEMA of_friend AUTHORIZATION friend;
CREATE SCHEMA of_stranger AUTHORIZATION stranger;
GRANT CREATE ON SCHEMA plain, prot, twin TO friend;
SET ROLE friend;
CREATE FUNCTION of_friend.take(text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN $1; END $$;
CREATE VIEW plain.person_view AS SELECT * FROM plain.person;
CREATE VIEW plain.visit_view AS SELECT * FROM plain.visit WHERE id > 0;
CREATE VIEW prot.person_view AS SELECT * FROM prot.person;
CREATE VIEW prot.visit_view AS SELECT * FROM prot.visit WHERE id > 0;
CREATE VIEW twin.person_view AS SELECT * FROM twin.person;
CREATE VIEW twin.visit_view AS SELECT * FROM twin.visit WHERE id > 0;
GRANT USAGE ON SCHEMA of_friend TO PUBLIC;
GRANT ALL ON plain.person_view, plain.visit_view, prot.person_view, prot.visit_view, twin.person_view, twin.visit_view TO PUBLIC;
SET ROLE stranger;
CREATE SEQUENCE of_stranger.taken;
CREATE FUNCTION of_stranger.take(text) RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN IF $1 ~* 'Zq9x|x9qZ' THEN PERFORM nextval('of_stranger.taken'); END IF; RETURN $1; END $$;
GRANT USAGE ON SCHEMA of_stranger TO PUBLIC;
GRANT ALL ON of_stranger.taken TO PUBLIC;
RESET ROLE;
ANALYZE;
E

my $random = DataProtect::RandomQueries->new(seed => $seed, texts => \@texts, views => 1, call => 'take',
	sql_json => $node->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int}) >= 170000);
my @queries = map { $random->statement } 1 .. $n;

# The answers of all queries: rows in any order, or an SQLSTATE.
sub answers
{
	my ($role, $schema, $author) = @_;
	my $purpose = join ' ', grep { defined } $schema, $author;
	$author //= 'friend';
	my $script = "\\set VERBOSITY sqlstate\n\\pset null '<null>'\nSET search_path = $schema, of_$author, public;\n" .
		join '', map { "\\echo === $_\nSET dataprotect.purpose = '$purpose $_'; $queries[$_];\n" } 0 .. $#queries;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-f', '-', '-h', $node->host, '-p', $node->port, '-U', $role, 'postgres' ],
		'<', \$script, '>', \$out, '2>&1');
	my %of = $out =~ /^=== (\d+)\n(.*?)(?=^=== |\z)/gms;
	return map { defined $of{$_} ? answer($of{$_}, $queries[$_]) : 'no answer' } 0 .. $#queries;
}

sub answer
{
	my ($text, $query) = @_;
	return "error $1" if $text =~ /^(?:psql:\S+ )?(?:ERROR|FATAL|PANIC):  (\w{5})$/m;
	$text =~ s/^psql:.*WARNING.*\n//mg;
	$text =~ s/enc:v1:[A-Za-z0-9+\/=]+/enc/g;
	# what functions make of ciphertext, which these two take as the text that it is
	$text =~ s/[A-Za-z0-9+\/=:._-]{24,}/enc/g if $query =~ /\b(?:format|concat)\(/;
	# also those that end in empty rows: in which order they come is not asked
	return join "\n", sort split /\n/, $text, -1;
}

my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my @plain = answers('reader', 'plain');
my @prot = answers('reader', 'prot');
my (@wrong, @refused, @internal);
my $same = 0;
for my $i (0 .. $#queries)
{
	if ($prot[$i] eq $plain[$i]) { $same++ }
	elsif ($prot[$i] =~ /^error XX|^no answer/) { push @internal, $i }
	elsif ($prot[$i] =~ /^error/) { push @refused, $i }
	else { push @wrong, $i }
}
my $rows = grep { length && !/^error/ } @plain;
note("$n queries, $rows with rows over plain columns; over protected ones $same the same, " . scalar(@refused) . ' refused');
note("refused, $prot[$_]: $queries[$_]") for @refused[ 0 .. ($#refused < 40 ? $#refused : 40) ];
cmp_ok($rows, '>', $n / 2, 'most queries have rows');
is(scalar(@internal), 0, 'no internal error') or diag(map { "$prot[$_]: $queries[$_]\n" } @internal[ 0 .. ($#internal < 9 ? $#internal : 9) ]);
is(scalar(@wrong), 0, 'no wrong row') or diag(map { "$queries[$_]\n--- plain\n$plain[$_]\n--- protected\n$prot[$_]\n" } @wrong[ 0 .. ($#wrong < 9 ? $#wrong : 9) ]);
cmp_ok($same, '>=', 0.9 * $n, 'nine in ten answer the same');

# What is handed to the function of a role that may not read is no value.
my @handed = answers('reader', 'prot', 'stranger');
is($node->safe_psql('postgres', 'SELECT is_called FROM of_stranger.taken'), 'f', 'the function of a role without the right is handed no value');
is(scalar(grep { /^error XX|^no answer/ } @handed), 0, 'no internal error');
cmp_ok(scalar(grep { /Zq9x/ } @handed), '>', $n / 20, 'statements that called it, or did not, showed marked values to the reader');
answers('reader', 'plain', 'stranger');
is($node->safe_psql('postgres', 'SELECT is_called FROM of_stranger.taken'), 't', 'what is not protected it is');

# As large as each other again: what was taken back in one of them would make other plans.
$node->safe_psql('postgres', join ';', map { "VACUUM (FULL, ANALYZE) $_" } map { my $s = $_; map { "$s.$_" } qw(person visit) } qw(prot twin));

# What a role may not see makes no difference to it; ciphertext is never the same.
# Equality with a constant is what the right to search gives.
for my $role ('nobody', 'masked', 'owner', 'super', 'searcher')
{
	my ($one, $two) = map { [ answers($role, $_) ] } 'prot', 'twin';
	# ciphertext is in no order: the first few rows by it are any
	my @told = grep { $one->[$_] ne $two->[$_] && !($queries[$_] =~ /LIMIT/ && $one->[$_] =~ /enc/) } 0 .. $#queries;
	@told = grep { $queries[$_] !~ /=|<>|\bIN\b|DISTINCT|nullif|CASE/ } @told if $role eq 'searcher';
	my @broken = grep { $one->[$_] =~ /^error XX|^no answer/ } 0 .. $#queries;
	my @open = grep { $one->[$_] =~ /Zq9x/i || $one->[$_] =~ /alpha|gamma|zeta|00000000-0000-4000/i && $queries[$_] !~ /alpha|gamma|zeta|00000000-0000-4000/i } 0 .. $#queries;
	is(scalar(@told), 0, "$role: protected values make no difference")
		or diag(map { "$queries[$_]\n--- one\n$one->[$_]\n--- other\n$two->[$_]\n" } @told[ 0 .. ($#told < 9 ? $#told : 9) ]);
	is(scalar(@open), 0, "$role: no value is shown") or diag(map { "$queries[$_]\n$one->[$_]\n" } @open[ 0 .. ($#open < 9 ? $#open : 9) ]);
	is(scalar(@broken), 0, "$role: no internal error") or diag(map { "$one->[$_]: $queries[$_]\n" } @broken[ 0 .. ($#broken < 9 ? $#broken : 9) ]);
}

# Each statement that opened something is in the log, and only those.
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
my %logged = map { my ($role, $purpose, @rest) = split /\|/; ("$role $purpose" => \@rest) }
  split /\n/, $node->safe_psql('postgres', "SELECT session_role, purpose, sum(values_opened), sum(values_compared), bool_and(keys = '{rq}'), bool_and(outcome <> 'started'), string_agg(DISTINCT c, ' ') "
	  . "FROM dataprotect.audit_log LEFT JOIN LATERAL unnest(columns) c ON true WHERE event = 'value.revealed' GROUP BY 1, 2", extra_params => [ '-U', 'auditor' ]);
my @shown = grep { $prot[$_] =~ /Zq9x/ } 0 .. $#queries;
my @unseen = grep { my $row = $logged{"reader prot $_"}; !$row || $row->[0] < 1 || $row->[2] ne 't' || $row->[3] ne 't' || $row->[4] !~ /prot\.(?:person|visit)\.(?:name|doc)|\.made\.c\d/ } @shown;
cmp_ok(scalar(@shown), '>', $n / 20, 'statements showed marked values');
is(scalar(@unseen), 0, 'each of them is in the log with what it showed') or diag(map { "$queries[$_]\n" . join('|', @{ $logged{"reader prot $_"} || [] }) . "\n" } @unseen[ 0 .. ($#unseen < 9 ? $#unseen : 9) ]);
# A superuser's change compares what it writes with what is there (columns/kept_value.h).
is(join(' ', sort grep { / plain / || /^(?:nobody|owner|masked) / || /^super \w+ (\d+)$/ && ($logged{$_}[0] > 0 || $queries[$1] !~ /\b(?:UPDATE|INSERT|MERGE)\b/) } keys %logged), '',
	'nobody else opened anything, and nobody over plain columns');
is(join(' ', sort grep { /^searcher / && $logged{$_}[0] > 0 } keys %logged), '', 'who may search is shown nothing');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server never went down');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nor did a session');

done_testing();
