#!/bin/sh
# What protection costs, as ratios within this one run: to plaintext, and to
# pgcrypto doing the same.
#
#	PG_CONFIG=... test/bench/run.sh [ROWS [ROUNDS [SECONDS [SECTION...]]]]
#
# PG_CONFIG must be a private copy that the extension was installed into
# (pgxs/prefix.sh).  ROWS per table (100000), ROUNDS of each measurement (5), and
# SECONDS of each pgbench round (4); SECTIONs: scans, inserts, indexes, lookups, keys, reencrypt,
# retention, deletion, gdpr, sizes, queries, copies, untouched, tpcb, first, memory, planning (all).  Variants alternate within a round, and the
# medians of the rounds are compared, so that a busy machine slows all alike.
# The marks are printed beside the ratios; missing one does not fail anything.
# Section pgaudit is measured where it is named and the copy has that library.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dp-bench.XXXXXX")
cleanup()
{
	"$top/pgxs/server.sh" stop "$work/s" immediate >/dev/null 2>&1 || :
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

echo "opening and sealing, without a server (mark for opening: 1.60 at most)"
${CC:-gcc} -O2 -std=gnu99 -I"$top/src" -o "$work/crypto_bench" "$top/test/bench/crypto_bench.c" "$top"/src/crypto/*.c -lcrypto
"$work/crypto_bench" | sed 's/^/  /'

cat >"$work/conf" <<END
shared_buffers = 512MB
max_wal_size = 8GB
checkpoint_timeout = 1h
synchronous_commit = off
autovacuum = off
max_parallel_workers_per_gather = 0
jit = off
END
case " $* " in
	*" pgaudit "*)
		if [ -e "$("$PG_CONFIG" --pkglibdir)/pgaudit.so" ]; then
			echo "shared_preload_libraries = 'pgaudit, dataprotect'" >>"$work/conf"
		fi ;;
esac
"$top/pgxs/server.sh" start "$work/s" "$work/conf"
echo
echo "in the server, $(PGDATABASE=postgres "$top/pgxs/server.sh" psql "$work/s" -A -t -c 'SHOW server_version'), audit on"
rows=${1:-100000}
rounds=${2:-5}
seconds=${3:-4}
shift $(($# < 3 ? $# : 3))
perl "$top/test/bench/bench.pl" "$top/pgxs/server.sh" "$work" "$rows" "$rounds" "$seconds" "$@"
