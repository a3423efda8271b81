# Sourced by contrib/bench: timing, sampling, the table.

say() { echo "bench: $*" >&2; }
load() { cut -d' ' -f1 /proc/loadavg; }
note() { echo "$*" >> "$work/notes"; }

# row FIGURE OURS PEER RATIO TARGET
row() { echo "| $1 | $2 | $3 | $4 | $5 |" >> "$work/rows"; }

# calc EXPRESSION [FORMAT]: arithmetic with fractions.
calc() { awk "BEGIN { printf \"${2:-%.2f}\", $1 }"; }

median() { sort -n | awk '{ v[NR] = $1 } END { m = int((NR + 1) / 2); printf "%.2f", NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2 }'; }

# become COMMAND...: gives way to it, in the environment that all builds and
# conversions get.
become() {
    local pass=() name
    for name in http_proxy https_proxy no_proxy; do
        [ -z "${!name:-}" ] || pass+=("$name=${!name}")
    done
    exec env -i PATH="$PATH" HOME="$work/home" LC_ALL=C.UTF-8 TMPDIR="$work/tmp" "${pass[@]}" "$@"
}
clean() { (become "$@"); }

# timed NAME COMMAND...: runs it in the clean environment, with its output in logs/NAME and its wall and
# processor seconds and largest process (KiB) as one line in logs/NAME.time.
# When it fails, its last lines are shown and the run ends.
timed() {
    local name=$1 log=$work/logs/$1
    shift
    if ! clean /usr/bin/time -q -f '%e %U %S %M' -o "$log.time" "$@" > "$log" 2>&1 < /dev/null; then
        echo "bench: $name: this ended with an error: $*" >&2
        tail -n 20 "$log" >&2
        exit 1
    fi
}

wall() { cut -d' ' -f1 "$work/logs/$1.time"; }
processor() { awk '{ printf "%.2f", $2 + $3 }' "$work/logs/$1.time"; }
largest() { awk '{ printf "%.0f", $4 / 1024 }' "$work/logs/$1.time"; }

# ours NAME STORE OPTION...: one timed build by lithify; its own log is
# logs/NAME.log.
ours() {
    local name=$1 store=$2
    shift 2
    rm -f "$work/logs/$name.log" # lithify appends
    timed "$name" env LITHIFY_STORE="$store" DIB_IMAGE_CACHE="$work/cache/ours" OVERWRITE_OLD_IMAGE=1 \
        ELEMENTS_PATH="${elements_path:-}" DIB_BLOCK_DEVICE_CONFIG="${layout:-}" "$work/bin/disk-image-create" --logfile "$work/logs/$name.log" "$@"
}

# watch_memory FILE: keeps the high-water mark (KiB) of the largest process of
# our binary in FILE, ten times a second, until it is ended.
watch_memory() {
    local most=0 proc key value rest
    while :; do
        for proc in /proc/[0-9]*; do
            [ "$proc/exe" -ef "$work/bin/lithify" ] || continue
            while read -r key value rest; do
                if [ "$key" = VmHWM: ] && [ "$value" -gt "$most" ]; then
                    most=$value
                    echo "$most" > "$1"
                fi
            done 2> /dev/null < "$proc/status" || true
        done
        sleep 0.1
    done
}

# watched NAME STORE OPTION...: ours, with logs/NAME.memory as MiB.
watched() {
    local file=$work/logs/$1.memory watcher
    echo 0 > "$file"
    watch_memory "$file" 2> /dev/null &
    watcher=$!
    builds+=("$watcher")
    ours "$@"
    kill "$watcher"
    wait "$watcher" 2> /dev/null || true
    awk '{ printf "%.0f\n", $1 / 1024 }' "$file" > "$file.mib"
    mv "$file.mib" "$file"
}

builds=()
# end_builds kills what was started in the background. With unshare, the first
# process of diskimage-builder's PID namespace and so all of it goes.
end_builds() {
    local pid
    for pid in "${builds[@]}"; do
        kill -KILL "$pid" 2> /dev/null || true
    done
    builds=()
}

# stage NAME STAGE: seconds that a stage or hook took by lithify's own log.
stage() {
    awk -v what="$2" '
        index($0, "| " what ": ") || index($0, "| " what " (") && index($0, "): in ") { text = $NF }
        END {
            if (text == "") { print 0; exit }
            minutes = 0
            if (match(text, /m/)) { minutes = substr(text, 1, RSTART - 1); text = substr(text, RSTART + 1) }
            sub(/s$/, "", text)
            printf "%.1f", minutes * 60 + text
        }' "$work/logs/$1.log"
}

# steps NAME: how many steps the build has run.
steps() { grep -c -- '| -- .*: in ' "$work/logs/$1.log" || true; }

machine() {
    local model
    model=$(awk -F': *' '/^model name/ { print $2; exit }' /proc/cpuinfo)
    echo "$(nproc) cores of ${model:-$(uname -m)}, $(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB of memory," \
        "$(. /etc/os-release && echo "$PRETTY_NAME"), Linux $(uname -r), $(df --output=fstype "$work" | tail -n 1) under $(dirname "$work")"
}

print_page() {
    echo "$(date -u +%Y-%m-%d), lithify $("$work/bin/disk-image-create" --version), \`contrib/bench${repetitions:+ -n $repetitions} ${wanted[*]}\`"
    echo
    echo "$(machine)."
    echo
    echo "| Figure | lithify | peer | ratio | target |"
    echo "|---|---|---|---|---|"
    cat "$work/rows"
    echo
    cat "$work/notes"
}
