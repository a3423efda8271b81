package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"golang.org/x/sys/unix"
)

// TestTinyTooSmall: an image size that the content does not fit.
func TestTinyTooSmall(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	for _, backend := range []string{"loop", "file"} {
		w.fails(exitTooSmall, w.create("web", "raw,tar", "--image-size", "11MiB", "--backend", backend), "larger --image-size")
		w.noOutput("web.raw", "web.tar")
	}
}

func (w *tiny) noOutput(names ...string) {
	w.t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(w.path(name)); err == nil {
			w.t.Errorf("%s is there", name)
		}
	}
}

// TestTinyFullDisk has no space in turn where work files, outputs and layers go.
func TestTinyFullDisk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, size string
		place      func(*tiny) *string
		args       []string
		code       int
		says       string
	}{
		{"work files", "3m", func(w *tiny) *string { return &w.tmp }, []string{"--no-tmpfs", "--backend", "loop"}, exitNoSpace, "no space left on device"},
		{"work files, by files", "3m", func(w *tiny) *string { return &w.tmp }, []string{"--no-tmpfs", "--backend", "file"}, exitNoSpace, "no space left on device"},
		{"outputs", "5m", func(w *tiny) *string { return &w.out }, nil, exitNoSpace, "no space left on device"},
		{"layers", "5m", func(w *tiny) *string { return &w.store }, nil, 1, "  | cp: error copying"}, // the hook's own code
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newTiny(t, nil)
			at := *c.place(w)
			smallDisk(t, at, c.size)
			w.fails(c.code, w.create("web", "raw,tar", c.args...), c.says, "free some space there")
			w.noOutput("web.raw", "web.tar")
			must(t, unix.Mount("", at, "", unix.MS_REMOUNT, "size=200m"))
			w.build("web", "raw,tar", c.args...)
		})
	}
}

// smallDisk mounts a small file system at a folder until the test ends.
func smallDisk(t *testing.T, at, size string) {
	t.Helper()
	must(t, unix.Mount("lithify-e2e", at, "tmpfs", 0, "mode=0755,size="+size))
	t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
}

// TestTinyNoSubIDs: the line that is missing is given as it has to be.
func TestTinyNoSubIDs(t *testing.T) {
	t.Parallel()
	nobody, err := user.Lookup("nobody") // has no subordinate ids, here or anywhere
	must(t, err)
	w := newTiny(t, nobody)
	for try := 0; ; try++ {
		before := nextSubID(t)
		r := w.runCommand(w.create("web", "raw"))
		line := fmt.Sprintf("nobody:%d:65536", before)
		if r.code == exitUserIDs && strings.Contains(r.stderr, "/etc/subuid") && strings.Contains(r.stderr, line) {
			break
		}
		if before == nextSubID(t) || try == 5 { // else another test added a user meanwhile
			t.Fatalf("want exit code %d and the line %q: %v", exitUserIDs, line, r)
		}
	}
	w.nothingLeft()
	w.noOutput("web.raw")
}

func nextSubID(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/etc/subuid")
	must(t, err)
	return freeSubIDs(string(text))
}

// TestTinyMissingTool: which program is missing, and which package has it.
func TestTinyMissingTool(t *testing.T) {
	t.Parallel()
	blockdevtest.Need(t, "unshare")
	w := newTiny(t, nil)
	for _, c := range []struct{ tool, formats, packages, backend string }{
		{"mke2fs", "raw", "e2fsprogs", "loop"}, {"mksquashfs", "tar,squashfs", "squashfs-tools", "auto"},
	} {
		blockdevtest.Need(t, c.tool)
		path, err := exec.LookPath(c.tool)
		must(t, err)
		cmd := w.create("web", c.formats, "--backend", c.backend)
		// A file that cannot be run lies over the program, for this build alone.
		covered := w.command("")
		covered.Path, covered.Args = "/usr/bin/unshare", append([]string{"unshare", "-m", "sh", "-c",
			`mount --bind /dev/null "$0" && exec "$@"`, path, cmd.Path}, cmd.Args[1:]...)
		w.fails(exitTool, covered, c.tool, "apt-get install --no-install-recommends -y "+c.packages)
		w.noOutput("web.raw", "web.tar", "web.squash")
	}
}

// TestTinyPoorPath: an ordinary user's PATH has no sbin folders; `su` leaves
// root without them, too.
func TestTinyPoorPath(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	bin := filepath.Join(w.dir, "bin")
	must(t, os.Mkdir(bin, 0o755))
	must(t, os.Symlink("/bin/bash", filepath.Join(bin, "bash")))
	for _, backend := range []string{"loop", "file"} {
		w.with("PATH="+bin).build(backend, "raw", "--backend", backend)
	}
}

// TestTinyOutputInTheWay: an output that cannot get its name says so at once or
// leaves all as it was.
func TestTinyOutputInTheWay(t *testing.T) {
	t.Parallel()
	w := newTiny(t, nil)
	must(t, os.Mkdir(w.path("web.tar"), 0o755))
	w.fails(exitFailed, w.create("web", "tar"), "web.tar", "a folder of that name is in the way")
	must(t, os.Remove(w.path("web.tar")))
	w.build("web", "tar").wantHooks(t, 0)
}
