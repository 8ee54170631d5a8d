#!/bin/sh
# initrd.sh LOADED... -- AVAILABLE... -- BESIDE...: pack the initial RAM disk of a guest, with the first two sorts of modules and all that
# they need, and what else the third sort needs as beside.tar. Runs in a root that has the kernel, and the driver in /mnt/out. A name with
# a question mark behind it is left out where the kernel has no such module.
#
# Nothing is compressed: Xen's tools would have to know how, and every emulated guest would take its time.
set -eu
out=/mnt/out
release=$(cat $out/release)
tree=/initrd
modules=$tree/lib/modules/$release
mkdir -p $tree/bin $tree/dev $tree/proc $tree/sys $tree/new "$modules/updates" /beside
depmod "$release"

# Where a kernel's package has them differs.
for file in "/boot/vmlinuz-$release" "/usr/lib/modules/$release/vmlinuz"; do
    if [ -s "$file" ]; then cp "$file" $out/vmlinuz; fi
done
for file in "/boot/config-$release" "/usr/lib/modules/$release/config"; do
    if [ -s "$file" ]; then cp "$file" $out/config; fi
done
cp $out/config "$modules/config" # the guest cannot tell by itself

: > /loaded
: > /available
: > /others
list=/loaded
for name; do
    if [ "$name" = -- ]; then
        case $list in
            /loaded) list=/available ;;
            *) list=/others ;;
        esac
        continue
    fi
    if modprobe -S "$release" --show-depends "${name%\?}" > /found 2> /dev/null; then
        awk '$1 == "insmod" { print $2 }' /found >> $list
    elif [ "$name" = "${name%\?}" ]; then
        echo "the kernel $release has no module $name" >&2
        exit 1
    fi
done

# put FOLDER < PATHS: into a folder, as it will be in the root file system.
put() {
    while read -r path; do
        file=$1/lib/modules/$release/${path#*/"$release"/}
        mkdir -p "$(dirname "$file")"
        case $path in
            *.ko) cp "$path" "$file" ;;
            *.ko.xz) xz -dc "$path" > "${file%.xz}" ;;
            *) echo "$path is compressed in a way that is not known here" >&2; exit 1 ;;
        esac
    done
}

awk '!seen[$0]++' /loaded /available > /files
put $tree < /files
awk 'FNR == NR { there[$0]; next } !($0 in there) && !seen[$0]++' /files /others > /beside.files
put /beside < /beside.files
tar -C /beside --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf $out/beside.tar .
cp $out/tmem.ko "$modules/updates/tmem.ko"
for file in modules.order modules.builtin modules.builtin.modinfo; do
    cp "/lib/modules/$release/$file" "$modules/$file"
done
depmod -b $tree "$release"
test -s "$modules/modules.dep"

# In the order in which they need one another; each once.
awk -v release="$release" '!seen[$0]++ {
    sub(".*/" release "/", "/lib/modules/" release "/")
    sub("[.]xz$", "")
    print
}' /loaded > $tree/loaded
install -m 0755 /init $tree/init
install -m 0755 "$(command -v busybox)" $tree/bin/busybox
for name in cat cp hostname ifconfig insmod mkdir mount mv rm route sh sleep switch_root umount uname; do
    busybox --list | grep -qx "$name"
    ln -s busybox $tree/bin/$name
done
(cd $tree && find . | sort | cpio -o -H newc -R 0:0 --quiet) > $out/initrd.img
