package file_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/guest"
	"github.com/lithify/lithify/blockdev/lvm"
)

const passphrase = "correct horse"

func secret(string) ([]byte, []byte, error) { return []byte(passphrase), []byte("a seed"), nil }

// TestVolumes: Debian's kernel and programs assemble, open and mount what this
// back end wrote, and find every file, attribute and time of the tree in it.
func TestVolumes(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mdadm", "lvm", "cryptsetup", "mke2fs", "mkfs.btrfs", "e2fsck")
	tree := filepath.Join(t.TempDir(), "tree")
	blockdevtest.StackTree(t, tree)
	reference := filepath.Join(t.TempDir(), "reference.raw")
	foreign(t, "mke2fs", "-q", "-t", "ext4", "-I", "1024", reference, "400M")
	mounted := t.TempDir()
	foreign(t, "mount", "-o", "loop", reference, mounted)
	foreign(t, "cp", "-aT", tree, mounted)
	foreign(t, "umount", mounted)
	kernel := guest.Kernel(t)
	for _, batch := range batches(blockdevtest.Stacks(os.Getenv("LITHIFY_TEST_VOLUMES") == "all")) {
		t.Run(batch[0].Name, func(t *testing.T) {
			t.Parallel()
			inGuest(t, kernel, tree, reference, batch)
		})
	}
}

// batches are the layouts of one guest each.
func batches(all []blockdevtest.Stack) [][]blockdevtest.Stack {
	out, disks := [][]blockdevtest.Stack{nil}, 1
	for _, s := range all {
		more := strings.Count(s.Config, "local_loop")
		if disks+more > mostDisks {
			out, disks = append(out, nil), 1
		}
		last := len(out) - 1
		out[last], disks = append(out[last], s), disks+more
	}
	return out
}

// mostDisks is what one guest takes.
const mostDisks = 24

func foreign(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// inGuest makes the layouts and has one guest read them all.
func inGuest(t *testing.T, kernel *guest.DebianKernel, tree, reference string, batch []blockdevtest.Stack) {
	t.Helper()
	own := filepath.Join(t.TempDir(), "reference.raw") // QEMU wants each disk for itself
	foreign(t, "cp", "--sparse=always", reference, own)
	disks := []string{own}
	script := guestBegin
	for _, s := range batch {
		g, p, err := blockdevtest.Plan(context.Background(), s.Config, s.Name, tree)
		if err != nil {
			t.Fatalf("%s: %v\n%s", s.Name, err, s.Config)
		}
		b := file.New(file.Options{WorkDir: t.TempDir(), Secrets: secret})
		at := time.Now()
		d, err := b.Create(context.Background(), g, p, blockdev.Tree{Dir: tree})
		if err != nil {
			t.Fatalf("%s: %v\n%s", s.Name, err, s.Config)
		}
		t.Cleanup(func() { d.Close() })
		t.Logf("%s: %v", s.Name, time.Since(at).Round(time.Millisecond))
		devices := map[string]string{}
		for _, disk := range p.Disks {
			device := "/dev/vd" + string(rune('a'+len(disks)))
			disks = append(disks, d.Images()[disk.Node])
			devices[disk.Node] = device
			for _, part := range disk.Partitions {
				devices[part.Node] = device + fmt.Sprint(part.Number)
			}
		}
		script += guestScript(s.Name, p, devices)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(passphrase), 0o600); err != nil {
		t.Fatal(err)
	}
	ran := kernel.Run(t, guest.Guest{
		Script: script, Disks: disks, Memory: 1024,
		Modules: []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "btrfs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8", "dm_mod", "dm_crypt", "raid0", "raid1", "raid10", "raid456", "xts", "aesni_intel"},
		Tools:   []string{"mdadm", "lvm", "cryptsetup", "blkid"},
		Files:   map[string]string{"/compare": "/proc/self/exe", "/key": key},
	})
	if ran.Status != 0 || strings.Count(ran.Output, "\nequal ") != len(batch) {
		t.Errorf("status %d:\n%s", ran.Status, ran.Output)
	}
}

const guestBegin = `
export DM_DISABLE_UDEV=1 LITHIFY_TEST_MOUNTS=1
mkdir -p /ref /mnt /etc/lvm /run/lvm /run/lock /run/cryptsetup
mount -t ext4 -o ro /dev/vda /ref
printf 'activation { udev_sync = 0\n udev_rules = 0 }\ndevices { use_devicesfile = 0 }\n' > /etc/lvm/lvm.conf
`

// guestScript assembles one layout as its owner would, and compares.
func guestScript(name string, p *blockdev.Plan, devices map[string]string) string {
	var b strings.Builder
	var undo []string
	for _, v := range p.Volumes {
		var bases []string
		for _, base := range v.Bases {
			bases = append(bases, devices[base])
		}
		switch {
		case v.Group != nil:
			fmt.Fprintf(&b, "lvm vgchange -q -ay %s >/dev/null\nlvm vgck %s\nlvm vgmknodes %s\n", v.Node, v.Node, v.Node)
			undo = append(undo, "lvm vgchange -q -an "+v.Node+" >/dev/null")
			for _, l := range v.Group.Logical {
				devices[l.Node] = "/dev/mapper/" + lvm.MapperName(v.Node, l.Node)
			}
		case v.Array != nil:
			device := "/dev/md" + strings.TrimLeft(v.Node, "abcdefghijklmnopqrstuvwxyz")
			device = strings.TrimRight(device, "m")
			devices[v.Node] = device
			fmt.Fprintf(&b, "mdadm -q --assemble --run %s %s\n", device, strings.Join(bases, " "))
			if v.Array.Level != 0 && !v.Array.Resync {
				fmt.Fprintf(&b, "echo check > /sys/block/%[1]s/md/sync_action\nwhile [ $(cat /sys/block/%[1]s/md/sync_action) != idle ]; do sleep 0.2; done\n"+
					"[ $(cat /sys/block/%[1]s/md/mismatch_cnt) = 0 ] || { echo mismatches; cat /sys/block/%[1]s/md/mismatch_cnt; false; }\n[ $(cat /sys/block/%[1]s/md/degraded) = 0 ]\n", filepath.Base(device))
			}
			undo = append(undo, "mdadm -q --stop "+device)
		case v.LUKS != nil:
			devices[v.Node] = "/dev/mapper/" + v.Node
			fmt.Fprintf(&b, "cryptsetup open --key-file /key %s %s\n", bases[0], v.Node)
			undo = append(undo, "cryptsetup close "+v.Node)
		}
	}
	var parts, lossy []string
	blkid, _ := exec.LookPath("blkid") // busybox has another
	for _, f := range p.FileSystems {
		if f.FSType == "swap" {
			fmt.Fprintf(&b, "%s -t LABEL=%s %s >/dev/null\n", blkid, f.Label, devices[f.Base])
			continue
		}
		parts = append(parts, f.MountPoint)
		if f.FSType == "vfat" {
			lossy = append(lossy, f.MountPoint)
		}
		fmt.Fprintf(&b, "mount -t %s -o ro %s /mnt%s\n", f.FSType, devices[f.Base], strings.TrimSuffix(f.MountPoint, "/"))
		undo = append(undo, "umount /mnt"+strings.TrimSuffix(f.MountPoint, "/"))
	}
	for _, at := range lossy { // it keeps names and contents
		fmt.Fprintf(&b, "cmp /ref%[1]s/KERNEL /mnt%[1]s/KERNEL\n", at)
	}
	fmt.Fprintf(&b, "%s=%s %s=%s /compare\n", guestParts, strings.Join(parts, ":"), guestLossy, strings.Join(lossy, ":"))
	for _, u := range slices.Backward(undo) {
		fmt.Fprintln(&b, u)
	}
	return fmt.Sprintf("echo begin '%s'\n%secho equal '%s'\n", name, b.String(), name)
}

// guestParts tells this program that it runs in the guest, with the mount points;
// guestLossy names those that cannot be compared whole.
const guestParts, guestLossy = "LITHIFY_TEST_PARTS", "LITHIFY_TEST_LOSSY"

// compareInGuest compares what is mounted with the reference.
func compareInGuest(parts string) int {
	o := blockdevtest.CompareOptions{Ignore: append(strings.Fields(strings.ReplaceAll(os.Getenv(guestLossy), ":", " ")), "/lost+found", "/var/lost+found", "/srv/lost+found"), Parts: strings.Split(parts, ":"),
		IgnoreXattrs: []string{"user.long"}} // the kernel's ext4 has no room for it in the reference
	found, err := blockdevtest.CompareTrees("/ref", "/mnt", o)
	for _, d := range found {
		fmt.Println(d)
	}
	if err != nil {
		fmt.Println(err)
	}
	if err != nil || len(found) > 0 {
		return 1
	}
	return 0
}
