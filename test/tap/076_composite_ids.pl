# If this fails, an account whose id is of several columns (a tenant's customer 42) cannot
# be sealed, hidden or deleted, or another tenant's customer 42 goes with it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('composite');
create_extension($node, 'postgres');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub certified
{
	my ($request, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(poll_sql($node, 'postgres', "SELECT state FROM dataprotect.deletion_requests WHERE id = $request", 'certified'), $name)
	  || diag(sql("SELECT state, detail FROM dataprotect.deletion_requests WHERE id = $request"));
}
sub seen { return $node->safe_psql('postgres', "SET ROLE app; $_[0]"); }
sub request { return sql("SELECT dataprotect.request_deletion('customer', $_[0])"); }

sql(<<'SQL');
ALTER SYSTEM SET dataprotect.worker_naptime = '1s';
SELECT pg_reload_conf();
SELECT dataprotect.create_key('k');
SELECT dataprotect.grant_access('k', 'postgres', 'reveal', reason => 'test');
CREATE TABLE tenant (id int PRIMARY KEY, name text);
CREATE TABLE customer (tenant_id int NOT NULL REFERENCES tenant, id int NOT NULL, email encrypted_text('k'), PRIMARY KEY (tenant_id, id));
CREATE TABLE sale (tenant_id int NOT NULL, id int NOT NULL, customer_id int, note encrypted_text('k'), PRIMARY KEY (tenant_id, id),
	FOREIGN KEY (tenant_id, customer_id) REFERENCES customer);
CREATE TABLE line (tenant_id int, sale_id int, n int, what text, PRIMARY KEY (tenant_id, sale_id, n),
	FOREIGN KEY (tenant_id, sale_id) REFERENCES sale);
CREATE TABLE ticket (tenant_id int NOT NULL, id int PRIMARY KEY, customer_id int, FOREIGN KEY (tenant_id, customer_id) REFERENCES customer);
CREATE TABLE visit (org int, who bigint, page text);
CREATE INDEX ON visit (org, who);
INSERT INTO tenant SELECT g, 'tenant ' || g FROM generate_series(1, 3) g;
INSERT INTO customer SELECT t, c, 'c' || c || '@t' || t FROM generate_series(1, 3) t, generate_series(41, 45) c;
INSERT INTO sale SELECT tenant_id, id * 10 + s, id, 'sale of ' || id FROM customer, generate_series(1, 2) s;
INSERT INTO line SELECT tenant_id, id, n, 'thing' FROM sale, generate_series(1, 3) n;
INSERT INTO ticket SELECT tenant_id, tenant_id * 100 + id, id FROM customer;
INSERT INTO visit SELECT tenant_id, id, '/' FROM customer;
CREATE ROLE app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
SELECT dataprotect.grant_access('k', 'app', 'reveal', reason => 'test');
SQL

# what an id can be
psql_fails($node, 'postgres', "SELECT dataprotect.create_account_type('customer', 'customer', '{id,email}'::name[])",
	qr/column "email" of relation "public.customer" cannot identify an account/, 'a protected column is none');
psql_fails($node, 'postgres', "SELECT dataprotect.create_account_type('customer', 'sale', '{tenant_id,customer_id}'::name[])",
	qr/column "customer_id" of relation "public.sale" cannot be one of the columns/, 'nor is one that may be null');
psql_fails($node, 'postgres', "SELECT dataprotect.create_account_type('customer', 'line', '{tenant_id,sale_id}'::name[])",
	qr/columns \{tenant_id,sale_id\} of relation "public.line" are not unique/, 'nor are columns that do not tell rows apart');
sql(<<'SQL');
SELECT dataprotect.create_account_type('customer', 'customer', '{tenant_id,id}'::name[], '1 h', '2 h', grace_hides => true);
SELECT dataprotect.bind_subject('customer', 'customer', ARRAY['tenant_id', 'id']);
SELECT dataprotect.bind_subject('sale', 'customer', ARRAY['tenant_id', 'customer_id']);
SELECT dataprotect.annotate_account('customer', 'customer', '{tenant_id}', 'shared');
SELECT dataprotect.annotate_account('customer', 'sale', '{tenant_id,customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'line', '{tenant_id,sale_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'ticket', '{tenant_id,customer_id}', 'nullify');
SQL
like(sql("SELECT string_agg(question, ' ') FROM dataprotect.check_account_type('customer') WHERE rel = 'sale'::regclass") . '.', qr/^\.$/, 'columns of a followed key are asked about no more');
sql("SELECT dataprotect.annotate_account('customer', 'visit', '{org,who}', 'delete', references_columns => '{tenant_id,id}')");
is(sql("SELECT string_agg(rel || ' ' || problem, '; ') FROM dataprotect.check_account_type('customer') WHERE problem IS NOT NULL"), '', 'everything is decided');
psql_fails($node, 'postgres', "SELECT dataprotect.bind_subject('visit', 'customer', 'who')",
	qr/an id of an account of type "customer" is not of as many columns/, 'one column is not the whole id');
psql_fails($node, 'postgres', "SELECT dataprotect.bind_subject('visit', 'customer', '{who,org}'::name[])",
	qr/column "who" of table "public.visit" is not the id of an account/, 'nor are its columns in another order');

# whose a row is
is(sql('SELECT count(DISTINCT subject) FROM dataprotect.subject_key WHERE subject IS NOT NULL'), 15, 'each tenant\'s customer has a key of its own');
psql_fails($node, 'postgres', 'UPDATE sale SET customer_id = NULL WHERE tenant_id = 1 AND id = 411', qr/the account id of a subject-bound row must not be null/,
	'a sealed row has a whole id');
psql_fails($node, 'postgres', 'UPDATE sale SET note = (SELECT note FROM sale WHERE tenant_id = 2 AND id = 421) WHERE tenant_id = 1 AND id = 421',
	qr/is sealed for another account/, 'a value of another tenant\'s customer with the same number is a paste');
is(sql('UPDATE sale SET customer_id = 44 WHERE tenant_id = 1 AND id = 451 RETURNING note::text'), 'sale of 45', 'a row that goes to another customer is sealed for that one');
sql('UPDATE sale SET customer_id = 45 WHERE tenant_id = 1 AND id = 451');

# how an id is written
psql_fails($node, 'postgres', "SELECT dataprotect.request_deletion('customer', '$_')", qr/not the id of an account of type "customer"/, "\"$_\" is no id")
  for '42', '{1}', '{1,42,3}', '{1,NULL}', '{{1,42}}';
psql_fails($node, 'postgres', "SELECT dataprotect.request_deletion('customer', '{1,99}')", qr/account of type "customer" does not exist/, 'no such customer');
psql_fails($node, 'postgres', "SELECT dataprotect.request_deletion('customer', '{1,x}')", qr/account of type "customer" does not exist/, 'nor one that no number is');

my $cancelled = request("'{ 1 , 041 }'");
is(sql("SELECT account_id FROM dataprotect.deletion_requests WHERE id = $cancelled"), '{1,41}', 'an id is spelled as its row has it');
psql_fails($node, 'postgres', "SELECT dataprotect.request_deletion('customer', ARRAY[1, 41]::text)", qr/requested already/, 'however it is written');
is(seen("SELECT string_agg(tenant_id || '/' || id || ' ' || coalesce(email::text, 'unreadable'), ' ' ORDER BY tenant_id) FROM customer WHERE id = 41"),
	'2/41 c41@t2 3/41 c41@t3', 'it is hidden in the grace time, and other tenants\' are not');
is(seen('SELECT count(*) FROM sale WHERE customer_id = 41'), 4, 'so are its rows elsewhere');
sql("SELECT dataprotect.cancel_deletion($cancelled, 'stays')");
is(seen("SELECT string_agg(email::text, ' ' ORDER BY tenant_id) FROM customer WHERE id = 41"), 'c41@t1 c41@t2 c41@t3', 'and there again when it is taken back');
is(sql("SELECT count(*) FROM dataprotect.export_account_rows('customer', '{1,41}')"), 10, 'an export has its rows, and the tenant\'s is none of them');

# deleted
sql("SELECT dataprotect.alter_account_type('customer', grace => '0 s')");
my $gone = request(q{'{1,42}'});
certified($gone, 'it is certified');
for my $table ('customer WHERE id = 42', 'sale WHERE customer_id = 42', 'line WHERE sale_id / 10 = 42', 'visit WHERE who = 42')
{
	my $tenant = $table =~ /^visit/ ? 'org' : 'tenant_id';
	is(sql("SELECT string_agg(DISTINCT $tenant\::text, ' ') FROM $table"), '2 3', "of $table other tenants' are left");
}
is(sql('SELECT count(*), count(customer_id) FROM ticket WHERE tenant_id = 1'), '5|4', 'what is cut off stays with its tenant');
is(sql("SELECT string_agg(email::text || ' ' || (SELECT string_agg(note::text, ' ') FROM sale s WHERE (s.tenant_id, s.customer_id) = (c.tenant_id, c.id)), ' ' ORDER BY tenant_id) FROM customer c WHERE id = 42"),
	'c42@t2 sale of 42 sale of 42 c42@t3 sale of 42 sale of 42', 'and readable');
is(sql("SELECT dataprotect.deletion_certificate($gone) ->> 'account_id'"), '{1,42}', 'the certificate names it');
is(sql("SELECT jsonb_agg(e ->> 'table' ORDER BY e ->> 'table') FROM jsonb_array_elements(dataprotect.deletion_certificate($gone) -> 'erased') e"),
	'["public.customer", "public.line", "public.sale", "public.ticket", "public.visit"]', 'and what went');
is(sql("INSERT INTO customer VALUES (1, 42, 'again') RETURNING email::text"), 'again', 'the id may begin a new life');

# columns that are renamed, and what their text can contain
sql('ALTER TABLE customer RENAME tenant_id TO org_id; ALTER TABLE sale RENAME customer_id TO buyer');
is(sql("INSERT INTO sale VALUES (2, 1, 43, 'after') RETURNING note::text"), 'after', 'a renamed column says whose a row is');
my $renamed = request(q{'{2,43}'});
certified($renamed, 'and leads to it');
is(sql('SELECT count(*) FROM sale WHERE tenant_id = 2 AND buyer = 43'), 0, 'its rows are gone');
sql(<<'SQL');
CREATE TABLE member (club varchar(20) NOT NULL, no uuid NOT NULL, name encrypted_text('k'), UNIQUE (no, club));
INSERT INTO member VALUES ('a,b "c" {d}', '00000000-0000-0000-0000-000000000001', 'x'), ('null', '00000000-0000-0000-0000-000000000001', 'y'), ('', '00000000-0000-0000-0000-000000000001', 'z');
SELECT dataprotect.create_account_type('member', 'member', '{club,no}'::name[], '0 s');
SELECT dataprotect.bind_subject('member', 'member', '{club,no}'::name[]);
SQL
for my $club ('a,b "c" {d}', 'null', '')
{
	certified(sql("SELECT dataprotect.request_deletion('member', ARRAY['$club', '00000000-0000-0000-0000-000000000001']::text)"), "the member of club '$club' is certified");
	is(sql("SELECT count(*) FROM member WHERE club = '$club'"), 0, 'and gone');
}
done_testing();
