package convert

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// kernelMagic are file systems that only show what the kernel has (statfs(2)).
var kernelMagic = map[int64]bool{
	unix.PROC_SUPER_MAGIC: true, unix.SYSFS_MAGIC: true, unix.DEVPTS_SUPER_MAGIC: true,
	unix.CGROUP_SUPER_MAGIC: true, unix.CGROUP2_SUPER_MAGIC: true, unix.SECURITYFS_MAGIC: true,
	unix.DEBUGFS_MAGIC: true, unix.TRACEFS_MAGIC: true, unix.BPF_FS_MAGIC: true,
	unix.EFIVARFS_MAGIC: true, unix.PSTOREFS_MAGIC: true, unix.BINFMTFS_MAGIC: true,
	unix.SELINUX_MAGIC: true, unix.HUGETLBFS_MAGIC: true,
	0x19800202: true, // mqueue
	0x62656570: true, // configfs
	0x65735543: true, // fusectl
}

// keptEmpty tells of a folder, rel below the root, whose content is no part of
// an image: what is below proc and sys, and what the kernel or the host has
// mounted: its file systems anywhere, a tmpfs (devtmpfs also says it is one) on
// dev or run. A mount is where the device differs from that of the folder above.
func keptEmpty(dir, rel string, mount bool) (bool, error) {
	if rel == "proc" || rel == "sys" {
		return true, nil
	}
	if !mount || rel == "" {
		return false, nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("reading the tree: %w", &os.PathError{Op: "statfs", Path: dir, Err: err})
	}
	magic := int64(st.Type)
	return kernelMagic[magic] || magic == unix.TMPFS_MAGIC && (rel == "dev" || rel == "run"), nil
}
