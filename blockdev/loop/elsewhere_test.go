package loop_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

// TestMountedElsewhere: a mount namespace that is made while a disk is mounted
// holds it beyond our unmounting; Commit waits until the kernel lets go.
func TestMountedElsewhere(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "unshare", "e2fsck")
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	for fs, judge := range map[string][]string{"ext4": {"e2fsck", "-fn"}} {
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
		awaitNamespace(t, other.Process.Pid)
		if err := os.WriteFile(filepath.Join(d.Dir(), "late"), []byte("late\n"), 0o644); err != nil {
			t.Error(err)
		}
		held := filepath.Join("/sys/fs", fs, filepath.Base(d.Devices()["image0"]))
		if _, err := os.Stat(held); err != nil {
			t.Errorf("%s: the kernel does not list it: %v", fs, err)
		}
		if err := d.Commit(t.Context()); err != nil {
			t.Errorf("%s: %v", fs, err)
		}
		if _, err := os.Stat(held); err == nil {
			t.Errorf("%s: the kernel has it still", fs)
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

// awaitNamespace waits until unshare has made its namespace and become sleep.
func awaitNamespace(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(name) == "sleep\n" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("unshare makes no namespace")
}
