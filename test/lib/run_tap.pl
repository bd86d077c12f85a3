#!/usr/bin/perl
#
# Run TAP test files and count every single test.
#
#	run_tap.pl LOGDIR FILE...
#
# $DP_JOBS files run at a time (1).  A file that dies, plans more tests than it
# runs, or runs none without saying why counts as one failure more.
#
# With $DP_SECOND_LOOK a file that failed runs once more, alone.  What fails twice
# is broken.  What fails once is unsteady: both outcomes are shown, its name
# stands again before the last line, and the second outcome is the one counted.
#
# The last line is "N passed, N failed, N skipped"; exit code 0 only where
# nothing failed and something ran.
use strict;
use warnings;

use File::Basename qw(basename);
use File::Path qw(make_path);
use Storable qw(retrieve store);
use TAP::Parser;
use Time::HiRes qw(time);

my ($logdir, @files) = @ARGV;
die "usage: run_tap.pl LOGDIR FILE...\n" if !@files;
make_path($logdir);
STDOUT->autoflush(1);

my %total = (passed => 0, failed => 0, skipped => 0);
my @unsteady;
my @again = run_files($ENV{DP_JOBS} || 1, @files);
if (@again && $ENV{DP_SECOND_LOOK})
{
	# Beside what the first run left, which PostgreSQL's modules keep.
	$logdir .= '_again';
	make_path($logdir);
	for my $folder (qw(TESTDIR TESTDATADIR TESTLOGDIR))
	{
		next if !defined $ENV{$folder};
		$ENV{$folder} .= '/again';
		make_path($ENV{$folder});
	}
	for my $first (@again)
	{
		print "again, alone: $first->{file}\n";
		$total{$_} -= $first->{$_} for keys %total;
		push @unsteady, $first if !run_files(1, $first->{file});
	}
}
print "unsteady, failed once and passed once: $_->{file}: @{ $_->{broken} }\n" for @unsteady;
print "$total{passed} passed, $total{failed} failed, $total{skipped} skipped\n";
exit($total{failed} || !($total{passed} + $total{skipped}) ? 1 : 0);

# Runs files, so many at a time; returns the results of those that failed.
sub run_files
{
	my ($jobs, @waiting) = @_;
	my (%running, @failed);
	while (@waiting || %running)
	{
		while (@waiting && keys %running < $jobs)
		{
			my $file = shift @waiting;
			my $name = basename($file, '.pl');
			my $pid = fork // die "could not fork: $!\n";
			if (!$pid)
			{
				store(run_file($file, "$logdir/$name.log"), "$logdir/$name.result");
				exit 0;
			}
			$running{$pid} = $file;
		}
		my $pid = wait;
		my $file = delete $running{$pid} // next;
		my $name = basename($file, '.pl');
		my $result = eval { retrieve("$logdir/$name.result") }
		  // { file => $file, passed => 0, failed => 1, skipped => 0, seconds => 0, broken => ['its runner broke off'] };
		unlink "$logdir/$name.result";
		printf "%-6s %s (%d passed, %d failed, %d skipped, %.1f s)\n",
		  $result->{failed} ? 'FAILED' : $result->{passed} ? 'ok' : 'skip', $file,
		  @$result{qw(passed failed skipped seconds)};
		print "       $_\n" for @{ $result->{broken} };
		show_tail("$logdir/$name.log") if $result->{failed};
		push @failed, $result if $result->{failed};
		$total{$_} += $result->{$_} for keys %total;
	}
	return @failed;
}

# One file, what it prints into a log.
sub run_file
{
	my ($file, $log) = @_;
	my $started = time;
	my ($ok, $not_ok, $skip) = (0, 0, 0);
	my @broken;

	# PostgreSQL's test modules copy what they log to the file of their own.
	open(my $fh, '>', $log) or die "could not write \"$log\": $!\n";
	my $parser = TAP::Parser->new(
		{ exec => ['/bin/sh', '-c', 'exec "$@" 2>&1', 'sh', $^X, $file] });
	while (my $result = $parser->next)
	{
		print $fh $result->as_string, "\n";
		next if !$result->is_test;
		if ($result->has_skip) { $skip++; }
		elsif ($result->is_ok) { $ok++; }
		else
		{
			$not_ok++;
			push @broken, $result->as_string;
		}
	}
	if ($parser->skip_all)
	{
		$skip++;
		push @broken, 'skipped: ' . $parser->skip_all;
	}
	elsif ($parser->tests_run == 0)
	{
		$not_ok++;
		push @broken, "ran no test (exit code " . $parser->exit . ")";
	}
	elsif (!$parser->is_good_plan)
	{
		$not_ok++;
		push @broken, sprintf('planned %s tests, ran %d',
			defined $parser->tests_planned ? $parser->tests_planned : 'no', $parser->tests_run);
	}
	elsif ($parser->exit != 0 && !$not_ok)
	{
		$not_ok++;
		push @broken, 'exit code ' . $parser->exit;
	}
	close $fh;

	return { file => $file, passed => $ok, failed => $not_ok, skipped => $skip, seconds => time - $started, broken => \@broken };
}

sub show_tail
{
	my ($path) = @_;
	open(my $in, '<', $path) or return;
	my @lines = <$in>;
	close $in;
	splice @lines, 0, @lines - 60 if @lines > 60;
	print '       | ', $_ for @lines;
	return;
}
