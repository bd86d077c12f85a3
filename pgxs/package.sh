#!/bin/sh
# Packages of the committed tree.
#
#	pgxs/package.sh dist|deb|rpm OUTDIR
#
# dist: the PGXN archive and the source archive of the RPM; META.json is checked.
# deb: Debian packages for every PostgreSQL that postgresql-server-dev-all has
# here, built twice where $DP_REPRODUCE is set, and compared; lintian's findings
# are printed and are an error.  rpm: the source RPM, and the binary one for the
# PostgreSQL of $PG_CONFIG where $DP_RPM_BINARY is set.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
die()
{
	echo "package.sh: $*" >&2
	exit 1
}
[ $# -eq 2 ] || die "usage: pgxs/package.sh dist|deb|rpm OUTDIR"
kind=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
version=$(sed -n "s/^default_version = '\(.*\)'/\1/p" "$top/dataprotect.control")
released=$(sed -n "s/^## \[$version\] - //p" "$top/CHANGELOG.md")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

work=$(mktemp -d "${TMPDIR:-/tmp}/dp-package.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# unpacked DIR: the committed files, as a tree of that name.
unpacked()
{
	mkdir -p "$1"
	git -C "$top" archive HEAD | tar -xf - -C "$1"
}

make_dist()
{
	perl -MJSON::PP -e '
		local $/;
		my $meta = JSON::PP->new->decode(<STDIN>);
		# PGXN Meta Spec 1.0.0: what must be there
		for (qw(name version abstract maintainer license provides meta-spec)) {
			die "META.json has no \"$_\"\n" if !defined $meta->{$_} || $meta->{$_} eq "";
		}
		for (values %{ $meta->{provides} }) {
			-f "$ARGV[0]/$_->{file}" or die "META.json names $_->{file}, which is not there\n";
			-f "$ARGV[0]/$_->{docfile}" or die "META.json names $_->{docfile}, which is not there\n";
		}
		die "META.json is of another version\n" if $meta->{version} ne $ARGV[1];
	' "$top" "$version" <"$top/META.json" || exit 1
	for format in zip tar.gz; do
		git -C "$top" archive --format="$format" --prefix="dataprotect-$version/" -o "$out/dataprotect-$version.$format" HEAD
	done
	echo "$out/dataprotect-$version.zip"
}

# A native package whose changelog is made of what CHANGELOG.md knows.
debian_tree()
{
	unpacked "$1"
	mv "$1/pgxs/debian" "$1/debian"
	case $released in
		[0-9]*) distribution=unstable ;;
		*) distribution=UNRELEASED ;;
	esac
	{
		printf 'dataprotect (%s) %s; urgency=medium\n\n' "$version" "$distribution"
		printf '  * See /usr/share/doc/postgresql-*-dataprotect/changelog.gz.\n\n'
		printf ' -- dataprotect developers <dataprotect@lists.invalid>  %s\n' "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
	} >"$1/debian/changelog"
	(cd "$1" && pg_buildext updatecontrol)
}

build_deb()
{
	mkdir -p "$work/$1"
	# the same path in each build: it is part of the debugging information
	debian_tree "$work/build/dataprotect-$version"
	(cd "$work/build/dataprotect-$version" && dpkg-buildpackage -us -uc -b) >"$out/build-$1.log" 2>&1 || {
		tail -n 30 "$out/build-$1.log"
		die "the package does not build"
	}
	rm -rf "$work/build/dataprotect-$version"
	mv "$work"/build/* "$work/$1/"
}

make_deb()
{
	for tool in pg_buildext dpkg-buildpackage dh lintian; do
		command -v "$tool" >/dev/null 2>&1 || die "$tool is not installed (packages postgresql-server-dev-all, debhelper, lintian)"
	done
	build_deb first
	if [ -n "${DP_REPRODUCE:-}" ]; then
		build_deb second
		for deb in "$work"/first/*.deb; do
			cmp "$deb" "$work/second/$(basename "$deb")" || die "two builds of $(basename "$deb") differ"
		done
		echo "two builds are the same to the byte"
	fi
	mv "$work"/first/* "$out/"
	lintian --fail-on error,warning --suppress-tags "$(grep -v '^#' "$top/pgxs/debian/lintian-suppressed" | tr '\n' ',' | sed 's/,$//')" "$out"/*.changes ||
		die "lintian has findings"
	ls "$out"/*.deb
}

make_rpm()
{
	command -v rpmbuild >/dev/null 2>&1 || die "rpmbuild is not installed"
	make_dist >/dev/null
	mkdir -p "$work/rpm/SOURCES"
	cp "$out/dataprotect-$version.tar.gz" "$work/rpm/SOURCES/"
	set -- -bs
	[ -z "${DP_RPM_BINARY:-}" ] || set -- -ba --nodeps
	rpmbuild "$@" --define "_topdir $work/rpm" --define "dataprotect_version $version" \
		--define "pg_config ${PG_CONFIG:-pg_config}" "$top/pgxs/rpm/dataprotect.spec" >"$out/rpm.log" 2>&1 || {
		tail -n 20 "$out/rpm.log"
		die "the RPM does not build"
	}
	find "$work/rpm" -name '*.rpm' -exec mv {} "$out/" \;
	ls "$out"/*.rpm
}

case $kind in
	dist) make_dist ;;
	deb) make_deb ;;
	rpm) make_rpm ;;
	*) die "usage: pgxs/package.sh dist|deb|rpm OUTDIR" ;;
esac
