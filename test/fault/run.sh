#!/bin/sh
# Memory that runs out and cancels, at any point of statements over protected
# columns; see README.md here.
#
#	PG_CONFIG=... test/fault/run.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=$(mktemp -d "${TMPDIR:-/tmp}/dp-fault.XXXXXX")
trap 'rm -rf "$build"' EXIT
trap 'exit 1' HUP INT TERM
${CC:-gcc} -std=gnu99 -Wall -Wextra -Werror -O2 -fno-builtin -shared -fPIC "$here/fault.c" -o "$build/fault.so"
chmod -R a+rX "$build"
DP_FAULT_SHIM=$build/fault.so "$here/../tap.sh" "$here/faults.pl"
