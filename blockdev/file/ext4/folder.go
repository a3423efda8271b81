package ext4

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// entry is a name in a folder.
type entry struct {
	name        string
	ino         uint32
	kind        uint8
	hash, minor uint32
}

// size is what it takes: a head of eight bytes and the name, in words.
func (e *entry) size() int { return (8 + len(e.name) + 3) &^ 3 }

// kindOf is the type of file in a folder's entry.
func kindOf(mode uint32) uint8 {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 1
	case unix.S_IFDIR:
		return 2
	case unix.S_IFCHR:
		return 3
	case unix.S_IFBLK:
		return 4
	case unix.S_IFIFO:
		return 5
	case unix.S_IFSOCK:
		return 6
	}
	return 7
}

// dotSize is what . and .. take.
const dotSize = 12

// folderWriter writes the blocks of one folder.
type folderWriter struct {
	*volume
	ino, parent uint32
	seed        uint32
	n           *inode
	m           blockMap
	at          []run // its blocks that are not yet written
	buf         []byte
}

// writeFolder writes a folder's entries and completes its inode: one block when
// they fit, a hashed index otherwise, and a plain list where there can be no
// index. least is how many blocks it has at least.
func (v *volume) writeFolder(ino, parent uint32, n *inode, entries []entry, least int64) error {
	w := &folderWriter{volume: v, ino: ino, parent: parent, n: n, seed: v.inodeSeed(ino), buf: make([]byte, v.bs)}
	blocks := w.split(entries, w.room()-2*dotSize, w.room())
	if len(blocks) > 1 && v.f.dirIndex() {
		if done, err := w.hashed(entries); done || err != nil {
			return err
		}
	}
	total := max(int64(len(blocks)), least)
	w.allocate(total)
	for i := range total {
		b := w.block()
		at := 0
		if i == 0 {
			at = w.dots(b, dotSize)
		}
		var own []entry
		if i < int64(len(blocks)) {
			own = blocks[i]
		}
		w.fill(b, at, own)
	}
	return w.finish()
}

// room is how much of a block is for entries: a checksum looks like one more.
func (w *folderWriter) room() int {
	if w.f.csum() {
		return int(w.bs) - 12
	}
	return int(w.bs)
}

// split cuts entries into what goes into the first block and the others.
func (w *folderWriter) split(entries []entry, first, others int) [][]entry {
	blocks := [][]entry{}
	from, left := 0, first
	for i := range entries {
		size := entries[i].size()
		if size > left {
			blocks = append(blocks, entries[from:i])
			from, left = i, others
		}
		left -= size
	}
	return append(blocks, entries[from:])
}

func (w *folderWriter) allocate(n int64) {
	w.n.size = n * w.bs
	for have := int64(0); have < n; {
		r := w.take(n - have)
		w.m.add(have, r)
		w.at = append(w.at, r)
		have += r.n
	}
}

// block is where the next block is built.
func (w *folderWriter) block() []byte {
	clear(w.buf)
	return w.buf
}

// next writes the block.
func (w *folderWriter) next() {
	w.out.put(w.buf, w.at[0].at*w.bs)
	w.at[0].at++
	if w.at[0].n--; w.at[0].n == 0 {
		w.at = w.at[1:]
	}
}

func (w *folderWriter) finish() error { return w.setMap(w.ino, w.n, &w.m) }

// dots writes . and ..; the second has all of a length, or its own size.
func (w *folderWriter) dots(b []byte, length int) int {
	w.entry(b, 0, &entry{name: ".", ino: w.ino, kind: 2}, dotSize)
	w.entry(b, dotSize, &entry{name: "..", ino: w.parent, kind: 2}, length)
	return 2 * dotSize
}

func (w *folderWriter) entry(b []byte, at int, e *entry, length int) {
	le.PutUint32(b[at:], e.ino)
	le.PutUint16(b[at+4:], uint16(length))
	b[at+6] = uint8(len(e.name))
	if w.f.fileType() {
		b[at+7] = e.kind
	}
	copy(b[at+8:], e.name)
}

// fill puts entries into a block from a place on, the last one as long as there
// is room, and writes the block.
func (w *folderWriter) fill(b []byte, at int, entries []entry) {
	if len(entries) == 0 {
		w.emptyEnd(b, at)
	}
	for i := range entries {
		length := entries[i].size()
		if i == len(entries)-1 {
			length = w.room() - at
		}
		w.entry(b, at, &entries[i], length)
		at += length
	}
	if w.f.csum() {
		end := w.room()
		le.PutUint16(b[end+4:], 12)
		b[end+7] = 0xde
		le.PutUint32(b[end+8:], crc32c(w.seed, b[:end]))
	}
	w.next()
}

// emptyEnd closes a block without entries: .. gets the rest, or an entry of no
// file.
func (w *folderWriter) emptyEnd(b []byte, at int) {
	if at == 0 {
		le.PutUint16(b[4:], uint16(w.room()))
		return
	}
	le.PutUint16(b[dotSize+4:], uint16(w.room()-dotSize))
}

// hashOrder is the order of entries in a hashed folder.
func hashOrder(a, b entry) int {
	return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.minor, b.minor), cmp.Compare(a.name, b.name))
}

// hashed writes a folder with an index (Documentation/filesystems/ext4/
// directory.rst): block 0 the root, then what index nodes there are, then the
// leaves. Leaves are filled to seven eighths: the first new names shall not
// split each of them. It does nothing when the index would have more than two
// levels.
func (w *folderWriter) hashed(entries []entry) (bool, error) {
	for i := range entries {
		entries[i].hash, entries[i].minor = nameHash(w.o.HashSeed, entries[i].name)
	}
	slices.SortFunc(entries, hashOrder)
	room := w.room() * 7 / 8
	leaves := w.split(entries, room, room)
	inRoot, inNode := w.indexRoom(32), w.indexRoom(8)
	nodes := 0
	if len(leaves) > inRoot {
		nodes = (len(leaves) + inNode - 1) / inNode
	}
	if nodes > inRoot {
		slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
		return false, nil
	}
	w.n.flags |= flagIndex
	w.allocate(int64(1 + nodes + len(leaves)))
	w.index(leaves, nodes, inRoot, inNode)
	for _, leaf := range leaves {
		w.fill(w.block(), 0, leaf)
	}
	return true, w.finish()
}

// indexRoom is how many entries of an index follow a head of so many bytes.
func (w *folderWriter) indexRoom(head int) int {
	n := (int(w.bs) - head) / 8
	if w.f.csum() {
		n--
	}
	return n
}

// indexEntry of a folder: from which hash on a block is right.
type hashFrom struct{ hash, block uint32 }

func (w *folderWriter) index(leaves [][]entry, nodes, inRoot, inNode int) {
	all := make([]hashFrom, len(leaves))
	for i, leaf := range leaves {
		all[i] = hashFrom{leaf[0].hash, uint32(1 + nodes + i)}
		if i == 0 {
			all[i].hash = 0
		} else if before := leaves[i-1]; before[len(before)-1].hash == leaf[0].hash {
			all[i].hash |= 1 // names of one hash go on
		}
	}
	top := all
	if nodes > 0 {
		top = nil
		for i := range nodes {
			top = append(top, hashFrom{all[i*inNode].hash, uint32(1 + i)})
		}
	}
	w.root(top, inRoot, nodes > 0)
	for len(all) > 0 && nodes > 0 {
		k := min(inNode, len(all))
		b := w.block()
		le.PutUint16(b[4:], uint16(w.bs))
		w.indexEntries(b, 8, inNode, all[:k])
		all = all[k:]
	}
}

func (w *folderWriter) root(entries []hashFrom, room int, deep bool) {
	b := w.block()
	w.dots(b, int(w.bs)-dotSize)
	b[28], b[29] = 1, 8 // half-MD4; the length of this head
	if deep {
		b[30] = 1
	}
	w.indexEntries(b, 32, room, entries)
}

// indexEntries writes a list whose first entry has, in place of a hash, how
// many fit and how many there are; behind the room for them the checksum.
func (w *folderWriter) indexEntries(b []byte, at, room int, entries []hashFrom) {
	for i, e := range entries {
		le.PutUint32(b[at+8*i:], e.hash)
		le.PutUint32(b[at+8*i+4:], e.block)
	}
	le.PutUint16(b[at:], uint16(room))
	le.PutUint16(b[at+2:], uint16(len(entries)))
	if w.f.csum() {
		tail := at + 8*room
		sum := crc32c(w.seed, b[:at+8*len(entries)])
		le.PutUint32(b[tail+4:], crc32c(sum, b[tail:tail+8]))
	}
	w.next()
}
