package ext4

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// made returns an inode that the writer makes itself, of root's.
func (v *volume) made(mode uint32, links int) *inode {
	t := timespec(v.now)
	return &inode{mode: mode, links: links, atime: t, ctime: t, mtime: t, created: t}
}

// special makes the files that belong to the file system itself.
func (v *volume) special() error {
	bad := v.made(0, 0)
	bad.created = unix.Timespec{}
	v.tables.put(badInode, bad)
	for _, make := range []struct {
		wanted bool
		do     func() error
	}{
		{v.f.journal(), v.makeJournal},
		{v.f.resizeInode(), v.makeResize},
		{v.f.orphanFile(), v.makeOrphans},
	} {
		if make.wanted {
			if err := make.do(); err != nil {
				return err
			}
		}
	}
	return nil
}

// allocate takes n blocks from the beginning of a file on.
func (v *volume) allocate(n int64) *blockMap {
	m := &blockMap{}
	for have := int64(0); have < n; {
		r := v.take(n - have)
		m.add(have, r)
		have += r.n
	}
	return m
}

// makeJournal makes an empty journal: its superblock says that there is nothing
// to do (Documentation/filesystems/ext4/journal.rst).
func (v *volume) makeJournal() error {
	n := v.made(unix.S_IFREG|0o600, 1)
	n.size = v.journal * v.bs
	m := &blockMap{}
	if at, ok := v.findFree(v.first, v.blocks, v.journal); ok {
		v.mark(at, v.journal)
		m.add(0, run{at, v.journal})
	} else {
		m = v.allocate(v.journal)
	}
	b := make([]byte, v.bs)
	put := func(at int, x uint32) { binary.BigEndian.PutUint32(b[at:], x) }
	put(0x0, 0xc03b3998)
	put(0x4, 4) // a superblock of version 2
	put(0xc, uint32(v.bs))
	put(0x10, uint32(v.journal))
	put(0x14, 1) // the first block of the log
	put(0x18, 1) // the first transaction
	copy(b[0x30:], v.o.UUID[:])
	put(0x40, 1) // one file system uses it
	v.out.put(b, m.all[0].at*v.bs)
	for i, e := range m.all {
		if i == 0 {
			e.at, e.n = e.at+1, e.n-1
		}
		v.out.clear(e.at*v.bs, e.n*v.bs)
	}
	err := v.setMap(journalInode, n, m)
	v.tables.put(journalInode, n)
	v.journalFile = n
	return err
}

// makeResize makes the inode by which the blocks kept for descriptors are held:
// a map of two levels whose second is the blocks in group 0, which name those at
// the same place in the groups with copies.
func (v *volume) makeResize() error {
	per := v.bs / 4
	n := v.made(unix.S_IFREG|0o600, 1)
	n.size = (per*per + per + 12) * v.bs
	root := v.takeOne()
	top := make([]byte, v.bs)
	n.blocks = 1
	for i := range v.spare {
		at := v.first + 1 + v.descs + i
		le.PutUint32(top[4*((v.descs+i)%per):], uint32(at))
		b := make([]byte, v.bs)
		k := 0
		for g := int64(1); g < v.layout.groups; g++ {
			if v.hasSuper(g) {
				le.PutUint32(b[4*k:], uint32(at+g*v.perGroup))
				k++
			}
		}
		n.blocks += int64(1 + k)
		v.out.put(b, at*v.bs)
	}
	v.out.put(top, root*v.bs)
	le.PutUint32(n.block[4*13:], uint32(root))
	v.tables.put(resizeInode, n)
	return nil
}

// makeOrphans makes the file that lists files deleted while open, empty
// (Documentation/filesystems/ext4/orphan.rst). Its size is mke2fs'.
func (v *volume) makeOrphans() error {
	blocks := int64(512)
	if v.blocks < 128<<10 {
		blocks = 32
	} else if v.blocks < 2<<20 {
		blocks = v.blocks / 4096
	}
	v.orphans = v.newInode()
	n := v.made(unix.S_IFREG|0o600, 1)
	n.size = blocks * v.bs
	m := v.allocate(blocks)
	for _, e := range m.all {
		for ; e.n > 0; e.at, e.n = e.at+1, e.n-1 {
			b := make([]byte, v.bs)
			end := v.bs - 8
			le.PutUint32(b[end:], 0x0b10ca04)
			if v.f.csum() {
				sum := crc32c(v.inodeSeed(v.orphans), le.AppendUint64(nil, uint64(e.at)))
				le.PutUint32(b[end+4:], crc32c(sum, b[:end]))
			}
			v.out.put(b, e.at*v.bs)
		}
	}
	err := v.setMap(v.orphans, n, m)
	v.tables.put(v.orphans, n)
	return err
}
