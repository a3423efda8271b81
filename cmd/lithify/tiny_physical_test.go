package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"golang.org/x/sys/unix"
)

// onDevice is a disk for / on a device, and an image for the rest.
func onDevice(device string) string {
	return "DIB_BLOCK_DEVICE_CONFIG=" + strings.ReplaceAll(`
- physical_disk: {name: key, path: DEVICE}
- local_loop: {name: extra, size: 16MiB, mkfs: {type: ext2, label: extra}}
- partitioning: {base: key, label: gpt, partitions: [{name: root, size: 100%, mkfs: {opts: -J size=4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}]}
`, "DEVICE", device)
}

// TestTinyPhysical: a build writes onto a device that is there, by both back ends,
// and only with leave over what is on it; other disks become images as ever.
func TestTinyPhysical(t *testing.T) {
	t.Parallel()
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "wipefs")
	device, other := blockdevtest.Device(t, 100*mib), blockdevtest.Device(t, 8*mib)
	foreign(t, "/", "mke2fs", "-q", other)
	before := foreign(t, "/", "sha256sum", other)
	for i, backend := range []string{"loop", "file"} {
		w := newTiny(t, nil).with(onDevice(device))
		more := []string{"--backend", backend}
		if i > 0 { // the disk of the round before is on it
			w.fails(exitUsage, w.create("web", "raw", more...), device, "--wipe "+device)
			w.fails(exitUsage, w.create("web", "raw", append(more, "--wipe", other)...), "--wipe "+other+": no physical_disk")
			w.nothingLeft()
			link := filepath.Join(t.TempDir(), "by-id")
			must(t, os.Symlink(device, link))
			more = append(more, "--wipe", link)
		}
		r := w.build("web", "raw,tar", more...)
		if !strings.Contains(r.stdout, device+"  100.0 MiB") {
			t.Errorf("the summary has no %s: %s", device, r)
		}
		for file, there := range map[string]bool{"web.raw": false, "web-key.raw": false, "web-extra.raw": true, "web.tar": true} {
			if _, err := os.Stat(w.path(file)); (err == nil) != there {
				t.Errorf("%s: %s: %v", backend, file, err)
			}
		}
		fromHere, err := filepath.Rel(w.out, device)
		must(t, err)
		w.checkDisk(fromHere, 1)
		sameTree(t, "raw:"+device, "tar:"+w.path("web.tar"), ofDisk)
		foreign(t, w.out, "e2fsck", "-fn", "web-extra.raw")
		if again := w.build("web", "raw,tar", append(more, "--wipe", device)...); again.nothing {
			t.Error("a second build left the device alone")
		}
		w.nothingLeft()
	}
	if after := foreign(t, "/", "sha256sum", other); after != before {
		t.Error("another device was written to")
	}
}

// TestTinyPhysicalRefused: what may not be written onto is refused before anything
// is built, and a build that fails later leaves no disk behind.
func TestTinyPhysicalRefused(t *testing.T) {
	t.Parallel()
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "wipefs")
	w := newTiny(t, nil)
	refused := func(code int, device string, more []string, says ...string) {
		t.Helper()
		w.fails(code, w.with(onDevice(device)).create("web", "raw", more...), says...)
		w.nothingLeft()
	}
	mounted := blockdevtest.Device(t, 100*mib)
	foreign(t, "/", "mke2fs", "-q", mounted)
	at := t.TempDir()
	must(t, unix.Mount(mounted, at, "ext2", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(at, 0)) })
	refused(exitUsage, mounted, []string{"--wipe", mounted}, "DIB_BLOCK_DEVICE_CONFIG: disk \"key\"", "is mounted at "+at)
	refused(exitUsage, "/dev/null", nil, "it is no block device")
	refused(exitUsage, "/dev/no-such-disk", nil, "there is no such device")
	refused(exitUsage, mounted, []string{"--wipe", "/dev/null"}, `"/dev/null" is no block device`)
	refused(exitTooSmall, blockdevtest.Device(t, 4*mib), nil, "has 2", "needs ")
	twice := "DIB_BLOCK_DEVICE_CONFIG=- physical_disk: {name: a, path: " + mounted + ", mkfs: {mount: {mount_point: /}}}\n- physical_disk: {name: b, path: " + mounted + "}\n"
	w.fails(exitUsage, w.with(twice).create("web", "raw"), `disks "a" and "b" are one device`)
	w.nothingLeft()

	device := blockdevtest.Device(t, 14*mib) // enough for the layout, and not for the tree
	w.fails(exitTooSmall, w.with(onDevice(device)).create("web", "raw"), "/")
	if out, err := exec.Command("wipefs", "-n", device).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("a failed build left %s (%v)", out, err)
	}
}
