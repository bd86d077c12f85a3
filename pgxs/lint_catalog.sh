#!/bin/sh
# Check what an installed dataprotect puts into a live database: comments,
# privileges, search paths, volatility, dumps.  The rules are in
# lint_catalog.sql.  Uses a throw-away server.
#
#	PG_CONFIG=... pgxs/lint_catalog.sh [--selftest]
#
# --selftest adds a violation of each rule to the extension and sees it red.
set -eu

pgxs=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$pgxs")
work=$(mktemp -d "${TMPDIR:-/tmp}/dp-lint.XXXXXX")
passed=0
failed=0
readme=$work/README.md
# What people wrote: doc/catalog.md is made of the catalogs.
written()
{
	cat "$top/README.md"
	find "$top/doc" -name '*.md' ! -name catalog.md -exec cat {} +
}
written >"$readme"
rules="installed comment privileges search-path volatility statistics sealed events dump documented"

cleanup()
{
	"$pgxs/server.sh" stop "$work/s" immediate >/dev/null 2>&1 || :
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

# sql ARGS...: psql that stops at the first error.
sql()
{
	"$pgxs/server.sh" psql "$work/s" -q -v ON_ERROR_STOP=1 "$@"
}

# findings [DATABASE]: the catalog's findings there, one a line.
findings()
{
	{
		echo "CREATE TEMP TABLE dp_lint_undumped (name text);"
		sed -n "s/^\([A-Za-z0-9_.][A-Za-z0-9_.]*\)$/INSERT INTO dp_lint_undumped VALUES ('\1');/p" \
			"$pgxs/lint_undumped.txt"
		echo "CREATE TEMP TABLE dp_lint_readme (line text, number serial);"
		[ ! -f "$readme" ] ||
			sed "s/'/''/g; s/.*/INSERT INTO dp_lint_readme (line) VALUES ('&');/" "$readme"
		cat "$pgxs/lint_catalog.sql"
	} | sql -A -t -F ': ' -d "${1:-postgres}" -f - || echo "broken: the rules did not run"
}

# report RULE WHERE: ok where file "found" has nothing of the rule.
report()
{
	if grep -q "^$1: " "$work/found"; then
		echo "FAILED lint catalog $1$2"
		grep "^$1: " "$work/found" | sed 's/^/       /' | head -n 40
		failed=$((failed + 1))
	elif grep -q "^broken: " "$work/found"; then
		echo "FAILED lint catalog $1$2: the rules did not run"
		failed=$((failed + 1))
	else
		echo "ok     lint catalog $1$2"
		passed=$((passed + 1))
	fi
}

# page: doc/catalog.md as the catalogs have it now.
page()
{
	sql -A -t -f - <"$pgxs/reference.sql"
}

# hostile_defaults [IN SCHEMA ...]: everything that is made from now on belongs
# to everybody, and to a role that may hand it on.
hostile_defaults()
{
	for kind in TABLES SEQUENCES ROUTINES TYPES $([ -n "${1:-}" ] || echo SCHEMAS); do
		echo "ALTER DEFAULT PRIVILEGES ${1:-} GRANT ALL ON $kind TO PUBLIC;"
		echo "ALTER DEFAULT PRIVILEGES ${1:-} GRANT ALL ON $kind TO lint_stranger WITH GRANT OPTION;"
	done
}

# make_hostile: database "hostile" with the extension, a key, the audit log's
# partition of this month and one more encrypted type.
make_hostile()
{
	sql -c "CREATE ROLE lint_stranger" -c "CREATE DATABASE hostile"
	{
		hostile_defaults
		echo "CREATE EXTENSION dataprotect;"
		hostile_defaults "IN SCHEMA dataprotect"
		echo "CREATE TYPE lint_mood AS ENUM ('good', 'bad');"
		echo "SELECT dataprotect.create_key('lint'), dataprotect.create_encrypted_type('lint_mood'), dataprotect.flush_audit_log('60 s');"
		echo "SELECT 1 / count(*) FROM pg_inherits WHERE inhparent = 'dataprotect.audit_batch'::regclass;"
	} | sql -o /dev/null -d hostile -f -
}

# DROP and CREATE EXTENSION in one transaction lock each of some thousands of objects
printf 'max_worker_processes = 16\nmax_locks_per_transaction = 256\n' >"$work/conf"
"$pgxs/server.sh" start "$work/s" "$work/conf"
sql -c "CREATE EXTENSION dataprotect"

if [ "${1:-}" = --selftest ]; then
	# sees RULE WHAT SQL UNDO: the rules run between the violation and its undoing.
	sees()
	{
		sql -c "$3" >"$work/log" 2>&1 || {
			sed 's/^/       /' "$work/log"
			echo "FAILED lint selftest $1: could not make $2"
			failed=$((failed + 1))
			return
		}
		findings >"$work/found"
		if grep "^$1: " "$work/found" | grep -q lintprobe; then
			echo "ok     lint selftest $1: sees $2"
			passed=$((passed + 1))
		else
			echo "FAILED lint selftest $1: does not see $2"
			failed=$((failed + 1))
		fi
		sql -c "$4" >/dev/null
	}
	function_sql="CREATE FUNCTION dataprotect.lintprobe() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
		ALTER EXTENSION dataprotect ADD FUNCTION dataprotect.lintprobe();"
	drop_function="ALTER EXTENSION dataprotect DROP FUNCTION dataprotect.lintprobe(); DROP FUNCTION dataprotect.lintprobe()"
	table_sql="CREATE TABLE dataprotect.lintprobe (i int); ALTER EXTENSION dataprotect ADD TABLE dataprotect.lintprobe;"
	drop_table="ALTER EXTENSION dataprotect DROP TABLE dataprotect.lintprobe; DROP TABLE dataprotect.lintprobe"
	sees comment "a function without a comment" "$function_sql" "$drop_function"
	sees comment "a table without a comment" "$table_sql" "$drop_table"
	sees privileges "a function open to everybody" "$function_sql" "$drop_function"
	sees privileges "a public function that nobody may call" \
		"$function_sql REVOKE ALL ON FUNCTION dataprotect.lintprobe() FROM PUBLIC" "$drop_function"
	sees privileges "a table open to everybody" "$table_sql GRANT INSERT ON dataprotect.lintprobe TO PUBLIC" "$drop_table"
	sees privileges "a column open to everybody" "$table_sql GRANT SELECT (i) ON dataprotect.lintprobe TO PUBLIC" "$drop_table"
	sees privileges "a view that its readers may not call the functions of" \
		"CREATE VIEW dataprotect.lintprobe AS SELECT dataprotect._mint_version(1); ALTER EXTENSION dataprotect ADD VIEW dataprotect.lintprobe; GRANT SELECT ON dataprotect.lintprobe TO dataprotect_admin" \
		"ALTER EXTENSION dataprotect DROP VIEW dataprotect.lintprobe; DROP VIEW dataprotect.lintprobe"
	sees privileges "a privilege that may be handed on" \
		"CREATE ROLE lintprobe; GRANT SELECT ON dataprotect.keys TO lintprobe WITH GRANT OPTION" "DROP OWNED BY lintprobe; DROP ROLE lintprobe"
	sees privileges "a privilege that is missing" \
		"CREATE ROLE lintprobe; CREATE OR REPLACE FUNCTION dataprotect._privileges(OUT kind text, OUT name text, OUT grantees text)
			RETURNS SETOF record LANGUAGE sql AS 'VALUES (''TABLE'', ''dataprotect.keys'', ''lintprobe'')'" \
		"DROP ROLE lintprobe; DROP EXTENSION dataprotect; CREATE EXTENSION dataprotect"
	sees search-path "PL/pgSQL without a search path" "$function_sql" "$drop_function"
	sees search-path "SECURITY DEFINER with a search path of somebody's choice" \
		"$function_sql ALTER FUNCTION dataprotect.lintprobe() SECURITY DEFINER SET search_path = public, pg_catalog" \
		"$drop_function"
	sees documented "a function that README.md does not name" "$function_sql" "$drop_function"
	sed -i 's/^| `verify_audit_log()`/| `lintprobe_gone()` |\n&/' "$readme"
	sees documented "a function of README.md that does not exist" "SELECT 1" "SELECT 1"
	written >"$readme"
	page >"$work/page"
	sql -c "$function_sql COMMENT ON FUNCTION dataprotect.lintprobe() IS 'new'"
	page >"$work/page-new"
	sql -c "$drop_function"
	if grep -q '`lintprobe()`.*new.*everybody' "$work/page-new" && ! grep -q lintprobe "$work/page"; then
		echo "ok     lint selftest page: sees a function that comes"
		passed=$((passed + 1))
	else
		echo "FAILED lint selftest page: does not see a function that comes"
		failed=$((failed + 1))
	fi
	sees sealed "a table without a seal, and without a reason" "$table_sql" "$drop_table"
	sees events "a function that changes something, and tells nobody" "$function_sql" "$drop_function"
	sees statistics "bytes that ANALYZE copies" \
		"CREATE TABLE dataprotect.lintprobe (secret bytea); ALTER EXTENSION dataprotect ADD TABLE dataprotect.lintprobe;" "$drop_table"
	sees dump "a table that pg_dump leaves behind" "$table_sql" "$drop_table"
	sees volatility "an immutable function over an encrypted type" \
		"CREATE FUNCTION dataprotect.lintprobe(v encrypted_text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
		ALTER EXTENSION dataprotect ADD FUNCTION dataprotect.lintprobe(encrypted_text)" \
		"ALTER EXTENSION dataprotect DROP FUNCTION dataprotect.lintprobe(encrypted_text); DROP FUNCTION dataprotect.lintprobe(encrypted_text)"
else
	findings >"$work/found"
	for rule in $rules; do
		report "$rule" ""
	done
	# while a version is in the making its comments change every day; a release has them right
	page >"$work/page"
	if cmp -s "$work/page" "$top/doc/catalog.md"; then
		echo "ok     lint catalog page: doc/catalog.md is what the catalogs say"
		passed=$((passed + 1))
	elif grep -q "^## \[$(sed -n "s/^default_version = '\(.*\)'/\1/p" "$top/dataprotect.control")\] - [0-9]" "$top/CHANGELOG.md"; then
		echo "FAILED lint catalog page: doc/catalog.md is not what the catalogs of this release say (make reference)"
		diff "$top/doc/catalog.md" "$work/page" | sed 's/^/       /' | cut -c1-200 | head -n 20
		failed=$((failed + 1))
	else
		echo "       warning: doc/catalog.md is older than the catalogs ($(diff "$top/doc/catalog.md" "$work/page" | grep -c '^[<>]') lines): make reference"
	fi
	make_hostile
	findings hostile >"$work/found"
	report privileges " where default privileges are hostile"
fi

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
