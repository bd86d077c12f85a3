#!/bin/sh
# Run files of the regress suite, and TAP files, on a server under AddressSanitizer
# and UBSan: "make sanitize".
#
#	PG_CONFIG=... pgxs/sanitize.sh [TEST...]
#
# TEST: names of sql/ ("all": the whole suite, also without any), paths of TAP files.
# The sources are built anew in a folder of their own, on a copy of PostgreSQL of
# their own ($DP_SANITIZE_DIR keeps both for the next run).  A report counts as a
# failure even where every test is ok.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=pgxs/watched.sh
. "$top/pgxs/watched.sh"
major=$("${PG_CONFIG:-pg_config}" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
work=$(mktemp -d "${TMPDIR:-/tmp}/dp-sanitize.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
dir=${DP_SANITIZE_DIR:-$work/built}
mkdir -p "$dir" "$work/found"
chmod 755 "$work" "$dir"
chmod 1777 "$work/found"

sanitize="-fsanitize=address,undefined -fno-omit-frame-pointer -O1"
config=$("$top/pgxs/prefix.sh" "$major" "$dir/pg")
mkdir -p "$dir/src"
(cd "$top" && tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude=./results \
	--exclude=./tmp_check --exclude=./build --exclude='./dataprotect--*.sql' .) | (cd "$dir/src" && tar -xof -)
chmod -R u+rwX,go+rX "$dir/src"
make -s -C "$dir/src" -j2 PG_CONFIG="$config" CC="${CC:-gcc}" COPT_DP="$sanitize" with_llvm=no >"$work/build.log" 2>&1 &&
	make -s -C "$dir/src" PG_CONFIG="$config" COPT_DP="$sanitize" with_llvm=no install >>"$work/build.log" 2>&1 || {
	tail -n 20 "$work/build.log"
	echo "sanitize.sh: the build failed" >&2
	exit 2
}
gcc -shared -fPIC -Wl,-z,initfirst -o "$work/asan_first.so" "$top/test/lib/asan_first.c"
libraries=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so):$work/asan_first.so
options="ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:log_path=$work/found/report
	UBSAN_OPTIONS=print_stacktrace=1:log_path=$work/found/report"

# For TAP files: the server alone is watched, beside what a test loads into it.
# shellcheck disable=SC2016,SC2086
watch_server "$work" "$config" env "LD_PRELOAD=$libraries"'${LD_PRELOAD:+:$LD_PRELOAD}' $options
[ $# -gt 0 ] || set -- all
sort_tests "$@"
case "$sql " in *" all "*) sql=" " ;; esac	# no name is every file
status=0
export PGCTLTIMEOUT=600
# shellcheck disable=SC2086
[ -z "$sql" ] || PG_CONFIG=$config DP_PRELOAD="LD_PRELOAD=$libraries $options" "$dir/src/pgxs/regress.sh" regress $sql || status=$?
# shellcheck disable=SC2086
[ -z "$tap" ] || PG_CONFIG=$work/pg_config PG_TEST_TIMEOUT_DEFAULT=3600 "$top/test/tap.sh" $tap || status=$?
if [ -n "$(ls -A "$work/found")" ]; then
	echo "FAILED sanitizers reported:"
	cat "$work/found"/* | head -n "${DP_FINDING_LINES:-400}"
	exit 1
fi
echo "ok     no sanitizer report"
exit $status
