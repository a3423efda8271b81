package blockdevtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

// TestCompareTrees: a copy by tar is equal, and every single change is seen.
func TestCompareTrees(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "tar")
	a, b := t.TempDir(), t.TempDir()
	blockdevtest.NastyTree(t, a)
	if err := os.RemoveAll(filepath.Join(a, "many")); err != nil { // copied nine times below
		t.Fatal(err)
	}
	pipe := `tar -C "$0" --acls --xattrs --xattrs-include='*' --sparse --format=posix -cf - . | tar -C "$1" --acls --xattrs --xattrs-include='*' -xpf - --numeric-owner`
	if out, err := exec.Command("sh", "-c", pipe, a, b).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	// tar makes no sockets, and links no symbolic links.
	o := blockdevtest.CompareOptions{Ignore: []string{"/dev", "/b/long-link", "/a/long-link", "/b/fifo", "/b", "/a"}}
	check := func(what string, want ...string) {
		t.Helper()
		all, err := blockdevtest.CompareTrees(a, b, o)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range all {
			got = append(got, d.Path+" "+d.What)
		}
		if strings.Join(got, "; ") != strings.Join(want, "; ") {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	check("equal")
	in := func(p string) string { return filepath.Join(b, p) }
	for _, c := range []struct {
		want   string
		change func() error
	}{
		{"/etc/fstab mode", func() error { return os.Chmod(in("etc/fstab"), 0o600) }},
		{"/bin/su owner", func() error { return unix.Lchown(in("bin/su"), 0, 43) }},
		{"/bin/ping content", func() error { return os.WriteFile(in("bin/ping"), []byte("pong"), 0o755) }},
		{"/bin/ping xattr security.capability", func() error { return unix.Lsetxattr(in("bin/ping"), "security.capability", capability, 0) }},
		{"/var/log/syslog xattr system.posix_acl_access", func() error { return exec.Command("setfacl", "-m", "u:1000:r", in("var/log/syslog")).Run() }},
		{"/home/u path", func() error { return os.RemoveAll(in("home/u")) }},
		{"/dangling xattr trusted.link", func() error { return unix.Lremovexattr(in("dangling"), "trusted.link") }},
		{"/tmp mtime", func() error { return os.Chtimes(in("tmp"), time.Time{}, time.Unix(1, 1)) }},
		{"/var/log/syslog links", func() error {
			return exec.Command("sh", "-c", `cp -a "$0" "$0.new" && mv "$0.new" "$0"`, in("var/log/deep/syslog")).Run()
		}},
	} {
		t.Run(c.want, func(t *testing.T) {
			defer func(old string) { b = old }(b)
			copied := t.TempDir()
			if out, err := exec.Command("cp", "-aT", b, copied).CombinedOutput(); err != nil {
				t.Fatalf("%v %s", err, out)
			}
			b = copied
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			all, err := blockdevtest.CompareTrees(a, b, o)
			if err != nil {
				t.Fatal(err)
			}
			seen := false
			for _, d := range all {
				seen = seen || d.Path+" "+d.What == c.want
			}
			if !seen || len(all) > 4 {
				t.Errorf("got %v, want %s", all, c.want)
			}
		})
	}
}

// capability is cap_net_admin+ep, version 2 (linux/capability.h).
var capability = []byte{1, 0, 0, 2, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
