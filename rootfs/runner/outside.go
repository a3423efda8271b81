package runner

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// MountInfo is a mount below a folder, as a hook outside the target left it.
type MountInfo struct {
	Target   string // where, relative to the folder
	Source   string // an absolute path that can be bound to make it again; "" when there is none
	FSType   string // "ext4", "tmpfs"
	ReadOnly bool   // the mount or its file system is read-only
}

// OutsideMounts lists the mounts strictly below dir that can be seen in the
// caller's mount namespace, in the order of their targets (a mount comes after
// the one it is in). Links in dir are followed.
//
// The kernel does not keep what was bound: a mount has a device and a folder of
// the file system there. Source is the path under which another mount outside
// dir shows the same folder; a file system that is mounted nowhere else (a
// fresh tmpfs) has none.
func OutsideMounts(dir string) ([]MountInfo, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("listing mounts below %q: %w", dir, err)
	}
	all, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("listing mounts below %q: %w", dir, err)
	}
	var list []MountInfo
	for _, m := range all {
		target, below := under(dir, m.Mountpoint)
		if !below || target == "" || !visible(m.Mountpoint, m) {
			continue
		}
		list = append(list, MountInfo{
			Target: target, FSType: m.FSType,
			ReadOnly: hasOption(m.Options, "ro") || hasOption(m.VFSOptions, "ro"),
			Source:   sourceOf(m, all, dir),
		})
	}
	slices.SortFunc(list, func(a, b MountInfo) int { return strings.Compare(a.Target, b.Target) })
	return list, nil
}

// sourceOf looks for the folder of m in the mounts outside dir.
func sourceOf(m *mountinfo.Info, all []*mountinfo.Info, dir string) string {
	for _, o := range all {
		rest, ok := under(o.Root, m.Root)
		if !ok || o.Major != m.Major || o.Minor != m.Minor {
			continue
		}
		source := filepath.Join(o.Mountpoint, rest)
		if _, below := under(dir, source); below || !visible(source, o) || !same(source, m.Mountpoint) {
			continue
		}
		return source
	}
	return ""
}

// under gives name relative to dir ("" for dir itself), if it is in it.
func under(dir, name string) (string, bool) {
	if name == dir {
		return "", true
	}
	return strings.CutPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// visible says whether the path leads into that mount, not into a later one
// over it.
func visible(path string, m *mountinfo.Info) bool {
	st, ok := identity(path)
	return ok && st.Mask&unix.STATX_MNT_ID != 0 && st.Mnt_id == uint64(m.ID)
}

// same says whether two paths are one file.
func same(a, b string) bool {
	sa, oka := identity(a)
	sb, okb := identity(b)
	return oka && okb && sa.Ino == sb.Ino && sa.Dev_major == sb.Dev_major && sa.Dev_minor == sb.Dev_minor
}

func identity(path string) (unix.Statx_t, bool) {
	var st unix.Statx_t
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	err := unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_INO|unix.STATX_MNT_ID, &st)
	return st, err == nil
}

func hasOption(options, name string) bool {
	return slices.Contains(strings.Split(options, ","), name)
}

// MountSystem mounts /proc, /sys (read-only) and a small /dev of our own in the
// tree at dir, where it has these folders: for commands outside the tree that
// chroot into it. They are made as for a command inside, so nothing that is
// done to them is done to the host's. They go with the mount that dir is on.
func MountSystem(dir string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the tree %q: %w", dir, err)
	}
	t := &tree{fd: fd, dev: -1}
	defer t.close()
	at, err := t.lookup("/dev", unix.O_DIRECTORY)
	if missing(err) {
		return t.kernel()
	}
	if err != nil {
		return fmt.Errorf("looking for /dev in the tree: %w", err)
	}
	unix.Close(at)
	return t.system()
}

func (t *tree) close() {
	unix.Close(t.fd)
	if t.dev >= 0 {
		unix.Close(t.dev)
	}
}
