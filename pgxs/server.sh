#!/bin/sh
# A throw-away server with dataprotect preloaded, in a folder of its own.
#
#	PG_CONFIG=... pgxs/server.sh start DIR [CONF]	make it if need be, start it
#	PG_CONFIG=... pgxs/server.sh stop DIR [MODE]	fast by default
#	PG_CONFIG=... pgxs/server.sh psql DIR ARGS...	psql as its superuser
#	PG_CONFIG=... pgxs/server.sh run DIR COMMAND...	a client program likewise
#
# Started by root, server and clients run as user postgres ($DP_TEST_USER).
# It listens on a socket in DIR only; DIR must be short (sockets allow 100
# bytes).  CONF is appended to postgresql.conf when the server is made.
# DIR/kms/root.key is a root key outside the data directory and the default
# KMS URI.  With $DP_CLOCK set ('+31d') the server's wall clock is moved so far.
set -eu

die()
{
	echo "server.sh: $*" >&2
	exit 1
}

[ $# -ge 2 ] || die "usage: pgxs/server.sh start|stop|psql|run DIR ..."
action=$1
dir=$2
shift 2
case $dir in
	/*) ;;
	*) dir=$(pwd)/$dir ;;
esac
bindir=$("${PG_CONFIG:-pg_config}" --bindir)
user=${DP_TEST_USER:-postgres}

as_user()
{
	if [ "$(id -u)" -eq 0 ]; then
		runuser -u "$user" -- env HOME="$dir" "$@"
	else
		env HOME="$dir" "$@"
	fi
}

client()
{
	(cd "$dir" && as_user env -u PGSERVICE -u PGOPTIONS PATH="$bindir:$PATH" PGHOST="$dir" PGPORT=5432 \
		PGUSER="${PGUSER:-postgres}" PGDATABASE="${PGDATABASE:-postgres}" LC_ALL=C.UTF-8 "$@")
}

make_server()
{
	mkdir -p "$dir"
	[ "$(id -u)" -ne 0 ] || chown "$user" "$dir"
	as_user mkdir -m 700 "$dir/kms"
	as_user sh -c 'umask 077; openssl rand -out "$1" 32' sh "$dir/kms/root.key"
	as_user "$bindir/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >"$dir/initdb.log" 2>&1 ||
		{
			cat "$dir/initdb.log" >&2
			die "initdb failed"
		}
	as_user sh -c 'cat >>"$1"' sh "$dir/data/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$dir'
port = 5432
max_connections = 50
shared_buffers = 64MB
log_min_messages = warning
shared_preload_libraries = 'dataprotect'
dataprotect.kms_allowed = 'file://$dir/kms/*'
dataprotect.default_kms_uri = 'file://$dir/kms/root.key'
dataprotect.worker_naptime = 1s
END
	[ -z "$1" ] || as_user sh -c 'cat >>"$1"' sh "$dir/data/postgresql.conf" <"$1"
}

start_server()
{
	clock=
	if [ -n "${DP_CLOCK:-}" ]; then
		days=${DP_CLOCK#+}
		days=${days%d}
		as_user sh -c 'exec "${CC:-cc}" -shared -fPIC -o "$1" -x c - -ldl' sh "$dir/wall_clock.so" \
			<"$(dirname "$0")/../test/clock/wall_clock.c" || die "could not build the other clock"
		clock="LD_PRELOAD=$dir/wall_clock.so DP_WALL_CLOCK_SECONDS=$((days * 86400))"
	fi
	# shellcheck disable=SC2086
	as_user env $clock "$bindir/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 -s start || {
		tail -n 20 "$dir/log" >&2
		die "the server did not start"
	}
}

case $action in
	start)
		[ -d "$dir/data" ] || make_server "${1:-}"
		start_server
		;;
	stop)
		as_user "$bindir/pg_ctl" -D "$dir/data" -w -t 60 -s -m "${1:-fast}" stop
		;;
	psql) client psql -X "$@" ;;
	run) client "$@" ;;
	*) die "unknown action \"$action\"" ;;
esac
