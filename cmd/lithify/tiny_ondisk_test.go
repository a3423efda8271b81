package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestTinyOnDisk: hooks that name the block device work on the disk, and what
// they leave is in every format.
func TestTinyOnDisk(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil).with(twoPartitions)
	const mark = "written by a hook to the device"
	w.write("app/finalise.d/60-device", `#!/bin/sh
set -eu
printf '`+mark+`' | dd of="$IMAGE_BLOCK_DEVICE" bs=512 seek=100 conv=notrunc status=none
echo "$IMAGE_BLOCK_DEVICES" > /devices
test "$DIB_IMAGE_SIZE" = $(($(cat /sys/class/block/${IMAGE_BLOCK_DEVICE##*/}/size) / 2)) # KiB, whatever the user's unit
echo deep > /var/deep
`)
	w.write("app/cleanup.d/60-device", "#!/bin/sh\nset -eu\ntest -b $IMAGE_BLOCK_DEVICE\ntest \"$DIB_IMAGE_SIZE\" = $(($(cat /sys/class/block/${IMAGE_BLOCK_DEVICE##*/}/size) / 2))\necho cleaned > $TARGET_ROOT/var/cleaned\n")
	r := w.build("web", "raw,qcow2,tar", "--image-size", "100MiB")
	w.checkDisk("web.raw", 2)
	raw, err := os.Open(w.path("web.raw"))
	must(t, err)
	defer raw.Close()
	got := make([]byte, len(mark))
	_, err = raw.ReadAt(got, 100*512)
	must(t, err)
	if !bytes.Equal(got, []byte(mark)) {
		t.Errorf("sector 100 holds %q", got)
	}
	sameTree(t, "raw:"+w.path("web.raw"), "tar:"+w.path("web.tar"), ofDisk)
	foreign(t, w.out, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", "web.raw", "web.qcow2")
	names := foreign(t, w.out, "tar", "-tf", "web.tar")
	for _, want := range []string{"./devices\n", "./var/deep\n", "./var/cleaned\n"} {
		if !strings.Contains(names, want) {
			t.Errorf("no %q in the tar", want)
		}
	}
	if strings.Contains(names, "lost+found") {
		t.Error("the tar has lost+found")
	}
	w.checkManifests("web")
	if again := w.build("web", "raw,qcow2,tar", "--image-size", "100MiB"); !again.nothing {
		t.Errorf("made again: %v after %v", again, r)
	}
	w.fails(2, w.create("b", "raw", "--backend", "file"), "IMAGE_BLOCK_DEVICE", "--backend loop")
	w.fails(2, w.create("b", "docker"), "IMAGE_BLOCK_DEVICE")
	w.edit("app/finalise.d/60-device", "exit 7\n")
	w.fails(7, w.create("b", "raw"), "60-device")
}
