package blockdev

// Node is one vertex of the graph. Nodes are data; the concrete types are
// *LocalLoop, *Partition, *PhysicalVolume, *VolumeGroup, *LogicalVolume, *Array,
// *Encrypted, *Mkfs, *Mount and *Fstab.
type Node interface {
	Name() string    // unique in the graph
	Bases() []string // the nodes it stands on, by name; none for a disk
	where() place
}

// vertex is what all nodes have.
type vertex struct {
	name  string
	bases []string
	at    place
}

func (v *vertex) Name() string    { return v.name }
func (v *vertex) Bases() []string { return v.bases }
func (v *vertex) where() place    { return v.at }

// base is the one node that most kinds stand on.
func (v *vertex) base() string {
	if len(v.bases) == 0 {
		return ""
	}
	return v.bases[0]
}

func (e entry) vertex() vertex {
	return vertex{name: e.name, bases: e.bases, at: e.at}
}
