package blockdevtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lithify/lithify/blockdev"
)

// Capabilities are what a back end can and need not do.
type Capabilities struct {
	Mounts  bool           // Disk.Dir has the file systems mounted and writable
	Devices bool           // Disk.Devices names every disk and partition
	XFS     bool           // it makes xfs with content
	Compare CompareOptions // what the copy may lose; justify it where you set it
}

// NewBackend makes a back end that keeps its files, and its images, below dir.
type NewBackend func(t testing.TB, dir string) blockdev.Backend

// Run runs the suite. It needs root: the tree has owners and devices, and the
// kernel mounts the result.
func Run(t *testing.T, newBackend NewBackend, can Capabilities) {
	NeedRoot(t)
	Need(t, hostTools...)
	s := suite{newBackend: newBackend, can: can}
	for _, l := range layouts {
		t.Run("layout/"+l.name, func(t *testing.T) { s.layout(t, l) })
	}
	for _, fs := range []string{"ext4", "vfat", "btrfs", "xfs"} {
		if fs == "xfs" && !can.XFS {
			continue
		}
		t.Run("full, explicit/"+fs, func(t *testing.T) { s.full(t, fs, blockdev.Request{ImageSize: 320 << 20}) })
		t.Run("full, computed/"+fs, func(t *testing.T) { s.full(t, fs, blockdev.Request{}) })
	}
	t.Run("just enough", s.justEnough)
	t.Run("too small", s.tooSmall)
	t.Run("closed", s.closed)
	t.Run("cancelled", s.cancelled)
}

type suite struct {
	newBackend NewBackend
	can        Capabilities
}

// layout is one configuration that the suite makes.
type layout struct {
	name    string
	config  string // "": the default
	request blockdev.Request
}

const tableOfThree = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
    - {name: root, flags: [boot, primary], size: 50%, mkfs: {mount: {mount_point: /, fstab: {options: defaults, fsck-passno: 1}}}}
    - {name: var, flags: [primary], size: 96MiB, mkfs: {type: ext4, label: var, opts: "-m 0  -O ^metadata_csum", mount: {mount_point: /var, fstab: {}}}}
    - {name: srv, flags: [primary], size: 100%, mkfs: {type: ext4, uuid: 6d4c1b8e-3f0a-4c55-9d1b-0a4f5e2c7d11, mount: {mount_point: /srv, fstab: {options: "ro,noatime"}}}}
`

var layouts = []layout{
	{name: "no table"},
	{name: "no table, size given", request: blockdev.Request{ImageSize: 300 << 20}},
	{name: "one partition", config: `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
    - {name: root, flags: [boot, primary], size: 100%, mkfs: {mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
`},
	{name: "three partitions", config: tableOfThree},
	{name: "three partitions, size given", config: tableOfThree, request: blockdev.Request{ImageSize: 1 << 30}},
	{name: "logical, nested mounts", config: `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    align: 64KiB
    partitions:
    - {name: boot, flags: [boot, primary], size: 16MiB, mkfs: {type: ext2, mount: {mount_point: /boot}}}
    - {name: root, size: 60%, mkfs: {mount: {mount_point: /}}}
    - {name: log, size: 50%, mkfs: {type: ext3, mount: {mount_point: /var/log}}}
    - {name: var, size: 100%, mkfs: {type: ext4, mount: {mount_point: /var}}}
`},
	{name: "all kinds", config: `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: esp, type: EF00, size: 40MiB, mkfs: {type: vfat, mount: {mount_point: /boot}}}
    - {name: swap, type: 8200, size: 4MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}}
    - {name: srv, size: 130MiB, mkfs: {type: btrfs, mount: {mount_point: /home}}}
    - {name: root, size: 100%, mkfs: {mount: {mount_point: /}}}
`},
	{name: "two disks", config: `
- local_loop: {name: image0, block_size: 4096, mkfs: {name: mkfs_root, mount: {mount_point: /}}}
- local_loop: {name: data, size: 64MiB, mkfs: {type: ext4, mount: {mount_point: /srv}}}
`},
}

// made is one run of a back end.
type made struct {
	graph *blockdev.Graph
	plan  *blockdev.Plan
	tree  string
	disk  blockdev.Disk
}

func (s suite) graph(t *testing.T, config string) *blockdev.Graph {
	t.Helper()
	g, err := identified(config, "blockdevtest")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (s suite) plan(t *testing.T, g *blockdev.Graph, tree string, r blockdev.Request) *blockdev.Plan {
	t.Helper()
	m, err := blockdev.Measure(t.Context(), tree, g.MountPoints())
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.Layout(m, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s suite) layout(t *testing.T, l layout) {
	tree := t.TempDir()
	NastyTree(t, tree)
	g := s.graph(t, l.config)
	p := s.plan(t, g, tree, l.request)
	d, err := s.newBackend(t, t.TempDir()).Create(t.Context(), g, p, blockdev.Tree{Dir: tree})
	if err != nil {
		t.Fatal(err)
	}
	m := made{graph: g, plan: p, tree: tree, disk: d}
	defer d.Close()
	s.whileOpen(t, m)
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("Close after Commit: %v", err)
	}
	judge(t, m, s.can.Compare)
}

// whileOpen checks what a disk shows before Commit.
func (s suite) whileOpen(t *testing.T, m made) {
	devices := m.disk.Devices()
	for _, d := range m.plan.Disks {
		if s.can.Devices && devices[d.Node] == "" {
			t.Errorf("no device for disk %q: %v", d.Node, devices)
		}
		for _, p := range d.Partitions {
			if s.can.Devices && p.Node != "" && devices[p.Node] == "" {
				t.Errorf("no device for partition %q: %v", p.Node, devices)
			}
		}
	}
	if !s.can.Mounts {
		return
	}
	compare(t, m.tree, m.disk.Dir(), m.plan, s.can.Compare)
	for _, folder := range []string{"etc", "boot", "home"} {
		hook(t, m, folder)
	}
}

// hook changes the disk as a build's last hooks do: their work must be in the
// image, in the tree it must not.
func hook(t *testing.T, m made, folder string) {
	t.Helper()
	name := filepath.Join(folder, "hook")
	for _, dir := range []string{m.disk.Dir(), m.tree} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Fatal("the tree was written to")
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sameTimes(t, filepath.Join(m.tree, folder), filepath.Join(m.disk.Dir(), folder))
	sameTimes(t, filepath.Join(m.tree, name), filepath.Join(m.disk.Dir(), name))
}

// full lays out a small tree and then lets it grow beyond the plan. The error
// says whether the size may grow; if so it does, and is enough.
func (s suite) full(t *testing.T, fs string, r blockdev.Request) {
	tree, dir := t.TempDir(), t.TempDir()
	g := s.graph(t, "- local_loop: {name: image0, mkfs: {name: mkfs_root, type: "+fs+", mount: {mount_point: /}}}")
	p := s.plan(t, g, tree, r)
	f, err := os.Create(filepath.Join(tree, "big"))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for range 1 + p.FileSystems[0].Size>>20 {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.newBackend(t, dir).Create(t.Context(), g, p, blockdev.Tree{Dir: tree})
	var full *blockdev.NoSpaceError
	if !errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a full file system gave %v", err)
	}
	if full.Explicit != (r.ImageSize > 0) || full.MountPoint != "/" || full.Size != p.FileSystems[0].Size {
		t.Errorf("full is %+v; the plan says %d bytes at /, explicit %v", full, p.FileSystems[0].Size, r.ImageSize > 0)
	}
	nothingLeft(t, dir)
	if full.Explicit {
		return
	}
	r.Grow = true
	d, err := s.newBackend(t, dir).Create(t.Context(), g, s.plan(t, g, tree, r), blockdev.Tree{Dir: tree})
	if err != nil {
		t.Fatalf("the second try: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, dir)
}

// tooSmall: a size that cannot hold the content is refused before anything is
// made, with what is needed; and what the kind of file system needs by itself.
func (s suite) tooSmall(t *testing.T) {
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "data"), bytes.Repeat([]byte("lithify\n"), 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for fs, given := range map[string]int64{"ext3": 6 << 20, "vfat": 7 << 20, "xfs": 299 << 20, "btrfs": 100 << 20} {
		g := s.graph(t, "- local_loop: {name: image0, mkfs: {name: mkfs_root, type: "+fs+", mount: {mount_point: /}}}")
		m, err := blockdev.Measure(t.Context(), tree, g.MountPoints())
		if err != nil {
			t.Fatal(err)
		}
		_, err = g.Layout(m, blockdev.Request{ImageSize: given})
		var small *blockdev.SizeError
		if !errors.As(err, &small) || small.Given != given || small.Needed <= given {
			t.Errorf("%s of %d bytes: %v", fs, given, err)
		}
	}
}

// justEnough: the size that an error names as needed is enough.
func (s suite) justEnough(t *testing.T) {
	tree := t.TempDir()
	NastyTree(t, tree)
	for i := range 30 { // more content than rounding hides
		if err := os.WriteFile(filepath.Join(tree, fmt.Sprint("data", i)), bytes.Repeat([]byte("lithify\n"), 400_000), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := s.graph(t, "")
	m, err := blockdev.Measure(t.Context(), tree, g.MountPoints())
	if err != nil {
		t.Fatal(err)
	}
	_, err = g.Layout(m, blockdev.Request{ImageSize: 10 << 20})
	var small *blockdev.SizeError
	if !errors.As(err, &small) || small.Given != 10<<20 {
		t.Fatalf("10 MiB: %v", err)
	}
	p := s.plan(t, g, tree, blockdev.Request{ImageSize: small.Needed})
	d, err := s.newBackend(t, t.TempDir()).Create(t.Context(), g, p, blockdev.Tree{Dir: tree})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// closed: Close without Commit leaves nothing.
func (s suite) closed(t *testing.T) {
	tree, dir := t.TempDir(), t.TempDir()
	g := s.graph(t, "")
	p := s.plan(t, g, tree, blockdev.Request{})
	d, err := s.newBackend(t, dir).Create(t.Context(), g, p, blockdev.Tree{Dir: tree})
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Images()) != 1 {
		t.Errorf("images %v", d.Images())
	}
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	nothingLeft(t, dir)
}

// cancelled: nor does a build that is told to stop.
func (s suite) cancelled(t *testing.T) {
	tree, dir := t.TempDir(), t.TempDir()
	g := s.graph(t, "")
	p := s.plan(t, g, tree, blockdev.Request{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.newBackend(t, dir).Create(ctx, g, p, blockdev.Tree{Dir: tree}); err == nil {
		t.Fatal("Create with a cancelled context made a disk")
	}
	nothingLeft(t, dir)
}
