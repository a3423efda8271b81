package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

const blockLayout = `
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {name: esp, type: EF00, size: 20MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {}}}}
    - {name: swap, type: 8200, size: 4MiB, mkfs: {type: swap, mount: {mount_point: none, fstab: {}}}}
    - {name: root, type: 8300, size: 100%, mkfs: {name: mkfs_root, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
`

const blockParamsText = "config: disk.yaml\nimage-dir: images\nroot-fs-type: ext4\nroot-label: yes\nmount-base: mnt\nbuild-dir: build\nimage-size: 200MiB\n"

// TestBlockDeviceMistakes: every error has its text and exit code. None of these
// calls gets as far as a device.
func TestBlockDeviceMistakes(t *testing.T) {
	params := func(change ...string) string { return strings.NewReplacer(change...).Replace(blockParamsText) }
	const made = `{"root": "image0", "blockdev": {"image0": {"device": "/dev/loop7", "image": "/x/image0.raw"}, "root": {"device": "/dev/loop8"}}, "order": ["image0", "root"]}`
	for _, c := range []struct {
		words, layout, params string
		state                 string // of state.json
		code                  int
		stdout, says          string
	}{
		{"", blockLayout, params(), "", exitUsage, "", "no command; one of: cleanup, create, delete, init, umount, writefstab, getval"},
		{"inti", blockLayout, params(), "", exitUsage, "", `unknown command "inti" (did you mean init?)`},
		{"init now", blockLayout, params(), "", exitUsage, "", `takes no further word, found "now"`},
		{"getval", blockLayout, params(), "", exitUsage, "", "getval takes one symbol: boot-label, "},
		{"getval root-lable", blockLayout, params(), "", exitUsage, "", `unknown symbol "root-lable" (did you mean root-label?)`},
		{"--parms x init", blockLayout, params(), "", exitUsage, "", "unknown flag"},
		{"--params none.yaml init", blockLayout, params(), "", 1, "", "none.yaml: no such file"},
		{"init", blockLayout, "a: [", "", 1, "", "params.yaml: line 1: not YAML"},
		{"init", blockLayout, "- a", "", 1, "", "params.yaml: found a list, want a map of parameters"},
		{"init", blockLayout, "config: [a]", "", 1, "", "params.yaml: line 1: config: found a list, want a text"},
		{"init", blockLayout, params("config: disk.yaml\n", ""), "", 1, "", `the parameter "config" is missing`},
		{"init", blockLayout, params("disk.yaml", "none.yaml"), "", 1, "", "reading the configuration: open "},
		{"init", blockLayout, params("build-dir: build\n", ""), "", 1, "", `the parameter "build-dir" is missing`},
		{"init", blockLayout, params() + "root-fs-opts: \"'x\"\n", "", 1, "", "root-fs-opts: "},
		{"init", "- local_lop: {name: x}\n", params(), "", 1, "", `unknown node "local_lop"`},
		{"init", "- {local_loop: {name: x}, mkfs: {}}\n", params(), "", 1, "", "Config entry top-level should be a single dict:"},
		{"init", "- mkfs: {base: none, name: x}\n", params(), "", 1, "", "Edge not defined: none->x"},
		{"init", "- local_loop: {name: x}\n- mkfs: {base: x, name: x}\n", params(), "", 1, "", "Duplicate node name: x"},
		{"create", blockLayout, params(), "", 1, "", "init has not been called"},
		{"getval root-label", blockLayout, params(), "", 1, "", "init has not been called"},
		{"init getval:root-label", blockLayout, params(), "", 0, "yes\n", ""}, // as it is written, whatever YAML makes of it
		{"init getval:root-label", blockLayout, params("yes", "null"), "", 0, "cloudimg-rootfs\n", ""},
		{"init getval:root-label", blockLayout, params("yes", "", "ext4", "xfs"), "", 0, "img-rootfs\n", ""},
		{"init getval:root-fstype", blockLayout, params("ext4", "ext3"), "", 0, "ext3\n", ""},
		{"init getval:boot-label", blockLayout, params(), "", 0, "\n", ""},
		{"init getval:boot-label", strings.ReplaceAll(blockLayout, "/boot/efi", "/boot"), params(), "", 0, "MKFS_ESP\n", ""},
		{"init getval:mount-points", blockLayout, params(), "", 0, "/boot/efi|/\n", ""},
		{"init init getval:root-fstype", blockLayout, params(), "", 0, "ext4\n", ""},
		{"init getval:root-label", "- local_loop: {name: x}\n", params(), "", 1, "", "no mount has mount_point /"},
		{"init getval:root-fstype", "- local_loop: {name: x}\n", params(), "", 1, "", "no mount has mount_point /"},
		{"init create", blockLayout, params("image-size: 200MiB\n", ""), "", 1, "", `disk "image0" has no size`},
		{"init create", blockLayout, params("200MiB", "100Mib"), "", 1, "", "image-size: "},
		{"init create", blockLayout, params("200MiB", "10MiB"), "", 1, "", ""},
		{"init create", blockLayout, params("mount-base: mnt\n", ""), "", 1, "", `"mount-base" is missing`},
		{"init getval:image-path", blockLayout, params(), "", 1, "", "State dump not found"},
		{"init writefstab", blockLayout, params(), "", 1, "", "State dump not found"},
		{"init getval:image-path", blockLayout, params(), made, 0, "/x/image0.raw\n", ""},
		{"getval image-block-device", blockLayout, params(), made, 0, "/dev/loop7\n", ""},
		{"getval image-block-devices", blockLayout, params(), made, 0, " [image0]=/dev/loop7  [root]=/dev/loop8 \n", ""},
		{"getval image-path", blockLayout, params(), `{"root": "other", "blockdev": {"other": {"image": "/o.raw"}}}`, 0, "/o.raw\n", ""},
		{"getval image-path", blockLayout, params(), "{}", 1, "", "no image was created"},
		{"getval image-path", blockLayout, params(), "{", 1, "", "reading the state in "},
		{"init writefstab", blockLayout, params(), made, 1, "", "writing /etc/fstab: open "},
		{"umount", blockLayout, params(), "", 0, "", "nothing is mounted"},
		{"cleanup", blockLayout, params(), "", 1, "", "Pickle file not found"},
		{"delete", blockLayout, params(), "", 1, "", "Pickle file not found"},
	} {
		dir := put(t, map[string]string{"disk.yaml": c.layout, "params.yaml": c.params})
		t.Chdir(dir)
		if c.state != "" {
			must(t, os.MkdirAll("build/states/block-device", 0o755))
			must(t, os.WriteFile("build/states/block-device/state.json", []byte(c.state), 0o644))
		}
		// "init getval:x" are two calls, of which the last counts.
		words := c.words
		if first, last, more := strings.Cut(words, " "); more && first == "init" && last != "now" {
			for word := range strings.FieldsSeq(last) {
				if code, _, stderr := callProgram(t, nil, dir, "dib-block-device", "--params params.yaml init"); code != 0 {
					t.Errorf("%s: init: %s", c.words, stderr)
				}
				words = strings.ReplaceAll(word, ":", " ")
			}
		}
		env := []string{"DIB_BLOCK_DEVICE_PARAMS_YAML=params.yaml"}
		code, stdout, stderr := callProgram(t, env, dir, "dib-block-device", words)
		if code != c.code || stdout != c.stdout || !strings.Contains(stderr, c.says) || c.code != 0 && stderr == "" {
			t.Errorf("%s: code %d, stdout %q, stderr %s; want %d, %q, %q", c.words, code, stdout, stderr, c.code, c.stdout, c.says)
		}
		if _, err := os.Stat("build/states/block-device/state.json"); strings.HasSuffix(c.words, "create") && c.words != "create" && err != nil {
			t.Errorf("%s: no state after a failure: %v", c.words, err)
		}
	}
	t.Chdir(t.TempDir())
	if code, _, stderr := callProgram(t, nil, "no folder", "dib-block-device", "init"); code != exitUsage || !strings.Contains(stderr, "--params names no file") {
		t.Errorf("without parameters: code %d, %s", code, stderr)
	}
}

// blockDeviceProcess is dib-block-device as a process of its own in dir.
func blockDeviceProcess(t *testing.T, dir string, words ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("dib-block-device", words...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DIB_BLOCK_DEVICE_PARAMS_YAML="+filepath.Join(dir, "params.yaml"))
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if err != nil {
		t.Logf("%s: %v: %s", words, err, &complaint)
	}
	return out.String(), err
}

// TestBlockDeviceSteps makes a disk in steps, each a process of its own, fills it
// in between, and lets foreign tools judge it.
func TestBlockDeviceSteps(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "e2fsck", "debugfs", "sgdisk", "mtype", "losetup")
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	dir := put(t, map[string]string{"disk.yaml": blockLayout, "params.yaml": blockParamsText, "build/built/etc/fstab": "old\n"})
	step := func(words ...string) string {
		t.Helper()
		out, err := blockDeviceProcess(t, dir, words...)
		must(t, err)
		return strings.TrimSuffix(out, "\n")
	}
	t.Cleanup(func() { blockDeviceProcess(t, dir, "delete") })
	step("init")
	step("create")
	image := step("getval", "image-path")
	if want := filepath.Join(dir, "images/image0.raw"); image != want || strings.Count(step("getval", "image-block-devices"), "=/dev/loop") != 4 {
		t.Errorf("image %s, want %s; devices %s", image, want, step("getval", "image-block-devices"))
	}
	if _, err := blockDeviceProcess(t, dir, "create"); err == nil {
		t.Error("a second create forgot the first")
	}
	for name, text := range map[string]string{"mnt/hello": "world\n", "mnt/boot/efi/x.txt": "efi\n"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	step("writefstab")
	fstab, err := os.ReadFile(filepath.Join(dir, "build/built/etc/fstab"))
	if want := "LABEL=yes / ext4 defaults 0 1\nLABEL=MKFS_ESP /boot/efi vfat defaults 0 2\nLABEL=mkfs_swap none swap sw 0 0\n"; string(fstab) != want {
		t.Errorf("fstab %q, %v; want %q", fstab, err, want)
	}
	// Somebody uses the disk: umount says so, and goes on when it is called again.
	busy, err := os.Open(filepath.Join(dir, "mnt/hello"))
	must(t, err)
	if _, err := blockDeviceProcess(t, dir, "umount"); err == nil {
		t.Error("umount while a file is open: no error")
	}
	must(t, busy.Close())
	step("umount")
	step("umount")
	blockLeftovers(t, dir, image)
	for _, c := range []struct{ want, tool, args string }{
		{"No problems found", "sgdisk", "-v IMAGE"},
		{"clean", "e2fsck", "-fn IMAGE?offset=26214400"},
		{"world", "debugfs", "-R cat\u00a0/hello IMAGE?offset=26214400"},
		{"efi", "mtype", "-i IMAGE@@1048576 ::x.txt"},
	} {
		var args []string
		for arg := range strings.FieldsSeq(strings.ReplaceAll(strings.ReplaceAll(c.args, "IMAGE", image), "\u00a0", "\x00")) {
			args = append(args, strings.ReplaceAll(arg, "\x00", " "))
		}
		out, err := exec.Command(c.tool, args...).CombinedOutput()
		if c.tool == "e2fsck" && err == nil {
			continue
		}
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s %q: %v: %s", c.tool, args, err, out)
		}
	}
	step("cleanup")
	if _, err := os.Stat(image); err != nil {
		t.Errorf("cleanup: %v", err)
	}
	step("init")
	step("create")
	step("delete")
	blockLeftovers(t, dir, image)
	if _, err := os.Stat(image); err == nil {
		t.Error("delete left the image")
	}
}

// TestBlockDeviceRollback: a file system that cannot be made takes all that was
// made before it along.
func TestBlockDeviceRollback(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "mke2fs", "losetup")
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	layout := strings.Replace(blockLayout, "name: mkfs_root,", "name: mkfs_root, opts: -O no_such_feature,", 1)
	dir := put(t, map[string]string{"disk.yaml": layout, "params.yaml": blockParamsText})
	if _, err := blockDeviceProcess(t, dir, "init"); err != nil {
		t.Fatal(err)
	}
	if _, err := blockDeviceProcess(t, dir, "create"); err == nil {
		t.Error("create: no error")
	}
	state := filepath.Join(dir, "build/states/block-device")
	if _, err := os.Stat(filepath.Join(state, "state.json")); err != nil {
		t.Errorf("no state: %v", err)
	}
	for _, gone := range []string{filepath.Join(state, "nodes.json"), filepath.Join(dir, "images/image0.raw")} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("left: %s", gone)
		}
	}
	blockLeftovers(t, dir, filepath.Join(dir, "images/image0.raw"))
	if entries, err := os.ReadDir(filepath.Join(dir, "build")); err != nil || len(entries) != 1 {
		t.Errorf("left in the build's folder: %v, %v", entries, err)
	}
	if _, err := blockDeviceProcess(t, dir, "umount"); err != nil {
		t.Error("clean-up after a failed create fails")
	}
}

// blockLeftovers looks for mounts below dir and devices over the image.
func blockLeftovers(t *testing.T, dir, image string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if strings.Contains(string(mounts), dir) {
		t.Errorf("still mounted: %s", mounts)
	}
	if out, err := exec.Command("losetup", "-j", image).CombinedOutput(); err == nil && len(out) > 0 {
		t.Errorf("still attached: %s", out)
	}
}
