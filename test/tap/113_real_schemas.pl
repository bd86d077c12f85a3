# If this fails, encrypt_column refuses a shape of schema that it took before, or
# takes one that it said it would not: which of the shapes around personal columns
# of real applications can be protected as they are, by how often they occur.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use DataProtect::Test;
use Test::More;

my $node = new_node('shapes');
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('k');
CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; CREATE EXTENSION btree_gist;
CREATE DOMAIN person_name AS varchar(50);
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN tel AS text CHECK (value ~ '^[0-9+ ]+$');
SQL

# Columns of 1,534 in 30 schemas that such a shape is the only reason to look at; the
# rest, with nothing around them, is $plain.  A shape: how often, what is made, which
# column is protected, and, where it is refused, what the refusal names; and the option
# that it hints at, where it is kept with one.
my $all = 1534;
my @shapes = (
	[ length => 80, 'CREATE TABLE % (id int PRIMARY KEY, v text, CONSTRAINT len CHECK (char_length(v) <= 255))' ],
	[ pattern => 6, q{CREATE TABLE % (v text CHECK (v ~ '^[^@]+@[^@]+$'))} ],
	[ not_empty => 5, q{CREATE TABLE % (v text CHECK (v <> ''))} ],
	[ range => 4, q{CREATE TABLE % (v date CHECK (v >= '1900-01-01' AND v <= now() - interval '18 years'))} ],
	[ list => 4, q{CREATE TABLE % (v text CHECK (v IN ('single', 'married')))} ],
	[ document => 2, q{CREATE TABLE % (v jsonb CHECK (jsonb_typeof(v) = 'object'))} ],
	[ two_columns => 2, 'CREATE TABLE % (v text, w text, CHECK (num_nonnulls(v, w) >= 1), CHECK (v <> w))' ],
	[ lower_unique => 9, 'CREATE TABLE % (v text); CREATE UNIQUE INDEX ON % (lower(v))' ],
	[ lower => 12, 'CREATE TABLE % (v varchar(80)); CREATE INDEX ON % (lower(v))' ],
	[ upper_and_more => 3, 'CREATE TABLE % (id int, v text); CREATE INDEX ON % (upper(v), id)' ],
	[ digest => 3, 'CREATE TABLE % (v text); CREATE UNIQUE INDEX ON % (md5(v))' ],
	[ part_of_it => 7, q{CREATE TABLE % (v text); CREATE INDEX ON % (split_part(v, '@', 2)); CREATE INDEX ON % (left(v, 1)); CREATE INDEX ON % (regexp_replace(v, '\D', '', 'g'))} ],
	[ member => 0, q{CREATE TABLE % (v jsonb); CREATE INDEX ON % ((v ->> 'mail'))} ],
	[ unique_part => 0, q{CREATE TABLE % (v text); CREATE UNIQUE INDEX ON % (split_part(v, '@', 2))}, qr/a part of it/ ],
	[ words => 3, q{CREATE TABLE % (v text); CREATE INDEX ON % USING gin (to_tsvector('simple', v))}, qr/is for search within the text/, 'wordsearch => true' ],
	[ words_of_two => 0, q{CREATE TABLE % (v text, w text); CREATE INDEX ON % USING gin (to_tsvector('simple', v || w))}, qr/over an expression/ ],
	[ trigram => 16, 'CREATE TABLE % (v text); CREATE INDEX ON % USING gin (v gin_trgm_ops)', qr/is for search within the text/, 'wordsearch => true' ],
	[ predicate_of_null => 6, 'CREATE TABLE % (v text); CREATE UNIQUE INDEX ON % (v) WHERE v IS NOT NULL' ],
	[ predicate => 5, q{CREATE TABLE % (v text); CREATE UNIQUE INDEX ON % (v) WHERE v <> ''} ],
	[ pattern_predicate => 0, q{CREATE TABLE % (v text); CREATE UNIQUE INDEX ON % (v) WHERE v !~ '^[0-9 ]*$'}, qr/The predicate of index/ ],
	[ few => 0, q{CREATE TABLE % (id int, v bool); CREATE INDEX ON % (id) WHERE v; CREATE INDEX ON % (id, v)} ],
	[ address => 10, 'CREATE TABLE % (id int, v inet UNIQUE); CREATE INDEX ON % (id, v)' ],
	[ several => 9, 'CREATE TABLE % (v text, w date); CREATE INDEX ON % (v, w)' ],
	[ primary_key => 9, 'CREATE TABLE % (v text PRIMARY KEY)' ],
	[ foreign_key => 15, 'CREATE TABLE parent_of_% (v text PRIMARY KEY); CREATE TABLE % (v text REFERENCES parent_of_% ON UPDATE CASCADE)' ],
	[ unique => 30, 'CREATE TABLE % (v text CONSTRAINT uq_of_% UNIQUE)' ],
	[ array => 9, 'CREATE TABLE % (v varchar(30)[], CHECK (cardinality(v) < 10))' ],
	[ domain => 6, 'CREATE TABLE % (v tel, w person_name)' ],
	[ padded => 2, 'CREATE TABLE % (v char(4) UNIQUE)' ],
	[ generated => 2, q{CREATE TABLE % (v text, x varchar(40), w text GENERATED ALWAYS AS (lower(v)) STORED UNIQUE,
		y text GENERATED ALWAYS AS (coalesce(v, '') || ' ' || coalesce(x, '')) STORED,
		z tsvector GENERATED ALWAYS AS (setweight(to_tsvector('english', coalesce(v, '')), 'A') || to_tsvector('simple', coalesce(x, ''))) STORED)} ],
	[ generated_otherwise => 0, q{CREATE TABLE % (v text, w text GENERATED ALWAYS AS (replace(v, 'a', 'bb')) STORED)}, qr/Generated column "w"/ ],
	[ row_of_view => 12, 'CREATE TABLE % (v text); CREATE VIEW view_of_% AS SELECT v FROM %; CREATE FUNCTION of_%() RETURNS SETOF view_of_% LANGUAGE sql STABLE AS \'SELECT * FROM view_of_%\'' ],
	[ standard_body => 1, 'CREATE TABLE % (v text); CREATE FUNCTION of_%(m text) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(*) FROM % WHERE v = m; END' ],
	[ policy => 2, 'CREATE TABLE % (v text); CREATE POLICY p ON % USING (v = current_user)' ],
	[ materialized => 0, 'CREATE TABLE % (v text); CREATE MATERIALIZED VIEW copy_of_% AS SELECT v FROM %' ],
	[ computed_copy => 1, q{CREATE TABLE % (v jsonb); CREATE MATERIALIZED VIEW copy_of_% AS SELECT v ->> 'city' AS city FROM %}, qr/Materialized view/ ],
	[ inherited => 4, 'CREATE TABLE % (v text); CREATE TABLE child_of_% () INHERITS (%)' ],
	[ statistics => 1, 'CREATE TABLE % (v text, w text); CREATE STATISTICS of_% ON v, w FROM %' ],
	[ trigger => 5, 'CREATE TABLE % (v text); CREATE TRIGGER t BEFORE UPDATE ON % FOR EACH ROW WHEN (old.v IS DISTINCT FROM new.v) EXECUTE FUNCTION suppress_redundant_updates_trigger()' ],
	[ collation => 1, 'CREATE TABLE % (v text COLLATE nocase UNIQUE)', qr/in which different values are equal/ ],
	[ enum => 1, 'CREATE TYPE kind_of_% AS ENUM (\'a\', \'b\'); CREATE TABLE % (v kind_of_%)' ],
	[ exclusion => 1, 'CREATE TABLE % (v inet, EXCLUDE USING gist (v inet_ops WITH &&))', qr/Exclusion constraint|access method/ ]);

my ($concerned, $refused, $asked) = (0, 0, 0);
for my $shape (@shapes)
{
	my ($name, $count, $ddl, $refusal, $option) = @$shape;

	$ddl =~ s/%/shape_$name/g;
	$node->safe_psql('postgres', $ddl);
	$concerned += $count;
	my ($rc, $out, $err) = $node->psql('postgres', "CALL dataprotect.encrypt_column('shape_$name', 'v', 'k')");
	$refused += $count if $rc != 0;
	if ($refusal)
	{
		isnt($rc, 0, "$name is refused");
		like($err, $refusal, "$name: by name");
		like($err, qr/HINT:  \S/, "$name: with a hint");
		next if !$option;
		($rc, $out, $err) = $node->psql('postgres', "CALL dataprotect.encrypt_column('shape_$name', 'v', 'k', $option)");
		is($rc, 0, "$name is kept with $option") or diag($err);
		$asked += $count;
	}
	else { is($rc, 0, "$name is kept") or diag($err); }
}
my $share = 100 * ($all - $refused) / $all;
note(sprintf('%d columns of %d have such a shape; %d are refused: %.1f %% can be protected as they are, %.1f %% with an option that the refusal names',
		$concerned, $all, $refused, $share, $share + 100 * $asked / $all));
cmp_ok($share, '>=', 98, 'the share of columns that are protected as they are');

# The column that an account is found by: the shapes that the main e-mail column has in such
# schemas, all around it together.
my @mail = (
	[ unique => 'email varchar(255) NOT NULL UNIQUE' ],
	[ named => 'email text CONSTRAINT one_% UNIQUE, CONSTRAINT len_% CHECK (char_length(email) <= 320)' ],
	[ case_alone => 'email text NOT NULL', 'CREATE UNIQUE INDEX ON % (lower(email))' ],
	[ case_and_lookup => q{email varchar NOT NULL DEFAULT ''}, 'CREATE UNIQUE INDEX ON % (email); CREATE INDEX ON % (lower(email)); CREATE INDEX ON % (email varchar_pattern_ops)' ],
	[ case_by_tenant => 'email text', 'CREATE UNIQUE INDEX ON % (id, lower(email))' ],
	[ citext => 'email citext NOT NULL UNIQUE' ],
	[ not_deleted => 'email text, deleted_at timestamptz', 'CREATE UNIQUE INDEX ON % (lower(email)) WHERE deleted_at IS NULL' ],
	[ active => 'email text, active bool', 'CREATE UNIQUE INDEX ON % (email) WHERE active' ],
	[ not_empty => q{email text}, q{CREATE UNIQUE INDEX ON % (email) WHERE email <> ''} ],
	[ not_null => 'email text', 'CREATE UNIQUE INDEX ON % (email) WHERE email IS NOT NULL AND id > 0' ],
	[ pattern => q{email text UNIQUE CHECK (email ~ '^[^@]+@[^@]+$')} ],
	[ lower_case => 'email text UNIQUE CHECK (email = lower(email))' ],
	[ domain => 'email address UNIQUE' ],
	[ generated => 'email text, email_lower text GENERATED ALWAYS AS (lower(email)) STORED UNIQUE' ],
	[ domain_index => 'email text UNIQUE', q{CREATE INDEX ON % (split_part(email, '@', 2))} ],
	[ tenant => 'email text, tenant int, UNIQUE (tenant, email)' ],
	[ key => 'email text, PRIMARY KEY (email)', 'CREATE TABLE of_% (email text REFERENCES % ON UPDATE CASCADE)' ],
	[ view => 'email text UNIQUE', 'CREATE VIEW view_% AS SELECT id, lower(email) AS email FROM %' ],
	[ policy => 'email text UNIQUE', 'ALTER TABLE % ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON % USING (email = current_user)' ],
	[ trigger => 'email text UNIQUE', 'CREATE TRIGGER t BEFORE UPDATE OF email ON % FOR EACH ROW WHEN (old.email IS DISTINCT FROM new.email) EXECUTE FUNCTION suppress_redundant_updates_trigger()' ],
	[ search => 'email text UNIQUE', 'CREATE INDEX ON % USING gin (email gin_trgm_ops)' ],
	[ words => 'email text UNIQUE, name text', q{ALTER TABLE % ADD words tsvector GENERATED ALWAYS AS (to_tsvector('simple', coalesce(name, '') || ' ' || coalesce(email, ''))) STORED; CREATE INDEX ON % USING gin (words)} ]);
$node->safe_psql('postgres', q{CREATE DOMAIN address AS citext CHECK (value ~ '@')});
my %kept = (as_it_is => 0, with_search => 0);
for my $shape (@mail)
{
	my ($name, $columns, $more) = @$shape;
	my $ddl = "CREATE TABLE % (id int, $columns); " . ($more // '');

	$ddl =~ s/%/mail_$name/g;
	$node->safe_psql('postgres', $ddl);
	my ($rc, $out, $err) = $node->psql('postgres', "CALL dataprotect.encrypt_column('mail_$name', 'email', 'k')");
	$kept{as_it_is}++ if $rc == 0;
	$rc = $node->psql('postgres', "CALL dataprotect.encrypt_column('mail_$name', 'email', 'k', wordsearch => true)", stderr => \$err)
		if $rc != 0 && $err =~ /wordsearch => true/;
	$kept{with_search}++ if $rc == 0;
	is($rc, 0, "the main e-mail column is kept: $name") or diag($err);
}
note(sprintf('%d shapes of the main e-mail column: %d are protected as they are, %d with wordsearch => true where they have an index for search',
		scalar @mail, @kept{qw(as_it_is with_search)}));
is($kept{as_it_is}, @mail - 2, 'the main e-mail column is protected as it is, but for indexes for search');

done_testing();
