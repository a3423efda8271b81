package file

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
)

// Places in a btrfs (btrfs-progs: On-disk format; kernel: include/uapi/linux/
// btrfs_tree.h). Everything is little-endian.
const (
	btrfsSuper     = 64 << 10
	btrfsSuperSize = 4096
	btrfsHeader    = 101 // bytes of a tree block's head
	btrfsItem      = 25  // of an item's head in a leaf: key 17, offset 4, size 4
	btrfsPointer   = 33  // of a pointer in a node: key 17, block 8, generation 8
	btrfsChunkHead = 48
	btrfsStripe    = 32
	btrfsLevels    = 8

	btrfsInodeItem = 1
	btrfsXattrItem = 24
	btrfsDirIndex  = 96
	btrfsRootItem  = 132
	btrfsChunkItem = 228

	btrfsFSTree  = 5
	btrfsRootDir = 256
)

// btrfsImage is a btrfs of one device in a file.
type btrfsImage struct {
	f        *os.File
	nodeSize int
	chunks   []btrfsChunk
}

// btrfsChunk maps logical addresses to places in the file: two of them where
// metadata is kept twice.
type btrfsChunk struct {
	start, length uint64
	at            []int64
}

// btrfsKey is a key of a tree.
type btrfsKey struct {
	object uint64
	kind   byte
	offset uint64
}

func readKey(b []byte) btrfsKey {
	return btrfsKey{binary.LittleEndian.Uint64(b), b[8], binary.LittleEndian.Uint64(b[9:])}
}

// openBtrfs reads the superblock and the map of chunks, and returns the root of
// the tree of files.
func openBtrfs(f *os.File) (*btrfsImage, uint64, error) {
	sb := make([]byte, btrfsSuperSize)
	if _, err := f.ReadAt(sb, btrfsSuper); err != nil {
		return nil, 0, err
	}
	if string(sb[64:72]) != "_BHRfS_M" {
		return nil, 0, errors.New("no btrfs superblock")
	}
	if sum := binary.LittleEndian.Uint16(sb[196:]); sum != 0 {
		return nil, 0, fmt.Errorf("checksums of type %d: this back end knows crc32c alone", sum)
	}
	b := &btrfsImage{f: f, nodeSize: int(binary.LittleEndian.Uint32(sb[148:]))}
	if b.nodeSize < 4096 || b.nodeSize > 64<<10 {
		return nil, 0, fmt.Errorf("nodes of %d bytes", b.nodeSize)
	}
	n := min(int(binary.LittleEndian.Uint32(sb[160:])), 2048)
	for array := sb[811 : 811+n]; len(array) > 17; {
		used, err := b.addChunk(readKey(array), array[17:])
		if err != nil {
			return nil, 0, err
		}
		array = array[17+used:]
	}
	err := b.leaves(binary.LittleEndian.Uint64(sb[88:]), func(l *btrfsLeaf) error {
		return l.items(func(k btrfsKey, data []byte, _ int) error {
			if k.kind != btrfsChunkItem {
				return nil
			}
			_, err := b.addChunk(k, data)
			return err
		})
	})
	if err != nil {
		return nil, 0, err
	}
	root, err := b.fileTree(binary.LittleEndian.Uint64(sb[80:]))
	return b, root, err
}

func (b *btrfsImage) addChunk(k btrfsKey, data []byte) (int, error) {
	if len(data) < btrfsChunkHead {
		return 0, errors.New("a chunk is cut short")
	}
	stripes := int(binary.LittleEndian.Uint16(data[44:]))
	end := btrfsChunkHead + stripes*btrfsStripe
	if stripes == 0 || len(data) < end {
		return 0, errors.New("a chunk is cut short")
	}
	c := btrfsChunk{start: k.offset, length: binary.LittleEndian.Uint64(data)}
	for i := range stripes {
		c.at = append(c.at, int64(binary.LittleEndian.Uint64(data[btrfsChunkHead+i*btrfsStripe+8:])))
	}
	b.chunks = append(b.chunks, c)
	return end, nil
}

// fileTree finds the tree of files in the tree of trees.
func (b *btrfsImage) fileTree(roots uint64) (uint64, error) {
	found := uint64(0)
	err := b.leaves(roots, func(l *btrfsLeaf) error {
		return l.items(func(k btrfsKey, data []byte, _ int) error {
			if k.object == btrfsFSTree && k.kind == btrfsRootItem && len(data) >= 184 {
				found = binary.LittleEndian.Uint64(data[176:])
			}
			return nil
		})
	})
	if err == nil && found == 0 {
		err = errors.New("no tree of files")
	}
	return found, err
}

// places returns where a block lies in the file, once for each copy.
func (b *btrfsImage) places(logical uint64) ([]int64, error) {
	for _, c := range b.chunks {
		if logical >= c.start && logical-c.start < c.length {
			var all []int64
			for _, at := range c.at {
				all = append(all, at+int64(logical-c.start))
			}
			return all, nil
		}
	}
	return nil, fmt.Errorf("no chunk has the address %d", logical)
}

// btrfsLeaf is one block of items.
type btrfsLeaf struct {
	logical uint64
	data    []byte
}

// leaves calls f for every leaf of a tree, in the order of keys.
func (b *btrfsImage) leaves(root uint64, f func(*btrfsLeaf) error) error {
	return b.walk(root, btrfsLevels, f)
}

func (b *btrfsImage) walk(logical uint64, below int, f func(*btrfsLeaf) error) error {
	block, err := b.block(logical)
	if err != nil {
		return err
	}
	level := int(block[100])
	if level >= below {
		return fmt.Errorf("tree block %d: level %d below level %d", logical, level, below)
	}
	if level == 0 {
		return f(&btrfsLeaf{logical: logical, data: block})
	}
	n := int(binary.LittleEndian.Uint32(block[96:]))
	for i := range min(n, (len(block)-btrfsHeader)/btrfsPointer) {
		p := block[btrfsHeader+i*btrfsPointer:]
		if err := b.walk(binary.LittleEndian.Uint64(p[17:]), level, f); err != nil {
			return err
		}
	}
	return nil
}

// block reads one block of a tree and checks it.
func (b *btrfsImage) block(logical uint64) ([]byte, error) {
	places, err := b.places(logical)
	if err != nil {
		return nil, err
	}
	block := make([]byte, b.nodeSize)
	if _, err := b.f.ReadAt(block, places[0]); err != nil {
		return nil, err
	}
	if !bytes.Equal(block[:4], btrfsSum(block)) {
		return nil, fmt.Errorf("tree block %d: its checksum is wrong", logical)
	}
	return block, nil
}

// put writes a changed leaf, all copies of it.
func (b *btrfsImage) put(l *btrfsLeaf) error {
	places, err := b.places(l.logical)
	if err != nil {
		return err
	}
	copy(l.data, btrfsSum(l.data))
	for _, at := range places {
		if _, err := b.f.WriteAt(l.data, at); err != nil {
			return err
		}
	}
	return nil
}

func btrfsSum(block []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(block[32:], crc32.MakeTable(crc32.Castagnoli)))
}

// items calls f for every item: its data, and where that begins in the leaf.
func (l *btrfsLeaf) items(f func(k btrfsKey, data []byte, at int) error) error {
	n := int(binary.LittleEndian.Uint32(l.data[96:]))
	for i := range n {
		head := btrfsHeader + i*btrfsItem
		if head+btrfsItem > len(l.data) {
			return fmt.Errorf("tree block %d: item %d is outside", l.logical, i)
		}
		h := l.data[head:]
		at := btrfsHeader + int(binary.LittleEndian.Uint32(h[17:]))
		end := at + int(binary.LittleEndian.Uint32(h[21:]))
		if end > len(l.data) || at < btrfsHeader {
			return fmt.Errorf("tree block %d: item %d is outside", l.logical, i)
		}
		if err := f(readKey(h), l.data[at:end], at); err != nil {
			return err
		}
	}
	return nil
}
