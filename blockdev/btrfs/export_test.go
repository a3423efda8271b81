package btrfs

// Blocks returns the addresses of every tree's blocks.
func (b *Image) Blocks() []uint64 {
	var all []uint64
	trees := []uint64{b.chunkTree(), b.rootTree()}
	_ = b.roots(func(_, block uint64) error { trees = append(trees, block); return nil })
	for _, t := range trees {
		_ = b.blocks(t, maxLevels, func(l *leaf) error { all = append(all, l.logical); return nil })
	}
	return all
}

// Damage writes a changed superblock or block of a tree, with its checksum, to
// w. at counts through the superblock and then the blocks, one behind the other.
func (b *Image) Damage(w ReadWriter, blocks []uint64, at int64, change []byte) {
	if at %= superSize + int64(len(blocks)*b.nodeSize); at < superSize {
		sb := append([]byte(nil), b.super...)
		copy(sb[at:], change)
		copy(sb, checksum(sb))
		_, _ = w.WriteAt(sb, superAt)
		return
	}
	at -= superSize
	logical := blocks[at/int64(b.nodeSize)]
	data, err := b.block(logical)
	if err != nil {
		return
	}
	copy(data[at%int64(b.nodeSize):], change)
	copy(data, checksum(data))
	places, _ := b.places(logical)
	for _, p := range places {
		_, _ = w.WriteAt(data, p)
	}
}
