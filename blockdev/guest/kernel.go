package guest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// DebianKernel is a stock kernel of Debian with its modules, for what the kernel
// of the machine that tests lacks: device-mapper, md, file systems.
type DebianKernel struct {
	dir     string // vmlinuz, vmlinux once a guest was started, and lib/modules/VERSION
	version string
	depends map[string][]string // module → files below lib/modules/VERSION, in the order to load them
}

// Guest is a small machine for one script. The script runs under busybox's sh
// with -eu, with /proc, /sys and /dev there. Tools are found in PATH; where
// busybox has an applet of the name it must be called by its whole path. There is
// no udev.
type Guest struct {
	Script  string
	Modules []string          // loaded in this order, with what they need
	Tools   []string          // of this host, by name or path, copied with their libraries
	Files   map[string]string // path in the guest → path here
	Disks   []string          // raw images: /dev/vda and on, written in place; 24 at most

	Memory int           // MiB; 0 means 512
	Limit  time.Duration // 0 means 15 minutes: the guest is emulated, perhaps on a busy machine
}

// Ran is what became of a script.
type Ran struct {
	Output string // of the script, both streams
	Status int    // its exit code
}

// Kernel gets the kernel that linux-image-amd64 stands for, from the cache of the
// user or by apt-get download. It needs no root.
func Kernel(t testing.TB) *DebianKernel {
	t.Helper()
	Need(t, "qemu-system-x86_64", "busybox", "cpio", "apt-get", "dpkg-deb", "bash", "tar", "depmod", "ldd")
	name := kernelPackage(t)
	cache, err := os.UserCacheDir()
	if err != nil { // no home: not kept
		cache = t.TempDir()
	}
	k := &DebianKernel{version: strings.TrimPrefix(name, "linux-image-")}
	k.dir = filepath.Join(cache, "lithify-tests", name)
	if _, err := os.Stat(k.dir); err != nil {
		unpackKernel(t, name, k.version, k.dir)
	}
	k.readDepends(t)
	return k
}

var kernelDepends = regexp.MustCompile(`(?m)^ *Depends: (linux-image-[0-9]\S*)$`)

// kernelPackage asks which version is current.
func kernelPackage(t testing.TB) string {
	t.Helper()
	const command = "apt-cache depends linux-image-amd64"
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	found := kernelDepends.FindSubmatch(out)
	if found == nil && os.Getuid() == 0 { // a fresh machine has no lists yet
		hostTool(t, "", "apt-get", "update", "-qq")
		out, err = exec.Command("sh", "-c", command).CombinedOutput()
		found = kernelDepends.FindSubmatch(out)
	}
	if found == nil {
		Missing(t, fmt.Sprintf("no kernel to be had: %s: %v\n%s", command, err, out))
	}
	return string(found[1])
}

// kernelParts are what is kept of the package: of 400 MB the tenth.
var kernelParts = []string{"arch", "block", "crypto", "lib", "drivers/block", "drivers/char", "drivers/dax", "drivers/md", "drivers/virtio",
	"fs/btrfs", "fs/ext4", "fs/fat", "fs/jbd2", "fs/mbcache.ko", "fs/nls", "fs/xfs"}

// unpackKernel fills dir, which then is there whole or not at all.
func unpackKernel(t testing.TB, name, version, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "unpacking-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	hostTool(t, work, "apt-get", "download", "-qq", name)
	tree := filepath.Join(work, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	modules := "./lib/modules/" + version
	args := []string{"./boot/vmlinuz-" + version, modules + "/modules.order", modules + "/modules.builtin", modules + "/modules.builtin.modinfo"}
	for _, part := range kernelParts {
		args = append(args, modules+"/kernel/"+part)
	}
	hostTool(t, work, "bash", append([]string{"-ec", `set -o pipefail; dpkg-deb --fsys-tarfile *.deb | tar -x -C tree "$@"`, "bash"}, args...)...)
	hostTool(t, work, "depmod", "-b", tree, version)
	if err := os.Rename(filepath.Join(tree, "boot", "vmlinuz-"+version), filepath.Join(tree, "vmlinuz")); err != nil {
		t.Fatal(err)
	}
	// Another test process may have been quicker.
	if err := os.Rename(tree, dir); err != nil && !os.IsExist(err) {
		if _, there := os.Stat(dir); there != nil {
			t.Fatal(err)
		}
	}
}

func (k *DebianKernel) modules() string { return filepath.Join("lib", "modules", k.version) }

// readDepends reads modules.dep and the list of what needs no module.
func (k *DebianKernel) readDepends(t testing.TB) {
	t.Helper()
	k.depends = map[string][]string{}
	for _, line := range readLines(t, filepath.Join(k.dir, k.modules(), "modules.builtin")) {
		k.depends[moduleName(line)] = nil
	}
	for _, line := range readLines(t, filepath.Join(k.dir, k.modules(), "modules.dep")) {
		file, needs, found := strings.Cut(line, ":")
		if found {
			k.depends[moduleName(file)] = append(strings.Fields(needs), file)
		}
	}
}

func readLines(t testing.TB, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

// guestCPU is QEMU's processor, one: emulated, a second costs a third more. Without
// erms and fsrm the kernel copies and clears by words, which QEMU emulates one by
// one, and not by bytes; and pages of five levels have one more to look up.
const guestCPU = "max,la57=off,erms=off,fsrm=off"

// Run starts a machine, runs the script in it and waits until it is off. The test
// fails where the script did not come to its end; its exit code is the caller's.
func (k *DebianKernel) Run(t testing.TB, g Guest) Ran {
	t.Helper()
	limit, memory := g.Limit, g.Memory
	if limit == 0 {
		limit = 15 * time.Minute
	}
	if memory == 0 {
		memory = 512
	}
	dir := t.TempDir()
	k.initramfs(t, g, dir)
	console, output := filepath.Join(dir, "console"), filepath.Join(dir, "output")
	// Without no_timer_check the kernel of a guest that waits for a processor gives up
	// with "IO-APIC + timer doesn't work".
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc,graphics=off", "-accel", "tcg",
		"-cpu", guestCPU, "-m", fmt.Sprint(memory), "-no-reboot",
		"-kernel", k.image(t), "-initrd", filepath.Join(dir, "initrd"),
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check", "-serial", "file:" + console, "-serial", "file:" + output, "-device", "virtio-rng-pci"}
	for i, disk := range g.Disks {
		args = append(args, "-drive", fmt.Sprintf("if=none,id=disk%d,format=raw,cache=unsafe,file=%s", i, strings.ReplaceAll(disk, ",", ",,")),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	said, err := runQEMU(ctx, args)
	ran, finished := readRan(output)
	if !finished {
		shown, _ := os.ReadFile(console) // where there is none, the rest tells
		t.Fatalf("the guest's script did not end: %v %s\nconsole: %s\noutput: %s", err, said, shown, ran.Output)
	}
	return ran
}

// runQEMU runs QEMU on a thread of its own, whose end would be QEMU's too.
func runQEMU(ctx context.Context, args []string) (said []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		said, err = cmd.CombinedOutput()
	}()
	<-done
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return said, err
}

const statusLine = "\nlithify-guest-status "

// readRan reads what the second serial port took.
func readRan(file string) (ran Ran, finished bool) {
	data, _ := os.ReadFile(file) // no file: QEMU did not start
	data = bytes.ReplaceAll(data, []byte("\r"), nil)
	at := bytes.LastIndex(data, []byte(statusLine))
	if at < 0 {
		return Ran{Output: string(data)}, false
	}
	status, err := strconv.Atoi(strings.TrimSpace(string(data[at+len(statusLine):])))
	return Ran{Output: string(data[:at]), Status: status}, err == nil
}

// hostTool runs a command that the test cannot do without.
func hostTool(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Modules is where the kernel's modules are: lib/modules/VERSION below dir. They are
// for reading.
func (k *DebianKernel) Modules() (dir, version string) { return k.dir, k.version }
