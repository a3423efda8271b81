package blockdev

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Partitioning is a partition table. It is no node; its partitions are, each
// depending on the one before it.
type Partitioning struct {
	Base       string // the disk
	Label      string // the kind of table: mbr or gpt
	Align      int64  // bytes; where partitions may start
	DiskID     uint32 // of an MBR, set by Identify
	DiskGUID   string // of a GPT, set by Identify
	Partitions []*Partition
}

// Partition is one partition of a table.
type Partition struct {
	vertex
	Table   *Partitioning
	Size    Size // a percentage is of what is free where its turn comes
	Type    byte // of an MBR
	Boot    bool // active, in an MBR
	Primary bool // else logical, in an MBR

	TypeGUID   string // of a GPT; GUIDs are in lower case
	UUID       string // of a GPT: the partition's own, given or set by Identify
	Attributes uint64 // of a GPT

	ownUUID string // the configuration's
}

func partitioningKind() nodeKind {
	return nodeKind{name: "partitioning", level: 1, items: "partitions", nameless: true, decode: decodePartitioning}
}

func decodePartitioning(e entry) ([]Node, error) {
	f := fields{e: e}
	t := &Partitioning{Base: e.bases[0], Label: f.text("label"), Align: mib}
	if e.v.get("align") != nil {
		t.Align = field(&f, "align", ParseSize)
	}
	if f.err != nil {
		return nil, f.err
	}
	return t.decode(e)
}

// checkAlignment: partitions count in sectors, and the table itself needs one.
func checkAlignment(s string) error {
	n, err := ParseSize(s)
	if err == nil && (n < 512 || n%512 != 0 || n > gib) {
		err = fmt.Errorf("%d bytes; a multiple of 512 up to 1 GiB is wanted", n)
	}
	return err
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
	if t.Label == "gpt" {
		return nodes, t.checkUUIDs()
	}
	return nodes, t.checkOrder()
}

func (t *Partitioning) partition(e entry, it item) (*Partition, error) {
	f := fields{e: entry{kind: e.kind, at: it.at, v: it.v}}
	p := &Partition{
		vertex: vertex{name: it.name, bases: []string{t.Base}, at: it.at},
		Table:  t,
		Size:   field(&f, "size", ParseRelativeSize),
	}
	if t.Label == "gpt" {
		p.gptFields(&f)
	} else {
		p.mbrFields(&f)
	}
	return p, f.err
}

func checkPartitionSize(s string) error {
	n, err := ParseRelativeSize(s)
	if err == nil && !n.Relative && n.Bytes < 512 {
		err = fmt.Errorf("%d bytes; a partition has at least one sector of 512", n.Bytes)
	}
	return err
}

func (p *Partition) mbrFields(f *fields) {
	p.Type = 0x83
	if f.e.v.get("type") != nil {
		p.Type = field(f, "type", mbrType)
	}
	flags := f.words("flags")
	p.Boot, p.Primary = slices.Contains(flags, "boot"), slices.Contains(flags, "primary")
}

func mbrType(s string) (byte, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.ToLower(s), "0x"), 16, 8)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("found %q; an MBR type is wanted in hexadecimal, 0x01 to 0xff, such as 0x83", s)
	}
	return byte(n), nil
}

// place lays the partitions out on a disk of so many bytes. Partitions with a
// percentage get more on a larger disk, never less.
func (t *Partitioning) place(disk, sectorSize int64) ([]PartitionPlan, error) {
	if t.Label == "gpt" {
		return placeGPT(t, disk, sectorSize)
	}
	return placeMBR(t, disk)
}

// most is the largest disk, in bytes, that a table can describe or that is
// looked at.
func (t *Partitioning) most() int64 {
	if t.Label == "gpt" {
		return 8 << 50
	}
	return 2 << 40
}

// esp says whether firmware reads the partition as its own.
func (p *Partition) esp() bool {
	return p.TypeGUID == espGUID || p.Table.Label == "mbr" && p.Type == 0xef
}
