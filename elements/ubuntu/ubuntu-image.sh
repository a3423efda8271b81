# Read by hooks on the build host.

# fetch ADDRESS FILE [-f]: cache-url is built in during a build; elements that
# replace it have theirs in bin/.
fetch() {
    if [ "${3:-}" = -f ]; then
        cache-url -f "$1" "$2" > /dev/null
    else
        cache-url "$1" "$2" > /dev/null
    fi
}

# sum_of NAME SUMS prints the checksum that the list SUMS has for the file NAME.
sum_of() {
    local sum name
    while read -r sum name; do
        if [ "${name#\*}" = "$1" ]; then
            echo "$sum"
            return
        fi
    done < "$2"
    echo "$SHA256SUMS has no checksum of $1; BASE_IMAGE_FILE names another file" >&2
    return 1
}
