#!/bin/sh
# build.sh JOBS ARCHIVE: make the source packages of the hypervisor (of this source archive of Debian's) and of the guest driver, and the
# binary packages of both, in /mnt/build; what an apt repository has of them goes to /mnt/out. Runs in a root that has what they need.
set -eu
export DEB_BUILD_OPTIONS="parallel=$1 noautodbgsym"
archive=$2
cd /mnt/build

# xen_4.20.3+127-gc42374a105.orig.tar.xz
version=${archive#xen_}
version=${version%.orig.tar.*}
abi=$(echo "$version" | cut -d . -f 1-2)
cp "$archive" "xen-tmem_$version.orig.tar.${archive##*.}"
mkdir xen-tmem
tar -xf "$archive" -C xen-tmem --strip-components=1 --no-same-owner
cp -r tmem/xen/debian xen-tmem/debian
mkdir -p xen-tmem/debian/tmem/xen
cp -r tmem/xen/files tmem/xen/patches xen-tmem/debian/tmem/xen/
cp -r tmem/tmemctl config xen-tmem/debian/tmem/
for file in control changelog; do
    sed -e "s/@ABI@/$abi/g" -e "s/@VERSION@/$version/g" "xen-tmem/debian/$file.in" > "xen-tmem/debian/$file"
    rm "xen-tmem/debian/$file.in"
done
for file in postinst postrm; do
    mv "xen-tmem/debian/hypervisor.$file" "xen-tmem/debian/xen-hypervisor-$abi-tmem.$file"
done

# The guest driver's needs nothing of the kind.
mkdir driver
cp -r tmem/linux driver/tmem

for source in xen-tmem driver/tmem; do
    (cd "$source" && dpkg-buildpackage -us -uc)
done
cp ./*.deb ./*.dsc ./xen-tmem_*.tar.* driver/*.deb driver/*.dsc driver/*.tar.* /mnt/out/

# A flat repository: "deb [trusted=yes] file:/FOLDER ./".
cd /mnt/out
dpkg-scanpackages --multiversion . > Packages
dpkg-scansources . > Sources
