# Sourced by contrib/bench: one function per part.

times() { seq "${repetitions:-$1}"; }

# prepare builds the image once with kept steps, not counted: it fills lithify's
# downloads and gives the other parts a tree to begin with and a raw disk.
prepared=
prepare() {
    [ -z "$prepared" ] || return 0
    prepared=1
    if wants memory; then # all steps are to be run for it
        rm -rf "$work/store" "$work"/out/debian*
    fi
    say "building debian-minimal once"
    watched prepare "$work/store" -t raw,qcow2 -o "$work/out/debian" debian-minimal vm
}

# compare FIGURE TARGET OURS... -- PEER...: a row of the medians of two lists of seconds.
compare() {
    local figure=$1 target=$2 ours=() peers=()
    shift 2
    while [ "$1" != -- ]; do
        ours+=("$1")
        shift
    done
    shift
    peers=("$@")
    ours=$(printf '%s\n' "${ours[@]}" | median) peers=$(printf '%s\n' "${peers[@]}" | median)
    row "$figure" "$ours s" "$peers s" "$(calc "$ours / $peers")" "$target"
}

part_cold() {
    local i ours=() peers=() cpu=() peers_cpu=()
    prepare
    if [ ! -e "$work/cache/dib/warm" ] || [ -n "$(find "$work/cache/dib/warm" -mmin +720)" ]; then
        say "filling diskimage-builder's cache"
        peer warm-dib -t qcow2 -o "$work/out/dib" debian-minimal vm
        touch "$work/cache/dib/warm"
    fi
    for i in $(times 1); do
        rm -rf "$work/store-cold" "$work"/out/cold*
        sync
        say "cold build $i by lithify, at load $(load)"
        ours "cold-$i" "$work/store-cold" -o "$work/out/cold" debian-minimal vm
        rm -rf "$work/store-cold" "$work"/out/dib*
        sync
        say "cold build $i by diskimage-builder, at load $(load)"
        peer "dib-$i" -o "$work/out/dib" debian-minimal vm
        ours+=("$(wall "cold-$i")") peers+=("$(wall "dib-$i")")
        cpu+=("$(processor "cold-$i")") peers_cpu+=("$(processor "dib-$i")")
        note "- cold $i: lithify $(wall "cold-$i") s ($(processor "cold-$i") of processor), diskimage-builder $(wall "dib-$i") s ($(processor "dib-$i"))"
    done
    compare "cold \`debian-minimal vm\` to qcow2; peer diskimage-builder $(dpkg-query -W -f '${Version}' python3-diskimage-builder)" 0.65 "${ours[@]}" -- "${peers[@]}"
    compare "… processor seconds, which tell more on a busy machine" - "${cpu[@]}" -- "${peers_cpu[@]}"
    cold_notes "$i"
}

# cold_notes says whether both did the same work, and where our time went.
cold_notes() {
    local name=cold-$1 a=$work/logs/packages-ours b=$work/logs/packages-dib
    qemu-img check -q "$work/out/cold.qcow2"
    qemu-img check -q "$work/out/dib.qcow2"
    manifest cold > "$a"
    manifest dib > "$b"
    note "- packages in the image: $(wc -l < "$a"), diskimage-builder's $(wc -l < "$b"), in both with the same version $(comm -12 "$a" "$b" | wc -l); image $(megabytes "$work/out/cold.qcow2") MB against $(megabytes "$work/out/dib.qcow2") MB"
    note "- runs of mkinitramfs: $(grep -c 'update-initramfs: Generating' "$work/logs/$name.log") against $(grep -c 'update-initramfs: Generating' "$work/logs/dib-$1")"
    note "- lithify's time, hooks over one second: $(awk -F' \\| ' '/\| (--|==) .*: / { print $2 }' "$work/logs/$name.log" | sed -nE 's/^(--|==) (.*): (in )?([0-9ms.]+)$/\4 \2/p' | grep -E '^([0-9]+m|[1-9][0-9]*\.)' | awk '{ t = $1; $1 = ""; sub(/^ /, ""); printf "%s%s %s", n++ ? ", " : "", $0, t }')"
}

# manifest NAME: package and version of all that is installed, from NAME's manifest.
manifest() {
    sed -nE 's/.*"package": *"([^"]+)".*"version": *"([^"]+)".*/\1 \2/p' \
        "$work/out/$1.d/dib-manifests/dib-manifest-dpkg-$1" | sort -u
}

megabytes() { stat -c %s "$1" | awk '{ printf "%.0f", $1 / 1e6 }'; }

part_repeat() {
    local i times=()
    prepare
    for i in $(times 3); do
        ours "again-$i" "$work/store" -t raw,qcow2 -o "$work/out/debian" debian-minimal vm
        times+=("$(wall "again-$i")")
    done
    row "the same command again (debian-minimal vm)" "$(printf '%s\n' "${times[@]}" | median) s" "-" "-" "1 s"
    times=()
    for i in $(times 3); do
        rm -rf "$work"/out/other*
        ours "other-$i" "$work/store" -o "$work/out/other" debian-minimal vm
        times+=("$(wall "other-$i")")
    done
    row "the same image under another name" "$(printf '%s\n' "${times[@]}" | median) s" "-" "-" "-"
    rm -rf "$work"/out/other*
    last_hook
}

# last_hook edits one byte of an element's last finalise hook, and counts what
# is neither that hook nor the conversion.
last_hook() {
    local i hook=$work/elements/bench-last/finalise.d/99-zzzz-bench all=() rest=()
    local elements_path=$work/elements
    mkdir -p "${hook%/*}"
    for i in $(times 3) last; do
        printf '#!/bin/sh\nset -eu\necho %s > /etc/bench\n' "$i" > "$hook"
        chmod 755 "$hook"
        ours "edit-$i" "$work/store" -o "$work/out/edit" debian-minimal vm bench-last
        [ "$i" != 1 ] || continue # the first has the element's other steps to make
        all+=("$(wall "edit-$i")")
        rest+=("$(calc "$(wall "edit-$i") - $(stage "edit-$i" "-- finalise/99-zzzz-bench") - $(stage "edit-$i" "== writing outputs")")")
        note "- last hook changed: $(wall "edit-$i") s, of it hook $(stage "edit-$i" "-- finalise/99-zzzz-bench"), creating the disk $(stage "edit-$i" "== creating the disk"), writing qcow2 $(stage "edit-$i" "== writing outputs"); $(steps "edit-$i") steps run"
    done
    row "one byte of the last hook changed: all of it" "$(printf '%s\n' "${all[@]}" | median) s" "-" "-" "-"
    row "… without hook and conversion" "$(printf '%s\n' "${rest[@]}" | median) s" "-" "-" "5 s"
    rm -rf "$work"/out/edit*
}

part_convert() {
    local raw=$work/out/debian.raw out=$work/out/convert
    local -a zstd
    prepare
    build_convert
    cat "$raw" > /dev/null # in the page cache for all
    converted zstd "raw → qcow2, zstd; peer \`qemu-img convert -c -m 16 -W -o compression_type=zstd\`" 0.9 \
        -m 16 -W -o compression_type=zstd
    zstd=("${converted_ours[@]}")
    local size=$converted_size
    converted zlib "raw → qcow2, zlib; peer \`qemu-img convert -c\`, as diskimage-builder calls it" 0.6
    compare "our zstd beside that zlib" - "${zstd[@]}" -- "${converted_peer[@]}"
    sizes "$size" "$converted_peer_size"
    rm -f "$out".*
}

build_convert() { (cd "$top" && go build -o "$work/bin/convert" ./contrib/bench.d/convert); }

# part_formats: the other writers beside their peers, all formats in one run
# beside each alone, and the room that a build takes.
part_formats() {
    local raw=$work/out/debian.raw tree=$work/tree out=$work/out/format
    prepare
    build_convert
    cat "$raw" > /dev/null
    beside vhd "$raw" "raw → vhd; peer \`qemu-img convert -O vpc\`" 0.6 \
        qemu-img convert -O vpc -o force_size=on "$raw" "$out.peer"
    beside vhd-fixed "$raw" "raw → vhd-fixed; peer \`qemu-img convert -O vpc -o subformat=fixed\`" 0.6 \
        qemu-img convert -O vpc -o subformat=fixed,force_size=on "$raw" "$out.peer"
    at_once
    mkdir "$tree"
    tar -C "$tree" -xpf "$work/out/all.tar"
    repetitions=1 beside tgz "$tree" "tree → tgz; peer \`gzip -9\` of the tar" 0.5 \
        sh -c 'gzip -9 < "$1" > "$2"' sh "$work/out/all.tar" "$out.peer"
    row "… size" "$(megabytes "$out.ours") MB" "$(megabytes "$out.peer") MB" "$(calc "$(stat -c %s "$out.ours") / $(stat -c %s "$out.peer")")" "1.05"
    rm -rf "$tree" "$out".* "$work"/out/all.*
}

# beside FORMAT SOURCE FIGURE TARGET PEER...: a row for one writer and its peer.
beside() {
    local format=$1 source=$2 figure=$3 target=$4 i ours=() peers=()
    shift 4
    for i in $(times 3); do
        rm -f "$out".*
        timed "ours-$format-$i" "$work/bin/convert" "$format" "" "$source" "$out.ours"
        timed "peer-$format-$i" "$@"
        ours+=("$(wall "ours-$format-$i")") peers+=("$(wall "peer-$format-$i")")
    done
    compare "$figure" "$target" "${ours[@]}" -- "${peers[@]}"
}

# at_once: every format alone and then all together, from kept steps; and how
# much of the file system the last build held at most, looked at ten times a
# second, beside its content and its outputs.
at_once() {
    local format all=raw,qcow2,vhd,vhd-fixed,vmdk,vdi,vhdx,tar slowest=0 took peak content outputs
    for format in ${all//,/ }; do
        rm -rf "$work"/out/all*
        ours "alone-$format" "$work/store" --no-tmpfs -t "$format" -o "$work/out/all" debian-minimal vm
        took=$(stage "alone-$format" "== writing outputs")
        note "- $format alone: $took s"
        slowest=$(calc "$took > $slowest ? $took : $slowest")
    done
    rm -rf "$work"/out/all*
    watch_room "$work/logs/room" 2> /dev/null &
    builds+=("$!")
    ours all "$work/store" --no-tmpfs -t "$all" -o "$work/out/all" debian-minimal vm
    kill "$!"
    took=$(stage all "== writing outputs")
    row "writing $all at once; beside the slowest alone" "$took s" "$slowest s" "$(calc "$took / $slowest")" "1.15"
    peak=$(cat "$work/logs/room") outputs=$(du -ck "$work"/out/all.* | tail -n 1 | cut -f1)
    content=$(($(stat -c %s "$work/out/all.tar") / 1024))
    row "… most that work folder and outputs took; beside content and outputs" "$((peak / 1024)) MiB" "$(((content + outputs) / 1024)) MiB" "$(calc "$peak / ($content + $outputs)")" "1.2"
}

# watch_room FILE: keeps in FILE the most KiB that work folder and outputs took.
watch_room() {
    local most=0 now
    while :; do
        now=$(du -skc "$work/tmp" "$work"/out/all* "$work"/out/.all* | tail -n 1 | cut -f1)
        if [ "$now" -gt "$most" ]; then
            most=$now
            echo "$most" > "$1"
        fi
        sleep 0.1
    done
}

sizes() { row "… size" "$(calc "$1 / 1e6" %.0f) MB" "$(calc "$2 / 1e6" %.0f) MB" "$(calc "$1 / $2")" "1.05"; }

# converted TYPE FIGURE TARGET [OPTION...]: converts by both in turn, checks what
# ours is, writes the rows, and sets converted_*.
converted() {
    local type=$1 figure=$2 target=$3 i cpu=() peer_cpu=()
    shift 3
    converted_ours=() converted_peer=()
    for i in $(times 3); do
        rm -f "$out".*
        timed "convert-$type-$i" "$work/bin/convert" qcow2 "compression_type=$type" "$raw" "$out.ours"
        timed "qemu-img-$type-$i" qemu-img convert -c "$@" -O qcow2 "$raw" "$out.peer"
        converted_ours+=("$(wall "convert-$type-$i")") converted_peer+=("$(wall "qemu-img-$type-$i")")
        cpu+=("$(processor "convert-$type-$i")") peer_cpu+=("$(processor "qemu-img-$type-$i")")
    done
    qemu-img check -q "$out.ours"
    qemu-img compare -q "$raw" "$out.ours"
    compare "$figure" "$target" "${converted_ours[@]}" -- "${converted_peer[@]}"
    compare "… processor seconds" - "${cpu[@]}" -- "${peer_cpu[@]}"
    converted_size=$(stat -c %s "$out.ours") converted_peer_size=$(stat -c %s "$out.peer")
    sizes "$converted_size" "$converted_peer_size"
    note "- convert, $type: $(du -m "$raw" | cut -f1) MiB of data in $(du -m --apparent-size "$raw" | cut -f1); largest process $(largest "convert-$type-$i") against $(largest "qemu-img-$type-$i") MiB"
}

part_memory() {
    prepare
    row "largest process of ours, building \`debian-minimal vm\` to raw and qcow2" "$(cat "$work/logs/prepare.memory") MiB" "-" "-" "300 MiB"
    note "- memory: $(steps prepare) steps were run for that; the largest process of the whole build, apt and dpkg counted, had $(largest prepare) MiB"
    rm -rf "$work"/out/big*
    watched big "$work/store" --image-size 40 -t raw,qcow2,tar -o "$work/out/big" debian-minimal vm
    row "… of 40 GiB, from kept steps, to raw, qcow2 and tar" "$(cat "$work/logs/big.memory") MiB" "-" "-" "300 MiB"
    rm -rf "$work"/out/big*
}

bench_user=
remove_user() {
    [ -n "$bench_user" ] || return 0
    userdel "$bench_user" 2> /dev/null || true
    bench_user=
}

# part_rootless builds a small tree and a whole image by root, with loop devices,
# and by a user who is made for it.
part_rootless() {
    local i home=$work/rootless root=() user=() as=()
    local elements_path=$home/elements name=lithify-bench-$$
    mkdir -p "$home/elements"
    cp -R "$top/cmd/lithify/testdata/tiny/." "$home/elements"
    chmod -R a+rX "$home/elements"
    useradd --no-create-home --home-dir "$home/user" --shell /bin/sh "$name"
    bench_user=$name
    grep -q "^$name:" /etc/subuid || usermod --add-subuids 600100000-600165535 --add-subgids 600100000-600165535 "$name"
    for i in $(times 3); do
        rm -rf "$home/user" "$home/root"
        mkdir -p "$home"/{user,root}/{out,tmp}
        chown -R "$name:" "$home/user"
        alone "tiny-root-$i" "$home/root" -n --backend loop tiny app
        as=(setpriv --reuid "$name" --regid "$name" --init-groups)
        alone "tiny-user-$i" "$home/user" -n tiny app
        as=()
        root+=("$(wall "tiny-root-$i")") user+=("$(wall "tiny-user-$i")")
    done
    compare "a small tree to qcow2, all steps new, by an ordinary user; beside it by root with loop devices" 1.3 "${user[@]}" -- "${root[@]}"
    root=() user=() elements_path=''
    for i in 0 $(times 1); do # the first fills the caches of packages
        rm -rf "$home"/{user,root}/{store,out}
        mkdir "$home"/{user,root}/out
        chown "$name:" "$home/user/out"
        alone "whole-root-$i" "$home/root" --backend loop debian-minimal vm
        as=(setpriv --reuid "$name" --regid "$name" --init-groups)
        alone "whole-user-$i" "$home/user" debian-minimal vm
        as=()
        [ "$i" = 0 ] || { root+=("$(wall "whole-root-$i")") user+=("$(wall "whole-user-$i")"); }
    done
    compare "\`debian-minimal vm\` to qcow2, all steps new, likewise" 1.0 "${user[@]}" -- "${root[@]}"
    remove_user
    rm -rf "$home"
}

# part_volumes puts one tree onto a plain disk and onto LVM on LUKS. The key
# derivation costs next to nothing here: its price is the user's to choose.
part_volumes() {
    local i kind layout key=$work/tmp/key
    local -A layouts took=()
    printf 'a passphrase' > "$key"
    layouts[plain]='[{local_loop: {name: image0, mkfs: {name: root, mount: {mount_point: /, fstab: {}}}}}]'
    layouts[volumes]="[{local_loop: {name: image0, luks: {name: crypt, pbkdf: pbkdf2, iterations: 1000, key_file: $key}}},
        {lvm: {pvs: [{name: pv, base: crypt}], vgs: [{name: vg, base: [pv]}], lvs: [{name: lv, base: vg, extents: 100%VG}]}},
        {mkfs: {name: root, base: lv, mount: {mount_point: /, fstab: {}}}}]"
    for i in 0 $(times 3); do # the first makes the steps
        for kind in plain volumes; do
            rm -rf "$work/out/$kind"*
            layout=${layouts[$kind]} ours "$kind-$i" "$work/store" --backend file -t raw -o "$work/out/$kind" debian-minimal -p linux-image-amd64
            [ "$i" = 0 ] || took[$kind]+=" $(stage "$kind-$i" "== creating the disk")"
        done
    done
    note "- creating the disk, plain:${took[plain]} s; LVM on LUKS:${took[volumes]} s; $(du -sm --apparent-size "$work/out/plain.raw" | cut -f1) MB of image, $(du -sm "$work/out/plain.raw" | cut -f1) MB of it on disk"
    compare "a tree onto a plain disk; beside it onto LVM on LUKS (at least 0.5 of the throughput)" 0.5 ${took[plain]} -- ${took[volumes]}
    rm -rf "$work"/out/{plain,volumes}* "$key"
}

# part_images builds three images of one list, one after the other and two at
# once, all steps new; then the same three from a common base.
part_images() {
    local i jobs one=() two=() based=() name packages
    prepare # fills the downloads
    mkdir -p "$work/images"
    for name in web:nginx-light db:sqlite3 mail:msmtp; do
        packages=${name#*:} name=${name%%:*}
        cat >> "$work/images/list.yaml" << END
- {imagename: $work/images/$name, elements: [debian-minimal, vm], packages: [$packages], types: [qcow2]}
END
        cat >> "$work/images/based.yaml" << END
- {imagename: $work/images/$name, base: $work/images/golden, packages: [$packages], types: [qcow2]}
END
    done
    echo "- {imagename: $work/images/golden, elements: [debian-minimal, vm], types: [raw]}" >> "$work/images/based.yaml"
    for i in $(times 1); do
        for jobs in 1 2; do images "images-$jobs-$i" "$jobs" list; done
        images "images-based-$i" 2 based
        one+=("$(wall "images-1-$i")") two+=("$(wall "images-2-$i")") based+=("$(wall "images-based-$i")")
    done
    compare "three images of one list, all steps new, \`--jobs 2\`; beside it \`--jobs 1\`" "1" "${two[@]}" -- "${one[@]}"
    compare "… and from a common \`base\` (a fourth image), \`--jobs 2\`; beside \`--jobs 1\` without" - "${based[@]}" -- "${one[@]}"
}

# images NAME JOBS LIST: one build of a list with an empty store.
images() {
    local name=$1 jobs=$2 list=$3
    rm -rf "$work/store-images" "$work"/images/*.qcow2 "$work"/images/*.raw "$work"/images/*.d
    timed "$name" env LITHIFY_STORE="$work/store-images" DIB_IMAGE_CACHE="$work/cache/ours" OVERWRITE_OLD_IMAGE=1 \
        "$work/bin/diskimage-builder" --jobs "$jobs" "$work/images/$list.yaml"
    note "- $name: $(grep -c -- '-- .*: in ' "$work/logs/$name") steps run, $(wall "$name") s, $(processor "$name") of processor"
}

# alone NAME HOME WORD...: one build with a store and a cache of its own, run by ${as[@]}.
alone() {
    local name=$1 home=$2
    shift 2
    timed "$name" "${as[@]}" env HOME="$home" TMPDIR="$home/tmp" LITHIFY_STORE="$home/store" \
        DIB_IMAGE_CACHE="$home/cache" ELEMENTS_PATH="$elements_path" \
        "$work/bin/disk-image-create" --logfile "$home/log" -o "$home/out/tiny" "$@"
    cp "$home/log" "$work/logs/$name.log" # the user may not write there
}
