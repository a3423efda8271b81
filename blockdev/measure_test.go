package blockdev

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMeasure(t *testing.T) {
	root := t.TempDir()
	write := func(p string, n int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, p), make([]byte, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a", 1)
	write("etc/b", 4097)
	write("var/c", 8192)
	write("var/log/d", 100<<10)
	link := func(old, new string) {
		t.Helper()
		if err := os.Link(filepath.Join(root, old), filepath.Join(root, new)); err != nil {
			t.Fatal(err)
		}
	}
	link("a", "etc/a")
	link("a", "var/a") // another file system cannot share it
	link("a", "var/a2")
	f, err := os.Create(filepath.Join(root, "hole"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("x"), 50<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for old, name := range map[string]string{"x": "short", strings.Repeat("x", 100): "long"} {
		if err := os.Symlink(old, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	m, err := Measure(t.Context(), root, []string{"/", "/var", "/var/log"})
	if err != nil {
		t.Fatal(err)
	}
	const b = 4096
	want := map[string]Content{
		// root, a, etc, etc/b (2), var as it is below the mount, hole, long
		"/": {Bytes: b * (1 + 1 + 1 + 2 + 1 + 1 + 1), Inodes: 8, Dirs: 3, Inline: b}, // long
		// its root, a, c (2), log below its mount
		"/var": {Bytes: b * (1 + 1 + 2 + 1), Inodes: 4, Dirs: 2},
		// its root, d (25)
		"/var/log": {Bytes: b * 26, Inodes: 2, Dirs: 1, Indirect: b},
	}
	for mp, w := range want {
		if m[mp] != w {
			t.Errorf("%s: %+v, want %+v", mp, m[mp], w)
		}
	}
}

func TestMeasureMistakes(t *testing.T) {
	root := t.TempDir()
	if err := os.Symlink("/tmp", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	for _, mp := range []string{"/none", "/link", "/link/x"} {
		if _, err := Measure(t.Context(), root, []string{mp}); err == nil || !strings.Contains(err.Error(), "mount point "+mp) {
			t.Errorf("%s: %v", mp, err)
		}
	}
	if err := MakeMountPoints(root, []string{"/link/x"}); err == nil {
		t.Error("a mount point was made through a symbolic link")
	}
}

func TestMakeMountPoints(t *testing.T) {
	root := t.TempDir()
	old := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	if err := os.Chtimes(root, old, old); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := MakeMountPoints(root, []string{"/srv/data", "/", "/srv"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"", "srv", "srv/data"} {
		st, err := os.Stat(filepath.Join(root, p))
		if err != nil || !st.ModTime().Equal(old) || p != "" && st.Mode().Perm() != 0o755 {
			t.Errorf("%q: %v %v", p, st, err)
		}
	}
}
