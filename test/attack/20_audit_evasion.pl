# Ways to make the audit log unreadable, wrong or too large by doing what any
# role may do.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('audit_evasion', init => [ extra => [ '--encoding=UTF8', '--locale=C' ] ],
	conf => "dataprotect.audit_ring_size = '256kB'\nmax_connections = 420\n");
$node->safe_psql('postgres', 'CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor');

sub flush_log { return poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()') }

sub audit
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'auditor' ]);
}

sub with_settings
{
	my ($role, $settings, $sql) = @_;
	local $ENV{PGOPTIONS} = $settings;
	return as($node, $role, $sql);
}

# purpose-cut-inside-a-character: what goes into a record is text of the
# database, cut where a character ends.
my ($euro, $elephant) = ("\xe2\x82\xac", "\xf0\x9f\x90\x98");
my @purposes = map { ($euro x $_, 'x' . $elephant x $_) } 40, 168 .. 172, 255, 256, 512, 5000;
my @broken = ("\xff\xfe", "abc\xe2\x82", "\xc3", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80");
my $n = 0;
for my $purpose (@purposes, @broken)
{
	# A role each: only the first refusal of a role has a row with its purpose.
	my $role = 'cut_' . ++$n;
	$node->safe_psql('postgres', "CREATE ROLE $role LOGIN");
	if ($n <= @purposes)
	{
		conceals($node, $role, "SET dataprotect.purpose = '$purpose'; SELECT email::text FROM victim", "purpose $n");
	}
	else
	{
		with_settings($role, "-c dataprotect.purpose=$purpose -c application_name=$purpose", 'SELECT email::text FROM victim');
	}
}
flush_log();
my $here = "session_role LIKE 'cut%' AND event = 'access.denied'";
is(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $here"), $n, 'the refusals are in the log');
is(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $here AND (upper(purpose) <> upper(purpose) OR purpose ILIKE '%$euro${euro}x%')"),
	'0', 'text functions read every row');
is(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $here AND convert_to(purpose, 'UTF8') <> convert_to(convert_from(convert_to(purpose, 'UTF8'), 'UTF8'), 'UTF8')"),
	'0', 'purposes are text of the database');
is(audit("SELECT bool_and(repeat('$euro', 5000) LIKE purpose || '%' AND length(purpose) >= least(170, octet_length(purpose) / 3)) FROM dataprotect.audit_log "
		  . "WHERE $here AND purpose LIKE '$euro%'"), 't', 'and a prefix of what was set');
is(audit("SET client_encoding = 'LATIN9'; SELECT count(*) > 0 FROM (SELECT purpose FROM dataprotect.audit_log "
		  . "WHERE $here AND purpose LIKE '\xa4%') AS s"), 't', 'other client encodings read them');

# denied-reads-flood-the-log: what is refused again and again is counted.
my $loop = "DO \$\$ BEGIN FOR i IN 1..3000 LOOP BEGIN %s; EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END \$\$";
my $refused = "session_role = 'nobody' AND event = 'access.denied'";
my $sum = "coalesce(sum(coalesce((detail ->> 'denied')::int, 1)), 0)";

sub refuses
{
	my ($name, $n, @sql) = @_;
	flush_log();
	my $before = audit("SELECT $sum FROM dataprotect.audit_log WHERE $refused");
	my $rows = audit("SELECT count(*) FROM dataprotect.audit_log WHERE $refused");
	as($node, 'nobody', $_) for @sql;
	flush_log();
	is(audit("SELECT $sum FROM dataprotect.audit_log WHERE $refused") - $before, $n, "$name: every refusal is counted");
	# a few a second, however slow the machine is
	cmp_ok(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $refused") - $rows, '<', $n / 2, "$name: in far fewer rows") if $n > 1000;
	return;
}
my $one = sprintf $loop, 'PERFORM email::text FROM victim WHERE id = 1';
refuses('a loop', 3000, $one);
refuses('purposes that change', 3000,
	sprintf $loop, "PERFORM set_config(''dataprotect.purpose'', i::text, false), set_config(''application_name'', i::text, false); "
	  =~ s/''/'/gr . 'PERFORM email::text FROM victim WHERE id = 1');
refuses('many sessions', 20, ('SELECT email::text FROM victim') x 20);
refuses('comparisons', 3000, sprintf $loop, 'PERFORM FROM victim WHERE email = tok');
is(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $refused AND detail ? 'denied' AND (keys <> '{pii}' OR role <> 'nobody' "
		  . "OR (detail ->> 'from')::timestamptz > (detail ->> 'to')::timestamptz)"), '0', 'the counts say who, what and when');
is(audit("SELECT string_agg(DISTINCT outcome, ' ') FROM dataprotect.audit_log WHERE $refused"), 'denied', 'outcome "denied"');
is(audit("SELECT string_agg(DISTINCT columns::text COLLATE \"C\", ' ') FROM dataprotect.audit_log WHERE $refused"),
	'{public.victim.email,public.victim.tok} {public.victim.email}', 'refusals name the columns of their statement');

# who tries many columns has no more places for it than others need
$node->safe_psql('postgres', 'CREATE TABLE wide (' . join(', ', map { "c$_ encrypted_text('pii')" } 1 .. 70) . '); '
	. 'INSERT INTO wide VALUES (' . join(', ', map { "'w$_'" } 1 .. 70) . '); GRANT SELECT ON wide TO nobody');
my $many = "DO \$\$ BEGIN FOR i IN 1..70 LOOP FOR n IN 1..3 LOOP BEGIN EXECUTE format('SELECT c%s::text FROM wide', i); "
  . 'EXCEPTION WHEN insufficient_privilege THEN NULL; END; END LOOP; END LOOP; END $$';
# The share is of one window: a machine may be too slow to use it up at once.
my $tries = 0;
poll_until('a count beyond the share', sub {
		refuses('seventy columns', 210, $many);
		$tries++;
		return audit("SELECT count(*) > 0 FROM dataprotect.audit_log WHERE $refused AND columns = '{}'") eq 't';
	});
pass('beyond its share without the columns');
is(audit("SELECT count(DISTINCT columns) FILTER (WHERE columns <> '{}') BETWEEN 1 AND 70, max(cardinality(columns)) FROM dataprotect.audit_log WHERE $refused AND columns::text ~ 'wide'"),
	't|1', 'one column each, as they were read');
as($node, 'nobody', $one);
kill9_node($node);
$node->start;
flush_log();
is(audit("SELECT $sum % 3000 FROM dataprotect.audit_log WHERE $refused"), (20 + 210 * $tries) % 3000, 'a crash loses no count');

# audit-names-the-wrong-role: values are those of the role that they were opened as.
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('mini');
CREATE ROLE lender LOGIN;
SELECT dataprotect.grant_access('mini', 'nobody', 'reveal'), dataprotect.grant_access('pii', 'lender', 'reveal');
CREATE TABLE harmless (s encrypted_text('mini'));
INSERT INTO harmless VALUES ('mine'), ('too');
GRANT SELECT ON harmless TO nobody;
CREATE FUNCTION lent() RETURNS SETOF text LANGUAGE plpgsql SECURITY DEFINER AS
	$$ BEGIN RETURN QUERY SELECT email::text FROM public.victim; END $$;
CREATE FUNCTION lent(i int) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT email::text FROM public.victim WHERE id = i';
ALTER FUNCTION lent() OWNER TO lender;
ALTER FUNCTION lent(int) OWNER TO lender;
GRANT lender TO nobody;
SQL
my $seen = 0;

sub opened
{
	my ($name, $sql, $wanted, $role) = @_;
	flush_log();
	$seen = audit('SELECT coalesce(max(seq), 0) FROM dataprotect.audit_log');
	allowed($node, $role || 'nobody', $sql, $name);
	flush_log();
	is(audit("SELECT role, sum(values_opened), string_agg(DISTINCT columns::text, ' '), string_agg(DISTINCT outcome, ' ') "
			  . "FROM dataprotect.audit_log WHERE seq > $seen AND event = 'value.revealed' GROUP BY role ORDER BY role"),
		$wanted, "$name: who opened how many of what");
	return;
}
my $lent = 'lender|5|{public.victim.email}|ok';
my $own = 'nobody|2|{public.harmless.s}|ok';
opened('a value of its own first', 'SELECT s::text FROM harmless UNION ALL SELECT * FROM lent()', "$lent\n$own");
opened('a value of its own last', 'SELECT * FROM lent() UNION ALL SELECT s::text FROM harmless', "$lent\n$own");
opened('by turns', 'SELECT s::text, lent(g) FROM harmless, generate_series(1, 5) g', "lender|10|{public.victim.email}|ok\nnobody|10|{public.harmless.s}|ok");
opened('nothing of its own', 'SELECT count(*) FROM lent()', $lent);
opened('SET ROLE inside the statement', "DO \$\$ BEGIN PERFORM s::text FROM harmless; SET LOCAL ROLE lender; PERFORM email::text FROM victim; RESET ROLE; END \$\$",
	"$lent\n$own");
opened('a cursor of one role, fetched by another',
	"BEGIN; SET LOCAL ROLE lender; DECLARE c CURSOR FOR SELECT email::text FROM victim; FETCH 2 FROM c; COMMIT", 'lender|2|{public.victim.email}|ok');
opened('rolled back', 'BEGIN; SELECT s::text FROM harmless UNION ALL SELECT * FROM lent(); ROLLBACK',
	"lender|5|{public.victim.email}|rolled_back\nnobody|2|{public.harmless.s}|rolled_back");
opened('undone by a savepoint', 'BEGIN; SAVEPOINT a; SELECT s::text FROM harmless UNION ALL SELECT * FROM lent(); ROLLBACK TO a; SELECT count(s::text) FROM harmless; COMMIT',
	"lender|5|{public.victim.email}|rolled_back\nnobody|4|{public.harmless.s}|ok rolled_back");
$node->safe_psql('postgres', join ";\n", map { "CREATE ROLE lender$_; SELECT dataprotect.grant_access('pii', 'lender$_', 'reveal'); "
		. "CREATE FUNCTION lent$_() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(email::text) FROM public.victim'; "
		. "ALTER FUNCTION lent$_() OWNER TO lender$_" } 10 .. 29);
opened('more roles than a statement has places for', 'SELECT ' . join(' + ', map { "lent$_()" } 10 .. 29, 10 .. 29),
	join "\n", map { "lender$_|10|{public.victim.email}|ok" } 10 .. 29);

# one-session-reserves-the-ring: room that is put aside is bounded, by session
# and by role; who has more fails, others go on.
sub start
{
	my ($role, $sql) = @_;
	my %self = (in => $sql, out => '', err => '');
	$self{h} = IPC::Run::start([ 'psql', '-XAtq', '-U', $role, '-d', $node->connstr('postgres') ],
		'<', \$self{in}, '>', \$self{out}, '2>', \$self{err});
	return \%self;
}

sub others_go_on
{
	my ($name) = @_;
	allowed($node, 'reader', "SET statement_timeout = '180s'; SELECT email FROM victim WHERE id = 1", "$name: a read");
	allowed($node, 'admin', "SET statement_timeout = '180s'; SELECT dataprotect.lockdown('incident'); SELECT dataprotect.lift_lockdown('over')",
		"$name: lockdown");
	return;
}
my $holder = start('searcher', "BEGIN;\n" . "SAVEPOINT s; SELECT FROM victim WHERE id = 1 AND email = 'x';\n" x 5000 . "SELECT 'filled';\n");
poll_until('savepoints', sub { $holder->{h}->pump_nb; return $holder->{out} =~ /filled/ });
others_go_on('5,000 savepoints');
$holder->{in} .= "ROLLBACK;\n\\q\n";
eval { $holder->{h}->finish };
is($holder->{err}, '', '5,000 savepoints: nor does the session itself fail');
flush_log();
is(audit("SELECT count(*), min(outcome), max(outcome) FROM dataprotect.audit_log WHERE session_role = 'searcher' AND event = 'value.revealed'"),
	'5000|rolled_back|rolled_back', '5,000 savepoints: all of it is in the log');

# Many sessions of one role, each in a statement that has compared something.
$node->safe_psql('postgres', 'CREATE ROLE gate LOGIN');
my $gate = start('gate', "BEGIN; SELECT pg_advisory_xact_lock(5); SELECT 'closed';\n");
poll_until('the gate', sub { $gate->{h}->pump_nb; return $gate->{out} =~ /closed/ });
my $script = $node->basedir . '/open.sql';
PostgreSQL::Test::Utils::append_to_file($script,
	"SELECT pg_advisory_xact_lock_shared(5) FROM victim WHERE id = 1 AND (email = 'x') IS NOT NULL;\n");
my ($bench_out, $bench_err) = ('', '');
my $bench = IPC::Run::start([ 'pgbench', '-n', '-c', '360', '-t', '1', '-U', 'searcher', '-f', $script, $node->connstr('postgres') ],
	'>', \$bench_out, '2>', \$bench_err);
poll_until('open statements', sub {
		$bench->pump_nb;
		my $waiting = $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE usename = 'searcher' AND wait_event_type = 'Lock'");
		my $failed = () = $bench_err =~ /too many unfinished statements/g;
		return $waiting + $failed == 360;
	});
my $failed = () = $bench_err =~ /too many unfinished statements/g;
cmp_ok($failed, '>', 0, "a role's open statements keep a part of the ring: $failed of 360 are refused");
# What a session keeps is the same in every ring, and a role's share is a quarter of each.
cmp_ok((360 - $failed) * 16 * 1024 / 256, '>=', 10_000, 'so a ring of 16 MB, the default, carries 10,000 sessions of one role');
others_go_on('hundreds of open statements');
$gate->{in} .= "COMMIT;\n\\q\n";
eval { $gate->{h}->finish };
eval { $bench->finish };
flush_log();
is(audit("SELECT count(*) FROM dataprotect.audit_log WHERE outcome = 'started'"), '0', 'all that was promised is in the log');

# What PostgreSQL itself refuses is in the log, also where a block catches the error, and
# without a flood: names of a role's that are tried beyond some are counted together.
$node->safe_psql('postgres', 'CREATE ROLE prober LOGIN; CREATE TABLE plain (i int); CREATE TABLE unread (email encrypted_text(\'pii\'))');
as($node, 'prober', "SELECT dataprotect.create_key('mine_alone')") for 1 .. 3;
as($node, 'prober', "DO \$\$ BEGIN PERFORM dataprotect.lockdown('mine_alone'); EXCEPTION WHEN insufficient_privilege THEN NULL; END \$\$");
as($node, 'prober', 'SELECT * FROM unread');
as($node, 'prober', 'SELECT i FROM plain');
flush_log();
my $refused = "FROM dataprotect.audit_log WHERE event = 'privilege.denied' AND session_role = 'prober' AND outcome = 'denied'";
is(audit("SELECT string_agg(o || ' ' || n, ', ' ORDER BY o) FROM (SELECT detail ->> 'object' AS o, sum((detail ->> 'denied')::int) AS n $refused GROUP BY 1) AS x"),
	'create_key 3, lockdown 1, unread 1', 'refused functions and tables are in the log, plain tables are not');
as($node, 'prober', join '', "\\set ON_ERROR_STOP 0\n", map { "SELECT * FROM dataprotect.$_;\n" } qw(key access_grant audit_head audit_batch audit_record sink hold alert epoch));
flush_log();
is(audit("SELECT sum((detail ->> 'denied')::int) $refused"), '14', 'none is missing where there are many');
unlike(audit("SELECT string_agg(detail::text, ' ') $refused"), qr/mine_alone/, 'and nothing of the statements is copied');

# What a role does with tables of its own neither keeps the collector waiting nor hides
# a name that is as long as names can be.
my $long = 'l' x 63;
$node->safe_psql('postgres', "CREATE ROLE longer LOGIN; CREATE ROLE stayer LOGIN; CREATE TABLE $long (email encrypted_text('pii'))");
as($node, 'longer', "SELECT * FROM $long");
my $stays = start('stayer', "CREATE TEMP TABLE caught (i int); REVOKE ALL ON caught FROM stayer;\nSELECT * FROM caught;\n"
	  . "BEGIN; ALTER TABLE caught ADD j int; SELECT 'stays';\n");
poll_until('the lock', sub { $stays->{h}->pump_nb; return $stays->{out} =~ /stays/ });
ok(flush_log(), 'the log goes on while a table that was refused is locked');
is(audit("SELECT session_role, detail ->> 'denied', detail ->> 'object' FROM dataprotect.audit_log WHERE event = 'privilege.denied' "
		  . "AND session_role IN ('longer', 'stayer')"), 'longer|1|', 'a name of 63 bytes is counted, tables without protected columns are not');
$stays->{in} .= "ROLLBACK;\n\\q\n";
eval { $stays->{h}->finish };

# Any number may be compared with seq.
is(audit("SELECT (SELECT count(*) FROM dataprotect.audit_log WHERE $_) = count(*) FROM dataprotect.audit_log"), 't', "all have $_")
  for q{seq > '-9223372036854775808'::bigint}, q{seq >= '-9223372036854775807'::bigint}, 'seq < 9223372036854775807', 'seq <= 9223372036854775807';
is(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $_"), '0', "none has $_")
  for q{seq <= '-9223372036854775808'::bigint}, q{seq = '-9223372036854775808'::bigint}, 'seq >= 9223372036854775807';

log_conceals($node);
$node->stop;
done_testing();
