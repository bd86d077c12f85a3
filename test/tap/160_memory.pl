# If this fails, a long session that reads and writes protected values grows
# without bound.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('memory', conf => "shared_buffers = 16MB\nfsync = off\nmax_wal_size = 256MB\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
SELECT dataprotect.create_key('many');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal'), dataprotect.grant_access('many', current_user::regrole, 'reveal');
CREATE TABLE plain (id int PRIMARY KEY, email text, n numeric, doc jsonb);
CREATE TABLE guarded (id int PRIMARY KEY, email encrypted_text('pii','searchable'), n encrypted_numeric('pii','ordered'), doc encrypted_jsonb('pii'));
CREATE UNIQUE INDEX ON plain (email);
CREATE INDEX ON plain (n);
CREATE UNIQUE INDEX ON guarded (email encrypted_text_token_ops);
CREATE INDEX ON guarded (n);
CREATE TABLE bound (customer int, note encrypted_text('many'));
CREATE TRIGGER zz_dataprotect_subject BEFORE INSERT OR UPDATE ON bound
	FOR EACH ROW EXECUTE FUNCTION dataprotect._seal_subject('customer', 'customer');

-- One statement of the loop inserts, reads by equality and by output, updates
-- and sorts; an error now and then goes through the abort of a subtransaction.
CREATE PROCEDURE work(tab regclass, first int, n int) LANGUAGE plpgsql AS $$
DECLARE
	v text;
BEGIN
	FOR i IN first .. first + n - 1 LOOP
		EXECUTE format('INSERT INTO %s VALUES ($1, $2, $3, $4)', tab) USING i, 'p' || i || '@example.org', i::numeric / 7, jsonb_build_object('a', repeat('x', 50));
		EXECUTE format('SELECT format(''%%s %%s %%s'', email, n, doc) FROM %s WHERE email = $1', tab) INTO v USING 'p' || i || '@example.org';
		IF i % 50 = 0 THEN
			BEGIN
				EXECUTE format('INSERT INTO %s VALUES ($1, $2)', tab) USING -i, 'p' || i || '@example.org';
			EXCEPTION WHEN unique_violation THEN
				NULL;
			END;
			EXECUTE format('UPDATE %s SET doc = doc::jsonb || ''{"b": 1}'' WHERE n BETWEEN $1 AND $2', tab) USING i::numeric / 7, i::numeric / 7 + 1;
			COMMIT;
		END IF;
	END LOOP;
END $$;
SQL

my ($in, $out, $err) = ('', '', '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(4 * TIMEOUT));

sub ask
{
	my ($sql) = @_;
	$out = $err = '';
	$in .= "$sql;\n\\echo :done\n";
	$session->pump until $out =~ /:done\n/;
	(my $answer = $out) =~ s/\n?:done\n//;
	return $answer . ($err =~ /(ERROR:.*)/ ? $1 : '');
}

# What the backend keeps for itself, without the shared buffers it has touched.
my $pid = ask('SELECT pg_backend_pid()');

sub private_kb
{
	my $status = slurp_file("/proc/$pid/status");
	return $status =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die 'no RssAnon';
}

# Growth while the loop runs once more as often as it ran to warm up.
sub growth_of
{
	my ($warm, $run) = @_;
	is($warm->(), '', 'warms up');
	my $before = private_kb();
	is($run->(), '', 'runs');
	return private_kb() - $before;
}

my $n = 25_000;		# rounds of the loop, which runs twice: about 100,000 statements on each table
my $plain = growth_of(sub { ask("CALL work('plain', 1, $n)") }, sub { ask("CALL work('plain', $n + 1, $n)") });
my $guarded = growth_of(sub { ask("CALL work('guarded', 1, $n)") }, sub { ask("CALL work('guarded', $n + 1, $n)") });
note("a session grew by $plain kB over plain columns, by $guarded kB over protected ones");
cmp_ok($guarded, '<', abs($plain) + 1024, 'a loop of statements grows the session no more than over plain columns, by a megabyte at most');

# One statement over many values, and output to a client.
my $table = "SELECT count(*), min(email), max(n), count(DISTINCT doc) FROM";
my $grown = growth_of(sub { ask("$table plain") =~ /ERROR/ ? 'failed' : '' },
	sub { for (1 .. 3) { return 'failed' if ask("$table guarded") =~ /ERROR/ } return '' });
cmp_ok($grown, '<', 8192, "aggregates over $n values: $grown kB");
ask('SET work_mem = \'1MB\'');
$grown = growth_of(sub { ask('COPY (SELECT * FROM guarded ORDER BY email) TO \'/dev/null\'') }, sub { ask('COPY (SELECT * FROM guarded ORDER BY email) TO \'/dev/null\'') });
cmp_ok($grown, '<', 2048, "COPY out of a sort: $grown kB");
$grown = growth_of(sub { ask('INSERT INTO bound SELECT i, \'note\' FROM generate_series(1, 3000) i') },
	sub { ask('INSERT INTO bound SELECT i, \'note\' FROM generate_series(3001, 6000) i') });
cmp_ok($grown, '<', 4096, "keys of 3,000 more accounts, more than a session remembers: $grown kB");
is(ask("SELECT count(*) FROM bound WHERE note::text = 'note'"), '6000', 'all of which open');

# Memory of the wipeable kind is given back by errors as well.
$grown = growth_of(
	sub { for (1 .. 200) { ask("INSERT INTO guarded VALUES (0, 'x', 1, '{}'), (0, 'y', 1, '{}')") =~ /ERROR/ or return 'succeeded' } return '' },
	sub { for (1 .. 600) { ask("INSERT INTO guarded VALUES (0, 'x', 1, '{}'), (0, 'y', 1, '{}')") =~ /ERROR/ or return 'succeeded' } return '' });
cmp_ok($grown, '<', 1024, "failed statements: $grown kB");

$session->finish;
$node->stop;
done_testing();
