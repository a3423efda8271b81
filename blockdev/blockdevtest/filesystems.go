package blockdevtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// judgeFileSystem has one file system checked by its own tools, and returns what
// they and blkid say.
func judgeFileSystem(t *testing.T, dev string, f blockdev.FSPlan) []string {
	t.Helper()
	switch f.FSType {
	case "xfs":
		tool(t, "xfs_repair", "-n", dev)
	case "btrfs":
		tool(t, "btrfs", "check", "--readonly", dev)
	case "vfat":
		tool(t, "fsck.fat", "-n", dev)
	case "swap":
		if out := tool(t, "swaplabel", dev); !strings.Contains(out, f.UUID) {
			t.Errorf("swaplabel of %q: %s", f.Node, out)
		}
	default:
		judgeExt(t, dev, f)
	}
	out := tool(t, "blkid", "-p", "-o", "export", dev)
	want := []string{"TYPE=" + f.FSType, "UUID=" + f.UUID, "LABEL=" + f.Label}
	for _, line := range want {
		if !slices.Contains(strings.Split(out, "\n"), line) {
			t.Errorf("blkid of %q: no %q in\n%s", f.Node, line, out)
		}
	}
	out = deviceUUID.ReplaceAllString(out, "")
	return []string{strings.ReplaceAll(out, dev, f.Node)}
}

// deviceUUID is one that mkfs.btrfs makes up and that nothing refers to.
var deviceUUID = regexp.MustCompile(`(?m)^UUID_SUB=.*\n`)

// judgeExt checks what an ext superblock says.
func judgeExt(t *testing.T, dev string, f blockdev.FSPlan) {
	t.Helper()
	tool(t, "e2fsck", "-fn", dev)
	out := tool(t, "dumpe2fs", "-h", dev)
	field := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `: +(.*)$`).FindStringSubmatch(out)
		if m == nil {
			return ""
		}
		return m[1]
	}
	want := map[string]string{
		"Filesystem volume name": f.Label, "Filesystem UUID": f.UUID, "Directory Hash Seed": f.HashSeed,
		"Block count": fmt.Sprint(f.Size / 4096), "Filesystem state": "clean",
	}
	if f.MountPoint != "" {
		want["Last mounted on"] = f.MountPoint
	}
	for name, v := range want {
		if got := field(name); got != v {
			t.Errorf("%s of %q: %q, the plan says %q", name, f.Node, got, v)
		}
	}
	none := f.FSType != "ext4" || f.Profile != "" || slices.Contains(f.Options, "^metadata_csum")
	if features := field("Filesystem features"); none == strings.Contains(features, "metadata_csum") {
		t.Errorf("features of %q: %s, options %q, profile %q", f.Node, features, f.Options, f.Profile)
	}
}

// mountAll lets the kernel mount every file system read-only at its place.
func mountAll(t *testing.T, m made, devices map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, at := range m.plan.Mounts {
		f := m.plan.MadeBy(at.Node)
		target := filepath.Join(dir, at.MountPoint)
		o := "ro"
		switch f.FSType {
		case "vfat":
			if !mountFAT(t, devices[f.Node], target) {
				bindFAT(t, m.disk.Images()[f.Disk], f, target)
			}
			continue
		case "xfs":
			o = "ro,nouuid"
		case "btrfs":
			o = "ro,subvol=/" + at.Subvolume
		}
		tool(t, "mount", "-t", f.FSType, "-o", o, devices[f.Node], target)
		t.Cleanup(func() { unmount(t, target) })
	}
	return dir
}

// unmount waits for children of other tests, which have our files open from
// their fork to their exec.
func unmount(t *testing.T, target string) {
	t.Helper()
	for range 50 {
		if unix.Unmount(target, 0) == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	tool(t, "umount", target)
}

// mountFAT has the kernel read a FAT, if it can.
func mountFAT(t *testing.T, device, target string) bool {
	t.Helper()
	if unix.Mount(device, target, "vfat", unix.MS_RDONLY, "iocharset=utf8,shortname=mixed,tz=UTC") != nil {
		return false
	}
	t.Cleanup(func() { unmount(t, target) })
	return true
}

// bindFAT reads a FAT by mtools: many kernels have no driver, or not all that it
// wants.
func bindFAT(t *testing.T, image string, f *blockdev.FSPlan, target string) {
	t.Helper()
	dir := t.TempDir()
	tool(t, "env", "TZ=UTC", "mcopy", "-s", "-m", "-n", "-i", fmt.Sprintf("%s@@%d", image, f.Offset), "::/", dir)
	tool(t, "mount", "--bind", dir, target)
	t.Cleanup(func() { unmount(t, target) })
}

// compare compares the tree with a mounted disk. mke2fs's own lost+found is
// left out, where the tree has none; so are subvolumes that nothing mounts. Of
// what is on vfat only what FAT holds counts.
func compare(t *testing.T, tree, dir string, p *blockdev.Plan, o CompareOptions) {
	t.Helper()
	var fats []string
	o.IgnoreXattrs = append(o.IgnoreXattrs, "trusted.SGI_ACL_FILE", "trusted.SGI_ACL_DEFAULT") // ACLs, as xfs shows them too
	for _, m := range p.Mounts {
		f := p.MadeBy(m.Node)
		o.Parts = append(o.Parts, m.MountPoint)
		switch {
		case f.FSType == "vfat":
			fats = append(fats, m.MountPoint)
			o.Ignore = append(o.Ignore, m.MountPoint)
		case strings.HasPrefix(f.FSType, "ext"):
			o.Ignore = append(o.Ignore, filepath.Join(m.MountPoint, "lost+found"))
		case m.Subvolume == "":
			for _, s := range f.Subvolumes {
				o.Ignore = append(o.Ignore, firstMissing(tree, filepath.Join(m.MountPoint, s)))
			}
		}
	}
	differences(t, tree, dir, "/", o)
	for _, mp := range fats {
		inner := CompareOptions{FAT: true}
		for _, m := range p.Mounts {
			if below, ok := strings.CutPrefix(m.MountPoint, mp+"/"); ok {
				inner.Ignore = append(inner.Ignore, "/"+below)
			}
		}
		differences(t, filepath.Join(tree, mp), filepath.Join(dir, mp), mp, inner)
	}
}

// firstMissing returns the first folder on the way to a path that a tree lacks.
func firstMissing(tree, path string) string {
	for up := filepath.Dir(path); up != "/"; up = filepath.Dir(up) {
		if _, err := os.Lstat(filepath.Join(tree, up)); err == nil {
			break
		}
		path = up
	}
	return path
}

func differences(t *testing.T, a, b, at string, o CompareOptions) {
	t.Helper()
	all, err := CompareTrees(a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		t.Errorf("tree and disk at %s: %s", at, d)
	}
	if entries, err := os.ReadDir(a); err != nil || len(entries) == 0 && at == "/" {
		t.Errorf("nothing to compare in %s: %v", a, err)
	}
}
