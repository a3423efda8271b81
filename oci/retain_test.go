package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/rootfs"
)

// nightly makes a root and one layer of 100 KB on it for each name, retained
// for the command that the name begins with, used in that order.
func nightly(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	s := openStore(t, root)
	bottom, c := step(t, s, base(t, s), "root", writer(t, "root", strings.Repeat("x", 100_000)))
	seal(t, c, bottom)
	at := time.Now().Add(-100 * time.Hour)
	must(t, os.Chtimes(s.recordPath(key("root")), at, at))
	for i, n := range names {
		l, c := step(t, s, bottom, n, writer(t, n, strings.Repeat("x", 100_000)))
		seal(t, c, l)
		must(t, s.Retain(t.Context(), n[:1], bottom, l))
		at := time.Now().Add(time.Duration(i-50) * time.Hour)
		must(t, os.Chtimes(s.recordPath(key(n)), at, at))
	}
	must(t, s.Close())
	return root
}

func leftOf(s *Store, names ...string) string {
	var left []string
	for _, n := range names {
		if _, err := s.readRecord(key(n)); err == nil {
			left = append(left, n)
		}
	}
	return strings.Join(left, " ")
}

func TestPruneAuto(t *testing.T) {
	needRoot(t)
	names := []string{"b1", "a1", "a2", "a3", "a4", "a5"}
	for what, c := range map[string]struct {
		limit      int64
		hold, want string
	}{
		"room enough":                    {750_000, "", "b1 a1 a2 a3 a4 a5"},
		"the fifth last goes":            {650_000, "", "b1 a2 a3 a4 a5"},
		"all but the last three":         {550_000, "", "b1 a3 a4 a5"},
		"what is remembered goes last":   {450_000, "", "a3 a4 a5"},
		"it is a limit":                  {250_000, "", "a5"},
		"what is held stays":             {250_000, "a1", "a1"},
		"however little it may take":     {1, "a2", "a2"},
		"by default a fifth of the disk": {0, "", "b1 a1 a2 a3 a4 a5"},
	} {
		t.Run(what, func(t *testing.T) {
			root := nightly(t, names...)
			s := openStore(t, root)
			if c.hold != "" {
				_, _, err := openStore(t, root).Find(t.Context(), key(c.hold))
				must(t, err)
			}
			r, err := s.PruneAuto(t.Context(), c.limit)
			must(t, err)
			if got := leftOf(s, names...); got != c.want {
				t.Errorf("left: %s, want %s (%+v)", got, c.want, r)
			}
			if gone := len(names) - len(strings.Fields(c.want)); r.Layers != gone || gone > 0 && r.Freed < int64(gone)*100_000 {
				t.Errorf("report %+v, want %d layers gone", r, gone)
			}
			again, err := s.PruneAuto(t.Context(), c.limit)
			if err != nil || again.Layers != 0 {
				t.Errorf("pruned again: %+v, %v", again, err)
			}
		})
	}
}

// The same layers again are no other build: two builds in turn, however often,
// leave a third remembered.
func TestRetainCountsDifferentBuilds(t *testing.T) {
	needRoot(t)
	s := openStore(t, nightly(t, "a1", "a2", "a3"))
	bottom, _, err := s.Find(t.Context(), key("root"))
	must(t, err)
	for i := range 6 {
		l, _, err := s.Find(t.Context(), key([]string{"a3", "a2"}[i%2]))
		must(t, err)
		must(t, s.Retain(t.Context(), "a", bottom, l))
	}
	keep, err := s.retained()
	must(t, err)
	if len(keep) != 4 {
		t.Errorf("%d layers are remembered, want the root and three", len(keep))
	}
	loose, _ := step(t, s, bottom, "loose", writer(t, "loose", ""))
	must(t, s.Retain(t.Context(), "b", loose))
	if again, err := s.retained(); err != nil || len(again) != len(keep) {
		t.Errorf("a layer that is not sealed is remembered: %v, %v", again, err)
	}
	must(t, os.WriteFile(s.commandPath("a"), []byte("{"), 0o600))
	must(t, s.Retain(t.Context(), "a", bottom))
	if keep, err := s.retained(); err != nil || len(keep) != 1 {
		t.Errorf("after damage: %v, %v", keep, err)
	}
}

// With nothing to do it costs little, whatever is in the store.
func TestPruneAutoIsCheap(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	for chain := range 4 {
		at := base(t, s)
		for n := range 10 {
			name := fmt.Sprint(chain, " ", n)
			l, c := step(t, s, at, name, writer(t, "f", name))
			seal(t, c, l)
			at = l
		}
		must(t, s.Retain(t.Context(), fmt.Sprint(chain), at))
	}
	_, err := s.PruneAuto(t.Context(), 1<<30)
	must(t, err)
	begin := time.Now()
	for range 10 {
		r, err := s.PruneAuto(t.Context(), 1<<30)
		must(t, err)
		if r.Left == 0 || r.Layers != 0 {
			t.Errorf("report %+v", r)
		}
	}
	t.Logf("with 40 layers: %v", time.Since(begin)/10)
}

// helpRetain is a build that prunes when it is done.
func helpRetain(ctx context.Context, s *Store) error {
	if err := helpChain(ctx, s); err != nil {
		return err
	}
	b, err := s.Base(ctx)
	if err != nil {
		return err
	}
	var all []rootfs.Layer
	for id := range s.holds {
		all = append(all, layer(id))
	}
	_, err = s.PruneAuto(ctx, 1)
	return errors.Join(s.Retain(ctx, "command", append(all, b)...), err)
}

func TestPruneAutoHarmsNoBuild(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	var cmds []*exec.Cmd
	for range 8 {
		cmd := helper(t, "retain", root)
		must(t, cmd.Start())
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	s := openStore(t, root)
	_, err := s.PruneAuto(t.Context(), 1)
	must(t, err)
	if n := layerCount(t, s); n != 1 {
		t.Errorf("%d layers are left, want the base", n)
	}
}
