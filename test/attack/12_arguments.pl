# Functions of the extension called by hand, with what no procedure of ours would
# hand them: rows that are none, other types, boundary values, NULL, statements of
# others.  Who may not call one is told so; whoever may gets a clear error.
use strict;
use warnings;

use Test::More;

use PostgreSQL::Test::Utils;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('arguments', conf => "log_min_messages = log\n");
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE account_owner LOGIN IN ROLE dataprotect_admin;
CREATE ROLE writer LOGIN;
CREATE ROLE view_owner LOGIN;
CREATE TABLE acct (id int PRIMARY KEY, email encrypted_text('pii'), note text);
ALTER TABLE acct OWNER TO account_owner;
SQL
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'account_owner' ]);
SELECT dataprotect.create_account_type('acct', 'acct', 'id', '30 days', '90 days');
SELECT dataprotect.bind_subject('acct', 'acct', 'id');
INSERT INTO acct SELECT g, 'user' || g || '@example.org' FROM generate_series(1, 20) g;
GRANT SELECT (email) ON acct TO nobody;
GRANT INSERT (id, email), SELECT, UPDATE (note) ON acct TO writer;
GRANT SELECT, INSERT, UPDATE ON acct TO view_owner;
SQL

# --- reseal-row-reads-memory, reseal-row-crash: whatever takes any type is handed others
my @polymorphic = split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT format('%s(%s)', p.oid::regproc, string_agg(CASE WHEN t.typtype = 'p' THEN '%s' ELSE 'NULL::' || t.oid::regtype END, ', ' ORDER BY a.n))
  FROM pg_proc p, unnest(p.proargtypes) WITH ORDINALITY a(oid, n), pg_type t
 WHERE p.pronamespace = 'dataprotect'::regnamespace AND t.oid = a.oid
 GROUP BY p.oid HAVING bool_or(t.typtype = 'p')
SQL
ok(@polymorphic >= 2, 'there are functions that take any type');
for my $role (qw(super admin nobody))
{
	for my $call (@polymorphic, "dataprotect._reseal_row(%s, 'x')", "dataprotect._reseal_row(%s, 'objsubid')", "dataprotect._sealed_for(%s, 'acct', '1')")
	{
		for my $value ('1', 'NULL', "'x'::text", "'{}'::text[]", 'row(1)', "decode(repeat('ff', 64), 'hex')",
			"decode('ffffffff01000000ffffffff00000400030018', 'hex')", "(SELECT d FROM pg_description d LIMIT 1)")
		{
			refused($node, $role, sprintf("SELECT $call", $value), "reseal-row-crash: $call of $value", qr/^(?!none|XX|57|58|08)/);
		}
	}
}

# --- events-that-never-happened
$node->safe_psql('postgres', "SELECT dataprotect.flush_audit_log('60 s')");
my $events = "SELECT count(*) FROM dataprotect.audit_log WHERE event IN ('account.exported', 'column.encrypted', 'column.decrypted', 'column.reencrypted')";
for my $role (qw(admin account_owner auditor nobody))
{
	denied($node, $role, "SELECT $_", "events-that-never-happened: $_")
	  for "dataprotect._column_event('column.decrypted', 'pg_class', 'relname', 'pii')",
		"dataprotect._column_event('column.encrypted', 'pg_class', 'relname', 'no such key')",
		"dataprotect._event('key.destroyed', 'pii', '{}')",
		"dataprotect._log_export_account('acct', '4711', '{}')",
		"dataprotect._log_encrypt_column_at_once('acct', 'note', 'pii', false, false, false, false, '[]')",
		"dataprotect._log_encrypt_columns_at_once('acct', '{}', '[]')",
		"dataprotect._log_decrypt_column('acct', 'email', 'pii')",
		"dataprotect._do_export_account('acct', '1')",
		"dataprotect._do_encrypt_column_at_once('acct', 'note', 'pii', false, false, false, false)";
}
denied($node, 'admin', "SELECT dataprotect._reencrypt_begin('acct', '{email}')", "events-that-never-happened: reencrypt of another's table");
denied($node, 'admin', "SELECT dataprotect._reencrypt_end('acct', '{email}')", "events-that-never-happened: the end of it");
refused($node, 'account_owner', "CALL dataprotect.encrypt_column('pg_class', 'relname', 'pii')", 'events-that-never-happened: a call that fails');
$node->safe_psql('postgres', "SELECT dataprotect.flush_audit_log('60 s')");
is($node->safe_psql('postgres', $events, extra_params => [ '-U', 'auditor' ]), '0', 'events-that-never-happened: none is in the log');
allowed($node, 'account_owner', "SELECT dataprotect.export_account('acct', '1')", 'an export that happened');
allowed($node, 'account_owner', "CALL dataprotect.encrypt_column('acct', 'note', 'pii')", 'a column that was encrypted');
$node->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii')");
$node->safe_psql('postgres', "CALL dataprotect.reencrypt('victim')", extra_params => [ '-U', 'super' ]);
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'account_owner', 'reveal')");
allowed($node, 'account_owner', "CALL dataprotect.decrypt_column('acct', 'note')", 'a column that was decrypted');
$node->safe_psql('postgres', "SELECT dataprotect.flush_audit_log('60 s')");
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT event, ' ' ORDER BY event) FROM dataprotect.audit_log WHERE event ~ '^(account.exported|column.(de|en|re))'",
		extra_params => [ '-U', 'auditor' ]),
	'account.exported column.decrypted column.encrypted column.reencrypted', 'what happened is in the log');

# --- account-of-a-value
my $asks = "SELECT g FROM (SELECT email FROM acct OFFSET 11 LIMIT 1) x, generate_series(1, 20) g WHERE dataprotect._sealed_for(x.email, 'acct', g::text)";
denied($node, 'nobody', $asks, 'account-of-a-value: a stranger asks in a loop');
denied($node, 'nobody', "CREATE TEMP VIEW v AS $asks; SELECT * FROM v", 'account-of-a-value: ... through a view');
denied($node, 'nobody', "CREATE TEMP TABLE t (v encrypted_text('pii'), CHECK (dataprotect._sealed_for(v, 'acct', '1'))); INSERT INTO t SELECT email FROM acct",
	'account-of-a-value: ... through a CHECK of his own');
denied($node, 'nobody', "CREATE FUNCTION pg_temp.f(anyelement) RETURNS bool LANGUAGE sql AS \$\$ SELECT dataprotect._sealed_for(\$1, 'acct', '12') \$\$; SELECT pg_temp.f(email) FROM acct",
	'account-of-a-value: ... through a function');
refused($node, 'nobody', "SELECT email FROM acct; SET ROLE writer", 'account-of-a-value: a stranger stays one');

# ... and whoever writes goes on, however little else he may
allowed($node, 'writer', "INSERT INTO acct (id, email) VALUES (101, 'w\@example.org')", 'a writer of two columns');
allowed($node, 'writer', "COPY acct (id, email) FROM STDIN;\n102\tc\@example.org\n\\.\n", 'a writer by COPY');
allowed($node, 'writer', "UPDATE acct SET note = 'x' WHERE id = 101", 'a writer of another column');
$node->safe_psql('postgres', 'CREATE VIEW acct_view AS SELECT * FROM acct; GRANT ALL ON acct_view TO nobody',
	extra_params => [ '-U', 'view_owner' ]);
allowed($node, 'nobody', "INSERT INTO acct_view (id, email) VALUES (103, 'v\@example.org'), (104, 'u\@example.org')", 'a writer through a view');
allowed($node, 'nobody', "UPDATE acct_view SET email = 'n\@example.org' WHERE id = 104", 'a writer through a view, again');
denied($node, 'nobody', $asks, 'account-of-a-value: who writes through a view knows his own rows, not others');
refused($node, 'writer', "INSERT INTO acct (id, email) SELECT 105, email FROM acct WHERE id = 3", 'a paste', qr/^23514/);
$node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'account_owner' ]);
ALTER TABLE acct DISABLE TRIGGER zz_dataprotect_subject;
SQL
refused($node, 'writer', "INSERT INTO acct (id, email) SELECT 106, email FROM acct WHERE id = 3", 'a paste where the trigger was switched off', qr/^23514/);
refused($node, 'nobody', "INSERT INTO acct_view (id, email) SELECT 106, email FROM acct_view WHERE id = 3", '... through a view', qr/^(23514|42501)/);
$node->safe_psql('postgres', 'ALTER TABLE acct ENABLE ALWAYS TRIGGER zz_dataprotect_subject', extra_params => [ '-U', 'account_owner' ]);

# --- every function, with random and boundary values of its declared types
my $state = $ENV{DP_ARGUMENT_SEED} || 20261127;
sub random_below
{
	$state = ($state * 1103515245 + 12345) % 2147483648;
	return int($state / 65536) % $_[0];
}
sub pick { return $_[ random_below(scalar @_) ]; }

my @texts = map { "'$_'" } '', 'pii', 'nosuch', 'acct', '1', 'a' . 'b' x 300, 'x' x 70000, '%s%n%x', '\\\\', '{"a": 1}', '(50)', 'full', q{partial(1,''x'',2)},
  "\xc3\xa9\xe2\x82\xac", 'file:///etc/passwd', 'file://', 'aws-kms://x?region=y', 'column.encrypted', 'a', 'requested', 'email', 'i > 0',
  'SELECT 1', 'SELECT NULL', 'SELECT', q{SELECT ''x''::name}, 'VALUES (1), (2)', 'SET x.y = 1', 'SELECT 1; SELECT 2',
  '9999999999999999999999', '-1', 'enc:v1:AAAA', 'enc:v1:' . 'A' x 90;
my @int8 = qw(0 1 -1 2 7 255 32768 2147483647 -2147483648 9223372036854775807 -9223372036854775808);
my @rel = ("'victim'", "'acct'", "'pg_class'", "'dataprotect.key'", "'dataprotect.keys'", "'victim_ord'", "'pg_toast.pg_toast_1255'", '0', '1', '4294967295', "'dataprotect.audit_record'");
my @hex = ('', '00', '01', 'ff', 'ff' x 60, '01' . '00' x 36, '00' x 61, '5b' x 4000, '41' x 37);
my @any = ('1', '1.5', "'x'::text", "'{}'::text[]", "'{1,NULL}'::int[]", 'NULL::int', 'row(1)', 'row()', "row('x', NULL)", 'true', "'x'::name", "'\\xffff'::bytea",
	"'x'::encrypted_text", "(SELECT v FROM victim v LIMIT 1)", "(SELECT email FROM victim LIMIT 1)", "(SELECT n FROM victim LIMIT 1)",
	"(SELECT d FROM pg_description d LIMIT 1)", "'x'::varchar(3)", "'[1,2)'::int8range", "'12'::cstring", "now()", "'[]'::jsonb", "'r'::\"char\"",
	"ARRAY['x'::encrypted_text]", "5::information_schema.cardinal_number", "'(0,1)'::tid");
my %pool = (
	text => \@texts, varchar => \@texts, bpchar => \@texts, name => \@texts, cstring => \@texts, '"char"' => [ map { "'$_'" } '', 'a', 's', 'd', "\xc3\xa9", 'x' ],
	xml => [ "'<a/>'", "''" ], json => [ "'{}'", "'[1]'", "'null'" ], bool => [ 'true', 'false' ],
	jsonb => [ "'{}'", "'[1]'", "'null'", "'{\"version\": 1}'", "'{\"database_uid\": \"x\", \"keys\": [1], \"epochs\": {}}'", "'[[[[1]]]]'", "'{\"format\": 1, \"key_versions\": [null]}'" ],
	int2 => [ 0, 1, -1, 2, 7, 32767, -32768 ], int4 => [ @int8[ 0 .. 8 ] ], int8 => \@int8, oid => [ 0, 1, 16384, 2200, 4294967295, "'victim'::regclass", "'text'::regtype" ],
	float4 => [ 0, 1.5, "'NaN'", "'Infinity'", -1 ], float8 => [ 0, 0.5, 1, "'NaN'", "'-Infinity'", -1, 1e300 ], numeric => [ 0, "'NaN'", '1e1000', '-0.5' ], money => [ 1 ],
	interval => [ map { "'$_'" } '0', '1 s', '-1 day', '178000000 years', '1 mon -1 us' ],
	timestamptz => [ map { "'$_'" } 'infinity', '-infinity', 'now', '0001-01-01 BC', '294276-12-31' ], timestamp => [ "'infinity'", "'now'" ], date => [ "'infinity'", "'now'", "'4713-01-01 BC'" ],
	time => [ "'0:0'", "'24:00'" ], timetz => [ "'0:0'" ], uuid => [ "'00000000-0000-0000-0000-000000000000'", 'gen_random_uuid()' ],
	inet => [ "'::1'", "'10.0.0.0/8'" ], cidr => [ "'10.0.0.0/8'" ], bit => [ "B'1'" ], bytea => [ map { "decode('$_', 'hex')" } @hex ], tid => [ map { "'$_'" } '(0,0)', '(0,1)', '(4294967295,65535)', '(1,0)' ],
	int8range => [ map { "'$_'" } 'empty', '(,)', '[0,1)', '[-5,99999999999]' ], regclass => \@rel, regtype => [ "'text'", "'encrypted_text'", "'victim'", "'anyelement'", '0', '4294967295', "'internal'", "'int4[]'" ],
	regrole => [ "'nobody'", "'super'", '0', '4294967295' ], regprocedure => [ '0', "'now()'" ], regproc => [ '0', "'now'" ], anyelement => \@any, record => [ 'row(1)', "row('x', NULL)" ],
	pg_node_tree => [ '(SELECT adbin FROM pg_attrdef LIMIT 1)', '(SELECT ev_action FROM pg_rewrite LIMIT 1)', '(SELECT conbin FROM pg_constraint WHERE conbin IS NOT NULL LIMIT 1)' ],
);
my %array = (text => 1, name => 1, int8 => 1, oid => 1, tid => 1, bytea => 1, int4 => 1, regtype => 1, '"char"' => 1, cstring => 1);

# A value of a type as SQL; NULL now and then, and where no value can be made.
sub value
{
	my ($type) = @_;
	return "NULL::$type" if random_below(12) == 0 && $type ne 'internal';
	return "('x'::$type)" if $type eq 'encrypted_text' && random_below(2);
	return "(SELECT " . pick(qw(email tok ord)) . ' FROM victim ORDER BY id LIMIT 1)' if $type eq 'encrypted_text';
	return '(SELECT ' . { encrypted_int4 => 'n', encrypted_numeric => 'amount', encrypted_date => 'born', encrypted_jsonb => 'doc', encrypted_bytea => 'raw' }->{$type} . ' FROM victim ORDER BY id LIMIT 1)'
	  if $type =~ /^encrypted_(?:int4|numeric|date|jsonb|bytea)$/;
	return pick('NULL', "(SELECT t FROM $type t LIMIT 1)") if $type =~ /^dataprotect\./;
	if ($type =~ /^(.*)\[\]$/ && $array{$1})
	{
		my $element = $1;
		return pick("'{}'::$type", "ARRAY[NULL]::$type", "'{{}}'::$type", 'ARRAY[' . join(', ', map { value($element) } 0 .. random_below(3)) . "]::$type",
			"ARRAY[ARRAY[" . value($element) . "]]::$type");
	}
	return 'NULL' if !$pool{$type};
	my $literal = pick(@{ $pool{$type} });
	return $type =~ /^any|^record$|^pg_node_tree$/ ? $literal : "$literal\::$type";
}

my @functions = map { [ split /\|/ ] } split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT CASE p.prokind WHEN 'p' THEN 'CALL ' ELSE 'SELECT ' END || p.oid::regproc,
       COALESCE((SELECT string_agg(CASE t.typname WHEN 'char' THEN '"char"' WHEN '_char' THEN '"char"[]'
                                        ELSE CASE WHEN t.typnamespace = 'dataprotect'::regnamespace THEN t.oid::regtype::text
                                                  WHEN t.typcategory = 'A' THEN ltrim(t.typname, '_') || '[]' ELSE t.typname END END, ',' ORDER BY a.n)
                   FROM unnest(p.proargtypes) WITH ORDINALITY a(oid, n) JOIN pg_type t ON t.oid = a.oid), ''),
       (p.pronamespace = 'dataprotect'::regnamespace)::int
  FROM pg_proc p
 WHERE p.oid IN (SELECT d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                  WHERE d.deptype = 'e' AND d.classid = 'pg_proc'::regclass AND e.extname = 'dataprotect')
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
 ORDER BY p.oid::regprocedure::text COLLATE "C"
SQL
ok(@functions > 500, scalar(@functions) . ' functions are called');

my $rounds = $ENV{DP_ARGUMENT_ROUNDS} || 12;
for my $role (qw(super admin auditor nobody))
{
	my ($script, $calls) = ("SET statement_timeout = '1s';\nSET lock_timeout = '500ms';\n", 0);
	for my $function (@functions)
	{
		my ($name, $types, $ours) = @$function;
		my @types = split /,/, $types;
		for (1 .. (@types == 0 ? 1 : $ours ? $rounds : 2))
		{
			my $call = "$name(" . join(', ', map { value($_) } @types) . ')';
			$script .= "\\echo $calls\n" . ($name =~ /^CALL/ && random_below(2) ? "$call;\n" : "BEGIN;\n$call;\nROLLBACK;\n");
			$calls++;
		}
	}
	my ($out, $err) = ('', '');
	my $file = PostgreSQL::Test::Utils::tempdir . "/$role.sql";
	append_to_file($file, $script);
	my $rc = $node->psql('postgres', "\\set VERBOSITY verbose\n\\i $file\n", stdout => \$out, stderr => \$err, on_error_stop => 0,
		extra_params => [ '-U', $role ], timeout => 600, timed_out => \my $timed_out);
	my @internal = $err =~ /^(psql[^\n]*ERROR:\s+XX000:[^\n]*)/mg;
	is($rc, 0, "$role: the session lived through $calls calls") or diag(substr($err, -2000), substr($out, -300));
	is(scalar @internal, 0, "$role: no internal error") or diag(join "\n", @internal[ 0 .. ($#internal < 30 ? $#internal : 30) ]);
	my @quoted = grep { /[^\x09\x20-\x7e\x80-\xff]/ || length > 300000 } split /\n/, $err;
	is(scalar @quoted, 0, "$role: no message quotes memory") or diag(map { substr($_, 0, 300) . "\n" } @quoted);
	unlike($out . $err, qr/Zq9x|7712345\d|WnE5e/, "$role: no secret came out");
}
ok(!$node->log_contains(qr/was terminated by signal|all server processes terminated/), 'no server process crashed');
is($node->safe_psql('postgres', 'SELECT 1'), '1', 'the server answers');

done_testing();
