#!/bin/sh
# Make a private copy of an installed PostgreSQL, so that nothing is ever
# installed into the system's own.
#
#	pgxs/prefix.sh VERSION DIR
#
# PostgreSQL finds its files relative to its program, so a copy in which the
# folders keep their places is complete: PGXS works against it with
#	make PG_CONFIG=DIR/usr/lib/postgresql/VERSION/bin/pg_config
# and "make install" writes inside DIR only.  The path of that pg_config is
# the only line of output.  A copy that is there and current is left alone;
# one of another minor version is made anew.
set -eu

die()
{
	echo "prefix.sh: $*" >&2
	exit 1
}

[ $# -eq 2 ] || die "usage: pgxs/prefix.sh VERSION DIR"
version=$1
dir=$2
origin=$("$(dirname "$0")/aside.sh" "$version") ||
	die "PostgreSQL $version is not installed with its PGXS (pgxs/packages.sh installs it)"
system=$origin/usr/lib/postgresql/$version
case $dir in
	/) die "refusing to copy onto the system itself" ;;
	/*) ;;
	*) dir=$(pwd)/$dir ;;
esac
case $dir in
	*[!A-Za-z0-9_./-]*) die "directory \"$dir\": make needs a path without spaces" ;;
esac

pg_config=$dir/usr/lib/postgresql/$version/bin/pg_config
stamp=$dir/.dataprotect-prefix-$version
current=$("$system/bin/postgres" --version)

if [ "$(cat "$stamp" 2>/dev/null)" = "$current" ] && [ -x "$pg_config" ]; then
	echo "$pg_config"
	exit 0
fi
if [ -e "$dir/usr/lib/postgresql/$version" ] && [ ! -e "$stamp" ] && [ ! -e "$stamp.part" ]; then
	die "\"$dir\" holds a PostgreSQL $version that is not a copy made here"
fi

mkdir -p "$dir/usr/lib/postgresql" "$dir/usr/share/postgresql" "$dir/usr/include"
: >"$stamp.part"
rm -f "$stamp"
rm -rf "$dir/usr/lib/postgresql/$version" "$dir/usr/share/postgresql/$version" \
	"$dir/usr/include/postgresql/$version"
cp -a "$system" "$dir/usr/lib/postgresql/"
cp -a "$origin/usr/share/postgresql/$version" "$dir/usr/share/postgresql/"
cp -a "$origin/usr/include/postgresql" "$dir/usr/include/"

# An extension of the same name in the system must not be found in the copy.
find "$dir/usr" -name 'dataprotect*' -exec rm -rf {} +

# The copy must answer for itself.
[ "$("$pg_config" --pkglibdir)" = "$dir/usr/lib/postgresql/$version/lib" ] ||
	die "the copy in \"$dir\" does not find its own files"
chmod -R a+rX "$dir/usr"
echo "$current" >"$stamp"
rm -f "$stamp.part"
echo "$pg_config"
