package blockdev

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// need skips on a laptop and fails in CI when a tool is missing.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is missing", tool)
			}
			t.Skipf("%s is missing", tool)
		}
	}
}

// free makes a file system by the plan and returns dumpe2fs's free bytes and inodes.
func free(t *testing.T, f FSPlan) (bytes, inodes int64) {
	t.Helper()
	dir := t.TempDir()
	profile, err := WriteMke2fsProfile(dir)
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "fs")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, f.Size); err != nil {
		t.Fatal(err)
	}
	args, env := Mke2fsCommand(f, Mke2fs{Profile: profile, Target: image})
	c := exec.CommandContext(context.Background(), "mke2fs", args...)
	c.Env = append(os.Environ(), env...)
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("mke2fs %q: %v\n%s", args, err, out)
	}
	out, err := exec.Command("dumpe2fs", "-h", image).Output()
	if err != nil {
		t.Fatal(err)
	}
	get := func(name string) int64 {
		m := regexp.MustCompile(`(?m)^` + name + `: +(\d+)$`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("no %q in %s", name, out)
		}
		n, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return n
	}
	return get("Free blocks") * get("Block size"), get("Free inodes")
}

// The model of overhead is never below what mke2fs makes, and near it.
func TestOverheadAgainstMke2fs(t *testing.T) {
	need(t, "mke2fs", "dumpe2fs")
	for _, c := range []struct {
		fsType string
		size   int64
		opts   []string
	}{
		{"ext4", 8 * mib, nil},
		{"ext4", 100*mib + 3584, nil},
		{"ext4", 200 * mib, []string{"-i", "4096", "-J", "size=64"}},
		{"ext4", gib, []string{"-i", "4096", "-J", "size=64"}},
		{"ext4", 3*gib + 65536, []string{"-i", "4096", "-J", "size=64"}},
		{"ext4", 40 * gib, []string{"-i", "4096", "-J", "size=64"}},
		{"ext4", 2 * gib, []string{"-O", "^has_journal", "-O", "^resize_inode,^64bit"}},
		{"ext4", 2 * gib, []string{"-N", "70000", "-b", "1024"}},
		{"ext4", 5 * gib, nil}, {"ext4", 20 * gib, nil},
		{"ext2", 64 * mib, nil}, {"ext3", 2 * gib, nil}, {"ext3", 600 * mib, []string{"-i8192"}},
	} {
		t.Run(fmt.Sprintf("%s %s %q", c.fsType, FormatSize(c.size), c.opts), func(t *testing.T) {
			f := FSPlan{FSType: c.fsType, Size: c.size, Options: c.opts, Label: "x", UUID: uuid([32]byte{1}), HashSeed: uuid([32]byte{2})}
			l := newExtLayout(&f)
			bytes, inodes := free(t, f)
			real := c.size - bytes
			kept := min(c.size/l.block/50, 4096) * l.block
			model := l.overhead(c.size) - kept
			if model < real || model > real+real/20+512*kib {
				t.Errorf("overhead: model %d, mke2fs %d", model, real)
			}
			if got := l.inodeCount(c.size); inodes < got-got/100-11 {
				t.Errorf("inodes: model %d, mke2fs %d free", got, inodes)
			}
		})
	}
}
