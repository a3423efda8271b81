package ext4_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// parity is one file system that is made by mke2fs as well.
type parity struct {
	name string
	size int64 // MiB
	o    ext4.Options
	args []string
}

func parities() []parity {
	with := func(f ext4.Features, change func(*ext4.Features)) ext4.Features {
		change(&f)
		return f
	}
	all := []parity{
		{"ext2", 100, ext4.Options{Features: ext4.Ext2()}, []string{"-t", "ext2"}},
		{"ext3", 300, ext4.Options{Features: ext4.Ext3()}, []string{"-t", "ext3"}},
		{"old", 100, ext4.Options{Features: ext4.Ext4Old()}, []string{"-t", "ext4", "-O", "^metadata_csum,^64bit"}},
		{"uninit", 700, ext4.Options{Features: with(ext4.Ext4Old(), func(f *ext4.Features) { f.ROCompat |= ext4.GDTCsum })}, []string{"-t", "ext4", "-O", "^metadata_csum,^64bit,uninit_bg"}},
		{"new", 100, ext4.Options{Features: ext4.Ext4New()}, []string{"-t", "ext4", "-O", "metadata_csum_seed,orphan_file"}},
		{"meta_bg", 9000, ext4.Options{Features: with(ext4.Ext4(), func(f *ext4.Features) { f.Compat &^= ext4.ResizeInode; f.Incompat |= ext4.MetaBG })}, []string{"-t", "ext4", "-O", "^resize_inode,meta_bg"}},
		{"no sparse_super", 600, ext4.Options{Features: with(ext4.Ext4(), func(f *ext4.Features) { f.Compat &^= ext4.ResizeInode; f.ROCompat &^= ext4.SparseSuper })}, []string{"-t", "ext4", "-O", "^resize_inode,^sparse_super"}},
		{"no journal", 100, ext4.Options{Features: with(ext4.Ext4(), func(f *ext4.Features) { f.Compat &^= ext4.HasJournal })}, []string{"-t", "ext4", "-O", "^has_journal"}},
		{"identity", 100, ext4.Options{Label: "cloudimg-rootfs", LastMounted: "/srv", JournalSize: 8 << 20, Reserved: 1}, []string{"-t", "ext4", "-L", "cloudimg-rootfs", "-M", "/srv", "-J", "size=8", "-m", "1"}},
		{"dense", 3000, ext4.Options{BytesPerInode: 1024}, []string{"-t", "ext4", "-i", "1024"}},
		{"few inodes", 3000, ext4.Options{Inodes: 20}, []string{"-t", "ext4", "-N", "20"}},
		{"resize", 300, ext4.Options{ResizeBlocks: 26214400}, []string{"-t", "ext4", "-E", "resize=26214400"}},
		{"resize, old", 300, ext4.Options{ResizeBlocks: 262144000, Features: ext4.Ext4Old()}, []string{"-t", "ext4", "-O", "^64bit,^metadata_csum", "-E", "resize=262144000"}},
		{"resize, block 1024", 300, ext4.Options{ResizeBlocks: 26214400, BlockSize: 1024}, []string{"-t", "ext4", "-b", "1024", "-E", "resize=26214400"}},
		{"resize, a little", 300, ext4.Options{ResizeBlocks: 76801}, []string{"-t", "ext4", "-E", "resize=76801"}},
		{"flex 64", 20000, ext4.Options{FlexGroups: 64}, []string{"-t", "ext4", "-G", "64"}},
		{"inodes 128", 100, ext4.Options{InodeSize: 128, Features: with(ext4.Ext4(), func(f *ext4.Features) { f.ROCompat &^= ext4.ExtraIsize })}, []string{"-t", "ext4", "-I", "128", "-O", "^extra_isize"}},
		{"inodes 1024", 100, ext4.Options{InodeSize: 1024}, []string{"-t", "ext4", "-I", "1024"}},
		{"too many inodes for a group", 40, ext4.Options{BlockSize: 1024, Inodes: 45000}, []string{"-t", "ext4", "-b", "1024", "-N", "45000"}},
	}
	for _, size := range []int64{1, 4, 8, 31, 127, 129, 1024, 2049, 16384, 70000, 300000} {
		all = append(all, parity{fmt.Sprintf("ext4 %d", size), size, ext4.Options{}, []string{"-t", "ext4"}})
	}
	for _, bs := range []int{1024, 2048} {
		for _, size := range []int64{8, 130, 3000} {
			all = append(all, parity{fmt.Sprintf("block %d, %d", bs, size), size, ext4.Options{BlockSize: bs}, []string{"-t", "ext4", "-b", fmt.Sprint(bs)}})
		}
	}
	return all
}

// TestParity compares dumpe2fs' figures of empty file systems with those of
// mke2fs: the head and every group's places, but for what moves with the place
// of the journal.
func TestParity(t *testing.T) {
	blockdevtest.Need(t, "mke2fs", "dumpe2fs")
	conf, err := blockdev.WriteMke2fsProfile(t.TempDir())
	must(t, err)
	for _, p := range parities() {
		t.Run(p.name, func(t *testing.T) {
			var parsed ext4.Options
			if err := ext4.ParseArgs(p.args, &parsed); err != nil {
				t.Fatal(err)
			}
			if p.o.Features == (ext4.Features{}) {
				p.o.Features = ext4.Ext4()
			}
			if parsed != p.o {
				t.Errorf("%q is read as %+v, wanted %+v", p.args, parsed, p.o)
			}
			p.o.Size = p.size << 20
			ours := filepath.Join(t.TempDir(), "ours")
			if err := writeTo(t, ours, "", fixed(p.o)); err != nil {
				t.Fatal(err)
			}
			if p.size <= 20000 {
				check(t, ours)
			}
			theirs := filepath.Join(t.TempDir(), "theirs")
			extended := "nodiscard,assume_storage_prezeroed=1,hash_seed=f1234567-89ab-4def-8123-456789abcde0"
			if p.o.ResizeBlocks > 0 { // mke2fs takes the last -E alone
				extended += fmt.Sprint(",resize=", p.o.ResizeBlocks)
			}
			args := append([]string{"-q", "-F", "-U", "01234567-89ab-4def-8123-456789abcdef"}, p.args...)
			args = append(args, "-E", extended)
			cmd := exec.Command("mke2fs", append(args, theirs, fmt.Sprintf("%dk", p.size<<10))...)
			cmd.Env = append(os.Environ(), "MKE2FS_CONFIG="+conf, "MKE2FS_SYNC=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("mke2fs: %v\n%s", err, out)
			}
			a, b := figures(t, ours), figures(t, theirs)
			if a != b {
				t.Errorf("ours (+) and mke2fs' (-):\n%s", difference(t, b, a))
			}
			if p.size < 2000 && journalHead(t, ours) != journalHead(t, theirs) {
				t.Errorf("journals begin with\n%x, mke2fs'\n%x", journalHead(t, ours), journalHead(t, theirs))
			}
		})
	}
}

// journalHead is the first block of the journal.
func journalHead(t *testing.T, path string) string {
	to := filepath.Join(t.TempDir(), "journal")
	tool(t, "debugfs", "-R", "dump <8> "+to, path)
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:min(1024, len(b))])
}

// moving is what depends on the clock or on where the journal is: mke2fs puts it
// in the middle.
var moving = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^(Filesystem created|Last write time|Last checked|Lifetime writes|Checksum|Group Inode Bitmap|Journal checksum.*): .*\n`),
	regexp.MustCompile(`(?m)^  (Free blocks|Free inodes): .*\n`),
	regexp.MustCompile(`(?m)^  \d+ free blocks`),
	regexp.MustCompile(` csum 0x[0-9a-f]+`),
	regexp.MustCompile(`,? ?(\[|\b)BLOCK_UNINIT`),
}

func figures(t *testing.T, path string) string {
	out := tool(t, "dumpe2fs", path)
	for _, m := range moving {
		out = m.ReplaceAllString(out, "")
	}
	return strings.NewReplacer("[]", "", "[, ", "[").Replace(out)
}

func difference(t *testing.T, a, b string) string {
	dir := t.TempDir()
	for name, text := range map[string]string{"a": a, "b": b} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := exec.Command("diff", "-U0", filepath.Join(dir, "a"), filepath.Join(dir, "b")).CombinedOutput()
	return string(out[:min(len(out), 3000)])
}
