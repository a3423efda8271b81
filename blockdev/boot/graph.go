package boot

import (
	"fmt"

	"github.com/lithify/lithify/blockdev"
)

// LayoutOf is what boot code has to know of a graph whose ids have been given
// (Graph.Identify). Sizes do not come into it, so it can be had before the
// content is measured. The disk of / is GRUB's first, the others follow in
// their order. A file system has an entry for each place it is mounted at.
func LayoutOf(g *blockdev.Graph) Layout {
	disks := map[string]int{}
	var l Layout
	if root, err := g.RootDisk(); err == nil && root != nil {
		disks[root.Name()] = 0
		l.NoBIOS = noBIOS(g, root)
	}
	for _, d := range g.Disks() {
		if _, ok := disks[d.Name()]; !ok {
			disks[d.Name()] = len(disks)
		}
	}
	mounts := map[string][]*blockdev.Mount{}
	for _, m := range g.Mounts() {
		mounts[m.Bases()[0]] = append(mounts[m.Bases()[0]], m)
	}
	for _, n := range g.FileSystems() {
		f := FileSystem{Type: n.FSType, Label: n.Label, UUID: n.UUID}
		f.lieOn(g, n.Bases()[0], disks)
		if len(mounts[n.Name()]) == 0 {
			l.FileSystems = append(l.FileSystems, f)
		}
		for _, m := range mounts[n.Name()] {
			f.Mount, f.Subvolume = m.MountPoint, m.Subvolume
			if m.MountPoint == blockdev.NoMountPoint {
				f.Mount = ""
			}
			l.FileSystems = append(l.FileSystems, f)
		}
	}
	return l
}

// noBIOS says why a BIOS cannot start the disk, "" when it can.
func noBIOS(g *blockdev.Graph, d *blockdev.LocalLoop) string {
	if d.BlockSize > sectorSize {
		return fmt.Sprintf("its sectors have %d bytes", d.BlockSize)
	}
	table := g.Table(d.Name())
	if table == nil || table.Label != "gpt" {
		return ""
	}
	for _, p := range table.Partitions {
		if p.TypeGUID == blockdev.BIOSBootGUID {
			return ""
		}
	}
	return "its gpt has no BIOS-boot partition (type EF02)"
}

// lieOn fills in where the node base, below the file system, lies.
func (f *FileSystem) lieOn(g *blockdev.Graph, base string, disks map[string]int) {
	switch n := g.Node(base).(type) {
	case *blockdev.LocalLoop:
		f.Disk = disks[base]
	case *blockdev.Partition:
		f.Disk = disks[n.Table.Base]
		f.Partition = number(n)
		if n.Table.Label == "gpt" {
			f.Table, f.DiskID, f.PartType, f.PartUUID = "gpt", n.Table.DiskGUID, n.TypeGUID, n.UUID
			return
		}
		f.Table, f.DiskID, f.PartType = "msdos", fmt.Sprintf("%08x", n.Table.DiskID), fmt.Sprintf("%x", n.Type)
	default:
		f.Volume = volumeOf(g, base)
	}
}

// number counts as the kernel does: from 1, and in an mbr logical ones from 5.
func number(p *blockdev.Partition) int {
	first, logical := 0, 4
	for _, q := range p.Table.Partitions {
		counter := &first
		if p.Table.Label != "gpt" && !q.Primary {
			counter = &logical
		}
		*counter++
		if q == p {
			return *counter
		}
	}
	return 0
}
