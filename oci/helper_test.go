package oci

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lithify/lithify/rootfs"
)

// helper starts this test binary as another build, in a mount namespace of its
// own.
func helper(t testing.TB, what, root string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "OCI_TEST_HELPER="+what, "OCI_TEST_ROOT="+root)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd
}

func helperMain(what string) int {
	do := map[string]func(context.Context, *Store) error{
		"hang": helpHang, "claim": helpClaim, "chain": helpChain, "push": helpPush, "save": helpSave, "retain": helpRetain,
	}[what]
	ctx := context.Background()
	s, err := Open(ctx, Options{Root: os.Getenv("OCI_TEST_ROOT")})
	if err == nil {
		err = errors.Join(do(ctx, s), s.Close())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "helper %s: %v\n", what, err)
		return 1
	}
	return 0
}

// make finds or makes one step, as a build does.
func (s *Store) stepFor(ctx context.Context, parent rootfs.Layer, name string, do func(dir string) error) (rootfs.Layer, error) {
	k := key(name)
	for {
		l, _, err := s.Find(ctx, k)
		if !errors.Is(err, rootfs.ErrNotFound) {
			return l, err
		}
		c, err := s.Claim(ctx, k)
		if errors.Is(err, rootfs.ErrMade) {
			continue
		}
		if err != nil {
			return nil, err
		}
		l, err = makeStep(ctx, c, parent, do)
		return l, errors.Join(err, c.Close())
	}
}

func makeStep(ctx context.Context, c rootfs.Claim, parent rootfs.Layer, do func(dir string) error) (rootfs.Layer, error) {
	ct, err := c.Container(ctx, parent)
	if err != nil {
		return nil, err
	}
	defer ct.Close()
	if err := do(ct.Dir()); err != nil {
		return nil, err
	}
	l, err := ct.Finish(ctx)
	if err != nil {
		return nil, err
	}
	return l, c.Seal(ctx, l, rootfs.Record{})
}

func put(name, content string) func(string) error {
	return func(dir string) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
	}
}

// helpHang seals one step, finishes a second, has a third mounted and an image
// half done, says so, and waits to be killed.
func helpHang(ctx context.Context, s *Store) error {
	b, err := s.Base(ctx)
	if err != nil {
		return err
	}
	one, err := s.stepFor(ctx, b, "one", put("a", "1"))
	if err != nil {
		return err
	}
	c, err := s.Claim(ctx, key("two"))
	if err != nil {
		return err
	}
	ct, err := c.Container(ctx, one)
	if err != nil {
		return err
	}
	if err := put("b", "2")(ct.Dir()); err != nil {
		return err
	}
	two, err := ct.Finish(ctx)
	if err != nil {
		return err
	}
	if ct, err = c.Container(ctx, two); err != nil {
		return err
	}
	if err := put("c", "3")(ct.Dir()); err != nil {
		return err
	}
	if _, _, err := s.newBuilder(ctx, "image"); err != nil {
		return err
	}
	fmt.Println("ready")
	time.Sleep(time.Hour)
	return nil
}

func helpClaim(ctx context.Context, s *Store) error {
	b, err := s.Base(ctx)
	if err != nil {
		return err
	}
	_, err = s.stepFor(ctx, b, "shared", func(dir string) error {
		fmt.Println("made")
		time.Sleep(200 * time.Millisecond)
		return put("a", "1")(dir)
	})
	return err
}

// helpChain builds chains that share steps with those of others, and reads each
// to the ground.
func helpChain(ctx context.Context, s *Store) error {
	b, err := s.Base(ctx)
	if err != nil {
		return err
	}
	for range 3 {
		at, path := b, ""
		for n := range 5 {
			path += string(rune('a' + rand.IntN(2)))
			name := fmt.Sprint(n)
			content := path
			if at, err = s.stepFor(ctx, at, path, put(name, content)); err != nil {
				return err
			}
		}
		ct, err := s.Scratch(ctx, at)
		if err != nil {
			return err
		}
		for n := range 5 {
			data, err := os.ReadFile(filepath.Join(ct.Dir(), fmt.Sprint(n)))
			if err != nil || string(data) != path[:n+1] {
				return fmt.Errorf("step %d of %s: %q, %v", n, path, data, err)
			}
		}
		if err := ct.Close(); err != nil {
			return err
		}
	}
	return nil
}

func TestKilledBuildLeavesNothingUnsealed(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	cmd := helper(t, "hang", root)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	// While it lives, another build must leave its unsealed work alone.
	s := openStore(t, root)
	if n := layerCount(t, s); n != 5 { // base, three steps, the builder's
		t.Errorf("%d layers while the build runs, want 5", n)
	}
	must(t, s.Close())
	must(t, cmd.Process.Kill())
	cmd.Wait()
	s = openStore(t, root)
	if n := layerCount(t, s); n != 2 {
		t.Errorf("%d layers after the kill, want 2", n)
	}
	l, _, err := s.Find(t.Context(), key("one"))
	must(t, err)
	if got := readIn(t, s, l, "a"); got != "1" {
		t.Errorf("a = %q", got)
	}
	containers, err := s.st.Containers()
	must(t, err)
	if len(containers) != 0 {
		t.Errorf("containers = %v", containers)
	}
	runs, err := os.ReadDir(filepath.Join(s.dir, "run"))
	must(t, err)
	if len(runs) != 2 { // ours: folder and lock
		t.Errorf("runs = %v", runs)
	}
}

func layerCount(t testing.TB, s *Store) int {
	t.Helper()
	all, err := s.st.Layers()
	must(t, err)
	return len(all)
}

func TestTwoBuildsMakeAStepOnce(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	var outs [4]strings.Builder
	var cmds []*exec.Cmd
	for i := range outs {
		cmd := helper(t, "claim", root)
		cmd.Stdout = &outs[i]
		must(t, cmd.Start())
		cmds = append(cmds, cmd)
	}
	made := 0
	for i, cmd := range cmds {
		must(t, cmd.Wait())
		made += strings.Count(outs[i].String(), "made")
	}
	if made != 1 {
		t.Errorf("the step was made %d times", made)
	}
}

func TestPruneHarmsNoBuild(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	s := openStore(t, root)
	var cmds []*exec.Cmd
	for range 8 {
		cmd := helper(t, "chain", root)
		must(t, cmd.Start())
		cmds = append(cmds, cmd)
	}
	done := make(chan bool)
	go func() {
		for _, cmd := range cmds {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
		close(done)
	}()
	removed, prunes := 0, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(5 * time.Millisecond):
		}
		r, err := s.Prune(t.Context(), PruneOptions{All: true})
		must(t, err)
		removed += r.Layers
		prunes++
	}
	t.Logf("%d prunes removed %d layers", prunes, removed)
	if n := layerCount(t, s); n != 1 {
		t.Errorf("%d layers are left, want the base", n)
	}
	locks, err := filepath.Glob(s.lockPath("*", "*"))
	must(t, err)
	if len(locks) > 4 { // format, base, builders, the base's layer
		t.Errorf("locks are left: %v", locks)
	}
}

// The same tests as root of a user namespace whose ids are those of an ordinary
// user and his subordinate range. (The kernel lets root write such a map without
// the user being in /etc/subuid; inside there is no difference.)
func TestInUserNamespace(t *testing.T) {
	needRoot(t)
	if os.Getenv("OCI_TEST_NS") == "user" {
		t.Skip("inside already")
	}
	const uid = 200000
	dir, err := os.MkdirTemp("", "oci-user")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	self, err := os.Executable()
	must(t, err)
	run(t, "cp", self, dir+"/oci.test")
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Mkdir(dir+"/tmp", 0o700))
	must(t, os.Chown(dir+"/tmp", uid, uid))
	cmd := exec.Command(dir+"/oci.test", "-test.v", "-test.run=Sealed|Fold|Empty|Hard|Image|Killed|Once|PruneHarms|Equal|PushSends|Saved|Travel")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir + "/tmp", "TMPDIR=" + dir + "/tmp",
		"OCI_TEST_NS=user", "CI=" + os.Getenv("CI"), "_CONTAINERS_USERNS_CONFIGURED=done",
		fmt.Sprint("_CONTAINERS_ROOTLESS_UID=", uid), fmt.Sprint("_CONTAINERS_ROOTLESS_GID=", uid)}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids,
		GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{}, Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\nPASS") {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, filepath.WalkDir(dir+"/tmp", func(path string, _ os.DirEntry, err error) error {
		if path != dir+"/tmp" && path != dir+"/tmp/.config" { // the home's own folder
			t.Errorf("%s was left", path)
		}
		return err
	}))
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "--- ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
