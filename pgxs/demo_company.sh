# shellcheck shell=sh disable=SC2034
# What demo_steps.sh calls things in test/data/company.sql.
schema=company
customer=company.customer
customer_id=7
email=email
view_query="SELECT name, email, phone, city FROM company.customer_list WHERE name ILIKE 'cleo%' ORDER BY name, email LIMIT 3;"
people="SELECT customer_id, first_name, last_name, email FROM company.customer WHERE customer_id IN (7, 8) ORDER BY customer_id;"
payments=company.payment
sum_query="SELECT c.last_name, sum(p.amount) FROM company.payment p JOIN company.customer c USING (customer_id)
 GROUP BY c.last_name ORDER BY c.last_name LIMIT 3;"
protect="CALL dataprotect.encrypt_column('company.customer', 'email', 'pii', searchable => true);
CALL dataprotect.encrypt_column('company.customer', 'first_name', 'pii');
CALL dataprotect.encrypt_column('company.customer', 'last_name', 'pii');
CALL dataprotect.encrypt_column('company.address', 'phone', 'pii');
CALL dataprotect.encrypt_column('company.payment', 'amount', 'money');"
new_customer="INSERT INTO company.customer (first_name, last_name, email, address_id)
VALUES ('Zoe', 'Quill', 'zoe.quill.7351@mail.example', 1);"
new_email=zoe.quill.7351@mail.example
email_of="SELECT email FROM company.customer WHERE customer_id = 7;"
find_email="SELECT customer_id FROM company.customer WHERE email = 'person7@mail.example';"
age_policy="SELECT dataprotect.create_retention_policy('old tickets', 'company.ticket', 'opened_on', '1 year', 'delete');"
age_name="old tickets"
part_policy="SELECT dataprotect.create_retention_policy('old payments', 'company.payment', 'paid_at', '18 months', 'drop_partition');"
part_name="old payments"
account="SELECT dataprotect.create_account_type('customer', 'company.customer', 'customer_id');
SELECT dataprotect.annotate_account('customer', 'company.orders', '{customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.order_line', '{order_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.payment', '{customer_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.payment', '{order_id}', 'delete');
SELECT dataprotect.annotate_account('customer', 'company.ticket', '{customer_id}', 'nullify');
SELECT dataprotect.annotate_account('customer', 'company.customer', '{address_id}', 'shared');"
account_rest="SELECT dataprotect.annotate_account('customer', 'company.customer', '{referred_by}', 'nullify');"
bind="SELECT dataprotect.bind_subject('company.customer', 'customer', 'customer_id');
SELECT dataprotect.bind_subject('company.payment', 'customer', 'customer_id');"
left_query="SELECT (SELECT count(*) FROM company.customer WHERE customer_id = 7) AS customers,
       (SELECT count(*) FROM company.orders WHERE customer_id = 7) AS orders,
       (SELECT count(*) FROM company.payment WHERE customer_id = 7) AS payments;"
