package blockdevtest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/physical"
)

// NewWiper makes a back end that keeps its files below dir and may wipe devices.
type NewWiper func(dir string, o physical.Options) blockdev.Backend

// deviceSize is enough for each of physicalLayouts, bytes.
const deviceSize = 360 << 20

// physicalLayouts are disks on DEVICE.
var physicalLayouts = []layout{
	{name: "gpt", config: `
- physical_disk: {name: key, path: DEVICE}
- partitioning:
    base: key
    label: gpt
    partitions:
    - {name: bsp, type: EF02, size: 1MiB}
    - {name: esp, type: EF00, size: 40MiB, mkfs: {type: vfat, mount: {mount_point: /boot}}}
    - {name: swap, type: 8200, size: 4MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}}
    - {name: srv, size: 130MiB, mkfs: {type: btrfs, mount: {mount_point: /home}}}
    - {name: root, size: 100%, mkfs: {mount: {mount_point: /}}}
`},
	{name: "mbr, logical, options of mke2fs", config: `
- physical_disk: {name: key, path: DEVICE}
- partitioning:
    base: key
    label: mbr
    partitions:
    - {name: root, flags: [boot, primary], size: 50%, mkfs: {opts: -J size=4 -E stride=16, mount: {mount_point: /}}}
    - {name: log, size: 50%, mkfs: {type: ext3, mount: {mount_point: /var/log}}}
    - {name: var, size: 100%, mkfs: {type: ext2, mount: {mount_point: /var}}}
`},
	{name: "no table", config: "- physical_disk: {name: key, path: DEVICE, mkfs: {mount: {mount_point: /}}}\n"},
}

// Physical has a back end write disks onto devices that are there: empty ones, and
// ones full of something else that cannot give blocks back. Foreign tools judge
// them; what was not named stays as it is. It needs root.
func Physical(t *testing.T, newBackend NewWiper, can Capabilities) {
	NeedRoot(t)
	Need(t, append([]string{"wipefs"}, hostTools...)...)
	tree := t.TempDir()
	NastyTree(t, tree)
	for _, l := range physicalLayouts {
		t.Run(l.name, func(t *testing.T) { physicalLayout(t, newBackend, l, tree, false, can) })
		t.Run(l.name+", over old content", func(t *testing.T) { physicalLayout(t, newBackend, l, tree, true, can) })
	}
}

func physicalLayout(t *testing.T, newBackend NewWiper, l layout, tree string, dirty bool, can Capabilities) {
	device, bystander, dir := Device(t, deviceSize), Device(t, 8<<20), t.TempDir()
	tool(t, "mke2fs", "-q", bystander)
	before := digest(t, bystander)
	var wipe []string
	if dirty {
		litter(t, device)
		wipe = []string{device}
	}
	m := made{graph: deviceGraph(t, l.config, device), tree: tree}
	m.plan = suite{}.plan(t, m.graph, tree, blockdev.Request{ImageSize: 1 << 30}) // which is for images alone
	create := func(wipe []string) (blockdev.Disk, error) {
		return newBackend(dir, physical.Options{Wipe: wipe, NoDiscard: dirty}).Create(t.Context(), m.graph, m.plan, blockdev.Tree{Dir: tree})
	}
	if dirty {
		old := digest(t, device)
		if d, err := create([]string{bystander}); err == nil || !strings.Contains(err.Error(), "--wipe") {
			t.Errorf("without leave: %v, %v", d, err)
		}
		if digest(t, device) != old {
			t.Error("a refused device was written to")
		}
	}
	for _, commit := range []bool{false, true} {
		d, err := create(wipe)
		if err != nil {
			t.Fatal(err)
		}
		m.disk = d
		if d.Images()["key"] != device {
			t.Errorf("images %v; the device is %s", d.Images(), device)
		}
		if f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0); err == nil {
			t.Error("somebody else can have the device, too")
			f.Close()
		}
		if left := tool(t, "wipefs", "-n", device); left != "" && m.plan.Disks[0].Label != "" {
			t.Errorf("there is a table before Commit:\n%s", left)
		}
		if !commit {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			nothingLeft(t, dir)
			if left := tool(t, "wipefs", "-n", device); left != "" {
				t.Errorf("Close left\n%s", left)
			}
			continue
		}
		defer d.Close()
		if err := d.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("judge", func(t *testing.T) { judge(t, m, can.Compare) }) // whose devices must be gone
	if digest(t, bystander) != before {
		t.Error("another device was written to")
	}
	if d, err := create(nil); err == nil || !strings.Contains(err.Error(), "--wipe") {
		t.Errorf("over the disk that was made: %v, %v", d, err)
	}
	physicalCut(t, newBackend, m, device)
}

// physicalCut: a file system that cannot be made, after others were, takes all of
// it back.
func physicalCut(t *testing.T, newBackend NewWiper, m made, device string) {
	dir := t.TempDir()
	p := *m.plan
	p.FileSystems = append([]blockdev.FSPlan(nil), p.FileSystems...)
	last := &p.FileSystems[len(p.FileSystems)-1]
	last.FSType, last.Options = "ext4", []string{"-O", "no_such_feature"}
	if d, err := newBackend(dir, physical.Options{Wipe: []string{device}}).Create(t.Context(), m.graph, &p, blockdev.Tree{Dir: m.tree}); err == nil {
		t.Error("a feature that nobody knows")
		d.Close()
	}
	nothingLeft(t, dir)
	if left := tool(t, "wipefs", "-n", device); left != "" {
		t.Errorf("a failure left\n%s", left)
	}
}

// litter fills a device with other than zeros, and marks of old content where new
// file systems may lie, none of which it can give back.
func litter(t *testing.T, device string) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err == nil {
		for at, old := int64(0), bytes.Repeat([]byte("\xa5\x5a old"), 4<<20/6); err == nil && at+int64(len(old)) < deviceSize; at += int64(len(old)) {
			_, err = f.WriteAt(old, at)
		}
		for at := int64(1 << 20); err == nil && at < deviceSize; at += 1 << 20 { // btrfs and ext, at every MiB
			_, first := f.WriteAt([]byte("_BHRfS_M"), at+0x10040)
			_, second := f.WriteAt([]byte("\x53\xef"), at+1080)
			err = errors.Join(first, second)
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	table := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", device)
	table.Stdin = strings.NewReader("label: gpt\n2048,20480\n,\n")
	if out, err := table.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
}

func deviceGraph(t *testing.T, config, device string) *blockdev.Graph {
	t.Helper()
	g, err := identified(strings.ReplaceAll(config, "DEVICE", device), "physical")
	if err == nil {
		err = g.SetDevice(g.PhysicalDisks()[0], deviceSize, 512)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func digest(t *testing.T, path string) (sum [sha256.Size]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
