package fat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func inMemory(t testing.TB, tree string, o Options) *memory {
	t.Helper()
	m := &memory{}
	if err := Write(context.Background(), m, tree, o); err != nil {
		t.Fatal(err)
	}
	return m
}

func judgeMemory(t testing.TB, m *memory, want map[string]string) {
	t.Helper()
	v, err := openImage(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.files()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("read back %d files and folders, want %d", len(got), len(want))
	}
}

func TestManySizesEmpty(t *testing.T) {
	for size := int64(256 << 10); size < 2048*mib; size += 8*mib + 3*512 + size/50 {
		for _, sector := range []int{512, 2048, 4096} {
			judgeMemory(t, inMemory(t, "", Options{Size: size, SectorSize: sector, ESP: size%1024 != 0}), map[string]string{})
		}
	}
}

// TestTwiceEqual has another tree folder with equal content, and mtimes after
// the given time, give the same bytes.
func TestTwiceEqual(t *testing.T) {
	for _, bits := range []int{12, 16, 32} {
		var sums [2][]byte
		for i := range sums {
			tree := makeTree(t, sample())
			chtimes(t, tree, testTime.Add(time.Duration(i)*time.Hour))
			o := Options{Size: map[int]int64{12: 4, 16: 40, 32: 40}[bits] * mib, Bits: bits, Time: &testTime, Label: "x"}
			sums[i] = inMemory(t, tree, o).b
		}
		if !bytes.Equal(sums[0], sums[1]) {
			t.Errorf("FAT%d is not equal twice", bits)
		}
	}
}

func chtimes(t *testing.T, tree string, at time.Time) {
	t.Helper()
	err := filepath.Walk(tree, func(p string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Chtimes(p, at, at))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNotEmpty(t *testing.T) {
	need(t, "fsck.fat")
	files := sample()
	tree := makeTree(t, files)
	for _, o := range []Options{
		{Size: 4 * mib, NotEmpty: true}, {Size: 40 * mib, Bits: 16, NotEmpty: true, Label: "OLD"}, {Size: 40 * mib, ESP: true, NotEmpty: true},
	} {
		path := filepath.Join(t.TempDir(), "image")
		garbage := bytes.Repeat([]byte{0xA5, 1, 0x53}, int(o.Size)/3+1)[:o.Size]
		if err := os.WriteFile(path, garbage, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(Write(t.Context(), f, tree, o), f.Close()); err != nil {
			t.Fatal(err)
		}
		clean(t, path, tree, o)
		judgeByReader(t, path, wanted(files))
	}
}

// counter counts what is written.
type counter struct{ n int64 }

func (c *counter) WriteAt(p []byte, _ int64) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func TestZerosAreNotWritten(t *testing.T) {
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "hole"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(tree, "hole"), 100*mib); err != nil {
		t.Fatal(err)
	}
	var c counter
	if err := Write(t.Context(), &c, tree, Options{Size: 2048 * mib}); err != nil {
		t.Fatal(err)
	}
	if c.n > 300<<10 { // two FATs' part for 25,600 clusters, and a few sectors
		t.Errorf("%d bytes written for a hole", c.n)
	}
}

func TestOffset(t *testing.T) {
	need(t, "mcopy")
	files := sample()
	tree := makeTree(t, files)
	path := image(t, tree, Options{Offset: mib + 512, Size: 40 * mib, HiddenSectors: 2049, Time: &testTime})
	judgeByMtools(t, fmt.Sprintf("%s@@%d", path, mib+512), tree)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b[:mib+512], make([]byte, mib+512)) {
		t.Error("something was written before the offset")
	}
	if got := b[mib+512+28 : mib+512+32]; !bytes.Equal(got, []byte{1, 8, 0, 0}) {
		t.Errorf("hidden sectors % x", got)
	}
}

// TestTimes has mtools say what times it reads.
func TestTimes(t *testing.T) {
	need(t, "mcopy")
	tree := makeTree(t, map[string]string{"OLD": "1", "MIDDLE": "2", "NEW": "3", "LATE": "4"})
	given := map[string]time.Time{
		"OLD": time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), "MIDDLE": time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC),
		"NEW": testTime.Add(time.Hour), "LATE": time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	want := map[string]time.Time{
		"OLD": time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), "MIDDLE": time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC),
		"NEW": time.Date(2025, 3, 14, 15, 9, 26, 0, time.UTC), "LATE": time.Date(2025, 3, 14, 15, 9, 26, 0, time.UTC),
	}
	for name, at := range given {
		if err := os.Chtimes(filepath.Join(tree, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	path, out := image(t, tree, Options{Size: 16 * mib, Time: &testTime}), t.TempDir()
	run(t, "mcopy", "-m", "-i", path, "::*", out)
	for name, at := range want {
		st, err := os.Stat(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		if !st.ModTime().Equal(at) {
			t.Errorf("%s: %v, want %v", name, st.ModTime().UTC(), at)
		}
	}
	if day, clock, h := dosTime(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)); day != 127<<9|12<<5|31 || clock != 23<<11|59<<5|29 || h != 0 {
		t.Errorf("the last time is %#x %#x %d", day, clock, h)
	}
}

func TestLargeFolders(t *testing.T) {
	need(t, "fsck.fat", "mcopy")
	files := map[string]string{
		strings.Repeat("deep/", 60) + "end":               "e",
		"same/prefix~1":                                   "taken",
		"same/PREFIX~2.LON":                               "taken too",
		"same/" + strings.Repeat("n", 251) + ".txt":       "long",
		"same/" + strings.Repeat("ü", 120) + ".txt":       "255 UTF-16 units at most, not bytes",
		"same/prefix with a space.long extension":         "p",
		"same/.prefix":                                    "p",
		"same/" + strings.Repeat("thirteen-char", 10):     "no end mark in ten entries",
		"same/" + strings.Repeat("thirteen-char", 10)[1:]: "one",
	}
	for i := range 2000 {
		files[fmt.Sprintf("same/prefix number %d.long extension", i)] = fmt.Sprint(i)
	}
	tree := makeTree(t, files)
	for _, o := range []Options{{Size: 8 * mib}, {Size: 64 * mib}, {Size: 64 * mib, ESP: true}, {Size: 300 * mib, SectorSize: 4096, ESP: true}} {
		path := image(t, tree, o)
		clean(t, path, tree, o)
		judgeByReader(t, path, wanted(files))
		if o.ESP && o.SectorSize == 0 { // two thousand files take their time
			judgeByMtools(t, path, tree)
		}
	}
	astral := map[string]string{"🚀.txt": "mtools cannot read it", strings.Repeat("🚀", 60): "240 bytes"}
	judgeMemory(t, inMemory(t, makeTree(t, astral), Options{Size: mib}), astral)
}

func TestRootFull(t *testing.T) {
	files := map[string]string{}
	for i := range 512 {
		files[fmt.Sprintf("F%d", i)] = "x"
	}
	tree := makeTree(t, files)
	judgeMemory(t, inMemory(t, tree, Options{Size: 32 * mib}), files)
	err := Write(t.Context(), &memory{}, tree, Options{Size: 32 * mib, Label: "one more"})
	if err == nil || !strings.Contains(err.Error(), "513 entries") || errors.Is(err, syscall.ENOSPC) {
		t.Errorf("513 entries in 512: %v", err)
	}
	judgeMemory(t, inMemory(t, tree, Options{Size: 32 * mib, Label: "one more", RootEntries: 513}), files)
	judgeMemory(t, inMemory(t, tree, Options{Size: 64 * mib, Label: "one more", Bits: 32}), files)
}

// TestExactFit fills file systems of the size that Needs gives to the last
// cluster, and finds one sector less to be too few.
func TestExactFit(t *testing.T) {
	need(t, "fsck.fat")
	r := rand.New(rand.NewPCG(3, 4))
	for _, o := range []Options{
		{}, {SectorSize: 4096}, {Bits: 32}, {Bits: 16, SectorsPerCluster: 8}, {ESP: true}, {NoAlign: true, FATs: 1, Label: "L"}, {Bits: 12},
	} {
		files := map[string]string{}
		for i := range r.IntN(40) + 3 {
			files[fmt.Sprintf("d%d/file%d", i%5, i)] = strings.Repeat("x", r.IntN(40000))
		}
		tree := makeTree(t, files)
		c, err := Measure(t.Context(), tree, nil)
		if err != nil {
			t.Fatal(err)
		}
		if o.Size, err = Needs(c, o); err != nil {
			t.Fatal(err)
		}
		path := image(t, tree, o)
		clean(t, path, tree, o)
		judgeByReader(t, path, wanted(files))
		o.Size--
		if o.Bits >= 16 {
			continue // their least size is what counts
		}
		m := &memory{}
		err = Write(t.Context(), m, tree, o)
		if full := (*FullError)(nil); !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &full) || full.Needed != full.Have+1 {
			t.Errorf("%+v: one byte less: %v", o, err)
		}
		if m.b != nil {
			t.Errorf("%+v: something was written", o)
		}
	}
}

func TestNeeds(t *testing.T) {
	small := Bound(0, 1, 1)
	for _, c := range []struct {
		what     string
		content  Content
		o        Options
		low, max int64
	}{
		{"nothing", Content{}, Options{}, 512, 64 << 10},
		{"FAT32's least", small, Options{Bits: 32}, 32 * mib, 33 * mib},
		{"FAT32's least of 4096", small, Options{Bits: 32, SectorSize: 4096}, 256 * mib, 258 * mib},
		{"a floor", small, Options{Size: 100*mib + 1}, 100*mib + 512, 100*mib + 512},
		{"100 MiB", Bound(100*mib, 1000, 10), Options{}, 100 * mib, 104 * mib},
		{"3 GiB", Bound(3072*mib, 1000, 10), Options{}, 3072 * mib, 3090 * mib},
	} {
		n, err := Needs(c.content, c.o)
		if err != nil || n < c.low || n > c.max {
			t.Errorf("%s: %d bytes, %v; want %d to %d", c.what, n, err, c.low, c.max)
		}
	}
	if _, err := Needs(Bound(5000*mib, 10, 1), Options{Bits: 16}); err == nil {
		t.Error("5 GB on FAT16")
	}
}

// TestBound has the bound of a tree be no less than the tree's own measure.
func TestBound(t *testing.T) {
	files := sample()
	for i := range 300 {
		files[fmt.Sprintf("f%d/%s", i%7, strings.Repeat("n", i%240)+fmt.Sprint(i))] = strings.Repeat("x", i*13)
	}
	c, err := Measure(t.Context(), makeTree(t, files), nil)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, data := range files {
		sum += int64(len(data)+4095) / 4096 * 4096
	}
	b := Bound(sum, c.Files+c.Dirs, c.Dirs)
	for i := range b.Clusters {
		if b.Clusters[i] < c.Clusters[i] {
			t.Errorf("clusters of %d: %d, the bound is %d", 512<<i, c.Clusters[i], b.Clusters[i])
		}
	}
}

func TestSkip(t *testing.T) {
	tree := makeTree(t, map[string]string{"a/b/c": "c", "efi/EFI/x": "x"})
	o := Options{Size: mib, Skip: func(p string) bool { return p == "efi" || p == "a/b" }}
	judgeMemory(t, inMemory(t, tree, o), map[string]string{"a/": "", "a/b/": "", "efi/": ""})
}

func TestHardLinksBecomeCopies(t *testing.T) {
	tree := makeTree(t, map[string]string{"A": "same"})
	if err := os.Link(filepath.Join(tree, "A"), filepath.Join(tree, "B")); err != nil {
		t.Fatal(err)
	}
	judgeMemory(t, inMemory(t, tree, Options{Size: mib}), map[string]string{"A": "same", "B": "same"})
}

func TestBadTrees(t *testing.T) {
	for _, c := range []struct {
		what string
		make func(root string) error
		want []string
	}{
		{"symlink", func(r string) error { return os.Symlink("x", r+"/link") }, []string{`"link"`, "symbolic link", "allowed are files and folders"}},
		{"fifo", func(r string) error { return syscall.Mkfifo(r+"/pipe", 0o600) }, []string{`"pipe"`, "fifo"}},
		{"case", touch("sub/Name", "sub/nAME"), []string{`"sub/Name"`, `"sub/nAME"`, "case"}},
		{"case beyond ASCII", touch("Ärger", "ärger"), []string{`"Ärger"`, "case"}},
		{"colon", touch("sub/a:b"), []string{`"sub/a:b"`, "':'"}},
		{"control character", touch("a\nb"), []string{`"a\nb"`}},
		{"UTF-8", touch("a\xffb"), []string{"UTF-8"}},
		{"dot", touch("dot."), []string{`"dot."`, "dot or space"}},
		{"space", touch("space "), []string{"dot or space"}},
		{"4 GiB", func(r string) error {
			return errors.Join(touch("big")(r), os.Truncate(r+"/big", 4<<30))
		}, []string{`"big"`, "4294967295"}},
	} {
		root := t.TempDir()
		if err := c.make(root); err != nil {
			t.Fatal(err)
		}
		m := &memory{}
		err := Write(t.Context(), m, root, Options{Size: 8192 * mib})
		_, measured := Measure(t.Context(), root, nil)
		for _, want := range c.want {
			if err == nil || measured == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v (measured: %v), want %q", c.what, err, measured, want)
			}
		}
		if m.b != nil {
			t.Errorf("%s: something was written", c.what)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(t.Context(), &memory{}, file, Options{Size: mib}); err == nil || !strings.Contains(err.Error(), "a folder is wanted") {
		t.Errorf("a file for a tree: %v", err)
	}
}

func touch(names ...string) func(string) error {
	return func(root string) error {
		var errs []error
		for _, n := range names {
			p := filepath.Join(root, n)
			errs = append(errs, os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, nil, 0o644))
		}
		return errors.Join(errs...)
	}
}

func TestLongestName(t *testing.T) {
	if err := checkName(strings.Repeat("ü", 253) + "🚀"); err != nil {
		t.Error(err)
	}
	if err := checkName(strings.Repeat("ü", 254) + "🚀"); err == nil || !strings.Contains(err.Error(), "256 UTF-16 units") {
		t.Errorf("256 units: %v", err)
	}
}

// shrinker makes a file shorter at the first write.
type shrinker struct {
	memory
	path string
}

func (s *shrinker) WriteAt(p []byte, off int64) (int, error) {
	return len(p), os.Truncate(s.path, 1)
}

func TestChangedMeanwhile(t *testing.T) {
	tree := makeTree(t, map[string]string{"FILE": strings.Repeat("x", 3*mib)})
	err := Write(t.Context(), &shrinker{path: filepath.Join(tree, "FILE")}, tree, Options{Size: 8 * mib})
	if err == nil || !strings.Contains(err.Error(), `"FILE"`) {
		t.Errorf("a file that shrinks: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Write(ctx, &memory{}, tree, Options{Size: 8 * mib}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// failing refuses the nth write.
type failing struct {
	memory
	left int
}

func (f *failing) WriteAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, syscall.EIO
	}
	return f.memory.WriteAt(p, off)
}

// TestBootSectorLast has every write fail in turn: then there is no file system.
func TestBootSectorLast(t *testing.T) {
	tree := makeTree(t, map[string]string{"a/FILE": "x"})
	for n := range 100 {
		f := &failing{left: n}
		err := Write(t.Context(), f, tree, Options{Size: 40 * mib, Bits: 32})
		if err == nil {
			if n < 5 {
				t.Errorf("only %d writes", n)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if len(f.b) > 511 && f.b[510] == 0x55 {
			t.Errorf("write %d failed, and there is a boot sector", n)
		}
	}
	t.Error("it never ended")
}
