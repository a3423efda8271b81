package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Name is an entry of a folder, or an extended attribute of a file.
type Name struct {
	Inode uint64
	Name  string
}

// Files is what one tree of files holds: that at the top, or a subvolume.
type Files struct {
	Names      map[Name]uint64 // folder and name → inode
	Subvolumes map[Name]uint64 // folder and name → the number of a tree
	Xattrs     map[Name]bool
	places     map[uint64]place
}

// place is where an inode's item is: a leaf's address, and the place in it.
type place struct {
	leaf uint64
	at   int
}

// Has says whether there is such an inode.
func (f *Files) Has(inode uint64) bool {
	_, ok := f.places[inode]
	return ok
}

// Files reads every name in a tree of files, such as TopTree. Inodes of another
// tree are others, whatever their numbers.
func (b *Image) Files(tree uint64) (*Files, error) {
	root, err := b.tree(tree)
	if err != nil {
		return nil, err
	}
	f := &Files{Names: map[Name]uint64{}, Subvolumes: map[Name]uint64{}, Xattrs: map[Name]bool{}, places: map[uint64]place{}}
	err = b.leaves(root, func(l *leaf) error {
		return l.items(func(k key, data []byte, at int) error { return f.item(l, k, data, at) })
	})
	return f, err
}

func (f *Files) item(l *leaf, k key, data []byte, at int) error {
	switch k.kind {
	case kindInode:
		if len(data) < 160 {
			return fmt.Errorf("inode %d is cut short", k.object)
		}
		f.places[k.object] = place{l.logical, at}
	case kindIndex:
		return entries(data, func(name string, target key) {
			if target.kind == kindRoot {
				f.Subvolumes[Name{k.object, name}] = target.object
			} else {
				f.Names[Name{k.object, name}] = target.object
			}
		})
	case kindXattr:
		return entries(data, func(name string, _ key) { f.Xattrs[Name{k.object, name}] = true })
	}
	return nil
}

// entries calls f for each name of an item; several have one hash
// (struct btrfs_dir_item).
func entries(data []byte, f func(name string, target key)) error {
	for len(data) > 0 {
		if len(data) < 30 {
			return errors.New("an item of names is cut short")
		}
		n := int(binary.LittleEndian.Uint16(data[27:]))
		end := 30 + n + int(binary.LittleEndian.Uint16(data[25:]))
		if end > len(data) {
			return errors.New("an item of names is cut short")
		}
		f(string(data[30:30+n]), readKey(data))
		data = data[end:]
	}
	return nil
}

// Inode is what Mend writes. Size and the kind in Mode must be those that are
// there: they prove that it is the right file.
type Inode struct {
	Mode, UID, GID, Links      uint32
	Rdev                       uint64 // as stat has it
	Size                       int64
	Atime, Ctime, Mtime, Btime unix.Timespec
}

// ErrOther says that an inode is of another kind, or its data have another size.
var ErrOther = errors.New("it is another file")

// Mend gives inodes new metadata.
func (b *Image) Mend(f *Files, inodes map[uint64]Inode) error {
	leaves := map[uint64][]uint64{}
	for n := range inodes {
		leaves[f.places[n].leaf] = append(leaves[f.places[n].leaf], n)
	}
	for logical, numbers := range leaves {
		data, err := b.block(logical)
		if err != nil {
			return err
		}
		for _, n := range numbers {
			if err := inodes[n].put(data[f.places[n].at:]); err != nil {
				return fmt.Errorf("inode %d: %w", n, err)
			}
		}
		if err := b.put(&leaf{logical, data}); err != nil {
			return err
		}
	}
	return nil
}

// put changes an item (struct btrfs_inode_item).
func (i Inode) put(item []byte) error {
	le := binary.LittleEndian
	kind := i.Mode & unix.S_IFMT
	if kind != le.Uint32(item[52:])&unix.S_IFMT || kind == unix.S_IFREG && le.Uint64(item[16:]) != uint64(i.Size) {
		return ErrOther
	}
	le.PutUint32(item[40:], i.Links)
	le.PutUint32(item[44:], i.UID)
	le.PutUint32(item[48:], i.GID)
	le.PutUint32(item[52:], i.Mode)
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK { // the kernel's own form: 12 and 20 bits
		le.PutUint64(item[56:], uint64(unix.Major(i.Rdev))<<20|uint64(unix.Minor(i.Rdev)))
	}
	for n, t := range []unix.Timespec{i.Atime, i.Ctime, i.Mtime, i.Btime} {
		le.PutUint64(item[112+12*n:], uint64(t.Sec))
		le.PutUint32(item[112+12*n+8:], uint32(t.Nsec))
	}
	return nil
}
