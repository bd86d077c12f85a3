# If this fails, protecting the columns of a real company's database loses a
# view, a default, a trigger, a rule, a foreign key, a privilege, a comment or a
# modifier, or changes what its views return.  Needs Pagila beside the project.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

plan skip_all => 'Pagila is not there (DP_PAGILA)' if !have_pagila();

my $node = new_node('columns_pagila');
load_pagila($node, 'pagila');
create_extension($node, 'pagila');
$node->safe_psql('pagila', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
CREATE ROLE app LOGIN;
CREATE ROLE clerk LOGIN;
CREATE ROLE nobody LOGIN;
GRANT USAGE ON SCHEMA legacy TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, legacy TO app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerk, nobody;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app;
COMMENT ON COLUMN customer.email IS 'where we write to';
COMMENT ON VIEW customer_list IS 'everybody';
SELECT dataprotect.grant_access('pii', 'app', 'reveal'), dataprotect.grant_access('pii', 'clerk', 'mask');
SQL

my @columns = (
	[ 'customer', 'email', q{encrypted_text('pii','50')} ],
	[ 'customer', 'first_name', q{encrypted_text('pii','45')} ],
	[ 'customer', 'last_name', q{encrypted_text('pii','45')} ],
	[ 'customer', 'create_date', q{encrypted_date('pii')} ],
	[ 'address', 'phone', q{encrypted_text('pii','20')} ],
	[ 'address', 'address', q{encrypted_text('pii','50')} ],
	[ 'staff', 'password', q{encrypted_text('pii','40')} ],
	[ 'payment', 'amount', q{encrypted_numeric('pii','5,2')} ]);

sub as_app
{
	my ($sql) = @_;
	return $node->safe_psql('pagila', $sql, extra_params => [ '-U', 'app' ]);
}

# Every view and table, row by row.  The order within a JSON aggregate was never
# promised: the films of rental_report are sorted.
my @relations = split /\n/, $node->safe_psql('pagila', <<'SQL');
SELECT c.oid::regclass FROM pg_class c
WHERE c.relnamespace IN ('public'::regnamespace, 'legacy'::regnamespace) AND c.relkind IN ('r', 'p', 'v') ORDER BY 1
SQL

sub rows
{
	my ($relation) = @_;
	my $from = $relation eq 'rental_report'
	  ? q{(SELECT report->>'customer', report->>'rental_date', (SELECT jsonb_agg(f ORDER BY f::text) FROM jsonb_array_elements(report->'films') f) FROM rental_report)}
	  : $relation;
	return as_app(qq{SELECT count(*), md5(string_agg(r::text, E'\\n' ORDER BY r::text COLLATE "C")) FROM $from r});
}

# What must not change, and is not the type of a column itself.
my $around = <<'SQL';
SELECT line FROM (
	SELECT format('%s %s owner %s options %s may %s', c.relkind, c.oid::regclass, pg_get_userbyid(c.relowner), c.reloptions,
		(SELECT array_agg(x ORDER BY x) FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))::text[]) x)) AS line
		FROM pg_class c WHERE c.relnamespace IN ('public'::regnamespace, 'legacy'::regnamespace) AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
	UNION ALL SELECT format('column %s.%s %s %s %s %s', a.attrelid::regclass, a.attname, a.attnotnull, a.attacl, a.attstattarget,
		(SELECT collname FROM pg_collation WHERE oid = a.attcollation))
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.relnamespace IN ('public'::regnamespace, 'legacy'::regnamespace) AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0
	UNION ALL SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
		WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
	UNION ALL SELECT format('trigger %s %s', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger
		WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
	UNION ALL SELECT format('rule %s on %s %s', r.rulename, r.ev_class::regclass, r.ev_enabled) FROM pg_rewrite r
		WHERE r.ev_class IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
	UNION ALL SELECT format('comment %s %s', o.identity, x.description)
		FROM pg_description x, pg_identify_object(x.classoid, x.objoid, x.objsubid) o WHERE o.identity LIKE 'public.%'
	UNION ALL SELECT format('default %s.%s', f.adrelid::regclass, a.attname)
		FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
		WHERE f.adrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
	UNION ALL SELECT format('index %s %s', i.indexrelid::regclass, CASE WHEN i.indexrelid = 'idx_last_name'::regclass THEN 'changed'
			ELSE pg_get_indexdef(i.indexrelid) END) FROM pg_index i
		WHERE i.indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)) x
WHERE line NOT LIKE '%encrypted\_%' ORDER BY line COLLATE "C"
SQL

my $union = 'SELECT count(*) FROM (SELECT last_name FROM customer UNION SELECT last_name FROM actor) q';
my $union_before = as_app($union);
my %before = map { $_ => rows($_) } @relations;
my $around_before = $node->safe_psql('pagila', $around);
cmp_ok(scalar(@relations), '>=', 25, 'Pagila has its tables and views');

$node->safe_psql('pagila', "CALL dataprotect.encrypt_column('$_->[0]', '$_->[1]', 'pii')") for @columns;

for my $column (@columns)
{
	is( $node->safe_psql('pagila', "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
			WHERE attrelid = '$column->[0]'::regclass AND attname = '$column->[1]'"),
		$column->[2], "$column->[0].$column->[1] keeps its modifier");
}
is( $node->safe_psql('pagila', q{SELECT count(DISTINCT format_type(atttypid, atttypmod)) FROM pg_attribute
		WHERE attname = 'amount' AND attrelid IN (SELECT relid FROM pg_partition_tree('payment'))}),
	'1', 'and so do the partitions');
is(rows($_), $before{$_}, "$_ returns the same rows") for @relations;
is($node->safe_psql('pagila', $around), $around_before, 'nothing around the columns changed');
is( $node->safe_psql('pagila', q{SELECT pg_get_indexdef('idx_last_name'::regclass)}),
	'CREATE INDEX idx_last_name ON public.customer USING hash (last_name)', 'a btree index became a hash index');

# Ordinary SQL of an application.
is(as_app(q{SELECT email FROM customer WHERE last_name = 'SMITH'}), 'MARY.SMITH@sakilacustomer.org', 'equality');
is(as_app(q{SELECT count(*) FROM customer WHERE email ILIKE '%SMITH%'}), '1', 'ILIKE');
is(as_app(q{SELECT string_agg(last_name, ',') FROM (SELECT last_name FROM customer ORDER BY last_name LIMIT 3) q}),
	'ABNEY,ADAM,ADAMS', 'ORDER BY');
is(as_app('SELECT sum(amount), max(amount) FROM payment'), '67406.56|11.99', 'aggregates');
is(as_app($union), $union_before, 'a protected column beside a plain one');
is(as_app(q{INSERT INTO customer (store_id, first_name, last_name, email, address_id) VALUES (1, 'Ada', 'Lovelace', 'ada@example.org', 5)
		RETURNING first_name || ' ' || last_name, create_date = current_date}), 'Ada Lovelace|t', 'defaults still apply');
psql_fails($node, 'pagila', q{INSERT INTO customer (store_id, first_name, last_name, address_id) VALUES (1, repeat('x', 46), 'y', 5)},
	qr/invalid value for type encrypted_text/, 'and modifiers');
my $amount = as_app('SELECT amount FROM payment WHERE payment_id = 1');
as_app('UPDATE payment SET payment_id = 100001 WHERE payment_id = 1');
is(as_app('SELECT amount FROM payment WHERE payment_id = 100001'), $amount, 'the rule on payment runs');

# Others see masks or ciphertext through the same views.
is($node->safe_psql('pagila', 'SELECT email FROM customer WHERE customer_id = 1', extra_params => [ '-U', 'clerk' ]),
	'M***@***.org', 'a mask');
like($node->safe_psql('pagila', 'SELECT phone FROM customer_list LIMIT 1', extra_params => [ '-U', 'nobody' ]),
	qr/^enc:v1:/, 'ciphertext through a view');

# And back again.
as_app(q{DELETE FROM customer WHERE last_name = 'Lovelace'});
as_app(q{UPDATE payment SET payment_id = 1 WHERE payment_id = 100001});
$node->safe_psql('pagila', q{SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal')});
$node->safe_psql('pagila', "CALL dataprotect.decrypt_column('$_->[0]', '$_->[1]')") for @columns;
is(rows($_), $before{$_}, "$_ returns the same rows after decrypt_column") for @relations;
is($node->safe_psql('pagila', $around), $around_before, 'and nothing around the columns changed');

done_testing();
