package oci

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// snapshot describes every file of a tree: type, mode, owner, mtime, device,
// attributes, content, and the first name of a file with several.
func snapshot(t testing.TB, root string, wholeSeconds bool) map[string]string {
	t.Helper()
	all := map[string]string{}
	first := map[inode]string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := lstat(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if wholeSeconds {
			st.Mtim.Nsec = 0
		}
		d := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			d += fmt.Sprintf(" %d %x", len(data), sha256.Sum256(data))
		case unix.S_IFLNK:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			d += " -> " + to
		case unix.S_IFCHR, unix.S_IFBLK:
			d += fmt.Sprintf(" dev %x", st.Rdev)
		}
		if !isDir(st) {
			id := inode{uint64(st.Dev), st.Ino}
			if first[id] == "" {
				first[id] = rel
			}
			d += " =" + first[id]
		}
		attrs, err := xattrs(path)
		if err != nil {
			return err
		}
		for _, k := range slices.Sorted(maps.Keys(attrs)) {
			d += fmt.Sprintf(" %s=%q", k, attrs[k])
		}
		all[rel] = d
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// diff lists the differences of two snapshots.
func diff(a, b map[string]string) []string {
	var d []string
	for k, v := range a {
		if b[k] != v {
			d = append(d, fmt.Sprintf("%s:\n\t%s\n\t%s", k, v, b[k]))
		}
	}
	for k, v := range b {
		if _, ok := a[k]; !ok {
			d = append(d, fmt.Sprintf("%s:\n\t-\n\t%s", k, v))
		}
	}
	sort.Strings(d)
	return d
}

// chaos changes a tree at random. Single operations may fail (a name in use, a
// rename of a lower folder): that is part of it.
type chaos struct {
	r   *rand.Rand
	dir string
}

func (c *chaos) name() string {
	depth := 1 + c.r.IntN(3)
	var parts []string
	for range depth {
		parts = append(parts, string(rune('a'+c.r.IntN(5))))
	}
	return filepath.Join(c.dir, filepath.Join(parts...))
}

func (c *chaos) existing() string {
	var all []string
	filepath.WalkDir(c.dir, func(p string, _ fs.DirEntry, err error) error {
		if p != c.dir {
			all = append(all, p)
		}
		return err
	})
	if len(all) == 0 {
		return c.name()
	}
	return all[c.r.IntN(len(all))]
}

func (c *chaos) file(p string) {
	os.MkdirAll(filepath.Dir(p), 0o755)
	if st, err := os.Lstat(p); err == nil && !st.Mode().IsRegular() {
		return // opening a pipe would wait
	}
	os.WriteFile(p, []byte(strings.Repeat(string(rune('A'+c.r.IntN(26))), c.r.IntN(9000))), 0o644)
}

func (c *chaos) step() {
	p, q := c.name(), c.existing()
	switch c.r.IntN(18) {
	case 0, 1, 2:
		c.file(p)
	case 3:
		c.file(q)
	case 4:
		os.MkdirAll(p, os.FileMode(0o700|c.r.IntN(0o100)))
	case 5:
		os.RemoveAll(q)
	case 6: // a folder made anew is opaque
		os.RemoveAll(q)
		os.Mkdir(q, 0o755)
		c.file(filepath.Join(q, "new"))
	case 7:
		os.RemoveAll(q)
		c.file(q)
	case 8:
		os.Rename(q, p)
	case 9:
		os.Symlink(q, p)
	case 10, 11:
		os.Link(q, p)
	case 12:
		unix.Chmod(q, uint32(c.r.IntN(0o10000)))
	case 13:
		os.Lchown(q, c.r.IntN(2000), c.r.IntN(2000))
	case 14:
		unix.Lsetxattr(q, "user.x", []byte{byte(c.r.IntN(256))}, 0)
	case 15:
		unix.Mkfifo(p, 0o600)
	case 16:
		unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	case 17:
		tm := time.Unix(int64(c.r.IntN(1e9)), int64(c.r.IntN(1e9)))
		os.Chtimes(q, tm, tm)
	}
}
