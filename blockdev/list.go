package blockdev

// NodeInfo says of a node what people want to know of it: for lists and JSON.
type NodeInfo struct {
	Name  string   `json:"name"`
	Kind  string   `json:"kind"`  // local_loop, physical_disk, partition, pv, vg, lv, md, luks, mkfs, mount or fstab
	Level int      `json:"level"` // as in the list of levels
	Bases []string `json:"bases,omitempty"`
	Path  string   `json:"path"`           // of the configuration, such as [1].partitioning.partitions[0]
	Line  int      `json:"line,omitempty"` // from 1; 0 when unknown
}

// List describes the nodes in topological order.
func (g *Graph) List() []NodeInfo {
	var all []NodeInfo
	for _, n := range g.nodes {
		kind, level := kindOfNode(n)
		all = append(all, NodeInfo{Name: n.Name(), Kind: kind, Level: level, Bases: n.Bases(), Path: n.where().path, Line: n.where().line})
	}
	return all
}

// kindOfNode is the word for a node, and its level.
func kindOfNode(n Node) (string, int) {
	switch n := n.(type) {
	case *LocalLoop:
		if n.Device != "" {
			return "physical_disk", 0
		}
		return "local_loop", 0
	case *Partition:
		return "partition", 1
	case *PhysicalVolume:
		return "pv", 1
	case *VolumeGroup:
		return "vg", 1
	case *LogicalVolume:
		return "lv", 1
	case *Array:
		return "md", 1
	case *Encrypted:
		return "luks", 1
	case *Mkfs:
		return "mkfs", 2
	case *Mount:
		return "mount", 3
	}
	return "fstab", 4
}

// ForgetIDs takes the ids that Identify derived out of a plan of this graph: a
// plan that is only looked at was given some that no disk will have.
func (g *Graph) ForgetIDs(p *Plan) {
	for i := range p.Disks {
		d := &p.Disks[i]
		d.DiskID, d.DiskGUID = 0, ""
		for k := range d.Partitions {
			d.Partitions[k].GUID = ""
			if n, ok := g.byName[d.Partitions[k].Node].(*Partition); ok {
				d.Partitions[k].GUID = n.ownUUID
			}
		}
	}
	for i := range p.FileSystems {
		f := &p.FileSystems[i]
		f.HashSeed, f.UUID = "", ""
		if n, ok := g.byName[f.Node].(*Mkfs); ok {
			f.UUID = n.ownUUID
		}
	}
	for i := range p.Volumes {
		g.forgetVolume(&p.Volumes[i])
	}
}

func (g *Graph) forgetVolume(p *VolumePlan) {
	switch n := g.byName[p.Node].(type) {
	case *VolumeGroup:
		p.Group.ID = ""
		for i := range p.Group.Physical {
			p.Group.Physical[i].ID = ""
		}
		for i := range p.Group.Logical {
			p.Group.Logical[i].ID = ""
		}
	case *Array:
		p.Array.UUID, p.Array.Members = n.ownUUID, nil
	case *Encrypted:
		p.LUKS.UUID = n.ownUUID
	}
}
