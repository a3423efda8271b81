package compare_test

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/compare"
)

// smallImages are what FuzzImages damages.
func smallImages(f *testing.F) (images []string) {
	need(f, "mke2fs", "e2fsck", "mkfs.vfat", "fsck.fat", "mcopy", "sfdisk", "tar", "cpio", "gzip")
	tree := putTree(f, map[string]string{"a": pattern(20_000), "d/e/f": "f", "d/long name to be sure of it": "x"})
	if err := os.Symlink(strings.Repeat("l/", 40), tree+"/d/link"); err != nil {
		f.Fatal(err)
	}
	for _, args := range [][]string{
		{"-t", "ext2", "-b", "1024"}, {"-t", "ext4", "-b", "1024", "-O", "^has_journal,^resize_inode,inline_data"},
		{"-t", "ext4", "-b", "1024", "-O", "^has_journal,^metadata_csum,^resize_inode"}, {"-t", "ext4", "-b", "1024", "-O", "^has_journal,meta_bg,^resize_inode", "-g", "256", "-I", "128"},
	} {
		path := empty(f, 512<<10)
		run(f, "", "mke2fs", append(append([]string{"-q", "-F", "-N", "64", "-d", tree}, args...), path)...)
		images = append(images, path)
	}
	for _, c := range []struct {
		size int64
		bits string
	}{{256 << 10, "12"}, {5 * mib, "16"}} {
		path := empty(f, c.size)
		run(f, "", "mkfs.vfat", "-F", c.bits, "-s", "1", path)
		run(f, "", "mcopy", "-s", "-i", path, tree+"/a", tree+"/d/e", tree+"/d/long name to be sure of it", "::/")
		images = append(images, path)
	}
	for _, script := range []string{gptScript, mbrScript} {
		path := empty(f, 32*mib)
		run(f, script, "sfdisk", "-q", path)
		images = append(images, path)
	}
	path := filepath.Join(f.TempDir(), "archive.tar")
	run(f, "", "sh", "-c", `cd "$0" && find . | cpio -o -H newc --quiet >a.cpio && gzip -k a.cpio && tar --sparse -cf "$1" .`, tree, path)
	return append(images, path)
}

// FuzzImages changes bytes of images and compares them with what they were: it
// ends soon, without panic, and never says that they are equal. What the readers
// of ext and FAT refuse, fsck finds fault with. A patch is offset, 3 bytes, and
// value; an offset is taken twice as often from the image's first 64 KiB.
func FuzzImages(f *testing.F) {
	images := smallImages(f)
	for i := range images {
		f.Add(uint8(i), []byte{0, 4, 0x14, 1, 0x80, 8, 20, 255})
		f.Add(uint8(i), []byte{0, 0, 11, 0, 1, 0x20, 1, 7})
	}
	f.Fuzz(func(t *testing.T, which uint8, patch []byte) {
		k := int(which) % len(images)
		good, err := os.ReadFile(images[k])
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "bad")
		bad := damage(good, patch)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		r, err := compare.Images(ctx, images[k], path, compare.Options{TempDir: t.TempDir()})
		if ctx.Err() != nil {
			t.Fatal("it does not end")
		}
		if err != nil {
			return // it is something else now
		}
		if r.Equal != (string(good) == string(bad)) {
			t.Fatalf("equal: %v", r.Equal)
		}
		if got := text(t, r); strings.Contains(got, "its files cannot be compared: B") && len(patch) < 16 {
			fsckComplains(t, path, got)
		}
	})
}

func damage(good, patch []byte) []byte {
	bad := append([]byte(nil), good...)
	for ; len(patch) >= 4; patch = patch[4:] {
		at := int(binary.BigEndian.Uint32(patch) >> 8)
		if at&0xc00000 != 0 {
			at &= 0xffff
		}
		bad[at%len(bad)] = patch[3]
	}
	return bad
}

// fsckComplains fails unless the foreign tool finds fault, too.
func fsckComplains(t *testing.T, path, got string) {
	t.Helper()
	cmd := exec.Command("e2fsck", "-fn", path)
	if strings.Contains(got, "(fat)") {
		cmd = exec.Command("fsck.fat", "-n", path)
	}
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Fatalf("refused, and %s finds nothing:\n%s\n%s", cmd.Path, got, out)
	}
}
