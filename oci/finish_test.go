package oci

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEmptyStepGivesItsParentBack(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	old := time.Unix(1e9, 5)
	one, _ := step(t, s, base(t, s), "one", func(dir string) {
		must(t, os.MkdirAll(filepath.Join(dir, "etc/deep"), 0o750))
		must(t, os.WriteFile(filepath.Join(dir, "etc/file"), nil, 0o600))
		must(t, unix.Setxattr(filepath.Join(dir, "etc"), "user.a", []byte("1"), 0))
		must(t, os.Chtimes(filepath.Join(dir, "etc"), old, old))
		must(t, os.Chtimes(dir, old, old))
	})
	for name, c := range map[string]struct {
		do   func(dir string)
		same bool
	}{
		"nothing": {func(string) {}, true},
		"folder copied up and restored": {func(dir string) {
			etc := filepath.Join(dir, "etc")
			must(t, os.WriteFile(filepath.Join(etc, "x"), nil, 0o600))
			must(t, os.Remove(filepath.Join(etc, "x")))
			must(t, os.Chtimes(etc, old, old))
		}, true},
		"root folder's mode and back": {func(dir string) {
			must(t, os.Chmod(dir, 0o700))
			must(t, os.Chmod(dir, 0o755))
		}, true},
		"folder's time":      {func(dir string) { must(t, os.Chtimes(filepath.Join(dir, "etc"), old, time.Now())) }, false},
		"root folder's mode": {func(dir string) { must(t, os.Chmod(dir, 0o700)) }, false},
		"folder's attribute": {func(dir string) { must(t, unix.Setxattr(filepath.Join(dir, "etc"), "user.a", []byte("2"), 0)) }, false},
		"deletion":           {func(dir string) { must(t, os.Remove(filepath.Join(dir, "etc/file"))) }, false},
		"empty file":         {func(dir string) { must(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o600)) }, false},
		"folder anew": {func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "etc/deep")))
			must(t, os.Mkdir(filepath.Join(dir, "etc/deep"), 0o750))
			must(t, os.Chtimes(filepath.Join(dir, "etc"), old, old))
		}, false},
	} {
		l, _ := step(t, s, one, name, c.do)
		if same := l.ID() == one.ID(); same != c.same {
			t.Errorf("%s: parent given back: %v, want %v", name, same, c.same)
		}
	}
	st, err := lstat(s.diffDir(one.ID()))
	must(t, err)
	two, _ := step(t, s, one, "two", func(dir string) { must(t, os.Remove(filepath.Join(dir, "etc/file"))) })
	now, err := lstat(s.diffDir(two.ID()))
	must(t, err)
	if now.Mtim != st.Mtim {
		t.Error("the root folder's time was not inherited")
	}
}

func TestHardLinksAreJoinedAgain(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	one, _ := step(t, s, base(t, s), "one", func(dir string) {
		must(t, os.MkdirAll(filepath.Join(dir, "d/e"), 0o755))
		writer(t, "a", "content")(dir)
		for _, n := range []string{"b", "d/c", "d/e/f"} {
			must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, n)))
		}
	})
	type want map[string]string // name → first name of its file
	for name, c := range map[string]struct {
		do   func(dir string)
		want want
	}{
		"chmod": {func(d string) { must(t, os.Chmod(d+"/b", 0o600)) },
			want{"a": "a", "b": "a", "d/c": "a", "d/e/f": "a"}},
		"chown of all": {func(d string) {
			for _, n := range []string{"a", "b", "d/c", "d/e/f"} {
				must(t, os.Chown(d+"/"+n, 7, 8))
			}
		}, want{"a": "a", "b": "a", "d/c": "a", "d/e/f": "a"}},
		"rename":   {func(d string) { must(t, os.Rename(d+"/a", d+"/z")) }, want{"b": "b", "d/c": "b", "d/e/f": "b", "z": "b"}},
		"new link": {func(d string) { must(t, os.Link(d+"/d/c", d+"/z")) }, want{"a": "a", "b": "a", "d/c": "a", "d/e/f": "a", "z": "a"}},
		"removal":  {func(d string) { must(t, os.Remove(d+"/a")) }, want{"b": "b", "d/c": "b", "d/e/f": "b"}},
		"folder removed": {func(d string) { must(t, os.RemoveAll(d+"/d")); must(t, os.Chmod(d+"/a", 0o600)) },
			want{"a": "a", "b": "a"}},
		"edit": {func(d string) { writer(t, "b", "other")(d) }, want{"a": "a", "b": "b", "d/c": "a", "d/e/f": "a"}},
		"one edited, one chmodded": {func(d string) { writer(t, "b", "other")(d); must(t, os.Chmod(d+"/a", 0o600)) },
			want{"a": "a", "b": "b", "d/c": "a", "d/e/f": "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := step(t, s, one, name, c.do)
			ct, err := s.Scratch(t.Context(), l)
			must(t, err)
			defer ct.Close()
			got := map[string]string{}
			first := map[uint64]string{}
			for _, n := range []string{"a", "b", "d/c", "d/e/f", "z"} {
				st, err := lstat(filepath.Join(ct.Dir(), n))
				if err != nil {
					continue
				}
				if first[st.Ino] == "" {
					first[st.Ino] = n
				}
				got[n] = first[st.Ino]
			}
			if len(got) != len(c.want) {
				t.Fatalf("names = %v, want %v", got, c.want)
			}
			for n, f := range c.want {
				if got[n] != f {
					t.Errorf("%s is a name of %s, want %s", n, got[n], f)
				}
			}
			// the next layer sees the links of this one
			l2, _ := step(t, s, l, name+"2", func(d string) { must(t, os.Chmod(d+"/b", 0o711)) })
			c2, err := s.Scratch(t.Context(), l2)
			must(t, err)
			defer c2.Close()
			for n, f := range c.want {
				st, err := lstat(filepath.Join(c2.Dir(), n))
				must(t, err)
				if joined := st.Mode&0o7777 == 0o711; joined != (f == c.want["b"]) {
					t.Errorf("after a chmod of b: %s has mode %o", n, st.Mode)
				}
			}
		})
	}
}
