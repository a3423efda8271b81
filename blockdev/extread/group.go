package extread

import "fmt"

// group is what a descriptor says (group_descr.rst).
type group struct {
	blockBitmap, inodeBitmap, table int64
	inodesUnset                     bool // the bitmap and the table were never written
	unused                          int64
}

// headAt is the block before the descriptors of group 0.
func (f *FS) headAt() int64 {
	if f.first == 0 && f.BlockSize == 1024 {
		return 1 // bigalloc: the superblock has block 1, and group 0 begins at 0
	}
	return f.first
}

// hasSuper says whether a group begins with a copy of the superblock.
func (f *FS) hasSuper(g int64) bool {
	if g == 0 {
		return true
	}
	if f.compat&compatSparse2 != 0 {
		return g == int64(le.Uint32(f.Super[0x24c:])) || g == int64(le.Uint32(f.Super[0x250:]))
	}
	if f.roCompat&roSparse == 0 || g == 1 {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		n := base
		for n < g {
			n *= base
		}
		if n == g {
			return true
		}
	}
	return false
}

// descBlock is the block with the descriptors of a group, by their place in the
// whole table.
func (f *FS) descBlock(i int64) int64 {
	if f.incompat&incompatMetaBG == 0 || i < f.firstMeta {
		return f.headAt() + 1 + i
	}
	g := i * (f.BlockSize / f.descSize)
	at := f.first + g*f.perGroup
	if g == 0 {
		at = f.headAt()
	}
	if f.hasSuper(g) {
		at++
	}
	return at
}

func (f *FS) group(g int64) (group, error) {
	per := f.BlockSize / f.descSize
	block := f.descBlock(g / per)
	where := fmt.Sprintf("descriptor of group %d", g)
	if block >= f.Blocks {
		return group{}, wrong(where, "its block %d lies outside of the file system, which has %d", block, f.Blocks)
	}
	b := make([]byte, f.descSize)
	if err := readAt(f.r, b, block*f.BlockSize+g%per*f.descSize); err != nil {
		return group{}, fmt.Errorf("%s: %w", where, err)
	}
	d := group{
		blockBitmap: int64(le.Uint32(b)), inodeBitmap: int64(le.Uint32(b[4:])), table: int64(le.Uint32(b[8:])),
		unused: int64(le.Uint16(b[0x1c:])),
	}
	if f.incompat&incompat64 != 0 && f.descSize >= 64 {
		d.blockBitmap |= int64(le.Uint32(b[0x20:])) << 32
		d.inodeBitmap |= int64(le.Uint32(b[0x24:])) << 32
		d.table |= int64(le.Uint32(b[0x28:])) << 32
		d.unused |= int64(le.Uint16(b[0x32:])) << 16
	}
	if f.roCompat&(roGDTCsum|roCsum) == 0 {
		d.unused = 0
	} else {
		d.inodesUnset = le.Uint16(b[0x12:])&1 != 0
	}
	if d.table <= 0 || d.table > f.Blocks-f.tableBlocks() {
		return group{}, wrong(where, "its inodes at block %d lie outside of the file system, which has %d", d.table, f.Blocks)
	}
	return d, nil
}

func (f *FS) tableBlocks() int64 {
	return (f.inodesPerGroup*f.inodeSize + f.BlockSize - 1) / f.BlockSize
}
