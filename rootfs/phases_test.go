package rootfs_test

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs"
)

// phasesOf builds and gives the names of the phases and the layers they ended
// with; last tells whether the last is the result's.
func phasesOf(w *world, change func(*rootfs.Options)) (names, layers []string, last bool) {
	w.t.Helper()
	ctx := context.Background()
	store, err := oci.Open(ctx, oci.Options{Root: w.store})
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	o, err := w.options(store)
	if err != nil {
		w.t.Fatal(err)
	}
	defer os.RemoveAll(o.Work)
	if change != nil {
		change(&o)
	}
	b, err := rootfs.New(ctx, o)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := b.Run(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range res.Phases {
		names, layers = append(names, p.Phase), append(layers, p.Layer.ID())
	}
	return names, layers, layers[len(layers)-1] == res.Layer.ID()
}

// Where phases ended is the same whether their steps ran, were reused one by
// one, or were jumped over.
func TestPhasesOfResult(t *testing.T) {
	w := newWorld(t)
	want := []string{"root", "pre-install", "install", "post-install", "finalise", "driver"}
	names, first, last := phasesOf(w, nil)
	if !slices.Equal(names, want) || !last {
		t.Fatalf("phases %v, want %v; last %v", names, want, last)
	}
	names, again, last := phasesOf(w, nil)
	if !slices.Equal(names, want) || !slices.Equal(again, first) || !last {
		t.Errorf("again %v %v, first %v", names, again, first)
	}
	w.write("app/post-install.d/10-app", hook("changed"), 0o755)
	names, late, last := phasesOf(w, nil)
	if !slices.Equal(names, want) || !slices.Equal(late[:3], first[:3]) || slices.Contains(first, late[3]) || !last {
		t.Errorf("changed %v %v, first %v", names, late, first)
	}
	names, anew, last := phasesOf(w, fresh)
	if !slices.Equal(names, want) || slices.Contains(first, anew[0]) || !last {
		t.Errorf("anew %v %v, first %v", names, anew, first)
	}
}
