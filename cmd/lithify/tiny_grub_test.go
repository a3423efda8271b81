package main

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/boot/boottest"
)

// grubHooks are of an element that knows nothing of us: it brings GRUB of this
// host with its libraries into the tree, and installs it as elements for
// diskimage-builder do.
var grubHooks = map[string]string{
	"root.d/60-grubby": `
mkdir -p "$TARGET_ROOT/usr/sbin" "$TARGET_ROOT/usr/lib/grub" "$TARGET_ROOT/boot/grub"
cp -a /usr/lib/grub/i386-pc "$TARGET_ROOT/usr/lib/grub/"
for tool in grub-install grub-probe; do
    file=$(PATH=$PATH:/usr/sbin type -P $tool)
    mkdir -p "$TARGET_ROOT${file%/*}"
    cp "$file" "$TARGET_ROOT${file%/*}/"
    for library in $(ldd "$file" | grep -o '/[^ ]*'); do
        mkdir -p "$TARGET_ROOT${library%/*}"
        cp -L "$library" "$TARGET_ROOT$library"
    done
done
`,
	"finalise.d/60-grubby": `
grub-install --target=i386-pc --modules="part_msdos part_gpt biosdisk" "$IMAGE_BLOCK_DEVICE"
grub-probe --target=fs_uuid / > /boot/grub/uuid
cat > /boot/grub/grub.cfg << "END"
serial --unit=0
terminal_output serial
echo "grub.cfg was read from ($root)"
cat /boot/grub/uuid
sleep 3600
END
`,
}

// TestTinyGrub: a hook's own grub-install, the real one, writes to the disk's
// loop device, and a BIOS starts what it wrote.
func TestTinyGrub(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "grub-install", "grub-probe", "ldd", "qemu-system-x86_64", "qemu-img", "blkid")
	if _, err := os.Stat("/usr/lib/grub/i386-pc/boot.img"); errors.Is(err, fs.ErrNotExist) {
		blockdevtest.Missing(t, "GRUB for i386-pc (Debian package grub-pc-bin)")
	}
	w := newTiny(t, nil).with(twoPartitions)
	w.hooks("grubby", grubHooks)
	w.build("web", "raw", "--image-size", "100MiB")
	w.checkDisk("web.raw", 2)
	uuid := strings.TrimSpace(foreign(t, w.out, "blkid", "--probe", "--offset", "1048576", "--output", "value", "--match-tag", "UUID", "web.raw"))
	vm, err := boottest.Start(t.Context(), boottest.Options{Image: w.path("web.raw"), Memory: 128, CPUs: 1})
	must(t, err)
	defer func() { must(t, vm.Close()) }()
	if _, err := vm.WaitFor(t.Context(), regexp.MustCompile(`grub\.cfg was read from \(hd0,msdos1\)\s+`+uuid), time.Minute); err != nil {
		t.Error(err)
	}
}

// grubbyAlone is grubHooks without the device: GRUB's tools are the stand-ins.
func grubbyAlone() map[string]string {
	return map[string]string{
		"root.d/60-grubby":     strings.Replace(grubHooks["root.d/60-grubby"], "grub-install grub-probe", "grub-install grub-probe grub-mkimage", 1),
		"finalise.d/60-grubby": strings.Replace(grubHooks["finalise.d/60-grubby"], ` "$IMAGE_BLOCK_DEVICE"`, "", 1),
	}
}

// TestTinyGrubOpens: GRUB's core image assembles and opens the volumes that its
// files lie on; a wrong passphrase is refused, and asked for again.
func TestTinyGrubOpens(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "grub-install", "grub-probe", "grub-mkimage", "ldd", "qemu-system-x86_64", "qemu-img")
	if _, err := os.Stat("/usr/lib/grub/i386-pc/boot.img"); errors.Is(err, fs.ErrNotExist) {
		blockdevtest.Missing(t, "GRUB for i386-pc (Debian package grub-pc-bin)")
	}
	const onLUKS = `luks: {name: crypt, key_env: TEST_PASSPHRASE, pbkdf: pbkdf2, iterations: 1000, TYPE`
	const ext4 = `mkfs: {type: ext4, mount: {mount_point: /, fstab: {}}}`
	plain := `[{local_loop: {name: image0, size: 100MiB}}, {partitioning: {base: image0, label: gpt, partitions: [
		{name: bsp0, type: EF02, size: 2MiB}, {name: main0, type: '8309', size: 100%, ` + onLUKS + `, ` + ext4 + `}}]}}]`
	stack := `[{local_loop: {name: image0, size: 100MiB}}, {local_loop: {name: other, size: 100MiB}},
		{partitioning: {base: image0, label: gpt, partitions: [{name: bsp0, type: EF02, size: 2MiB}, {name: main0, type: FD00, size: 100%}]}},
		{partitioning: {base: other, label: gpt, partitions: [{name: bsp1, type: EF02, size: 2MiB}, {name: main1, type: FD00, size: 100%}]}},
		{md: {name: main, level: raid1, base: [main0, main1], ` + onLUKS + `}}},
		{lvm: {pvs: [{name: pv, base: crypt}], vgs: [{name: vg, base: [pv]}], lvs: [{name: root, base: vg, extents: 80%VG, ` + ext4 + `}]}}]`
	for _, c := range []struct{ name, config, version, image, root string }{
		{"luks1", plain, "luks1", "web.raw", "cryptouuid/"},
		{"luks2", plain, "luks2", "web.raw", "cryptouuid/"},
		{"lvm on luks2 on the second half of a mirror", stack, "luks2", "web-other.raw", "lvmid/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, nil).with("DIB_BLOCK_DEVICE_CONFIG="+strings.Replace(c.config, "TYPE", "type: "+c.version, 1), "TEST_PASSPHRASE=open sesame")
			w.hooks("grubby", grubbyAlone())
			w.build("web", "raw")
			vm, err := boottest.Start(t.Context(), boottest.Options{Image: w.path(c.image), Memory: 128, CPUs: 1})
			must(t, err)
			defer func() { must(t, vm.Close()) }()
			must(t, vm.Unlock(t.Context(), boottest.Unlock{By: boottest.ByGRUB, Passphrase: "open sesame", Wrong: "sesame"}, 5*time.Minute))
			if _, err := vm.WaitFor(t.Context(), regexp.MustCompile(`was read from\s+\(`+c.root), 5*time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
}
