# Rewriting a column never turns what cannot be read into NULL or a mask: the
# rewrite ends with an error that names the key, and nothing has changed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../lib";
use DataProtect::Test;
use Test::More;

my $node = new_node('rewrites');
create_extension($node);
sub sql { return $node->safe_psql('postgres', @_); }

sql(<<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE keeper LOGIN;
CREATE ROLE admin LOGIN IN ROLE dataprotect_admin, keeper;
GRANT ALL ON SCHEMA public TO keeper;
CREATE TABLE big (id int, email encrypted_text('pii'));
INSERT INTO big SELECT g, 'user' || g FROM generate_series(1, 2000) g;
ALTER TABLE big OWNER TO keeper;
CREATE TABLE parts (id int, n encrypted_int4('pii')) PARTITION BY LIST (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
INSERT INTO parts VALUES (1, 1), (2, 2), (2, NULL);
ALTER TABLE parts OWNER TO keeper; ALTER TABLE parts_1 OWNER TO keeper; ALTER TABLE parts_2 OWNER TO keeper;
SELECT dataprotect.grant_access('pii', 'admin', 'reveal');
SQL

sub refused
{
	my ($call, $state, $pattern, $name) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', "\\set VERBOSITY verbose\n$call", stderr => \$err, extra_params => [ '-U', 'admin' ]);
	like($err, qr/ERROR:\s+$state:/, "$name: refused");
	like($err, $pattern, "$name: says why");
	is(sql("SELECT string_agg(format_type(atttypid, NULL), ' ' ORDER BY attrelid::regclass::text) FROM pg_attribute
		WHERE attnum = 2 AND attrelid IN ('big'::regclass, 'parts'::regclass)"), 'encrypted_text encrypted_int4', "$name: nothing changed");
	is(sql(q(SELECT sum("values") FROM dataprotect.verify('big'))) . '|' . sql(q(SELECT sum("values") FROM dataprotect.verify('parts'))),
		'2000|2', "$name: no value lost");
	return;
}

# decrypt-column-while-a-key-is-suspended: before the call
sql("SELECT dataprotect.suspend_key('pii', 'incident')");
refused("CALL dataprotect.decrypt_column('big', 'email')", '55000', qr/2000 values under key "pii" cannot be read/, 'suspended key');
refused("CALL dataprotect.decrypt_column('parts', 'n')", '55000', qr/2 values under key "pii" cannot be read/, 'suspended key, partitions');
sql("SELECT dataprotect.resume_key('pii', 'over')");

# ... and in the midst of it: an event trigger stands where another session may come in.
sql(<<'SQL');
CREATE FUNCTION meanwhile() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	IF current_setting('test.meanwhile', true) <> '' THEN
		EXECUTE current_setting('test.meanwhile');
		PERFORM set_config('test.meanwhile', '', false);
	END IF;
END $$;
CREATE EVENT TRIGGER meanwhile ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION meanwhile();
SQL
for my $case (
	[ "SELECT dataprotect.suspend_key('pii', 'incident')", '55000', qr/value under key "pii" cannot be read/, 'suspended meanwhile' ],
	[ "SELECT dataprotect.lockdown('incident')", '42501', qr/permission denied for key "pii"/, 'lockdown meanwhile' ],
	[ "SELECT dataprotect.revoke_access('pii', 'admin')", '42501', qr/permission denied for key "pii"/, 'right revoked meanwhile' ],
	[ "SELECT dataprotect.revoke_access('pii', 'admin'), dataprotect.grant_access('pii', 'admin', 'mask')", '42501',
		qr/permission denied for key "pii"/, 'only a mask meanwhile' ],
	[ "SET dataprotect.output = mask", '42501', qr/permission denied for key "pii"/, 'output of masks meanwhile' ])
{
	my ($meanwhile, $state, $pattern, $name) = @$case;
	(my $quoted = $meanwhile) =~ s/'/''/g;
	refused("SET test.meanwhile = '$quoted'; CALL dataprotect.decrypt_column('big', 'email')", $state, $pattern, $name);
	refused("SET test.meanwhile = '$quoted'; CALL dataprotect.decrypt_column('parts', 'n')", $state, $pattern, "$name, partitions");
}
sql('DROP EVENT TRIGGER meanwhile');

# Any ALTER of a column's type is such a rewrite.
sql(<<'SQL');
CREATE TABLE direct (id int, name encrypted_text('pii'));
INSERT INTO direct VALUES (1, 'Ada');
ALTER TABLE direct OWNER TO admin;
SELECT dataprotect.revoke_access('pii', 'admin');
SELECT dataprotect.grant_access('pii', 'admin', 'mask');
SQL
for my $using ('', 'USING name::text', 'USING lower(name)', "USING name || 'x'")
{
	my ($err) = ('');
	$node->psql('postgres', "\\set VERBOSITY verbose\nALTER TABLE direct ALTER name TYPE text $using", stderr => \$err, extra_params => [ '-U', 'admin' ]);
	like($err, qr/ERROR:\s+(?:42501|55000|0A000)/, "a mask is not stored: ALTER TYPE $using");
}
sql("SELECT dataprotect.revoke_access('pii', 'admin'); SELECT dataprotect.grant_access('pii', 'admin', 'reveal')");

# And with everything readable it works.
$node->safe_psql('postgres', "CALL dataprotect.decrypt_column('big', 'email'); CALL dataprotect.decrypt_column('parts', 'n')",
	extra_params => [ '-U', 'admin' ]);
is(sql("SELECT count(*), count(email) FROM big"), '2000|2000', 'decrypted');
is(sql("SELECT sum(n) FROM parts"), '3', 'decrypted partitions');

$node->stop;
done_testing();
