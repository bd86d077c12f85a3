#!/usr/bin/perl
#
# The script that takes the objects of an earlier release to those of this tree.
#
#	pgxs/upgrade.pl script DIR FROM TO INSTALL.sql	prints dataprotect--FROM--TO.sql
#	pgxs/upgrade.pl freeze DIR VERSION INSTALL.sql	keeps a release's install script
#
# DIR (src/upgrade) holds dataprotect--VERSION.sql.gz, the install script of each
# release as it went out, and A--B.sql, what a person wrote for the step from one
# release to the next.  The rest is worked out at each build from the difference of
# the two install scripts: code (functions, procedures, views), comments, privileges
# whatever is new, and columns that a table gets which may be NULL or have a default.
# What else holds data or carries other objects (tables, types, operators, rows) is
# changed by hand; a difference of that kind which no A--B.sql names is an error here,
# and so in the build and in lint.
#
# A--B.sql is SQL, and lines of its own:
#	-- @covers STATEMENT	begins like a statement of the old or new install script
#						 	that changed; what stands here does what it takes
#	-- @again KIND NAME		drop this function or view first and make it again:
#							something below it changes its form
#	-- @after				what follows runs after the new code is there
#
# What the whole does is tested: test/tap/083_upgrade.pl and pgxs/try_upgrade.sh
# compare an updated database with a fresh one, object by object.
use strict;
use warnings;

use IO::Compress::Gzip qw($GzipError);
use IO::Uncompress::Gunzip qw($GunzipError);

my $usage = "usage: upgrade.pl script DIR FROM TO INSTALL.sql | upgrade.pl freeze DIR VERSION INSTALL.sql\n";
my $action = shift @ARGV || '';

if ($action eq 'freeze' && @ARGV == 3)
{
	my ($dir, $version, $install) = @ARGV;
	my $text = slurp($install);
	my $frozen = "$dir/dataprotect--$version.sql.gz";
	die "upgrade.pl: \"$frozen\" is there already: a release does not change\n" if -e $frozen;
	IO::Compress::Gzip::gzip(\$text => $frozen, -Level => 9, Minimal => 1) or die "upgrade.pl: $GzipError\n";
	print "$frozen\n";
}
elsif ($action eq 'script' && @ARGV == 4)
{
	print script(@ARGV);
}
else
{
	die $usage;
}

sub slurp
{
	my ($path) = @_;
	open(my $fh, '<', $path) or die "upgrade.pl: could not read \"$path\": $!\n";
	local $/;
	return scalar <$fh>;
}

#
# Reading an install script
#

# Statements in order, without the comments before them and the semicolon.
sub statements
{
	my ($text) = @_;
	my @found;
	$text =~ s/^\\[^\n]*\n//mg;
	my $now = '';
	while ($text =~ /\G(?:
			(--[^\n]*\n?|\/\*.*?\*\/) | ('(?:[^']|'')*') | ("[^"]*") | (\$(\w*)\$.*?\$\g{-1}\$) | (;) | (.)
		)/gsx)
	{
		my ($piece, $comment, $end) = ($&, defined $1, defined $6);
		if ($comment) { $now .= $piece if $now =~ /\S/; }
		elsif ($end)
		{
			$now =~ s/^\s+|\s+$//g;
			push @found, $now if $now ne '';
			$now = '';
		}
		else { $now .= $piece; }
	}
	die "upgrade.pl: an install script ends within a statement\n" if $now =~ /\S/;
	return @found;
}

# Parts of a list that are separated by commas outside of brackets and quotes.
sub split_list
{
	my ($list) = @_;
	my ($depth, @parts) = (0, '');
	while ($list =~ /\G('(?:[^']|'')*'|.)/gs)
	{
		my $piece = $1;
		$depth++ if $piece =~ /^[(\[]$/;
		$depth-- if $piece =~ /^[)\]]$/;
		if ($piece eq ',' && $depth == 0) { push @parts, ''; }
		else { $parts[-1] .= $piece; }
	}
	return grep { /\S/ } map { s/^\s+|\s+$//gr } @parts;
}

# What a routine is called by: its name and the types of what is passed to it.
sub signature
{
	my ($name, $arguments) = @_;
	my @types;
	for my $argument (split_list($arguments))
	{
		$argument =~ s/--[^\n]*//g;
		$argument =~ s/\s+/ /g;
		$argument =~ s/\s*(?:\bDEFAULT\b|=).*//s;
		next if $argument =~ s/^OUT //i;
		$argument =~ s/^(?:IN|INOUT|VARIADIC) //i;
		my ($first, $rest) = split ' ', $argument, 2;
		$argument = $rest if defined $rest && $argument !~ /^(?:double precision|timestamp with|character varying)/;
		push @types, $argument =~ s/^\s+|\s+$//gr;
	}
	return "$name(" . join(', ', @types) . ')';
}

# Text within the bracket that a string begins with.
sub bracketed
{
	my ($text) = @_;
	my $depth = 0;
	while ($text =~ /\G('(?:[^']|'')*'|--[^\n]*|.)/gs)
	{
		$depth++ if $1 eq '(';
		$depth-- if $1 eq ')';
		return substr($text, 1, $-[0] - 1) if $depth == 0;
	}
	die "upgrade.pl: a bracket is not closed: " . substr($text, 0, 60) . "\n";
}

# A statement as { text, kind, key, form }: statements with one key are versions of
# one thing; a routine or view of another form cannot be replaced.
sub understood
{
	my ($text) = @_;
	my %s = (text => $text, kind => 'other', key => $text, form => '');
	if ($text =~ /^CREATE (FUNCTION|PROCEDURE) (\S+?)\s*(?=\()/)
	{
		my ($kind, $name, $arguments) = ($1, $2, bracketed(substr($text, $+[0])));
		my ($returns) = substr($text, $+[0] + length($arguments) + 2) =~ /^\s*(.*?)\s*\bLANGUAGE\b/s;
		%s = (%s, kind => $kind, name => signature($name, $arguments), form => "$arguments $returns" =~ s/\s+/ /gr);
	}
	elsif ($text =~ /^CREATE TYPE (\S+)$/) { %s = (%s, kind => 'SHELL TYPE', name => $1); }
	elsif ($text =~ /^CREATE (VIEW|TABLE|TYPE|SEQUENCE|SCHEMA) (\S+)/) { %s = (%s, kind => $1, name => $2); }
	elsif ($text =~ /^CREATE (?:UNIQUE )?(INDEX) (\S+) ON/) { %s = (%s, kind => $1, name => "dataprotect.$2"); }
	elsif ($text =~ /^CREATE (TRIGGER) (\S+) .*?\bON (\S+)/s) { %s = (%s, kind => $1, name => "$2 ON $3"); }
	elsif ($text =~ /^(COMMENT ON .*?) IS\s/s) { %s = (%s, kind => 'COMMENT', name => $1 =~ s/\s+/ /gr); }
	elsif ($text =~ /^SELECT pg_catalog\.pg_extension_config_dump\(('[^']+')/) { %s = (%s, kind => 'DUMP', name => $1); }
	elsif ($text =~ /^ALTER TABLE (\S+) ENABLE ALWAYS TRIGGER (\S+)/) { %s = (%s, kind => 'ENABLE', name => "$2 ON $1"); }
	elsif ($text =~ /dataprotect\._(?:set_privileges|pin_routines|seal_table|keep_no_statistics|hold_restored_table|count_restored)\(/ && $text =~ /^SELECT/) { $s{kind} = 'tail'; }
	elsif ($text =~ /^DO .*dataprotect is installed in this database/s) { $s{kind} = 'tail'; }
	$s{key} = "$s{kind} $s{name}" if defined $s{name};
	$s{key} =~ s/\s+/ /g;
	return \%s;
}

#
# The difference
#

# Earlier first.
sub by_version
{
	my ($x, $y) = map { [ split /\./ ] } @_;
	for my $i (0 .. 2)
	{
		return $x->[$i] <=> $y->[$i] if $x->[$i] != $y->[$i];
	}
	return 0;
}

# What was written by hand for the steps from one version to another.
sub by_hand
{
	my ($dir, $from, $to) = @_;
	my %hand = (before => '', after => '', covers => [], again => {});
	my @steps = grep { by_version($_->[0], $from) >= 0 && by_version($_->[1], $to) <= 0 }
	  map { m{/([\d.]+)--([\d.]+)\.sql$} ? [ $1, $2, $_ ] : () } glob("$dir/*--*.sql");
	for my $step (sort { by_version($a->[0], $b->[0]) } @steps)
	{
		my $part = 'before';
		for my $line (split /^/, slurp($step->[2]))
		{
			if ($line =~ /^-- \@after\s*$/) { $part = 'after'; }
			elsif ($line =~ /^-- \@covers (.*\S)/) { push @{ $hand{covers} }, $1; }
			elsif ($line =~ /^-- \@again (.*\S)/) { $hand{again}{$1} = 1; }
			else { $hand{$part} .= $line; }
		}
	}
	return \%hand;
}

# DROP of what a statement made.
sub dropped
{
	my ($s) = @_;
	my $kind = $s->{kind};
	return "DROP $kind $s->{name};\n" if $kind =~ /^(?:FUNCTION|PROCEDURE|VIEW|INDEX|TRIGGER)$/;
	return;
}

# A table that is the old one with more columns, as ALTER TABLE; undef where it is not, or
# rows that are there need a value of somebody's choice.
sub with_more_columns
{
	my ($s, $o) = @_;
	my (@items, %had, @added);
	for my $text ($o->{text}, $s->{text})
	{
		my $bare = $text =~ s/('(?:[^']|'')*')|--[^\n]*/$1 \/\/ ''/gre =~ s/\s+/ /gr;
		return if $bare !~ /^(CREATE TABLE \S+ )(?=\()/;
		my ($head, $body) = ($1, bracketed(substr($bare, $+[0])));
		push @items, [ $head, substr($bare, $+[0] + length($body) + 2), split_list($body) ];
	}
	my ($old, $new) = @items;
	return if $old->[0] ne $new->[0] || $old->[1] ne $new->[1];
	my @old = @{$old}[ 2 .. $#$old ];
	$had{$_}++ for @old;
	for my $item (@{$new}[ 2 .. $#$new ])
	{
		if ($had{$item}) { $had{$item}--; next; }
		return if $item !~ /^(?!CONSTRAINT |PRIMARY |UNIQUE |FOREIGN |CHECK |EXCLUDE |LIKE )\w+ / || ($item =~ /NOT NULL|PRIMARY KEY|GENERATED/ && $item !~ /\bDEFAULT\b/);
		push @added, "ALTER TABLE $s->{name} ADD COLUMN $item;\n";
	}
	return if !@added || grep { $_ } values %had;
	return join '', @added;
}

# How the new text of something comes to be where the old one is, and undef where that
# takes a person.
sub replaced
{
	my ($s, $o) = @_;
	my ($kind, $text) = ($s->{kind}, $s->{text});
	return "$text;\n" if $kind eq 'COMMENT' || $kind eq 'DUMP' || $kind eq 'ENABLE';
	return $text =~ s/^CREATE /CREATE OR REPLACE /r . ";\n" if $kind eq 'FUNCTION' || $kind eq 'PROCEDURE';
	return "DROP INDEX $s->{name};\n$text;\n" if $kind eq 'INDEX';
	return "DROP TRIGGER $s->{name};\n$text;\n" if $kind eq 'TRIGGER';
	return with_more_columns($s, $o) if $kind eq 'TABLE';
	# others' views may stand upon it: only where its columns are other ones, it goes first
	return "DO \$replace\$\nBEGIN\n\tEXECUTE \$view\$" . $text =~ s/^CREATE /CREATE OR REPLACE /r . "\$view\$;\n"
	  . "EXCEPTION WHEN invalid_table_definition THEN\n\tDROP VIEW $s->{name};\n\tEXECUTE \$view\$$text\$view\$;\nEND \$replace\$;\n"
	  if $kind eq 'VIEW';
	return;
}

sub script
{
	my ($dir, $from, $to, $install) = @_;
	my $frozen = "$dir/dataprotect--$from.sql.gz";
	my $old_text;
	IO::Uncompress::Gunzip::gunzip($frozen => \$old_text) or die "upgrade.pl: could not read \"$frozen\": $GunzipError\n";
	my @old = map { understood($_) } statements($old_text);
	my @new = map { understood($_) } statements(slurp($install));
	my %old = map { ($_->{key} => $_) } @old;
	my %new = map { ($_->{key} => $_) } @new;
	my $hand = by_hand($dir, $from, $to);
	my (@drops, @makes, @open, %again, %used);

	my $is_covered = sub {
		my ($s) = @_;
		my @by = grep { index($s->{text} =~ s/\s+/ /gr, $_) == 0 } @{ $hand->{covers} };
		$used{$_} = 1 for @by;
		return scalar @by;
	};

	# what goes, the last that was made first
	for my $s (reverse @old)
	{
		my $n = $new{ $s->{key} };
		my $name = defined $s->{name} ? "$s->{kind} $s->{name}" : '';
		next if $s->{kind} =~ /^(?:tail|COMMENT|DUMP|ENABLE)$/;
		if ($n && ($n->{form} ne $s->{form} || $hand->{again}{$name}))
		{
			$again{ $s->{key} } = 1;
			$used{$name} = 1;
			push @drops, dropped($s);
		}
		next if $n || $is_covered->($s);
		my $drop = dropped($s);
		if (defined $drop) { push @drops, $drop; }
		else { push @open, "gone: $s->{text}"; }
	}

	# what comes or changes, in the order of the installation; a comment goes with what is
	# dropped, as a view may be that changes
	my @anew = map { $_->{key} =~ /^\w+ ([^(]*)/ ? $1 : () } grep { $again{ $_->{key} } } @new;
	push @anew, map { $_->{name} } grep { $_->{kind} eq 'VIEW' && $old{ $_->{key} } && $old{ $_->{key} }{text} ne $_->{text} } @new;
	for my $s (@new)
	{
		my $o = $old{ $s->{key} };
		next if $s->{kind} eq 'tail';
		my $about = $s->{kind} eq 'COMMENT' && $s->{name} =~ /^COMMENT ON (.*)/ ? $1 : '';
		my $lost = grep { $about =~ /^\w+ \Q$_\E(?:[.(]|$)/ } @anew;
		next if $o && $o->{text} eq $s->{text} && !$again{ $s->{key} } && !$lost;
		next if $is_covered->($s);
		if (!$o && $s->{kind} eq 'other') { push @open, "new: $s->{text}"; next; }
		my $make = !$o || $again{ $s->{key} } ? "$s->{text};\n" : replaced($s, $o);
		if (defined $make) { push @makes, $make; }
		else { push @open, "changed: $s->{text}"; }
	}

	push @open, map { "named in A--B.sql and not changed: $_" } grep { !$used{$_} } @{ $hand->{covers} }, sort keys %{ $hand->{again} };
	die map { "upgrade.pl: $from to $to needs a line \@covers in $dir (see the head of pgxs/upgrade.pl): " . substr(s/\s+/ /gr, 0, 120) . "\n" } @open if @open;

	return join "\n", "\\echo Use \"ALTER EXTENSION dataprotect UPDATE\" to load this file. \\quit\n", $hand->{before}, @drops, @makes, $hand->{after}, <<'SQL';
-- What concerns all objects, as at the end of an installation.
SELECT dataprotect._seal_table(t.tbl, t.rooted) FROM dataprotect._sealed_tables() t
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
                      WHERE c.relnamespace = 'dataprotect'::pg_catalog.regnamespace AND c.relname = t.tbl AND g.tgname = 'seal_row');
SELECT dataprotect._keep_no_statistics(c.oid)
    FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'dataprotect'
        JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
    WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'p');
SELECT dataprotect._hold_restored_table(t.tbl) FROM dataprotect._restored_tables() t
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger g WHERE g.tgrelid = t.rel AND g.tgname = 'aa_hold_restored');
SELECT dataprotect._count_restored();
SELECT dataprotect._set_privileges();
SELECT dataprotect._pin_routines();
SQL
}
