#!/bin/sh
# Run files of the pg_regress suite on a server under valgrind's memcheck: "make valgrind".
#
#	PG_CONFIG=... pgxs/valgrind.sh [TEST...]
#
# Every process of the server is watched.  What PostgreSQL does by itself stands in
# test/valgrind.supp; each other finding is printed and counts as a failure.
# Values only, not speed: a file takes some minutes.  Needs valgrind; not part of
# test/run.sh.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=pgxs/watched.sh
. "$top/pgxs/watched.sh"
[ $# -gt 0 ] || set -- 00_extension 00_install 02_access

command -v valgrind >/dev/null || {
	echo "valgrind.sh: valgrind is not there" >&2
	exit 2
}
work=$(mktemp -d "${TMPDIR:-/tmp}/dp-valgrind.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/found"
chmod 755 "$work"
chmod 1777 "$work/found"
cp "$top/test/valgrind.supp" "$work/"
watch_server "$work" "${PG_CONFIG:-pg_config}" valgrind -q --vgdb=no --trace-children=no --leak-check=no --num-callers=24 \
	--gen-suppressions=all --suppressions="$work/valgrind.supp" --log-file="$work/found/%p.log"
sort_tests "$@"
status=0
export PGCTLTIMEOUT=600
[ -z "$sql" ] || DP_BINDIR=$work/bin "$top/pgxs/regress.sh" regress $sql || status=$?
[ -z "$tap" ] || PG_CONFIG=$work/pg_config PG_TEST_TIMEOUT_DEFAULT=3600 "$top/test/tap.sh" $tap || status=$?
findings=$(cat "$work"/found/*.log | grep -c 'insert_a_suppression_name_here' || :)
[ "$findings" -eq 0 ] || cat "$work"/found/*.log | head -n "${DP_FINDING_LINES:-400}"
echo "$findings findings of valgrind in $(find "$work/found" -name '*.log' | wc -l) processes"
[ "$status" -eq 0 ] && [ "$findings" -eq 0 ]
