package file

import (
	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/physical"
)

// physical takes a device that a disk is written onto. Its partition table comes
// last, at Commit.
func (d *disk) physical(p *blockdev.DiskPlan) error {
	c, err := d.claims.Claim(p, d.o.Physical)
	if err != nil {
		return err
	}
	d.files.push(c.Abandon)
	d.images[p.Node] = p.Device
	return nil
}

// claim is the physical disk that a disk or partition lies on, nil for an image.
func (d *disk) claim(device string) *physical.Disk {
	if _, on := d.plan.Partition(device); on != nil {
		device = on.Node
	}
	return d.claims[device]
}
