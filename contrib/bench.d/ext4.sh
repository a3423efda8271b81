# Sourced by contrib/bench: the part ext4. Smaller numbers, to see it run:
# BENCH_EXT4_FILES, BENCH_EXT4_LARGE (MB) and BENCH_EXT4_MANY.

# part_ext4 fills ext4 file systems from folders: by lithify blockdev mkfs, by
# mke2fs -d and, by root, by a loop device and cp -a. All are on the disk when
# their time ends.
part_ext4() {
    local files=${BENCH_EXT4_FILES:-52000} large=${BENCH_EXT4_LARGE:-1500} many=${BENCH_EXT4_MANY:-1000000} folders
    mkdir -p "$work/ext4"
    for folders in 20 4000; do
        say "$files files in $folders folders"
        make_tree "$work/ext4/tree" "$files" "$folders" 12000
        against_mke2fs "$folders" "$files files of 12 KB in $folders folders"
        rm -rf "$work/ext4/tree"
    done
    large_file "$large"
    many_files "$many"
    rm -rf "$work/ext4"
}

# make_tree DIR FILES FOLDERS BYTES: files of their own content.
make_tree() {
    python3 - "$@" << 'END'
import os, sys
top, files, folders, size = sys.argv[1], *map(int, sys.argv[2:])
noise = os.urandom(size + 4096)
for d in range(folders):
    os.makedirs(f"{top}/{d % 100:02}/{d}", exist_ok=True)
for n in range(files):
    d = n % folders
    with open(f"{top}/{d % 100:02}/{d}/file-{n}", "wb") as f:
        f.write(n.to_bytes(8, "little") + noise[n % 4096:n % 4096 + size - 8])
END
    sync
}

# warm TREE reads it, attributes and content, so that every way finds it in the
# caches: the kernel drops what was only written, or read once, first of all.
warm() {
    clean sh -c 'find "$1" -type f -exec cat {} + > /dev/null' sh "$1"
}

# ext4_by NAME WAY TREE: one image in $work/ext4/image, timed.
ext4_by() {
    local name=$1 way=$2 tree=$3 image=$work/ext4/image
    rm -f "$image"
    warm "$tree"
    case "$way" in
        ours) timed "$name" "$work/bin/lithify" blockdev mkfs --type ext4 --size 8GiB -N 1200000 --from "$tree" "$image" ;;
        mke2fs) timed "$name" mke2fs -q -F -t ext4 -N 1200000 -E nodiscard,assume_storage_prezeroed=1 -d "$tree" "$image" 8G ;;
        loop)
            mkdir -p "$work/ext4/mounted"
            # In a mount namespace of its own: whatever ends it takes mount and device along.
            timed "$name" unshare -m sh -ec 'mke2fs -q -F -t ext4 -N 1200000 -E nodiscard,assume_storage_prezeroed=1 "$1" 8G
                mount -o loop "$1" "$3"; cp -a "$2/." "$3"; umount "$3"; sync "$1"' sh "$image" "$tree" "$work/ext4/mounted"
            ;;
    esac
}

# against_mke2fs NAME WHAT: rows for the tree in $work/ext4/tree.
against_mke2fs() {
    local name=$1 what=$2 way i ways=(ours mke2fs)
    [ "$(id -u)" != 0 ] || ways+=(loop)
    local -A cpu=() walls=()
    for i in $(times 3); do
        for way in "${ways[@]}"; do
            ext4_by "ext4-$name-$way-$i" "$way" "$work/ext4/tree"
            [ "$way" != ours ] || clean e2fsck -fn "$work/ext4/image" > "$work/logs/ext4-e2fsck" 2>&1
            cpu[$way]+=" $(processor "ext4-$name-$way-$i")" walls[$way]+=" $(wall "ext4-$name-$way-$i")"
        done
    done
    compare "ext4 of $what, processor seconds; peer \`mke2fs -d\`" 0.12 ${cpu[ours]} -- ${cpu[mke2fs]}
    compare "… wall" - ${walls[ours]} -- ${walls[mke2fs]}
    [ -n "${cpu[loop]:-}" ] || return 0
    compare "… processor seconds; peer loop device and \`cp -a\` (without what the device's own thread takes)" 0.5 ${cpu[ours]} -- ${cpu[loop]}
    compare "… wall" - ${walls[ours]} -- ${walls[loop]}
}

# large_file MB: one file into a file system, beside cp of it.
large_file() {
    local i tree=$work/ext4/large copy=$work/ext4/copy cpu=() peers_cpu=() walls=() peers=()
    say "one file of $1 MB"
    mkdir -p "$tree"
    head -c "$1"000000 /dev/urandom > "$tree/file"
    sync
    for i in $(times 3); do
        ext4_by "ext4-large-$i" ours "$tree"
        rm -f "$work/ext4/image"
        warm "$tree"
        timed "ext4-cp-$i" sh -ec 'cp "$1" "$2"; sync "$2"' sh "$tree/file" "$copy"
        rm -f "$copy"
        cpu+=("$(processor "ext4-large-$i")") peers_cpu+=("$(processor "ext4-cp-$i")")
        walls+=("$(wall "ext4-large-$i")") peers+=("$(wall "ext4-cp-$i")")
    done
    compare "ext4 of one file of $1 MB, processor seconds; peer \`cp\`" 1.2 "${cpu[@]}" -- "${peers_cpu[@]}"
    compare "… wall" - "${walls[@]}" -- "${peers[@]}"
    rm -rf "$tree"
}

# many_files N: is it linear, and how much memory does it take?
many_files() {
    local i n few=$(($1 / 10)) cpu=() few_cpu=() walls=() few_walls=()
    for n in "$few" "$1"; do
        say "$n files"
        make_tree "$work/ext4/tree" "$n" 100 100
        for i in $(times 1); do
            ext4_by "ext4-many-$n-$i" ours "$work/ext4/tree"
        done
        rm -rf "$work/ext4/tree"
    done
    clean e2fsck -fn "$work/ext4/image" > "$work/logs/ext4-e2fsck" 2>&1
    for i in $(times 1); do
        cpu+=("$(processor "ext4-many-$1-$i")") walls+=("$(wall "ext4-many-$1-$i")")
        few_cpu+=("$(calc "$(processor "ext4-many-$few-$i") * 10")") few_walls+=("$(calc "$(wall "ext4-many-$few-$i") * 10")")
    done
    compare "ext4 of $1 files of 100 bytes, processor seconds; beside ten times that of $few" 1.2 "${cpu[@]}" -- "${few_cpu[@]}"
    compare "… wall" - "${walls[@]}" -- "${few_walls[@]}"
    row "… memory" "$(largest "ext4-many-$1-1") MiB" - - "300 MiB"
}
