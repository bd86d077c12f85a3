# shellcheck shell=sh disable=SC2154
# The demonstration, step by step; sourced by demo.sh after demo_company.sh or
# demo_pagila.sh has said what the tables are called.

step "Before: everybody who can read the table, the disk or a backup reads everything"
show postgres "$people"

step "The extension and two keys; the root key is a file outside the data directory"
show postgres "CREATE EXTENSION dataprotect;
SELECT dataprotect.create_key('pii', mask => 'partial(1,''*'',0)', description => 'who a customer is');
SELECT dataprotect.create_key('money', description => 'what a customer paid');
SELECT name, state, current_version, mask FROM dataprotect.keys ORDER BY name;"

step "Columns of the living tables are protected; views, triggers and foreign keys stay"
show postgres "$protect"
show postgres "SELECT rel, col, type, key, searchable FROM dataprotect.protected_columns ORDER BY rel::text, col;"

step "Four roles: the shop's application, support, the tables' owner, and a superuser"
run_as postgres "CREATE ROLE shop LOGIN; CREATE ROLE support LOGIN; CREATE ROLE owner LOGIN; CREATE ROLE dpo LOGIN;
GRANT dataprotect_auditor TO dpo;
GRANT USAGE ON SCHEMA $schema TO shop, support, owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA $schema TO shop;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA $schema TO shop;
GRANT SELECT ON ALL TABLES IN SCHEMA $schema TO support;
GRANT CREATE ON SCHEMA $schema TO owner;
DO \$\$
DECLARE
    t regclass;
BEGIN
    FOR t IN SELECT c.oid FROM pg_class c
             WHERE c.relnamespace::regnamespace::text IN ('$schema', 'legacy') AND c.relkind IN ('r', 'p', 'v', 'm') LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO owner', t);
    END LOOP;
    IF to_regnamespace('legacy') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA legacy TO owner;
    END IF;
END \$\$;" >/dev/null
show postgres "SELECT dataprotect.grant_access('pii', 'shop', 'reveal', reason => 'order processing');
SELECT dataprotect.grant_access('money', 'shop', 'reveal', reason => 'order processing');
SELECT dataprotect.grant_access('pii', 'support', 'mask', reason => 'first level support');"
say "The application reads what it read before:"
show shop "$people"
say "Support sees masks:"
show support "$people"
say "The owner of the table sees ciphertext:"
show owner "$email_of"
say "So does a superuser, who may not compare either:"
show postgres "$email_of"
refused postgres "$find_email"

step "The application's SQL works as it is"
show shop "$view_query"
show shop "$sum_query"
show shop "$find_email"
show shop "EXPLAIN (COSTS OFF) $find_email"
show shop "$new_customer"

step "On disk, in the WAL included, the new address is nowhere to be found"
run_as postgres "CHECKPOINT;" >/dev/null
"$top/pgxs/server.sh" stop "$work/s"
found=$(count_files_with "$new_email")
say "grep -ra '$new_email' over the stopped server's data directory: $found files"
[ "$found" -eq 0 ] || die "plaintext on disk"
"$top/pgxs/server.sh" start "$work/s"

step "Who read what: one row for each statement that opened a value, for auditors only"
refused postgres "SELECT count(*) FROM dataprotect.audit_log;"
run_as dpo "SELECT dataprotect.flush_audit_log();" >/dev/null
show dpo "SELECT seq, session_role AS role, outcome, values_opened AS opened, columns
  FROM dataprotect.audit_log WHERE event = 'value.revealed' ORDER BY seq DESC LIMIT 4;
SELECT * FROM dataprotect.verify_audit_log();"
say "A superuser takes a row away, and is found out:"
show postgres "BEGIN;
DELETE FROM dataprotect.audit_batch WHERE seq_to = (SELECT max(seq_to) FROM dataprotect.audit_batch);
SELECT * FROM dataprotect.verify_audit_log();
ROLLBACK;"

step "Retention: created paused, looked at, then activated; the worker does it"
show postgres "$part_policy
SELECT * FROM dataprotect.preview_retention('$part_name');"
show postgres "SELECT dataprotect.activate_retention('$part_name');"
wait_for "SELECT count(*) > 0 FROM dataprotect.retention_runs WHERE policy = '$part_name' AND finished_at IS NOT NULL"
show postgres "SELECT policy, rows_done, outcome FROM dataprotect.retention_runs ORDER BY started_at;"
show postgres "$age_policy
SELECT * FROM dataprotect.preview_retention('$age_name');
SELECT dataprotect.activate_retention('$age_name');"
wait_for "SELECT count(*) > 0 FROM dataprotect.retention_runs WHERE policy = '$age_name' AND finished_at IS NOT NULL"
show postgres "SELECT policy, rows_done, outcome FROM dataprotect.retention_runs ORDER BY started_at;"

step "Accounts: what becomes of every table that a customer's rows are in"
show postgres "$account"
say "One foreign key was forgotten, so no deletion is accepted yet:"
refused postgres "SELECT dataprotect.request_deletion('customer', '$customer_id', 'asked by mail');"
show postgres "$account_rest
SELECT * FROM dataprotect.check_account_type('customer');"
say "Every customer gets a key of its own:"
show postgres "$bind"

step "A customer asks to be deleted: unreadable at once, and back when cancelled"
show postgres "SELECT dataprotect.request_deletion('customer', '$customer_id', 'asked by mail');"
show shop "$people"
show postgres "SELECT dataprotect.cancel_deletion((SELECT max(id) FROM dataprotect.deletion_requests), 'changed their mind');"
show shop "$people"

step "Asked again, and this time the days pass: the server's clock moves"
show postgres "SELECT dataprotect.request_deletion('customer', '$customer_id', 'asked again');
SELECT id, account_id, state, grace_until::date, deadline::date FROM dataprotect.deletion_requests ORDER BY id;"
say "A clock that jumps stops deletions until an administrator confirms it, which this does here."
say "Day 29:"
clock 29
show postgres "SELECT id, state FROM dataprotect.deletion_requests ORDER BY id;"
say "Day 31: purging began by itself."
clock 31
wait_for "SELECT state NOT IN ('requested', 'purging', 'purged', 'shredded', 'verified') FROM dataprotect.deletion_requests ORDER BY id DESC LIMIT 1"
show postgres "SELECT id, account_id, state, state_since::date FROM dataprotect.deletion_requests ORDER BY id;"
show postgres "$left_query"
show_text postgres "SELECT jsonb_pretty(dataprotect.deletion_certificate((SELECT max(id) FROM dataprotect.deletion_requests)));"

step "An alarm: everything closes at once, and opens again"
show postgres "SELECT dataprotect.lockdown('stolen laptop');"
show shop "SELECT customer_id, email FROM $customer WHERE customer_id = 8;"
show postgres "SELECT dataprotect.lift_lockdown('found again');"
show shop "SELECT customer_id, email FROM $customer WHERE customer_id = 8;"
show dpo "SELECT * FROM dataprotect.verify_audit_log();"

step "One page that shows all of it"
report=$(mktemp --suffix=.html "${TMPDIR:-/tmp}/dataprotect-report.XXXXXX")
shown dpo "SELECT dataprotect.report();"
PGUSER=dpo PGDATABASE=$database "$top/pgxs/server.sh" psql "$work/s" -q -A -t -v ON_ERROR_STOP=1 -c "SELECT dataprotect.report()" >"$report" ||
	die "a step failed"
chmod 644 "$report"
say "Open it in a browser: $report"
