package loop

import (
	"context"
	"errors"
	"maps"
)

// Dir has every file system at its mount point.
func (d *disk) Dir() string { return d.dir }

// Devices maps disks and partitions to their loop devices.
func (d *disk) Devices() map[string]string {
	paths := map[string]string{}
	for node, dev := range d.devices {
		paths[node] = dev.path
	}
	return paths
}

// Images maps disks to their raw files.
func (d *disk) Images() map[string]string { return maps.Clone(d.images) }

// Commit trims and unmounts every file system, detaches the devices, and takes
// the build's folder out of the superblocks. The raw files stay. After an
// error the disk is as it was, or partly unmounted; Close undoes it.
func (d *disk) Commit(ctx context.Context) error {
	if d.closed {
		return errors.New("loop: Commit after the end")
	}
	if err := d.commit(ctx); err != nil {
		return d.hostFull(err)
	}
	d.closed, d.files = true, nil // the images are the caller's now
	return nil
}

func (d *disk) commit(ctx context.Context) error {
	for i := len(d.mounted) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.finish(d.mounted[i]); err != nil {
			return err
		}
		d.mounted = d.mounted[:i]
	}
	if err := d.undo.run(); err != nil {
		return err
	}
	for i := range d.plan.FileSystems {
		f := &d.plan.FileSystems[i]
		if f.MountPoint == "" {
			continue
		}
		if err := setLastMounted(d.images[f.Disk], f); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) finish(m mounted) error {
	if err := trim(m.dev, m.target); err != nil {
		return err
	}
	return unmount(m.target)
}

// Close undoes everything in reverse and removes the raw files.
func (d *disk) Close() error {
	if d.closed {
		return nil
	}
	d.closed = true
	return d.release()
}

// release takes everything back, the images last.
func (d *disk) release() error {
	return errors.Join(d.undo.run(), d.files.run())
}
