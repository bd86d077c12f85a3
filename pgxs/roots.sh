#!/bin/sh
# Make a Debian root with another PostgreSQL in it, or find the one made
# before.
#
#	pgxs/roots.sh VERSION		prints the folder of the root
#
# 15 is Debian bookworm, 17 trixie (which also has moto, the server that speaks
# Amazon's KMS protocol), 18 forky.  Roots are kept in $DP_ROOTS, by default
# $XDG_CACHE_HOME/dataprotect or /var/cache/dataprotect, so that the next run
# is quick; $DP_ROOT_15, _17 and _18 name one that is elsewhere.  The mirror is
# the one of the machine's own package sources ($DP_DEBIAN_MIRROR overrides
# it), else debootstrap's default.  Needs root and debootstrap.
#
# Exit code 3: this machine cannot make roots (no privileges, no debootstrap, no
# mount namespaces);
# 1: making one failed.
set -eu

die()
{
	echo "roots.sh: $1" >&2
	exit "${2:-1}"
}

version=${1:-}
case $version in
	15) suite=bookworm packages= ;;
	17) suite=trixie packages="python3-moto python3-flask python3-flask-cors python3-boto3" ;;
	18) suite=forky packages= ;;
	*) die "usage: pgxs/roots.sh 15|17|18" ;;
esac
packages="postgresql-$version postgresql-server-dev-$version postgresql-$version-cron gcc libc6-dev make perl
	openssl libcurl4-openssl-dev libssl-dev libipc-run-perl binutils procps $packages"

eval "root=\${DP_ROOT_$version:-}"
cache=${DP_ROOTS:-${XDG_CACHE_HOME:-/var/cache}/dataprotect}
[ -n "$root" ] || root=$cache/$suite
stamp=$root/.dataprotect-root-$version

if [ -f "$stamp" ]; then
	echo "$root"
	exit 0
fi
[ "$(id -u)" -eq 0 ] || die "making a root needs root's rights" 3
command -v debootstrap >/dev/null 2>&1 || [ -x "$root/usr/bin/dpkg" ] || die "debootstrap is not installed" 3
unshare --mount --propagation unchanged true 2>/dev/null || die "this machine allows no mount namespaces" 3

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
fail()
{
	tail -n 30 "$log" >&2
	die "$1"
}

mirror=${DP_DEBIAN_MIRROR:-}
if [ -z "$mirror" ]; then
	mirror=$(apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(COMPONENT) $(LABEL) $(REPO_URI)' 2>/dev/null |
		sed -n 's/^Packages Debian main Debian //p' | head -n 1)
fi

# A root is built under another name and moved into place when complete, so
# that an interrupted run leaves nothing that looks finished.
if [ ! -x "$root/usr/bin/dpkg" ]; then
	mkdir -p "$(dirname "$root")"
	rm -rf "$root.part"
	script=
	[ -e "/usr/share/debootstrap/scripts/$suite" ] || script=/usr/share/debootstrap/scripts/sid
	if [ -n "$script" ] && [ -z "$mirror" ]; then
		die "debootstrap does not know $suite, and the machine's package sources name no Debian mirror (set DP_DEBIAN_MIRROR)"
	fi
	# shellcheck disable=SC2086
	debootstrap --variant=minbase "$suite" "$root.part" $mirror $script >"$log" 2>&1 ||
		fail "debootstrap of $suite failed"
	mv "$root.part" "$root"
fi

printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90dataprotect"
# No cluster is wanted in there.
mkdir -p "$root/etc/postgresql-common/createcluster.d"
echo "create_main_cluster = false" >"$root/etc/postgresql-common/createcluster.d/dataprotect.conf"
[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/resolv.conf"

# shellcheck disable=SC2086
"$(dirname "$0")/enter.sh" "$root" / env DEBIAN_FRONTEND=noninteractive sh -ec '
	apt-get -q -o Acquire::Retries=3 update
	apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install --no-install-recommends "$@"
	apt-get clean' sh $packages >"$log" 2>&1 || fail "could not install PostgreSQL $version in the root of $suite"

[ -x "$root/usr/lib/postgresql/$version/bin/postgres" ] || fail "the root of $suite has no PostgreSQL $version"
chmod 755 "$root"
: >"$stamp"
echo "$root"
