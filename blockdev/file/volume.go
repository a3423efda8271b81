package file

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/luks"
	"github.com/lithify/lithify/blockdev/lvm"
	"github.com/lithify/lithify/blockdev/md"
)

// device is what a file system or a volume is written to.
type device interface {
	io.ReaderAt
	io.WriterAt
}

// volumes are the open volumes of a disk. What is written to one goes through
// those below it, straight to where it belongs in the images; some of it waits
// for its neighbours (a stripe of raid5), so they must be closed, tops first.
type volumes struct {
	images []*os.File
	open   []io.Closer // bases first
}

// openVolumes writes the headers of all volumes and opens them.
func (d *disk) openVolumes() (*volumes, error) {
	v := &volumes{}
	if len(d.plan.Volumes) == 0 {
		return v, nil
	}
	d.devices = map[string]device{}
	for _, p := range d.plan.Disks {
		image, err := os.OpenFile(d.images[p.Node], os.O_RDWR, 0)
		if err != nil {
			return v, err
		}
		v.images = append(v.images, image)
		d.devices[p.Node] = image
		for _, part := range p.Partitions {
			if part.Node != "" {
				d.devices[part.Node] = section{image, part.Start}
			}
		}
	}
	for i := range d.plan.Volumes {
		if err := d.volume(v, &d.plan.Volumes[i]); err != nil {
			return v, fmt.Errorf("volume %q: %w", d.plan.Volumes[i].Node, err)
		}
	}
	return v, nil
}

// section is a part of an image.
type section struct {
	image  *os.File
	offset int64
}

func (s section) ReadAt(b []byte, at int64) (int, error)  { return s.image.ReadAt(b, s.offset+at) }
func (s section) WriteAt(b []byte, at int64) (int, error) { return s.image.WriteAt(b, s.offset+at) }

func (d *disk) volume(v *volumes, p *blockdev.VolumePlan) error {
	switch {
	case p.Group != nil:
		return d.group(p)
	case p.Array != nil:
		return d.array(v, p)
	}
	return d.encrypted(v, p)
}

// time is that of what the back end makes itself.
func (d *disk) time() time.Time {
	if d.tree.Time != nil {
		return *d.tree.Time
	}
	return time.Now()
}

func (d *disk) group(p *blockdev.VolumePlan) error {
	g := p.LVM(d.time())
	l, err := g.Layout()
	if err != nil {
		return err
	}
	var bases []lvm.Device
	for _, b := range p.Bases {
		bases = append(bases, d.devices[b])
	}
	if err := l.WriteMetadata(bases); err != nil {
		return err
	}
	for _, lv := range p.Group.Logical {
		if d.devices[lv.Node], err = l.Volume(lv.Node, bases); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) array(v *volumes, p *blockdev.VolumePlan) error {
	a := p.MD(d.time())
	var members []md.Device
	for _, b := range p.Bases {
		members = append(members, d.devices[b])
	}
	if err := a.WriteSuperblocks(members); err != nil {
		return err
	}
	open, err := a.Open(members)
	if err != nil {
		return err
	}
	v.open = append(v.open, open)
	d.devices[p.Node] = open
	return nil
}

func (d *disk) encrypted(v *volumes, p *blockdev.VolumePlan) error {
	if d.o.Secrets == nil {
		return errors.New("no passphrase is at hand")
	}
	passphrase, seed, err := d.o.Secrets(p.Node)
	if err != nil {
		return err
	}
	defer clear(passphrase)
	defer clear(seed)
	o := p.Encryption()
	o.Seed = seed
	open, err := luks.Format(d.devices[p.Bases[0]], o, [][]byte{passphrase})
	if err != nil {
		return err
	}
	v.open = append(v.open, open)
	d.devices[p.Node] = open
	return nil
}

// close writes out what waits, tops first.
func (v *volumes) close() error {
	var all []error
	for _, c := range slices.Backward(v.open) {
		all = append(all, c.Close())
	}
	for _, f := range v.images {
		all = append(all, f.Close())
	}
	return errors.Join(all...)
}

// drop closes what was not filled: the images go, so what closing would still
// write matters to nobody, and neither does its failing to.
func (v *volumes) drop() { _ = v.close() }
