package loop

import (
	"errors"
	"fmt"
	"os"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/physical"
)

// physical takes a device that a disk is written onto. Loop devices lie over it
// as over an image, so that partitions need no help of the kernel's and udev sees
// nothing half-made.
func (d *disk) physical(p *blockdev.DiskPlan) (*os.File, error) {
	c, err := physical.Claim(p.Device, p.Size, d.o.Physical)
	if err != nil {
		return nil, err
	}
	d.claims[p.Node] = c
	d.files.push(c.Abandon)
	d.images[p.Node] = p.Device
	if c.Blank() {
		return c.File(), nil
	}
	for _, part := range p.Partitions { // what is not written over may be recognised
		if err := c.Clear(part.Start, part.Size); err != nil {
			return nil, err
		}
	}
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

// finishPhysical writes the tables that are to come late.
func (d *disk) finishPhysical() error {
	for i := range d.plan.Disks {
		p := &d.plan.Disks[i]
		c := d.claims[p.Node]
		if c == nil {
			continue
		}
		err := c.File().Sync()
		if err == nil && d.late(p) {
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
