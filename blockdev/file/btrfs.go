package file

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// btrfs has mkfs.btrfs fill a file from the view, mends what it leaves behind,
// and moves the file into the image.
func (d *disk) btrfs(ctx context.Context, f *blockdev.FSPlan, view string) error {
	path, version, err := tool(ctx, "mkfs.btrfs")
	if err != nil {
		return err
	}
	return d.throughFile(f, func(target string) error {
		b := blockdev.Btrfs{Target: target, Tree: view, Version: version}
		if err := d.mkfs(ctx, f, path, blockdev.BtrfsCommand(*f, b)); err != nil || view == "" {
			return err
		}
		if err := d.mendBtrfs(ctx, f.Node, target, view); err != nil {
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
	if bytes.Contains(out, []byte("No space left on device")) || bytes.Contains(out, []byte("not enough free space")) {
		return full(f, unix.ENOSPC)
	}
	return fmt.Errorf("%s: %w: %s", filepath.Base(path), err, bytes.TrimSpace(out))
}

// mendBtrfs puts right what mkfs.btrfs --rootdir (6.2) leaves behind: the root
// folder's mode, owner and times, the nanoseconds of all times, the numbers of
// devices, and link counts that count names outside. Every name is looked up,
// so that what it mixed up is found: it takes the tree's inode numbers for its
// own, and two devices may have the same.
func (d *disk) mendBtrfs(ctx context.Context, node, target, view string) (err error) {
	f, err := os.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	image, root, err := openBtrfs(f)
	if err != nil {
		return err
	}
	m := btrfsMender{
		node: node, image: image, root: root, at: d.tree.Time, names: map[btrfsName]uint64{}, places: map[uint64]btrfsPlace{},
		found: map[uint64]*btrfsFound{}, xattrs: map[btrfsName]bool{},
	}
	if err := m.read(); err != nil {
		return err
	}
	if err := m.walk(ctx, view, "/", btrfsRootDir); err != nil {
		return err
	}
	return m.write()
}

type btrfsMender struct {
	node   string
	image  *btrfsImage
	root   uint64
	at     *time.Time
	names  map[btrfsName]uint64
	places map[uint64]btrfsPlace
	found  map[uint64]*btrfsFound
	xattrs map[btrfsName]bool // by inode
}

// btrfsName is an entry of a folder.
type btrfsName struct {
	folder uint64
	name   string
}

// btrfsPlace is where an inode's item is: a leaf's address, and the place in it.
type btrfsPlace struct {
	leaf uint64
	at   int
}

// btrfsFound is the file of the tree that an inode is.
type btrfsFound struct {
	st    unix.Stat_t
	names uint32
}

// read notes every name and every inode.
func (m *btrfsMender) read() error {
	return m.image.leaves(m.root, func(l *btrfsLeaf) error {
		return l.items(func(k btrfsKey, data []byte, at int) error {
			switch {
			case k.kind == btrfsInodeItem && len(data) >= 160:
				m.places[k.object] = btrfsPlace{l.logical, at}
			case k.kind == btrfsDirIndex:
				return dirItems(data, func(name string, target uint64) { m.names[btrfsName{k.object, name}] = target })
			case k.kind == btrfsXattrItem:
				return dirItems(data, func(name string, _ uint64) { m.xattrs[btrfsName{k.object, name}] = true })
			}
			return nil
		})
	})
}

// dirItems calls f for each name of an item of names; several have one hash
// (struct btrfs_dir_item).
func dirItems(data []byte, f func(name string, target uint64)) error {
	for len(data) > 0 {
		if len(data) < 30 {
			return errors.New("an item of names is cut short")
		}
		n := int(binary.LittleEndian.Uint16(data[27:]))
		end := 30 + n + int(binary.LittleEndian.Uint16(data[25:]))
		if end > len(data) {
			return errors.New("an item of names is cut short")
		}
		f(string(data[30:30+n]), readKey(data).object)
		data = data[end:]
	}
	return nil
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
		inode, ok := m.names[btrfsName{folder, e.Name()}]
		switch {
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
	if _, ok := m.places[inode]; !ok {
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
		if !m.xattrs[btrfsName{inode, name}] {
			return &RefusedError{m.node, "btrfs", fmt.Sprintf("made without mounting it loses the extended attribute %s of %q", name, inner)}
		}
	}
	return nil
}

// write changes the inodes, leaf by leaf.
func (m *btrfsMender) write() error {
	leaves := map[uint64][]uint64{}
	for inode := range m.found {
		at := m.places[inode].leaf
		leaves[at] = append(leaves[at], inode)
	}
	for logical, inodes := range leaves {
		data, err := m.image.block(logical)
		if err != nil {
			return err
		}
		for _, inode := range inodes {
			if err := m.mend(data[m.places[inode].at:], m.found[inode]); err != nil {
				return err
			}
		}
		if err := m.image.put(&btrfsLeaf{logical, data}); err != nil {
			return err
		}
	}
	return nil
}

// mend changes one inode (struct btrfs_inode_item).
func (m *btrfsMender) mend(item []byte, f *btrfsFound) error {
	st := &f.st
	kind := binary.LittleEndian.Uint32(item[52:]) & unix.S_IFMT
	if kind != st.Mode&unix.S_IFMT || kind == unix.S_IFREG && binary.LittleEndian.Uint64(item[16:]) != uint64(st.Size) {
		return errors.New("a file became another one, of the same number on another device; use --backend loop")
	}
	if kind != unix.S_IFDIR {
		binary.LittleEndian.PutUint32(item[40:], f.names)
	}
	binary.LittleEndian.PutUint32(item[44:], st.Uid)
	binary.LittleEndian.PutUint32(item[48:], st.Gid)
	binary.LittleEndian.PutUint32(item[52:], st.Mode)
	if slices.Contains([]uint32{unix.S_IFCHR, unix.S_IFBLK}, kind) {
		binary.LittleEndian.PutUint64(item[56:], uint64(unix.Major(st.Rdev))<<20|uint64(unix.Minor(st.Rdev)))
	}
	now := time.Now()
	if m.at != nil {
		now = *m.at
	}
	own := unix.NsecToTimespec(now.UnixNano())
	for i, t := range []unix.Timespec{st.Atim, own, st.Mtim, own} {
		if m.at != nil && i == 0 {
			t = own
		}
		binary.LittleEndian.PutUint64(item[112+12*i:], uint64(t.Sec))
		binary.LittleEndian.PutUint32(item[112+12*i+8:], uint32(t.Nsec))
	}
	return nil
}
