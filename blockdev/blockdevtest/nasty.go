package blockdevtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/guest"
)

// NastyTree fills an empty folder with what copies lose: it needs root, setfacl
// and setcap. The folder itself gets a mode, an owner and a time of its own.
func NastyTree(t testing.TB, root string) {
	t.Helper()
	Need(t, "setfacl", "setcap")
	n := nasty{t: t, root: root}
	n.folders()
	n.files()
	n.special()
	n.attributes()
	n.links()
	n.times()
}

// Need skips the test where a tool is missing, and fails it under CI=true.
func Need(t testing.TB, tools ...string) { t.Helper(); guest.Need(t, tools...) }

// NeedRoot skips the test for others than root, and fails it under CI=true.
func NeedRoot(t testing.TB) { t.Helper(); guest.NeedRoot(t) }

// Missing skips, or fails under CI=true.
func Missing(t testing.TB, what string) { t.Helper(); guest.Missing(t, what) }

type nasty struct {
	t    testing.TB
	root string
}

func (n nasty) path(p string) string { return filepath.Join(n.root, p) }

func (n nasty) do(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n nasty) folders() {
	for _, d := range []string{"bin", "boot/grub", "etc", "dev", "proc", "tmp", "var/log/deep", "srv/empty", "home/u", "a", "b/c"} {
		n.do(os.MkdirAll(n.path(d), 0o755))
	}
	n.do(os.Chmod(n.path("tmp"), os.ModeSticky|0o777))
	n.do(os.Chown(n.path("home/u"), 1000, 1001))
	n.do(os.Chmod(n.path("home/u"), os.ModeSetgid|0o750))
	n.do(os.Chown(n.path("var"), 3, 4))
	n.do(os.Chmod(n.path("var"), os.ModeSetgid|0o2711&0o777))
	n.do(os.Chmod(n.path("srv"), 0o705))
	n.do(os.Chmod(n.path("proc"), 0o555))
	// Enough names that the folder needs an index.
	n.do(os.Mkdir(n.path("many"), 0o755))
	for i := range 700 {
		n.do(os.WriteFile(n.path(fmt.Sprintf("many/file-with-a-name-of-some-length-%04d", i)), []byte{byte(i)}, 0o644))
	}
}

func (n nasty) files() {
	n.do(os.WriteFile(n.path("etc/empty"), nil, 0o600))
	n.do(os.WriteFile(n.path("etc/fstab"), nil, 0o644))
	n.do(os.WriteFile(n.path("bin/su"), bytes.Repeat([]byte("su"), 5000), 0o755))
	n.do(os.Chown(n.path("bin/su"), 0, 42))
	n.do(os.Chmod(n.path("bin/su"), os.ModeSetuid|os.ModeSetgid|0o755))
	n.do(os.WriteFile(n.path("bin/ping"), []byte("ping"), 0o755))
	n.do(os.WriteFile(n.path("home/u/unreadable"), []byte("x"), 0))
	n.do(os.WriteFile(n.path(strings.Repeat("ü", 127)), []byte("long name"), 0o644))
	n.do(os.WriteFile(n.path("new\nline \\ \" *"), []byte("odd name"), 0o644))
	n.do(os.WriteFile(n.path("var/log/syslog"), bytes.Repeat([]byte("line\n"), 60000), 0o640))
	n.do(os.Chown(n.path("var/log/syslog"), 65534, 70000))
	n.sparse("var/log/lastlog", 30<<20, 0, 12<<20, 12<<20+4096)
	n.sparse("a/all-hole", 5<<20+7)
	n.sparse("a/tail-hole", 9<<20+13, 100)
}

// sparse makes a file of size bytes with a little data at the offsets.
func (n nasty) sparse(p string, size int64, data ...int64) {
	f, err := os.Create(n.path(p))
	n.do(err)
	for _, at := range data {
		_, err := f.WriteAt([]byte("data in a sea of holes"), at)
		n.do(err)
	}
	n.do(f.Truncate(size))
	n.do(f.Close())
}

func (n nasty) special() {
	n.do(os.Symlink("../var/log", n.path("a/link")))
	n.do(os.Symlink(strings.Repeat("long/", 200), n.path("a/long-link")))
	n.do(os.Symlink("nowhere", n.path("dangling")))
	n.do(os.Lchown(n.path("dangling"), 12, 34))
	n.do(unix.Mkfifo(n.path("dev/fifo"), 0o622))
	n.do(unix.Mknod(n.path("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	n.do(unix.Mknod(n.path("dev/disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	n.do(unix.Mknod(n.path("dev/socket"), unix.S_IFSOCK|0o755, 0))
	n.do(os.Chown(n.path("dev/disk"), 0, 6))
}

func (n nasty) attributes() {
	n.do(unix.Lsetxattr(n.path("etc/empty"), "user.empty", nil, 0))
	n.do(unix.Lsetxattr(n.path("etc/fstab"), "user.long", bytes.Repeat([]byte("v\x00"), 1000), 0))
	n.do(unix.Lsetxattr(n.path("b"), "trusted.lithify", []byte("folder"), 0))
	n.do(unix.Lsetxattr(n.path("dangling"), "trusted.link", []byte("on a link"), 0))
	n.tool("setcap", "cap_net_raw+ep", n.path("bin/ping"))
	n.tool("setfacl", "-m", "u:1000:rw,g:7:r", n.path("var/log/syslog"))
	// A default ACL would reach children made after it.
	n.tool("setfacl", "-m", "d:u:1000:rwx", n.path("b"))
	n.do(unix.Lsetxattr(n.path("srv"), "user.mountpoint", []byte("covered"), 0))
}

func (n nasty) tool(name string, args ...string) {
	n.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		n.t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func (n nasty) links() {
	n.do(os.Link(n.path("bin/su"), n.path("a/su")))
	n.do(os.Link(n.path("bin/su"), n.path("b/c/su")))
	n.do(os.Link(n.path("var/log/syslog"), n.path("var/log/deep/syslog")))
	n.do(os.Link(n.path("dev/fifo"), n.path("b/fifo")))
	n.do(os.Link(n.path("a/long-link"), n.path("b/long-link")))
}

// times gives everything a time of its own, folders last; some before 1970 and
// after 2038.
func (n nasty) times() {
	var paths []string
	n.do(filepath.WalkDir(n.root, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	n.do(os.Chown(n.root, 7, 8))
	n.do(unix.Chmod(n.root, 0o1751))
	for i := len(paths) - 1; i >= 0; i-- {
		at := time.Date(2001+i%20, 2, 3, 4, 5, i%60, 123456789+i, time.UTC)
		switch i % 100 {
		case 98:
			at = time.Date(1965, 1, 2, 3, 4, 5, 6, time.UTC)
		case 99:
			at = time.Date(2100, 1, 2, 3, 4, 5, 999999999, time.UTC)
		}
		ts, err := unix.TimeToTimespec(at)
		n.do(err)
		err = unix.UtimesNanoAt(unix.AT_FDCWD, paths[i], []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
		if !errors.Is(err, syscall.EINVAL) {
			n.do(err)
		}
	}
}
