package fat

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sample is a tree with a bit of everything.
func sample() map[string]string {
	files := map[string]string{
		"EFI/BOOT/BOOTX64.EFI": strings.Repeat("MZ\x00\x00shim", 20000),
		"EFI/BOOT/grubx64.efi": strings.Repeat("g", 65536),
		"EFI/debian/grub.cfg":  "configfile\n",
		"empty":                "",
		"empty folder/":        "",
		"loader/entries/a long name.with dots.conf": "x",
		"loader/entries/Übung μ 漢字.txt":             strings.Repeat("z", 513),
		".hidden":                                   "h",
		"exactly13chrs":                             "13 units: no end mark",
		"MixedCas.Txt":                              "m",
		"lower.txt":                                 "l",
		"A+B,C;D=E[1]":                              "s",
		"zeros":                                     strings.Repeat("\x00", 100000),
		"a/b/c/d/e/f/g/":                            "",
	}
	for i := range 30 {
		files[fmt.Sprintf("many/file number %d.data", i)] = strings.Repeat("d", i)
	}
	return files
}

func gridSizes() []int64 {
	sizes := []int64{8*mib + 512, 16*mib - mib/10, 128*mib - 10240}
	for _, m := range []int64{8, 16, 31, 32, 33, 64, 100, 128, 256, 260, 500, 512, 513, 550, 1024, 2000, 2048} {
		sizes = append(sizes, m*mib)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		sizes = append(sizes, 8*mib+r.Int64N(2040*mib))
	}
	return sizes
}

// TestGrid judges every size by fsck.fat, blkid and mtools.
func TestGrid(t *testing.T) {
	need(t, "fsck.fat", "blkid", "mcopy", "mdir")
	files := sample()
	full := makeTree(t, files)
	for i, size := range gridSizes() {
		for _, sector := range []int{512, 4096} {
			for _, tree := range []string{"", full} {
				o := Options{Size: size, SectorSize: sector, Label: "esp", ID: 0x12ABCDEF, Time: &testTime, ESP: i%2 == 1}
				t.Run(fmt.Sprintf("%d by %d, filled %v, esp %v", size, sector, tree != "", o.ESP), func(t *testing.T) {
					path := image(t, tree, o)
					clean(t, path, tree, o)
					if tree != "" {
						judgeByReader(t, path, wanted(files))
						judgeByMtools(t, path, full)
						judgeByBlkid(t, path)
					}
				})
			}
		}
	}
}

var summary = regexp.MustCompile(`: (\d+) files, (\d+)/(\d+) clusters`)

// clean has fsck.fat look for errors and compares its counts.
func clean(t *testing.T, path, tree string, o Options) {
	t.Helper()
	out := run(t, "fsck.fat", "-n", "-v", path)
	o, err := o.complete()
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLayout(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Measure(t.Context(), tree, o.Skip)
	if err != nil {
		t.Fatal(err)
	}
	used := c.Clusters[0]
	for i, n := range c.Clusters {
		if int64(512)<<i == l.cluster() {
			used = n
		}
	}
	if l.bits == 32 {
		used += max(1, ((c.RootEntries+o.labels())*32+l.cluster()-1)/l.cluster())
	}
	m := summary.FindStringSubmatch(out)
	want := []string{fmt.Sprint(c.Files + c.Dirs + o.labels()), fmt.Sprint(used), fmt.Sprint(l.clusters)}
	if m == nil || strings.Join(m[1:], " ") != strings.Join(want, " ") {
		t.Errorf("fsck.fat counts %q, want %q\n%s", m, want, out)
	}
}

func judgeByReader(t *testing.T, path string, want map[string]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := openImage(f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := v.files()
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("read back: %d files and folders, want %d", len(got), len(want))
		for p := range got {
			if _, ok := want[p]; !ok {
				t.Logf("not wanted: %q", p)
			}
		}
	}
}

// judgeByMtools copies everything out and compares it with the tree.
func judgeByMtools(t *testing.T, path, tree string) {
	t.Helper()
	out := t.TempDir()
	run(t, "mcopy", "-s", "-Q", "-n", "-m", "-i", path, "::*", out)
	run(t, "diff", "-r", "--no-dereference", tree, out)
	_ = filepath.Walk(tree, func(p string, st os.FileInfo, err error) error {
		rel, _ := filepath.Rel(tree, p)
		if got, err := os.Lstat(filepath.Join(out, rel)); err != nil || got.IsDir() != st.IsDir() {
			t.Errorf("%s: %v", rel, err)
		}
		return nil
	})
}

func judgeByBlkid(t *testing.T, path string) {
	t.Helper()
	out := run(t, "blkid", "-p", path)
	for _, want := range []string{` TYPE="vfat"`, ` LABEL="ESP"`, ` LABEL_FATBOOT="ESP"`, ` UUID="12AB-CDEF"`} {
		if !strings.Contains(out, want) {
			t.Errorf("blkid: %s has no%s", strings.TrimSpace(out), want)
		}
	}
}
