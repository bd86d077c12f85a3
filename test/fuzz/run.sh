#!/bin/sh
# Run every fuzz target for a bounded time.
#
#	run.sh [SECONDS]			default 20, each target; 0: the corpus only
#	run.sh SECONDS NAME...		these targets only
#	DP_FUZZ_REPLAY=1 run.sh		without libFuzzer: gcc, a fixed seed
#	DP_SRC=dir run.sh			fuzz the sources in dir instead of src/
#
# Inputs under corpus/NAME/ run first.  An input that breaks something is left in
# found/; put it, once the bug is mended, under corpus/NAME/.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
src=${DP_SRC:-$here/../../src}
seconds=${1:-20}
[ $# -gt 0 ] && shift
only=" $* "
PG_CONFIG=${PG_CONFIG:-pg_config}
# For parsers that use PostgreSQL's own functions: a server's headers, and the
# library of what runs without a server.
server="-D_GNU_SOURCE -Wno-unused-parameter -Wno-sign-compare -Wno-ignored-attributes -Wno-unknown-warning-option
	-isystem $("$PG_CONFIG" --includedir-server)"
libraries="-lcrypto -L$("$PG_CONFIG" --pkglibdir) -L$("$PG_CONFIG" --libdir) -lpgcommon -lpgport"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
failed=0
count=0

export ASAN_OPTIONS="abort_on_error=1:handle_abort=0:handle_segv=0:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="abort_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}"
sanitize="-g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all"
warnings="-std=gnu99 -Wall -Wextra -Werror"

if [ -z "${DP_FUZZ_REPLAY:-}" ]; then
	echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n); int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n > 9999999; }' > "$build/probe.c"
	clang -fsanitize=fuzzer "$build/probe.c" -o "$build/probe" 2> /dev/null || {
		echo "# no libFuzzer here (clang, libclang-rt-dev): replaying mutations of a fixed seed"
		DP_FUZZ_REPLAY=1
	}
fi

# target NAME SOURCES-AND-FLAGS...
target()
{
	name=$1
	shift
	case "$only" in
		"  " | *" $name "*) ;;
		*) return ;;
	esac
	count=$((count + 1))
	mkdir -p "$build/corpus/$name"
	[ -d "$here/corpus/$name" ] && cp "$here/corpus/$name"/* "$build/corpus/$name/"

	# word splitting of the flags is meant
	# shellcheck disable=SC2086
	if [ -n "${DP_FUZZ_REPLAY:-}" ]; then
		set -- ${CC:-gcc} $sanitize -fsanitize=address,undefined $warnings "$here/replay.c" "$@"
	else
		set -- clang $sanitize -fsanitize=fuzzer,address,undefined $warnings "$@"
	fi
	if ! "$@" -I"$src" -I"$here" \
		"$here/${name}_fuzz.c" -o "$build/$name" $libraries; then
		echo "not ok $count - $name does not compile"
		failed=1
		return
	fi

	# libFuzzer takes a time of 0 for "no end"
	bound="-max_total_time=$seconds"
	[ "$seconds" -gt 0 ] || bound=-runs=0
	mkdir -p "$here/found"
	if [ -n "${DP_FUZZ_REPLAY:-}" ]; then
		find "$build/corpus/$name" -type f -exec "$build/$name" "$seconds" "$here/found/$name" {} + \
			> "$build/out" 2>&1 && {
			[ -s "$build/out" ] || "$build/$name" "$seconds" "$here/found/$name" > "$build/out" 2>&1
		}
	else
		"$build/$name" "$bound" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
			-artifact_prefix="$here/found/$name-" -print_final_stats=1 \
			"$build/corpus/$name" > "$build/out" 2>&1
	fi || {
		tail -n 40 "$build/out"
		echo "not ok $count - $name broke, see test/fuzz/found"
		failed=1
		return
	}
	echo "ok $count - $name: $(grep -E 'number_of_executed_units|inputs$' "$build/out" | tr -dc '0-9') inputs in $seconds s"
}

target envelope "$src"/crypto/*.c
target keywrap "$src"/crypto/*.c
target kms_uri "$src/kms/uri.c"
target ttlv "$src/kms/ttlv.c"
target sink_uri "$src/audit/sink_uri.c"
target sink_reply "$src/audit/sink_reply.c"
# shellcheck disable=SC2086
target kms_reply "$src/kms/reply.c" $server
# shellcheck disable=SC2086
target token "$src/access/token.c" "$src/kms/reply.c" "$src"/crypto/*.c $server -lm
# shellcheck disable=SC2086
target aws_profile "$src/kms/aws_profile.c" "$src/kms/reply.c" $server
target record "$src/events/record.c"
target jws "$src"/crypto/*.c
# shellcheck disable=SC2086
target unpack "$src/audit/unpack.c" $server -lz
target literals "$src/audit/literals.c"
target modifier_words "$src/types/modifier_words.c"

rmdir "$here/found" 2> /dev/null || true
if [ $count -eq 0 ]; then
	echo "not ok - no such target:$only"
	failed=1
fi
echo "1..$count"
exit $failed
