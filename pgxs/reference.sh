#!/bin/sh
# Make doc/catalog.md of what an installed dataprotect says of itself (reference.sql), and
# doc/messages.md of the sources (messages.pl).
# Uses a throw-away server.
#
#	PG_CONFIG=... pgxs/reference.sh
set -eu

pgxs=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dp-ref.XXXXXX")
cleanup()
{
	"$pgxs/server.sh" stop "$work/s" immediate >/dev/null 2>&1 || :
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
chmod 755 "$work"

"$pgxs/server.sh" start "$work/s"
"$pgxs/server.sh" psql "$work/s" -q -v ON_ERROR_STOP=1 -c "SET client_min_messages = warning" -c "CREATE EXTENSION dataprotect"
"$pgxs/server.sh" psql "$work/s" -qAt -v ON_ERROR_STOP=1 -f - <"$pgxs/reference.sql" >"$work/catalog.md"
cp "$work/catalog.md" "$pgxs/../doc/catalog.md"
"$pgxs/messages.pl" "$("${PG_CONFIG:-pg_config}" --includedir-server)/utils/errcodes.h"
