# Read by hooks: what a build does otherwise than a running system.

# The lists fetched are those of these sources, by the sources' checksum.
sources_sum() { # ROOT
    (cd "$1/etc/apt" && find sources.list sources.list.d trusted.gpg.d keyrings -type f -exec sha256sum {} + 2> /dev/null || true) \
        | sort | sha256sum
}

package_lists_current() {
    [ "$(cat /var/lib/apt/lists/lithify-sources 2> /dev/null)" = "$(sources_sum /)" ]
}

note_package_lists() { # ROOT
    sources_sum "$1" > "$1/var/lib/apt/lists/lithify-sources"
}

# refresh_package_lists asks the network unless the lists fetched are those of
# the sources there are now.
refresh_package_lists() {
    if ! package_lists_current; then
        apt-get --assume-yes --error-on=any update
        note_package_lists /
    fi
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
