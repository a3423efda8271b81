package extread

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Fact is one field of a superblock in words.
type Fact struct{ Name, Value string }

// Facts tells what the superblock says.
func (f *FS) Facts() []Fact {
	b := f.Super
	u16 := func(at int) string { return fmt.Sprint(le.Uint16(b[at:])) }
	u32 := func(at int) string { return fmt.Sprint(le.Uint32(b[at:])) }
	wide := func(at, high int) string {
		n := uint64(le.Uint32(b[at:]))
		if f.incompat&incompat64 != 0 {
			n |= uint64(le.Uint32(b[high:])) << 32
		}
		return fmt.Sprint(n)
	}
	return []Fact{
		{"label", text(b[0x78:0x88])}, {"UUID", uuid(b[0x68:0x78])}, {"hash seed", uuid(b[0xec:0xfc])},
		{"features", featureText(f.compat, f.incompat, f.roCompat)},
		{"block size", fmt.Sprint(f.BlockSize)}, {"cluster size (log2)", u32(0x1c)}, {"inode size", fmt.Sprint(f.inodeSize)},
		{"blocks", wide(4, 0x150)}, {"reserved blocks", wide(8, 0x154)}, {"free blocks", wide(0xc, 0x158)},
		{"inodes", u32(0)}, {"free inodes", u32(0x10)},
		{"blocks per group", u32(0x20)}, {"inodes per group", u32(0x28)}, {"first block", u32(0x14)},
		{"room for group descriptors", u16(0xce)}, {"size of group descriptors", fmt.Sprint(f.descSize)}, {"groups per flex group (log2)", fmt.Sprint(b[0x174])},
		{"overhead blocks", u32(0x248)}, {"first meta block group", u32(0x104)},
		{"made", when(b, 0x108, 0x276)}, {"last mounted", when(b, 0x2c, 0x275)}, {"last written", when(b, 0x30, 0x274)}, {"last checked", when(b, 0x40, 0x277)},
		{"mounts since the last check", u16(0x34)}, {"mounts until a check", u16(0x36)}, {"seconds until a check", u32(0x44)},
		{"last mounted on", text(b[0x88:0xc8])}, {"kilobytes ever written", fmt.Sprint(le.Uint64(b[0x178:]))},
		{"state", fmt.Sprintf("%#x", le.Uint16(b[0x3a:]))}, {"on errors", u16(0x3c)}, {"errors seen", u32(0x194)},
		{"revision", u32(0x4c) + "." + u16(0x3e)}, {"system", u32(0x48)}, {"reserved for", u16(0x50) + ":" + u16(0x52)},
		{"default mount options", fmt.Sprintf("%#x", le.Uint32(b[0x100:]))}, {"mount options", text(b[0x200:0x240])},
		{"flags", fmt.Sprintf("%#x", le.Uint32(b[0x160:]))}, {"hash of names", fmt.Sprint(b[0xfc])},
		{"size of inodes' fields", u16(0x15c) + ", wanted " + u16(0x15e)}, {"first usual inode", u32(0x54)},
		{"journal", "inode " + u32(0xe0) + ", UUID " + uuid(b[0xd0:0xe0])}, {"copy of the journal's map", hex.EncodeToString(b[0x10c:0x150])},
		{"orphans", u32(0xe8)}, {"orphan file", u32(0x280)}, {"quota inodes", u32(0x240) + ", " + u32(0x244) + ", " + u32(0x26c)},
		{"checksum seed", fmt.Sprintf("%#x", le.Uint32(b[0x270:]))},
	}
}

func when(b []byte, low, high int) string {
	sec := int64(le.Uint32(b[low:])) | int64(b[high])<<32
	if sec == 0 {
		return "never"
	}
	return time.Unix(sec, 0).UTC().Format("2006-01-02 15:04:05Z")
}

func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return fmt.Sprintf("%q", s)
}

func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// featureNames are mke2fs' for the bits of the three words.
var featureNames = [3]map[int]string{
	{0: "dir_prealloc", 2: "has_journal", 3: "ext_attr", 4: "resize_inode", 5: "dir_index", 9: "sparse_super2", 10: "fast_commit", 11: "stable_inodes", 12: "orphan_file"},
	{1: "filetype", 2: "needs_recovery", 3: "journal_dev", 4: "meta_bg", 6: "extent", 7: "64bit", 8: "mmp", 9: "flex_bg", 10: "ea_inode", 13: "metadata_csum_seed",
		14: "large_dir", 15: "inline_data", 16: "encrypt", 17: "casefold"},
	{0: "sparse_super", 1: "large_file", 3: "huge_file", 4: "uninit_bg", 5: "dir_nlink", 6: "extra_isize", 8: "quota", 9: "bigalloc", 10: "metadata_csum",
		12: "read-only", 13: "project", 14: "shared_blocks", 15: "verity", 16: "orphan_present"},
}

func featureText(words ...uint32) string {
	var all []string
	for w, word := range words {
		for bit := range 32 {
			if word>>bit&1 == 0 {
				continue
			}
			name := featureNames[w][bit]
			if name == "" {
				name = fmt.Sprintf("%d/%d", w, bit)
			}
			all = append(all, name)
		}
	}
	return strings.Join(all, " ")
}
