package loop_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/loop"
)

const childTree, childWork = "LITHIFY_TEST_TREE", "LITHIFY_TEST_WORK"

// TestMain runs the child of TestKill when it is told so.
func TestMain(m *testing.M) {
	if os.Getenv(childTree) == "" {
		os.Exit(m.Run())
	}
	run := child
	if os.Getenv(childDies) != "" {
		run = volumeChild
	}
	if err := run(os.Getenv(childTree), os.Getenv(childWork)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child makes a disk in namespaces of its own, says so, and waits for its end.
func child(tree, work string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	g, p, err := blockdevtest.Plan(ctx, everyKind, "kill", tree)
	if err != nil {
		return err
	}
	fmt.Println("start")
	d, err := loop.New(loop.Options{WorkDir: work}).Create(ctx, g, p, blockdev.Tree{Dir: tree})
	if err != nil {
		return err
	}
	// A daemon that holds a file of the disk must not keep it.
	if err := os.WriteFile(filepath.Join(d.Dir(), "held"), []byte("x"), 0o600); err != nil {
		return err
	}
	held, err := os.Open(filepath.Join(d.Dir(), "held"))
	if err != nil {
		return err
	}
	defer held.Close()
	fmt.Println("ready")
	<-ctx.Done()
	return d.Close()
}

// TestKill kills the process 1 of a build's namespaces at several moments: no
// loop device, no mount is left.
func TestKill(t *testing.T) {
	blockdevtest.NeedRoot(t)
	if err := loop.Available(); err != nil {
		blockdevtest.Missing(t, err.Error())
	}
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	for _, after := range []string{"start", "start+20", "start+60", "start+150", "ready"} {
		t.Run(after, func(t *testing.T) { kill(t, tree, after) })
	}
}

func kill(t *testing.T, tree, after string) {
	work := t.TempDir()
	word, wait, _ := strings.Cut(after, "+")
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childTree+"="+tree, childWork+"="+work)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != word {
	}
	if lines.Text() != word {
		t.Errorf("the child never said %q", word)
	}
	if wait != "" {
		d, err := time.ParseDuration(wait + "ms")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(d)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // it was killed
	blockdevtest.Detached(t, work)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), work) {
		t.Errorf("a mount is left below %s", work)
	}
}
