package blockdev

import "slices"

// Feature profiles. A disk is read by the boot loader and kernel of its own
// release, not by the host's tools.
const (
	profileCurrent = ""    // GRUB 2.06 and Linux 6.1 (bookworm, jammy, el9), and what came after
	profileOld     = "old" // GRUB 2.02 and kernels from 3.10 on
)

// oldReleases had kernels or boot loaders that do not know metadata checksums of
// ext4, or reflink, sparse inodes and big timestamps of xfs.
var oldReleases = []string{
	"wheezy", "jessie", "stretch", "precise", "trusty", "xenial", "7", "centos7", "rhel7",
}

func profileOf(release string) string {
	if slices.Contains(oldReleases, release) {
		return profileOld
	}
	return profileCurrent
}
