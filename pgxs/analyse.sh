#!/bin/sh
# Static analysis: cppcheck, then clang-tidy, over all C sources.
#
#	PG_CONFIG=... pgxs/analyse.sh [cppcheck|clang-tidy]
#
# Quiet where nothing is found.  The last line is "N passed, N failed, N
# skipped"; a tool that is not installed counts as skipped, and is named.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
include=$("${PG_CONFIG:-pg_config}" --includedir-server)
tools=${*:-cppcheck clang-tidy}
passed=0
failed=0
skipped=0

for tool in $tools; do
	if ! command -v "$tool" >/dev/null 2>&1; then
		echo "SKIPPED $tool is not installed"
		skipped=$((skipped + 1))
		continue
	fi
	status=0
	case $tool in
		cppcheck)
			cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability \
				--inline-suppr --suppressions-list=pgxs/cppcheck.txt --std=c99 -j 2 \
				-D__GNUC__ -DPG_VERSION_NUM=150000 \
				--include=pgxs/cppcheck.h \
				-DDP_VERSION='""' -DDP_RELEASED='""' -Isrc src || status=$?
			;;
		clang-tidy)
			for file in src/*.c src/*/*.c; do
				clang-tidy --quiet "$file" -- -std=gnu99 -D_GNU_SOURCE '-DDP_VERSION=""' '-DDP_RELEASED=""' -Isrc -isystem "$include" \
					-Wno-everything 2>/dev/null || status=1
			done
			;;
	esac
	if [ "$status" -eq 0 ]; then
		echo "ok     $tool"
		passed=$((passed + 1))
	else
		echo "FAILED $tool"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
