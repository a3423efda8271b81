package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// The mounts are made with the file-descriptor calls of Linux 5.2 and later:
// targets are looked up inside the tree by the kernel (openat2), so no link in
// a hook's tree can lead a mount outside, and nothing depends on the host's
// /proc or on path lengths.

// tree is the folder that becomes /, held open.
type tree struct {
	fd  int // the root of the bind mount of the tree
	dev int // our /dev, a tmpfs
}

// openTree binds the folder root, and all that is mounted below it, on itself:
// pivot_root wants a mount point. The mount namespace must be private.
func openTree(root string) (*tree, error) {
	at, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the tree %q: %w", root, err)
	}
	defer unix.Close(at)
	fd, err := cloneMount(root, false)
	if err != nil {
		return nil, fmt.Errorf("binding the tree %q: %w", root, err)
	}
	if err := attach(fd, at); err != nil {
		return nil, errors.Join(fmt.Errorf("binding the tree %q: %w", root, err), unix.Close(fd))
	}
	return &tree{fd: fd, dev: -1}, nil
}

// enter makes the tree / and lets the old root go.
func (t *tree) enter() error {
	if err := unix.Fchdir(t.fd); err != nil {
		return fmt.Errorf("entering the tree: %w", err)
	}
	// The old root is stacked on the new one; it is what "." means until it is
	// detached.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("making the tree the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the old root: %w", err)
	}
	return unix.Chdir("/")
}

// lookup opens a path inside the tree without reading it. All links are
// resolved as if the tree were / already.
func (t *tree) lookup(name string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(t.fd, name, &how)
		// EAGAIN: somebody renamed or mounted while ".." was looked up.
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// system mounts /proc and /sys where the tree has such folders, and /dev.
func (t *tree) system() error {
	if err := t.kernel(); err != nil {
		return err
	}
	return t.mountDev()
}

// kernel mounts /proc and /sys where the tree has such folders. What firmware
// this machine has is no business of an image's: GRUB's scripts ask /sys for it.
func (t *tree) kernel() error {
	if err := t.cover("/proc", mountProc); err != nil {
		return err
	}
	if err := t.cover("/sys", func() (int, error) { return cloneMount("/sys", true) }); err != nil {
		return err
	}
	return t.cover("/sys/firmware", func() (int, error) {
		return newMount("tmpfs", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, "size=4k", "mode=0555")
	})
}

// cover attaches what makeMount gives on a folder, if the tree has it.
func (t *tree) cover(dir string, makeMount func() (int, error)) error {
	at, err := t.lookup(dir, unix.O_DIRECTORY)
	if missing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for %s in the tree: %w", dir, err)
	}
	defer unix.Close(at)
	fd, err := makeMount()
	if err != nil {
		return fmt.Errorf("mounting %s: %w", dir, err)
	}
	defer unix.Close(fd)
	if err := attach(fd, at); err != nil {
		return fmt.Errorf("mounting %s: %w", dir, err)
	}
	return nil
}

// missing says that a path is not there, or not of the kind looked for.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// mountProc makes a proc of the current PID namespace. In a container whose
// own /proc is masked the kernel refuses that; the host's still shows a
// process under /proc/self what it needs.
func mountProc() (int, error) {
	fd, err := newMount("proc", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err == nil {
		return fd, nil
	}
	fd, bindErr := cloneMount("/proc", false)
	if bindErr != nil {
		return -1, errors.Join(err, bindErr)
	}
	return fd, nil
}

// add makes one mount that the caller asked for.
func (t *tree) add(m Mount) error {
	fd, err := m.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	at, err := t.lookup(m.Target, 0)
	if missing(err) && t.inDev(m.Target) {
		at, err = t.makeInDev(m.Target, fd)
	}
	if missing(err) && m.Optional {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mounting %s: looking for it in the tree: %w", m, err)
	}
	defer unix.Close(at)
	if err := attach(fd, at); err != nil {
		return fmt.Errorf("mounting %s: %w", m, err)
	}
	return nil
}

// String names the mount in errors.
func (m Mount) String() string {
	if m.Empty {
		return fmt.Sprintf("an empty folder on %q", m.Target)
	}
	return fmt.Sprintf("%q on %q", m.Source, m.Target)
}

// open gives the mount, not yet attached.
func (m Mount) open() (int, error) {
	var fd int
	var err error
	if m.Empty {
		const attr = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
		fd, err = newMount("tmpfs", attr, "mode=0755", "size=4k")
	} else {
		fd, err = cloneMount(m.Source, m.ReadOnly)
	}
	if err != nil {
		return -1, fmt.Errorf("mounting %s: %w", m, err)
	}
	return fd, nil
}

func (t *tree) inDev(target string) bool {
	return t.dev >= 0 && strings.HasPrefix(path.Clean(target), "/dev/")
}

// makeInDev makes a mount point below our /dev, of the kind of the mount fd.
func (t *tree) makeInDev(target string, fd int) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	name := strings.TrimPrefix(path.Clean(target), "/dev/")
	if err := mkdirAll(t.dev, path.Dir(name)); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := mkdirAll(t.dev, name); err != nil {
			return -1, err
		}
	} else if err := unix.Mknodat(t.dev, name, unix.S_IFREG|0o644, 0); err != nil {
		return -1, err
	}
	return t.lookup(target, 0)
}

// mkdirAll makes a folder and its parents below dir; only our own tmpfs is
// below it, with no links to folders elsewhere in it.
func mkdirAll(dir int, name string) error {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		if err := unix.Mkdirat(dir, name[:i], 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

// newMount makes a file system, not yet attached. options are key=value.
func newMount(fstype string, attr int, options ...string) (int, error) {
	conf, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("opening file system %s: %w", fstype, err)
	}
	defer unix.Close(conf)
	for _, o := range append([]string{"source=" + fstype}, options...) {
		key, value, ok := strings.Cut(o, "=")
		if ok {
			err = unix.FsconfigSetString(conf, key, value)
		} else {
			err = unix.FsconfigSetFlag(conf, key)
		}
		if err != nil {
			return -1, fmt.Errorf("setting %s of a new %s: %w", o, fstype, err)
		}
	}
	if err := unix.FsconfigCreate(conf); err != nil {
		return -1, fmt.Errorf("making a new %s: %w", fstype, err)
	}
	fd, err := unix.Fsmount(conf, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, fmt.Errorf("making a new %s: %w", fstype, err)
	}
	return fd, nil
}

// cloneMount gives a copy of what is at source, and of all mounts below it,
// not yet attached.
func cloneMount(source string, readOnly bool) (int, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, flags)
	if err != nil || !readOnly {
		return fd, err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return -1, errors.Join(fmt.Errorf("making it read-only: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// attach puts a mount on the file or folder that at is.
func attach(fd, at int) error {
	return unix.MoveMount(fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// makePrivate cuts the current mount namespace off: no mount made here shows
// elsewhere.
func makePrivate() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mount namespace private: %w", err)
	}
	return nil
}
