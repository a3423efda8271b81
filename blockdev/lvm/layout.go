package lvm

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
)

// Layout is a group whose logical volumes have their extents. It does not
// change, and several goroutines may use it at once.
type Layout struct {
	group    Group
	used     []int64 // extents of each physical volume, all from the first on
	segments [][]Segment
	text     []byte
}

// Segment is a run of a logical volume's extents, spread evenly over its areas.
type Segment struct {
	Start int64 // the first of the logical volume's extents
	Count int64 // of the logical volume, over all areas
	Areas []Area
}

// Area is where a segment, or a stripe of it, lies: the physical volume's
// position in the group, and its first extent.
type Area struct{ Physical, Extent int64 }

// Layout gives every logical volume its extents. The error is Check's.
func (g Group) Layout() (*Layout, error) {
	if err := g.checkRules(); err != nil {
		return nil, err
	}
	if err := g.checkRoom(); err != nil {
		return nil, err
	}
	// The caller's slices stay the caller's.
	g.Volumes, g.Logical = slices.Clone(g.Volumes), slices.Clone(g.Logical)
	l := &Layout{group: g, used: make([]int64, len(g.Volumes))}
	for _, v := range g.Logical {
		s, err := l.allocate(v)
		if err != nil {
			return nil, fmt.Errorf("volume group %q: logical volume %q: %w", g.Name, v.Name, err)
		}
		l.segments = append(l.segments, s)
	}
	l.text = l.metadata()
	// LVM keeps the old text while it writes the new one.
	if most := (metadataSize(0) - sector) / 2; int64(len(l.text)) > most {
		return nil, fmt.Errorf("volume group %q: the metadata of %d logical volumes in their segments has %d bytes; at most %d are allowed",
			g.Name, len(g.Logical), len(l.text), most)
	}
	return l, nil
}

// Segments returns where a logical volume's extents lie, in order; nil when
// there is no such volume.
func (l *Layout) Segments(name string) []Segment {
	for i, v := range l.group.Logical {
		if v.Name == name {
			return l.segments[i]
		}
	}
	return nil
}

// Free returns how many extents of a physical volume no logical volume has.
func (l *Layout) Free(pv int) int64 { return l.group.Extents(pv) - l.used[pv] }

// allocate takes extents for a volume, in lvcreate's order (see the package
// comment).
func (l *Layout) allocate(v Logical) ([]Segment, error) {
	var segments []Segment
	k := int64(v.stripes())
	total := l.group.Rounded(v) / l.group.extentSize()
	for start := int64(0); start < total; {
		need := (total - start) / k
		pvs := l.firstFit(int(k), need)
		if pvs == nil {
			pvs = l.roomiest(int(k), need)
			need = min(need, l.Free(pvs[k-1]))
		}
		if need == 0 {
			return nil, l.noStripes(v, total, start)
		}
		s := Segment{Start: start, Count: need * k}
		for _, pv := range pvs {
			s.Areas = append(s.Areas, Area{Physical: int64(pv), Extent: l.used[pv]})
			l.used[pv] += need
		}
		segments = append(segments, s)
		start += s.Count
	}
	return segments, nil
}

// firstFit returns the first k physical volumes with n extents left, or nil.
func (l *Layout) firstFit(k int, n int64) []int {
	var pvs []int
	for pv := range l.used {
		if l.Free(pv) >= n {
			if pvs = append(pvs, pv); len(pvs) == k {
				return pvs
			}
		}
	}
	return nil
}

// roomiest returns the k physical volumes with the most extents left, those
// with more, then the earlier ones, first. More than n are no more than n.
func (l *Layout) roomiest(k int, n int64) []int {
	pvs := make([]int, len(l.used))
	for i := range pvs {
		pvs[i] = i
	}
	slices.SortStableFunc(pvs, func(a, b int) int { return cmp.Compare(min(n, l.Free(b)), min(n, l.Free(a))) })
	return pvs[:k]
}

func (l *Layout) noStripes(v Logical, total, done int64) error {
	var each []string
	for pv := range l.used {
		each = append(each, fmt.Sprintf("%q %d", l.group.pvName(pv), l.Free(pv)))
	}
	e := l.group.extentSize()
	k := v.stripes()
	return fmt.Errorf("its %d stripes need %s, evenly on %d different physical volumes; %s have room so, after which there are left: %s",
		k, amount(total, e), k, amount(done, e), strings.Join(each, ", "))
}

// Least returns the size that a physical volume needs for the group to have room
// for all its logical volumes, the other physical volumes being as they are; its
// own size in the group is not looked at. With linear volumes it is the smallest
// one; striped ones may leave a smaller one unfound. The error is Check's about
// what more room does not mend.
func (g Group) Least(pv int) (int64, error) {
	g.Volumes = slices.Clone(g.Volumes)
	fits := func(extents int64) error {
		p := &g.Volumes[pv]
		p.Size = PhysicalSize(extents, g.extentSize(), p.DataAlignment)
		return g.Check()
	}
	most, err := g.allExtents()
	if err != nil {
		return 0, fmt.Errorf("volume group %q: %w", g.Name, err)
	}
	if err := fits(most); err != nil {
		return 0, err
	}
	n := sort.Search(int(most), func(n int) bool { return n > 0 && fits(int64(n)) == nil })
	err = fits(int64(n)) // sets the size
	return g.Volumes[pv].Size, err
}

// allExtents returns how many extents hold all logical volumes, one at least.
func (g Group) allExtents() (int64, error) {
	if err := g.checkExtentSize(); err != nil {
		return 0, err
	}
	var sum int64
	for _, v := range g.Logical {
		if err := g.checkLogical(v); err != nil {
			return 0, fmt.Errorf("logical volume %q: %w", v.Name, err)
		}
		if sum += g.Rounded(v) / g.extentSize(); sum > math.MaxUint32 {
			return 0, fmt.Errorf("its logical volumes need more than %d extents of %d bytes; take a larger extent size",
				uint32(math.MaxUint32), g.extentSize())
		}
	}
	return max(1, sum), nil
}
