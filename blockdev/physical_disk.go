package blockdev

import (
	"fmt"
	"path/filepath"
	"strings"
)

// A physical disk is a block device that is there already: the disk is written
// onto it. What may be written to is package physical's business; a graph only
// has to be told how large each one is.

func physicalDiskKind() nodeKind {
	return nodeKind{name: "physical_disk", level: 0, decode: decodePhysicalDisk}
}

func decodePhysicalDisk(e entry) ([]Node, error) {
	f := fields{e: e}
	return []Node{&LocalLoop{vertex: e.vertex(), Device: f.text("path"), BlockSize: 512}}, f.err
}

func checkDevicePath(s string) error {
	if !filepath.IsAbs(s) || strings.ContainsAny(s, "\x00\n") || filepath.Clean(s) == "/" {
		return fmt.Errorf("%q: the absolute path of a block device is wanted, such as /dev/disk/by-id/usb-Key_1234", s)
	}
	return nil
}

// PhysicalDisks returns the disks that are devices.
func (g *Graph) PhysicalDisks() []*LocalLoop {
	var all []*LocalLoop
	for _, d := range g.Disks() {
		if d.Device != "" {
			all = append(all, d)
		}
	}
	return all
}

// SetDevice says how many bytes a physical disk has, and how many a sector of it.
// Layout wants to know. An MBR on large sectors is the user's mistake.
func (g *Graph) SetDevice(d *LocalLoop, size int64, sectorSize int) error {
	if err := checkBlockSize(sectorSize); err != nil {
		return d.at.errorf("disk %q (%s): %v", d.name, d.Device, err)
	}
	d.Size, d.BlockSize = size, sectorSize
	if table := g.Table(d.name); table != nil {
		return stands(table.Partitions[0], d)
	}
	return nil
}
