#!/usr/bin/perl
# Make doc/messages.md: every message of the sources, by SQLSTATE.
#
#	pgxs/messages.pl ERRCODES_H [--check]
#
# ERRCODES_H is the server's utils/errcodes.h, which knows the number of each condition.  What a
# message names stands as "…".  With --check nothing is written; the exit code says whether the
# page is current, and each error without a condition is named (it would be XX000).
use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));

use FindBin;

my $top = "$FindBin::RealBin/..";
my ($errcodes, $check) = @ARGV;
die "usage: messages.pl ERRCODES_H [--check]\n" if !defined $errcodes;

my (%number, %condition_of);
{
	open my $in, '<', $errcodes or die "messages.pl: $errcodes: $!\n";
	while (<$in>)
	{
		next if !/^#define ERRCODE_(\w+)\s+MAKE_SQLSTATE\(([^)]+)\)/;
		my ($name, $state) = ($1, $2 =~ tr/0-9A-Z//cdr);
		$number{$name} = $state;
		$condition_of{$state} //= lc $name;
	}
}

# balanced(TEXT, POSITION, QUOTE): what stands between the parenthesis before POSITION and its end.
sub balanced
{
	my ($text, $at, $quote) = @_;
	my $depth = 1;
	pos($$text) = $at;
	while ($depth > 0 && $$text =~ /\G(?:([()])|$quote|[^()'"])/gc)
	{
		$depth += $1 eq '(' ? 1 : -1 if defined $1;
	}
	return substr $$text, $at, (pos($$text) // $at) - 1 - $at;
}

# The arguments of a call, of its text.
sub arguments
{
	my ($text, $quote) = @_;
	my ($depth, @arguments) = (0, '');
	pos($text) = 0;
	while ($text =~ /\G(?:(?<open>[(\[])|(?<close>[)\]])|(?<comma>,)|(?<rest>$quote|[^()\[\],'"]))/gc)
	{
		if (defined $+{comma} && $depth == 0) { push @arguments, ''; next; }
		$depth++ if defined $+{open};
		$depth-- if defined $+{close};
		$arguments[-1] .= $&;
	}
	return map { s/^\s+|\s+$//gr } @arguments;
}

my $c_quote = qr/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/;
my $sql_quote = qr/'(?:[^']|'')*'|"[^"]*"/;

# The texts that an argument in C may be: literals side by side are one; "? a : b" are two.
sub c_texts
{
	my ($argument) = @_;
	my @texts;
	my $open = 0;
	while ($argument =~ /\G(?:(?<literal>"(?:[^"\\]|\\.)*")|(?<format>U?INT64_FORMAT)|(?<space>\s+)|(?<other>.))/gcs)
	{
		if (defined $+{literal})
		{
			my $text = substr $+{literal}, 1, -1;
			push @texts, '' if !$open;
			$texts[-1] .= $text;
			$open = 1;
		}
		elsif (defined $+{format}) { $texts[-1] .= '%d' if $open; }
		elsif (defined $+{other}) { $open = 0; }
	}
	return map { s/\\n/ /gr =~ s/\\(.)/$1/gr =~ s/%%/\0/gr =~ s/%[-+ 0#.\d*]*(?:l|ll|z|h)?[a-zA-Z]/…/gr =~ s/\0/%/gr } @texts;
}

# The text of an argument in SQL: what is no literal stands as "…".
sub sql_text
{
	my ($argument) = @_;
	return () if $argument =~ /^NULL\b/i;
	my $text = '';
	pos($argument) = 0;
	if ($argument =~ /^(?:pg_catalog\.)?format\s*\(/)
	{
		my ($first) = arguments(balanced(\$argument, $+[0], $sql_quote), $sql_quote);
		return sql_text($first) if defined $first;
	}
	while ($argument =~ /\G(?:(?<literal>$sql_quote)|(?<space>(?:\s|\|\|)+)|(?<other>(?:[^'"|]|\|(?!\|))+))/gcs)
	{
		my $said = $+{literal} // $+{other} // next;
		if ($said =~ /^'/) { $text .= substr($said, 1, -1) =~ s/''/'/gr; }
		elsif ($text !~ /…$/) { $text .= '…'; }
	}
	return $text =~ s/%%/\0/gr =~ s/%(?:\d+\$)?[sIL]/…/gr =~ s/\0/%/gr =~ s/……+/…/gr;
}

# Messages by SQLSTATE, each with its hints; and errors that name no condition.
my (%pages, @nameless);

# note(STATES, LEVEL, MESSAGES, HINTS, PATH): of an error none of whose states is known, PATH is kept.
sub note
{
	my ($states, $level, $messages, $hints, $path) = @_;
	my @messages = grep { /[a-z]/ } @$messages or return;
	push @nameless, "$path: $messages[0]" if !@$states && $level eq 'ERROR';
	for my $state (@$states ? @$states : $level eq 'ERROR' ? 'XX000' : 'none')
	{
		for my $message (@messages)
		{
			my $hints_of = $pages{$state}{$message} //= {};
			$hints_of->{$_} = 1 for grep { /[a-z]/ } @$hints;
		}
	}
}

# The text of a file without its comments.
sub code_of
{
	my ($path, $quote, $comment) = @_;
	open my $in, '<', $path or die "messages.pl: $path: $!\n";
	my $text = do { local $/; <$in> };
	$text =~ s{($quote)|$comment}{ defined $1 ? $1 : ' ' }ges;
	return $text;
}

for my $path (sort(glob("$top/src/*.c"), glob("$top/src/*/*.c"), glob("$top/src/*/*.h")))
{
	my $text = code_of($path, $c_quote, qr{/\*.*?\*/}s);
	while ($text =~ /\bereport\s*\(/g)
	{
		my $resume = pos $text;
		my $call = balanced(\$text, $resume, $c_quote);
		my ($level) = arguments($call, $c_quote);
		my (%texts, @states);
		while ($call =~ /\berr(msg|hint|code|code_for_file_access)(?:_internal|_plural)?\s*\(/g)
		{
			my ($kind, $at) = ($1, pos $call);
			my ($first) = arguments(balanced(\$call, $at, $c_quote), $c_quote);
			if ($kind eq 'code_for_file_access') { push @states, 'file'; }
			elsif ($kind ne 'code') { push @{ $texts{$kind} }, c_texts($first // ''); }
			else
			{
				my @named = map { $number{$_} // () } $first =~ /ERRCODE_(\w+)/g;
				push @states, @named ? @named : 'several';
			}
			pos($call) = $at;
		}
		note(\@states, $level, $texts{msg} // [], $texts{hint} // [], $path =~ s{^\Q$top\E/}{}r);
		pos($text) = $resume;
	}
}
for my $path (sort glob("$top/src/*/*.sql"))
{
	my $text = code_of($path, $sql_quote, qr{--[^\n]*});
	while ($text =~ /\bPERFORM\s+dataprotect\._raise\s*\(/g)
	{
		my $resume = pos $text;
		my ($condition, $message, undef, $hint) = arguments(balanced(\$text, $resume, $sql_quote), $sql_quote);
		my @states = map { $number{ uc $_ } // () } $condition =~ /'(\w+)'/g;
		note(@states ? \@states : ['several'], 'ERROR', [ sql_text($message) ], [ sql_text($hint // 'NULL') ],
			$path =~ s{^\Q$top\E/}{}r);
		pos($text) = $resume;
	}
}

my %title = (
	file => 'SQLSTATE of the operating system\'s error',
	several => 'SQLSTATE of what failed',
	none => 'In the server log only');

sub cell { return $_[0] =~ s/\s+/ /gr =~ s/^ | $//gr =~ s/([|<])/\\$1/gr; }

my $page = "# Messages, by SQLSTATE\n\nMade from the sources by `make reference`. Names and numbers stand as `…`. The messages that are met most "
  . "often are explained in [troubleshooting](troubleshooting.md).\n";
for my $state (sort { ($a =~ /^[a-z]/) <=> ($b =~ /^[a-z]/) || $a cmp $b } keys %pages)
{
	$page .= "\n## " . ($title{$state} // "$state `$condition_of{$state}`") . "\n\n| message | what to do |\n|---|---|\n";
	$page .= '| ' . cell($_) . ' | ' . cell(join ' Or: ', sort keys %{ $pages{$state}{$_} }) . " |\n" for sort keys %{ $pages{$state} };
}
my $target = "$top/doc/messages.md";
my $known = '';
if (open my $in, '<', $target) { $known = do { local $/; <$in> }; }
print "error without a condition: $_\n" for @nameless;
if ($check)
{
	print "doc/messages.md is not what the sources say: make reference\n" if $known ne $page;
	exit($known eq $page && !@nameless ? 0 : 1);
}
open my $out, '>', $target or die "messages.pl: $target: $!\n";
print $out $page;
close $out or die "messages.pl: $target: $!\n";
