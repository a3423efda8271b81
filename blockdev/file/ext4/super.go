package ext4

import (
	"math/bits"
)

// superblock returns the 1024 bytes of a superblock, with the number of the
// group that it lies in (Documentation/filesystems/ext4/super.rst).
func (v *volume) superblock(group int64) []byte {
	b := make([]byte, 1024)
	v.superCounts(b)
	v.superIdentity(b)
	v.superPlaces(b)
	le.PutUint16(b[0x5a:], uint16(group))
	if v.f.csum() {
		b[0x175] = 1 // CRC-32C
		le.PutUint32(b[0x3fc:], crc32c(^uint32(0), b[:0x3fc]))
	}
	return b
}

func (v *volume) superCounts(b []byte) {
	free := v.freeBlocks()
	le.PutUint32(b[0x0:], uint32(v.inodes*v.layout.groups))
	le.PutUint32(b[0x4:], uint32(v.blocks))
	le.PutUint32(b[0x8:], uint32(v.reserved()))
	le.PutUint32(b[0xc:], uint32(free))
	le.PutUint32(b[0x10:], uint32(v.inodes*v.layout.groups-v.usedInodes()))
	le.PutUint32(b[0x14:], uint32(v.first))
	log := uint32(bits.TrailingZeros64(uint64(v.bs)) - 10)
	le.PutUint32(b[0x18:], log)
	le.PutUint32(b[0x1c:], log)
	le.PutUint32(b[0x20:], uint32(v.perGroup))
	le.PutUint32(b[0x24:], uint32(v.perGroup))
	le.PutUint32(b[0x28:], uint32(v.inodes))
	if v.f.bit64() {
		le.PutUint32(b[0x150:], uint32(v.blocks>>32))
		le.PutUint32(b[0x154:], uint32(v.reserved()>>32))
		le.PutUint32(b[0x158:], uint32(free>>32))
		le.PutUint16(b[0xfe:], uint16(v.desc))
	}
	le.PutUint32(b[0x248:], uint32(v.overhead+v.journal))
}

func (v *volume) superIdentity(b []byte) {
	now := v.now.Unix()
	for _, t := range []struct{ low, high int }{{0x30, 0x274}, {0x40, 0x277}, {0x108, 0x276}} { // written, checked, made
		le.PutUint32(b[t.low:], uint32(now))
		b[t.high] = uint8(now >> 32)
	}
	le.PutUint16(b[0x36:], 0xffff) // no check after so many mounts
	le.PutUint16(b[0x38:], 0xef53)
	le.PutUint16(b[0x3a:], 1) // clean
	le.PutUint16(b[0x3c:], 1) // on errors continue
	le.PutUint32(b[0x4c:], 1) // revision with features
	le.PutUint32(b[0x54:], firstInode)
	le.PutUint16(b[0x58:], uint16(v.o.InodeSize))
	le.PutUint32(b[0x5c:], v.f.Compat)
	le.PutUint32(b[0x60:], v.f.Incompat)
	le.PutUint32(b[0x64:], v.f.ROCompat)
	copy(b[0x68:], v.o.UUID[:])
	copy(b[0x78:0x88], v.o.Label)
	copy(b[0x88:0xc8], v.o.LastMounted)
	copy(b[0xec:], v.o.HashSeed[:])
	b[0xfc] = 1 // half-MD4
	le.PutUint32(b[0x100:], *v.o.MountOptions)
	le.PutUint32(b[0x160:], 1) // names hash as signed bytes
	if v.o.InodeSize > 128 {
		le.PutUint16(b[0x15c:], extraSize)
		le.PutUint16(b[0x15e:], extraSize)
	}
}

func (v *volume) superPlaces(b []byte) {
	le.PutUint16(b[0xce:], uint16(v.spare))
	if v.f.flexBG() {
		b[0x174] = uint8(bits.TrailingZeros64(uint64(v.flex)))
	}
	if v.f.journal() {
		le.PutUint32(b[0xe0:], journalInode)
		b[0xfd] = 1 // what follows is a copy of the inode's map and size
		copy(b[0x10c:], v.journalFile.block[:])
		le.PutUint32(b[0x10c+60:], uint32(v.journalFile.size>>32))
		le.PutUint32(b[0x10c+64:], uint32(v.journalFile.size))
	}
	if v.f.Incompat&CsumSeed != 0 {
		le.PutUint32(b[0x270:], v.seed)
	}
	if v.f.orphanFile() {
		le.PutUint32(b[0x280:], v.orphans)
	}
}

// writeHeads writes the superblocks and descriptors, the copies first: until the
// end there is no file system.
func (v *volume) writeHeads() {
	table := v.descriptors()
	for g := v.layout.groups - 1; g >= 0; g-- {
		at := v.groupStart(g) * v.bs
		if v.hasSuper(g) {
			at += v.bs
		}
		switch {
		case v.f.metaBG():
			if i := v.metaDesc(g); i >= 0 {
				v.out.put(table[i*v.bs:(i+1)*v.bs], at)
			}
		case v.hasSuper(g):
			v.out.put(table, at)
			if g > 0 || !v.f.resizeInode() {
				v.out.clear(at+int64(len(table)), v.spare*v.bs)
			}
		}
		if v.hasSuper(g) && g > 0 {
			b := make([]byte, v.bs)
			copy(b, v.superblock(g))
			v.out.put(b, v.groupStart(g)*v.bs)
		}
	}
	v.out.flush()
	v.out.clear(0, 1024)
	v.out.clear(2048, v.bs-2048)
	v.out.small(v.superblock(0), 1024)
}

// Flags of groups.
const (
	inodesUninit = 1
	blocksUninit = 2
	tableZeroed  = 4
)

// descriptors writes the bitmaps and returns the group descriptors
// (Documentation/filesystems/ext4/group_descr.rst).
func (v *volume) descriptors() []byte {
	table := make([]byte, v.descs*v.bs)
	for i := range v.groups {
		v.descriptor(table[int64(i)*v.desc:][:v.desc], int64(i))
	}
	return table
}

func (v *volume) descriptor(b []byte, i int64) {
	g := &v.groups[i]
	flags := uint16(0)
	if v.f.lazy() {
		flags = tableZeroed
		if g.inodes == 0 {
			flags |= inodesUninit
		}
		if !g.touched && i != v.layout.groups-1 {
			flags |= blocksUninit
		}
	}
	var blockSum, inodeSum uint32
	if flags&blocksUninit == 0 {
		blockSum = v.blockBitmap(i)
	}
	if flags&inodesUninit == 0 {
		inodeSum = v.inodeBitmap(i)
	}
	put := func(low, high int, x int64) {
		le.PutUint16(b[low:], uint16(x))
		if v.desc > 32 {
			le.PutUint16(b[high:], uint16(x>>16))
		}
	}
	for k, at := range []int64{g.blockBitmap, g.inodeBitmap, g.table} {
		le.PutUint32(b[4*k:], uint32(at))
		if v.desc > 32 {
			le.PutUint32(b[0x20+4*k:], uint32(at>>32))
		}
	}
	put(0xc, 0x2c, v.groupEnd(i)-v.groupStart(i)-g.used)
	put(0xe, 0x2e, v.inodes-g.inodes)
	put(0x10, 0x30, g.dirs)
	le.PutUint16(b[0x12:], flags)
	put(0x18, 0x38, int64(blockSum))
	put(0x1a, 0x3a, int64(inodeSum))
	if v.f.lazy() {
		put(0x1c, 0x32, v.inodes-g.inodes)
	}
	le.PutUint16(b[0x1e:], v.descriptorSum(b, i))
}

// descriptorSum is over a descriptor whose own checksum is still 0.
func (v *volume) descriptorSum(b []byte, i int64) uint16 {
	var number [4]byte
	le.PutUint32(number[:], uint32(i))
	switch {
	case v.f.csum():
		return uint16(crc32c(crc32c(v.seed, number[:]), b))
	case v.f.gdtCsum():
		sum := crc16(crc16(0xffff, v.o.UUID[:]), number[:])
		sum = crc16(sum, b[:0x1e])
		return crc16(sum, b[min(0x20, len(b)):])
	}
	return 0
}

// blockBitmap writes a group's and returns its checksum. What is behind the end
// of the file system counts as used.
func (v *volume) blockBitmap(i int64) uint32 {
	b := make([]byte, v.bs)
	copy(b, v.groups[i].bits)
	n := v.groupEnd(i) - v.groupStart(i)
	setBits(b, n, 8*v.bs-n)
	v.out.put(b, v.groups[i].blockBitmap*v.bs)
	return v.bitmapSum(b[:v.perGroup/8])
}

func (v *volume) inodeBitmap(i int64) uint32 {
	b := make([]byte, v.bs)
	setBits(b, 0, v.groups[i].inodes)
	setBits(b, v.inodes, 8*v.bs-v.inodes)
	v.out.put(b, v.groups[i].inodeBitmap*v.bs)
	return v.bitmapSum(b[:v.inodes/8])
}

func (v *volume) bitmapSum(b []byte) uint32 {
	if !v.f.csum() {
		return 0
	}
	return crc32c(v.seed, b)
}
