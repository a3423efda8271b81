package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lithify/lithify/rootfs"
)

func key(s string) rootfs.Key {
	h := sha256.Sum256([]byte(s))
	return rootfs.Key(hex.EncodeToString(h[:]))
}

func openStore(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// step makes the layer of one key with do and leaves the claim open.
func step(t testing.TB, s *Store, parent rootfs.Layer, name string, do func(dir string)) (rootfs.Layer, rootfs.Claim) {
	t.Helper()
	c, err := s.Claim(t.Context(), key(name))
	if err != nil {
		t.Fatal(err)
	}
	ct, err := c.Container(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	do(ct.Dir())
	l, err := ct.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

func seal(t testing.TB, c rootfs.Claim, l rootfs.Layer) {
	t.Helper()
	if err := c.Seal(t.Context(), l, rootfs.Record{Name: "test"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func base(t testing.TB, s *Store) rootfs.Layer {
	t.Helper()
	b, err := s.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writer(t testing.TB, name, content string) func(string) {
	return func(dir string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readIn(t testing.TB, s *Store, l rootfs.Layer, name string) string {
	t.Helper()
	c, err := s.Scratch(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	data, err := os.ReadFile(filepath.Join(c.Dir(), name))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func TestSealedStaysUnsealedGoes(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	s := openStore(t, root)
	one, c1 := step(t, s, base(t, s), "one", writer(t, "a", "1"))
	two, c2 := step(t, s, one, "two", writer(t, "b", "2"))
	three, c3 := step(t, s, two, "three", writer(t, "c", "3"))
	_ = c1
	seal(t, c2, two) // one has a key but no record: it stays as a parent
	if got := readIn(t, s, three, "c"); got != "3" {
		t.Errorf("unsealed layer: c = %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_ = c3
	s = openStore(t, root)
	if _, _, err := s.Find(t.Context(), key("three")); !errors.Is(err, rootfs.ErrNotFound) {
		t.Errorf("Find(three) = %v", err)
	}
	l, rec, err := s.Find(t.Context(), key("two"))
	if err != nil {
		t.Fatal(err)
	}
	if rec.Name != "test" || time.Since(rec.Made) > time.Minute {
		t.Errorf("record = %+v", rec)
	}
	if a, b, c := readIn(t, s, l, "a"), readIn(t, s, l, "b"), readIn(t, s, l, "c"); a != "1" || b != "2" || c == "3" {
		t.Errorf("a, b, c = %q, %q, %q", a, b, c)
	}
	all, err := s.st.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 { // base, one, two
		t.Errorf("%d layers are left, want 3", len(all))
	}
}

func BenchmarkStep(b *testing.B) {
	needRoot(b)
	s := openStore(b, b.TempDir())
	at := base(b, s)
	n := 0
	b.ResetTimer()
	for b.Loop() {
		n++
		if n%30 == 0 {
			at = base(b, s)
		}
		at, _ = step(b, s, at, string(rune(n)), writer(b, "f", "x"))
	}
}

// TestBaseInterrupted: whenever a build is stopped while the base is made, the
// store has a base or no layer at all.
func TestBaseInterrupted(t *testing.T) {
	needRoot(t)
	for wait := time.Duration(0); wait < 200*time.Millisecond; wait += 10 * time.Millisecond {
		root := t.TempDir()
		s := openStore(t, root)
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err := s.Base(ctx)
		cancel()
		_, baseErr := s.readBase()
		layers, listErr := s.st.Layers()
		if listErr != nil || (baseErr != nil && len(layers) > 0) {
			t.Errorf("stopped after %v (%v): %d layers, base: %v, %v", wait, err, len(layers), baseErr, listErr)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
