package extread_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/extread"
)

// small makes file systems of half a MiB with what is rare in them.
func small(f *testing.F) (images [][]byte) {
	tree := f.TempDir()
	for name, data := range map[string]string{"a": strings.Repeat("a", 20_000), "d/e/f": "f", "d/long name to be sure of it": "x"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(data), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink(strings.Repeat("l/", 40), filepath.Join(tree, "link")); err != nil {
		f.Fatal(err)
	}
	tool(f, "truncate", "-s", "300K", filepath.Join(tree, "hole"))
	for _, args := range [][]string{
		{"-t", "ext2"}, {"-t", "ext4", "-O", "^has_journal,^resize_inode,inline_data"},
		{"-t", "ext4", "-O", "^has_journal,^metadata_csum,ea_inode"}, {"-t", "ext4", "-O", "^has_journal,meta_bg,^resize_inode", "-g", "256", "-I", "128"},
	} {
		path := mkfs(f, 512<<10, append(args, "-b", "1024", "-N", "64", "-d", tree)...)
		tool(f, "debugfs", "-w", "-R", "ea_set a user.colour "+strings.Repeat("red", 60), path)
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		images = append(images, b)
	}
	return images
}

// FuzzRead damages file systems and reads all of them: no panic, an end soon, and
// what cannot be read is what e2fsck finds fault with, too. A patch is offset,
// 3 bytes, and value; most offsets are taken from the first 64 KiB, where the
// tables are.
func FuzzRead(f *testing.F) {
	images := small(f)
	for i := range images {
		f.Add(uint8(i), []byte{0, 4, 0x14, 1, 0x80, 8, 20, 255})
	}
	f.Fuzz(func(t *testing.T, which uint8, patch []byte) {
		b := bytes.Clone(images[int(which)%len(images)])
		few := len(patch) < 16
		for ; len(patch) >= 4; patch = patch[4:] {
			at := int(binary.BigEndian.Uint32(patch) >> 8)
			if at&0xc00000 != 0 {
				at &= 0xffff
			}
			b[at%len(b)] = patch[3]
		}
		begin := time.Now()
		err := readAll(t, b)
		if d := time.Since(begin); d > 10*time.Second {
			t.Fatalf("it took %v", d)
		}
		if err == nil || !few {
			return
		}
		path := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, clean := exec.Command("e2fsck", "-fn", path).CombinedOutput(); clean == nil {
			t.Fatalf("%v, and e2fsck finds nothing:\n%s", err, out)
		}
	})
}

// readAll reads what there is; the first error counts, the rest is read all the
// same.
func readAll(t *testing.T, b []byte) (first error) {
	f, err := extread.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	if _, err := f.Owners(t.Context(), []extread.Range{{From: 0, To: 3}, {From: 5000, To: int64(len(b))}}); err != nil {
		note(err)
	}
	f.Facts()
	seen := map[uint32]bool{}
	var visit func(ino uint32)
	visit = func(ino uint32) {
		if seen[ino] {
			return
		}
		seen[ino] = true
		n, err := f.Inode(ino)
		if err != nil {
			note(err)
			return
		}
		_, err = f.Attrs(n)
		note(err)
		switch n.Kind() {
		case 0x4000:
			entries, err := f.ReadDir(n)
			note(err)
			for _, e := range entries {
				visit(e.Inode)
			}
		case 0xa000:
			_, err := f.Link(n)
			note(err)
		case 0x8000:
			note(readFile(f, n))
		}
	}
	visit(extread.RootInode)
	return first
}

func readFile(f *extread.FS, n *extread.Inode) error {
	c, err := f.Open(n)
	if err != nil {
		return err
	}
	p := make([]byte, 8192)
	for off := int64(0); off < c.Size(); {
		from, to, err := c.NextData(off)
		if err != nil {
			return err
		}
		if from == to {
			break
		}
		if _, err := c.ReadAt(p[:min(int64(len(p)), to-from)], from); err != nil {
			return err
		}
		off = to
	}
	return nil
}
