package loop_test

import (
	"os"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

// BenchmarkCreate makes a disk of the tree that LITHIFY_BENCH_TREE names.
func BenchmarkCreate(b *testing.B) {
	tree := os.Getenv("LITHIFY_BENCH_TREE")
	if tree == "" {
		b.Skip("LITHIFY_BENCH_TREE names no tree")
	}
	for b.Loop() {
		d, err := blockdevtest.Make(b.Context(), loop.New(loop.Options{WorkDir: b.TempDir()}), "", "bench", blockdev.Tree{Dir: tree})
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Commit(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
