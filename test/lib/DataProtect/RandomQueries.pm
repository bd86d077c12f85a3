package DataProtect::RandomQueries;

=pod

=head1 NAME

DataProtect::RandomQueries - random queries over two tables

=head1 SYNOPSIS

  my $queries = DataProtect::RandomQueries->new(seed => 1, texts => \@texts);
  print $queries->query, "\n";

Queries over tables C<person> and C<visit> of the columns below, in whatever
schema comes first in search_path.  The same seed gives the same queries.  They
are well typed as far as plain tables go, change nothing, call nothing volatile,
and give the same rows whenever they are run on the same data: LIMIT only after
an ORDER BY that is total.

C<statement> gives what a client sends: such a query, alone, through a view, a
cursor, a prepared statement or a function of PL/pgSQL, or INSERT, UPDATE, DELETE and
MERGE with what they return, taken back at the end.

=cut

use strict;
use warnings;

my %columns = (
	person => { id => 'int', grp => 'int', name => 'text', amount => 'numeric', n => 'int', flag => 'bool', born => 'date', at => 'timestamp',
		doc => 'jsonb', code => 'uuid' },
	visit => { id => 'int', person => 'int', name => 'text', amount => 'numeric', n => 'int', born => 'date', code => 'uuid' });

sub new
{
	my ($class, %opt) = @_;
	return bless { state => $opt{seed} * 2654435761 % 4294967296, texts => $opt{texts} }, $class;
}

# A generator of our own, so that a seed means the same everywhere.
sub below
{
	my ($self, $n) = @_;
	my $x = $self->{state} || 88675123;
	$x ^= ($x << 13) & 0xffffffff;
	$x ^= $x >> 17;
	$x ^= ($x << 5) & 0xffffffff;
	$self->{state} = $x;
	return $x % $n;
}

sub pick { my ($self, @of) = @_; return $of[ $self->below(scalar @of) ]; }

sub literal
{
	my ($self, $type) = @_;
	return 'NULL' if $self->below(30) == 0;
	return "'" . $self->pick(@{ $self->{texts} }) . "'" if $type eq 'text';
	return $self->pick(0, 1, -3, 7, 40, 250) if $type eq 'int';
	return $self->pick(0, '1.5', '10.25', -2, 99) if $type eq 'numeric';
	return $self->pick('true', 'false') if $type eq 'bool';
	return sprintf "date '19%02d-0%d-1%d'", 60 + $self->below(40), 1 + $self->below(9), $self->below(9) if $type eq 'date';
	return sprintf "timestamp '20%02d-01-02 03:04:05'", $self->below(20) if $type eq 'timestamp';
	return sprintf "'00000000-0000-4000-8000-%012d'::uuid", $self->below(20) if $type eq 'uuid';
	return "'{\"a\": " . $self->below(5) . "}'::jsonb";
}

# A column of that type in scope, or a literal.
sub column
{
	my ($self, $scope, $type) = @_;
	my @there;
	for my $alias (sort keys %$scope)
	{
		my $of = $columns{ $scope->{$alias} };
		push @there, map { "$alias.$_" } grep { $of->{$_} eq $type } sort keys %$of;
	}
	return @there ? $self->pick(@there) : $self->literal($type);
}

sub expression
{
	my ($self, $scope, $type, $depth) = @_;
	return $self->below(4) == 0 ? $self->literal($type) : $self->column($scope, $type) if $depth <= 0;
	my $e = sub { return $self->expression($scope, $_[0] // $type, $depth - 1) };
	my $c = sub { return $self->condition($scope, $depth - 1) };
	my @of = (
		sub { return $self->column($scope, $type) }, sub { return $self->column($scope, $type) }, sub { return $self->column($scope, $type) },
		sub { return 'coalesce(' . $self->column($scope, $type) . ', ' . $e->() . ')' },
		sub { return 'CASE WHEN ' . $c->() . ' THEN ' . $e->() . ' ELSE ' . $self->column($scope, $type) . ' END' },
		sub { return 'nullif(' . $self->column($scope, $type) . ', ' . $e->() . ')' });
	push @of, sub { return 'greatest(' . $self->column($scope, $type) . ', ' . $e->() . ')' } if $type !~ /bool|jsonb/;
	push @of,
		sub { return '(' . $e->() . ' || ' . $e->() . ')' }, sub { return $self->pick('upper', 'lower', 'reverse', 'md5') . '(' . $e->() . ')' },
		sub { return 'substr(' . $e->() . ', 2, 3)' }, sub { return $self->column($scope, 'int') . '::text' },
		sub { return 'replace(' . $self->column($scope, 'text') . ", 'a', 'b')" }, sub { return $self->column($scope, 'date') . '::text' },
		sub { return 'concat(' . $self->column($scope, 'text') . ', ' . $self->column($scope, 'int') . ')' },
		sub { return $self->column($scope, 'jsonb') . " ->> 'a'" }
		if $type eq 'text';
	push @of, sub { return '(' . $self->column($scope, 'int') . $self->pick(' + ', ' - ', ' * ') . $self->pick(1, 2, 5) . ')' },
		sub { return 'length(' . $e->('text') . ')' }, sub { return 'abs(' . $self->column($scope, 'int') . ')' },
		sub { return "extract(year FROM " . $self->column($scope, 'date') . ")::int" }, sub { return '(' . $e->('date') . ' - ' . $self->column($scope, 'date') . ')' }
		if $type eq 'int';
	push @of, sub { return '(' . $e->() . $self->pick(' + ', ' - ') . $e->($self->pick('int', 'numeric')) . ')' }, sub { return 'round(' . $e->() . ', 1)' },
		sub { return '(' . $self->column($scope, 'numeric') . ' * ' . $self->column($scope, 'int') . ')' }, sub { return 'abs(' . $e->() . ')' }
		if $type eq 'numeric';
	push @of, $c if $type eq 'bool';
	push @of, sub { return '(' . $self->column($scope, 'date') . $self->pick(' + ', ' - ') . $self->below(400) . ')' } if $type eq 'date';
	push @of, sub { return 'date_trunc(' . "'month', " . $self->column($scope, 'timestamp') . ')' }, sub { return '(' . $self->column($scope, 'timestamp') . " + interval '1 day')" }
		if $type eq 'timestamp';
	push @of, sub { return '(' . $self->column($scope, 'jsonb') . ' || ' . $self->literal('jsonb') . ')' }, sub { return 'to_jsonb(' . $self->column($scope, $self->pick('int', 'text', 'numeric', 'date')) . ')' }
		if $type eq 'jsonb';
	return $self->pick(@of)->();
}

sub comparable { my ($self) = @_; return $self->pick(qw(text text int numeric date timestamp uuid)); }

sub condition
{
	my ($self, $scope, $depth) = @_;
	my $type = $self->comparable;
	my $column = $self->column($scope, $type);
	my $operator = $self->pick('=', '=', '=', '<>', '<', '<=', '>', '>=');
	my @of = (
		sub { return "$column $operator " . $self->literal($type) }, sub { return "$column = " . $self->literal($type) },
		sub { return "$column $operator " . $self->expression($scope, $type, $depth - 1) },
		sub { return $self->expression($scope, $type, $depth - 1) . " $operator $column" },
		sub { return "$column IS " . $self->pick('', 'NOT ') . 'NULL' },
		sub { return "$column BETWEEN " . $self->literal($type) . ' AND ' . $self->literal($type) },
		sub { return "$column " . $self->pick('IN', 'NOT IN') . ' (' . join(', ', map { $self->literal($type) } 0 .. $self->below(12)) . ')' },
		sub { return "$column IS DISTINCT FROM " . $self->expression($scope, $type, $depth - 1) },
		sub { return $self->column($scope, 'text') . $self->pick(' LIKE ', ' ILIKE ', ' NOT LIKE ') . "'%" . substr($self->pick(@{ $self->{texts} }), 0, 2) . "%'" },
		sub { return $self->column($scope, 'bool') });
	push @of, sub { return '(' . $self->condition($scope, $depth - 1) . $self->pick(' AND ', ' OR ') . $self->condition($scope, $depth - 1) . ')' },
		sub { return 'NOT (' . $self->condition($scope, $depth - 1) . ')' },
		sub { return "$column " . $self->pick('IN', 'NOT IN') . " (SELECT q.$1 FROM $2 q WHERE " . $self->condition({ q => $2 }, $depth - 1) . ')' if $self->other($type) =~ /^(\w+) (\w+)$/; },
		sub { return $self->pick('', 'NOT ') . "EXISTS (SELECT FROM $2 q WHERE q.$1 = $column)" if $self->other($type) =~ /^(\w+) (\w+)$/; },
		sub { return "$column = ANY (SELECT q.$1 FROM $2 q)" if $self->other($type) =~ /^(\w+) (\w+)$/; }
		if $depth > 0;
	return $self->pick(@of)->();
}

# "column table" of some column of that type
sub other
{
	my ($self, $type) = @_;
	my @there = map { my $t = $_; map { "$_ $t" } grep { $columns{$t}{$_} eq $type } sort keys %{ $columns{$t} } } sort keys %columns;
	return $self->pick(@there);
}

sub from
{
	my ($self) = @_;
	my $kind = $self->below(6);
	return ('person p', { p => 'person' }) if $kind < 2;
	return ('visit v', { v => 'visit' }) if $kind == 2;
	my $scope = { p => 'person', v => 'visit' };
	my $on = $kind == 3 ? 'v.person = p.id' : $kind == 4 ? 'v.name = p.name' : 'v.' . ($self->pick('amount', 'n', 'born', 'code') =~ /(\w+)/)[0];
	$on .= " = p.$1" if $on =~ /^v\.(\w+)$/;
	return ('person p ' . $self->pick('JOIN', 'LEFT JOIN', 'FULL JOIN') . " visit v ON $on", $scope);
}

sub plain_select
{
	my ($self, @types) = @_;
	my ($from, $scope) = $self->from;
	return 'SELECT ' . $self->pick('', '', 'DISTINCT ') . join(', ', map { $self->expression($scope, $_, 2) } @types) . " FROM $from" .
		($self->below(3) ? ' WHERE ' . $self->condition($scope, 2) : '');
}

# One query, without its semicolon.
sub query
{
	my ($self) = @_;
	my @types = map { $self->pick(qw(text text int numeric bool date timestamp uuid jsonb)) } 0 .. $self->below(3);
	my $kind = $self->below(12);
	my ($from, $scope) = $self->from;
	my $where = $self->below(3) ? ' WHERE ' . $self->condition($scope, 2) : '';
	return $self->plain_select(@types) if $kind < 4;
	if ($kind == 4)
	{
		my $by = $self->expression({ p => 'person' }, $self->comparable, 1);
		return "SELECT p.id, $by FROM person p ORDER BY $by" . $self->pick('', ' DESC', ' NULLS FIRST') . ', p.id LIMIT ' . (1 + $self->below(10));
	}
	if ($kind == 5 || $kind == 6)
	{
		my $by = $self->column($scope, $self->comparable);
		my $aggregate = $self->pick('count(' . $self->column($scope, 'text') . ')', 'sum(' . $self->expression($scope, 'numeric', 1) . ')', 'avg(' . $self->column($scope, 'int') . ')',
			'min(' . $self->column($scope, $self->comparable) . ')' =~ s/min\((\w\.code)\)/count(DISTINCT $1)/r, 'max(' . $self->column($scope, 'date') . ')',
			'count(DISTINCT ' . $self->column($scope, $self->comparable) . ')', 'bool_and(' . $self->condition($scope, 1) . ')',
			'string_agg(' . $self->column($scope, 'text') . ", ',' ORDER BY " . join(', ', map { "$_.id" } sort keys %$scope) . ')');
		return "SELECT $by, $aggregate FROM $from$where GROUP BY $by" . $self->pick('', ' HAVING count(*) > 1');
	}
	if ($kind == 7)
	{
		my @two = map { $self->comparable } 0 .. $self->below(2);
		return $self->plain_select(@two) . $self->pick(' UNION ', ' UNION ALL ', ' INTERSECT ', ' EXCEPT ') . $self->plain_select(@two);
	}
	return 'WITH w AS (' . $self->plain_select('text', 'int', 'date') . ') SELECT count(*) FROM w' if $kind == 8;
	return 'SELECT p.id, ' . $self->pick('row_number()', 'rank()', 'count(*)', 'sum(p.n)', 'lag(p.name)', 'first_value(p.born)') .
		' OVER (PARTITION BY ' . $self->column({ p => 'person' }, $self->pick('int', 'bool', 'text')) . ' ORDER BY ' . $self->column({ p => 'person' }, $self->comparable) . ', p.id) FROM person p'
		if $kind == 9;
	return 'SELECT (SELECT ' . $self->pick('max', 'min') . '(q.' . $self->pick('amount', 'n', 'born', 'name') . ') FROM visit q WHERE ' . $self->condition({ p => 'person', q => 'visit' }, 1) . '), p.id FROM person p'
		if $kind == 10;
	my $row = $self->pick('to_jsonb(p)', 'row_to_json(p)', 'jsonb_build_object(\'k\', p.born, \'n\', p.amount, \'f\', p.flag)', 'ARRAY[p.n, 3]', 'ARRAY[p.name]', 'ROW(p.name, p.n)');
	return "SELECT $row FROM person p WHERE " . $self->condition({ p => 'person' }, 2);
}

# Named columns, so that it can be a view.
sub named_select
{
	my ($self) = @_;
	my ($from, $scope) = $self->from;
	my $n = 0;
	return 'SELECT ' . join(', ', map { $self->expression($scope, $_, 2) . ' AS c' . ++$n } map { $self->pick(qw(text text int numeric bool date)) } 0 .. $self->below(3)) .
		" FROM $from" . ($self->below(3) ? ' WHERE ' . $self->condition($scope, 2) : '');
}

# One row-changing statement over person, and what it leaves.
sub change
{
	my ($self) = @_;
	my $scope = { p => 'person' };
	my @columns = grep { $self->below(2) } qw(name amount n flag born code);
	@columns = ('name') if !@columns;
	my $of = sub { return $self->expression($scope, $columns{person}{ $_[0] }, 1) };
	my $returning = ' RETURNING ' . $self->pick('p.id', 'p.id, p.name', 'p.*', 'p.id, ' . $self->expression($scope, 'text', 1));
	my $where = ' WHERE ' . $self->condition($scope, 2);
	my $list = join(', ', @columns);
	my $kind = $self->below(6);
	my $statement =
		$kind < 2 ? 'UPDATE person p SET ' . join(', ', map { "$_ = " . $of->($_) } @columns) . $where . $returning
	  : $kind == 2 ? "DELETE FROM person p$where$returning"
	  : $kind == 3 ? "INSERT INTO person AS p (id, $list) SELECT p.id + 1000, " . join(', ', map { $of->($_) } @columns) . " FROM person p$where$returning"
	  : $kind == 4 ? "INSERT INTO person AS p (id, $list) SELECT p.id, " . join(', ', map { $of->($_) } @columns) . " FROM person p$where ON CONFLICT (id) DO UPDATE SET " .
		join(', ', map { "$_ = EXCLUDED.$_" } @columns) . $returning
	  : 'MERGE INTO person p USING person q ON p.id = q.id + ' . $self->below(3) . ' WHEN MATCHED AND ' . $self->condition({ p => 'person', q => 'person' }, 1) .
		' THEN UPDATE SET ' . join(', ', map { "$_ = q.$_" } @columns) . ' WHEN MATCHED THEN ' . $self->pick('DELETE', 'DO NOTHING') .
		" WHEN NOT MATCHED THEN INSERT (id, $list) VALUES (q.id + 2000, " . join(', ', map { "q.$_" } @columns) . ')';
	return "BEGIN; $statement; SELECT p.id, $list FROM person p WHERE " . $self->condition($scope, 1) . '; ROLLBACK';
}

# What a client sends, without the last semicolon.
sub statement
{
	my ($self) = @_;
	my $kind = $self->below(12);
	return $self->query if $kind < 5;
	return 'CREATE TEMP VIEW w AS ' . $self->named_select . '; SELECT * FROM w; SELECT count(*), max(c1) FROM w; DROP VIEW w' if $kind == 5;
	return 'BEGIN; DECLARE c ' . $self->pick('', 'SCROLL ', 'NO SCROLL ') . 'CURSOR FOR ' . $self->query . '; FETCH ALL FROM c; ROLLBACK' if $kind == 6;
	if ($kind == 7)
	{
		my ($type, $from, $scope) = ($self->comparable, $self->from);
		my $q = "SELECT " . $self->expression($scope, 'text', 1) . " FROM $from WHERE " . $self->column($scope, $type) . $self->pick(' = ', ' <> ', ' < ') . '$1' .
			($self->below(2) ? ' AND ' . $self->condition($scope, 1) : '');
		my @execute = map { 'EXECUTE q(' . $self->literal($type) . ')' } 0 .. 1;
		return "PREPARE q(" . ($type eq 'int' ? 'int' : $type) . ") AS $q; " . join('; ', @execute) . '; DEALLOCATE q';
	}
	if ($kind == 8)
	{
		my $q = $self->named_select;
		return "CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE plpgsql AS \$\$ DECLARE r record; n bigint := 0; BEGIN FOR r IN $q LOOP " .
			$self->pick('n := n + 1', 'IF r.c1 IS NOT NULL THEN n := n + 1; END IF', 'n := n + length(r.c1::text)') .
			'; END LOOP; RETURN n; END $$; SELECT pg_temp.f(); DROP FUNCTION pg_temp.f()';
	}
	return $self->change;
}

1;
