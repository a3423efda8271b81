package convert_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/lithify/lithify/convert"
	"golang.org/x/sys/unix"
)

// private gives this test's thread a mount namespace of its own.
func private(t testing.TB) {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}

// hostMounts makes a tree in which the host's file systems are mounted beside
// one that belongs to the image. Only this thread sees them; the path that is
// returned leads others there.
func hostMounts(t testing.TB) string {
	t.Helper()
	private(t)
	root := t.TempDir()
	for _, m := range []struct{ dir, kind, inside string }{
		{"proc", "", "left"}, {"sys", "", "left"}, {"dev", "tmpfs", "sda"}, {"run", "tmpfs", "lock"},
		{"sys/kernel", "tmpfs", "x"}, {"srv/proc", "proc", ""}, {"dev/pts", "devpts", ""},
		{"var", "tmpfs", "kept"}, {"var/lost+found", "", "gone"}, {"home/dev", "", "kept"}, {"lost+found", "", "gone"},
	} {
		dir := filepath.Join(root, m.dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if m.kind != "" {
			if err := unix.Mount("test", dir, m.kind, 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		}
		if m.inside != "" {
			if err := os.WriteFile(filepath.Join(dir, m.inside), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return threadPath(root)
}

// hostMountsKept is what of hostMounts belongs into every tree format.
const hostMountsKept = "./\n./dev/\n./home/\n./home/dev/\n./home/dev/kept\n./proc/\n./run/\n./srv/\n./srv/proc/\n./sys/\n./var/\n./var/kept\n"

func TestTarLeavesHostOut(t *testing.T) {
	need(t, "tar")
	root := hostMounts(t)
	if names := run(t, "tar", "-tf", archive(t, "tar", root, convert.TreeOptions{})); names != hostMountsKept {
		t.Errorf("got %q, want %q", names, hostMountsKept)
	}
}

// threadPath is a path of this thread's mount namespace for everybody.
func threadPath(path string) string {
	return fmt.Sprintf("/proc/%d/task/%d/root%s", os.Getpid(), unix.Gettid(), path)
}
