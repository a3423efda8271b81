package file

import (
	"errors"
	"fmt"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/physical"
)

// physical takes a device that a disk is written onto. Its partition table comes
// last, at Commit: a build that is killed leaves a disk that nothing is seen on.
func (d *disk) physical(p *blockdev.DiskPlan) error {
	c, err := physical.Claim(p.Device, p.Size, d.o.Physical)
	if err != nil {
		return err
	}
	d.claims[p.Node] = c
	d.files.push(c.Abandon)
	d.images[p.Node] = p.Device
	if c.Blank() {
		return nil
	}
	for _, part := range p.Partitions { // what is not written over may be recognised
		if err := c.Clear(part.Start, part.Size); err != nil {
			return err
		}
	}
	return nil
}

// writeTables gives the physical disks their tables.
func (d *disk) writeTables() error {
	for i := range d.plan.Disks {
		p := &d.plan.Disks[i]
		c := d.claims[p.Node]
		if c == nil {
			continue
		}
		// The content is on the device before a table leads to it.
		err := c.File().Sync()
		if err == nil {
			err = errors.Join(blockdev.WriteTable(c.File(), *p), c.File().Sync())
		}
		if err != nil {
			return fmt.Errorf("disk %q: %w", p.Node, err)
		}
	}
	return nil
}

// letGo gives the physical disks to whoever wants them.
func (d *disk) letGo() error {
	var all []error
	for _, c := range d.claims {
		all = append(all, c.Close())
	}
	d.claims = nil
	return errors.Join(all...)
}

// claim is the physical disk that a disk or partition lies on, nil for an image.
func (d *disk) claim(device string) *physical.Disk {
	if _, on := d.plan.Partition(device); on != nil {
		device = on.Node
	}
	return d.claims[device]
}
