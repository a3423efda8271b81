package blockdevtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// judge lets foreign tools and the kernel look at the images, and returns what
// they say of each: two back ends must give the same.
func judge(t *testing.T, m made, o CompareOptions) []string {
	t.Helper()
	var said []string
	for _, d := range m.plan.Disks {
		image := m.disk.Images()[d.Node]
		if size := length(t, image); size != d.Size {
			t.Errorf("image of %q has %d bytes, the plan %d", d.Node, size, d.Size)
		}
		if d.Label != "" {
			dev := attach(t, image, 0, d.Size, d.SectorSize)
			judgeTable(t, dev, d)
			said = append(said, strings.ReplaceAll(tool(t, "sfdisk", "--dump", dev), dev, "DISK"))
		}
		said = append(said, probes(t, image, d)...)
	}
	devices := map[string]string{}
	for _, f := range m.plan.FileSystems {
		dev := attach(t, m.disk.Images()[f.Disk], f.Offset, f.Size, f.SectorSize)
		devices[f.Node] = dev
		said = append(said, judgeFileSystem(t, dev, f)...)
	}
	compare(t, m.tree, mountAll(t, m, devices), m.plan, o)
	return said
}

// length is that of a file or a device.
func length(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// attach gives a part of an image a loop device, read-only, until the test ends.
func attach(t *testing.T, image string, offset, size int64, sector int) string {
	t.Helper()
	dev := strings.TrimSpace(tool(t, "losetup", "--find", "--show", "--read-only", "--sector-size", fmt.Sprint(sector),
		"--offset", fmt.Sprint(offset), "--sizelimit", fmt.Sprint(size), image))
	t.Cleanup(func() { tool(t, "losetup", "--detach", dev) })
	return dev
}

// tableRead is what sfdisk reads.
type tableRead struct {
	PartitionTable struct {
		Label, ID  string
		Partitions []struct {
			Start, Size             int64 // sectors
			Type, UUID, Name, Attrs string
			Bootable                bool
		}
	}
}

// judgeTable compares the table with what sfdisk reads.
func judgeTable(t *testing.T, dev string, d blockdev.DiskPlan) {
	t.Helper()
	if out := tool(t, "sfdisk", "--verify", dev); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify: %s", out)
	}
	var read tableRead
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "--json", dev)), &read); err != nil {
		t.Fatal(err)
	}
	label, id := "dos", fmt.Sprintf("%#08x", d.DiskID)
	if d.Label == "gpt" {
		label, id = "gpt", strings.ToUpper(d.DiskGUID)
		if out := tool(t, "sgdisk", "--verify", dev); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk --verify: %s", out)
		}
	}
	got := read.PartitionTable
	if got.Label != label || got.ID != id || len(got.Partitions) != len(d.Partitions) {
		t.Fatalf("sfdisk reads %+v, the plan is %+v", got, d)
	}
	sector := int64(d.SectorSize)
	for i, p := range d.Partitions {
		g := got.Partitions[i]
		same := g.Start*sector == p.Start && g.Size*sector == p.Size
		if d.Label == "gpt" {
			same = same && strings.EqualFold(g.Type, p.TypeGUID) && strings.EqualFold(g.UUID, p.GUID) && g.Name == p.Name &&
				(g.Attrs != "") == (p.Attributes != 0)
		} else {
			same = same && g.Type == fmt.Sprintf("%x", p.Type) && g.Bootable == p.Boot
		}
		if !same {
			t.Errorf("partition %d: sfdisk reads %+v, the plan is %+v", i+1, g, p)
		}
	}
}

// probes asks blkid for the disk.
func probes(t *testing.T, image string, d blockdev.DiskPlan) []string {
	t.Helper()
	if d.Label == "" {
		return nil // its file system is asked
	}
	dev := attach(t, image, 0, d.Size, d.SectorSize)
	return []string{strings.ReplaceAll(tool(t, "blkid", "-p", dev), dev, "DISK")}
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
	Detached(t, dir)
}

// Detached checks that no loop device has a file below dir. It waits for others:
// tools that look through all devices (losetup, mkfs.btrfs, blkid, of another test)
// hold one open for a moment, and the kernel lets it go after that.
func Detached(t testing.TB, dir string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); len(loopDevices(dir)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("loop devices left behind: %v", loopDevices(dir))
			return
		}
	}
}

// loopDevices returns the loop devices whose file is below dir.
func loopDevices(dir string) []string {
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
