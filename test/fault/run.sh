#!/bin/sh
# Memory that runs out and cancels, at any point of statements over protected
# columns, and servers killed at the commits of what they do by themselves; see
# README.md here.
#
#	PG_CONFIG=... test/fault/run.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=$(mktemp -d "${TMPDIR:-/tmp}/dp-fault.XXXXXX")
trap 'rm -rf "$build"' EXIT
trap 'exit 1' HUP INT TERM
${CC:-gcc} -std=gnu99 -Wall -Wextra -Werror -O2 -fno-builtin -shared -fPIC "$here/fault.c" -o "$build/fault.so" -ldl
${CC:-gcc} -std=gnu99 -Wall -Wextra -Wno-unused-parameter -Werror -O2 -shared -fPIC \
	-I"$("${PG_CONFIG:-pg_config}" --includedir-server)" "$here/commits.c" -o "$build/commits.so"
chmod -R a+rX "$build"
# DP_FAULT_FILES: some of the two files
export DP_FAULT_SHIM="$build/fault.so" DP_COMMITS_MODULE="$build/commits.so"
set --
for file in ${DP_FAULT_FILES:-faults kills}; do
	set -- "$@" "$here/$file.pl"
done
"$here/../tap.sh" "$@"
