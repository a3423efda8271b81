package compare_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lithify/lithify/blockdev/compare"
	"github.com/lithify/lithify/blockdev/guest"
)

func TestMain(m *testing.M) {
	os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	guest.OwnMounts()
	os.Exit(m.Run())
}

// need skips without a tool, and fails in CI.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool+" is missing")
		}
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "not root")
	}
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// run starts a foreign tool, with something to read.
func run(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	need(t, name)
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC", "MTOOLSRC=/dev/null", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// empty makes a sparse file.
func empty(t testing.TB, size int64) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "image")
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// twin copies a file.
func twin(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "twin")
	run(t, "", "cp", "--sparse=always", path, to)
	return to
}

// putTree makes files of a folder: a path to its content, with a slash at the end
// a folder.
func putTree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, data := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o755)
		} else if err == nil {
			err = os.WriteFile(path, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// flip changes one byte of a file.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	b[0] ^= 0x40
	_, werr := f.WriteAt(b, at)
	if err := errors.Join(err, werr, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func compared(t testing.TB, a, b string, o compare.Options) *compare.Report {
	t.Helper()
	o.TempDir = t.TempDir()
	r, err := compare.Images(t.Context(), a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t testing.TB, r *compare.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// expect compares two images, and fails unless each of the lines is in the report;
// none at all means that they are equal. Nothing else may differ: there are as
// many differences as lines that do not begin with "note: ".
func expect(t testing.TB, a, b string, o compare.Options, lines ...string) {
	t.Helper()
	r := compared(t, a, b, o)
	got := text(t, r)
	if r.Equal != (len(lines) == 0) {
		t.Errorf("equal: %v", r.Equal)
	}
	differences, wanted := 0, 0
	for _, s := range r.Sections {
		differences += len(s.Differences) + s.More
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "note: ") && line[0] != ' ' {
			wanted++
		}
		if !strings.Contains(got, "  "+line) {
			t.Errorf("no line %q", line)
		}
	}
	if differences != wanted {
		t.Errorf("%d differences, want %d", differences, wanted)
	}
	if t.Failed() {
		t.Fatal(got)
	}
}

// pattern is content that differs from block to block.
func pattern(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%07d\n", i)
	}
	return b.String()[:n]
}

// find says where a text is in a file.
func find(t testing.TB, path, what string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index(string(b), what)
	if i < 0 {
		t.Fatalf("no %q in %s", what, path)
	}
	return int64(i)
}
