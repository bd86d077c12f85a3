#!/bin/sh
# Try, in bare Debian 12 roots, what goes out to others.
#
#	pgxs/bare.sh container		carries out pgxs/container/Containerfile without a
#							container engine: each stage in a root of its own, its
#							RUN lines in order, COPY by cp; then the container's
#							command must give a server that protects a value
#	pgxs/bare.sh package		builds the Debian packages in one root, installs them by
#							apt in another, and runs their own test (debian/tests)
#
# Of the committed tree, as root.  The bare root is made once by debootstrap and kept
# beside those of roots.sh; $DP_BARE names another.  The last line is
# "N passed, N failed".
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
kind=${1:-}
case $kind in container | package) ;; *) echo "usage: pgxs/bare.sh container|package" >&2; exit 1 ;; esac

bare=${DP_BARE:-${DP_ROOTS:-${XDG_CACHE_HOME:-/var/cache}/dataprotect}/bare-bookworm}
if [ ! -x "$bare/usr/bin/dpkg" ]; then
	mirror=${DP_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(COMPONENT) $(LABEL) $(REPO_URI)' 2>/dev/null |
		sed -n 's/^Packages Debian main Debian //p' | head -n 1)}
	rm -rf "$bare.part"
	mkdir -p "$(dirname "$bare")"
	# shellcheck disable=SC2086
	debootstrap --variant=minbase bookworm "$bare.part" $mirror >&2
	mv "$bare.part" "$bare"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/dp-bare.XXXXXX")
cleanup()
{
	[ ! -s "$work/pid" ] || kill -INT "$(cat "$work/pid")" 2>/dev/null || :
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

passed=0
ok()
{
	echo "ok     $1"
	passed=$((passed + 1))
}
failed()
{
	tail -n 30 "$work/log"
	echo "FAILED $1"
	echo "$passed passed, 1 failed"
	exit 1
}

stage=none
new_stage()
{
	stage=$1
	cp -a "$bare" "$work/$stage"
	[ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$work/$stage/etc/resolv.conf"
	printf '#!/bin/sh\nexit 101\n' >"$work/$stage/usr/sbin/policy-rc.d"
	chmod 755 "$work/$stage/usr/sbin/policy-rc.d"
}
inside()
{
	"$top/pgxs/enter.sh" "$work/$stage" / "$@"
}
# step WHAT COMMAND...: in the stage's root
step()
{
	what=$1
	shift
	inside "$@" >"$work/log" 2>&1 </dev/null || failed "$stage: $what"
	ok "$stage: $what"
}
sources()
{
	mkdir -p "$1"
	git -C "$top" archive HEAD | tar -xf - -C "$1"
}

try_container()
{
	while read -r word rest; do
		case $word in
			FROM)
				case $rest in *' AS build') new_stage build ;; *) new_stage final ;; esac
				;;
			RUN)
				step "$(echo "$rest" | cut -c1-70)" sh -c "$rest"
				;;
			COPY)
				# shellcheck disable=SC2086
				set -- $rest
				case $1 in
					--from=build) cp -a "$work/build/$2/." "$work/$stage/$3" ;;
					.) sources "$work/$stage/$2" ;;
					*) git -C "$top" show "HEAD:$1" >"$work/$stage/$2" && chmod 755 "$work/$stage/$2" ;;
				esac
				;;
			CMD)
				command=$(echo "$rest" | tr -d '[]"')
				;;
		esac
	done <"$top/pgxs/container/Containerfile"

	inside runuser -u postgres -- sh -c 'umask 077; openssl rand -out /etc/dataprotect/root.key 32'
	inside runuser -u postgres -- "$command" -c listen_addresses= >"$work/log" 2>&1 &
	echo $! >"$work/pid"
	inside runuser -u postgres -- sh -c '
		for i in $(seq 180); do
			psql -qAt -c "SELECT 1" >/dev/null 2>&1 && break
			sleep 1
		done
		psql -qAt -v ON_ERROR_STOP=1 <<\END
SET client_min_messages = warning;
CREATE EXTENSION dataprotect;
SELECT FROM dataprotect.create_key($$pii$$);
SELECT FROM dataprotect.grant_access($$pii$$, $$postgres$$, $$reveal$$);
CREATE TABLE t (mail encrypted_text($$pii$$));
INSERT INTO t VALUES ($$needle$$);
SELECT mail FROM t;
SELECT item FROM dataprotect.check_setup() WHERE NOT ok AND severity IN ($$critical$$, $$high$$);
END
		kill -INT "$(head -n 1 /var/lib/dataprotect/data/postmaster.pid)"' >"$work/answer" 2>&1 </dev/null || :
	wait "$(cat "$work/pid")" || :
	rm -f "$work/pid"
	cat "$work/answer" >>"$work/log"
	[ "$(tail -n 1 "$work/answer")" = needle ] || failed "the container's command"
	ok "the container's command gives a server that protects a value, and check_setup() finds nothing grave"
}

try_package()
{
	install='DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends'
	new_stage build
	step 'what a build needs' sh -c "apt-get update && $install build-essential git ca-certificates devscripts debhelper lintian postgresql-server-dev-all \
		postgresql-server-dev-15 libssl-dev libcurl4-openssl-dev zlib1g-dev libkrb5-dev"
	git clone -q "$top" "$work/build/src"
	step 'packages' sh -c 'git config --global --add safe.directory /src && cd /src && pgxs/package.sh deb /packages'
	new_stage installed
	cp -a "$work/build/packages" "$work/$stage/packages"
	step 'packages install' sh -c "apt-get update && mkdir -p /etc/postgresql-common &&
		echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf &&
		$install postgresql openssl /packages/postgresql-15-dataprotect_*.deb"
	cp -a "$top/pgxs/debian/tests/installcheck" "$work/$stage/installcheck"
	step 'their own test' sh /installcheck
	step 'packages are removed' sh -c 'DEBIAN_FRONTEND=noninteractive apt-get purge -y postgresql-15-dataprotect &&
		! find /usr -name "*dataprotect*" | grep .'
}

"try_$kind"
echo "$passed passed, 0 failed"
