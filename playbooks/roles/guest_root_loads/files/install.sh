#!/bin/sh
# install.sh ROOT CONFIGURATION PACKAGE...: install Debian packages in a root tree with this machine's apt, as mmdebstrap does: its network, its
# keys, and the tree's dpkg. CONFIGURATION: apt.conf for it. Its mounts are in a namespace of its own, so that a killed build leaves none.
set -eu
if [ -z "${INSTALL_INSIDE:-}" ]; then
    INSTALL_INSIDE=1 exec unshare --mount --pid --fork --kill-child=KILL -- sh "$0" "$@"
fi
root=$1
APT_CONFIG=$2
shift 2
DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
export APT_CONFIG DEBIAN_FRONTEND LC_ALL HOME PATH
unset TMPDIR
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755,size=64m tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    : > "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/shm" "$root/dev/pts"
ln -s /proc/self/fd "$root/dev/fd"
# No service starts in a tree.
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mkdir -p "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
apt-get -q update
apt-get -q -y --no-install-recommends install "$@"
rm -rf "$root/usr/sbin/policy-rc.d" "$root/var/lib/apt/lists" "$root/var/cache/apt" "$root/etc/apt/sources.list"
rm -rf "$root/usr/share/man" "$root/usr/share/doc"
