package loop

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/fat"
)

// stage is a folder that stands for a vfat until the end: kernels without the
// driver are common, and this program writes FAT itself. It is written into the
// image at once, so that content that does not fit shows early, and once more
// when something has changed it.
type stage struct {
	dir   string
	state [sha256.Size]byte // of the folder, when it was written
}

// writeOwn writes the file systems that need no tool of the host into the image,
// or onto the volume that they stand on.
func (d *disk) writeOwn(ctx context.Context, image io.WriterAt, f *blockdev.FSPlan) error {
	switch f.FSType {
	case "swap":
		return blockdev.WriteSwap(image, *f)
	case "vfat":
		s, err := d.newStage(ctx, f)
		if err != nil {
			return err
		}
		if err := d.writeFAT(ctx, image, f, s.dir, false); err != nil {
			return err
		}
		s.state, err = stateOf(s.dir)
		return err
	}
	return nil
}

// newStage makes and fills the folder; with no mount point it has no name.
func (d *disk) newStage(ctx context.Context, f *blockdev.FSPlan) (*stage, error) {
	s := &stage{}
	if f.MountPoint == "" {
		return s, nil
	}
	dir, err := os.MkdirTemp(d.o.WorkDir, "vfat-")
	if err != nil {
		return nil, err
	}
	s.dir = dir
	d.staged.push(func() error { return os.RemoveAll(dir) })
	d.stages[f.Node] = s
	// A full disk here is the host's, not the file system's.
	return s, d.fill(ctx, d.plan.MountsOf(f.Node)[0], dir)
}

func (d *disk) writeFAT(ctx context.Context, image io.WriterAt, f *blockdev.FSPlan, dir string, again bool) error {
	o, err := f.FAT(f.Offset/int64(f.SectorSize), d.tree.Time)
	if err != nil {
		return err
	}
	o.NotEmpty = again || d.dirty(f) || d.plan.Scrambled(f.Base)
	err = fat.Write(ctx, image, dir, o)
	if full := (*fat.FullError)(nil); errors.As(err, &full) {
		return noSpace(f, f.MountPoint, err)
	}
	return err
}

// mountStage puts the folder at the mount point. The bind is private: what is
// mounted below it is not to appear in the folder itself.
func (d *disk) mountStage(m mounted) error {
	s := d.stages[m.fs.Node]
	if err := unix.Mount(s.dir, m.target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s to %s: %w", s.dir, m.target, err)
	}
	err := unix.Mount("", m.target, "", unix.MS_PRIVATE, "")
	if err == nil {
		m.root, err = numbersOf(m.target)
	}
	if err != nil {
		return errors.Join(err, unix.Unmount(m.target, unix.MNT_DETACH))
	}
	m.trimmed = true // never: it is a part of the host
	d.push(m)
	return nil
}

// restage writes the file system once more, if its folder was changed.
func (d *disk) restage(ctx context.Context, f *blockdev.FSPlan) (err error) {
	s := d.stages[f.Node]
	state, err := stateOf(s.dir)
	if err != nil || state == s.state {
		return err
	}
	image, err := os.OpenFile(d.lies(f), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	return d.writeFAT(ctx, image, f, s.dir, true)
}

// stateOf is a hash of all that changes when a folder, or anything below, does.
func stateOf(dir string) (sum [sha256.Size]byte, err error) {
	if dir == "" {
		return sum, nil
	}
	h := sha256.New()
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return addState(h, path)
	})
	return [sha256.Size]byte(h.Sum(nil)), err
}

func addState(h hash.Hash, path string) error {
	var st unix.Stat_t
	if err := lstat(path, &st); err != nil {
		return err
	}
	_, err := fmt.Fprintf(h, "%q %d %o %d %d %d\n", path, st.Ino, st.Mode, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	return err
}
