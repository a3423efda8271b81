package file_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/physical"
)

func TestPhysical(t *testing.T) {
	blockdevtest.NeedRoot(t)
	newBackend := func(dir string, o physical.Options) blockdev.Backend {
		return file.New(file.Options{WorkDir: dir, Physical: o})
	}
	blockdevtest.Physical(t, newBackend, blockdevtest.Capabilities{})
}

// TestPhysicalVolumes: a volume on a device that was full of something else reads
// as what was written, not as what was there.
func TestPhysicalVolumes(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "e2fsck")
	const size = 64 << 20
	device, tree := blockdevtest.Device(t, size), t.TempDir()
	for name, data := range map[string][]byte{device: bytes.Repeat([]byte("old content\xff\xff\xff\xff\n"), size/16), filepath.Join(tree, "new"): []byte("new\n")} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := blockdev.Parse([]byte("- physical_disk: {name: key, path: " + device + "}\n" +
		"- lvm: {pvs: [{name: pv, base: key}], vgs: [{name: vg, base: pv}], lvs: [{name: root, base: vg, extents: 100%VG, mkfs: {opts: -J size=4, mount: {mount_point: /}}}]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Graph(blockdev.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	g.Identify("volumes")
	if _, err := g.Layout(map[string]blockdev.Content{"/": {Inodes: 2, Dirs: 1}}, blockdev.Request{ImageSize: size}); err == nil {
		t.Error("a device that nobody has looked at is laid out")
	}
	if err := g.SetDevice(g.PhysicalDisks()[0], size, 512); err != nil {
		t.Fatal(err)
	}
	b := file.New(file.Options{WorkDir: t.TempDir(), Physical: physical.Options{NoDiscard: true}})
	d, _, err := g.Make(t.Context(), b, blockdev.Tree{Dir: tree}, blockdev.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	foreign(t, "e2fsck", "-fn", device+"?offset=1048576") // where a physical volume's data begins
}
