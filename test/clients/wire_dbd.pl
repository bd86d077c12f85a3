# What DBD::Pg makes of a table.  Called with host, port, user and the table's name.
use strict;
use warnings;

use DBI;

my ($host, $port, $user, $table) = @ARGV;
my $db = DBI->connect("dbi:Pg:host=$host;port=$port;dbname=postgres", $user, '', { RaiseError => 1, AutoCommit => 0, pg_enable_utf8 => 1 });
my $rows = $db->prepare("SELECT * FROM $table ORDER BY id");
$rows->execute;
print join(' ', $rows->{NAME}->[$_], $rows->{TYPE}->[$_], $rows->{pg_type}->[$_], $rows->{PRECISION}->[$_] // '', $rows->{SCALE}->[$_] // ''), "\n"
  for 0 .. $rows->{NUM_OF_FIELDS} - 1;
while (my $row = $rows->fetchrow_arrayref)
{
	print join(' | ', map { !defined $_ ? 'undef' : ref $_ ? '[' . join(',', @$_) . ']' : /[^ -~]/ ? unpack('H*', $_) : $_ } @$row), "\n";
	print 'active is ', $row->[9] ? 'true' : 'false', "\n";
}
for my $set ([ name => 'Eve' ], [ n4 => 4 ], [ active => 0 ], [ pay => '1.25' ], [ born => '2000-02-29' ])
{
	my $change = $db->prepare("UPDATE $table SET $set->[0] = ? WHERE id = 1 RETURNING $set->[0]");
	$change->execute($set->[1]);
	print "set $set->[0] ", $change->fetchrow_array // 'undef', "\n";
}
$db->rollback;
$db->disconnect;
