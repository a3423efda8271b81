package convert_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
			compareWithQemu(b, disk, o, c.qemu)
		})
	}
}

// spent is the time that something took, and the size of what it made.
type spent struct {
	wall, cpu time.Duration
	size      int64
}

func compareWithQemu(b *testing.B, disk string, o convert.Options, args string) {
	var ours, theirs spent
	dir := b.TempDir()
	for range b.N {
		ours.add(measure(b, filepath.Join(dir, "ours"), func(path string) time.Duration {
			before := cpuTime(syscall.RUSAGE_SELF)
			f, err := os.Create(path)
			if err != nil {
				b.Fatal(err)
			}
			if err := convert.Qcow2(context.Background(), f, source(b, disk), o); err != nil {
				b.Fatal(err)
			}
			f.Close()
			return cpuTime(syscall.RUSAGE_SELF) - before
		}))
		theirs.add(measure(b, filepath.Join(dir, "theirs"), func(path string) time.Duration {
			cmd := exec.Command("qemu-img", strings.Fields("convert -f raw -O qcow2 "+args+" "+disk+" "+path)...)
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%s: %v", out, err)
			}
			return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ours.wall.Seconds()/float64(b.N), "s-wall")
	b.ReportMetric(theirs.wall.Seconds()/float64(b.N), "s-wall-qemu")
	b.ReportMetric(float64(ours.wall)/float64(theirs.wall), "wall-ratio")
	b.ReportMetric(float64(ours.cpu)/float64(theirs.cpu), "cpu-ratio")
	b.ReportMetric(float64(ours.size)/float64(theirs.size), "size-ratio")
	b.Log(fmt.Sprintf("%d and %d bytes", ours.size/int64(b.N), theirs.size/int64(b.N)))
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
