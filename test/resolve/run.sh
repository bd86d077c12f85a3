#!/bin/sh
# Which calls resolve for encrypted types as they do for their base types, to the
# same result type, and that none over plain types has come to resolve differently.
#
#	PG_CONFIG=... test/resolve/run.sh [-v]
#
# cases.sql enumerates calls in a database without the extension, after.sql tries
# them with it.  remaining.txt has, a line each, a regular expression of calls that
# do not resolve, a tabulator, and the reason; any other fails.  -v prints them all.
# Uses a throw-away server.  The last line is "N passed, N failed, N skipped".
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pgxs=$here/../../pgxs
work=$(mktemp -d "${TMPDIR:-/tmp}/dp-res.XXXXXX")
passed=0
failed=0

cleanup()
{
	"$pgxs/server.sh" stop "$work/s" immediate >/dev/null 2>&1 || :
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

sql()
{
	"$pgxs/server.sh" psql "$work/s" -q -A -t -v ON_ERROR_STOP=1 "$@"
}

# check WHAT QUERY: ok where the query gives nothing.
check()
{
	sql -F ' | ' -c "SET search_path = resolve, pg_catalog; $2" >"$work/found" || echo "the query failed" >>"$work/found"
	if [ -s "$work/found" ]; then
		echo "FAILED $1"
		head -n 60 "$work/found" | sed 's/^/       /'
		failed=$((failed + 1))
	else
		echo "ok     $1"
		passed=$((passed + 1))
	fi
}

echo 'jit = off' >"$work/conf"
"$pgxs/server.sh" start "$work/s" "$work/conf" >/dev/null
tab=$(printf '\t')
{
	cat "$here/cases.sql"
	echo 'CREATE TABLE resolve.reason (id int GENERATED ALWAYS AS IDENTITY, pattern text, reason text);'
	grep -v '^#' "$here/remaining.txt" |
		sed "s/'/''/g; s/^\([^$tab]*\)$tab\(.*\)$/INSERT INTO resolve.reason (pattern, reason) VALUES ('\1', '\2');/"
	echo 'CREATE EXTENSION dataprotect;'
	echo "SELECT dataprotect.create_key('k');"
	cat "$here/after.sql"
} | sql -f - >"$work/log" 2>&1 || {
	tail -n 20 "$work/log"
	echo "FAILED the enumeration"
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
}
sql -c "SELECT format('%s of %s calls (%s) that resolve for plain types do for encrypted ones', count(*) FILTER (WHERE after = before), count(*), kind)
	FROM resolve.tried GROUP BY kind ORDER BY kind"
sql -c "SELECT format('%s of %s in all', count(*) FILTER (WHERE after = before), count(*)) FROM resolve.tried"
sql -c "SELECT format('%s remain: %s', count(*), reason) FROM resolve.remaining WHERE reason IS NOT NULL GROUP BY reason ORDER BY 1"
[ "${1:-}" != -v ] || sql -F ' | ' -c "SELECT kind, expression, before, after, reason FROM resolve.remaining ORDER BY kind, expression"

check 'no expression over plain types resolves differently with the extension' \
	'SELECT expression, before, shape, now FROM changed ORDER BY id'
check 'every call that resolves for plain types does for encrypted ones, or there is a reason' \
	'SELECT kind, expression, before, after FROM remaining WHERE reason IS NULL ORDER BY kind, expression'
check 'every operator class is whole' 'SELECT opcname FROM pg_opclass WHERE NOT amvalidate(oid)'
check 'no operator is a shell' 'SELECT oid::regoperator FROM pg_operator WHERE oprcode = 0'
check 'thousands of calls were tried' 'SELECT count(*) FROM tried HAVING count(*) < 15000'
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
