#!/bin/sh
# See dataprotect do its job: the README's first command.
#
#	pgxs/demo.sh
#
# As root or with sudo on Debian or Ubuntu it needs nothing beforehand.  It makes
# a throw-away server in a temporary folder, loads a company's database (Pagila
# where it lies in ../shared/data beside the project, else test/data/company.sql),
# and shows each step as the SQL that was run, by whom, and its answer.  At the
# end everything is removed.  Servers that are there are not touched.
#
# $PG_MAJOR chooses the version of PostgreSQL, $DP_DEMO_DATA pagila or company,
# $DP_KEEP keeps the folder.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
unset PGPORT PGHOST PGDATABASE PGUSER PGSERVICE PGOPTIONS 2>/dev/null || :

die()
{
	echo "demo.sh: $*" >&2
	exit 1
}

#
# How it is shown
#
bold=
plain=
if [ -t 1 ]; then
	bold=$(printf '\033[1m')
	plain=$(printf '\033[0m')
fi
step_number=0

step()
{
	step_number=$((step_number + 1))
	printf '\n%s%d. %s%s\n' "$bold" "$step_number" "$1" "$plain"
}

say()
{
	printf '%s\n' "$@" | sed 's/^/   /'
}

# run_as ROLE SQL: the answer of the server to one or more statements.
run_as()
{
	PGUSER=$1 PGDATABASE=$database "$top/pgxs/server.sh" psql "$work/s" -q -v ON_ERROR_STOP=1 \
		-P null='(null)' -P footer=off -P pager=off -v VERBOSITY=default -c "SET client_min_messages = warning" -f - <<END
$2
END
}

# show ROLE SQL: print the SQL as typed by that role, then the answer.  An error
# ends the demonstration.
show()
{
	shown "$@"
	run_as "$1" "$2" >"$work/answer" 2>&1 || {
		sed 's/^/     /' "$work/answer"
		die "a step failed"
	}
	indented
}

# show_text ROLE SQL: likewise, for one long text.
show_text()
{
	shown "$@"
	PGUSER=$1 PGDATABASE=$database "$top/pgxs/server.sh" psql "$work/s" -q -A -t -v ON_ERROR_STOP=1 -c "$2" \
		>"$work/answer" 2>&1 || {
		sed 's/^/     /' "$work/answer"
		die "a step failed"
	}
	fold -s -w 110 "$work/answer" | sed 's/^/      /'
}

# refused ROLE SQL: likewise, for a statement that must fail.
refused()
{
	shown "$@"
	if run_as "$1" "$2" >"$work/answer" 2>&1; then
		sed 's/^/     /' "$work/answer"
		die "a step that must be refused was not"
	fi
	indented
}

# The answer without what says nothing: empty lines, results of void functions.
indented()
{
	awk '/^psql:<stdin>:[0-9]+: / { sub(/^psql:<stdin>:[0-9]+: /, "") }
		/^ +$/ { held = ""; next }
		/^$/ && held != "" { print "      " held; print "      " rule; held = "" }
		/^$/ { next }
		held != "" && /^-+$/ { rule = $0; next }
		/^ [a-z_]+ $/ { held = $0; rule = ""; next }
		held != "" { print "      " held; print "      " rule; held = "" }
		{ print "      " $0 }' "$work/answer"
}

shown()
{
	printf '%s\n' "$2" | sed "1s/^/$1=> /; 2,\$s/^/  /; s/^/   $bold/; s/\$/$plain/"
}

# value SQL: one value, for the demonstration itself.
value()
{
	PGDATABASE=$database "$top/pgxs/server.sh" psql "$work/s" -q -A -t -v ON_ERROR_STOP=1 -c "$1"
}

# Wait until a query says t; never longer than two minutes.
wait_for()
{
	tries=0
	until [ "$(value "$1" 2>/dev/null)" = t ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 600 ] || die "timed out waiting for: $1"
		sleep 0.2
	done
}

# Nothing in the stopped or running server's files may hold these bytes.
count_files_with()
{
	grep -rlaF -e "$1" "$work/s/data" 2>/dev/null | wc -l
}

# clock DAYS: the same server, so many days later.
clock()
{
	"$top/pgxs/server.sh" stop "$work/s"
	DP_CLOCK="+$1d" "$top/pgxs/server.sh" start "$work/s"
	value "SELECT dataprotect.confirm_clock('the demonstration moved it')" >/dev/null
}

#
# A server of our own
#
printf '%sdataprotect%s: a company'"'"'s database becomes protected\n' "$bold" "$plain"
say "Packages, a private copy of PostgreSQL, the extension ..."
major=${PG_MAJOR:-}
if [ -z "${DP_NO_PACKAGES:-}" ] || [ -z "$major" ]; then
	major=$("$top/pgxs/packages.sh" demo) || die "packages are missing"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/dp-demo.XXXXXX")
cleanup()
{
	"$top/pgxs/server.sh" stop "$work/s" immediate >/dev/null 2>&1 || :
	if [ -n "${DP_KEEP:-}" ]; then
		echo "kept: $work"
	else
		rm -rf "$work"
	fi
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

mkdir "$work/src"
(cd "$top" && tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' .) |
	(cd "$work/src" && tar -xof -)
PG_CONFIG=$("$top/pgxs/prefix.sh" "$major" "$work/pg")
export PG_CONFIG
make -s -C "$work/src" -j2 with_llvm=no >"$work/build.log" 2>&1 &&
	make -s -C "$work/src" with_llvm=no install >>"$work/build.log" 2>&1 || {
	tail -n 30 "$work/build.log"
	die "the extension does not build"
}
database=postgres
"$top/pgxs/server.sh" start "$work/s"
database=shop
PGDATABASE=postgres "$top/pgxs/server.sh" psql "$work/s" -q -c "CREATE DATABASE shop"

pagila=${DP_PAGILA:-$top/../shared/data}
data=${DP_DEMO_DATA:-}
if [ -z "$data" ]; then
	if [ -r "$pagila/pagila-schema.sql" ]; then data=pagila; else data=company; fi
fi
load()
{
	PGDATABASE=$database "$top/pgxs/server.sh" psql "$work/s" -q -v ON_ERROR_STOP="$2" -f - <"$1" >"$work/load.log" 2>&1
}
case $data in
	pagila)
		load "$pagila/pagila-schema.sql" 0 || :
		load "$pagila/pagila-data.sql" 0 || :
		;;
	company) load "$top/test/data/company.sql" 1 || die "$(tail -n 5 "$work/load.log")" ;;
	*) die "\$DP_DEMO_DATA is pagila or company" ;;
esac
say "PostgreSQL $major, database \"shop\" ($data), in $work"

. "$top/pgxs/demo_$data.sh"
. "$top/pgxs/demo_steps.sh"

printf '\n%sThat was all.%s The server is stopped and its folder removed. The page stays: %s\n' "$bold" "$plain" "$report"
