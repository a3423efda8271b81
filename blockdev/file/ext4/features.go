package ext4

import (
	"fmt"
	"strings"
)

// Features are the three words of the superblock: what a driver may ignore, what
// it must know to read, and what it must know to write.
type Features struct{ Compat, Incompat, ROCompat uint32 }

// Features that are written here, by mke2fs' names.
const (
	HasJournal  uint32 = 0x4
	ExtAttr     uint32 = 0x8
	ResizeInode uint32 = 0x10
	DirIndex    uint32 = 0x20
	OrphanFile  uint32 = 0x1000

	FileType uint32 = 0x2
	MetaBG   uint32 = 0x10
	Extents  uint32 = 0x40
	Bit64    uint32 = 0x80
	FlexBG   uint32 = 0x200
	CsumSeed uint32 = 0x2000

	SparseSuper  uint32 = 0x1
	LargeFile    uint32 = 0x2
	HugeFile     uint32 = 0x8
	GDTCsum      uint32 = 0x10 // uninit_bg
	DirNlink     uint32 = 0x20
	ExtraIsize   uint32 = 0x40
	MetadataCsum uint32 = 0x400
)

// known is everything above.
var known = Features{
	HasJournal | ExtAttr | ResizeInode | DirIndex | OrphanFile,
	FileType | MetaBG | Extents | Bit64 | FlexBG | CsumSeed,
	SparseSuper | LargeFile | HugeFile | GDTCsum | DirNlink | ExtraIsize | MetadataCsum,
}

// Ext2 returns mke2fs' features for ext2.
func Ext2() Features {
	return Features{ExtAttr | ResizeInode | DirIndex, FileType, SparseSuper | LargeFile}
}

// Ext3 returns those of ext3: ext2 with a journal.
func Ext3() Features {
	f := Ext2()
	f.Compat |= HasJournal
	return f
}

// Ext4 returns those of ext4 as Debian 12 has it: what GRUB 2.06 can read.
func Ext4() Features {
	f := Ext4Old()
	f.Incompat |= Bit64
	f.ROCompat |= MetadataCsum
	return f
}

// Ext4Old returns those of ext4 for kernels from 3.10 on and GRUB 2.02: neither
// checksums of metadata nor 64 bit.
func Ext4Old() Features {
	f := Ext3()
	f.Incompat |= Extents | FlexBG
	f.ROCompat |= HugeFile | DirNlink | ExtraIsize
	return f
}

// Ext4New returns those of ext4 since e2fsprogs 1.47.1 (Debian 13).
func Ext4New() Features {
	f := Ext4()
	f.Compat |= OrphanFile
	f.Incompat |= CsumSeed
	return f
}

func (f Features) journal() bool     { return f.Compat&HasJournal != 0 }
func (f Features) resizeInode() bool { return f.Compat&ResizeInode != 0 }
func (f Features) dirIndex() bool    { return f.Compat&DirIndex != 0 }
func (f Features) orphanFile() bool  { return f.Compat&OrphanFile != 0 }
func (f Features) fileType() bool    { return f.Incompat&FileType != 0 }
func (f Features) metaBG() bool      { return f.Incompat&MetaBG != 0 }
func (f Features) extents() bool     { return f.Incompat&Extents != 0 }
func (f Features) bit64() bool       { return f.Incompat&Bit64 != 0 }
func (f Features) flexBG() bool      { return f.Incompat&FlexBG != 0 }
func (f Features) sparse() bool      { return f.ROCompat&SparseSuper != 0 }
func (f Features) csum() bool        { return f.ROCompat&MetadataCsum != 0 }
func (f Features) gdtCsum() bool     { return f.ROCompat&GDTCsum != 0 }
func (f Features) dirNlink() bool    { return f.ROCompat&DirNlink != 0 }

// lazy says whether a descriptor may declare a bitmap not written.
func (f Features) lazy() bool { return f.csum() || f.gdtCsum() }

// check refuses what is not written here and what does not go together.
func (f Features) check(inodeSize int) error {
	more := Features{f.Compat &^ known.Compat, f.Incompat &^ known.Incompat, f.ROCompat &^ known.ROCompat}
	if more != (Features{}) {
		return fmt.Errorf("features %#x, %#x, %#x are not written here", more.Compat, more.Incompat, more.ROCompat)
	}
	for _, c := range []struct {
		wrong bool
		text  string
	}{
		{f.csum() && f.gdtCsum(), "metadata_csum and uninit_bg exclude each other"},
		{f.Incompat&CsumSeed != 0 && !f.csum(), "metadata_csum_seed needs metadata_csum"},
		{f.resizeInode() && f.metaBG(), "resize_inode and meta_bg exclude each other"},
		{f.resizeInode() && !f.sparse(), "resize_inode needs sparse_super"},
		{f.orphanFile() && !f.journal(), "orphan_file needs has_journal"},
		{f.ROCompat&ExtraIsize != 0 && inodeSize < 256, "extra_isize needs inodes of 256 bytes and more"},
		{f.bit64() && !f.extents(), "64bit needs extent"},
	} {
		if c.wrong {
			return fmt.Errorf("features: %s", strings.TrimSpace(c.text))
		}
	}
	return nil
}
