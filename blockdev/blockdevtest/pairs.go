package blockdevtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// hostTools are what makes and judges disks here.
var hostTools = []string{
	"mke2fs", "e2fsck", "dumpe2fs", "sfdisk", "sgdisk", "mount", "umount", "losetup", "blkid", "swaplabel",
	"mkfs.xfs", "xfs_repair", "mkfs.btrfs", "btrfs", "mcopy", "fsck.fat", "setfacl", "setcap",
}

// Pairs makes every layout through two back ends and compares what comes out:
// table, what blkid says, checks of each file system, and every file with the
// tree, and so with the other's. b may refuse, by an error that says so; then a
// alone is judged. It needs root and a mount namespace of the test's own.
func Pairs(t *testing.T, a, b NewBackend) {
	NeedRoot(t)
	Need(t, hostTools...)
	// Not all at once: two processors are what a small machine has.
	turns := make(chan struct{}, 2)
	for _, l := range pairLayouts() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			turns <- struct{}{}
			defer func() { <-turns }()
			pair{pairLayout: l, a: a, b: b}.run(t)
		})
	}
}

type pair struct {
	pairLayout
	a, b NewBackend
}

func (l pair) run(t *testing.T) {
	tree := t.TempDir()
	l.fill(t, tree)
	if l.more != nil {
		l.more(t, tree)
	}
	var planA, planB *blockdev.Plan
	var saidA, saidB []string
	// Tests of their own: mkfs.btrfs makes no UUID that a device has already, so
	// the first disk's devices must be gone.
	t.Run("first", func(t *testing.T) { planA, saidA = l.make(t, l.a, tree, "") })
	t.Run("second", func(t *testing.T) { planB, saidB = l.make(t, l.b, tree, l.refused) })
	if !reflect.DeepEqual(planA, planB) {
		t.Errorf("plans differ:\n%+v\n%+v", planA, planB)
	}
	if saidB != nil && !reflect.DeepEqual(saidA, saidB) {
		t.Errorf("the two disks are not alike:\n%s\n%s", strings.Join(saidA, "\n"), strings.Join(saidB, "\n"))
	}
}

// make makes one disk, or sees that it is refused, and has it judged.
func (l pair) make(t *testing.T, newBackend NewBackend, tree, refused string) (*blockdev.Plan, []string) {
	dir, data := t.TempDir(), t.TempDir()
	t.Cleanup(func() { Detached(t, dir); Detached(t, data) })
	c, err := blockdev.Parse([]byte(strings.ReplaceAll(l.config, "DATA", data)))
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.Graph(l.defaults)
	if err != nil {
		t.Fatal(err)
	}
	g.Identify("pairs " + l.name)
	if err := blockdev.MakeMountPoints(tree, g.MountPoints()); err != nil {
		t.Fatal(err)
	}
	first, p, d := l.create(t, g, newBackend(t, dir), tree, refused)
	if d == nil {
		nothingLeft(t, dir)
		nothingLeft(t, data)
		return withoutFolders(first), nil
	}
	defer d.Close()
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := made{graph: g, plan: p, tree: tree, disk: d}
	said := judge(t, m, CompareOptions{})
	for _, disk := range p.Disks {
		if disk.Directory != "" && filepath.Dir(d.Images()[disk.Node]) != disk.Directory {
			t.Errorf("disk %q is at %s, not in %s", disk.Node, d.Images()[disk.Node], disk.Directory)
		}
	}
	return withoutFolders(first), said
}

// create lays out and makes the disk; a computed size may grow once, as a build
// lets it.
func (l pair) create(t *testing.T, g *blockdev.Graph, b blockdev.Backend, tree, refused string) (first, made *blockdev.Plan, d blockdev.Disk) {
	t.Helper()
	s, r := suite{}, l.request
	first = s.plan(t, g, tree, r)
	d, err := b.Create(t.Context(), g, first, blockdev.Tree{Dir: tree})
	if refused != "" && !(err == nil && l.orKept) {
		if err == nil || !strings.Contains(err.Error(), refused) {
			t.Errorf("Create gave %v; %q is to be refused", err, refused)
		}
		return first, nil, nil
	}
	made = first
	var full *blockdev.NoSpaceError
	if errors.As(err, &full) {
		if !l.grows {
			t.Errorf("the computed size was too small: %v", err)
		}
		r.Grow = true
		made = s.plan(t, g, tree, r)
		d, err = b.Create(t.Context(), g, made, blockdev.Tree{Dir: tree})
	}
	if err != nil {
		t.Fatal(err)
	}
	return first, made, d
}

func withoutFolders(p *blockdev.Plan) *blockdev.Plan {
	for i := range p.Disks {
		p.Disks[i].Directory = ""
	}
	return p
}

// smallTree is enough of everything that a copy could lose; what is below boot
// can be put onto FAT.
func smallTree(t testing.TB, root string) {
	t.Helper()
	n := nasty{t: t, root: root}
	for _, d := range []string{"etc", "bin", "dev", "home/u/.ssh", "var/log/deep/er", "var/lib/empty", "boot/efi/EFI/BOOT", "boot/grub", "srv/a", "opt"} {
		n.do(os.MkdirAll(n.path(d), 0o755))
	}
	for i := range 40 {
		n.file(fmt.Sprintf("etc/conf-%d", i), i*97)
		n.file(fmt.Sprintf("var/log/deep/log.%d", i), i*1031)
	}
	for _, f := range []string{"bin/su", "bin/ping", "home/u/profile", "srv/a/data", "opt/x", "var/lib/state", "boot/vmlinuz-6.1.0-18-amd64", "boot/efi/EFI/BOOT/BOOTX64.EFI", "boot/grub/grub.cfg"} {
		n.file(f, 9000+len(f)*701)
	}
	n.do(os.Chown(n.path("home/u"), 1000, 1001))
	n.do(os.Chmod(n.path("home/u"), 0o700))
	n.do(os.Chmod(n.path("bin/su"), os.ModeSetuid|0o755))
	n.do(os.Symlink("../bin/su", n.path("etc/link")))
	n.do(os.Link(n.path("bin/su"), n.path("opt/su")))
	n.do(os.Link(n.path("var/lib/state"), n.path("var/log/deep/er/state")))
	n.do(os.Link(n.path("etc/conf-7"), n.path("home/u/conf")))
	n.tool("setcap", "cap_net_raw+ep", n.path("bin/ping"))
	n.tool("setfacl", "-m", "u:1000:rw", n.path("var/log/deep/log.7"))
	n.tool("setfacl", "-m", "d:u:1000:rwx", n.path("srv/a"))
	n.tool("mknod", n.path("dev/null"), "c", "1", "3")
	n.sparse("var/log/lastlog", 3<<20, 0, 1<<20)
	n.do(unix.Lsetxattr(root, "user.top", []byte("folder"), 0))
	n.times()
}

func (n nasty) file(p string, size int) {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i*7 + size)
	}
	n.do(os.WriteFile(n.path(p), data, 0o644))
}
