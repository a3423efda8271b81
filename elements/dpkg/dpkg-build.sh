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

# mkinitramfs has a shell function that copies one file and starts six programs
# for it; it is called five times for each kernel module, since every module
# names those it depends on. Nearly all of its time goes there. While it runs,
# the function has a short cut for plain modules. The archive is the same to the
# byte, as far as the function is one that this was tried with: any other is
# left alone.
hook_functions=/usr/share/initramfs-tools/hook-functions
known_copy_file='
51544bd45a9588e55bc4e0360c984bffb32384200502abecb9dfd99d068d0aa1 Debian 12, initramfs-tools 0.142
'

short_cut_mkinitramfs() {
    local body sum
    body=$(sed -n '/^copy_file()/,/^}/p' "$hook_functions" 2> /dev/null) || return 0
    sum=$(echo "$body" | sha256sum)
    if [[ "$known_copy_file" != *"${sum%% *}"* ]] || [ "$(readlink /lib)" != usr/lib ]; then
        return 0
    fi
    mkdir -p /var/lib/lithify
    cp --preserve=all "$hook_functions" /var/lib/lithify/hook-functions
    {
        cat "$hook_functions"
        echo "${body/#copy_file/lithify_copy_file}"
        cat <<'END'
lithify_folders=
copy_file() {
	case "$# $1 $2" in
		"2 module /lib/modules/"*) ;;
		*) lithify_copy_file "$@"; return ;;
	esac
	[ -f "$2" ] || return 2
	[ -e "${DESTDIR}/usr$2" ] && return 1
	[ -L "$2" ] && { lithify_copy_file "$@"; return; }
	case "${lithify_folders}" in
		*" /usr${2%/*} "*) ;;
		*)
			# a folder that is a link, or below one
			[ "$(readlink -f "${2%/*}")" = "/usr${2%/*}" ] || { lithify_copy_file "$@"; return; }
			mkdir -p "${DESTDIR}/usr${2%/*}"
			lithify_folders="${lithify_folders} /usr${2%/*} "
			;;
	esac
	[ "${verbose}" = "y" ] && echo "Adding module /usr$2"
	cp -pP "/usr$2" "${DESTDIR}/usr$2" || return $(($? + 1))
}
END
    } > /var/lib/lithify/hook-functions.short
    mv /var/lib/lithify/hook-functions.short "$hook_functions"
}

restore_mkinitramfs() {
    if [ -e /var/lib/lithify/hook-functions ]; then
        mv /var/lib/lithify/hook-functions "$hook_functions"
    fi
}

serve_initramfs_requests() {
    if [ ! -s "$held_requests" ] || [ ! -x "$real_update_initramfs" ]; then
        return
    fi
    local version action
    short_cut_mkinitramfs
    trap restore_mkinitramfs EXIT
    for version in $(kernels_to_serve); do
        if [ ! -d "/lib/modules/$version" ]; then
            continue
        fi
        action=-c
        if [ -e "/boot/initrd.img-$version" ]; then
            action=-u
        fi
        # The date of the kernel's package makes the archive the same in every build.
        SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "/lib/modules/$version/modules.builtin")} \
            "$real_update_initramfs" "$action" -k "$version"
    done
    trap - EXIT
    restore_mkinitramfs
    rm "$held_requests"
}
