#!/bin/sh
# Find or fetch the sources of a server's regression suites.
#
#	PG_CONFIG=... test/pg/source.sh		prints the folder of the sources
#
# $DP_PG_SOURCE names a folder that has them (src/test/regress in it), else
# Debian's source package of the server's release is unpacked in $DP_CACHE, by
# default $XDG_CACHE_HOME/dataprotect or /var/cache/dataprotect.  Where the
# mirror has no longer that release, it is the newest one of the same major
# version, and the file "note" in the folder says so.  Nothing is installed, and
# apt's own lists and source files are not touched.
#
# Exit code 3: this machine cannot have them, and the last line says why.
set -eu

none()
{
	echo "source.sh: $*" >&2
	exit 3
}

pg_config=${PG_CONFIG:-pg_config}
release=$("$pg_config" --version | sed 's/^PostgreSQL \([0-9a-z.]*\).*/\1/')
major=${release%%[!0-9]*}

if [ -n "${DP_PG_SOURCE:-}" ]; then
	[ -f "$DP_PG_SOURCE/src/test/regress/parallel_schedule" ] ||
		none "DP_PG_SOURCE: \"$DP_PG_SOURCE\" has no src/test/regress/parallel_schedule"
	(cd "$DP_PG_SOURCE" && pwd)
	exit 0
fi

cache=${DP_CACHE:-${XDG_CACHE_HOME:-/var/cache}/dataprotect}
folder=$cache/source-$release
if [ -f "$folder/src/test/regress/parallel_schedule" ]; then
	echo "$folder"
	exit 0
fi
command -v apt-get >/dev/null 2>&1 || none "no apt-get, and DP_PG_SOURCE names no folder"
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || none "\"$cache\" cannot be written (set DP_CACHE)"

work=$(mktemp -d "$cache/source.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$work/lists/partial" "$work/cache" "$work/unpacked"

# The machine's own package sources, asked for source packages.
apt-get indextargets --format '$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)' 2>/dev/null |
	awk '$1 == "Packages" && $4 == "main" {
			print "deb-src", $2, $3, $4 }' |
	sort -u >"$work/sources.list"
[ -s "$work/sources.list" ] || none "apt has no package sources"

# shellcheck disable=SC2086
apt()
{
	program=$1
	shift
	$program -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User= \
		-o Acquire::Retries=3 "$@"
}
apt apt-get update >"$work/log" 2>&1 || none "apt-get update: $(tail -n 1 "$work/log")"
apt apt-cache showsrc "postgresql-$major" 2>/dev/null | sed -n 's/^Version: //p' | sort -rVu >"$work/versions"
# Those of the server's own release first; the mirror may have lost it.
version=
for candidate in $(grep "^$release-" "$work/versions"; cat "$work/versions"); do
	if (cd "$work" && apt apt-get source --download-only "postgresql-$major=$candidate") >"$work/log" 2>&1; then
		version=$candidate
		break
	fi
done
[ -n "$version" ] || none "no package source gives PostgreSQL $major: $(tail -n 1 "$work/log")"
case $version in
	"$release"-*) ;;
	*) echo "the suites are those of $version: those of $release cannot be had" >"$work/note" ;;
esac
tar -xf "$work"/postgresql-*.orig.tar.* -C "$work/unpacked" --strip-components=1 --wildcards '*/src/test' ||
	none "the source package could not be unpacked"
chmod -R u+rwX,a+rX "$work/unpacked"
[ -f "$work/unpacked/src/test/regress/parallel_schedule" ] || none "the source package has no regression suite"
[ ! -f "$work/note" ] || cp "$work/note" "$work/unpacked/note"
mv "$work/unpacked" "$folder"
echo "$folder"
