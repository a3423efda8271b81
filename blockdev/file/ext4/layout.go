package ext4

import "fmt"

// layout holds the numbers of a file system, in blocks where nothing else is
// said. They are mke2fs' for the same options.
type layout struct {
	o        Options
	f        Features
	bs       int64 // bytes of a block
	blocks   int64
	counted  int64 // of which some are reserved: blocks, or fewer
	first    int64 // where group 0 begins: 1 where the boot sector fills block 0
	perGroup int64
	groups   int64
	inodes   int64 // of a group
	table    int64 // of a group's inodes
	desc     int64 // bytes of a descriptor
	descs    int64 // of descriptors
	spare    int64 // kept for more of them
	flex     int64 // groups whose tables lie together; 1: each for itself
	journal  int64
	seed     uint32 // of checksums
}

func newLayout(o Options) (*layout, error) {
	l := &layout{o: o, f: o.Features, bs: int64(o.BlockSize), desc: 32, flex: 1}
	if l.f.bit64() {
		l.desc = 64
	}
	if l.f.flexBG() {
		l.flex = int64(o.FlexGroups)
	}
	if l.bs == 1024 {
		l.first = 1
	}
	l.seed = crc32c(^uint32(0), o.UUID[:])
	l.perGroup = 8 * l.bs
	l.blocks = o.Size / l.bs
	l.counted = l.blocks
	if !l.f.bit64() && l.blocks >= 1<<32 {
		return nil, fmt.Errorf("%d blocks without 64bit: allowed: up to 4294967295", l.blocks)
	}
	if err := l.divide(); err != nil {
		return nil, err
	}
	return l, l.sizeJournal()
}

// divide finds the groups. Inodes that do not fit a group's bitmap make groups
// smaller, and a last group too small to be of use is left out.
func (l *layout) divide() error {
	wanted := l.o.Inodes
	if wanted == 0 {
		wanted = l.blocks * l.bs / l.o.BytesPerInode
	}
	wanted = max(wanted, firstInode+1)
	for {
		if l.blocks <= l.first+8 {
			return l.tooSmall(l.first + 8 - l.blocks)
		}
		l.groups = ceil(l.blocks-l.first, l.perGroup)
		perGroup := ceil(wanted, l.groups)
		if perGroup > 8*l.bs {
			if l.perGroup < 256 {
				return fmt.Errorf("%d inodes are too many for %d blocks", wanted, l.blocks)
			}
			l.perGroup -= 8
			l.blocks = l.o.Size / l.bs
			continue
		}
		l.shareInodes(perGroup)
		l.descs = ceil(l.groups, l.bs/l.desc)
		l.spare = l.spareDescs()
		last := 2 + l.table + l.copies(l.groups-1)
		if last > l.perGroup {
			return fmt.Errorf("%d inodes are too many for %d blocks", wanted, l.blocks)
		}
		rest := (l.blocks - l.first) % l.perGroup
		if rest == 0 || rest >= last+50 {
			return nil
		}
		if l.groups == 1 && rest < last {
			return l.tooSmall(last - rest)
		}
		if l.groups == 1 {
			return nil
		}
		l.blocks -= rest
		l.counted = l.blocks // and so it stays, should groups become smaller after this
	}
}

func (l *layout) tooSmall(lacks int64) error {
	return fmt.Errorf("%d bytes are too few for the tables: %w", l.o.Size, &FullError{Blocks: lacks, Bytes: lacks * l.bs})
}

// shareInodes fills the blocks of a group's table, with a multiple of eight.
func (l *layout) shareInodes(n int64) {
	size := int64(l.o.InodeSize)
	n = min(n, 65536-l.bs/size)
	n = max(8, ceil(n*size, l.bs)*l.bs/size) &^ 7
	if n*l.groups <= firstInode { // rounded down to what mke2fs would fail with
		n += 8
	}
	l.inodes, l.table = n, ceil(n*size, l.bs)
}

// spareDescs is how many blocks are kept behind the descriptors so that the file
// system can grow a thousandfold.
func (l *layout) spareDescs() int64 {
	if !l.f.resizeInode() {
		return 0
	}
	most := int64(1<<32 - 1)
	if l.blocks < most/1024 {
		most = l.blocks * 1024
	}
	n := ceil(ceil(most-l.first, l.perGroup), l.bs/l.desc) - l.descs
	if asked := l.descsFor(l.o.ResizeBlocks) - l.descsFor(l.o.Size/l.bs); asked > 0 {
		n = asked
	}
	return max(0, min(n, l.bs/4))
}

// descsFor is how many blocks of descriptors so many blocks in groups of full
// size take.
func (l *layout) descsFor(blocks int64) int64 {
	return ceil(ceil(blocks, 8*l.bs), l.bs/l.desc)
}

// copies is how many blocks the superblock and the descriptors take in a group.
func (l *layout) copies(group int64) int64 {
	if l.f.metaBG() {
		n := int64(0)
		if l.hasSuper(group) {
			n = 1
		}
		if l.metaDesc(group) >= 0 {
			n++
		}
		return n
	}
	if l.hasSuper(group) {
		return 1 + l.descs + l.spare
	}
	return 0
}

// metaDesc returns which block of descriptors a group has a copy of where
// meta_bg spreads them: the first, second and last group that each describes; -1
// when none.
func (l *layout) metaDesc(group int64) int64 {
	each := l.bs / l.desc
	if in := group % each; in == 0 || in == 1 || in == each-1 {
		return group / each
	}
	return -1
}

// hasSuper says whether a group has a copy of the superblock: 0, 1 and powers of
// 3, 5 and 7 with sparse_super, else all.
func (l *layout) hasSuper(group int64) bool {
	if group <= 1 || !l.f.sparse() {
		return true
	}
	for _, base := range []int64{3, 5, 7} {
		p := base
		for p < group {
			p *= base
		}
		if p == group {
			return true
		}
	}
	return false
}

func (l *layout) sizeJournal() (err error) {
	if !l.f.journal() {
		return nil
	}
	if l.journal, err = l.o.journalBlocks(l.blocks); err != nil {
		return err
	}
	if l.journal == 0 {
		l.f.Compat &^= HasJournal | OrphanFile
	}
	return nil
}

func (l *layout) groupStart(group int64) int64 { return l.first + group*l.perGroup }

// groupEnd is the block behind a group.
func (l *layout) groupEnd(group int64) int64 {
	return min(l.groupStart(group+1), l.blocks)
}

func (l *layout) groupOf(block int64) int64 { return (block - l.first) / l.perGroup }

// reserved is how many blocks only root may use.
func (l *layout) reserved() int64 {
	return int64(l.o.Reserved * float64(l.counted) / 100)
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }
