#!/bin/sh
# Lay the C sources out as PostgreSQL's own are: pgindent from the Debian root
# of PostgreSQL 18 (roots.sh makes it), with the type names of our objects.
#
#	pgxs/format.sh [--check] [FILE...]
#
# --check changes nothing, prints the differences and fails where there are
# some.  Build first: the type names come from the debug information.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
check=
if [ "${1:-}" = --check ]; then
	check=yes
	shift
fi
cd "$top"
[ $# -gt 0 ] || set -- src/*.[ch] src/*/*.[ch] test/unit/*.[ch] test/fuzz/*.[ch] test/bench/*.[ch]
root=$(pgxs/roots.sh 18)
inside=$(mktemp -d "$root/tmp/dp-format.XXXXXX")
trap 'rm -rf "$inside"' EXIT
trap 'exit 1' HUP INT TERM

# "text" is left out: it is the name of more variables than types.
{
	objdump --dwarf=info src/*.o src/*/*.o 2>/dev/null |
		awk '/DW_TAG_typedef/ { wanted = 1; next }
			/DW_TAG_/ { wanted = 0 }
			wanted && /DW_AT_name/ { print $NF; wanted = 0 }' | grep -vx text
	sed -n 's/^} \([A-Za-z][A-Za-z0-9]*\);.*/\1/p' src/*/*.[ch] test/*/*.[ch]
} | sort -u >"$inside/typedefs"
[ -s "$inside/typedefs" ] || {
	echo "format.sh: there are no objects with debug information: build first" >&2
	exit 1
}

for file in "$@"; do
	[ -f "$file" ] || continue
	mkdir -p "$inside/$(dirname "$file")"
	cp "$file" "$inside/$file"
done
bin=/usr/lib/postgresql/18/bin
# Our lines are a little longer than PostgreSQL's 79.
printf '#!/bin/sh\nexec %s/pg_bsd_indent "$@" -l99\n' $bin >"$inside/indent"
chmod 755 "$inside/indent"
(cd "$inside" && find . -name '*.[ch]') >"$inside/files"
# shellcheck disable=SC2046
pgxs/enter.sh "$root" "${inside#"$root"}" \
	env PGINDENT=./indent perl $bin/pgindent --typedefs=typedefs $(cat "$inside/files")

different=0
while read -r file; do
	cmp -s "$file" "$inside/$file" && continue
	different=$((different + 1))
	if [ -n "$check" ]; then
		diff -u "$file" "$inside/$file" || :
	else
		cat "$inside/$file" >"$file"
		echo "$file"
	fi
done <"$inside/files"
[ -z "$check" ] || [ "$different" -eq 0 ]
