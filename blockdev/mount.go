package blockdev

import (
	"path"
	"slices"
	"strings"
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
	if err := e.needBase(); err != nil {
		return nil, err
	}
	f := fields{e: e}
	f.require("mount_point")
	mp, sub := f.text("mount_point"), f.subvolume("subvolume")
	if err := f.done("name", "base", "mount_point", "subvolume"); err != nil {
		return nil, err
	}
	at := f.place("mount_point")
	switch {
	case mp == "":
		return nil, at.errorf("mount_point is empty; a path such as /var is wanted")
	case strings.ContainsAny(mp, " \t\n\\\x00"):
		return nil, at.errorf("mount point %q: blanks and backslashes would break /etc/fstab", mp)
	case slices.Contains(strings.Split(mp, "/"), ".."):
		return nil, at.errorf("mount point %q leads out of the tree by ..", mp)
	}
	// A path without a leading slash has always meant the root.
	return []Node{&Mount{vertex: e.vertex(), MountPoint: path.Clean("/" + mp), Subvolume: sub}}, nil
}

// compareMountPoints orders by path components, so that /var comes before
// /var/log and /var/log before /var-old.
func compareMountPoints(a, b string) int {
	return slices.Compare(components(a), components(b))
}

func components(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}
