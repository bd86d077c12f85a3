#!/bin/sh
# PostgreSQL's own regression and isolation suites on a server with dataprotect.
#
#	PG_CONFIG=... test/pg/run.sh [core|isolation|swapped]...
#
# core, isolation: the suites as they are, on the server alone, with the library
# preloaded, and with the extension made as well.  Where the server alone prints
# something else than PostgreSQL expects (a suite of a neighbouring release),
# what it printed is what the other two are held against.  A line that differs
# must match a line of differences.txt, which has, with tabulators between, the
# test, a regular expression and the reason.
# swapped: swap.pl, which see.
#
# The files come from source.sh; without them all is skipped.  Started by root,
# all runs as user postgres ($DP_TEST_USER).  $DP_OUTPUT names a folder to keep
# results in.  The last line is "N passed, N failed, N skipped".
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pg_config=${PG_CONFIG:-pg_config}
user=${DP_TEST_USER:-postgres}
bindir=$("$pg_config" --bindir)
pgxs_test=$(dirname "$(dirname "$("$pg_config" --pgxs)")")/test
passed=0
failed=0
skipped=0

finish()
{
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	exit
}

parts=${*:-core isolation swapped}
for part in $parts; do
	case $part in
		core | isolation | swapped) ;;
		*)
			echo "usage: test/pg/run.sh [core|isolation|swapped]..." >&2
			exit 2
			;;
	esac
done

work=$(mktemp -d "${TMPDIR:-/tmp}/dp-pg.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

status=0
source=$("$here/source.sh" 2>"$work/source.log") || status=$?
if [ "$status" -eq 3 ]; then
	for part in $parts; do
		echo "SKIPPED $part: $(tail -n 1 "$work/source.log")"
		skipped=$((skipped + 1))
	done
	finish
elif [ "$status" -ne 0 ]; then
	cat "$work/source.log"
	echo "FAILED the sources of the suites"
	failed=1
	finish
fi

[ ! -f "$source/note" ] || cat "$source/note"

output=${DP_OUTPUT:-$work/out}
mkdir -p "$output" "$work/kms" "$work/lib"
openssl rand -out "$work/kms/root.key" 32
chmod 700 "$work/kms"
chmod 600 "$work/kms/root.key"
# max_prepared_transactions is what the isolation suite asks for.  The tests of
# parallel queries count workers, of which the library needs some for itself.
cat >"$work/conf.alone" <<END
fsync = off
max_prepared_transactions = 5
max_worker_processes = 24
END
cat "$work/conf.alone" - >"$work/conf" <<END
shared_preload_libraries = 'dataprotect'
dataprotect.kms_allowed = 'file://$work/kms/*'
dataprotect.default_kms_uri = 'file://$work/kms/root.key'
END

# The suite's C functions, and the two modules of contrib/spi that it loads.
pkglibdir=$("$pg_config" --pkglibdir)
"${CC:-cc}" -O1 -fPIC -shared -fno-strict-aliasing -fwrapv -I"$("$pg_config" --includedir-server)" \
	-o "$work/lib/regress.so" "$source/src/test/regress/regress.c" 2>"$work/cc.log" || {
	tail -n 20 "$work/cc.log"
	echo "FAILED regress.so did not compile"
	failed=1
	finish
}
cp "$pkglibdir/autoinc.so" "$pkglibdir/refint.so" "$work/lib/"
chmod -R a+rX "$work/lib"

as_user=
if [ "$(id -u)" -eq 0 ]; then
	chown -R "$user" "$work" "$output"
	as_user="runuser -u $user --"
fi

# unswapped SUITE PROGRAM FOLDER SCHEDULE OPTIONS...: its three runs.
unswapped()
{
	suite=$1
	program=$2
	folder=$3
	schedule=$4
	shift 4
	for with in alone preloaded extension; do
		out=$output/$suite-$with
		rm -rf "$out"
		$as_user mkdir -p "$out"
		# Tests write into the folder that they read from.
		$as_user cp -R "$folder" "$out/in"
		conf=$work/conf
		load=
		case $with in
			alone) conf=$work/conf.alone ;;
			preloaded) take_over ;;
			extension)
				take_over
				load=--load-extension=dataprotect
				;;
		esac
		status=0
		# shellcheck disable=SC2086
		(cd "$out" && exec $as_user env -u PGPORT -u PGHOST -u PGDATABASE -u PGUSER -u PGSERVICE -u PGOPTIONS \
			HOME="$work" "$program" --inputdir="$out/in" --outputdir="$out" --bindir="$bindir" --dlpath="$work/lib" \
			--temp-instance="$work/instance" --temp-config="$conf" --no-locale --schedule="$out/in/$schedule" \
			$load "$@") >"$out/console.log" 2>&1 || status=$?
		rm -rf "$work/instance" "$out/in"
		if [ $with != alone ]; then
			judge "$suite, $with" "$out" "$status"
		elif [ -n "$(failed_tests)" ]; then
			echo "$suite: the server alone differs from what the suite expects in:" $(failed_tests)
		fi
	done
}

# The tests that pg_regress calls failed on the server alone.
failed_tests()
{
	sed -nE 's/^(test )? *([a-z0-9_-]+) +\.\.\. FAILED.*/\2/p; s/^not ok [0-9]+ +[-+] +([a-z0-9_-]+).*/\1/p' \
		"$output/$suite-alone/console.log"
}

# Make what the server alone printed in them the expected output.
take_over()
{
	for test in $(failed_tests); do
		rm -f "$out/in/expected/$test.out" "$out/in/expected/$test"_[0-9].out
		sed -i "/^$test:/d" "$out/in/resultmap" 2>/dev/null || :
		$as_user cp "$output/$suite-alone/results/$test.out" "$out/in/expected/$test.out"
	done
}

# judge WHAT FOLDER STATUS: compare what pg_regress says with differences.txt.
judge()
{
	same=$(grep -Ec '(^|[[:space:]])(test )?[a-z0-9_-]+ +\.\.\. ok|^ok [0-9]' "$2/console.log" || :)
	"$here/explain.pl" "$here/differences.txt" "$2/regression.diffs" "$2/console.log" >"$2/explained.log" || :
	cat "$2/explained.log"
	explained=$(grep -c '^differs ' "$2/explained.log" || :)
	other=$(grep -c '^FAILED ' "$2/explained.log" || :)
	if [ "$3" -gt 1 ] || [ $((same + explained + other)) -eq 0 ]; then
		tail -n 15 "$2/console.log"
		echo "FAILED $1: pg_regress ended with $3"
		other=$((other + 1))
	fi
	echo "$1: $same files without a difference, $explained with explained ones, $other with others"
	passed=$((passed + same + explained))
	failed=$((failed + other))
}

for part in $parts; do
	case $part in
		core)
			unswapped core "$pgxs_test/regress/pg_regress" "$source/src/test/regress" \
				parallel_schedule --max-connections=20
			;;
		isolation)
			unswapped isolation "$pgxs_test/isolation/pg_isolation_regress" "$source/src/test/isolation" \
				isolation_schedule
			;;
		swapped)
			status=0
			"$here/swap.pl" "$source" "$work" "$output" ${DP_SWAP_MODIFIERS:-} >"$output/swapped.log" 2>&1 || status=$?
			grep -v '^[0-9]* passed, ' "$output/swapped.log" || :
			summary=$(grep -E '^[0-9]+ passed, ' "$output/swapped.log" | tr -dc '0-9 ')
			if [ "$status" -ne 0 ] || [ -z "$summary" ]; then
				echo "FAILED swapped: swap.pl ended with $status"
				failed=$((failed + 1))
			else
				# shellcheck disable=SC2086
				set -- $summary
				passed=$((passed + $1))
				failed=$((failed + $2))
			fi
			;;
	esac
done
finish
