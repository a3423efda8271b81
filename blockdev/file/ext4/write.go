package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// volume is a file system being written. All but what is said to be shared
// belongs to the goroutine that writes.
type volume struct {
	*space
	out         *output
	tables      *tables
	attrs       *attrBlocks
	now         time.Time
	next        uint32 // inode
	lacksInodes int64
	orphans     uint32 // inode of the file of orphans
	journalFile *inode
	overhead    int64 // blocks used before anything is written

	in        *folder // whose entries come
	lostFound bool    // the tree has one

	mu    sync.Mutex // links is shared: readers ask it
	links map[fileKey]*link
	full  atomic.Bool // shared: content need not be read any more
}

// Write makes a file system at o.Offset of w and puts the tree (a folder; "":
// nothing) into it. The superblock is written last: after an error there is no
// file system, or the one that was there, damaged. What does not fit is a
// *FullError, which says how much lacks.
//
// The tree is read once and must not change meanwhile; a file that does is an
// error. What is mounted in it is part of it. Reading needs /proc.
func Write(ctx context.Context, w io.WriterAt, tree string, o Options) error {
	if err := write(ctx, w, tree, o); err != nil {
		return fmt.Errorf("writing an ext4 file system: %w", err)
	}
	return nil
}

func write(ctx context.Context, w io.WriterAt, tree string, o Options) error {
	o, err := o.complete()
	if err != nil {
		return err
	}
	l, err := newLayout(o)
	if err != nil {
		return err
	}
	s, err := newSpace(l)
	if err != nil {
		return err
	}
	out := newOutput(w, l)
	v := newVolume(s, out)
	err = v.write(ctx, tree)
	return errors.Join(err, out.close())
}

func newVolume(s *space, out *output) *volume {
	v := &volume{space: s, out: out, now: time.Now(), next: 1, links: map[fileKey]*link{}}
	if s.o.Time != nil {
		v.now = *s.o.Time
	}
	v.tables = newTables(s, out)
	v.attrs = &attrBlocks{space: s, out: out, of: map[string]*attrBlock{}}
	v.overhead = s.blocks - s.freeBlocks()
	for range firstInode { // the reserved ones, and lost+found
		v.newInode()
	}
	return v
}

func (v *volume) write(ctx context.Context, tree string) error {
	for g := range v.groups {
		v.out.clear(v.groups[g].table*v.bs, v.table*v.bs)
	}
	if err := v.special(); err != nil {
		return err
	}
	if err := v.fill(ctx, tree); err != nil {
		return err
	}
	if err := v.finishLinks(); err != nil {
		return err
	}
	if v.isFull() {
		return &FullError{Blocks: v.lacks, Inodes: v.lacksInodes, Bytes: v.lacks * v.bs}
	}
	v.attrs.flush()
	v.tables.flush()
	v.writeHeads()
	return nil
}

// isFull says that from now on things are only counted.
func (v *volume) isFull() bool { return v.lacks > 0 || v.lacksInodes > 0 }

// newInode gives away the next number.
func (v *volume) newInode() uint32 {
	ino := v.next
	v.next++
	if g := int64(ino-1) / v.inodes; g < v.layout.groups {
		v.groups[g].inodes++
	} else {
		v.lacksInodes++
	}
	return ino
}

func (v *volume) usedInodes() int64 { return int64(v.next-1) - v.lacksInodes }

// folder is the one whose entries come; what is below its folders comes later.
type folder struct {
	it      *item
	entries []entry
	folders int
}

// fill reads the tree and writes what comes, in order.
func (v *volume) fill(ctx context.Context, tree string) error {
	if tree == "" {
		return v.emptyTree()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := v.startReading(ctx, tree)
	var first error
	for s := range r.steps {
		err := v.step(ctx, s, first != nil)
		if err != nil && first == nil {
			first = err
			cancel(err)
		}
		v.full.Store(v.isFull())
	}
	if err := r.wait(); err != nil && first == nil {
		first = err
	}
	return first
}

// step handles one step of the walk; skip: only lets go of what it holds.
func (v *volume) step(ctx context.Context, s step, skip bool) error {
	if s.what == entryStep {
		<-s.it.ready
		defer s.it.close()
	}
	if skip {
		return nil
	}
	if err := s.it.err; err != nil {
		return fmt.Errorf("%q: %w", s.it.path(), err)
	}
	if err := v.out.failed(); err != nil {
		return err
	}
	var err error
	switch s.what {
	case openStep:
		v.in = &folder{it: s.it}
	case entryStep:
		err = v.entry(ctx, s.it)
	case closeStep:
		err = v.closeFolder()
	}
	if err != nil {
		return fmt.Errorf("%q: %w", s.it.path(), err)
	}
	return nil
}

func (v *volume) emptyTree() error {
	now := timespec(v.now)
	st := unix.Stat_t{Mode: unix.S_IFDIR | 0o755, Atim: now, Mtim: now, Ctim: now}
	v.in = &folder{it: &item{st: st, ino: rootInode, parent: rootInode}}
	return v.closeFolder()
}

// entry writes a file, or gives a folder its number, and keeps its name.
func (v *volume) entry(ctx context.Context, it *item) error {
	if it.in == nil { // the tree's top
		it.ino, it.parent = rootInode, rootInode
		return nil
	}
	if len(it.name) > 255 {
		return errors.New("name of more than 255 bytes")
	}
	it.parent = v.in.it.ino
	if err := v.number(ctx, it); err != nil {
		return err
	}
	v.in.entries = append(v.in.entries, entry{name: it.name, ino: it.ino, kind: kindOf(it.st.Mode)})
	return nil
}

// number gives a file its inode and writes it, unless it came before under
// another name. Folders are written when their entries are known.
func (v *volume) number(ctx context.Context, it *item) error {
	isFolder := it.st.Mode&unix.S_IFMT == unix.S_IFDIR
	if it.parent == rootInode && it.name == "lost+found" {
		if !isFolder {
			return errors.New("it must be a folder")
		}
		it.ino, v.lostFound = firstInode, true
	}
	if isFolder {
		v.in.folders++
		if it.ino == 0 {
			it.ino = v.newInode()
		}
		return nil
	}
	if k := v.link(it); k != nil {
		it.ino = k.ino
		return nil
	}
	if it.spared {
		return errors.New("it has more names than it says")
	}
	it.ino = v.newInode()
	n, err := v.inode(it)
	if err == nil {
		err = v.content(ctx, it, n)
	}
	if err != nil {
		return err
	}
	if it.st.Nlink > 1 {
		v.remember(it, n)
		return nil
	}
	v.tables.put(it.ino, n)
	return nil
}

// inode begins an inode with what the tree says.
func (v *volume) inode(it *item) (*inode, error) {
	st := &it.st
	n := &inode{mode: st.Mode, uid: st.Uid, gid: st.Gid, links: 1, atime: st.Atim, ctime: st.Ctim, mtime: st.Mtim}
	n.created = timespec(v.now)
	if v.o.Time != nil {
		n.atime, n.ctime = n.created, n.created
	}
	if v.o.Clamp && v.o.Time != nil && later(n.mtime, n.created) {
		n.mtime = n.created
	}
	return n, v.setAttrs(n, it.attrs)
}

func later(a, b unix.Timespec) bool {
	return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec
}

// content writes what a file holds.
func (v *volume) content(ctx context.Context, it *item, n *inode) error {
	switch it.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return v.data(ctx, it, n)
	case unix.S_IFLNK:
		return v.symlink(it, n)
	case unix.S_IFCHR, unix.S_IFBLK:
		setDevice(n, it.st.Rdev)
	}
	return nil
}

// symlink keeps a target of less than 60 bytes in the inode.
func (v *volume) symlink(it *item, n *inode) error {
	n.size = int64(len(it.data))
	if len(it.data) < len(n.block) {
		copy(n.block[:], it.data)
		return nil
	}
	if n.size >= v.bs {
		return fmt.Errorf("link to a path of %d bytes: allowed: less than a block (%d)", n.size, v.bs)
	}
	m := v.allocate(1)
	v.out.put(append(it.data, make([]byte, v.bs-n.size)...), m.all[0].at*v.bs)
	return v.setMap(it.ino, n, m)
}

// setDevice writes a device number: the old form where it is enough.
func setDevice(n *inode, dev uint64) {
	major, minor := unix.Major(dev), unix.Minor(dev)
	if major < 256 && minor < 256 {
		le.PutUint32(n.block[0:], major<<8|minor)
		return
	}
	le.PutUint32(n.block[4:], minor&0xff|major<<8|minor&^0xff<<12)
}

// closeFolder writes the folder whose entries are all there.
func (v *volume) closeFolder() error {
	f := v.in
	v.in = nil
	n, err := v.inode(f.it)
	if err != nil {
		return err
	}
	if o := v.o.RootOwner; o != nil && f.it.ino == rootInode {
		n.uid, n.gid = o.UID, o.GID
	}
	if f.it.ino == rootInode && !v.lostFound {
		if err := v.makeLostFound(); err != nil {
			return err
		}
		f.entries = append(f.entries, entry{name: "lost+found", ino: firstInode, kind: 2})
		f.folders++
	}
	n.links = 2 + f.folders
	if n.links > mostLinks {
		if !v.f.dirNlink() {
			return fmt.Errorf("it has %d folders: allowed: %d", f.folders, mostLinks-2)
		}
		n.links = 1
	}
	if g := int64(f.it.ino-1) / v.inodes; g < v.layout.groups {
		v.groups[g].dirs++
	}
	least := int64(1)
	if f.it.ino == firstInode {
		least = v.lostFoundBlocks()
	}
	if err := v.writeFolder(f.it.ino, f.it.parent, n, f.entries, least); err != nil {
		return err
	}
	v.tables.put(f.it.ino, n)
	return nil
}

// lostFoundBlocks is how large mke2fs makes it: a full file system must have
// room to find things in.
func (v *volume) lostFoundBlocks() int64 { return min(12, 16384/v.bs) }

func (v *volume) makeLostFound() error {
	n := v.made(unix.S_IFDIR|0o700, 2)
	v.groups[(firstInode-1)/v.inodes].dirs++
	err := v.writeFolder(firstInode, rootInode, n, nil, v.lostFoundBlocks())
	v.tables.put(firstInode, n)
	return err
}
