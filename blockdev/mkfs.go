package blockdev

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Mkfs is a file system.
type Mkfs struct {
	vertex
	FSType   string // ext2, ext3, ext4; filled in by Graph for the root when not given
	Label    string // filled in by Graph when not given
	UUID     string // given, or set by Identify
	HashSeed string // a UUID; of ext directories, set by Identify
	Options  []string

	ownOptions bool   // the configuration has opts
	ownUUID    string // the configuration's
}

// fsTypes lists the file systems; max is the longest label in bytes.
var fsTypes = map[string]struct {
	max int
	yet bool
}{
	"ext2": {16, true}, "ext3": {16, true}, "ext4": {16, true},
	"xfs": {12, false}, "vfat": {11, false}, "fat": {11, false}, "swap": {16, false},
	"btrfs": {255, false},
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

var uuidGrammar = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func decodeMkfs(e entry) ([]Node, error) {
	if err := e.needBase(); err != nil {
		return nil, err
	}
	f := fields{e: e}
	n := &Mkfs{
		vertex:  e.vertex(),
		FSType:  f.text("type"),
		Label:   f.text("label"),
		ownUUID: strings.ToLower(f.text("uuid")),
		Options: f.words("opts"),
	}
	n.UUID, n.ownOptions = n.ownUUID, e.v.get("opts") != nil
	if err := f.done("name", "base", "type", "label", "opts", "uuid"); err != nil {
		return nil, err
	}
	if n.UUID != "" && !uuidGrammar.MatchString(n.UUID) {
		return nil, f.place("uuid").errorf("found %q; a UUID is wanted, such as 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11", n.UUID)
	}
	if n.FSType != "" {
		if err := checkFSType(n.FSType, f.place("type")); err != nil {
			return nil, err
		}
	}
	return []Node{n}, nil
}

func checkFSType(t string, at place) error {
	known, ok := fsTypes[t]
	switch {
	case !ok:
		return at.errorf("unknown file system %q; %s", t, allowed(t, fsTypeNames()))
	case !known.yet:
		return at.notYet("file system %q", t)
	}
	return nil
}

// checkLabel makes a label where none is given, and measures it.
func (n *Mkfs) checkLabel() error {
	limit := fsTypes[n.FSType].max
	if n.Label == "" {
		n.Label = shorten(n.name, limit)
	}
	if len(n.Label) > limit {
		return &ConfigError{Path: n.at.path, Line: n.at.line, Text: "label " + strconv.Quote(n.Label) +
			" is too long for filesystem " + n.FSType + ": " + strconv.Itoa(len(n.Label)) + " bytes, at most " + strconv.Itoa(limit)}
	}
	if strings.ContainsAny(n.Label, " \t\n\"'\\\x00") {
		return n.at.errorf("label %q: blanks, quotes and backslashes would break /etc/fstab", n.Label)
	}
	return nil
}

// shorten keeps a derived label within limit bytes and still its own.
func shorten(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:limit-5] + "-" + hex.EncodeToString(sum[:2])
}

// extRootOptions is what the root file system gets without opts of its own:
// many inodes, since it grows at first boot, and a journal that fits its later size.
func extRootOptions(fsType string, d Defaults) []string {
	var o []string
	if d.MaxOnlineResize > 0 && strings.HasPrefix(fsType, "ext") {
		o = append(o, "-E", "resize="+strconv.FormatInt(d.MaxOnlineResize, 10))
	}
	if fsType == "ext4" {
		o = append(o, "-i", "4096", "-J", "size="+strconv.Itoa(d.JournalMiB))
	}
	return slices.Concat(o, d.RootOptions)
}
