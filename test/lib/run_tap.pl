#!/usr/bin/perl
#
# Run TAP test files one after the other and count every single test.
#
#	run_tap.pl LOGDIR FILE...
#
# A file that dies, plans more tests than it runs, or runs none without saying
# why counts as one failure more.  The last line is "N passed, N failed, N
# skipped"; exit code 0 only where nothing failed and something ran.
use strict;
use warnings;

use File::Basename qw(basename);
use File::Path qw(make_path);
use TAP::Parser;
use Time::HiRes qw(time);

my ($logdir, @files) = @ARGV;
die "usage: run_tap.pl LOGDIR FILE...\n" if !@files;
make_path($logdir);

my ($passed, $failed, $skipped) = (0, 0, 0);

for my $file (@files)
{
	my $name = basename($file, '.pl');
	my $log = "$logdir/$name.log";
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

	printf "%-6s %s (%d passed, %d failed, %d skipped, %.1f s)\n",
	  $not_ok ? 'FAILED' : $ok ? 'ok' : 'skip', $file, $ok, $not_ok, $skip, time - $started;
	print "       $_\n" for @broken;
	show_tail($log) if $not_ok;
	$passed += $ok;
	$failed += $not_ok;
	$skipped += $skip;
}

print "$passed passed, $failed failed, $skipped skipped\n";
exit($failed || !($passed + $skipped) ? 1 : 0);

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
