package runner

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// snapshot is what lstat says of everything in a tree, access times left out.
func snapshot(t *testing.T, tree string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(tree, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(name, &st); err != nil {
			return err
		}
		fmt.Fprintln(&b, name, st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTreeUntouched(t *testing.T) {
	tree := busyboxTree(t)
	host := openDir(t)
	write(t, filepath.Join(host, "f"), "host\n", 0o644)
	before := snapshot(t, tree)
	line := "cat /etc/file /dev/extra/f; ls /mnt; touch /dev/shm/x /dev/y"
	out, err := sh(t, tree, line,
		Mount{Source: filepath.Join(host, "f"), Target: "/etc/file"},
		Mount{Source: host, Target: "/dev/extra"},
		Mount{Empty: true, Target: "/mnt"},
		Mount{Source: host, Target: "/not/there", Optional: true})
	if err != nil || out != "host\nhost\n" {
		t.Errorf("%q, %v", out, err)
	}
	if after := snapshot(t, tree); after != before {
		t.Errorf("the tree changed:\n%s\n%s", before, after)
	}
	// Folders that are not there are not made.
	for _, d := range []string{"proc", "sys"} {
		if err := os.Remove(filepath.Join(tree, d)); err != nil {
			t.Fatal(err)
		}
	}
	before = snapshot(t, tree)
	if out, err := sh(t, tree, "ls -d /proc /sys 2>/dev/null"); code(err) != 1 || out != "" {
		t.Errorf("without /proc and /sys: %q, %v", out, err)
	}
	if after := snapshot(t, tree); after != before {
		t.Error("the tree without /proc and /sys changed")
	}
}

func TestDev(t *testing.T) {
	tree := busyboxTree(t)
	hostNull, err := os.Stat("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"ls /dev": "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n",
		"for f in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$f; done": "/dev/null 1:3 666\n/dev/zero 1:5 666\n" +
			"/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n/dev/tty 5:0 666\n",
		"echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c": "3\n5\n",
		"echo x > /dev/full || echo full":                                                 "sh: write error: No space left on device\nfull\n",
		"stat -c %a /dev/shm /dev/pts /dev; ls /dev/pts":                                  "1777\n755\n755\nptmx\n",
		"echo a > /dev/stdout; echo b > /dev/stderr; echo c > /dev/fd/1":                  "a\nb\nc\n",
		"chmod 600 /dev/null; stat -c %a /dev/null":                                       "600\n",
		"touch /sys/x 2>/dev/null || echo ro":                                             "ro\n",
		"test -e /sys/kernel && echo sys":                                                 "sys\n",
		"exec 3<>/dev/ptmx && ls /dev/pts":                                                "0\nptmx\n",
	} {
		if got, err := sh(t, tree, line); got != want {
			t.Errorf("%s: %q, want %q (%v)", line, got, want, err)
		}
	}
	if now, err := os.Stat("/dev/null"); err != nil || now.Mode() != hostNull.Mode() {
		t.Errorf("the host's /dev/null changed: %v %v", now, err)
	}
}

func TestOwnNamespaces(t *testing.T) {
	tree := busyboxTree(t)
	out, err := sh(t, tree, "echo $PPID; ls -d /proc/[0-9]* | wc -l; ipcmk -Q >/dev/null 2>&1; hostname inner; mount -t tmpfs x /mnt; tr '\\0' ' ' </proc/1/cmdline")
	if err != nil || out != "1\n4\nlithify-init " {
		t.Errorf("%q, %v", out, err)
	}
	if name, _ := os.Hostname(); name == "inner" {
		t.Error("the host's name changed")
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), tree) {
		t.Errorf("mounts on the host: %v\n%s", err, mounts)
	}
	for _, ns := range []string{"mnt", "pid", "ipc", "uts"} {
		host, _ := os.Readlink("/proc/self/ns/" + ns)
		if in, err := sh(t, tree, "readlink /proc/self/ns/"+ns); err != nil || strings.TrimSpace(in) == host {
			t.Errorf("%s: %q %v", ns, in, err)
		}
	}
}

// The host's firmware, which decides what GRUB's scripts write, is not to be seen.
func TestFirmwareIsHidden(t *testing.T) {
	tree := busyboxTree(t)
	if _, err := os.Stat("/sys/firmware"); err != nil {
		lacking(t, "this kernel shows no firmware")
	}
	if out, err := sh(t, tree, "ls -A /sys/firmware | wc -l; touch /sys/firmware/x 2>/dev/null || echo refused"); err != nil || out != "0\nrefused\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestMounts(t *testing.T) {
	tree := busyboxTree(t)
	host := openDir(t)
	write(t, filepath.Join(host, "f"), "host\n", 0o644)
	secret := openDir(t)
	// A link that leads out, absolute and by dots, and one within.
	for name, to := range map[string]string{
		"out": secret, "dots": "../../../../../../.." + secret, "in": "/mnt/deep", "proc1": "/proc/1/root/mnt",
	} {
		if err := os.Symlink(to, filepath.Join(tree, "etc", name)); err != nil {
			t.Fatal(err)
		}
	}
	rw := Mount{Source: host, Target: "/mnt"}
	for _, c := range []struct {
		name, line, want string
		m                []Mount
		fails            bool
	}{
		{"bind", "cat /mnt/f; touch /mnt/g && echo ok", "host\nok\n", []Mount{rw}, false},
		{"read-only", "cat /mnt/f; touch /mnt/h 2>/dev/null || echo ro", "host\nro\n", []Mount{{Source: host, Target: "/mnt", ReadOnly: true}}, false},
		{"file", "cat /etc/file", "host\n", []Mount{{Source: host + "/f", Target: "/etc/file"}}, false},
		{"mask", "ls -A /bin | wc -l", "", []Mount{{Empty: true, Target: "/bin"}}, true},
		{"mask is read-only", "ls -A /etc; touch /etc/x 2>/dev/null || echo ro", "ro\n", []Mount{{Empty: true, Target: "/etc"}}, false},
		{"order", "ls /mnt", "f\ng\n", []Mount{{Empty: true, Target: "/mnt"}, rw}, false},
		{"optional", "ls -A /mnt", "deep\n", []Mount{{Source: host, Target: "/gone/x", Optional: true}}, false},
		{"optional under a file", "ls -A /mnt", "deep\n", []Mount{{Source: host, Target: "/etc/file/x", Optional: true}}, false},
		{"link inside", "cat /mnt/deep/f", "host\n", []Mount{{Source: host, Target: "/etc/in"}}, false},
		{"link outside", "", "", []Mount{{Source: host, Target: "/etc/out"}}, true},
		{"dots outside", "", "", []Mount{{Source: host, Target: "/etc/dots"}}, true},
		{"dots in the target", "cat /mnt/f", "host\n", []Mount{{Source: host, Target: "/../../mnt"}}, false},
		{"link through proc", "", "", []Mount{{Source: host, Target: "/etc/proc1"}}, true},
		{"in dev", "cat /dev/a/b/c", "host\n", []Mount{{Source: host + "/f", Target: "/dev/a/b/c"}}, false},
		{"a folder on a file", "", "", []Mount{{Source: host, Target: "/etc/file"}}, true},
	} {
		got, err := sh(t, tree, c.line, c.m...)
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	if left, _ := os.ReadDir(secret); len(left) > 0 {
		t.Error("something came out of the tree")
	}
}

// TestMountsBelow: what is mounted below the source or the tree comes along,
// and read-only holds for it too.
func TestMountsBelow(t *testing.T) {
	tree := busyboxTree(t)
	host := openDir(t)
	for _, at := range []string{filepath.Join(host, "sub"), filepath.Join(tree, "tmp")} {
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			// At once and without MNT_DETACH: nothing may hold it.
			if err := syscall.Unmount(at, 0); err != nil {
				t.Errorf("unmounting %s: %v", at, err)
			}
		})
		write(t, filepath.Join(at, "f"), "below\n", 0o644)
	}
	out, err := sh(t, tree, "cat /tmp/f /mnt/sub/f; touch /mnt/sub/g 2>/dev/null || echo ro; touch /tmp/g && echo rw",
		Mount{Source: host, Target: "/mnt", ReadOnly: true})
	if err != nil || out != "below\nbelow\nro\nrw\n" {
		t.Errorf("%q, %v", out, err)
	}
}
