package ext4

import (
	"crypto/rand"
	"fmt"
	"math/bits"
	"runtime"
	"time"
)

// Options say what file system is made. Only Size is needed.
type Options struct {
	Size     int64 // bytes; what is not a whole block, or too small a last group, is left alone
	Offset   int64 // of the file system in the target, bytes
	NotEmpty bool  // the target may hold old data: zeros are written as well

	Features      Features // zero: Ext4()
	BlockSize     int      // bytes: 1024, 2048 or 4096; 0: 4096
	InodeSize     int      // bytes: a power of two from 128 to 1024, at most a block; 0: 256
	BytesPerInode int64    // 0: 16384
	Inodes        int64    // how many at least; 0: by BytesPerInode
	Reserved      float64  // per cent of the blocks for root alone; 0: 5, below 0: none
	JournalSize   int64    // bytes, where the features have a journal; 0: by the size, as mke2fs does
	FlexGroups    int      // groups whose tables lie together, a power of two; 0: 16

	// ResizeBlocks is how far the file system can grow while mounted, in blocks,
	// where resize_inode keeps room for that; 0: a thousandfold.
	ResizeBlocks int64

	Label        string   // at most 16 bytes
	LastMounted  string   // the mount point that tools show; at most 64 bytes
	UUID         [16]byte // zero: random
	HashSeed     [16]byte // of hashed folders; zero: random
	RootOwner    *Owner   // of the root folder; nil: the tree's, of an empty one 0:0
	MountOptions *uint32  // default mount options, bits of the superblock's field; nil: acl, user_xattr

	// Time is that of the superblock and of all the writer makes itself, and the
	// time of access, change and creation of every file. nil: now, and the
	// tree's times of access and change. With it and the ids the same tree gives
	// the same bytes.
	Time  *time.Time
	Clamp bool // times of modification after Time become Time

	Workers int // files read at a time; 0: four for each processor, at most 16
}

// Owner is a user and a group, by number.
type Owner struct{ UID, GID uint32 }

// Default mount options of the superblock.
const (
	MountUserXattr uint32 = 0x4
	MountACL       uint32 = 0x8
)

// complete fills in what is zero and checks the rest.
func (o Options) complete() (Options, error) {
	if o.Features == (Features{}) {
		o.Features = Ext4()
	}
	setDefault(&o.BlockSize, 4096)
	setDefault(&o.InodeSize, 256)
	setDefault(&o.BytesPerInode, 16384)
	setDefault(&o.Reserved, 5)
	setDefault(&o.FlexGroups, 16)
	setDefault(&o.Workers, min(16, 4*runtime.GOMAXPROCS(0)))
	o.Reserved = max(0, o.Reserved)
	if o.MountOptions == nil {
		standard := MountUserXattr | MountACL
		o.MountOptions = &standard
	}
	for _, id := range []*[16]byte{&o.UUID, &o.HashSeed} {
		if *id == [16]byte{} {
			rand.Read(id[:]) // it never fails
			id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
		}
	}
	return o, o.check()
}

// Check says whether Write could begin: whether every option is one that is
// written here, and goes with the others.
func (o Options) Check() error {
	_, err := o.complete()
	return err
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func (o *Options) check() error {
	for _, c := range []struct {
		ok    bool
		what  string
		found any
		allow string
	}{
		{isPower(o.BlockSize, 1024, 4096), "block size", o.BlockSize, "1024, 2048, 4096"},
		{isPower(o.InodeSize, 128, min(1024, o.BlockSize)), "inode size", o.InodeSize, "128, 256, 512, 1024, at most a block"},
		{o.BytesPerInode >= 1024 && o.BytesPerInode <= 64<<20, "bytes per inode", o.BytesPerInode, "1024 to 67108864"},
		{o.Inodes >= 0 && o.Inodes < 1<<32, "number of inodes", o.Inodes, "0 to 4294967295"},
		{o.ResizeBlocks == 0 || o.ResizeBlocks > o.Size/int64(o.BlockSize) && o.ResizeBlocks < 1<<32 && o.Features.resizeInode(),
			"size to grow to", o.ResizeBlocks, "more blocks than there are, up to 4294967295, with resize_inode"},
		{o.Reserved <= 50, "reserved per cent", o.Reserved, "0 to 50"},
		{isPower(o.FlexGroups, 1, 1<<16), "groups together", o.FlexGroups, "powers of two up to 65536"},
		{len(o.Label) <= 16, "label", o.Label, "up to 16 bytes"},
		{len(o.LastMounted) <= 64, "last mount point", o.LastMounted, "up to 64 bytes"},
		{o.Size > 0 && o.Offset >= 0, "size", o.Size, "1 and more"},
		{o.JournalSize >= 0 && (o.JournalSize == 0 || o.Features.journal()), "journal size", o.JournalSize, "with has_journal alone"},
		{o.Workers > 0, "workers", o.Workers, "1 and more"},
	} {
		if !c.ok {
			return fmt.Errorf("%s %v: allowed: %s", c.what, c.found, c.allow)
		}
	}
	return o.Features.check(o.InodeSize)
}

func isPower(n, low, high int) bool {
	return n >= low && n <= high && bits.OnesCount(uint(n)) == 1
}

// journalBlocks is the journal's size: what is asked for, or e2fsprogs' table by
// size; 0: so small a file system gets none.
func (o *Options) journalBlocks(blocks int64) (int64, error) {
	if o.JournalSize != 0 {
		n := o.JournalSize / int64(o.BlockSize)
		if n < 1024 || n > 10240000 || n > blocks/2 {
			return 0, fmt.Errorf("journal of %d blocks: allowed: 1024 to 10240000, at most half the file system", n)
		}
		return n, nil
	}
	for _, s := range []struct{ below, blocks int64 }{
		{2048, 0}, {32768, 1024}, {262144, 4096}, {524288, 8192}, {4194304, 16384},
		{8388608, 32768}, {16777216, 65536}, {33554432, 131072},
	} {
		if blocks < s.below {
			return s.blocks, nil
		}
	}
	return 262144, nil
}
