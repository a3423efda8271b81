package blockdev

import (
	"fmt"
	"slices"
	"strings"
)

// Defaults fill in what the configuration leaves out.
type Defaults struct {
	RootFSType      string   // of the file system at / (ext4)
	RootLabel       string   // of the file system at / (cloudimg-rootfs; img-rootfs on xfs)
	RootOptions     []string // --mkfs-options; only for the file system at / without opts
	JournalMiB      int      // of that file system (64)
	MaxOnlineResize int64    // blocks that it can grow to online; 0: mke2fs decides
	Release         string   // of the distribution that will read the disk (bookworm); chooses the feature profile
	BlockSize       int      // sector size of every disk, 0: the configuration's
}

func (d *Defaults) fill() error {
	if d.RootFSType == "" {
		d.RootFSType = "ext4"
	}
	if d.JournalMiB == 0 {
		d.JournalMiB = 64
	}
	if d.BlockSize != 0 {
		if err := checkBlockSize(d.BlockSize); err != nil {
			return err
		}
	}
	return checkFSType(d.RootFSType, place{path: "root file system type"})
}

// rootLabel is the label of the root file system where nobody gives one.
func (d *Defaults) rootLabel(fsType string) string {
	switch {
	case d.RootLabel != "":
		return d.RootLabel
	case fsTypes[fsType].max < len("cloudimg-rootfs"):
		return "img-rootfs"
	}
	return "cloudimg-rootfs"
}

func checkBlockSize(n int) error {
	if n != 512 && n != 4096 {
		return fmt.Errorf("block size %d; allowed: 512, 4096", n)
	}
	return nil
}

// Graph is a checked set of nodes. It is not safe for concurrent use while
// Identify runs.
type Graph struct {
	nodes       []Node // in topological order
	config      []Node // in the order of the configuration
	byName      map[string]Node
	mounts      []*Mount // in mount order
	fstabs      map[string]*Fstab
	fingerprint string
	identified  bool
}

// Graph links the nodes. Errors are the user's: an unknown base, a name or a
// label given twice, a cycle, a file system that cannot be.
func (c Config) Graph(d Defaults) (*Graph, error) {
	if err := d.fill(); err != nil {
		return nil, err
	}
	nodes, err := c.nodes()
	if err != nil {
		return nil, err
	}
	g := &Graph{config: nodes, byName: map[string]Node{}, fstabs: map[string]*Fstab{}}
	for _, step := range []func() error{
		g.index, g.checkBases, g.orderMounts,
		func() error { return g.fillDefaults(d) },
		g.checkLabels, g.sort, g.checkStack, g.checkSubvolumes, g.checkVolumes, g.checkBlocks,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	g.fingerprint = g.hash()
	return g, nil
}

func (g *Graph) index() error {
	for _, n := range g.config {
		if old := g.byName[n.Name()]; old != nil {
			return &ConfigError{Head: "Duplicate node name: " + n.Name(), Path: n.where().path, Line: n.where().line,
				Text: "another node of that name stands at " + old.where().String()}
		}
		g.byName[n.Name()] = n
	}
	return nil
}

func (g *Graph) checkBases() error {
	var names []string
	for n := range g.byName {
		names = append(names, n)
	}
	for _, n := range g.config {
		for _, b := range n.Bases() {
			if g.byName[b] == nil {
				return &ConfigError{Head: fmt.Sprintf("Edge not defined: %s->%s", b, n.Name()), Path: n.where().path,
					Line: n.where().line, Text: fmt.Sprintf("no node is called %q; %s", b, allowed(b, names))}
			}
		}
	}
	return nil
}

// fillDefaults gives the root file system its type, label and options. The root
// is what is mounted at /; mkfs_root counts as it where nothing is.
func (g *Graph) fillDefaults(d Defaults) error {
	root := g.at("/")
	if root == nil {
		root, _ = g.byName["mkfs_root"].(*Mkfs)
	}
	for _, n := range g.config {
		switch n := n.(type) {
		case *LocalLoop:
			if d.BlockSize != 0 && n.Device == "" {
				n.BlockSize = d.BlockSize
			}
		case *Mkfs:
			if err := n.fillDefaults(d, n == root); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Mkfs) fillDefaults(d Defaults, root bool) error {
	if n.FSType == "" {
		if !root {
			return n.at.errorf("type is missing: mkfs %q is not the root file system; %s", n.name, allowed("", fsTypeNames()))
		}
		n.FSType = kernelName(d.RootFSType)
	}
	if n.Label == "" && root {
		n.Label = d.rootLabel(n.FSType)
	}
	if root && !n.ownOptions {
		n.Options = rootOptions(n.FSType, d)
	}
	n.profile = profileOf(d.Release)
	if err := n.checkOptions(); err != nil {
		return err
	}
	return n.checkLabel()
}

// edges returns what must be there before n: its bases, the partition before
// it, the mount before it.
func (g *Graph) edges(n Node) []string {
	before := slices.Clone(n.Bases())
	switch n := n.(type) {
	case *Partition:
		if i := slices.Index(n.Table.Partitions, n); i > 0 {
			before = append(before, n.Table.Partitions[i-1].name)
		}
	case *Mount:
		if i := slices.Index(g.mounts, n); i > 0 {
			before = append(before, g.mounts[i-1].name)
		}
	}
	return before
}

// sort puts nodes into topological order: again and again the first node of the
// configuration whose edges are all there. A configuration is a few dozen nodes.
func (g *Graph) sort() error {
	done := map[string]bool{}
	ready := func(n Node) bool {
		return !done[n.Name()] && !slices.ContainsFunc(g.edges(n), func(b string) bool { return !done[b] })
	}
	for len(g.nodes) < len(g.config) {
		i := slices.IndexFunc(g.config, ready)
		if i < 0 {
			return g.cycle(done)
		}
		g.nodes = append(g.nodes, g.config[i])
		done[g.config[i].Name()] = true
	}
	return nil
}

func (g *Graph) cycle(done map[string]bool) error {
	var names []string
	var at place
	for _, n := range g.config {
		if !done[n.Name()] {
			names = append(names, n.Name())
			at = n.where()
		}
	}
	return at.errorf("a cycle: each of these nodes waits for another: %v", names)
}

// checkStack checks that every node stands on a kind that can carry it.
func (g *Graph) checkStack() error {
	carried := map[string]string{} // base → the file system or table on it
	for _, n := range g.nodes {
		for _, b := range n.Bases() {
			if err := stands(n, g.byName[b]); err != nil {
				return err
			}
		}
		if err := carry(carried, n); err != nil {
			return err
		}
	}
	return nil
}

// stands says whether n may stand on base.
func stands(n, base Node) error {
	ok := false
	want := ""
	switch n := n.(type) {
	case *LocalLoop:
		want = "nothing"
	case *Partition:
		var disk *LocalLoop
		disk, ok = base.(*LocalLoop)
		want = "a disk (local_loop, physical_disk)"
		if ok && disk.BlockSize != 512 && n.Table.Label == "mbr" {
			return n.where().errorf("partition %q: an MBR counts sectors of 512 bytes, disk %q has %d", n.Name(), disk.name, disk.BlockSize)
		}
	case *Mkfs, *PhysicalVolume, *Array, *Encrypted:
		ok = isDevice(base)
		want = "a block device: a disk (local_loop, physical_disk), a partition, a logical volume, an array (md) or an encrypted volume (luks)"
	case *VolumeGroup:
		_, ok = base.(*PhysicalVolume)
		want = "physical volumes"
	case *LogicalVolume:
		_, ok = base.(*VolumeGroup)
		want = "a volume group"
	case *Mount:
		_, ok = base.(*Mkfs)
		want = "a file system (mkfs)"
	case *Fstab:
		_, ok = base.(*Mount)
		want = "a mount"
	}
	if ok {
		return nil
	}
	return n.where().errorf("base of %q is %q; it stands on %s", n.Name(), base.Name(), want)
}

const subvolumes = "subvolumes such as "

// carry notes who uses a node and refuses a second user.
func carry(carried map[string]string, n Node) error {
	user := n.Name()
	if _, ok := n.(*LogicalVolume); ok { // one group has many volumes
		return nil
	}
	if p, ok := n.(*Partition); ok { // one table has many partitions
		user = fmt.Sprintf("partitions at %s", p.Table.Partitions[0].at.path)
		if p.Table.Partitions[0] != p {
			return nil
		}
	}
	for _, b := range n.Bases() {
		if m, ok := n.(*Mount); ok && m.Subvolume != "" && strings.HasPrefix(carried[b], subvolumes) {
			continue // several of one file system
		} else if ok && m.Subvolume != "" {
			user = subvolumes + user
		}
		if old := carried[b]; old != "" {
			return n.where().errorf("%q is taken twice: by %s and %s", b, old, user)
		}
		carried[b] = user
	}
	return nil
}
