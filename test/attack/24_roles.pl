# Rights by membership: who gives itself one, or lets it be given, leaves a
# record, whatever becomes of the transaction.  (membership-that-reveals-leaves-no-event)
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('roles');
my $new = $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000;
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE friend LOGIN;
CREATE ROLE between IN ROLE reader;
CREATE ROLE harmless;
CREATE GROUP readers IN ROLE reader;
SQL
$node->safe_psql('postgres', "GRANT $_ TO creator WITH ADMIN OPTION") for qw(reader between readers dataprotect_admin harmless);
$node->safe_psql('postgres', "REVOKE $_ FROM creator; GRANT $_ TO creator WITH ADMIN OPTION" . ($new ? ', INHERIT FALSE' : ''))
  for qw(reader between readers dataprotect_admin harmless);

my $listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \my $listen, '>', \my $alerts, '2>', \my $complaints);
$listen .= "LISTEN dataprotect_alert; SELECT 'listening';\n";
poll_until('a listener', sub { $listener->pump_nb; return $alerts =~ /listening/ });

my $seen = 0;

sub audit
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'auditor' ]);
}

sub records
{
	my ($role, $sql, $wanted, $name) = @_;
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	$seen = audit('SELECT coalesce(max(seq), 0) FROM dataprotect.audit_log');
	my ($out, $err, $state) = as($node, $role, $sql);
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	is(audit("SELECT event, session_role, outcome, detail::text FROM dataprotect.audit_log WHERE seq > $seen AND event LIKE 'role.%' ORDER BY seq"),
		$wanted, "$role: $name") or diag("$state $err");
	return;
}

records('super', 'GRANT reader TO friend', 'role.granted|super|ok|{"roles": "reader", "members": "friend"}', 'GRANT of a role that reveals');
records('super', 'REVOKE reader FROM friend', 'role.revoked|super|ok|{"roles": "reader", "members": "friend"}', 'REVOKE');
records('super', 'GRANT between TO friend; REVOKE between FROM friend',
	qq(role.granted|super|ok|{"roles": "between", "members": "friend"}\nrole.revoked|super|ok|{"roles": "between", "members": "friend"}),
	'a role that reveals through another');
records('super', 'GRANT dataprotect_admin TO friend; REVOKE dataprotect_admin FROM friend',
	qq(role.granted|super|ok|{"roles": "dataprotect_admin", "members": "friend"}\nrole.revoked|super|ok|{"roles": "dataprotect_admin", "members": "friend"}),
	'a role of the extension');
records('creator', 'GRANT reader TO creator', 'role.granted|creator|ok|{"roles": "reader", "members": "creator"}', 'membership for oneself')
  if !$new;
records('super', "BEGIN; GRANT reader TO super; ALTER ROLE super NOSUPERUSER; SELECT email FROM victim; ROLLBACK",
	qq(role.granted|super|rolled_back|{"roles": "reader", "members": "super"}\nrole.altered|super|rolled_back|{"role": "super", "superuser": "no"}),
	'what is rolled back is told');
records('super', "DO \$\$ BEGIN BEGIN GRANT reader TO friend; RAISE 'x'; EXCEPTION WHEN OTHERS THEN NULL; END; END \$\$",
	'role.granted|super|rolled_back|{"roles": "reader", "members": "friend"}', 'by a block that fails');
records('super', 'ALTER ROLE friend SUPERUSER; ALTER ROLE friend NOSUPERUSER CREATEROLE; ALTER ROLE friend NOCREATEROLE', join("\n",
		'role.altered|super|ok|{"role": "friend", "superuser": "yes"}',
		'role.altered|super|ok|{"role": "friend", "superuser": "no", "createrole": "yes"}',
		'role.altered|super|ok|{"role": "friend", "createrole": "no"}'), 'attributes');
records('super', 'ALTER GROUP readers ADD USER friend; ALTER GROUP readers DROP USER friend', join("\n",
		'role.altered|super|ok|{"role": "readers", "members": "friend"}',
		'role.altered|super|ok|{"role": "readers", "action": "drop", "members": "friend"}'), 'ALTER GROUP');
records('super', 'CREATE ROLE made IN ROLE reader ROLE friend', 'role.created|super|ok|{"role": "made", "members": "friend", "member_of": "reader"}',
	'CREATE ROLE as a member');
records('super', 'DROP ROLE made', 'role.dropped|super|ok|{"roles": "made"}', 'DROP ROLE of a member');
records('super', 'CREATE ROLE strong SUPERUSER; DROP ROLE strong', 'role.created|super|ok|{"role": "strong", "superuser": "yes"}', 'CREATE ROLE of a superuser');
records('super', "SET ROLE nobody; RESET ROLE; GRANT reader TO CURRENT_USER; REVOKE reader FROM SESSION_USER",
	qq(role.granted|super|ok|{"roles": "reader", "members": "super"}\nrole.revoked|super|ok|{"roles": "reader", "members": "super"}),
	'roles that are not named');
records('super', 'GRANT harmless TO friend; CREATE ROLE plain; ALTER ROLE plain PASSWORD NULL; DROP ROLE plain', '',
	'roles that have nothing to do with it');
records('nobody', 'GRANT reader TO nobody', '', 'what is refused did not happen');

# From another database, with or without the extension: roles are the server's.
$node->safe_psql('postgres', 'CREATE DATABASE plain');
$node->safe_psql('postgres', 'CREATE DATABASE second');
create_extension($node, 'second');
for my $database (qw(plain second))
{
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	$seen = audit('SELECT coalesce(max(seq), 0) FROM dataprotect.audit_log');
	as($node, 'super', 'GRANT reader TO friend; REVOKE reader FROM friend; CREATE ROLE nothing; DROP ROLE nothing', database => $database);
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	is(audit("SELECT event, session_role, detail ->> 'roles', detail ->> 'in_database' FROM dataprotect.audit_log WHERE seq > $seen AND event LIKE 'role.%' ORDER BY seq"),
		join("\n", "role.granted|super|reader|$database", "role.revoked|super|reader|$database", "role.dropped|super|nothing|$database"),
		"super: membership given in database $database");
	is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_record WHERE session_role = 'super' AND sealed IS NOT NULL AND get_byte(sealed, 0) = 0"),
		'0', "details from $database are sealed in the table");
}

poll_until('alerts', sub {
		$listen .= "SELECT 1;\n";
		$listener->pump_nb;
		return $alerts =~ /"role\.dropped"/;
	});
like($alerts, qr/Asynchronous notification "dataprotect_alert" with payload "\{"seq": \d+, "event": "role\.granted", "session_role": "super", "severity": "high"\}"/,
	'listeners are told');
$listen .= "\\q\n";
eval { $listener->finish };
like(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/audit alert: role\.granted.*\n.*"roles": "reader", "members": "super"/, 'and the server log');

# Who changes a setting, or puts something on a protected table, leaves a record, too.
sub changes
{
	my ($role, $sql, $wanted, $name) = @_;
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	$seen = audit('SELECT coalesce(max(seq), 0) FROM dataprotect.audit_log');
	my ($out, $err, $state) = as($node, $role, $sql);
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	is(audit("SELECT event, outcome, detail ->> 'command', coalesce(detail ->> 'setting', detail ->> 'table'), coalesce(detail ->> 'value', detail ->> 'name', '')
			FROM dataprotect.audit_log WHERE seq > $seen AND event IN ('setting.changed', 'definition.changed') ORDER BY seq"),
		join("\n", @$wanted), "$role: $name") or diag("$state $err");
	return;
}

changes('super', 'ALTER SYSTEM SET dataprotect.search_limit = 7', [ 'setting.changed|ok|ALTER SYSTEM|dataprotect.search_limit|7' ], 'ALTER SYSTEM');
changes('super', 'ALTER SYSTEM RESET dataprotect.search_limit', [ 'setting.changed|ok|ALTER SYSTEM|dataprotect.search_limit|' ], '... back');
changes('super', "ALTER ROLE reader SET dataprotect.search_limit = 9; ALTER ROLE reader RESET ALL",
	[ 'setting.changed|ok|ALTER ROLE|dataprotect.search_limit|9', 'setting.changed|ok|ALTER ROLE|all|' ], 'a setting of a role');
changes('super', "ALTER DATABASE postgres SET dataprotect.audit_mode = durable; ALTER DATABASE postgres RESET dataprotect.audit_mode",
	[ 'setting.changed|ok|ALTER DATABASE|dataprotect.audit_mode|durable', 'setting.changed|ok|ALTER DATABASE|dataprotect.audit_mode|' ], 'of a database');
changes('super', 'BEGIN; SET dataprotect.audit_mode = buffered; ROLLBACK', [ 'setting.changed|rolled_back|SET|dataprotect.audit_mode|buffered' ], 'of the session');
changes('reader', "SET dataprotect.purpose = 'care'; SET work_mem = '5MB'", [], 'what is a session\'s own');
changes('nobody', 'ALTER SYSTEM SET dataprotect.search_limit = 7', [], 'what is refused did not happen');
my $trigger = "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER spy BEFORE UPDATE ON victim FOR EACH ROW EXECUTE FUNCTION watch();";
changes('super', "$trigger ALTER TABLE victim DISABLE TRIGGER spy; DROP TRIGGER spy ON victim; DROP FUNCTION watch()",
	[ 'definition.changed|ok|CREATE TRIGGER|public.victim|spy', 'definition.changed|ok|ALTER TABLE|public.victim|', 'definition.changed|ok|DROP TRIGGER|public.victim|spy' ], 'a trigger');
changes('super', 'BEGIN; CREATE POLICY all_rows ON victim USING (true); ALTER TABLE victim ENABLE ROW LEVEL SECURITY; CREATE VIEW showing AS SELECT * FROM victim; CREATE TABLE other (i int); CREATE VIEW elsewhere AS SELECT * FROM other; ROLLBACK',
	[ 'definition.changed|rolled_back|CREATE POLICY|public.victim|all_rows', 'definition.changed|rolled_back|ALTER TABLE|public.victim|', 'definition.changed|rolled_back|CREATE VIEW|public.victim|showing' ],
	'a policy and a view, rolled back');

# A name that a command takes away is the next table's on the path afterwards.
changes('super', 'CREATE TEMP TABLE victim (); DROP TABLE victim; CREATE TEMP TABLE victim (i int); ALTER TABLE victim RENAME TO other; CREATE TEMP TABLE victim (i int); '
	  . 'ALTER TABLE victim RENAME i TO j; DROP TABLE victim',
	[], 'another table of that name');
changes('super', 'CREATE SCHEMA made CREATE VIEW showing AS SELECT email FROM public.victim CREATE TABLE beside (id int PRIMARY KEY) GRANT SELECT ON public.victim TO reader; '
	  . 'DROP SCHEMA made CASCADE; REVOKE SELECT ON victim FROM reader',
	[ 'definition.changed|ok|CREATE VIEW|public.victim|showing', 'definition.changed|ok|GRANT|public.victim|', 'definition.changed|ok|REVOKE|public.victim|' ],
	'parts of CREATE SCHEMA');
changes('super', q{BEGIN; CREATE SCHEMA taken; CREATE PROCEDURE taken.p(int, OUT int) LANGUAGE plpgsql AS 'BEGIN END'; CREATE PROCEDURE taken.p(int, int) LANGUAGE plpgsql AS 'BEGIN END'; }
	  . q{CREATE FUNCTION taken.f(public.victim, int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE OR REPLACE FUNCTION taken.f(public.victim, int) RETURNS int LANGUAGE sql AS 'SELECT 2'; DROP SCHEMA taken CASCADE; COMMIT},
	[ ('definition.changed|ok|CREATE FUNCTION|public.victim|f') x 2 ], 'functions of one name');

# Every kind of command that changes such a table, gives it away, or puts something over it; nothing for a table beside it.
my @kinds = (
	[ 'ALTER TABLE lab.kept ADD COLUMN more int', 'ALTER TABLE|lab.kept|' ],
	[ 'ALTER TABLE lab.kept RENAME COLUMN more TO less', 'ALTER TABLE|lab.kept|less' ],
	[ 'ALTER TABLE lab.kept RENAME TO held', 'ALTER TABLE|lab.kept|held' ],
	[ 'ALTER TABLE lab.held SET SCHEMA other', 'ALTER TABLE|lab.held|' ],
	[ 'ALTER TABLE other.held SET SCHEMA lab', 'ALTER TABLE|other.held|' ],
	[ 'CREATE INDEX by_n ON lab.held (n)', 'CREATE INDEX|lab.held|by_n' ],
	[ 'CREATE STATISTICS lab.s ON id, n FROM lab.held', 'CREATE STATISTICS|lab.held|' ],
	[ 'TRUNCATE lab.held, lab.beside', 'TRUNCATE TABLE|lab.held|' ],
	[ 'GRANT SELECT ON lab.held, lab.beside TO reader', 'GRANT|lab.held|' ],
	[ 'REVOKE ALL ON ALL TABLES IN SCHEMA lab FROM reader', 'REVOKE|lab.held|' ],
	[ 'CREATE PUBLICATION p FOR TABLE lab.beside', undef ],
	[ 'ALTER PUBLICATION p ADD TABLE lab.held', 'ALTER PUBLICATION|lab.held|p' ],
	[ 'CREATE PUBLICATION q FOR TABLES IN SCHEMA lab', 'CREATE PUBLICATION|lab.held|q' ],
	[ 'SET search_path = lab, public; CREATE PUBLICATION r FOR TABLES IN SCHEMA CURRENT_SCHEMA; RESET search_path', 'CREATE PUBLICATION|lab.held|r' ],
	[ 'CREATE MATERIALIZED VIEW lab.m AS SELECT id FROM lab.held', 'CREATE MATERIALIZED VIEW|lab.held|m' ],
	[ q{CREATE FUNCTION lab.f(lab.held) RETURNS int LANGUAGE sql AS 'SELECT 1'}, 'CREATE FUNCTION|lab.held|f' ],
	[ 'CREATE FUNCTION lab.g(OUT n bigint) LANGUAGE sql RETURN (SELECT count(*) FROM lab.held)', 'CREATE FUNCTION|lab.held|g' ],
	[ q{CREATE FUNCTION lab.h(int) RETURNS int LANGUAGE sql AS 'SELECT 1'}, undef ],
	[ 'CREATE RULE nothing AS ON DELETE TO lab.held DO INSTEAD NOTHING', 'CREATE RULE|lab.held|nothing' ],
	[ 'ALTER TABLE lab.beside ADD COLUMN more int', undef ],
	[ 'REASSIGN OWNED BY keeper TO reader', 'REASSIGN OWNED|lab.held|' ],
	[ 'DROP OWNED BY reader CASCADE', 'DROP OWNED|lab.held|' ],
	[ q{CREATE TABLE lab.again (id int, email encrypted_text('pii'))}, undef ],
	[ 'ALTER TABLE lab.again DROP COLUMN email', 'ALTER TABLE|lab.again|' ],
	[ 'ALTER TABLE lab.again DROP COLUMN id', undef ],
	[ q{CREATE TABLE lab.third (id int, email encrypted_text('pii')); DROP TABLE lab.third}, 'DROP TABLE|lab.third|' ],
	[ q{CREATE TABLE lab.fourth (id int, email encrypted_text('pii')); DROP SCHEMA lab CASCADE}, 'DROP SCHEMA|lab.fourth|' ]);
changes(
	'super',
	"CREATE ROLE keeper; CREATE SCHEMA lab; CREATE SCHEMA other; GRANT ALL ON SCHEMA lab, other TO keeper, reader; CREATE TABLE lab.kept (id int PRIMARY KEY, n int, email encrypted_text('pii')); "
	  . "CREATE TABLE lab.beside (id int); ALTER TABLE lab.beside OWNER TO keeper; ALTER TABLE lab.kept OWNER TO keeper; " . join('; ', map { $_->[0] } @kinds),
	[ map { "definition.changed|ok|$_" } 'ALTER TABLE|lab.kept|', grep { defined } map { $_->[1] } @kinds ],
	'every kind of command');

# What an act of ours changes on its way is told by its own event; what somebody's code does that it meets, by that code's.
$node->safe_psql('postgres', q{CREATE ROLE maker LOGIN; GRANT maker TO super; CREATE SCHEMA shop AUTHORIZATION maker; SET ROLE maker;
	CREATE TABLE shop.told (id int, email encrypted_text('pii')); CREATE TABLE shop.act (id int PRIMARY KEY, phone text UNIQUE, note text); INSERT INTO shop.act VALUES (1, '1', 'a');
	CREATE FUNCTION shop.meddle(int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN IF current_setting('shop.now', true) = 'yes' THEN GRANT SELECT ON shop.told TO PUBLIC; END IF; RETURN true; END$$;
	CREATE FUNCTION shop.quiet(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN shop.meddle($1); END$$;
	CREATE INDEX ON shop.act (shop.quiet(id))});
changes('super', q{CALL dataprotect.encrypt_column('shop.act', 'phone', 'pii', searchable => true); CREATE INDEX ON shop.act (id)},
	[ 'definition.changed|ok|CREATE INDEX|shop.act|' ], 'an act of ours, and a command after it');
changes('super', q{SET shop.now = yes; CALL dataprotect.encrypt_column('shop.act', 'note', 'pii')},
	[ 'definition.changed|ok|GRANT|shop.told|' ], q{what an owner's function does meanwhile});

# What leaves the database by a function of ours does as well.
$node->safe_psql('postgres', 'SELECT dataprotect.export_erasures() IS NOT NULL');
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is(audit("SELECT outcome, detail ->> 'erasures' FROM dataprotect.audit_log WHERE event = 'erasures.exported'"), 'ok|0', 'a list of erasures that leaves is in the log');

log_conceals($node);
$node->stop;
done_testing();
