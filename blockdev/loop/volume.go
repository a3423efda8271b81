package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// volume is a volume group, an array or an encrypted volume that is there.
type volume interface {
	// make makes it of its bases, under a name that nobody else has.
	make(context.Context) error
	// finish lets go of the volume, whose devices nobody uses any more, and gives
	// its headers the names and ids of the plan.
	finish() error
	// drop removes it from the kernel; what it was made of goes.
	drop() error
	kept() KeptVolume
}

// made is a volume of the plan that is there.
type made struct {
	plan *blockdev.VolumePlan
	volume
}

// startVolumes opens the journal, before the first loop device is attached.
func (d *disk) startVolumes() error {
	if len(d.plan.Volumes) == 0 {
		return nil
	}
	var err error
	if d.journal, err = newJournal(d.o.StateDir, d.o.deed); err != nil {
		return err
	}
	d.undo.push(d.journal.remove)
	return d.journal.note("loop", d.journal.tag)
}

// volumes makes all volumes, bases first, under names that nobody else has.
func (d *disk) volumes(ctx context.Context) error {
	for i := range d.plan.Volumes {
		p := &d.plan.Volumes[i]
		if err := d.volume(ctx, p, fmt.Sprintf("%s_%d", d.journal.tag, i)); err != nil {
			return fmt.Errorf("volume %q: %w", p.Node, err)
		}
	}
	return nil
}

func (d *disk) volume(ctx context.Context, p *blockdev.VolumePlan, name string) error {
	var v volume
	switch {
	case p.Group != nil:
		v = &group{disk: d, plan: p, name: name}
	case p.Array != nil:
		v = &array{disk: d, plan: p, name: name}
	default:
		v = &encrypted{disk: d, plan: p, name: name}
	}
	// What a tool leaves that fails half-way is to go too.
	d.made = append(d.made, made{p, v})
	d.undo.push(func() error { return d.dropLast(v) })
	return v.make(ctx)
}

// dropLast drops the volume that was made last, unless finish was there before.
func (d *disk) dropLast(v volume) error {
	last := len(d.made) - 1
	if last < 0 || d.made[last].volume != v {
		return nil
	}
	d.made = d.made[:last]
	return v.drop()
}

// finishVolumes lets go of all volumes, tops first.
func (d *disk) finishVolumes() error {
	for last := len(d.made) - 1; last >= 0; last-- {
		m := d.made[last]
		if err := m.finish(); err != nil {
			return fmt.Errorf("volume %q: %w", m.plan.Node, err)
		}
		d.made = d.made[:last]
		d.deed()
	}
	return nil
}

// bases are the paths of the devices that a volume is made of.
func (d *disk) bases(p *blockdev.VolumePlan) []string {
	var all []string
	for _, b := range p.Bases {
		all = append(all, d.devices[b].path)
	}
	return all
}

// open opens the device that a volume offers. It must be as large as planned: all
// that was computed rests on that.
func (d *disk) open(node, path string, want int64) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dev := &device{path: path, file: f}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	size, sizeErr := sizeOf(f)
	if err = errors.Join(err, sizeErr); err == nil && size != want {
		err = fmt.Errorf("%s has %d bytes, planned were %d: the tools of this host lay it out otherwise; --backend file keeps to the plan", path, size, want)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	dev.rdev = st.Rdev
	d.devices[node] = dev
	d.o.Logger.Debug("made", "volume", node, "device", path, "size", size)
	return nil
}

func sizeOf(f *os.File) (int64, error) {
	var size uint64
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size))); errno != 0 {
		return 0, fmt.Errorf("asking %s for its size: %w", f.Name(), errno)
	}
	return int64(size), nil
}

// closeVolume writes out and closes the device of a volume, which could not be removed
// else.
func (d *disk) closeVolume(node string) error {
	dev := d.devices[node]
	if dev == nil || dev.file == nil {
		return nil
	}
	err := dev.sync()
	err = errors.Join(err, dev.file.Close())
	dev.file = nil
	return err
}

// forget closes the device of a volume that is given up: whether what was written
// arrives, as it does not in a pool that is full, matters to nobody.
func (d *disk) forget(node string) error {
	dev := d.devices[node]
	if dev == nil || dev.file == nil {
		return nil
	}
	err := dev.file.Close()
	dev.file = nil
	return err
}

// sync writes out what was written through the device's node, and forgets it:
// drivers and other devices go past that cache.
func (d *device) sync() error {
	if err := d.file.Sync(); err != nil {
		return err
	}
	if err := unix.IoctlSetInt(int(d.file.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("flushing %s: %w", d.path, err)
	}
	return nil
}

// rewrite has something written to the devices below a volume that is gone.
func (d *disk) rewrite(p *blockdev.VolumePlan, write func(below []*os.File) error) error {
	var below []*os.File
	for _, b := range p.Bases {
		dev, err := d.attached(b)
		if err == nil {
			err = dev.sync()
		}
		if err != nil {
			return err
		}
		below = append(below, dev.file)
	}
	d.deed()
	err := write(below)
	for _, b := range p.Bases {
		err = errors.Join(err, d.devices[b].sync())
	}
	return err
}

// attached is a device that must be there; a disk that was kept may have lost it.
func (d *disk) attached(node string) (*device, error) {
	dev := d.devices[node]
	if dev == nil || dev.file == nil {
		return nil, fmt.Errorf("%q is no longer attached", node)
	}
	return dev, nil
}

// keepUdevOff takes the lock that udev heeds on disks, where a volume is to stand on
// the device: udev would look into it, and start the array or group that it finds.
func (d *disk) keepUdevOff(node string, dev *device) error {
	if !slices.ContainsFunc(d.plan.Volumes, func(v blockdev.VolumePlan) bool { return slices.Contains(v.Bases, node) }) {
		return nil
	}
	err := patiently(func() error {
		err := unix.Flock(int(dev.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return unix.EBUSY
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("locking %s: %w", dev.path, err)
	}
	return nil
}

// time is that of what is written into headers.
func (d *disk) time() time.Time {
	if d.tree.Time != nil {
		return *d.tree.Time
	}
	return time.Now()
}
