package extread_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/extread"
	"github.com/lithify/lithify/blockdev/guest"
)

// TestMain gives the tests a mount namespace.
func TestMain(m *testing.M) {
	guest.OwnMounts()
	os.Exit(m.Run())
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	blockdevtest.Need(t, name)
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// mkfs makes a file system in a new file, by mke2fs.
func mkfs(t testing.TB, size int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	tool(t, "mke2fs", append(append([]string{"-q", "-F"}, args...), path)...)
	return path
}

// mount gives an image to the kernel.
func mount(t testing.TB, path string, options string) string {
	t.Helper()
	blockdevtest.NeedRoot(t)
	dir := t.TempDir()
	dev := strings.TrimSpace(tool(t, "losetup", "--find", "--show", path))
	t.Cleanup(func() { tool(t, "losetup", "-d", dev) })
	tool(t, "mount", "-o", options, dev, dir)
	t.Cleanup(func() { tool(t, "umount", dir) })
	return dir
}

// said is all that is known of a file, in words.
type said struct {
	what  string
	attrs map[string]string
	data  []byte
}

// kernelTree is what the kernel shows of a tree.
func kernelTree(t testing.TB, dir string) map[string]said {
	t.Helper()
	all := map[string]said{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
			return err
		}
		s := said{attrs: kernelAttrs(t, path)}
		at := func(x unix.StatxTimestamp) string { return fmt.Sprintf("%d.%09d", x.Sec, x.Nsec) }
		birth := at(st.Btime)
		if st.Mask&unix.STATX_BTIME == 0 {
			birth = at(unix.StatxTimestamp{})
		}
		if st.Blocks == 1 { // what the kernel says of data in the inode
			st.Blocks = 0
		}
		s.what = fmt.Sprintf("%o %d:%d %d links, inode %d, %d sectors, device %d:%d, %s %s %s %s", st.Mode, st.Uid, st.Gid, st.Nlink, st.Ino,
			st.Blocks, st.Rdev_major, st.Rdev_minor, at(st.Atime), at(st.Ctime), at(st.Mtime), birth)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			s.what += fmt.Sprintf(" %d bytes, data %v", st.Size, kernelData(t, path, int64(st.Size)))
			s.data, err = os.ReadFile(path)
		case unix.S_IFLNK:
			var to string
			to, err = os.Readlink(path)
			s.data = []byte(to)
		}
		all[strings.TrimPrefix(path, dir)] = s
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func kernelAttrs(t testing.TB, path string) map[string]string {
	t.Helper()
	all := map[string]string{}
	b := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, b)
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(string(b[:n]), "\x00") {
		if name == "" {
			continue
		}
		v := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, v)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(v[:n])
	}
	return all
}

// kernelData are the stretches that are no holes.
func kernelData(t testing.TB, path string, size int64) []extread.Range {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []extread.Range
	for off := int64(0); off < size; {
		from, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		to, err2 := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		all = append(all, extread.Range{From: from, To: to})
		off = to
	}
	return all
}

// ourTree is what the package shows.
func ourTree(t testing.TB, path string) map[string]said {
	t.Helper()
	img, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	st, err := img.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := extread.Open(img, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]said{}
	var visit func(ino uint32, path string)
	visit = func(ino uint32, path string) {
		n, err := f.Inode(ino)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all[path] = ourFile(t, f, n)
		if n.Kind() != unix.S_IFDIR {
			return
		}
		entries, err := f.ReadDir(n)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, e := range entries {
			visit(e.Inode, path+"/"+e.Name)
		}
	}
	visit(extread.RootInode, "")
	return all
}

func ourFile(t testing.TB, f *extread.FS, n *extread.Inode) said {
	t.Helper()
	major, minor := uint32(0), uint32(0)
	if n.Kind() == unix.S_IFCHR || n.Kind() == unix.S_IFBLK {
		major, minor = n.Device()
	}
	s := said{attrs: map[string]string{}}
	s.what = fmt.Sprintf("%o %d:%d %d links, inode %d, %d sectors, device %d:%d, %s %s %s %s", n.Mode, n.UID, n.GID, n.Links, n.Number,
		n.Sectors, major, minor, n.Atime, n.Ctime, n.Mtime, n.Created)
	attrs, err := f.Attrs(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attrs {
		s.attrs[a.Name] = string(a.Value)
	}
	switch n.Kind() {
	case unix.S_IFLNK:
		to, err := f.Link(n)
		if err != nil {
			t.Fatal(err)
		}
		s.data = []byte(to)
	case unix.S_IFREG:
		c, err := f.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		s.what += fmt.Sprintf(" %d bytes, data %v", n.Size, ourData(t, c))
		s.data = make([]byte, n.Size)
		if k, err := c.ReadAt(s.data, 0); int64(k) != n.Size {
			t.Fatal(k, err)
		}
	}
	return s
}

func ourData(t testing.TB, c *extread.File) []extread.Range {
	t.Helper()
	var all []extread.Range
	for off := int64(0); off < c.Size(); {
		from, to, err := c.NextData(off)
		if err != nil {
			t.Fatal(err)
		}
		if from == to {
			break
		}
		all = append(all, extread.Range{From: from, To: to})
		off = to
	}
	return all
}

// TestTreeIsTheKernels: whatever kind of file system mke2fs makes and the kernel
// fills, what is read is what the kernel shows, to the nanosecond and hole.
func TestTreeIsTheKernels(t *testing.T) {
	blockdevtest.NeedRoot(t)
	nasty := t.TempDir()
	blockdevtest.NastyTree(t, nasty)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"ext2, 1 KiB", []string{"-t", "ext2", "-b", "1024"}},
		{"ext2, 4 KiB, inodes of 128", []string{"-t", "ext2", "-b", "4096", "-I", "128"}},
		{"ext3, 1 KiB", []string{"-t", "ext3", "-b", "1024", "-I", "256"}},
		{"ext3, 2 KiB", []string{"-t", "ext3", "-b", "2048"}},
		{"ext4, 1 KiB", []string{"-t", "ext4", "-b", "1024"}},
		{"ext4, 2 KiB, inodes of 1024", []string{"-t", "ext4", "-b", "2048", "-I", "1024"}},
		{"ext4, 4 KiB", []string{"-t", "ext4", "-b", "4096"}},
		{"ext4, old", []string{"-t", "ext4", "-b", "4096", "-O", "^64bit,^metadata_csum,uninit_bg", "-I", "128"}},
		{"ext4, meta_bg", []string{"-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode,^flex_bg"}},
		{"ext4, inline_data", []string{"-t", "ext4", "-b", "4096", "-O", "inline_data"}},
		{"ext4, ea_inode", []string{"-t", "ext4", "-b", "1024", "-O", "ea_inode"}},
		{"ext4, bigalloc", []string{"-t", "ext4", "-b", "4096", "-O", "bigalloc", "-C", "16384"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := mkfs(t, 192<<20, c.args...)
			fillTree(t, path, nasty)
			compareSaid(t, kernelTree(t, mount(t, path, "ro")), ourTree(t, path))
		})
	}
}

// fillTree has the kernel fill a file system, and unmounts it.
func fillTree(t *testing.T, path, from string) {
	t.Helper()
	dir := t.TempDir()
	dev := strings.TrimSpace(tool(t, "losetup", "--find", "--show", path))
	defer tool(t, "losetup", "-d", dev)
	tool(t, "mount", dev, dir)
	defer tool(t, "umount", dir)
	// A long attribute does not fit blocks of 1 KiB; cp says so and goes on.
	out, err := exec.Command("cp", "-a", from+"/.", dir).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "No space left") {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	if err := unix.Lsetxattr(filepath.Join(dir, "etc/fstab"), "user.half", bytes.Repeat([]byte("v\x00"), 200), 0); err != nil {
		t.Fatal(err)
	}
	// Pieces of two blocks with holes between them: a map of several levels.
	f, err := os.Create(filepath.Join(dir, "pieces"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range int64(600) {
		if _, err := f.WriteAt([]byte("piece"), i*3*16384); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 40<<20, 1<<20); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Fatal(err)
	}
}

func compareSaid(t *testing.T, want, got map[string]said) {
	t.Helper()
	if len(want) < 700 {
		t.Fatalf("only %d files", len(want))
	}
	for _, p := range slices.Sorted(maps.Keys(want)) {
		w, g := want[p], got[p]
		if w.what != g.what {
			t.Errorf("%s:\nkernel %s\nours   %s", p, w.what, g.what)
		}
		if !maps.Equal(w.attrs, g.attrs) {
			t.Errorf("%s: attributes %q, the kernel's %q", p, g.attrs, w.attrs)
		}
		if string(w.data) != string(g.data) {
			t.Errorf("%s: another content", p)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, the kernel has %d", len(got), len(want))
	}
}
