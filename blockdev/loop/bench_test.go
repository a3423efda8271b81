package loop_test

import (
	"os"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/loop"
)

// BenchmarkCreate makes a disk of the tree that LITHIFY_BENCH_TREE names.
func BenchmarkCreate(b *testing.B) {
	tree := os.Getenv("LITHIFY_BENCH_TREE")
	if tree == "" {
		b.Skip("LITHIFY_BENCH_TREE names no tree")
	}
	for b.Loop() {
		g, err := blockdev.Default().Graph(blockdev.Defaults{})
		if err != nil {
			b.Fatal(err)
		}
		g.Identify("bench")
		m, err := blockdev.Measure(b.Context(), tree, g.MountPoints())
		if err != nil {
			b.Fatal(err)
		}
		p, err := g.Layout(m, blockdev.Request{})
		if err != nil {
			b.Fatal(err)
		}
		d, err := loop.New(loop.Options{WorkDir: b.TempDir()}).Create(b.Context(), g, p, blockdev.Tree{Dir: tree})
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
