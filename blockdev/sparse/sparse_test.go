package sparse_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/sparse"
)

const k = 1 << 10

// deed is one way of making a part of a file.
type deed struct {
	what     string // write, zeros, room (allocated, not written), hole
	from, to int64
}

// files have a length, and what is written into them in order.
var files = []struct {
	name  string
	size  int64
	deeds []deed
	has   bool           // holes
	data  []sparse.Range // of a sparse one, by blocks of 1 KiB
}{
	{"data", 100 * k, []deed{{"write", 0, 100 * k}}, false, nil},
	{"zeros", 100 * k, []deed{{"zeros", 0, 100 * k}}, false, nil},
	{"room", 100 * k, []deed{{"room", 0, 100 * k}}, false, nil},
	{"room with data", 100 * k, []deed{{"room", 0, 100 * k}, {"write", 40 * k, 44 * k}}, false, nil},
	{"nothing", 100 * k, nil, true, nil},
	{"odd nothing", 77, nil, true, nil},
	{"zeros behind data", 100 * k, []deed{{"write", 0, 8 * k}, {"zeros", 8 * k, 16 * k}}, true, []sparse.Range{{0, 8 * k}}},
	{"a hole in zeros", 100 * k, []deed{{"zeros", 0, 40 * k}, {"zeros", 60 * k, 100 * k}}, true, nil},
	{"islands", 100*k + 1, []deed{{"write", 8 * k, 9 * k}, {"write", 50*k - 1, 50*k + 1}, {"write", 100 * k, 100*k + 1}}, true,
		[]sparse.Range{{8 * k, 9 * k}, {49 * k, 51 * k}, {100 * k, 100*k + 1}}},
	{"end within a page", 5000, []deed{{"write", 0, 4 * k}}, true, []sparse.Range{{0, 4 * k}}},
	{"end within a block", 9*k + 5, []deed{{"write", 0, 8 * k}}, true, []sparse.Range{{0, 8 * k}}},
	{"less than a page", 16 * k, []deed{{"write", 0, k}, {"write", 3 * k, 16 * k}}, false, nil},
	{"across a page's edge", 16 * k, []deed{{"write", 0, 3 * k}, {"write", 6 * k, 16 * k}}, false, nil},
	{"punched", 64 * k, []deed{{"write", 0, 64 * k}, {"hole", 16 * k, 24 * k}}, true, []sparse.Range{{0, 16 * k}, {24 * k, 64 * k}}},
	{"long", 3 << 20, []deed{{"write", 0, 1 << 20}, {"write", 2<<20 - 1, 2<<20 + 1}}, true, []sparse.Range{{0, 1 << 20}, {2<<20 - k, 2<<20 + k}}},
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, f *os.File, d deed) {
	t.Helper()
	b := make([]byte, d.to-d.from)
	if d.what == "write" {
		for i := range b {
			b[i] = 'x'
		}
	}
	switch d.what {
	case "write", "zeros":
		_, err := f.WriteAt(b, d.from)
		must(t, err)
	case "room":
		must(t, unix.Fallocate(int(f.Fd()), 0, d.from, d.to-d.from))
	case "hole":
		must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, d.from, d.to-d.from))
	}
}

// TestEverywhere makes the same files on many file systems and finds the same,
// before and after they are on the disk.
func TestEverywhere(t *testing.T) {
	for where, dir := range blockdevtest.Places(t) {
		for _, c := range files {
			if where == "ext2" && slices.ContainsFunc(c.deeds, func(d deed) bool { return d.what == "room" }) {
				continue // it cannot
			}
			path := filepath.Join(dir, c.name)
			f, err := os.Create(path)
			must(t, err)
			for _, d := range c.deeds {
				do(t, f, d)
			}
			must(t, f.Truncate(c.size))
			for _, when := range []string{"fresh", "synced"} {
				if when == "synced" {
					must(t, f.Sync())
				}
				judge(t, where+", "+when+", "+c.name, f, c.has, c.data)
			}
			must(t, f.Close())
		}
	}
}

func judge(t *testing.T, name string, f *os.File, want bool, data []sparse.Range) {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &st))
	has, err := sparse.Has(int(f.Fd()), &st)
	must(t, err)
	if has != want {
		told, _ := sparse.Told(int(f.Fd()), st.Size)
		t.Errorf("%s: holes %v, want %v; the file system tells of data in %v and %d blocks", name, has, want, told, st.Blocks)
		return
	}
	if !has {
		return
	}
	got, err := sparse.Data(int(f.Fd()), st.Size, k)
	must(t, err)
	if !slices.Equal(got, data) {
		t.Errorf("%s: data %v, want %v", name, got, data)
	}
}
