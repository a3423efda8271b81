package compare_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/compare"
)

// ext makes a file system with a few files, by mke2fs and debugfs; ids and times
// are always the same.
func ext(t testing.TB, args ...string) string {
	t.Helper()
	need(t, "mke2fs", "debugfs")
	tree := putTree(t, map[string]string{
		"etc/hostname": "one\n", "etc/passwd": "root:x:0:0::/root:/bin/sh\nbin:x:1:1::/bin:/bin/sh\n",
		"data": pattern(300_000), "deep/er/est/file": "deep", "empty": "", "folder/": "",
	})
	for name, to := range map[string]string{"link": "etc/hostname", "long": strings.Repeat("long/", 30)} {
		if err := os.Symlink(to, filepath.Join(tree, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(tree, "data"), filepath.Join(tree, "deep/data")); err != nil {
		t.Fatal(err)
	}
	path := empty(t, 16<<20)
	t.Setenv("E2FSPROGS_FAKE_TIME", "1700000000")
	run(t, "", "mke2fs", append(append([]string{"-q", "-F", "-d", tree, "-U", "01234567-89ab-4def-8123-456789abcdef",
		"-E", "hash_seed=01234567-89ab-4def-8123-456789abcde0"}, args...), path)...)
	return path
}

var extKinds = map[string][]string{
	"ext2": {"-t", "ext2", "-b", "1024"}, "ext3": {"-t", "ext3", "-b", "2048"}, "ext4": {"-t", "ext4", "-b", "4096"},
}

// TestExtEdits: what debugfs changes is what is told, and nothing else.
func TestExtEdits(t *testing.T) {
	for name, args := range extKinds {
		a := ext(t, args...)
		for _, c := range []struct {
			edit  string // of debugfs
			lines []string
		}{
			{"set_inode_field /etc/hostname mode 0100600", []string{"/etc/hostname: mode 0644 ≠ 0600"}},
			{"set_inode_field /etc uid 70000", []string{"/etc: owner 0:0 ≠ 70000:0"}},
			{"set_inode_field /etc/passwd mtime 20200102030405", []string{"/etc/passwd: mtime "}},
			{"set_inode_field /empty generation 77", []string{"/empty: generation "}},
			{"set_inode_field /empty size 5", []string{"/empty: size 0 ≠ 5"}},
			{"ea_set /folder user.colour red", []string{`/folder: attribute user.colour none ≠ "red"`}},
			{"set_super_value volume_name other", []string{`superblock: label "" ≠ "other"`}},
			{"set_super_value mkfs_time 20200102030405", []string{"superblock: made 2023-11-14 22:13:20Z ≠ 2020-01-02 03:04:05Z"}},
			{"unlink /etc/passwd", []string{"/etc/passwd: only in A: file of 50 bytes"}},
			{"unlink /link", []string{"/link: only in A: symbolic link"}},
			{"mknod null c 1 3", []string{"/null: only in B: character device"}},
			{"set_super_value free_blocks_count 77", []string{"superblock: free blocks "}},
		} {
			t.Run(name+"/"+c.edit, func(t *testing.T) {
				b := twin(t, a)
				run(t, "", "debugfs", "-w", "-R", c.edit, b)
				// What debugfs does beside: counts of the superblock, times of writing.
				r := compared(t, a, b, compare.Options{})
				got := text(t, r)
				for _, line := range c.lines {
					if !strings.Contains(got, "  "+line) {
						t.Errorf("no line %q in\n%s", line, got)
					}
				}
				for _, s := range r.Sections {
					for _, d := range s.Differences {
						if d.Item != "superblock" && !strings.Contains(c.lines[0], d.Item) {
							t.Errorf("%s in\n%s", d.Item, got)
						}
					}
				}
			})
		}
	}
}

// TestExtFlips: a byte of a file's content, and one of each thing that no file
// shows. debugfs says where they are.
func TestExtFlips(t *testing.T) {
	for name, args := range extKinds {
		t.Run(name, func(t *testing.T) {
			a := ext(t, args...)
			block := map[string]int64{"ext2": 1024, "ext3": 2048, "ext4": 4096}[name]
			debugfs := func(request string) string { return run(t, "", "debugfs", "-R", request, a) }
			blockOf := func(file string, i int) int64 {
				n, err := strconv.ParseInt(strings.TrimSpace(lastLine(debugfs(fmt.Sprintf("bmap %s %d", file, i)))), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			one := func(at int64, lines ...string) {
				t.Helper()
				b := twin(t, a)
				flip(t, b, at)
				expect(t, a, b, compare.Options{}, lines...)
			}
			one(find(t, a, "0012345\n")+2, fmt.Sprintf("/data: content differs at byte %d (1 byte)", 12345*8+2), "note: sectors of 512 bytes that differ: content of file 1")
			one(blockOf("/etc/passwd", 0)*block+3, "/etc/passwd: content differs at byte 3 (1 byte)", `note: sectors`)
			// Beyond the end of a file.
			at := blockOf("/etc/passwd", 0)*block + block - 1
			one(at, fmt.Sprintf("block %d, content of file inode %s (/etc/passwd): content differs at byte %d", at/block, inode(t, a, "/etc/passwd"), at))
			// The end of a folder's block: the checksum, or the rest of a name.
			at = blockOf("/folder", 0)*block + block - 1
			one(at, fmt.Sprintf("block %d, folder inode %s (/folder): content differs at byte %d", at/block, inode(t, a, "/folder"), at))
			if name != "ext2" {
				at = blockOf("<8>", 5) * block
				one(at, fmt.Sprintf("block %d, journal: content differs at byte %d", at/block, at))
			}
			stats := run(t, "", "dumpe2fs", a)
			at = field(t, stats, "Block bitmap at ")*block + 9
			one(at, fmt.Sprintf("block %d, block bitmap of group 0: content differs at byte %d", at/block, at))
			at = field(t, stats, "Inode bitmap at ")*block + 11
			one(at, fmt.Sprintf("block %d, inode bitmap of group 0: content differs at byte %d", at/block, at))
			at = field(t, stats, "Group descriptors at ")*block + 12
			one(at, fmt.Sprintf("block %d, group descriptors of group 0: content differs at byte %d", at/block, at))
			size := field(t, stats, "Inode size:")
			at = field(t, stats, "Inode table at ")*block + 500*size // a free one
			one(at, fmt.Sprintf("block %d, inode table of group 0: inode 501: content differs at byte %d", at/block, at))
			// A free block: the last one.
			at = 16<<20 - 5
			one(at, fmt.Sprintf("block %d, free or unknown blocks: content differs at byte %d", at/block, at))
			one(3, "block 0, boot sector: content differs at byte 3")
		})
	}
}

func inode(t testing.TB, image, path string) string {
	t.Helper()
	out := run(t, "", "debugfs", "-R", "stat "+path, image)
	_, after, _ := strings.Cut(out, "Inode: ")
	return strings.Fields(after)[0]
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// field is the number after a text.
func field(t testing.TB, s, after string) int64 {
	t.Helper()
	_, rest, ok := strings.Cut(s, after)
	if !ok {
		t.Fatalf("no %q in %s", after, s)
	}
	rest = strings.TrimSpace(rest)
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	n, err := strconv.ParseInt(rest[:end], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestIgnoreTimes: times alone are no difference then, content is.
func TestIgnoreTimes(t *testing.T) {
	a := ext(t, extKinds["ext4"]...)
	b := twin(t, a)
	for _, field := range []string{"atime", "ctime", "mtime", "crtime"} {
		run(t, "", "debugfs", "-w", "-R", "set_inode_field /data "+field+" 20200102030405", b)
	}
	if r := compared(t, a, b, compare.Options{}); r.Equal || !strings.Contains(text(t, r), "/data: mtime ") {
		t.Error(text(t, r))
	}
	expect(t, a, b, compare.Options{IgnoreTimes: true})
	flip(t, b, find(t, b, "0012345\n"))
	expect(t, a, b, compare.Options{IgnoreTimes: true}, "/data: content differs at byte 98760 (1 byte)")
}

// TestMax: what is beyond the limit is counted, contents come before times.
func TestMax(t *testing.T) {
	treeA, treeB := t.TempDir(), t.TempDir()
	for i := range 50 {
		for k, dir := range []string{treeA, treeB} {
			path := filepath.Join(dir, fmt.Sprintf("f%02d", i))
			data := "same"
			if i >= 40 {
				data = fmt.Sprint("other ", k)
			}
			at := time.Unix(int64(1e9+k), 0)
			if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	at := time.Unix(1e9, 0)
	for _, dir := range []string{treeA, treeB} {
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	r := compared(t, treeA, treeB, compare.Options{Max: 15})
	s := r.Sections[0]
	if len(s.Differences) != 15 || s.Differences[0].Item != "/f40" || s.Differences[10].Item != "/f00" || s.More != 35 || s.MoreOf["mtime"] != 35 {
		t.Error(text(t, r))
	}
	if r = compared(t, treeA, treeB, compare.Options{Max: -1}); len(r.Sections[0].Differences) != 50 {
		t.Error(text(t, r))
	}
}

// TestDamage: what is wrong in a file system is told, with its place, and the
// bytes are compared.
func TestDamage(t *testing.T) {
	a := ext(t, extKinds["ext4"]...)
	for _, c := range []struct{ request, want string }{
		{"link /deep /deep/er/back", "B: /deep/er/back: the folder (inode "},
		{"set_inode_field /data block[5] 0x7fffffff", ": its blocks 2147483647 to 2147483"},
		{"set_inode_field /data block[0] 0x1234", ": a node of its extents begins with 0x1234"},
		{"set_inode_field /folder block[5] 7000", ": its blocks 7000 to 7000 lie outside of the file system, which has 4096"},
		{"set_inode_field /long size 999999", ": a symbolic link of 999999 bytes"},
		{"set_inode_field /etc file_acl 99999", "block 99999 lies outside of the file system, which has 4096"},
		{"set_inode_field /etc file_acl 2", "attributes of inode "},
		{"set_super_value blocks_count 99999999", "B: superblock: it counts 99999999 blocks of 4096 bytes; there is room for 4096"},
		{"set_super_value log_block_size 77", "B: superblock: block size "},
		{"set_super_value inodes_per_group 0", "B: superblock: inodes of a group 0 cannot be"},
		{"set_super_value inode_size 7", "B: superblock: inode size 7 cannot be"},
		{"set_super_value feature_incompat 0xffffffff", "B: superblock: the incompatible features "},
		{"set_bg 0 inode_table 4095", ": descriptor of group 0: its inodes at block 4095 lie outside of the file system"},
	} {
		t.Run(c.request, func(t *testing.T) {
			b := twin(t, a)
			run(t, "", "debugfs", "-w", "-R", c.request, b)
			r := compared(t, a, b, compare.Options{})
			if got := text(t, r); r.Equal || !strings.Contains(got, "its files cannot be compared: ") || !strings.Contains(got, c.want) {
				t.Errorf("no %q in\n%s", c.want, got)
			}
		})
	}
}
