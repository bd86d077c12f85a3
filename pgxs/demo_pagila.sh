# shellcheck shell=sh disable=SC2034
# What demo_steps.sh calls things in Pagila.
schema=public
customer=customer
customer_id=7
email=email
view_query="SELECT name, phone, city FROM customer_list WHERE name ILIKE 'm%w%' ORDER BY name LIMIT 3;"
people="SELECT customer_id, first_name, last_name, email FROM customer WHERE customer_id IN (7, 8) ORDER BY customer_id;"
payments=payment
sum_query="SELECT c.last_name, sum(p.amount) FROM payment p JOIN customer c USING (customer_id)
 GROUP BY c.last_name ORDER BY c.last_name LIMIT 3;"
protect="CALL dataprotect.encrypt_column('customer', 'email', 'pii', searchable => true);
CALL dataprotect.encrypt_column('customer', 'first_name', 'pii');
CALL dataprotect.encrypt_column('customer', 'last_name', 'pii');
CALL dataprotect.encrypt_column('address', 'phone', 'pii');
CALL dataprotect.encrypt_column('payment', 'amount', 'money');"
new_customer="INSERT INTO customer (store_id, first_name, last_name, email, address_id)
VALUES (1, 'ZOE', 'QUILL', 'zoe.quill.7351@sakilacustomer.org', 5);"
new_email=zoe.quill.7351@sakilacustomer.org
email_of="SELECT email FROM customer WHERE customer_id = 7;"
find_email="SELECT customer_id FROM customer WHERE email = 'MARIA.MILLER@sakilacustomer.org';"
age_policy="CREATE INDEX ON rental (lower(rental_period));
CREATE INDEX ON payment (rental_id);
SELECT dataprotect.create_retention_policy('old rentals', 'legacy.rental', 'rental_date', age(date '2005-07-01'), 'delete',
    '{\"children\": {\"public.payment\": \"keep_referenced\"}}');"
age_name="old rentals"
part_policy="SELECT dataprotect.create_retention_policy('old payments', 'payment', 'payment_date', age(date '2007-04-01'), 'drop_partition');"
part_name="old payments"
account="CREATE INDEX ON payment (customer_id);
SELECT dataprotect.create_account_type('customer', 'customer', 'customer_id');
SELECT dataprotect.annotate_account('customer', 'rental', '{customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'payment', '{rental_id}', 'delete');
SELECT dataprotect.annotate_account('customer', r, c::name[], 'shared')
  FROM (VALUES ('customer'::regclass, '{store_id}'), ('customer', '{address_id}'), ('rental', '{inventory_id}'), ('rental', '{staff_id}'), ('payment', '{staff_id}')) s(r, c);"
account_rest="SELECT dataprotect.annotate_account('customer', 'payment', '{customer_id}', 'delete');"
bind="SELECT dataprotect.bind_subject('customer', 'customer', 'customer_id');
SELECT dataprotect.bind_subject('payment', 'customer', 'customer_id');"
left_query="SELECT (SELECT count(*) FROM customer WHERE customer_id = 7) AS customers,
       (SELECT count(*) FROM rental WHERE customer_id = 7) AS rentals,
       (SELECT count(*) FROM payment WHERE customer_id = 7) AS payments;"
