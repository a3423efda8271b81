package ext4_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
	"github.com/lithify/lithify/blockdev/guest"
)

// TestMain gives the tests a mount namespace.
func TestMain(m *testing.M) {
	guest.OwnMounts()
	os.Exit(m.Run())
}

// largeTree has long files of every kind: odd lengths, holes before, between and
// behind data, zeros that are no holes, and data that begins within a block.
func largeTree(t *testing.T, dir string) {
	t.Helper()
	r := rand.NewChaCha8([32]byte{7})
	for name, c := range map[string]struct {
		size  int64
		parts []int64 // where 300,001 bytes of data are
	}{
		"a-data":   {5<<20 + 77, []int64{0, 300001, 600002, 900003, 1200004, 1500005, 4<<20 + 1}},
		"b-zeros":  {9 << 20, nil},
		"c-holes":  {40 << 20, []int64{5 << 20, 11<<20 + 513, 33<<20 + 1025}},
		"d-tail":   {17<<20 + 1, []int64{0}},
		"e-end":    {8<<20 + 300001, []int64{8 << 20}},
		"f-edge":   {1 << 20, []int64{0, 300001, 600002, 1<<20 - 300001}},
		"g-just":   {128 << 10, []int64{-172000}},
		"h-hidden": {6 << 20, []int64{3<<20 - 1000}},
	} {
		f, err := os.Create(filepath.Join(dir, name))
		must(t, err)
		if name == "b-zeros" || name == "h-hidden" {
			_, err = f.Write(make([]byte, c.size))
			must(t, err)
		}
		must(t, f.Truncate(c.size))
		for _, at := range c.parts {
			b := make([]byte, 300001)
			_, _ = r.Read(b)
			if at < 0 {
				b, at = b[-at:], 0
			}
			_, err = f.WriteAt(b[:min(int64(len(b)), c.size-at)], at)
			must(t, err)
		}
		must(t, f.Close())
	}
}

// throughUs hides that the target is a file.
type throughUs struct{ f *os.File }

func (w throughUs) WriteAt(p []byte, at int64) (int, error) { return w.f.WriteAt(p, at) }

// TestKernelCopies: what the kernel copies is what this process copies, from
// every kind of source, and the files in it are the tree's.
func TestKernelCopies(t *testing.T) {
	sources := map[string]string{"same": t.TempDir()}
	if os.Geteuid() == 0 {
		mounts := t.TempDir()
		for _, name := range []string{"tmpfs", "overlay"} {
			sources[name] = filepath.Join(mounts, name)
			must(t, os.Mkdir(sources[name], 0o755))
		}
		must(t, unix.Mount("tmpfs", sources["tmpfs"], "tmpfs", 0, ""))
		t.Cleanup(func() { unix.Unmount(sources["tmpfs"], 0) })
		o := "userxattr"
		for _, key := range []string{"lowerdir", "upperdir", "workdir"} {
			must(t, os.Mkdir(filepath.Join(mounts, key), 0o755))
			o += "," + key + "=" + filepath.Join(mounts, key)
		}
		must(t, unix.Mount("overlay", sources["overlay"], "overlay", 0, o))
		t.Cleanup(func() { unix.Unmount(sources["overlay"], 0) })
	} else {
		blockdevtest.NeedRoot(t)
	}
	for name, tree := range sources {
		largeTree(t, tree)
		for _, o := range []ext4.Options{
			{}, {BlockSize: 1024, Workers: 1}, {NotEmpty: true, Offset: 1<<20 + 512}, {Features: ext4.Ext2(), BlockSize: 2048},
		} {
			o.Size = 64 << 20
			o = fixed(o)
			var images [][]byte
			for i := range 2 {
				path := filepath.Join(t.TempDir(), "image")
				f, err := os.Create(path)
				must(t, err)
				must(t, f.Truncate(o.Offset+o.Size))
				if o.NotEmpty {
					_, err := f.WriteAt(bytes.Repeat([]byte("old!"), 16<<20), o.Offset)
					must(t, err)
				}
				if i == 0 {
					err = ext4.Write(t.Context(), f, tree, o)
				} else {
					err = ext4.Write(t.Context(), throughUs{f}, tree, o)
				}
				must(t, err)
				must(t, f.Close())
				b, err := os.ReadFile(path)
				must(t, err)
				images = append(images, b[o.Offset:])
			}
			if !bytes.Equal(images[0], images[1]) {
				t.Errorf("from %s with %+v: the kernel copies other bytes", name, o)
			}
			if name != "same" && o.BlockSize != 1024 { // the bytes are equal
				continue
			}
			path := filepath.Join(t.TempDir(), "image")
			must(t, os.WriteFile(path, images[0], 0o600))
			check(t, path)
			compare(t, path, tree, blockdevtest.CompareOptions{})
		}
	}
}

// TestKernelLeavesHoles: zeros that are data take no room in the target.
func TestKernelLeavesHoles(t *testing.T) {
	tree := t.TempDir()
	must(t, os.WriteFile(filepath.Join(tree, "zeros"), make([]byte, 32<<20), 0o644))
	path := write(t, tree, fixed(ext4.Options{Size: 64 << 20}))
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if st.Blocks*512 > 4<<20 {
		t.Errorf("the image takes %d bytes", st.Blocks*512)
	}
}

// TestKernelChanged: a long file that becomes shorter or longer once it has been
// looked at is an error that names it, whoever copies.
func TestKernelChanged(t *testing.T) {
	for what, size := range map[string]int64{"shorter": 1 << 20, "longer": 9 << 20, "empty": 0} {
		for _, direct := range []bool{true, false} {
			var err error
			// The one before must take long enough for the change to come in time.
			for before := 64 << 20; before <= 1<<30 && err == nil; before *= 4 {
				err = changedMeanwhile(t, before, size, direct)
			}
			if err == nil || !strings.Contains(err.Error(), `"/b": it was changed meanwhile: it had 8388608 bytes`) {
				t.Errorf("%s, directly %v: %v", what, direct, err)
			}
		}
	}
}

// changedMeanwhile changes a file's size while the one before it is written.
func changedMeanwhile(t *testing.T, before int, size int64, direct bool) error {
	tree := t.TempDir()
	must(t, os.WriteFile(filepath.Join(tree, "a"), bytes.Repeat([]byte("x"), before), 0o644))
	late := filepath.Join(tree, "b")
	must(t, os.WriteFile(late, bytes.Repeat([]byte("y"), 8<<20), 0o644))
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	must(t, err)
	defer os.Remove(f.Name())
	defer f.Close()
	done, changed := make(chan bool), make(chan error, 1)
	go func() {
		for {
			select {
			case <-done:
				changed <- nil
				return
			case <-time.After(100 * time.Microsecond):
			}
			if isOpen(late) {
				changed <- os.Truncate(late, size)
				return
			}
		}
	}()
	var w io.WriterAt = f
	if !direct {
		w = throughUs{f}
	}
	err = ext4.Write(t.Context(), w, tree, fixed(ext4.Options{Size: int64(before) + 100<<20}))
	close(done)
	must(t, <-changed)
	return err
}

// isOpen says whether this process has a file open.
func isOpen(path string) bool {
	all, err := os.ReadDir("/proc/self/fd")
	return err == nil && slices.ContainsFunc(all, func(e os.DirEntry) bool {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		return err == nil && to == path
	})
}
