package ext4_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// fixed is what equal images need: a time and ids.
func fixed(o ext4.Options) ext4.Options {
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	o.Time = &at
	copy(o.UUID[:], "\x01\x23\x45\x67\x89\xab\x4d\xef\x81\x23\x45\x67\x89\xab\xcd\xef")
	copy(o.HashSeed[:], "\xf1\x23\x45\x67\x89\xab\x4d\xef\x81\x23\x45\x67\x89\xab\xcd\xe0")
	return o
}

// write makes an image file of a tree and has e2fsck judge it.
func write(t testing.TB, tree string, o ext4.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := writeTo(t, path, tree, o); err != nil {
		t.Fatal(err)
	}
	check(t, path)
	return path
}

func writeTo(t testing.TB, path, tree string, o ext4.Options) error {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil {
		err = f.Truncate(o.Offset + o.Size)
	}
	if err != nil {
		t.Fatal(err)
	}
	return errors.Join(ext4.Write(t.Context(), f, tree, o), f.Close())
}

// check fails unless e2fsck finds nothing at all.
func check(t testing.TB, path string) {
	t.Helper()
	blockdevtest.Need(t, "e2fsck")
	out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "Fix?") || strings.Contains(string(out), "WARNING") {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	blockdevtest.Need(t, name)
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// mount gives an image to the kernel. The loop device is its own: mount -o loop
// may take a read-only one that is about to go.
func mount(t testing.TB, path string, options ...string) string {
	t.Helper()
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "losetup", "findmnt")
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		blockdevtest.Missing(t, "no loop devices")
	}
	dir := t.TempDir()
	device := strings.TrimSpace(tool(t, "losetup", "--find", "--show", path))
	t.Cleanup(func() {
		if exec.Command("mountpoint", "-q", dir).Run() == nil {
			tool(t, "umount", dir)
		}
		tool(t, "losetup", "--detach", device)
	})
	tool(t, "mount", "-o", strings.Join(append([]string{"noatime"}, options...), ","), device, dir)
	return dir
}

// unmount lets go of a file system, but for its loop device, which the test's
// end does. It waits until the kernel has: on a machine with builds, a mount
// namespace that was made meanwhile holds a copy of the mount until it ends.
func unmount(t testing.TB, dir string) {
	t.Helper()
	device := strings.TrimSpace(tool(t, "findmnt", "-n", "-o", "SOURCE", dir))
	tool(t, "umount", dir)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		f, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
		if err == nil {
			must(t, f.Close())
			return
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			t.Fatalf("%s is still mounted somewhere: %v", device, err)
		}
	}
}

// compare has the kernel read an image, and compares with the tree.
func compare(t testing.TB, path, tree string, o blockdevtest.CompareOptions) {
	t.Helper()
	dir := mount(t, path, "ro")
	defer unmount(t, dir)
	if _, err := os.Lstat(filepath.Join(tree, "lost+found")); err != nil {
		o.Ignore = append(o.Ignore, "/lost+found")
	}
	all, err := blockdevtest.CompareTrees(tree, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		t.Error(d)
	}
}

// TestNasty lets the kernel read a tree of everything that copies lose, by every
// set of features and sizes.
func TestNasty(t *testing.T) {
	blockdevtest.NeedRoot(t)
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	plainer := t.TempDir() // nobody can keep so long an attribute in so small a block
	blockdevtest.NastyTree(t, plainer)
	if err := unix.Removexattr(filepath.Join(plainer, "etc/fstab"), "user.long"); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]ext4.Options{
		"ext4":          {},
		"new":           {Features: ext4.Ext4New()},
		"old":           {Features: ext4.Ext4Old()},
		"ext3":          {Features: ext4.Ext3()},
		"ext2":          {Features: ext4.Ext2()},
		"block 1024":    {BlockSize: 1024},
		"block 2048":    {BlockSize: 2048},
		"ext2, 1024":    {BlockSize: 1024, Features: ext4.Ext2()},
		"inodes 1024":   {InodeSize: 1024},
		"not empty":     {NotEmpty: true},
		"one reader":    {Workers: 1},
		"journal 16M":   {JournalSize: 16 << 20},
		"2 groups flex": {BlockSize: 1024, FlexGroups: 2},
	} {
		t.Run(name, func(t *testing.T) {
			o.Size = 64 << 20
			tree := tree
			if o.BlockSize == 1024 || o.BlockSize == 2048 {
				tree = plainer
			}
			path := filepath.Join(t.TempDir(), "image")
			if o.NotEmpty {
				dirty(t, path, o.Size)
			}
			if err := writeTo(t, path, tree, fixed(o)); err != nil {
				t.Fatal(err)
			}
			check(t, path)
			compare(t, path, tree, blockdevtest.CompareOptions{})
		})
	}
}

// TestSmallInodes have neither nanoseconds nor years after 2038.
func TestSmallInodes(t *testing.T) {
	blockdevtest.NeedRoot(t)
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	f := ext4.Ext4()
	f.ROCompat &^= ext4.ExtraIsize
	path := write(t, tree, fixed(ext4.Options{Size: 64 << 20, InodeSize: 128, Features: f}))
	compare(t, path, tree, blockdevtest.CompareOptions{NoTimes: true})
}

// dirty fills a file with what an old file system may have left.
func dirty(t *testing.T, path string, size int64) {
	t.Helper()
	if err := os.WriteFile(path, bytes.Repeat([]byte("old data"), int(size/8)), 0o644); err != nil {
		t.Fatal(err)
	}
}
