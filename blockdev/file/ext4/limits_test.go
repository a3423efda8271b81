package ext4_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWide has folders with an index of one and of two levels, and one too large
// for that.
func TestWide(t *testing.T) {
	blockdevtest.NeedRoot(t)
	for _, c := range []struct {
		name    string
		entries int
		length  int // of names
		levels  string
		o       ext4.Options
	}{
		{"one level", 3000, 20, "Indirect levels: 0", ext4.Options{Size: 64 << 20}},
		{"two levels", 6000, 30, "Indirect levels: 1", ext4.Options{Size: 64 << 20, BlockSize: 1024}},
		{"two levels, no checksums", 6000, 30, "Indirect levels: 1", ext4.Options{Size: 64 << 20, BlockSize: 1024, Features: ext4.Ext3()}},
		{"too many for an index", 52000, 250, "", ext4.Options{Size: 64 << 20, BlockSize: 1024}},
		{"a hundred thousand", 100000, 40, "Indirect levels: 1", ext4.Options{Size: 128 << 20, BytesPerInode: 16384}},
	} {
		if c.levels == "" && os.Getenv("LITHIFY_EXT4_TREES") == "" {
			continue // it takes half a minute
		}
		t.Run(c.name, func(t *testing.T) {
			if c.entries > 10000 && testing.Short() {
				t.Skip("it takes long: not with -short")
			}
			tree := t.TempDir()
			must(t, os.Mkdir(filepath.Join(tree, "wide"), 0o755))
			first := filepath.Join(tree, "wide/first")
			must(t, os.WriteFile(first, []byte("all names are this file, but for a few"), 0o644))
			for i := range c.entries - 1 {
				path := filepath.Join(tree, "wide", fmt.Sprintf("%0*d", c.length, i))
				if i%60000 == 59999 {
					first = filepath.Join(tree, "wide", "next"+strconv.Itoa(i))
					must(t, os.WriteFile(first, []byte("a file has at most 65000 names"), 0o644))
				}
				must(t, os.Link(first, path))
			}
			path := write(t, tree, fixed(c.o))
			if out := tool(t, "debugfs", "-R", "htree_dump /wide", path); !strings.Contains(out, c.levels) || c.levels == "" != strings.Contains(out, "Not a hash-indexed") {
				t.Errorf("%s", out[:min(len(out), 400)])
			}
			compare(t, path, tree, blockdevtest.CompareOptions{})
		})
	}
}

// TestExtents has files of 0 to 1500 extents: none, in the inode, one level and
// two levels of nodes, and what ext2 makes of it.
func TestExtents(t *testing.T) {
	blockdevtest.NeedRoot(t)
	tree := t.TempDir()
	counts := []int{0, 1, 3, 4, 5, 84, 85, 300, 339, 340, 341, 400}
	for _, n := range counts {
		scattered(t, filepath.Join(tree, fmt.Sprint(n)), n, 8192, 0)
	}
	scattered(t, filepath.Join(tree, "far"), 9, 1<<29, 12345) // to 4 GB: all three levels of pointers
	for name, o := range map[string]ext4.Options{
		"ext4":        {},
		"block 1024":  {BlockSize: 1024},
		"ext2":        {Features: ext4.Ext2()},
		"ext2, 1024":  {Features: ext4.Ext2(), BlockSize: 1024},
		"old, 2048":   {Features: ext4.Ext4Old(), BlockSize: 2048},
		"not a level": {Features: ext4.Ext3(), BlockSize: 2048},
	} {
		t.Run(name, func(t *testing.T) {
			o.Size = 64 << 20
			path := write(t, tree, fixed(o))
			compare(t, path, tree, blockdevtest.CompareOptions{NoContent: true})
			dir := mount(t, path, "ro")
			defer unmount(t, dir)
			for _, n := range append(counts, -1) {
				name := fmt.Sprint(n)
				if n < 0 {
					name = "far"
				}
				if a, b := dataMap(t, filepath.Join(tree, name)), dataMap(t, filepath.Join(dir, name)); a != b {
					t.Errorf("%s: data at\n%s in the image, in the tree at\n%s", name, b, a)
				}
			}
		})
	}
}

// scattered makes a file with n blocks of data, each a step from the next.
func scattered(t testing.TB, path string, n int, step, tail int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	for i := range n {
		_, err := f.WriteAt(bytes.Repeat([]byte(fmt.Sprintf("%7d\n", i)), 512), int64(i)*step)
		must(t, err)
	}
	must(t, f.Truncate(int64(n)*step+tail))
	must(t, f.Close())
}

// dataMap lists what of a file is no hole, and reads it.
func dataMap(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	var b strings.Builder
	for pos := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return b.String()
		}
		must(t, err)
		to, err := unix.Seek(int(f.Fd()), from, unix.SEEK_HOLE)
		must(t, err)
		data := make([]byte, to-from)
		_, err = f.ReadAt(data, from)
		must(t, err)
		fmt.Fprintf(&b, "%d-%d %.7s %.7s\n", from, to, data, data[len(data)-8:])
		pos = to
	}
}

// TestHardLinks has 10,000 names of one file in two folders, a file with names
// outside the tree, and one with too many names.
func TestHardLinks(t *testing.T) {
	blockdevtest.NeedRoot(t)
	top := t.TempDir()
	tree := filepath.Join(top, "tree")
	must(t, os.MkdirAll(filepath.Join(tree, "a"), 0o755))
	must(t, os.MkdirAll(filepath.Join(tree, "b"), 0o755))
	must(t, os.WriteFile(filepath.Join(top, "outside"), []byte("outside"), 0o644))
	must(t, os.Link(filepath.Join(top, "outside"), filepath.Join(tree, "inside")))
	first := filepath.Join(tree, "b/first")
	must(t, os.WriteFile(first, bytes.Repeat([]byte("first"), 50000), 0o644))
	for i := range 9999 {
		must(t, os.Link(first, filepath.Join(tree, []string{"a", "b"}[i%2], fmt.Sprint(i))))
	}
	path := write(t, tree, fixed(ext4.Options{Size: 64 << 20}))
	compare(t, path, tree, blockdevtest.CompareOptions{})
	if out := tool(t, "debugfs", "-R", "stat /b/first", path); !strings.Contains(out, "Links: 10000") {
		t.Error(out)
	}
	if out := tool(t, "debugfs", "-R", "stat /inside", path); !strings.Contains(out, "Links: 1 ") {
		t.Error(out)
	}
}

// TestDeep has a path far longer than a path may be for the kernel.
func TestDeep(t *testing.T) {
	const depth = 1500
	tree := t.TempDir()
	at, err := unix.Open(tree, unix.O_DIRECTORY, 0)
	must(t, err)
	name := strings.Repeat("d", 40)
	for range depth {
		must(t, unix.Mkdirat(at, name, 0o755))
		below, err := unix.Openat(at, name, unix.O_DIRECTORY, 0)
		must(t, err)
		for _, sibling := range []string{"a", "z"} { // after each return there is more to read
			must(t, unix.Mkdirat(at, sibling, 0o700))
		}
		must(t, unix.Close(at))
		at = below
	}
	fd, err := unix.Openat(at, "bottom", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	_, err = unix.Write(fd, []byte("reached"))
	must(t, errors.Join(err, unix.Close(fd), unix.Close(at)))
	path := write(t, tree, fixed(ext4.Options{Size: 256 << 20}))
	out := tool(t, "dumpe2fs", path)
	dirs := 0
	for _, m := range regexp.MustCompile(`(\d+) directories`).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		dirs += n
	}
	if dirs != 3*depth+2 { // the root, lost+found
		t.Errorf("%d folders, wanted %d", dirs, 3*depth+2)
	}
}

// TestFull fills a file system to the last block and inode, and one further.
func TestFull(t *testing.T) {
	o := fixed(ext4.Options{Size: 16 << 20, Inodes: 256})
	empty := filepath.Join(t.TempDir(), "empty")
	must(t, writeTo(t, empty, "", o))
	free, inodes := count(t, empty, "Free blocks"), count(t, empty, "Free inodes")
	for _, c := range []struct{ blocks, files, lackBlocks, lackInodes int64 }{
		{free, 1, 0, 0},
		{free + 1, 1, 1, 0},
		{free, inodes, 0, 0},
		{free + 700, inodes + 3, 700, 3},
		{3, inodes + 1, 0, 1},
	} {
		t.Run(fmt.Sprintf("%d blocks, %d files", c.blocks, c.files), func(t *testing.T) {
			tree := t.TempDir()
			for i := range c.files {
				must(t, os.WriteFile(filepath.Join(tree, fmt.Sprint(i)), nil, 0o644))
			}
			must(t, os.WriteFile(filepath.Join(tree, "0"), bytes.Repeat([]byte("full"), int(c.blocks)*1024), 0o644))
			path := filepath.Join(t.TempDir(), "image")
			err := writeTo(t, path, tree, o)
			if c.lackBlocks == 0 && c.lackInodes == 0 {
				must(t, err)
				check(t, path)
				if n := count(t, path, "Free blocks"); n != free-c.blocks {
					t.Errorf("%d blocks are free", n)
				}
				return
			}
			var full *ext4.FullError
			if !errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) || full.Blocks != c.lackBlocks || full.Inodes != c.lackInodes {
				t.Errorf("%v: wanted %d blocks and %d inodes lacking", err, c.lackBlocks, c.lackInodes)
			}
		})
	}
}

// count is a figure of dumpe2fs' head.
func count(t testing.TB, path, what string) int64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + what + `: +(\d+)$`).FindStringSubmatch(tool(t, "dumpe2fs", "-h", path))
	n, err := strconv.ParseInt(m[1], 10, 64)
	must(t, err)
	return n
}
