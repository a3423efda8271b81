package extread

import (
	"fmt"
	"io"
	"math"
	"sort"
)

// Run is a stretch of blocks of a file that lie together.
type Run struct {
	Logical, Physical, N int64 // blocks
	Unwritten            bool  // allocated, and read as zeros
}

// Map says where a file's blocks are, in their order.
type Map struct {
	Runs []Run
	Meta []int64 // blocks of the map itself
}

// Map reads the map of a file or folder.
func (f *FS) Map(n *Inode) (*Map, error) {
	m := &mapper{f: f, n: n, where: nameOf(n.Number), seen: map[int64]bool{}}
	var err error
	switch {
	case !f.hasMap(n):
	case n.Flags&FlagExtents != 0:
		err = m.extents(n.block[:], -1)
	default:
		err = m.pointers()
	}
	if err != nil {
		return nil, err
	}
	return &m.Map, nil
}

// hasMap says whether a map, and nothing else, is in the inode.
func (f *FS) hasMap(n *Inode) bool {
	switch n.Kind() {
	case 0x8000, 0x4000:
		return n.Flags&flagInline == 0
	case 0xa000:
		return !n.shortLink()
	}
	// Inodes without a type: those of bad blocks and of boot loaders.
	return n.Kind() == 0 && n.Number < 11
}

type mapper struct {
	Map
	f     *FS
	n     *Inode
	where string
	seen  map[int64]bool // blocks of the map: a tree has none twice
	total int64
	next  int64 // the first logical block that may come
}

func (m *mapper) meta(at int64) ([]byte, error) {
	if m.seen[at] {
		return nil, wrong(m.where, "block %d occurs twice in its map", at)
	}
	m.seen[at] = true
	m.Meta = append(m.Meta, at)
	return m.f.block(m.where, at)
}

func (m *mapper) add(r Run) error {
	if r.Physical <= 0 || r.N > m.f.Blocks || r.Physical > m.f.Blocks-r.N {
		return wrong(m.where, "its blocks %d to %d lie outside of the file system, which has %d", r.Physical, r.Physical+r.N-1, m.f.Blocks)
	}
	if r.Logical < m.next {
		return wrong(m.where, "its map goes back from block %d to %d", m.next, r.Logical)
	}
	m.next = r.Logical + r.N
	if m.total += r.N; m.total > m.f.Blocks {
		return wrong(m.where, "it has more blocks than the file system's %d", m.f.Blocks)
	}
	if i := len(m.Runs) - 1; i >= 0 {
		l := &m.Runs[i]
		if l.Logical+l.N == r.Logical && l.Physical+l.N == r.Physical && l.Unwritten == r.Unwritten {
			l.N += r.N
			return nil
		}
	}
	m.Runs = append(m.Runs, r)
	return nil
}

const (
	extentMagic   = 0xf30a
	longestExtent = 32768 // blocks; more marks it as not written
)

// extents reads a node of the tree (ifork.rst); depth is what its parent promises,
// -1 for the root.
func (m *mapper) extents(b []byte, depth int) error {
	count, own := int(le.Uint16(b[2:])), int(le.Uint16(b[6:]))
	switch {
	case le.Uint16(b) != extentMagic:
		return wrong(m.where, "a node of its extents begins with %#x", le.Uint16(b))
	case depth >= 0 && own != depth, own > 5:
		return wrong(m.where, "a node of its extents has depth %d", own)
	case count > (len(b)-12)/12:
		return wrong(m.where, "a node of its extents has %d entries in %d bytes", count, len(b))
	}
	for i := range count {
		e := b[12+12*i:]
		if own == 0 {
			if err := m.leaf(e); err != nil {
				return err
			}
			continue
		}
		below, err := m.meta(int64(le.Uint32(e[4:])) | int64(le.Uint16(e[8:]))<<32)
		if err != nil {
			return err
		}
		if err := m.extents(below, own-1); err != nil {
			return err
		}
	}
	return nil
}

func (m *mapper) leaf(e []byte) error {
	r := Run{
		Logical:  int64(le.Uint32(e)),
		N:        int64(le.Uint16(e[4:])),
		Physical: int64(le.Uint16(e[6:]))<<32 | int64(le.Uint32(e[8:])),
	}
	if r.N > longestExtent {
		r.N, r.Unwritten = r.N-longestExtent, true
	}
	if r.N == 0 {
		return wrong(m.where, "an extent has no blocks")
	}
	return m.add(r)
}

// pointers reads the map of ext2 and ext3: twelve blocks, then trees of one, two
// and three levels.
func (m *mapper) pointers() error {
	// The resize inode's tree names the blocks kept for descriptors, and lacks
	// what a file's has: order.
	if m.n.Number == resizeInode {
		return m.resize()
	}
	at := int64(0)
	for ; at < 12; at++ {
		if err := m.pointer(at, int64(le.Uint32(m.n.block[4*at:])), 0); err != nil {
			return err
		}
	}
	span := int64(1)
	for level := int64(1); level <= 3; level++ {
		span *= m.f.BlockSize / 4
		if err := m.pointer(at, int64(le.Uint32(m.n.block[4*(11+level):])), level); err != nil {
			return err
		}
		at += span
	}
	return nil
}

func (m *mapper) pointer(logical, at, level int64) error {
	if at == 0 {
		return nil
	}
	if level == 0 {
		return m.add(Run{Logical: logical, Physical: at, N: 1})
	}
	b, err := m.meta(at)
	if err != nil {
		return err
	}
	per := m.f.BlockSize / 4
	each := int64(1)
	for range level - 1 {
		each *= per
	}
	for i := range per {
		if err := m.pointer(logical+i*each, int64(le.Uint32(b[4*i:])), level-1); err != nil {
			return err
		}
	}
	return nil
}

// resize names the blocks of the resize inode as parts of its map.
func (m *mapper) resize() error {
	double := int64(le.Uint32(m.n.block[4*13:]))
	if double == 0 {
		return nil
	}
	b, err := m.meta(double)
	if err != nil {
		return err
	}
	for i := range m.f.BlockSize / 4 {
		if at := int64(le.Uint32(b[4*i:])); at != 0 {
			if _, err := m.meta(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// File reads what a file, a folder or a link has as its content.
type File struct {
	f      *FS
	size   int64
	runs   []Run
	inline []byte
}

// Open gives the content of a file.
func (f *FS) Open(n *Inode) (*File, error) {
	c := &File{f: f, size: n.Size}
	if n.Flags&flagInline != 0 {
		return c, f.openInline(n, c)
	}
	m, err := f.Map(n)
	if err != nil {
		return nil, err
	}
	c.runs = m.Runs
	return c, nil
}

// openInline takes what lies in the inode: sixty bytes, and an attribute. A size
// beyond that is one of zeros: mke2fs leaves files so that are but a hole.
func (f *FS) openInline(n *Inode, c *File) error {
	all, err := f.attrs(n)
	if err != nil {
		return err
	}
	c.inline = append(c.inline, n.block[:]...)
	for _, a := range all {
		if a.Name == inlineName {
			c.inline = append(c.inline, a.Value...)
		}
	}
	return nil
}

// Size is in bytes.
func (c *File) Size() int64 { return c.size }

// ReadAt is io.ReaderAt's; holes are zeros.
func (c *File) ReadAt(p []byte, off int64) (int, error) {
	if off >= c.size || off < 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	if c.inline != nil {
		clear(p[copy(p[:n], c.inline[min(off, int64(len(c.inline))):]):n])
	} else if err := c.read(p[:n], off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *File) read(p []byte, off int64) error {
	clear(p)
	bs, end := c.f.BlockSize, off+int64(len(p))
	for i := c.firstRun(off / bs); i < len(c.runs) && c.runs[i].Logical*bs < end; i++ {
		r := c.runs[i]
		if r.Unwritten {
			continue
		}
		from, to := max(off, r.Logical*bs), min(end, (r.Logical+r.N)*bs)
		if err := readAt(c.f.r, p[from-off:to-off], r.Physical*bs+from-r.Logical*bs); err != nil {
			return err
		}
	}
	return nil
}

// firstRun is the first that ends after a logical block.
func (c *File) firstRun(logical int64) int {
	return sort.Search(len(c.runs), func(i int) bool { return c.runs[i].Logical+c.runs[i].N > logical })
}

// NextData gives the first stretch at or after off that is no hole, in bytes;
// both are the file's size where none follows. What is allocated and not written
// is a hole, as for lseek(2).
func (c *File) NextData(off int64) (from, to int64, err error) {
	if c.inline != nil {
		end := min(c.size, int64(len(c.inline)))
		if off >= end {
			return c.size, c.size, nil
		}
		return off, end, nil
	}
	bs := c.f.BlockSize
	for i := c.firstRun(off / bs); i < len(c.runs); i++ {
		r := c.runs[i]
		if r.Unwritten {
			continue
		}
		if r.Logical > math.MaxInt64/bs-r.N {
			return 0, 0, fmt.Errorf("block %d of a file lies beyond any size", r.Logical)
		}
		to := (r.Logical + r.N) * bs
		for i++; i < len(c.runs) && !c.runs[i].Unwritten && c.runs[i].Logical*bs == to; i++ {
			to += c.runs[i].N * bs
		}
		return min(max(off, r.Logical*bs), c.size), min(to, c.size), nil
	}
	return c.size, c.size, nil
}

// Place is the beginning of the map, as it lies in the inode: files with equal ones
// begin at the same blocks.
func (n *Inode) Place() string {
	if k := n.Kind(); k != 0x8000 && k != 0x4000 || n.Flags&flagInline != 0 {
		return ""
	}
	return string(n.block[:])
}
