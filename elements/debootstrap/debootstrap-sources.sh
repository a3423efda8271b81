# Read by hooks that need to know where packages come from.

# apt_source_lines prints one line in apt's one-line format per suite in use:
# what DIB_APT_SOURCES_CONF lists ("name:line"), or the mirror alone.
apt_source_lines() {
    if [ -z "${DIB_APT_SOURCES_CONF:-}" ]; then
        local components=${DIB_DEBIAN_COMPONENTS:-main}
        echo "deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE ${components//,/ }"
        return
    fi
    local line
    while IFS= read -r line; do
        line=${line#"${line%%[![:space:]]*}"}
        case "$line" in
            *:*) echo "${line#*:}" ;;
        esac
    done <<< "$DIB_APT_SOURCES_CONF"
}
