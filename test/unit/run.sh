#!/bin/sh
# Build and run the unit tests with gcc and clang, address and undefined-behaviour
# sanitizers on.  Exits non-zero where anything fails.
#
#	run.sh			every compiler that is installed (gcc and clang wanted)
#	CC=cc run.sh	this one only
#	DP_SRC=dir		test the sources in dir instead of src/ (mutants.sh)
#	DP_QUIET=1		failures only
set -eu

here=$(cd "$(dirname "$0")" && pwd)
src=${DP_SRC:-$here/../../src}
PG_CONFIG=${PG_CONFIG:-pg_config}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

warnings="-Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wdeclaration-after-statement"
sanitize="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"

# A server's headers; clang does not know gnu_printf in those that gcc built.
server="-D_GNU_SOURCE -Wno-ignored-attributes -Wno-unknown-warning-option
	-isystem ${PG_INCLUDE:-$("$PG_CONFIG" --includedir-server)}"
# What of PostgreSQL runs without a server: its JSON parser, its strings.
common="-L$("$PG_CONFIG" --pkglibdir) -L$("$PG_CONFIG" --libdir) -lpgcommon -lpgport"

# compile_and_run COMPILER TEST FLAGS SOURCES...
compile_and_run()
{
	cc=$1 test=$2
	shift 2
	echo "# $test, $cc"
	# word splitting of the flags is meant
	# shellcheck disable=SC2086
	if ! $cc -std=gnu99 $warnings $sanitize -I"$src" -I"$here" \
		"$here/$test.c" "$@" -o "$build/$test"; then
		echo "not ok - $test does not compile with $cc"
		return 1
	fi
	if ! "$build/$test" > "$build/out" 2> "$build/err"; then
		grep '^not ok' "$build/out" || echo "not ok - $test stopped"
		head -n 20 "$build/err"
		return 1
	fi
	[ -n "${DP_QUIET:-}" ] || cat "$build/out"
}

failed=0
for compiler in ${CC:-gcc clang}; do
	if ! command -v "$compiler" > /dev/null; then
		echo "not ok - $compiler is not installed"
		failed=1
		continue
	fi
	for test in vectors_test envelope_test keys_test random_test; do
		compile_and_run "$compiler" $test "$src"/crypto/*.c -lcrypto || failed=1
	done
	compile_and_run "$compiler" kms_test "$src/kms/uri.c" "$src/kms/reply.c" $server $common || failed=1
	compile_and_run "$compiler" jws_test "$src/access/token.c" "$src/kms/reply.c" "$src"/crypto/*.c $server $common -lcrypto -lm || failed=1
	compile_and_run "$compiler" secret_test "$src/base/secret.c" $server || failed=1
done
[ $failed -eq 0 ] && echo "# all unit tests passed"
exit $failed
