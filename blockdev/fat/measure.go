package fat

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
)

// Content is what a tree takes on FAT.
type Content struct {
	Files, Dirs int64 // without the root folder
	// RootEntries are the root folder's, of 32 bytes: one for each name, and one
	// more for every 13 characters where it is not in upper case and 8.3.
	RootEntries int64
	// Clusters is how many there are of 512 bytes, 1 KiB, 2 KiB … 64 KiB, without
	// the root folder's.
	Clusters [8]int64
}

func (c *Content) add(n *node) {
	if n.dir {
		c.Dirs++
	} else {
		c.Files++
	}
	for i := range c.Clusters {
		c.Clusters[i] += n.clusters(512 << i)
	}
}

// Measure walks a tree and returns what it takes. skip is Options.Skip, or nil.
// What cannot be put onto FAT is an error that names it.
func Measure(ctx context.Context, tree string, skip func(path string) bool) (Content, error) {
	top, err := readTree(ctx, tree, skip)
	if err != nil {
		return Content{}, fmt.Errorf("measuring %q for FAT: %w", tree, err)
	}
	return contentOf(top), nil
}

func contentOf(top *node) Content {
	c := Content{RootEntries: top.folderEntries()}
	_ = top.walk(func(n *node) error { c.add(n); return nil }) // it returns what add does: nothing
	return c
}

// Bound returns an upper bound of the Content of a tree of which only sums are
// known: bytes of data in blocks of 4 KiB (holes and every hard link included),
// files and folders together, and folders. Names take at most 21 entries.
func Bound(bytes, inodes, dirs int64) Content {
	c := Content{Files: inodes - dirs, Dirs: dirs}
	folders := (inodes*21 + dirs*2) * entrySize
	for i := range c.Clusters {
		size := int64(512) << i
		c.Clusters[i] = (bytes+folders)/size + dirs + 1
		if size > 4096 {
			c.Clusters[i] += inodes
		}
	}
	return c
}

// FullError is a content that does not fit. errors.Is(err, syscall.ENOSPC)
// holds.
type FullError struct {
	Needed, Have int64 // clusters
	Cluster      int64 // bytes
}

func (e *FullError) Error() string {
	return fmt.Sprintf("the content takes %d clusters of %d bytes, the file system has %d", e.Needed, e.Cluster, e.Have)
}

// check says whether a content fits into a layout. labels is 1 with a volume
// label.
func (l *layout) check(c Content, labels int64) error {
	need := c.Clusters[bits.Len64(uint64(l.cluster()/512))-1]
	entries := c.RootEntries + labels
	if l.bits == 32 {
		need += max(1, (entries*entrySize+l.cluster()-1)/l.cluster())
	} else if have := l.root * l.sector / entrySize; entries > have {
		return fmt.Errorf("the root folder takes %d entries and FAT%d gives it %d: move files into a folder, or use -r or -F 32", entries, l.bits, have)
	}
	if need > l.clusters {
		return &FullError{Needed: need, Have: l.clusters, Cluster: l.cluster()}
	}
	return nil
}

// Needs returns the smallest size in bytes, whole sectors, not under o.Size, of
// a file system that holds a content. Clusters grow with the size, so a larger
// one need not hold it: who adds free room asks again, with the sum as o.Size.
func Needs(c Content, o Options) (int64, error) {
	o, err := o.complete()
	if err != nil {
		return 0, err
	}
	sector := int64(o.SectorSize)
	o.Size = max(1, (o.Size+sector-1)/sector, c.Clusters[0]*512/sector) * sector
	floor := o.Size
	for {
		missing, err := o.missing(c)
		if err != nil {
			return 0, fmt.Errorf("sizing a FAT file system: %w", err)
		}
		if missing == 0 {
			break
		}
		o.Size += o.step(missing)
	}
	// A step is whole clusters; a part of one was there before.
	for o.Size > floor {
		o.Size -= sector
		if missing, err := o.missing(c); err != nil || missing > 0 {
			return o.Size + sector, nil
		}
	}
	return o.Size, nil
}

// missing returns how many bytes a file system of o.Size lacks at least, a
// multiple of the sector size; 0: it fits.
func (o Options) missing(c Content) (int64, error) {
	l, err := newLayout(o)
	if m := (*misfit)(nil); errors.As(err, &m) && m.clusters < m.need {
		return (m.need - m.clusters) * m.cluster, nil
	}
	if err != nil {
		return 0, err
	}
	err = l.check(c, o.labels())
	if full := (*FullError)(nil); errors.As(err, &full) {
		return (full.Needed - full.Have) * full.Cluster, nil
	}
	return 0, err
}

// step is how far to grow: not past a size where FAT32 begins and clusters may
// become smaller, so that no smaller answer is missed. For an ESP that is
// somewhere below 512 MiB.
func (o Options) step(missing int64) int64 {
	switch {
	case o.Size >= 512*mib || o.Bits != 0:
		return missing
	case o.ESP:
		return min(missing, 64<<10)
	}
	return min(missing, 512*mib-o.Size)
}

func (o Options) labels() int64 {
	if o.Label == "" {
		return 0
	}
	return 1
}
