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
cursor (also one that is held), a prepared statement, COPY, DO, a table made of it or a
function of SQL or PL/pgSQL, or INSERT, UPDATE, DELETE and MERGE with what they return,
also in WITH and after a savepoint, taken back at the end; some under settings of the
planner that make other plans.  With C<views>, tables are now and then read through
views C<person_view> and C<visit_view>, and with C<call> texts are handed to that
function, which gives back what it is given.  With C<sql_json> there are calls of
SQL/JSON (PostgreSQL 17).

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
	return bless { columns => \%columns, changed => [qw(name amount n flag born code)], %opt, state => $opt{seed} * 2654435761 % 4294967296 }, $class;
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
		my $of = $self->{columns}{ $scope->{$alias} };
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
	push @of, sub { return "$self->{call}(" . $e->() . ')' }, sub { return "$self->{call}(" . $self->column($scope, 'text') . ')' } if $type eq 'text' && $self->{call};
	push @of, sub { return 'JSON_VALUE(' . $self->column($scope, 'jsonb') . ", '" . '$.a' . "')" },
		sub { return 'JSON_QUERY(' . $self->column($scope, 'jsonb') . ", '" . '$.*' . "' WITH WRAPPER)::text" },
		sub { return 'JSON_SERIALIZE(JSON_OBJECT(' . "'k' : " . $self->column($scope, $self->pick('text', 'int', 'date')) . '))' }
		if $type eq 'text' && $self->{sql_json};
	push @of,
		sub { return 'left(' . $e->() . ', ' . $self->pick(1, 3, -2) . ')' }, sub { return 'split_part(' . $self->column($scope, 'text') . ", ' ', 1)" },
		sub { return 'to_char(' . $self->column($scope, $self->pick('date', 'timestamp')) . ", 'YYYY-MM')" },
		sub { return "format('%s-%s', " . $self->column($scope, 'text') . ', ' . $self->column($scope, 'int') . ')' },
		sub { return 'translate(' . $e->() . ", 'ae', 'xy')" }, sub { return "overlay(" . $self->column($scope, 'text') . " PLACING '_' FROM 2)" },
		sub { return 'CASE ' . $self->column($scope, 'text') . ' WHEN ' . $self->literal('text') . ' THEN ' . $e->() . " ELSE 'other' END" },
		sub { return 'regexp_replace(' . $self->column($scope, 'text') . ", '[aeiou]', '.', 'g')" }
		if $type eq 'text';
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
	push @of, $self->more_expressions($scope, $type, $e);
	return $self->pick(@of)->();
}

# For those who know more types.
sub more_expressions { return; }
sub value_type { my ($self) = @_; return $self->pick(qw(text text int numeric bool date timestamp uuid jsonb)); }
sub next_statement { return; }

# A literal that has its type in an array as well.
sub typed { my ($self, $type) = @_; return 'CAST(' . $self->literal($type) . " AS $type)"; }

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
		sub { return $self->column($scope, 'bool') },
		sub { return "$column IS NOT DISTINCT FROM " . $self->literal($type) },
		sub { return "$column = ANY (ARRAY[" . join(', ', map { $self->typed($type) } 0 .. $self->below(4)) . '])' },
		sub { return "$column BETWEEN SYMMETRIC " . $self->literal($type) . ' AND ' . $self->literal($type) },
		sub { return $self->column($scope, 'text') . $self->pick(' ~ ', ' !~ ', ' ~* ', ' SIMILAR TO ') . "'" . $self->pick('a%|b%', '(al|be).*', 'z') . "'" },
		sub { return $self->column($scope, 'jsonb') . $self->pick(' @> ', ' <> ', ' = ') . $self->literal('jsonb') },
		sub { return $self->column($scope, 'jsonb') . " ? 'a'" },
		sub { return 'jsonb_path_exists(' . $self->column($scope, 'jsonb') . ", '" . '$.a ? (@ > 2)' . "')" },
		sub { return '(' . $self->column($scope, 'text') . ', ' . $self->column($scope, 'int') . ') = (' . $self->literal('text') . ', ' . $self->literal('int') . ')' },
		sub { return '(' . $self->column($scope, 'date') . ', ' . $self->column($scope, 'int') . ') > (' . $self->literal('date') . ', ' . $self->literal('int') . ')' });
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
	my $of = $self->{columns};
	my @there = map { my $t = $_; map { "$_ $t" } grep { $of->{$t}{$_} eq $type } sort keys %{ $of->{$t} } } sort keys %$of;
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
	return ('person p JOIN visit v USING (' . $self->pick('name', 'n', 'born', 'code', 'amount') . ')', $scope) if $self->below(6) == 0;
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
	my @types = map { $self->value_type } 0 .. $self->below(3);
	my $kind = $self->below(20);
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
	return $self->rarer_query($kind) if $kind >= 12;
	my $row = $self->pick('to_jsonb(p)', 'row_to_json(p)', 'jsonb_build_object(\'k\', p.born, \'n\', p.amount, \'f\', p.flag)', 'ARRAY[p.n, 3]', 'ARRAY[p.name]', 'ROW(p.name, p.n)');
	return "SELECT $row FROM person p WHERE " . $self->condition({ p => 'person' }, 2);
}

sub rarer_query
{
	my ($self, $kind) = @_;
	my ($from, $scope) = $self->from;
	my $where = $self->below(3) ? ' WHERE ' . $self->condition($scope, 2) : '';
	my $order = join ', ', map { "$_.id" } sort keys %$scope;
	my @by = map { $self->column($scope, $_) } $self->comparable, $self->pick('int', 'text', 'date');
	if ($kind == 12)
	{
		my @there = grep { /^\w\.\w+$/ } @by;
		push @there, $self->column($scope, 'int') while @there < 2;
		my ($a, $b) = @there;
		return "SELECT $a, $b, grouping($a), count(*), max(" . $self->column($scope, 'date') . ") FROM $from$where GROUP BY " .
			$self->pick("GROUPING SETS (($a), ($b), ())", "ROLLUP ($a, $b)", "CUBE ($a, $b)", "GROUPING SETS (($a, $b), ($b))");
	}
	if ($kind == 13)
	{
		my $both = { p => 'person', v => 'visit' };
		return 'SELECT p.id, l.x FROM person p' . $self->pick(', LATERAL (', ' CROSS JOIN LATERAL (') . 'SELECT ' . $self->expression($both, $self->pick('text', 'int', 'date'), 2) .
			' AS x FROM visit v WHERE ' . $self->condition($both, 1) . $self->pick('', ' ORDER BY v.id LIMIT 2') . ') l';
	}
	if ($kind == 14)
	{
		my $type = $self->pick('text', 'int', 'date');
		my ($seed, $step) = ($self->column({ p => 'person' }, $type), $self->column({ v => 'visit' }, $type));
		return "WITH RECURSIVE r (id, x, k) AS (SELECT p.id, $seed, 0 FROM person p WHERE " . $self->condition({ p => 'person' }, 1) .
			$self->pick(' UNION ALL ', ' UNION ') . "SELECT v.id, $step, r.k + 1 FROM r JOIN visit v ON v.person = r.id WHERE r.k < 2) " .
			$self->pick('SELECT r.id, r.x, r.k FROM r', 'SELECT r.k, count(r.x) FROM r GROUP BY r.k', 'SELECT r.x, count(*) FROM r GROUP BY r.x');
	}
	return "SELECT DISTINCT ON ($by[0]) $by[0], $order FROM $from$where ORDER BY $by[0], $order" if $kind == 15;
	if ($kind == 16)
	{
		my $aggregate = $self->pick('percentile_disc(0.5) WITHIN GROUP (ORDER BY ' . $self->column($scope, $self->pick('int', 'date', 'numeric')) . ')',
			'mode() WITHIN GROUP (ORDER BY ' . $self->column($scope, 'text') . ')', 'count(*) FILTER (WHERE ' . $self->condition($scope, 1) . ')',
			"array_agg($by[1] ORDER BY $order)", 'jsonb_agg(' . $self->column($scope, $self->pick('text', 'date', 'bool')) . " ORDER BY $order)",
			'max(' . $self->column($scope, 'text') . ') FILTER (WHERE ' . $self->condition($scope, 1) . ')');
		return "SELECT $aggregate FROM $from$where";
	}
	if ($kind == 17)
	{
		my $type = $self->comparable;
		return 'SELECT x.t, p.id FROM (VALUES ' . join(', ', map { '(' . $self->typed($type) . ')' } 0 .. 2) . ') x (t) ' . $self->pick('JOIN', 'LEFT JOIN') .
			' person p ON ' . $self->column({ p => 'person' }, $type) . ' = x.t';
	}
	return 'SELECT p.id, ' . $self->column({ p => 'person' }, $self->pick('text', 'int', 'date')) . ' FROM person p' . $self->pick(' WHERE ' . $self->condition({ p => 'person' }, 1), '') .
		' ORDER BY p.id' . $self->pick(' FOR UPDATE', ' FOR SHARE', ' LIMIT 5 FOR UPDATE', ' OFFSET 3 FETCH FIRST 4 ROWS ONLY')
		if $kind == 18;
	return 'SELECT p.id, ' . $self->pick('sum(p.amount)', 'max(p.born)', 'last_value(p.name)', 'dense_rank()', 'ntile(3)', 'count(p.n)') . ' OVER w FROM person p WINDOW w AS (' .
		$self->pick('', 'PARTITION BY p.grp ', 'PARTITION BY p.name ', 'PARTITION BY p.flag ') . 'ORDER BY ' . $self->column({ p => 'person' }, $self->comparable) .
		', p.id ' . $self->pick('', 'ROWS BETWEEN 2 PRECEDING AND CURRENT ROW') . ')';
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

# One row-changing statement over person, a query of what it leaves, and whether WITH takes it.
sub change_parts
{
	my ($self) = @_;
	my $scope = { p => 'person' };
	my @columns = grep { $self->below(2) } @{ $self->{changed} };
	@columns = ('name') if !@columns;
	my $of = sub { return $self->expression($scope, $self->{columns}{person}{ $_[0] }, 1) };
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
	$self->next_statement;
	my $after = "SELECT p.id, $list FROM person p WHERE " . $self->condition($scope, 1);
	return ($statement, $after, $kind < 4);
}

sub change
{
	my ($self) = @_;
	my ($statement, $after, $within) = $self->change_parts;
	return "BEGIN; WITH ch AS ($statement) SELECT * FROM ch; $after; ROLLBACK" if $within && $self->below(4) == 0;
	return "BEGIN; SAVEPOINT s; $statement; ROLLBACK TO s; $after; ROLLBACK" if $self->below(8) == 0;
	return "BEGIN; $statement; $after; ROLLBACK";
}

# What a client sends, without the last semicolon.
sub statement
{
	my ($self) = @_;
	my $statement = $self->of_some_kind;
	$statement =~ s/\b(FROM|JOIN) (person|visit) ([pqv])\b/"$1 $2" . ($self->below(3) ? '' : '_view') . " $3"/ge
		if $self->{views} && $statement !~ /FOR UPDATE|FOR SHARE|\b(?:INSERT|UPDATE|DELETE|MERGE)\b/;
	return $statement if $self->below(4);
	my $setting = $self->pick('enable_hashjoin', 'enable_nestloop', 'enable_mergejoin', 'enable_seqscan', 'enable_hashagg', 'enable_sort', 'enable_memoize', 'enable_material');
	return "SET $setting = off; $statement; RESET $setting";
}

sub of_some_kind
{
	my ($self) = @_;
	my $kind = $self->below(20);
	return $self->rarer_statement($kind) if $kind >= 12;
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

sub rarer_statement
{
	my ($self, $kind) = @_;
	return $self->query if $kind < 14;
	return $self->change if $kind == 14;
	return 'COPY (' . $self->query . ') TO STDOUT' if $kind == 15;
	return 'BEGIN; DECLARE c CURSOR WITH HOLD FOR ' . $self->query =~ s/ FOR (?:UPDATE|SHARE)$//r . '; COMMIT; FETCH ALL FROM c; CLOSE c' if $kind == 16;
	return 'CREATE TEMP TABLE seen (x text); DO $do$ DECLARE r record; BEGIN FOR r IN ' . $self->named_select .
		' LOOP INSERT INTO seen VALUES (r.c1::text); END LOOP; END $do$; SELECT x FROM seen; DROP TABLE seen'
		if $kind == 17;
	return 'CREATE TEMP TABLE made AS ' . $self->named_select . '; SELECT * FROM made; SELECT count(*), count(DISTINCT c1) FROM made; DROP TABLE made' if $kind == 18;
	my $type = $self->comparable;
	my ($from, $scope) = $self->from;
	return "SET plan_cache_mode = force_generic_plan; CREATE FUNCTION pg_temp.g($type) RETURNS SETOF text LANGUAGE sql AS \$g\$ SELECT " .
		$self->expression($scope, 'text', 2) . " FROM $from WHERE " . $self->column($scope, $type) . $self->pick(' = ', ' <> ', ' >= ') . '$1 $g$; SELECT pg_temp.g(' . $self->literal($type) .
		"); SELECT * FROM pg_temp.g(" . $self->literal($type) . "); DROP FUNCTION pg_temp.g($type); RESET plan_cache_mode";
}

1;
