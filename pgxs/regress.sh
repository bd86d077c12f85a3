#!/bin/sh
# Run the pg_regress suite (sql/ against expected/) or the isolation suite
# (test/isolation) on a throw-away server that pg_regress makes itself.
#
#	PG_CONFIG=... pgxs/regress.sh regress|isolation [TEST...]
#
# The server has test/regress.conf and a file:// root key in a folder of its
# own as dataprotect.default_kms_uri.  psql sees that folder's URI in the
# environment variable DP_KMS_DIR ("\getenv kms_dir DP_KMS_DIR").  Started by root, all runs
# as user postgres ($DP_TEST_USER), to whom this tree must be readable.
# $DP_OUTPUT names a folder for results/ and regression.diffs; without it they
# go to a temporary one and the differences are printed.  With $DP_ACCEPT set
# the results of the tests that are named become the expected output: read the
# differences first.  The last line is "N passed, N failed, N skipped".
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
pg_config=${PG_CONFIG:-pg_config}
user=${DP_TEST_USER:-postgres}
kind=${1:-}
[ $# -eq 0 ] || shift

bindir=$("$pg_config" --bindir)
pgxs_src=$(dirname "$(dirname "$("$pg_config" --pgxs)")")
case $kind in
	regress)
		program=$pgxs_src/test/regress/pg_regress
		suffix=sql
		tests_in=$top/sql
		expected=$top/expected
		;;
	isolation)
		program=$pgxs_src/test/isolation/pg_isolation_regress
		suffix=spec
		tests_in=$top/test/isolation/specs
		expected=$top/test/isolation/expected
		;;
	*)
		echo "usage: pgxs/regress.sh regress|isolation [TEST...]" >&2
		exit 2
		;;
esac

tests=$*
[ -z "${DP_ACCEPT:-}" ] || [ -n "$tests" ] || {
	echo "regress.sh: DP_ACCEPT needs the names of tests" >&2
	exit 2
}
if [ -z "$tests" ]; then
	for file in "$tests_in"/*."$suffix"; do
		[ ! -f "$file" ] || tests="$tests $(basename "$file" ".$suffix")"
	done
fi
if [ -z "$tests" ]; then
	echo "FAILED $kind: there is no test in $tests_in"
	echo "0 passed, 1 failed, 0 skipped"
	exit 1
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/dp-$kind.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
output=${DP_OUTPUT:-$work/out}
mkdir -p "$output" "$work/kms"
openssl rand -out "$work/kms/root.key" 32
chmod 700 "$work/kms"
chmod 600 "$work/kms/root.key"
cat "$top/test/regress.conf" - >"$work/regress.conf" <<END
dataprotect.kms_allowed = 'file://$work/kms/*'
dataprotect.default_kms_uri = 'file://$work/kms/root.key'
END

# pg_regress gives up at a missing expected file; an empty one is a difference
# that it reports like any other.
mkdir -p "$work/in/expected"
cp -R "$tests_in" "$work/in/"
[ ! -d "$expected" ] || cp -R "$expected/." "$work/in/expected/"
for test in $tests; do
	[ -e "$work/in/expected/$test.out" ] || : >"$work/in/expected/$test.out"
done

as_user=
if [ "$(id -u)" -eq 0 ]; then
	chown -R "$user" "$work" "$output"
	as_user="runuser -u $user --"
fi

# psql and the server get $DP_PRELOAD (sanitizers); pg_regress sets the rest.
status=0
# shellcheck disable=SC2086
(cd "$work" && exec $as_user env -u PGPORT -u PGHOST -u PGDATABASE -u PGUSER -u PGSERVICE -u PGOPTIONS \
	HOME="$work" LC_ALL=C.UTF-8 DP_KMS_DIR="file://$work/kms" ${DP_PRELOAD:-} \
	"$program" --inputdir="$work/in" --outputdir="$output" --bindir="${DP_BINDIR:-$bindir}" \
	--temp-instance="$work/instance" --temp-config="$work/regress.conf" \
	--encoding=UTF8 --no-locale $tests) >"$output/console.log" 2>&1 || status=$?

# "test x ... ok" up to 15, "ok 1 - x" from 16 on.
passed=$(grep -Ec '^(test .* \.\.\. ok|ok [0-9])' "$output/console.log" || :)
failed=$(grep -Ec '^(test .* \.\.\. FAILED|not ok [0-9])' "$output/console.log" || :)
grep -E '^(test .* \.\.\. |(not )?ok [0-9])' "$output/console.log" || :
if [ "$status" -ne 0 ] || [ "$failed" -ne 0 ]; then
	[ "$failed" -ne 0 ] || {
		echo "FAILED $kind: exit code $status without a failed test"
		tail -n 15 "$output/console.log"
		tail -n 15 "$output/log/postmaster.log" 2>/dev/null || :
		failed=1
	}
	[ ! -s "$output/regression.diffs" ] || head -n "${DP_DIFF_LINES:-150}" "$output/regression.diffs"
	if [ -n "${DP_ACCEPT:-}" ]; then
		mkdir -p "$expected"
		for test in $tests; do
			[ ! -e "$output/results/$test.out" ] || cp "$output/results/$test.out" "$expected/$test.out"
		done
	fi
elif [ "$passed" -ne "$(echo "$tests" | wc -w)" ]; then
	echo "FAILED $kind: of $(echo "$tests" | wc -w) tests $passed ran"
	failed=1
fi
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
