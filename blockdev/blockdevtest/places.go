package blockdevtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Places returns empty folders on file systems that tell of holes and keep names
// differently: tmpfs, ext2, ext4 with blocks of 1 and 4 KiB, xfs, btrfs, and overlay
// on two of them, by name. They are unmounted when the test ends.
func Places(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{"here": t.TempDir()}
	NeedRoot(t)
	Need(t, "mke2fs", "mkfs.xfs", "mkfs.btrfs")
	top := t.TempDir()
	mount := func(name, source, fsType, options string) {
		dir := filepath.Join(top, name)
		makeFolder(t, dir)
		args := []string{"-t", fsType, source, dir}
		if options != "" {
			args = append(args, "-o", options)
		}
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Fatalf("mounting %s: %v: %s", name, err, out)
		}
		t.Cleanup(func() {
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				t.Errorf("umount %s: %v: %s", name, err, out)
			}
		})
		all[name] = filepath.Join(dir, "tree")
		makeFolder(t, all[name])
	}
	mount("tmpfs", "tmpfs", "tmpfs", "")
	for name, mkfs := range map[string][]string{
		"ext4-1k": {"mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024"}, "ext4": {"mke2fs", "-q", "-F", "-t", "ext4"},
		"ext2": {"mke2fs", "-q", "-F", "-t", "ext2"}, "xfs": {"mkfs.xfs", "-q"}, "btrfs": {"mkfs.btrfs", "-q"},
	} {
		image := filepath.Join(top, name+".img")
		if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 320<<20)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", mkfs, err, out)
		}
		fsType, _, _ := strings.Cut(name, "-")
		mount(name, image, fsType, "loop")
	}
	for _, on := range []string{"tmpfs", "xfs"} {
		var dirs []any
		for _, d := range []string{"lower", "upper", "work"} {
			dir := filepath.Join(filepath.Dir(all[on]), "layers", d)
			makeFolder(t, dir)
			dirs = append(dirs, dir)
		}
		mount("overlay on "+on, "overlay", "overlay", fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dirs...))
	}
	return all
}

func makeFolder(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
