package blockdev_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
)

func digest(t *testing.T, dir string, latest *time.Time) string {
	t.Helper()
	d, err := blockdev.Digest(t.Context(), dir, latest)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDigest: copies have one hash, on whatever file system; any edit of what goes
// into a file system gives another.
func TestDigest(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "setfattr")
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	// Not every file system has room for it, and cp does not say so.
	if err := unix.Removexattr(filepath.Join(tree, "etc/fstab"), "user.long"); err != nil {
		t.Fatal(err)
	}
	want := digest(t, tree, nil)
	for where, dir := range blockdevtest.Places(t) {
		if err := os.Remove(dir); err != nil && where == "here" {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-aT", tree, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got := digest(t, dir, nil); got != want && where != "ext2" { // no nanoseconds
			t.Errorf("on %s: another hash", where)
		}
	}
	at := func(name string) string { return filepath.Join(tree, name) }
	back := func(name string, f func(string) error) error {
		st, err := os.Stat(at(name))
		return errors.Join(err, f(at(name)), os.Chtimes(at(name), st.ModTime(), st.ModTime()))
	}
	write := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o644) }
	}
	top, err := os.Stat(tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("edited"), []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{digest(t, tree, nil): "to begin with"}
	for _, edit := range []struct {
		name string
		do   func() error
	}{
		{"content of the same length", func() error { return back("edited", write("two")) }},
		{"a longer one", func() error { return back("edited", write("twos")) }},
		{"zeros behind it", func() error { return back("edited", write("twos\x00")) }},
		{"mode", func() error { return os.Chmod(at("edited"), 0o600) }},
		{"owner", func() error { return os.Chown(at("edited"), 5, 6) }},
		{"time", func() error { return os.Chtimes(at("edited"), time.Unix(5, 0), time.Unix(5, 1)) }},
		{"attribute", func() error { return unix.Setxattr(at("edited"), "user.new", []byte("v"), 0) }},
		{"its value", func() error { return unix.Setxattr(at("edited"), "user.new", []byte("w"), 0) }},
		{"name", func() error { return os.Rename(at("edited"), at("edited2")) }},
		{"link", func() error { return os.Symlink("a", at("new")) }},
		{"its path", func() error { return errors.Join(os.Remove(at("new")), os.Symlink("b", at("new"))) }},
		{"hard link", func() error { return os.Link(at("edited2"), at("new2")) }},
		{"the same as a copy", func() error {
			return errors.Join(os.Remove(at("new2")), exec.Command("cp", "-a", at("edited2"), at("new2")).Run())
		}},
		{"holes", func() error { return os.Truncate(at("edited2"), 100000) }},
		{"device", func() error { return unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) }},
		{"its number", func() error {
			return errors.Join(os.Remove(at("null")), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
		}},
		{"top", func() error { return os.Chmod(tree, 0o711) }},
	} {
		if err := edit.do(); err != nil {
			t.Fatalf("%s: %v", edit.name, err)
		}
		if err := os.Chtimes(tree, top.ModTime(), top.ModTime()); err != nil {
			t.Fatal(err)
		}
		d := digest(t, tree, nil)
		if old, again := seen[d]; again {
			t.Errorf("%s: the hash is that of %s", edit.name, old)
		}
		seen[d] = edit.name
	}
	clamp := time.Unix(1000, 0)
	if err := os.Chtimes(at("edited2"), time.Unix(5, 0), time.Unix(5, 0)); err != nil {
		t.Fatal(err)
	}
	before := digest(t, tree, &clamp)
	if err := os.Chtimes(at("edited2"), time.Unix(5, 0), time.Unix(5000, 0)); err != nil {
		t.Fatal(err)
	}
	late := digest(t, tree, &clamp)
	if err := os.Chtimes(at("edited2"), time.Unix(5, 0), time.Unix(6000, 0)); err != nil {
		t.Fatal(err)
	}
	if again := digest(t, tree, &clamp); again != late || late == before {
		t.Error("late times show, or early ones do not")
	}
}

// TestSingle: what a call without a size gets, and what is refused.
func TestSingle(t *testing.T) {
	content := blockdev.Content{Bytes: 50 << 20, Inodes: 900, Dirs: 50}
	sizes := map[string]int64{}
	for _, fsType := range blockdev.SingleTypes() {
		p, err := blockdev.Single{Name: "f", FSType: fsType}.Plan(content, "seed", false)
		if err != nil {
			t.Fatalf("%s: %v", fsType, err)
		}
		grown, err := blockdev.Single{Name: "f", FSType: fsType}.Plan(content, "seed", true)
		if err != nil || grown.Size <= p.Size || grown.UUID != p.UUID {
			t.Errorf("%s: grown from %d to %d, id %s and %s: %v", fsType, p.Size, grown.Size, p.UUID, grown.UUID, err)
		}
		if p.Size < content.Bytes*5/3 || p.Size > 600<<20 || p.Size%(64<<10) != 0 {
			t.Errorf("%s: %d bytes", fsType, p.Size)
		}
		other, err := blockdev.Single{Name: "g", FSType: fsType}.Plan(content, "seed", false)
		if err != nil || other.UUID != p.UUID {
			t.Errorf("%s: %v: the file's name shows in the id", fsType, err)
		}
		sizes[fsType] = p.Size
	}
	// A disk with one file system and no table has the same size.
	c, err := blockdev.Parse([]byte(`[{"local_loop": {"name": "d", "mkfs": {"type": "ext4", "opts": "-q", "mount": {"mount_point": "/"}}}}]`))
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Graph(blockdev.Defaults{})
	if err == nil {
		g.Identify("seed")
		var p *blockdev.Plan
		if p, err = g.Layout(map[string]blockdev.Content{"/": content}, blockdev.Request{}); err == nil && p.Disks[0].Size != sizes["ext4"] {
			t.Errorf("a disk has %d, one alone %d", p.Disks[0].Size, sizes["ext4"])
		}
	}
	if err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		s    blockdev.Single
		want string
	}{
		{blockdev.Single{FSType: "swap"}, `unknown file system "swap"`},
		{blockdev.Single{FSType: "etx4"}, `did you mean "ext4"`},
		{blockdev.Single{FSType: "ext4", Label: "12345678901234567"}, "too long"},
		{blockdev.Single{FSType: "vfat", UUID: "x"}, "volume ID"},
		{blockdev.Single{FSType: "ext4", UUID: "123"}, "UUID"},
		{blockdev.Single{FSType: "vfat", Label: "a:b"}, "label"},
		{blockdev.Single{FSType: "btrfs", Options: []string{"--csum", "xxhash"}}, "crc32c"},
		{blockdev.Single{FSType: "xfs", Size: 10 << 20}, "needs 300 MiB and has 10 MiB"},
	} {
		if _, err := c.s.Plan(content, "seed", false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.s, err, c.want)
		}
	}
}
