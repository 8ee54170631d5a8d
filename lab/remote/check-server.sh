#!/bin/sh
# Tells what a server is, as lines `KEY: VALUE`, and changes nothing. What it cannot tell is left
# out; a key can be there several times.
#
#     check-server.sh PACKAGES FOLDER DISK...
#
# PACKAGES: names, joined by |, of which those that are installed are told. FOLDER: of guests' disks
# that are files, or empty. DISK: block devices that are meant for guests. As root on any Debian; for a user who is not, less is told.
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

tell() { [ -z "$2" ] || echo "$1: $2"; }
# Every line of the standard input under one key.
each() { while read -r line; do tell "$1" "$line"; done; }
have() { command -v "$1" > /dev/null; }
# What is in a folder, in one line.
names() {
    for path in "$1"/*; do [ -e "$path" ] && echo "${path##*/}"; done | paste -sd "$2" -
}

system() {
    tell user "$(id -u)"
    # shellcheck disable=SC2016 # the inner shell's own variables
    sh -c '. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}"' | each release
    tell kernel "$(uname -r)"
    tell init "$(cat /proc/1/comm)"
    for program in python3 apt-get dpkg-query systemctl update-grub grub-reboot grub-set-default; do
        have "$program" && tell program "$program"
    done
    if [ -r "/boot/config-$(uname -r)" ]; then
        tell kernel_dom0 "$(grep -c '^CONFIG_XEN_DOM0=y' "/boot/config-$(uname -r)")"
    fi
}

hardware() {
    tell architecture "$(uname -m)"
    tell cpus "$(grep -c '^processor' /proc/cpuinfo)"
    sed -n 's/^model name[^:]*: //p;T;q' /proc/cpuinfo | each cpu_model
    for flag in hypervisor vmx svm ept npt; do
        grep -qE "^(vmx )?flags.*[[:space:]]$flag( |\$)" /proc/cpuinfo && tell cpu_flag "$flag"
    done
    tell memory_kib "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)"
    have systemd-detect-virt && tell virtualization "$(systemd-detect-virt)"
    for key in sys_vendor product_name; do
        [ -r "/sys/class/dmi/id/$key" ] && tell "dmi_$key" "$(cat "/sys/class/dmi/id/$key")"
    done
    tell hypervisor "$(cat /sys/hypervisor/type 2> /dev/null)"
    tell dom0 "$(grep -o control_d /proc/xen/capabilities 2> /dev/null)"
    if have xl; then
        xl info 2> /dev/null |
            sed -n 's/^xen_version *: /&/p; s/^xen_commandline *: /xen_options: /p; s/^total_memory *: /xen_memory_mib: /p' |
            sed -n 's/ *: */: /; /: ./p'
    fi
}

boot() {
    if [ -d /sys/firmware/efi ]; then tell firmware uefi; else tell firmware bios; fi
    for variable in /sys/firmware/efi/efivars/SecureBoot-*; do
        [ -r "$variable" ] && tell secure_boot "$(od -An -tu1 -j4 -N1 "$variable" | tr -d ' ')"
    done
    [ -e /boot/grub/grub.cfg ] && tell grub_menu /boot/grub/grub.cfg
    # As update-grub reads them: the last counts.
    # shellcheck disable=SC1090,SC1091 # the server's own
    tell grub_default "$(for file in /etc/default/grub /etc/default/grub.d/*.cfg; do
        if [ -r "$file" ]; then . "$file"; fi
    done > /dev/null 2>&1; echo "${GRUB_DEFAULT:-}")"
    have grub-editenv && grub-editenv list 2> /dev/null | each grub_variable
    # GRUB can write its environment, which a one-time boot needs, only to a plain partition.
    environment=$(findmnt -nro SOURCE,FSTYPE -T /boot/grub 2> /dev/null)
    tell grub_filesystem "${environment#* }"
    tell grub_device "$(lsblk -ndro TYPE "${environment%% *}" 2> /dev/null)"
    tell kernel_options "$(cat /proc/cmdline)"
    for device in /dev/ipmi*; do [ -e "$device" ] && tell ipmi "$device"; done
}

space() {
    for folder in /boot /var/lib; do
        df -Pk "$folder" 2> /dev/null | awk -v at="$folder" 'NR == 2 { print at, $4 }' | each free_kib
    done
    [ -n "$files" ] || return 0
    at=$files
    while [ ! -d "$at" ]; do at=$(dirname "$at"); done
    df -Pk "$at" | awk -v at="$files" 'NR == 2 { print at, $4 }' | each free_kib
    for file in "$files"/overcommit_guest*; do
        [ -e "$file" ] && tell guest_file_kib "${file##*/} $(du -k "$file" | cut -f 1)"
    done
}

network() {
    for bridge in /sys/class/net/*/bridge; do
        [ -e "$bridge" ] || continue
        name=$(basename "$(dirname "$bridge")")
        tell bridge "$name $(names "/sys/class/net/$name/brif" ' ')"
    done
    ip -o -4 address show 2> /dev/null | awk '{ print $2, $4 }' | each address
    ip -o -4 route show 2> /dev/null | awk '
        $1 ~ "/" { for (word = 2; word < NF; word++) if ($word == "dev") print $(word + 1), $1 }' | each route
    # SSH_CONNECTION: client's address and port, server's address and port
    tell ssh_client "${SSH_CONNECTION%% *}"
    address=$(echo "${SSH_CONNECTION:-}" | cut -d ' ' -f 3)
    tell ssh_address "$address"
    [ -z "$address" ] || tell ssh_interface "$(ip -o address show 2> /dev/null |
        awk -v address="$address" '{ sub("/.*", "", $4); if ($4 == address) { print $2; exit } }')"
    have sshd && sshd -T 2> /dev/null | sed -n 's/^passwordauthentication //p' | each ssh_passwords
    [ -s "$HOME/.ssh/authorized_keys" ] && tell ssh_keys "$(grep -c '^[^#]' "$HOME/.ssh/authorized_keys")"
    have timedatectl && tell clock_synchronized "$(timedatectl show -p NTPSynchronized --value 2> /dev/null)"
}

guests() {
    have xl && xl list 2> /dev/null | awk 'NR > 1 && $1 != "Domain-0" { print "xen", $1 }' | each guest
    have virsh && virsh -q list --name 2> /dev/null | sed -n 's/^..*/libvirt &/p' | each guest
    for process in /proc/[0-9]*; do
        # qemu-system-x86_64 and its like; a guest of libvirt's is told twice, and that does no harm.
        # Without a program for each: there are hundreds.
        { read -r name < "$process/comm"; } 2> /dev/null || continue
        case $name in
            qemu-system* | kvm) tell guest "qemu process ${process#/proc/}" ;;
        esac
    done
}

# One line: what is known of a block device, as words KEY=VALUE; `use` is the last.
disk() {
    if [ ! -e "$1" ]; then
        tell disk "name=$1 kind=none"
        return
    fi
    real=$(readlink -f "$1")
    if [ ! -b "$real" ]; then
        tell disk "name=$1 kind=other"
        return
    fi
    signature=$(blkid -p -s TYPE -s PTTYPE -o value "$real" 2> /dev/null | sort -u | paste -sd , -)
    use=$(lsblk -nro MOUNTPOINT "$real" 2> /dev/null | sed '/^$/d' | paste -sd , -)
    holders=$(names "/sys/class/block/${real##*/}/holders" ,)
    parts=$(cat "/sys/class/block/${real##*/}"/*/partition 2> /dev/null | wc -l)
    tell disk "name=$1 kind=block real=$real bytes=$(blockdev --getsize64 "$real" 2> /dev/null)\
 signature=$signature partitions=$parts use=$use${use:+${holders:+, }}${holders:+held by $holders}"
}

configuration() {
    for file in /etc/grub.d/42_overcommit /etc/default/grub.d/zz-overcommit.cfg /etc/xen/xl.conf \
        /etc/ssh/sshd_config.d/00-overcommit.conf /usr/local/sbin/tmemctl /var/lib/overcommit/guest.qcow2; do
        [ -e "$file" ] && tell file "$file"
    done
    [ -r /var/lib/overcommit/disks ] && each guest_disk < /var/lib/overcommit/disks
    # shellcheck disable=SC2016 # dpkg-query's own variables
    have dpkg-query && dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2> /dev/null |
        sed -n 's/^installed //p' | grep -E "^($packages)\$" | each package
}

packages=$1 files=$2
shift 2
tell clock "$(date +%s.%N)"
for part in system hardware boot space network guests configuration; do
    "$part"
done
if have vgs; then
    vgs --noheadings --units b --nosuffix -o vg_name,vg_free 2> /dev/null | each volume_group
    lvs --noheadings -o lv_path 2> /dev/null | each volume
fi
for device in "$@"; do
    disk "$device"
done
tell clock "$(date +%s.%N)"
# What a machine lacks is no failure.
true
