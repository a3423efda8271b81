package btrfs_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/btrfs"
)

// filled makes a small btrfs with a few files, as mkfs.btrfs does, and opens it.
func filled(t testing.TB, args ...string) *os.File {
	t.Helper()
	for _, tool := range []string{"mkfs.btrfs", "btrfs"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	tree := t.TempDir()
	for _, name := range []string{"a", "b", "dir/c"} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.Repeat([]byte(name), 3000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 120<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.btrfs", append([]string{"-q", "-f", "--shrink", "--rootdir", tree, path}, args...)...)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func open(t testing.TB, f *os.File) *btrfs.Image {
	t.Helper()
	b, err := btrfs.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSetUUID(t *testing.T) {
	f := filled(t)
	if err := open(t, f).SetUUID([16]byte{0x6d, 0x4c, 0x1b, 0x8e, 0x3f, 0x0a, 0x4c, 0x55, 0x9d, 0x1b, 0x0a, 0x4f, 0x5e, 0x2c, 0x7d, 0x11}); err != nil {
		t.Fatal(err)
	}
	out := run(t, "btrfs", "check", "--readonly", f.Name())
	if !strings.Contains(out, "UUID: 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11") {
		t.Errorf("btrfs check: %s", out)
	}
	super := run(t, "btrfs", "inspect-internal", "dump-super", "-a", f.Name())
	if n := strings.Count(super, "[match]"); n < 4 { // checksum and device, in two superblocks
		t.Errorf("%d matches in\n%s", n, super)
	}
}

func TestGrow(t *testing.T) {
	f := filled(t)
	b := open(t, f)
	if err := b.Grow(b.Size() - 4096); err == nil {
		t.Error("it shrank")
	}
	size := int64(333<<20 + 4095)
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := b.Grow(size); err != nil {
		t.Fatal(err)
	}
	run(t, "btrfs", "check", "--readonly", f.Name())
	if got := open(t, f).Size(); got != 333<<20 {
		t.Errorf("size %d", got)
	}
}

func TestMend(t *testing.T) {
	f := filled(t)
	b := open(t, f)
	files, err := b.Files(btrfs.TopTree)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := files.Names[btrfs.Name{Inode: btrfs.TopFolder, Name: "a"}]
	if !ok || !files.Has(n) || len(files.Names) != 4 {
		t.Fatalf("names %v", files.Names)
	}
	at := unix.Timespec{Sec: 4102542245, Nsec: 999999999}
	i := btrfs.Inode{Mode: unix.S_IFREG | 0o4711, UID: 70000, GID: 3, Links: 1, Size: 3000, Mtime: at}
	if err := b.Mend(files, map[uint64]btrfs.Inode{n: i}); err != nil {
		t.Fatal(err)
	}
	run(t, "btrfs", "check", "--readonly", f.Name())
	dump := run(t, "btrfs", "inspect-internal", "dump-tree", "-t", "fs", f.Name())
	if !strings.Contains(dump, "mode 104711") || !strings.Contains(dump, "uid 70000 gid 3") || !strings.Contains(dump, "4102542245.999999999") {
		t.Errorf("btrfs reads %s", dump)
	}
	i.Size++
	if err := b.Mend(files, map[uint64]btrfs.Inode{n: i}); err == nil {
		t.Error("a file of another size was mended")
	}
}

func TestOpenOthers(t *testing.T) {
	f := filled(t, "--csum", "xxhash")
	if _, err := btrfs.Open(f); err == nil || !strings.Contains(err.Error(), "checksums") {
		t.Errorf("checksums of another kind: %v", err)
	}
	empty, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if _, err := btrfs.Open(empty); err == nil {
		t.Error("an empty file was opened")
	}
}

// FuzzOpen gives the reader damaged blocks, with right checksums: no panic, no
// endless walk.
func FuzzOpen(f *testing.F) {
	f.Add(uint32(0), []byte{1})
	f.Add(uint32(4096+96), []byte{0xff, 0xff, 0xff, 0xff})
	whole := filled(f)
	b, err := btrfs.Open(whole)
	if err != nil {
		f.Fatal(err)
	}
	blocks := b.Blocks()
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		m := &memory{f: whole, patches: map[int64][]byte{}}
		b.Damage(m, blocks, int64(at), change)
		damaged, err := btrfs.Open(m)
		if err != nil {
			return
		}
		_, _ = damaged.Files(btrfs.TopTree)
		_ = damaged.SetUUID([16]byte{})
		_ = damaged.Grow(damaged.Size())
	})
}

// memory keeps what is written.
type memory struct {
	f       *os.File
	patches map[int64][]byte
}

func (m *memory) ReadAt(b []byte, at int64) (int, error) {
	if p, ok := m.patches[at]; ok && len(p) == len(b) {
		return copy(b, p), nil
	}
	return m.f.ReadAt(b, at)
}

func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	m.patches[at] = bytes.Clone(b)
	return len(b), nil
}
