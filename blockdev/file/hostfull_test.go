package file_test

import (
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
		config := "- local_loop: {name: image0, mkfs: {name: mkfs_root, type: " + fs + ", mount: {mount_point: /}}}"
		_, err := blockdevtest.Make(t.Context(), file.New(file.Options{WorkDir: work}), config, "host", blockdev.Tree{Dir: tree})
		var full *blockdev.NoSpaceError
		if err == nil || errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", fs, err)
		}
		if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v %v", fs, left, err)
		}
	}
}
