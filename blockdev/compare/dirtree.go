package compare

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dirTree is a folder of this machine.
type dirTree struct {
	dir string
	// image says that it is a mount of an image: its times of access and change
	// are the image's, not of what was done with it here.
	image bool
}

func (t dirTree) root() (*node, error) { return &node{path: "/"}, nil }

// stat adds what statx(2) says.
func (t dirTree) stat(n *node) error {
	path := n.path
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, t.dir+path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return &os.PathError{Op: "stat", Path: t.dir + path, Err: err}
	}
	n.kind, n.size = kindOf(uint32(st.Mode)), int64(st.Size)
	n.facts = append(ownerFacts(uint32(st.Mode), st.Uid, st.Gid), fact{"mtime", statxTime(st.Mtime)})
	if t.image {
		n.facts = append(n.facts, fact{"atime", statxTime(st.Atime)}, fact{"ctime", statxTime(st.Ctime)}, fact{"created", statxTime(st.Btime)})
		n.number = fmt.Sprint(st.Ino)
	}
	if n.kind == kindChar || n.kind == kindBlock {
		n.facts = append(n.facts, fact{"device", fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor)})
	}
	if n.kind != kindFolder && st.Nlink > 1 {
		n.id = st.Ino ^ unix.Mkdev(st.Dev_major, st.Dev_minor)<<40
	}
	return nil
}

func statxTime(t unix.StatxTimestamp) string { return timeText(t.Sec, int64(t.Nsec)) }

func (t dirTree) list(n *node) ([]*node, error) {
	entries, err := os.ReadDir(t.dir + n.path)
	if err != nil {
		return nil, err
	}
	all := make([]*node, 0, len(entries))
	for _, e := range entries {
		all = append(all, &node{name: e.Name(), path: below(n.path, e.Name())})
	}
	return all, nil
}

func (t dirTree) fill(n *node) error {
	if n.facts != nil {
		return nil
	}
	if err := t.stat(n); err != nil {
		return err
	}
	if n.kind == kindLink {
		to, err := os.Readlink(t.dir + n.path)
		if err != nil {
			return err
		}
		n.facts = append(n.facts, fact{"leads to", shown(to)})
	}
	path := t.dir + n.path
	names, err := grown(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if err != nil {
		return fmt.Errorf("extended attributes of %q: %w", path, err)
	}
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 {
			continue
		}
		v, err := grown(func(b []byte) (int, error) { return unix.Lgetxattr(path, string(name), b) })
		if err != nil {
			return fmt.Errorf("extended attribute %q of %q: %w", name, path, err)
		}
		n.attrs = append(n.attrs, fact{string(name), string(v)})
	}
	return nil
}

// grown calls what fills a buffer, first to learn how large it has to be.
func grown(call func([]byte) (int, error)) ([]byte, error) {
	n, err := call(nil)
	if n == 0 || errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err == nil {
		b := make([]byte, n)
		if n, err = call(b); err == nil {
			return b[:n], nil
		}
	}
	return nil, err
}

func (t dirTree) open(n *node) (content, error) {
	f, err := os.OpenFile(t.dir+n.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	return fileContent{region{f, 0, n.size}}, nil
}

type fileContent struct{ region }

func (c fileContent) Close() error { return c.f.Close() }
