package compare_test

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/compare"
)

// fatImage makes a FAT by mkfs.vfat and mtools.
func fatImage(t testing.TB, size int64, bits string) string {
	t.Helper()
	need(t, "mkfs.vfat", "mcopy", "mmd")
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	path := empty(t, size)
	run(t, "", "mkfs.vfat", "--invariant", "-F", bits, "-i", "1234ABCD", "-n", "BOOT", path)
	tree := putTree(t, map[string]string{"short.txt": "short\n", "A long name with ünïcode.text": pattern(70_000)})
	run(t, "", "mmd", "-i", path, "::/EFI", "::/EFI/a long folder")
	run(t, "", "mcopy", "-i", path, tree+"/short.txt", tree+"/A long name with ünïcode.text", "::/EFI/a long folder/")
	run(t, "", "mcopy", "-i", path, tree+"/short.txt", "::/")
	return path
}

// TestFAT: what mtools and single bytes change.
func TestFAT(t *testing.T) {
	for _, c := range []struct {
		bits string
		size int64
	}{{"12", mib}, {"16", 16 * mib}, {"32", 40 * mib}} {
		t.Run(c.bits, func(t *testing.T) {
			a := fatImage(t, c.size, c.bits)
			fresh := func() string { return twin(t, a) }
			b := fresh()
			flip(t, b, find(t, a, "0004321\n"))
			expect(t, a, b, compare.Options{}, "/EFI/a long folder/A long name with ünïcode.text: content differs at byte 34568 (1 byte)")
			b = fresh()
			run(t, "", "mdel", "-i", b, "::/short.txt")
			r := compared(t, a, b, compare.Options{})
			if !strings.Contains(text(t, r), "  /SHORT.TXT: only in A: file of 6 bytes\n") && !strings.Contains(text(t, r), "  /short.txt: only in A: file of 6 bytes\n") {
				t.Error(text(t, r))
			}
			b = fresh()
			run(t, "", "mattrib", "-i", b, "+r", "+h", "::/EFI/a long folder/A long name with ünïcode.text")
			expect(t, a, b, compare.Options{}, "/EFI/a long folder/A long name with ünïcode.text: flags 0x20 ≠ 0x23")
			b = fresh()
			run(t, "", "mren", "-i", b, "::/EFI/a long folder", "::/EFI/another folder")
			expect(t, a, b, compare.Options{}, "/EFI/a long folder: only in A: folder with 2 files below it", "/EFI/another folder: only in B: folder with 2 files below it")
			b = fresh()
			flip(t, b, c.size-9)
			expect(t, a, b, compare.Options{}, "free clusters: content differs at byte ", "note: boot sector, files and folders say the same", "note: sectors of free clusters that differ: 1")
			b = fresh()
			flip(t, b, 200) // code
			expect(t, a, b, compare.Options{}, "boot sector: content differs at byte 200 (1 byte)", "note: boot sector, files and folders say the same")
			b = fresh()
			run(t, "", "fatlabel", "-i", b, "DEADBEEF")
			r = compared(t, a, b, compare.Options{})
			if !strings.Contains(text(t, r), "  boot sector: volume id 1234-ABCD ≠ DEAD-BEEF\n") {
				t.Error(text(t, r))
			}
		})
	}
}

// TestTar: members, links, modes, and archives that differ in their order alone.
func TestTar(t *testing.T) {
	need(t, "tar")
	tree := putTree(t, map[string]string{"a/one": "1\n", "a/two": pattern(40_000), "b": "b"})
	if err := os.Link(tree+"/b", tree+"/a/b"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b", tree+"/link"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pack := func(name string, args ...string) string {
		path := filepath.Join(dir, name)
		run(t, "", "tar", append(append([]string{"-C", tree, "--format=pax", "--pax-option=delete=atime,delete=ctime", "-acf", path}, args...), ".")...)
		return path
	}
	a := pack("a.tar", "--sort=name")
	expect(t, a, pack("a.tgz", "--sort=name"), compare.Options{})
	expect(t, a, tree, compare.Options{})
	if err := os.Chmod(tree+"/a/one", 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, a, pack("mode.tar.zst", "--sort=name"), compare.Options{}, "/a/one: mode 0644 ≠ 0600")
	expect(t, a, tree, compare.Options{}, "/a/one: mode 0644 ≠ 0600")
	if err := os.Chmod(tree+"/a/one", 0o644); err != nil {
		t.Fatal(err)
	}
	b := filepath.Join(dir, "order.tar")
	run(t, "", "tar", "-C", tree, "--format=pax", "--pax-option=delete=atime,delete=ctime", "--no-recursion", "-cf", b, ".", "link", "a", "a/one", "a/two", "a/b", "b")
	r := compared(t, a, b, compare.Options{})
	if r.Equal || !strings.Contains(text(t, r), "member 2: order ") {
		t.Error(text(t, r))
	}
	flip(t, b, find(t, b, "0001234\n"))
	r = compared(t, a, b, compare.Options{})
	if !strings.Contains(text(t, r), "  /a/two: content differs at byte 9872 (1 byte)\n") {
		t.Error(text(t, r))
	}
}

// TestSparseTar: holes of an archive are no difference to a folder's.
func TestSparseTar(t *testing.T) {
	need(t, "tar")
	tree := t.TempDir()
	run(t, "", "truncate", "-s", "30M", tree+"/sparse")
	run(t, "xyz", "dd", "of="+tree+"/sparse", "bs=1M", "seek=7", "conv=notrunc", "status=none")
	a := filepath.Join(t.TempDir(), "a.tar")
	for _, format := range []string{"gnu", "pax"} {
		run(t, "", "tar", "-C", tree, "--format="+format, "--sparse", "-cf", a, ".")
		r := compared(t, a, tree, compare.Options{IgnoreTimes: true})
		if !r.Equal {
			t.Errorf("%s: %s", format, text(t, r))
		}
	}
}

// TestInitramfs: the member of a compressed archive in an image.
func TestInitramfs(t *testing.T) {
	need(t, "cpio", "gzip", "zstd", "xz")
	for _, packer := range []string{"cat", "gzip -n", "zstd -q", "xz"} {
		var trees []string
		for _, word := range []string{"quiet", "noisy"} {
			tree := putTree(t, map[string]string{"etc/modules": "ext4\n" + word + "\n", "bin/sh": pattern(9000)})
			run(t, "", "sh", "-c", `cd "$0" && touch -d @1000000000 etc/modules bin/sh etc bin . && { mkdir -p early && cd early; } && echo microcode >m && touch -d @1 m . && mkdir ../out &&
				{ echo m | cpio -o -H newc --reproducible --quiet; head -c 512 /dev/zero; (cd .. && printf '%s\n' etc etc/modules bin bin/sh | cpio -o -H newc --reproducible --quiet | `+packer+`); } >../out/initrd`, tree)
			trees = append(trees, tree+"/out")
			run(t, "", "touch", "-d", "@1000000000", tree+"/out/initrd", tree+"/out")
		}
		r := compared(t, trees[0], trees[1], compare.Options{})
		got := text(t, r)
		for _, line := range []string{"  /initrd: ", "/etc/modules: content differs at byte 5 (4 bytes)\n", `A: "quiet\n"`, `B: "noisy\n"`} {
			if !strings.Contains(got, line) {
				t.Errorf("%s: no %q in\n%s", packer, line, got)
			}
		}
		if strings.Contains(got, "bin/sh") {
			t.Error(got)
		}
	}
}

// TestGzipHead: a compressed file whose content is the same.
func TestGzipHead(t *testing.T) {
	need(t, "gzip")
	a, b := putTree(t, map[string]string{"f.gz": ""}), putTree(t, map[string]string{"f.gz": ""})
	for i, dir := range []string{a, b} {
		run(t, pattern(5000), "sh", "-c", "gzip -n -"+[]string{"1", "9"}[i]+` >"$0/f.gz"; touch -d @1 "$0/f.gz" "$0"`, dir)
	}
	got := text(t, compared(t, a, b, compare.Options{}))
	if !strings.Contains(got, "what is in them is equal: only the wrapping differs") {
		t.Error(got)
	}
}

// TestFATCircle: chains and folders that have no end.
func TestFATCircle(t *testing.T) {
	a := fatImage(t, 16*mib, "16")
	head := make([]byte, 64)
	f, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	table := int64(le.Uint16(head[14:])) * int64(le.Uint16(head[11:]))
	set := func(path string, cluster int64, next uint16) {
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.WriteAt(le.AppendUint16(nil, next), table+2*cluster)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	// mmd made /EFI first: it has cluster 2, the folder in it 3.
	b := twin(t, a)
	set(b, 2, 2)
	r := compared(t, a, b, compare.Options{})
	if got := text(t, r); r.Equal || !strings.Contains(got, "differs at byte") {
		t.Error(got)
	}
	b = twin(t, a)
	set(b, 3, 60000)
	if got := text(t, compared(t, a, b, compare.Options{})); !strings.Contains(got, `note: its files cannot be compared: B: folder "/EFI/a long folder": cluster 60000, after 1 others, is none`) {
		t.Error(got)
	}
}
