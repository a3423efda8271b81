package blockdev

import (
	"strconv"
	"strings"
)

// Partitioning is a partition table. It is no node; its partitions are, each
// depending on the one before it.
type Partitioning struct {
	Base       string // the disk
	Label      string // the kind of table: mbr
	Align      int64  // bytes; where partitions may start
	DiskID     uint32 // set by Identify
	Partitions []*Partition
}

// Partition is one partition of a table.
type Partition struct {
	vertex
	Table   *Partitioning
	Size    Size // a percentage is of what is free where its turn comes
	Type    byte // of an MBR
	Boot    bool // active
	Primary bool // else logical
}

func partitioningKind() nodeKind {
	return nodeKind{name: "partitioning", level: 1, items: "partitions", nameless: true, decode: decodePartitioning}
}

func decodePartitioning(e entry) ([]Node, error) {
	if err := e.needBase(); err != nil {
		return nil, err
	}
	f := fields{e: e}
	f.require("label", "partitions")
	t := &Partitioning{Base: e.bases[0], Label: f.text("label"), Align: mib}
	if e.v.get("align") != nil {
		t.Align = f.absolute("align")
	}
	if err := f.done("name", "base", "label", "align", "partitions"); err != nil {
		return nil, err
	}
	switch t.Label {
	case "mbr":
	case "gpt":
		return nil, f.place("label").notYet(`partition label "gpt"`)
	default:
		return nil, f.place("label").errorf("unknown label %q; %s", t.Label, allowed(t.Label, []string{"mbr", "gpt"}))
	}
	// Partitions counts in sectors, and the table itself needs one.
	if t.Align < 512 || t.Align%512 != 0 || t.Align > gib {
		return nil, f.place("align").errorf("%d bytes; a multiple of 512 up to 1 GiB is wanted", t.Align)
	}
	if len(e.items) == 0 {
		return nil, f.place("partitions").errorf("the list is empty; at least one partition is wanted")
	}
	return t.decode(e)
}

func (t *Partitioning) decode(e entry) ([]Node, error) {
	var nodes []Node
	for _, it := range e.items {
		p, err := t.partition(e, it)
		if err != nil {
			return nil, err
		}
		t.Partitions = append(t.Partitions, p)
		nodes = append(nodes, p)
	}
	return nodes, t.checkOrder()
}

func (t *Partitioning) partition(e entry, it item) (*Partition, error) {
	f := fields{e: entry{kind: e.kind, at: it.at, v: it.v}}
	f.require("size")
	p := &Partition{
		vertex: vertex{name: it.name, bases: []string{t.Base}, at: it.at},
		Table:  t,
		Size:   f.relative("size"),
		Type:   0x83,
	}
	if s, ok := f.scalar("type"); ok {
		n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(s), "0x"), 16, 8)
		if err != nil || n == 0 {
			f.fail(f.place("type").errorf("found %q; an MBR type is wanted in hexadecimal, 0x01 to 0xff, such as 0x83", s))
		}
		p.Type = byte(n)
	}
	p.flags(&f)
	if err := f.done("name", "base", "size", "type", "flags"); err != nil {
		return nil, err
	}
	if !p.Size.Relative && p.Size.Bytes < 512 {
		return nil, f.place("size").errorf("%d bytes; a partition has at least one sector of 512", p.Size.Bytes)
	}
	return p, nil
}

func (p *Partition) flags(f *fields) {
	for _, w := range f.words("flags") {
		switch w {
		case "boot":
			p.Boot = true
		case "primary":
			p.Primary = true
		default:
			f.fail(f.place("flags").errorf("unknown flag %q; %s", w, allowed(w, []string{"boot", "primary"})))
		}
	}
}

// checkOrder: an MBR has four slots; the extended partition takes one, reaches
// to the end of the disk, and so must come last.
func (t *Partitioning) checkOrder() error {
	slots, logical := 0, false
	for _, p := range t.Partitions {
		switch {
		case p.Primary && logical:
			return p.at.errorf("partition %q is primary after a logical one; primary ones come first", p.name)
		case p.Primary || !logical:
			slots++
		}
		logical = !p.Primary
		if slots > 4 {
			return p.at.errorf("partition %q is one too many: an MBR holds four primary partitions, "+
				"or three and the extended one that holds the logical ones", p.name)
		}
	}
	return nil
}
