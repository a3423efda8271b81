package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
)

const childTree, childWork = "LITHIFY_TEST_TREE", "LITHIFY_TEST_WORK"

// kinds has everything that this back end makes; btrfs has a disk of its own, as
// it does not repeat to the bit.
const kinds = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: esp, type: EF00, size: 20MiB, mkfs: {type: vfat, mount: {mount_point: /boot}}}
    - {name: swap, type: 8200, size: 4MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}}
    - {name: root, size: 100%, mkfs: {mount: {mount_point: /}}}
- local_loop: {name: data, size: 130MiB, mkfs: {type: btrfs, mount: {mount_point: /srv}}}
`

// build makes the disks of kinds below work.
func build(ctx context.Context, tree, work string) error {
	at := time.Unix(1700000000, 0)
	d, err := blockdevtest.Make(ctx, file.New(file.Options{WorkDir: work}), kinds, "namespace", blockdev.Tree{Dir: tree, Time: &at})
	if err != nil {
		return err
	}
	return d.Commit(ctx)
}

// TestUserNamespace makes the disks as root, once more, and in a user namespace
// that has one user: the same bytes come out, except of btrfs, which is checked.
func TestUserNamespace(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "mkfs.btrfs", "btrfs")
	tree := t.TempDir()
	for _, name := range []string{"boot/kernel", "srv/data", "etc/conf", "etc/other"} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte(name), 4000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sparse := filepath.Join(tree, "etc/sparse")
	if err := errors.Join(os.WriteFile(sparse, make([]byte, 100000), 0o644), os.Truncate(sparse, 300000)); err != nil {
		t.Fatal(err)
	}
	first, second, third := t.TempDir(), t.TempDir(), t.TempDir()
	for _, work := range []string{first, second} {
		if err := build(t.Context(), tree, work); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), childTree+"="+tree, childWork+"="+third)
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: one, GidMappings: one}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("in a user namespace: %v: %s", err, out)
	}
	want, err := os.ReadFile(filepath.Join(first, "image0.raw"))
	if err != nil {
		t.Fatal(err)
	}
	for name, work := range map[string]string{"once more": second, "in a user namespace": third} {
		got, err := os.ReadFile(filepath.Join(work, "image0.raw"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes", name)
		}
		if out, err := exec.Command("btrfs", "check", "--readonly", filepath.Join(work, "data.raw")).CombinedOutput(); err != nil {
			t.Errorf("%s: btrfs check: %v: %s", name, err, out)
		}
	}
}

// child is the part of TestUserNamespace that runs in one.
func child() int {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = build(context.Background(), os.Getenv(childTree), os.Getenv(childWork))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
