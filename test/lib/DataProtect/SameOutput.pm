package DataProtect::SameOutput;

=head1 NAME

DataProtect::SameOutput - programs that must say the same of a plain and of a protected table

=head1 SYNOPSIS

	use DataProtect::SameOutput;

	load_wire_tables($node);
	same_output('psycopg2', 'python3', 'program.py', @arguments);

The program is called with the table's name as its last argument.

=cut

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(dirname);
use File::Spec;
use IPC::Run ();

use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(load_wire_tables same_output);

my $tables = File::Spec->rel2abs(dirname(__FILE__) . '/../../clients/wire.sql');

=head1 FUNCTIONS

=head2 load_wire_tables($node)

Tables plain and prot, and their views, in database postgres.

=cut

sub load_wire_tables
{
	my ($node) = @_;
	$node->safe_psql('postgres', slurp_file($tables));
	return;
}

# What a program says of a table, as if it were called "t"; undef where it fails.
sub output_for
{
	my ($table, @command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ @command, $table ], '<', \undef, '>', \$out, '2>', \$err) or do
	{
		diag("@command: $err");
		return;
	};
	$out =~ s/\b(?:v_)?$table(_pkey)?\b/t/g;
	return $out;
}

=head2 same_output($what, @command)

Two tests: the program says something of the plain table, and the same of the protected one.

=cut

sub same_output
{
	my ($what, @command) = @_;
	my $plain = output_for('plain', @command);
	my $protected = output_for('prot', @command) // '';
	note("$what: $1") if ($plain // '') =~ /^(version .*)/m;
	cmp_ok(length($plain // ''), '>', 200, "$what says something of plain columns");
	ok(defined $plain && $plain eq $protected, "$what says the same of protected ones") or do
	{
		my @plain = split /\n/, $plain // '';
		my @protected = split /\n/, $protected;
		my @differ = grep { ($plain[$_] // '') ne ($protected[$_] // '') } 0 .. ($#plain > $#protected ? $#plain : $#protected);
		diag(map { "plain: " . ($plain[$_] // '') . "\nprot:  " . ($protected[$_] // '') . "\n" } @differ[ 0 .. ($#differ > 9 ? 9 : $#differ) ]);
	};
	return;
}

1;
