package oci

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lithify/lithify/rootfs"
)

// TestFoldShowsTheSameTree makes random changes over several layers and
// compares a mount of the stack with a mount of its fold.
func TestFoldShowsTheSameTree(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range 12 {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		at := base(t, s)
		for n := range 7 {
			at, _ = step(t, s, at, fmt.Sprintf("%d-%d", round, n), func(dir string) {
				c := &chaos{r, dir}
				for range 25 {
					c.step()
				}
				os.WriteFile(filepath.Join(dir, "always"), []byte{byte(n)}, 0o600)
			})
		}
		chain, err := s.chain(at.ID())
		if err != nil {
			t.Fatal(err)
		}
		fold, err := s.makeFold(t.Context(), chain)
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(tree(t, s, at), tree(t, s, layer(fold))); len(d) > 0 {
			t.Fatalf("round %d: stack and fold differ: %s", round, d)
		}
	}
}

func tree(t *testing.T, s *Store, l rootfs.Layer) map[string]string {
	t.Helper()
	c, err := s.Scratch(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return snapshot(t, c.Dir(), false)
}

// TestDeepStack goes through two folds, sealed, and reads all from a new store.
func TestDeepStack(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	s := openStore(t, root)
	at := base(t, s)
	const deep = 85
	for n := range deep {
		name := fmt.Sprint("f", n)
		l, c := step(t, s, at, name, func(dir string) {
			writer(t, name, name)(dir)
			if n > 10 {
				os.Remove(filepath.Join(dir, fmt.Sprint("f", n-10)))
			}
		})
		seal(t, c, l)
		at = l
	}
	want := tree(t, s, at)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, root)
	l, _, err := s.Find(t.Context(), key(fmt.Sprint("f", deep-1)))
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(want, tree(t, s, l)); len(d) > 0 {
		t.Error(d)
	}
	if len(want) != 12 { // root, f0, ten files
		t.Errorf("%d entries, want 12: %v", len(want), want)
	}
	chain, err := s.chain(l.ID())
	if err != nil {
		t.Fatal(err)
	}
	if len(chain) > foldAt {
		t.Errorf("a stack of %d layers", len(chain))
	}
	// A sibling of the 40th layer's child uses the fold that is there.
	before, _ := s.st.Layers()
	l39, _, err := s.Find(t.Context(), key(fmt.Sprint("f", foldAt-2)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Scratch(t.Context(), l39)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	after, _ := s.st.Layers()
	if len(after) != len(before)+1 {
		t.Errorf("%d layers were made, want 1: the fold was not found", len(after)-len(before))
	}
}
