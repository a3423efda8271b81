package blockdev

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// cleanSubvolume returns the path of a btrfs subvolume within its file system,
// without a slash at either end.
func cleanSubvolume(s string) (string, error) {
	// The kernel reads it as a mount option, fstab as a word.
	if strings.ContainsAny(s, " \t\n,\\\x00#\"'") {
		return "", fmt.Errorf("subvolume %q: blanks, commas, quotes and backslashes would break mount options", s)
	}
	if slices.Contains(strings.Split(s, "/"), "..") {
		return "", fmt.Errorf("subvolume %q leads out of the file system by ..", s)
	}
	clean := strings.Trim(path.Clean("/"+s), "/")
	if clean == "" {
		return "", fmt.Errorf("subvolume %q: a name is wanted, such as @home", s)
	}
	for part := range strings.SplitSeq(clean, "/") {
		if len(part) > 255 {
			return "", fmt.Errorf("subvolume %q: a name of more than 255 bytes", s)
		}
	}
	return clean, nil
}

// checkSubvolumes: only btrfs has any, each is mounted once at most, and none
// lies in another, which snapshots would tear apart.
func (g *Graph) checkSubvolumes() error {
	mounted := map[string]string{}
	for _, m := range g.mounts {
		f := g.fileSystem(m)
		if m.Subvolume == "" {
			continue
		}
		if f.FSType != "btrfs" {
			return m.at.errorf("subvolume %q: file system %q is %s; only btrfs has subvolumes", m.Subvolume, f.name, f.FSType)
		}
		key := f.name + "/" + m.Subvolume
		if old := mounted[key]; old != "" {
			return m.at.errorf("subvolume %q of %q is mounted twice: on %s and %s", m.Subvolume, f.name, old, m.MountPoint)
		}
		mounted[key] = m.MountPoint
		if !slices.Contains(f.Subvolumes, m.Subvolume) {
			f.Subvolumes = append(f.Subvolumes, m.Subvolume)
		}
	}
	for _, n := range g.config {
		if f, ok := n.(*Mkfs); ok && len(f.Subvolumes) > 0 {
			if err := f.checkSubvolumes(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Mkfs) checkSubvolumes() error {
	if n.FSType != "btrfs" {
		return n.at.errorf("subvolumes of %q: it is %s; only btrfs has subvolumes", n.name, n.FSType)
	}
	for _, a := range n.Subvolumes {
		for _, b := range n.Subvolumes {
			if strings.HasPrefix(b, a+"/") {
				return n.at.errorf("subvolume %q lies in subvolume %q; give both names of their own", b, a)
			}
		}
	}
	return nil
}
