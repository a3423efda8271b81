package ext4

import "fmt"

// extent says where blocks of a file are.
type extent struct {
	logical int64
	run
}

// blockMap collects the extents of one file, in their order.
type blockMap struct {
	all    []extent
	blocks int64
}

func (m *blockMap) add(logical int64, r run) {
	m.blocks += r.n
	if i := len(m.all) - 1; i >= 0 {
		e := &m.all[i]
		if e.logical+e.n == logical && e.at+e.n == r.at {
			e.n += r.n
			return
		}
	}
	m.all = append(m.all, extent{logical, r})
}

// find returns the block at a place of the file, 0 for a hole. Places come in
// rising order from one caller; i is where it is.
func (m *blockMap) find(logical int64, i *int) int64 {
	for *i < len(m.all) && m.all[*i].logical+m.all[*i].n <= logical {
		*i++
	}
	if *i == len(m.all) || m.all[*i].logical > logical {
		return 0
	}
	return m.all[*i].at + logical - m.all[*i].logical
}

// setMap writes the map of a file's blocks into its inode, and into blocks of
// its own where it is longer.
func (v *volume) setMap(ino uint32, n *inode, m *blockMap) error {
	n.blocks += m.blocks
	if v.f.extents() {
		n.flags |= flagExtents
		return v.extentTree(ino, n, m)
	}
	return v.blockPointers(n, m)
}

// Limits of extents.
const (
	longestExtent = 32768 // blocks
	rootExtents   = 4     // in the inode
	extentMagic   = 0xf30a
)

// extentTree builds the tree from the leaves up: each level is cut into full
// nodes until what names them fits the inode.
func (v *volume) extentTree(ino uint32, n *inode, m *blockMap) error {
	if last := len(m.all) - 1; last >= 0 && m.all[last].logical+m.all[last].n > 1<<32-1 {
		return fmt.Errorf("it is longer than 4294967295 blocks")
	}
	entries := make([][12]byte, 0, len(m.all))
	for _, e := range m.all {
		for e.n > 0 {
			k := min(e.n, longestExtent)
			entries = append(entries, leafEntry(e.logical, e.at, k))
			e.logical, e.at, e.n = e.logical+k, e.at+k, e.n-k
		}
	}
	depth := 0
	for ; len(entries) > rootExtents; depth++ {
		entries = v.extentLevel(ino, n, entries, depth)
	}
	putExtents(n.block[:], entries, rootExtents, depth)
	return nil
}

// extentLevel writes one level of nodes and returns the entries that name them.
func (v *volume) extentLevel(ino uint32, n *inode, entries [][12]byte, depth int) [][12]byte {
	room := (int(v.bs) - 12) / 12 // of each size of block four bytes and more are left, for the checksum
	var above [][12]byte
	for len(entries) > 0 {
		k := min(room, len(entries))
		b := make([]byte, v.bs)
		putExtents(b, entries[:k], room, depth)
		if v.f.csum() {
			end := 12 + 12*room
			le.PutUint32(b[end:], crc32c(v.inodeSeed(ino), b[:end]))
		}
		at := v.takeOne()
		n.blocks++
		v.out.put(b, at*v.bs)
		above = append(above, indexEntry(le.Uint32(entries[0][:]), at))
		entries = entries[k:]
	}
	return above
}

func leafEntry(logical, at, n int64) (b [12]byte) {
	le.PutUint32(b[0:], uint32(logical))
	le.PutUint16(b[4:], uint16(n))
	le.PutUint16(b[6:], uint16(at>>32))
	le.PutUint32(b[8:], uint32(at))
	return b
}

func indexEntry(logical uint32, at int64) (b [12]byte) {
	le.PutUint32(b[0:], logical)
	le.PutUint32(b[4:], uint32(at))
	le.PutUint16(b[8:], uint16(at>>32))
	return b
}

func putExtents(b []byte, entries [][12]byte, room, depth int) {
	le.PutUint16(b[0:], extentMagic)
	le.PutUint16(b[2:], uint16(len(entries)))
	le.PutUint16(b[4:], uint16(room))
	le.PutUint16(b[6:], uint16(depth))
	for i, e := range entries {
		copy(b[12+12*i:], e[:])
	}
}

// blockPointers writes the map of ext2 and ext3: twelve blocks in the inode, then
// trees of one, two and three levels.
func (v *volume) blockPointers(n *inode, m *blockMap) error {
	at, i := int64(0), 0
	for ; at < 12; at++ {
		le.PutUint32(n.block[4*at:], uint32(m.find(at, &i)))
	}
	per := v.bs / 4
	span := int64(1)
	for level := int64(1); level <= 3; level++ {
		span *= per
		le.PutUint32(n.block[4*(11+level):], uint32(v.pointerTree(n, m, at, span, &i)))
		at += span
	}
	if i < len(m.all) && m.all[len(m.all)-1].logical+m.all[len(m.all)-1].n > at {
		return fmt.Errorf("it is longer than the %d blocks that a file without extents can have", at)
	}
	return nil
}

// pointerTree maps span blocks from a place on, and returns the block of the
// tree's root, 0 when all is a hole.
func (v *volume) pointerTree(n *inode, m *blockMap, from, span int64, i *int) int64 {
	first := m.next(from, i)
	if first >= from+span {
		return 0
	}
	root := v.takeOne()
	n.blocks++
	b := make([]byte, v.bs)
	each := span / (v.bs / 4)
	for k := int64(0); k < v.bs/4; k++ {
		at, below := from+k*each, int64(0)
		if each == 1 {
			below = m.find(at, i)
		} else {
			below = v.pointerTree(n, m, at, each, i)
		}
		le.PutUint32(b[4*k:], uint32(below))
	}
	v.out.put(b, root*v.bs)
	return root
}

// next returns the first place from logical on that is no hole.
func (m *blockMap) next(logical int64, i *int) int64 {
	for *i < len(m.all) && m.all[*i].logical+m.all[*i].n <= logical {
		*i++
	}
	if *i == len(m.all) {
		return 1 << 62
	}
	return max(logical, m.all[*i].logical)
}
