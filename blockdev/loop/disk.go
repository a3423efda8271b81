package loop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"github.com/lithify/lithify/blockdev"
)

// Dir has every file system at its mount point.
func (d *disk) Dir() string { return d.dir }

// Devices maps disks and partitions to their loop devices, and volumes to theirs,
// whose names are not those that they will have.
func (d *disk) Devices() map[string]string {
	paths := map[string]string{}
	for node, dev := range d.devices {
		paths[node] = dev.path
	}
	return paths
}

// Images maps disks to their raw files or devices.
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
	return d.claims.Close()
}

func (d *disk) commit(ctx context.Context) error {
	for i := len(d.mounted) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := d.mounted[i]
		if err := d.finish(m); err != nil {
			return noSpace(m.fs, m.at, d.poolFull(m.fs.Base, err))
		}
		d.mounted = d.mounted[:i]
	}
	if err := d.awaitOthers(ctx); err != nil {
		return err
	}
	if err := d.afterwards(ctx, onVolume); err != nil {
		return err
	}
	if err := d.finishVolumes(); err != nil {
		return err
	}
	if err := d.undo.run(); err != nil {
		return err
	}
	if err := d.afterwards(ctx, onDisk); err != nil {
		return err
	}
	if err := d.staged.run(); err != nil {
		return err
	}
	return d.claims.Finish(d.plan, !d.o.EarlyTable)
}

// What a file system stands on. A disk's can be reached when all devices are gone,
// a volume's only before that.
const onVolume, onDisk = true, false

// afterwards does what is left to do when nothing is mounted any more.
func (d *disk) afterwards(ctx context.Context, where bool) error {
	for i := range d.plan.FileSystems {
		f := &d.plan.FileSystems[i]
		if (f.Disk == "") != where {
			continue
		}
		if dev := d.devices[f.Base]; where == onVolume && (dev == nil || dev.file == nil) {
			continue // done by a Commit that failed later
		}
		if err := d.complete(ctx, f); err != nil {
			return fmt.Errorf("file system %q: %w", f.Node, err)
		}
	}
	return nil
}

// lies is the path of what a file system lies on, at its offset.
func (d *disk) lies(f *blockdev.FSPlan) string {
	if f.Disk == "" {
		return d.devices[f.Base].path
	}
	return d.images[f.Disk]
}

// complete writes what a mounted file system could not be given.
func (d *disk) complete(ctx context.Context, f *blockdev.FSPlan) error {
	switch {
	case f.MountPoint == "":
		return nil
	case f.FSType == "vfat":
		return d.restage(ctx, f)
	case strings.HasPrefix(f.FSType, "ext"):
		return setLastMounted(d.lies(f), f)
	}
	return nil
}

func (d *disk) finish(m mounted) error {
	if err := m.check(); err != nil {
		return err
	}
	if !m.trimmed {
		if err := trim(m.target, m.fs.FSType); err != nil {
			return err
		}
	}
	return unmount(m.target)
}

// ownDir tells that the file systems are mounted in a folder of this disk's own.
// Its removal makes the kernel take what is mounted there out of every mount
// namespace; a folder of the caller's stays, and so do copies of the mounts.
func (d *disk) ownDir() bool { return d.dir == filepath.Join(d.work, "mnt") }

// awaitOthers waits until nobody has a device of a file system mounted.
func (d *disk) awaitOthers(ctx context.Context) error {
	if d.ownDir() {
		return nil
	}
	for i := range d.plan.FileSystems {
		f := &d.plan.FileSystems[i]
		// A Commit that went wrong later has detached the devices.
		if dev := d.devices[f.Base]; dev != nil && dev.file != nil {
			if err := released(ctx, dev); err != nil {
				return fmt.Errorf("file system %q: %w", f.Node, err)
			}
		}
	}
	return nil
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
	return errors.Join(d.undo.run(), d.staged.run(), d.files.run())
}
