package loop_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/loop"
	"github.com/lithify/lithify/blockdev/lvm"
)

const passphrase = "correct horse\nand no newline at the end"

func secret(string) ([]byte, []byte, error) { return []byte(passphrase), nil, nil }

// quickLayout has every kind of volume, and file systems that two programs make: on
// an encrypted mirror and a disk lies a group with a striped volume.
const quickLayout = `
- local_loop: {name: disk0, size: 64MiB}
- local_loop: {name: disk1, size: 64MiB}
- local_loop: {name: disk2, size: 48MiB}
- partitioning: {base: disk0, label: gpt, partitions: [{name: part0, size: 100%}]}
- partitioning: {base: disk1, label: gpt, partitions: [{name: part1, size: 100%}]}
- md: {name: mirror, level: raid1, base: [part0, part1]}
- luks: {name: crypt, base: mirror, key_env: KEY, pbkdf: pbkdf2, iterations: 1000}
- lvm:
    pvs: [{name: pv0, base: crypt}, {name: pv1, base: disk2}]
    vgs: [{name: vg, base: [pv0, pv1]}]
    lvs:
    - {name: root, base: vg, size: 16MiB, mkfs: {type: ext2, mount: {mount_point: /}}}
    - {name: lv-var, base: vg, size: 16MiB, options: -i 2, mkfs: {type: ext4, opts: -J size=4, mount: {mount_point: /var}}}
    - {name: boot, base: vg, size: 12MiB, mkfs: {type: vfat, mount: {mount_point: /boot}}}
    - {name: swap, base: vg, size: 4MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}}
`

// quickTree is enough to see that it arrives.
func quickTree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"boot", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for i, f := range []string{"boot/KERNEL", "var/lib/state", "file"} {
		path := filepath.Join(root, f)
		at := time.Unix(1_600_000_000+int64(i), 123_000_000)
		if err := errors.Join(os.WriteFile(path, []byte(strings.Repeat(f, 50_000)), 0o640), os.Chown(path, i, 7), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Link(filepath.Join(root, "file"), filepath.Join(root, "link")), os.Symlink("file", filepath.Join(root, "symlink")),
		unix.Setxattr(filepath.Join(root, "var/lib"), "user.key", []byte("value"), 0)); err != nil {
		t.Fatal(err)
	}
	return root
}

// insideVolumes makes layouts with volumes through both back ends. The
// programs of LVM, md and cryptsetup must find the same in both, under the final
// names, and the kernel every file of the tree.
func insideVolumes(t *testing.T) {
	t.Run("quick", func(t *testing.T) {
		bothBackends(t, blockdevtest.Stack{Name: "quick", Config: quickLayout}, quickTree(t))
	})
	if !everything() {
		return
	}
	tree := filepath.Join(t.TempDir(), "tree")
	blockdevtest.StackTree(t, tree)
	for i, s := range blockdevtest.Stacks(true) {
		t.Run(fmt.Sprint(i, " ", s.Name), func(t *testing.T) { bothBackends(t, s, tree) })
	}
}

func bothBackends(t *testing.T, s blockdevtest.Stack, tree string) {
	at := time.Unix(1_700_000_000, 0)
	g, p, err := blockdevtest.Plan(t.Context(), s.Config, s.Name, tree)
	if err != nil {
		t.Fatal(err)
	}
	if err := loop.Check(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	before := kernelState(t)
	var said [2][]string
	for i, b := range []blockdev.Backend{
		loop.New(loop.Options{WorkDir: t.TempDir(), Secrets: secret}),
		file.New(file.Options{WorkDir: t.TempDir(), Secrets: secret}),
	} {
		d, err := b.Create(t.Context(), g, p, blockdev.Tree{Dir: tree, Time: &at})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if i == 0 {
			whileOpen(t, p, tree, d)
			if s.Name == "quick" {
				d = anotherProcess(t, d)
			}
		}
		if err := d.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if now := kernelState(t); now != before {
			t.Fatalf("after Commit there is\n%s\nbefore there was\n%s", now, before)
		}
		said[i] = assembled(t, p, d.Images(), tree, []time.Time{changed, earlier(t, at, filepath.Join(tree, "boot/KERNEL"))}[i])
	}
	for i := range said[0] {
		if said[0][i] != said[1][i] {
			t.Errorf("loop gives\n%s\nfile gives\n%s", said[0][i], said[1][i])
		}
	}
}

// anotherProcess keeps a disk, as for a process that comes later, and goes on.
func anotherProcess(t *testing.T, d blockdev.Disk) blockdev.Disk {
	t.Helper()
	kept, err := loop.Keep(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := loop.Sweep(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(kept)
	if err != nil {
		t.Fatal(err)
	}
	var read loop.Kept
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	again, err := loop.Resume(read, loop.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() }) // again
	return again
}

// earlier is the time of a file, and no later than at.
func earlier(t *testing.T, at time.Time, path string) time.Time {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.ModTime().Before(at) {
		return st.ModTime().Truncate(2 * time.Second)
	}
	return at
}

// whileOpen: the disk is mounted, hooks work on it, and no name in the kernel is a
// final one.
func whileOpen(t *testing.T, p *blockdev.Plan, tree string, d blockdev.Disk) {
	t.Helper()
	for _, n := range strings.Fields(foreign(t, nil, "dmsetup", "info", "-c", "--noheadings", "-o", "name")) {
		if !strings.HasPrefix(n, "lithify_") {
			t.Errorf("mapping %q", n)
		}
	}
	for _, v := range p.Volumes {
		out, err := exec.Command("lvm", "vgs", v.Node).CombinedOutput()
		if v.Group != nil && (err == nil || !strings.Contains(string(out), "not found")) {
			t.Errorf("the host's LVM knows %q: %s", v.Node, out)
		}
	}
	for _, v := range p.Volumes {
		if v.Group == nil && d.Devices()[v.Node] == "" {
			t.Errorf("no device for %q", v.Node)
		}
	}
	same(t, p, tree, d.Dir())
	if p.FileSystem("/boot") == nil {
		return
	}
	if err := os.Chtimes(filepath.Join(d.Dir(), "boot/KERNEL"), time.Time{}, changed); err != nil {
		t.Error(err)
	}
}

// changed is a file's time that a hook changes.
var changed = time.Unix(1_650_000_000, 0)

// kernelState is what there is of mappings, arrays and loop devices.
func kernelState(t *testing.T) string {
	t.Helper()
	var all []string
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all = nil
		dirs, err := filepath.Glob("/sys/block/*")
		if err != nil {
			t.Fatal(err)
		}
		waiting := false
		for _, d := range dirs {
			for _, file := range []string{"dm/name", "md/array_state", "loop/backing_file"} {
				if data, err := os.ReadFile(filepath.Join(d, file)); err == nil {
					all = append(all, filepath.Base(d)+" "+strings.TrimSpace(string(data)))
					waiting = waiting || strings.Contains(string(data), "(deleted)")
				}
			}
		}
		// The kernel lets a loop device go a moment after its last user.
		if !waiting || time.Now().After(end) {
			return strings.Join(all, "\n")
		}
	}
}

// same compares the tree with what is mounted.
func same(t *testing.T, p *blockdev.Plan, tree, dir string) {
	t.Helper()
	var o blockdevtest.CompareOptions
	for _, m := range p.Mounts {
		o.Parts = append(o.Parts, m.MountPoint)
		o.Ignore = append(o.Ignore, filepath.Join(m.MountPoint, "lost+found"))
		if p.MadeBy(m.Node).FSType != "vfat" {
			continue
		}
		o.Ignore = append(o.Ignore, m.MountPoint)
		if a, b := readText(t, tree, m.MountPoint, "KERNEL"), readText(t, dir, m.MountPoint, "KERNEL"); a != b {
			t.Errorf("%s differs", m.MountPoint)
		}
	}
	differences(t, tree, dir, o)
}

func differences(t *testing.T, a, b string, o blockdevtest.CompareOptions) {
	t.Helper()
	found, err := blockdevtest.CompareTrees(a, b, o)
	if err != nil {
		t.Error(err)
	}
	for _, d := range found {
		t.Error(d)
	}
}

// assembled attaches the images, starts the volumes as their owner would, and
// compares what is on them, with the time that the kernel goes by on a vfat. It
// returns what the programs say of the volumes.
func assembled(t *testing.T, p *blockdev.Plan, images map[string]string, tree string, boot time.Time) []string {
	t.Helper()
	a := &assembly{t: t, devices: map[string]string{}}
	defer a.end()
	for _, d := range p.Disks {
		a.loop(d.Node, images[d.Node], 0, d.Size)
		for _, part := range d.Partitions {
			a.loop(part.Node, images[d.Node], part.Start, part.Size)
		}
	}
	for _, v := range p.Volumes {
		a.volume(v)
	}
	dir := t.TempDir()
	for _, m := range p.Mounts {
		f := p.MadeBy(m.Node)
		target := filepath.Join(dir, m.MountPoint)
		if err := unix.Mount(a.devices[f.Base], target, f.FSType, unix.MS_RDONLY, ""); err != nil {
			t.Fatalf("mounting %s: %v", f.Node, err)
		}
		a.undo = append(a.undo, func() {
			if err := unix.Unmount(target, 0); err != nil {
				t.Error(err)
			}
		})
	}
	for _, f := range p.FileSystems {
		a.say("blkid", "-p", "-s", "LABEL", "-s", "UUID", "-s", "TYPE", a.devices[f.Base])
		if strings.HasPrefix(f.FSType, "ext") {
			foreign(t, nil, "e2fsck", "-fn", a.devices[f.Base])
		}
	}
	same(t, p, tree, dir)
	if p.FileSystem("/boot") != nil {
		if st, err := os.Stat(filepath.Join(dir, "boot/KERNEL")); err != nil || !st.ModTime().Equal(boot) {
			t.Errorf("/boot/KERNEL: %v %v, expected %v", st, err, boot)
		}
	}
	return a.said
}

type assembly struct {
	t       *testing.T
	devices map[string]string
	said    []string
	undo    []func()
}

func (a *assembly) end() {
	for _, f := range slices.Backward(a.undo) {
		f()
	}
}

func (a *assembly) later(name string, args ...string) {
	a.undo = append(a.undo, func() { foreign(a.t, nil, name, args...) })
}

func (a *assembly) loop(node, image string, offset, size int64) {
	dev := strings.TrimSpace(foreign(a.t, nil, "losetup", "-f", "--show", "-o", fmt.Sprint(offset), "--sizelimit", fmt.Sprint(size), image))
	a.devices[node] = dev
	a.later("losetup", "-d", dev)
}

// say notes what a program says, with nodes in the place of devices.
func (a *assembly) say(name string, args ...string) {
	out := foreign(a.t, nil, name, args...)
	for node, dev := range a.devices {
		out = strings.ReplaceAll(out, dev, "<"+node+">")
	}
	a.said = append(a.said, out)
}

func (a *assembly) volume(v blockdev.VolumePlan) {
	var bases []string
	for _, b := range v.Bases {
		bases = append(bases, a.devices[b])
	}
	switch {
	case v.Group != nil:
		a.group(v, bases)
	case v.Array != nil:
		a.array(v, bases)
	default:
		a.encrypted(v, bases[0])
	}
}

func (a *assembly) group(v blockdev.VolumePlan, bases []string) {
	foreign(a.t, nil, "lvm", "vgchange", "-q", "-ay", v.Node)
	a.later("lvm", "vgchange", "-q", "-an", v.Node)
	foreign(a.t, nil, "lvm", "vgck", v.Node)
	for _, l := range v.Group.Logical {
		a.devices[l.Node] = "/dev/mapper/" + lvm.MapperName(v.Node, l.Node)
	}
	separate := []string{"--noheadings", "--nosuffix", "--units", "b", "--separator", "|", "-o"}
	report := func(command, fields string, rest ...string) {
		a.say("lvm", append(append([]string{command}, append(separate, fields)...), rest...)...)
	}
	report("pvs", "pv_name,pv_uuid,pe_start,pv_size,pv_mda_size,pv_attr,vg_name", bases...)
	report("vgs", "vg_name,vg_uuid,vg_attr,vg_extent_size,vg_seqno,vg_systemid,vg_size", v.Node)
	report("lvs", "lv_name,lv_uuid,lv_attr,lv_size,lv_time,lv_host,segtype,stripes,stripe_size,seg_start_pe,seg_pe_ranges", "-a", v.Node)
}

func (a *assembly) array(v blockdev.VolumePlan, bases []string) {
	for _, b := range bases {
		a.say("mdadm", "--examine", b)
		if v.Array.Bitmap {
			a.say("mdadm", "--examine-bitmap", b)
		}
	}
	dev := "/dev/md/" + v.Node
	foreign(a.t, nil, "mdadm", append([]string{"-q", "--assemble", "--run", dev}, bases...)...)
	real, err := filepath.EvalSymlinks(dev)
	if err != nil {
		a.t.Fatal(err)
	}
	a.devices[v.Node] = real
	// Without udev the node stays, and LVM, looking for devices, opens it: then there is
	// an array again, if an empty one.
	a.undo = append(a.undo, func() { _ = os.Remove(real) }) // gone already where there is a devtmpfs
	a.later("mdadm", "-q", "--stop", real)
	sys := filepath.Join("/sys/block", filepath.Base(real), "md")
	if v.Array.Level == 0 || v.Array.Resync || !everything() {
		return
	}
	if err := os.WriteFile(filepath.Join(sys, "sync_action"), []byte("check"), 0); err != nil {
		a.t.Fatal(err)
	}
	for readText(a.t, sys, "sync_action") != "idle" {
		time.Sleep(100 * time.Millisecond)
	}
	if n := readText(a.t, sys, "mismatch_cnt"); n != "0" {
		a.t.Errorf("%s: %s sectors differ", v.Node, n)
	}
}

func readText(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// chance is what differs between two headers of one volume.
var chance = regexp.MustCompile(`(?m)^\s*(Salt|Digest|MK digest|MK salt|Epoch):.*(\n\s+([0-9a-f]{2} )+[0-9a-f]{2}\s*$)*\n`)

func (a *assembly) encrypted(v blockdev.VolumePlan, base string) {
	a.say("cryptsetup", "luksDump", base)
	last := len(a.said) - 1
	a.said[last] = chance.ReplaceAllString(a.said[last], "")
	foreign(a.t, strings.NewReader(passphrase), "cryptsetup", "open", "--key-file=-", base, v.Node)
	a.devices[v.Node] = "/dev/mapper/" + v.Node
	a.later("cryptsetup", "close", v.Node)
}

// foreign runs a program that the test cannot do without.
func foreign(t *testing.T, stdin *strings.Reader, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	if stdin != nil {
		cmd.Stdin = stdin
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
