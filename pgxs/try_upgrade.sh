#!/bin/sh
# Update a used database from an older release, or any older commit, to this tree.
#
#	pgxs/try_upgrade.sh COMMIT [HAND.sql]
#
# Builds both on one private copy of PostgreSQL $PG_MAJOR (15), makes a database that
# was used for a while under the old one (test/upgrade/every_state.sql), puts the new
# one's files there, restarts, calls ALTER EXTENSION UPDATE, and asks everything again;
# the catalogs must be those of a fresh installation, object by object.  Where the old
# commit bears this tree's version, this tree is built as the next one.  HAND.sql is
# what a person wrote for the step (pgxs/upgrade.pl says how); without it, what
# src/upgrade has.  The last line is "N passed, N failed, N skipped".
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
[ $# -ge 1 ] || {
	echo "usage: pgxs/try_upgrade.sh COMMIT [HAND.sql]" >&2
	exit 2
}
commit=$1
hand=${2:-}
[ -z "$hand" ] || hand=$(readlink -f "$hand")
work=$(mktemp -d "${TMPDIR:-/tmp}/dp-up.XXXXXX")
passed=0
failed=0
cleanup()
{
	"$top/pgxs/server.sh" stop "$work/s" immediate >/dev/null 2>&1 || :
	[ -n "${DP_KEEP:-}" ] && echo "kept: $work" || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

# check WHAT FILE FILE: ok where both are the same.
check()
{
	if diff "$2" "$3" >"$work/difference"; then
		echo "ok     $1"
		passed=$((passed + 1))
	else
		echo "FAILED $1"
		sed 's/^/       /' "$work/difference" | cut -c1-240 | head -n 40
		failed=$((failed + 1))
	fi
}

# ask ROLE FILE [DATABASE]
ask()
{
	PGUSER=$1 "$top/pgxs/server.sh" psql "$work/s" -qAt -v ON_ERROR_STOP=1 -d "${3:-postgres}" -f - <"$2" 2>&1
}

mkdir "$work/old" "$work/new"
git -C "$top" archive "$commit" | tar -xf - -C "$work/old"
git -C "$top" ls-files -z --cached --others --exclude-standard | (cd "$top" && tar -cf - --null -T -) | tar -xf - -C "$work/new"
version_of()
{
	sed -n "s/^default_version = '\(.*\)'/\1/p" "$1/dataprotect.control"
}
old=$(version_of "$work/old")
new=$(version_of "$work/new")
if [ "$old" = "$new" ]; then
	new=$(echo "$old" | awk -F. '{ print $1 "." $2 + 1 ".0" }')
	sed -i "s/^default_version = .*/default_version = '$new'/" "$work/new/dataprotect.control"
	sed -i "s/^\(EXTVERSION *= *\).*/\1$new/" "$work/new/Makefile"
fi
echo "from $commit ($old) to this tree ($new)"

PG_CONFIG=$("$top/pgxs/prefix.sh" "${PG_MAJOR:-15}" "$work/pg")
export PG_CONFIG
build()
{
	make -s -C "$work/$1" -j2 CC="${CC:-gcc}" >"$work/$1.log" 2>&1 && make -s -C "$work/$1" CC="${CC:-gcc}" install >>"$work/$1.log" 2>&1 || {
		tail -n 20 "$work/$1.log"
		exit 1
	}
}
build old
mkdir -p "$work/new/src/upgrade"
[ -e "$work/new/src/upgrade/dataprotect--$old.sql.gz" ] ||
	"$top/pgxs/upgrade.pl" freeze "$work/new/src/upgrade" "$old" "$work/old/dataprotect--$old.sql" >/dev/null
[ -z "$hand" ] || cp "$hand" "$work/new/src/upgrade/$old--$new.sql"

"$top/pgxs/server.sh" start "$work/s"
ask postgres "$top/test/upgrade/every_state.sql" >"$work/made" || {
	tail -n 5 "$work/made"
	exit 1
}
for asked in "up_app questions" "up_support others" "postgres what_holds"; do
	ask "${asked% *}" "$top/test/upgrade/${asked#* }.sql" >"$work/before-${asked#* }" || :
done

build new
"$top/pgxs/server.sh" stop "$work/s"
"$top/pgxs/server.sh" start "$work/s"
PGUSER=up_app "$top/pgxs/server.sh" psql "$work/s" -c 'SELECT t FROM up.every' >"$work/between" 2>&1 || :
grep -q "version $old, and the loaded library is $new" "$work/between" && : >"$work/refused" || cp "$work/between" "$work/refused"
check "before the update the new library refuses to read" "$work/refused" /dev/null

echo "ALTER EXTENSION dataprotect UPDATE;" >"$work/update.sql"
ask postgres "$work/update.sql" >"$work/updated" || :
check "ALTER EXTENSION UPDATE" "$work/updated" /dev/null
for asked in "up_app questions" "up_support others" "postgres what_holds"; do
	ask "${asked% *}" "$top/test/upgrade/${asked#* }.sql" >"$work/after-${asked#* }" || :
	check "${asked#* } after as before" "$work/before-${asked#* }" "$work/after-${asked#* }"
done
echo "CREATE DATABASE fresh" >"$work/fresh.sql"
ask postgres "$work/fresh.sql"
echo "CREATE EXTENSION dataprotect" >"$work/fresh.sql"
ask postgres "$work/fresh.sql" fresh >/dev/null
ask postgres "$top/pgxs/catalog.sql" >"$work/catalog-updated"
ask postgres "$top/pgxs/catalog.sql" fresh >"$work/catalog-fresh"
check "the catalogs are those of a fresh installation ($(wc -l <"$work/catalog-fresh") properties)" "$work/catalog-fresh" "$work/catalog-updated"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
