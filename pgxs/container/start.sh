#!/bin/sh
# The command of the container (Containerfile): make the cluster where there is none,
# and become the server.
set -eu

data=${PGDATA:-/var/lib/dataprotect/data}
bin=/usr/lib/postgresql/15/bin
if [ ! -e "$data/PG_VERSION" ]; then
	"$bin/initdb" -D "$data" -U postgres --auth-local=peer --auth-host=scram-sha-256 -E UTF8 --locale=C.UTF-8 --data-checksums >/dev/null
	cat >>"$data/postgresql.conf" <<'END'
listen_addresses = '*'
shared_preload_libraries = 'dataprotect'
dataprotect.default_kms_uri = 'file:///etc/dataprotect/root.key'
max_worker_processes = 16
END
	echo 'hostssl all all all scram-sha-256' >>"$data/pg_hba.conf"
fi
exec "$bin/postgres" -D "$data" "$@"
