package physical

import (
	"errors"
	"fmt"

	"github.com/lithify/lithify/blockdev"
)

// Disks are the devices that the physical disks of a plan are written onto, by
// node.
type Disks map[string]*Disk

// Claim claims the device of a planned disk, and clears the ends of its
// partitions, where what is not written over would be recognised. It stays among
// the disks until Close; Abandon it when the build fails.
func (all Disks) Claim(p *blockdev.DiskPlan, o Options) (*Disk, error) {
	c, err := Claim(p.Device, p.Size, o)
	if err != nil {
		return nil, err
	}
	for _, part := range p.Partitions {
		if c.Blank() {
			break
		}
		if err := c.Clear(part.Start, part.Size); err != nil {
			return nil, errors.Join(err, c.Abandon())
		}
	}
	all[p.Node] = c
	return c, nil
}

// Finish writes the content out and then, unless they are there already, the
// tables that lead to it: a build that is killed before leaves disks that nothing
// is seen on.
func (all Disks) Finish(plan *blockdev.Plan, tables bool) error {
	for i := range plan.Disks {
		p := &plan.Disks[i]
		c := all[p.Node]
		if c == nil {
			continue
		}
		err := c.file.Sync()
		if err == nil && tables {
			err = errors.Join(blockdev.WriteTable(c.file, *p), c.file.Sync())
		}
		if err != nil {
			return fmt.Errorf("disk %q: %w", p.Node, err)
		}
	}
	return nil
}

// Close gives the devices to whoever wants them, and forgets them.
func (all Disks) Close() error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	clear(all)
	return errors.Join(errs...)
}
