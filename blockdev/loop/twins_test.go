package loop_test

import (
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

const everyKind = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: esp, type: EF00, size: 20MiB, mkfs: {type: vfat, mount: {mount_point: /boot}}}
    - {name: swap, type: 8200, size: 4MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}}
    - {name: home, size: 310MiB, mkfs: {type: xfs, mount: {mount_point: /home}}}
    - {name: srv, size: 130MiB, mkfs: {type: btrfs, mount: {mount_point: /srv}}}
    - {name: root, size: 100%, mkfs: {mount: {mount_point: /}}}
`

// TestTwins makes the same disk twice at once: nothing of the host, no UUID that
// is there already, may come between.
func TestTwins(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mkfs.xfs", "mkfs.btrfs")
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	var disks []blockdev.Disk
	for range 2 {
		d, err := blockdevtest.Make(t.Context(), loop.New(loop.Options{WorkDir: t.TempDir()}), everyKind, "twins", blockdev.Tree{Dir: tree})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		disks = append(disks, d)
	}
	for _, d := range disks {
		if err := d.Commit(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
