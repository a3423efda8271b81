package blockdev

import (
	"fmt"
	"strings"
	"unicode"
)

// Fstab is the line of a mount in /etc/fstab.
type Fstab struct {
	vertex
	Options  string
	DumpFreq int
	FsckPass int
}

func fstabKind() nodeKind {
	return nodeKind{name: "fstab", level: 4, decode: decodeFstab}
}

func decodeFstab(e entry) ([]Node, error) {
	f := fields{e: e}
	n := &Fstab{
		vertex:   e.vertex(),
		Options:  strings.Join(f.words("options"), ","),
		DumpFreq: f.integer("dump-freq", 0),
		FsckPass: f.integer("fsck-passno", 2),
	}
	if n.Options == "" {
		n.Options = "defaults"
	}
	return []Node{n}, f.err
}

func checkMountOption(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '#' }) {
		return fmt.Errorf("options %q: parted by commas, without blanks", s)
	}
	return nil
}

// Fstab returns /etc/fstab: a line for each mount that has an fstab node, in
// mount order.
func (g *Graph) Fstab() string {
	var b strings.Builder
	for _, m := range g.mounts {
		f := g.fstabs[m.name]
		if f == nil {
			continue
		}
		fs := g.fileSystem(m)
		options := f.Options
		if m.Subvolume != "" {
			options += ",subvol=/" + m.Subvolume
		}
		dump, pass := f.DumpFreq, f.FsckPass
		if fs.FSType == "swap" {
			options, dump, pass = "sw", 0, 0
		}
		fmt.Fprintf(&b, "LABEL=%s %s %s %s %d %d\n", fs.Label, m.MountPoint, fs.FSType, options, dump, pass)
	}
	return b.String()
}
