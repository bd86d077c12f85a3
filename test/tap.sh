#!/bin/sh
# Run TAP files against an installed dataprotect, as an unprivileged user.
#
#	PG_CONFIG=.../pg_config test/tap.sh FILE...
#
# Started by root, the tests run as user postgres ($DP_TEST_USER), to whom
# this tree must be readable.  Every server is a throw-away one in a temporary
# folder; $DP_KEEP keeps that folder.  The last line is "N passed, N failed, N
# skipped".
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
pg_config=${PG_CONFIG:-pg_config}
user=${DP_TEST_USER:-postgres}

[ $# -gt 0 ] || {
	echo "usage: test/tap.sh FILE..." >&2
	exit 2
}
bindir=$("$pg_config" --bindir)
pgxs_src=$(dirname "$(dirname "$("$pg_config" --pgxs)")")

work=$(mktemp -d "${TMPDIR:-/tmp}/dp-tap.XXXXXX")
[ -n "${DP_KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

as_user=
if [ "$(id -u)" -eq 0 ]; then
	chown "$user" "$work"
	as_user="runuser -u $user --"
fi

cd "$work"
status=0
$as_user env -u PGPORT -u PGHOST -u PGDATABASE -u PGUSER -u PGSERVICE \
	HOME="$work" LC_ALL=C PATH="$bindir:$PATH" \
	PG_CONFIG="$pg_config" PG_REGRESS="$pgxs_src/test/regress/pg_regress" \
	PERL5LIB="$top/test/lib:$pgxs_src/test/perl${PERL5LIB:+:$PERL5LIB}" \
	TESTDIR="$work" TESTDATADIR="$work/tmp_check" TESTLOGDIR="$work/tmp_check/log" \
	top_builddir="$work" PG_TEST_PORT_DIR="${PG_TEST_PORT_DIR:-${TMPDIR:-/tmp}/dp-tap-ports-$user}" TMPDIR="$work" \
	DP_PAGILA="${DP_PAGILA:-}" DP_MOTO_ROOT="${DP_MOTO_ROOT:-}" \
	perl "$top/test/lib/run_tap.pl" "$work/logs" \
	$(for file in "$@"; do
		case $file in
			/*) echo "$file" ;;
			*) echo "$OLDPWD/$file" ;;
		esac
	done) || status=$?
[ -z "${DP_KEEP:-}" ] || echo "logs and data are kept in $work"
exit $status
