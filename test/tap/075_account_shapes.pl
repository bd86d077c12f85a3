# If this fails, a certificate says "verified" of an account whose row stands there under
# another id, takes the row of somebody who registered under a removed account's id, or
# is silent about copies that a deletion does not reach.
#
# Each block is a schema of its own in one database.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('shapes', conf => "wal_level = logical\nmax_prepared_transactions = 2\n");
create_extension($node, 'postgres');

sub sql { return $node->safe_psql('postgres', $_[0]); }
my $schema;
# statements in a schema that is made for them
sub begin_case
{
	($schema, my $statements) = @_;
	sql("CREATE SCHEMA $schema");
	return here($statements);
}
sub here { return sql("SET search_path = $schema, public; $_[0]"); }
sub problems { return here("SELECT string_agg(rel || columns::text || ' ' || problem, '; ' ORDER BY rel::text) FROM dataprotect.check_account_type('$schema') WHERE problem IS NOT NULL"); }
sub questions { return here("SELECT rel || coalesce(columns::text, '') || ' ' || question FROM dataprotect.check_account_type('$schema') WHERE question IS NOT NULL AND rel::text !~ '[.]' ORDER BY 1"); }
# id of a request; the change that follows it comes before the worker sees it
sub request { return (split /\n/, here("BEGIN; SELECT dataprotect.request_deletion('$schema', '$_[0]'); " . ($_[1] // '') . '; COMMIT'))[0]; }
sub certified
{
	my ($request, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll_sql($node, 'postgres', "SELECT state FROM dataprotect.deletion_requests WHERE id = $request", 'certified'), $name)
	  || diag(sql("SELECT state, detail FROM dataprotect.deletion_requests WHERE id = $request"));
}
sub residual { return sql("SELECT jsonb_pretty(dataprotect.deletion_certificate($_[0]) -> 'residual')"); }

sql(<<'SQL');
ALTER SYSTEM SET dataprotect.worker_naptime = '1s';
SELECT pg_reload_conf();
SELECT dataprotect.create_key('k');
SQL

# An account is a row, not what its id says later.
begin_case('own_row', <<'SQL');
CREATE TABLE users (uid int PRIMARY KEY, email text UNIQUE NOT NULL, name text, secret encrypted_text('k'));
CREATE TABLE orders (id int PRIMARY KEY, uid int REFERENCES users, what text);
INSERT INTO users SELECT g, 'u' || g || '@x', 'Name ' || g FROM generate_series(1, 7) g;
UPDATE users SET secret = 'of seven' WHERE uid = 7;
INSERT INTO orders SELECT g, g, 'order ' || g FROM generate_series(1, 7) g;
SELECT dataprotect.create_account_type('own_row', 'users', 'email', '0 s');
SELECT dataprotect.bind_subject('users', 'own_row', 'email');
SELECT dataprotect.annotate_account('own_row', 'orders', '{uid}', 'delete');
BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'old';
SQL
my $between = request('u7@x');
my $renamed = request('u1@x', q{UPDATE users SET email = 'new@x' WHERE uid = 1});
my $again = request('u2@x', q{DELETE FROM orders WHERE uid = 2; DELETE FROM users WHERE uid = 2; INSERT INTO users VALUES (20, 'u2@x', 'Another')});
my $swapped = request('u3@x', q{UPDATE users SET email = 'third@x' WHERE uid = 3; UPDATE users SET email = 'u3@x' WHERE uid = 4});
my $sealed = request('u5@x', q{UPDATE users SET email = 'fifth@x' WHERE uid = 5; UPDATE users SET secret = 'sealed' WHERE uid = 5});
my $kept = here(q{SELECT dataprotect.request_deletion('own_row', 'u6@x')} =~ s/SELECT/BEGIN; SELECT/r
	  . q{; SELECT dataprotect.cancel_deletion(max(id), 'stays') FROM dataprotect.deletion_requests; COMMIT});

# A row that a trigger puts back with another key is the account's as well.
begin_case('put_back', <<'SQL');
CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE);
CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO put_back.users (email) VALUES (old.email); RETURN NULL; END$$;
CREATE TRIGGER back AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION back();
INSERT INTO users (email) VALUES ('back@x');
SELECT dataprotect.create_account_type('put_back', 'users', 'email', '0 s');
SQL
my $back = request('back@x');

# An id of several columns is a generated one; values are sealed for what a trigger fills.
begin_case('several', <<'SQL');
CREATE TABLE members (tenant int, no int, account text GENERATED ALWAYS AS (tenant::text || '/' || no) STORED UNIQUE, PRIMARY KEY (tenant, no),
	email encrypted_text('k'));
CREATE TABLE visits (tenant int, no int, FOREIGN KEY (tenant, no) REFERENCES members);
INSERT INTO members VALUES (1, 1), (1, 2), (2, 1);
INSERT INTO visits SELECT tenant, no FROM members;
SELECT dataprotect.create_account_type('several', 'members', 'account', '0 s', grace_readable => true);
SELECT dataprotect.annotate_account('several', 'visits', '{tenant,no}', 'delete');
SQL
psql_fails($node, 'postgres', "SELECT dataprotect.bind_subject('several.members', 'several', 'account')",
	qr/generated column "account" of table "several.members" cannot say whose a row is/, 'no table is bound by a column that is computed after its values are sealed');
my $several = request('1/1');

# Composite keys: what tells the tenant stays.
begin_case('composite', <<'SQL');
CREATE TABLE tenants (id int PRIMARY KEY);
CREATE TABLE users (tenant int NOT NULL REFERENCES tenants, id int NOT NULL UNIQUE, PRIMARY KEY (tenant, id));
CREATE TABLE posts (id int PRIMARY KEY, tenant int NOT NULL, author int, FOREIGN KEY (tenant, author) REFERENCES users (tenant, id));
CREATE TABLE likes (id int PRIMARY KEY, tenant int REFERENCES tenants, author int, FOREIGN KEY (tenant, author) REFERENCES users (tenant, id));
CREATE TABLE files (id int PRIMARY KEY, tenant int NOT NULL, author int, FOREIGN KEY (tenant, author) REFERENCES users (tenant, id) ON DELETE SET NULL (author));
CREATE TABLE fixed (id int PRIMARY KEY, tenant int NOT NULL, author int NOT NULL, FOREIGN KEY (tenant, author) REFERENCES users (tenant, id));
CREATE TABLE whole (id int PRIMARY KEY, tenant int NOT NULL, author int, FOREIGN KEY (tenant, author) REFERENCES users (tenant, id) MATCH FULL);
INSERT INTO tenants VALUES (7);
INSERT INTO users VALUES (7, 1), (7, 2);
INSERT INTO posts VALUES (1, 7, 1), (2, 7, 2);
INSERT INTO likes SELECT * FROM posts;
INSERT INTO files SELECT * FROM posts;
CREATE TABLE subs (tenant int, author int UNIQUE, FOREIGN KEY (tenant, author) REFERENCES users (tenant, id));
CREATE TABLE stays (tenant int, author int NOT NULL, FOREIGN KEY (tenant, author) REFERENCES users (tenant, id));
INSERT INTO subs VALUES (7, 1), (7, 2);
SELECT dataprotect.create_account_type('composite', 'users', 'id', '0 s');
SELECT dataprotect.annotate_account('composite', t::regclass, '{tenant,author}', 'nullify') FROM unnest('{posts,likes,files,fixed,whole,subs,stays}'::text[]) t;
SELECT dataprotect.annotate_account('composite', 'users', '{tenant}', 'shared');
SQL
is(problems(), 'fixed{tenant,author} column "tenant" does not allow nulls; stays{tenant,author} column "author" would stay, which says by itself what the row referenced; whole{tenant,author} column "tenant" does not allow nulls',
	'a key of which one column can be NULL can be cut, but where it matches in full');
here(q{SELECT dataprotect.annotate_account('composite', t::regclass, '{tenant,author}', 'delete') FROM unnest('{fixed,whole,stays}'::text[]) t});
my $composite = request(1);

# Arrays of ids, and documents with them.
begin_case('arrays', <<'SQL');
CREATE DOMAIN uid AS bigint;
CREATE TABLE users (id uid PRIMARY KEY, nick varchar(9) UNIQUE);
CREATE TABLE rooms (guests uid[], nicks varchar(9)[], texts text[]);
INSERT INTO rooms VALUES ('{1,2}', '{one,two}', '{one,two}');
CREATE TABLE teams (id int PRIMARY KEY, user_ids bigint[] NOT NULL, note text);
CREATE TABLE chats (id int PRIMARY KEY, members int[]);
CREATE TABLE trips (id int PRIMARY KEY, user_ids bigint[]);
CREATE TABLE events (id int PRIMARY KEY, payload jsonb, other jsonb);
CREATE INDEX ON teams USING gin (user_ids);
INSERT INTO users VALUES (1, 'one'), (2, 'two');
INSERT INTO teams VALUES (1, '{1,2,1,NULL}', 'both'), (2, '{2}', 'two');
INSERT INTO chats VALUES (1, '{2,1}'), (2, '{2}'), (3, NULL);
INSERT INTO events VALUES (1, '{"a": [{"userId": 1}]}', '{"a": 1}');
SELECT dataprotect.create_account_type('arrays', 'users', 'id', '0 s');
SQL
is(questions(), join("\n", 'events{payload} documents with members that are named like the id of "arrays.users": are they of such accounts? (A generated column of the id, annotated, makes an edge of them.)',
	map { "$_\{user_ids} column \"user_ids\" has the type and a name of the account's id: is it a reference to \"arrays.users\"?" } qw(teams trips)),
	'arrays and documents that look like references are asked about');
here(<<'SQL');
SELECT dataprotect.annotate_account('arrays', 'teams', '{user_ids}', 'nullify', references_columns => '{id}');
SELECT dataprotect.annotate_account('arrays', 'chats', '{members}', 'delete', references_columns => '{id}');
SELECT dataprotect.annotate_account('arrays', 'trips', '{user_ids}', 'shared');
SELECT dataprotect.annotate_account('arrays', 'rooms', '{guests}', 'nullify', references_columns => '{id}');
SELECT dataprotect.annotate_account('arrays', 'rooms', ARRAY[c]::name[], 'nullify', references_columns => '{nick}') FROM unnest('{nicks,texts}'::text[]) c;
SELECT dataprotect.annotate_account('arrays', 'events', '{payload}', 'shared');
SQL
is(problems() . questions(), '', 'and can be decided');
like(here(q{SELECT statement FROM dataprotect.account_plan('arrays') WHERE action = 'nullify' AND rel = 'teams'::regclass}), qr/SET user_ids = pg_catalog.array_remove\(user_ids, \$1\)/, 'the plan shows what is done');
my $arrays = request(1);

# What stands in the place of a person.
begin_case('replaced', <<'SQL');
CREATE DOMAIN short AS varchar(5);
CREATE DOMAIN code AS short;
CREATE DOMAIN nick AS text CHECK (value ~ '^[a-z ]+$');
CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, email varchar(60) UNIQUE, nick nick, kind text CHECK (kind IN ('person', 'gone')), born date, mail encrypted_text('k'),
	upper_name text GENERATED ALWAYS AS (upper(name)) STORED, code code, tenant int, phone text, login text, pay numeric(8,2), rank char(10), UNIQUE (tenant, phone),
	UNIQUE (id, rank));
CREATE UNIQUE INDEX ON users (lower(login));
INSERT INTO users VALUES (1, 'Ann', 'ann@x', 'ann', 'person', '1980-02-03'), (2, 'Bob', 'bob@x', 'bob', 'person', '1970-01-01');
SELECT dataprotect.create_account_type('replaced', 'users', 'id', '0 s', grace_readable => true);
SELECT dataprotect.annotate_account('replaced', 'users', '{id}', 'anonymise');
SQL
for my $case ([ 'email', 'gone', 'column "email" .* is unique' ], [ 'email', 'gone {uuid} from here on and on and on and on', 'is \d+ characters long' ], [ 'nick', 'Gone 1', 'nick_check' ],
	[ 'code', 'removed', 'is 7 characters long' ], [ 'phone', '0', 'column "phone" .* is unique' ], [ 'login', 'gone', 'column "login" .* is unique' ],
	[ 'kind', 'Gone', 'violates check constraint "users_kind_check"' ], [ 'born', 'gone', 'invalid input syntax for type date' ], [ 'born', '{uuid}', 'needs a text type' ],
	[ 'mail', 'gone', 'protected column "mail" can only be replaced by null' ], [ 'upper_name', 'gone', 'is generated' ])
{
	psql_fails($node, 'postgres', "SELECT dataprotect.annotate_account('replaced', 'replaced.users', '{$case->[0]}', 'anonymise', replacement => '$case->[1]')",
		qr/$case->[2]/, "anonymise-constants: no replacement of $case->[0] by '$case->[1]'");
}
psql_fails($node, 'postgres', "SELECT dataprotect.annotate_account('replaced', 'replaced.users', '{kind}', 'nullify', replacement => 'gone')",
	qr/a replacement is for columns that are anonymised/, 'nor of what is not anonymised');
here(<<'SQL');
SELECT dataprotect.annotate_account('replaced', 'users', ARRAY[c]::name[], 'anonymise', replacement => v)
  FROM (VALUES ('name', 'Deleted ''user'''), ('email', 'gone-{uuid}@invalid'), ('nick', 'gone'), ('kind', 'gone'), ('born', '1900-01-01'),
	('code', 'none'), ('pay', '0'), ('rank', 'none')) x(c, v);
SQL
my $replaced = request(1);

# What a deletion does not reach is named.
begin_case('copies', <<'SQL');
CREATE TABLE people (id int PRIMARY KEY, name text, photo oid);
CREATE TABLE staff (salary int, PRIMARY KEY (id)) INHERITS (people);
INSERT INTO people SELECT g, 'Name ' || g, lo_from_bytea(0, 'face') FROM generate_series(1, 30) g;
INSERT INTO staff VALUES (31, 'Staff', NULL, 1);
CREATE VIEW names AS SELECT name FROM people;
CREATE MATERIALIZED VIEW cached AS SELECT max(name) FROM names;
CREATE MATERIALIZED VIEW twice AS SELECT * FROM cached;
CREATE MATERIALIZED VIEW empty AS SELECT * FROM people WITH NO DATA;
CREATE PUBLICATION everyone FOR TABLE people;
ANALYZE people;
SELECT dataprotect.create_account_type('copies', 'people', 'id', '0 s', grace_readable => true);
SQL
my $asked = questions();
like($asked, qr/^cached materialized view .*\npeople\{photo\} a column that may refer to large objects.*\ntwice materialized view/s, 'copies are asked about');
unlike($asked, qr/empty/, 'but for what holds nothing');
my $copies = request(30);
my $staff = request(31);

# An account is the row that was noted, whatever stops its purge.
begin_case('stopped', <<'SQL');
CREATE TABLE users (uid int PRIMARY KEY, email text UNIQUE NOT NULL);
CREATE TABLE orders (uid int REFERENCES users, id int PRIMARY KEY);
CREATE TABLE wishes (email text);
CREATE TABLE broken (doc json);
INSERT INTO broken VALUES ('{"a": "\u0000"}');
INSERT INTO users VALUES (1, 'u1@x'), (2, 'u2@x');
INSERT INTO orders VALUES (1, 1), (2, 2);
CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not now'; END$$;
CREATE TRIGGER stop BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION stop();
SELECT dataprotect.create_account_type('stopped', 'users', 'email', '0 s');
SELECT dataprotect.annotate_account('stopped', 'orders', '{uid}', 'delete');
SELECT dataprotect.annotate_account('stopped', 'wishes', '{email}', 'delete', references_columns => '{email}');
SQL
like(questions(), qr/^broken\{doc} documents/, 'documents that are no jsonb are asked about');
my @stopped = (request('u1@x'), request('u2@x'));

# So it is where its key is a name that somebody else can take.
begin_case('named', <<'SQL');
CREATE TABLE users (email text PRIMARY KEY, secret encrypted_text('k'));
CREATE TABLE notes (email text REFERENCES users, id int PRIMARY KEY);
INSERT INTO users VALUES ('bob@x');
INSERT INTO notes VALUES ('bob@x', 1);
SELECT dataprotect.create_account_type('named', 'users', 'email', '0 s', grace_readable => true);
SELECT dataprotect.annotate_account('named', 'notes', '{email}', 'delete');
SQL
my $natural = request('bob@x');

# Where somebody removes the row alone, what referenced it goes all the same.
my %alone;
for my $key ('PRIMARY KEY', 'UNIQUE NOT NULL')
{
	$schema = 'alone_' . lc substr($key, 0, 3);
	begin_case($schema, <<"SQL");
CREATE TABLE users (id int $key);
CREATE TABLE notes (user_id int);
INSERT INTO users VALUES (1), (2);
INSERT INTO notes VALUES (1), (2);
SELECT dataprotect.create_account_type('$schema', 'users', 'id', '0 s', grace_readable => true);
SELECT dataprotect.annotate_account('$schema', 'notes', '{user_id}', 'delete', references_columns => '{id}');
SQL
	$alone{$schema} = request(1, 'DELETE FROM users WHERE id = 1');
}

# Ids that no element can be, arrays of arrays, and a row that somebody removed.
begin_case('elements', <<'SQL');
CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE teams (user_ids int[], id int PRIMARY KEY);
CREATE TABLE grids (user_ids bigint[]);
INSERT INTO users VALUES (1), (5000000000), (77);
INSERT INTO teams VALUES ('{1,2}', 1);
INSERT INTO grids VALUES ('{{1,2},{3,1}}');
SELECT dataprotect.create_account_type('elements', 'users', 'id', '0 s');
SELECT dataprotect.annotate_account('elements', t::regclass, '{user_ids}', 'nullify', references_columns => '{id}') FROM unnest('{teams,grids}'::text[]) t;
SQL
my @elements = (request(5000000000), request(1), request(77, 'DELETE FROM users WHERE id = 77'));

# A trigger that is deferred puts back in time.
begin_case('deferred', <<'SQL');
CREATE TABLE users (id int PRIMARY KEY);
CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO deferred.users VALUES (old.id); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER back AFTER DELETE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION back();
INSERT INTO users VALUES (1);
SELECT dataprotect.create_account_type('deferred', 'users', 'id', '0 s');
SQL
my $deferred = request(1);

ok(poll_sql($node, 'postgres', "SELECT count(*) FROM dataprotect.deletion_request WHERE id IN ($stopped[0], $stopped[1]) AND purge_started_at IS NOT NULL AND phase = 0", '2'), 'purges begin and fail');
sql(<<'SQL');
BEGIN;
UPDATE stopped.users SET email = 'first@x' WHERE uid = 1;
DELETE FROM stopped.orders WHERE uid = 2;
ALTER TABLE stopped.users DISABLE TRIGGER stop;
DELETE FROM stopped.users WHERE uid = 2;
INSERT INTO stopped.users VALUES (10, 'u1@x'), (20, 'u2@x');
INSERT INTO stopped.orders VALUES (10, 10), (20, 20);
INSERT INTO stopped.wishes VALUES ('u1@x'), ('u2@x');
COMMIT;
SQL
ok(poll_sql($node, 'postgres', "SELECT state FROM dataprotect.deletion_requests WHERE id = $natural", 'purged'), 'an account with a natural key is gone and not certified yet');
sql(q{INSERT INTO named.users VALUES ('bob@x'); INSERT INTO named.notes VALUES ('bob@x', 2)});

ok(poll_sql($node, 'postgres', "SELECT state FROM dataprotect.deletion_requests WHERE id = $between", 'purged'), 'an account is gone and not certified yet');
sql(q{INSERT INTO own_row.users VALUES (70, 'u7@x', 'Another'); INSERT INTO own_row.orders VALUES (70, 70, 'of another')});
sql(q{ROLLBACK PREPARED 'old'});

certified($renamed, 'an account whose id is another since the request');
like(residual($renamed), qr/had another id when its deletion began/, 'is certified, and the certificate says so');
certified($again, 'an account whose row somebody removed');
like(residual($again), qr/own row was not there any more when its deletion began/, 'is certified with what was found');
certified($swapped, 'an account whose id another one has now');
certified($between, 'an account whose id another one has before its certificate');
$schema = 'own_row';
is(here(q{SELECT string_agg(uid || ' ' || email, ', ' ORDER BY uid) FROM users}), '4 u3@x, 5 fifth@x, 6 u6@x, 20 u2@x, 70 u7@x',
	'the row that was requested is gone, and whoever has its id since then stays');
is(here(q{SELECT string_agg(uid::text, ' ' ORDER BY uid) FROM orders}), '4 5 6 70', 'so do their rows');
ok(poll_sql($node, 'postgres', "SELECT state || ' ' || detail FROM dataprotect.deletion_requests WHERE id = $sealed",
	'requested waits: the account has another id now, under which values were sealed: cancel this request, and request the deletion of that one'),
	'where values were sealed under the other id the deletion waits, and says for what');
sql("SELECT dataprotect.cancel_deletion($sealed, 'the other')");
certified(request('fifth@x'), 'under which it is requested');
is(sql("SELECT count(*) FROM dataprotect.deletion_row WHERE request IN ($renamed, $again, $swapped, $sealed)"), '0', 'nothing is noted of requests that ended');

ok(poll_sql($node, 'postgres', "SELECT state || ' ' || (detail ~ 'trigger \"back\" of table \"put_back.users\" puts the account''s row back') FROM dataprotect.deletion_requests WHERE id = $back", 'purging true'),
	'a row that is put back under another key is found, and the trigger named');
is(sql('SELECT email FROM put_back.users'), 'back@x', 'and nothing is called gone');
certified($several, 'an account with an id of several columns');
is(sql(q{SELECT string_agg(m.account, ' ' ORDER BY 1) || ' ' || count(v.no) FROM several.members m JOIN several.visits v USING (tenant, no)}), '1/2 2/1 2', 'goes with its rows');

certified($composite, 'an account with composite keys');
$schema = 'composite';
is(here(q{SELECT string_agg(t || id || ':' || coalesce(tenant, 0) || '/' || coalesce(author, 0), ' ' ORDER BY t, id)
	FROM (SELECT 'p' AS t, * FROM posts UNION ALL SELECT 'l', * FROM likes UNION ALL SELECT 'f', * FROM files) x}) . ' ' . here(q{SELECT string_agg(subs::text, '' ORDER BY author) FROM subs}),
	'f1:7/0 f2:7/2 l1:7/0 l2:7/2 p1:7/0 p2:7/2 (7,2)(,)', 'is cut off from rows that keep their tenant');

certified($arrays, 'an account that arrays contain');
$schema = 'arrays';
is(here(q{SELECT string_agg(user_ids::text, ' ' ORDER BY id) || ' ' || (SELECT string_agg(id || coalesce(members::text, '-'), ' ' ORDER BY id) FROM chats) FROM teams}),
	'{2,NULL} {2} 2{2} 3-', 'is taken out of them, or goes with their rows');

certified($replaced, 'an account whose data is replaced');
$schema = 'replaced';
like(here('SELECT users FROM users WHERE id = 1'), qr/^\(1,"Deleted 'user'",gone-[-0-9a-f]{36}\@invalid,gone,gone,1900-01-01,,"DELETED 'USER'",none,,,,0.00,"none      "\)$/, 'has what was said in its place');

is(here('SELECT rooms FROM arrays.rooms'), '({2},{two},{two})', 'of domains and of other types as well');

certified($copies, 'an account with copies');
my $said = residual($copies);
like($said, qr/Planner statistics of copies.people may show values/, 'statistics are named');
like($said, qr/Materialized view copies.cached .*Materialized view copies.twice/s, 'and materialized views');
like($said, qr/Column photo of copies.people may have referred to large objects/, 'and large objects');
like($said, qr/Rows of copies.people are published \(everyone\)/, 'and subscribers');
unlike($said, qr/copies.empty|null/, 'and nothing else');
certified($staff, 'a row of a table that inherits');
like(residual($staff), qr/Planner statistics of copies.people may show values/, 'is in the statistics of the table above');

certified($_, 'an account whose purge was stopped and whose id another one has now') for @stopped;
is(sql(q{SELECT (SELECT string_agg(uid || ' ' || email, ', ' ORDER BY uid) FROM stopped.users) || '; ' || (SELECT string_agg(id::text, ' ' ORDER BY id) FROM stopped.orders)
	|| '; ' || (SELECT string_agg(email, ' ' ORDER BY email) FROM stopped.wishes)}), '10 u1@x, 20 u2@x; 10 20; u1@x u2@x', 'is gone, and nothing of that one');
certified($natural, 'an account whose key another one has before its certificate');
is(sql(q{SELECT (SELECT string_agg(email, ' ') FROM named.users) || (SELECT string_agg(id::text, ' ') FROM named.notes)}), 'bob@x2', 'which stays with its rows');
for my $each (sort keys %alone)
{
	certified($alone{$each}, 'an account whose row somebody removed alone');
	is(sql("SELECT string_agg(user_id::text, ' ') FROM $each.notes"), '2', 'takes what referenced it along');
}
certified($_, 'an account with ids beside arrays of other ids') for @elements;
is(sql('SELECT (SELECT user_ids::text FROM elements.teams) || (SELECT user_ids::text FROM elements.grids)'), '{2}{2,3}', 'is taken out of those that have it');
ok(poll_sql($node, 'postgres', "SELECT state || ' ' || (detail ~ 'trigger \"back\" of table \"deferred.users\" puts the account''s row back') FROM dataprotect.deletion_requests WHERE id = $deferred", 'purging true'),
	'a row that a deferred trigger puts back is found');

done_testing();
