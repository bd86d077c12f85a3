#!/bin/sh
# Compile dataprotect and run its regress suite on another version of
# PostgreSQL, in the Debian root that roots.sh makes.
#
#	pgxs/matrix.sh VERSION [STAGE...]
#
# Stages are those of test/run.sh (compile, regress and isolation by default).
# The last line is "N passed, N failed, N skipped".
set -eu

version=${1:?usage: pgxs/matrix.sh 15|17|18 [STAGE...]}
shift
[ $# -gt 0 ] || set -- compile regress isolation
top=$(cd "$(dirname "$0")/.." && pwd)
root=$("$top/pgxs/roots.sh" "$version")

inside=$(mktemp -d "$root/tmp/dp-matrix.XXXXXX")
trap 'rm -rf "$inside"' EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$inside"
mkdir "$inside/src"
(cd "$top" && tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' .) |
	(cd "$inside/src" && tar -xof -)
"$top/pgxs/enter.sh" "$root" "${inside#"$root"}/src" \
	env DP_NO_PACKAGES=1 DP_NO_BITCODE=1 PG_MAJOR="$version" DP_DIFF_LINES="${DP_DIFF_LINES:-150}" test/run.sh "$@"
