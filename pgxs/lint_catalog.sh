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
cp "$top/README.md" "$readme"
rules="installed comment public search-path volatility dump documented"

cleanup()
{
	"$pgxs/server.sh" stop "$work/s" immediate >/dev/null 2>&1 || :
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

# findings: the catalog's findings in database postgres, one a line.
findings()
{
	{
		echo "CREATE TEMP TABLE dp_lint_allowed (kind text, name text);"
		sed -n "s/^\([a-z][a-z]*\) \([A-Za-z0-9_.]*\)$/INSERT INTO dp_lint_allowed VALUES ('\1', '\2');/p" \
			"$pgxs/lint_public.txt"
		echo "CREATE TEMP TABLE dp_lint_readme (line text, number serial);"
		[ ! -f "$readme" ] ||
			sed "s/'/''/g; s/.*/INSERT INTO dp_lint_readme (line) VALUES ('&');/" "$readme"
		cat "$pgxs/lint_catalog.sql"
	} | "$pgxs/server.sh" psql "$work/s" -q -A -t -F ': ' -v ON_ERROR_STOP=1 -f - || echo "broken: the rules did not run"
}

"$pgxs/server.sh" start "$work/s"
"$pgxs/server.sh" psql "$work/s" -q -v ON_ERROR_STOP=1 -c "CREATE EXTENSION dataprotect"

if [ "${1:-}" = --selftest ]; then
	# sees RULE WHAT SQL UNDO: the rules run between the violation and its undoing.
	sees()
	{
		"$pgxs/server.sh" psql "$work/s" -q -v ON_ERROR_STOP=1 -c "$3" >"$work/log" 2>&1 || {
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
		"$pgxs/server.sh" psql "$work/s" -q -v ON_ERROR_STOP=1 -c "$4" >/dev/null
	}
	function_sql="CREATE FUNCTION dataprotect.lintprobe() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
		ALTER EXTENSION dataprotect ADD FUNCTION dataprotect.lintprobe();"
	drop_function="ALTER EXTENSION dataprotect DROP FUNCTION dataprotect.lintprobe(); DROP FUNCTION dataprotect.lintprobe()"
	table_sql="CREATE TABLE dataprotect.lintprobe (i int); ALTER EXTENSION dataprotect ADD TABLE dataprotect.lintprobe;"
	drop_table="ALTER EXTENSION dataprotect DROP TABLE dataprotect.lintprobe; DROP TABLE dataprotect.lintprobe"
	sees comment "a function without a comment" "$function_sql" "$drop_function"
	sees comment "a table without a comment" "$table_sql" "$drop_table"
	sees public "a function open to everybody" "$function_sql" "$drop_function"
	sees public "a table open to everybody" "$table_sql GRANT INSERT ON dataprotect.lintprobe TO PUBLIC" "$drop_table"
	sees search-path "PL/pgSQL without a search path" "$function_sql" "$drop_function"
	sees search-path "SECURITY DEFINER with a search path of somebody's choice" \
		"$function_sql ALTER FUNCTION dataprotect.lintprobe() SECURITY DEFINER SET search_path = public, pg_catalog" \
		"$drop_function"
	sees documented "a function that README.md does not name" "$function_sql" "$drop_function"
	sed -i 's/^| `verify_audit_log()`/| `lintprobe_gone()` |\n&/' "$readme"
	sees documented "a function of README.md that does not exist" "SELECT 1" "SELECT 1"
	cp "$top/README.md" "$readme"
	sees dump "a table that pg_dump leaves behind" "$table_sql" "$drop_table"
	sees volatility "an immutable function over an encrypted type" \
		"CREATE FUNCTION dataprotect.lintprobe(v encrypted_text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
		ALTER EXTENSION dataprotect ADD FUNCTION dataprotect.lintprobe(encrypted_text)" \
		"ALTER EXTENSION dataprotect DROP FUNCTION dataprotect.lintprobe(encrypted_text); DROP FUNCTION dataprotect.lintprobe(encrypted_text)"
else
	findings >"$work/found"
	for rule in $rules; do
		if grep -q "^$rule: " "$work/found"; then
			echo "FAILED lint catalog $rule"
			grep "^$rule: " "$work/found" | sed 's/^/       /' | head -n 40
			failed=$((failed + 1))
		elif grep -q "^broken: " "$work/found"; then
			echo "FAILED lint catalog $rule: the rules did not run"
			failed=$((failed + 1))
		else
			echo "ok     lint catalog $rule"
			passed=$((passed + 1))
		fi
	done
fi

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
