package blockdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// fsTools are the programs that make file systems, and the packages they are
// in. vfat and swap need none: this program writes them itself.
var fsTools = map[string]struct{ tool, pkg string }{
	"ext2": {"mke2fs", "e2fsprogs"}, "ext3": {"mke2fs", "e2fsprogs"}, "ext4": {"mke2fs", "e2fsprogs"},
	"xfs": {"mkfs.xfs", "xfsprogs"}, "btrfs": {"mkfs.btrfs", "btrfs-progs"},
}

// volumeTools are the programs that make volumes with the kernel's help, and the
// packages they are in.
var volumeTools = map[string]string{"lvm": "lvm2", "mdadm": "mdadm", "cryptsetup": "cryptsetup-bin", "dmsetup": "dmsetup"}

// VolumeTools returns the programs of the host that make the graph's volumes with
// the kernel's help, each once, sorted.
func VolumeTools(g *Graph) []string {
	var all []string
	add := func(names ...string) {
		for _, name := range names {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	for _, n := range g.config {
		switch n.(type) {
		case *LogicalVolume:
			add("lvm", "dmsetup")
		case *Array:
			add("mdadm")
		case *Encrypted:
			add("cryptsetup", "dmsetup")
		}
	}
	slices.Sort(all)
	return all
}

// Tools returns the programs of the host that make file systems, each once,
// sorted.
func Tools(systems []*Mkfs) []string {
	var all []string
	for _, f := range systems {
		if t := fsTools[f.FSType].tool; t != "" && !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	slices.Sort(all)
	return all
}

// FindTool returns the path of a program of the host, also of the sbin folders
// where PATH has none. Its error names the package to install.
func FindTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil || errors.Is(err, exec.ErrDot) {
		return path, err
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
			return path, nil
		}
	}
	pkg := volumeTools[name]
	for _, t := range fsTools {
		if t.tool == name {
			pkg = t.pkg
		}
	}
	if pkg != "" {
		return "", fmt.Errorf("%s is not on this host: install the package %s", name, pkg)
	}
	return "", fmt.Errorf("%s is not on this host", name)
}

var toolVersion = regexp.MustCompile(`(\d+)\.(\d+)`)

// ToolVersion asks mkfs.xfs or mkfs.btrfs, by its path, for the first two
// numbers of its version.
func ToolVersion(ctx context.Context, path string) ([2]int, error) {
	out, err := exec.CommandContext(ctx, path, "-V").CombinedOutput()
	if err != nil {
		return [2]int{}, fmt.Errorf("%s -V: %w: %s", path, err, out)
	}
	m := toolVersion.FindSubmatch(out)
	if m == nil {
		return [2]int{}, fmt.Errorf("%s -V: no version in %q", path, out)
	}
	major, errA := strconv.Atoi(string(m[1]))
	minor, errB := strconv.Atoi(string(m[2]))
	return [2]int{major, minor}, errors.Join(errA, errB)
}
