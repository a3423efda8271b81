#!/bin/sh
# Writes the name servers that systemd-networkd learned into /etc/resolv.conf,
# unless the file is a link or somebody else's.
set -eu
state=/run/systemd/netif/state
file=/etc/resolv.conf
mark='# by dhcp-resolv-conf, from systemd-networkd'

if [ ! -e "$state" ]; then
    exit 0
fi
if [ -L "$file" ] || { [ -s "$file" ] && ! grep -qxF "$mark" "$file"; }; then
    exit 0
fi
servers=$(sed -n 's/^DNS=//p' "$state")
domains=$(sed -n 's/^DOMAINS=//p' "$state")
if [ -z "$servers" ]; then
    exit 0
fi

{
    echo "$mark"
    if [ -n "$domains" ]; then
        echo "search $domains"
    fi
    for server in $servers; do
        echo "nameserver $server"
    done
} > "$file.new"
mv "$file.new" "$file"
