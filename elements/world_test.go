package elements

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// world is a small tree that hooks run in: folders of its own, and the host's
// programs below them, read-only. Package managers, systemctl and their like are
// stand-ins that write down how they were called.
type world struct {
	t    *testing.T
	root string
}

// enter makes the tree a root: the host's programs and its devices are bound
// into it. It runs in a mount namespace, which takes the mounts along.
const enter = `
set -eu
root=$1
shift
mount --make-rprivate /
for dir in bin sbin lib lib64 libexec share; do
    if [ -d /usr/$dir ]; then
        mkdir -p "$root/usr/$dir"
        mount --rbind /usr/$dir "$root/usr/$dir"
    fi
done
mount --bind "$root/units" "$root/usr/lib/systemd/system"
# Debian's awk and others are links that lead there.
if [ -d /etc/alternatives ]; then
    mkdir -p "$root/etc/alternatives"
    mount --bind /etc/alternatives "$root/etc/alternatives"
fi
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
exec chroot "$root" /bin/bash -c 'cd / && exec "$@"' hook "$@"
`

// newWorld merges the elements into /tmp/in_target.d of a new tree.
func newWorld(t *testing.T, names ...string) *world {
	t.Helper()
	for _, tool := range []string{"unshare", "chroot", "mount", "bash"} {
		need(t, tool)
	}
	w := &world{t, t.TempDir()}
	for _, dir := range []string{"units", "stubs", "etc", "root", "tmp", "dev", "proc", "usr/local/bin", "boot", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(w.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(w.root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	w.write(map[string]string{"etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "etc/group": "root:x:0:\n"})
	l := Library{Builtin()}
	var els []Element
	for _, name := range names {
		e, found, err := l.load(name)
		if err != nil || !found {
			t.Fatalf("element %q: found %v, %v", name, found, err)
		}
		els = append(els, e)
	}
	if err := mustMerge(t, els...).WriteTo(filepath.Join(w.root, "tmp/in_target.d")); err != nil {
		t.Fatal(err)
	}
	return w
}

// write makes files in the tree; one that begins with #! may be run.
func (w *world) write(files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		file := filepath.Join(w.root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(text, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			w.t.Fatal(err)
		}
	}
}

// stub makes stand-ins that note their calls and then do what body says.
func (w *world) stub(body string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		w.write(map[string]string{"stubs/" + name: "#!/bin/bash\necho \"" + name + " $*\" >> /calls\n" + body + "\n"})
	}
}

// read is a file's content; "" when there is none.
func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.root, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return string(text)
}

// calls are the stand-ins' notes since the last time they were asked for.
func (w *world) calls() string {
	w.t.Helper()
	text := w.read("calls")
	if err := os.RemoveAll(filepath.Join(w.root, "calls")); err != nil {
		w.t.Fatal(err)
	}
	return text
}

// run runs a program inside the tree, a hook by its path in the hooks tree.
func (w *world) run(env []string, program string, args ...string) (code int, output string) {
	w.t.Helper()
	if !strings.HasPrefix(program, "/") {
		program = "/tmp/in_target.d/" + program
	}
	argv := []string{"--mount"}
	if os.Getuid() != 0 {
		argv = append(argv, "--user", "--map-root-user")
	}
	argv = append(argv, "sh", "-c", enter, "sh", w.root, program)
	cmd := exec.Command("unshare", append(argv, args...)...)
	cmd.Env = append([]string{"PATH=/stubs:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "DIB_INIT_SYSTEM=systemd"}, env...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), string(out)
	case err != nil:
		w.t.Fatal(err)
	}
	return 0, string(out)
}

// must runs a hook that has to succeed.
func (w *world) must(env []string, program string, args ...string) string {
	w.t.Helper()
	code, output := w.run(env, program, args...)
	if code != 0 {
		w.t.Fatalf("%s: exit code %d\n%s", program, code, output)
	}
	return output
}

// refuses runs a hook that has to end with 1 and a complaint.
func (w *world) refuses(env []string, complaint, program string, args ...string) {
	w.t.Helper()
	if code, output := w.run(env, program, args...); code != 1 || !strings.Contains(output, complaint) {
		w.t.Errorf("%s %v: exit code %d, want 1 and %q\n%s", program, env, code, complaint, output)
	}
}

// has checks a file's content to the byte.
func (w *world) has(name, want string) {
	w.t.Helper()
	if got := w.read(name); got != want {
		w.t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
	}
}

// outside runs a hook of the build host, with stand-ins from dir first in PATH.
func outside(t *testing.T, dir string, env []string, program string) (code int, output string) {
	t.Helper()
	cmd := exec.Command("bash", program)
	cmd.Env = append([]string{"PATH=" + dir + ":" + os.Getenv("PATH"), "LC_ALL=C"}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}
