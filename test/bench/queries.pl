# Sections of bench.pl: queries over protected columns against the same over plain
# ones, by a role that may read.
use strict;
use warnings;

our ($rows, $work, @sections);

# Milliseconds of a query over either table; "%" stands for "plain" or "protected".
sub compare_queries
{
	my (@lines) = @_;
	for my $line (@lines)
	{
		my ($what, $query, $mark) = @$line;
		my %ms = alternate(
			map {
				my $kind = $_;
				(my $text = $query) =~ s/%/$kind/g;
				[ $kind => sub { return sql('app', $text, 1) } ]
			} qw(plain protected));
		report("$what / plaintext", $ms{protected} / $ms{plain}, 'at most', $mark);
	}
	return;
}

# 4 KB of JSON that compresses badly: hex digits of hashes.
my $document = q{jsonb_build_object('id', i, 'notes', (SELECT jsonb_agg(md5((i * 1000 + n)::text)) FROM generate_series(1, 110) n))};

sub queries
{
	my $documents = int($rows / 20) || 1;
	sql('app', <<"SQL");
CREATE TABLE amount_plain AS SELECT id, (id % 1000) / 7.0::numeric(12,2) AS amount FROM source;
CREATE TABLE amount_protected (id int, amount encrypted_numeric('bench'));
INSERT INTO amount_protected TABLE amount_plain;
CREATE TABLE doc_plain AS SELECT i AS id, $document AS doc FROM generate_series(1, $documents) i;
CREATE TABLE doc_protected (id int, doc encrypted_jsonb('bench'));
INSERT INTO doc_protected TABLE doc_plain;
SET work_mem = '512MB';
VACUUM ANALYZE;
SQL
	my $memory = "SET work_mem = '512MB'; SET hash_mem_multiplier = 2;\n";
	compare_queries(
		[ "sort of $rows values", $memory . 'SELECT v FROM % ORDER BY v OFFSET 1000000000;', 2.5 ],
		[ "hash join of $rows and $rows values", $memory . 'SELECT count(*) FROM % a JOIN % b USING (v);', 2.5 ],
		[ 'GROUP BY', $memory . 'SELECT count(*) FROM (SELECT v FROM % GROUP BY v) s;', 2.5 ],
		[ 'sum of numerics', 'SELECT sum(amount) FROM amount_%;', 3 ],
		[ 'WHERE amount > 5', 'SELECT count(*) FROM amount_% WHERE amount > 5;', 3 ],
		[ 'ILIKE', q{SELECT count(*) FROM % WHERE v ILIKE '%%SON77%%';}, 2 ],
		[ 'scan of documents of 4 KB', q{COPY (SELECT doc FROM doc_%) TO '/dev/null';}, 1.3 ]);
	return;
}

# COPY of the same file into a plain table, into one under a key, and into one whose
# values are sealed for the account of their row (1,000 of them).
sub copies
{
	sql('postgres', <<"SQL");
CREATE TABLE copy_person (id int PRIMARY KEY);
SELECT dataprotect.create_account_type('copy_person', 'public.copy_person', 'id');
CREATE TABLE copy_bound (id int, person int, v encrypted_text('bench'));
SELECT dataprotect.bind_subject('public.copy_bound', 'copy_person', 'person');
CREATE TABLE copy_plain (id int, person int, v text);
CREATE TABLE copy_protected (id int, person int, v encrypted_text('bench'));
GRANT ALL ON copy_plain, copy_protected, copy_bound TO app;
GRANT pg_read_server_files TO app;
COPY (SELECT id, id % 1000, v FROM source) TO '$work/s/rows.copy';
COPY copy_bound FROM '$work/s/rows.copy';
SQL
	my %ms = alternate(
		map {
			my $table = $_;
			[ $table => sub { return sql('app', "TRUNCATE copy_$table;\nCOPY copy_$table FROM '$work/s/rows.copy';", 1) } ]
		} qw(plain protected bound));
	report('COPY FROM / plaintext', $ms{protected} / $ms{plain}, 'at most', 1.5);
	report('COPY FROM, 1,000 account keys / plaintext', $ms{bound} / $ms{plain}, 'at most', 2);
	return;
}

push @sections, [ queries => \&queries ], [ copies => \&copies ];
1;
