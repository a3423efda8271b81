package blockdevtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// CompareOptions say what may differ; the zero value compares everything.
type CompareOptions struct {
	Ignore       []string // paths such as /lost+found that are left out with what is below
	Parts        []string // mount points: what is below is another file system, no hard link leads there
	IgnoreXattrs []string // names of extended attributes
	Seconds      bool     // modification times are compared by the second
	NoTimes      bool     // nor by that
	NoOwners     bool
	NoXattrs     bool
	NoContent    bool
	FAT          bool // only what FAT holds: names, kinds, content, times of files to two seconds
	Limit        int  // of differences returned; 0: 100
}

// Difference is one thing that two trees do not have alike.
type Difference struct {
	Path string // below both roots, "/" for the roots
	What string // path, type, mode, owner, device, mtime, size, content, target, xattr NAME, links
	A, B string
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s: %s ≠ %s", d.Path, d.What, d.A, d.B)
}

// CompareTrees compares two trees: path, type, mode, owner, device number,
// modification time, content, extended attributes (so ACLs and capabilities),
// and which names are one file. Access and change times and the size of folders
// are no content. An error means that a tree could not be read.
func CompareTrees(a, b string, o CompareOptions) ([]Difference, error) {
	if o.Limit == 0 {
		o.Limit = 100
	}
	ta, err := readTree(a, o)
	if err != nil {
		return nil, err
	}
	tb, err := readTree(b, o)
	if err != nil {
		return nil, err
	}
	c := comparer{o: o, a: ta, b: tb}
	err = c.run()
	return c.all, err
}

// tree is what one walk found.
type tree struct {
	root  string
	nodes map[string]unix.Stat_t
	group map[string]string // path → first path of the same file
}

func readTree(root string, o CompareOptions) (*tree, error) {
	t := &tree{root: root, nodes: map[string]unix.Stat_t{}, group: map[string]string{}}
	first := map[fileKey]string{}
	var walk func(path string) error
	walk = func(path string) error {
		if slices.Contains(o.Ignore, path) {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, path), &st); err != nil {
			return fmt.Errorf("lstat %s%s: %w", root, path, err)
		}
		t.nodes[path] = st
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			t.join(path, partOf(path, o.Parts), st, first)
			return nil
		}
		entries, err := os.ReadDir(filepath.Join(root, path)) // sorted, so that first is the same in both
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := walk(strings.TrimSuffix(path, "/") + "/" + e.Name()); err != nil {
				return err
			}
		}
		return nil
	}
	err := walk("/")
	return t, err
}

// fileKey is a file, however many names it has.
type fileKey struct {
	part     string
	dev, ino uint64
}

// partOf returns the longest of the mount points that path is below.
func partOf(path string, parts []string) string {
	found := "/"
	for _, p := range parts {
		if strings.HasPrefix(path, p+"/") && len(p) > len(found) {
			found = p
		}
	}
	return found
}

func (t *tree) join(path, part string, st unix.Stat_t, first map[fileKey]string) {
	key := fileKey{part, uint64(st.Dev), st.Ino}
	if _, ok := first[key]; !ok {
		first[key] = path
	}
	t.group[path] = first[key]
}

type comparer struct {
	o    CompareOptions
	a, b *tree
	all  []Difference
}

func (c *comparer) differ(path, what, a, b string) {
	if a != b && len(c.all) < c.o.Limit {
		c.all = append(c.all, Difference{path, what, a, b})
	}
}

func (c *comparer) run() error {
	for _, path := range slices.Sorted(maps.Keys(c.a.nodes)) {
		sb, ok := c.b.nodes[path]
		if !ok {
			c.differ(path, "path", "there", "missing")
			continue
		}
		if err := c.node(path, c.a.nodes[path], sb); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(c.b.nodes)) {
		if _, ok := c.a.nodes[path]; !ok {
			c.differ(path, "path", "missing", "there")
		}
	}
	return nil
}

func (c *comparer) node(path string, a, b unix.Stat_t) error {
	kind := a.Mode & unix.S_IFMT
	if kind != b.Mode&unix.S_IFMT {
		c.differ(path, "type", fmt.Sprintf("%#o", kind), fmt.Sprintf("%#o", b.Mode&unix.S_IFMT))
		return nil
	}
	if c.o.FAT {
		if kind == unix.S_IFREG {
			c.differ(path, "mtime", c.time(a), c.time(b))
		}
		return c.content(path, kind, a, b)
	}
	c.differ(path, "mode", fmt.Sprintf("%#o", a.Mode&0o7777), fmt.Sprintf("%#o", b.Mode&0o7777))
	if !c.o.NoOwners {
		c.differ(path, "owner", fmt.Sprintf("%d:%d", a.Uid, a.Gid), fmt.Sprintf("%d:%d", b.Uid, b.Gid))
	}
	if kind == unix.S_IFBLK || kind == unix.S_IFCHR {
		c.differ(path, "device", fmt.Sprint(a.Rdev), fmt.Sprint(b.Rdev))
	}
	if !c.o.NoTimes {
		c.differ(path, "mtime", c.time(a), c.time(b))
	}
	c.differ(path, "links", c.a.group[path], c.b.group[path])
	if err := c.xattrs(path); err != nil {
		return err
	}
	return c.content(path, kind, a, b)
}

func (c *comparer) time(st unix.Stat_t) string {
	if c.o.FAT {
		return fmt.Sprint(max(st.Mtim.Sec, 315532800) / 2 * 2) // from 1980 on
	}
	if c.o.Seconds {
		return fmt.Sprint(st.Mtim.Sec)
	}
	return fmt.Sprintf("%d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
}

func (c *comparer) content(path string, kind uint32, a, b unix.Stat_t) error {
	fa, fb := filepath.Join(c.a.root, path), filepath.Join(c.b.root, path)
	switch {
	case kind == unix.S_IFLNK:
		la, errA := os.Readlink(fa)
		lb, errB := os.Readlink(fb)
		c.differ(path, "target", la, lb)
		return errors.Join(errA, errB)
	case kind != unix.S_IFREG:
		return nil
	case a.Size != b.Size:
		c.differ(path, "size", fmt.Sprint(a.Size), fmt.Sprint(b.Size))
		return nil
	case c.o.NoContent || c.a.group[path] != path && !c.o.FAT: // another name was compared
		return nil
	}
	at, err := firstDifference(fa, fb)
	if err != nil {
		return err
	}
	if at >= 0 {
		c.differ(path, "content", fmt.Sprintf("at byte %d", at), "other data")
	}
	return nil
}

// firstDifference returns the offset near which two files of one size differ, -1
// when they do not.
func firstDifference(a, b string) (int64, error) {
	fa, err := os.Open(a)
	if err != nil {
		return 0, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return 0, err
	}
	defer fb.Close()
	ba, bb := make([]byte, 64<<10), make([]byte, 64<<10)
	for pos := int64(0); ; {
		na, errA := io.ReadFull(fa, ba)
		nb, errB := io.ReadFull(fb, bb)
		if !bytes.Equal(ba[:na], bb[:nb]) {
			return pos, nil
		}
		if errA != nil || errB != nil {
			return -1, errors.Join(unlessEnd(errA), unlessEnd(errB))
		}
		pos += int64(na)
	}
}

func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func (c *comparer) xattrs(path string) error {
	if c.o.NoXattrs {
		return nil
	}
	xa, err := readXattrs(filepath.Join(c.a.root, path))
	if err != nil {
		return err
	}
	xb, err := readXattrs(filepath.Join(c.b.root, path))
	if err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(xa))
	for n := range xb {
		if _, ok := xa[n]; !ok {
			names = append(names, n)
		}
	}
	for _, n := range names {
		if !slices.Contains(c.o.IgnoreXattrs, n) {
			c.differ(path, "xattr "+n, show(xa, n), show(xb, n))
		}
	}
	return nil
}

func show(m map[string]string, name string) string {
	if v, ok := m[name]; ok {
		return fmt.Sprintf("%q", v)
	}
	return "none"
}

func readXattrs(path string) (map[string]string, error) {
	all := map[string]string{}
	buf := make([]byte, 64<<10) // the kernel's limit for lists and values
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("llistxattr %s: %w", path, err)
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name == "" {
			continue
		}
		v := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, v)
		if err != nil {
			return nil, fmt.Errorf("lgetxattr %s %s: %w", path, name, err)
		}
		all[name] = string(v[:n])
	}
	return all, nil
}
