#!/bin/sh
# Drivers and mappers in their present releases, from PyPI, npm, Go's module proxy,
# crates.io and Maven, against a plain and a protected table.
#
#	PG_CONFIG=.../pg_config test/clients/run.sh
#
# What is fetched and built goes into $DP_CLIENTS (a folder in the temporary one,
# kept for the next run).  What this machine has no tool or registry for is
# skipped, and says so.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
source=$top/test/clients/registries
DP_CLIENTS=${DP_CLIENTS:-${TMPDIR:-/tmp}/dp-clients}
export DP_CLIENTS
mkdir -p "$DP_CLIENTS/node" "$DP_CLIENTS/go" "$DP_CLIENTS/rust" "$DP_CLIENTS/java"
log=$DP_CLIENTS/log
: >"$log"

with()
{
	tool=$1
	what=$2
	shift 2
	if ! command -v "$tool" >/dev/null 2>&1; then
		echo "skipped: $what ($tool is not installed)"
	elif ! (set -e; "$@") >>"$log" 2>&1; then
		echo "skipped: $what (see $log)"
	fi
}

fetch_python()
{
	[ -x "$DP_CLIENTS/python/bin/python" ] || python3 -m venv "$DP_CLIENTS/python"
	"$DP_CLIENTS/python/bin/python" -c 'import psycopg2, psycopg, asyncpg, sqlalchemy, django, pg8000' 2>/dev/null ||
		"$DP_CLIENTS/python/bin/pip" install -q psycopg2-binary 'psycopg[binary]' asyncpg SQLAlchemy Django pg8000
}

fetch_node()
{
	cp "$source/package.json" "$source/wire_node.js" "$DP_CLIENTS/node/"
	cd "$DP_CLIENTS/node"
	[ -d node_modules/drizzle-orm ] || npm install --no-audit --no-fund
}

# Only its migrations have an engine from elsewhere; the client is in the package.
fetch_prisma()
{
	cp "$source/schema.prisma" "$source/wire_prisma.mjs" "$DP_CLIENTS/node/"
	cd "$DP_CLIENTS/node"
	[ -d node_modules/@prisma/adapter-pg ] ||
		npm install --no-audit --no-fund --ignore-scripts prisma @prisma/client @prisma/adapter-pg
	PRISMA_SCHEMA_ENGINE_BINARY=/bin/true npx --offline prisma generate --schema schema.prisma
}

build_go()
{
	name=$1
	mkdir -p "$DP_CLIENTS/go/$name"
	cp "$source/$name.go" "$DP_CLIENTS/go/$name/main.go"
	cd "$DP_CLIENTS/go/$name"
	export GOPATH="$DP_CLIENTS/go/path" GOCACHE="$DP_CLIENTS/go/cache" GOFLAGS='-mod=mod -modcacherw'
	[ -f go.mod ] || go mod init "$name"
	go mod tidy
	go build -p 2 -o "$DP_CLIENTS/$name" .
}

build_rust()
{
	cp "$source/Cargo.toml" "$source/wire.rs" "$source/wire_sqlx.rs" "$DP_CLIENTS/rust/"
	cd "$DP_CLIENTS/rust"
	CARGO_HOME="$DP_CLIENTS/rust/home" cargo build -j 2
	cp target/debug/wire "$DP_CLIENTS/wire_rust"
	cp target/debug/wire_sqlx "$DP_CLIENTS/wire_sqlx"
}

build_java()
{
	cp "$source/pom.xml" "$source"/Wire*.java "$DP_CLIENTS/java/"
	cd "$DP_CLIENTS/java"
	mvn -q -B -Dmaven.repo.local="$DP_CLIENTS/java/repository" dependency:copy-dependencies -DoutputDirectory=lib.new
	javac -cp 'lib.new/*' Wire*.java
	rm -rf lib
	mv lib.new lib
}

with python3 "Python's drivers" fetch_python
with npm "node's drivers" fetch_node
with npm 'Prisma' fetch_prisma
with go "Go's lib/pq" build_go wire_lib_pq
with go "Go's pgx" build_go wire_pgx
with cargo "Rust's tokio-postgres and sqlx" build_rust
with mvn 'Hibernate and jOOQ' build_java
chmod -R a+rX "$DP_CLIENTS"
exec "$top/test/tap.sh" "$top/test/clients/registries.pl"
