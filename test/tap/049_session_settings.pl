# If this fails, a setting that any session may choose (parallel plans, JIT, little
# memory, no temporary files, a small stack, timeouts, a transaction that is read-only)
# changes what a statement over protected columns gives, leads to an internal error, or
# ends the server.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('session', conf => "fsync = off\nlog_error_verbosity = verbose\nmax_worker_processes = 16\n");
create_extension($node);
my $force = $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000 ? 'debug_parallel_query' : 'force_parallel_mode';
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email'), dataprotect.grant_access('pii', current_user::regrole, 'reveal');
DO $$ BEGIN EXECUTE format('GRANT dataprotect_auditor TO %I', current_user); END $$;
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii', 'searchable'), o encrypted_int4('pii', 'ordered'), h encrypted_text('pii'), d encrypted_jsonb('pii'));
INSERT INTO person SELECT g, 'mail' || g, g, 'h' || g, jsonb_build_object('a', g) FROM generate_series(1, 3000) g;
CREATE UNIQUE INDEX ON person (email encrypted_text_token_ops);
CREATE INDEX ON person (o);
CREATE INDEX ON person USING hash (h);
ANALYZE person;
SQL

# What is asked; all of it is rolled back.
my $script = <<'SQL';
\set ON_ERROR_ROLLBACK on
\set VERBOSITY sqlstate
BEGIN;
SET LOCAL client_min_messages = error;
SELECT count(*), min(email::text), max(o::int4) FROM person;
SELECT id FROM person WHERE email = 'mail77';
SELECT id FROM person WHERE h = 'h78';
SELECT id, o FROM person ORDER BY o DESC LIMIT 3;
SELECT count(DISTINCT h) FROM person;
SELECT count(*) FROM person a JOIN person b ON a.h = b.h;
SELECT count(*) FROM (SELECT h, count(*) FROM person GROUP BY h) s;
SELECT sum((d ->> 'a')::int) FROM person;
UPDATE person SET email = email || 'x' WHERE id < 100;
INSERT INTO person SELECT g, 'new' || g, g, 'h' || g, '{}' FROM generate_series(10001, 10100) g;
INSERT INTO person (id, email) VALUES (1, 'zz') ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email RETURNING email;
DELETE FROM person WHERE o BETWEEN 20 AND 40;
CREATE TABLE p (id int, v text);
INSERT INTO p SELECT g, 'v' || g FROM generate_series(1, 300) g;
CREATE INDEX ON p (v);
CALL dataprotect.encrypt_column('p', 'v', 'pii', searchable => true);
SELECT count(*) FROM p WHERE v = 'v7';
CALL dataprotect.decrypt_column('p', 'v');
SELECT count(*) FROM p WHERE v = 'v7';
SELECT count(*) FROM dataprotect.verify('person');
SELECT dataprotect.grant_access('pii', 'dataprotect_auditor', 'mask') IS NOT NULL;
SELECT dataprotect.place_hold('person', 'id = 4', 'r') > 0;
SELECT count(*) > 3 FROM dataprotect.check_setup();
SELECT length(dataprotect.report()) > 1000;
SELECT ok FROM dataprotect.verify_audit_log();
SELECT count(*) FROM dataprotect.verify_policy();
SELECT count(*) > 0 FROM dataprotect.audit_log;
SELECT count(*) >= 0 FROM dataprotect.find_personal_data('public');
ROLLBACK;
SQL

sub answers
{
	my ($settings) = @_;
	local $ENV{PGOPTIONS} = join ' ', map { "-c $_" } @$settings;
	my ($rc, $out, $err) = $node->psql('postgres', $script, on_error_stop => 0, on_error_die => 0);
	return ($out, $err);
}

# settings, and the errors that they may bring
my @settings = (
	[ [ 'jit=on', 'jit_above_cost=0', 'jit_inline_above_cost=0', 'jit_optimize_above_cost=0' ] ],
	[ [ "$force=on", 'parallel_setup_cost=0', 'parallel_tuple_cost=0', 'min_parallel_table_scan_size=0', 'min_parallel_index_scan_size=0' ] ],
	[ [ 'work_mem=64kB', 'maintenance_work_mem=1MB', 'hash_mem_multiplier=1', 'logical_decoding_work_mem=64kB' ] ],
	[ [ 'max_stack_depth=100kB' ] ],
	[ [ 'temp_file_limit=0', 'work_mem=64kB' ], qr/53400|55000/ ],
	[ [ 'temp_buffers=100', 'effective_io_concurrency=0', 'vacuum_cost_delay=1', 'commit_delay=1000', 'commit_siblings=0' ] ],
	[ [ 'default_transaction_isolation=serializable' ] ],
	[ [ 'default_transaction_isolation=repeatable\ read', 'plan_cache_mode=force_generic_plan' ] ],
	[ [ 'default_transaction_read_only=on' ], qr/25006|42P01/ ],
	[ [ 'lock_timeout=1', 'deadlock_timeout=1' ] ],
	[ [ 'enable_seqscan=off', 'enable_indexscan=off', 'enable_bitmapscan=off', 'enable_hashjoin=off', 'enable_mergejoin=off' ] ],
	[ [ 'geqo_threshold=2', 'from_collapse_limit=1', 'join_collapse_limit=1', 'cursor_tuple_fraction=0', 'constraint_exclusion=on' ] ],
	[ [ 'session_replication_role=replica', 'row_security=off', 'check_function_bodies=off', 'lo_compat_privileges=on' ] ],
	[ [ 'client_encoding=LATIN1', 'lc_messages=C', 'DateStyle=German', 'IntervalStyle=iso_8601', 'TimeZone=Asia/Kathmandu' ] ],
	[ [ 'log_parser_stats=on', 'log_planner_stats=on', 'log_executor_stats=on', 'track_functions=all', 'track_io_timing=on' ] ],
	[ [ 'debug_print_parse=on', 'debug_print_rewritten=on', 'debug_print_plan=on', 'log_min_duration_statement=0' ] ]);

my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
my ($expected, $complaints) = answers([]);
is($complaints, '', 'with the settings of the server all is answered');
my @expected = split /\n/, $expected;
cmp_ok(scalar(@expected), '>', 20, 'each statement has an answer');
for my $case (@settings)
{
	my ($chosen, $allowed) = @$case;
	my ($out, $err) = answers($chosen);
	my $name = join ' ', @$chosen;
	if (!$allowed)
	{
		is($out, $expected, "the same answers with $name");
		is($err, '', 'and no error');
		next;
	}
	# what is answered is answered right
	my %right;
	$right{$_}++ for @expected;
	is(join("\n", grep { !$right{$_}-- } split /\n/, $out), '', "no other answer with $name");
	is(join("\n", grep { /ERROR|FATAL|PANIC/ && !/$allowed/ } split /\n/, $err), '', 'and no other error');
	like($err, $allowed, 'though there is one');
}

# A timeout that ends a statement wherever it is.
my %states;
for my $ms (1, 3, 10, 40, 150)
{
	my ($out, $err) = answers([ "statement_timeout=$ms" ]);
	$states{$1}++ while $err =~ /(?:ERROR|FATAL):\s+(\w{5})/g;
}
is(join(' ', grep { !/^(?:57014|25P0[123]|42P01|55000)$/ } sort keys %states), '', 'no internal error by statement_timeout');
is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server was not restarted');
is((answers([]))[0], $expected, 'and is what it was');
my $log = slurp_file($node->logfile);
is(join("\n", grep { /PANIC|TRAP:|terminated by signal| XX000/ } split /\n/, $log), '', 'nothing went wrong in the log');
unlike($log =~ s/^.*debug_print.*$//gmr, qr/'mail77'|mail77/, 'which has no constant, printed trees included');
$node->stop;
done_testing();
