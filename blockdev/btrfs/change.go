package btrfs

import (
	"encoding/binary"
	"fmt"
)

// Places of the superblock's copies, where the file system is large enough.
var superCopies = []int64{superAt, 64 << 20, 256 << 30}

// SetUUID gives the file system another UUID, of 16 bytes: in the superblock, and
// in every block of every tree. Device and chunks keep theirs.
func (b *Image) SetUUID(uuid [16]byte) error {
	put := func(l *leaf) error {
		copy(l.data[32:48], uuid[:])
		if err := l.devices(func(item []byte) { copy(item[82:98], uuid[:]) }); err != nil {
			return err
		}
		return b.put(l)
	}
	trees := []uint64{b.chunkTree(), b.rootTree()}
	err := b.roots(func(_, block uint64) error {
		trees = append(trees, block)
		return nil
	})
	for _, t := range trees {
		if err == nil {
			err = b.blocks(t, maxLevels, put)
		}
	}
	if err != nil {
		return fmt.Errorf("setting the UUID of a btrfs: %w", err)
	}
	copy(b.super[32:48], uuid[:])
	copy(b.super[superDevice+82:], uuid[:])
	return b.putSuper()
}

const superDevice = 201 // of the copy of the device's item in the superblock

// Size returns the file system's size in bytes.
func (b *Image) Size() int64 { return int64(binary.LittleEndian.Uint64(b.super[112:])) }

// Grow gives the file system, of one device, a size in bytes that is not less
// than its own; a part of a block of 4 KiB is left alone. What is new is free.
func (b *Image) Grow(size int64) error {
	size = size / 4096 * 4096
	if size < b.Size() {
		return fmt.Errorf("growing a btrfs of %d bytes to %d", b.Size(), size)
	}
	if n := binary.LittleEndian.Uint64(b.super[136:]); n != 1 {
		return fmt.Errorf("growing a btrfs of %d devices", n)
	}
	set := func(item []byte) { binary.LittleEndian.PutUint64(item[8:], uint64(size)) }
	err := b.leaves(b.chunkTree(), func(l *leaf) error {
		if err := l.devices(set); err != nil {
			return err
		}
		return b.put(l)
	})
	if err != nil {
		return fmt.Errorf("growing a btrfs: %w", err)
	}
	set(b.super[superDevice:])
	binary.LittleEndian.PutUint64(b.super[112:], uint64(size))
	return b.putSuper()
}

// devices calls f for each item of a device (struct btrfs_dev_item).
func (l *leaf) devices(f func(item []byte)) error {
	if l.data[100] > 0 {
		return nil
	}
	return l.items(func(k key, data []byte, _ int) error {
		if k.kind == kindDevice && len(data) >= 98 {
			f(data)
		}
		return nil
	})
}

// putSuper writes the superblock and its copies.
func (b *Image) putSuper() error {
	for _, at := range superCopies {
		if at+superSize > b.Size() {
			break
		}
		sb := append([]byte(nil), b.super...)
		binary.LittleEndian.PutUint64(sb[48:], uint64(at))
		copy(sb, checksum(sb))
		if _, err := b.f.WriteAt(sb, at); err != nil {
			return fmt.Errorf("btrfs superblock: %w", err)
		}
	}
	return nil
}

// tree returns the address of a tree by its number.
func (b *Image) tree(n uint64) (uint64, error) {
	found := uint64(0)
	err := b.roots(func(number, block uint64) error {
		if number == n {
			found = block
		}
		return nil
	})
	if err == nil && found == 0 {
		err = fmt.Errorf("btrfs without a tree %d", n)
	}
	return found, err
}
