package convert_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/convert"
	"golang.org/x/sys/unix"
)

// needRoot stops a test that makes device nodes and foreign owners.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "this test needs root")
	}
}

// tree makes a folder with every kind of file that a root file system may have.
func tree(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	script := `
		mkdir -p etc usr/bin proc sys dev run tmp lost+found mnt/lost+found 'sp ace/newline
name' "$(printf 'latin-\351')" "grün" deep
		echo hello >etc/hostname; chown 12:34 etc/hostname; chmod 0640 etc/hostname
		echo s >usr/bin/su; chmod 4755 usr/bin/su; setcap cap_net_raw,cap_setuid+ep usr/bin/su
		echo w >usr/bin/wall; chown 0:5 usr/bin/wall; chmod 2755 usr/bin/wall
		chmod 1777 tmp; chown 3000000000:4000000000 sp*; chmod 0751 . ; chown 7:8 .
		ln etc/hostname usr/hardlink; ln etc/hostname zz
		ln -s ../etc/hostname usr/symlink; ln -s "$(printf 'x%.0s' $(seq 3000))" usr/long; chown -h 9:9 usr/symlink
		ln usr/symlink usr/symlink2
		mknod dev/null c 1 3; mknod dev/sda5 b 8 5; mknod dev/big c 511 1048575; mkfifo run/fifo; chmod 600 run/fifo
		: >empty; head -c 262144 /dev/urandom >edge; head -c 1500001 /dev/urandom >large; truncate -s 3M sparse
		d=deep; for i in 1 2 3 4 5 6; do d=$d/folder-with-a-long-name-that-goes-on-and-on-$i; mkdir $d; done; echo bottom >$d/file
		setfattr -n user.plain -v text etc/hostname; setfattr -n user.nul -v 0x00ff00 etc/hostname
		setfattr -n 'user.a=b%c' -v x empty; setfattr -n trusted.x -v y empty; setfattr -n user.dir -v z etc
		setfattr -n trusted.link -v l -h usr/symlink; setfattr -n user.empty empty; setfattr -n user.root -v r .
		head -c 3000 /dev/zero | tr '\0' q >val; setfattr -n user.big -v "$(cat val)" val
		touch -h -d '1999-12-31 23:59:59.123456789Z' usr/symlink; touch -d '2030-01-01 00:00:00.5Z' etc/hostname
		touch -d '1960-06-01 12:00:00.25Z' empty; touch -d '2001-02-03 04:05:06.000000007Z' etc .
		setfacl -m u:77:rwx,g:88:r-x,m::rwx usr/bin/wall; setfacl -m u:99:rwx,d:u:99:rwx,d:g:5:r usr
		touch -d '2002-02-03 04:05:06.1Z' usr/bin usr sys .`
	run(t, "sh", "-ec", "cd '"+root+"'\n"+script)
	l, err := net.Listen("unix", filepath.Join(root, "run", "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return root
}

// describe tells all of a tree that an archive must keep, by foreign tools.
func describe(t testing.TB, root string) string {
	t.Helper()
	script := `cd "$0"; export LC_ALL=C
		find . -path ./run/socket -prune -o -name lost+found -prune -o -type d -printf '%p %y %m %U %G %T@\0' \
			-o -printf '%p %y %m %U %G %T@ %n %s %l\0' | sort -z | tr '\0' '\n'
		find . -type b,c -print0 | sort -z | xargs -0 stat -c '%n %t:%T'
		find . -type f -print0 | sort -z | xargs -0 sha256sum
		find . -path ./run/socket -prune -o -name lost+found -prune -o -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex
		find . -type f -printf '%i %p\n' | sort | awk '{ if ($1 in a) print $2, "=", a[$1]; else a[$1] = $2 }' | sort`
	return run(t, "sh", "-ec", script, root)
}

func tarBytes(t testing.TB, root string, o convert.TreeOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := convert.Tar(context.Background(), &b, root, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTarRestoredByGNU(t *testing.T) {
	need(t, "tar", "setcap", "setfattr", "getfattr", "setfacl")
	needRoot(t)
	root := tree(t)
	data := tarBytes(t, root, convert.TreeOptions{})
	if again := tarBytes(t, root, convert.TreeOptions{Workers: 1}); !bytes.Equal(data, again) {
		t.Error("two archives of one tree differ")
	}
	archive, back := filepath.Join(t.TempDir(), "a.tar"), t.TempDir()
	if err := os.WriteFile(archive, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "tar", "-x", "-p", "--warning=no-timestamp", "--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", back, "-f", archive); out != "" {
		t.Errorf("tar says %s", out)
	}
	want, got := describe(t, root), describe(t, back)
	if want != got {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "want"), filepath.Join(dir, "got")
		os.WriteFile(a, []byte(want), 0o600)
		os.WriteFile(b, []byte(got), 0o600)
		t.Errorf("restored tree differs:\n%s", run(t, "sh", "-c", "diff -u '"+a+"' '"+b+"' || true"))
	}
	if bytes.Contains(data, []byte("posix_acl")) {
		t.Error("ACLs are in the archive twice")
	}
	for _, dir := range []string{"usr/bin/wall", "usr"} {
		get := []string{"--absolute-names", "--numeric", "--omit-header"}
		want := run(t, "getfacl", append(get, filepath.Join(root, dir))...)
		if got := run(t, "getfacl", append(get, filepath.Join(back, dir))...); got != want || !strings.Contains(got, "user:") {
			t.Errorf("%s: got ACL\n%s, want\n%s", dir, got, want)
		}
	}
	for _, gone := range []string{"lost+found", "run/socket"} {
		if _, err := os.Lstat(filepath.Join(back, gone)); err == nil {
			t.Errorf("%s is in the archive", gone)
		}
	}
	if _, err := os.Lstat(filepath.Join(back, "mnt/lost+found")); err != nil {
		t.Errorf("a folder that is only named lost+found: %v", err)
	}
}

func TestTarExcludeAndTime(t *testing.T) {
	need(t, "tar")
	root := t.TempDir()
	for _, d := range []string{"dev/pts", "proc/1", "var/cache/apt", "var/log"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/log/x"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	clamp := time.Unix(1e9, 0)
	archive := filepath.Join(t.TempDir(), "a.tar")
	data := tarBytes(t, root, convert.TreeOptions{Exclude: []string{"dev/*", "proc/*", "var/cache"}, Time: clamp})
	if err := os.WriteFile(archive, data, 0o600); err != nil {
		t.Fatal(err)
	}
	names := run(t, "tar", "-tf", archive)
	if want := "./\n./dev/\n./proc/\n./var/\n./var/log/\n./var/log/x\n"; names != want {
		t.Errorf("got %q, want %q", names, want)
	}
	if l := run(t, "env", "TZ=UTC", "tar", "-tvf", archive); strings.Count(l, "2001-09-09 01:46") != 6 {
		t.Errorf("times are not clamped:\n%s", l)
	}
}

func TestTarErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cases := []struct {
		name, root, want string
		ctx              context.Context
		o                convert.TreeOptions
	}{
		{"cancelled", "/usr/bin", "context canceled", ctx, convert.TreeOptions{}},
		{"no folder", file, "is no folder", context.Background(), convert.TreeOptions{}},
		{"nothing there", file + "x", "no such file", context.Background(), convert.TreeOptions{}},
		{"bad pattern", "/usr/bin", `pattern "[" of what to leave out`, context.Background(), convert.TreeOptions{Exclude: []string{"["}}},
		{"full disk", "/usr/bin", "write /dev/full: no space left on device", context.Background(), convert.TreeOptions{}},
	}
	for _, c := range cases {
		if err := convert.Tar(c.ctx, full, c.root, c.o); err == nil || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v, want …%s…", c.name, err, c.want)
		}
	}
}

// TestTarShrinking has a file in the tree that is shorter than it says: a
// pseudo file of the kernel's.
func TestTarShrinking(t *testing.T) {
	if unix.Access("/sys/kernel/mm/transparent_hugepage", unix.R_OK) != nil {
		missing(t, "no sysfs here")
	}
	err := convert.Tar(context.Background(), new(bytes.Buffer), "/sys/kernel/mm/transparent_hugepage", convert.TreeOptions{})
	if err == nil || !strings.Contains(err.Error(), "changed while the archive was written") {
		t.Errorf("got %v", err)
	}
}
