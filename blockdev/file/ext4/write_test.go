package ext4_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/blockdevtest"
	"github.com/lithify/lithify/blockdev/file/ext4"
)

// fixed is what equal images need: a time and ids.
func fixed(o ext4.Options) ext4.Options {
	at := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC)
	o.Time = &at
	copy(o.UUID[:], "\x01\x23\x45\x67\x89\xab\x4d\xef\x81\x23\x45\x67\x89\xab\xcd\xef")
	copy(o.HashSeed[:], "\xf1\x23\x45\x67\x89\xab\x4d\xef\x81\x23\x45\x67\x89\xab\xcd\xe0")
	return o
}

// write makes an image file of a tree and has e2fsck judge it.
func write(t testing.TB, tree string, o ext4.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := writeTo(t, path, tree, o); err != nil {
		t.Fatal(err)
	}
	check(t, path)
	return path
}

func writeTo(t testing.TB, path, tree string, o ext4.Options) error {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(o.Offset + o.Size)
	}
	if err != nil {
		t.Fatal(err)
	}
	return errors.Join(ext4.Write(t.Context(), f, tree, o), f.Close())
}

// check fails unless e2fsck finds nothing at all.
func check(t testing.TB, path string) {
	t.Helper()
	blockdevtest.Need(t, "e2fsck")
	out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "Fix?") || strings.Contains(string(out), "WARNING") {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	blockdevtest.Need(t, name)
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestNasty(t *testing.T) {
	blockdevtest.NeedRoot(t)
	tree := t.TempDir()
	blockdevtest.NastyTree(t, tree)
	write(t, tree, fixed(ext4.Options{Size: 64 << 20}))
}
