# Read by hooks inside the target: what a build does otherwise than a running
# system, in one place.

package_installed() { # NAME
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

# refresh_package_lists asks the network again if the sources changed since the
# lists were fetched, or nothing was fetched yet.
refresh_package_lists() {
    local stamp=/var/lib/apt/lists/lithify-sources now
    now=$(find /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/trusted.gpg.d /etc/apt/keyrings \
        -type f -exec sha256sum {} + 2> /dev/null | sort | sha256sum) || true
    if [ "$(cat "$stamp" 2> /dev/null)" = "$now" ]; then
        return
    fi
    apt-get --assume-yes --error-on=any update
    echo "$now" > "$stamp"
}

# An initramfs takes longer to make than everything else together, and packages
# ask for one many times. So update-initramfs is diverted during the build: a
# stand-in writes the requests down, and they are served once, at the end of the
# phase.
held_requests=/var/lib/lithify/update-initramfs
real_update_initramfs=/usr/sbin/update-initramfs.lithify

# kernels_to_serve prints the kernel versions asked for. A request without -k,
# or for all, means every kernel there is.
kernels_to_serve() {
    local words word version before image
    while read -r -a words; do
        version=all
        before=
        for word in "${words[@]}"; do
            case "$before $word" in
                "-k "*) version=$word ;;
                *" -k"?*) version=${word#-k} ;;
            esac
            before=$word
        done
        if [ "$version" != all ]; then
            echo "$version"
            continue
        fi
        for image in /boot/vmlinu?-*; do
            if [ -e "$image" ]; then
                echo "${image#/boot/vmlinu?-}"
            fi
        done
    done < "$held_requests" | sort -u
}

serve_initramfs_requests() {
    if [ ! -s "$held_requests" ] || [ ! -x "$real_update_initramfs" ]; then
        return
    fi
    local version action
    for version in $(kernels_to_serve); do
        if [ ! -d "/lib/modules/$version" ]; then
            continue
        fi
        action=-c
        if [ -e "/boot/initrd.img-$version" ]; then
            action=-u
        fi
        # The kernel's own date makes the archive the same in every build.
        SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "/lib/modules/$version/kernel")} \
            "$real_update_initramfs" "$action" -k "$version"
    done
    rm "$held_requests"
}
