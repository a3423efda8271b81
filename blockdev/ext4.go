package blockdev

import (
	"fmt"
	"strconv"
	"strings"
)

// extLayout is what decides how much of an ext file system is not for content.
// The rules are mke2fs's and the kernel's for a profile of ours; the user's
// options are read as far as they matter.
type extLayout struct {
	block     int64 // bytes
	inode     int64 // bytes
	ratio     int64 // bytes per inode; 0 when inodes is given
	inodes    int64 // asked for by number
	journal   int64 // bytes, -1: by size, 0: none
	desc      int64 // bytes of a group descriptor
	reserve   bool  // room for the descriptors of a larger file system
	extents   bool
	flex      bool  // tables of several groups lie together
	userRatio bool  // the options say how many inodes
	smallest  int64 // bytes
}

func newExtLayout(f *FSPlan) extLayout {
	l := extLayout{block: blockSize, inode: 256, ratio: 16384, journal: -1, desc: 64, reserve: true, extents: true, flex: true}
	switch f.FSType {
	case "ext2":
		l.journal, l.desc, l.extents, l.flex = 0, 32, false, false
	case "ext3":
		l.desc, l.extents, l.flex = 32, false, false
		l.smallest = 2048 * blockSize // below it mke2fs makes no journal, and so no ext3
	}
	if f.Profile == profileOld {
		l.desc = 32
	}
	if f.BytesPerInode > 0 {
		l.ratio = f.BytesPerInode
	}
	for _, o := range parseOptions(f.Options) {
		l.option(o)
	}
	return l
}

func (l *extLayout) option(o option) {
	n, err := strconv.ParseInt(o.value, 10, 64)
	number := err == nil && n > 0
	switch {
	case o.flag == 'b' && number:
		l.block = n
	case o.flag == 'I' && number:
		l.inode = n
	case o.flag == 'i' && number:
		l.ratio, l.userRatio = n, true
	case o.flag == 'N' && number:
		l.inodes, l.ratio, l.userRatio = n, 0, true
	case o.flag == 'T':
		l.ratio, l.userRatio = 4096, true // the densest usual type
	case o.flag == 'J':
		l.journalOption(o.value)
	case o.flag == 'O':
		l.features(o.value)
	}
}

func (l *extLayout) journalOption(v string) {
	for _, w := range strings.Split(v, ",") {
		if s, ok := strings.CutPrefix(w, "size="); ok {
			if n, err := strconv.ParseInt(s, 10, 32); err == nil && n > 0 {
				l.journal = n * mib
			}
		}
	}
}

func (l *extLayout) features(v string) {
	for _, w := range strings.Split(v, ",") {
		switch w {
		case "^has_journal":
			l.journal = 0
		case "^64bit":
			l.desc = 32
		case "^resize_inode":
			l.reserve = false
		case "^extent", "^extents":
			l.extents = false
		}
	}
}

// checkBlocks: the kernel mounts no ext file system whose blocks are smaller than
// the sectors below them.
func (g *Graph) checkBlocks() error {
	for _, n := range g.config {
		m, ok := n.(*Mkfs)
		if !ok || !strings.HasPrefix(m.FSType, "ext") {
			continue
		}
		l := newExtLayout(&FSPlan{FSType: m.FSType, Options: m.Options, Profile: m.profile})
		if sector := g.sectorSize(m.base()); l.block < int64(sector) {
			return m.at.errorf("%s with blocks of %d bytes on sectors of %d, which no kernel mounts; -b takes the sector's size or more", m.FSType, l.block, sector)
		}
	}
	return nil
}

// inodeCount returns how many inodes a file system of size bytes has.
func (l *extLayout) inodeCount(size int64) int64 {
	if l.inodes > 0 {
		return l.inodes
	}
	return size / l.ratio
}

// overhead returns the bytes of a file system of size bytes that content cannot
// have: tables, bitmaps, descriptors and their copies, the journal, lost+found,
// and what the kernel keeps back even from root (2 %, at most 4096 blocks).
func (l *extLayout) overhead(size int64) int64 {
	blocks := size / l.block
	perGroup := 8 * l.block
	groups := max(1, (blocks+perGroup-1)/perGroup)
	tables := (l.inodeCount(size) + groups - 1) / groups
	tables = (roundUp(tables, 8)*l.inode + l.block - 1) / l.block
	descs := (groups*l.desc + l.block - 1) / l.block
	copies := 1 + descs + l.reserved(blocks, descs)
	n := int64(0)
	if last := blocks % perGroup; !l.flex && groups > 1 && last > 0 && last < tables+2+copies+50 {
		n, groups = last, groups-1 // mke2fs leaves so small a group out
	}
	n += groups*(tables+2) + sparseGroups(groups)*copies
	n += l.journalBytes(blocks)/l.block + 4 // its map
	if !l.extents {
		n += indirectBytes(l.journalBytes(blocks)) / blockSize
	}
	n += 16*kib/l.block + 16 // lost+found, the resize inode's map, odd ends
	n += min(blocks/50, 4096)
	return n * l.block
}

// reserved returns the blocks kept free for descriptors, so that the file system
// can grow a thousandfold: mke2fs's default for the resize inode.
func (l *extLayout) reserved(blocks, descs int64) int64 {
	if !l.reserve {
		return 0
	}
	perBlock := l.block / l.desc
	groups := min(blocks*1024, 1<<32) / (8 * l.block)
	return max(0, min((groups+perBlock-1)/perBlock-descs, l.block/4))
}

// sparseGroups counts the groups with a copy of the superblock: 0, 1 and powers
// of 3, 5 and 7.
func sparseGroups(groups int64) int64 {
	n := min(groups, 2)
	for _, base := range []int64{3, 5, 7} {
		for p := base; p < groups; p *= base {
			n++
		}
	}
	return n
}

// journalBytes is the journal's size: what is asked for, or e2fsprogs's table.
func (l *extLayout) journalBytes(blocks int64) int64 {
	if l.journal >= 0 {
		return l.journal
	}
	for _, s := range []struct{ below, blocks int64 }{
		{2048, 0}, {32768, 1024}, {262144, 4096}, {524288, 8192}, {4194304, 16384}, {8388608, 32768}, {16777216, 65536}, {33554432, 131072},
	} {
		if blocks < s.below {
			return s.blocks * l.block
		}
	}
	return 262144 * l.block
}

// content returns what a tree's content takes in this file system.
func (l *extLayout) content(c Content) int64 {
	n := c.Bytes
	if !l.extents {
		n += c.Indirect
	}
	return n
}

// fit returns the smallest size, a multiple of 64 KiB, that holds bytes of
// content and free room, and so many inodes. overhead grows far slower than
// size, so a few rounds find it.
func (l *extLayout) fit(bytes, inodes int64) int64 {
	size := max(l.smallest, roundUp(bytes+64*kib, 64*kib))
	for range 1000 {
		need := bytes + l.overhead(size)
		if l.ratio > 0 {
			need = max(need, inodes*l.ratio)
		}
		// mke2fs wants fifty blocks beside its own, and refuses a journal larger than half of what is free before it.
		need = max(need, l.overhead(size)+50*l.block, l.overhead(size)+l.journalBytes(size/l.block))
		if need = roundUp(need, 64*kib); need <= size {
			return size
		}
		size = need
	}
	return 1 << 50 // options by which tables take all the room there is
}

// inodesFor is the number of inodes for a content: its own, the reserved first
// eleven, and a few that a boot needs.
func inodesFor(c Content) int64 { return c.Inodes + c.Inodes/20 + 64 }

// chooseRatio gives a file system of about size bytes twice the inodes that its
// content has, and not fewer than mke2fs's default.
func chooseRatio(c Content, size int64) int64 {
	ratio := int64(16384)
	for ratio > 1024 && size/ratio < max(2*c.Inodes, inodesFor(c)) {
		ratio /= 2
	}
	return ratio
}

// needs returns the least size for the plan's content.
func (l *extLayout) needs(c Content) (int64, error) {
	if l.inodes > 0 && l.inodes < inodesFor(c) {
		return 0, fmt.Errorf("option -N %d: the content needs at least %d inodes", l.inodes, inodesFor(c))
	}
	return l.fit(l.content(c), inodesFor(c)), nil
}

// extModel is the fsModel of ext2, ext3 and ext4.
type extModel struct{}

func (extModel) settle(f *FSPlan) {
	if ext := newExtLayout(f); !ext.userRatio {
		f.BytesPerInode = chooseRatio(f.Content, f.Size)
	}
}

func (extModel) least(f *FSPlan) (int64, error) {
	l := newExtLayout(f)
	return l.needs(f.Content)
}

func (extModel) wants(f *FSPlan, room int64) (int64, error) {
	w := *f
	w.Size = w.Content.Bytes + room
	extModel{}.settle(&w)
	l := newExtLayout(&w)
	if _, err := l.needs(w.Content); err != nil {
		return 0, err
	}
	return l.fit(l.content(w.Content)+room, inodesFor(w.Content)), nil
}
