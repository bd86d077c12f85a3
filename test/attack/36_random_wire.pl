# Random statements with parameters over a plain and a protected copy of tables with
# a column of every type, prepared, described and run in text and in binary.  If this
# fails, a client can tell a protected column from a plain one by types or rows, a
# statement ends in an internal error, or a role without the right can tell two
# databases apart that differ in protected values alone.
#
#	DP_RANDOM=5000 DP_RANDOM_SEED=7 make attack TESTS=test/attack/36_random_wire.pl
use strict;
use warnings;

use FindBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::RandomWire;
use DataProtect::Test;

my $n = $ENV{DP_RANDOM} || 150;
my $seed = $ENV{DP_RANDOM_SEED} || 20261128;
my ($python) = grep { -x } '/usr/bin/python3';
plan skip_all => 'python3 is not installed' if !$python;

my $node = attack_node('wire', conf => "timezone = 'UTC'\n");

# A table as its columns are declared: plain, or under the key.
my %words = (name => ", 'searchable'", born => ", 'ordered'", amount => ", '(10,2)'", note => ", '(20)'", big => ", 'ordered'", code => ", 'searchable'", ip => ", 'searchable'");
my %types = (int => 'int4', varchar => 'text');

sub table
{
	my ($schema, $table) = @_;
	my $columns = $DataProtect::RandomWire::columns{$table};
	return "CREATE TABLE $schema.$table (" . join(', ', map {
		my $type = $columns->{$_};
		$_ eq 'id' ? 'id int PRIMARY KEY' : $_ eq 'grp' || $_ eq 'person' ? "$_ int"
		  : $schema eq 'plain' ? "$_ $type" . ($_ eq 'amount' ? '(10,2)' : $_ eq 'note' ? '(20)' : '') : "$_ encrypted_" . ($types{$type} // $type) . "('rq'" . ($words{$_} // '') . ')'
	} sort keys %$columns) . ");\n";
}
my @made = map { my $schema = $_; map { table($schema, $_) } qw(person visit) } qw(plain prot twin);
my $person_columns = join ', ', sort keys %{ $DataProtect::RandomWire::columns{person} };
my $visit_columns = join ', ', sort keys %{ $DataProtect::RandomWire::columns{visit} };

# Other values of the same lengths, and the same NULLs.
my %other = (
	name => "translate(name, 'abeglmptxzZq9', 'zxtpmlgebaYk8')", note => "translate(note, 'abeglmptxzZq9', 'zxtpmlgebaYk8')", n => '(n + 5) % 10', flag => 'NOT flag', born => 'born + 1',
	at => "at + interval '1 hour'", doc => "jsonb_build_object('a', ((doc ->> 'a')::int + 1) % 5)", code => "overlay(code::text PLACING '7' FROM 10)::uuid", small => '(small + 3) % 8',
	big => 'big + 1', f4 => 'f4 + 1', f8 => 'f8 + 1', tz => "tz + interval '1 hour'", hour => "hour + interval '1 minute'", span => "span + interval '1 minute'", ip => 'ip', raw => "raw # '\\x01'");
$other{raw} = "set_byte(raw, 0, (get_byte(raw, 0) + 1) % 200)";
$other{ip} = "set_masklen(ip + 1, masklen(ip))";
my $twin = sub { my ($table) = @_; return join ', ', map { $_ eq 'person' || !$other{$_} ? $_ : $other{$_} } sort keys %{ $DataProtect::RandomWire::columns{$table} }; };

$node->safe_psql('postgres', <<"SQL");
SELECT dataprotect.create_key('rq');
SELECT dataprotect.grant_access('rq', 'reader', 'reveal'), dataprotect.grant_access('rq', 'masked', 'mask'), dataprotect.grant_access('rq', 'searcher', 'search');
CREATE SCHEMA plain;
CREATE SCHEMA prot;
CREATE SCHEMA twin;
@made
INSERT INTO plain.person (id, grp, name, amount, n, flag, born, at, doc, code, small, big, f4, f8, tz, hour, span, ip, raw, note)
	SELECT g, g % 4, CASE WHEN g % 9 > 0 THEN (ARRAY['alpha', 'Alpha', 'beta', 'gamma', 'delta x', 'zeta'])[1 + g % 6] END,
	CASE WHEN g % 7 > 0 THEN g * 1.25 - 9 END, CASE WHEN g % 8 > 0 THEN g % 11 END, CASE WHEN g % 5 > 0 THEN g % 2 = 0 END,
	CASE WHEN g % 6 > 0 THEN date '1960-01-11' + g * 100 END, timestamp '2001-01-02 03:04:05' + g * interval '1 month', jsonb_build_object('a', g % 5),
	('00000000-0000-4000-8000-' || lpad((g % 20)::text, 12, '0'))::uuid, CASE WHEN g % 3 > 0 THEN g % 8 END, CASE WHEN g % 4 > 0 THEN 20000000000 + g % 9 ELSE g % 7 END,
	CASE WHEN g % 5 > 0 THEN g * 0.25 END, CASE WHEN g % 6 > 0 THEN g * 0.5 END, timestamptz '2001-01-02 03:04:05+00' + (g % 20) * interval '1 month', time '00:30' + (g % 10) * interval '1 hour',
	CASE WHEN g % 4 > 0 THEN (g % 5) * interval '1 day' + interval '2 hours' END, ('10.0.' || g % 3 || '.' || g % 9 || '/' || 32 - 8 * (g % 2))::inet, decode(lpad(to_hex(g % 6), 4, '0'), 'hex'),
	CASE WHEN g % 5 > 0 THEN (ARRAY['alpha', 'beta', 'zeta', 'note'])[1 + g % 4] END FROM generate_series(1, 40) g;
INSERT INTO plain.visit (id, person, name, amount, n, born, code, big, f8, tz, ip, note, raw)
	SELECT g, g % 45, (ARRAY['alpha', 'beta', 'nobody', 'zeta'])[1 + g % 4], g * 2.5 - 9, g % 13, date '1960-01-11' + g * 50, ('00000000-0000-4000-8000-' || lpad((g % 25)::text, 12, '0'))::uuid,
	20000000000 + g % 11, g * 0.5, timestamptz '2001-01-02 03:04:05+00' + (g % 25) * interval '1 month', ('10.0.' || g % 4 || '.' || g % 9)::inet, (ARRAY['alpha', 'Alpha', 'zeta'])[1 + g % 3],
	decode(lpad(to_hex(g % 9), 4, '0'), 'hex') FROM generate_series(1, 60) g;
UPDATE plain.person SET name = name || ' Zq9x' || id WHERE id % 4 = 1;
UPDATE plain.visit SET name = name || ' Zq9x' || person WHERE person % 4 = 1;
INSERT INTO prot.person SELECT $person_columns FROM plain.person;
INSERT INTO prot.visit SELECT $visit_columns FROM plain.visit;
INSERT INTO twin.person SELECT @{[ $twin->('person') ]} FROM plain.person;
INSERT INTO twin.visit SELECT @{[ $twin->('visit') ]} FROM plain.visit;
GRANT USAGE ON SCHEMA plain, prot, twin TO PUBLIC;
GRANT ALL ON ALL TABLES IN SCHEMA plain, prot, twin TO PUBLIC;
SQL
for my $schema ('prot', 'twin')
{
	$node->safe_psql('postgres', "CREATE INDEX ON $schema.person USING hash (note); CREATE INDEX ON $schema.person (name encrypted_text_token_ops); CREATE INDEX ON $schema.person (born);
		CREATE INDEX ON $schema.person (big); CREATE INDEX ON $schema.visit (ip encrypted_inet_token_ops); CREATE INDEX ON $schema.visit USING hash (n)");
}
$node->safe_psql('postgres', 'ANALYZE');

my $random = DataProtect::RandomWire->new(seed => $seed, texts => [ 'alpha', 'Alpha', 'beta', 'gamma', 'delta x', 'zeta' ]);
my $json = JSON::PP->new->allow_nonref->canonical;
my @transactions = map { $json->encode($random->transaction) } 1 .. $n;

sub answers
{
	my ($role, $schema) = @_;
	my $where = $node->connstr('postgres') . " user=$role options='-csearch_path=$schema,public'";
	my ($in, $out, $err) = (join('', map { "$_\n" } @transactions), '', '');
	IPC::Run::run([ $python, "$FindBin::RealBin/../clients/wire_answers.py", $where ], '<', \$in, '>', \$out, '2>', \$err);
	diag($err) if length $err;
	my @answers = map { my $said = $json->decode($_); join '', map { join('', map { "$_\n" } @$_) . "--\n" } @$said } split /\n/, $out;
	$answers[$_] //= 'no answer' for 0 .. $#transactions;
	return @answers;
}

my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my @plain = answers('reader', 'plain');
my @prot = answers('reader', 'prot');
my (@wrong, @refused, @internal, @error, @said);

# What is told of types, without which of the two of text and varchar it is, and without modifiers.
sub roughly
{
	my ($answer) = @_;
	return join "\n", map { s/\b25\b/1043/gr =~ s/(\["[^"]*", \d+), -?\d+/$1, -1/gr } grep { /^(?:params|columns) / } split /\n/, $answer;
}
sub rows_of { return join "\n", grep { !/^(?:params|columns) / } split /\n/, $_[0]; }
my ($same, $rows, $binary) = (0, 0, 0);
for my $i (0 .. $#transactions)
{
	my ($state) = $prot[$i] =~ /^error (\w+)$/m;
	my ($plain_state) = $plain[$i] =~ /^error (\w+)$/m;
	$rows++ if !defined $plain_state && $plain[$i] =~ /^\[/m;
	$binary++ if $plain[$i] =~ /^binary$/m;
	if ($prot[$i] eq $plain[$i]) { $same++ }
	elsif ($prot[$i] eq 'no answer' || ($state // '') =~ /^XX/) { push @internal, $i }
	elsif (defined $state && defined $plain_state) { push @error, $i }
	elsif (defined $state) { push @refused, $i }
	elsif (rows_of($plain[$i]) eq rows_of($prot[$i]) && roughly($plain[$i]) eq roughly($prot[$i])) { push @said, $i }
	else { push @wrong, $i }
}

sub differences
{
	my @which = @_;
	splice @which, $ENV{DP_RANDOM_SHOW} || 8 if @which > ($ENV{DP_RANDOM_SHOW} || 8);
	return map {
		my @a = split /\n/, $plain[$_];
		my @b = split /\n/, $prot[$_];
		my @at = grep { ($a[$_] // '') ne ($b[$_] // '') } 0 .. ($#a > $#b ? $#a : $#b);
		splice @at, 3 if @at > 3;
		"$transactions[$_]\n" . join '', map { '  plain: ' . ($a[$_] // '') . "\n  prot:  " . ($b[$_] // '') . "\n" } @at
	} @which;
}
note("$n transactions, $rows with rows over plain columns, $binary with a binary result; over protected ones $same the same, "
	  . scalar(@refused) . ' refused, ' . scalar(@error) . ' with another SQLSTATE, ' . scalar(@said) . ' of which text is told for varchar, or no modifier');
cmp_ok($rows, '>', 0.4 * $n, 'many statements have rows');
is(scalar(@internal), 0, 'no internal error') or diag(differences(@internal));
is(scalar(@wrong), 0, 'no other type and no other row') or diag(differences(@wrong));
cmp_ok(scalar(@refused) + scalar(@error), '<=', 0.02 * $n, 'at most one in fifty is refused');
cmp_ok(scalar(@said), '<=', 0.01 * $n, 'of at most one in a hundred is text told for varchar, or no modifier');
# all of them, for who looks for faults
append_to_file($ENV{DP_RANDOM_LOG}, join '', "refused\n", differences(@refused), "another SQLSTATE\n", differences(@error), "told\n", differences(@said), "wrong\n", differences(@wrong)) if $ENV{DP_RANDOM_LOG};

# As large as each other again: what was taken back in one of them would make other plans.
$node->safe_psql('postgres', join ';', map { my $s = $_; map { "VACUUM (FULL, ANALYZE) $s.$_" } qw(person visit) } qw(prot twin));

# Whoever has no right sees no difference between values.
for my $role ('nobody', 'masked', 'searcher')
{
	my @one = answers($role, 'prot');
	my @two = answers($role, 'twin');
	my @told = grep { $one[$_] ne $two[$_] && !($transactions[$_] =~ /LIMIT|FETCH FIRST/ && $one[$_] =~ /enc|sealed/) } 0 .. $#transactions;
	@told = grep { $transactions[$_] !~ /=|<>|\bIN\b|DISTINCT|nullif|CASE/ } @told if $role eq 'searcher';
	my @open = grep { $one[$_] =~ /Zq9x/i } 0 .. $#transactions;
	my @broken = grep { $one[$_] =~ /^error XX/m || $one[$_] eq 'no answer' } 0 .. $#transactions;
	for my $found ([ \@told, 'protected values make no difference' ], [ \@open, 'no value is shown' ], [ \@broken, 'no internal error' ])
	{
		my ($which, $what) = @$found;
		my @few = @$which;
		splice @few, 6 if @few > 6;
		is(scalar(@$which), 0, "$role: $what") or diag(map { "$transactions[$_]\n--- one\n$one[$_]--- other\n$two[$_]" } @few);
	}
}
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server never went down');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nor did a session');

done_testing();
