# As Docker's own registry names its distributions.
if [ -z "${DIB_DOCKER_IMAGE:-}" ] && [ -n "${DISTRO_NAME:-}" ] && [ -n "${DIB_RELEASE:-}" ]; then
    export DIB_DOCKER_IMAGE=$DISTRO_NAME:$DIB_RELEASE
fi
