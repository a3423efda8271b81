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
    cp "$file" "$TARGET_ROOT/usr/sbin/"
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
