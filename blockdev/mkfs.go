package blockdev

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lithify/lithify/blockdev/fat"
)

// Mkfs is a file system, or swap space.
type Mkfs struct {
	vertex
	FSType     string // filled in by Graph for the root when not given; "fat" has become "vfat"
	Label      string // filled in by Graph when not given
	UUID       string // given, or set by Identify; of vfat as blkid has it: ABCD-1234
	HashSeed   string // a UUID; of ext directories, set by Identify
	Options    []string
	Subvolumes []string // of btrfs: those of the configuration, then those that only mounts name

	profile    string // of features, set by Graph
	ownOptions bool   // the configuration has opts
	ownUUID    string // the configuration's
}

// fsTypes lists the file systems; max is the longest label in bytes.
var fsTypes = map[string]struct{ max int }{
	"ext2": {16}, "ext3": {16}, "ext4": {16}, "xfs": {12}, "vfat": {11}, "fat": {11}, "swap": {16}, "btrfs": {255},
}

func fsTypeNames() []string {
	var names []string
	for n := range fsTypes {
		names = append(names, n)
	}
	return names
}

func mkfsKind() nodeKind {
	return nodeKind{name: "mkfs", level: 2, decode: decodeMkfs}
}

func decodeMkfs(e entry) ([]Node, error) {
	f := fields{e: e}
	n := &Mkfs{
		vertex:     e.vertex(),
		FSType:     kernelName(f.text("type")),
		Label:      f.text("label"),
		Options:    f.words("opts"),
		ownOptions: e.v.get("opts") != nil,
		ownUUID:    strings.ToLower(f.text("uuid")),
	}
	if n.FSType == "vfat" {
		n.ownUUID = field(&f, "uuid", cleanFATID)
	}
	for _, w := range f.words("subvolumes") {
		clean, _ := cleanSubvolume(w)
		if slices.Contains(n.Subvolumes, clean) {
			f.fail(f.place("subvolumes").errorf("subvolume %q is given twice", w))
		}
		n.Subvolumes = append(n.Subvolumes, clean)
	}
	return []Node{n}, f.err
}

// kernelName is what the kernel calls a file system.
func kernelName(fsType string) string {
	if fsType == "fat" {
		return "vfat"
	}
	return fsType
}

func cleanFATID(s string) (string, error) {
	id, err := fat.ParseID(s)
	return fat.FormatID(id), err
}

func checkFATID(s string) error {
	_, err := fat.ParseID(s)
	return err
}

func checkFSType(t string, at place) error {
	if _, ok := fsTypes[t]; !ok {
		return at.errorf("unknown file system %q; %s", t, allowed(t, fsTypeNames()))
	}
	return nil
}

// rootOptions is what the root file system gets without opts of its own:
// many inodes, since it grows at first boot, and a journal that fits its later size.
func rootOptions(fsType string, d Defaults) []string {
	var o []string
	if d.MaxOnlineResize > 0 && strings.HasPrefix(fsType, "ext") {
		o = append(o, "-E", "resize="+strconv.FormatInt(d.MaxOnlineResize, 10))
	}
	if fsType == "ext4" {
		o = append(o, "-i", "4096", "-J", "size="+strconv.Itoa(d.JournalMiB))
	}
	return slices.Concat(o, d.RootOptions)
}

// fsModel knows what a kind of file system costs. Sizes are bytes.
type fsModel interface {
	// least is the smallest size that may hold the plan's content. Below it
	// nothing works; at it things may still turn out to be too tight.
	least(f *FSPlan) (int64, error)
	// wants is a size in which the content surely fits with room free.
	wants(f *FSPlan, room int64) (int64, error)
	// settle fills in what follows from the size.
	settle(f *FSPlan)
}

func (f *FSPlan) model() fsModel {
	switch f.FSType {
	case "xfs":
		return xfsModel{}
	case "btrfs":
		return btrfsModel{}
	case "vfat":
		return fatModel{}
	case "swap":
		return swapModel{}
	}
	return extModel{}
}

// checkOptions finds mistakes in opts before anything is built, where they can
// be known.
func (n *Mkfs) checkOptions() error {
	if n.FSType == "vfat" {
		var o fat.Options
		if err := fat.ParseOptions(n.Options, &o); err != nil {
			return n.at.errorf("opts: %v", err)
		}
	}
	if n.FSType == "swap" && len(n.Options) > 0 {
		return n.at.errorf("opts %q: swap takes none", n.Options)
	}
	if n.FSType == "btrfs" {
		if err := checkBtrfsOptions(n.Options); err != nil {
			return n.at.errorf("opts: %v", err)
		}
	}
	return nil
}
