#!/bin/sh
# Install the Debian or Ubuntu packages that the project needs, and only the
# missing ones.
#
#	pgxs/packages.sh [demo|test]
#
# demo: what builds the extension and runs the demonstration; test (the
# default): that and what the tests use.  Prints the major version of
# PostgreSQL to use, as its only line of standard output: $PG_MAJOR where
# that is set, else the newest of 15..18 that is installed with its PGXS,
# else the newest that the machine's own package sources have.
#
# No server that is there is touched: no cluster is created, and no service is
# started or restarted.  Where installing would upgrade an installed PostgreSQL,
# which may be in use, PostgreSQL's packages are only downloaded and unpacked
# beside it, in the folder of pgxs/aside.sh; pgxs/prefix.sh copies from there.
set -eu

supported="18 17 16 15"
purpose=${1:-test}

die()
{
	echo "packages.sh: $*" >&2
	exit 1
}

case $purpose in
	demo | test) ;;
	*) die "usage: pgxs/packages.sh [demo|test]" ;;
esac

here=$(dirname "$0")

usable()
{
	"$here/aside.sh" "$1" >/dev/null
}

installed()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

has_candidate()
{
	apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'
}

# The packages of one purpose that are not there.  Those named on the second
# list are left out where the distribution does not have them; what needs them
# says so itself.
missing_packages()
{
	needed="gcc libc6-dev make perl openssl libcurl4-openssl-dev libssl-dev zlib1g-dev"
	wanted=
	if [ "$purpose" = test ]; then
		needed="$needed binutils clang libipc-run-perl procps python3"
		wanted="rsyslog rsyslog-gnutls softhsm2 opensc clang-tidy cppcheck debootstrap libclang-rt-dev
			python3-psycopg2 python3-psycopg python3-asyncpg python3-sqlalchemy python3-django python3-pyodbc python3-pykmip
			odbc-postgresql pgbouncer libdbd-pg-perl php-cli php-pgsql ruby-pg ruby-activerecord libpostgresql-jdbc-java default-jdk-headless"
	fi
	if [ "$unpacked" = no ]; then
		needed="$needed postgresql-$major postgresql-server-dev-$major"
		[ "$purpose" = demo ] || wanted="$wanted postgresql-$major-cron"
	else
		# What PGXS asks for besides PostgreSQL's own packages.
		needed="$needed postgresql-common $(apt-cache depends "postgresql-server-dev-$major" |
			sed -n 's/^ *Depends: \([a-z][^ ]*\)$/\1/p' | grep -Ev '^(postgresql|libpq)')"
	fi
	for package in $needed; do
		installed "$package" || echo "$package"
	done
	for package in $wanted; do
		installed "$package" || ! has_candidate "$package" || echo "$package"
	done
}

command -v dpkg-query >/dev/null 2>&1 || die "this machine has no dpkg: install by hand what missing_packages() in this file names"

major=${PG_MAJOR:-}
if [ -z "$major" ]; then
	for version in $supported; do
		if usable "$version" || [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
			major=$version
			break
		fi
	done
fi

# Is PostgreSQL to be had unpacked beside the installed one?
unpacked=no
if [ -n "$major" ] && usable "$major" && [ -n "$("$here/aside.sh" "$major")" ]; then
	unpacked=yes
fi

# Where everything is there, nothing is asked of root or of the network.
if [ -n "$major" ] && usable "$major" && [ -z "$(missing_packages)" ]; then
	echo "$major"
	exit 0
fi

[ "$(id -u)" -eq 0 ] || die "packages are missing: run this as root or with sudo"
command -v apt-get >/dev/null 2>&1 || die "packages are missing, and there is no apt-get: $(missing_packages | tr '\n' ' ')"

export DEBIAN_FRONTEND=noninteractive
export NEEDRESTART_SUSPEND=1	# Ubuntu's needrestart would restart services

{
	apt-get -q -o Acquire::Retries=3 update >/dev/null ||
		echo "packages.sh: apt-get update failed; going on with what is known" >&2

	if [ -z "$major" ]; then
		for version in $supported; do
			if has_candidate "postgresql-$version" && has_candidate "postgresql-server-dev-$version"; then
				major=$version
				break
			fi
		done
		[ -n "$major" ] || die "neither this machine nor its package sources have PostgreSQL 15, 16, 17 or 18"
	fi

	would_upgrade()
	{
		apt-get -s -q install --no-install-recommends $1 |
			sed -n 's/^Inst \(postgresql-[0-9][0-9]*\) \[.*/\1/p'
	}

	missing=$(missing_packages)
	if [ "$unpacked" = no ] && [ -n "$(would_upgrade "$missing")" ]; then
		unpacked=yes
		missing=$(missing_packages)
		upgraded=$(would_upgrade "$missing")
		[ -z "$upgraded" ] ||
			die "this would upgrade $upgraded, which may be in use: upgrade it yourself first, then run this again"
	fi
	echo "packages.sh: installing for PostgreSQL $major:" $missing

	# No service starts, and no cluster is created, while packages are
	# installed.  What is put in place for that is taken away again.
	policy=/usr/sbin/policy-rc.d
	no_cluster=/etc/postgresql-common/createcluster.d/dataprotect-tests.conf
	own_policy=
	cleanup()
	{
		[ -z "$own_policy" ] || rm -f "$policy"
		rm -f "$no_cluster"
	}
	trap cleanup EXIT
	trap 'exit 1' HUP INT TERM
	if [ ! -e "$policy" ]; then
		own_policy=yes
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi

	install()
	{
		apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \
			install --no-install-recommends "$@"
	}
	log=$(mktemp)
	installed postgresql-common || install postgresql-common >"$log" 2>&1 ||
		{ cat "$log"; die "could not install postgresql-common"; }
	mkdir -p /etc/postgresql-common/createcluster.d
	echo "create_main_cluster = false" >"$no_cluster"
	[ -z "$missing" ] || install $missing >"$log" 2>&1 ||
		{ tail -n 60 "$log"; die "could not install the packages"; }
	if [ "$unpacked" = yes ] && ! usable "$major"; then
		echo "packages.sh: unpacking PostgreSQL $major beside the installed one, which stays as it is"
		"$here/aside.sh" --unpack "$major" "$purpose" >"$log" 2>&1 ||
			{ tail -n 60 "$log"; die "could not unpack PostgreSQL $major"; }
	fi
	rm -f "$log"
	usable "$major" || die "PostgreSQL $major was installed, but its server or PGXS is not where it belongs"
} >&2

echo "$major"
