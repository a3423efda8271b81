package boot

import (
	"slices"
	"strings"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/lvm"
)

// Volume is what GRUB and Linux call a logical volume, an array or an encrypted
// volume. The names hold ids that the plan knows before the volume is there
// (GRUB 2.06: grub-core/disk/{diskfilter,lvm,mdraid1x_linux,cryptodisk}.c).
type Volume struct {
	Drive   string   `json:"drive"`            // GRUB's name, without parentheses
	Device  string   `json:"device"`           // what Linux' command line takes; "" where the file system's UUID does
	Modules []string `json:"modules"`          // GRUB's, of all that lies between the disks and the file system
	Tables  []string `json:"tables"`           // kinds of the partition tables below: msdos, gpt
	Unlock  []string `json:"unlock,omitempty"` // ids of the encrypted volumes below, without hyphens
}

// volumeOf describes a volume; nil when the node is none.
func volumeOf(g *blockdev.Graph, node string) *Volume {
	v := &Volume{}
	switch n := g.Node(node).(type) {
	case *blockdev.LogicalVolume:
		group, ok := g.Node(n.Bases()[0]).(*blockdev.VolumeGroup)
		if !ok {
			return nil
		}
		v.Drive = "lvmid/" + group.ID + "/" + n.ID
		v.Device = "/dev/mapper/" + lvm.MapperName(group.Name(), n.Name())
	case *blockdev.Array:
		v.Drive = "mduuid/" + strings.ReplaceAll(n.UUID, "-", "")
	case *blockdev.Encrypted:
		v.Drive = "cryptouuid/" + strings.ReplaceAll(n.UUID, "-", "")
	default:
		return nil
	}
	v.descend(g, node)
	return v
}

// descend gathers what is below a node.
func (v *Volume) descend(g *blockdev.Graph, node string) {
	switch n := g.Node(node).(type) {
	case *blockdev.Partition:
		table := "gpt"
		if n.Table.Label != "gpt" {
			table = "msdos"
		}
		v.Tables = add(v.Tables, table)
		return
	case *blockdev.VolumeGroup:
		v.Modules = add(v.Modules, "lvm")
	case *blockdev.Array:
		v.Modules = add(v.Modules, "diskfilter", "mdraid1x")
		if n.Level == 5 {
			v.Modules = add(v.Modules, "raid5rec")
		}
	case *blockdev.Encrypted:
		header := map[int]string{1: "luks", 2: "luks2"}[n.Version]
		v.Modules = add(v.Modules, "cryptodisk", header, "gcry_rijndael", "gcry_sha256")
		v.Unlock = add(v.Unlock, strings.ReplaceAll(n.UUID, "-", ""))
	}
	if n := g.Node(node); n != nil {
		for _, b := range n.Bases() {
			v.descend(g, b)
		}
	}
}

func add(list []string, words ...string) []string {
	for _, w := range words {
		if !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}
