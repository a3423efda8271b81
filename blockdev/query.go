package blockdev

import (
	"errors"
	"slices"
)

// Nodes returns all nodes in topological order: bases first, partitions and
// mounts in the order they are made.
func (g *Graph) Nodes() []Node { return slices.Clone(g.nodes) }

// Node returns the node of that name, nil when there is none.
func (g *Graph) Node(name string) Node { return g.byName[name] }

// orderMounts sorts the mounts by path and keeps every mount's fstab node.
func (g *Graph) orderMounts() error {
	for _, n := range g.config {
		switch n := n.(type) {
		case *Mount:
			if m, ok := g.byName[n.base()].(*Mkfs); ok && m.FSType == "swap" {
				n.MountPoint = NoMountPoint
			}
			i := slices.IndexFunc(g.mounts, func(m *Mount) bool { return m.MountPoint == n.MountPoint })
			if i >= 0 && n.MountPoint != NoMountPoint {
				return n.at.errorf("mount point %s is used twice: by %q and %q", n.MountPoint, g.mounts[i].name, n.name)
			}
			g.mounts = append(g.mounts, n)
		case *Fstab:
			if old := g.fstabs[n.base()]; old != nil {
				return n.at.errorf("mount %q has two fstab nodes: %q and %q", n.base(), old.name, n.name)
			}
			g.fstabs[n.base()] = n
		}
	}
	slices.SortStableFunc(g.mounts, func(a, b *Mount) int {
		if none := a.MountPoint == NoMountPoint; none != (b.MountPoint == NoMountPoint) {
			return map[bool]int{true: 1, false: -1}[none]
		}
		return compareMountPoints(a.MountPoint, b.MountPoint)
	})
	return nil
}

// Mounts returns the mounts in mount order: parents before children, swap last.
func (g *Graph) Mounts() []*Mount { return slices.Clone(g.mounts) }

// MountPoints returns all mount points in the order of the configuration; swap
// has none.
func (g *Graph) MountPoints() []string {
	var mps []string
	for _, n := range g.config {
		if m, ok := n.(*Mount); ok && m.MountPoint != NoMountPoint {
			mps = append(mps, m.MountPoint)
		}
	}
	return mps
}

// Disks returns the disks in the order of the configuration.
func (g *Graph) Disks() []*LocalLoop {
	var disks []*LocalLoop
	for _, n := range g.config {
		if d, ok := n.(*LocalLoop); ok {
			disks = append(disks, d)
		}
	}
	return disks
}

// Table returns the partition table of a disk, nil when it has none.
func (g *Graph) Table(disk string) *Partitioning {
	for _, n := range g.config {
		if p, ok := n.(*Partition); ok && p.Table.Base == disk {
			return p.Table
		}
	}
	return nil
}

// FileSystems returns the file systems: mounted ones in mount order, then the
// others in the order of the configuration.
func (g *Graph) FileSystems() []*Mkfs {
	var all []*Mkfs
	for _, m := range g.mounts {
		if f := g.fileSystem(m); m.MountPoint != NoMountPoint && !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	for _, n := range g.config {
		if f, ok := n.(*Mkfs); ok && !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	return all
}

func (g *Graph) fileSystem(m *Mount) *Mkfs {
	f, _ := g.byName[m.base()].(*Mkfs)
	return f
}

// at returns the file system mounted there, nil when there is none.
func (g *Graph) at(mountPoint string) *Mkfs {
	for _, m := range g.mounts {
		if m.MountPoint == mountPoint {
			return g.fileSystem(m)
		}
	}
	return nil
}

// mountsOf returns the mounts of a file system, parents before children; none
// for swap.
func (g *Graph) mountsOf(f *Mkfs) []FSMount {
	return slices.DeleteFunc(g.allMounts(), func(m FSMount) bool { return m.Node != f.name })
}

// disk returns the disk that a node stands on.
func (g *Graph) disk(n Node) *LocalLoop {
	for n != nil {
		if d, ok := n.(*LocalLoop); ok {
			return d
		}
		if len(n.Bases()) == 0 {
			return nil
		}
		n = g.byName[n.Bases()[0]]
	}
	return nil
}

// Root returns the file system at /. A tree cannot become a disk without one.
func (g *Graph) Root() (*Mkfs, error) {
	if r := g.at("/"); r != nil {
		return r, nil
	}
	return nil, errors.New("block-device configuration: no mount has mount_point /")
}

// RootDisk returns the disk that / is on.
func (g *Graph) RootDisk() (*LocalLoop, error) {
	r, err := g.Root()
	if err != nil {
		return nil, err
	}
	return g.disk(r), nil
}

// first is the disk that what is said of "the image" is for: that of /, or the
// first one of the configuration.
func (g *Graph) first() *LocalLoop {
	if r := g.at("/"); r != nil {
		return g.disk(r)
	}
	return g.Disks()[0]
}

// RootLabel returns the label of the file system at /, "" when there is none.
func (g *Graph) RootLabel() string { return g.labelAt("/") }

// BootLabel returns the label of the file system at /boot, "" when there is none.
func (g *Graph) BootLabel() string { return g.labelAt("/boot") }

func (g *Graph) labelAt(mountPoint string) string {
	if f := g.at(mountPoint); f != nil {
		return f.Label
	}
	return ""
}

// RootFSType returns the type of the file system at /, "" when there is none.
func (g *Graph) RootFSType() string {
	if f := g.at("/"); f != nil {
		return f.FSType
	}
	return ""
}
