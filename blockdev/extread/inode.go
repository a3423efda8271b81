package extread

import "fmt"

// Numbers of inodes with a meaning of their own.
const (
	RootInode    = 2
	resizeInode  = 7
	journalInode = 8
)

// Flags of inodes that matter to who reads.
const (
	FlagExtents = 0x80000
	flagEAInode = 0x200000
	flagInline  = 0x10000000
)

// Time is one of an inode's times.
type Time struct {
	Sec  int64 // since 1970
	Nsec int32
}

func (t Time) String() string { return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec) }

// Inode is one file.
type Inode struct {
	Number     uint32
	Mode       uint16 // type and permissions, as stat(2) has them
	UID, GID   uint32
	Links      uint16
	Size       int64 // bytes
	Sectors    int64 // of 512 bytes that belong to it
	Flags      uint32
	Generation uint32
	Project    uint32

	Atime, Ctime, Mtime Time
	// Created is zero where inodes of 128 bytes have no place for it.
	Created Time

	block     [60]byte // map, short link, device or first data
	attrBlock int64
	raw       []byte
	extra     int // where its attributes begin in raw
}

// InUse says whether it is a file's, not one that is free.
func (n *Inode) InUse() bool {
	return n.Mode != 0 && (n.Links > 0 || n.Number < 11 || n.Flags&flagEAInode != 0)
}

// Kind is the type of file, S_IFDIR and the like.
func (n *Inode) Kind() uint32 { return uint32(n.Mode) & 0xf000 }

// Device gives the numbers of a device node.
func (n *Inode) Device() (major, minor uint32) {
	if old := le.Uint32(n.block[:]); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	dev := le.Uint32(n.block[4:])
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}

func nameOf(ino uint32) string { return fmt.Sprintf("inode %d", ino) }

// Inode reads one.
func (f *FS) Inode(ino uint32) (*Inode, error) {
	if ino == 0 || int64(ino) > f.Inodes {
		return nil, wrong(nameOf(ino), "there are only inodes 1 to %d", f.Inodes)
	}
	i := int64(ino - 1)
	g, err := f.group(i / f.inodesPerGroup)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nameOf(ino), err)
	}
	b := make([]byte, f.inodeSize)
	if err := readAt(f.r, b, g.table*f.BlockSize+i%f.inodesPerGroup*f.inodeSize); err != nil {
		return nil, fmt.Errorf("%s: %w", nameOf(ino), err)
	}
	return f.parseInode(ino, b)
}

// parseInode takes the fields apart (inodes.rst). It keeps b.
func (f *FS) parseInode(ino uint32, b []byte) (*Inode, error) {
	n := &Inode{
		Number: ino, raw: b, Mode: le.Uint16(b), Links: le.Uint16(b[0x1a:]),
		UID:        uint32(le.Uint16(b[2:])) | uint32(le.Uint16(b[0x78:]))<<16,
		GID:        uint32(le.Uint16(b[0x18:])) | uint32(le.Uint16(b[0x7a:]))<<16,
		Size:       int64(le.Uint32(b[4:])) | int64(le.Uint32(b[0x6c:]))<<32,
		Flags:      le.Uint32(b[0x20:]),
		Generation: le.Uint32(b[0x64:]),
		attrBlock:  int64(le.Uint32(b[0x68:])) | int64(le.Uint16(b[0x76:]))<<32,
		Sectors:    int64(le.Uint32(b[0x1c:])),
	}
	copy(n.block[:], b[0x28:])
	if f.roCompat&roHugeFile != 0 {
		n.Sectors |= int64(le.Uint16(b[0x74:])) << 32
		if n.Flags&0x40000 != 0 {
			n.Sectors *= f.BlockSize / 512
		}
	}
	extra := 0
	if len(b) > 128 {
		extra = int(le.Uint16(b[0x80:]))
	}
	if n.Mode != 0 && (extra > len(b)-128 || extra%4 != 0) {
		return nil, wrong(nameOf(ino), "its fields go %d bytes beyond 128; it has %d", extra, len(b))
	}
	n.extra = 128 + extra
	n.times(b, extra)
	if extra >= 32 {
		n.Project = le.Uint32(b[0x9c:])
	}
	if n.Size < 0 {
		return nil, wrong(nameOf(ino), "its size has more than 63 bits")
	}
	return n, nil
}

// times have two more bits for seconds and thirty for nanoseconds where the inode
// is long enough.
func (n *Inode) times(b []byte, extra int) {
	for _, t := range []struct {
		to        *Time
		base, end int
	}{{&n.Ctime, 0xc, 0x84}, {&n.Mtime, 0x10, 0x88}, {&n.Atime, 0x8, 0x8c}, {&n.Created, 0x90, 0x94}} {
		if t.base >= 128 && extra < t.end+4-128 {
			continue
		}
		t.to.Sec = int64(int32(le.Uint32(b[t.base:])))
		if extra >= t.end+4-128 {
			more := le.Uint32(b[t.end:])
			t.to.Sec += int64(more&3) << 32
			t.to.Nsec = int32(more >> 2)
		}
	}
}

// RawInode is an inode as it lies in its table, "" when it cannot be read.
func (f *FS) RawInode(ino uint32) string {
	n, err := f.Inode(ino)
	if err != nil {
		return ""
	}
	return string(n.raw)
}
