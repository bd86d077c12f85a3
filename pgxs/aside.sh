#!/bin/sh
# Where the PostgreSQL lies that private copies are made of.
#
#	pgxs/aside.sh VERSION			prints the root it lies in: nothing for the
#						system's own, else a folder; exit code 1
#						where there is none with its PGXS
#	pgxs/aside.sh --unpack VERSION demo|test
#						download Debian's packages and unpack
#						them into that folder, as root; the
#						system's own is not touched
#
# The folder is in $DP_ROOTS, by default $XDG_CACHE_HOME/dataprotect or
# /var/cache/dataprotect.
set -eu

folder()
{
	echo "${DP_ROOTS:-${XDG_CACHE_HOME:-/var/cache}/dataprotect}/postgresql-$1"
}

complete()
{
	[ -x "$1/usr/lib/postgresql/$2/bin/postgres" ] &&
		[ -f "$1/usr/lib/postgresql/$2/lib/pgxs/src/makefiles/pgxs.mk" ] &&
		[ -f "$1/usr/include/postgresql/$2/server/postgres.h" ]
}

if [ "$1" != --unpack ]; then
	if complete "" "$1"; then
		echo
	elif complete "$(folder "$1")" "$1"; then
		folder "$1"
	else
		exit 1
	fi
	exit 0
fi

version=$2
target=$(folder "$version")
packages="postgresql-$version postgresql-client-$version postgresql-server-dev-$version libpq-dev"
[ "$3" = demo ] || packages="$packages postgresql-$version-cron"

# Under another name until complete: an interrupted run leaves nothing that
# looks finished.
part=$target.part
rm -rf "$part"
mkdir -p "$part/packages"
chmod 755 "$(dirname "$target")" "$part"
# shellcheck disable=SC2086
(cd "$part/packages" && apt-get -q -o Acquire::Retries=3 -o APT::Sandbox::User=root download $packages)
for package in "$part"/packages/*.deb; do
	dpkg-deb -x "$package" "$part"
done
rm -rf "$part/packages" "$target"
mv "$part" "$target"
