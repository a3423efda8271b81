# A partition table of this kind is not what these machines start from.
case "${ARCH:-}" in
    arm64|aarch64)
        echo "block-device-gpt does not go with architecture ${ARCH}: use block-device-efi" >&2
        exit 1
        ;;
esac
export DIB_BLOCK_DEVICE=gpt
