package blockdev

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lithify/lithify/blockdev/lvm"
)

// PhysicalVolume gives a block device to a volume group.
type PhysicalVolume struct {
	vertex
	ID string // set by Identify
}

// VolumeGroup is the pool of extents that logical volumes are made of.
type VolumeGroup struct {
	vertex           // the bases are physical volumes
	ID        string // set by Identify
	Extent    int64  // bytes
	Alignment int64  // of the data of its physical volumes, bytes; 0: the usual
}

// LogicalVolume is a block device made of a group's extents.
type LogicalVolume struct {
	vertex
	ID         string // set by Identify
	Size       Extents
	Stripes    int   // over as many physical volumes; 0 or 1: linear
	StripeSize int64 // bytes; 0: the usual

	// Pool says that it is no device but what thin volumes take their blocks from.
	Pool     bool
	Chunk    int64  // of a pool, bytes; 0: computed
	Metadata int64  // of a pool, bytes; 0: computed
	ThinPool string // the pool of a thin volume, whose size is a promise
}

// lvmKind: the entry is no node itself; its volumes and groups are.
func lvmKind() nodeKind {
	return nodeKind{name: "lvm", level: 1, items: "lvs", nameless: true, decode: decodeLVM}
}

func decodeLVM(e entry) ([]Node, error) {
	var nodes []Node
	pvs, vgs := map[string]bool{}, map[string]bool{}
	for it := range e.each("pvs") {
		n, err := decodePhysical(it)
		if err != nil {
			return nil, err
		}
		pvs[n.name] = true
		nodes = append(nodes, n)
	}
	for it := range e.each("vgs") {
		n, err := decodeGroup(it, pvs)
		if err != nil {
			return nil, err
		}
		vgs[n.name] = true
		nodes = append(nodes, n)
	}
	for it := range e.each("lvs") {
		n, err := decodeLogical(it, vgs)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, checkPools(e, nodes)
}

// checkPools: a thin volume is in a pool of its own group.
func checkPools(e entry, nodes []Node) error {
	for _, n := range nodes {
		l, ok := n.(*LogicalVolume)
		if !ok || l.ThinPool == "" {
			continue
		}
		pool := func(n Node) bool {
			p, ok := n.(*LogicalVolume)
			return ok && p.Pool && p.name == l.ThinPool && p.base() == l.base()
		}
		if !slices.ContainsFunc(nodes, pool) {
			return l.at.errorf("thin-pool:%s of %q is no volume of type thin-pool in group %q", l.ThinPool, l.name, l.base())
		}
	}
	return nil
}

// each gives the maps of one of the entry's lists as entries of their own.
func (e entry) each(key string) func(func(entry) bool) {
	return func(yield func(entry) bool) {
		list := e.v.get(key)
		at := e.at.key(key, list)
		for i, v := range list.items {
			it := entry{kind: e.kind, name: v.textOf("name"), at: at.index(i, v), v: v}
			if !yield(it) {
				return
			}
		}
	}
}

func decodePhysical(e entry) (*PhysicalVolume, error) {
	f := fields{e: e}
	n := &PhysicalVolume{vertex: e.vertex()}
	n.bases = []string{f.text("base")}
	// What these ask for is what is done: nobody is asked, and nothing is there
	// to be wiped.
	return n, f.lvmOptions(map[string]func(string) error{
		"--force": nil, "-f": nil, "-ff": nil, "--yes": nil, "-y": nil, "--quiet": nil, "-q": nil,
	})
}

func decodeGroup(e entry, pvs map[string]bool) (*VolumeGroup, error) {
	f := fields{e: e}
	n := &VolumeGroup{vertex: e.vertex(), Extent: 4 * mib}
	n.bases = f.words("base")
	for _, b := range n.bases {
		if !pvs[b] {
			return nil, e.at.key("base", e.v.get("base")).errorf("base:%s in vgs does not match a valid pvs", b)
		}
	}
	extent := func(s string) (err error) { n.Extent, err = lvmSize(s); return err }
	align := func(s string) (err error) { n.Alignment, err = lvmSize(s); return err }
	return n, f.lvmOptions(map[string]func(string) error{
		"--force": nil, "-f": nil, "--yes": nil, "-y": nil, "--quiet": nil, "-q": nil,
		"-s": extent, "--physicalextentsize": extent, "--dataalignment": align,
	})
}

func decodeLogical(e entry, vgs map[string]bool) (*LogicalVolume, error) {
	f := fields{e: e}
	n := &LogicalVolume{vertex: e.vertex()}
	n.bases = f.words("base")
	if len(n.bases) != 1 || !vgs[n.bases[0]] {
		spelled := f.text("base")
		if list := e.v.get("base"); list.kind == listValue {
			spelled = "['" + strings.Join(n.bases, "', '") + "']"
		}
		return nil, f.place("base").errorf("base:%s in lvs does not match a valid vg", spelled)
	}
	if err := f.thin(n); err != nil {
		return nil, err
	}
	switch {
	case e.v.get("size") != nil: // it wins, as ever
		n.Size = Extents{Bytes: field(&f, "size", ParseSize)}
	case e.v.get("extents") != nil:
		n.Size = field(&f, "extents", parseExtents)
	default:
		return nil, e.at.errorf("Missing 'size' or 'extents' in lvs config")
	}
	if f.err != nil {
		return nil, f.err
	}
	stripes := func(s string) (err error) { n.Stripes, err = strconv.Atoi(s); return err }
	size := func(s string) (err error) { n.StripeSize, err = lvmSize(s); return err }
	chunk := func(s string) (err error) { n.Chunk, err = lvmSize(s); return err }
	metadata := func(s string) (err error) { n.Metadata, err = lvmSize(s); return err }
	known := map[string]func(string) error{
		"--yes": nil, "-y": nil, "--quiet": nil, "-q": nil, "--wipesignatures": anyValue, "-W": anyValue, "-Wy": nil, "-Wn": nil,
		"--zero": anyValue, "-Z": anyValue, "-Zy": nil, "-Zn": nil,
	}
	switch {
	case n.Pool:
		maps.Copy(known, map[string]func(string) error{"-c": chunk, "--chunksize": chunk, "--poolmetadatasize": metadata})
	case n.ThinPool == "":
		maps.Copy(known, map[string]func(string) error{"-i": stripes, "--stripes": stripes, "-I": size, "--stripesize": size})
	}
	return n, f.lvmOptions(known)
}

// thin reads the keys of thin volumes and their pools.
func (f *fields) thin(n *LogicalVolume) error {
	kind := f.text("type")
	n.ThinPool, n.Pool = f.text("thin-pool"), kind == "thin-pool"
	switch {
	case kind != "" && kind != "thin" && kind != "thin-pool":
		return f.place("type").errorf("Unsupported type:%s, supported types: thin, thin-pool", kind)
	case kind == "thin" && n.ThinPool == "":
		return f.e.at.errorf("thin-pool is missing: it names the volume of type thin-pool that %q takes its blocks from", f.e.name)
	case kind != "thin" && n.ThinPool != "":
		return f.place("thin-pool").errorf("%q is in a thin pool; its type must be thin", f.e.name)
	case kind == "thin" && f.e.v.get("size") == nil:
		return f.e.at.errorf("size is missing: that of a thin volume is what it promises, and no share of its group")
	}
	return nil
}

func anyValue(string) error { return nil }

// lvmOptions reads options of pvcreate, vgcreate or lvcreate. Those without a
// function have no value.
func (f *fields) lvmOptions(known map[string]func(string) error) error {
	words := f.words("options")
	for len(words) > 0 && f.err == nil {
		name, value, joined := strings.Cut(words[0], "=")
		words = words[1:]
		read, ok := known[name]
		if !ok {
			return f.place("options").errorf("option %q is not known here; %s", name, allowed(name, slices.Sorted(keysOf(known))))
		}
		if read == nil {
			continue
		}
		if !joined {
			if len(words) == 0 {
				return f.place("options").errorf("option %s: its value is missing", name)
			}
			value, words = words[0], words[1:]
		}
		if err := read(value); err != nil {
			return f.place("options").errorf("option %s: %v", name, err)
		}
	}
	return f.err
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// lvmSize reads a size as LVM's programs do: a number without a unit is MiB, and
// units are powers of 1024 in either case.
func lvmSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "bBsSkKmMgGtTiI")
	unit, ok := map[string]int64{"": mib, "b": 1, "s": 512, "k": kib, "m": mib, "g": gib, "t": 1 << 40}[strings.TrimSuffix(strings.ToLower(s[len(digits):]), "ib")]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n <= 0 || n > (1<<50)/unit {
		return 0, fmt.Errorf("found %q; a number and a unit are wanted, such as 4m", s)
	}
	return n * unit, nil
}

// Extents is the size of a logical volume: bytes, a number of extents, or a share
// of the group or of what is free in it when the volume's turn comes.
type Extents struct {
	Bytes   int64 // rounded down to whole extents
	Number  int64
	Percent float64
	Of      string // VG, FREE or PVS
}

// relative says whether a larger group gives the volume more.
func (x Extents) relative() bool { return x.Percent > 0 }

// in returns the number of extents of so many bytes, in a group of total of which
// free are not given away.
func (x Extents) in(size, total, free int64) int64 {
	switch {
	case x.Bytes > 0:
		return x.Bytes / size
	case x.Number > 0:
		return x.Number
	case x.Of == "FREE":
		total = free
	}
	n := int64(float64(total) * x.Percent / 100)
	if x.Percent == 100 {
		n = total
	}
	return n
}

func (x Extents) String() string {
	switch {
	case x.Bytes > 0:
		return FormatSize(x.Bytes)
	case x.Number > 0:
		return fmt.Sprintf("%d extents", x.Number)
	}
	return strconv.FormatFloat(x.Percent, 'g', -1, 64) + "%" + x.Of
}

func parseExtents(s string) (Extents, error) {
	number, of, relative := strings.Cut(s, "%")
	if !relative {
		n, err := strconv.ParseInt(strings.TrimPrefix(s, "+"), 10, 40)
		if err != nil || n <= 0 {
			return Extents{}, fmt.Errorf("found %q; a number of extents is wanted, or a share such as 50%%VG or 100%%FREE", s)
		}
		return Extents{Number: n}, nil
	}
	p, err := strconv.ParseFloat(number, 64)
	if err != nil || !percentGrammar.MatchString(number) || p <= 0 || p > 100 || !slices.Contains([]string{"VG", "FREE", "PVS"}, of) {
		return Extents{}, fmt.Errorf("found %q; a share above 0 and up to 100 of VG, FREE or PVS is wanted, such as 50%%VG", s)
	}
	return Extents{Percent: p, Of: of}, nil
}

func checkExtents(s string) error {
	_, err := parseExtents(s)
	return err
}

// checkVolumeName is without the group's name: that both together are short
// enough shows when the group is laid out.
func checkVolumeName(s string) error { return lvm.CheckLogicalName("", s) }
