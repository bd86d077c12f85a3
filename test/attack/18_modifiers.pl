# Modifiers: the words behind an encrypted type decide under which key a column
# is sealed and how its base type cuts values.  Whoever can bend them aims a
# column at another key; whoever can make or hold them stops others' DDL.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('modifiers');
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('hr');
SELECT dataprotect.grant_access('hr', 'reader', 'reveal');
GRANT pg_read_all_stats TO reader;
CREATE TABLE live (id int, email text);
INSERT INTO live VALUES (1, 'anna');
GRANT ALL ON live TO PUBLIC;
SQL

sub one { return $node->safe_psql('postgres', $_[0]); }

my $registered = 'SELECT count(*) FROM dataprotect.type_modifiers';

# A session that stays open: send($sql) returns when the server has answered.
{
	package Session;

	sub new
	{
		my ($class, $role) = @_;
		my $self = bless { in => '', out => '', err => '', n => 0 }, $class;
		$self->{timer} = IPC::Run::timer(DataProtect::Test::TIMEOUT);
		$self->{run} = IPC::Run::start(
			[ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-U', $role, '-d', 'postgres' ],
			'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
		return $self;
	}

	sub send
	{
		my ($self, $sql) = @_;
		my $mark = 'answered ' . ++$self->{n};
		$self->{timer}->start(DataProtect::Test::TIMEOUT);
		$self->{out} = '';
		$self->{in} .= "$sql;\n\\echo $mark\n";
		$self->{run}->pump until $self->{out} =~ /$mark/;
		return $self->{out};
	}

	sub end
	{
		my ($self) = @_;
		$self->{in} .= "\\q\n";
		$self->{run}->finish;
		return;
	}
}

# --- type-modifier-shared-between-types: one text, as many meanings as types
conceals($node, 'nobody', "SELECT NULL::encrypted_timestamp('pii', '(3)') IS NULL", 'uses a modifier first');
as($node, 'super', "CREATE TABLE first_here (t encrypted_timestamp('pii', '(3)'))");
my $columns = 'id int, s %s, n %s, t %s, m %s, i %s';
my @protected = map { "encrypted_$_('pii', '(3)')" } qw(text numeric timestamp time interval);
my @plain = qw(varchar(3) numeric(3) timestamp(3) time(3) interval(3));
for my $order ([ 0 .. 4 ], [ 4, 2, 0, 1, 3 ], [ 3, 1, 4, 0, 2 ])
{
	my @names = qw(s n t m i);
	one('DROP TABLE IF EXISTS e, p');
	one('CREATE TABLE e (id int, ' . join(', ', map { "$names[$_] $protected[$_]" } @$order) . '); GRANT ALL ON e TO PUBLIC');
	one('CREATE TABLE p (id int, ' . join(', ', map { "$names[$_] $plain[$_]" } @$order) . '); GRANT ALL ON p TO PUBLIC');
	for my $try (
		[ s => "'abc'" ], [ s => "'abcdefgh'" ], [ s => "'abc   '" ], [ n => '12.7' ], [ n => '12345' ], [ n => '-0.4' ],
		[ t => "'2020-01-01 00:00:00.123456'" ], [ m => "'00:00:00.1239'" ], [ i => "'1.0006 s'" ])
	{
		my ($column, $value) = @$try;
		my @answers = map {
			my ($out, $err, $state) = as($node, 'reader', "INSERT INTO $_ ($column) VALUES ($value) RETURNING $column");
			"$state $out";
		} qw(e p);
		is($answers[0], $answers[1], "$column of type (3) takes $value as its plain twin does, in order @$order");
	}
}
is(one("SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attname) FROM pg_attribute WHERE attrelid = 'e'::regclass AND attname IN ('s', 'n', 't')"),
	"encrypted_numeric('pii','3') encrypted_text('pii','3') encrypted_timestamp('pii','3')", 'and each says its own words');

# --- modifier-numbers-collide: two sets of words that the first version gave one number
my $stranger = Session->new('nobody');
$stranger->send('BEGIN');
$stranger->send("SELECT NULL::encrypted_text('k2461250') IS NULL");
as($node, 'super', "SELECT dataprotect.create_key('k2461250'); SELECT dataprotect.grant_access('k2461250', 'nobody', 'reveal')");
my $maker = Session->new('nobody');
$maker->send('BEGIN');
$maker->send("CREATE TABLE mine (s encrypted_text('k2461250'))");
allowed($node, 'owner', "CREATE TABLE salaries (id int, s encrypted_text('hr', 'searchable')); GRANT SELECT, INSERT ON salaries TO PUBLIC",
	'declares a column while a stranger holds a modifier');
$maker->send('COMMIT');
$stranger->send('COMMIT');
allowed($node, 'reader', "INSERT INTO salaries VALUES (1, 'Zq9x earns 99000')", 'writes a salary');
is(one("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'salaries'::regclass AND attname = 's'"),
	"encrypted_text('hr','searchable')", 'the column is under the key that was declared');
is(one("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'mine'::regclass AND attname = 's'"),
	"encrypted_text('k2461250')", 'and so is the stranger\'s');
conceals($node, 'nobody', 'SELECT s FROM salaries', 'reads by the other key of the pair');
allowed($node, 'owner', "CREATE TABLE other (s encrypted_text('hr', 'searchable'))", 'uses the words again');
is(one('SELECT count(DISTINCT typmod) = count(DISTINCT (type, definition)) FROM dataprotect.type_modifiers'), 't',
	'no two sets of words share a number');

# Two who register the same words at once get one number, and wait for nobody.
my @both = map { Session->new($_) } qw(nobody owner);
$_->send('BEGIN') for @both;
$both[0]->send("CREATE TABLE twin_a (s encrypted_text('hr', 'ordered', '(77)'))");
$both[1]->send("CREATE TABLE twin_b (s encrypted_text('hr', 'ordered', '(77)'))");
$both[0]->send('ROLLBACK');
$both[1]->send('COMMIT');
allowed($node, 'nobody', "CREATE TABLE twin_a (s encrypted_text('hr', 'ordered', '(77)'))", 'declares again what was rolled back');
is(one("SELECT count(DISTINCT atttypmod) FROM pg_attribute WHERE attrelid IN ('twin_a'::regclass, 'twin_b'::regclass) AND attname = 's'"), '1',
	'the same words are the same type for all');
like(one("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'twin_b'::regclass AND attname = 's'"),
	qr/'hr','ordered','77'/, 'and stay known when one of the makers rolls back');

# --- modifier-flood: expressions store nothing
my $before = one($registered);
refused($node, 'nobody',
	q{DO $$ BEGIN FOR i IN 1..50 LOOP EXECUTE format('SELECT NULL::encrypted_text(%L)', 'flood' || i); END LOOP; END $$},
	'floods with keys that do not exist', qr/^42704/);
refused($node, 'nobody', "SELECT 'encrypted_text(''flood'')'::regtype", 'hides the modifier in a name of a type', qr/^42704/);
refused($node, 'nobody', "SELECT * FROM json_to_recordset('[]') AS x(a encrypted_text('flood'))", 'or in a column list', qr/^42704/);
refused($node, 'nobody', 'PREPARE p AS SELECT $1::encrypted_text(\'flood\')', 'or in a prepared statement', qr/^42704/);
denied($node, 'nobody', "SELECT NULL::encrypted_text('pii', '(54321)') IS NULL", 'a modifier of a key on which it has no right');
denied($node, 'nobody', "CREATE TEMP TABLE taken AS SELECT NULL::encrypted_text('pii', '(54321)') AS s", 'the same by CREATE TABLE AS');
allowed($node, 'reader', "SELECT 'x'::encrypted_text('pii', '(54321)') = 'x'", 'casts under a key on which it has a right');
is(one($registered), $before, 'no cast has left a row');
refused($node, 'nobody', "BEGIN READ ONLY; CREATE TABLE x (s encrypted_text('flood'))", 'DDL in a read-only transaction', qr/^25006/);
refused($node, 'nobody', "CREATE TABLE pg_catalog.x (s encrypted_text('flood'))", 'a table where it may make none', qr/^42501/);
is(one($registered), $before, 'nor has DDL that failed');

# A session with many modifiers of its own stays small, and keeps what it uses.
my ($out, $err, $state) = as($node, 'reader', <<'SQL');
PREPARE p AS SELECT ('Zq9y'::encrypted_text('pii', '(60000)'))::text;
DO $$ BEGIN FOR i IN 1..3000 LOOP EXECUTE format('SELECT NULL::encrypted_text(''pii'', %L)', format('(%s)', 100000 + i)); END LOOP; END $$;
EXECUTE p;
SELECT used_bytes < 1000000 FROM (SELECT sum(used_bytes) AS used_bytes FROM pg_backend_memory_contexts WHERE name LIKE 'dataprotect modifiers%') m;
SQL
is($state, '00000', 'thousands of modifiers in one session') or diag($err);
like($out, qr/^Zq9y$/m, 'a plan from before goes on');
like($out, qr/^t$/m, 'they take bounded memory');
is(one($registered), $before, 'and no row');

# Parallel workers know nothing of it, and are not needed.
one('CREATE TABLE many AS SELECT i FROM generate_series(1, 20000) i; GRANT ALL ON many TO PUBLIC; ANALYZE many');
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET debug_parallel_query = on;';
$parallel =~ s/debug_parallel_query/force_parallel_mode/ if $node->pg_version < 16;
($out, $err, $state) = as($node, 'reader', "$parallel SELECT count(*) FROM many WHERE i::text::encrypted_text('pii', '(61000)') = '77'");
is("$state $out", '00000 1', 'a plan that would be parallel knows a modifier of this session alone') or diag($err);

# A role's own DDL is bounded too.
($out, $err, $state) = as($node, 'nobody', <<'SQL');
DO $$ BEGIN
	FOR i IN 1..20000 LOOP
		EXECUTE format('CREATE DOMAIN flood_%s AS encrypted_text(%L)', i % 7, 'flood' || i);
		EXECUTE format('DROP DOMAIN flood_%s', i % 7);
	END LOOP;
END $$
SQL
is($state, '54000', 'a role registers only so many modifiers') or diag($err);
allowed($node, 'owner', "CREATE TABLE after_flood (s encrypted_text('hr', '(31)')); DROP TABLE after_flood", 'others are not concerned');

# --- open-modifier-blocks-encrypt-column: nobody waits for a stranger's transaction
for my $first (
	"SELECT NULL::encrypted_text('pii', 'ordered', '(99)') IS NULL",
	"CREATE TEMP TABLE hold (a encrypted_text('pii', 'ordered'), b encrypted_text('pii', 'ordered', '(99)'))")
{
	one("DROP TABLE live; CREATE TABLE live (id int, email text); INSERT INTO live VALUES (1, 'anna'); GRANT ALL ON live TO PUBLIC");
	my $holder = Session->new('nobody');
	$holder->send('BEGIN');
	$holder->send($first);
	my ($o, $e, $s) = as($node, 'super',
		"SET lock_timeout = '20s'; CALL dataprotect.encrypt_column('live', 'email', 'pii', ordered => true)");
	is($s, '00000', "encrypt_column is not kept waiting by: $first") or diag($e);
	allowed($node, 'reader', 'SELECT email FROM live', 'reads the column at once');
	$holder->send('ROLLBACK');
	$holder->end;
	like(one("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'live'::regclass AND attname = 'email'"),
		qr/'pii','ordered'/, 'and knows its words after the stranger has gone');
}

# --- what nobody but the extension writes
denied($node, $_, 'INSERT INTO dataprotect.type_modifier SELECT * FROM dataprotect.type_modifier', 'writes the table') for qw(nobody owner reader admin);
denied($node, $_, 'SELECT * FROM dataprotect.modifier_secret', 'reads what numbers are made from') for qw(nobody owner reader admin);

# Unknown numbers print as numbers, and are refused as modifiers.
is(one("SELECT format_type('encrypted_text'::regtype, 123456789)"), 'encrypted_text(123456789)', 'an unknown modifier prints as its number');
refused($node, 'super', "CREATE TABLE by_number (s encrypted_text(123456789))", 'declares a column by number', qr/^22023/);

# What is not used any more goes; what is used in any place stays.
as($node, 'reader', <<'SQL');
CREATE TABLE gone (s encrypted_text('pii', '(41)')); DROP TABLE gone;
CREATE DOMAIN kept_domain AS encrypted_text('pii', '(42)');
CREATE VIEW kept_view AS SELECT upper('x'::encrypted_text('pii', '(43)')::text) AS u;
CREATE TABLE kept_array (a encrypted_text('pii', '(44)')[]);
CREATE TABLE kept_default (a text DEFAULT ('x'::encrypted_text('pii', '(45)'))::text);
CREATE TYPE kept_row AS (a encrypted_text('pii', '(46)'));
CREATE FUNCTION kept_body() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT ('x'::encrypted_text('pii', '(47)'))::text; END;
CREATE TABLE kept_as AS SELECT 'x'::encrypted_text('pii', '(48)') AS a;
CREATE VIEW kept_cte AS WITH c AS (SELECT NULL::encrypted_text('pii', '(49)') AS a) SELECT a IS NULL AS n FROM c;
SQL
one('SELECT dataprotect._collect_modifiers()');
is(one(q{SELECT string_agg(substring(definition FROM '''(4\d)'''), ' ' ORDER BY definition) FROM dataprotect.type_modifiers WHERE definition ~ '''4\d'''}),
	'42 43 44 45 46 47 48 49', 'unused modifiers are collected, used ones are not');
is(one("SELECT count(*) FROM dataprotect.type_modifiers WHERE definition LIKE '%flood%'"), '0', 'a flood goes the same way');
allowed($node, 'reader', "INSERT INTO kept_as VALUES ('y'); SELECT kept_body(), u FROM kept_view", 'what stayed goes on working');

# A collection beside an open transaction that has just used a modifier.
one("CREATE TABLE was (s encrypted_text('hr', '(90)')); DROP TABLE was");
my $user = Session->new('owner');
$user->send('BEGIN');
$user->send("CREATE TABLE uses (s encrypted_text('hr', '(90)'))");
one('SELECT dataprotect._collect_modifiers()');
$user->send('COMMIT');
is(one("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'uses'::regclass AND attname = 's'"),
	"encrypted_text('hr','90')", 'a modifier in use by an open transaction is not collected');
$_->end for $stranger, $maker, @both, $user;

# --- rows written past the extension: a column is aimed at no other key
one(q{CREATE ROLE writer LOGIN IN ROLE pg_read_all_data, pg_write_all_data;
	SELECT dataprotect.create_key('own'); SELECT dataprotect.grant_access('own', 'writer', 'reveal');
	CREATE TABLE aimed (id int, s encrypted_text('hr')); GRANT ALL ON aimed TO PUBLIC;
	CREATE TABLE beside (s encrypted_text('own')); GRANT ALL ON beside TO PUBLIC});
sub problems { return one("SELECT coalesce(string_agg(DISTINCT rel || ': ' || problem, ', '), '') FROM dataprotect.verify_policy()"); }
is(problems(), '', 'modifiers of DDL are sealed as they are made');
my $number = one(q{SELECT atttypmod FROM pg_attribute WHERE attrelid = 'aimed'::regclass AND attname = 's'});
my $rewritten = "UPDATE dataprotect.type_modifier SET key = 'own', definition = '''own'''";
my %spoiled = (
	'words rewritten' => "$rewritten WHERE typmod = $number",
	'another number for other words' => "DELETE FROM dataprotect.type_modifier WHERE typmod = $number; "
	  . "UPDATE dataprotect.type_modifier SET typmod = $number WHERE definition = '''own'''",
	'a row of its own, with the seal of another' => "DELETE FROM dataprotect.type_modifier WHERE typmod = $number; "
	  . "INSERT INTO dataprotect.type_modifier SELECT $number, type, definition, key, searchable, ordered, base_typmod, role, padded, seal "
	  . "FROM dataprotect.type_modifier WHERE definition = '''own''' LIMIT 1",
	'without a seal, and the mark that all are sealed is gone' =>
	  "$rewritten, seal = NULL WHERE typmod = $number; UPDATE dataprotect.instance SET modifiers = NULL",
	'without a seal, and with another secret' =>
	  "$rewritten, seal = NULL WHERE typmod = $number; UPDATE dataprotect.modifier_secret SET secret = decode(repeat('00', 32), 'hex')");
one("CREATE TABLE kept_$_ AS TABLE dataprotect.$_") for qw(type_modifier instance modifier_secret);
sub put_back
{
	one('DELETE FROM dataprotect.type_modifier; INSERT INTO dataprotect.type_modifier TABLE kept_type_modifier; '
		  . 'UPDATE dataprotect.instance i SET modifiers = k.modifiers FROM kept_instance k; '
		  . 'UPDATE dataprotect.modifier_secret s SET secret = k.secret FROM kept_modifier_secret k');
	return;
}
for my $how (sort keys %spoiled)
{
	denied($node, 'writer', $spoiled{$how}, "spoils a modifier: $how");
	allowed($node, 'super', $spoiled{$how}, "spoils a modifier: $how");
	refused($node, 'writer', "INSERT INTO aimed VALUES (1, 'Zq9x aimed at another key') RETURNING s", "writes into the column: $how", qr/^XX001|^42704/);
	refused($node, 'reader', "INSERT INTO aimed VALUES (1, 'Zq9x by an application')", "and so does nobody else: $how", qr/^XX001|^42704/);
	allowed($node, 'reader', 'SELECT count(*) FROM aimed', "statements that open nothing go on: $how");
	like(problems(), qr/dataprotect\.(type_modifier|instance)/, "verify_policy tells: $how");
	put_back();
	is(problems(), '', "as it was: $how");
	is(one('SELECT count(*) FROM aimed'), '0', "nothing was sealed under the other key: $how");
}
allowed($node, 'reader', "INSERT INTO aimed VALUES (1, 'Zq9x as before') RETURNING s", 'writes when all is as it was');
# Whoever takes the row away finds that the number belongs to its words alone.
allowed($node, 'super', "DELETE FROM dataprotect.type_modifier WHERE typmod = $number", 'removes a modifier');
refused($node, 'reader', "INSERT INTO aimed VALUES (2, 'Zq9x')", 'writes while nobody knows the number', qr/^42704/);
one(q{CREATE TABLE once_more (s encrypted_text('hr'))});
is(one(q{SELECT atttypmod FROM pg_attribute WHERE attrelid = 'once_more'::regclass AND attname = 's'}), $number, 'the same words get the same number again');
allowed($node, 'reader', "INSERT INTO aimed VALUES (2, 'Zq9x') RETURNING s", 'and the column is what it was');
# An administrator who has looked takes what is there.
one("$rewritten WHERE typmod = $number");
like(problems(), qr/type_modifier/, 'rewritten words are shown');
one("SELECT dataprotect.reseal_policy('looked at')");
is(problems(), '', 'and are sealed by an administrator alone');
is(one(q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'aimed'::regclass AND attname = 's'}), "encrypted_text('own')",
	'from then on they count');
put_back();
one("SELECT dataprotect.rename_key('own', 'owned')");
is(problems(), '', 'renaming a key seals its modifiers anew');
is(one(q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'beside'::regclass AND attnum > 0}), "encrypted_text('owned')", 'which say the new name');

log_conceals($node);
done_testing();
