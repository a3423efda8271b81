package ext4_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// TestHoles builds from copies of one tree on many file systems: the images are
// equal, whoever reads and by however many readers, for blocks of 1 and 4 KiB. In
// the image a swap file of zeros has no hole.
func TestHoles(t *testing.T) {
	tree := t.TempDir()
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "setfacl")
	largeTree(t, tree)
	must(t, os.Mkdir(filepath.Join(tree, "home"), 0o755))
	tool(t, "setfacl", "-m", "u:1000:rw", filepath.Join(tree, "a-data"))
	grow(t, filepath.Join(tree, "home"), 5, 60)
	for name, size := range map[string]int64{"swap": 1 << 20, "sparse": 3 << 20, "small": 9000} {
		f, err := os.Create(filepath.Join(tree, name))
		must(t, err)
		if name == "swap" {
			_, err = f.Write(make([]byte, size))
		} else {
			_, err = f.WriteAt([]byte("data"), 5000)
		}
		must(t, err)
		must(t, f.Truncate(size))
		must(t, f.Close())
	}
	places := blockdevtest.Places(t)
	must(t, os.RemoveAll(places["here"]))
	for _, dir := range places {
		tool(t, "cp", "-aT", tree, dir)
	}
	for _, o := range []ext4.Options{{}, {BlockSize: 1024, Workers: 1}, {Features: ext4.Ext2(), Workers: 3}} {
		o.Size = 64 << 20
		want := write(t, tree, fixed(o))
		for where, dir := range places {
			path := filepath.Join(t.TempDir(), "image")
			must(t, writeTo(t, path, dir, fixed(o)))
			if out, err := os.ReadFile(path); err != nil || !sameFile(t, want, out) {
				t.Errorf("%+v: from %s: other bytes (%v)", o, where, err)
			}
			must(t, os.Remove(path))
		}
		dir := mount(t, want)
		for name, n := range map[string]int64{"swap": 1 << 20, "b-zeros": 9 << 20, "sparse": 1 << 10} {
			var st unix.Stat_t
			must(t, unix.Stat(filepath.Join(dir, name), &st))
			if st.Blocks*512 < n || name == "sparse" && st.Blocks*512 > 8<<10 {
				t.Errorf("%s has %d bytes of blocks, want at least %d, of sparse at most 8192", name, st.Blocks*512, n)
			}
		}
		unmount(t, dir)
	}
}

func sameFile(t *testing.T, path string, b []byte) bool {
	t.Helper()
	want, err := os.ReadFile(path)
	must(t, err)
	return string(want) == string(b)
}
