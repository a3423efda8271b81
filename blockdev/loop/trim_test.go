package loop_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

// TestTrim: what was written and removed before Commit takes no room in the image.
func TestTrim(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "mkfs.xfs", "mkfs.btrfs")
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) { trimmed(t, fs) })
	}
}

func trimmed(t *testing.T, fs string) {
	d, err := blockdevtest.Make(t.Context(), loop.New(loop.Options{WorkDir: t.TempDir()}),
		"- local_loop: {name: image0, size: 400MiB, mkfs: {type: "+fs+", mount: {mount_point: /}}}", "trim", blockdev.Tree{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	large := filepath.Join(d.Dir(), "large")
	if err := os.WriteFile(large, bytes.Repeat([]byte("lithify\n"), 12<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(d.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Syncfs(int(dir.Fd())), dir.Close()); err != nil {
		t.Fatal(err)
	}
	before := taken(t, d.Images()["image0"])
	if err := os.Remove(large); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := taken(t, d.Images()["image0"])
	if before < 96<<20 || after > before-95<<20 {
		t.Errorf("the image took %d MiB with the file and takes %d after", before>>20, after>>20)
	}
}

func taken(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}
