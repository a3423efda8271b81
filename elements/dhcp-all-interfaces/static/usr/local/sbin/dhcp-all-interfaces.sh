#!/bin/bash
# dhcp-all-interfaces.sh INTERFACE: addresses by DHCP for one interface that
# nobody has configured yet, in the words of whatever runs the network here.
# Interfaces without a MAC address of their own (bridges, bonds, tunnels), and
# those without a cable, are left alone.
set -eu
set -o pipefail

readonly interface=$1
readonly class=/sys/class/net/$interface

say() { echo "dhcp-all-interfaces: $interface: $*"; }

# value prints a number the kernel has of the interface, or nothing: some cannot
# be read while it is down.
value() { cat "$class/$1" 2> /dev/null || true; }

# real: a MAC address that came with the hardware, of Ethernet or InfiniBand.
is_real() {
    [ "$(value addr_assign_type)" = 0 ] && [ ! -e "$class/bridge" ] && [ ! -e "$class/bonding" ] &&
        { [ "$(value type)" = 1 ] || [ "$(value type)" = 32 ]; }
}

# A switch takes seconds to see a cable; half of the whole time is for that.
has_link() {
    ip link set dev "$interface" up || return 1
    local tries=$((${DHCP_TIMEOUT:-30} / 2 + 1))
    while [ "$tries" -gt 0 ]; do
        if [ "$(value carrier)" = 1 ]; then
            return 0
        fi
        sleep 1
        tries=$((tries - 1))
    done
    return 1
}

# ipv6 says how the router wants addresses made: dhcp, auto, or nothing where
# there is no router (or nobody to ask it).
ipv6() {
    if ! command -v rdisc6 > /dev/null; then
        return 0
    fi
    local answer
    answer=$(rdisc6 -1 -q -r 2 -w 2000 "$interface" > /dev/null 2>&1 && rdisc6 -1 -r 1 -w 2000 "$interface" 2> /dev/null) || return 0
    if grep -Eqi '^ *stateful address conf.*: *yes' <<< "$answer"; then
        echo dhcp
    elif grep -Eqi '^ *autonomous address conf.*: *yes' <<< "$answer"; then
        echo auto
    fi
}

by_ifupdown() {
    # Names are listed once, by this script or by somebody else.
    if ! ifquery --list --all --allow hotplug 2> /dev/null | grep -qxF "$interface" &&
        ! ifquery --list --all 2> /dev/null | grep -qxF "$interface"; then
        local file=/etc/network/interfaces.d/$interface six
        six=$(ipv6)
        printf 'allow-hotplug %s\niface %s inet dhcp\n' "$interface" "$interface" > "$file.new"
        if [ -n "$six" ]; then
            printf 'iface %s inet6 %s\n' "$interface" "$six" >> "$file.new"
        fi
        mv "$file.new" "$file"
    fi
    # Whoever is first brings it up; ifupdown keeps count, and order.
    ifup "$interface"
}

by_network_manager() {
    local file=/etc/NetworkManager/system-connections/$interface.nmconnection
    if grep -qsxF "interface-name=$interface" /etc/NetworkManager/system-connections/*; then
        return 0
    fi
    (umask 077 && printf '[connection]\nid=%s\ntype=ethernet\ninterface-name=%s\n\n[ipv4]\nmethod=auto\ndhcp-timeout=%s\n\n[ipv6]\nmethod=auto\n' \
        "$interface" "$interface" "${DHCP_TIMEOUT:-30}" > "$file")
    nmcli connection load "$file"
    nmcli connection up "$interface"
}

by_wicked() {
    local file=/etc/sysconfig/network/ifcfg-$interface
    if [ ! -e "$file" ]; then
        printf "BOOTPROTO='dhcp'\nSTARTMODE='hotplug'\n" > "$file"
    fi
    wicked ifup --timeout "${DHCP_TIMEOUT:-30}" "$interface"
}

# systemd-networkd has a file of its own for the wired names where the image is
# made without ifupdown; this one yields to any that sorts before it.
by_networkd() {
    mkdir -p /etc/systemd/network
    printf '[Match]\nName=%s\n\n[Network]\nDHCP=yes\n' "$interface" > "/etc/systemd/network/90-$interface.network"
    networkctl reload
}

if ! is_real; then
    say "no MAC address of its own: left alone"
    exit 0
fi
if ! has_link; then
    say "no link: left alone"
    exit 0
fi
if command -v ifup > /dev/null && [ -d /etc/network ]; then
    by_ifupdown
elif command -v nmcli > /dev/null; then
    by_network_manager
elif command -v wicked > /dev/null; then
    by_wicked
elif command -v networkctl > /dev/null; then
    by_networkd
else
    say "no program to configure it: ifupdown, NetworkManager, wicked or systemd-networkd is wanted" >&2
    exit 1
fi
