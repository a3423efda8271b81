package elements

import (
	"bytes"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"
)

// TestBuiltinIsTheCheckout compares the embedded elements with the folders
// they come from: paths, content, and who may run what.
func TestBuiltinIsTheCheckout(t *testing.T) {
	checkout, built := os.DirFS("."), Builtin().FS
	count := 0
	err := fs.WalkDir(checkout, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case path == "testdata":
			return fs.SkipDir
		case d.IsDir():
			return nil
		case isTopFile(path):
			return nil
		}
		count++
		sameFile(t, checkout, built, path, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := countFiles(t, built); n != count || count == 0 {
		t.Errorf("%d files embedded, %d in the checkout", n, count)
	}
}

func isTopFile(path string) bool { return !bytes.ContainsRune([]byte(path), '/') }

func sameFile(t *testing.T, checkout, built fs.FS, path string, d fs.DirEntry) {
	t.Helper()
	if !d.Type().IsRegular() {
		t.Errorf("%s: %v cannot be embedded", path, d.Type())
		return
	}
	want, err := fs.ReadFile(checkout, path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := fs.ReadFile(built, path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: embedded content differs (%v)", path, err)
		return
	}
	info, err := d.Info()
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := fs.Stat(built, path)
	if err != nil {
		t.Fatal(err)
	}
	// A checkout's group and other bits follow the umask; who owns it decides.
	if info.Mode()&0o100 != embedded.Mode()&0o100 {
		t.Errorf("%s: mode %v in the checkout, %v embedded: a program needs #! and chmod +x, data neither", path, info.Mode(), embedded.Mode())
	}
}

func countFiles(t *testing.T, from fs.FS) int {
	t.Helper()
	n := 0
	err := fs.WalkDir(from, ".", func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBuiltinIsAFileSystem(t *testing.T) {
	if err := fstest.TestFS(Builtin().FS, "base"); err != nil {
		t.Error(err)
	}
	if (Library{Builtin()}).Names() == nil {
		t.Error("no names")
	}
}
