#!/usr/bin/perl
#
# PostgreSQL's regression files with the column types of CREATE TABLE swapped
# for encrypted ones, against the same files as they are.
#
#	swap.pl SOURCE WORK OUTPUT [MODIFIER...]
#
# Each pass has a server of its own, with the extension and a superuser that was
# granted reveal, and runs the files of SOURCE's parallel_schedule one after the
# other, those of %left_out excepted.  Two passes are plain: a statement whose
# output differs between them is not compared.  Then one for each modifier, by
# default 'ordered', 'searchable' and none; a type that cannot have it gets none.
# A unit is a line, or the lines that belong together, of a file; its output is
# what psql prints for it, with SQLSTATEs and without the place in the C code.
#
# swapped.txt has, with tabulators between, where to look (sql, out), a regular
# expression, and the reason: of each differing unit the first line that matches
# tells why.  A unit without one is listed in OUTPUT/swapped-MODIFIER.diffs and
# counted as failed; so is every XX000 that the plain pass has not.  Units are
# counted for each type of the columns of the tables that they name.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Basename;

my $here = abs_path(dirname($0));
my ($source, $work, $output, @modifiers) = @ARGV;
@modifiers = qw(ordered searchable none) unless @modifiers;
my $server = "$here/../../pgxs/server.sh";
my $regress = "$source/src/test/regress";

# What these test is roles other than the superuser, who have no grant, the
# whole server's catalogs, or what is no table's.
my %left_out = map { $_ => 1 } qw(
  tablespace privileges rowsecurity init_privs security_label object_address roleattributes
  publication subscription event_trigger database password opr_sanity type_sanity oidjoins misc_sanity
  sanity_check compression vacuum_parallel psql_crosstab amutils guc stats largeobject
  async dbsize advisory_lock tsdicts foreign_data xml xmlmap conversion create_role collate.icu.utf8
  collate.linux.utf8 unicode jsonpath jsonpath_encoding json_encoding regex test_regex tidscan tid
  infinite_recurse create_am brin_bloom brin_multi gin gist spgist hash_func txid xid mvcc lock
  replica_identity dependency drop_operator create_operator alter_operator alter_generic create_cast
  reloptions hash_part numeric_big numerology point lseg line box path polygon circle geometry
  macaddr macaddr8 money rangetypes multirangetypes unicode euc_kr pg_lsn bit reindex_catalog
  create_procedure create_function_c create_aggregate create_view_x tstypes tsrf select_views
  partition_prune partition_join partition_aggregate memoize incremental_sort);

# Names of a base type in CREATE TABLE, and the type that is made of them.
my %swap = (
	text => 'text', varchar => 'text', 'character varying' => 'text',
	int2 => 'int2', smallint => 'int2', int => 'int4', int4 => 'int4', integer => 'int4',
	int8 => 'int8', bigint => 'int8', float4 => 'float4', real => 'float4',
	float8 => 'float8', 'double precision' => 'float8', numeric => 'numeric', decimal => 'numeric',
	bool => 'bool', boolean => 'bool', date => 'date', timestamp => 'timestamp',
	'timestamp without time zone' => 'timestamp', timestamptz => 'timestamptz',
	'timestamp with time zone' => 'timestamptz', time => 'time', interval => 'interval',
	bytea => 'bytea', uuid => 'uuid', jsonb => 'jsonb', inet => 'inet');
my $names = join '|', map { s/ /\\s+/gr } sort { length $b <=> length $a } keys %swap;

# Rows of a file: [ text, sql ], where sql is the text without what a string,
# a comment or a dollar quote hides, of the same length.
sub units
{
	my ($text) = @_;
	my (@units, $from, $state, $tag, $depth);
	my $shadow = '';
	($from, $depth) = (0, 0);
	pos($text) = 0;
	while (pos($text) < length $text)
	{
		if ($text =~ /\G(--[^\n]*)/gc) { $shadow .= ' ' x length $1 }
		elsif ($text =~ m{\G(/\*)}gc)
		{
			my ($begin, $nested) = ($-[0], 1);
			while ($nested && $text =~ m{(/\*|\*/)}gc) { $nested += $1 eq '/*' ? 1 : -1 }
			my $piece = substr $text, $begin, pos($text) - $begin;
			$shadow .= $piece =~ s/[^\n]/ /gr;
		}
		elsif ($text =~ /\G([eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')/gcs) { $shadow .= $1 =~ s/[^\n]/_/gr }
		elsif ($text =~ /\G("(?:[^"]|"")*")/gcs) { $shadow .= $1 =~ s/[^\n]/q/gr }
		elsif ($text =~ /\G((\$(?:[A-Za-z_]\w*)?\$).*?\2)/gcs) { $shadow .= $1 =~ s/[^\n]/_/gr }
		elsif ($text =~ /\G([\w\$]+)/gc) { $shadow .= $1 }
		elsif ($text =~ /\G(\\[^\n]*)/gc) { $shadow .= '\\' . (' ' x (length($1) - 1)) }
		elsif ($text =~ /\G\n/gc)
		{
			$shadow .= "\n";
			my $sql = substr $shadow, $from;
			next unless $sql =~ /^\s*$/ || ($depth == 0 && $sql =~ /(?:;\s*|(?:^|[^\n])*\\[^\n]*)\n\z/);
			next if $sql =~ /\bBEGIN\s+ATOMIC\b/i && $sql !~ /\bEND\s*;\s*\z/i;
			if ($sql =~ /^\s*COPY\b[^;]*\bFROM\s+STDIN\b/im)
			{
				$text =~ /\G(.*?^\\\.\n)/gcms and $shadow .= $1 =~ s/[^\n]/_/gr;
			}
			push @units, [ substr($text, $from, pos($text) - $from), $sql ];
			$from = pos $text;
			$depth = 0;
		}
		else
		{
			$text =~ /\G(.)/gcs;
			$depth++ if $1 eq '(';
			$depth-- if $1 eq ')' && $depth;
			$shadow .= $1;
		}
	}
	push @units, [ substr($text, $from), substr($shadow, $from) ] if $from < length $text;
	return @units;
}

# What a unit becomes, and notes the tables with their types.  Roles that a file makes
# are granted what the superuser has.
sub swapped
{
	my ($unit, $modifier, $able, $tables) = @_;
	my ($text, $sql) = @$unit;
	$text .= join '', map { "DO \$swap\$ BEGIN PERFORM dataprotect.grant_access('k', '$_', 'reveal'); EXCEPTION WHEN OTHERS THEN NULL; END \$swap\$;\n" }
	  $sql =~ /^\s*CREATE\s+(?:USER|ROLE|GROUP)\s+(\w+)/i;
	return $text
	  unless $sql =~ /\bCREATE\s+(?:(?:GLOBAL|LOCAL)\s+)?(?:TEMP|TEMPORARY|UNLOGGED)?\s*TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w.]+)\s*\(/gi;
	my ($table, $at) = ($1, pos $sql);
	$table =~ s/^.*\.//;
	my @edits;
	my ($begin, $depth, $end) = ($at, 0, $at);
	for (; $end < length $sql; $end++)
	{
		my $c = substr $sql, $end, 1;
		if ($c eq '(') { $depth++ }
		elsif ($c eq ')' && $depth) { $depth-- }
		elsif (($c eq ',' && !$depth) || $c eq ')')
		{
			my $item = substr $sql, $begin, $end - $begin;
			if ($item !~ /^\s*(?:CONSTRAINT|PRIMARY|UNIQUE|CHECK|FOREIGN|EXCLUDE|LIKE)\b/i
				&& $item !~ /^\s*\w+\s+time\s*(?:\([\d\s]*\))?\s+with\s/i
				&& $item =~ /^(\s*\w+\s+)($names)(\s*\(([\d\s,]+)\))?(\s+with(?:out)?\s+time\s+zone\b)?(?![\w.])(?!\s*(?:\(|\[|ARRAY\b))/i)
			{
				my ($lead, $name, $length, $mod, $zone) = ($1, lc $2, length($2 . ($3 // '') . ($5 // '')), $4, $5 // '');
				$name =~ s/\s+/ /g;
				my $base = $swap{$name};
				$base .= 'tz' if $zone =~ /with\s/i;
				my @words = ("'k'");
				push @words, "'$able->{$base}'" if $able->{$base};
				push @words, "'(" . ($mod =~ s/\s//gr) . ")'" if defined $mod;
				push @edits, [ $begin + length $lead, $length, "encrypted_$base(" . join(', ', @words) . ')' ];
				$tables->{ lc $table }{$base} = 1;
			}
			$begin = $end + 1;
			last if $c eq ')';
		}
	}
	substr($text, $_->[0], $_->[1]) = $_->[2] for reverse @edits;
	# A table that is refused is made as it was, so that what follows can be compared, within a transaction as well.
	return @edits ? "\\set ON_ERROR_ROLLBACK on\n$text\\set ON_ERROR_ROLLBACK off\n\\if :ERROR\n\\echo \@\@\@ refused\n$unit->[0]\\endif\n" : $text;
}

# Run the files on a new server; the outputs are left in a folder of the pass.
sub pass
{
	my ($name, $modifier) = @_;
	my $s = "$work/$name";
	my $out = "$output/swapped-$name";
	system('rm', '-rf', $out);
	mkdir $out or die "$out: $!\n";
	chmod 0777, $out;
	my %tables;
	open(my $conf, '>', "$work/$name.conf") or die;
	print $conf "fsync = off\njit = off\nmax_prepared_transactions = 5\nallow_system_table_mods = off\n";
	close $conf;
	system($server, 'start', $s, "$work/$name.conf") == 0 or die "the server of pass $name did not start\n";
	my @psql = ($server, 'psql', $s, '-q', '-A', '-t');
	my $begun = system(
		@psql, '-o', '/dev/null', '-c', 'CREATE DATABASE regression TEMPLATE template0 LC_COLLATE "C" LC_CTYPE "C"',
		'-c', 'ALTER DATABASE regression SET lc_messages TO "C"',
		'-c', "ALTER DATABASE regression SET timezone_abbreviations TO 'Default'",
		'-c', '\c regression', '-c', 'CREATE EXTENSION dataprotect', '-c', q{SELECT dataprotect.create_key('k')},
		'-c', q{SELECT dataprotect.grant_access('k', 'postgres', 'reveal')});
	die "the extension could not be made in pass $name\n" if $begun;
	my %able;
	if (defined $modifier && $modifier ne 'none')
	{
		for my $base (values %swap)
		{
			next if exists $able{$base};
			my $fails = system("'$server' psql '$s' -q -d regression -c \"CREATE TEMP TABLE t (v encrypted_$base('k', '$modifier'))\" >/dev/null 2>&1");
			$able{$base} = $fails ? '' : $modifier;
		}
	}
	for my $file (files())
	{
		open(my $in, '<', "$regress/sql/$file.sql") or next;
		my $text = do { local $/; <$in> };
		close $in;
		# what a file echoes of itself is no output
		$text =~ s/^(\\set\s+ECHO)\s.*$/$1 none/mg;
		my @units = units($text);
		open(my $sql, '>', "$out/$file.sql") or die;
		my $number = 0;
		for my $unit (@units)
		{
			print $sql "\\echo \@\@\@ ", $number++, "\n";
			print $sql defined $modifier ? swapped($unit, $modifier, \%able, \%tables) : $unit->[0];
		}
		close $sql;
		local $ENV{PGDATABASE} = 'regression';
		local $ENV{PGTZ} = 'PST8PDT';
		local $ENV{PGDATESTYLE} = 'Postgres, MDY';
		my @env = (
			"PG_ABS_SRCDIR=$regress", "PG_ABS_BUILDDIR=$out", "PG_LIBDIR=$work/lib", 'PG_DLSUFFIX=.so',
			'PGOPTIONS=-c intervalstyle=postgres_verbose', 'PGAPPNAME=pg_regress/' . $file);
		mkdir "$out/results";
		chmod 0777, "$out/results";
		system("'$server' run '$s' env " . join(' ', map { "'$_'" } @env)
			  . " stdbuf -oL psql -X -q -v VERBOSITY=verbose -v HIDE_TABLEAM=on -v HIDE_TOAST_COMPRESSION=on"
			  . " <'$out/$file.sql' >'$out/$file.out' 2>&1");
	}
	system($server, 'stop', $s, 'immediate');
	my $crashes = `grep -Ec 'terminated by signal|TRAP:' '$s/log'` + 0;
	system('cp', "$s/log", "$out/server.log");
	system('rm', '-rf', $s);
	return (\%tables, \%able, $crashes);
}

# Are these the same lines in another order, which the statement leaves open?
my $order_is_open = 'the statement leaves the order of its rows open';
sub same_rows
{
	my ($sql, $plain, $is) = @_;
	1 while $sql =~ s/\([^()]*\)//gs;
	return $sql !~ /\border\s+by\b/i && join('', sort split /^/, $plain) eq join('', sort split /^/, $is);
}

my @files;
sub files
{
	return @files if @files;
	my %only = map { $_ => 1 } split ' ', $ENV{DP_SWAP_FILES} // '';
	open(my $schedule, '<', "$regress/parallel_schedule") or die "$regress/parallel_schedule: $!\n";
	while (<$schedule>)
	{
		next unless s/^test:\s*//;
		push @files, grep { !$left_out{$_} && (!%only || $only{$_}) } split;
	}
	close $schedule;
	return @files;
}

# Output by unit.
sub outputs
{
	my ($folder, $file) = @_;
	my (@out, %refused, $number);
	open(my $in, '<', "$folder/$file.out") or return ([], {});
	while (<$in>)
	{
		s{psql:<stdin>:\d+: }{};
		if (/^\@\@\@ (\d+)$/) { $number = $1; $out[$number] = ''; next }
		if (/^\@\@\@ refused$/)
		{
			$refused{$number} = $out[$number];
			$out[$number] = '';
			next;
		}
		next if /^LOCATION:  /;
		s/\Q$folder\E//g;
		$out[$number] .= $_ if defined $number;
	}
	close $in;
	return (\@out, \%refused);
}

# Which units name a table that an earlier one, which was refused, was about, or
# that a table so named was made with: what is in it, or is there at all, differs.
sub follows
{
	my ($units, $first, $now, $not_made) = @_;
	my (%made, %refused, @follows);
	for my $i (0 .. $#$units)
	{
		my $sql = $units->[$i][1];
		my @names = map { lc } $sql =~ /\b([A-Za-z_]\w*)\b/g;
		$follows[$i] = grep { $refused{$_} } @names;
		my ($table) = $sql =~ /^\s*CREATE\s+(?:(?:GLOBAL|LOCAL)\s+)?(?:TEMP|TEMPORARY|UNLOGGED)?\s*TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?:\w+\.)?(\w+)/i;
		$made{ lc $table } = 1 if defined $table;
		next unless defined $first->[$i];
		my $fails = ($now->[$i] // '') =~ /^ERROR:/m && $first->[$i] !~ /^ERROR:/m;
		my $differs = ($now->[$i] // '') ne $first->[$i];
		if ($fails || exists $not_made->{$i} || (defined $table && $follows[$i]) || ($differs && $follows[$i] && $sql =~ /^\s*(?:INSERT|UPDATE|DELETE|MERGE|ALTER|DROP|COPY|TRUNCATE)\b/i))
		{
			$refused{$_} = 1 for grep { $made{$_} } @names;
		}
	}
	return \@follows;
}

my @reasons;
open(my $known, '<', "$here/swapped.txt") or die "$here/swapped.txt: $!\n";
while (<$known>)
{
	chomp;
	next if /^#/ || !/\S/;
	my ($where, $pattern, $reason) = split /\t+/, $_, 3;
	die "swapped.txt:$.: not WHERE, PATTERN, REASON\n" unless defined $reason && $where =~ /^(?:sql|out|plain|internal)$/;
	push @reasons, [ $where, qr/$pattern/im, $reason ];
}
close $known;

my ($passed, $failed) = (0, 0);
pass('plain1');
pass('plain2');
for my $modifier (@modifiers)
{
	my ($tables, $able, $crashes) = pass($modifier, $modifier);
	my (%type, %reason, %bad, %refused, $unsteady);
	my ($same, $different, $unexplained) = (0, 0, 0);
	open(my $diffs, '>', "$output/swapped-$modifier.diffs") or die;
	open(my $all, '>', "$output/swapped-$modifier.explained") or die;
	my $pattern = join '|', map { quotemeta } sort keys %$tables;
	for my $file (files())
	{
		open(my $in, '<', "$regress/sql/$file.sql") or next;
		my $text = do { local $/; <$in> };
		close $in;
		my @units = units($text);
		my @first = @{ (outputs("$output/swapped-plain1", $file))[0] };
		my @second = @{ (outputs("$output/swapped-plain2", $file))[0] };
		my ($now, $not_made) = outputs("$output/swapped-$modifier", $file);
		my @now = @$now;
		my $follows = follows(\@units, \@first, \@now, $not_made);
		for my $i (keys %$not_made)
		{
			next if ($first[$i] // '') =~ /^ERROR:/m;
			my ($error) = $not_made->{$i} =~ /^ERROR:  (.*)/m or next;
			$error =~ s/"[^"]*"/"…"/g;
			$error =~ s/\btype \w+ cannot contain/type … cannot contain/;
			$refused{$error}++;
		}
		for my $i (0 .. $#units)
		{
			next unless $units[$i][1] =~ /\S/ && defined $first[$i];
			if ($first[$i] ne ($second[$i] // '')) { $unsteady++; next }
			my $is = $now[$i] // "(psql had ended)\n";
			my %of;
			$of{$_} = 1 for map { keys %{ $tables->{$_} } } grep { $tables->{$_} } map { lc } $units[$i][1] =~ /\b($pattern)\b/gi;
			if ($is eq $first[$i]) { $same++; $type{$_}[0]++ for keys %of; next }
			$different++;
			$type{$_}[1]++ for keys %of;
			my $why;
			my $internal = $is =~ /^(?:ERROR|FATAL|PANIC):  XX\d\d\d/m && $first[$i] !~ /^ERROR:  XX\d\d\d/m ? 1 : 0;
			for my $r (@reasons)
			{
				# an internal error has a reason of its own, or none
				next if $internal != ($r->[0] eq 'internal');
				my $seen = $r->[0] eq 'sql' ? $units[$i][0] : $r->[0] =~ /^(?:out|internal)$/ ? $is : $first[$i];
				if ($seen =~ $r->[1]) { $why = $r->[2]; last }
			}
			$why = 'the same error, whose text names the encrypted type'
			  if !defined $why && !$internal && $first[$i] =~ /^ERROR:  (\w{5}): /m && $is =~ /^ERROR:  $1: .*(?:\nDETAIL:  .*)?encrypted_/m;
			$why = 'names a table of an earlier statement that was refused, or was made plain; that one counts by its own reason'
			  if !defined $why && !$internal && $follows->[$i];
			$why = $order_is_open if !defined $why && same_rows($units[$i][1], $first[$i], $is);
			my $shown = "=== $file, unit $i\n$units[$i][0]--- plain\n$first[$i]--- swapped\n$is\n";
			if (defined $why) { $reason{$why}++; print $all "=== $why\n$shown" }
			else { $unexplained++; $bad{ $internal ? 'XX000' : 'no reason' }++; print $diffs $shown }
		}
	}
	close $diffs;
	close $all;
	printf "swapped, %s: %d statements, %d same (%.1f %%), %d differ, %d of them without a reason; %d not steady; %d crashes\n",
	  $modifier, $same + $different, $same, 100 * $same / (($same + $different) || 1), $different, $unexplained, $unsteady // 0, $crashes;
	printf "    %-12s %6d same %5d differ%s\n", $_, $type{$_}[0] // 0, $type{$_}[1] // 0,
	  $modifier eq 'none' || $able->{$_} ? '' : " (cannot be $modifier)"
	  for sort keys %type;
	printf "    %5d differ: %s\n", $reason{$_}, $_ for sort { $reason{$b} <=> $reason{$a} } keys %reason;
	printf "    %5d CREATE TABLE refused, made plain: %s\n", $refused{$_}, $_ for sort { $refused{$b} <=> $refused{$a} } keys %refused;
	printf "FAILED %5d statements: %s\n", $bad{$_}, $_ for sort keys %bad;
	print "FAILED the server crashed\n" if $crashes;
	if ($unexplained || $crashes || !$same) { $failed++ } else { $passed++ }
}
print "$passed passed, $failed failed, 0 skipped\n";
