# Sourced by contrib/bench: runs diskimage-builder, the peer, where no
# device-mapper is, and removes what it leaves behind.

dib_lib=/usr/lib/python3/dist-packages/diskimage_builder

# Both get the same packages from the same archive. diskimage-builder 3.13 writes
# a security line of bookworm that does not exist, so it gets the sources whole.
dib_mirror=${DIB_DISTRIBUTION_MIRROR:-http://deb.debian.org/debian}
dib_sources="default:deb $dib_mirror bookworm main
updates:deb $dib_mirror bookworm-updates main
security:deb ${DIB_DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security} bookworm-security main"

# peer NAME OPTION...: one timed build by diskimage-builder, in mount, PID and UTS
# namespaces of its own: whatever it mounts or starts ends with it.
peer() {
    local name=$1
    shift
    mkdir -p "$work/cache/dib/debootstrap" "$work/cache/dib/apt/debian"
    # One of its root hooks runs "apt-get clean" on the cache that an earlier one has
    # bound there. Without that line its downloads are cached, as ours are.
    sed '/^\$apt_get clean$/d' "$dib_lib/elements/debian-minimal/root.d/75-debian-minimal-baseinstall" > "$work/tmp/baseinstall"
    chmod 755 "$work/tmp/baseinstall"
    become unshare --mount --pid --uts --fork --kill-child --mount-proc --propagation private \
        bash "$parts_dir/in-namespace" "$dib_lib" "$work" "$parts_dir/kpartx" \
        env DIB_RELEASE=bookworm DIB_APT_SOURCES_CONF="$dib_sources" DIB_IMAGE_CACHE="$work/cache/dib" \
        DIB_DISTRIBUTION_MIRROR="$dib_mirror" TMP_DIR="$work/tmp" OVERWRITE_OLD_IMAGE=1 \
        DIB_DEBOOTSTRAP_EXTRA_ARGS="--cache-dir=$work/cache/dib/debootstrap" \
        /usr/bin/time -q -f '%e %U %S %M' -o "$work/logs/$name.time" \
        /usr/bin/disk-image-create "$@" > "$work/logs/$name" 2>&1 < /dev/null &
    builds+=("$!")
    if ! wait "${builds[-1]}"; then
        echo "bench: $name: diskimage-builder ended with an error; its last lines:" >&2
        tail -n 30 "$work/logs/$name" >&2
        exit 1
    fi
    builds=()
}

# release_loops takes away the loop devices on files of this run, and partitions
# that the stand-in for kpartx left behind, on detached devices too: they are all
# that a killed diskimage-builder leaves. The stand-in's links point to a
# partition; those of a real kpartx point to device-mapper's devices.
release_loops() {
    local loop file part ours
    for loop in /sys/block/loop*; do
        file=$(cat "$loop/loop/backing_file" 2> /dev/null || true)
        loop=${loop##*/}
        ours=
        if [ -n "$file" ]; then
            [[ $file == "$work"/* ]] || continue
            ours=1
        fi
        for part in /sys/block/"$loop"/"$loop"p*; do
            part=${part##*/}
            if [ "$(readlink "/dev/mapper/$part")" = "../$part" ]; then
                rm -f "/dev/mapper/$part"
                delpart "/dev/$loop" "${part##*p}" || true
            fi
        done
        [ -z "$ours" ] || losetup --detach "/dev/$loop" || true
    done
}
