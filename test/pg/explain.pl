#!/usr/bin/perl
#
# Hold the differences that pg_regress found against those that are known.
#
#	explain.pl DIFFERENCES.TXT REGRESSION.DIFFS CONSOLE.LOG
#
# One line for each test that pg_regress calls failed: "differs TEST: REASONS"
# where each changed line matches a known difference of that test, else "FAILED
# TEST" and the lines that do not.  A test that failed without a difference in
# REGRESSION.DIFFS (psql died) is FAILED too.
use strict;
use warnings;

my ($known_file, $diffs_file, $console_file) = @ARGV;
my (%known, %lines, @tests);

open(my $known, '<', $known_file) or die "$known_file: $!\n";
while (<$known>)
{
	chomp;
	next if /^#/ || !/\S/;
	my ($test, $pattern, $reason) = split /\t+/, $_, 3;
	die "$known_file:$.: not TEST, PATTERN, REASON\n" unless defined $reason;
	push @{ $known{$test} }, [ qr/$pattern/, $reason ];
}
close($known);

if (open(my $diffs, '<', $diffs_file))
{
	my $test;
	while (<$diffs>)
	{
		if (m{^\+\+\+ .*/([\w-]+)\.out\s}) { $test = $1; next }
		next if m{^(?:--- /|diff )};
		push @{ $lines{$test} }, $_ if defined $test && /^[-+]/;
	}
	close($diffs);
}

open(my $console, '<', $console_file) or die "$console_file: $!\n";
while (<$console>)
{
	push @tests, $1 if /^(?:test )?\s*([\w-]+)\s+\.\.\. FAILED/ || /^not ok \d+\s+[-+]\s+(\S+)/;
}
close($console);

for my $test (@tests)
{
	my (%reasons, @unknown);
	for my $line (@{ $lines{$test} || [] })
	{
		my ($entry) = grep { $line =~ $_->[0] } @{ $known{$test} || [] };
		if ($entry) { $reasons{ $entry->[1] } = 1 }
		else { push @unknown, $line }
	}
	if (@unknown || !%reasons)
	{
		print "FAILED $test\n";
		print "       $_" for splice(@unknown, 0, 40);
	}
	else
	{
		print "differs $test: ", join('; ', sort keys %reasons), "\n";
	}
}
