package file

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// MakeIn makes the file system of a plan (blockdev.Single) at its offset in a
// file or block device that is there and long enough, and fills it from the
// tree; without a Dir it stays empty. Nothing is bound, so no rights are needed
// but to read and write. old says that there may be data, which is taken away
// first. The superblock of ext comes last: what is cut short is no file system.
// One that runs full is a *blockdev.NoSpaceError, what would lose something of
// the tree a *RefusedError.
func MakeIn(ctx context.Context, target string, old bool, f *blockdev.FSPlan, t blockdev.Tree, o Options) (err error) {
	if err := refuseSingle(f, target, t); err != nil {
		return err
	}
	d := &disk{o: New(o).o, plan: &blockdev.Plan{FileSystems: []blockdev.FSPlan{*f}}, tree: t, images: map[string]string{f.Disk: target}}
	defer func() { err = errors.Join(err, d.undo.run()) }()
	if err := d.prepare(); err != nil {
		return err
	}
	if old {
		if err := d.empty(f); err != nil {
			return fmt.Errorf("taking the old data away: %w", err)
		}
		if d.notEmpty && (f.FSType == "xfs" || f.FSType == "btrfs") { // only their data is moved there
			return &SingleError{f.FSType, fmt.Sprintf("needs zeros to begin with, and %q lies where blocks cannot be given back", target)}
		}
	}
	return d.fill(ctx, f, t.Dir)
}

// refuseSingle says what MakeIn would refuse before it begins.
func refuseSingle(f *blockdev.FSPlan, target string, t blockdev.Tree) error {
	if f.FSType == "xfs" && t.Dir != "" {
		return &SingleError{"xfs", "filled without mounting it would lose times, extended attributes and hard links; possible are an empty one, to be mounted and copied into, and ext4 or btrfs"}
	}
	st, err := os.Stat(target)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() && (f.FSType == "xfs" || f.FSType == "btrfs") {
		return &SingleError{f.FSType, "is made in files alone; mkfs." + f.FSType + " writes to a device by itself"}
	}
	return nil
}

// SingleError is a file system that MakeIn does not make.
type SingleError struct{ FSType, Why string }

func (e *SingleError) Error() string { return e.FSType + " " + e.Why }

// empty zeroes the file system's place by giving its blocks back. Where that
// cannot be, what is written says so, and at least the marks of other file
// systems and tables go, at the beginning and at the end.
func (d *disk) empty(f *blockdev.FSPlan) (err error) {
	image, err := d.openImage(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	err = unix.Fallocate(int(image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, f.Offset, f.Size)
	if err == nil {
		return nil
	}
	d.notEmpty = true
	marks := make([]byte, min(1<<20, f.Size))
	_, first := image.WriteAt(marks, f.Offset)
	_, last := image.WriteAt(marks, f.Offset+f.Size-int64(len(marks)))
	return errors.Join(first, last)
}
