#!/bin/sh
# Takes the testbed off a server: what record-before.sh recorded is so again, but for what it names
# as lines `left: …`, which others may have changed since. The server then has to restart.
#
#     restore-before.sh KEY
#
# KEY: the lab's public key, as it stands in authorized_keys. While guests of others run, nothing is
# put back. Interrupted anywhere, it does the rest when it is run again.
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
before=/var/lib/overcommit/before
if [ ! -e "$before/etc.tar" ]; then
    # All was put back, and it did not restart yet.
    grep -q 'overcommit\.entry=' /proc/cmdline && exit 0
    echo "there is no record of what was before, in $before: this server was not provisioned, or it was taken off already" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
installed() {
    # shellcheck disable=SC2016 # dpkg-query's own variables
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort
}
tar -tf "$before/etc.tar" > "$work/names"
was() { grep -qxF "${1#/}" "$work/names"; }
# A file that was there is as it was; another goes, with a folder that was made for it.
put_back() {
    for file in "$@"; do
        if was "$file"; then
            tar -C / -xpf "$before/etc.tar" "${file#/}"
        else
            rm -f "$file"
            was "${file%/*}/" || rmdir "${file%/*}" 2> /dev/null || true
        fi
    done
}

if command -v xl > /dev/null && xl list > /dev/null 2>&1; then
    others=$(xl list | awk 'NR > 1 && $1 !~ /^(Domain-0|guest[0-9]+|overcommit-check)$/ { print $1 }' | paste -sd ' ' -)
    [ -z "$others" ] || {
        echo "guests of others run here: $others. Nothing was put back; end them first" >&2
        exit 1
    }
fi

# What is booted, first: should the power fail from here on, the old system starts.
put_back /etc/grub.d/42_overcommit /etc/default/grub.d/zz-overcommit.cfg
default=$(sed -n 's/^saved_entry=//p' "$before/grub")
if [ -n "$default" ]; then grub-set-default "$default"; else grub-editenv - unset saved_entry; fi
grub-editenv - unset next_entry
update-grub > "$work/grub" 2>&1 || { tail -n 15 "$work/grub" >&2; exit 1; }
rm -f /boot/overcommit-*.gz /boot/overcommit-*.options

if command -v xl > /dev/null && xl list > /dev/null 2>&1; then
    xl list | awk 'NR > 1 && $1 != "Domain-0" { print $2 }' | while read -r id; do xl destroy "$id"; done
fi
systemctl stop overcommit-bridge.service overcommit-consoles.timer 2> /dev/null || true
put_back /etc/modules-load.d/overcommit.conf /etc/ssh/sshd_config.d/00-overcommit.conf /etc/sysctl.d/90-overcommit.conf \
    /etc/systemd/system/overcommit-bridge.service /etc/systemd/system/overcommit-return.service \
    /etc/systemd/system/overcommit-return.timer /etc/systemd/system/multi-user.target.wants/overcommit-bridge.service \
    /etc/systemd/system/timers.target.wants/overcommit-return.timer /etc/xen/scripts/block-overcommit \
    /etc/xen/scripts/vif-overcommit /etc/systemd/system/overcommit-consoles.service \
    /etc/systemd/system/overcommit-consoles.timer /etc/systemd/system/timers.target.wants/overcommit-consoles.timer
rm -f /usr/local/sbin/tmemctl /usr/local/sbin/overcommit-return /usr/local/sbin/overcommit-kernels \
    /usr/local/sbin/overcommit-consoles
systemctl daemon-reload || true

# Files that were made for guests, and their folder when nothing else is in it.
unit=/etc/systemd/system/overcommit-disks.service
if [ -e "$unit" ]; then
    folder=$(sed -n 's/^ExecStart=.* attach //p' "$unit")
    systemctl stop overcommit-disks.service 2> /dev/null || true
    rm -f "$folder"/overcommit_guest*_root "$folder"/overcommit_guest*_swap
    rmdir "$folder" 2> /dev/null || true
    put_back "$unit" /etc/systemd/system/multi-user.target.wants/overcommit-disks.service
    rm -f /usr/local/sbin/overcommit-disks
fi

# Volumes that were made for guests, and a group that was.
remove_volumes() { lvs --noheadings -o lv_path -S lv_tags=overcommit 2> /dev/null | xargs -r lvremove -q -y > /dev/null; }
if command -v lvs > /dev/null; then
    remove_volumes 2> /dev/null || {
        # A guest that was ended lets go of its disks in a moment.
        sleep "${LET_GO_SECONDS:-10}"
        remove_volumes
    }
    for group in $(vgs --noheadings -o vg_name -S vg_tags=overcommit 2> /dev/null | sort -u); do
        if [ -n "$(lvs --noheadings "$group")" ]; then
            echo "left: the volume group $group has volumes of others"
            continue
        fi
        devices=$(vgs --noheadings -o pv_name "$group" | tr '\n' ' ')
        vgremove -q -y "$group" > /dev/null
        # shellcheck disable=SC2086 # several devices
        pvremove -q -y $devices > /dev/null
        # What LVM noted about it.
        rm -f /etc/lvm/backup/"$group" /etc/lvm/archive/"$group"_*.vg
    done
    for folder in /etc/lvm/backup /etc/lvm/archive; do
        was "$folder/" || rmdir "$folder" 2> /dev/null || true
    done
fi

# What provisioning installed, and is still there: not what others installed since.
dpkg --configure -a > /dev/null 2>&1 || true
installed > "$work/packages"
{
    cat "$before/added" 2> /dev/null || true
    # Of a run that did not come to its end.
    [ ! -e "$before/began" ] || comm -13 "$before/began" "$work/packages"
} | sort -u > "$work/added"
purged=$(comm -12 "$work/added" "$work/packages" | tr '\n' ' ')
# dom0's kernel runs still. Where provisioning brought it, its removal asks whether it is to be
# given up, and by default is.
asked=linux-base/removing-running-kernel
! command -v debconf-set-selections > /dev/null || echo "linux-base $asked boolean false" | debconf-set-selections || true
# shellcheck disable=SC2086 # several packages
[ -z "$purged" ] || apt-get -q -y -o DPkg::Lock::Timeout=300 purge $purged > "$work/apt" 2>&1 || {
    tail -n 15 "$work/apt" >&2
    exit 1
}
# From now on it asks again; a linux-base that is gone has no such question.
! command -v debconf-communicate > /dev/null || echo "RESET $asked" | debconf-communicate linux-base > /dev/null 2>&1 || true
apt-mark showmanual | sort | comm -13 "$before/manual" - | comm -12 - "$before/packages" | xargs -r apt-mark auto > /dev/null
# Files of a toolstack that was there before.
put_back /etc/xen/xl.conf /etc/default/xen /etc/systemd/system/multi-user.target.wants/xendomains.service
was /etc/xen/ || rm -rf /etc/xen /var/log/xen
rm -f /var/log/xen/console/guest-guest[0-9]*.log /var/log/xen/console/guest-overcommit-check.log

keys=/root/.ssh/authorized_keys
if [ -e "$keys" ] && ! grep -qxF "$1" "$before/authorized_keys" 2> /dev/null; then
    grep -vxF "$1" "$keys" > "$work/keys" || true
    cat "$work/keys" > "$keys"
    [ -s "$keys" ] || [ -e "$before/authorized_keys" ] || rm "$keys"
fi

installed > "$work/packages"
comm -23 "$before/packages" "$work/packages" | sed 's/.*/left: the package & was there, and is gone/'
comm -13 "$before/packages" "$work/packages" | sed 's/.*/left: the package & is there, and was not/'
mkdir "$work/etc"
tar -C "$work" -xpf "$before/etc.tar"
diff -rq --no-dereference "$work/etc" /etc | sed -e "s|^Only in $work\(.*\): \(.*\)|left: \1/\2 was there, and is gone|; t" \
    -e 's|^Only in \(/.*\): \(.*\)|left: \1/\2 is there, and was not|; t' \
    -e "s|^.* $work\(.*\) and .* differ\$|left: \1 is not as it was|; t" -e 's|^|left: |'
rm -rf /var/lib/overcommit
sync
