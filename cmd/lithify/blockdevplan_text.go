package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/lithify/lithify/blockdev"
)

// text prints the graph, the disks to scale, the volumes, and the files that
// name them.
func (p *blockdevPlan) text(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d nodes, made by back end %s%s\n\n", p.Configuration, len(p.Nodes), p.Backend, withTools(p.Tools))
	if err := p.tree(w); err != nil {
		return err
	}
	if err := printDisks(w, p.Plan, p.Measured); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{
		{"/etc/fstab", p.Plan.Fstab}, {"/etc/crypttab", p.Crypttab}, {"mdadm.conf", p.Mdadm},
	} {
		if f.text == "" {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", f.name)
		for line := range strings.Lines(f.text) {
			fmt.Fprintf(w, "  %s", line)
		}
	}
	return nil
}

// writeTrimmed leaves out the blanks that a table puts in place of empty cells at
// the ends of lines.
func writeTrimmed(w io.Writer, text string) error {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(line, " \n"))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func withTools(tools []string) string {
	if len(tools) == 0 {
		return ""
	}
	return " with " + strings.Join(tools, ", ")
}

// tree prints each node below the one that it stands on. One that stands on
// several is below the last of them, where all of them have been seen.
func (p *blockdevPlan) tree(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	below := map[string][]string{}
	var top []string
	for _, n := range p.Nodes {
		if len(n.Bases) == 0 {
			top = append(top, n.Name)
		}
		place := map[string]bool{}
		for _, b := range n.Bases {
			if !place[b] {
				below[b] = append(below[b], n.Name)
			}
			place[b] = true
		}
	}
	shown := map[string]int{} // how many of its bases have been there
	var walk func(name string, depth int)
	walk = func(name string, depth int) {
		n := p.job.graph.Node(name)
		indent := strings.Repeat("  ", depth)
		if shown[name]++; shown[name] < len(n.Bases()) {
			fmt.Fprintf(t, "%s%s …\t\n", indent, name)
			return
		}
		fmt.Fprintf(t, "%s%s\t%s\n", indent, name, nodeText(n))
		for _, b := range below[name] {
			walk(b, depth+1)
		}
	}
	for _, name := range top {
		walk(name, 0)
	}
	return t.Flush()
}

// nodeText says what the configuration says of a node.
func nodeText(n blockdev.Node) string {
	switch n := n.(type) {
	case *blockdev.LocalLoop:
		if n.Device != "" {
			return "physical disk, " + n.Device
		}
		return "disk"
	case *blockdev.Partition:
		return fmt.Sprintf("partition, %s", n.Size)
	case *blockdev.PhysicalVolume:
		return "physical volume"
	case *blockdev.VolumeGroup:
		return "volume group, extents of " + blockdev.FormatSize(n.Extent)
	case *blockdev.LogicalVolume:
		return fmt.Sprintf("logical volume, %s", n.Size)
	case *blockdev.Array:
		return fmt.Sprintf("raid%d of %s", n.Level, strings.Join(n.Bases(), ", "))
	case *blockdev.Encrypted:
		return fmt.Sprintf("luks%d, passphrase from %s", n.Version, secretText(n.Secret))
	case *blockdev.Mkfs:
		return fmt.Sprintf("%s, label %q", n.FSType, n.Label)
	case *blockdev.Mount:
		if n.Subvolume != "" {
			return fmt.Sprintf("mount %s, subvolume %s", n.MountPoint, n.Subvolume)
		}
		return "mount " + n.MountPoint
	}
	return "line of fstab"
}

func secretText(s blockdev.Secret) string {
	switch {
	case s.File != "":
		return fmt.Sprintf("file %q", s.File)
	case s.Env != "":
		return "variable " + s.Env
	}
	return fmt.Sprintf("file descriptor %d", s.FD)
}

// printVolumes lists what is made of devices, bases first.
func printVolumes(w io.Writer, p *blockdev.Plan) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range p.Volumes {
		on := describe(p, v.Node)
		if v.Group != nil {
			on = ""
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", v.Node, sizeText(v.Size), volumeText(v), on)
		if v.Group == nil {
			continue
		}
		for _, l := range v.Group.Logical {
			what := "logical volume"
			if l.Stripes > 1 {
				what += fmt.Sprintf(", %d stripes", l.Stripes)
			}
			fmt.Fprintf(t, "    %s\t%s\t%s\t%s\n", l.Node, sizeText(l.Size), what, describe(p, l.Node))
		}
	}
	return t.Flush()
}

func volumeText(v blockdev.VolumePlan) string {
	on := " on " + strings.Join(v.Bases, ", ")
	switch {
	case v.Group != nil:
		return fmt.Sprintf("volume group%s, %d extents of %s", on, v.Size/v.Group.Extent, blockdev.FormatSize(v.Group.Extent))
	case v.Array != nil:
		text := fmt.Sprintf("raid%d%s, metadata %s", v.Array.Level, on, v.Array.Metadata)
		if v.Array.Bitmap {
			text += ", bitmap"
		}
		return text
	}
	return fmt.Sprintf("luks%d%s, sectors of %d bytes", v.LUKS.Version, on, v.LUKS.SectorSize)
}

// roleOn says which volume a device is part of, "" for none.
func roleOn(p *blockdev.Plan, device string) string {
	for _, v := range p.Volumes {
		for i, b := range v.Bases {
			if b != device {
				continue
			}
			switch {
			case v.Group != nil:
				return fmt.Sprintf("physical volume %s of group %s", v.Group.Physical[i].Node, v.Node)
			case v.Array != nil:
				return fmt.Sprintf("member of raid%d %s", v.Array.Level, v.Node)
			}
			return fmt.Sprintf("luks%d %s", v.LUKS.Version, v.Node)
		}
	}
	return ""
}
