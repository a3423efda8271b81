package oci

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ownXattr tells whether an extended attribute is overlayfs's own bookkeeping.
func ownXattr(name string) bool {
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// xattrs reads the extended attributes of a path, links not followed, without
// overlayfs's own.
func xattrs(path string) (map[string][]byte, error) {
	names, err := readGrowing(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if err != nil {
		return nil, fmt.Errorf("listing attributes of %q: %w", path, err)
	}
	var all map[string][]byte
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 || ownXattr(string(name)) {
			continue
		}
		v, err := readGrowing(func(b []byte) (int, error) { return unix.Lgetxattr(path, string(name), b) })
		if err != nil {
			return nil, fmt.Errorf("reading attribute %q of %q: %w", name, path, err)
		}
		if all == nil {
			all = map[string][]byte{}
		}
		all[string(name)] = v
	}
	return all, nil
}

// readGrowing calls a function of the getxattr family until the buffer is
// large enough. A file system without attributes gives nothing.
func readGrowing(read func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	for buf := small[:]; ; {
		n, err := read(buf)
		switch {
		case err == nil:
			return slices.Clone(buf[:n]), nil
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENODATA):
			return nil, nil
		case !errors.Is(err, unix.ERANGE):
			return nil, err
		}
		buf = make([]byte, 4*len(buf)) // the kernel's limit is 64 KiB
	}
}

// hasXattr tells whether path has the overlay attribute called name, under the
// prefix of root's or of a user namespace's overlays.
func overlayXattr(path, name string) bool {
	var b [8]byte
	for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
		if n, err := unix.Lgetxattr(path, prefix+name, b[:]); err == nil && n > 0 {
			return b[0] == 'y' || b[0] == 'x'
		}
	}
	return false
}

func lstat(path string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return st, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st, nil
}

// setMeta gives path the owner, mode, attributes and times of st and attrs, in
// an order in which nothing undoes another: chown clears set-id bits and
// capabilities.
func setMeta(path string, st unix.Stat_t, attrs map[string][]byte) error {
	if err := unix.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("setting the owner of %q: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
			return fmt.Errorf("setting the mode of %q: %w", path, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if err := unix.Lsetxattr(path, name, attrs[name], 0); err != nil {
			return fmt.Errorf("setting attribute %q of %q: %w", name, path, err)
		}
	}
	return setTimes(path, st)
}

func setTimes(path string, st unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("setting the times of %q: %w", path, err)
	}
	return nil
}

// copyFolderMeta makes folder to look like folder from: mode, owner, times,
// attributes.
func copyFolderMeta(from, to string) error {
	st, err := lstat(from)
	if err != nil {
		return err
	}
	attrs, err := xattrs(from)
	if err != nil {
		return err
	}
	return setMeta(to, st, attrs)
}

func sameXattrs(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, bytes.Equal)
}
