package extread

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var le = binary.LittleEndian

const (
	superAt   = 1024
	superSize = 1024
	magic     = 0xef53
)

// Features that matter to who reads.
const (
	compatSparse2 = 0x200

	incompatCompression = 0x1
	incompatRecover     = 0x4
	incompatJournalDev  = 0x8
	incompatMetaBG      = 0x10
	incompat64          = 0x80
	incompatDirData     = 0x1000

	roSparse   = 0x1
	roHugeFile = 0x8
	roGDTCsum  = 0x10
	roBigAlloc = 0x200
	roCsum     = 0x400
)

// Error is something in a file system that cannot be.
type Error struct {
	Where string // inode 12, block 99 …
	What  string
}

func (e *Error) Error() string { return e.Where + ": " + e.What }

func wrong(where, what string, args ...any) error {
	return &Error{where, fmt.Sprintf(what, args...)}
}

// ErrNone says that there is no such file system.
var ErrNone = errors.New("no ext2, ext3 or ext4 file system")

// FS is a file system that is open for reading. It may be used by several
// goroutines if its reader may.
type FS struct {
	r io.ReaderAt
	// Super is the superblock, 1024 bytes.
	Super []byte
	// BlockSize is in bytes.
	BlockSize int64
	// Blocks is the size of the file system in blocks.
	Blocks int64
	// Inodes is how many there are; their numbers begin with 1.
	Inodes int64

	first, perGroup, groups       int64
	inodesPerGroup, inodeSize     int64
	descSize                      int64
	compat, incompat, roCompat    uint32
	firstMeta, spare, clusterBits int64
}

// Open reads the superblock of a file system that fills size bytes of r. The
// error is ErrNone when there is none.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	if size < superAt+superSize {
		return nil, ErrNone
	}
	f := &FS{r: r, Super: make([]byte, superSize)}
	if err := readAt(r, f.Super, superAt); err != nil {
		return nil, fmt.Errorf("reading the superblock: %w", err)
	}
	if le.Uint16(f.Super[0x38:]) != magic {
		return nil, ErrNone
	}
	f.numbers()
	return f, f.check(size)
}

// numbers takes the fields apart (Documentation/filesystems/ext4/super.rst).
func (f *FS) numbers() {
	b := f.Super
	u32 := func(at int) int64 { return int64(le.Uint32(b[at:])) }
	f.Inodes, f.Blocks, f.first = u32(0), u32(4), u32(0x14)
	f.BlockSize = 1024 << min(u32(0x18), 16)
	f.clusterBits = u32(0x1c) - u32(0x18)
	f.perGroup, f.inodesPerGroup = u32(0x20), u32(0x28)
	f.inodeSize, f.descSize = 128, 32
	if u32(0x4c) == 0 {
		return // the first revision has no features
	}
	f.inodeSize = int64(le.Uint16(b[0x58:]))
	f.compat, f.incompat, f.roCompat = le.Uint32(b[0x5c:]), le.Uint32(b[0x60:]), le.Uint32(b[0x64:])
	f.spare, f.firstMeta = int64(le.Uint16(b[0xce:])), u32(0x104)
	if f.incompat&incompat64 != 0 {
		f.Blocks |= u32(0x150) << 32
		f.descSize = int64(le.Uint16(b[0xfe:]))
	}
}

func (f *FS) check(size int64) error {
	at := "superblock"
	if more := f.incompat & (incompatCompression | incompatJournalDev | incompatDirData); more != 0 {
		return wrong(at, "the incompatible features %#x are not read here", more)
	}
	most := 8 * f.BlockSize
	if f.roCompat&roBigAlloc != 0 && f.clusterBits >= 0 && f.clusterBits < 20 {
		most <<= f.clusterBits
	}
	for _, c := range []struct {
		ok    bool
		what  string
		found int64
	}{
		{f.BlockSize <= 65536, "block size", f.BlockSize},
		{f.first <= 1, "first block", f.first},
		{f.Blocks > f.first && f.Blocks < 1<<48, "number of blocks", f.Blocks},
		{f.perGroup >= 64 && f.perGroup <= most, "blocks of a group", f.perGroup},
		{f.inodeSize >= 128 && f.inodeSize <= f.BlockSize && f.inodeSize&(f.inodeSize-1) == 0, "inode size", f.inodeSize},
		{f.inodesPerGroup >= 1 && f.inodesPerGroup <= 8*f.BlockSize, "inodes of a group", f.inodesPerGroup},
		{f.descSize >= 32 && f.descSize <= 1024 && f.descSize&(f.descSize-1) == 0, "size of a group descriptor", f.descSize},
	} {
		if !c.ok {
			return wrong(at, "%s %d cannot be", c.what, c.found)
		}
	}
	if f.Blocks > size/f.BlockSize {
		return wrong(at, "it counts %d blocks of %d bytes; there is room for %d", f.Blocks, f.BlockSize, size/f.BlockSize)
	}
	f.groups = (f.Blocks - f.first + f.perGroup - 1) / f.perGroup
	if f.Inodes < 1 || f.Inodes > f.groups*f.inodesPerGroup {
		return wrong(at, "it counts %d inodes in %d groups of %d", f.Inodes, f.groups, f.inodesPerGroup)
	}
	return nil
}

// Dirty says whether changes wait in the journal that are not yet in place.
func (f *FS) Dirty() bool { return f.incompat&incompatRecover != 0 }

// readAt fills p; a short file is an error.
func readAt(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at %d: %w", len(p), at, err)
}

// block reads one block, whose number is checked.
func (f *FS) block(where string, n int64) ([]byte, error) {
	if n <= 0 || n >= f.Blocks {
		return nil, wrong(where, "block %d lies outside of the file system, which has %d", n, f.Blocks)
	}
	b := make([]byte, f.BlockSize)
	return b, readAt(f.r, b, n*f.BlockSize)
}
