package fat

import (
	"errors"
	"fmt"
	"sort"
)

const mib = 1 << 20

// Limits on the number of clusters, by which every reader tells the types apart:
// FAT12 has less than 4085, FAT16 less than 65525. fatgen103 advises to stay 16
// away from either, for readers that are off by some.
const (
	border = 16
	max12  = 4084 - border
	min16  = 4085 + border
	max16  = 65524 - border
	min32  = 65525 + border
	max32  = 0x0FFFFFF5 - border
)

// layout is where the parts of a file system lie, in sectors from its start.
type layout struct {
	bits      int
	sector    int64 // bytes
	perClus   int64 // sectors
	total     int64 // sectors
	reserved  int64
	fats      int64
	fatSize   int64 // sectors of one FAT, just enough for the clusters
	root      int64 // sectors of the root folder; 0 on FAT32
	clusters  int64
	dataStart int64 // sector of cluster 2
}

func (l *layout) cluster() int64 { return l.perClus * l.sector }

// offset returns where a cluster is, in bytes from the file system's start.
func (l *layout) offset(cluster int64) int64 {
	return (l.dataStart + (cluster-2)*l.perClus) * l.sector
}

// misfit is a size that a shape cannot have.
type misfit struct {
	bits, clusters, cluster int64 // as it would be
	need, most              int64 // clusters allowed
}

func (e *misfit) Error() string {
	if e.clusters < e.need {
		return fmt.Sprintf("too small for FAT%d: %d clusters of %d bytes, at least %d are needed", e.bits, max(0, e.clusters), e.cluster, e.need)
	}
	return fmt.Sprintf("too large for FAT%d: %d clusters of %d bytes, at most %d can be", e.bits, e.clusters, e.cluster, e.most)
}

// newLayout shapes a file system; o is complete.
func newLayout(o Options) (*layout, error) {
	if n := o.Size / int64(o.SectorSize); n < 1 || n > 0xFFFFFFFF {
		return nil, fmt.Errorf("size of %d bytes: FAT has 1 to %d sectors of %d bytes", o.Size, uint32(0xFFFFFFFF), o.SectorSize)
	}
	var l *layout
	var err error
	switch {
	case o.Bits != 0:
		l, err = layoutOf(o, o.Bits)
	case o.ESP || o.Size >= 512*mib:
		l, err = layoutOf(o, 32)
		if m := (*misfit)(nil); errors.As(err, &m) && m.clusters < m.need {
			l, err = layoutOf(o, 12, 16) // a small ESP; -s 64, say
		}
	default:
		l, err = layoutOf(o, 12, 16)
		if m := (*misfit)(nil); errors.As(err, &m) && m.clusters > max16 {
			l, err = layoutOf(o, 32) // with -s 1, say
		}
	}
	if err != nil {
		return nil, fmt.Errorf("size of %d bytes: %w", o.Size, err)
	}
	return l, nil
}

// layoutOf shapes one of some types. It tries cluster sizes from the usual one
// up while there are too many clusters, and down while there are too few.
func layoutOf(o Options, types ...int) (*layout, error) {
	per := int64(o.SectorsPerCluster)
	if per > 0 {
		return anyType(o, per, types)
	}
	per = max(1, usualCluster(o.Size, types[0])/int64(o.SectorSize))
	l, err := anyType(o, per, types)
	up := false
	for m := (*misfit)(nil); errors.As(err, &m); {
		if m.clusters < m.need {
			if per /= 2; up || per < 1 {
				return nil, err
			}
		} else {
			up = true
			if per *= 2; per > 128 || per*int64(o.SectorSize) > clusterMax {
				return nil, err
			}
		}
		l, err = anyType(o, per, types)
	}
	return l, err
}

// usualCluster is the size in bytes that mkfs.fat starts from: on FAT32 that of
// Microsoft's table.
func usualCluster(size int64, bits int) int64 {
	if bits != 32 {
		return 2048
	}
	for _, s := range []struct{ below, cluster int64 }{
		{260 * mib, 512}, {8192 * mib, 4096}, {16384 * mib, 8192}, {32768 * mib, 16384},
	} {
		if size < s.below {
			return s.cluster
		}
	}
	return 32768
}

// anyType shapes the first type that can count so many clusters.
func anyType(o Options, per int64, types []int) (l *layout, err error) {
	for _, bits := range types {
		if l, err = shape(o, bits, per); err == nil {
			return l, nil
		}
		if m := (*misfit)(nil); errors.As(err, &m) && m.clusters < m.need {
			return nil, err
		}
	}
	return nil, err
}

// shape computes one layout. The FAT's size depends on the number of clusters,
// and that on the FAT's size: the smallest that serves is searched for.
func shape(o Options, bits int, per int64) (*layout, error) {
	l := &layout{bits: bits, sector: int64(o.SectorSize), perClus: per, fats: int64(o.FATs), total: o.Size / int64(o.SectorSize)}
	if err := l.areas(o); err != nil {
		return nil, err
	}
	min, most := l.limits()
	l.fatSize = int64(sort.Search(int(l.total), func(n int) bool {
		return l.fatFor(l.clustersWith(int64(n), o)) <= int64(n)
	}))
	l.clusters = l.clustersWith(l.fatSize, o)
	// In the gap between two types a few clusters are given up.
	if l.clusters > most && l.clusters < most+2*border+1 {
		l.clusters = most
	}
	if l.clusters < min || l.clusters > most {
		return nil, &misfit{bits: int64(bits), clusters: l.clusters, cluster: l.cluster(), need: min, most: most}
	}
	l.dataStart = l.dataStartWith(l.fatSize, o)
	// Where one sector less would do for the FAT, it is reserved: so the clusters
	// stay where they are.
	l.fatSize = l.fatFor(l.clusters)
	l.reserved = l.dataStart - l.root - l.fats*l.fatSize
	if l.clusters == most {
		l.total = l.dataStart + l.clusters*per
	}
	return l, nil
}

// areas sets the parts that do not depend on the number of clusters.
func (l *layout) areas(o Options) error {
	if l.bits == 32 {
		l.reserved = int64(orDefault(o.Reserved, 32))
		if l.reserved < minReserved32 {
			return fmt.Errorf("%d reserved sectors: FAT32 needs %d", l.reserved, minReserved32)
		}
		return nil
	}
	l.reserved = int64(orDefault(o.Reserved, 1))
	l.root = (int64(o.RootEntries)*entrySize + l.sector - 1) / l.sector
	return nil
}

func (l *layout) limits() (min, most int64) {
	switch l.bits {
	case 12:
		return 1, max12
	case 16:
		return min16, max16
	}
	return min32, max32
}

func (l *layout) dataStartWith(fatSize int64, o Options) int64 {
	n := l.reserved + l.fats*fatSize + l.root
	if !o.NoAlign {
		n = (n + l.perClus - 1) / l.perClus * l.perClus
	}
	return n
}

func (l *layout) clustersWith(fatSize int64, o Options) int64 {
	return max(0, (l.total-l.dataStartWith(fatSize, o))/l.perClus)
}

// fatFor returns the sectors of a FAT for so many clusters and its two reserved
// entries.
func (l *layout) fatFor(clusters int64) int64 {
	bytes := ((clusters+2)*int64(l.bits) + 7) / 8
	return (bytes + l.sector - 1) / l.sector
}
