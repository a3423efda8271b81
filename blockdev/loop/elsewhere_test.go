package loop_test

import (
	"context"
	"errors"
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
// in a folder of the caller's holds it beyond our unmounting; Commit waits until
// the kernel lets go, as the foreign tools then see. In a folder of the disk's
// own the kernel lets go at once, whoever stays.
func TestMountedElsewhere(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "mkfs.xfs", "mkfs.btrfs", "unshare", "e2fsck", "xfs_repair", "btrfs")
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	for fs, judge := range map[string][]string{
		"ext4": {"e2fsck", "-fn"}, "xfs": {"xfs_repair", "-n"}, "btrfs": {"btrfs", "check", "--readonly"},
	} {
		t.Run(fs+"/caller's folder", func(t *testing.T) {
			d := elsewhere(t, fs, loop.Options{WorkDir: t.TempDir(), MountDir: t.TempDir()}, "1")
			commitElsewhere(t, d, judge)
		})
		t.Run(fs+"/own folder", func(t *testing.T) {
			d := elsewhere(t, fs, loop.Options{WorkDir: t.TempDir()}, "1000")
			start := time.Now()
			commitElsewhere(t, d, judge)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("Commit waited %v", took)
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		d := elsewhere(t, "ext4", loop.Options{WorkDir: t.TempDir(), MountDir: t.TempDir()}, "1000")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Commit(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Commit while another namespace has the disk: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}

// elsewhere makes a disk, and a mount namespace that lives for some seconds and
// has it too; then something is written.
func elsewhere(t *testing.T, fs string, o loop.Options, seconds string) blockdev.Disk {
	t.Helper()
	config := "- local_loop: {name: image0, size: 400MiB, mkfs: {type: " + fs + ", mount: {mount_point: /}}}"
	d, err := blockdevtest.Make(t.Context(), loop.New(o), config, "elsewhere "+t.Name(), blockdev.Tree{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	other := exec.Command("unshare", "-m", "sleep", seconds)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = other.Process.Kill() // it may have ended
		_ = other.Wait()
	})
	awaitNamespace(t, other.Process.Pid)
	if err := os.WriteFile(filepath.Join(d.Dir(), "late"), []byte("late\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return d
}

// commitElsewhere commits and has the image judged at once. It may have no loop
// device any more: a file system that is still mounted would keep its own.
func commitElsewhere(t *testing.T, d blockdev.Disk, judge []string) {
	t.Helper()
	if err := d.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	image := d.Images()["image0"]
	if held := blockdevtest.LoopDevices(filepath.Dir(image)); len(held) > 0 {
		t.Errorf("after Commit the kernel still has %v", held)
	}
	if out, err := exec.Command(judge[0], append(judge[1:], image)...).CombinedOutput(); err != nil {
		t.Errorf("%v: %v\n%s", judge, err, out)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
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
