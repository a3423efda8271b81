package convert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/convert"
)

// format gives a format by name.
func format(t testing.TB, name string) convert.Format {
	t.Helper()
	f, err := convert.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// image writes a disk as a format.
func image(t testing.TB, name, disk string, o convert.Options) string {
	t.Helper()
	dst := create(t)
	if _, err := dst.WriteString(strings.Repeat("what was there before", 100)); err != nil {
		t.Fatal(err)
	}
	if err := convert.Disk(context.Background(), format(t, name), dst, source(t, disk), o); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return dst.Name()
}

// virtualSize is what QEMU says of an image's disk, in bytes.
func virtualSize(t testing.TB, qemu, path string) int64 {
	t.Helper()
	var info struct {
		Size int64 `json:"virtual-size"`
	}
	if err := json.Unmarshal([]byte(run(t, "qemu-img", "info", "-f", qemu, "--output=json", path)), &info); err != nil {
		t.Fatal(err)
	}
	return info.Size
}

// blockFormats are the formats that QEMU judges in the same way.
var blockFormats = []struct {
	name, qemu string
	unit       int64 // the virtual size is a multiple of that
	checks     bool  // qemu-img check knows it
	writes     bool  // QEMU can write to it
	huge       int64 // the largest disk that QEMU compares in a second or two; 0: none
	options    string
}{
	{"vhd", "vpc", 512, false, true, 2040 << 30, ""},
	{"vhd-fixed", "vpc", 1 << 20, false, true, 2040 << 30, ""},
	{"vhdx", "vhdx", 512, true, true, 0, ""},
	{"vdi", "vdi", 512, true, true, 256 << 30, ""},
	{"vmdk", "vmdk", 512, true, false, 30 << 30, "subformat=streamOptimized"},
}

// TestBlockFormats lets QEMU check and compare disks of awkward sizes.
func TestBlockFormats(t *testing.T) {
	need(t, "qemu-img", "cmp")
	when := time.Unix(1e9, 0)
	for i, size := range []int64{1, 511, 65536, 1<<20 + 1, 9<<20 + 12345, 37<<20 + 512} {
		disk := pattern(t, size, uint64(i))
		for _, f := range blockFormats {
			o := convert.Options{Time: when}
			var err error
			if o.Format, err = convert.ParseOptions(f.name, f.options); err != nil {
				t.Fatal(err)
			}
			path := image(t, f.name, disk, o)
			if f.checks {
				run(t, "qemu-img", "check", "-f", f.qemu, path)
			}
			run(t, "qemu-img", "compare", "-f", f.qemu, "-F", "raw", path, disk)
			if want, got := (size+f.unit-1)/f.unit*f.unit, virtualSize(t, f.qemu, path); want != got {
				t.Errorf("%s of %d bytes: QEMU says %d, want %d", f.name, size, got, want)
			}
			o.Workers = 1
			run(t, "cmp", path, image(t, f.name, disk, o))
		}
	}
}

// sparse makes a disk with data at 97 places.
func sparse(t testing.TB, size int64) string {
	t.Helper()
	f := create(t)
	if err := f.Truncate(size); err != nil {
		t.Logf("no file of %d bytes here, a smaller one must do: %v", size, err)
		return sparse(t, size/8)
	}
	for off := int64(0); off < size-4096; off += size / 97 {
		if _, err := f.WriteAt([]byte("data"), off/512*512); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// TestBlockFormatsHuge: time and room go with the data, not with the size.
func TestBlockFormatsHuge(t *testing.T) {
	need(t, "qemu-img")
	for _, f := range blockFormats {
		if f.huge == 0 {
			continue
		}
		disk := sparse(t, f.huge)
		path := image(t, f.name, disk, convert.Options{})
		run(t, "qemu-img", "compare", "-f", f.qemu, "-F", "raw", path, disk)
		if n := blocks(t, path); n > 60<<11 {
			t.Errorf("%s takes %d blocks of 512 bytes", f.name, n)
		}
		if got, want := virtualSize(t, f.qemu, path), source(t, disk).Size; got != want {
			t.Errorf("%s: QEMU says %d, want %d", f.name, got, want)
		}
	}
}

func TestBlockFormatsTooLarge(t *testing.T) {
	for name, c := range map[string]struct {
		size int64
		want string
	}{
		"vhd":       {2040 << 30, "too large for VHD; allowed: up to 2190433320960 (2040 GiB)"},
		"vhd-fixed": {2040 << 30, "too large for VHD; allowed: up to 2190433320960 (2040 GiB)"},
		"vhdx":      {64 << 40, "too large for VHDX; allowed: up to 70368744177664 (64 TiB)"},
		"vdi":       {512 << 40, "too large for VDI; allowed: up to "},
		"vmdk":      {62 << 40, "too large for VMDK; allowed: up to 68169720922112 (62 TiB)"},
	} {
		src := convert.Source{Reader: strings.NewReader(""), Size: c.size + 1}
		err := convert.Disk(context.Background(), format(t, name), create(t), src, convert.Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestBlockFormatsWritable: a guest writes where nothing was.
func TestBlockFormatsWritable(t *testing.T) {
	need(t, "qemu-img", "qemu-io")
	disk := pattern(t, 12<<20, 5)
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(40 << 20); err != nil {
		t.Fatal(err)
	}
	for _, f := range blockFormats {
		if !f.writes {
			continue
		}
		path := image(t, f.name, disk, convert.Options{})
		run(t, "qemu-io", "-f", f.qemu, "-c", "write -P 7 11M 10M", "-c", "write -P 8 30000000 512", path)
		run(t, "qemu-io", "-f", f.qemu, "-c", "read -P 7 11M 10M", "-c", "read -P 8 30000000 512", "-c", "read -P 0 31M 9M", path)
		if f.checks {
			run(t, "qemu-img", "check", "-f", f.qemu, path)
		}
	}
}

// TestBlockFormatsIdentity: an image's identity repeats with the disk, differs
// between disks, and may be given.
func TestBlockFormatsIdentity(t *testing.T) {
	need(t, "qemu-img")
	a, b := pattern(t, 1<<20, 1), pattern(t, 1<<20, 2)
	id := [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	when := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	read := func(disk string, o convert.Options) []byte {
		data, err := os.ReadFile(image(t, "vhd", disk, o))
		if err != nil {
			t.Fatal(err)
		}
		return data[:512]
	}
	fa, fb := read(a, convert.Options{Time: when}), read(b, convert.Options{Time: when})
	if bytes.Equal(fa[68:84], fb[68:84]) {
		t.Error("two disks have one identity")
	}
	if !bytes.Equal(fa[:64], fb[:64]) {
		t.Error("more than the identity differs")
	}
	if got := read(a, convert.Options{ID: id}); !bytes.Equal(got[68:84], id[:]) {
		t.Errorf("got %x", got[68:84])
	}
}

// TestBlockFormatsInterrupted finds an error and nothing that QEMU opens.
func TestBlockFormatsInterrupted(t *testing.T) {
	need(t, "qemu-img")
	disk := pattern(t, 40<<20, 9)
	for _, f := range blockFormats {
		ctx, cancel := context.WithCancel(context.Background())
		dst := create(t)
		o := convert.Options{Progress: func(done, total int64) {
			if done > total/2 {
				cancel()
			}
		}}
		if err := convert.Disk(ctx, format(t, f.name), dst, source(t, disk), o); err == nil {
			t.Errorf("%s: no error", f.name)
		}
		if exec.Command("qemu-img", "info", "-f", f.qemu, dst.Name()).Run() == nil {
			t.Errorf("%s: half an image passes for one", f.name)
		}
		cancel()
	}
}

// TestVHDXLargeBlocks has a disk so large that blocks of 2 MiB would be too
// many. QEMU takes minutes to compare it, so it reads where data is.
func TestVHDXLargeBlocks(t *testing.T) {
	need(t, "qemu-img", "qemu-io")
	const size = 5 << 40
	path := image(t, "vhdx", sparse(t, size), convert.Options{})
	if info := run(t, "qemu-img", "info", path); !strings.Contains(info, "cluster_size: 8388608") {
		t.Errorf("QEMU says\n%s", info)
	}
	run(t, "qemu-img", "check", path)
	for _, i := range []int64{0, 1, 50, 96} {
		out := run(t, "qemu-io", "-f", "vhdx", "-r", "-c", fmt.Sprintf("read -v %d 512", i*(size/97)/512*512), path)
		if !strings.Contains(out, "64 61 74 61") {
			t.Errorf("no data at piece %d: %s", i, out)
		}
	}
}
