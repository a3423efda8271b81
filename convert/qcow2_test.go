package convert_test

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/lithify/lithify/convert"
)

// need stops a test that lacks a tool: skipped on a laptop, failed in CI.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", tool)
		}
		t.Skipf("%s is missing", tool)
	}
}

// run gives the output of a program that must succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// pattern makes a disk of stretches that are holes, zeros, repeating, or
// random bytes, of lengths from one byte to 300 KiB.
func pattern(t testing.TB, size int64, seed uint64) string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < size; {
		p := make([]byte, min(size-off, 1+r.Int64N(int64(1)<<(1+r.IntN(19)))))
		kind := r.IntN(4)
		for i := range p {
			switch kind {
			case 2:
				p[i] = byte(i*i>>7 + i)
			case 3:
				p[i] = byte(r.Uint32())
			}
		}
		if kind != 0 {
			if _, err := f.WriteAt(p, off); err != nil {
				t.Fatal(err)
			}
		}
		off += int64(len(p))
	}
	return path
}

// source opens a disk for the length of a test.
func source(t testing.TB, path string) convert.Source {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	src, err := convert.FileSource(f)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// qcow2 converts a disk and lets QEMU check the result and compare it.
func qcow2(t testing.TB, disk string, o convert.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := convert.Qcow2(context.Background(), f, source(t, disk), o); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "qemu-img", "check", "-f", "qcow2", path)
	run(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", path, disk)
	return path
}

func TestQcow2(t *testing.T) {
	need(t, "qemu-img")
	modes := map[string]convert.Options{
		"zstd":  {Compress: true},
		"zlib":  {Compress: true, Format: convert.FormatOptions{Compression: convert.Zlib}},
		"plain": {},
	}
	for mode, o := range modes {
		for _, cluster := range []int{512, 4096, 0, 2 << 20} {
			for i, size := range []int64{0, 1, 511, 65536, 1<<20 + 1, 9<<20 + 12345} {
				o.Format.ClusterSize = cluster
				qcow2(t, pattern(t, size, uint64(i)), o)
			}
			t.Log(mode, cluster)
		}
	}
}
