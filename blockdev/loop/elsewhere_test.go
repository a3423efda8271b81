package loop_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

// TestMountedElsewhere: a mount namespace that is made while a disk is mounted
// holds it beyond our unmounting; Commit waits until the kernel lets go.
func TestMountedElsewhere(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "mkfs.xfs", "unshare", "e2fsck", "xfs_repair")
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	for fs, judge := range map[string][]string{"ext4": {"e2fsck", "-fn"}, "xfs": {"xfs_repair", "-n"}} {
		c, err := blockdev.Parse([]byte("- local_loop: {name: image0, size: 400MiB, mkfs: {type: " + fs + ", mount: {mount_point: /}}}"))
		if err != nil {
			t.Fatal(err)
		}
		g, err := c.Graph(blockdev.Defaults{})
		if err != nil {
			t.Fatal(err)
		}
		g.Identify("elsewhere")
		p, err := g.Layout(map[string]blockdev.Content{"/": {Inodes: 1, Dirs: 1, Bytes: 4096}}, blockdev.Request{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := loop.New(loop.Options{WorkDir: t.TempDir()}).Create(t.Context(), g, p, blockdev.Tree{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		other := exec.Command("unshare", "-m", "sleep", "1")
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.Dir(), "late"), []byte("late\n"), 0o644); err != nil {
			t.Error(err)
		}
		if err := d.Commit(t.Context()); err != nil {
			t.Errorf("%s: %v", fs, err)
		}
		_ = other.Wait()
		if out, err := exec.Command(judge[0], append(judge[1:], d.Images()["image0"])...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", fs, err, out)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
