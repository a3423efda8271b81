package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/fat"
)

// fileSystem makes one file system and fills it from its part of the tree.
func (d *disk) fileSystem(ctx context.Context, f *blockdev.FSPlan) (err error) {
	v := &view{}
	if f.MountPoint != "" {
		v, err = d.newView(f)
		defer func() { err = errors.Join(err, v.undo.run()) }()
		if err != nil {
			return fmt.Errorf("making a view of %s: %w", f.MountPoint, err)
		}
	}
	return d.fill(ctx, f, v.dir)
}

// fill makes one file system of a view; "": an empty one.
func (d *disk) fill(ctx context.Context, f *blockdev.FSPlan, view string) error {
	switch f.FSType {
	case "vfat":
		return d.vfat(ctx, f, view)
	case "swap":
		return d.onto(f, func(w io.WriterAt) error { return blockdev.WriteSwap(w, *f) })
	case "xfs":
		return d.xfs(ctx, f)
	case "btrfs":
		return d.btrfs(ctx, f, view)
	}
	return d.ext(ctx, f, view)
}

func (d *disk) vfat(ctx context.Context, f *blockdev.FSPlan, view string) error {
	o, err := f.FAT(f.Offset/int64(f.SectorSize), d.tree.Time)
	if err != nil {
		return err
	}
	o.NotEmpty = d.notEmpty || d.scrambled(f.Base)
	err = d.onto(f, func(w io.WriterAt) error { return fat.Write(ctx, w, view, o) })
	if e := (*fat.FullError)(nil); errors.As(err, &e) {
		return full(f, err)
	}
	return err
}

// onto has a file system written to what it stands on: at its offset of the
// image, or to a volume.
func (d *disk) onto(f *blockdev.FSPlan, write func(io.WriterAt) error) error {
	if f.Disk == "" {
		return write(d.devices[f.Base])
	}
	if c := d.claims[f.Disk]; c != nil {
		return write(section{c.File(), 0}) // no *os.File: ways that only files have are not for devices
	}
	image, err := d.openImage(f)
	if err != nil {
		return err
	}
	return errors.Join(write(image), image.Close())
}

// openImage opens what a file system lies on. O_EXCL keeps others from using it,
// where it is a device.
func (d *disk) openImage(f *blockdev.FSPlan) (*os.File, error) {
	return os.OpenFile(d.images[f.Disk], os.O_RDWR|unix.O_EXCL, 0)
}

// full is the error that lets a computed size grow.
func full(f *blockdev.FSPlan, err error) error {
	return &blockdev.NoSpaceError{Node: f.Node, MountPoint: f.MountPoint, Size: f.Size, Explicit: f.Explicit, Err: err}
}

// hostFull says whether it was the host's disk that a tool had no room on: its
// words for that are those for a full file system, or none.
func (d *disk) hostFull(f *blockdev.FSPlan) error {
	dir := d.folder(f)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && int64(fs.Bavail)*fs.Bsize < 1<<20 {
		return fmt.Errorf("writing the image in %s: %w", dir, unix.ENOSPC)
	}
	return nil
}

// Check says whether this back end can make every file system of a graph: what
// it would lose something of it refuses. A build asks before it begins.
func Check(ctx context.Context, g *blockdev.Graph) error {
	if thin := g.Thin(); len(thin) > 0 {
		return &VolumeError{thin[0].Name()}
	}
	for _, n := range g.FileSystems() {
		f := blockdev.FSPlan{Node: n.Name(), FSType: n.FSType, Subvolumes: n.Subvolumes}
		whole := false
		for _, m := range g.Mounts() {
			if m.Bases()[0] == n.Name() {
				f.MountPoint, whole = m.MountPoint, m.Subvolume == ""
			}
		}
		if err := refuse(ctx, &f, whole); err != nil {
			return err
		}
	}
	return nil
}

// VolumeError is a thin pool or a thin volume: what a pool gives to whom is kept in
// a format that its driver alone writes.
type VolumeError struct{ Node string }

func (e *VolumeError) Error() string {
	return fmt.Sprintf("logical volume %q: thin pools and thin volumes are made by the kernel; use --backend loop (as root), or leave out type and thin-pool", e.Node)
}

// refusals checks the volumes and file systems of the plan.
func (d *disk) refusals(ctx context.Context) error {
	for _, v := range d.plan.Volumes {
		if v.Group == nil {
			continue
		}
		for _, l := range v.Group.Logical {
			if l.Pool || l.ThinPool != "" {
				return &VolumeError{l.Node}
			}
		}
	}
	for i := range d.plan.FileSystems {
		f := &d.plan.FileSystems[i]
		mounts := d.plan.MountsOf(f.Node)
		if err := refuse(ctx, f, len(mounts) > 0 && mounts[0].Subvolume == ""); err != nil {
			return err
		}
	}
	return nil
}

// RefusedError is a file system that cannot be made whole without the kernel.
type RefusedError struct {
	Node, FSType, Why string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("file system %q: %s %s; use --backend loop (as root), or ext4", e.Node, e.FSType, e.Why)
}

// refuse says what this back end cannot make. whole: not a subvolume is mounted,
// but all of it.
func refuse(ctx context.Context, f *blockdev.FSPlan, whole bool) error {
	switch {
	case f.FSType == "xfs" && f.MountPoint != "":
		return &RefusedError{f.Node, "xfs", "made without mounting it loses times, extended attributes and hard links of every file on " + f.MountPoint}
	case f.FSType == "btrfs" && len(f.Subvolumes) > 0:
		return refuseSubvolumes(ctx, f, whole)
	}
	return nil
}

func refuseSubvolumes(ctx context.Context, f *blockdev.FSPlan, whole bool) error {
	if whole {
		return &RefusedError{f.Node, "btrfs", fmt.Sprintf("gets no subvolumes, such as %q, that nothing mounts, without mounting it", f.Subvolumes[0])}
	}
	_, v, err := tool(ctx, "mkfs.btrfs")
	if err != nil {
		return err
	}
	if v[0] < 6 || v[0] == 6 && v[1] < 12 {
		return &RefusedError{f.Node, "btrfs", fmt.Sprintf("gets no subvolumes, such as %q, without mounting it or mkfs.btrfs 6.12 (here: %d.%d)", f.Subvolumes[0], v[0], v[1])}
	}
	return nil
}

// xfs makes an empty file system: refuse has let nothing else through.
func (d *disk) xfs(ctx context.Context, f *blockdev.FSPlan) error {
	path, version, err := tool(ctx, "mkfs.xfs")
	if err != nil {
		return err
	}
	return d.throughFile(f, func(target *os.File) error {
		return d.mkfs(ctx, f, path, blockdev.XFSCommand(*f, blockdev.XFS{Target: target.Name(), Version: version}))
	})
}

func tool(ctx context.Context, name string) (string, [2]int, error) {
	path, err := blockdev.FindTool(name)
	if err != nil {
		return "", [2]int{}, err
	}
	version, err := blockdev.ToolVersion(ctx, path)
	return path, version, err
}

// folder is where the image is that a file system goes to; of several disks the
// first one's. Beside a physical disk it is where images would be.
func (d *disk) folder(f *blockdev.FSPlan) string {
	disk := f.Disk
	if disk == "" {
		disk = d.plan.Disks[0].Node
	}
	if d.claims[disk] != nil {
		return d.o.ImageDir
	}
	return filepath.Dir(d.images[disk])
}

// throughFile has a tool that knows no offset make a file system in a sparse
// file of its own, beside the image, and moves the data to where it belongs.
func (d *disk) throughFile(f *blockdev.FSPlan, fill func(target *os.File) error) (err error) {
	own, err := os.CreateTemp(d.folder(f), ".lithify-"+f.FSType+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Close(), os.Remove(own.Name())) }()
	if err := own.Truncate(f.Size); err != nil {
		return err
	}
	if err := fill(own); err != nil {
		return err
	}
	return d.onto(f, func(w io.WriterAt) error { return moveData(own, w, f, d.scrambled(f.Base)) })
}
