#!/bin/sh
# What lab/hosts/server_boot.py does on a server to boot it into a new hypervisor and lose it never.
#
#     server-boot.sh state | once ENTRY | forget | check ENTRY | keep ENTRY | leave
#
# ENTRY: NAME+KERNEL, of the hypervisor /boot/NAME.gz and of dom0's kernel. state: tells, as lines
# `KEY: VALUE`; newest: of the kernels that can be dom0's. once: restarts in a moment, into ENTRY this
# one time. forget: nothing is booted one time. check: tmem answers, and a guest starts and ends.
# keep: ENTRY is booted from now on, and other entries of the testbed go. leave: restarts in a moment,
# into what is booted by default.
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
confirmed=/var/lib/overcommit/confirmed

restart() {
    # After the answer has gone its way.
    systemd-run --quiet --on-active=3 --timer-property=AccuracySec=100ms systemctl reboot
}

state() {
    echo "boot: $(cat /proc/sys/kernel/random/boot_id)"
    echo "entry: $(sed -n 's/.*overcommit\.entry=\([^ ]*\).*/\1/p' /proc/cmdline)"
    echo "kernel: $(uname -r)"
    [ ! -x /usr/local/sbin/overcommit-kernels ] || echo "newest: $(/usr/local/sbin/overcommit-kernels | head -n 1)"
    # Several names are those of a change from one entry to another that did not come to its end.
    echo "confirmed: $(paste -sd ' ' "$confirmed" 2> /dev/null || true)"
    grub-editenv list | sed -n 's/^saved_entry=/default: /p; s/^next_entry=/next: /p'
    if command -v xl > /dev/null && xl info > /dev/null 2>&1; then
        echo "xen: $(xl info xen_version)"
        xl info | sed -n 's/^xen_commandline *: /options: /p'
        echo "dom0_mib: $(xl list Domain-0 | awk 'NR == 2 { print $3 }')"
    fi
}

once() {
    # A run that was interrupted may have left the menu as it was.
    grep -qF -- "--id $1 " /boot/grub/grub.cfg || update-grub 2> /dev/null
    grep -qF -- "--id $1 " /boot/grub/grub.cfg || {
        echo "the boot menu has no entry $1: update-grub did not make one" >&2
        exit 1
    }
    grub-reboot "$1"
    # What GRUB will read, whatever grub-reboot believes.
    grub-editenv list | grep -qxF "next_entry=$1"
    sync
    restart
}

forget() {
    grub-editenv - unset next_entry
}

check() {
    tmemctl list > /dev/null
    name=overcommit-check
    # One that a lost connection left.
    xl destroy "$name" 2> /dev/null || true
    log=/var/log/xen/console/guest-$name.log
    rm -f "$log"
    cat > "/run/$name.cfg" << END
name = "$name"
type = "pv"
kernel = "/var/lib/overcommit/vmlinuz"
extra = "console=hvc0 panic=-1"
memory = 96
vcpus = 1
on_poweroff = "destroy"
on_reboot = "destroy"
on_crash = "destroy"
END
    trap 'xl destroy "$name" 2> /dev/null || true; rm -f "/run/$name.cfg"' EXIT
    xl create -q "/run/$name.cfg"
    # It has no disk: its kernel comes up, finds no root, and restarts, which ends it.
    for _ in $(seq 120); do
        xl domid "$name" > /dev/null 2>&1 || break
        sleep 1
    done
    if xl domid "$name" > /dev/null 2>&1; then
        echo "a guest that was started did not end within two minutes" >&2
        exit 1
    fi
    grep -q 'Linux version' "$log" || {
        echo "a guest was started, and its kernel said nothing in $log" >&2
        exit 1
    }
}

# The names on the standard input are those of the confirmed entries, whole or not at all.
confirm() {
    cat > "$confirmed.new"
    sync
    mv "$confirmed.new" "$confirmed"
    sync
}

keep() {
    # Another file of the administrator's may say what is booted, and update-grub takes the last.
    # shellcheck disable=SC2016 # GRUB's own variable
    grep -qF 'set default="${saved_entry}"' /boot/grub/grub.cfg || {
        echo "the boot menu does not ask for what grub-set-default says: another file in /etc/default/grub.d sets GRUB_DEFAULT" >&2
        exit 1
    }
    # In this order: a server whose default was not confirmed would restart every quarter of an
    # hour. Until the default is another, the former one stays confirmed beside it.
    {
        echo "$1"
        cat "$confirmed" 2> /dev/null || true
    } | confirm
    grub-set-default "$1"
    for file in /boot/overcommit-*.gz /boot/overcommit-*.options; do
        case "$file" in
            "/boot/${1%%+*}".*) ;;
            *) rm -f "$file" ;;
        esac
    done
    update-grub 2> /dev/null
    # Last: who was interrupted before this is not done, and does it again.
    echo "$1" | confirm
}

leave() {
    restart
}

"$@"
