# Sections of bench.pl: what sessions pay who read a value, or none at all.
use strict;
use warnings;

our ($rows, $rounds, $seconds, $work, $server, $server_sh, @sections);

# A server without the library, for what it costs those who never use it.
my $without = "$work/without";

sub start_without
{
	return if -d $without;
	open(my $fh, '>', "$work/without.conf") or die "could not write: $!\n";
	open(my $from, '<', "$work/conf") or die "could not read: $!\n";
	print $fh join('', <$from>);
	print $fh "shared_preload_libraries = ''\n";
	close $fh;
	close $from;
	system("$server_sh start $without $work/without.conf >/dev/null") == 0 or die "could not start a second server\n";
	psql_without('postgres', 'CREATE DATABASE bench; CREATE ROLE app LOGIN');
	psql_without('bench', 'GRANT CREATE ON SCHEMA public TO app');
	return;
}

END
{
	my $status = $?;
	system("$server_sh stop $without immediate >/dev/null 2>&1") if -d $without;
	$? = $status;
}

sub psql_without
{
	my ($database, @commands) = @_;
	my $arguments = join ' ', map { "-c \"$_\"" } split /; /, join('; ', @commands);
	system("PGDATABASE=$database $server_sh psql $without -q -v ON_ERROR_STOP=1 $arguments >/dev/null") == 0
	  or die "failed: @commands\n";
	return;
}

sub write_script
{
	my ($name, $text) = @_;
	open(my $fh, '>', "$work/$name.pgbench") or die "could not write: $!\n";
	print $fh $text;
	close $fh;
	return "$work/$name.pgbench";
}

sub pgbench_tps
{
	my ($where, $options) = @_;
	my $output = `PGUSER=app PGDATABASE=bench $server_sh run $where pgbench -n $options 2>&1`;
	die "pgbench failed:\n$output" if $? != 0 || $output !~ /^tps = ([\d.]+)/m;
	return $1;
}

# Statements that touch nothing protected, on a server without the library and with it.
sub untouched
{
	start_without();
	psql_without('bench', "CREATE TABLE untouched AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, $rows) i",
		'CREATE INDEX ON untouched (id)', 'VACUUM ANALYZE untouched', 'GRANT SELECT ON untouched TO app');
	sql('postgres', "CREATE TABLE untouched AS SELECT i AS id, md5(i::text) AS v FROM generate_series(1, $rows) i; CREATE INDEX ON untouched (id); GRANT SELECT ON untouched TO app");
	sql('postgres', 'VACUUM ANALYZE untouched');
	my $script = write_script('untouched', "\\set i random(1, $rows)\nSELECT v FROM untouched WHERE id = :i;\n");
	for my $mode (qw(prepared simple))
	{
		my %tps = alternate(
			map { my ($name, $where) = @$_; [ $name => sub { return pgbench_tps($where, "-M $mode -T $seconds -f $script") } ] }
			  ([ without => $without ], [ with => $server ]));
		report("statements over plain tables ($mode), tps / without the library", $tps{with} / $tps{without}, 'at least', 0.99);
	}
	return;
}

# TPC-B as pgbench has it, where each transaction also reads a text of its account.
sub tpcb
{
	my $accounts = 10_000;
	for my $kind ([ plain => 'text' ], [ protected => q{encrypted_text('bench')} ])
	{
		my ($name, $type) = @$kind;
		sql('app', <<"SQL");
CREATE TABLE accounts_$name (aid int PRIMARY KEY, bid int, abalance int, holder $type);
INSERT INTO accounts_$name SELECT i, 1, 0, 'person' || i || '\@mail.example' FROM generate_series(1, $accounts) i;
CREATE TABLE tellers_$name (tid int PRIMARY KEY, tbalance int);
INSERT INTO tellers_$name SELECT i, 0 FROM generate_series(1, 10) i;
CREATE TABLE branches_$name (bid int PRIMARY KEY, bbalance int);
INSERT INTO branches_$name VALUES (1, 0);
CREATE TABLE history_$name (tid int, bid int, aid int, delta int, mtime timestamp);
SQL
		write_script("tpcb_$name", <<"SQL");
\\set aid random(1, $accounts)
\\set tid random(1, 10)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE accounts_$name SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance, holder FROM accounts_$name WHERE aid = :aid;
UPDATE tellers_$name SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE branches_$name SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO history_$name VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP);
END;
SQL
	}
	my %tps = alternate(map { my $name = $_; [ $name => sub {
		sql('app', "VACUUM accounts_$name, tellers_$name, branches_$name");
		return pgbench_tps($server, "-M prepared -T $seconds -f $work/tpcb_$name.pgbench") } ] } qw(plain protected));
	report('TPC-B with one protected column, tps / plaintext', $tps{protected} / $tps{plain}, 'at least', 0.97);
	return;
}

# A connection and its first statement, which reads one value.
sub first_statement
{
	sql('app', 'CREATE INDEX IF NOT EXISTS plain_id ON plain (id); CREATE INDEX IF NOT EXISTS protected_id ON protected (id)');
	write_script("first_$_", "SELECT v FROM $_ WHERE id = 7;\n") for qw(plain protected);
	my %tps = alternate(map { my $name = $_; [ $name => sub {
		return pgbench_tps($server, "-C -T $seconds -f $work/first_$name.pgbench") } ] } qw(plain protected));
	report('connection and first statement that reads a value / plaintext', $tps{plain} / $tps{protected}, 'at most', 1.1);
	return;
}

# Private memory of a session, in KB: what it has written to that is not shared memory.
sub private_memory
{
	my ($pid) = @_;
	my ($private, $sum) = (0, 0);
	open(my $fh, '<', "/proc/$pid/smaps") or die "could not read the memory of $pid: $!\n";
	while (my $line = <$fh>)
	{
		$private = $1 eq 'p' if $line =~ /^[0-9a-f]+-[0-9a-f]+ ...(.)/;
		$sum += $1 if $private && $line =~ /^Private_Dirty:\s+(\d+)/;
	}
	return $sum;
}

sub memory_after
{
	my ($where, $statement) = @_;
	unlink "$work/pid.out";
	my $pid = open(my $session, '|-', "PGUSER=app PGDATABASE=bench $server_sh psql $where -q -A -t -v ON_ERROR_STOP=1 >$work/pid.out 2>&1") or die "could not start psql: $!\n";
	my $backend;
	$session->autoflush(1);
	print $session "$statement;\nSELECT 'backend ' || pg_backend_pid();\n";
	for (1 .. 1800)
	{
		if (open(my $fh, '<', "$work/pid.out"))
		{
			($backend) = join('', <$fh>) =~ /^backend (\d+)$/m;
			close $fh;
		}
		last if $backend;
		select undef, undef, undef, 0.1;
	}
	die "no session\n" if !$backend;
	my $kb = private_memory($backend);
	close $session;
	return $kb;
}

sub memory
{
	start_without();
	my $plain = 'SELECT count(relname) FROM pg_class';
	my %kb = alternate(
		[ without => sub { return memory_after($without, $plain) } ],
		[ with => sub { return memory_after($server, $plain) } ],
		[ read => sub { return memory_after($server, "$plain; SELECT v FROM protected WHERE id = 7") } ],
		[ read_plain => sub { return memory_after($server, "$plain; SELECT v FROM plain WHERE id = 7") } ]);
	report('KB of an idle session over one without the library', $kb{with} - $kb{without}, 'at most', 64);
	report('  of one that has read a value over one that has read plain text', $kb{read} - $kb{read_plain});
	return;
}

# Planning of a join of ten tables, with one protected column in each.
sub planning
{
	for my $kind ([ plain => 'text' ], [ protected => q{encrypted_text('bench')} ])
	{
		my ($name, $type) = @$kind;
		sql('app', join '', map { "CREATE TABLE join_${name}_$_ (id int PRIMARY KEY, next int, v $type);\n" } 1 .. 10);
	}
	my $time = sub {
		my ($name) = @_;
		my $join = "join_${name}_1 t1" . join '', map { my $before = $_ - 1; " JOIN join_${name}_$_ t$_ ON t$_.id = t$before.next" } 2 .. 10;
		my $output = sql('app', "SET geqo = off;\n" . "EXPLAIN (SUMMARY) SELECT t1.v, t10.v FROM $join WHERE t1.v = 'a';\n" x 12);
		my @times = $output =~ /Planning Time: ([\d.]+) ms/g;
		return median(@times[ 2 .. $#times ]);
	};
	my %ms = alternate(map { my $name = $_; [ $name => sub { return $time->($name) } ] } qw(plain protected));
	report('planning of a join of ten tables / plaintext', $ms{protected} / $ms{plain}, 'at most', 1.1);
	return;
}

push @sections, [ untouched => \&untouched ], [ tpcb => \&tpcb ], [ first => \&first_statement ],
  [ memory => \&memory ], [ planning => \&planning ];
1;
