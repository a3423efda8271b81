package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"golang.org/x/sys/unix"
)

// volumeSteps are disks of LVM, on a partition and on LUKS.
const volumeSteps = `
- local_loop: {name: image0}
- local_loop: {name: other, size: 80MiB}
- partitioning: {base: image0, label: gpt, partitions: [{name: main, type: 8E00, size: 100%}]}
- lvm:
    pvs: [{name: pv, base: main}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
    - {name: lv_root, base: vg, size: 60MiB, mkfs: {opts: -J size=4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
    - {name: lv_var, base: vg, size: 40MiB, mkfs: {type: ext2, mount: {mount_point: /var, fstab: {}}}}
- luks: {name: crypt, base: other, pbkdf: pbkdf2, iterations: 1000, key_env: STEP_SECRET, seed_env: STEP_SEED}
- mkfs: {base: crypt, type: ext2, label: secret, mount: {mount_point: /srv, fstab: {}}}
`

// TestBlockDeviceVolumes makes disks with LVM and LUKS in steps, by root and by an
// ordinary user: the folder at mount-base becomes the disks.
func TestBlockDeviceVolumes(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "e2fsck", "debugfs", "cryptsetup", "lvm", "mke2fs")
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			w := newTiny(t, as)
			params := "config: disk.yaml\nimage-dir: images\nmount-base: mnt\nbuild-dir: build\n"
			w.put("disk.yaml", volumeSteps)
			w.put("params.yaml", params)
			w.put("build/built/etc/fstab", "old\n")
			step := func(words ...string) string {
				t.Helper()
				r := w.runCommand(w.steps(words...))
				if r.code != 0 {
					t.Fatalf("%s: %s", words, r)
				}
				return strings.TrimSuffix(r.stdout, "\n")
			}
			step("init")
			step("create")
			image := w.path("images/image0.raw")
			if got := step("getval", "image-path"); got != image {
				t.Errorf("image-path is %s, want %s", got, image)
			}
			if got, want := step("getval", "image-block-devices"), " [image0]=  [main]=  [other]=  [lv_root]=  [lv_var]=  [crypt]= "; got != want {
				t.Errorf("image-block-devices: %q, want %q", got, want)
			}
			w.put("mnt/hello", "world\n")
			w.put("mnt/var/log/x", "logged\n")
			w.put("mnt/srv/s", "kept from others\n")
			step("writefstab")
			w.holds("build/built/etc/fstab", "LABEL=cloudimg-rootfs / ext4 defaults 0 1\nLABEL=secret /srv ext2 defaults 0 2\nLABEL=mkfs_lv_var /var ext2 defaults 0 2\n")
			w.holds("build/built/etc/crypttab", "crypt LABEL=crypt none luks\n")
			// What is in the way is said, and the folder stays as it is.
			w.refuses(w.steps("create"), "the disk is there already")
			w.refuses(w.withEnv("STEP_SECRET=", w.steps("umount")), "STEP_SECRET is empty or not set")
			if as == nil {
				must(t, unix.Mount("tmpfs", w.path("mnt/var"), "tmpfs", 0, "size=1m"))
				w.refuses(w.steps("umount"), "mnt/var", "still mounted")
				w.refuses(w.steps("delete"), "mnt/var", "still mounted")
				must(t, unix.Unmount(w.path("mnt/var"), 0))
			}
			w.holds("mnt/var/log/x", "logged\n")
			step("umount")
			step("umount")
			if left, err := os.ReadDir(w.path("mnt")); err != nil || len(left) > 0 {
				t.Errorf("left at mount-base: %v, %v", left, err)
			}
			w.checkVolumes(image, w.path("images/other.raw"))
			step("cleanup")
			if _, err := os.Stat(image); err != nil {
				t.Errorf("cleanup: %v", err)
			}
			for _, unmounted := range []bool{false, true} {
				step("init")
				step("create")
				w.put("mnt/var/x", "x")
				if unmounted {
					step("umount")
				}
				step("delete")
				left, _ := filepath.Glob(w.path("mnt/*"))
				if _, err := os.Stat(image); len(left) > 0 || unmounted && err == nil {
					t.Errorf("delete left %v, %s: %v", left, image, err)
				}
			}
			w.put("mnt/mine", "already there")
			step("init")
			w.refuses(w.steps("create"), "mnt", "is not empty")
			w.holds("mnt/mine", "already there")
			w.put("params.yaml", params+"backend: fiel\n")
			w.refuses(w.steps("create"), `unknown back end "fiel"`, "did you mean file?")
			w.checkSecretsAre("very secret", "a seed of it")
		})
	}
}

// steps is dib-block-device with the passphrase at hand.
func (w *tiny) steps(words ...string) *exec.Cmd {
	return w.withEnv("STEP_SECRET=very secret", w.withEnv("STEP_SEED=a seed of it", w.command("lithify", append([]string{"dib-block-device", "--params", "params.yaml"}, words...)...)))
}

// refuses runs a step that ends with code 1 and says all of these, once.
func (w *tiny) refuses(cmd *exec.Cmd, says ...string) {
	w.t.Helper()
	r := w.runCommand(cmd)
	if n := strings.Count(r.stderr, "dib-block-device: "); r.code != 1 || n != 1 {
		w.t.Errorf("%d messages: %s", n, r)
	}
	for _, want := range says {
		if !strings.Contains(r.stderr, want) {
			w.t.Errorf("no %q in: %s", want, r)
		}
	}
}

func (w *tiny) withEnv(variable string, cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Env, variable)
	return cmd
}

// put writes a file beside the outputs, as the world's user.
func (w *tiny) put(name, text string) {
	w.t.Helper()
	path := w.out
	parts := strings.Split(name, "/")
	for _, dir := range parts[:len(parts)-1] {
		path = filepath.Join(path, dir)
		if err := os.Mkdir(path, 0o755); err == nil {
			w.own(path)
		}
	}
	path = filepath.Join(path, parts[len(parts)-1])
	must(w.t, os.WriteFile(path, []byte(text), 0o644))
	w.own(path)
}

func (w *tiny) own(path string) {
	w.t.Helper()
	if w.as != nil {
		must(w.t, os.Lchown(path, number(w.as.Uid), number(w.as.Gid)))
	}
}

func (w *tiny) holds(name, want string) {
	w.t.Helper()
	if got, err := os.ReadFile(w.path(name)); err != nil || string(got) != want {
		w.t.Errorf("%s: %q, %v; want %q", name, got, err, want)
	}
}

// checkVolumes has e2fsck, LVM and cryptsetup judge the disks of volumeSteps.
func (w *tiny) checkVolumes(image, other string) {
	w.t.Helper()
	part := filepath.Join(w.dir, "part")
	foreign(w.t, w.out, "dd", "if="+image, "of="+part, "bs=1M", "skip=1", "conv=sparse", "status=none")
	text := foreign(w.t, w.out, "pvck", "--dump", "metadata", part)
	for _, want := range []string{"lv_root {", "lv_var {"} {
		if !strings.Contains(text, want) {
			w.t.Errorf("pvck --dump metadata has no %q:\n%s", want, text)
		}
	}
	// The data of a physical volume begins at 1 MiB, and volumes follow each other.
	for _, v := range []struct{ offset, file, want string }{{"1048576", "/hello", "world\n"}, {"63963136", "/log/x", "logged\n"}} {
		at := part + "?offset=" + v.offset
		foreign(w.t, w.out, "e2fsck", "-fn", at)
		if got := foreign(w.t, w.out, "debugfs", "-R", "cat "+v.file, at); !strings.HasSuffix(got, v.want) {
			w.t.Errorf("%s holds %q", v.file, got)
		}
		if got := foreign(w.t, w.out, "debugfs", "-R", "stat "+v.file, at); !strings.Contains(got, "User:     0   Group:     0 ") {
			w.t.Errorf("%s is not root's: %s", v.file, got)
		}
	}
	for key, opens := range map[string]bool{"very secret": true, "a seed of it": false} {
		cmd := exec.Command("cryptsetup", "open", "--test-passphrase", "--key-file", "-", other)
		cmd.Stdin = strings.NewReader(key)
		if out, err := cmd.CombinedOutput(); (err == nil) != opens {
			w.t.Errorf("%q: %v: %s", key, err, out)
		}
	}
	var st syscall.Stat_t
	must(w.t, syscall.Stat(other, &st))
	if data, err := os.ReadFile(other); err != nil || strings.Contains(string(data), "kept from others") || st.Size != 80<<20 {
		w.t.Errorf("%s: %d bytes, %v, or its content is to be read", other, st.Size, err)
	}
}
