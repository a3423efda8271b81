package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// view is one file system's part of the tree, as a folder: the tree below its
// mount point, with empty folders over the mount points of other file systems.
type view struct {
	dir  string
	undo undo
}

// newView makes the view of a file system: of its mount, or a folder with a view
// for each mounted subvolume.
func (d *disk) newView(f *blockdev.FSPlan) (*view, error) {
	v := &view{}
	dir, err := os.MkdirTemp(d.work, "view-")
	if err != nil {
		return v, err
	}
	v.undo.push(func() error { return os.Remove(dir) })
	v.dir = dir
	if len(f.Subvolumes) == 0 {
		err := d.show(v, f.MountPoint, dir)
		if errors.Is(err, unix.EPERM) && !d.covers(f.MountPoint) {
			// Who may not bind needs no bind where nothing is to be hidden.
			v.dir = filepath.Join(d.tree.Dir, f.MountPoint)
			return v, nil
		}
		return v, err
	}
	if err := d.makeSubvolumes(v, f); err != nil {
		return v, err
	}
	for _, m := range d.plan.MountsOf(f.Node) {
		if err := d.show(v, m.MountPoint, filepath.Join(dir, m.Subvolume)); err != nil {
			return v, err
		}
	}
	return v, nil
}

// makeSubvolumes makes folders, of mode 0755 and the disk's time, that become
// subvolumes, and those on the way to them.
func (d *disk) makeSubvolumes(v *view, f *blockdev.FSPlan) error {
	for _, s := range f.Subvolumes {
		path := v.dir
		for _, name := range strings.Split(s, "/") {
			path = filepath.Join(path, name)
			err := os.Mkdir(path, 0o755)
			if errors.Is(err, os.ErrExist) {
				continue
			}
			if err != nil {
				return err
			}
			folder := path
			v.undo.push(func() error { return os.Remove(folder) })
		}
	}
	at := time.Now()
	if d.tree.Time != nil {
		at = *d.tree.Time
	}
	return filepath.WalkDir(v.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return errors.Join(os.Chmod(path, 0o755), os.Chtimes(path, at, at))
	})
}

// covers says whether another mount lies below a mount point.
func (d *disk) covers(mountPoint string) bool {
	return slices.ContainsFunc(d.plan.Mounts, func(m blockdev.FSMount) bool {
		return m.MountPoint != mountPoint && strings.HasPrefix(m.MountPoint, strings.TrimSuffix(mountPoint, "/")+"/")
	})
}

// show lets what a mount holds appear in a folder.
func (d *disk) show(v *view, mountPoint, dir string) error {
	if err := v.bind(filepath.Join(d.tree.Dir, mountPoint), dir); err != nil {
		return err
	}
	for _, m := range d.plan.Mounts {
		below, found := strings.CutPrefix(m.MountPoint, strings.TrimSuffix(mountPoint, "/")+"/")
		if !found || below == "" || d.covered(mountPoint, m.MountPoint) {
			continue
		}
		if err := v.cover(d.work, filepath.Join(dir, below)); err != nil {
			return err
		}
	}
	return nil
}

// covered says whether a mount point lies below another one that is below base:
// then it is hidden already.
func (d *disk) covered(base, mountPoint string) bool {
	for _, m := range d.plan.Mounts {
		mp := m.MountPoint
		if mp != base && mp != mountPoint && len(mp) > len(base) && strings.HasPrefix(mountPoint, mp+"/") {
			return true
		}
	}
	return false
}

// bind makes from visible at to. The bind is private: nothing of it is seen in
// other namespaces, and unmounting it unmounts nothing else.
func (v *view) bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %q to %q: %w", from, to, err)
	}
	v.undo.push(func() error {
		if err := unix.Unmount(to, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("letting go of %q: %w", to, err)
		}
		return nil
	})
	return unix.Mount("", to, "", unix.MS_PRIVATE, "")
}

// cover lays an empty folder like the one at a path over it.
func (v *view) cover(work, at string) error {
	empty, err := os.MkdirTemp(work, "empty-")
	if err != nil {
		return err
	}
	v.undo.push(func() error { return os.Remove(empty) })
	if err := likeFolder(at, empty); err != nil {
		return fmt.Errorf("copying the attributes of %q: %w", at, err)
	}
	return v.bind(empty, at)
}

// likeFolder gives the folder to the owner, mode, attributes and times of from.
func likeFolder(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return err
	}
	attrs, err := attributes(from)
	if err != nil {
		return err
	}
	errs := []error{unix.Chown(to, int(st.Uid), int(st.Gid)), unix.Chmod(to, st.Mode&0o7777)}
	for name, value := range attrs {
		errs = append(errs, unix.Lsetxattr(to, name, value, 0))
	}
	errs = append(errs, unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, 0))
	return errors.Join(errs...)
}

// attributes reads the extended attributes of a file, not following links.
func attributes(path string) (map[string][]byte, error) {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, name := range strings.FieldsFunc(string(list[:n]), func(r rune) bool { return r == 0 }) {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("reading attribute %q: %w", name, err)
		}
		out[name] = value[:n]
	}
	return out, nil
}
