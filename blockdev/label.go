package blockdev

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"

	"github.com/lithify/lithify/blockdev/fat"
)

// checkLabel makes a label where none is given, and checks it.
func (n *Mkfs) checkLabel() error {
	limit := fsTypes[n.FSType].max
	if n.Label == "" {
		n.Label = deriveLabel(n.name, n.FSType)
	}
	if len(n.Label) > limit {
		return n.at.errorf("label %q is too long for filesystem %s: %d bytes, at most %d", clip(n.Label), n.FSType, len(n.Label), limit)
	}
	if strings.ContainsFunc(n.Label, breaksFstab) {
		return n.at.errorf("label %q: blanks, quotes and backslashes would break /etc/fstab", n.Label)
	}
	if n.FSType != "vfat" {
		return nil
	}
	label, err := fat.CleanLabel(n.Label)
	if err != nil {
		return n.at.errorf("mkfs %q: %v", n.name, err)
	}
	n.Label = label
	return nil
}

// breaksFstab says whether a character would end a word of fstab or be read as
// something else by it, by blkid or by a shell.
func breaksFstab(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("\"'\\", r)
}

// deriveLabel makes a label of a node's name that its file system can hold.
func deriveLabel(name, fsType string) string {
	s := strings.Map(func(r rune) rune {
		if breaksFstab(r) {
			return '_'
		}
		return r
	}, name)
	if fsType == "vfat" {
		s = strings.Map(func(r rune) rune {
			if _, err := fat.CleanLabel(string(r)); err != nil {
				return '_'
			}
			return r
		}, s)
	}
	return shorten(s, fsTypes[fsType].max)
}

// shorten keeps a derived label within limit bytes and still its own.
func shorten(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.ToValidUTF8(name[:limit-5], "") + "-" + hex.EncodeToString(sum[:2])
}

// checkLabels: fstab finds file systems by label. Those of vfat are one whatever
// their case.
func (g *Graph) checkLabels() error {
	var seen []*Mkfs
	for _, n := range g.config {
		m, ok := n.(*Mkfs)
		if !ok {
			continue
		}
		for _, old := range seen {
			if sameLabel(old, m) {
				return m.at.errorf("label %s used more than once: by %q and %q", labels(old, m), old.name, m.name)
			}
		}
		seen = append(seen, m)
	}
	return g.checkVolumeLabels(seen)
}

// checkVolumeLabels: crypttab finds encrypted volumes by label as well.
func (g *Graph) checkVolumeLabels(systems []*Mkfs) error {
	used := map[string]string{}
	for _, m := range systems {
		used[strings.ToLower(m.Label)] = m.name
	}
	for _, n := range g.config {
		e, ok := n.(*Encrypted)
		if !ok || e.Label == "" {
			continue
		}
		if other := used[strings.ToLower(e.Label)]; other != "" {
			return e.at.errorf("label %q used more than once: by %q and %q", e.Label, other, e.name)
		}
		used[strings.ToLower(e.Label)] = e.name
	}
	return nil
}

func sameLabel(a, b *Mkfs) bool {
	if a.FSType == "vfat" || b.FSType == "vfat" {
		return strings.EqualFold(a.Label, b.Label)
	}
	return a.Label == b.Label
}

func labels(a, b *Mkfs) string {
	if a.Label == b.Label {
		return fmt.Sprintf("%q", a.Label)
	}
	return fmt.Sprintf("%q (%q)", a.Label, b.Label)
}
