package blockdev

import (
	"slices"
	"strconv"

	"github.com/lithify/lithify/blockdev/lvm"
)

// Volumes are block devices that are made of others: logical volumes, arrays,
// encrypted volumes. They stack in any order:
//
//	device = disk | partition | logical volume | array | encrypted volume
//	logical volume ← volume group ← physical volumes ← a device each
//	array          ← several devices
//	encrypted      ← a device

// isDevice says whether a node is a block device.
func isDevice(n Node) bool {
	switch n.(type) {
	case *LocalLoop, *Partition:
		return true
	}
	return isVolume(n)
}

// isVolume says whether a node is a block device made of others.
func isVolume(n Node) bool {
	switch n := n.(type) {
	case *LogicalVolume:
		return !n.Pool
	case *Array, *Encrypted:
		return true
	}
	return false
}

// HasVolumes says whether the graph has LVM, md or LUKS.
func (g *Graph) HasVolumes() bool { return slices.ContainsFunc(g.config, isVolume) }

// user returns what stands on a block device, nil when nothing does. A disk with
// a table has none.
func (g *Graph) user(device string) Node {
	for _, n := range g.config {
		if _, ok := n.(*Partition); !ok && slices.Contains(n.Bases(), device) {
			return n
		}
	}
	return nil
}

// logical returns the logical volumes of a group in the order of the
// configuration.
func (g *Graph) logical(group string) []*LogicalVolume {
	var all []*LogicalVolume
	for _, n := range g.config {
		if v, ok := n.(*LogicalVolume); ok && v.base() == group {
			all = append(all, v)
		}
	}
	return all
}

// physical returns the physical volumes of a group in its order.
func (g *Graph) physical(v *VolumeGroup) []*PhysicalVolume {
	var all []*PhysicalVolume
	for _, b := range v.bases {
		p, _ := g.byName[b].(*PhysicalVolume)
		all = append(all, p)
	}
	return all
}

// Encrypted returns the encrypted volumes, bases first.
func (g *Graph) Encrypted() []*Encrypted { return nodesOf[*Encrypted](g.nodes) }

// Thin returns the thin volumes and their pools.
func (g *Graph) Thin() []*LogicalVolume {
	return slices.DeleteFunc(nodesOf[*LogicalVolume](g.nodes), func(l *LogicalVolume) bool { return !l.Pool && l.ThinPool == "" })
}

// Arrays returns the md arrays, bases first.
func (g *Graph) Arrays() []*Array { return nodesOf[*Array](g.nodes) }

func nodesOf[N Node](nodes []Node) []N {
	var all []N
	for _, n := range nodes {
		if own, ok := n.(N); ok {
			all = append(all, own)
		}
	}
	return all
}

// checkVolumes finds mistakes that need no size.
func (g *Graph) checkVolumes() error {
	for _, n := range g.nodes {
		switch n := n.(type) {
		case *PhysicalVolume:
			if g.user(n.name) == nil {
				return n.at.errorf("physical volume %q is in no volume group", n.name)
			}
		case *VolumeGroup:
			if err := g.checkGroup(n); err != nil {
				return err
			}
		case *Array:
			if err := n.check(); err != nil {
				return err
			}
		case *Encrypted:
			if err := g.checkEncrypted(n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *Graph) checkEncrypted(e *Encrypted) error {
	if err := e.luks().Check(); err != nil {
		return e.at.errorf("encrypted volume %q: %v", e.name, err)
	}
	if _, ok := g.stableName(e.base()); !ok && e.Version == 1 {
		return e.at.errorf("luks1 volume %q: %q has no name that lasts; take luks2, whose header has a label", e.name, e.base())
	}
	return nil
}

func (g *Graph) checkGroup(v *VolumeGroup) error {
	if v.Extent < 4*kib || v.Extent&(v.Extent-1) != 0 || v.Extent > 4*gib {
		return v.at.errorf("extents of %s; a power of two from 4 KiB on is wanted", FormatSize(v.Extent))
	}
	for _, l := range g.logical(v.name) {
		switch {
		case l.Size.Bytes > 0 && l.Size.Bytes < v.Extent:
			return l.at.errorf("size %s is less than one extent of %s", FormatSize(l.Size.Bytes), FormatSize(v.Extent))
		case l.Chunk != 0 && (l.Chunk < 64*kib || l.Chunk > gib || l.Chunk%(64*kib) != 0):
			return l.at.errorf("chunks of %s; a multiple of 64 KiB up to 1 GiB is wanted", FormatSize(l.Chunk))
		case l.Metadata != 0 && (l.Metadata < 2*mib || l.Metadata > 15*gib):
			return l.at.errorf("metadata of %s; 2 MiB to 15 GiB are wanted", FormatSize(l.Metadata))
		case l.Stripes > len(v.bases):
			return l.at.errorf("%d stripes; group %q has %d physical volumes", l.Stripes, v.name, len(v.bases))
		case l.Stripes < 0 || l.StripeSize < 0 || l.StripeSize > v.Extent || l.StripeSize&(l.StripeSize-1) != 0:
			return l.at.errorf("stripes of %s; a power of two up to the extent, %s, is wanted", FormatSize(l.StripeSize), FormatSize(v.Extent))
		}
	}
	return nil
}

// least is the smallest number of members of a level.
func (a *Array) least() int { return map[int]int{0: 2, 1: 2, 5: 3, 10: 2}[a.Level] }

func (a *Array) check() error {
	if len(a.bases) < a.least() {
		return a.at.errorf("raid%d of %s; it has at least %d members", a.Level, count(len(a.bases), "member", "members"), a.least())
	}
	if err := a.checkLayout(); err != nil {
		return a.at.errorf("%v", err)
	}
	return nil
}

// liesOn says whether a device lies on a disk, be it in part.
func (g *Graph) liesOn(device, disk string) bool {
	if device == disk {
		return true
	}
	n := g.byName[device]
	return n != nil && slices.ContainsFunc(n.Bases(), func(b string) bool { return g.liesOn(b, disk) })
}

// sectorSize is that of the disks below a device, and at least that of the
// encryption between.
func (g *Graph) sectorSize(device string) int {
	n := g.byName[device]
	if d, ok := n.(*LocalLoop); ok {
		return d.BlockSize
	}
	size := 512
	for _, b := range n.Bases() {
		size = max(size, g.sectorSize(b))
	}
	if e, ok := n.(*Encrypted); ok {
		size = max(size, e.sectorSize())
	}
	return size
}

// sectorSize is in bytes, as cryptsetup chooses it.
func (e *Encrypted) sectorSize() int {
	switch {
	case e.SectorSize != 0:
		return e.SectorSize
	case e.Version == 1:
		return 512
	}
	return 4096
}

// identifyVolume derives the ids of a volume.
func (g *Graph) identifyVolume(seed string, n Node) {
	id := func(what string) [32]byte { return g.derive(seed, what, n.Name()) }
	switch n := n.(type) {
	case *PhysicalVolume:
		n.ID = lvm.ID(id("lvm physical"))
	case *VolumeGroup:
		n.ID = lvm.ID(id("lvm group"))
	case *LogicalVolume:
		n.ID = lvm.ID(id("lvm logical"))
	case *Array:
		if n.UUID = n.ownUUID; n.UUID == "" {
			n.UUID = uuid(id("array"))
		}
		n.Members = nil
		for i := range n.bases {
			n.Members = append(n.Members, uuid(id("member "+strconv.Itoa(i))))
		}
	case *Encrypted:
		if n.UUID = n.ownUUID; n.UUID == "" {
			n.UUID = uuid(id("luks"))
		}
	}
}
