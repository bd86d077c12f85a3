package DataProtect::RandomWire;

=head1 NAME

DataProtect::RandomWire - random statements with parameters over columns of every type

=head1 SYNOPSIS

  my $random = DataProtect::RandomWire->new(seed => 1, texts => \@texts);
  my $transaction = $random->transaction;    # [ { sql => ..., params => [ [ value, oid, binary ], ... ] }, ... ]

What C<DataProtect::RandomQueries> makes, with columns of all base types and, for
about half of the literals, parameters: of a type that a driver would state, or of none.
Each transaction is one query, a cursor and what is fetched of it, or a change and what it leaves.

=cut

use strict;
use warnings;

use parent 'DataProtect::RandomQueries';

our %columns = (
	person => { id => 'int', grp => 'int', name => 'text', amount => 'numeric', n => 'int', flag => 'bool', born => 'date', at => 'timestamp', doc => 'jsonb', code => 'uuid',
		small => 'int2', big => 'int8', f4 => 'float4', f8 => 'float8', tz => 'timestamptz', hour => 'time', span => 'interval', ip => 'inet', raw => 'bytea', note => 'varchar' },
	visit => { id => 'int', person => 'int', name => 'text', amount => 'numeric', n => 'int', born => 'date', code => 'uuid', big => 'int8', f8 => 'float8', tz => 'timestamptz',
		ip => 'inet', note => 'varchar', raw => 'bytea' });

# What drivers state for a parameter that goes with a column; 0: nothing.
my %oids = (
	text => [ 0, 0, 25, 1043, 705 ], varchar => [ 0, 0, 25, 1043 ], int => [ 0, 0, 23, 20, 21 ], int2 => [ 0, 21, 23 ], int8 => [ 0, 20, 23 ], numeric => [ 0, 0, 1700, 23 ],
	float4 => [ 0, 700 ], float8 => [ 0, 701, 1700 ], bool => [ 0, 16 ], date => [ 0, 0, 1082 ], timestamp => [ 0, 1114, 1184 ], timestamptz => [ 0, 1184 ], time => [ 0, 1083 ],
	interval => [ 0, 1186 ], inet => [ 0, 869 ], bytea => [ 0, 17 ], uuid => [ 0, 0, 2950 ], jsonb => [ 0, 3802 ]);

sub new
{
	my ($class, %opt) = @_;
	return $class->SUPER::new(columns => \%columns, changed => [ grep { !/^(?:id|grp)$/ } sort keys %{ $columns{person} } ], %opt);
}

sub value
{
	my ($self, $type) = @_;
	return $self->pick(@{ $self->{texts} }) if $type eq 'text' || $type eq 'varchar';
	return $self->pick(0, 1, -3, 7, 40, 250) if $type eq 'int' || $type eq 'int2';
	return $self->pick(0, 5, -3, 20000000007) if $type eq 'int8';
	return $self->pick(0, '1.5', '10.25', -2, 99) if $type eq 'numeric';
	return $self->pick(0, '0.5', '2.25', -3) if $type =~ /^float/;
	return $self->pick('true', 'false') if $type eq 'bool';
	return sprintf '19%02d-0%d-1%d', 60 + $self->below(40), 1 + $self->below(9), $self->below(9) if $type eq 'date';
	return sprintf '20%02d-01-02 03:04:05', $self->below(20) if $type eq 'timestamp';
	return sprintf '20%02d-01-02 03:04:05+00', $self->below(20) if $type eq 'timestamptz';
	return sprintf '0%d:30:00', $self->below(10) if $type eq 'time';
	return $self->pick('1 day', '2 hours', '1 mon 3 days') if $type eq 'interval';
	return $self->pick('10.0.0.2', '10.0.0.0/8', '::1') if $type eq 'inet';
	return $self->pick('\x', '\x00ff', '\x0102') if $type eq 'bytea';
	return sprintf '00000000-0000-4000-8000-%012d', $self->below(20) if $type eq 'uuid';
	return '{"a": ' . $self->below(5) . '}';
}

sub literal
{
	my ($self, $type) = @_;
	if ($self->{params} && $self->below(2))
	{
		my $value = $self->below(20) ? $self->value($type) : undef;
		push @{ $self->{params} }, [ $value, 0 + $self->pick(@{ $oids{$type} }), $self->below(2) ];
		my $n = '$' . @{ $self->{params} };
		return $self->below(4) ? $n : "$n\::$type";
	}
	return 'NULL' if $self->below(30) == 0;
	my $value = $self->value($type);
	return $value if $type =~ /^(?:int|int2|int8|numeric|float4|float8|bool)$/ && $self->below(2);
	return "'$value'" . ($type eq 'text' || $self->below(3) == 0 ? '' : "::$type");
}

sub comparable { my ($self) = @_; return $self->pick(qw(text text int numeric date timestamp uuid int2 int8 float8 timestamptz time interval inet bytea varchar float4)); }

sub value_type
{
	my ($self) = @_;
	return $self->pick(qw(text text int numeric bool date timestamp uuid jsonb int2 int8 float4 float8 timestamptz time interval inet bytea varchar));
}

sub more_expressions
{
	my ($self, $scope, $type, $e) = @_;
	my $c = sub { return $self->column($scope, $_[0] // $type) };
	my %of = (
		text => [
			sub { return 'host(' . $c->('inet') . ')' }, sub { return 'encode(' . $c->('bytea') . ", 'hex')" }, sub { return 'lower(' . $c->('varchar') . ')' },
			sub { return $c->('varchar') }, sub { return $self->column($scope, $self->pick(qw(int8 float8 timestamptz interval inet time int2))) . '::text' },
			sub { return 'to_char(' . $c->($self->pick(qw(timestamptz interval int8))) . ", '" . $self->pick('999', 'HH24') . "')" } ],
		varchar => [ sub { return $c->('text') . '::varchar(3)' }, sub { return $c->('varchar') . '::varchar(2)' } ],
		int => [ sub { return 'octet_length(' . $c->('bytea') . ')' }, sub { return 'masklen(' . $c->('inet') . ')' }, sub { return '(' . $c->('int2') . ' + ' . $c->('int') . ')' } ],
		int2 => [ sub { return 'abs(' . $c->() . ')' }, sub { return $c->('int') . '::int2' } ],
		int8 => [ sub { return '(' . $c->() . $self->pick(' + ', ' - ') . $c->($self->pick('int', 'int2', 'int8')) . ')' }, sub { return '(' . $c->() . ' % 7)' } ],
		numeric => [ sub { return '(' . $c->('numeric') . ' / 4)' }, sub { return $c->('int8') . '::numeric(20,2)' }, sub { return $c->('float8') . '::numeric' } ],
		float4 => [ sub { return '(' . $c->() . ' * 2)' }, sub { return $c->('float8') . '::float4' } ],
		float8 => [ sub { return 'sqrt(abs(' . $c->() . '))' }, sub { return '(' . $c->() . ' + ' . $c->($self->pick(qw(int float4 int8))) . ')' }, sub { return 'extract(epoch FROM ' . $c->('timestamptz') . ')::float8' } ],
		timestamptz => [ sub { return "date_trunc('month', " . $c->() . ')' }, sub { return '(' . $c->() . ' + ' . $c->('interval') . ')' }, sub { return $c->('timestamp') . '::timestamptz' } ],
		timestamp => [ sub { return '(' . $c->('timestamptz') . " AT TIME ZONE 'Asia/Tokyo')" }, sub { return '(' . $c->('date') . ' + ' . $c->('time') . ')' } ],
		date => [ sub { return $c->($self->pick(qw(timestamp timestamptz))) . '::date' } ],
		time => [ sub { return '(' . $c->() . " + interval '90 minutes')" }, sub { return $c->('timestamp') . '::time' } ],
		interval => [ sub { return '(' . $c->() . ' * 2)' }, sub { return '(' . $c->('timestamptz') . ' - ' . $c->('timestamptz') . ')' }, sub { return 'justify_hours(' . $c->() . ')' } ],
		inet => [ sub { return 'set_masklen(' . $c->() . ', 8)' }, sub { return '(' . $c->() . ' + 3)' } ],
		bytea => [ sub { return '(' . $c->() . ' || ' . $e->() . ')' }, sub { return 'substr(' . $c->() . ', 1, 1)' }, sub { return 'convert_to(' . $c->('text') . ", 'UTF8')" } ],
		bool => [ sub { return '(' . $c->('inet') . ' << ' . $self->literal('inet') . ')' }, sub { return '(' . $c->('int8') . ' = ' . $c->('int') . ')' },
			sub { return '(' . $c->('varchar') . ' = ' . $c->('text') . ')' }, sub { return '(' . $c->('timestamptz') . ' >= ' . $c->($self->pick('date', 'timestamp')) . ')' },
			sub { return '(' . $c->('float8') . ' < ' . $c->($self->pick(qw(int numeric int8))) . ')' } ]);
	return @{ $of{$type} // [] };
}

# What follows is a statement of its own, without parameters.
sub next_statement { my ($self) = @_; $self->{params} = undef; return; }

# A statement with those of the parameters that are in it.
sub numbered
{
	my ($sql, @params) = @_;
	my (%number, @used);
	$sql =~ s/\$(\d+)\b/'$' . ($number{$1} \/\/= push @used, $params[ $1 - 1 ])/ge;
	return { sql => $sql, params => \@used };
}

sub transaction
{
	my ($self) = @_;
	my $kind = $self->below(12);
	my @params;
	$self->{params} = \@params;
	if ($kind < 7)
	{
		my $sql = $self->query;
		$self->{params} = undef;
		return [ numbered($sql, @params) ];
	}
	if ($kind == 7)
	{
		my $sql = 'DECLARE c ' . $self->pick('', 'SCROLL ', 'BINARY ') . 'CURSOR ' . $self->pick('', 'WITH HOLD ') . 'FOR ' . $self->query =~ s/ FOR (?:UPDATE|SHARE)$//r;
		$self->{params} = undef;
		return [ numbered($sql, @params), map { numbered($_) } 'FETCH ALL FROM c', 'CLOSE c' ];
	}
	my ($statement, $after, $within) = $self->change_parts;
	$statement = "WITH ch AS ($statement) SELECT * FROM ch" if $within && $self->below(4) == 0;
	return [ numbered($statement, @params), numbered($after) ];
}

1;
