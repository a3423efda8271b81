package blockdev

import (
	"fmt"
	"sort"
)

// Sizes go down the stack when they are computed, from what file systems want to
// disks, and up when they are settled:
//
//	wants(device) = what stands on it wants, and what that costs
//	group: the fewest extents with which every logical volume gets what it wants,
//	    less what physical volumes of a known size give, shared out evenly

// volumeWants is wants of a device that carries no file system itself.
func (z *sizer) volumeWants(device string) (int64, error) {
	switch n := z.g.user(device).(type) {
	case *PhysicalVolume:
		return z.physicalWants(n)
	case *Array:
		want, err := z.wants(n.name)
		if err != nil {
			return 0, err
		}
		return n.memberSize(max(want, mib)), nil
	case *Encrypted:
		want, err := z.wants(n.name)
		if err != nil {
			return 0, err
		}
		return roundUp(want, 4*kib) + n.overhead(), nil
	}
	return 0, nil
}

// physicalWants is the size of a device whose share of its group is not known.
func (z *sizer) physicalWants(p *PhysicalVolume) (int64, error) {
	v, ok := z.g.user(p.name).(*VolumeGroup)
	if !ok {
		return 0, nil
	}
	extents, err := z.groupWants(v)
	if err != nil {
		return 0, err
	}
	open, striped := int64(0), int64(1)
	for _, l := range z.g.logical(v.name) {
		striped = max(striped, int64(l.Stripes))
	}
	all := extents
	for _, other := range z.g.physical(v) {
		if known := z.known(other.base()); known > 0 {
			extents -= v.extents(known)
		} else {
			open++
		}
	}
	if z.known(p.base()) > 0 || open == 0 {
		return 0, nil
	}
	share := max(extents, 0) + open - 1
	share /= open
	if striped > 1 { // stripes need room on every one
		share = max(share, (all+striped-1)/striped)
	}
	return v.physicalSize(share), nil
}

// known is the size of a device that does not depend on content; 0: it does, or
// is not known yet.
func (z *sizer) known(device string) int64 {
	switch n := z.g.byName[device].(type) {
	case *LocalLoop:
		return z.diskSize(n)
	case *Partition:
		if !n.Size.Relative {
			return n.Size.Bytes
		}
	case *LogicalVolume:
		if v, ok := z.g.byName[n.base()].(*VolumeGroup); ok && !n.Size.relative() {
			return n.Size.in(v.Extent, 0, 0) * v.Extent
		}
	case *Encrypted:
		return max(0, z.known(n.base())-n.overhead())
	case *Array:
		var members []int64
		for _, b := range n.bases {
			members = append(members, z.known(b))
		}
		if size, err := n.sizeOf(members); err == nil {
			return size
		}
	}
	return 0
}

// groupWants is the number of extents with which every logical volume of a group
// gets what it wants. Larger groups give none less, so the smallest can be
// searched.
func (z *sizer) groupWants(v *VolumeGroup) (int64, error) {
	volumes := z.g.logical(v.name)
	wants := make([]int64, len(volumes))
	for i, l := range volumes {
		want := z.poolWants(l)
		if !l.Pool {
			var err error
			if want, err = z.wants(l.name); err != nil {
				return 0, err
			}
		}
		wants[i] = max(1, (want+v.Extent-1)/v.Extent)
	}
	enough := func(total int) bool {
		sizes, err := z.share(v, int64(total))
		for i := range sizes {
			if volumes[i].Size.relative() && sizes[i] < wants[i] {
				return false
			}
		}
		return err == nil
	}
	most := int(mostGroup / v.Extent)
	n := sort.Search(most, enough)
	if n == most {
		_, err := z.share(v, int64(most))
		return 0, fmt.Errorf("volume group %q: no size up to %s gives every volume what it wants: %w", v.name, FormatSize(mostGroup),
			orElse(err, fmt.Errorf("a share of what is free leaves nothing")))
	}
	return int64(n), nil
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// mostGroup is the largest group that is looked at, in bytes.
const mostGroup = 1 << 50

// share gives the extents of a group to its volumes, in order. Thin volumes take
// none; their pools take more for metadata, and the group keeps the largest pool's
// worth of that in reserve.
func (z *sizer) share(v *VolumeGroup, total int64) ([]int64, error) {
	free, spare := total, int64(0)
	var sizes []int64
	for _, l := range z.g.logical(v.name) {
		n := l.Size.in(v.Extent, total, free)
		more := int64(0)
		switch {
		case l.ThinPool != "":
			sizes = append(sizes, n)
			continue
		case l.Pool:
			n, more = l.poolExtents(n, v.Extent, free, spare)
			spare = max(spare, l.metadata(n*v.Extent, v.Extent)/v.Extent)
		default:
			if stripes := int64(max(1, l.Stripes)); n%stripes != 0 {
				if n -= n % stripes; !l.Size.relative() { // lvcreate rounds sizes up, shares down
					n += stripes
				}
			}
		}
		if n < 1 || n+more > free {
			return nil, &SizeError{What: fmt.Sprintf("logical volume %q (%s) of group %q", l.name, l.Size, v.name), Needed: (max(n, 1) + more) * v.Extent,
				Given: free * v.Extent, Hint: "that is free in the group where its turn comes"}
		}
		free -= n + more
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// poolExtents is the size of a pool of n extents, and what it takes beside that. A
// share makes room for the latter.
func (l *LogicalVolume) poolExtents(n, extent, free, spare int64) (size, more int64) {
	beside := func(n int64) int64 {
		m := l.metadata(n*extent, extent) / extent
		return m + max(0, m-spare)
	}
	if l.Size.relative() && n+beside(n) > free {
		// Smaller pools need no more beside them.
		n = max(0, free-beside(n))
	}
	return n, beside(n)
}

// thinChunk is the unit of a pool of that size: LVM's smallest, and larger where its
// metadata would be more than 128 MiB.
func (l *LogicalVolume) thinChunk(size int64) int64 {
	chunk := int64(64 * kib)
	if l.Chunk != 0 {
		return l.Chunk
	}
	for size/chunk*thinRecord > 128*mib {
		chunk *= 2
	}
	return chunk
}

// thinRecord is what a chunk costs in the metadata of a pool, as LVM estimates it.
const thinRecord = 64

// metadata is the size of that of a pool, whole extents.
func (l *LogicalVolume) metadata(size, extent int64) int64 {
	m := l.Metadata
	if m == 0 {
		m = max(2*mib, (size/l.thinChunk(size)+1)*thinRecord)
	}
	return (m + extent - 1) / extent * extent
}

// poolWants is what the thin volumes of a pool promise: a pool whose size is computed
// keeps that.
func (z *sizer) poolWants(pool *LogicalVolume) int64 {
	var sum int64
	for _, l := range z.g.logical(pool.base()) {
		if l.ThinPool == pool.name {
			sum += l.Size.Bytes
		}
	}
	return sum
}

// volumes settles all volumes, bases first.
func (z *sizer) volumes() ([]VolumePlan, error) {
	var all []VolumePlan
	for _, n := range z.g.nodes {
		var p *VolumePlan
		var err error
		switch n := n.(type) {
		case *VolumeGroup:
			p, err = z.group(n)
		case *Array:
			p, err = z.array(n)
		case *Encrypted:
			p, err = z.encrypted(n)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, *p)
	}
	return all, nil
}

func (z *sizer) group(v *VolumeGroup) (*VolumePlan, error) {
	g := &GroupPlan{ID: v.ID, Extent: v.Extent, Alignment: v.Alignment}
	p := &VolumePlan{Node: v.name, Group: g}
	given, total := true, int64(0)
	for _, pv := range z.g.physical(v) {
		size := z.size[pv.base()]
		extents := v.extents(size)
		if extents < 1 {
			return nil, &SizeError{What: fmt.Sprintf("physical volume %q on %q", pv.name, pv.base()), Needed: v.physicalSize(1), Given: size,
				Hint: "one extent of group " + v.name + " and LVM's own"}
		}
		total += extents
		given = given && z.given[pv.base()]
		p.Bases = append(p.Bases, pv.base())
		g.Physical = append(g.Physical, PhysicalPlan{Node: pv.name, ID: pv.ID, Size: size})
	}
	p.Size = total * v.Extent
	sizes, err := z.share(v, total)
	if err != nil {
		return nil, err
	}
	for i, l := range z.g.logical(v.name) {
		size := sizes[i] * v.Extent
		lp := LogicalPlan{Node: l.name, ID: l.ID, Size: size, Stripes: l.Stripes, StripeSize: l.StripeSize, Pool: l.Pool, ThinPool: l.ThinPool}
		if l.Pool {
			lp.Chunk, lp.Metadata = l.thinChunk(size), l.metadata(size, v.Extent)
		}
		g.Logical = append(g.Logical, lp)
		if l.Pool {
			continue
		}
		if err := z.settle(l.name, 0, size, given || !l.Size.relative()); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (z *sizer) array(a *Array) (*VolumePlan, error) {
	p := &ArrayPlan{Level: a.Level, Metadata: a.Metadata, Chunk: a.Chunk, Layout: a.Layout, Bitmap: a.Bitmap, UUID: a.UUID, Members: a.Members}
	given := true
	for _, b := range a.bases {
		p.Sizes = append(p.Sizes, z.size[b])
		given = given && z.given[b]
		p.Resync = p.Resync || z.g.scrambled(b)
	}
	size, err := a.sizeOf(p.Sizes)
	if err != nil {
		return nil, a.at.errorf("array %q: %v", a.name, err)
	}
	return &VolumePlan{Node: a.name, Bases: a.bases, Size: size, Array: p}, z.settle(a.name, 0, size, given)
}

// scrambled says whether what was never written to a device does not read as
// zeros.
func (g *Graph) scrambled(device string) bool {
	n := g.byName[device]
	switch n := n.(type) {
	case *Encrypted:
		return true
	case *LocalLoop:
		return n.Device != "" // what it held before is still there
	}
	for _, b := range n.Bases() {
		if g.scrambled(b) {
			return true
		}
	}
	return false
}

func (z *sizer) encrypted(e *Encrypted) (*VolumePlan, error) {
	device := z.size[e.base()]
	size := device - e.overhead()
	size -= size % int64(e.sectorSize())
	if size <= 0 {
		return nil, &SizeError{What: fmt.Sprintf("encrypted volume %q", e.name), Needed: e.overhead() + 4*kib, Given: device, Hint: "its header takes " + FormatSize(e.overhead())}
	}
	l := &LUKSPlan{Version: e.Version, UUID: e.UUID, Label: e.Label, Cipher: e.Cipher, KeySize: e.KeySize, PBKDF: e.PBKDF, Iterations: e.Iterations, SectorSize: e.sectorSize(),
		Device: device, Seeded: e.Seed.Given()}
	return &VolumePlan{Node: e.name, Bases: e.bases, Size: size, LUKS: l}, z.settle(e.name, 0, size, z.given[e.base()])
}
