package loop_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

// TestMountedElsewhere: a mount namespace that is made while a disk is mounted
// in a folder of the caller's holds it beyond our unmounting; Commit waits until
// the kernel lets go. In a folder of the disk's own the kernel lets go at once,
// whoever stays.
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
			e := newElsewhere(t, fs, loop.Options{WorkDir: t.TempDir(), MountDir: t.TempDir()}, "1")
			e.commit(judge)
		})
		t.Run(fs+"/own folder", func(t *testing.T) {
			e := newElsewhere(t, fs, loop.Options{WorkDir: t.TempDir()}, "1000")
			start := time.Now()
			e.commit(judge)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("Commit waited %v", took)
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		e := newElsewhere(t, "ext4", loop.Options{WorkDir: t.TempDir(), MountDir: t.TempDir()}, "1000")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.disk.Commit(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Commit while another namespace has the disk: %v", err)
		}
		if err := e.disk.Close(); err != nil {
			t.Error(err)
		}
	})
}

// elsewhere is a disk that a mount namespace made later has too.
type elsewhere struct {
	t     *testing.T
	disk  blockdev.Disk
	dir   string // where it is mounted
	other *exec.Cmd
}

// newElsewhere makes the disk, the namespace, which lives for some seconds, and
// a file on the disk.
func newElsewhere(t *testing.T, fs string, o loop.Options, seconds string) elsewhere {
	t.Helper()
	config := "- local_loop: {name: image0, size: 400MiB, mkfs: {type: " + fs + ", mount: {mount_point: /}}}"
	d, err := blockdevtest.Make(t.Context(), loop.New(o), config, "elsewhere "+t.Name(), blockdev.Tree{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // again
	e := elsewhere{t, d, d.Dir(), exec.Command("unshare", "-m", "sleep", seconds)}
	if err := e.other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.other.Process.Kill() // it may have ended
		_ = e.other.Wait()
	})
	e.awaitNamespace()
	if !e.isMounted() {
		t.Fatal("the other namespace has no such mount")
	}
	if err := os.WriteFile(filepath.Join(e.dir, "late"), []byte("late\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return e
}

// isMounted tells whether the other namespace has the disk. It has nothing any
// more when its last process has ended.
func (e elsewhere) isMounted() bool {
	mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", e.other.Process.Pid))
	return strings.Contains(string(mounts), " "+e.dir+" ")
}

// commit commits and has the image judged at once.
func (e elsewhere) commit(judge []string) {
	e.t.Helper()
	if err := e.disk.Commit(e.t.Context()); err != nil {
		e.t.Error(err)
	}
	if e.isMounted() {
		e.t.Error("Commit is done, and the other namespace has the disk mounted")
	}
	if out, err := exec.Command(judge[0], append(judge[1:], e.disk.Images()["image0"])...).CombinedOutput(); err != nil {
		e.t.Errorf("%v: %v\n%s", judge, err, out)
	}
	if err := e.disk.Close(); err != nil {
		e.t.Error(err)
	}
}

// awaitNamespace waits until unshare has made its namespace and become sleep.
func (e elsewhere) awaitNamespace() {
	e.t.Helper()
	for range 500 {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", e.other.Process.Pid)); err == nil && string(name) == "sleep\n" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	e.t.Fatal("unshare makes no namespace")
}
