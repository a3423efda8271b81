package loop

import (
	"os"

	"github.com/lithify/lithify/blockdev"
)

// physical takes a device that a disk is written onto. Loop devices lie over it
// as over an image, so that partitions need no help of the kernel's and udev sees
// nothing half-made.
func (d *disk) physical(p *blockdev.DiskPlan) (*os.File, error) {
	c, err := d.claims.Claim(p, d.o.Physical)
	if err != nil {
		return nil, err
	}
	d.files.push(c.Abandon)
	d.images[p.Node] = p.Device
	return c.File(), nil
}

// late says whether a disk gets its table at Commit.
func (d *disk) late(p *blockdev.DiskPlan) bool { return p.Device != "" && !d.o.EarlyTable }

// dirty says whether a file system's place may hold old data.
func (d *disk) dirty(f *blockdev.FSPlan) bool {
	for node, c := range d.claims {
		if !c.Blank() && (f.Disk == node || f.Disk == "") { // a volume may lie on any
			return true
		}
	}
	return false
}
