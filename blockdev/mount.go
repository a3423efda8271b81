package blockdev

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
)

// Mount puts a file system into the tree.
type Mount struct {
	vertex
	MountPoint string // absolute and clean; NoMountPoint for swap
	Subvolume  string // of a btrfs, relative and clean; "" for the file system as a whole
}

// NoMountPoint stands for a mount point in fstab where there is none (swap).
const NoMountPoint = "none"

func mountKind() nodeKind {
	return nodeKind{name: "mount", level: 3, decode: decodeMount}
}

func decodeMount(e entry) ([]Node, error) {
	f := fields{e: e}
	sub := field(&f, "subvolume", cleanSubvolume)
	// A path without a leading slash has always meant the root.
	return []Node{&Mount{vertex: e.vertex(), MountPoint: path.Clean("/" + f.text("mount_point")), Subvolume: sub}}, f.err
}

func checkMountPath(s string) error {
	switch {
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '\\' || r == '#' }):
		return fmt.Errorf("mount point %q: blanks, # and backslashes would break /etc/fstab", s)
	case slices.Contains(strings.Split(s, "/"), ".."):
		return fmt.Errorf("mount point %q leads out of the tree by ..", s)
	}
	return nil
}

// compareMountPoints orders by path components, so that /var comes before
// /var/log and /var/log before /var-old.
func compareMountPoints(a, b string) int {
	return slices.Compare(components(a), components(b))
}

func components(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}
