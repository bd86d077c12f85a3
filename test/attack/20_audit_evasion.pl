# Ways to make the audit log unreadable, wrong or too large by doing what any
# role may do.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('audit_evasion', conf => "dataprotect.audit_ring_size = '256kB'\n");
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
for my $length (168 .. 172, 255, 256, 512, 5000)
{
	conceals($node, 'nobody', "SELECT set_config('dataprotect.purpose', repeat('\x{e2}\x{82}\x{ac}', $length), false) IS NOT NULL; "
		  . 'SELECT email::text FROM victim', "a purpose of $length three-byte characters");
	conceals($node, 'nobody', "SELECT set_config('dataprotect.purpose', 'x' || repeat('\x{f0}\x{9f}\x{90}\x{98}', $length), false) IS NOT NULL; "
		  . 'SELECT email::text FROM victim', "a purpose of $length four-byte characters");
}
with_settings('nobody', "-c dataprotect.purpose=$_ -c application_name=$_", 'SELECT email::text FROM victim')
  for "\xff\xfe", "abc\xe2\x82", "\xc3", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80";
flush_log();
my $here = "session_role = 'nobody' AND event = 'access.denied'";
cmp_ok(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $here"), '>', 0, 'the reads are in the log');
is(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $here AND (upper(purpose) <> upper(purpose) OR purpose ILIKE '%\x{e2}\x{82}\x{ac}\x{e2}\x{82}\x{ac}x%')"),
	'0', 'text functions read every row');
is(audit("SELECT count(*) FROM dataprotect.audit_log WHERE $here AND convert_to(purpose, 'UTF8') <> convert_to(convert_from(convert_to(purpose, 'UTF8'), 'UTF8'), 'UTF8')"),
	'0', 'purposes are text of the database');
is(audit("SELECT bool_and(repeat('\x{e2}\x{82}\x{ac}', 5000) LIKE purpose || '%' AND length(purpose) >= 168) FROM dataprotect.audit_log "
		  . "WHERE $here AND purpose LIKE '\x{e2}\x{82}\x{ac}%'"), 't', 'and a prefix of what was set');
is(audit("SET client_encoding = 'LATIN9'; SELECT count(*) > 0 FROM (SELECT purpose FROM dataprotect.audit_log "
		  . "WHERE $here AND purpose LIKE '\x{a4}%') AS s"), 't', 'other client encodings read them');

log_conceals($node);
$node->stop;
done_testing();
