// Package file makes disks without the kernel's help: no loop device, no mount
// of what it makes, no privilege beyond bind mounts in a mount namespace, which
// root of a user namespace has. It is the back end for everybody; package loop
// is root's, and both give the same disks.
//
// A disk is one sparse file. The partition table is written into it, and each
// file system at its offset, filled from a folder. That folder is a view of the
// tree: the part below the file system's mount point, with empty folders, of the
// same mode, owner, attributes and times, bound over the mount points of others.
//
//	ext    package ext4; where the user's options ask for what it does not write,
//	       mke2fs -d, mended by debugfs
//	vfat   package fat
//	swap   blockdev.WriteSwap
//	btrfs  mkfs.btrfs --rootdir into a file beside the image, mended by package
//	       btrfs, then moved into the image
//	xfs    mkfs.xfs likewise, empty; with content it is refused
//
// mke2fs -d leaves three things behind that are put right through debugfs: the
// root folder's own mode, owner, times and attributes, the nanoseconds of
// modification times, and, where the disk has a fixed time, access and change
// times, which are the build's and would make equal images differ. Its cost
// grows with the number of files in a folder (52,000 files in 20 folders: 10 s of
// processor; package ext4: 1).
//
// There, names with a line break in them keep whole seconds and the build's access
// and change times: debugfs reads its commands line by line.
//
// xfs: a prototype file of mkfs.xfs holds no times, attributes, hard links or
// sockets, and no names with blanks; what it loses cannot be put back simply.
package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/physical"
)

// Options of the back end. WorkDir is needed.
type Options struct {
	WorkDir  string           // an existing folder of the build's own; binds are made below it
	ImageDir string           // of raw images that name no folder; "": WorkDir
	Logger   *slog.Logger     // nil: silent
	Physical physical.Options // how devices that are there are taken
	// Secrets gives the passphrase of an encrypted volume, and the secret that its
	// keys are derived from, nil for chance. Neither is kept.
	Secrets func(node string) (passphrase, seed []byte, err error)
}

// Backend makes disks by writing their files.
type Backend struct{ o Options }

// New returns a back end. It touches nothing.
func New(o Options) *Backend {
	if o.ImageDir == "" {
		o.ImageDir = o.WorkDir
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Backend{o: o}
}

// Create writes the disks of a plan. See blockdev.Backend. Images are whole when
// it returns, and Commit only gives them away; of a physical disk Commit writes
// the table.
func (b *Backend) Create(ctx context.Context, _ *blockdev.Graph, p *blockdev.Plan, t blockdev.Tree) (blockdev.Disk, error) {
	d := &disk{o: b.o, plan: p, tree: t, images: map[string]string{}, claims: physical.Disks{}}
	err := d.create(ctx)
	err = errors.Join(err, d.undo.run())
	if err != nil {
		return nil, errors.Join(err, d.files.run())
	}
	return d, nil
}

type disk struct {
	o       Options
	plan    *blockdev.Plan
	tree    blockdev.Tree
	work    string
	profile string
	images  map[string]string // by disk node
	claims  physical.Disks
	devices map[string]device // volumes, and what they lie on
	undo    undo              // what Create needs itself
	files   undo              // the images, and what was written to physical disks

	notEmpty bool // the images may hold old data
}

// Dir is empty: nothing is mounted.
func (d *disk) Dir() string { return "" }

// Devices is empty: there are none.
func (d *disk) Devices() map[string]string { return map[string]string{} }

// Images maps disk nodes to raw files and devices.
func (d *disk) Images() map[string]string { return d.images }

// Commit gives the raw files to the caller, and physical disks their tables.
func (d *disk) Commit(context.Context) error {
	if err := d.claims.Finish(d.plan, true); err != nil {
		return err
	}
	d.files = nil
	return d.claims.Close()
}

// Close removes the raw files, and what is recognised of physical disks, unless
// they have been committed.
func (d *disk) Close() error { return d.files.run() }

func (d *disk) create(ctx context.Context) error {
	if err := d.prepare(); err != nil {
		return err
	}
	if err := d.refusals(ctx); err != nil {
		return err
	}
	for i := range d.plan.Disks {
		if err := d.image(&d.plan.Disks[i]); err != nil {
			return fmt.Errorf("disk %q: %w", d.plan.Disks[i].Node, err)
		}
	}
	v, err := d.openVolumes()
	if err != nil {
		v.drop()
		return err
	}
	for i := range d.plan.FileSystems {
		f := &d.plan.FileSystems[i]
		if err := d.fileSystem(ctx, f); err != nil {
			v.drop()
			return fmt.Errorf("file system %q: %w", f.Node, err)
		}
	}
	return v.close()
}

// prepare makes the work folder.
func (d *disk) prepare() (err error) {
	if d.work, err = os.MkdirTemp(d.o.WorkDir, "file-"); err != nil {
		return err
	}
	// Not RemoveAll: should a bind be left below it, what is bound must survive.
	d.undo.push(func() error { return os.Remove(d.work) })
	if d.profile, err = blockdev.WriteMke2fsProfile(d.work); err != nil {
		return err
	}
	d.undo.push(func() error { return os.Remove(d.profile) })
	return nil
}

// image makes a disk's file and its table.
func (d *disk) image(p *blockdev.DiskPlan) (err error) {
	if p.Device != "" {
		return d.physical(p)
	}
	dir := p.Directory
	if dir == "" {
		dir = d.o.ImageDir
	}
	path := filepath.Join(dir, p.Node+".raw")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	d.files.push(func() error { return os.Remove(path) })
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(p.Size); err != nil {
		return fmt.Errorf("making %q %d bytes long: %w", path, p.Size, err)
	}
	d.images[p.Node] = path
	if p.Label == "" {
		return nil
	}
	return blockdev.WriteTable(f, *p)
}

// undo is a stack of what to take back. Each entry is pushed right after its
// deed.
type undo []func() error

func (u *undo) push(f func() error) { *u = append(*u, f) }

func (u *undo) run() error {
	var all []error
	for i := len(*u) - 1; i >= 0; i-- {
		all = append(all, (*u)[i]())
	}
	*u = nil
	return errors.Join(all...)
}
