#!/bin/sh
# Run a command in another Debian root.
#
#	pgxs/enter.sh ROOT DIR COMMAND...
#
# DIR is the folder in the root to run in.  /proc and /dev are mounted in a
# mount namespace of the command's own, so nothing stays mounted afterwards,
# however it ends.  Exit code 3: this machine does not allow that.
set -eu

root=$1
dir=$2
shift 2

# In a root that is no mount point (a chroot), mounts cannot be made private at
# their top; there, none is shared either.
if unshare --mount true 2>/dev/null; then
	propagation=private
elif unshare --mount --propagation unchanged true 2>/dev/null; then
	propagation=unchanged
else
	echo "enter.sh: this machine allows no mount namespaces" >&2
	exit 3
fi

# shellcheck disable=SC2016
exec unshare --mount --propagation $propagation sh -ec '
	root=$1
	dir=$2
	shift 2
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm" 2>/dev/null || :
	exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		HOME=/root LC_ALL=C.UTF-8 sh -ec "cd \"\$1\"; shift; exec \"\$@\"" sh "$dir" "$@"' \
	sh "$root" "$dir" "$@"
