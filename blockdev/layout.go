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
	p := &Plan{Fstab: g.Fstab(), Grown: r.Grow, Mounts: g.allMounts()}
	z := &sizer{g: g, r: r, mounts: p.Mounts, fs: map[string]*FSPlan{}, size: map[string]int64{}, given: map[string]bool{}}
	var order []*FSPlan
	for _, n := range g.FileSystems() {
		f, err := g.fsPlan(n, m)
		if err != nil {
			return nil, err
		}
		z.fs[f.Base] = f
		order = append(order, f)
	}
	for _, d := range g.Disks() {
		l := diskLayout{sizer: z, d: d, table: g.Table(d.name)}
		dp, err := l.plan()
		if err != nil {
			return nil, fmt.Errorf("disk %q: %w", d.name, err)
		}
		p.Disks = append(p.Disks, *dp)
	}
	var err error
	if p.Volumes, err = z.volumes(); err != nil {
		return nil, err
	}
	for _, f := range order {
		p.FileSystems = append(p.FileSystems, *f)
	}
	return p, nil
}

// allMounts returns the mounts, parents before children; none for swap.
func (g *Graph) allMounts() []FSMount {
	var all []FSMount
	for _, m := range g.mounts {
		if m.MountPoint != NoMountPoint {
			all = append(all, FSMount{Node: m.base(), MountPoint: m.MountPoint, Subvolume: m.Subvolume})
		}
	}
	return all
}

func (g *Graph) fsPlan(n *Mkfs, m map[string]Content) (*FSPlan, error) {
	f := &FSPlan{
		Node: n.name, Base: n.base(), SectorSize: g.sectorSize(n.base()),
		FSType: n.FSType, Label: n.Label, UUID: n.UUID, HashSeed: n.HashSeed, Options: n.Options,
		Subvolumes: n.Subvolumes, Profile: n.profile,
	}
	if !isVolume(g.byName[f.Base]) {
		f.Disk = g.disk(n).name
	}
	if p, ok := g.byName[f.Base].(*Partition); ok {
		f.ESP = p.esp()
	}
	mounts := g.mountsOf(n)
	if len(mounts) == 0 {
		f.Content = Content{Inodes: 1, Dirs: 1, Bytes: blockSize}
		return f, nil
	}
	f.MountPoint = mounts[0].MountPoint
	for _, at := range mounts {
		c, ok := m[at.MountPoint]
		if !ok {
			return nil, fmt.Errorf("file system %q: the content of %s was not measured", n.name, at.MountPoint)
		}
		f.Content.add(c)
	}
	return f, nil
}

func (c *Content) add(o Content) {
	c.Bytes += o.Bytes
	c.Inodes += o.Inodes
	c.Dirs += o.Dirs
	c.Indirect += o.Indirect
	c.Inline += o.Inline
}

// sizer knows what stands on what, and what is settled so far.
type sizer struct {
	g      *Graph
	fs     map[string]*FSPlan // by base
	mounts []FSMount
	r      Request
	size   map[string]int64 // of devices, by node
	given  map[string]bool  // no part of the size was computed
}

// diskLayout lays out one disk.
type diskLayout struct {
	*sizer
	d     *LocalLoop
	table *Partitioning
}

func (l *diskLayout) plan() (*DiskPlan, error) {
	dp := &DiskPlan{Node: l.d.name, Device: l.d.Device, Directory: l.d.Directory, Size: l.diskSize(l.d), SectorSize: l.d.BlockSize}
	dp.Explicit = dp.Size > 0
	if l.d.Device != "" && !dp.Explicit {
		return nil, fmt.Errorf("nobody has looked at %s (SetDevice)", l.d.Device)
	}
	if err := l.checkGiven(dp); err != nil {
		return nil, err
	}
	if l.table != nil {
		dp.Label = l.table.Label
		if dp.Label == "mbr" {
			dp.DiskID = l.table.DiskID
		} else {
			dp.DiskGUID = l.table.DiskGUID
		}
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

// diskSize is what the configuration or, for the disk that carries /, the user
// says; 0: neither does.
func (z *sizer) diskSize(d *LocalLoop) int64 {
	if d.Size == 0 && z.g.first() == d && d.Device == "" {
		return z.r.ImageSize
	}
	return d.Size
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
	if dp.Partitions, err = l.table.place(dp.Size, int64(dp.SectorSize)); err != nil {
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

// settle notes the size of a device, gives the file system on it its place and
// checks it.
func (l *sizer) settle(base string, offset, size int64, explicit bool) error {
	l.size[base], l.given[base] = size, explicit
	f := l.fs[base]
	if f == nil {
		return nil
	}
	f.Offset, f.Size, f.Explicit = offset, size, explicit
	if f.Offset%int64(f.SectorSize) != 0 {
		return fmt.Errorf("file system %q: it begins at byte %d, between sectors of %d", f.Node, f.Offset, f.SectorSize)
	}
	m := f.model()
	m.settle(f)
	needed, err := m.least(f)
	if err != nil {
		return fmt.Errorf("file system %q: %w", f.Node, err)
	}
	if needed > size {
		return &SizeError{What: f.what(), Needed: needed, Given: size,
			Hint: fmt.Sprintf("content %s, %d files, the rest is the file system's own", FormatSize(f.Content.Bytes), f.Content.Inodes)}
	}
	return nil
}

func (f *FSPlan) what() string {
	if f.MountPoint == "" {
		return fmt.Sprintf("file system %q", f.Node)
	}
	return fmt.Sprintf("file system %q on %s", f.Node, f.MountPoint)
}

// wants returns the size that a device should have for what stands on it, 0 when
// nothing does.
func (l *sizer) wants(base string) (int64, error) {
	f := l.fs[base]
	if f == nil {
		return l.volumeWants(base)
	}
	size, err := f.model().wants(f, l.freeRoom(f))
	if err != nil {
		return 0, fmt.Errorf("file system %q: %w", f.Node, err)
	}
	if l.r.Grow {
		size += size / 2
	}
	return roundUp(size, 64*kib), nil
}

func (l *sizer) freeRoom(f *FSPlan) int64 {
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
	if err := l.checkContent(); err != nil {
		return 0, err
	}
	if l.table == nil {
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
	const step = 64 * kib
	most := l.table.most()
	var last error
	n := sort.Search(int(most/step), func(i int) bool {
		err := l.enough(int64(i)*step, wants)
		if err != nil {
			last = err
		}
		return err == nil
	})
	if int64(n) == most/step {
		return 0, fmt.Errorf("no size up to %s is enough: %w", FormatSize(most), last)
	}
	return int64(n) * step, nil
}

// checkContent refuses to compute the size of a disk that is not that of / and
// that the tree puts nothing on: whatever came out would surprise.
func (l *diskLayout) checkContent() error {
	for _, f := range l.fs {
		if l.g.liesOn(f.Base, l.d.name) && (l.g.first() == l.d || f.MountPoint != "" && f.Content.Inodes > l.roots(f)) {
			return nil
		}
	}
	return l.d.at.errorf("disk %q has no size, and the tree has no content for it that would give one; set its size, such as 10GiB", l.d.name)
}

// roots counts the root folders of a file system's mounts: all that there is
// where the tree has nothing.
func (l *sizer) roots(f *FSPlan) (n int64) {
	for _, m := range l.mounts {
		if m.Node == f.Node {
			n++
		}
	}
	return n
}

// enough says whether a disk of that size gives every partition with a
// percentage what it wants. Partitions with a size of their own are checked
// later, against what they need.
func (l *diskLayout) enough(disk int64, wants map[string]int64) error {
	parts, err := l.table.place(disk, int64(l.d.BlockSize))
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
