package ramdisk

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev/blockdevtest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command runs a foreign program in dir with stdin, and gives its output.
func command(t *testing.T, dir string, stdin []byte, args ...string) string {
	t.Helper()
	blockdevtest.Need(t, args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, &said)
	}
	return out.String()
}

func written(t *testing.T, a *Archive, o Options) []byte {
	t.Helper()
	var out bytes.Buffer
	must(t, a.Write(context.Background(), &out, o))
	return out.Bytes()
}

// oddTree has what trees of ramdisks have, and what is easily lost.
func oddTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"b/deep", "a", "empty"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "a/file"), []byte("of five"), 0o640))
	must(t, os.WriteFile(filepath.Join(dir, "a/nothing"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "b/deep/a name \" *"), bytes.Repeat([]byte("x"), 70_001), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "b/deep/a name \" *"), 0o755|fs.ModeSetuid))
	must(t, os.Chmod(filepath.Join(dir, "empty"), 0o777|fs.ModeSticky))
	must(t, os.Link(filepath.Join(dir, "a/file"), filepath.Join(dir, "b/other")))
	must(t, os.Link(filepath.Join(dir, "a/file"), filepath.Join(dir, "b/deep/third")))
	must(t, os.Symlink("../nowhere", filepath.Join(dir, "a/dangling")))
	must(t, unix.Mkfifo(filepath.Join(dir, "a/fifo"), 0o622))
	must(t, os.Chmod(filepath.Join(dir, "a/fifo"), 0o622))
	return dir
}

// TestArchiveByCpio lets cpio list and unpack an archive.
func TestArchiveByCpio(t *testing.T) {
	blockdevtest.NeedRoot(t)
	blockdevtest.Need(t, "cpio", "diff")
	dir := oddTree(t)
	must(t, os.Lchown(filepath.Join(dir, "a/file"), 12, 34))
	a, err := ReadTree(dir)
	must(t, err)
	a.Devices()
	packed := written(t, a, Options{Time: time.Unix(1_000_000_000, 0)})
	list := command(t, "", packed, "cpio", "--list", "--verbose", "--numeric-uid-gid", "--quiet")
	for _, line := range []string{
		"crw-------   1 0        0          5,   1 Sep  9  2001 dev/console", "crw-rw-rw-   1 0        0          1,   3 Sep  9  2001 dev/null",
		"-rw-r-----   3 12       34              7 Sep  9  2001 b/other", "drwxrwxrwt   2 0        0               0 Sep  9  2001 empty",
		"lrwxrwxrwx   1 0        0              10 Sep  9  2001 a/dangling -> ../nowhere", "prw--w--w-   1 0        0               0 Sep  9  2001 a/fifo",
		"-rwsr-xr-x   1 0        0           70001 Sep  9  2001 b/deep/a name \" *",
	} {
		if !strings.Contains(strings.Join(strings.Fields(list), " "), strings.Join(strings.Fields(line), " ")) {
			t.Errorf("cpio does not list %q:\n%s", line, list)
		}
	}
	out := t.TempDir()
	command(t, out, packed, "cpio", "--extract", "--make-directories", "--preserve-modification-time", "--quiet")
	must(t, os.RemoveAll(filepath.Join(out, "dev")))
	command(t, "", nil, "diff", "--recursive", "--no-dereference", "--exclude=fifo", dir, out)
	var one, other, third unix.Stat_t
	must(t, unix.Stat(filepath.Join(out, "a/file"), &one))
	must(t, unix.Stat(filepath.Join(out, "b/other"), &other))
	must(t, unix.Stat(filepath.Join(out, "b/deep/third"), &third))
	if one.Ino != other.Ino || one.Ino != third.Ino || one.Uid != 12 || one.Gid != 34 || one.Mtim.Sec != 1_000_000_000 {
		t.Errorf("names of one file became %+v, %+v, %+v", one, other, third)
	}
}

// TestArchiveRepeats: a copy of the tree, with other inodes and times, gives the
// same bytes; so does what Extract laid out.
func TestArchiveRepeats(t *testing.T) {
	dir := oddTree(t)
	a, err := ReadTree(dir)
	must(t, err)
	want := written(t, a, Options{})
	again := filepath.Join(t.TempDir(), "copy")
	command(t, "", nil, "cp", "-a", dir, again)
	must(t, os.Chtimes(filepath.Join(again, "a/file"), time.Now(), time.Now()))
	b, err := ReadTree(again)
	must(t, err)
	if !bytes.Equal(want, written(t, b, Options{})) {
		t.Error("a copy gives another archive")
	}
	if bytes.Equal(want, written(t, b, Options{Time: time.Unix(5, 0)})) {
		t.Error("the time does not count")
	}
}

func TestExtract(t *testing.T) {
	dir := t.TempDir()
	a := NewArchive()
	a.Data("etc/x", 0o600, []byte("text"))
	a.Data("sbin2/run", 0o755|fs.ModeSetuid, []byte("#!/bin/sh\n"))
	a.Dir("closed", 0o500)
	a.Data("closed/in", 0o644, nil)
	a.Link("bin", "usr/bin")
	want := written(t, a, Options{})
	a.Devices() // which Extract leaves out, but for their folder
	must(t, a.Extract(context.Background(), dir))
	must(t, os.Remove(filepath.Join(dir, "dev")))
	b, err := ReadTree(dir)
	must(t, err)
	if os.Geteuid() == 0 && !bytes.Equal(want, written(t, b, Options{})) {
		t.Errorf("laid out and read again: %q", b.Names())
	}
}

// TestArchiveShrinks: a file that loses bytes while it is read is an error, never a
// broken archive; so is an end of the context.
func TestArchiveShrinks(t *testing.T) {
	dir := oddTree(t)
	a, err := ReadTree(dir)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "b/other"), []byte("no"), 0o644))
	if err := a.Write(context.Background(), &bytes.Buffer{}, Options{}); err == nil || !strings.Contains(err.Error(), "had 7 when it was looked at") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	cancel(cause)
	if err := a.Write(ctx, &bytes.Buffer{}, Options{}); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	a.entries["large"] = &entry{mode: unix.S_IFREG, file: "/dev/null", size: 4 << 30}
	if err := a.Write(context.Background(), &bytes.Buffer{}, Options{}); err == nil {
		t.Error("a file of 4 GiB was written")
	}
}
