# If this fails, an account is called deleted while rows of it are left, a schema
# change stops every deletion, or a small account costs more than its rows.
#
# Each block is a schema of its own in one database; its name is the case's.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('plans');
create_extension($node, 'postgres');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub fails
{
	my ($statement, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return psql_fails($node, 'postgres', $statement, $pattern, $name);
}
my $schema;
sub begin_case
{
	($schema) = @_;
	sql("CREATE SCHEMA $schema");
	return;
}
# in the schema of the case
sub here { return sql("SET search_path = $schema, public; $_[0]"); }
sub problems { return here("SELECT string_agg(rel || columns::text, ' ' ORDER BY rel::text, columns::text) FROM dataprotect.check_account_type('$schema') WHERE problem IS NOT NULL"); }
sub request { return here("SELECT dataprotect.request_deletion('$schema', '$_[0]', 'art. 17')"); }
sub reaches
{
	my ($request, $state, $name, $detail) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll_sql($node, 'postgres', "SELECT state || ': ' || coalesce(detail, '') ~ '^$state: "
		. ($detail // '') . "' FROM dataprotect.deletion_requests WHERE id = $request", 't'), $name)
	  || diag(sql("SELECT state, detail FROM dataprotect.deletion_requests WHERE id = $request"));
}
sub certificate { return sql("SELECT dataprotect.deletion_certificate($_[0]) -> '$_[1]'"); }

sql(<<'SQL');
ALTER SYSTEM SET dataprotect.worker_naptime = '1s';
SELECT pg_reload_conf();
SELECT dataprotect.create_key('k');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('k', 'app', 'reveal');
SQL

# certified-while-the-profile-stays: two tables that reference each other.
begin_case('mutual');
here(<<'SQL');
CREATE TABLE profiles (id int PRIMARY KEY, full_name text, created_by int);
CREATE TABLE users (id int PRIMARY KEY, profile_id int REFERENCES profiles, login text);
ALTER TABLE profiles ADD FOREIGN KEY (created_by) REFERENCES users;
INSERT INTO profiles VALUES (1, 'Admin', NULL), (2, 'Bob', NULL), (3, 'Made by Bob', NULL), (4, 'Team', NULL);
INSERT INTO users VALUES (1, 1, 'admin'), (2, 2, 'bob'), (3, 4, 'one'), (4, 4, 'two');
UPDATE profiles SET created_by = CASE id WHEN 3 THEN 2 ELSE 1 END;
SELECT dataprotect.create_account_type('mutual', 'users', 'id', '0 s');
SELECT dataprotect.annotate_account('mutual', 'users', '{profile_id}', 'delete');
SELECT dataprotect.annotate_account('mutual', 'profiles', '{created_by}', 'nullify');
SQL
is(problems(), '', 'certified-while-the-profile-stays: everything is decided');
my $request = request(2);
my $shared = request(3);
reaches($request, 'certified', 'certified-while-the-profile-stays: the deletion ends');
is(here("SELECT string_agg(id || ':' || coalesce(created_by::text, '-'), ' ' ORDER BY id) FROM profiles"), '1:1 3:- 4:1',
	'certified-while-the-profile-stays: the profile is gone, what was made by the person is cut off, others are whole');
reaches($shared, 'certified', 'a profile that another account uses');
is(here('SELECT count(*) FROM profiles WHERE id = 4'), '1', 'stays');
like(certificate($shared, 'residual'), qr/1 rows of mutual.profiles stay because other rows reference them/, 'and the certificate says so');

# outgoing-key-without-decision
begin_case('outgoing');
here(<<'SQL');
CREATE TABLE addr (id int PRIMARY KEY, street text);
CREATE TABLE cust (id int PRIMARY KEY, address_id int REFERENCES addr);
INSERT INTO addr VALUES (1, '12 Street'); INSERT INTO cust VALUES (1, 1);
SELECT dataprotect.create_account_type('outgoing', 'cust', 'id', '0 s');
SQL
is(problems(), 'cust{address_id}', 'outgoing-key-without-decision: it is undecided');
fails("SELECT dataprotect.request_deletion('outgoing', '1')", qr/cannot be deleted yet.*columns \{address_id\}/s, 'outgoing-key-without-decision: no request is accepted');
here("SELECT dataprotect.annotate_account('outgoing', 'cust', '{address_id}', 'shared')");
is(problems(), '', 'a decision is what was missing');

# annotated-table-is-dropped, root-table-dropped
begin_case('dropped');
here(<<'SQL');
CREATE TABLE acct (id int PRIMARY KEY);
CREATE TABLE emails (id int PRIMARY KEY, pid int REFERENCES acct);
CREATE TABLE notes (id int PRIMARY KEY, gone int, pid int REFERENCES acct);
INSERT INTO acct VALUES (1), (2); INSERT INTO notes VALUES (1, 1, 1), (2, 2, 2);
SELECT dataprotect.create_account_type('dropped', 'acct', 'id', '0 s');
SELECT dataprotect.annotate_account('dropped', 'emails', '{pid}', 'delete');
SELECT dataprotect.annotate_account('dropped', 'notes', '{pid}', 'delete');
SELECT dataprotect.annotate_account('dropped', 'notes', '{gone}', 'anonymise');
SELECT dataprotect.place_hold('acct', 'id = 1', 'wait');
SQL
$request = request(1);
reaches($request, 'held', 'a pending request');
my $version = sql("SELECT max(version) FROM dataprotect.account_plan('dropped')");
here('DROP TABLE emails; ALTER TABLE notes RENAME pid TO parent_id; ALTER TABLE notes DROP gone; ALTER TABLE notes RENAME TO memos; ALTER TABLE acct RENAME id TO acct_id');
is(problems(), '', 'annotated-table-is-dropped: renamed and dropped tables and columns stop nothing');
cmp_ok(sql("SELECT max(version) FROM dataprotect.account_plan('dropped')"), '>', $version, 'the plan has a new version');
sql("SELECT dataprotect.release_hold(max(id), 'go') FROM dataprotect.holds");
reaches($request, 'certified', 'annotated-table-is-dropped: the pending request goes on');
is(here('SELECT count(*) FROM memos'), '1', 'along the renamed column of the renamed table');
reaches(request(2), 'certified', 'annotated-table-is-dropped: and a new one is accepted');
here("SELECT dataprotect.unannotate_account('dropped', 'memos', '{parent_id}')");
is(problems(), 'memos{parent_id}', 'a decision can be taken back');
fails("SELECT dataprotect.unannotate_account('dropped', 'dropped.memos', '{parent_id}')", qr/are not annotated/, 'once');
here('DROP TABLE memos, acct; CREATE TABLE acct (id int PRIMARY KEY)');
like(sql("SELECT problem FROM dataprotect.check_account_type('dropped')"), qr/root table does not exist any more/, 'root-table-dropped: it is said');
here("SELECT dataprotect.drop_account_type('dropped'); SELECT dataprotect.create_account_type('dropped', 'acct', 'id')");
is(problems(), '', 'root-table-dropped: the type is dropped and made again');
is(certificate($request, 'account_id'), '"1"', 'certificates stay');
here("SELECT dataprotect.alter_account_type('dropped', deadline => '60 days')");
is(sql("SELECT deadline FROM dataprotect.account_type WHERE name = 'dropped'"), '60 days', 'a type is altered');
fails("SELECT dataprotect.alter_account_type('dropped', deadline => '1 day')", qr/deadline must lie after/, 'but not to nonsense');

# A new edge is said at the DDL, not on the day of a deletion.
begin_case('ddl');
here(<<'SQL');
CREATE TABLE acct (id int PRIMARY KEY, e encrypted_text('k'));
INSERT INTO acct VALUES (1, 'one'), (2, 'two');
SELECT dataprotect.create_account_type('ddl', 'acct', 'id', '0 s');
SELECT dataprotect.bind_subject('acct', 'ddl', 'id');
SQL
is(problems(), '', 'a type without edges');
my ($rc, $out, $err) = $node->psql('postgres', 'CREATE TABLE ddl.later (id int PRIMARY KEY, acct int REFERENCES ddl.acct)');
is($rc, 0, 'a table with an edge is made');
like($err, qr/WARNING:  account type "ddl" has an edge that nobody decided: ddl.later\(acct\) -> ddl.acct/, 'annotated-table-is-dropped: and the edge is named at once');
is(problems(), 'later{acct}', 'it is undecided');
($rc, $out, $err) = $node->psql('postgres', 'ALTER TABLE ddl.later ADD more int');
is($err, '', 'once that is known nothing is said again');
here('ALTER TABLE acct RENAME id TO acct_id; UPDATE acct SET e = $$changed$$ WHERE acct_id = 1; INSERT INTO acct VALUES (3, $$three$$)');
is(here("SELECT count(DISTINCT dataprotect._envelope_key_id(e)) FROM acct"), '3', 'a bound column can be renamed');
here("SELECT dataprotect.annotate_account('ddl', 'later', '{acct}', 'delete')");
reaches(request(1), 'certified', 'and its accounts be deleted');

# bind-subject-by-another-id, bound-without-foreign-key
begin_case('bound');
here(<<'SQL');
CREATE TABLE addr (id int PRIMARY KEY, street encrypted_text('k'));
CREATE TABLE cust (id int PRIMARY KEY, address_id int REFERENCES addr, email encrypted_text('k'));
CREATE TABLE posts (id int PRIMARY KEY, user_id int, body encrypted_text('k'));
INSERT INTO addr VALUES (1, 'of 2'), (2, 'of 1'); INSERT INTO cust VALUES (1, 2, 'one'), (2, 1, 'two');
INSERT INTO posts VALUES (1, 1, 'I am one'), (2, 2, 'I am two');
SELECT dataprotect.create_account_type('bound', 'cust', 'id', '0 s');
SELECT dataprotect.annotate_account('bound', 'cust', '{address_id}', 'shared');
SELECT dataprotect.bind_subject('cust', 'bound', 'id');
SQL
fails("SELECT dataprotect.bind_subject('bound.addr', 'bound', 'id')", qr/column "id" of table "bound.addr" is not the id of an account/,
	'bind-subject-by-another-id: another table\'s id is refused');
here("SELECT dataprotect.bind_subject('posts', 'bound', 'user_id')");
is(problems(), 'posts{user_id}', 'bound-without-foreign-key: it is an edge that needs a decision');
fails("SELECT dataprotect.request_deletion('bound', '1')", qr/cannot be deleted yet/, 'bound-without-foreign-key: before any request');
here("SELECT dataprotect.annotate_account('bound', 'posts', '{user_id}', 'delete')");
reaches(request(1), 'certified', 'bound-without-foreign-key: then the deletion ends');
is(here("SELECT (SELECT count(*) FROM posts), (SELECT count(*) FROM cust), (SELECT count(*) FROM addr)"), '1|1|2', 'and the rows are gone');

# without-foreign-keys: references that nothing declares, polymorphic ones, copies.
begin_case('undeclared');
here(<<'SQL');
CREATE TABLE users (id bigint PRIMARY KEY, email text);
CREATE TABLE posts (id int, user_id int, body text);
CREATE TABLE comments (id bigint PRIMARY KEY, author_type text, author_id bigint, body text);
CREATE TABLE parts (a int, b text, user_id bigint, PRIMARY KEY (a, b));
CREATE TABLE pieces (pa int, pb text);
CREATE TABLE audits (id bigserial PRIMARY KEY, old_row jsonb);
CREATE FUNCTION aud() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO undeclared.audits (old_row) VALUES (to_jsonb(old)); RETURN old; END$$;
CREATE TRIGGER aud AFTER UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION aud();
INSERT INTO users VALUES (1, 'ann'), (2, 'bob');
INSERT INTO posts VALUES (1, 1, 'I am Ann'), (1, 1, 'I am Ann'), (2, 2, 'I am Bob');
INSERT INTO comments VALUES (1, 'User', 1, 'Ann was here'), (2, 'Post', 1, 'not of Ann');
INSERT INTO parts VALUES (1, 'x', 1), (1, 'y', 2); INSERT INTO pieces VALUES (1, 'x'), (1, 'y');
SELECT dataprotect.create_account_type('undeclared', 'users', 'id', '0 s');
SQL
is(here("SELECT string_agg(rel || coalesce(columns::text, ''), ' ' ORDER BY rel::text) FROM dataprotect.check_account_type('undeclared')
	JOIN pg_class c ON c.oid = rel WHERE question IS NOT NULL AND c.relnamespace = 'undeclared'::regnamespace"),
	'comments{author_id} parts{user_id} posts{user_id} users', 'without-foreign-keys: such columns and triggers are asked about');
fails("SELECT dataprotect.annotate_account('undeclared', 'undeclared.posts', '{body}', 'delete', references_columns => '{id}')",
	qr/cannot be compared/, 'a column of another type');
fails("SELECT dataprotect.annotate_account('undeclared', 'undeclared.posts', '{user_id}', 'delete', references_columns => '{email}')",
	qr/cannot be compared|has no index/, 'a referenced column that nothing finds');
fails("SELECT dataprotect.annotate_account('undeclared', 'undeclared.comments', '{author_id}', 'delete', references_columns => '{id}', match => '{\"nosuch\": \"User\"}')",
	qr/column "nosuch" of relation "undeclared.comments" does not exist/, 'a column that says what is meant and does not exist');
here(<<'SQL');
SELECT dataprotect.annotate_account('undeclared', 'posts', '{user_id}', 'delete', references_columns => '{id}');
SELECT dataprotect.annotate_account('undeclared', 'comments', '{author_id}', 'delete', references_columns => '{id}', match => '{"author_type": "User"}');
SELECT dataprotect.annotate_account('undeclared', 'parts', '{user_id}', 'delete', references_columns => '{id}');
SELECT dataprotect.annotate_account('undeclared', 'pieces', '{pa,pb}', 'delete', references_columns => '{a,b}', references_rel => 'parts');
SQL
is(problems(), '', 'without-foreign-keys: they are edges then');
reaches(request(1), 'certified', 'without-foreign-keys: the deletion ends');
is(here("SELECT (SELECT count(*) FROM posts), (SELECT string_agg(id::text, ',') FROM comments), (SELECT string_agg(b, ',') FROM parts), (SELECT string_agg(pb, ',') FROM pieces)"),
	'1|2|y|y', 'without-foreign-keys: rows without a key, polymorphic and composite references went');

# trigger-undoes-anonymise, soft-delete-trigger
begin_case('triggers');
here(<<'SQL');
CREATE TABLE u (id int PRIMARY KEY, email text);
CREATE TABLE o (id int PRIMARY KEY, uid int REFERENCES u, deleted_at timestamptz);
INSERT INTO u VALUES (1, 'ann'), (2, 'bob'); INSERT INTO o VALUES (1, 2, NULL);
CREATE FUNCTION keepmail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.email := old.email; RETURN new; END$$;
CREATE TRIGGER keepmail BEFORE UPDATE ON u FOR EACH ROW EXECUTE FUNCTION keepmail();
CREATE FUNCTION soft() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE triggers.o SET deleted_at = now() WHERE id = old.id; RETURN NULL; END$$;
CREATE TRIGGER soft BEFORE DELETE ON o FOR EACH ROW EXECUTE FUNCTION soft();
SELECT dataprotect.create_account_type('triggers', 'u', 'id', '0 s');
SELECT dataprotect.annotate_account('triggers', 'u', '{id}', 'anonymise');
SELECT dataprotect.annotate_account('triggers', 'o', '{uid}', 'delete');
SQL
$request = request(1);
reaches($request, 'purging', 'trigger-undoes-anonymise: no certificate; table, trigger and column are named', '.*trigger "keepmail" of table "triggers.u" puts a value of column "email" back');
my $soft = request(2);
here('DROP TRIGGER keepmail ON u');
reaches($request, 'certified', 'trigger-undoes-anonymise: once the trigger is gone it goes on');
reaches($soft, 'purging', 'soft-delete-trigger: no certificate; table and trigger are named', '.*trigger "soft" of table "triggers.o" keeps rows from being removed');
here('DROP TRIGGER soft ON o');
reaches($soft, 'certified', 'soft-delete-trigger: once the trigger is gone it goes on');
is(here('SELECT (SELECT count(*) FROM o), (SELECT count(email) FROM u), (SELECT count(*) FROM u)'), '0|0|2', 'and everything is done');

# self-reference-chain: the rows of an account reply to each other, one to itself.
begin_case('chain');
here(<<'SQL');
CREATE TABLE u (id int PRIMARY KEY);
CREATE TABLE post (id int PRIMARY KEY, uid int REFERENCES u, reply_to int REFERENCES post);
CREATE INDEX ON post (uid); CREATE INDEX ON post (reply_to);
INSERT INTO u VALUES (1), (2);
INSERT INTO post SELECT g, CASE WHEN g = 1 THEN 1 END, nullif(g - 1, 0) FROM generate_series(1, 300) g;
INSERT INTO post VALUES (1000, 1, 1000), (1001, 2, NULL);
SELECT dataprotect.create_account_type('chain', 'u', 'id', '0 s');
SELECT dataprotect.annotate_account('chain', 'post', ARRAY[c::name], 'delete') FROM unnest('{uid,reply_to}'::text[]) c;
SQL
reaches(request(1), 'certified', 'a chain within a table is followed to its end');
is(here('SELECT string_agg(id::text, $$,$$) FROM post'), '1001', 'and nothing else goes');

# kept-table-named-without-rows
begin_case('kept');
here(<<'SQL');
CREATE TABLE c (id int PRIMARY KEY, name text); CREATE TABLE inv (id int PRIMARY KEY, cust int REFERENCES c);
INSERT INTO c VALUES (1, 'a'), (2, 'b'); INSERT INTO inv VALUES (1, 2), (2, 2);
SELECT dataprotect.create_account_type('kept', 'c', 'id', '0 s');
SELECT dataprotect.annotate_account('kept', 'c', '{id}', 'anonymise');
SELECT dataprotect.annotate_account('kept', 'inv', '{cust}', 'keep', 'tax law');
SQL
my ($without, $with) = (request(1), request(2));
reaches($_, 'certified', 'an account with kept rows') for $without, $with;
unlike(certificate($without, 'residual'), qr/inv/, 'kept-table-named-without-rows: no row, no word');
like(certificate($with, 'residual'), qr/2 rows of table kept.inv were kept: tax law/, 'kept-table-named-without-rows: number and legal basis');

# unbound-account-readable-in-grace
begin_case('grace');
here(<<'SQL');
CREATE TABLE cust (id int PRIMARY KEY, email encrypted_text('k'), phone text); INSERT INTO cust VALUES (1, 'one', '+1');
SELECT dataprotect.create_account_type('grace', 'cust', 'id');
SQL
is(problems(), 'cust{id}', 'unbound-account-readable-in-grace: table and columns are named');
like(here("SELECT question FROM dataprotect.check_account_type('grace') WHERE columns = '{phone}'"), qr/readable in the grace time/, 'plain columns as well');
fails("SELECT dataprotect.request_deletion('grace', '1')", qr/columns \(email\) are not bound/, 'unbound-account-readable-in-grace: no request is accepted');
here("SELECT dataprotect.alter_account_type('grace', grace_readable => true)");
like(request(1), qr/^\d+$/, 'unbound-account-readable-in-grace: unless the type says that it may be so');

# export-gaps
begin_case('gaps');
here(<<'SQL');
CREATE TABLE addr (id int PRIMARY KEY, street text);
CREATE TABLE cust (id int PRIMARY KEY, addr_id int REFERENCES addr);
CREATE TABLE ord (id int PRIMARY KEY, cust_id int REFERENCES cust, ship_addr int REFERENCES addr);
CREATE TABLE tick (id int PRIMARY KEY, cust_id int REFERENCES cust, body text);
INSERT INTO addr SELECT g, 'street ' || g FROM generate_series(1, 9) g; INSERT INTO cust SELECT g, g FROM generate_series(1, 3) g;
INSERT INTO ord VALUES (1, 2, 7); INSERT INTO tick VALUES (1, 2, 'my complaint');
SELECT dataprotect.create_account_type('gaps', 'cust', 'id', '0 s');
SELECT dataprotect.annotate_account('gaps', r, c::name[], 'delete') FROM (VALUES ('ord'::regclass, '{cust_id}'), ('cust', '{addr_id}'), ('ord', '{ship_addr}')) x(r, c);
SQL
fails("SELECT dataprotect.export_account('gaps', '2')", qr/cannot be exported yet.*gaps.tick/s, 'export-gaps: an undecided table is refused by name');
here("SELECT dataprotect.annotate_account('gaps', 'tick', '{cust_id}', 'delete')");
is(sql("SELECT string_agg(e ->> 'street', ', ' ORDER BY e ->> 'street') FROM jsonb_array_elements(dataprotect.export_account('gaps', '2') #> '{tables,gaps.addr}') e"),
	'street 2, street 7', 'export-gaps: what the account references is in');

# Rows that are hidden in the grace time are found when it is over, as their owner
# who does not see them; what stays of them is shown again.
begin_case('hides');
here(<<'SQL');
CREATE TABLE c (id int PRIMARY KEY, email text);
CREATE TABLE o (id int PRIMARY KEY, c int REFERENCES c, at timestamptz);
CREATE TABLE l (id int PRIMARY KEY, o int REFERENCES o);
CREATE INDEX ON o (c); CREATE INDEX ON l (o); CREATE INDEX ON o (at);
INSERT INTO c VALUES (1, 'ann'), (2, 'bob'); INSERT INTO o SELECT g, 1 + g % 2, now() FROM generate_series(1, 40) g;
INSERT INTO l SELECT g, g FROM generate_series(1, 40) g;
ALTER TABLE c OWNER TO app; ALTER TABLE o OWNER TO app; ALTER TABLE l OWNER TO app; GRANT ALL ON SCHEMA hides TO app;
SELECT dataprotect.create_account_type('hides', 'c', 'id', '1 day', grace_hides => true);
SELECT dataprotect.annotate_account('hides', 'c', '{id}', 'anonymise');
SELECT dataprotect.annotate_account('hides', 'c', '{email}', 'anonymise');
SELECT dataprotect.annotate_account('hides', 'o', '{c}', 'delete');
SELECT dataprotect.annotate_account('hides', 'l', '{o}', 'delete');
SQL
sub shown { return sql("SET ROLE app; SELECT (SELECT count(*) FROM hides.c), (SELECT count(*) FROM hides.o), (SELECT count(*) FROM hides.l)"); }
is(shown(), '2|40|40', 'hidden rows: all are shown at first');
request(1);
is(shown(), '1|20|20', 'hidden rows: none of the account is shown in its grace time');
is(here('SELECT count(*) FROM dataprotect.hidden_row'), '41', 'hidden rows: each of its rows is noted');
sql("SELECT dataprotect.cancel_deletion(max(id), 'stays') FROM dataprotect.deletion_requests");
is(shown(), '2|40|40', 'hidden rows: they are back when it is cancelled');
sql("SELECT dataprotect.alter_account_type('hides', grace => '1 second')");
reaches(request(2), 'certified', 'hidden rows: the deletion finds them');
is(shown(), '2|20|20', 'hidden rows: what is anonymised is shown again');
is(here('SELECT (SELECT count(*) FROM c WHERE email IS NULL), (SELECT count(*) FROM o), (SELECT count(*) FROM l), (SELECT count(*) FROM dataprotect.hidden_row)'),
	'1|20|20|0', 'hidden rows: everything is done');

# path-explosion, twelve-tables: as many steps as there are edges.
begin_case('wide');
here(<<'SQL');
CREATE TABLE t0 (id int PRIMARY KEY); INSERT INTO t0 SELECT g FROM generate_series(1, 3) g;
DO $$DECLARE c text; BEGIN FOR i IN 1..20 LOOP
	SELECT string_agg(format(', r%s int REFERENCES t%s', j, j), '') INTO c FROM generate_series(0, i - 1) j;
	EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY%s)', i, c);
	EXECUTE format('INSERT INTO t%s SELECT g%s FROM generate_series(1, 3) g', i, repeat(', g', i));
END LOOP; END$$;
SELECT dataprotect.create_account_type('wide', 't0', 'id', '0 s');
SELECT count(dataprotect.annotate_account('wide', ('t' || i)::regclass, ARRAY[('r' || j)::name], 'delete'))
  FROM generate_series(1, 20) i, generate_series(0, i - 1) j;
SQL
is(here("SELECT count(*) FILTER (WHERE action = 'collect'), count(*) FILTER (WHERE action = 'delete') FROM dataprotect.account_plan('wide')"), '21|40',
	'path-explosion: a step for each of 21 tables with 210 foreign keys, of the one at the end for each of its 20');
reaches(request(1), 'certified', 'path-explosion: the deletion ends');
is(here('SELECT (SELECT count(*) FROM t0), (SELECT count(*) FROM t20)'), '2|2', 'path-explosion: with the rows of one account');

# cost-of-one-deletion: no VACUUM, no REINDEX where nothing was sealed.
is(sql("SELECT count(*) FROM dataprotect.deletion_scrub s JOIN pg_class c ON c.oid = s.rel JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname IN ('wide', 'kept', 'chain', 'mutual')"), '0', 'cost-of-one-deletion: tables without protected columns are not vacuumed');
isnt(sql("SELECT count(*) FROM dataprotect.deletion_scrub s JOIN pg_class c ON c.oid = s.rel WHERE c.relname IN ('cust', 'posts')"), '0', 'others are');

# locked-account: who waits says for whom; others go on.
begin_case('locked');
here(<<'SQL');
CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE o (id int PRIMARY KEY, uid int REFERENCES u);
INSERT INTO u SELECT g FROM generate_series(1, 9) g; INSERT INTO o SELECT g, g % 9 + 1 FROM generate_series(1, 90) g;
SELECT dataprotect.create_account_type('locked', 'u', 'id', '0 s'); SELECT dataprotect.annotate_account('locked', 'o', '{uid}', 'delete');
SQL
my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe('BEGIN; SELECT FROM locked.o WHERE id = 1 FOR UPDATE');
my ($waits, $goes) = (request(2), request(5));
reaches($goes, 'certified', 'locked-account: another account is not behind it');
reaches($waits, 'purging', 'locked-account: the blocking process is named', "waits: rows of locked.o are locked by process $pid");
$session->query_safe('COMMIT');
reaches($waits, 'certified', 'locked-account: it goes on when the lock is gone');
$session->quit;

# hold-in-mid-purge
begin_case('midpurge');
here(<<'SQL');
CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE o (id int PRIMARY KEY, uid int REFERENCES u); CREATE TABLE p (id int PRIMARY KEY, oid int REFERENCES o);
INSERT INTO u VALUES (1); INSERT INTO o SELECT g, 1 FROM generate_series(1, 50) g; INSERT INTO p SELECT g, g FROM generate_series(1, 50) g;
SELECT dataprotect.create_account_type('midpurge', 'u', 'id', '0 s');
SELECT dataprotect.annotate_account('midpurge', 'o', '{uid}', 'delete'); SELECT dataprotect.annotate_account('midpurge', 'p', '{oid}', 'delete');
SQL
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; SELECT FROM midpurge.o WHERE id = 50 FOR UPDATE');
$request = request(1);
reaches($request, 'purging', 'some rows are gone, one is locked', 'waits: rows of midpurge.o');
my $hold = here("SELECT dataprotect.place_hold('o', 'id = 50', 'court order')");
reaches($request, 'held', 'hold-in-mid-purge: what is left is held, and how much is gone is said', 'a legal hold covers rows of midpurge.o; \d+ rows are dealt with already');
$session->query_safe('COMMIT');
$session->quit;
fails("SELECT dataprotect.cancel_deletion($request, 'x')", qr/cannot be taken back.*rows are gone/s, 'hold-in-mid-purge: it cannot be cancelled, and why');
is(here('SELECT count(*) FROM o WHERE id = 50'), '1', 'hold-in-mid-purge: the row stays');
sql("SELECT dataprotect.release_hold($hold, 'over')");
reaches($request, 'certified', 'hold-in-mid-purge: then it goes on by itself');

$node->stop;
done_testing();
