package compare_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/compare"
	"github.com/lithify/lithify/blockdev/loop"
)

// mounted runs f with an image mounted.
func mounted(t *testing.T, path string, f func(dir string)) {
	t.Helper()
	needRoot(t)
	if err := loop.Available(); err != nil {
		missing(t, err.Error())
	}
	dir := t.TempDir()
	dev := strings.TrimSpace(run(t, "", "losetup", "--find", "--show", path))
	defer run(t, "", "losetup", "-d", dev)
	run(t, "", "mount", dev, dir)
	defer run(t, "", "umount", dir)
	f(dir)
}

type treeEdit struct {
	name string
	do   func(dir string) error
	line string
}

// treeEdits are changes of a tree, with what is to be told of them.
var treeEdits = []treeEdit{
	{"content", func(d string) error { return writeAt(d+"/data", "X", 123456) }, "/data: "},
	{"mode", func(d string) error { return os.Chmod(d+"/etc/passwd", 0o640) }, "/etc/passwd: mode 0644 ≠ 0640"},
	{"owner", func(d string) error { return os.Chown(d+"/deep", 1234567, 7) }, "/deep: owner 0:0 ≠ 1234567:7"},
	{"time", func(d string) error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, d+"/etc/hostname", []unix.Timespec{{Sec: 1e9, Nsec: 1}, {Sec: 1e9, Nsec: 987654321}}, 0)
	}, "/etc/hostname: mtime "},
	{"attribute", func(d string) error { return unix.Setxattr(d+"/folder", "user.x", []byte("\x00\xff"), 0) }, `/folder: attribute user.x none ≠ "\x00\xff"`},
	{"link", func(d string) error { return errors.Join(os.Remove(d+"/link"), os.Symlink("elsewhere", d+"/link")) }, "/link: "},
	{"removed", func(d string) error { return os.RemoveAll(d + "/deep/er") }, "/deep/er: only in A: folder with 2 files below it"},
	{"added", func(d string) error { return os.WriteFile(d+"/new", []byte("new"), 0o600) }, "/new: only in B: file of 3 bytes"},
	{"type", func(d string) error { return errors.Join(os.Remove(d+"/empty"), os.Mkdir(d+"/empty", 0o755)) }, "/empty: type file ≠ folder"},
	{"hard link", func(d string) error {
		b, err := os.ReadFile(d + "/deep/data")
		return errors.Join(err, os.Remove(d+"/deep/data"), os.WriteFile(d+"/deep/data", b, 0o644))
	}, "hard link of /data ≠ none"},
	{"device", func(d string) error { return unix.Mknod(d+"/disk", unix.S_IFBLK|0o600, int(unix.Mkdev(259, 70000))) }, "/disk: only in B: block device"},
	// Over zeros nothing but the hole differs.
	{"hole", func(d string) error { return punch(d + "/zeros") }, "/zeros: "},
}

func writeAt(path, data string, at int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(data), at)
	return errors.Join(err, f.Close())
}

func punch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 65536, 65536)
	return errors.Join(err, f.Close())
}

// TestKernelEdits: what the kernel changes in a mounted tree is told of each kind
// of file system: of ext4 one by one, of the others all at once.
func TestKernelEdits(t *testing.T) {
	needRoot(t)
	for _, kind := range []string{"ext2", "ext3", "ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			a := kernelImage(t, kind)
			if kind != "ext4" {
				kernelEdits(t, a, treeEdits...)
				return
			}
			for _, e := range treeEdits {
				t.Run(e.name, func(t *testing.T) { kernelEdits(t, a, e) })
			}
		})
	}
}

func kernelEdits(t *testing.T, a string, edits ...treeEdit) {
	t.Helper()
	b := twin(t, a)
	mounted(t, b, func(dir string) {
		for _, e := range edits {
			if err := e.do(dir); err != nil {
				t.Fatalf("%s: %v", e.name, err)
			}
		}
	})
	got := text(t, compared(t, a, b, compare.Options{Max: 30, Mount: loop.MountReadOnly}))
	for _, e := range edits {
		if !strings.Contains(got, e.line) {
			t.Errorf("%s: no %q in\n%s", e.name, e.line, got)
		}
		if e.name == "content" && !strings.Contains(got, "content differs at byte 123456 (1 byte)") ||
			e.name == "hole" && !strings.Contains(got, "holes: data ") {
			t.Errorf("%s: %s", e.name, got)
		}
	}
}

// kernelImage is a file system that the kernel filled.
func kernelImage(t *testing.T, kind string) string {
	t.Helper()
	var path string
	switch kind {
	case "xfs":
		path = empty(t, 320*mib)
		run(t, "", "mkfs.xfs", "-q", path)
	case "btrfs":
		path = empty(t, 128*mib)
		run(t, "", "mkfs.btrfs", "-q", path)
	default:
		path = empty(t, 16*mib)
		run(t, "", "mke2fs", "-q", "-F", "-t", kind, path)
	}
	mounted(t, path, func(dir string) {
		tree := putTree(t, map[string]string{"etc/hostname": "one\n", "etc/passwd": "root", "data": pattern(300_000), "deep/er/est/file": "deep",
			"empty": "", "folder/": "", "zeros": strings.Repeat("\x00", 300_000)})
		if err := errors.Join(os.Symlink("etc/hostname", tree+"/link"), os.Link(tree+"/data", tree+"/deep/data"), os.Chmod(tree, 0o755)); err != nil {
			t.Fatal(err)
		}
		run(t, "", "cp", "-a", "--sparse=never", tree+"/.", dir)
	})
	return path
}

// TestNothingMounted: after a comparison no loop device is left, and without a way
// to mount the bytes are told.
func TestNothingMounted(t *testing.T) {
	needRoot(t)
	a := kernelImage(t, "xfs")
	b := twin(t, a)
	mounted(t, b, func(dir string) {
		if err := os.WriteFile(dir+"/etc/hostname", []byte("two\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
	got := text(t, compared(t, a, b, compare.Options{Mount: loop.MountReadOnly}))
	if !strings.Contains(got, "/etc/hostname: ") || !strings.Contains(got, `A: "one\n"`) {
		t.Error(got)
	}
	for _, path := range []string{a, b} {
		blockdevtest.Detached(t, filepath.Dir(path))
	}
	got = text(t, compared(t, a, b, compare.Options{}))
	if !strings.Contains(got, "note: its files cannot be compared: xfs is read by the kernel, and without root nothing can be mounted") ||
		!strings.Contains(got, "content differs at byte ") {
		t.Error(got)
	}
}

// TestSquashfs: the kernel reads it where it can.
func TestSquashfs(t *testing.T) {
	needRoot(t)
	need(t, "mksquashfs")
	var images []string
	for _, word := range []string{"one\n", "two\n"} {
		tree := putTree(t, map[string]string{"etc/hostname": word})
		path := filepath.Join(t.TempDir(), "image")
		run(t, "", "mksquashfs", tree, path, "-quiet", "-no-progress", "-all-time", "1")
		images = append(images, path)
	}
	got := text(t, compared(t, images[0], images[1], compare.Options{Mount: loop.MountReadOnly}))
	if !strings.Contains(got, "/etc/hostname: content differs at byte 0 (3 bytes)") && !strings.Contains(got, "its files cannot be compared: A: mounting it") {
		t.Error(got)
	}
}
