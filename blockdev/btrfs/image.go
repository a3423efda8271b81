// Package btrfs changes what mkfs.btrfs has made and nothing has mounted: the
// UUID, the size, the inodes. A build needs that because mkfs.btrfs takes no UUID
// that a device of the host has already, gives a file system that it fills from
// a folder a size of its own, and leaves out times and devices.
//
// A change writes blocks of trees where they are, with new checksums, in all
// copies: there is no journal, and nobody else may have the file system open.
//
// Source of the format: the documentation of btrfs ("On-disk format") and the
// kernel's include/uapi/linux/btrfs_tree.h. Everything is little-endian.
package btrfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	superAt    = 64 << 10
	superSize  = 4096
	superMagic = "_BHRfS_M"

	headSize    = 101 // of a tree block
	itemSize    = 25  // of an item's head in a leaf: key 17, offset 4, size 4
	pointerSize = 33  // of a pointer in a node: key 17, block 8, generation 8
	keySize     = 17
	chunkHead   = 48
	stripeSize  = 32
	maxLevels   = 8

	kindInode  = 1
	kindXattr  = 24
	kindIndex  = 96 // of a name in a folder
	kindRoot   = 132
	kindDevice = 216
	kindChunk  = 228

	// TopTree is the tree of files at the top; subvolumes have others.
	TopTree = 5
	// TopFolder is the inode of the folder at the top.
	TopFolder = 256
)

// ReadWriter is a file or a device.
type ReadWriter interface {
	io.ReaderAt
	io.WriterAt
}

// Image is a btrfs of one device. It is not safe for concurrent use.
type Image struct {
	f        ReadWriter
	super    []byte
	nodeSize int
	chunks   []chunk
}

// chunk maps logical addresses to places in the file: two of them where
// metadata is kept twice.
type chunk struct {
	start, length uint64
	at            []int64
}

// key is a key of a tree.
type key struct {
	object uint64
	kind   byte
	offset uint64
}

func readKey(b []byte) key {
	return key{binary.LittleEndian.Uint64(b), b[8], binary.LittleEndian.Uint64(b[9:])}
}

// Open reads the superblock and the map of chunks.
func Open(f ReadWriter) (*Image, error) {
	sb := make([]byte, superSize)
	if _, err := f.ReadAt(sb, superAt); err != nil {
		return nil, fmt.Errorf("btrfs superblock: %w", err)
	}
	if string(sb[64:72]) != superMagic {
		return nil, errors.New("no btrfs superblock")
	}
	if kind := binary.LittleEndian.Uint16(sb[196:]); kind != 0 {
		return nil, fmt.Errorf("btrfs with checksums of type %d: allowed is crc32c", kind)
	}
	b := &Image{f: f, super: sb, nodeSize: int(binary.LittleEndian.Uint32(sb[148:]))}
	if b.nodeSize < 4096 || b.nodeSize > 64<<10 {
		return nil, fmt.Errorf("btrfs with nodes of %d bytes", b.nodeSize)
	}
	if err := b.readChunks(); err != nil {
		return nil, fmt.Errorf("btrfs chunks: %w", err)
	}
	return b, nil
}

// readChunks reads the few that the superblock names, which hold the tree with
// all.
func (b *Image) readChunks() error {
	n := min(int(binary.LittleEndian.Uint32(b.super[160:])), 2048)
	for array := b.super[811 : 811+n]; len(array) > keySize; {
		used, err := b.addChunk(readKey(array), array[keySize:])
		if err != nil {
			return err
		}
		array = array[keySize+used:]
	}
	return b.leaves(b.chunkTree(), func(l *leaf) error {
		return l.items(func(k key, data []byte, _ int) error {
			if k.kind != kindChunk {
				return nil
			}
			_, err := b.addChunk(k, data)
			return err
		})
	})
}

func (b *Image) chunkTree() uint64 { return binary.LittleEndian.Uint64(b.super[88:]) }

func (b *Image) rootTree() uint64 { return binary.LittleEndian.Uint64(b.super[80:]) }

func (b *Image) addChunk(k key, data []byte) (int, error) {
	if len(data) < chunkHead {
		return 0, errors.New("a chunk is cut short")
	}
	stripes := int(binary.LittleEndian.Uint16(data[44:]))
	end := chunkHead + stripes*stripeSize
	if stripes == 0 || len(data) < end {
		return 0, errors.New("a chunk is cut short")
	}
	c := chunk{start: k.offset, length: binary.LittleEndian.Uint64(data)}
	for i := range stripes {
		c.at = append(c.at, int64(binary.LittleEndian.Uint64(data[chunkHead+i*stripeSize+8:])))
	}
	b.chunks = append(b.chunks, c)
	return end, nil
}

// roots calls f for every tree in the tree of trees, with its number and block.
func (b *Image) roots(f func(number, block uint64) error) error {
	return b.leaves(b.rootTree(), func(l *leaf) error {
		return l.items(func(k key, data []byte, _ int) error {
			if k.kind != kindRoot || len(data) < 184 {
				return nil
			}
			return f(k.object, binary.LittleEndian.Uint64(data[176:]))
		})
	})
}

// places returns where a block lies in the file, once for each copy.
func (b *Image) places(logical uint64) ([]int64, error) {
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

// leaf is one block of items; in blocks, of pointers, too.
type leaf struct {
	logical uint64
	data    []byte
}

// leaves calls f for every leaf of a tree, in the order of keys.
func (b *Image) leaves(root uint64, f func(*leaf) error) error {
	return b.blocks(root, maxLevels, func(l *leaf) error {
		if l.data[100] > 0 {
			return nil
		}
		return f(l)
	})
}

// blocks calls f for every block of a tree, those above first.
func (b *Image) blocks(logical uint64, below int, f func(*leaf) error) error {
	block, err := b.block(logical)
	if err != nil {
		return err
	}
	level := int(block[100])
	if level >= below {
		return fmt.Errorf("tree block %d: level %d below level %d", logical, level, below)
	}
	if err := f(&leaf{logical: logical, data: block}); err != nil || level == 0 {
		return err
	}
	n := int(binary.LittleEndian.Uint32(block[96:]))
	for i := range min(n, (len(block)-headSize)/pointerSize) {
		p := block[headSize+i*pointerSize:]
		if err := b.blocks(binary.LittleEndian.Uint64(p[keySize:]), level, f); err != nil {
			return err
		}
	}
	return nil
}

// block reads one block of a tree and checks it.
func (b *Image) block(logical uint64) ([]byte, error) {
	places, err := b.places(logical)
	if err != nil {
		return nil, err
	}
	block := make([]byte, b.nodeSize)
	if _, err := b.f.ReadAt(block, places[0]); err != nil {
		return nil, err
	}
	if !bytes.Equal(block[:4], checksum(block)) {
		return nil, fmt.Errorf("tree block %d: its checksum is wrong", logical)
	}
	return block, nil
}

// put writes a changed leaf, all copies of it.
func (b *Image) put(l *leaf) error {
	places, err := b.places(l.logical)
	if err != nil {
		return err
	}
	copy(l.data, checksum(l.data))
	for _, at := range places {
		if _, err := b.f.WriteAt(l.data, at); err != nil {
			return err
		}
	}
	return nil
}

func checksum(block []byte) []byte {
	return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(block[32:], crc32.MakeTable(crc32.Castagnoli)))
}

// items calls f for every item: its data, and where that begins in the leaf.
func (l *leaf) items(f func(k key, data []byte, at int) error) error {
	n := int(binary.LittleEndian.Uint32(l.data[96:]))
	for i := range n {
		head := headSize + i*itemSize
		if head+itemSize > len(l.data) {
			return fmt.Errorf("tree block %d: item %d is outside", l.logical, i)
		}
		h := l.data[head:]
		at := headSize + int(binary.LittleEndian.Uint32(h[17:]))
		end := at + int(binary.LittleEndian.Uint32(h[21:]))
		if end > len(l.data) || at < headSize {
			return fmt.Errorf("tree block %d: item %d is outside", l.logical, i)
		}
		if err := f(readKey(h), l.data[at:end], at); err != nil {
			return err
		}
	}
	return nil
}
