#!/usr/bin/perl
#
# The measurements of run.sh inside a server.
#
#	bench.pl SERVER_SH WORKDIR ROWS ROUNDS SECONDS [SECTION...]
use strict;
use warnings;

use FindBin;
use IO::Handle;

our ($server_sh, $work, $rows, $rounds, $seconds, @wanted) = @ARGV;
die "bench.pl is started by run.sh\n" if !$seconds;
our $server = "$work/s";
my $few = int($rows / 20) || 1;	# for what is too slow for all rows

# Run SQL as a role; the time of its last statement in ms where timing is asked.
sub sql
{
	my ($role, $text, $timing) = @_;
	my $file = "$work/statement.sql";
	open(my $fh, '>', $file) or die "could not write \"$file\": $!\n";
	print $fh $timing ? "\\timing on\n$text\n" : "$text\n";
	close $fh;
	my $output = `PGUSER=$role PGDATABASE=bench $server_sh psql $server -q -A -t -v ON_ERROR_STOP=1 -f - < $file 2>&1`;
	die "failed: $text\n$output" if $? != 0;
	my @times = $output =~ /^Time: ([\d.]+) ms/mg;
	return $timing ? $times[-1] : $output;
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ $#sorted / 2 ];
}

# Alternate the variants, each [name, code that returns a number]; the medians.
sub alternate
{
	my (@variants) = @_;
	my %seen;
	for my $round (0 .. $rounds)
	{
		for my $variant (@variants)
		{
			my $number = $variant->[1]->();
			push @{ $seen{ $variant->[0] } }, $number if $round > 0;	# the first warms up
		}
	}
	return map { $_ => median(@{ $seen{$_} }) } keys %seen;
}

my @lines;

# A line of the table: cost where less is better ("at most"), else speed.
sub report
{
	my ($what, $ratio, $kind, $mark) = @_;
	my $verdict = '';
	if (defined $mark)
	{
		my $met = $kind eq 'at most' ? $ratio <= $mark : $ratio >= $mark;
		$verdict = sprintf '%s %.2f: %s', $kind, $mark, $met ? 'met' : 'MISSED';
	}
	printf "  %-58s %8.2f   %s\n", $what, $ratio, $verdict;
	push @lines, [ $what, $ratio ];
	return;
}

sub setup
{
	system("PGDATABASE=postgres $server_sh psql $server -q -c 'CREATE DATABASE bench' -c 'CREATE ROLE app LOGIN'") == 0
	  or die "could not create the database\n";
	sql('postgres', <<"SQL");
CREATE EXTENSION dataprotect;
CREATE EXTENSION pgcrypto;
SELECT dataprotect.create_key('bench');
SELECT dataprotect.grant_access('bench', 'app', 'reveal', reason => 'benchmark');
GRANT pg_write_server_files TO app;
GRANT CREATE ON SCHEMA public TO app;
SQL
	# Every variant holds the same values; pgcrypto's with a random vector each,
	# and a keyed hash to search by, as its users do.
	sql('app', <<"SQL");
CREATE TABLE source AS SELECT i AS id, 'person' || i || '\@mail.example' AS v FROM generate_series(1, $rows) i;
CREATE TABLE plain (id int, v text);
CREATE TABLE protected (id int, v encrypted_text('bench'));
CREATE TABLE tokened (id int, v encrypted_text('bench', 'searchable'));
CREATE TABLE ordered (id int, v encrypted_text('bench', 'ordered'));
CREATE TABLE raw (id int, iv bytea, v bytea, h bytea);
CREATE TABLE pgp (id int, v bytea);
INSERT INTO plain SELECT * FROM source;
INSERT INTO protected SELECT * FROM source;
INSERT INTO tokened SELECT * FROM source;
INSERT INTO ordered SELECT * FROM source;
INSERT INTO raw SELECT id, iv, encrypt_iv(convert_to(v, 'UTF8'), '0123456789abcdef0123456789abcdef', iv, 'aes'),
       hmac(convert_to(v, 'UTF8'), '0123456789abcdef0123456789abcdef', 'sha256')
  FROM (SELECT id, v, gen_random_bytes(16) AS iv FROM source OFFSET 0) s;
INSERT INTO pgp SELECT id, pgp_sym_encrypt(v, 'password') FROM source WHERE id <= $few;
SQL
	sql('postgres', 'VACUUM ANALYZE; CHECKPOINT');
	return;
}

my $open_raw = "convert_from(decrypt_iv(v, '0123456789abcdef0123456789abcdef', iv, 'aes'), 'UTF8')";
my $seal_raw = "encrypt_iv(convert_to(v, 'UTF8'), '0123456789abcdef0123456789abcdef', iv, 'aes')";

sub scans
{
	my $select = sub {
		my ($query) = @_;
		return sub { return sql('app', "\\o /dev/null\nCOPY ($query) TO STDOUT;", 1) };
	};
	my $inside = sub {
		my ($query) = @_;
		return sub { return sql('app', "COPY ($query) TO '/dev/null';", 1) };
	};
	my %ms = alternate(
		[ plain => $select->('SELECT v FROM plain') ],
		[ protected => $select->('SELECT v FROM protected') ],
		[ raw => $select->("SELECT $open_raw FROM raw") ],
		[ pgp => $select->("SELECT pgp_sym_decrypt(v, 'password') FROM pgp") ],
		[ plain_inside => $inside->('SELECT v FROM plain') ],
		[ protected_inside => $inside->('SELECT v FROM protected') ]);
	report('full scan with output / plaintext', $ms{protected} / $ms{plain}, 'at most', 5);
	report('  pgcrypto decrypt_iv / plaintext', $ms{raw} / $ms{plain});
	report('  pgcrypto pgp_sym_decrypt / plaintext', $ms{pgp} * $rows / $few / $ms{plain});
	report('  the same into a file of the server', $ms{protected_inside} / $ms{plain_inside});
	report('full scan / the fastest of pgcrypto', $ms{protected} / $ms{raw}, 'at most', 1);
	return;
}

sub inserts
{
	my $timed = sub {
		my ($table, $columns, $select) = @_;
		return sub {
			sql('app', "DROP TABLE IF EXISTS target; CREATE TABLE target ($columns);");
			return sql('app', "INSERT INTO target $select;", 1);
		};
	};
	my %ms = alternate(
		[ plain => $timed->('plain', 'id int, v text', 'SELECT id, v FROM source') ],
		[ protected => $timed->('protected', "id int, v encrypted_text('bench')", 'SELECT id, v FROM source') ],
		[ tokened => $timed->('tokened', "id int, v encrypted_text('bench', 'searchable')", 'SELECT id, v FROM source') ],
		[ raw => $timed->('raw', 'id int, iv bytea, v bytea',
			"SELECT id, iv, $seal_raw FROM (SELECT id, v, gen_random_bytes(16) AS iv FROM source OFFSET 0) s") ],
		[ pgp => $timed->('pgp', 'id int, v bytea', "SELECT id, pgp_sym_encrypt(v, 'password') FROM source WHERE id <= $few") ]);
	report('insert / plaintext', $ms{protected} / $ms{plain});
	report('insert with a search token / plaintext', $ms{tokened} / $ms{plain});
	report('  pgcrypto encrypt_iv / plaintext', $ms{raw} / $ms{plain});
	report('  pgcrypto pgp_sym_encrypt / plaintext', $ms{pgp} * $rows / $few / $ms{plain});
	report('insert / the fastest of pgcrypto', $ms{protected} / $ms{raw}, 'at most', 1);
	return;
}

sub indexes
{
	my $build = sub {
		my ($table, $using) = @_;
		return sub {
			sql('app', 'DROP INDEX IF EXISTS bench_idx');
			return sql('app', "CREATE INDEX bench_idx ON $table USING $using;", 1);
		};
	};
	my $unique = sub {
		sql('app', 'DROP INDEX IF EXISTS bench_idx');
		return sql('app', 'CREATE UNIQUE INDEX bench_idx ON tokened (v encrypted_text_token_ops);', 1);
	};
	my %ms = alternate(
		[ plain => $build->('plain', 'btree (v)') ],
		[ hash => $build->('protected', 'hash (v)') ],
		[ token => $unique ],
		[ ordered => $build->('ordered', 'btree (v)') ],
		[ raw => $build->('raw', 'btree (h)') ]);
	sql('app', 'DROP INDEX IF EXISTS bench_idx');
	report('hash index build / plaintext btree', $ms{hash} / $ms{plain});
	report('unique token index build / plaintext btree', $ms{token} / $ms{plain});
	report('ordered index build / plaintext btree', $ms{ordered} / $ms{plain});
	report('  pgcrypto, btree over stored hmac / plaintext btree', $ms{raw} / $ms{plain});
	return;
}

sub lookups
{
	sql('app', <<'SQL');
CREATE INDEX plain_v ON plain (v);
CREATE INDEX protected_v ON protected USING hash (v);
CREATE INDEX raw_h ON raw (h);
SQL
	sql('postgres', 'VACUUM ANALYZE; CHECKPOINT');
	my $value = q{('person' || :i::text || '@mail.example')};
	my %script = (
		plain => "SELECT id, v FROM plain WHERE v = $value;",
		protected => "SELECT id, v FROM protected WHERE v = $value;",
		raw => "SELECT id, $open_raw FROM raw WHERE h = hmac(convert_to($value, 'UTF8'), '0123456789abcdef0123456789abcdef', 'sha256');");
	for my $name (sort keys %script)
	{
		open(my $fh, '>', "$work/$name.pgbench") or die "could not write: $!\n";
		print $fh "\\set i random(1, $rows)\n$script{$name}\n";
		close $fh;
		(my $plan = $script{$name}) =~ s/:i::text/'7'::text/g;
		my $shown = sql('app', "EXPLAIN $plan");
		die "no index scan for $name:\n$shown" if $shown !~ /Index Scan|Bitmap Index/;
	}
	my $tps = sub {
		my ($name) = @_;
		return sub {
			my $output = `PGUSER=app PGDATABASE=bench $server_sh run $server pgbench -n -M prepared -T $seconds -f $work/$name.pgbench 2>&1`;
			die "pgbench failed:\n$output" if $? != 0 || $output !~ /^tps = ([\d.]+)/m;
			return $1;
		};
	};
	my %speed = alternate(map { [ $_ => $tps->($_) ] } sort keys %script);
	report('point lookup by index, tps / plaintext', $speed{protected} / $speed{plain}, 'at least', 0.85);
	report('  pgcrypto by stored hmac, tps / plaintext', $speed{raw} / $speed{plain});
	report('point lookup, tps / the fastest of pgcrypto', $speed{protected} / $speed{raw}, 'at least', 1);
	return;
}

# Lookups of protected values, every one in the audit log, beside lookups of plain ones
# that pgaudit writes to the server log (object audit of the same column).
sub pgaudit
{
	if (sql('postgres', 'SHOW shared_preload_libraries') !~ /pgaudit/)
	{
		printf "  %-58s %8s\n", 'pgaudit', 'is not there';
		return;
	}
	sql('app', 'CREATE INDEX plain_id ON plain (id); CREATE INDEX protected_id ON protected (id)');
	sql('postgres', <<'SQL');
CREATE ROLE watch;
CREATE ROLE watched LOGIN IN ROLE app;
ALTER ROLE watched SET pgaudit.role = 'watch';
GRANT SELECT (v) ON plain TO watch;
VACUUM ANALYZE; CHECKPOINT;
SQL
	for my $table (qw(plain protected))
	{
		open(my $fh, '>', "$work/by_id_$table.pgbench") or die "could not write: $!\n";
		print $fh "\\set i random(1, $rows)\nSELECT v FROM $table WHERE id = :i;\n";
		close $fh;
	}
	for my $clients (1, 8, 32)
	{
		my $tps = sub {
			my ($role, $table) = @_;
			return sub {
				my $output = `PGUSER=$role PGDATABASE=bench $server_sh run $server pgbench -n -M prepared -c $clients -j 2 -T $seconds -f $work/by_id_$table.pgbench 2>&1`;
				die "pgbench failed:\n$output" if $? != 0 || $output !~ /^tps = ([\d.]+)/m;
				return $1;
			};
		};
		my %speed = alternate([ none => $tps->('app', 'plain') ], [ pgaudit => $tps->('watched', 'plain') ], [ ours => $tps->('app', 'protected') ]);
		report("lookups, $clients clients: protected and audited / plain", $speed{ours} / $speed{none});
		report("lookups, $clients clients: plain under pgaudit / plain", $speed{pgaudit} / $speed{none});
		report("lookups, $clients clients: ours / pgaudit", $speed{ours} / $speed{pgaudit}, 'at least', 1);
	}
	my ($records, $bytes) = split /\|/, sql('postgres', q{SELECT dataprotect.flush_audit_log('5 min') \g /dev/null
SELECT (SELECT count(*) FROM dataprotect.audit_record), sum(pg_total_relation_size(i.inhrelid)) FROM pg_inherits i
	WHERE i.inhparent = 'dataprotect.audit_batch'::regclass});
	printf "  %-58s %8.0f   at most 150: %s\n", 'bytes an event on disk, indexes included', $bytes / $records, $bytes / $records <= 150 ? 'met' : 'MISSED';
	return;
}

sub sizes
{
	my $bytes = sql('app', 'SELECT round(avg(pg_column_size(p.v) - pg_column_size(s.v)), 1) FROM protected p JOIN source s USING (id)');
	printf "  %-58s %8.1f   at most 38: %s\n", 'bytes a value over plaintext', $bytes, $bytes <= 38 ? 'met' : 'MISSED';
	return;
}

# Old rows removed by a policy, and by the loop that people write by hand: the
# same batches, a commit each.  Both in a session that has done it before, as a
# worker has; what a run takes that finds nothing is a line of its own.
sub retention
{
	my $backlog = 5 * $rows;
	sql('postgres', <<"SQL");
CREATE TABLE old_policy (id int PRIMARY KEY, at timestamptz NOT NULL, v text);
CREATE INDEX ON old_policy (at);
CREATE TABLE old_hand (LIKE old_policy INCLUDING INDEXES);
SELECT dataprotect.create_retention_policy('old', 'public.old_policy', 'at', '1 year', 'delete', '{"every": "1 year"}');
SELECT dataprotect.activate_retention('old');
SQL
	my $measure = sub {
		my ($table, $statement) = @_;
		return sql('postgres', <<"SQL", 1);
TRUNCATE $table;
$statement;
INSERT INTO $table SELECT i, now() - interval '2 years' + i * interval '1 second', md5(i::text) FROM generate_series(1, $backlog) i;
VACUUM ANALYZE $table;
CHECKPOINT;
$statement;
SQL
	};
	my $policy = sub { return $measure->('old_policy', q{CALL dataprotect.run_retention('old')}) };
	# from the oldest each time, as most write it; or from where the last batch ended
	my $hand = sub {
		my ($from) = @_;
		return $measure->('old_hand', <<"SQL");
DO \$\$
DECLARE
	last timestamptz := '-infinity';
	batch tid[];
BEGIN
	LOOP
		SELECT array_agg(o.ctid)$from->[0] INTO batch$from->[1] FROM (
			SELECT ctid, at FROM old_hand WHERE $from->[2]at < now() - interval '1 year' ORDER BY at LIMIT 1000) o;
		EXIT WHEN batch IS NULL;
		DELETE FROM old_hand WHERE ctid = ANY (batch);
		COMMIT;
	END LOOP;
END \$\$
SQL
	};
	my $nothing = sub {
		return sql('postgres', "TRUNCATE old_policy;\n" . "CALL dataprotect.run_retention('old');\n" x 2, 1);
	};
	my %time = alternate([ policy => $policy ], [ nothing => $nothing ],
		[ hand => sub { return $hand->([ '', '', '' ]) } ],
		[ keyset => sub { return $hand->([ ', max(o.at)', ', last', 'at >= last AND ' ]) } ]);
	report('retention delete, rows/s / a hand-written batched DELETE', $time{hand} / $time{policy}, 'at least', 0.95);
	report('the same, by one that begins where its last batch ended', $time{keyset} / $time{policy}, 'at least', 0.95);
	report('a run of a policy that finds nothing, ms', $time{nothing});
	return;
}

# One account among many rows: by the worker, from the request to the certificate
# (a search before and after, and one of every table), and by a cascade that people
# write by hand, in one transaction.
sub deletion
{
	my $accounts = int($rows / 10);
	sql('postgres', <<"SQL");
CREATE TABLE account (id int PRIMARY KEY, name text);
CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account int REFERENCES account, body text);
INSERT INTO account SELECT i, md5(i::text) FROM generate_series(1, $accounts) i;
INSERT INTO item (account, body) SELECT 1 + i % $accounts, repeat(md5(i::text), 3) FROM generate_series(1, $rows) i;
INSERT INTO item (account, body) SELECT 1000 + a, repeat(md5(i::text), 3) FROM generate_series(1, 2 * $rounds + 2) a, generate_series(1, 5000) i;
CREATE INDEX ON item (account);
VACUUM ANALYZE;
SELECT dataprotect.create_account_type('account', 'account', 'id', '0 s');
SELECT dataprotect.annotate_account('account', 'item', '{account}', 'delete');
SQL
	my %next = (few => 0, many => 1000);
	my $hand = sub {
		my ($kind) = @_;
		my $id = ++$next{$kind};
		return sql('postgres', "\\timing off\nBEGIN; SELECT 1 FROM item LIMIT 1;\n\\timing on\nDO \$\$ BEGIN DELETE FROM item WHERE account = $id; DELETE FROM account WHERE id = $id; END \$\$;\n\\timing off\nCOMMIT;", 1);
	};
	my @wal;
	my $worker = sub {
		my ($kind) = @_;
		my $id = ++$next{$kind};
		my ($ms, $bytes) = split /\|/, (split /\n/, sql('postgres', <<"SQL"))[-1];
SELECT pg_current_wal_lsn() AS before \\gset
SELECT dataprotect.request_deletion('account', '$id', 'benchmark') AS request \\gset
DO \$\$ BEGIN
	WHILE NOT EXISTS (SELECT FROM dataprotect.deletion_requests WHERE account_id = '$id' AND state = 'certified') LOOP
		COMMIT;
		PERFORM pg_sleep(0.001);
	END LOOP;
END \$\$;
SELECT extract(epoch FROM certified_at - requested_at) * 1000, pg_current_wal_lsn() - :'before' FROM dataprotect.deletion_request WHERE id = :request;
SQL
		push @wal, $bytes if $kind eq 'few';
		return $ms;
	};
	my %ms = alternate(map { my $kind = $_; ([ "hand $kind" => sub { return $hand->($kind) } ], [ "worker $kind" => sub { return $worker->($kind) } ]) } qw(few many));
	report('an account of 11 rows, ms from request to certificate', $ms{'worker few'});
	report('  a hand-written cascade, ms', $ms{'hand few'});
	report('  MB of WAL', median(@wal) / 1024 / 1024, 'at most', 1);
	report('an account of 5,011 rows / a hand-written cascade', $ms{'worker many'} / $ms{'hand many'}, 'at most', 2);
	return;
}

# The three mixes of GDPRbench (Shastri et al., VLDB 2020) in words of SQL: what
# customers, controllers and processors ask of records of personal data.
my %mixes = (
	customer => [
		[ 20, 'SELECT key, data FROM TABLE WHERE usr = :u;' ],
		[ 20, 'SELECT usr, purpose, ttl, objects FROM TABLE WHERE key = :k;' ],
		[ 20, "UPDATE TABLE SET data = 'changed to ' || :k WHERE key = :k;" ],
		[ 20, 'UPDATE TABLE SET objects = NOT objects WHERE key = :k;' ],
		[ 20, 'DELETE FROM TABLE WHERE key = :k;' ] ],
	controller => [
		[ 25, "INSERT INTO TABLE VALUES (:k, :u, :p, now() + interval '1 year', 'person' || :k || '\@mail.example', false) ON CONFLICT DO NOTHING;" ],
		[ 25, 'DELETE FROM TABLE WHERE key = :k;' ],
		[ 50, "UPDATE TABLE SET ttl = now() + interval '2 years' WHERE usr = :u;" ] ],
	processor => [
		[ 80, 'SELECT data FROM TABLE WHERE key = :k;' ],
		[ 10, 'SELECT key, data FROM TABLE WHERE purpose = :p;' ],
		[ 10, 'SELECT key, data FROM TABLE WHERE usr = :u AND NOT objects;' ] ]);

sub gdpr
{
	my ($users, $purposes) = (int($rows / 10) || 1, int($rows / 20) || 1);
	for my $table ([ gdpr_plain => 'text' ], [ gdpr_protected => q{encrypted_text('bench')} ])
	{
		sql('app', <<"SQL");
CREATE TABLE $table->[0] (key int PRIMARY KEY, usr int, purpose int, ttl timestamptz, data $table->[1], objects bool);
CREATE INDEX ON $table->[0] (usr);
CREATE INDEX ON $table->[0] (purpose);
CREATE INDEX ON $table->[0] (ttl);
SQL
	}
	sql('postgres', <<"SQL");
SELECT dataprotect.create_retention_policy('ttl', 'public.gdpr_protected', 'ttl', '1 day', 'delete');
SELECT dataprotect.activate_retention('ttl');
SQL
	# made anew each time: whoever is faster leaves more versions of rows behind
	my $fill = sub {
		sql('app', <<"SQL");
TRUNCATE $_[0];
INSERT INTO $_[0] SELECT i, 1 + i % $users, 1 + i % $purposes, now() + interval '1 year', 'person' || i || '\@mail.example', false FROM generate_series(1, $rows) i;
SQL
		sql('postgres', "VACUUM ANALYZE $_[0]; CHECKPOINT;");
	};
	my $tps = sub {
		my ($mix, $table) = @_;
		my @files;
		for my $step (@{ $mixes{$mix} })
		{
			my $file = sprintf '%s/%s_%s_%d.pgbench', $work, $mix, $table, scalar @files;
			open(my $fh, '>', $file) or die "could not write: $!\n";
			print $fh "\\set k random(1, $rows)\n\\set u random(1, $users)\n\\set p random(1, $purposes)\n", $step->[1] =~ s/TABLE/$table/gr, "\n";
			close $fh;
			push @files, "-f $file\@$step->[0]";
		}
		$fill->($table);
		my $output = `PGUSER=app PGDATABASE=bench $server_sh run $server pgbench -n -M prepared -T $seconds @files 2>&1`;
		die "pgbench failed:\n$output" if $? != 0 || $output !~ /^tps = ([\d.]+)/m;
		return $1;
	};
	for my $mix (sort keys %mixes)
	{
		my %speed = alternate(map { my $table = $_; [ $table => sub { return $tps->($mix, $table) } ] } qw(gdpr_plain gdpr_protected));
		report("GDPRbench, ${mix}'s mix, time / plaintext", $speed{gdpr_plain} / $speed{gdpr_protected}, 'at most', 1.3);
	}
	return;
}

# Values of 20,000 rows, by how many accounts' keys they are under: the last number is
# more than the arena holds.  Then all of it under new versions, by reencrypt() and
# by the loop that people write by hand, of the same batches, over plain text.
sub keys_of_accounts
{
	my $values = 20_000;
	my @numbers = (1, 10, 100, $values);
	sql('postgres', "CREATE TABLE person (id int PRIMARY KEY); SELECT dataprotect.create_account_type('person', 'public.person', 'id')");
	for my $n (@numbers)
	{
		sql('postgres', <<"SQL");
CREATE TABLE of_$n (id int, person int, v encrypted_text('bench'));
SELECT dataprotect.bind_subject('public.of_$n', 'person', 'person');
INSERT INTO of_$n SELECT i, 50000 * $n + i % $n, 'person' || i || '\@mail.example' FROM generate_series(1, $values) i;
VACUUM ANALYZE of_$n;
GRANT SELECT ON of_$n TO app;
SQL
	}
	my %ms = alternate(map { my $n = $_; [ $n => sub { return sql('app', "COPY (SELECT v FROM of_$n) TO '/dev/null';", 1) } ] } @numbers);
	printf "  %-58s %8.0f\n", "values opened a second under $_ account keys", 1000 * $values / $ms{$_} for @numbers;
	return;
}

sub reencrypt
{
	sql('postgres', <<'SQL');
CREATE TABLE plain_old (id int PRIMARY KEY, v text, w text);
INSERT INTO plain_old SELECT id, v, v FROM source;
CREATE TABLE sealed_old (id int PRIMARY KEY, v encrypted_text('bench'), w encrypted_text('bench'));
INSERT INTO sealed_old TABLE plain_old;
VACUUM ANALYZE plain_old; VACUUM ANALYZE sealed_old;
CREATE PROCEDURE update_by_hand(batch int) LANGUAGE plpgsql AS $$
BEGIN
	FOR n IN 0 .. (SELECT max(id) FROM plain_old) / batch LOOP
		UPDATE plain_old SET v = v || '', w = w || '' WHERE id >= n * batch AND id < (n + 1) * batch;
		COMMIT;
	END LOOP;
END $$;
SQL
	my %ms = alternate(
		[ plain => sub { sql('postgres', 'VACUUM plain_old'); return sql('postgres', 'CALL update_by_hand(4000);', 1) } ],
		[ sealed => sub {
				sql('postgres', "VACUUM sealed_old; SELECT dataprotect.rotate_key('bench')");
				return sql('postgres', "SET dataprotect.retention_cost_delay = 0; CALL dataprotect.reencrypt('public.sealed_old');", 1);
		} ]);
	report('reencrypt of two columns / a batched UPDATE of plain ones', $ms{sealed} / $ms{plain}, 'at most', 1.3);
	return;
}

our @sections = (
	[ scans => \&scans ],
	[ inserts => \&inserts ],
	[ indexes => \&indexes ],
	[ lookups => \&lookups ],
	[ keys => \&keys_of_accounts ],
	[ reencrypt => \&reencrypt ],
	[ retention => \&retention ],
	[ deletion => \&deletion ],
	[ gdpr => \&gdpr ],
	[ pgaudit => \&pgaudit ],
	[ sizes => \&sizes ]);
require "$FindBin::Bin/queries.pl";
require "$FindBin::Bin/sessions.pl";

for my $name (@wanted)
{
	die "bench.pl: no section \"$name\"\n" if !grep { $_->[0] eq $name } @sections;
}
setup();
for my $section (@sections)
{
	my ($name, $measure) = @$section;
	$measure->() if !@wanted || grep { $_ eq $name } @wanted;
}
