package blockdevtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// judge lets foreign tools and the kernel look at the images.
func judge(t *testing.T, m made, o CompareOptions) {
	images := m.disk.Images()
	for _, d := range m.plan.Disks {
		st, err := os.Stat(images[d.Node])
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() != d.Size {
			t.Errorf("image of %q has %d bytes, the plan %d", d.Node, st.Size(), d.Size)
		}
		if d.Label != "" {
			judgeTable(t, images[d.Node], d)
		}
	}
	for _, f := range m.plan.FileSystems {
		judgeExt(t, images[f.Disk], f)
	}
	dir := mountAll(t, m)
	compare(t, m.tree, dir, m.plan, o)
}

// judgeTable compares the table with what sfdisk reads.
func judgeTable(t *testing.T, image string, d blockdev.DiskPlan) {
	if out := tool(t, "sfdisk", "--verify", image); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify: %s", out)
	}
	var dump struct {
		PartitionTable struct {
			Label, ID  string
			Partitions []struct {
				Start, Size int64
				Type        string
				Bootable    bool
			}
		}
	}
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "--json", image)), &dump); err != nil {
		t.Fatal(err)
	}
	got := dump.PartitionTable
	if got.Label != "dos" || got.ID != fmt.Sprintf("%#08x", d.DiskID) || len(got.Partitions) != len(d.Partitions) {
		t.Fatalf("sfdisk reads %+v, the plan is %+v", got, d)
	}
	for i, p := range d.Partitions {
		g := got.Partitions[i]
		if g.Start*512 != p.Start || g.Size*512 != p.Size || g.Type != fmt.Sprintf("%x", p.Type) || g.Bootable != p.Boot {
			t.Errorf("partition %d: sfdisk reads %+v, the plan is %+v", i+1, g, p)
		}
	}
}

// judgeExt checks one file system where it lies in the image.
func judgeExt(t *testing.T, image string, f blockdev.FSPlan) {
	at := fmt.Sprintf("%s?offset=%d", image, f.Offset)
	tool(t, "e2fsck", "-fn", at)
	out := tool(t, "dumpe2fs", "-h", at)
	field := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `: +(.*)$`).FindStringSubmatch(out)
		if m == nil {
			return ""
		}
		return m[1]
	}
	want := map[string]string{
		"Filesystem volume name": f.Label, "Filesystem UUID": f.UUID, "Directory Hash Seed": f.HashSeed,
		"Block count": fmt.Sprint(f.Size / 4096), "Last mounted on": f.MountPoint, "Filesystem state": "clean",
	}
	for name, v := range want {
		if got := field(name); got != v {
			t.Errorf("%s of %q: %q, the plan says %q", name, f.Node, got, v)
		}
	}
	if features := field("Filesystem features"); slices.Contains(f.Options, "^metadata_csum") == strings.Contains(features, "metadata_csum") && f.FSType == "ext4" {
		t.Errorf("features of %q: %s, options %q", f.Node, features, f.Options)
	}
}

// mountAll lets the kernel mount every file system read-only at its place.
func mountAll(t *testing.T, m made) string {
	dir := t.TempDir()
	for _, f := range m.plan.FileSystems {
		target := filepath.Join(dir, f.MountPoint)
		o := fmt.Sprintf("ro,loop,offset=%d,sizelimit=%d", f.Offset, f.Size)
		tool(t, "mount", "-t", f.FSType, "-o", o, m.disk.Images()[f.Disk], target)
		t.Cleanup(func() { tool(t, "umount", target) })
	}
	return dir
}

// compare compares the tree with a mounted disk. mke2fs's own lost+found is
// left out, where the tree has none.
func compare(t *testing.T, tree, dir string, p *blockdev.Plan, o CompareOptions) {
	t.Helper()
	for _, f := range p.FileSystems {
		o.Ignore = append(o.Ignore, filepath.Join(f.MountPoint, "lost+found"))
	}
	all, err := CompareTrees(tree, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		t.Errorf("tree and disk: %s", d)
	}
}

// nothingLeft checks that a back end's folder is empty and no loop device has a
// file in it.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left behind: %s", e.Name())
	}
	if left := LoopDevices(dir); len(left) > 0 {
		t.Errorf("loop devices left behind: %v", left)
	}
}

// LoopDevices returns the loop devices whose file is below dir.
func LoopDevices(dir string) []string {
	var found []string
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // the pattern is right
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err == nil && strings.HasPrefix(string(bytes.TrimSpace(data)), dir+"/") {
			found = append(found, filepath.Base(filepath.Dir(filepath.Dir(f))))
		}
	}
	return found
}

// sameTimes gives b the times of a.
func sameTimes(t *testing.T, a, b string) {
	var st unix.Stat_t
	if err := unix.Lstat(a, &st); err != nil {
		t.Fatal(err)
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, b, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
