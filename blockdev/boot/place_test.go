package boot

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// grubTree is a tree with boot code of core bytes, as grub-install's stand-in leaves it.
func grubTree(t *testing.T, core int) (string, *code) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	fill := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return b
	}
	c := &code{boot: fill(sectorSize), core: fill(core)}
	binary.LittleEndian.PutUint16(c.boot[510:], 0xaa55)
	binary.LittleEndian.PutUint16(c.core[0x1fe:], 0x820)
	tree := t.TempDir()
	write(t, tree, "boot.img", c.boot)
	write(t, tree, "core.img", c.core)
	write(t, tree, "load.cfg", []byte("search.fs_uuid "+rootUUID+" root hd0,msdos1\n"))
	return tree, c
}

func write(t *testing.T, tree, name string, data []byte) {
	t.Helper()
	name = filepath.Join(tree, "boot/grub/i386-pc", name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// partitioned is an image of 16 MiB that a foreign tool gave a table, with marks around it.
func partitioned(t *testing.T, tool []string, script string) string {
	t.Helper()
	need(t, false, tool[0])
	image := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tool[0], append(tool[1:], image)...)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", tool, err, out)
	}
	return image
}

const mbrScript = "label: dos\nlabel-id: 0x1a2b3c4d\nstart=2048, size=8192, type=83, bootable\nstart=20480, type=83\n"

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPlaceInGap(t *testing.T) {
	image := partitioned(t, []string{"sfdisk", "-q"}, mbrScript)
	before := read(t, image)
	tree, c := grubTree(t, 30000) // 58.6 sectors
	placed, err := Place(context.Background(), image, planned(), tree)
	if err != nil || !placed {
		t.Fatal(placed, err)
	}
	want := bytes.Clone(before)
	copy(want[0:3], c.boot[0:3])
	copy(want[0x5a:0x1b8], c.boot[0x5a:0x1b8])
	copy(want[0x5c:], []byte{1, 0, 0, 0, 0, 0, 0, 0, 0xff})
	copy(want[0x66:], []byte{0x90, 0x90})
	copy(want[512:], c.core)
	copy(want[512+0x1f4:], []byte{2, 0, 0, 0, 0, 0, 0, 0, 58, 0, 0x20, 0x08})
	same(t, read(t, image), want)
	if out, err := exec.Command("sfdisk", "--verify", image).CombinedOutput(); err != nil {
		t.Errorf("sfdisk --verify: %v: %s", err, out)
	}
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d bytes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("byte %#x: %#x, want %#x", i, got[i], want[i])
		}
	}
}

func TestPlaceInBIOSBootPartition(t *testing.T) {
	image := partitioned(t, []string{"sgdisk", "-a", "1", "-n", "1:4096:+8M", "-t", "1:8300", "-n", "2:40:+512K", "-t", "2:EF02"}, "")
	before := read(t, image)
	tree, c := grubTree(t, 40000) // 78.1 sectors
	placed, err := Place(context.Background(), image, planned(), tree)
	if err != nil || !placed {
		t.Fatal(placed, err)
	}
	got := read(t, image)
	core := bytes.Clone(c.core)
	copy(core[0x1f4:], []byte{41, 0, 0, 0, 0, 0, 0, 0, 78, 0, 0x20, 0x08})
	same(t, got[40*512:40*512+len(core)], core)
	same(t, got[0x1b8:40*512], before[0x1b8:40*512])
	if sector := binary.LittleEndian.Uint64(got[0x5c:]); sector != 40 {
		t.Errorf("boot.img reads core.img from sector %d", sector)
	}
	if out, err := exec.Command("sgdisk", "-v", image).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("No problems found")) {
		t.Errorf("sgdisk -v: %v: %s", err, out)
	}
}

func TestPlaceRefuses(t *testing.T) {
	for _, c := range []struct {
		name, tool, script, want string
		core                     int
		spoil                    func(t *testing.T, tree string)
	}{
		{"too large", "sfdisk -q", "label: dos\nstart=63, type=83\n", "core.img needs 64 sectors", 32300, nil},
		{"no BIOS boot", "sgdisk -n 1:2048:+8M", "", "EF02", 30000, nil},
		{"boot.img short", "sfdisk -q", mbrScript, "boot.img is not a boot sector", 30000,
			func(t *testing.T, tree string) { write(t, tree, "boot.img", []byte("x")) }},
		{"core.img of EFI", "sfdisk -q", mbrScript, "not of GRUB for i386-pc", 30000,
			func(t *testing.T, tree string) { write(t, tree, "core.img", make([]byte, 4096)) }},
		{"core.img huge", "sfdisk -q", "label: dos\nstart=16384, type=83\n", "a BIOS can load", 1 << 20, nil},
		{"link out of the tree", "sfdisk -q", mbrScript, "escapes", 30000, func(t *testing.T, tree string) {
			name := filepath.Join(tree, "boot/grub/i386-pc/core.img")
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/etc/passwd", name); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := partitioned(t, strings.Fields(c.tool), c.script)
			tree, _ := grubTree(t, c.core)
			if c.spoil != nil {
				c.spoil(t, tree)
			}
			before := read(t, image)
			placed, err := Place(context.Background(), image, planned(), tree)
			if placed || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; want %q", placed, err, c.want)
			}
			same(t, read(t, image), before)
		})
	}
}

func TestPlaceNothing(t *testing.T) {
	image := partitioned(t, []string{"sfdisk", "-q"}, mbrScript)
	bare := partitioned(t, []string{"mke2fs", "-q", "-F"}, "")
	tree, _ := grubTree(t, 30000)
	other := Layout{FileSystems: []FileSystem{{Mount: "/", UUID: bootUUID}}}
	for _, c := range []struct {
		name, image, tree string
		layout            Layout
	}{
		{"empty tree", image, t.TempDir(), planned()},
		{"a base image's boot code", image, tree, other},
		{"no partition table", bare, tree, planned()},
	} {
		before := read(t, c.image)
		placed, err := Place(context.Background(), c.image, c.layout, c.tree)
		if placed || err != nil {
			t.Errorf("%s: %v, %v", c.name, placed, err)
		}
		same(t, read(t, c.image), before)
	}
}

// memory is a disk of fixed size.
type memory []byte

func (m memory) ReadAt(p []byte, at int64) (int, error)  { return bytes.NewReader(m).ReadAt(p, at) }
func (m memory) WriteAt(p []byte, at int64) (int, error) { return copy(m[at:], p), nil }

// Partition tables of images come from configurations, but an image may be anything.
func FuzzFindRoom(f *testing.F) {
	table := make([]byte, 4096)
	copy(table[510:], []byte{0x55, 0xaa})
	table[tableOffset+entryType] = typeGPT
	copy(table[512:], gptSignature)
	f.Add(table)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < sectorSize {
			return
		}
		room, err := findRoom(memory(data), data[:sectorSize])
		if err == nil && room.first == 0 {
			t.Errorf("room %+v covers sector 0", room)
		}
	})
}

// TestPlaceBehindPassphrase: core.img's configuration opens volumes first, and is
// known again all the same.
func TestPlaceBehindPassphrase(t *testing.T) {
	layout := planned()
	crypt := &layout.FileSystems[0]
	crypt.Volume = &Volume{Drive: "cryptouuid/99", Unlock: []string{"99", "aa"}}
	in := installer{fs: *crypt, grub: "/boot/grub"}
	config := in.loadConfig()
	if strings.Index(config, "cryptomount -u 99\n") != 0 || strings.LastIndex(config, "cryptomount -u aa\n") > strings.Index(config, "search.fs_uuid") {
		t.Errorf("core.img's configuration opens nothing before it searches:\n%s", config)
	}
	for _, c := range []struct {
		layout Layout
		want   bool
	}{
		{layout, true},
		{Layout{FileSystems: []FileSystem{{Mount: "/", UUID: bootUUID}}}, false},
	} {
		image := partitioned(t, []string{"sfdisk", "-q"}, mbrScript)
		tree, _ := grubTree(t, 30000)
		write(t, tree, "load.cfg", []byte(config))
		if placed, err := Place(context.Background(), image, c.layout, tree); placed != c.want || err != nil {
			t.Errorf("%v, %v; want %v", placed, err, c.want)
		}
	}
}
