package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// debianRoot unpacks what a ramdisk is made of, in a fraction of the time that a whole
// Debian takes: no maintainer script runs. What they would have made is made here.
const debianRoot = `#!/bin/bash
set -eu
set -o pipefail
mmdebstrap --quiet --variant=extract --include=bash,busybox,kmod,udev,util-linux,linux-image-cloud-amd64@MORE@ bookworm "$TARGET_ROOT" http://deb.debian.org/debian
cd "$TARGET_ROOT"
depmod -b . "$(basename boot/vmlinuz-* | cut -d- -f2-)"
printf 'root:x:0:0:root:/root:/bin/bash\nmessagebus:x:100:100::/:/bin/false\n' > etc/passwd
printf 'root:x:0:\ntty:x:5:\ndisk:x:6:\n' > etc/group
[ -e usr/bin/awk ] || ln -s gawk usr/bin/awk
`

// ramdiskMakers are the elements that make ramdisks, and what they install.
var ramdiskMakers = map[string]string{
	"ramdisk": "",
	"dracut-ramdisk": ",coreutils,cpio,dash,dracut-core,dracut-network,findutils,gawk,grep,gzip,iproute2,iputils-arping,iputils-ping,isc-dhcp-client,libc-bin,mount," +
		"procps,sed,systemd,systemd-sysv,tar",
}

// debianFragment is of an element that knows nothing of ours: it says over the serial
// port what it finds, and ends the machine.
const debianFragment = `
{
    echo "agent: word is $(get_kernel_parameter agent_word)"
    card=
    for card in /sys/class/net/*; do
        [ -e "$card/device" ] && break
    done
    echo "agent: driver $(basename "$(readlink "$card/device/driver")")"
    echo "agent: address $(ip -4 -o address show dev "$(basename "$card")" | awk '{ print $4 }')"
    echo "agent: route $(ip route | grep ^default | cut -d' ' -f3)"
    grep nameserver /etc/resolv.conf | sed 's/^/agent: /'
    lsblk --version | sed 's/^/agent: /'
    echo "agent: disk $(find_disk) $(find_disk disk/by-id/virtio-agentdisk > /dev/null && echo too by its name)"
    [ -e /run/agent-rule ] && echo "agent: rule ran"
    lsmod | grep -c virtio_net | sed 's/^/agent: modules /'
    echo "agent: done"
} > /dev/ttyS0 2>&1
sleep 1
poweroff -f
`

// TestBootsRamdisk makes a ramdisk of Debian's packages with the library's own
// elements and one written for diskimage-builder, starts it with its own kernel in
// QEMU, and listens to the serial port. By dracut too, with LITHIFY_TEST_RAMDISKS=all:
// that takes minutes.
func TestBootsRamdisk(t *testing.T) {
	if testing.Short() {
		t.Skip("a machine is started: not with -short")
	}
	blockdevtest.Need(t, "mmdebstrap", "qemu-system-x86_64", "depmod")
	for maker, packages := range ramdiskMakers {
		if maker != "ramdisk" && os.Getenv("LITHIFY_TEST_RAMDISKS") != "all" {
			continue
		}
		t.Run(maker, func(t *testing.T) {
			t.Parallel()
			testRamdisk(t, maker, packages)
		})
	}
}

func testRamdisk(t *testing.T, maker, packages string) {
	w := newTiny(t, nil)
	w.names, w.args = []string{"debian-root", "agent"}, []string{"-n", "--ramdisk-element", maker}
	w.write("debian-root/element-provides", "operating-system\n")
	w.write("debian-root/root.d/10-debian-root", strings.ReplaceAll(debianRoot, "@MORE@", packages))
	for _, name := range []string{"package-installs", "pkg-map"} { // there is no apt in the tree
		w.write(name+"/README.md", name+"\n")
	}
	w.write("agent/init.d/80-agent", debianFragment)
	w.write("agent/binary-deps.d/agent", "lsblk\nip awk cut basename\n")
	w.write("agent/udev.d/90-agent.rules", `SUBSYSTEM=="net", ACTION=="add", RUN+="/bin/sh -c 'echo > /run/agent-rule'"`+"\n")
	w.write("agent/install.d/50-agent", "#!/bin/busybox sh\ntrue\n")
	w = w.with("SOURCE_DATE_EPOCH=1700000000")
	r := w.makesRamdisk("agent")
	t.Log(r.stdout[max(0, len(r.stdout)-600):])
	for _, said := range w.boot("agent") {
		t.Log(said)
	}
	// Made again after a step that leaves everything as it was: equal to the bit.
	w.write("agent/install.d/50-agent", "#!/bin/busybox sh\ntrue # again\n")
	w.makesRamdisk("again")
	sameBits(t, w.path("agent.initramfs"), w.path("again.initramfs"))
	sameBits(t, w.path("agent.kernel"), w.path("again.kernel"))
}

// boot starts a ramdisk, waits until it powers off, and compares what it said.
func (w *tiny) boot(name string) []string {
	w.t.Helper()
	console, disk := w.path("console"), w.path("disk")
	must(w.t, os.WriteFile(disk, nil, 0o644))
	must(w.t, os.Truncate(disk, 8<<20))
	ctx, cancel := context.WithTimeout(w.t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc,graphics=off",
		"-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", "1", "-m", "768", "-no-reboot", "-kernel", w.path(name+".kernel"), "-initrd", w.path(name+".initramfs"),
		"-append", "console=ttyS0 panic=-1 agent_word=hello ramdisk_dhcp_seconds=600", "-serial", "file:"+console,
		"-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
		"-drive", "if=none,id=disk,format=raw,file="+disk, "-device", "virtio-blk-pci,drive=disk,serial=agentdisk")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	text := strings.ReplaceAll(w.text(console), "\r", "")
	if err != nil {
		w.t.Fatalf("%v: %s\n%s", err, out, tail(text))
	}
	var said []string
	for line := range strings.Lines(text) {
		if _, what, ok := strings.Cut(strings.TrimSpace(line), "agent: "); ok {
			said = append(said, what)
		}
	}
	all := strings.Join(said, "\n") + "\n"
	for _, want := range []string{"word is hello\n", "driver virtio_net\n", "address 10.0.2.15/24\n", "route 10.0.2.2\n", "nameserver 10.0.2.3\n", "lsblk from util-linux", "disk /dev/vda too by its name\n",
		"rule ran\n", "modules ", "done\n"} {
		if !strings.Contains(all, want) {
			w.t.Errorf("the ramdisk did not say %q but\n%s\n%s", want, all, tail(text))
		}
	}
	must(w.t, os.Remove(console))
	return said
}
