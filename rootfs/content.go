package rootfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// contentDigest is the digest of what a layer changed: path, type, mode, owner,
// device, extended attributes and content. Times are left out: a hook that does
// the same again does it at another time.
func contentDigest(changes string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(changes, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == changes {
			return err
		}
		return digestEntry(h, p, strings.TrimPrefix(p, changes))
	})
	if err != nil {
		return "", fmt.Errorf("digesting the changes in %q: %w", changes, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func digestEntry(h io.Writer, p, name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return err
	}
	attrs, err := attributes(p)
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%q %o %d %d %d %q\n", name, st.Mode, st.Uid, st.Gid, st.Rdev, attrs)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum, err := digestFile(p)
		if err != nil {
			return err
		}
		fmt.Fprintln(h, sum)
	case unix.S_IFLNK:
		to, err := os.Readlink(p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q\n", to)
	}
	return nil
}

// attributes lists the extended attributes that are the tree's own; of overlay's
// only the mark that a folder hides the one below says anything.
func attributes(p string) ([]string, error) {
	names, err := listAttributes(p)
	if err != nil {
		return nil, fmt.Errorf("listing the attributes of %q: %w", p, err)
	}
	var out []string
	for _, name := range names {
		if strings.Contains(name, ".overlay.") && !strings.HasSuffix(name, ".overlay.opaque") || strings.HasPrefix(name, "trusted.SGI_ACL_") {
			continue // xfs shows root its ACLs under that name, too
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return nil, fmt.Errorf("reading attribute %q of %q: %w", name, p, err)
		}
		out = append(out, name+"="+string(value[:n]))
	}
	return out, nil
}

func listAttributes(p string) ([]string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 })
	return names, nil
}

// clampTimes sets back, in the tree dir, the times of everything that the layer
// changed and that is younger than epoch. Only what is in changes is touched:
// touching more would copy it up.
func clampTimes(changes, dir string, epoch time.Time) error {
	limit := unix.NsecToTimespec(epoch.UnixNano())
	times := []unix.Timespec{limit, limit}
	var folders []string
	set := func(name string) error {
		p := filepath.Join(dir, name)
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("setting the time of %q: %w", p, err)
		}
		return nil
	}
	err := filepath.WalkDir(changes, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if whiteout(st) || time.Unix(st.Mtim.Unix()).Compare(epoch) <= 0 {
			return nil
		}
		name := strings.TrimPrefix(p, changes)
		if d.IsDir() {
			folders = append(folders, name)
			return nil
		}
		return set(name)
	})
	for i := len(folders) - 1; i >= 0 && err == nil; i-- {
		err = set(folders[i])
	}
	return err
}

func whiteout(st unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }
