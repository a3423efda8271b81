package boot

import (
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
	Modules []string `json:"modules"`          // GRUB's, of all that lies between the disks and the file system, lowest first
	Tables  []string `json:"tables"`           // kinds of the partition tables below: msdos, gpt, for each partition
	Unlock  []string `json:"unlock,omitempty"` // ids of the encrypted volumes below, without hyphens, lowest first
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
	v.climb(g, node)
	return v
}

// climb gathers what a node stands on, then what it is itself: what lies below
// has to be open before. Words are repeated as grub-probe repeats them, so that a
// guest's own grub.cfg is the same (util/grub-probe.c, probe_partmap and
// probe_abstraction): a table for each partition, and xts is two ciphers.
func (v *Volume) climb(g *blockdev.Graph, node string) {
	n := g.Node(node)
	if p, ok := n.(*blockdev.Partition); ok {
		table := "gpt"
		if p.Table.Label != "gpt" {
			table = "msdos"
		}
		v.Tables = append(v.Tables, table)
		return
	}
	if n == nil {
		return
	}
	for _, b := range n.Bases() {
		v.climb(g, b)
	}
	switch n := n.(type) {
	case *blockdev.VolumeGroup:
		v.Modules = append(v.Modules, "lvm")
	case *blockdev.Array:
		v.Modules = append(v.Modules, "diskfilter", "mdraid1x")
		if n.Level == 5 {
			v.Modules = append(v.Modules, "raid5rec")
		}
	case *blockdev.Encrypted:
		v.Modules = append(v.Modules, "cryptodisk", headers[n.Version], "gcry_rijndael", "gcry_rijndael", "gcry_sha256")
		v.Unlock = append(v.Unlock, strings.ReplaceAll(n.UUID, "-", ""))
	}
}

// headers are GRUB's modules for the versions of LUKS.
var headers = map[int]string{1: "luks", 2: "luks2"}
