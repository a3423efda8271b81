package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/boot/boottest"
)

// bootsVar set to "all" starts the rows of TestBoots too that are left out else,
// for their time.
const bootsVar = "LITHIFY_TEST_BOOTS"

func allBoots() bool { return os.Getenv(bootsVar) == "all" }

// The passphrase of the volumes, typed as a US keyboard's owner would; newSecret
// is added in the guest.
const bootSecret, newSecret = "correct horse", "battery staple"

// Asking are the questions of a guest whose / is encrypted, or /boot as well. The
// first answer to each is wrong.
var (
	initramfsAsks = []boottest.Unlock{{By: boottest.ByInitramfs, Passphrase: bootSecret, Wrong: "horse correct"}}
	newKeyAsked   = []boottest.Unlock{{By: boottest.ByInitramfs, Passphrase: newSecret}}
	bothAsk       = append([]boottest.Unlock{{By: boottest.ByGRUB, Passphrase: bootSecret, Wrong: "horse correct"}}, initramfsAsks...)
)

// stackConfig is LVM on LUKS on a mirror of two disks, either of which starts by
// BIOS and by UEFI: firmware takes a half of the system partition for a vfat.
const stackConfig = `
- local_loop: {name: image0}
- local_loop: {name: other}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: esp0, type: EF00, size: 64MiB}
    - {name: bsp0, type: EF02, size: 2MiB}
    - {name: boot0, type: FD00, size: 300MiB}
    - {name: main0, type: FD00, size: 100%}
- partitioning:
    base: other
    label: gpt
    partitions:
    - {name: esp1, type: EF00, size: 64MiB}
    - {name: bsp1, type: EF02, size: 2MiB}
    - {name: boot1, type: FD00, size: 300MiB}
    - {name: main1, type: FD00, size: 100%}
- md: {name: esp, level: raid1, metadata: '1.0', base: [esp0, esp1], mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}}
- md: {name: boot, level: raid1, base: [boot0, boot1], mkfs: {type: ext4, label: BOOT, mount: {mount_point: /boot, fstab: {}}}}
- md: {name: main, level: raid1, base: [main0, main1]}
- luks: {name: crypt, base: main, key_env: TEST_PASSPHRASE, pbkdf: pbkdf2, iterations: 1000}
- lvm:
    pvs: [{name: pv, base: crypt}]
    vgs: [{name: vg, base: [pv]}]
    lvs: [{name: lv_root, base: vg, extents: 80%VG, mkfs: {type: ext4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}]
`

// mirrorConfig is / on a mirror of two disks, read by GRUB itself.
const mirrorConfig = `
- local_loop: {name: image0}
- local_loop: {name: other}
- partitioning: {base: image0, label: gpt, partitions: [{name: bsp0, type: EF02, size: 2MiB}, {name: main0, type: FD00, size: 100%}]}
- partitioning: {base: other, label: gpt, partitions: [{name: bsp1, type: EF02, size: 2MiB}, {name: main1, type: FD00, size: 100%}]}
- md: {name: main, level: raid1, base: [main0, main1], mkfs: {type: ext4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
`

// lvmConfig is / on a logical volume, with /boot on it.
const lvmConfig = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: esp, type: EF00, size: 64MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}}
    - {name: bsp, type: EF02, size: 2MiB}
    - {name: main, type: 8E00, size: 100%}
- lvm:
    pvs: [{name: pv, base: main}]
    vgs: [{name: vg, base: [pv]}]
    lvs: [{name: lv_root, base: vg, extents: 80%VG, mkfs: {type: ext4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}]
`

// luksConfig has / encrypted in the usual way, and /boot apart.
const luksConfig = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: bsp, type: EF02, size: 2MiB}
    - {name: boot, type: '8300', size: 300MiB, mkfs: {type: ext4, label: BOOT, mount: {mount_point: /boot, fstab: {}}}}
    - {name: main, type: '8309', size: 100%, luks: {name: crypt, key_env: TEST_PASSPHRASE, mkfs: {type: ext4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}}
`

// luksBootConfig has /boot inside the encrypted volume, whose TYPE GRUB opens.
const luksBootConfig = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: bsp, type: EF02, size: 2MiB}
    - {name: main, type: '8309', size: 100%, luks: {name: crypt, TYPE, pbkdf: pbkdf2, iterations: 1000, key_env: TEST_PASSPHRASE,
        mkfs: {type: ext4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}}
`

var (
	stackMounts = []boottest.Mount{{Point: "/boot/efi", Type: "vfat", Disk: "/dev/md"}, {Point: "/boot", Type: "ext4", Disk: "/dev/md"}}
	bootMount   = []boottest.Mount{{Point: "/boot", Type: "ext4"}}
	secret      = []string{"TEST_PASSPHRASE=" + bootSecret}
)

// volumeImages are those whose / lies on a volume. One layout serves the short
// suite: by UEFI from both disks, by BIOS from the second one alone.
var volumeImages = []bootImage{
	{
		name: "stack", elements: []string{"block-device-efi"}, env: secret, config: stackConfig, more: []string{"other"},
		boots: []bootRow{
			{name: "uefi, both disks", expect: boottest.Expect{Firmware: boottest.UEFI, Mounts: stackMounts, Unlocks: initramfsAsks, KeepsBoot: true}},
			{name: "bios, first missing", missing: "image0", after: []guestWork{growVolume, addKey, replaceDisk}, again: newKeyAsked,
				expect: boottest.Expect{Mounts: stackMounts, Unlocks: initramfsAsks, KeepsBoot: true}},
			{name: "uefi, first missing", missing: "image0", all: true,
				expect: boottest.Expect{Firmware: boottest.UEFI, Mounts: stackMounts, Unlocks: initramfsAsks, KeepsBoot: true}},
			{name: "bios, second missing", missing: "other", all: true,
				expect: boottest.Expect{Mounts: stackMounts, Unlocks: initramfsAsks, KeepsBoot: true}},
		},
	},
	{
		name: "lvm", all: true, elements: []string{"block-device-efi"}, config: lvmConfig,
		boots: []bootRow{
			{name: "uefi", after: []guestWork{growVolume}, expect: boottest.Expect{Firmware: boottest.UEFI, Mounts: efiMounts, OldInitrd: true}},
			{name: "bios", expect: boottest.Expect{Mounts: efiMounts, GrubOnly: true}},
		},
	},
	{
		name: "mirror", all: true, elements: []string{"block-device-gpt"}, config: mirrorConfig, more: []string{"other"},
		boots: []bootRow{
			{name: "both disks", expect: boottest.Expect{OldInitrd: true}},
			{name: "first missing", missing: "image0", after: []guestWork{replaceDisk}, again: []boottest.Unlock{}, expect: boottest.Expect{KeepsBoot: true}},
			{name: "second missing", missing: "other", expect: boottest.Expect{KeepsBoot: true}},
		},
	},
	{
		name: "luks", all: true, elements: []string{"block-device-gpt"}, env: secret, config: luksConfig,
		boots: []bootRow{{name: "bios", after: []guestWork{addKey}, expect: boottest.Expect{Mounts: bootMount, Unlocks: initramfsAsks, OldInitrd: true}}},
	},
	{
		name: "luks1-boot", all: true, elements: []string{"block-device-gpt"}, env: secret, config: strings.Replace(luksBootConfig, "TYPE", "type: luks1", 1),
		boots: []bootRow{{name: "bios", after: []guestWork{addKey}, expect: boottest.Expect{Unlocks: bothAsk, OldInitrd: true}}},
	},
	{
		name: "luks2-boot", all: true, elements: []string{"block-device-gpt"}, env: secret, config: strings.Replace(luksBootConfig, "TYPE", "type: luks2", 1),
		boots: []bootRow{{name: "bios", expect: boottest.Expect{Unlocks: bothAsk, OldInitrd: true}}},
	},
}

// guestWork is what an owner does to the volumes of a running machine, as root; a
// command that fails ends it.
type guestWork struct{ name, script string }

var growVolume = guestWork{"lvextend -r on the mounted /", `
before=$(df -B1 --output=size / | tail -n 1)
lvextend -q -r -L +64M /dev/vg/lv_root
after=$(df -B1 --output=size / | tail -n 1)
[ "$after" -gt "$before" ]
blocks=$(dumpe2fs -h /dev/vg/lv_root 2> /dev/null | awk '/^Block count:/ { print $3 }')
[ $((blocks * 4096)) = "$(blockdev --getsize64 /dev/vg/lv_root)" ]`}

// addKey asks also that what was not given is refused.
var addKey = guestWork{"luksAddKey", `
umask 077
cd /run
printf %s '` + bootSecret + `' > old; printf %s '` + newSecret + `' > new; printf %s nonsense > wrong
device=$(cryptsetup status crypt | awk '$1 == "device:" { print $2 }')
! cryptsetup open --test-passphrase --key-file new "$device"
cryptsetup luksAddKey --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file old "$device" new
for key in old new; do cryptsetup open --test-passphrase --key-file $key "$device"; done
! cryptsetup open --test-passphrase --key-file wrong "$device"
rm old new wrong`}

// replaceDisk lets an empty disk, /dev/vdb, take the place of the one that is gone.
var replaceDisk = guestWork{"mdadm --add of a new disk", `
sfdisk --dump /dev/vda | sed -E '/^label-id/d; s/, uuid=[^,]*//' | sfdisk -q /dev/vdb
udevadm settle
for d in /dev/vda?; do
    array=$(lsblk -nro NAME,TYPE $d | awk '$2 == "raid1" { print "/dev/" $1 }')
    [ -n "$array" ] || continue
    ! mdadm --detail --test $array > /dev/null
    mdadm $array --add /dev/vdb${d#/dev/vda}
done
for array in /dev/md/*; do
    mdadm --wait $array || true # nothing left to wait for
    mdadm --detail --test $array
done
cat /proc/mdstat
grub-install --target=i386-pc /dev/vdb`}

// goOn does the row's work in a guest that has come up, and starts it again.
func (r bootRow) goOn(ctx context.Context, t *testing.T, vm *boottest.VM, e boottest.Expect) {
	if len(r.after) == 0 {
		return
	}
	sh, err := vm.SSH(ctx, e.User, e.Key, e.BootLimit)
	must(t, err)
	defer sh.Close()
	for _, w := range r.after {
		begin := time.Now()
		out, err := sh.Run(ctx, "sudo bash -euxo pipefail 2>&1 <<'END'\n"+w.script+"\nEND\n", 30*time.Minute)
		if err != nil || out.Exit != 0 {
			t.Fatalf("%s: exit code %d, %v\n%s", w.name, out.Exit, err, out.Stdout)
		}
		t.Logf("%s took %s", w.name, time.Since(begin))
	}
	if r.again == nil || !allBoots() {
		return
	}
	// The connection may end before the command's exit code arrives.
	_, _ = sh.Run(ctx, "sudo systemctl poweroff", 2*time.Minute)
	for n := range vm.Disks() - 1 {
		vm.Unplug(n)
	}
	must(t, vm.Restart(ctx, 10*time.Minute))
	e.Unlocks = r.again
	if err := boottest.CheckDebian(ctx, vm, e); err != nil {
		t.Errorf("from the new disk alone: %v\n%s", err, tail(vm.Log()))
	}
}
