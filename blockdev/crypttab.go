package blockdev

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lithify/lithify/blockdev/lvm"
)

// Crypttab returns /etc/crypttab (crypttab(5)): a line for each encrypted volume,
// bases first. The passphrase is asked for. Ids are not used: they are derived
// after the initramfs is made.
func (g *Graph) Crypttab() string {
	var b strings.Builder
	for _, e := range g.Encrypted() {
		options := "luks"
		if g.carries(e.name, "/", "/usr") {
			options += ",initramfs"
		}
		fmt.Fprintf(&b, "%s %s none %s\n", e.name, g.sourceOf(e), options)
	}
	return b.String()
}

// sourceOf is by what a running system finds the device that holds a volume: the
// label in its header, of a disk or partition. Upon a volume it is that one's
// name: udev makes no link by the label of a LUKS header there (63-md-raid-arrays
// and 60-persistent-storage-dm, unlike 60-persistent-storage), and systemd waits
// for such a link.
func (g *Graph) sourceOf(e *Encrypted) string {
	name, stable := g.stableName(e.base())
	_, partition := g.byName[e.base()].(*Partition)
	if !stable || partition && e.Version == 2 {
		return "LABEL=" + e.Label
	}
	return name
}

// stableName is by what a running system finds a device without its id.
func (g *Graph) stableName(device string) (name string, ok bool) {
	switch n := g.byName[device].(type) {
	case *Partition:
		if n.Table.Label == "gpt" {
			return "PARTLABEL=" + n.name, true
		}
	case *LogicalVolume:
		return "/dev/mapper/" + lvm.MapperName(n.base(), n.name), true
	case *Array:
		return "/dev/md/" + n.name, true
	case *Encrypted:
		return "/dev/mapper/" + n.name, true
	}
	return "", false
}

// CheckBoot refuses what GRUB cannot read on the way to its own files: it knows no
// thin volumes, and of encrypted ones none by argon2 (2.06 and 2.12).
func (g *Graph) CheckBoot() error {
	at := "/boot"
	if g.at(at) == nil {
		at = "/"
	}
	for _, v := range nodesOf[*LogicalVolume](g.nodes) {
		if v.ThinPool != "" && g.carries(v.name, at) {
			return v.at.errorf("/boot lies on the thin volume %q, and GRUB reads none; allowed: a volume of type linear, or a /boot of its own outside of the pool", v.name)
		}
	}
	for _, e := range g.Encrypted() {
		if e.Version == 1 || e.PBKDF == "pbkdf2" || !g.carries(e.name, at) {
			continue
		}
		found := e.PBKDF
		if found == "" {
			found = "argon2id, the usual"
		}
		return e.at.errorf("/boot lies inside %q, and GRUB opens no volume with pbkdf: %s; allowed: pbkdf: pbkdf2, type: luks1, or a /boot of its own outside of it", e.name, found)
	}
	return nil
}

// carries says whether what is mounted at one of the places lies on a device.
func (g *Graph) carries(device string, mountPoints ...string) bool {
	return slices.ContainsFunc(mountPoints, func(at string) bool {
		f := g.at(at)
		return f != nil && g.liesOn(f.base(), device)
	})
}

// MdadmArrays returns the lines of mdadm.conf (mdadm.conf(5)) that name the arrays.
func (g *Graph) MdadmArrays() string {
	var b strings.Builder
	for _, a := range nodesOf[*Array](g.nodes) {
		fmt.Fprintf(&b, "ARRAY /dev/md/%s metadata=%s name=%s\n", a.name, a.Metadata, a.name)
	}
	return b.String()
}

// StartDisks returns the disks that firmware may start the system at / from: its
// disk, and of a mirror every one.
func (g *Graph) StartDisks() []*LocalLoop {
	r := g.at("/boot")
	if r == nil {
		r = g.at("/")
	}
	if r == nil {
		return nil
	}
	var all []*LocalLoop
	g.startDisks(r.base(), &all)
	return all
}

func (g *Graph) startDisks(device string, all *[]*LocalLoop) {
	n := g.byName[device]
	if d, ok := n.(*LocalLoop); ok {
		if !slices.Contains(*all, d) {
			*all = append(*all, d)
		}
		return
	}
	bases := n.Bases()
	if a, mirror := n.(*Array); !mirror || a.Level != 1 {
		bases = bases[:1]
	}
	for _, b := range bases {
		g.startDisks(b, all)
	}
}

// NeededElements are the elements that bring what a system needs to find its
// volumes.
func (g *Graph) NeededElements() []string {
	var all []string
	for _, n := range g.config {
		name := ""
		switch n.(type) {
		case *LogicalVolume:
			name = "lvm"
		case *Array:
			name = "mdadm"
		case *Encrypted:
			name = "cryptsetup"
		}
		if name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}
