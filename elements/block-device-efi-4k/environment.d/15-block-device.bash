# Power machines have no EFI.
case "${ARCH:-}" in
    ppc*)
        echo "an EFI system partition does not go with architecture ${ARCH}: use block-device-gpt" >&2
        exit 1
        ;;
esac
export DIB_BLOCK_DEVICE=efi
