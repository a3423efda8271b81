package md

import (
	"fmt"
	"slices"
)

// plan is where everything lies. All numbers are sectors of 512 bytes, but for
// those of shape and capacity.
type plan struct {
	shape
	minor      int   // of the metadata version: 0 or 2
	dataOffset int64 // the same on all members
	used       int64 // of each member by the array; a superblock of raid0 has 0 instead
	members    []place

	capacity int64 // bytes

	bitmapOffset int64 // from the superblock
	bitmapSpace  int64 // 0: none
	bitmapChunk  int64 // bytes that one bit stands for
	syncSize     int64 // that the bitmap covers
}

// place is what differs between members.
type place struct {
	super    int64 // superblock
	dataSize int64 // that may be used for data
	badLog   int64 // room for bad blocks, from the superblock; 0: none
}

const (
	badLogSectors   = 8
	superSectors    = 8 // room for a superblock
	bitmapHeader    = 256
	bitmapChunkBest = 64 << 20 // bytes: a bit for less costs more than it spares
)

// Size is the array's usable bytes.
func (a Array) Size() (int64, error) {
	p, err := a.plan()
	return p.capacity, err
}

// MemberSize is the smallest size in bytes, a multiple of 4 KiB, from which on
// members give an array of want bytes or more. (The room kept in front grows in
// steps with the member, so that a member a little larger may give a little less:
// hence from which on.) Metadata, Chunk, Layout and Bitmap are taken from a, and
// nothing else. 0 is returned for what Check refuses.
func MemberSize(level, members int, want int64, a Array) int64 {
	a.Level = level
	s, err := a.shape(members)
	minor, minorErr := a.minor()
	if err != nil || minorErr != nil || want < 0 || want > 1<<60 {
		return 0
	}
	need := s.used(want) / sector
	size := enough(s, minor, need, need)
	for _, step := range steps() {
		if more := enough(s, minor, need, step); step > size && more > step {
			size = more // the room in front grows at the step, and what lies behind it is too small again
		}
	}
	return ceil(size, 8) * 8 * sector
}

// enough is the first size in sectors, from size on, that leaves need for data.
func enough(s shape, minor int, need, size int64) int64 {
	for total := need + overhead(s, minor, size); total > size; total = need + overhead(s, minor, size) {
		size = total
	}
	return size
}

func (a Array) minor() (int, error) {
	switch a.Metadata {
	case "", "1.2":
		return 2, nil
	case "1.0":
		return 0, nil
	}
	return 0, fmt.Errorf("metadata %q is not supported; allowed are 1.2 and 1.0", a.Metadata)
}

// plan checks all but the identity, and computes.
func (a Array) plan() (plan, error) {
	s, err := a.shape(len(a.Members))
	if err != nil {
		return plan{}, err
	}
	p := plan{shape: s}
	if p.minor, err = a.minor(); err != nil {
		return plan{}, err
	}
	if a.Bitmap && a.Level == 0 {
		return plan{}, errRaid0Bitmap
	}
	if err := a.checkEqual(s); err != nil {
		return plan{}, err
	}
	if p.minor == 2 {
		p.dataOffset = dataOffset(s, a.Members[0]/sector)
	}
	if err := p.use(a.Members); err != nil {
		return plan{}, err
	}
	if a.Bitmap {
		if err := p.placeBitmap(); err != nil {
			return plan{}, err
		}
	}
	for _, size := range a.Members {
		p.members = append(p.members, p.place(size/sector))
	}
	p.evenZones()
	return p, nil
}

// use finds how much of each member is used, which the smallest decides.
func (p *plan) use(members []int64) error {
	unit := p.unit() / sector
	for i, size := range members {
		free := size/sector - overhead(p.shape, p.minor, size/sector)
		if p.minor == 2 {
			free = size/sector - p.dataOffset
		}
		free = free / unit * unit
		if free <= 0 || p.shape.capacity(free*sector) == 0 {
			least := MemberSize(p.level, p.n, 1, Array{Metadata: fmt.Sprint("1.", p.minor), Chunk: p.chunk, Layout: p.layoutName()})
			return fmt.Errorf("member %d has %d bytes: too small for this array; it wants %d or more", i, size, least)
		}
		if i == 0 || free < p.used {
			p.used = free
		}
	}
	p.capacity = p.shape.capacity(p.used * sector)
	return nil
}

func (s shape) layoutName() string {
	switch {
	case s.level != 10:
		return ""
	case s.offset:
		return fmt.Sprint("o", s.far)
	case s.far > 1:
		return fmt.Sprint("f", s.far)
	}
	return fmt.Sprint("n", s.near)
}

// superSize is what a superblock calls size.
func (p plan) superSize() int64 {
	if p.level == 0 {
		return 0
	}
	return p.used
}

// place lays out a member of size sectors.
func (p plan) place(size int64) place {
	space := p.bitmapSpace
	if space == 0 {
		space = bitmapRoom(p.superSize())
	}
	if p.minor == 2 {
		m := place{super: 8, dataSize: size - p.dataOffset, badLog: superSectors + space}
		if m.super+m.badLog+badLogSectors > p.dataOffset {
			m.badLog = p.dataOffset - badLogSectors - m.super
		}
		return m
	}
	m := place{super: (size - 16) &^ 7}
	space = min(space+badLogSectors, m.super-p.superSize())
	m.dataSize = m.super - space
	if space >= badLogSectors {
		m.badLog = -badLogSectors
	}
	return m
}

// evenZones keeps a raid0 of unequal members in one zone: its members count as
// large as their superblock says.
func (p *plan) evenZones() {
	if p.level != 0 {
		return
	}
	least := p.members[0].dataSize
	for _, m := range p.members {
		least = min(least, m.dataSize)
	}
	for i := range p.members {
		p.members[i].dataSize = least
	}
}

// placeBitmap decides how much a bit stands for: 64 MiB, or more when the bits
// would not fit.
func (p *plan) placeBitmap() error {
	p.syncSize = p.used
	if p.level == 10 {
		p.syncSize = p.used * int64(p.n) / int64(p.near*p.far)
	}
	room := bitmapRoom(p.used)
	if room == 0 {
		return fmt.Errorf("a write-intent bitmap: %d bytes of each member are used, no room is kept on so few", p.used*sector)
	}
	most := (room*sector - bitmapHeader) * 8
	p.bitmapChunk = bitmapChunkBest
	for p.syncSize*sector/p.bitmapChunk+1 > most {
		p.bitmapChunk *= 2
	}
	p.bitmapSpace = ceil(ceil(p.bits(), 8)+bitmapHeader, 4096) * 4096 / sector
	p.bitmapOffset = superSectors
	if p.minor == 0 {
		p.bitmapOffset = -p.bitmapSpace - badLogSectors
	}
	return nil
}

func (p plan) bits() int64 { return ceil(p.syncSize*sector, p.bitmapChunk) }

// bitmapRoom is what is kept for a bitmap, now or later, on size sectors.
func bitmapRoom(size int64) int64 {
	switch {
	case size < 64*2:
		return 0
	case size-64*2 >= 200<<21:
		return 128 * 2
	case size-4*2 > 8<<21:
		return 64 * 2
	}
	return 4 * 2
}

const mostHeadroom = 128 << 11 // sectors

// dataOffset is where data begins with metadata 1.2: behind superblock, bitmap
// and bad blocks, and a headroom for later reshapes of about a thousandth, but two
// chunks at least and 128 MiB at most, in whole MiB.
func dataOffset(s shape, size int64) int64 {
	headroom := int64(mostHeadroom)
	for headroom<<10 > size && headroom/2 >= 2*s.chunk/sector {
		headroom /= 2
	}
	return ceil(12*2+bitmapRoom(size)+headroom, 2048) * 2048
}

// overhead is the sectors of a member of that size that are not for data. It
// grows with size, in steps.
func overhead(s shape, minor int, size int64) int64 {
	switch {
	case minor == 2:
		return dataOffset(s, size)
	case s.level == 0: // room for a bitmap is checked for, and then not kept
		return 16 + size&7 + badLogSectors
	}
	return 16 + size&7 + badLogSectors + bitmapRoom(size)
}

// steps are the sizes in sectors, multiples of 8, at which overhead grows, in
// ascending order.
func steps() []int64 {
	all := []int64{64 * 2, 8<<21 + 4*2 + 8, 200<<21 + 64*2}
	for h := int64(1); h <= mostHeadroom; h *= 2 {
		all = append(all, h<<10)
	}
	slices.Sort(all)
	return all
}

// Extent is where an array's contents lie on each member, in bytes: from where,
// and how many.
func (a Array) Extent() (offset, size int64, err error) {
	p, err := a.plan()
	return p.dataOffset * sector, p.used * sector, err
}
