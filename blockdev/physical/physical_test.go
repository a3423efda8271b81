package physical_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/guest"
	"github.com/lithify/lithify/blockdev/md"
	"github.com/lithify/lithify/blockdev/physical"
)

// TestMain gives the tests a mount namespace.
func TestMain(m *testing.M) {
	guest.OwnMounts()
	os.Exit(m.Run())
}

const mib = 1 << 20

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	blockdevtest.Need(t, name)
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// refused checks that neither Look nor Claim takes a device, whatever may be
// wiped, and that it stays as it is.
func refused(t *testing.T, path, why string) {
	t.Helper()
	before, _ := os.ReadFile(path)
	for name, take := range map[string]func() error{
		"Look": func() error { _, err := physical.Look(path, []string{path}); return err },
		"Claim": func() error {
			_, err := physical.Claim(path, int64(len(before)), physical.Options{Wipe: []string{path}})
			return err
		},
	} {
		var e *physical.RefusedError
		if err := take(); !errors.As(err, &e) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v; want a refusal with %q", name, err, why)
		}
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Errorf("%s: a refused device was written to", path)
	}
}

func TestRefused(t *testing.T) {
	blockdevtest.NeedRoot(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, file, "no block device")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/no/such/device", link); err != nil {
		t.Fatal(err)
	}
	refused(t, link, "there is no such device")
	if _, err := physical.Look("/dev/zero", nil); err == nil || !strings.Contains(err.Error(), "no block device") {
		t.Errorf("/dev/zero: %v", err)
	}
	refused(t, blockdevtest.Device(t, 8*mib, "-r"), "can only be read")
}

func TestRefusedInUse(t *testing.T) {
	mounted := blockdevtest.Device(t, 8*mib)
	tool(t, "mke2fs", "-q", mounted)
	at := t.TempDir()
	tool(t, "mount", mounted, at)
	t.Cleanup(func() { tool(t, "umount", at) })
	refused(t, mounted, "is mounted at "+at)

	below := blockdevtest.Device(t, 8*mib)
	above := strings.TrimSpace(tool(t, "losetup", "-f", "--show", below))
	t.Cleanup(func() { tool(t, "losetup", "-d", above) })
	refused(t, below, "is behind "+above)

	taken := blockdevtest.Device(t, 8*mib)
	f, err := os.OpenFile(taken, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	refused(t, taken, "in use")

	swap := blockdevtest.Device(t, 8*mib)
	tool(t, "mkswap", swap)
	if out, err := exec.Command("swapon", swap).CombinedOutput(); err != nil {
		t.Logf("swapon: %s", out) // a container may not
		return
	}
	t.Cleanup(func() { tool(t, "swapoff", swap) })
	refused(t, swap, "is swapped to")
}

// TestRefusedPartition: a disk with a partition in use is in use, in any mount
// namespace.
func TestRefusedPartition(t *testing.T) {
	blockdevtest.Need(t, "addpart", "delpart", "unshare")
	disk := blockdevtest.Device(t, 16*mib)
	if out, err := exec.Command("addpart", disk, "1", "2048", "16384").CombinedOutput(); err != nil {
		blockdevtest.Missing(t, "addpart: "+string(out))
	}
	t.Cleanup(func() { tool(t, "delpart", disk, "1") })
	number, err := os.ReadFile("/sys/block/" + filepath.Base(disk) + "/" + filepath.Base(disk) + "p1/dev")
	if err != nil {
		t.Fatal(err)
	}
	major, minor, _ := strings.Cut(strings.TrimSpace(string(number)), ":")
	part := filepath.Join(t.TempDir(), "p1") // devtmpfs may not be mounted
	tool(t, "mknod", part, "b", major, minor)
	tool(t, "mke2fs", "-q", part)
	if !physical.Overlap(disk, part) || !physical.Overlap(part, disk) || !physical.Overlap(part, part) || physical.Same(disk, part) {
		t.Error("a disk and its partition are taken for strangers, or for one")
	}
	at := t.TempDir()
	tool(t, "mount", part, at)
	refused(t, disk, "is mounted at "+at)
	tool(t, "umount", at)

	other := exec.Command("unshare", "-m", "sh", "-c", "mount "+part+" "+at+" && echo there && read wait")
	wait, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(said, make([]byte, len("there\n"))); err != nil {
		t.Fatal(err)
	}
	refused(t, disk, "in use")
	wait.Close()
	_ = other.Wait() // read found the end of its input
}

// carriers are what a device may carry, and how it gets there.
var carriers = map[string]struct {
	says string
	make func(t *testing.T, device string)
}{
	"gpt":      {"gpt", table("gpt")},
	"mbr":      {"partition table", table("dos")},
	"ext4":     {"ext2, ext3 or ext4", by("mke2fs", "-q", "-t", "ext4")},
	"btrfs":    {"btrfs", by("mkfs.btrfs", "-q")},
	"vfat":     {"boot sector", by("mkfs.fat")},
	"swap":     {"swap", by("mkswap")},
	"luks1":    {"LUKS", luks("luks1")},
	"luks2":    {"LUKS", luks("luks2")},
	"lvm":      {"LVM", by("pvcreate", "-qq", "-y", "--config", "devices{use_devicesfile=0 scan=\"/dev\"} global{use_lvmpolld=0}")},
	"xfs":      {"xfs", by("mkfs.xfs", "-q")},
	"md 1.2":   {"md", array("1.2")},
	"md 1.0":   {"md", array("1.0")},
	"only end": {"copy of a gpt", func(t *testing.T, device string) { table("gpt")(t, device); write(t, device, make([]byte, mib), 0) }},
}

func by(name string, args ...string) func(*testing.T, string) {
	return func(t *testing.T, device string) { t.Helper(); tool(t, name, append(args, device)...) }
}

func table(label string) func(*testing.T, string) {
	return func(t *testing.T, device string) {
		t.Helper()
		blockdevtest.Need(t, "sfdisk")
		cmd := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", device)
		cmd.Stdin = strings.NewReader("label: " + label + "\n2048,8192\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v: %s", err, out)
		}
	}
}

func luks(kind string) func(*testing.T, string) {
	return func(t *testing.T, device string) {
		t.Helper()
		blockdevtest.Need(t, "cryptsetup")
		cmd := exec.Command("cryptsetup", "-q", "luksFormat", "--type", kind, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", device, "-")
		cmd.Stdin = strings.NewReader("secret")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cryptsetup: %v: %s", err, out)
		}
	}
}

func array(metadata string) func(*testing.T, string) {
	return func(t *testing.T, device string) {
		t.Helper()
		f, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		size, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			t.Fatal(err)
		}
		const id = "01234567-89ab-4cde-8f01-23456789abcd"
		a := md.Array{Level: 1, Metadata: metadata, UUID: id, Name: "m", Members: []int64{size, size}, MemberIDs: []string{id, id[:35] + "e"}, Time: time.Unix(1, 0)}
		second, err := os.Create(filepath.Join(t.TempDir(), "second"))
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if err := errors.Join(second.Truncate(size), a.WriteSuperblocks([]md.Device{f, second})); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, device string, data []byte, at int64) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(data, at)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSignatures: what foreign tools put onto a device is recognised, as wipefs
// does; without --wipe it stays, with it nothing is left to recognise, whether the
// device can give blocks back or not.
func TestSignatures(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "wipefs")
	for name, c := range carriers {
		for _, discards := range []bool{true, false} {
			device := blockdevtest.Device(t, 320*mib)
			other := blockdevtest.Device(t, mib)
			c.make(t, device)
			if tool(t, "wipefs", "-n", device) == "" {
				t.Errorf("%s: wipefs knows nothing of it", name)
			}
			before := tool(t, "wipefs", "-n", device)
			for _, wipe := range [][]string{nil, {other, "/dev/null", "/no/such"}} {
				_, err := physical.Look(device, wipe)
				if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "--wipe "+device) {
					t.Errorf("%s: Look: %v; want a refusal with %q", name, err, c.says)
				}
				if _, err := physical.Claim(device, 320*mib, physical.Options{Wipe: wipe}); err == nil {
					t.Errorf("%s: Claim without leave", name)
				}
			}
			if after := tool(t, "wipefs", "-n", device); after != before {
				t.Errorf("%s: was\n%sis\n%s", name, before, after)
			}
			link := filepath.Join(t.TempDir(), "by-id") // another path of the same device
			if err := os.Symlink(device, link); err != nil {
				t.Fatal(err)
			}
			if info, err := physical.Look(device, []string{link}); err != nil || info != (physical.Info{Size: 320 * mib, SectorSize: 512}) {
				t.Errorf("%s: %+v, %v", name, info, err)
			}
			if _, err := physical.Claim(device, 319*mib, physical.Options{Wipe: []string{link}}); err == nil || !strings.Contains(err.Error(), "and had 334495744") {
				t.Errorf("%s: of another size: %v", name, err)
			}
			d, err := physical.Claim(device, 320*mib, physical.Options{Wipe: []string{link}, NoDiscard: !discards})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if d.Blank() != discards {
				t.Errorf("%s: blank %v; blocks can be given back: %v", name, d.Blank(), discards)
			}
			if f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0); err == nil {
				t.Errorf("%s: somebody else can have it, too", name)
				f.Close()
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			if left := tool(t, "wipefs", "-n", device); left != "" {
				t.Errorf("%s (discard %v): left\n%s", name, discards, left)
			}
			if _, err := physical.Look(device, nil); err != nil {
				t.Errorf("%s: afterwards: %v", name, err)
			}
		}
	}
}

// TestAbandon: what was half-written is recognised as nothing; so is a whole disk
// that Wipe takes back.
func TestAbandon(t *testing.T) {
	device := blockdevtest.Device(t, 16*mib)
	d, err := physical.Claim(device, 16*mib, physical.Options{})
	if err != nil {
		t.Fatal(err)
	}
	table("gpt")(t, device)
	if err := d.Abandon(); err != nil {
		t.Fatal(err)
	}
	if left := tool(t, "wipefs", "-n", device); left != "" {
		t.Errorf("left\n%s", left)
	}
	table("gpt")(t, device)
	if err := physical.Wipe(device); err != nil {
		t.Fatal(err)
	}
	if left := tool(t, "wipefs", "-n", device); left != "" {
		t.Errorf("Wipe left\n%s", left)
	}
}
