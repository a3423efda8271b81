package blockdev

import (
	"errors"
	"fmt"
	"sort"
)

// Layout computes every size and offset. m is the content of each mount point
// (Measure). A size that the user gave is final; content or partitions that it
// cannot hold are a *SizeError. A disk without a size becomes as large as its
// file systems want: content, overhead, free room, rounded up to 64 KiB, and the
// partition table around them.
//
//	file system: size = content + free room + overhead(size)
//	disk with a table: the smallest size, a multiple of 64 KiB, in which
//	    every partition with a percentage gets what its file system wants
func (g *Graph) Layout(m map[string]Content, r Request) (*Plan, error) {
	if !g.identified {
		return nil, errors.New("blockdev: Layout before Identify")
	}
	p := &Plan{Fstab: g.Fstab(), Grown: r.Grow}
	fs := map[string]*FSPlan{} // by base
	var order []*FSPlan
	for _, n := range g.FileSystems() {
		f, err := g.fsPlan(n, m)
		if err != nil {
			return nil, err
		}
		fs[f.Base] = f
		order = append(order, f)
	}
	for _, d := range g.Disks() {
		l := diskLayout{d: d, table: g.Table(d.name), fs: fs, r: r}
		dp, err := l.plan()
		if err != nil {
			return nil, fmt.Errorf("disk %q: %w", d.name, err)
		}
		p.Disks = append(p.Disks, *dp)
	}
	for _, f := range order {
		p.FileSystems = append(p.FileSystems, *f)
	}
	return p, nil
}

func (g *Graph) fsPlan(n *Mkfs, m map[string]Content) (*FSPlan, error) {
	d := g.disk(n)
	f := &FSPlan{
		Node: n.name, Base: n.base(), Disk: d.name, SectorSize: d.BlockSize,
		FSType: n.FSType, Label: n.Label, UUID: n.UUID, HashSeed: n.HashSeed, Options: n.Options,
		MountPoint: g.mountPoint(n),
	}
	if f.MountPoint == "" {
		f.Content = Content{Inodes: 1, Dirs: 1, Bytes: blockSize}
		return f, nil
	}
	c, ok := m[f.MountPoint]
	if !ok {
		return nil, fmt.Errorf("file system %q: the content of %s was not measured", n.name, f.MountPoint)
	}
	f.Content = c
	return f, nil
}

// diskLayout lays out one disk.
type diskLayout struct {
	d     *LocalLoop
	table *Partitioning
	fs    map[string]*FSPlan // by base
	r     Request
}

func (l *diskLayout) plan() (*DiskPlan, error) {
	dp := &DiskPlan{Node: l.d.name, Directory: l.d.Directory, Size: l.given(), SectorSize: l.d.BlockSize}
	dp.Explicit = dp.Size > 0
	if err := l.checkGiven(dp); err != nil {
		return nil, err
	}
	if l.table != nil {
		dp.Label, dp.DiskID = l.table.Label, l.table.DiskID
	}
	if !dp.Explicit {
		n, err := l.computed()
		if err != nil {
			return nil, err
		}
		dp.Size = n
	}
	if err := l.place(dp); err != nil {
		return nil, err
	}
	return dp, nil
}

func (l *diskLayout) given() int64 {
	if l.d.Size > 0 {
		return l.d.Size
	}
	return l.r.ImageSize
}

func (l *diskLayout) checkGiven(dp *DiskPlan) error {
	if dp.Size%int64(dp.SectorSize) != 0 {
		return fmt.Errorf("size %d bytes: a multiple of the sector size %d is wanted", dp.Size, dp.SectorSize)
	}
	return nil
}

// place puts partitions and file systems into a disk of known size and checks
// that they fit.
func (l *diskLayout) place(dp *DiskPlan) error {
	if l.table == nil {
		return l.settle(l.d.name, 0, dp.Size, dp.Explicit)
	}
	var err error
	if dp.Partitions, err = placeMBR(l.table, dp.Size); err != nil {
		return err
	}
	for _, p := range l.table.Partitions {
		for _, pp := range dp.Partitions {
			if pp.Node != p.name {
				continue
			}
			if err := l.settle(p.name, pp.Start, pp.Size, dp.Explicit || !p.Size.Relative); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle gives the file system on base its place and checks its size.
func (l *diskLayout) settle(base string, offset, size int64, explicit bool) error {
	f := l.fs[base]
	if f == nil {
		return nil
	}
	f.Offset, f.Size, f.Explicit = offset, size, explicit
	if ext := newExtLayout(f); !ext.userRatio {
		f.BytesPerInode = chooseRatio(f.Content, f.Size)
	}
	ext := newExtLayout(f)
	needed, err := ext.needs(f.Content)
	if err != nil {
		return fmt.Errorf("file system %q: %w", f.Node, err)
	}
	if needed > size {
		return &SizeError{What: f.what(), Needed: needed, Given: size,
			Hint: fmt.Sprintf("content %s, %d files, the rest tables and journal", FormatSize(f.Content.Bytes), f.Content.Inodes)}
	}
	return nil
}

func (f *FSPlan) what() string {
	if f.MountPoint == "" {
		return fmt.Sprintf("file system %q", f.Node)
	}
	return fmt.Sprintf("file system %q on %s", f.Node, f.MountPoint)
}

// wants returns the size that the file system on base would like, 0 without one.
func (l *diskLayout) wants(base string) (int64, error) {
	f := l.fs[base]
	if f == nil {
		return 0, nil
	}
	w := *f
	target := w.Content.Bytes + l.freeRoom(f)
	if ext := newExtLayout(&w); !ext.userRatio {
		w.BytesPerInode = chooseRatio(w.Content, target)
	}
	ext := newExtLayout(&w)
	if _, err := ext.needs(w.Content); err != nil {
		return 0, fmt.Errorf("file system %q: %w", f.Node, err)
	}
	size := ext.fit(ext.content(w.Content)+l.freeRoom(f), inodesFor(w.Content))
	if l.r.Grow {
		size += size / 2
	}
	return roundUp(size, 64*kib), nil
}

func (l *diskLayout) freeRoom(f *FSPlan) int64 {
	if l.r.ExtraSize > 0 && f.MountPoint == "/" {
		return l.r.ExtraSize
	}
	room := l.r.FreeRoom
	if room <= 0 {
		room = 2.0 / 3
	}
	return int64(float64(f.Content.Bytes) * room)
}

// computed returns the size of a disk that nobody gave one.
func (l *diskLayout) computed() (int64, error) {
	if l.table == nil {
		if l.fs[l.d.name] == nil {
			return 0, l.d.at.errorf("it has neither a size nor anything on it that has one")
		}
		return l.wants(l.d.name)
	}
	wants := map[string]int64{}
	for _, p := range l.table.Partitions {
		w, err := l.wants(p.name)
		if err != nil {
			return 0, err
		}
		wants[p.name] = w
	}
	// Larger disks give no partition less, so the smallest can be searched.
	const step, most = 64 * kib, 2 << 40
	var last error
	n := sort.Search(most/step, func(i int) bool {
		err := l.enough(int64(i)*step, wants)
		if err != nil {
			last = err
		}
		return err == nil
	})
	if n == most/step {
		return 0, fmt.Errorf("no size up to 2 TiB is enough: %w", last)
	}
	return int64(n) * step, nil
}

// enough says whether a disk of that size gives every partition with a
// percentage what it wants. Partitions with a size of their own are checked
// later, against what they need.
func (l *diskLayout) enough(disk int64, wants map[string]int64) error {
	parts, err := placeMBR(l.table, disk)
	if err != nil {
		return err
	}
	size := map[string]int64{}
	for _, pp := range parts {
		size[pp.Node] = pp.Size
	}
	for _, p := range l.table.Partitions {
		if p.Size.Relative && size[p.name] < wants[p.name] {
			return &SizeError{What: fmt.Sprintf("partition %q (%s)", p.name, p.Size), Needed: wants[p.name], Given: size[p.name]}
		}
	}
	return nil
}
