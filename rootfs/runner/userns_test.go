package runner

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseSubIDs(t *testing.T) {
	for _, c := range []struct {
		text string
		mine []idRange
		free uint64
	}{
		{"", nil, 100000},
		{"bob:100000:65536\n", []idRange{{0, 100000, 65536}}, 165536},
		{"ann:100000:65536\nbob:165536:65536\n1000:300000:10", []idRange{{0, 165536, 65536}, {0, 300000, 10}}, 300010},
		{"ann:1:5\n", nil, 100000},
		{"bobby:200000:65536\n", nil, 265536},
		{"bob\nbob:x:1\nbob:1:0\nbob:4294967290:10\nbob:-1:4\n# bob:1:1\n", nil, 100000},
	} {
		mine, free := parseSubIDs(c.text, "bob", "1000")
		if !reflect.DeepEqual(mine, c.mine) || free != c.free {
			t.Errorf("%q: %v, %d; want %v, %d", c.text, mine, free, c.mine, c.free)
		}
	}
}

func FuzzSubIDs(f *testing.F) {
	f.Add("bob:100000:65536\nann:1:2\n")
	f.Add("bob:4294967295:4294967295")
	f.Fuzz(func(t *testing.T, text string) {
		mine, free := parseSubIDs(text, "bob")
		if free < 100000 {
			t.Errorf("free: %d", free)
		}
		for _, r := range mine {
			if r.Count == 0 || r.Outside+r.Count > math.MaxUint32 || r.Outside+r.Count > free {
				t.Errorf("range %v, free %d", r, free)
			}
		}
	})
}

func TestNoSubIDs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	write(t, file, "ann:100000:65536\n", 0o644)
	_, err := subMap(file, "bob", 1000, 1000)
	var no *NoSubIDError
	if !errors.As(err, &no) || *no != (NoSubIDError{"bob", file, "bob:165536:65536"}) {
		t.Fatalf("%#v", err)
	}
	// The line that the error asks for is one that serves.
	write(t, file, "ann:100000:65536\n"+no.Line+"\n", 0o644)
	got, err := subMap(file, "bob", 1000, 1001)
	if want := []idRange{{0, 1001, 1}, {1, 165536, 65536}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := subMap(file+"x", "bob", 1000, 1000); !errors.As(err, &no) || no.Line != "bob:100000:65536" {
		t.Errorf("without the file: %v", err)
	}
}

// TestUserMistakes: what an ordinary user sees when the host is not set up.
func TestUserMistakes(t *testing.T) {
	u := ordinaryUser(t)
	cmd := program(t, u, lineVar+"=echo up", "PATH=/nowhere")
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 99 || !strings.Contains(string(out), "package uidmap") {
		t.Errorf("without newuidmap: %s", out)
	}
	// nobody has no subordinate ids here or anywhere.
	cmd = program(t, u, lineVar+"=echo up")
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 99 || !strings.Contains(string(out), `add the line "nobody:`) {
		t.Errorf("without a line: %s", out)
	}
	// The limit is one per user namespace, so only the inner session sees it.
	cmd = program(t, u)
	cmd.Env = append(cmd.Env, lineVar+"="+fmt.Sprintf("echo 0 > /proc/sys/user/max_user_namespaces; %s=session-user %s; echo $?", roleVar, cmd.Path))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "sysctl -w user.max_user_namespaces=") || !strings.HasSuffix(string(out), "99\n") {
		t.Errorf("forbidden: %v, %s", err, out)
	}
}

// TestContainerRoot is root without CAP_SYS_ADMIN, as in a container.
func TestContainerRoot(t *testing.T) {
	tree := busyboxTree(t)
	need(t, "setpriv")
	for dir, want := range map[string]string{"": "done 0 0\n", tree: "done 0 0\n"} {
		cmd := program(t, nil, treeVar+"="+dir,
			lineVar+"=echo $_CONTAINERS_USERNS_CONFIGURED $_CONTAINERS_ROOTLESS_UID $_CONTAINERS_ROOTLESS_GID; mount -t tmpfs x /mnt && touch /tmp/$$ && chown 77:65534 /tmp/$$ && rm /tmp/$$ && mount | grep -q /mnt")
		setpriv, err := exec.LookPath("setpriv")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Args = append([]string{"setpriv", "--bounding-set=-sys_admin", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = setpriv
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("in %q: %v\n%s", dir, err, out)
		}
	}
}

// TestMaskedProc has a /proc that is partly covered, as containers have: a user
// namespace may not mount a new one then.
func TestMaskedProc(t *testing.T) {
	tree := busyboxTree(t)
	cmd := program(t, nil)
	inner := fmt.Sprintf("%s=session-user %s=%s %s='echo $$ >/dev/null; echo x > /dev/stdout; cat /proc/self/comm; exit 6' %s; echo $?", roleVar, treeVar, tree, lineVar, cmd.Path)
	cmd.Env = append(cmd.Env, lineVar+"=mount --bind /dev/null /proc/version && "+inner)
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "x\ncat\n6\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSessionInTree runs a program with a session of its own in a tree, within
// a session.
func TestSessionInTree(t *testing.T) {
	tree := busyboxTree(t)
	for name, as := range people(t) {
		cmd := program(t, as, treeVar+"="+tree)
		copyFile(t, cmd.Path, filepath.Join(tree, "usr/bin/program"))
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s=session %s= %s='echo $PPID >/dev/null; exit 8' /usr/bin/program; echo $?", lineVar, roleVar, treeVar, lineVar))
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "8\n" {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestOutsideMounts(t *testing.T) {
	need(t)
	dir, host := openDir(t), openDir(t)
	for _, d := range []string{"t/cache/inner", "t/ro", "t/tmp", "t/over/hidden", "t/a b"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	top := filepath.Join(dir, "t")
	mount := func(source, target, fstype string, flags uintptr) {
		t.Helper()
		at := filepath.Join(top, target)
		if err := unix.Mount(source, at, fstype, flags, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		})
	}
	mount(host, "cache", "", unix.MS_BIND)
	mount(host, "ro", "", unix.MS_BIND)
	if err := unix.Mount("", filepath.Join(top, "ro"), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	mount("tmpfs", "tmp", "tmpfs", 0)
	mount(host, "a b", "", unix.MS_BIND)
	mount(host, "over/hidden", "", unix.MS_BIND)
	mount("tmpfs", "over", "tmpfs", 0)
	got, err := OutsideMounts(top)
	if err != nil {
		t.Fatal(err)
	}
	var at unix.Statfs_t
	if err := unix.Statfs(host, &at); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i].Source == host {
			got[i].FSType = "host's"
		}
	}
	want := []MountInfo{
		{"a b", host, "host's", false}, {"cache", host, "host's", false}, {"over", "", "tmpfs", false},
		{"ro", host, "host's", true}, {"tmp", "", "tmpfs", false},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, err := OutsideMounts(host); err != nil || len(got) != 0 {
		t.Errorf("of a folder without: %v, %v", got, err)
	}
	if _, err := OutsideMounts(host + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no folder: %v", err)
	}
}
