package blockdev

import (
	"slices"
	"strings"
)

// Array is a RAID array of the kernel's md driver.
type Array struct {
	vertex            // the bases are its members
	Level    int      // 0, 1, 5, 10
	Metadata string   // 1.2 or 1.0
	Chunk    int64    // bytes; 0: the usual
	Layout   string   // of raid10 and raid5; "": the usual
	Bitmap   bool     // of writes under way, inside
	UUID     string   // given, or set by Identify
	Members  []string // ids of the members, set by Identify
	ownUUID  string   // the configuration's
}

func mdKind() nodeKind {
	return nodeKind{name: "md", level: 1, decode: decodeMD}
}

func decodeMD(e entry) ([]Node, error) {
	f := fields{e: e}
	n := &Array{
		vertex:   e.vertex(),
		Level:    map[string]int{"0": 0, "raid0": 0, "stripe": 0, "1": 1, "raid1": 1, "mirror": 1, "5": 5, "raid5": 5, "10": 10, "raid10": 10}[f.text("level")],
		Metadata: f.text("metadata"),
		Layout:   f.text("layout"),
		Bitmap:   f.text("bitmap") != "none",
		ownUUID:  strings.ToLower(f.text("uuid")),
	}
	if e.v.get("chunk") != nil {
		n.Chunk = field(&f, "chunk", ParseSize)
	}
	if n.Metadata == "" {
		n.Metadata = "1.2"
	}
	n.Bitmap = n.Bitmap && n.Level != 0
	n.bases = f.words("base")
	for i, b := range n.bases {
		if slices.Contains(n.bases[:i], b) {
			f.fail(f.place("base").errorf("%q is named twice", b))
		}
	}
	return []Node{n}, f.err
}
