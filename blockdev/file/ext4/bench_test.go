package ext4_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/file/ext4"
)

// BenchmarkTree puts the tree in LITHIFY_EXT4_TREE into a file system of 4 GiB:
// by this package, by mke2fs -d, and by a loop device and cp -a. -benchtime 1x is
// enough; the images are written to TMPDIR.
func BenchmarkTree(b *testing.B) {
	tree := os.Getenv("LITHIFY_EXT4_TREE")
	if tree == "" {
		b.Skip("LITHIFY_EXT4_TREE names no tree")
	}
	const size = 4 << 30
	for _, way := range []struct {
		name string
		make func(path string)
	}{
		{"ext4", func(path string) {
			if err := writeTo(b, path, tree, fixed(ext4.Options{Size: size, Inodes: 1200000})); err != nil {
				b.Fatal(err)
			}
		}},
		{"mke2fs", func(path string) {
			tool(b, "mke2fs", "-q", "-F", "-t", "ext4", "-N", "1200000", "-E", "nodiscard,assume_storage_prezeroed=1", "-d", tree, path, "4G")
		}},
		{"cp", func(path string) {
			tool(b, "mke2fs", "-q", "-F", "-t", "ext4", "-N", "1200000", "-E", "nodiscard,assume_storage_prezeroed=1", path, "4G")
			dir := b.TempDir()
			tool(b, "mount", "-o", "loop", path, dir)
			tool(b, "cp", "-a", tree+"/.", dir)
			unmount(b, dir)
		}},
		{"cat", func(string) { // what reading alone costs
			tool(b, "sh", "-c", "find '"+strings.ReplaceAll(tree, "'", `'\''`)+"' -type f -exec cat {} + | wc -c")
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			before, n := processor(b), 0.0
			for b.Loop() {
				path := filepath.Join(b.TempDir(), "image")
				way.make(path)
				os.Remove(path)
				n++
			}
			b.ReportMetric((processor(b)-before).Seconds()/n, "cpu-s/op")
		})
	}
}

// processor is the time that this process and its children have had.
func processor(b *testing.B) (total time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(fmt.Errorf("getrusage: %w", err))
		}
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}
