package oci

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/rootfs"
)

// family makes one-two-three and one-other, all sealed, used in that order
// (oldest first), and returns the root of the closed store.
func family(t *testing.T) string {
	root := t.TempDir()
	s := openStore(t, root)
	one, c := step(t, s, base(t, s), "one", writer(t, "a", strings.Repeat("x", 100_000)))
	seal(t, c, one)
	two, c := step(t, s, one, "two", writer(t, "b", strings.Repeat("x", 100_000)))
	seal(t, c, two)
	three, c := step(t, s, two, "three", writer(t, "c", strings.Repeat("x", 100_000)))
	seal(t, c, three)
	other, c := step(t, s, one, "other", writer(t, "d", strings.Repeat("x", 100_000)))
	seal(t, c, other)
	same, c := step(t, s, other, "empty", func(string) {})
	seal(t, c, same)
	for i, name := range []string{"one", "two", "three", "other", "empty"} {
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		must(t, os.Chtimes(s.recordPath(key(name)), at, at))
	}
	must(t, s.Close())
	return root
}

func names(t *testing.T, s *Store) string {
	t.Helper()
	var found []string
	for _, n := range []string{"one", "two", "three", "other", "empty"} {
		if _, err := s.readRecord(key(n)); err == nil {
			found = append(found, n)
		}
	}
	return strings.Join(found, " ")
}

func TestPruneOptions(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		o      PruneOptions
		hold   string
		want   string
		layers int // beside the base
	}{
		"nothing asked":      {PruneOptions{}, "", "one two three other empty", 4},
		"all":                {PruneOptions{All: true}, "", "", 0},
		"all but held":       {PruneOptions{All: true}, "two", "one two", 2},
		"all but kept":       {PruneOptions{All: true, Keep: []rootfs.Key{key("empty")}}, "", "one other empty", 2},
		"old":                {PruneOptions{OlderThan: 7*time.Hour + time.Minute}, "", "one other empty", 2},
		"old but held above": {PruneOptions{OlderThan: 9*time.Hour - time.Minute}, "three", "one two three other empty", 4},
		"too much":           {PruneOptions{MaxBytes: 330_000}, "", "one two other empty", 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, family(t))
			if c.hold != "" {
				holder := openStore(t, s.root)
				_, _, err := holder.Find(t.Context(), key(c.hold))
				must(t, err)
				at := time.Now().Add(-9 * time.Hour)
				must(t, os.Chtimes(s.recordPath(key(c.hold)), at, at))
			}
			r, err := s.Prune(t.Context(), c.o)
			must(t, err)
			if got := names(t, s); got != c.want {
				t.Errorf("left: %s, want %s (%+v)", got, c.want, r)
			}
			if n := layerCount(t, s) - 1; n != c.layers || r.Layers != 4-c.layers {
				t.Errorf("%d layers are left, want %d; report %+v", n, c.layers, r)
			}
			if c.layers < 4 && r.Freed < 100_000 {
				t.Errorf("freed %d bytes", r.Freed)
			}
		})
	}
}

func TestList(t *testing.T) {
	needRoot(t)
	s := openStore(t, family(t))
	all, err := s.List(t.Context())
	must(t, err)
	var sizes int64
	for _, e := range all {
		sizes += e.Size
	}
	if len(all) != 5 || all[0].Key != key("one") || sizes < 400_000 || sizes > 500_000 {
		t.Errorf("entries = %+v", all)
	}
}

func TestFindLimits(t *testing.T) {
	needRoot(t)
	s := openStore(t, family(t))
	rec, err := s.readRecord(key("three"))
	must(t, err)
	rec.MaxAge = time.Nanosecond
	must(t, s.writeDurable(s.recordPath(rec.Key), rec))
	must(t, os.WriteFile(s.recordPath(key("other")), []byte(`{"Key":`), 0o600))
	rec, err = s.readRecord(key("two"))
	must(t, err)
	rec.Layer = strings.Repeat("0", 64)
	must(t, s.writeDurable(s.recordPath(key("two")), rec))
	for _, n := range []string{"three", "other", "two", "never"} {
		if _, _, err := s.Find(t.Context(), key(n)); !errors.Is(err, rootfs.ErrNotFound) {
			t.Errorf("Find(%s) = %v", n, err)
		}
	}
	if _, err := os.Stat(s.recordPath(key("other"))); err == nil {
		t.Error("the damaged record is still there")
	}
	for _, k := range []rootfs.Key{"", "../x", "AB", rootfs.Key(strings.Repeat("a", 200))} {
		if _, _, err := s.Find(t.Context(), k); err == nil || errors.Is(err, rootfs.ErrNotFound) {
			t.Errorf("Find(%q) = %v", k, err)
		}
	}
}

func TestClaims(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	a, b := openStore(t, root), openStore(t, root)
	l, c := step(t, a, base(t, a), "k", writer(t, "a", "1"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := b.Claim(ctx, key("k")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Claim of a claimed key = %v", err)
	}
	if err := c.Seal(t.Context(), l, rootfs.Record{Key: key("other")}); err == nil {
		t.Error("a record of another key was sealed")
	}
	got := make(chan error)
	go func() {
		_, err := b.Claim(t.Context(), key("k"))
		got <- err
	}()
	time.Sleep(20 * time.Millisecond)
	seal(t, c, l)
	if err := <-got; !errors.Is(err, rootfs.ErrMade) {
		t.Errorf("Claim after a wait = %v, want ErrMade", err)
	}
	// A build that starts later and wants the step anew may make it.
	later := openStore(t, root)
	_, c2 := step(t, later, base(t, later), "k", writer(t, "a", "2"))
	n := layerCount(t, a)
	must(t, c2.Close())
	must(t, c2.Close())
	if got := layerCount(t, a); got != n-1 {
		t.Errorf("%d layers after the claim was given up, want %d", got, n-1)
	}
}

func TestFormats(t *testing.T) {
	needRoot(t)
	root := family(t)
	version := filepath.Join(root, "lithify/version")
	must(t, os.WriteFile(version, []byte("2\n"), 0o600))
	if _, err := Open(t.Context(), Options{Root: root}); err == nil || !strings.Contains(err.Error(), "newer lithify") {
		t.Errorf("Open of a newer format = %v", err)
	}
	must(t, os.WriteFile(version, []byte("x"), 0o600))
	if _, err := Open(t.Context(), Options{Root: root}); err == nil {
		t.Error("a damaged version was taken")
	}
	must(t, os.RemoveAll(filepath.Join(root, "lithify")))
	if _, err := Open(t.Context(), Options{Root: root}); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("Open of somebody else's store = %v", err)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	needRoot(t)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Open(t.Context(), Options{Root: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open on a file = %v", err)
	}
	if _, err := Open(t.Context(), Options{Root: "/proc/lithify"}); err == nil {
		t.Error("a store below /proc")
	}
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("a store nowhere")
	}
	comma := filepath.Join(t.TempDir(), "a,b")
	if _, err := Open(t.Context(), Options{Root: comma}); err == nil || !strings.Contains(err.Error(), "comma") {
		t.Errorf("Open of %q = %v", comma, err)
	}
	s := openStore(t, t.TempDir())
	l, _ := step(t, s, base(t, s), "one", func(string) {})
	c, err := s.Scratch(t.Context(), l)
	must(t, err)
	if _, err := Open(t.Context(), Options{Root: filepath.Join(c.Dir(), "store")}); err == nil || !strings.Contains(err.Error(), "ext4") {
		t.Errorf("Open on an overlay = %v", err)
	}
	must(t, c.Close())
	must(t, c.Close())
}
