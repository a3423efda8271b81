package ext4

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

var le = binary.LittleEndian

// Inodes with a fixed place.
const (
	badInode     = 1
	rootInode    = 2
	resizeInode  = 7
	journalInode = 8
	firstInode   = 11 // the first that is not reserved: lost+found
)

// Flags of inodes.
const (
	flagIndex   = 0x1000
	flagExtents = 0x80000
)

// extraSize is how far the fields of an inode go beyond 128 bytes.
const extraSize = 32

// inode is one file's, before it is written.
type inode struct {
	mode                         uint32
	uid, gid                     uint32
	size                         int64
	links                        int
	blocks                       int64 // of the file system, all that belong to it
	flags                        uint32
	block                        [60]byte // map of blocks, short link or device
	atime, ctime, mtime, created unix.Timespec
	attrBlock                    int64
	attrs                        []byte // extended attributes in the inode
}

// bytes returns the inode as it lies in the table (Documentation/filesystems/
// ext4/inodes.rst).
func (n *inode) bytes(l *layout, ino uint32) []byte {
	b := make([]byte, l.o.InodeSize)
	le.PutUint16(b[0x0:], uint16(n.mode))
	le.PutUint16(b[0x2:], uint16(n.uid))
	le.PutUint32(b[0x4:], uint32(n.size))
	le.PutUint16(b[0x18:], uint16(n.gid))
	le.PutUint16(b[0x1a:], uint16(n.links))
	sectors := n.blocks * l.bs / 512
	le.PutUint32(b[0x1c:], uint32(sectors))
	le.PutUint32(b[0x20:], n.flags)
	copy(b[0x28:], n.block[:])
	le.PutUint32(b[0x68:], uint32(n.attrBlock))
	le.PutUint32(b[0x6c:], uint32(n.size>>32))
	le.PutUint16(b[0x74:], uint16(sectors>>32))
	le.PutUint16(b[0x76:], uint16(n.attrBlock>>32))
	le.PutUint16(b[0x78:], uint16(n.uid>>16))
	le.PutUint16(b[0x7a:], uint16(n.gid>>16))
	n.putTimes(b)
	copy(b[min(len(b), 128+extraSize):], n.attrs)
	if l.f.csum() {
		sum := crc32c(l.inodeSeed(ino), b)
		le.PutUint16(b[0x7c:], uint16(sum))
		if len(b) > 128 {
			le.PutUint16(b[0x82:], uint16(sum>>16))
		}
	}
	return b
}

// putTimes writes seconds of 32 bits, and where there is room two more bits and
// the nanoseconds.
func (n *inode) putTimes(b []byte) {
	small := len(b) == 128
	times := []struct {
		t           unix.Timespec
		base, extra int
	}{{n.atime, 0x8, 0x8c}, {n.ctime, 0xc, 0x84}, {n.mtime, 0x10, 0x88}, {n.created, 0x90, 0x94}}
	if small {
		times = times[:3]
	} else {
		le.PutUint16(b[0x80:], extraSize)
	}
	for _, t := range times {
		sec := max(t.t.Sec, -1<<31)
		if small {
			sec = min(sec, 1<<31-1)
		} else {
			sec = min(sec, 1<<34-1<<31-1)
			epoch := uint32((sec-int64(int32(sec)))>>32) & 3
			le.PutUint32(b[t.extra:], epoch|uint32(t.t.Nsec)<<2)
		}
		le.PutUint32(b[t.base:], uint32(sec))
	}
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// tables collects inodes, so that a table's blocks are written once. Inodes come
// nearly in their order; what comes late is written by itself.
type tables struct {
	*space
	out   *output
	pages map[int64]*page // by block
	order []int64         // of their making
}

// page is one block of a table. What is not set has been written before, or is
// to come.
type page struct {
	b   []byte
	set []bool
}

const mostPages = 64

func newTables(s *space, out *output) *tables {
	return &tables{space: s, out: out, pages: map[int64]*page{}}
}

func (t *tables) put(ino uint32, n *inode) {
	if n.size >= 1<<31 {
		t.f.ROCompat |= LargeFile
	}
	i := int64(ino - 1)
	g := i / t.inodes
	if g >= t.layout.groups {
		return // counted as lacking
	}
	in := i % t.inodes * int64(t.o.InodeSize)
	block := t.groups[g].table + in/t.bs
	p := t.pages[block]
	if p == nil {
		p = t.newPage(block)
	}
	in %= t.bs
	copy(p.b[in:], n.bytes(t.layout, ino))
	p.set[in/int64(t.o.InodeSize)] = true
}

func (t *tables) newPage(block int64) *page {
	if len(t.order) == mostPages {
		t.write(t.order[0])
		t.order = append(t.order[:0], t.order[1:]...)
	}
	p := &page{make([]byte, t.bs), make([]bool, t.bs/int64(t.o.InodeSize))}
	t.pages[block] = p
	t.order = append(t.order, block)
	return p
}

// write writes what is set of a page, and forgets it.
func (t *tables) write(block int64) {
	p := t.pages[block]
	delete(t.pages, block)
	size := t.o.InodeSize
	for from := 0; from < len(p.set); {
		to := from
		for to < len(p.set) && p.set[to] {
			to++
		}
		if to > from {
			t.out.small(p.b[from*size:to*size], block*t.bs+int64(from*size))
		}
		from = to + 1
	}
}

func (t *tables) flush() {
	for _, block := range t.order {
		t.write(block)
	}
	t.order = nil
}
