package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// deviceVolumes is LVM on a physical disk.
const deviceVolumes = `
- physical_disk: {name: key, path: DEVICE}
- partitioning: {base: key, label: gpt, partitions: [{name: main, type: 8E00, size: 100%}]}
- lvm:
    pvs: [{name: pv, base: main}]
    vgs: [{name: vg, base: pv}]
    lvs: [{name: lv_root, base: vg, extents: 100%VG, mkfs: {opts: -J size=4, mount: {mount_point: /}}}]
`

// TestBlockDevicePhysical plans a disk on a device and makes it in steps. Without
// leave the device stays as it is, and nothing ever removes its node.
func TestBlockDevicePhysical(t *testing.T) {
	t.Parallel()
	device := blockdevtest.Device(t, 80*mib)
	blockdevtest.Need(t, "sfdisk", "e2fsck", "debugfs", "pvck", "mkswap", "wipefs")
	w := newTiny(t, nil)
	params := "config: disk.yaml\nimage-dir: images\nmount-base: mnt\nbuild-dir: build\n"
	w.put("disk.yaml", strings.ReplaceAll(deviceVolumes, "DEVICE", device))
	w.put("params.yaml", params)
	plan := func(more ...string) result {
		return w.runCommand(w.command("lithify", append([]string{"blockdev", "plan", "disk.yaml"}, more...)...))
	}
	if r := plan(); r.code != 0 || !strings.Contains(r.stdout, "\nkey on "+device+": 80.0 MiB, gpt") || !strings.Contains(r.stdout, "physical disk, "+device) {
		t.Errorf("the plan: %s", r)
	}
	foreign(t, "/", "mkswap", device)
	if r := plan(); r.code != exitUsage || !strings.Contains(r.stderr, `disk.yaml: disk "key": `) || !strings.Contains(r.stderr, "(swap); --wipe "+device) {
		t.Errorf("the plan: %s", r)
	}
	if r := plan("--wipe", device, "--json"); r.code != 0 || !strings.Contains(r.stdout, `"device": "`+device+`"`) || !strings.Contains(r.stdout, `"kind": "physical_disk"`) {
		t.Errorf("the plan: %s", r)
	}
	step := func(words ...string) string {
		t.Helper()
		r := w.runCommand(w.steps(words...))
		if r.code != 0 {
			t.Fatalf("%s: %s", words, r)
		}
		return strings.TrimSuffix(r.stdout, "\n")
	}
	step("init")
	w.refuses(w.steps("create"), "--wipe "+device)
	if out := foreign(t, "/", "wipefs", "-n", device); !strings.Contains(out, "swap") {
		t.Errorf("wipefs: %s", out)
	}
	w.put("params.yaml", params+"wipe: "+device+"\nbackend: loop\n")
	w.refuses(w.steps("create"), "not supported yet", "backend: file")
	w.put("params.yaml", params+"wipe: "+device+"\n")
	step("create")
	if got := step("getval", "image-block-device"); got != device {
		t.Errorf("image-block-device is %q", got)
	}
	w.put("mnt/hello", "world\n")
	step("umount")
	if out := foreign(t, "/", "sfdisk", "--verify", device); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk: %s", out)
	}
	const data = "?offset=2097152" // of the first volume: partition and physical volume begin at a MiB each
	foreign(t, "/", "e2fsck", "-fn", device+data)
	if out := foreign(t, "/", "debugfs", "-R", "cat /hello", device+data); !strings.HasSuffix(out, "world\n") {
		t.Errorf("/hello: %s", out)
	}
	part := w.path("part")
	foreign(t, "/", "dd", "if="+device, "of="+part, "bs=1M", "skip=1", "conv=sparse", "status=none")
	if out := foreign(t, "/", "pvck", "--dump", "metadata", part); !strings.Contains(out, "lv_root {") {
		t.Errorf("pvck: %s", out)
	}
	step("delete")
	if st, err := os.Stat(device); err != nil || st.Mode()&os.ModeDevice == 0 {
		t.Fatalf("delete took the device's node: %v, %v", st, err)
	}
	if out, err := exec.Command("losetup", device).CombinedOutput(); err != nil {
		t.Errorf("losetup: %v: %s", err, out)
	}
	w.nothingLeft()
}
