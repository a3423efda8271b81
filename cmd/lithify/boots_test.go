package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/boot/boottest"
	"golang.org/x/crypto/ssh"
)

// bootImage is an image of the matrix, and how it must start. TestDebian has one
// more: BIOS with an mbr.
type bootImage struct {
	name     string
	elements []string // beside those that all have
	env      []string
	config   string   // DIB_BLOCK_DEVICE_CONFIG; "" means the element's
	more     []string // outputs of further disks
	all      bool     // with LITHIFY_TEST_BOOTS=all only
	// newerTools makes its file systems with the next release's programs, which
	// know features that bookworm's boot loader and kernel do not.
	newerTools bool
	// together asks the guest for what its elements, most of the library's, promise.
	together bool
	prepare  func(t *testing.T, b *debianBuild) // before the build
	boots    []bootRow
}

// bootRow is one start of an image.
type bootRow struct {
	name   string
	expect boottest.Expect // User, Key, RootLabel and Logger are filled in

	all     bool              // with LITHIFY_TEST_BOOTS=all only
	missing string            // the disk of this name is not there; an empty one comes after the others
	after   []guestWork       // done once the guest has come up
	again   []boottest.Unlock // with LITHIFY_TEST_BOOTS=all started then from the last disk alone, which these open
}

// bootWords are common to all images, so that most of the steps are shared too:
// what differs between those of one block-device element is in the last phases.
var bootWords = []string{"-t", "raw", "debian-minimal", "vm", "openssh-server", "growroot", "devuser", "enable-serial-console", "patient"}

// bigDisk is what the guests' disks have, far more than the images.
const bigDisk = 4 << 30

var efiMounts = []boottest.Mount{{Point: "/boot/efi", Type: "vfat"}}

// bootImages cover: BIOS with a gpt, /var on xfs and /home on btrfs, two disks, and
// most elements of the library at once, with a seed disk for cloud-init;
// UEFI, and BIOS by the same image; 4096-byte sectors by UEFI; Secure Boot with
// /boot apart; trixie, on an ext4 that we have written, which grows while it is
// mounted. Its DHCP client is as patient as systemd.
var bootImages = []bootImage{
	{
		name: "efi", elements: []string{"block-device-efi"},
		boots: []bootRow{
			{name: "uefi", expect: boottest.Expect{Firmware: boottest.UEFI, Mounts: efiMounts, Size: bigDisk, Release: "bookworm", OldInitrd: true}},
			{name: "bios", expect: boottest.Expect{Firmware: boottest.BIOS, Mounts: efiMounts, Size: bigDisk, KeepsBoot: true}},
		},
	},
	{
		name: "gpt", elements: togetherWords, together: true, config: severalConfig, more: []string{"datadisk"}, newerTools: true,
		boots: []bootRow{{name: "bios", expect: boottest.Expect{GrubOnly: true, Swap: 1, Size: bigDisk, Mounts: []boottest.Mount{
			{Point: "/var", Type: "xfs"}, {Point: "/home", Type: "btrfs"}, {Point: "/srv", Type: "ext4", Disk: "/dev/vdb"}}}}},
	},
	{
		name: "large-sectors", elements: []string{"block-device-efi-4k"},
		boots: []bootRow{{name: "uefi", expect: boottest.Expect{KeepsBoot: true, Firmware: boottest.UEFI, Sector: 4096, Mounts: efiMounts, Size: bigDisk}}},
	},
	{
		name: "secure-boot", elements: []string{"block-device-efi", "-p", "shim-signed,grub-efi-amd64-signed"}, config: bootApartConfig,
		boots: []bootRow{{name: "secure boot", expect: boottest.Expect{GrubOnly: true, Firmware: boottest.SecureBoot, Size: bigDisk, Mounts: []boottest.Mount{
			{Point: "/boot/efi", Type: "vfat"}, {Point: "/boot", Type: "ext4"}}}}},
	},
	{
		name: "trixie", elements: []string{"block-device-mbr", "dhcp-all-interfaces", "--backend", "file"}, env: []string{"DIB_RELEASE=trixie", "DIB_DHCP_TIMEOUT=600"},
		boots: []bootRow{{name: "bios", expect: boottest.Expect{GrubOnly: true, Release: "trixie", Size: bigDisk}}},
	},
}

// containerImages start from a container image. They are
// built each time, and started with LITHIFY_TEST_BOOTS=all.
var containerImages = []bootImage{{
	name: "container", elements: []string{"debian-container", "block-device-efi"}, prepare: containerOfDebian,
	boots: []bootRow{{name: "uefi", all: true, expect: boottest.Expect{Firmware: boottest.UEFI, Mounts: efiMounts, Size: bigDisk, Release: "bookworm"}}},
}}

// severalConfig has several file systems on several disks, all started by BIOS.
const severalConfig = `
- local_loop: {name: image0}
- local_loop: {name: datadisk, size: 200MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: BSP, type: EF02, size: 2MiB}
    - {name: swap, type: '8200', size: 64MiB, mkfs: {type: swap, label: swap0, mount: {mount_point: none, fstab: {options: sw}}}}
    - {name: var, type: '8300', size: 1GiB, mkfs: {type: xfs, label: var, mount: {mount_point: /var, fstab: {options: defaults}}}}
    - {name: home, type: '8300', size: 256MiB, mkfs: {type: btrfs, label: home, mount: {mount_point: /home, fstab: {options: defaults}}}}
    - {name: root, type: '8300', size: 100%, mkfs: {type: ext4, mount: {mount_point: /, fstab: {options: defaults, fsck-passno: 1}}}}
- mkfs: {name: srv, base: datadisk, type: ext4, label: srv, mount: {mount_point: /srv, fstab: {options: defaults}}}
`

// bootApartConfig keeps the kernel on a file system of its own.
const bootApartConfig = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: ESP, type: EF00, size: 64MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {options: defaults}}}}
    - {name: BSP, type: EF02, size: 2MiB}
    - {name: boot, type: '8300', size: 300MiB, mkfs: {type: ext4, label: BOOT, mount: {mount_point: /boot, fstab: {options: defaults}}}}
    - {name: root, type: '8300', size: 100%, mkfs: {type: ext4, mount: {mount_point: /, fstab: {options: defaults, fsck-passno: 1}}}}
`

// TestBoots builds the images and starts each as its rows say, as many at a time
// as there are processors. It needs the Debian archive; LITHIFY_TEST_CACHE keeps packages between
// runs, and LITHIFY_TEST_STORE the layers, for work on this test; LITHIFY_TEST_BOOTS=all starts every row.
func TestBoots(t *testing.T) {
	if testing.Short() {
		t.Skip("whole distributions are built: not with -short")
	}
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mmdebstrap", "qemu-img", "qemu-system-x86_64", "mkfs.fat", "mcopy")
	needFirmware(t)
	base := scratch(t)
	key, public, err := boottest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(base, "key.pub"), public)
	builds := newDebianBuild(t, base, filepath.Join(base, "key.pub"), nil)
	builds.env = append(builds.env, "DIB_GRUB_TIMEOUT=1", "ELEMENTS_PATH="+patient(t, base))
	if kept := os.Getenv("LITHIFY_TEST_STORE"); kept != "" {
		builds.env = append(builds.env, "LITHIFY_STORE="+kept)
	}
	for _, i := range slices.Concat(bootImages, volumeImages, containerImages) {
		t.Run(i.name, func(t *testing.T) {
			if i.all && !allBoots() {
				t.Skip(bootsVar + "=all starts this one too")
			}
			t.Parallel()
			i.test(t, *builds, key)
		})
	}
}

// patientHook makes systemd wait: on a busy machine an emulated guest takes longer
// than a minute and a half to find its devices, and than the half minute that this
// unit allows itself to write one line.
const patientHook = `#!/bin/sh
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n' > /etc/systemd/system.conf.d/patient.conf
mkdir -p /etc/systemd/system/systemd-machine-id-commit.service.d
printf '[Service]\nTimeoutSec=15min\n' > /etc/systemd/system/systemd-machine-id-commit.service.d/patient.conf
`

// patient writes an element of that hook, and gives the folder it lies in. In
// finalise it leaves the steps before alone.
func patient(t *testing.T, base string) string {
	t.Helper()
	dir := filepath.Join(base, "elements")
	hook := filepath.Join(dir, "patient", "finalise.d", "20-patient")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte(patientHook), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func needFirmware(t *testing.T) {
	t.Helper()
	for _, f := range []boottest.Firmware{boottest.UEFI, boottest.SecureBoot} {
		for _, file := range f.NeedsFiles() {
			if _, err := os.Stat(file); err == nil {
				continue
			} else if os.Getenv("CI") == "true" {
				t.Fatalf("needs %s, and CI=true lets nothing be skipped", file)
			} else {
				t.Skipf("needs %v", err)
			}
		}
	}
}

// test builds the image, then starts it as often as it has rows, side by side.
func (i bootImage) test(t *testing.T, b debianBuild, key ssh.Signer) {
	b.t, b.env = t, append(slices.Clone(b.env), i.env...)
	var all *together
	if i.together {
		all = newTogether(&b)
	}
	if i.prepare != nil {
		i.prepare(t, &b)
	}
	if i.config != "" {
		b.env = append(b.env, "DIB_BLOCK_DEVICE_CONFIG="+i.config)
	}
	if i.newerTools {
		b.env = append(b.env, "PATH="+newerTools(t)+":/usr/local/bin:/usr/bin:/bin")
	}
	log, err := b.run(slices.Concat([]string{"-o", i.name}, bootWords, i.elements)...)
	if err != nil {
		t.Fatalf("building: %v\n%s", err, tail(log))
	}
	t.Log(endOf(log, 4))
	for _, row := range i.boots {
		t.Run(row.name, func(t *testing.T) {
			if row.all && !allBoots() {
				t.Skip(bootsVar + "=all starts this one too")
			}
			t.Parallel()
			row.boot(t, b, i, key, all)
		})
	}
}

// endOf says how much of a build was reused, and what took its time.
func endOf(log string, n int) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (r bootRow) boot(t *testing.T, b debianBuild, i bootImage, key ssh.Signer, all *together) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	o := r.machine(t, b, i)
	if all != nil {
		all.plugIn(&o)
	}
	vm, err := boottest.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	e := r.expect
	e.User, e.Key, e.RootLabel, e.BootLimit = "devuser", key, "cloudimg-rootfs", 12*time.Minute
	e.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	if err := boottest.CheckDebian(ctx, vm, e); err != nil {
		t.Errorf("%v\n%s", err, tail(vm.Log()))
	}
	if all != nil {
		all.t = t
		all.check(ctx, vm)
	}
	if !t.Failed() {
		r.goOn(ctx, t, vm, e)
	}
}

// machine has the row's disks.
func (r bootRow) machine(t *testing.T, b debianBuild, i bootImage) boottest.Options {
	o := boottest.Options{Size: r.expect.Size, Firmware: r.expect.Firmware, Sector: r.expect.Sector,
		Restarts: r.expect.Firmware == boottest.UEFI || r.again != nil && allBoots()}
	for n, node := range append([]string{"image0"}, i.more...) {
		image := b.path(i.name + "-" + node + ".raw")
		if n == 0 {
			image = b.path(i.name + ".raw")
		}
		switch {
		case node == r.missing:
		case o.Image == "":
			o.Image = image
		default:
			o.ExtraDisks = append(o.ExtraDisks, boottest.Disk{Image: image, Format: "raw"})
		}
	}
	if r.missing != "" {
		info, err := os.Stat(o.Image)
		must(t, err)
		o.ExtraDisks = append(o.ExtraDisks, boottest.Disk{Size: info.Size()})
	}
	return o
}

// newerTools gives a folder with trixie's programs that make file systems, which
// run with trixie's own libraries.
func newerTools(t *testing.T) string {
	t.Helper()
	root, bin := filepath.Join(scratch(t), "trixie"), t.TempDir()
	out, err := exec.Command("mmdebstrap", "--variant=extract", "--include=e2fsprogs,xfsprogs,btrfs-progs", "trixie", root,
		"http://deb.debian.org/debian").CombinedOutput()
	if err != nil {
		t.Fatalf("unpacking trixie's tools: %v\n%s", err, out)
	}
	for _, name := range []string{"mke2fs", "debugfs", "mkfs.xfs", "mkfs.btrfs"} {
		script := fmt.Sprintf("#!/bin/sh\nexec %[1]s/usr/lib64/ld-linux-x86-64.so.2 --library-path %[1]s/usr/lib/x86_64-linux-gnu %[1]s/usr/sbin/%[2]s \"$@\"\n", root, name)
		must(t, os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755))
	}
	version, err := exec.Command(filepath.Join(bin, "mkfs.xfs"), "-V").CombinedOutput()
	if err != nil || !strings.Contains(string(version), " 6.1") || strings.Contains(string(version), " 6.1.") {
		t.Fatalf("mkfs.xfs is %q (%v), no newer than this host's", version, err)
	}
	return bin
}
