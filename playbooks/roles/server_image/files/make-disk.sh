#!/bin/sh
# Makes a disk that starts under BIOS and under UEFI, but for its root file system, which comes
# later; runs in the server's own tree.
#
#     make-disk.sh FOLDER SIZE ROOT_START ROOT_UUID
#
# FOLDER: gets server.raw, and OVMF's code and variables. ROOT_START: in sectors of 512 bytes.
set -eu
folder=$1 size=$2 root_start=$3 root_uuid=$4
disk=$folder/server.raw
core_start=2048
efi_start=4096

truncate -s "$size" "$disk"
sfdisk --quiet "$disk" << END
label: gpt
start=$core_start, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=$efi_start, size=$((root_start - efi_start)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=$root_start, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END

# What grub-install does, on a disk that is a file: modules to /boot, a core that finds them.
for platform in i386-pc x86_64-efi; do
    mkdir -p "/boot/grub/$platform"
    cp /usr/lib/grub/$platform/*.mod /usr/lib/grub/$platform/*.lst "/boot/grub/$platform"
done
mkdir -p /boot/grub/fonts
cp /usr/share/grub/unicode.pf2 /boot/grub/fonts
grub-editenv /boot/grub/grubenv create
echo "search.fs_uuid $root_uuid root
set prefix=(\$root)/boot/grub" > /tmp/early.cfg

grub-mkimage -O i386-pc -o /tmp/core.img -p /boot/grub -c /tmp/early.cfg \
    biosdisk part_gpt ext2 search_fs_uuid normal configfile
[ "$(stat -c %s /tmp/core.img)" -le $((2048 * 512)) ]
# The boot sector's code without its partition table, then where the core begins (offset 0x5c), and
# in the core's first sector where its rest begins (offset 0x1f4): both in sectors, 64 bits, low
# byte first.
dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=1 count=440 conv=notrunc status=none
dd if=/tmp/core.img of="$disk" bs=512 seek=$core_start conv=notrunc status=none
printf '\000\010\000\000\000\000\000\000' | dd of="$disk" bs=1 seek=92 conv=notrunc status=none
printf '\001\010\000\000\000\000\000\000' | dd of="$disk" bs=1 seek=$((core_start * 512 + 500)) conv=notrunc status=none

mkfs.vfat -F 16 -n EFI --offset $efi_start "$disk" $(((root_start - efi_start) / 2)) > /dev/null
grub-mkimage -O x86_64-efi -o /tmp/bootx64.efi -p /boot/grub -c /tmp/early.cfg \
    part_gpt fat ext2 search_fs_uuid normal configfile
export MTOOLS_SKIP_CHECK=1
mmd -i "$disk@@$((efi_start * 512))" ::/EFI ::/EFI/BOOT
mcopy -i "$disk@@$((efi_start * 512))" /tmp/bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
rm /tmp/core.img /tmp/bootx64.efi /tmp/early.cfg

cp /usr/share/OVMF/OVMF_CODE_4M.fd "$folder/ovmf-code.fd"
cp /usr/share/OVMF/OVMF_VARS_4M.fd "$folder/ovmf-vars.fd"
