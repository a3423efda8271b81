package file_test

import (
	"bytes"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
)

// TestMke2fs asks for what package ext4 does not write: mke2fs and debugfs then
// make the same file system, and the log says why. What it writes, it writes
// silently.
func TestMke2fs(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "debugfs", "e2fsck", "losetup")
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	at := time.Unix(1700000000, 0)
	for _, c := range []struct{ opts, said string }{
		{"-E stride=8", "stride"},
		{"-T news", "-T"},
		{"-g 16384", "-g"},
		{"-m 1 -i 8192", ""},
	} {
		t.Run(c.opts, func(t *testing.T) {
			var log bytes.Buffer
			b := file.New(file.Options{WorkDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			config := `- local_loop: {name: image0, size: 96MiB, mkfs: {name: mkfs_root, type: ext4, opts: "` + c.opts + `", mount: {mount_point: /}}}`
			d, err := blockdevtest.Make(t.Context(), b, config, "mke2fs", blockdev.Tree{Dir: tree, Time: &at})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			lines := strings.Count(log.String(), "\n")
			if c.said == "" && lines > 0 || c.said != "" && (lines != 1 || !strings.Contains(log.String(), c.said)) {
				t.Errorf("the log says %s", &log)
			}
			same(t, d.Images()["image0"], tree)
		})
	}
}

func same(t *testing.T, image, tree string) {
	t.Helper()
	if out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v: %s", err, out)
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "ro,loop", image, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}()
	all, err := blockdevtest.CompareTrees(tree, dir, blockdevtest.CompareOptions{Ignore: []string{"/lost+found"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		t.Error(d)
	}
}
