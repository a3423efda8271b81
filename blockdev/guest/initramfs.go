package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// guestInit is the guest's first process. The script's output goes to the second
// serial port, so that the kernel's messages are not among it.
const guestInit = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /mnt /etc
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ln -sf /proc/self/fd /dev/fd
echo root:x:0:0::/:/bin/sh >/etc/passwd
exec </dev/null >/dev/ttyS1 2>&1
status=0
for module in $(cat /modules); do
	/bin/busybox modprobe "$module" || status=125
done
if [ $status = 0 ]; then
	sh -eu /script
	status=$?
fi
sync
printf '\nlithify-guest-status %s\n' $status
exec >/dev/console 2>&1
poweroff -f
`

// initramfs writes DIR/initrd, and the tree it is made from beside it.
func (k *DebianKernel) initramfs(t testing.TB, g Guest, dir string) {
	t.Helper()
	root := filepath.Join(dir, "root")
	busybox := lookTool(t, "busybox")
	copyFile(t, busybox, filepath.Join(root, "bin", "busybox"))
	for name, text := range map[string]string{"init": guestInit, "script": g.Script, "modules": strings.Join(g.Modules, "\n")} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	k.copyModules(t, g.Modules, root)
	for _, name := range append([]string{busybox}, g.Tools...) {
		tool := lookTool(t, name)
		copyFile(t, tool, filepath.Join(root, tool))
		for _, library := range libraries(t, tool) {
			copyFile(t, library, filepath.Join(root, library))
		}
	}
	for inside, here := range g.Files {
		copyFile(t, here, filepath.Join(root, inside))
	}
	hostTool(t, root, "sh", "-ec", "find . | cpio --quiet -o -H newc >../initrd")
}

// copyModules copies the modules with all they need, and what modprobe reads: the
// kernel calls for some by alias.
func (k *DebianKernel) copyModules(t testing.TB, modules []string, root string) {
	t.Helper()
	for _, m := range modules {
		files, known := k.depends[moduleName(m)]
		if !known {
			t.Fatalf("kernel %s has no module %q among those kept", k.version, m)
		}
		for _, f := range files {
			copyFile(t, filepath.Join(k.dir, k.modules(), f), filepath.Join(root, k.modules(), f))
		}
	}
	for _, f := range []string{"modules.dep", "modules.alias", "modules.builtin"} {
		copyFile(t, filepath.Join(k.dir, k.modules(), f), filepath.Join(root, k.modules(), f))
	}
	if err := os.MkdirAll(filepath.Join(root, "sbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/busybox", filepath.Join(root, "sbin", "modprobe")); err != nil {
		t.Fatal(err)
	}
}

// lookTool finds a tool, also where only root's PATH would.
func lookTool(t testing.TB, name string) string {
	t.Helper()
	for _, try := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(try); err == nil {
			return path
		}
	}
	Missing(t, name+" is not there")
	return ""
}

var libraryPath = regexp.MustCompile(`(?m)(?:=> |^\s+)(/\S+)`)

// libraries are the files that the loader maps for a tool, the loader among them.
// A static one has none.
func libraries(t testing.TB, tool string) []string {
	t.Helper()
	out, err := exec.Command("ldd", tool).CombinedOutput()
	if err != nil {
		if strings.Contains(string(out), "not a dynamic executable") {
			return nil
		}
		t.Fatalf("ldd %s: %v\n%s", tool, err, out)
	}
	var found []string
	for _, m := range libraryPath.FindAllStringSubmatch(string(out), -1) {
		found = append(found, m[1])
		// glibc loads it when a thread ends, and aborts where it is not there.
		gcc := filepath.Join(filepath.Dir(m[1]), "libgcc_s.so.1")
		if _, err := os.Stat(gcc); err == nil {
			found = append(found, gcc)
		}
	}
	return found
}

// copyFile copies a file, through links, once.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	if _, err := os.Stat(to); err == nil {
		return
	}
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}
