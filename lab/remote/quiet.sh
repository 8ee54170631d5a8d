#!/bin/sh
# Quiets a server for measurements, until it restarts, and tells what it found and made of that, as
# lines `KEY: VALUE`. Runs in dom0. Nothing is written that lasts.
#
#     quiet.sh SYS STOPPED
#
# SYS: where sysfs is, /sys. STOPPED: a file that is gone with the next restart; it remembers what
# was stopped since the last.
export LC_ALL=C
sys=$1 stopped=$2
have() { command -v "$1" > /dev/null; }

# The processors' clocks are Xen's, not dom0's.
if have xenpm; then
    xenpm set-scaling-governor performance > /dev/null 2>&1
    xenpm disable-turbo-mode > /dev/null 2>&1
    xenpm get-cpufreq-para 0 2> /dev/null |
        sed -n 's/^current_governor *: */governor: /p; s/^turbo mode *: */turbo: /p'
fi
xl info 2> /dev/null | sed -n 's/^threads_per_core *: /threads_per_core: /p'
# By which a virtual machine is told: Xen shows its dom0 no other sign.
for key in vendor:sys_vendor product:product_name; do
    file=$sys/class/dmi/id/${key#*:}
    [ -r "$file" ] && echo "${key%%:*}: $(cat "$file")"
done

huge=$sys/kernel/mm/transparent_hugepage/enabled
if [ -d "$sys/kernel/mm" ] && [ ! -e "${huge%/*}" ]; then
    # Xen shows a paravirtual dom0 no large pages, and its kernel then has none.
    echo "dom0_thp: never"
elif [ -w "$huge" ]; then
    echo never > "$huge"
    echo "dom0_thp: $(sed 's/.*\[\(.*\)\].*/\1/' "$huge")"
fi

# Whatever comes by the clock, or by itself, in the middle of a cell.
for unit in apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service dpkg-db-backup.timer \
    e2scrub_all.timer fstrim.timer logrotate.timer man-db.timer sysstat-collect.timer sysstat-summary.timer cron.service; do
    if systemctl --quiet is-active "$unit" 2> /dev/null && systemctl stop "$unit" 2> /dev/null; then
        echo "$unit" >> "$stopped"
    fi
done
# What an earlier cell stopped is stopped for this one, too.
[ ! -s "$stopped" ] || sort -u "$stopped" | sed 's/^/stopped: /'
# What a timer has begun already is not stopped in the middle of a package.
for unit in apt-daily.service apt-daily-upgrade.service; do
    case $(systemctl is-active "$unit" 2> /dev/null) in
        active | activating) echo "busy: $unit, the server's own upgrades" ;;
    esac
done

# What is left, and is nobody's of the testbed.
echo "load: $(cut -d ' ' -f 1-3 /proc/loadavg)"
# Of the last second: ps would tell of a program's whole life.
HOME=/nonexistent top -b -n 2 -d 1 | awk '
    $1 == "PID" { screen++; next }
    screen == 2 && $9 >= 5 && $12 !~ /^(top|awk|sh|sshd.*|xl)$/ { print "busy: " $12, $9 " %" }' | head -n 5
# What a server lacks is no failure.
true
