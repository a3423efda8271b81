package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// ramdisks is a tiny world whose elements make a ramdisk of the tree, which has two
// kernels that are none.
func ramdisks(w *tiny) {
	w.names = []string{"tiny", "kernels", "agent"}
	w.write("kernels/install.d/50-kernels", `#!/bin/sh
set -e
mkdir -p /boot /lib/firmware /usr/bin
for v in 6.9 6.10; do
    echo "kernel $v" > /boot/vmlinuz-$v
    mkdir -p /lib/modules/$v/kernel/net
    printf 'kernel/net/card.ko: kernel/net/bus.ko\nkernel/net/bus.ko:\nkernel/net/other.ko:\n' > /lib/modules/$v/modules.dep
    for m in card bus other; do
        echo $v > /lib/modules/$v/kernel/net/$m.ko
    done
done
rm -r /lib/firmware
printf '#!/bin/sh\necho tool\n' > /usr/bin/tool
chmod 755 /usr/bin/tool
`)
	w.write("plain/ramdisk.yaml", "init: {begin: ramdisk-files/begin, end: ramdisk-files/end}\nmodules: [card]\nfiles:\n- /etc/passwd\n"+
		"- {element: ramdisk-files/begin, to: /etc/copy, mode: 0600}\n- {image: /etc/none, optional: true}\n")
	w.write("plain/ramdisk-files/begin", "#!/bin/sh\n# begin\n")
	w.write("plain/ramdisk-files/end", "# end\n")
	w.write("plain/init.d/50-plain", "echo plain")
	// Written for diskimage-builder: no file of it is ours.
	w.write("agent/init.d/80-agent", "echo agent\n")
	w.write("agent/udev.d/90-agent.rules", "ACTION==\"add\"\n")
	w.write("agent/binary-deps.d/agent", "tool\nwget ip\n")
	w.write("agent/post-install.d/50-agent", "#!/bin/sh\necho \"ran: $0\"\n")
	w.args = []string{"-n", "--ramdisk-element", "plain"}
}

// ramdisk is the command of a ramdisk NAME.
func (w *tiny) ramdisk(name string, more ...string) result {
	w.t.Helper()
	r := w.runCommand(w.command("ramdisk-image-create", append(append(append([]string{"-o", name}, w.args...), more...), w.names...)...))
	w.nothingLeft()
	return r
}

func (w *tiny) makesRamdisk(name string, more ...string) result {
	w.t.Helper()
	r := w.ramdisk(name, more...)
	if r.code != 0 {
		w.t.Fatal(r)
	}
	return r
}

// unpacked gives the folder that a ramdisk becomes.
func (w *tiny) unpacked(file, tool string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	foreign(w.t, dir, "bash", "-c", "set -o pipefail; "+tool+" '"+w.path(file)+"' | cpio --extract --make-directories --quiet")
	return dir
}

func (w *tiny) text(parts ...string) string {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	must(w.t, err)
	return string(data)
}

// TestTinyRamdiskCreate: as root and as an ordinary user, what elements ask for is in
// the ramdisk; a changed fragment makes no layer anew; equal inputs give equal bytes.
func TestTinyRamdiskCreate(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "cpio", "gzip", "xz", "zstd")
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as)
			ramdisks(w)
			r := w.makesRamdisk("agent", "--checksum", "-t", "qcow2")
			if !strings.Contains(r.stderr, "-t qcow2 is left out") {
				t.Errorf("not said: %v", r)
			}
			foreign(t, w.out, "sha256sum", "--check", "--strict", "agent.kernel.sha256", "agent.initramfs.sha256")
			w.noOutput("agent.qcow2", "agent.raw")
			if got := w.text(w.out, "agent.kernel"); got != "kernel 6.10\n" {
				t.Errorf("the kernel is %q", got)
			}
			w.checkRamdisk(w.unpacked("agent.initramfs", "gzip -dc"))
			if r = w.makesRamdisk("agent", "-t", "qcow2"); !r.nothing {
				t.Errorf("it was made again: %v", r)
			}

			w.write("agent/init.d/80-agent", "echo changed\n")
			if r = w.makesRamdisk("agent", "--ramdisk-compression", "xz"); r.ran != 0 || len(r.hooks) != 0 {
				t.Errorf("a fragment made steps run: %v", r)
			}
			if got := w.text(w.unpacked("agent.initramfs", "xz -dc"), "init"); !strings.Contains(got, "echo changed\n") {
				t.Errorf("/init is %q", got)
			}
			w = w.with("SOURCE_DATE_EPOCH=1700000000")
			w.makesRamdisk("one", "--ramdisk-compression", "zstd")
			w.makesRamdisk("two", "--ramdisk-compression", "zstd", "--no-layers")
			sameBits(t, w.path("one.initramfs"), w.path("two.initramfs"))
			sameBits(t, w.path("one.kernel"), w.path("two.kernel"))
			w.unpacked("one.initramfs", "zstd -dc")
		})
	}
}

// checkRamdisk looks at a ramdisk of the elements above.
func (w *tiny) checkRamdisk(dir string) {
	w.t.Helper()
	if got, want := w.text(dir, "init"), "#!/bin/sh\n# begin\n\n# init.d/50-plain, of element plain\necho plain\n\n# init.d/80-agent, of element agent\necho agent\n\n# end\n"; got != want {
		w.t.Errorf("/init is\n%q, want\n%q", got, want)
	}
	for name, want := range map[string]string{
		"usr/lib/udev/rules.d/90-agent.rules": "ACTION==\"add\"\n", "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "usr/bin/tool": "#!/bin/sh\necho tool\n",
		"lib/modules/6.10/kernel/net/card.ko": "6.10\n", "lib/modules/6.10/kernel/net/bus.ko": "6.10\n", "etc/copy": "#!/bin/sh\n# begin\n",
	} {
		if got := w.text(dir, name); got != want {
			w.t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"lib/modules/6.10/kernel/net/other.ko", "lib/modules/6.9", "boot", "srv", "etc/none"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			w.t.Errorf("%s is in the ramdisk", name)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "bin/wget")); err != nil || to != "busybox" {
		w.t.Errorf("wget leads to %q, %v", to, err)
	}
	if got := foreign(w.t, dir, "chroot", dir, "/bin/sh", "-c", "/sbin/tool; wget --help 2>&1 | head -n 1"); !strings.HasPrefix(got, "tool\nBusyBox") {
		w.t.Errorf("inside: %q", got)
	}
}

// TestTinyRamdiskInstall: hooks of ramdisk-install.d change the ramdisk, not the
// image.
func TestTinyRamdiskInstall(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "cpio", "gzip")
	for name, as := range tinyPeople(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, as)
			ramdisks(w)
			w.write("agent/ramdisk-install.d/50-agent", "#!/bin/sh\nset -e\necho \"ran: $0\"\ntest -x $TMP_MOUNT_PATH/init\n"+
				"mkdir -p $TMP_MOUNT_PATH/opt\ncp /tmp/in_target.d/extra/blob $TMP_MOUNT_PATH/opt/\nrm $TMP_MOUNT_PATH/etc/copy\nls /srv > $TMP_MOUNT_PATH/opt/srv\n")
			w.write("agent/extra/blob", "firmware\n")
			w.write("agent/post-install.d/50-agent", "#!/bin/sh\ncat /tmp/in_target.d/init.d/80-agent > /etc/fragment\n")
			r := w.makesRamdisk("agent", "--ramdisk-compression", "gzip", "-t", "tar")
			if !strings.Contains(strings.Join(r.hooks, " "), "ramdisk-install.d/50-agent") {
				t.Errorf("the hook did not run: %v", r)
			}
			dir := w.unpacked("agent.initramfs", "gzip -dc")
			if got := w.text(dir, "opt/blob") + w.text(dir, "opt/srv"); !strings.HasPrefix(got, "firmware\n") || !strings.Contains(got, "hole\n") {
				t.Errorf("the hook left %q", got)
			}
			if _, err := os.Lstat(filepath.Join(dir, "etc/copy")); err == nil {
				t.Error("what the hook removed is there")
			}
			if got := foreign(t, dir, "bash", "-c", "gzip -dc '"+w.path("agent.initramfs")+"' | cpio --list --verbose --quiet dev/console"); !strings.HasPrefix(got, "crw") {
				t.Errorf("dev/console: %q", got)
			}
			if got := w.inTar("agent", "etc/fragment"); got != "echo agent\n" {
				t.Errorf("a hook that names init.d read %q", got)
			}
			if list := foreign(t, w.out, "tar", "--list", "--file", "agent.tar"); strings.Contains(list, "ramdisk") {
				t.Errorf("the image holds the ramdisk's tree:\n%s", list)
			}
			w.write("agent/ramdisk-install.d/50-agent", "#!/bin/sh\nexit 7\n")
			w.failsRamdisk(7, "ramdisk-install", "agent", "50-agent")
		})
	}
}

func (w *tiny) failsRamdisk(code int, words ...string) {
	w.t.Helper()
	r := w.ramdisk("bad")
	if r.code != code {
		w.t.Errorf("want exit code %d: %v", code, r)
	}
	for _, word := range words {
		if !strings.Contains(r.stderr, word) {
			w.t.Errorf("not said: %q: %v", word, r)
		}
	}
	w.noOutput("bad.kernel", "bad.initramfs")
}

// TestTinyRamdiskMistakes: who asked for what cannot be is named.
func TestTinyRamdiskMistakes(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	ramdisks(w)
	w.write("agent/binary-deps.d/agent", "# tools\ntool\nwgte\n")
	w.write("agent/ramdisk.yaml", "modules:\n- card\n- crad\n")
	w.failsRamdisk(1, `binary "wgte", wanted by element 'agent', binary-deps.d/agent, line 3: no program of the image`,
		`module "crad", wanted by element 'agent', ramdisk.yaml, line 3: kernel 6.10 has no such module`)
	for text, complaint := range map[string]string{
		"modles: [a]\n":                           "element 'agent', ramdisk.yaml: line 1: unknown key \"modles\"; allowed: init, binaries, modules, firmware, files; did you mean 'modules'?",
		"files:\n- etc/x\n":                       "element 'agent', ramdisk.yaml: line 2: files: \"etc/x\" is no absolute path",
		"files:\n- {element: none, to: /x}\n":     "line 2: files: element: reading a file of the element",
		"files:\n- {image: /x, mode: rwx}\n":      "line 2: files: mode: found \"rwx\"; want permissions in octal digits",
		"files: [{image: /x, too: /y}]\n":         "line 1: files: unknown key \"too\"; allowed: element, image, mode, optional, to",
		"init: {begin: ramdisk-files/x}\n":        "line 1: begin: reading a file of the element",
		"binaries: [{name: x, optional: maybe}]":  "line 1: binaries: optional: found \"maybe\"; allowed: true or false",
		"binaries: ['${DIB_NOT_SET}/x']\n":        "no variable DIB_NOT_SET is set",
		"- binaries\n":                            "line 1: found a list; want a mapping with some of init",
		"binaries: [a\n":                          "element 'agent', ramdisk.yaml: line 1",
		"init: {begin: ../../../../etc/passwd}\n": "is no path inside the element",
	} {
		at := filepath.Join(w.lib, "agent/ramdisk.yaml")
		if strings.HasPrefix(text, "init:") { // which only one element may have
			must(t, os.WriteFile(at, nil, 0o644))
			at = filepath.Join(w.lib, "plain/ramdisk.yaml")
		}
		must(t, os.WriteFile(at, []byte(text), 0o644))
		w.failsRamdisk(exitUsage, complaint)
	}
	must(t, os.Remove(filepath.Join(w.lib, "agent/ramdisk.yaml")))
	ramdisks(w)
	w.write("agent/ramdisk.yaml", "init: {begin: udev.d/90-agent.rules}\n")
	w.failsRamdisk(exitUsage, "element 'agent', ramdisk.yaml: line 1: init: another element has said how /init begins; one may")
	must(t, os.Remove(filepath.Join(w.lib, "agent/ramdisk.yaml")))
	w.write("agent/binary-deps.d/agent", "tool\n")
	for env, complaint := range map[string]string{
		"DIB_KERNEL_VERSION=6.8":        `DIB_KERNEL_VERSION: the image has no kernel "6.8"; it has 6.9, 6.10`,
		"BUSYBOX=/opt/busybox":          `BUSYBOX: the image has no "/opt/busybox"`,
		"RAMDISK_ELEMENT=no-such":       "no-such",
		"SOURCE_DATE_EPOCH=yesterday ":  "SOURCE_DATE_EPOCH",
		"DIB_BLOCK_DEVICE_CONFIG=- x: ": "DIB_BLOCK_DEVICE_CONFIG",
	} {
		c := w.with(env)
		if strings.HasPrefix(env, "RAMDISK_ELEMENT") {
			c.args = []string{"-n"}
		}
		c.failsRamdisk(exitUsage, complaint)
	}
	w.with("DIB_KERNEL_VERSION=6.9").makesRamdisk("old")
	if got := w.text(w.out, "old.kernel"); got != "kernel 6.9\n" {
		t.Errorf("the kernel is %q", got)
	}
	w.args = []string{"-n", "--ramdisk-element", "kernels"}
	w.failsRamdisk(exitUsage, "no element says how the ramdisk begins")
	w.args = []string{"-n", "--ramdisk-element", "plain"}
	w.names = []string{"tiny"}
	w.failsRamdisk(1, "no kernel")
}
