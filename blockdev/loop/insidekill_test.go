package loop_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

// childDies says after how many deeds the child is killed; 0: never.
const childDies, childState = "LITHIFY_TEST_DIES", "LITHIFY_TEST_STATE"

// volumeChild makes a disk with volumes and commits it, unless it is killed.
func volumeChild(tree, work string) error {
	ctx := context.Background()
	dies, err := strconv.Atoi(os.Getenv(childDies))
	if err != nil {
		return err
	}
	deeds := 0
	o := loop.WithDeed(loop.Options{WorkDir: work, StateDir: os.Getenv(childState), Secrets: secret}, func() {
		if deeds++; deeds == dies {
			fmt.Println("now")
			_, _ = os.Stdin.Read(make([]byte, 1)) // whose end is this process's
		}
	})
	g, p, err := blockdevtest.Plan(ctx, quickLayout, "kill", tree)
	if err != nil {
		return err
	}
	d, err := loop.New(o).Create(ctx, g, p, blockdev.Tree{Dir: tree})
	if err != nil {
		return err
	}
	if err := d.Commit(ctx); err != nil {
		return err
	}
	fmt.Println("deeds", deeds)
	return nil
}

// insideKill kills a build before and after everything that it does to the
// kernel. The next one removes all of it, and nothing of a group, an array and
// mappings of others that have the same names.
func insideKill(t *testing.T) {
	others := foreignVolumes(t)
	tree := quickTree(t)
	k := killer{tree: tree, others: others}
	out := k.child(t, 0, 0)
	var deeds int
	if _, err := fmt.Sscanf(out, "deeds %d", &deeds); err != nil || deeds < 15 {
		t.Fatalf("the child says %q: %v", out, err)
	}
	step := 1
	if !everything() {
		step = deeds/3 - 1
	}
	for n := step; n <= deeds; n += step {
		t.Run(fmt.Sprintf("after %d of %d", n, deeds), func(t *testing.T) { k.kill(t, n) })
	}
	others.check(t)
}

type killer struct {
	tree   string
	others *foreigners
}

// child runs the child, in the namespaces of a build or in none, and gives what it
// said.
func (k killer) child(t *testing.T, dies int, namespaces uintptr) string {
	t.Helper()
	// A process 1 cannot kill itself.
	work := t.TempDir()
	t.Setenv(childState, filepath.Join(t.TempDir(), "state"))
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childTree+"="+k.tree, childWork+"="+work, childDies+"="+strconv.Itoa(dies))
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces}
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said string
	var failed bytes.Buffer
	c.Stderr = &failed
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		said += lines.Text() + "\n"
		if lines.Text() == "now" {
			if err := c.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	err = c.Wait()
	if killed := c.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL; dies == 0 && err != nil || dies > 0 && !killed {
		t.Errorf("the child: %v: %s", err, failed.String())
	}
	_ = stdin.Close() // its reader is gone
	return said
}

func (k killer) kill(t *testing.T, n int) {
	namespaces := uintptr(0)
	if n%2 == 0 {
		namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID
	}
	k.child(t, n, namespaces)
	state := os.Getenv(childState)
	// Tools that the dead one started may still work; they hold its lock.
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if err := loop.Sweep(t.Context(), state); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(state)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("journals are left: %v", left)
		}
	}
	if now := kernelState(t); now != k.others.state {
		t.Errorf("there is\n%s\nothers have\n%s", now, k.others.state)
	}
	if nodes, _ := filepath.Glob("/dev/md[0-9][0-9][0-9][0-9]*"); len(nodes) > 0 { // the pattern is right
		t.Errorf("nodes are left: %v", nodes)
	}
	for _, dir := range []string{"/dev", "/dev/mapper", "/dev/md"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.Contains(e.Name(), "lithify") {
				t.Errorf("%s/%s is left", dir, e.Name())
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), "/dev/mapper/lithify") {
		t.Errorf("mounts are left:\n%s", mounts)
	}
}

// foreigners are volumes of others, of the names that the disk will have.
type foreigners struct {
	dir, state string
}

func foreignVolumes(t *testing.T) *foreigners {
	t.Helper()
	a := &assembly{t: t, devices: map[string]string{}}
	dir := t.TempDir()
	t.Cleanup(a.end)
	for _, name := range []string{"pv", "md0", "md1"} {
		image := filepath.Join(dir, name)
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 24<<20); err != nil {
			t.Fatal(err)
		}
		a.loop(name, image, 0, 24<<20)
	}
	foreign(t, nil, "lvm", "vgcreate", "-q", "vg", a.devices["pv"])
	foreign(t, nil, "lvm", "lvcreate", "-q", "-y", "-n", "root", "-l", "2", "vg")
	a.later("lvm", "vgchange", "-q", "-an", "vg")
	foreign(t, nil, "mdadm", "-q", "--create", "/dev/md/mirror", "--run", "--level=1", "--raid-devices=2", "--name=mirror", "--assume-clean", a.devices["md0"], a.devices["md1"])
	real, err := filepath.EvalSymlinks("/dev/md/mirror")
	if err != nil {
		t.Fatal(err)
	}
	a.later("mdadm", "-q", "--stop", real)
	foreign(t, nil, "dmsetup", "create", "crypt", "--table", "0 16 linear "+real+" 0")
	a.later("dmsetup", "remove", "--retry", "crypt")
	foreign(t, nil, "mke2fs", "-q", "/dev/mapper/vg-root")
	f := &foreigners{dir: t.TempDir()}
	if err := unix.Mount("/dev/mapper/vg-root", f.dir, "ext2", 0, ""); err != nil {
		t.Fatal(err)
	}
	a.undo = append(a.undo, func() {
		if err := unix.Unmount(f.dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(f.dir, "file"), []byte("foreign"), 0o644); err != nil {
		t.Fatal(err)
	}
	f.state = kernelState(t)
	return f
}

// check: they are as they were.
func (f *foreigners) check(t *testing.T) {
	t.Helper()
	if now := kernelState(t); now != f.state {
		t.Errorf("there is\n%s\nbefore there was\n%s", now, f.state)
	}
	if text := readText(t, f.dir, "file"); text != "foreign" {
		t.Errorf("the foreign file holds %q", text)
	}
	if out := foreign(t, nil, "lvm", "vgck", "vg"); strings.TrimSpace(out) != "" {
		t.Errorf("vgck says %s", out)
	}
}
