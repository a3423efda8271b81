package ext4_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// TestCopiedTree: inode numbers, order on the disk and the time of the copy do
// not show. That a file has holes at all does, and cp makes some: neither copy has
// any. TestHoles has copies with holes.
func TestCopiedTree(t *testing.T) {
	blockdevtest.NeedRoot(t)
	tree, once, again := t.TempDir(), t.TempDir(), t.TempDir()
	blockdevtest.NastyTree(t, tree)
	grow(t, filepath.Join(tree, "home"), 11, 300)
	tool(t, "cp", "-aT", "--sparse=never", tree, once)
	tool(t, "cp", "-aT", "--sparse=never", once, again)
	o := fixed(ext4.Options{Size: 128 << 20})
	tool(t, "cmp", write(t, once, o), write(t, again, o))
}

// TestOverlay reads what builds have: an overlay mount, of whose names some are
// from one layer, some from the other, with a folder bound into it.
func TestOverlay(t *testing.T) {
	blockdevtest.NeedRoot(t)
	top := t.TempDir()
	for _, d := range []string{"lower", "upper", "work", "merged", "covered"} {
		must(t, os.Mkdir(filepath.Join(top, d), 0o755))
	}
	lower, merged := filepath.Join(top, "lower"), filepath.Join(top, "merged")
	blockdevtest.NastyTree(t, lower)
	tool(t, "mount", "-t", "overlay", "overlay", "-o", fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, top, top), merged)
	t.Cleanup(func() { tool(t, "umount", merged) })
	must(t, os.Remove(filepath.Join(merged, "a/su"))) // one name less of a file below
	must(t, os.Rename(filepath.Join(merged, "dangling"), filepath.Join(merged, "b/moved")))
	must(t, os.Chmod(filepath.Join(merged, "etc/fstab"), 0o600))
	must(t, os.WriteFile(filepath.Join(merged, "etc/new"), []byte("of the upper layer"), 0o644))
	must(t, os.Link(filepath.Join(merged, "etc/new"), filepath.Join(merged, "etc/new2")))
	must(t, os.RemoveAll(filepath.Join(merged, "many")))
	must(t, os.Mkdir(filepath.Join(merged, "many"), 0o700))
	tool(t, "mount", "--bind", filepath.Join(top, "covered"), filepath.Join(merged, "srv"))
	t.Cleanup(func() { tool(t, "umount", filepath.Join(merged, "srv")) })
	compare(t, write(t, merged, fixed(ext4.Options{Size: 64 << 20})), merged, blockdevtest.CompareOptions{})
}
