package loop

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/btrfs"
)

// tool is a program of the host.
type tool struct {
	path    string
	version [2]int // of xfsprogs and btrfs-progs
}

// tool finds a program, and asks it for its version, once.
func (d *disk) tool(ctx context.Context, name string) (tool, error) {
	if t, ok := d.tools[name]; ok {
		return t, nil
	}
	path, err := blockdev.FindTool(name)
	if err != nil {
		return tool{}, err
	}
	t := tool{path: path}
	if name != "mke2fs" {
		if t.version, err = blockdev.ToolVersion(ctx, path); err != nil {
			return tool{}, err
		}
	}
	d.tools[name] = t
	return t, nil
}

// mkfs makes what the host has a tool for.
func (d *disk) mkfs(ctx context.Context, f *blockdev.FSPlan) error {
	dev := d.devices[f.Base]
	switch f.FSType {
	case "vfat", "swap":
		if f.Disk == "" {
			return d.writeOwn(ctx, dev.file, f)
		}
		return nil // written before the device was there
	case "xfs":
		t, err := d.tool(ctx, "mkfs.xfs")
		if err != nil {
			return err
		}
		return run(ctx, nil, t.path, blockdev.XFSCommand(*f, blockdev.XFS{Target: dev.path, Version: t.version})...)
	case "btrfs":
		t, err := d.tool(ctx, "mkfs.btrfs")
		if err != nil {
			return err
		}
		if err := run(ctx, nil, t.path, blockdev.BtrfsCommand(*f, blockdev.Btrfs{Target: dev.path, Version: t.version})...); err != nil {
			return err
		}
		image, err := btrfs.Open(dev.file)
		if err == nil {
			err = blockdev.SetBtrfsUUID(image, *f)
		}
		if err == nil { // the driver reads past the device's cache
			err = unix.IoctlSetInt(int(dev.file.Fd()), unix.BLKFLSBUF, 0)
		}
		if err != nil {
			return err
		}
		return d.makeSubvolumes(f, dev)
	}
	t, err := d.tool(ctx, "mke2fs")
	if err != nil {
		return err
	}
	args, env := blockdev.Mke2fsCommand(*f, blockdev.Mke2fs{Profile: d.profile, Target: dev.path, Time: d.tree.Time, NotEmpty: d.dirty(f) || d.plan.Scrambled(f.Base)})
	return run(ctx, env, t.path, args...)
}

// mount puts a file system, or a subvolume, at its place and copies what the
// tree has there. Its parents are mounted and filled.
func (d *disk) mount(ctx context.Context, at blockdev.FSMount) error {
	start := time.Now()
	f := d.plan.MadeBy(at.Node)
	m := mounted{fs: f, target: filepath.Join(d.dir, at.MountPoint), at: at.MountPoint}
	if f.FSType == "vfat" {
		return d.mountStage(m)
	}
	var err error
	if m.root, err = mountDevice(d.devices[f.Base], m.target, f, at.Subvolume); err != nil {
		return err
	}
	for _, other := range d.mounted {
		m.trimmed = m.trimmed || other.fs == f
	}
	d.push(m)
	d.deed()
	if err := d.fill(ctx, at, m.target); err != nil {
		return noSpace(f, at.MountPoint, d.poolFull(f.Base, err))
	}
	d.o.Logger.Debug("filled", "mount point", at.MountPoint, "took", time.Since(start))
	return nil
}

func (d *disk) push(m mounted) {
	d.mounted = append(d.mounted, m)
	d.undo.push(func() error { return letGo(m) })
}

// fill copies the part of the tree that belongs to a mount.
func (d *disk) fill(ctx context.Context, at blockdev.FSMount, target string) error {
	f := d.plan.MadeBy(at.Node)
	c := copier{
		ctx:     ctx,
		from:    filepath.Join(d.tree.Dir, at.MountPoint),
		to:      target,
		leave:   map[string]bool{},
		exist:   map[string]bool{},
		workers: d.o.Workers,
		plain:   f.FSType == "vfat",
	}
	for _, other := range d.plan.Mounts {
		if other.MountPoint != at.MountPoint {
			c.leave[filepath.Join(d.tree.Dir, other.MountPoint)] = true
		}
	}
	if at.Subvolume == "" {
		for _, s := range f.Subvolumes {
			for p := s; p != "."; p = filepath.Dir(p) {
				c.exist[filepath.Join(target, p)] = true
			}
		}
	}
	return c.run()
}

// noSpace turns a full file system into the error that lets it grow.
func noSpace(f *blockdev.FSPlan, mountPoint string, err error) error {
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	return &blockdev.NoSpaceError{Node: f.Node, MountPoint: mountPoint, Size: f.Size, Explicit: f.Explicit, Err: err}
}
