package extread

import (
	"cmp"
	"context"
	"slices"
	"sort"
)

// Range is a stretch of bytes, To exclusive.
type Range struct{ From, To int64 }

// What a block may belong to.
const (
	OwnBoot        = "boot sector"
	OwnSuper       = "superblock"
	OwnDescriptors = "group descriptors"
	OwnSpare       = "room for more group descriptors"
	OwnBlockBitmap = "block bitmap"
	OwnInodeBitmap = "inode bitmap"
	OwnTable       = "inode table"
	OwnJournal     = "journal"
	OwnFolder      = "folder"
	OwnFile        = "content of file"
	OwnMap         = "block map"
	OwnAttrs       = "extended attributes"
	OwnNone        = "free or unknown blocks"
)

// Owned is the part of some ranges that belongs to one thing.
type Owned struct {
	Kind  string
	Group int64  // of what a group has
	Inode uint32 // of what a file has
	First int64  // the first byte, in the file system
	Bytes int64  // how many
	// At is where First is in the folder's or file's content, in bytes.
	At int64
	// Inodes are those of an inode table, the first mostInodes of them.
	Inodes []uint32
}

const mostInodes = 100

// Owners says what ranges, which are sorted and do not overlap, belong to. Files
// that cannot be read are passed over, their blocks being nobody's. The answer is
// in the order of First.
func (f *FS) Owners(ctx context.Context, ranges []Range) ([]Owned, error) {
	s := &ownerSearch{f: f, ranges: ranges}
	s.keep(s.take(Owned{Kind: OwnBoot}, 0, superAt, nil))
	s.keep(s.take(Owned{Kind: OwnSuper}, superAt, superAt+superSize, nil))
	for g := range f.groups {
		if err := s.group(ctx, g); err != nil {
			return nil, err
		}
	}
	s.rest()
	slices.SortStableFunc(s.all, func(a, b Owned) int { return cmp.Compare(a.First, b.First) })
	return s.all, nil
}

type ownerSearch struct {
	f       *FS
	ranges  []Range
	covered []Range
	all     []Owned
}

// take notes what of the ranges lies in from to to as o's; more goes on where an
// owner of several pieces has one already.
func (s *ownerSearch) take(o Owned, from, to int64, more *Owned) *Owned {
	i := sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].To > from })
	for ; i < len(s.ranges) && s.ranges[i].From < to; i++ {
		r := Range{max(from, s.ranges[i].From), min(to, s.ranges[i].To)}
		if more == nil {
			o.First = r.From
			o.At += r.From - from
			more = &o
		}
		more.Bytes += r.To - r.From
		if o.Kind == OwnTable {
			s.inodes(more, from, r)
		}
		s.covered = append(s.covered, r)
	}
	return more
}

func (s *ownerSearch) keep(o *Owned) {
	if o != nil {
		s.all = append(s.all, *o)
	}
}

// inodes notes those that a part of a table holds.
func (s *ownerSearch) inodes(o *Owned, table int64, r Range) {
	first := o.Group*s.f.inodesPerGroup + 1
	for i := (r.From - table) / s.f.inodeSize; table+i*s.f.inodeSize < r.To && len(o.Inodes) < mostInodes; i++ {
		ino := uint32(first + i)
		if k := len(o.Inodes); k == 0 || o.Inodes[k-1] != ino {
			o.Inodes = append(o.Inodes, ino)
		}
	}
}

func (s *ownerSearch) blocks(o Owned, at, n int64) {
	bs := s.f.BlockSize
	s.keep(s.take(o, at*bs, (at+n)*bs, nil))
}

// group notes what a group has of its own, and what its files have.
func (s *ownerSearch) group(ctx context.Context, g int64) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	d, err := s.f.group(g)
	if err != nil {
		return err
	}
	s.head(g)
	s.blocks(Owned{Kind: OwnBlockBitmap, Group: g}, d.blockBitmap, 1)
	s.blocks(Owned{Kind: OwnInodeBitmap, Group: g}, d.inodeBitmap, 1)
	s.blocks(Owned{Kind: OwnTable, Group: g}, d.table, s.f.tableBlocks())
	if d.inodesUnset {
		return nil
	}
	return s.files(g, d)
}

// head notes copies of the superblock and of descriptors at a group's begin.
func (s *ownerSearch) head(g int64) {
	f := s.f
	at := f.first + g*f.perGroup
	if g == 0 {
		at = f.headAt()
	}
	per := f.BlockSize / f.descSize
	descs := (f.groups + per - 1) / per
	if f.hasSuper(g) {
		if g > 0 {
			s.blocks(Owned{Kind: OwnSuper, Group: g}, at, 1)
		}
		at++
	}
	switch meta := f.incompat&incompatMetaBG != 0; {
	case meta && g/per >= f.firstMeta:
		if in := g % per; in == 0 || in == 1 || in == per-1 {
			s.blocks(Owned{Kind: OwnDescriptors, Group: g}, at, 1)
		}
	case f.hasSuper(g):
		if meta {
			descs = min(descs, f.firstMeta)
		}
		s.blocks(Owned{Kind: OwnDescriptors, Group: g}, at, descs)
		s.blocks(Owned{Kind: OwnSpare, Group: g}, at+descs, f.spare)
	}
}

// files goes through the inodes of a group.
func (s *ownerSearch) files(g int64, d group) error {
	f := s.f
	used := f.inodesPerGroup - min(d.unused, f.inodesPerGroup)
	per := max(1, f.BlockSize/f.inodeSize)
	for i := int64(0); i < used; i += per {
		b := make([]byte, min(per, used-i)*f.inodeSize)
		if err := readAt(f.r, b, d.table*f.BlockSize+i*f.inodeSize); err != nil {
			return err
		}
		for k := int64(0); len(b) > 0; k++ {
			ino := uint32(g*f.inodesPerGroup + i + k + 1)
			if n, err := f.parseInode(ino, b[:f.inodeSize:f.inodeSize]); err == nil && n.InUse() {
				s.file(n)
			}
			b = b[f.inodeSize:]
		}
	}
	return nil
}

// file notes what is one inode's.
func (s *ownerSearch) file(n *Inode) {
	bs := s.f.BlockSize
	if n.attrBlock > 0 && n.attrBlock < s.f.Blocks {
		s.blocks(Owned{Kind: OwnAttrs, Inode: n.Number}, n.attrBlock, 1)
	}
	m, err := s.f.Map(n)
	if err != nil {
		return
	}
	o := Owned{Kind: OwnFile, Inode: n.Number}
	switch {
	case n.Number == journalInode:
		o.Kind = OwnJournal
	case n.Kind() == 0x4000:
		o.Kind = OwnFolder
	}
	var own, meta *Owned
	for _, r := range m.Runs {
		o.At = r.Logical * bs
		own = s.take(o, r.Physical*bs, (r.Physical+r.N)*bs, own)
	}
	o = Owned{Kind: OwnMap, Inode: n.Number}
	if n.Number == resizeInode {
		o.Kind = OwnSpare
	}
	for _, at := range m.Meta {
		meta = s.take(o, at*bs, (at+1)*bs, meta)
	}
	s.keep(own)
	s.keep(meta)
}

// rest gives what nobody has taken to nobody.
func (s *ownerSearch) rest() {
	slices.SortFunc(s.covered, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	var none *Owned
	i := 0
	for _, r := range s.ranges {
		for at := r.From; at < r.To; {
			for i < len(s.covered) && s.covered[i].To <= at {
				i++
			}
			end := r.To
			if i < len(s.covered) && s.covered[i].From <= at {
				at = s.covered[i].To
				continue
			} else if i < len(s.covered) {
				end = min(end, s.covered[i].From)
			}
			if none == nil {
				none = &Owned{Kind: OwnNone, First: at}
			}
			none.Bytes += end - at
			at = end
		}
	}
	s.keep(none)
}
