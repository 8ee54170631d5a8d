#!/bin/sh
# Takes the testbed off a server: what record-before.sh recorded is so again, but for what it names
# as lines `left: …`, which others may have changed since. The server then has to restart.
#
#     restore-before.sh KEY
#
# KEY: the lab's public key, as it stands in authorized_keys.
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
before=/var/lib/overcommit/before
if [ ! -e "$before/etc.tar" ]; then
    echo "there is no record of what was before, in $before: this server was not provisioned, or it was taken off already" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
installed() {
    # shellcheck disable=SC2016 # dpkg-query's own variables
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort
}

# What is booted, first: should the power fail from here on, the old system starts.
rm -f /etc/grub.d/42_overcommit /etc/default/grub.d/overcommit.cfg
tar -tf "$before/etc.tar" etc/default/grub.d/ > /dev/null 2>&1 || rmdir /etc/default/grub.d 2> /dev/null || true
default=$(sed -n 's/^saved_entry=//p' "$before/grub")
if [ -n "$default" ]; then grub-set-default "$default"; else grub-editenv - unset saved_entry; fi
grub-editenv - unset next_entry
update-grub 2> /dev/null
rm -f /boot/overcommit-*.gz /boot/overcommit-*.options

if command -v xl > /dev/null && xl list > /dev/null 2>&1; then
    xl list | awk 'NR > 1 && $1 != "Domain-0" { print $2 }' | while read -r id; do xl destroy "$id"; done
fi
systemctl stop overcommit-bridge.service 2> /dev/null || true
rm -f /etc/modules-load.d/overcommit.conf /etc/ssh/sshd_config.d/overcommit.conf /etc/sysctl.d/90-overcommit.conf \
    /etc/systemd/system/overcommit-bridge.service /etc/systemd/system/overcommit-return.service \
    /etc/systemd/system/overcommit-return.timer /etc/systemd/system/multi-user.target.wants/overcommit-bridge.service \
    /etc/systemd/system/timers.target.wants/overcommit-return.timer /usr/local/sbin/tmemctl \
    /usr/local/sbin/overcommit-return /etc/xen/scripts/block-overcommit /etc/xen/scripts/vif-overcommit
systemctl daemon-reload || true

# Volumes that were made for guests, and a group that was.
if command -v lvs > /dev/null; then
    lvs --noheadings -o lv_path -S lv_tags=overcommit 2> /dev/null | xargs -r lvremove -q -y > /dev/null
    devices=$(vgs --noheadings -o pv_name -S vg_tags=overcommit 2> /dev/null | tr '\n' ' ')
    vgs --noheadings -o vg_name -S vg_tags=overcommit 2> /dev/null | sort -u | xargs -r vgremove -q -y > /dev/null
    # shellcheck disable=SC2086 # several devices
    [ -z "${devices% }" ] || pvremove -q -y $devices > /dev/null
fi

# What provisioning installed, and is still there: not what others installed since.
installed > "$work/packages"
[ -e "$before/added" ] || comm -13 "$before/packages" "$work/packages" > "$before/added"
added=$(comm -12 "$before/added" "$work/packages" | tr '\n' ' ')
# shellcheck disable=SC2086 # several packages
[ -z "$added" ] || apt-get -q -y purge $added > "$work/apt" 2>&1 || { tail -n 15 "$work/apt" >&2; exit 1; }
apt-mark showmanual | sort | comm -13 "$before/manual" - | xargs -r apt-mark auto > /dev/null
rm -rf /etc/xen /var/log/xen

keys=/root/.ssh/authorized_keys
if [ -e "$keys" ] && ! grep -qxF "$1" "$before/authorized_keys" 2> /dev/null; then
    grep -vxF "$1" "$keys" > "$work/keys" || true
    cat "$work/keys" > "$keys"
fi

installed | comm -3 "$before/packages" - | sed 's/^\t*/left: package /'
mkdir "$work/etc"
tar -C "$work" -xpf "$before/etc.tar"
diff -rq --no-dereference "$work/etc" /etc | sed "s|$work||g; s/^/left: /" || true
rm -rf /var/lib/overcommit
sync
