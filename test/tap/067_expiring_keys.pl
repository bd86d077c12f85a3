# If this fails, values under an expiring key are shown after their time, or are
# destroyed before it, because of a clock or of a worker that does not run.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('expiring', conf => "dataprotect.max_clock_step = '20d'\n");
$node->safe_psql('postgres', 'CREATE DATABASE lab');
create_extension($node, 'lab');
sub sql { return $node->safe_psql('lab', $_[0]); }

# The server's wall clock is that many days ahead of this machine's.
sub on_day
{
	my ($days, %opt) = @_;
	$node->stop;
	start_at($node, "${days}d", confirm => 0);
	sql("SELECT dataprotect.confirm_clock('the test moved it')") if $opt{believed};
	return;
}

# What somebody who may read everything finds, and by whatever way.
sub shown
{
	return $node->safe_psql('lab', <<'SQL', extra_params => [ '-U', 'reader' ]);
SELECT string_agg(id || '=' || coalesce(e || '', '-'), ' ' ORDER BY id),
       (SELECT count(*) FROM t WHERE e = 'first'), (SELECT count(*) FROM t WHERE e = 'second'),
       (SELECT string_agg(id || '=' || coalesce(email || '', '-'), ' ' ORDER BY id) FROM acc) FROM t
SQL
}

sub states { return sql("SELECT string_agg(version || state, ' ' ORDER BY version) FROM dataprotect.key_versions WHERE name = 'k' AND purpose = 'data' AND version <= 2"); }

sql(<<'SQL');
CREATE ROLE reader LOGIN;
SELECT dataprotect.create_key('k', keep => '60 days', rotation_period => '5 days'), dataprotect.create_key('n');
SELECT dataprotect.grant_access(k, 'reader', 'reveal') FROM unnest('{k,n}'::text[]) k;
CREATE TABLE t (id int, e encrypted_text('k'), n encrypted_text('n'));
CREATE INDEX ON t USING hash (e);
CREATE TABLE acc (id int PRIMARY KEY, email encrypted_text('k'), note text);
GRANT SELECT, INSERT, UPDATE ON t, acc TO reader;
SELECT dataprotect.create_account_type('acc', 'acc', 'id'); SELECT dataprotect.bind_subject('acc', 'acc', 'id');
INSERT INTO t VALUES (1, 'first', 'x'); INSERT INTO acc VALUES (1, 'one');
SQL
my $export = sql('SELECT dataprotect.export_keys()');
is(shown(), "1=first|1|0|1=one", 'what was sealed on the first day is shown');

on_day(10);
poll_sql($node, 'lab', "SELECT current_version FROM dataprotect.keys WHERE name = 'k'", '2');
sql("INSERT INTO t VALUES (2, 'second', 'x'); INSERT INTO acc VALUES (2, 'two')");
is(shown(), "1=first 2=second|1|1|1=one 2=two", 'and ten days later, with what came then');
$node->safe_psql('lab', "CALL dataprotect.reencrypt('t'); CALL dataprotect.reencrypt('acc'); UPDATE acc SET note = 'moved'");
is(sql("SELECT string_agg(v.rel::text || v.version || '=' || v.\"values\", ' ' ORDER BY v.rel::text, v.version) FROM dataprotect.verify() v WHERE v.key = 'k'"),
	'acc1=1 acc2=1 t1=1 t2=1', 'a value keeps the period that it was sealed in');

on_day(61, believed => 1);
is(shown(), "1=- 2=second|0|1|1=- 2=two", 'a period that is over shows nothing, before any worker has destroyed it');
like(states(), qr/^1expired 2(active|retired)$/, 'and the view says so');
is(sql('SELECT dataprotect._expire_versions()'), '0', 'nothing is destroyed as long as a clock may be off');

on_day(0);
poll_sql($node, 'lab', 'SELECT NOT ok FROM dataprotect.clock_status');
is(shown(), "1=- 2=second|0|1|1=- 2=two", 'a clock that is set back brings nothing back');

on_day(300);
poll_sql($node, 'lab', 'SELECT NOT ok FROM dataprotect.clock_status');
is(shown(), "1=- 2=-|0|0|1=- 2=-", 'one that is far ahead hides');
is(sql('SELECT dataprotect._expire_versions()'), '0', 'and destroys nothing');
psql_fails($node, 'lab', "INSERT INTO t VALUES (3, 'third', 'x')", qr/the period of key "k" is over.*clock_status/s, 'what is written by such a clock would be gone at once');
unlike(states(), qr/destroyed/, 'all versions are still there');

# Somebody says that it is right after all: the first value has a new version made, whoever is first.
sql("SELECT dataprotect.confirm_clock('it is right'); INSERT INTO t VALUES (3, 'third', 'x'); INSERT INTO acc VALUES (3, 'three')");
is(shown(), "1=- 2=- 3=third|0|0|1=- 2=- 3=three", 'after a long time the first value gets a period of its own');
sql('SELECT dataprotect._epoch_wake()');	# not after a minute
poll_sql($node, 'lab', "SELECT count(*) FROM dataprotect.key_versions WHERE name = 'k' AND purpose = 'data' AND version <= 2 AND state = 'destroyed'", '2');
is(sql("SELECT count(*) FROM dataprotect.key_versions WHERE name = 'k' AND purpose = 'subject' AND subject IN ('1', '2') AND state = 'destroyed'"), '2',
	'the worker destroys what is over beyond doubt, and what accounts had in that period');
sql("SELECT dataprotect.import_keys('$export')");
is(states(), '1destroyed 2destroyed', 'an export of keys does not bring it back');
sql("UPDATE acc SET note = 'kept' WHERE id = 1; UPDATE acc SET email = 'again' WHERE id = 2");
is(shown(), "1=- 2=- 3=third|0|0|1=- 2=again 3=three", 'what is left of a row may change, and no account is closed by its old key');
is($node->safe_psql('lab', "SELECT string_agg(n, '') FROM t", extra_params => [ '-U', 'reader' ]), 'xxx', 'other keys know nothing of that');
sql('CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor');
is($node->safe_psql('lab', "SELECT dataprotect.flush_audit_log(); SELECT keys, detail ->> 'version', detail ->> 'accounts' FROM dataprotect.audit_log
	WHERE event = 'key.expired' AND (detail ->> 'version')::int <= 2 ORDER BY 2", extra_params => [ '-U', 'auditor' ]),
	"t\n{k}|1|1\n{k}|2|1", 'the end of a period is an event');

# Whoever writes to the key tables by hand lengthens no period.
sql("UPDATE dataprotect.key_version SET expires_at = NULL WHERE key_id = (SELECT current_key_id FROM dataprotect.key WHERE name = 'k')");
is(shown(), "1=- 2=- 3=-|0|0|1=- 2=- 3=-", 'a period whose end was changed shows nothing');
$node->stop;
done_testing();
