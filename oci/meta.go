package oci

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/containers/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// overlayPrefix is that of the attributes in which overlay mounts of this
// process keep their own books: containers/storage mounts with userxattr where
// trusted attributes cannot be set.
var overlayPrefix = sync.OnceValue(func() string {
	if unshare.IsRootless() {
		return "user.overlay."
	}
	return "trusted.overlay."
})

// xattrs reads the extended attributes of a path, links not followed, without
// overlayfs's own.
func xattrs(path string) (map[string][]byte, error) {
	names, err := readGrowing(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if err != nil {
		return nil, fmt.Errorf("listing attributes of %q: %w", path, err)
	}
	var all map[string][]byte
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 || strings.HasPrefix(string(name), overlayPrefix()) || strings.HasPrefix(string(name), "trusted.SGI_ACL_") {
			continue // xfs shows root its ACLs under that name, too
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

// isOpaque tells whether a folder in a diff folder hides the folder below. The
// kernel also writes "x" there, for a folder with deletions of another kind that
// hides nothing; only "y" counts.
func isOpaque(path string) bool {
	var b [8]byte
	n, err := unix.Lgetxattr(path, overlayPrefix()+"opaque", b[:])
	return err == nil && n == 1 && b[0] == 'y'
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
