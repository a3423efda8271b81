package lvm

import (
	"io"
	"strconv"
	"time"
)

// Device is what a physical volume lies on, and what a logical volume is: bytes
// that can be read and written at an offset. Several goroutines may use it at
// once.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// Group is a volume group as it is to be written. Sizes are bytes.
type Group struct {
	Name       string
	ID         string // as ID makes it
	ExtentSize int64  // a power of two from 4096 on; zero: 4 MiB
	Tags       []string
	Volumes    []Physical
	Logical    []Logical

	// Time and Host are the group's and its volumes' creation_time and
	// creation_host. The zero time is 1970, the empty host "lithify".
	Time time.Time
	Host string
}

// Physical is a physical volume. LVM calls it pv0, pv1, … by its position.
type Physical struct {
	Name          string // for error messages alone; empty: pvN
	ID            string // as ID makes it
	Device        string // a hint for readers of the metadata; empty: "[unknown]", which LVM mends
	Size          int64  // of the whole device: a multiple of 512, at least MinPhysical
	DataAlignment int64  // a multiple of 4096; zero: 1 MiB
	Tags          []string
}

// Logical is a logical volume.
type Logical struct {
	Name       string
	ID         string // as ID makes it
	Size       int64  // a multiple of the extent size; a striped volume grows to whole stripes, see Group.Rounded
	Stripes    int    // zero or one: linear
	StripeSize int64  // a power of two from 4096 to the extent size; zero: 64 KiB, or the extent size if that is less
	ReadOnly   bool
	Tags       []string
}

const (
	sector = 512

	// MinPhysical is the size from which on LVM looks at a device at all (its
	// setting devices/pv_min_size).
	MinPhysical = 2 << 20

	defaultExtent = 4 << 20
	defaultStripe = 64 << 10
	defaultStart  = 1 << 20
	defaultHost   = "lithify"
)

// DataStart returns where the extents of a physical volume begin (pe_start):
// the first multiple of the alignment (zero: 1 MiB) from 1 MiB on. All before it
// is for label and metadata.
func DataStart(alignment int64) int64 {
	if alignment <= 0 {
		return defaultStart
	}
	return (defaultStart + alignment - 1) / alignment * alignment
}

// PhysicalSize returns the size of the smallest device that gives so many
// extents. Zero sizes stand for the defaults.
func PhysicalSize(extents, extentSize, alignment int64) int64 {
	if extentSize == 0 {
		extentSize = defaultExtent
	}
	return max(MinPhysical, DataStart(alignment)+extents*extentSize)
}

// Extents returns how many extents a physical volume of the group has: what
// lies behind DataStart, in whole extents.
func (g Group) Extents(pv int) int64 {
	p := g.Volumes[pv]
	return max(0, p.Size-DataStart(p.DataAlignment)) / g.extentSize()
}

// Rounded returns the size that a logical volume gets: a whole number of
// extents, and of them as many for each stripe, as lvcreate rounds.
func (g Group) Rounded(l Logical) int64 {
	unit := g.extentSize() * int64(l.stripes())
	return (l.Size + unit - 1) / unit * unit
}

func (g Group) extentSize() int64 {
	if g.ExtentSize == 0 {
		return defaultExtent
	}
	return g.ExtentSize
}

func (g Group) host() string {
	if g.Host == "" {
		return defaultHost
	}
	return g.Host
}

// unix is the time as the metadata has it.
func (g Group) unix() int64 {
	if g.Time.IsZero() {
		return 0
	}
	return g.Time.Unix()
}

// pvName is what errors call a physical volume.
func (g Group) pvName(pv int) string {
	if name := g.Volumes[pv].Name; name != "" {
		return name
	}
	return "pv" + strconv.Itoa(pv)
}

func (l Logical) stripes() int { return max(1, l.Stripes) }

func (l Logical) stripeSize(extent int64) int64 {
	if l.StripeSize == 0 {
		return min(defaultStripe, extent)
	}
	return l.StripeSize
}
