package convert_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/guest"
	"github.com/lithify/lithify/convert"
)

// TestMain gives the tests a mount namespace.
func TestMain(m *testing.M) {
	guest.OwnMounts()
	os.Exit(m.Run())
}

// mounted has the kernel mount an image, in this thread's mount namespace, and
// gives a path that leads there from anywhere.
func mounted(t testing.TB, image string) string {
	t.Helper()
	private(t)
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "squashfs", "-o", "loop,ro", image, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("mounting: %v\n%s", err, out)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return threadPath(dir)
}

// TestSquashfs has the kernel mount the image, and compares it with the tree.
func TestSquashfs(t *testing.T) {
	need(t, "mksquashfs", "mount", "setcap", "setfattr", "setfacl")
	needRoot(t)
	root := tree(t)
	var log strings.Builder
	var last int64
	o := convert.TreeOptions{Logger: slog.New(slog.NewTextHandler(&log, nil)), Time: time.Unix(1.5e9, 0),
		Progress: func(done, total int64) {
			if done < last || done > total {
				t.Errorf("progress goes from %d to %d of %d", last, done, total)
			}
			last = done
		}}
	image := archive(t, "squashfs", root, o)
	if last == 0 {
		t.Error("no progress was told")
	}
	if !strings.Contains(log.String(), "squashfs cannot hold ACLs") {
		t.Errorf("no word of the ACLs: %s", log.String())
	}
	run(t, "cmp", image, archive(t, "squashfs", root, convert.TreeOptions{Time: o.Time, Workers: 1}))
	dir := mounted(t, image)
	// What the format cannot hold: ACLs, parts of seconds, times before 1970.
	differences, err := blockdevtest.CompareTrees(root, dir, blockdevtest.CompareOptions{
		Ignore: []string{"/lost+found", "/empty"}, Seconds: true,
		IgnoreXattrs: []string{"system.posix_acl_access", "system.posix_acl_default"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		// Later times became o.Time.
		if d.What == "mtime" && d.B == "1500000000" && d.A > d.B {
			continue
		}
		t.Errorf("%s", d)
	}
}

func TestSquashfsLeavesHostOut(t *testing.T) {
	need(t, "mksquashfs", "unsquashfs")
	root := hostMounts(t)
	for _, name := range []string{"we[i]rd*", `back\slash`} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	image := archive(t, "squashfs", root, convert.TreeOptions{Exclude: []string{"we*", "back*"}})
	var names []string
	for _, name := range strings.Fields(run(t, "unsquashfs", "-no-progress", "-lc", image)) {
		names = append(names, strings.Replace(name, "squashfs-root", ".", 1))
	}
	want := strings.Fields(strings.ReplaceAll(hostMountsKept, "/\n", "\n"))
	// Folders that are not empty are not listed.
	var leaves []string
	for i, name := range want {
		if i+1 == len(want) || !strings.HasPrefix(want[i+1], name+"/") {
			leaves = append(leaves, name)
		}
	}
	if got := strings.Join(names, " "); got != strings.Join(leaves, " ") {
		t.Errorf("got %s, want %s", got, leaves)
	}
}

func TestSquashfsErrors(t *testing.T) {
	need(t, "mksquashfs")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := convert.Squashfs(ctx, create(t), t.TempDir(), convert.TreeOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	err = convert.Squashfs(context.Background(), full, t.TempDir(), convert.TreeOptions{})
	if err == nil || !strings.HasPrefix(err.Error(), "making the squashfs image: mksquashfs: exit status 1: ") {
		t.Errorf("got %v", err)
	}
	t.Setenv("PATH", "/nonexistent")
	err = convert.Squashfs(context.Background(), create(t), t.TempDir(), convert.TreeOptions{})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "package squashfs-tools") {
		t.Errorf("got %v", err)
	}
}
