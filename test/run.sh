#!/bin/sh
# Build dataprotect and run all its tests: the README's second command.
#
#	test/run.sh [STAGE...]
#
# As root or with sudo on Debian or Ubuntu it needs nothing beforehand: the
# first stage installs the packages that are missing ($DP_NO_PACKAGES leaves
# that out).  No server that is there is touched: the tests run in throw-away
# folders on a private copy of PostgreSQL, as user postgres ($DP_TEST_USER).
#
# Stages, in order, all of them by default:
#	compile		gcc, warnings are errors; needed by all that follow
#	clang		the same with clang
#	unit		C unit tests of the lowest layers
#	lint		rules of the sources, and violations that they must see
#	catalog		rules of a live server's catalogs, likewise
#	regress		sql/ against expected/
#	isolation	test/isolation
#	resolve		calls over encrypted types against those over plain ones
#	tap		test/tap
#	attack		test/attack
#	demo		the README's first command, on each of its databases
#	fuzz		a short run of test/fuzz
#	asan		regress under AddressSanitizer and UBSan
#	matrix		compile and regress on the other versions of PostgreSQL
#
# TAP files run two at a time ($DP_JOBS); one that fails runs again, alone, and is
# named as unsteady where it passes then (test/lib/run_tap.pl).
#
# $DP_NO_BITCODE leaves out the bitcode for inlining, which "compile" else builds as
# users do.  $PG_MAJOR chooses the version of PostgreSQL; $DP_KEEP keeps the folder of the
# run.  The last line is "N passed, N failed, N skipped"; the exit code is 0
# only where nothing failed and something passed.  A skipped test is never
# counted as passed, and each says why.
set -eu

all_stages="compile clang unit lint catalog regress isolation resolve tap attack demo fuzz asan matrix"
stages=${*:-$all_stages}
for stage in $stages; do
	case " $all_stages " in
		*" $stage "*) ;;
		*)
			echo "run.sh: no stage \"$stage\" (there are: $all_stages)" >&2
			exit 2
			;;
	esac
done
case " $stages " in
	*" compile "*) ;;
	*) stages="compile $stages" ;;
esac

top=$(cd "$(dirname "$0")/.." && pwd)
# Seconds after which a command is taken to hang.
patience=2700
passed=0
failed=0
skipped=0
# Set for the whole run: what a test sees must not depend on who starts it.
LC_ALL=C.UTF-8
export LC_ALL
unset PGPORT PGHOST PGDATABASE PGUSER PGSERVICE PGOPTIONS PG_CONFIG 2>/dev/null || :

heading()
{
	printf '\n=== %s\n' "$1"
}

finish()
{
	heading "all stages ended after $(($(date +%s) - began)) s"
	cat "$work"/logs/*.log | grep '^unsteady, ' || :
	[ -z "${not_passed:-}" ] || printf 'not passed:\n%s' "$not_passed"
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
	exit
}

# count PASSED FAILED SKIPPED STAGE
count()
{
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
	if [ "$2" -ne 0 ] || [ "$3" -ne 0 ]; then
		not_passed="${not_passed:-}	$4: $2 failed, $3 skipped
"
	fi
}

# run NAME COMMAND...: run it, show what it says, keep it in $work/logs, and
# count what its last line says.  A command without such a line has broken off.
run()
{
	name=$1
	shift
	log=$work/logs/$name.log
	status=0
	timeout "$patience" "$@" >"$log" 2>&1 || status=$?
	show "$log"
	summary=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
	if [ -z "$summary" ]; then
		echo "FAILED $name broke off with exit code $status"
		count 0 1 0 "$name"
		return
	fi
	# shellcheck disable=SC2086
	set -- $summary
	if [ "$status" -ne 0 ] && [ "$3" -eq 0 ]; then
		echo "FAILED $name: exit code $status"
		count "$1" 1 "${5:-0}" "$name"
	elif [ $(($1 + $3 + ${5:-0})) -eq 0 ]; then
		echo "FAILED $name: nothing ran"
		count 0 1 0 "$name"
	else
		count "$1" "$3" "${5:-0}" "$name"
	fi
}

# A log as it is, or its ends where it is long.  Sums are set off: the run has
# one line of that form, its last.
show()
{
	if [ "$(wc -l <"$1")" -le 400 ]; then
		cat "$1"
	else
		head -n 100 "$1"
		echo "[...]"
		tail -n 300 "$1"
	fi | sed 's/^\([0-9][0-9]* passed, [0-9]* failed\)/--- \1/'
}

# run_tap NAME COMMAND...: likewise for a program that prints "ok" and "not ok".
run_tap()
{
	name=$1
	shift
	log=$work/logs/$name.log
	status=0
	timeout "$patience" "$@" >"$log" 2>&1 || status=$?
	good=$(grep -Ec '^ok( |$)' "$log" || :)
	bad=$(grep -Ec '^not ok( |$)' "$log" || :)
	skips=$(grep -Eci '^ok .*# *skip' "$log" || :)
	grep -Ev '^ok ' "$log" | tail -n 200 || :
	if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$good" -eq 0 ]; }; then
		echo "FAILED $name: exit code $status after $good tests"
		bad=1
	fi
	echo "$name: $((good - skips)) passed, $bad failed, $skips skipped"
	count $((good - skips)) "$bad" "$skips" "$name"
}

# copy_tree DIR: the sources, without what a build or git left in them.
copy_tree()
{
	mkdir -p "$1"
	(cd "$top" && tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		--exclude=./results --exclude=./output_iso --exclude=./tmp_check --exclude=./build \
		--exclude='./dataprotect--*.sql' .) | (cd "$1" && tar -xof -)
	chmod -R u+rwX,go+rX "$1"
}

# build NAME DIR PREFIX MAKE-ARGUMENTS...: compile and install; a warning fails.
build()
{
	name=$1
	dir=$2
	prefix=$3
	shift 3
	copy_tree "$dir"
	log=$work/logs/build-$name.log
	if config=$("$dir/pgxs/prefix.sh" "$major" "$prefix") &&
		make -s -C "$dir" -j2 PG_CONFIG="$config" "$@" >"$log" 2>&1 &&
		make -s -C "$dir" PG_CONFIG="$config" "$@" install >>"$log" 2>&1 &&
		! grep -q 'warning:' "$log"; then
		echo "ok     build with $name, no warning"
		count 1 0 0 "build $name"
		return 0
	fi
	grep -E 'error:|warning:' "$log" | head -n 40 || :
	tail -n 20 "$log"
	echo "FAILED build with $name"
	count 0 1 0 "build $name"
	return 1
}

# clang is told of gcc's options, which PostgreSQL's makefiles bring along.
clang_flags="-Wno-unknown-warning-option -Wno-ignored-attributes -Wno-ignored-optimization-argument -Wno-unused-command-line-argument"

stage_compile()
{
	build gcc "$work/src" "$work/pg" CC=gcc ${DP_NO_BITCODE:+with_llvm=no} || finish
	PG_CONFIG=$work/pg/usr/lib/postgresql/$major/bin/pg_config
	export PG_CONFIG
}

stage_clang()
{
	if command -v clang >/dev/null 2>&1; then
		build clang "$work/clang" "$work/pg-clang" CC=clang COPT_DP="$clang_flags" with_llvm=no || :
		rm -rf "$work/clang" "$work/pg-clang"
	else
		echo "SKIPPED clang is not installed"
		count 0 0 1 clang
	fi
}

stage_unit()
{
	run_tap unit "$work/src/test/unit/run.sh"
}

stage_lint()
{
	run lint "$work/src/pgxs/lint.pl" --tree "$work/src"
	run lint-selftest "$work/src/pgxs/lint_selftest.sh"
}

stage_catalog()
{
	run catalog "$work/src/pgxs/lint_catalog.sh"
	run catalog-selftest "$work/src/pgxs/lint_catalog.sh" --selftest
}

stage_regress()
{
	run regress "$work/src/pgxs/regress.sh" regress
}

stage_isolation()
{
	run isolation "$work/src/pgxs/regress.sh" isolation
}

stage_resolve()
{
	run resolve "$work/src/test/resolve/run.sh"
}

# tap_files NAME FOLDER
tap_files()
{
	set -- "$1" "$work/src/test/$2"/*.pl
	name=$1
	shift
	if [ -e "$1" ]; then
		run "$name" env DP_JOBS="${DP_JOBS:-2}" DP_SECOND_LOOK=1 "$work/src/test/tap.sh" "$@"
	else
		echo "FAILED $name: there is no test"
		count 0 1 0 "$name"
	fi
}

stage_tap()
{
	# moto, for the tests of aws-kms://, comes from the root of PostgreSQL 17
	# where the machine has none.
	if [ -z "${DP_MOTO_ROOT:-}" ] && [ ! -x /usr/bin/moto_server ]; then
		DP_MOTO_ROOT=$("$work/src/pgxs/roots.sh" 17) || DP_MOTO_ROOT=
		export DP_MOTO_ROOT
	fi
	tap_files tap tap
}

stage_attack()
{
	tap_files attack attack
}

stage_demo()
{
	for data in company pagila; do
		if [ $data = pagila ] && [ -z "${DP_PAGILA:-}" ]; then
			echo "SKIPPED the demonstration on Pagila: it does not lie beside the project"
			count 0 0 1 "demo $data"
		elif timeout "$patience" env PG_MAJOR="$major" DP_NO_PACKAGES=1 DP_DEMO_DATA=$data \
			"$work/src/pgxs/demo.sh" >"$work/logs/demo-$data.log" 2>&1; then
			echo "ok     the demonstration on $data runs to its end"
			count 1 0 0 "demo $data"
		else
			tail -n 40 "$work/logs/demo-$data.log"
			echo "FAILED the demonstration on $data"
			count 0 1 0 "demo $data"
		fi
	done
}

stage_fuzz()
{
	if command -v clang >/dev/null 2>&1; then
		run_tap fuzz "$work/src/test/fuzz/run.sh"
	else
		echo "SKIPPED fuzz needs clang"
		count 0 0 1 fuzz
	fi
}

# The whole regress suite with the server, and what it loads, under the
# sanitizers.  A report fails the stage even where every test is ok.
stage_asan()
{
	sanitize="-fsanitize=address,undefined -fno-omit-frame-pointer -O1"
	build sanitizers "$work/asan" "$work/pg-asan" CC=gcc COPT_DP="$sanitize" with_llvm=no || return 0
	mkdir -p "$work/asan-reports"
	chmod 1777 "$work/asan-reports"
	reports=$work/asan-reports/report
	gcc -shared -fPIC -Wl,-z,initfirst -o "$work/asan_first.so" "$work/src/test/lib/asan_first.c"
	run regress-asan env PG_CONFIG="$work/pg-asan/usr/lib/postgresql/$major/bin/pg_config" \
		DP_PRELOAD="LD_PRELOAD=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so):$work/asan_first.so
			ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:log_path=$reports
			UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports" \
		"$work/asan/pgxs/regress.sh" regress
	if [ -n "$(ls -A "$work/asan-reports")" ]; then
		echo "FAILED sanitizers reported:"
		cat "$work/asan-reports"/* | head -n 120
		count 0 1 0 "sanitizer reports"
	else
		echo "ok     no sanitizer report"
		count 1 0 0 "sanitizer reports"
	fi
	rm -rf "$work/asan" "$work/pg-asan"
}

stage_matrix()
{
	for version in 15 17 18; do
		[ "$version" -ne "$major" ] || continue
		heading "PostgreSQL $version"
		if [ "$(id -u)" -ne 0 ]; then
			echo "SKIPPED PostgreSQL $version: entering another Debian needs root's rights"
			count 0 0 1 "postgresql-$version"
			continue
		fi
		status=0
		"$work/src/pgxs/roots.sh" "$version" >/dev/null 2>"$work/logs/root-$version.log" || status=$?
		if [ "$status" -eq 0 ]; then
			run "postgresql-$version" "$work/src/pgxs/matrix.sh" "$version"
		elif [ "$status" -eq 3 ]; then
			echo "SKIPPED PostgreSQL $version: $(tail -n 1 "$work/logs/root-$version.log")"
			count 0 0 1 "postgresql-$version"
		else
			cat "$work/logs/root-$version.log"
			echo "FAILED PostgreSQL $version: its root could not be made"
			count 0 1 0 "postgresql-$version"
		fi
	done
}

began=$(date +%s)
if [ -n "${DP_NO_PACKAGES:-}" ]; then
	major=${PG_MAJOR:-$(ls /usr/lib/postgresql | sort -n | tail -n 1)}
else
	heading "packages"
	major=$("$top/pgxs/packages.sh" test) || {
		echo "FAILED the packages could not be installed"
		echo "0 passed, 1 failed, 0 skipped"
		exit 1
	}
fi
echo "PostgreSQL $major"

work=$(mktemp -d "${DP_TMP:-/tmp}/dp-test.XXXXXX")
trap '[ -n "${DP_KEEP:-}" ] && echo "kept: $work" >&2 || rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"
mkdir "$work/logs"
mkdir -m 1777 "$work/tmp"
TMPDIR=$work/tmp
export TMPDIR
# The test data that lies beside the project, where the tests' user can read it.
if [ -r "$top/../shared/data/pagila-schema.sql" ]; then
	mkdir "$work/pagila"
	cp "$top"/../shared/data/pagila-*.sql "$work/pagila/"
	chmod -R a+rX "$work/pagila"
	DP_PAGILA=$work/pagila
	export DP_PAGILA
fi

for stage in $stages; do
	started=$(date +%s)
	heading "$stage"
	"stage_$stage"
	echo "($stage: $(($(date +%s) - started)) s)"
done
finish
