#!/bin/sh
# Records what a server was before it was provisioned, and which packages that installed, once, for
# the way back.
#
#     record-before.sh before|added
set -eu
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
before=/var/lib/overcommit/before
umask 077 # /etc has secrets
installed() {
    # shellcheck disable=SC2016 # dpkg-query's own variables
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort
}

# What provisioning adds is what is there when it ends and was not when it began: of a run that was
# interrupted, the next one's end counts.
before() {
    if [ ! -e "$before" ]; then
        mkdir -p "${before%/*}"
        chmod 755 "${before%/*}"
        rm -rf "$before.new"
        mkdir -p "$before.new"
        cd "$before.new"
        installed > packages
        apt-mark showmanual | sort > manual
        grub-editenv list > grub
        tar -C / -cpf etc.tar etc
        cp -p /root/.ssh/authorized_keys . 2> /dev/null || true
        chmod -R go= .
        sync
        mv "$before.new" "$before"
    fi
    [ -e "$before/began" ] || {
        installed > "$before/began.new"
        mv "$before/began.new" "$before/began"
    }
}

added() {
    [ -e "$before/began" ] || return 0
    {
        cat "$before/added" 2> /dev/null || true
        installed | comm -13 "$before/began" -
    } | sort -u > "$before/added.new"
    mv "$before/added.new" "$before/added"
    rm "$before/began"
}

"$1"
