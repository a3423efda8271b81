package convert_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lithify/lithify/convert"
	"golang.org/x/sys/unix"
)

// need stops a test that lacks a tool: skipped on a laptop, failed in CI.
func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool+" is missing")
		}
	}
}

// missing skips the test on a laptop and fails it in CI.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
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
		"v2":    {Compress: true, Format: convert.FormatOptions{Compression: convert.Zlib, Version2: true}},
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

// TestQcow2Dense has clusters that compress to next to nothing, of which very
// many share a host cluster.
func TestQcow2Dense(t *testing.T) {
	need(t, "qemu-img")
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, bytes.Repeat([]byte{0xff}, 48<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cluster := range []int{512, 64 << 10, 2 << 20} {
		for _, kind := range []convert.Compression{convert.Zstd, convert.Zlib} {
			qcow2(t, disk, convert.Options{Compress: true, Format: convert.FormatOptions{ClusterSize: cluster, Compression: kind}})
		}
	}
}

// TestQcow2Deterministic: the number of workers must not show.
func TestQcow2Deterministic(t *testing.T) {
	need(t, "qemu-img", "cmp")
	disk := pattern(t, 30<<20, 7)
	for _, kind := range []convert.Compression{convert.Zstd, convert.Zlib} {
		o := convert.Options{Compress: true, Format: convert.FormatOptions{Compression: kind}, Workers: 1}
		one := qcow2(t, disk, o)
		o.Workers = 7
		run(t, "cmp", one, qcow2(t, disk, o))
	}
}

// TestQcow2Info asks QEMU what it thinks the header says.
func TestQcow2Info(t *testing.T) {
	need(t, "qemu-img")
	disk := pattern(t, 1<<20, 3)
	o := convert.Options{Compress: true, Format: convert.FormatOptions{ClusterSize: 1 << 20, LazyRefcounts: true}}
	info := run(t, "qemu-img", "info", qcow2(t, disk, o))
	for _, want := range []string{"compat: 1.1", "compression type: zstd", "lazy refcounts: true", "refcount bits: 16",
		"corrupt: false", "extended l2: false", "cluster_size: 1048576", "virtual size: 1 MiB (1048576 bytes)"} {
		if !strings.Contains(info, want) {
			t.Errorf("no %q in\n%s", want, info)
		}
	}
	o.Format = convert.FormatOptions{Compression: convert.Zlib}
	if info := run(t, "qemu-img", "info", qcow2(t, disk, o)); !strings.Contains(info, "compression type: zlib") {
		t.Errorf("not zlib:\n%s", info)
	}
	o.Format.Version2 = true
	for _, o.Compress = range []bool{true, false} {
		if info := run(t, "qemu-img", "info", qcow2(t, disk, o)); !strings.Contains(info, "compat: 0.10") {
			t.Errorf("not of version 2:\n%s", info)
		}
	}
	o.Compress, o.Format.Compression = true, convert.Zstd
	if err := convert.Qcow2(context.Background(), create(t), source(t, disk), o); err == nil {
		t.Error("an image of version 2 with zstd")
	}
}

// TestQcow2Writable: a guest must be able to write to the image: QEMU allocates
// by the reference counts that are there.
func TestQcow2Writable(t *testing.T) {
	need(t, "qemu-img", "qemu-io")
	disk := pattern(t, 8<<20, 5)
	for _, cluster := range []int{512, 64 << 10} {
		for _, compress := range []bool{true, false} {
			image := qcow2(t, disk, convert.Options{Compress: compress, Format: convert.FormatOptions{ClusterSize: cluster, Version2: !compress}})
			run(t, "qemu-io", "-c", "write -P 7 12345 3000000", "-c", "write -z 1M 5M", "-c", "discard 6M 1M",
				"-c", "read -P 7 12345 1036231", image)
			run(t, "qemu-img", "check", image)
		}
	}
}

// TestQcow2Huge: time and memory go with the data, not with the size.
func TestQcow2Huge(t *testing.T) {
	need(t, "qemu-img")
	disk := filepath.Join(t.TempDir(), "huge.raw")
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 4 << 40
	if err := f.Truncate(size); err != nil {
		missing(t, "no file of 4 TiB here: "+err.Error())
	}
	for off := int64(0); off < size; off += size / 97 {
		if _, err := f.WriteAt([]byte("data"), off); err != nil {
			t.Fatal(err)
		}
	}
	image := qcow2(t, disk, convert.Options{Compress: true})
	if st, err := os.Stat(image); err != nil || st.Size() > 20<<20 {
		t.Errorf("the image is %d bytes, %v", st.Size(), err)
	}
}

func TestQcow2TooLargeForClusters(t *testing.T) {
	src := convert.Source{Reader: strings.NewReader(""), Size: 128<<30 + 1}
	o := convert.Options{Format: convert.FormatOptions{ClusterSize: 512}}
	err := convert.Qcow2(context.Background(), create(t), src, o)
	if err == nil || !strings.Contains(err.Error(), "QEMU opens at most 137438953472 bytes") {
		t.Errorf("got %v", err)
	}
}

func create(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestInterrupted cancels from within, and finds an error, no image and no
// goroutine.
func TestInterrupted(t *testing.T) {
	need(t, "qemu-img")
	disk := pattern(t, 40<<20, 9)
	writers := map[string]func(context.Context, *os.File, convert.Source, convert.Options) error{
		"raw": convert.Raw,
		"qcow2": func(ctx context.Context, f *os.File, s convert.Source, o convert.Options) error {
			return convert.Qcow2(ctx, f, s, o)
		},
	}
	for name, write := range writers {
		before := runtime.NumGoroutine()
		ctx, cancel := context.WithCancel(context.Background())
		dst := create(t)
		o := convert.Options{Compress: true, Progress: func(done, total int64) {
			if done > total/2 {
				cancel()
			}
		}}
		if err := write(ctx, dst, source(t, disk), o); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", name, err)
		}
		noneLeft(t, before)
		if name == "qcow2" && exec.Command("qemu-img", "info", "-f", "qcow2", dst.Name()).Run() == nil {
			t.Error("half an image passes for one")
		}
		cancel()
	}
}

// TestFullDisk writes to a small file system of its own, which only this
// thread's mount namespace has.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	disk, dir := pattern(t, 20<<20, 11), t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	dst, err := os.Create(filepath.Join(dir, "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	src := source(t, disk)
	if err := convert.Qcow2(context.Background(), dst, src, convert.Options{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("qcow2: got %v", err)
	}
	if err := convert.Raw(context.Background(), dst, src, convert.Options{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("raw: got %v", err)
	} else {
		t.Log(err)
	}
}

// TestShortSource has a source that ends before its size.
func TestShortSource(t *testing.T) {
	src := convert.Source{Reader: strings.NewReader("abc"), Size: 1 << 20}
	err := convert.Qcow2(context.Background(), create(t), src, convert.Options{})
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "at byte 3") {
		t.Errorf("got %v", err)
	}
}

// blocks gives the size on disk in units of 512 bytes.
func blocks(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}
