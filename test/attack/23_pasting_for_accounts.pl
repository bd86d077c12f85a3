# Stored values and old ciphertext brought into rows that belong to accounts, or
# compared with what lives.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('accounts');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE keeper LOGIN IN ROLE dataprotect_admin;
CREATE ROLE searching LOGIN IN ROLE dataprotect_admin;
SELECT dataprotect.grant_access('pii', 'searching', 'search');
SET ROLE keeper;
CREATE TABLE cust (id int PRIMARY KEY, email encrypted_text('pii', 'searchable'), note text);
SELECT dataprotect.create_account_type('cust', 'cust', 'id', '0 seconds', '1 day');
SELECT dataprotect.bind_subject('cust', 'cust', 'id');
GRANT ALL ON cust TO PUBLIC;
INSERT INTO cust VALUES (7001, 'mine-Zq9x@example.org'), (7002, 'other-Zq9x@example.org'), (7003, 'erased-Zq9x@example.org');
SQL

sub mine { return (as($node, 'reader', 'SELECT email FROM cust WHERE id = 7001'))[0]; }

# paste-into-a-bound-table
for my $column (qw(email tok ord))
{
	for my $try (
		"UPDATE cust SET email = (SELECT $column FROM victim WHERE id = 1) WHERE id = 7001",
		"UPDATE cust SET email = v.$column FROM victim v WHERE v.id = 1 AND cust.id = 7001",
		"INSERT INTO cust SELECT 7100, $column FROM victim WHERE id = 1",
		"INSERT INTO cust SELECT 7001, $column FROM victim WHERE id = 1 ON CONFLICT (id) DO UPDATE SET email = excluded.email",
		"MERGE INTO cust USING victim v ON cust.id = 7001 AND v.id = 1 WHEN MATCHED THEN UPDATE SET email = v.$column",
		"CREATE TEMP TABLE way AS SELECT $column AS x FROM victim WHERE id = 1; UPDATE cust SET email = (SELECT x FROM way) WHERE id = 7001",
		"DO \$\$ DECLARE e encrypted_text('pii'); BEGIN SELECT $column INTO e FROM victim WHERE id = 1; UPDATE cust SET email = e WHERE id = 7001; END \$\$",
		"BEGIN; UPDATE cust SET email = 'fresh' WHERE id = 7001; UPDATE cust SET email = (SELECT $column FROM victim WHERE id = 1) WHERE id = 7001; COMMIT")
	{
		denied($node, $_, $try, "paste-into-a-bound-table: $try") for qw(nobody masked super);
	}
}
refused($node, 'nobody', 'UPDATE cust SET email = (SELECT email FROM cust WHERE id = 7002) WHERE id = 7001', 'a value of another account', qr/^23514$/);
is(mine(), 'mine-Zq9x@example.org', 'paste-into-a-bound-table: the row is what it was');

# Writers who have the plaintext, in every way they may hand it over.
for my $write (
	"UPDATE cust SET email = 'a-Zq9x' WHERE id = 7001",
	"UPDATE cust SET email = x FROM (VALUES ('b-Zq9x')) v (x) WHERE id = 7001",
	"UPDATE cust SET email = 'c-' || note || 'Zq9x' WHERE id = 7001",
	"PREPARE p(text) AS UPDATE cust SET email = \$1 WHERE id = 7001; EXECUTE p('d-Zq9x')",
	"PREPARE p(encrypted_text) AS UPDATE cust SET email = \$1 WHERE id = 7001; EXECUTE p('e-Zq9x')",
	"DO \$\$ DECLARE e encrypted_text('pii', 'searchable') := 'f-Zq9x'; BEGIN UPDATE cust SET email = e WHERE id = 7001; END \$\$",
	"CREATE TEMP TABLE stage (id int, email text); INSERT INTO stage SELECT g, 'g-Zq9x' FROM generate_series(8001, 8300) g; INSERT INTO cust SELECT id, email FROM stage ORDER BY email, id DESC",
	"INSERT INTO cust VALUES (7001, 'h-Zq9x') ON CONFLICT (id) DO UPDATE SET email = excluded.email",
	'UPDATE cust SET email = email WHERE id = 7001',
	'UPDATE cust SET email = (SELECT email FROM cust WHERE id = 7001), note = 1 WHERE id = 7001')
{
	allowed($node, 'nobody', $write, "a writer of plaintext: $write");
}
allowed($node, 'reader', 'UPDATE cust SET email = (SELECT tok FROM victim WHERE id = 1) WHERE id = 7001', 'who may read a value may copy it');

# erased-value-confirmed-by-token
my ($envelope) = as($node, 'nobody', 'SELECT email FROM cust WHERE id = 7003');
like($envelope, qr/^enc:v1:/, 'an old dump');
$node->safe_psql('postgres', "SELECT dataprotect.request_deletion('cust', '7003')", extra_params => [ '-U', 'keeper' ]);
ok(poll_sql($node, 'postgres', "CALL dataprotect.run_deletions(); SELECT state IN ('verified', 'certified') FROM dataprotect.deletion_requests WHERE account_id = '7003'"),
	'the account is erased');
for my $role (qw(searching keeper super))
{
	refused($node, $role, "SET dataprotect.input = 'ciphertext'; CREATE TABLE old_$role (x encrypted_text('pii', 'searchable')); INSERT INTO old_$role VALUES ('$envelope')",
		'erased-value-confirmed-by-token: the old value is not accepted', qr/^55000$/);
	refused($node, $role, "SET dataprotect.input = 'ciphertext'; SELECT '$envelope'::encrypted_text = 'erased-Zq9x\@example.org'",
		'erased-value-confirmed-by-token: nor as a constant', qr/^55000$/);
	refused($node, $role, "SET dataprotect.input = 'ciphertext'; PREPARE p(text) AS SELECT \$1::encrypted_text = 'erased-Zq9x\@example.org'; EXECUTE p('$envelope')",
		'erased-value-confirmed-by-token: nor as a parameter', qr/^55000$/);
}
my ($living) = as($node, 'nobody', 'SELECT email FROM cust WHERE id = 7002');
allowed($node, 'keeper', "SET dataprotect.input = 'ciphertext'; CREATE TABLE old (x encrypted_text('pii', 'searchable')); INSERT INTO old VALUES ('$living')",
	'what lives is restored');

log_conceals($node);
$node->stop;
done_testing();
