package file_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
)

// TestHostFull: a host without room is no file system without room: a larger one
// would not help.
func TestHostFull(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "mkfs.btrfs")
	tree, work := t.TempDir(), t.TempDir()
	data := make([]byte, 24<<20)
	for i := range data {
		data[i] = byte(i%251 + i>>16)
	}
	if err := os.WriteFile(filepath.Join(tree, "data"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", work, "tmpfs", 0, "size=12m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(work, 0); err != nil {
			t.Error(err)
		}
	}()
	for _, fs := range []string{"ext4", "vfat", "btrfs"} {
		c, err := blockdev.Parse(bytes.ReplaceAll([]byte("- local_loop: {name: image0, mkfs: {name: mkfs_root, type: FS, mount: {mount_point: /}}}"), []byte("FS"), []byte(fs)))
		if err != nil {
			t.Fatal(err)
		}
		g, err := c.Graph(blockdev.Defaults{})
		if err != nil {
			t.Fatal(err)
		}
		g.Identify("host")
		m, err := blockdev.Measure(t.Context(), tree, g.MountPoints())
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Layout(m, blockdev.Request{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.New(file.Options{WorkDir: work}).Create(t.Context(), g, p, blockdev.Tree{Dir: tree})
		var full *blockdev.NoSpaceError
		if err == nil || errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", fs, err)
		}
		if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v %v", fs, left, err)
		}
	}
}
