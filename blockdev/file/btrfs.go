package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/btrfs"
)

// btrfs has mkfs.btrfs fill a file from the view, mends what it leaves behind,
// and moves the file into the image.
func (d *disk) btrfs(ctx context.Context, f *blockdev.FSPlan, view string) error {
	path, version, err := tool(ctx, "mkfs.btrfs")
	if err != nil {
		return err
	}
	return d.throughFile(f, func(target *os.File) error {
		b := blockdev.Btrfs{Target: target.Name(), Tree: view, Version: version, Subvolumes: f.Subvolumes}
		if err := d.mkfs(ctx, f, path, blockdev.BtrfsCommand(*f, b)); err != nil {
			return err
		}
		if err := d.mendBtrfs(ctx, f, target, view); err != nil {
			return fmt.Errorf("mending what mkfs.btrfs made: %w", err)
		}
		return nil
	})
}

func (d *disk) mkfs(ctx context.Context, f *blockdev.FSPlan, path string, args []string) error {
	out, err := d.run(ctx, nil, nil, path, args...)
	if err == nil {
		return nil
	}
	if host := d.hostFull(f); host != nil {
		return host
	}
	if bytes.Contains(out, []byte("No space left on device")) || bytes.Contains(out, []byte("not enough free space")) {
		return full(f, unix.ENOSPC)
	}
	return fmt.Errorf("%s: %w: %s", filepath.Base(path), err, bytes.TrimSpace(out))
}

// mendBtrfs puts right what mkfs.btrfs --rootdir (6.2) leaves behind: UUID, size,
// the root folder's mode, owner and times, the nanoseconds of all times, the
// numbers of devices, and link counts that count names outside. Every name is
// looked up, so that what it mixed up is found: it takes the tree's inode numbers
// for its own, and two devices may have the same.
func (d *disk) mendBtrfs(ctx context.Context, f *blockdev.FSPlan, target *os.File, view string) error {
	image, err := btrfs.Open(target)
	if err != nil {
		return err
	}
	if image.Size() > f.Size {
		return full(f, fmt.Errorf("its content takes %s: %w", blockdev.FormatSize(image.Size()), unix.ENOSPC))
	}
	if err := target.Truncate(f.Size); err != nil {
		return err
	}
	if err := errors.Join(image.Grow(f.Size), blockdev.SetBtrfsUUID(image, *f)); err != nil || view == "" {
		return err
	}
	m := btrfsMender{node: f.Node, image: image, at: d.tree.Time, clamp: d.clamp}
	return m.tree(ctx, btrfs.TopTree, view, "/")
}

type btrfsMender struct {
	node  string
	image *btrfs.Image
	at    *time.Time
	clamp func(unix.Timespec) unix.Timespec
	files *btrfs.Files // of one tree
	found map[uint64]*btrfsFound
}

// tree mends the tree of files, a subvolume's or that at the top, that dir has
// become, and those below.
func (m btrfsMender) tree(ctx context.Context, number uint64, dir, inner string) (err error) {
	if m.files, err = m.image.Files(number); err != nil {
		return err
	}
	m.found = map[uint64]*btrfsFound{}
	if err := m.walk(ctx, dir, inner, btrfs.TopFolder); err != nil {
		return err
	}
	return m.image.Mend(m.files, m.inodes())
}

// btrfsFound is the file of the tree that an inode is.
type btrfsFound struct {
	st    unix.Stat_t
	names uint32
}

// walk finds the tree's files in the file system.
func (m *btrfsMender) walk(ctx context.Context, dir, inner string, folder uint64) error {
	if err := m.find(dir, inner, folder); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path, in := filepath.Join(dir, e.Name()), filepath.Join(inner, e.Name())
		name := btrfs.Name{Inode: folder, Name: e.Name()}
		inode, ok := m.files.Names[name]
		subvolume, other := m.files.Subvolumes[name]
		switch {
		case other:
			err = m.tree(ctx, subvolume, path, in)
		case !ok:
			err = fmt.Errorf("%q is missing", in)
		case e.IsDir():
			err = m.walk(ctx, path, in, inode)
		default:
			err = m.find(path, in, inode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// find notes that an inode is the file at path.
func (m *btrfsMender) find(path, inner string, inode uint64) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if !m.files.Has(inode) {
		return fmt.Errorf("%q has no inode", inner)
	}
	old := m.found[inode]
	if old == nil {
		if err := m.checkAttributes(path, inner, inode); err != nil {
			return err
		}
		m.found[inode] = &btrfsFound{st, 1}
		return nil
	}
	if old.st.Dev != st.Dev || old.st.Ino != st.Ino {
		return fmt.Errorf("%q became one with another file, of the same number on another device; use --backend loop", inner)
	}
	old.names++
	return nil
}

// checkAttributes sees that no extended attribute is lost: mkfs.btrfs leaves out
// those of the root folder.
func (m *btrfsMender) checkAttributes(path, inner string, inode uint64) error {
	all, err := attributes(path)
	if err != nil {
		return err
	}
	for name := range all {
		if !m.files.Xattrs[btrfs.Name{Inode: inode, Name: name}] {
			return &RefusedError{m.node, "btrfs", fmt.Sprintf("made without mounting it loses the extended attribute %s of %q", name, inner)}
		}
	}
	return nil
}

// inodes are what the files found are to have.
func (m *btrfsMender) inodes() map[uint64]btrfs.Inode {
	now := time.Now()
	if m.at != nil {
		now = *m.at
	}
	own := unix.NsecToTimespec(now.UnixNano())
	all := map[uint64]btrfs.Inode{}
	for n, f := range m.found {
		i := btrfs.Inode{
			Mode: f.st.Mode, UID: f.st.Uid, GID: f.st.Gid, Links: f.names, Rdev: uint64(f.st.Rdev), Size: f.st.Size,
			Atime: f.st.Atim, Mtime: m.clamp(f.st.Mtim), Ctime: own, Btime: own,
		}
		if m.at != nil {
			i.Atime = own
		}
		all[n] = i
	}
	return all
}
