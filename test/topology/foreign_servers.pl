# If this fails, a table that is spread over servers by postgres_fdw gives values to who
# has no right on the server that has them, or keeps them from who has.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my ($front, @shards) = map { new_node($_) } qw(front shard0 shard1);
plan skip_all => 'postgres_fdw is not there'
  if $front->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'") eq '0';

# Keys are made on one shard; the other has the same (here both have the same key file).
for my $shard (@shards)
{
	create_extension($shard);
	$shard->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE support LOGIN');
}
$shards[0]->safe_psql('postgres', "SELECT dataprotect.create_key('pii', mask => 'email')");
for my $shard (@shards)
{
	$shard->safe_psql('postgres', "SELECT dataprotect.create_key('pii', mask => 'email')") if $shard != $shards[0];
	$shard->safe_psql('postgres', <<'SQL');
SELECT dataprotect.grant_access('pii', 'app', 'reveal'), dataprotect.grant_access('pii', 'support', 'mask');
CREATE TABLE person (id int PRIMARY KEY, mail encrypted_text('pii', 'searchable'));
CREATE INDEX ON person USING hash (mail);
GRANT ALL ON person TO app; GRANT SELECT ON person TO support;
SQL
}
$front->safe_psql('postgres', 'CREATE EXTENSION postgres_fdw; CREATE ROLE app LOGIN; CREATE ROLE support LOGIN; CREATE TABLE person (id int, mail text) PARTITION BY HASH (id)');
for my $n (0, 1)
{
	my ($host, $port) = ($shards[$n]->host, $shards[$n]->port);
	$front->safe_psql('postgres', <<SQL);
CREATE SERVER shard_$n FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres');
CREATE USER MAPPING FOR app SERVER shard_$n OPTIONS (user 'app', password_required 'false');
CREATE USER MAPPING FOR support SERVER shard_$n OPTIONS (user 'support', password_required 'false');
CREATE FOREIGN TABLE person_$n PARTITION OF person FOR VALUES WITH (MODULUS 2, REMAINDER $n) SERVER shard_$n OPTIONS (table_name 'person');
SQL
}
$front->safe_psql('postgres', 'GRANT ALL ON person TO app; GRANT SELECT ON person TO support');
sub at
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $front->psql('postgres', $sql, extra_params => [ '-U', $role ]);
	return $rc == 0 ? $out : "$out$err";
}
is(at('app', "INSERT INTO person SELECT g, 'needle' || g || '\@example.org' FROM generate_series(1, 100) g; SELECT count(*), min(mail) FROM person"),
	'100|needle100@example.org', 'rows go to their servers and come back');
is($shards[$_]->safe_psql('postgres', 'SELECT count(*) > 20 FROM person'), 't', "shard $_ has some of them") for 0, 1;
is(at('app', "SELECT id FROM person WHERE mail = 'needle7\@example.org'"), '7', 'a value is searched');
like(at('app', "EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM person WHERE mail = 'needle7\@example.org'"), qr/Remote SQL: .*WHERE/, 'by the servers that have it');
is(at('app', "UPDATE person SET mail = 'new\@example.org' WHERE id = 3; SELECT mail FROM person WHERE id = 3"), 'new@example.org', 'and changed');
is(at('support', 'SELECT mail FROM person WHERE id = 1'), 'n***@***.org', 'who has a mask there sees a mask');
unlike(at('support', "SELECT count(*) FROM person WHERE mail = 'needle7\@example.org'"), qr/^1/, 'and finds nothing by guessing');
for my $n (0, 1)
{
	$shards[$n]->safe_psql('postgres', 'GRANT dataprotect_auditor TO support; SELECT dataprotect.flush_audit_log()');
	my (undef, $log) = $shards[$n]->psql('postgres', "SELECT sum(values_opened) > 0 FROM dataprotect.audit_log WHERE session_role = 'app'", extra_params => [ '-U', 'support' ]);
	is($log, 't', "shard $n has logged what was read through the front");
}
$_->stop for $front, @shards;
done_testing();
