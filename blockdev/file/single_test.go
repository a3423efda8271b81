package file_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
)

// single makes one file system into a target that is there.
func single(t *testing.T, s blockdev.Single, target string, old bool, tree blockdev.Tree, log io.Writer) (*blockdev.FSPlan, error) {
	t.Helper()
	content := map[string]blockdev.Content{"/": {Inodes: 1, Dirs: 1, Bytes: 4096}}
	if tree.Dir != "" {
		var err error
		if content, err = blockdev.Measure(t.Context(), tree.Dir, []string{"/"}); err != nil {
			t.Fatal(err)
		}
	}
	p, err := s.Plan(content["/"], "seed", false)
	if err != nil {
		t.Fatal(err)
	}
	return p, file.MakeIn(t.Context(), target, old, p, tree, file.Options{WorkDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(log, nil))})
}

// noise makes a file of random bytes.
func noise(t *testing.T, path string, size int) []byte {
	t.Helper()
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestMakeIn writes into the middle of a file full of old data: what comes out
// is judged by the type's own checker and the kernel, and around it nothing has
// changed. A ramfs cannot give blocks back: there zeros must be written.
func TestMakeIn(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "debugfs", "e2fsck", "losetup")
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	ramfs := t.TempDir()
	if err := unix.Mount("ramfs", ramfs, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(ramfs, 0)
	const offset, size, total = 1 << 20, 80 << 20, 100 << 20
	for _, c := range []struct {
		name, dir string
		s         blockdev.Single
		said      string
	}{
		{"ext4", t.TempDir(), blockdev.Single{FSType: "ext4", Label: "one"}, ""},
		{"ext3 on ramfs", ramfs, blockdev.Single{FSType: "ext3", Options: []string{"-m", "0"}}, ""},
		{"ext4 of old releases on ramfs", ramfs, blockdev.Single{FSType: "ext4", Release: "xenial"}, ""},
		{"by mke2fs", t.TempDir(), blockdev.Single{FSType: "ext4", Options: []string{"-E", "stride=8", "-E", "root_owner=7:8"}}, "stride"},
		{"by mke2fs on ramfs", ramfs, blockdev.Single{FSType: "ext2", Options: []string{"-E", "stride=8"}}, "stride"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			image := filepath.Join(c.dir, "image")
			before := noise(t, image, total)
			defer os.Remove(image)
			c.s.Offset, c.s.Size, c.s.Name = offset, size, "image"
			if _, err := single(t, c.s, image, true, blockdev.Tree{Dir: tree}, &log); err != nil {
				t.Fatal(err)
			}
			if log.Len() > 0 != (c.said != "") || !strings.Contains(log.String(), c.said) {
				t.Errorf("the log says %q", &log)
			}
			after, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(after[:offset], before[:offset]) || !bytes.Equal(after[offset+size:], before[offset+size:]) {
				t.Error("what lies around it has changed")
			}
			alone := filepath.Join(t.TempDir(), "alone")
			if err := os.WriteFile(alone, after[offset:offset+size], 0o600); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(strings.Join(c.s.Options, " "), "root_owner") {
				owns(t, alone, "User:     7   Group:     8 ")
				return
			}
			same(t, alone, tree)
		})
	}
}

func owns(t *testing.T, image, want string) {
	t.Helper()
	out, err := exec.Command("debugfs", "-R", "stat <2>", image).Output()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v: the root folder is %s; want %q", err, out, want)
	}
}

// TestMakeInTypes has the other types made and judged.
func TestMakeInTypes(t *testing.T) {
	blockdevtest.Need(t, "fsck.fat", "mkfs.xfs", "xfs_repair", "mkfs.btrfs", "btrfs", "blkid")
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "file"), bytes.Repeat([]byte("abc"), 9999), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fsType, label, id string
		tree              blockdev.Tree
		judge             []string
	}{
		{"vfat", "EFI", "ABCD-1234", blockdev.Tree{Dir: tree}, []string{"fsck.fat", "-n"}},
		{"fat", "", "", blockdev.Tree{Dir: tree}, []string{"fsck.fat", "-n"}},
		{"xfs", "x", "11111111-2222-4333-8444-555555555555", blockdev.Tree{}, []string{"xfs_repair", "-n", "-f"}},
		{"btrfs", "b", "11111111-2222-4333-8444-555555555555", blockdev.Tree{Dir: tree}, []string{"btrfs", "check"}},
		{"btrfs", "", "", blockdev.Tree{}, []string{"btrfs", "check"}},
		{"ext4", "", "11111111222243338444555555555555", blockdev.Tree{Dir: tree}, []string{"e2fsck", "-fn"}},
	} {
		t.Run(c.fsType+c.label, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			noise(t, image, 400<<20)
			p, err := single(t, blockdev.Single{Name: "image", FSType: c.fsType, Label: c.label, UUID: c.id, Size: 400 << 20}, image, true, c.tree, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(c.judge[0], append(c.judge[1:], image)...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v: %s", c.judge, err, out)
			}
			out, err := exec.Command("blkid", "-p", "-o", "value", "-s", "UUID", image).Output()
			if got := strings.TrimSpace(string(out)); err != nil || got != p.UUID {
				t.Errorf("%v: blkid sees %q, the plan has %q", err, got, p.UUID)
			}
		})
	}
}

// TestMakeInRefuses xfs with content, which it would lose something of.
func TestMakeInRefuses(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	noise(t, image, 300<<20)
	_, err := single(t, blockdev.Single{Name: "image", FSType: "xfs", Size: 300 << 20}, image, true, blockdev.Tree{Dir: t.TempDir()}, io.Discard)
	if !errors.As(err, new(*file.SingleError)) {
		t.Errorf("the error is %v", err)
	}
}

// TestMakeInDevice makes one on a loop device, and none on one that is mounted.
func TestMakeInDevice(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "losetup", "e2fsck")
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	image := filepath.Join(t.TempDir(), "image")
	noise(t, image, 90<<20)
	out, err := exec.Command("losetup", "--find", "--show", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(string(out))
	defer func() {
		if out, err := exec.Command("losetup", "-d", device).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	s := blockdev.Single{Name: "device", FSType: "ext4", Size: 90 << 20}
	if _, err := single(t, s, device, true, blockdev.Tree{Dir: tree}, io.Discard); err != nil {
		t.Fatal(err)
	}
	same(t, device, tree)
	at := t.TempDir()
	if err := unix.Mount(device, at, "ext4", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err = single(t, s, device, true, blockdev.Tree{Dir: tree}, io.Discard)
	if err2 := unix.Unmount(at, 0); err2 != nil {
		t.Fatal(err2)
	}
	if !errors.Is(err, unix.EBUSY) {
		t.Errorf("mounted, the error is %v", err)
	}
	same(t, device, tree)
}

// TestMakeInClamps makes late times the given one, whichever program writes, and
// so gives a copy of the tree with other late times the same image.
func TestMakeInClamps(t *testing.T) {
	blockdevtest.Need(t, "mke2fs", "debugfs")
	at := time.Unix(1700000000, 0)
	for _, s := range []blockdev.Single{{FSType: "ext4"}, {FSType: "ext4", Options: []string{"-E", "stride=8"}}, {FSType: "vfat"}} {
		var images [][]byte
		for i := range 2 {
			tree := t.TempDir()
			for _, name := range []string{"late", "early"} {
				path := filepath.Join(tree, name)
				when := at.Add(time.Duration(i)*time.Hour + 77*time.Nanosecond)
				if name == "early" {
					when = at.Add(-time.Hour)
				}
				if err := errors.Join(os.WriteFile(path, []byte(name), 0o644), os.Chtimes(path, when, when)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(tree, 0o755); err != nil {
				t.Fatal(err)
			}
			image := filepath.Join(t.TempDir(), "image")
			s.Name, s.Size = "image", 20<<20
			if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, s.Size)); err != nil {
				t.Fatal(err)
			}
			if _, err := single(t, s, image, false, blockdev.Tree{Dir: tree, Time: &at, Clamp: true}, io.Discard); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			images = append(images, b)
		}
		if !bytes.Equal(images[0], images[1]) {
			t.Errorf("%s %v: the images differ", s.FSType, s.Options)
		}
	}
}
