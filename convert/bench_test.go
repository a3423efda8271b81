package convert_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lithify/lithify/convert"
)

// benchDisk is the disk at LITHIFY_BENCH_DISK, or an ext4 file system with the
// host's programs and libraries.
func benchDisk(b *testing.B) string {
	if path := os.Getenv("LITHIFY_BENCH_DISK"); path != "" {
		return path
	}
	need(b, "mke2fs", "cp")
	dir := b.TempDir()
	run(b, "sh", "-ec", `mkdir "$0/tree"; cp -a /usr/bin /usr/lib/x86_64-linux-gnu "$0/tree"
		size=$(du -sm "$0/tree" | cut -f1)
		mke2fs -q -t ext4 -d "$0/tree" "$0/disk.raw" $((size * 5 / 3 + 64))M; rm -r "$0/tree"`, dir)
	return filepath.Join(dir, "disk.raw")
}

// BenchmarkQcow2 converts one disk in turn by this package and by qemu-img, and
// reports the ratios of wall time, processor time and size. It decides nothing.
//
//	go test ./convert -run '^$' -bench Qcow2 -benchtime 3x
func BenchmarkQcow2(b *testing.B) {
	need(b, "qemu-img")
	disk := benchDisk(b)
	for _, c := range []struct{ name, options, qemu string }{
		{"zstd", "", "-c -m 16 -W -o compression_type=zstd"},
		{"zstd-2M", "cluster_size=2M", "-c -m 16 -W -o compression_type=zstd,cluster_size=2M"},
		{"zlib", "compression_type=zlib", "-c -m 16 -W"},
		{"zlib-plain", "compression_type=zlib", "-c"},
		{"zstd-to-plain-zlib", "", "-c"},
		{"uncompressed", "", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			format, err := convert.ParseOptions("qcow2", c.options)
			if err != nil {
				b.Fatal(err)
			}
			o := convert.Options{Compress: c.qemu != "", Format: format}
			compareWithQemu(b, disk, "qcow2", o, "-O qcow2 "+c.qemu)
		})
	}
}

// BenchmarkFormats is the same for the other disk formats.
func BenchmarkFormats(b *testing.B) {
	need(b, "qemu-img")
	disk := benchDisk(b)
	for _, c := range []struct{ name, qemu string }{
		{"raw", "-O raw"},
		{"vhd", "-O vpc -o force_size"},
		{"vhd-fixed", "-O vpc -o subformat=fixed,force_size"},
		{"vhdx", "-O vhdx"},
		{"vdi", "-O vdi"},
		{"vmdk", "-O vmdk -o subformat=streamOptimized"},
	} {
		b.Run(c.name, func(b *testing.B) {
			compareWithQemu(b, disk, c.name, convert.Options{}, c.qemu)
		})
	}
}

// spent is the time that something took, and the size of what it made.
type spent struct {
	wall, cpu time.Duration
	size      int64
}

func compareWithQemu(b *testing.B, disk, name string, o convert.Options, args string) {
	var ours, theirs spent
	dir := b.TempDir()
	for range b.N {
		ours.add(measure(b, filepath.Join(dir, "ours"), func(path string) time.Duration {
			before := cpuTime(syscall.RUSAGE_SELF)
			writeImage(b, path, disk, name, o)
			return cpuTime(syscall.RUSAGE_SELF) - before
		}))
		theirs.add(measure(b, filepath.Join(dir, "theirs"), func(path string) time.Duration {
			return runTimed(b, "qemu-img", strings.Fields("convert -f raw "+args+" "+disk+" "+path)...)
		}))
	}
	report(b, ours, theirs, "qemu")
}

func writeImage(b *testing.B, path, disk, name string, o convert.Options) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := convert.Disk(context.Background(), format(b, name), f, source(b, disk), o); err != nil {
		b.Fatal(err)
	}
	f.Close()
}

// runTimed gives the processor time of a program that must succeed.
func runTimed(b *testing.B, name string, args ...string) time.Duration {
	cmd := exec.Command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v", out, err)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func report(b *testing.B, ours, theirs spent, peer string) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours.wall.Seconds()/float64(b.N), "s-wall")
	b.ReportMetric(theirs.wall.Seconds()/float64(b.N), "s-wall-"+peer)
	b.ReportMetric(float64(ours.wall)/float64(theirs.wall), "wall-ratio")
	b.ReportMetric(float64(ours.cpu)/float64(theirs.cpu), "cpu-ratio")
	b.ReportMetric(float64(ours.size)/float64(theirs.size), "size-ratio")
	b.Log(fmt.Sprintf("%d and %d bytes", ours.size/int64(b.N), theirs.size/int64(b.N)))
}

// BenchmarkTgz compares with gzip -9 over the same archive. Ours also reads
// the tree.
func BenchmarkTgz(b *testing.B) {
	need(b, "gzip")
	root := os.Getenv("LITHIFY_BENCH_TREE")
	if root == "" {
		root = "/usr/bin"
	}
	dir := b.TempDir()
	plain := archive(b, "tar", root, convert.TreeOptions{})
	var ours, theirs spent
	for range b.N {
		ours.add(measure(b, filepath.Join(dir, "ours"), func(path string) time.Duration {
			before := cpuTime(syscall.RUSAGE_SELF)
			f, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := convert.Tree(context.Background(), format(b, "tgz"), f, root, convert.TreeOptions{}); err != nil {
				b.Fatal(err)
			}
			return cpuTime(syscall.RUSAGE_SELF) - before
		}))
		theirs.add(measure(b, filepath.Join(dir, "theirs"), func(path string) time.Duration {
			return runTimed(b, "sh", "-c", `gzip -9 <"$0" >"$1"`, plain, path)
		}))
	}
	report(b, ours, theirs, "gzip")
}

// BenchmarkTogether writes five formats at once, and the slowest of them alone.
func BenchmarkTogether(b *testing.B) {
	disk, dir := benchDisk(b), b.TempDir()
	var all, alone time.Duration
	for range b.N {
		all += together(b, dir, disk, "raw", "qcow2", "vhd", "vhd-fixed", "vdi")
		alone += together(b, dir, disk, "qcow2")
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(all.Seconds()/float64(b.N), "s-wall")
	b.ReportMetric(alone.Seconds()/float64(b.N), "s-wall-qcow2")
	b.ReportMetric(float64(all)/float64(alone), "wall-ratio")
}

func together(b *testing.B, dir, disk string, names ...string) time.Duration {
	start := time.Now()
	var wait sync.WaitGroup
	for _, name := range names {
		wait.Go(func() { writeImage(b, filepath.Join(dir, name), disk, name, convert.Options{Compress: true}) })
	}
	wait.Wait()
	took := time.Since(start)
	for _, name := range names {
		os.Remove(filepath.Join(dir, name))
	}
	return took
}

func (s *spent) add(more spent) {
	s.wall += more.wall
	s.cpu += more.cpu
	s.size += more.size
}

// measure calls f for a new file, which it removes afterwards.
func measure(b *testing.B, path string, f func(string) time.Duration) spent {
	start := time.Now()
	s := spent{cpu: f(path)}
	s.wall = time.Since(start)
	st, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	s.size = st.Size()
	if err := os.Remove(path); err != nil {
		b.Fatal(err)
	}
	return s
}

func cpuTime(who int) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
