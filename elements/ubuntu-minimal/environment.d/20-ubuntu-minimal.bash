export DIB_UBUNTU_KERNEL=${DIB_UBUNTU_KERNEL:-linux-image-generic}
export DIB_UBUNTU_MIRROR_DISTS=${DIB_UBUNTU_MIRROR_DISTS-updates,security,backports}

case "$DIB_UBUNTU_KERNEL" in
    linux-image-generic|linux-image-virtual|linux-image-kvm|linux-image-hwe)
        ;;
    *)
        echo "DIB_UBUNTU_KERNEL is $DIB_UBUNTU_KERNEL: allowed are linux-image-generic, linux-image-virtual, linux-image-kvm and linux-image-hwe" >&2
        exit 1
        ;;
esac

if [ -z "${DIB_APT_SOURCES_CONF:-}" ]; then
    DIB_APT_SOURCES_CONF="default:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE ${DIB_DEBIAN_COMPONENTS//,/ }"
    for dist in ${DIB_UBUNTU_MIRROR_DISTS//,/ }; do
        DIB_APT_SOURCES_CONF+="
$dist:deb $DIB_DISTRIBUTION_MIRROR $DIB_RELEASE-$dist ${DIB_DEBIAN_COMPONENTS//,/ }"
    done
fi
export DIB_APT_SOURCES_CONF
