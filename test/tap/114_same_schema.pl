# If this fails, protecting a column and turning it back leaves a schema that is not the
# one that was there: pg_dump -s before and after is compared, for a table for each property
# that a column or what is around it can have, and for each type.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use DataProtect::Test;

my $node = new_node('same');
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('k'), dataprotect.grant_access('k', current_user::regrole, 'reveal');
CREATE EXTENSION citext; CREATE EXTENSION pg_trgm;
CREATE ROLE r1; CREATE ROLE r2; GRANT ALL ON SCHEMA public TO r1, r2;
CREATE TYPE mood AS ENUM ('a', 'b');
CREATE DOMAIN phone AS varchar(25) CHECK (value ~ '^[0-9+ ]+$');
-- types that are made stay
SELECT dataprotect.create_encrypted_type(t) FROM unnest('{mood,bpchar,bit,varbit,citext}'::regtype[]) t;
SQL

# What stands for a table's name; column v is protected, w is of the same type.
my %around = (
	nothing => '',
	storage_external => 'ALTER TABLE % ALTER v SET STORAGE EXTERNAL',
	storage_main => 'ALTER TABLE % ALTER v SET STORAGE MAIN',
	storage_plain => 'ALTER TABLE % ALTER v SET STORAGE PLAIN',
	compression => 'ALTER TABLE % ALTER v SET COMPRESSION pglz',
	statistics_target => 'ALTER TABLE % ALTER v SET STATISTICS 77',
	attribute_options => 'ALTER TABLE % ALTER v SET (n_distinct = -0.5, n_distinct_inherited = 12)',
	comment => q{COMMENT ON COLUMN %.v IS 'it''s'; COMMENT ON TABLE % IS 'tab'},
	not_null => 'ALTER TABLE % ALTER v SET NOT NULL',
	privileges => 'GRANT SELECT (v), UPDATE (v) ON % TO r1 WITH GRANT OPTION; GRANT SELECT ON % TO r2; GRANT INSERT (v) ON % TO PUBLIC; GRANT REFERENCES (id, v) ON % TO r2',
	owner => 'ALTER TABLE % OWNER TO r1',
	trigger => q{CREATE TRIGGER t BEFORE UPDATE OF v, a ON % FOR EACH ROW WHEN (old.v IS DISTINCT FROM new.v) EXECUTE FUNCTION suppress_redundant_updates_trigger();
		COMMENT ON TRIGGER t ON % IS 'c'; ALTER TABLE % ENABLE ALWAYS TRIGGER t},
	trigger_of_extension => 'CREATE TRIGGER t BEFORE UPDATE OF v ON % FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); ALTER TRIGGER t ON % DEPENDS ON EXTENSION citext',
	rule => q{CREATE RULE r AS ON UPDATE TO % WHERE old.v IS NOT NULL DO ALSO SELECT 1; COMMENT ON RULE r ON % IS 'r'; ALTER TABLE % DISABLE RULE r},
	index => q{CREATE INDEX ix_% ON % (v) WITH (fillfactor = 70); COMMENT ON INDEX ix_% IS 'i'; ALTER INDEX ix_% DEPENDS ON EXTENSION citext},
	index_of_several => 'CREATE INDEX ix_% ON % (a, v DESC, b NULLS FIRST) INCLUDE (c); CREATE INDEX ixb_% ON % (a) INCLUDE (v)',
	index_of_expression => 'CREATE INDEX ix_% ON % (a, lower(v)); ALTER INDEX ix_% ALTER COLUMN 2 SET STATISTICS 33; CREATE INDEX ixb_% ON % (md5(v)); CREATE UNIQUE INDEX ixc_% ON % (lower(v))',
	index_of_part => q{CREATE INDEX ix_% ON % (split_part(v, '@', 2))},
	index_partial => q{CREATE INDEX ix_% ON % (v) WHERE v IS NOT NULL AND a > 0; CREATE UNIQUE INDEX ixb_% ON % (v) WHERE v <> ''},
	index_for_words => 'CREATE INDEX ix_% ON % USING gin (v gin_trgm_ops)',
	unique => q{ALTER TABLE % ADD CONSTRAINT u_% UNIQUE (v); COMMENT ON CONSTRAINT u_% ON % IS 'co'},
	unique_deferred => 'ALTER TABLE % ADD CONSTRAINT u_% UNIQUE (v, a) DEFERRABLE INITIALLY DEFERRED',
	unique_including => 'ALTER TABLE % ADD CONSTRAINT u_% UNIQUE (v) INCLUDE (a) WITH (fillfactor = 80)',
	unique_nulls => 'ALTER TABLE % ADD CONSTRAINT u_% UNIQUE NULLS NOT DISTINCT (v)',
	primary_key => 'ALTER TABLE % ADD CONSTRAINT p_% PRIMARY KEY (v)',
	clustered_on_another => 'CREATE INDEX ix_% ON % (a); CREATE INDEX iv_% ON % (v); ALTER TABLE % CLUSTER ON ix_%',
	replica_identity => 'ALTER TABLE % ALTER v SET NOT NULL; CREATE UNIQUE INDEX ix_% ON % (v); ALTER TABLE % REPLICA IDENTITY USING INDEX ix_%',
	replica_identity_full => 'ALTER TABLE % REPLICA IDENTITY FULL',
	publication => 'CREATE PUBLICATION pub_% FOR TABLE % (id, v)',
	check => q{ALTER TABLE % ADD CONSTRAINT ck CHECK (v IS NOT NULL OR a > 0); COMMENT ON CONSTRAINT ck ON % IS 'cc'; ALTER TABLE % ADD CONSTRAINT cn CHECK (v IS NOT NULL) NOT VALID},
	check_of_value => 'ALTER TABLE % ADD CONSTRAINT ck CHECK (length(v) < 30); ALTER TABLE % ADD CONSTRAINT cw CHECK (v <> w)',
	policy => q{ALTER TABLE % ENABLE ROW LEVEL SECURITY; ALTER TABLE % FORCE ROW LEVEL SECURITY;
		CREATE POLICY p ON % AS RESTRICTIVE FOR UPDATE TO r1, r2 USING (v IS NOT NULL) WITH CHECK (a > 1); COMMENT ON POLICY p ON % IS 'p'; CREATE POLICY q ON % USING (v = w)},
	view => q{CREATE VIEW vw_% WITH (security_barrier) AS SELECT id, v AS x, a FROM % WHERE v IS NOT NULL; GRANT SELECT ON vw_% TO r2; COMMENT ON VIEW vw_% IS 'w';
		COMMENT ON COLUMN vw_%.x IS 'wx'; ALTER VIEW vw_% OWNER TO r1},
	views => 'CREATE VIEW vw_% AS SELECT t.*, t.v = t.w AS same FROM % t; CREATE VIEW vx_% AS SELECT v, count(*) FROM vw_% GROUP BY v',
	materialized_view => q{CREATE MATERIALIZED VIEW mv_% AS SELECT v, a FROM %; CREATE INDEX mi_% ON mv_% (a); COMMENT ON MATERIALIZED VIEW mv_% IS 'm';
		ALTER MATERIALIZED VIEW mv_% ALTER v SET STATISTICS 9; GRANT SELECT ON mv_% TO r2},
	default => q{ALTER TABLE % ALTER v SET DEFAULT 'n/a'},
	children => q{CREATE TABLE ch_% (extra int) INHERITS (%); ALTER TABLE ch_% ALTER v SET STATISTICS 11; COMMENT ON COLUMN ch_%.v IS 'child'; CREATE INDEX ci_% ON ch_% (v);
		CREATE TABLE gc_% (v2 int) INHERITS (ch_%); ALTER TABLE gc_% ALTER v SET NOT NULL; ALTER TABLE gc_% ALTER v SET STORAGE MAIN},
	unlogged => 'ALTER TABLE % SET UNLOGGED',
	options => 'ALTER TABLE % SET (fillfactor = 50, autovacuum_enabled = off, toast.autovacuum_enabled = off)',
	function => q{CREATE FUNCTION fn_%(%.v!TYPE) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION fr_%(%) RETURNS int LANGUAGE sql AS 'SELECT 1'},
	function_of_standard => q{CREATE FUNCTION fa_%() RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(v) FROM %; END; COMMENT ON FUNCTION fa_% IS 'f';
		REVOKE ALL ON FUNCTION fa_% FROM PUBLIC; GRANT EXECUTE ON FUNCTION fa_% TO r2},
	generated => q{ALTER TABLE % ADD g text GENERATED ALWAYS AS (lower(v)) STORED; COMMENT ON COLUMN %.g IS 'gen';
		ALTER TABLE % ADD h text GENERATED ALWAYS AS (coalesce(v, '') || ' ' || coalesce(w, '')) STORED; CREATE INDEX gi_% ON % (h)},
	referenced => 'ALTER TABLE % ADD CONSTRAINT u_% UNIQUE (v); CREATE TABLE fk_% (id int, v text CONSTRAINT fkc_% REFERENCES % (v) ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE)',
	referenced_by_several => 'ALTER TABLE % ADD CONSTRAINT u_% UNIQUE (v, a); CREATE TABLE fk_% (id int, a int, v text); ALTER TABLE fk_% ADD CONSTRAINT fkc_% FOREIGN KEY (v, a) REFERENCES % (v, a) MATCH FULL NOT VALID');

my @types = ('varchar(50)', 'int4', 'numeric(10,2)', 'numeric(3,-2)', 'date', 'timestamptz(3)', 'jsonb', 'bytea', 'inet', 'uuid', 'text[]', 'varchar(30)[]', 'char(4)', 'mood',
	'time(2)', 'bit(4)', 'bit varying(8)', 'citext', 'text COLLATE "C"', 'bool', 'float8', 'interval(3)');

# What is another one afterwards, and why (README, doc/limits.md).
my %other = (
	index_otherwise => [ q{CREATE INDEX ix_% ON % (v DESC NULLS LAST)}, 'an order of its own is forgotten by the hash index' ],
	index_of_class => [ 'CREATE INDEX ix_% ON % (v text_pattern_ops)', 'and so is an operator class' ],
	domain => [ 'ALTER TABLE % ALTER v TYPE phone', 'a domain\'s rules become the column\'s' ],
	no_length => [ 'ALTER TABLE % ALTER v TYPE varchar', 'text and varchar without a length are protected as one type' ],
	default_otherwise => [ q{ALTER TABLE % ALTER v TYPE jsonb USING v::jsonb, ALTER v SET DEFAULT '{"a": 1}'::json}, 'a default of a type that nothing makes protected gets a cast' ],
	hash_index => [ 'CREATE INDEX ix_% ON % USING hash (v)', 'and that it was one before' ],
	statistics_object => [ 'CREATE STATISTICS st_% ON v, a, b FROM %', 'nothing is counted of protected values' ]);

my %made;

sub make
{
	my ($name, $type, $ddl) = @_;

	$ddl =~ s/%/$name/g;
	$ddl =~ s/!/%/g;
	$made{$name} = "$type, $ddl";
	return "CREATE TABLE $name (id int, v $type, w $type, a int, b int, c int); $ddl;\n";
}

sub schema
{
	my $file = $node->basedir . '/schema.sql';

	system_or_bail($node->config_data('--bindir') . '/pg_dump', '-s', '-h', $node->host, '-p', $node->port, '-f', $file, '-N', 'dataprotect', 'postgres');
	my $text = slurp_file($file);
	$text =~ s/^\\(?:un)?restrict .*\n//mg;
	# operator classes of made types: their members come in no order
	return join("\n", grep { !/^-- Name: .*; Type: OPERATOR (?:FAMILY|CLASS)/ } split(/\n--\n(?=-- Name: )/, $text));
}

my $sql = '';
$sql .= make("around_$_", 'text', $around{$_}) for sort keys %around;
for my $type (@types)
{
	my $name = $type =~ s/\W+/_/gr;
	$sql .= make("type_\L$name", $type, q{CREATE VIEW view_% AS SELECT v FROM %});
}
# defaults are printed as they were
my %default = (varchar => q{varchar(50) DEFAULT 'x'}, int2 => 'int2 DEFAULT 5', numeric => 'numeric(8,2) DEFAULT 5', role => 'text DEFAULT current_user', now => 'timestamptz DEFAULT now()',
	serial => 'serial');
$sql .= make("default_$_", $default{$_}, '') for sort keys %default;
# of several levels
$sql .= <<'SQL';
CREATE TABLE around_levels (id int, v text, a int) PARTITION BY RANGE (id);
CREATE TABLE level_1 PARTITION OF around_levels FOR VALUES FROM (0) TO (100) PARTITION BY LIST (a);
CREATE TABLE level_2 PARTITION OF level_1 (v NOT NULL) FOR VALUES IN (1, 2);
CREATE TABLE level_1b (a int, v text, id int); ALTER TABLE around_levels ATTACH PARTITION level_1b DEFAULT;
CREATE INDEX levels_v ON around_levels (v); CREATE UNIQUE INDEX level_2_v ON level_2 (v); ALTER TABLE around_levels ADD UNIQUE (id, a, v);
ALTER TABLE level_2 ALTER v SET STORAGE MAIN;
SQL
$made{around_levels} = 'partitions';
$node->safe_psql('postgres', $sql);

sub change
{
	my ($call) = @_;
	my @failed;

	for my $name (sort keys %made)
	{
		my $more = $call eq 'encrypt' ? ($name =~ /words/ ? ", 'k', wordsearch => true" : ", 'k'") : '';
		my ($rc, $out, $err) = $node->psql('postgres', "CALL dataprotect.${call}_column('$name', 'v'$more)");
		push @failed, "$name ($made{$name}): $err" if $rc != 0;
	}
	is("@failed", '', "${call}_column of " . scalar(keys %made) . ' tables');
}

my $before = schema();
change('encrypt');
is($node->safe_psql('postgres', 'SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid'), '', 'every index is valid, those of partitioned tables too');
isnt(schema(), $before, 'the schema is another one while they are protected');
is($node->safe_psql('postgres', 'SELECT count(DISTINCT rel) FROM dataprotect.protected_columns WHERE col = \'v\''), scalar(keys %made) + grep({ /^referenced/ } keys %around) + 3,
	'every column is protected');
change('decrypt');
my $after = schema();
ok($after eq $before, 'pg_dump -s of all tables is the same, byte by byte') or do
{
	my %there = map { $_ => 1 } split /\n-- Name: /, $before;
	my %here = map { $_ => 1 } split /\n-- Name: /, $after;
	diag("was: $_") for grep { !$here{$_} } sort keys %there;
	diag("is: $_") for grep { !$there{$_} } sort keys %here;
};

# What is said not to be.
for my $name (sort keys %other)
{
	$node->safe_psql('postgres', make("other_$name", 'text', $other{$name}[0]));
	my $was = schema();
	$node->safe_psql('postgres', "CALL dataprotect.encrypt_column('other_$name', 'v', 'k'); CALL dataprotect.decrypt_column('other_$name', 'v')");
	isnt(schema(), $was, "$name: $other{$name}[1]");
}

# The sequence of an identity column goes on as its default's.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 2) PRIMARY KEY, v int);
COMMENT ON SEQUENCE numbered_id_seq IS 'even'; GRANT INSERT (v) ON numbered TO r1; GRANT SELECT ON SEQUENCE numbered_id_seq TO r2;
INSERT INTO numbered (v) VALUES (1), (2);
CALL dataprotect.encrypt_column('numbered', 'id', 'k');
SET ROLE r1; INSERT INTO numbered (v) VALUES (3); RESET ROLE;
CALL dataprotect.decrypt_column('numbered', 'id');
INSERT INTO numbered (v) VALUES (4);
SQL
is($node->safe_psql('postgres', "SELECT string_agg(id::text, ' ' ORDER BY v), obj_description('numbered_id_seq'::regclass), has_sequence_privilege('r2', 'numbered_id_seq', 'SELECT'), "
	. "pg_get_serial_sequence('numbered', 'id') FROM numbered"), '10 12 14 16|even|t|public.numbered_id_seq', 'an identity goes on counting, for whoever may insert');
my ($rc, $out, $err) = $node->psql('postgres', "CALL dataprotect.encrypt_column('numbered', 'id', 'k', online => true)");
like($err, qr/Sequence "numbered_id_seq" belongs to it/, 'but online it would go with the plain column: refused');

# Values that have become too long for a btree keep the index that finds them.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE long (v text DEFAULT 'x', w text DEFAULT 'y', j jsonb DEFAULT '[]'::json);
CREATE INDEX long_j ON long (j); COMMENT ON INDEX long_j IS 'c'; CREATE INDEX long_v ON long (v); COMMENT ON INDEX long_v IS 'd';
CREATE INDEX long_vj ON long (v, j) WHERE w = 'a'; CREATE INDEX long_w ON long (md5(v));
CALL dataprotect.encrypt_columns('long', '{"v": "k", "j": "k"}');
INSERT INTO long SELECT string_agg(md5(g::text), ''), 'z' FROM generate_series(1, 500) g;
CALL dataprotect.decrypt_column('long', 'v');
CALL dataprotect.decrypt_column('long', 'j');
SQL
is($node->safe_psql('postgres', "SELECT string_agg(indexdef, E'\\n' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'long'"), <<'SQL' =~ s/\n\z//r,
CREATE INDEX long_j ON public.long USING btree (j)
CREATE INDEX long_v ON public.long USING hash (v)
CREATE INDEX long_vj ON public.long USING btree (v, j) WHERE (w = 'a'::text)
CREATE INDEX long_w ON public.long USING btree (md5(v))
SQL
	'an index whose values have become too long for a btree stays a hash index');

done_testing();
