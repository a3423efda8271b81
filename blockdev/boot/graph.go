package boot

import (
	"fmt"

	"github.com/lithify/lithify/blockdev"
)

// LayoutOf is what boot code has to know of a graph whose ids have been given
// (Graph.Identify). Sizes do not come into it, so it can be had before the
// content is measured. The disk of / is GRUB's first, the others follow in
// their order.
func LayoutOf(g *blockdev.Graph) Layout {
	disks := map[string]int{}
	if root, err := g.RootDisk(); err == nil && root != nil {
		disks[root.Name()] = 0
	}
	for _, d := range g.Disks() {
		if _, ok := disks[d.Name()]; !ok {
			disks[d.Name()] = len(disks)
		}
	}
	mounts := map[string]string{}
	for _, m := range g.Mounts() {
		mounts[m.Bases()[0]] = m.MountPoint
	}
	var l Layout
	for _, n := range g.FileSystems() {
		f := FileSystem{Mount: mounts[n.Name()], Type: n.FSType, Label: n.Label, UUID: n.UUID}
		f.lieOn(g, n.Bases()[0], disks)
		l.FileSystems = append(l.FileSystems, f)
	}
	return l
}

// lieOn fills in where the node base, below the file system, lies.
func (f *FileSystem) lieOn(g *blockdev.Graph, base string, disks map[string]int) {
	switch n := g.Node(base).(type) {
	case *blockdev.LocalLoop:
		f.Disk = disks[base]
	case *blockdev.Partition:
		f.Disk = disks[n.Table.Base]
		f.Partition = number(n)
		f.Table, f.DiskID, f.PartType = "msdos", fmt.Sprintf("%08x", n.Table.DiskID), fmt.Sprintf("%x", n.Type)
	default:
		f.Mapped = fmt.Sprintf("node %q", base)
	}
}

// number counts as the kernel does: primary partitions from 1, logical ones from 5.
func number(p *blockdev.Partition) int {
	primary, logical := 0, 4
	for _, q := range p.Table.Partitions {
		if q.Primary {
			primary++
		} else {
			logical++
		}
		if q != p {
			continue
		}
		if q.Primary {
			return primary
		}
		return logical
	}
	return 0
}
