package lvm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// pieces has volumes in several segments, linear and striped.
func pieces() Group {
	return group(mib, []int64{10 * mib, 31 * mib, 16*mib + 512, 13 * mib},
		Logical{Name: "small", Size: 3 * mib},
		Logical{Name: "striped", Size: 40 * mib, Stripes: 2, StripeSize: 16384},
		Logical{Name: "linear-one", Size: 23 * mib})
}

// fileSystem makes an ext4 image of some size with random files, and returns
// its path and one file's content.
func fileSystem(t *testing.T, size int64) (string, []byte) {
	t.Helper()
	r := rand.NewChaCha8([32]byte{byte(size >> 20)})
	dir := t.TempDir()
	content := make([]byte, size/2)
	r.Read(content)
	path := filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", dir, path, fmt.Sprintf("%dk", size>>10)).CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	return path, content
}

// fill writes files into volumes, in pieces of odd sizes and several at once.
func fill(t *testing.T, v Volume, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(data)) > v.Size() {
		t.Fatalf("%d bytes for a volume of %d", len(data), v.Size())
	}
	var all sync.WaitGroup
	const step = 777777
	for off := 0; off < len(data); off += step {
		all.Add(1)
		go func() {
			defer all.Done()
			p := data[off:min(off+step, len(data))]
			if n, err := v.WriteAt(p, int64(off)); n != len(p) || err != nil {
				t.Errorf("WriteAt(%d bytes, %d): %d, %v", len(p), off, n, err)
			}
		}()
	}
	all.Wait()
}

func volume(t testing.TB, l *Layout, name string, pvs []Device) Volume {
	t.Helper()
	v, err := l.Volume(name, pvs)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestFileSystem reads back what was written through Volume at the places that
// LVM's report names.
func TestFileSystem(t *testing.T) {
	need(t, true, "lvm", "mke2fs", "e2fsck")
	t.Parallel()
	g := pieces()
	l, files, devices := written(t, g)
	images := map[string]string{}
	for _, lv := range g.Logical[1:] {
		if n := len(l.Segments(lv.Name)); n < 2 {
			t.Fatalf("%s has %d segments", lv.Name, n)
		}
		images[lv.Name], _ = fileSystem(t, lv.Size)
		fill(t, volume(t, l, lv.Name, devices), images[lv.Name])
	}
	h := newHost(t, loops(t, files))
	h.clean("vg")
	for name, image := range images {
		path := assemble(t, h, name)
		if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
			t.Errorf("%s: e2fsck: %v\n%s", name, err, out)
		}
		if out, err := exec.Command("cmp", path, image).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", name, out)
		}
		same(t, volume(t, l, name, devices), image)
	}
}

// assemble copies a volume out of its physical volumes, by LVM's report.
func assemble(t *testing.T, h host, name string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	said := h.run("lvs", "--noheadings", "--nosuffix", "--units", "b", "--separator", "|", "--sort", "seg_start_pe", "-o", "vg_extent_size,stripe_size,seg_pe_ranges", "vg/"+name)
	for _, row := range strings.Split(said, "\n") {
		f := strings.Split(row, "|")
		extent, stripe := number(t, f[0]), number(t, f[1])
		var areas []io.Reader
		var all int64
		for _, r := range strings.Fields(f[2]) { // /dev/loop1:5-9
			device, span, _ := strings.Cut(r, ":")
			first, last, _ := strings.Cut(span, "-")
			start := number(t, h.run("pvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "pe_start", device))
			d, err := os.Open(device)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			size := (number(t, last) - number(t, first) + 1) * extent
			areas = append(areas, io.NewSectionReader(d, start+number(t, first)*extent, size))
			all += size
		}
		if stripe == 0 {
			stripe = all
		}
		for i := int64(0); i*stripe < all; i++ {
			if _, err := io.CopyN(out, areas[i%int64(len(areas))], stripe); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out.Name()
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// same compares a volume, read in odd pieces, with a file.
func same(t *testing.T, v Volume, path string) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, io.NewSectionReader(v, 0, v.Size()), make([]byte, 99991)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s: read back otherwise than written", v.name)
	}
}

// TestGRUB lets GRUB, which reads LVM by code of its own, find a file.
func TestGRUB(t *testing.T) {
	need(t, false, "grub-fstest", "mke2fs")
	t.Parallel()
	g := pieces()
	l, files, devices := written(t, g)
	for _, lv := range g.Logical[1:] {
		image, content := fileSystem(t, lv.Size)
		fill(t, volume(t, l, lv.Name, devices), image)
		args := []string{"-c", strconv.Itoa(len(files))}
		for _, f := range files {
			args = append(args, f.Name())
		}
		out, err := exec.Command("grub-fstest", append(args, "cat", "(lvm/"+MapperName("vg", lv.Name)+")/file")...).Output()
		if err != nil || !bytes.Equal(out, content) {
			t.Errorf("%s: grub-fstest gives %d bytes of %d: %v", lv.Name, len(out), len(content), err)
		}
	}
}

func TestVolumeEnds(t *testing.T) {
	g := pieces()
	l := layout(t, g)
	_, devices := disks(t, g)
	v := volume(t, l, "striped", devices)
	buf := make([]byte, 100)
	for _, c := range []struct {
		off  int64
		n    int
		want error
	}{{v.Size() - 100, 100, nil}, {v.Size() - 99, 99, io.EOF}, {v.Size(), 0, io.EOF}, {v.Size() + 5, 0, io.EOF}, {1 << 62, 0, io.EOF}} {
		if n, err := v.ReadAt(buf, c.off); n != c.n || err != c.want {
			t.Errorf("ReadAt(100, %d): %d, %v, want %d, %v", c.off, n, err, c.n, c.want)
		}
	}
	if n, err := v.ReadAt(buf, -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("ReadAt(100, -1): %d, %v", n, err)
	}
	for _, off := range []int64{-1, v.Size() - 99, v.Size(), 1 << 62} {
		if n, err := v.WriteAt(buf, off); n != 0 || err == nil {
			t.Errorf("WriteAt(100, %d): %d, %v", off, n, err)
		}
	}
	if n, err := v.WriteAt(nil, v.Size()); n != 0 || err != nil {
		t.Errorf("WriteAt(nothing, at the end): %d, %v", n, err)
	}
	if err := iotest.TestReader(io.NewSectionReader(v, v.Size()-5000, 5000), make([]byte, 5000)); err != nil {
		t.Error(err)
	}
	if _, err := l.Volume("stripe", devices); err == nil || err.Error() != `volume group "vg" has no logical volume "stripe"; it has small, striped, linear-one` {
		t.Errorf("unknown name: %v", err)
	}
	if _, err := l.Volume("striped", devices[1:]); err == nil || !strings.Contains(err.Error(), "has 4 physical volumes; 3 devices were given") {
		t.Errorf("a device too few: %v", err)
	}
	if err := l.WriteMetadata(devices[1:]); err == nil {
		t.Error("WriteMetadata takes a device too few")
	}
}

var errBroken = errors.New("broken")

// broken is a device that fails from an offset on.
type broken struct{ from int64 }

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if n := b.from - off; n < int64(len(p)) {
		return int(max(0, n)), errBroken
	}
	return len(p), nil
}

func (b broken) WriteAt(p []byte, off int64) (int, error) { return b.ReadAt(p, off) }

func TestBrokenDevice(t *testing.T) {
	g := group(mib, []int64{3 * mib, 3 * mib}, Logical{Name: "root", Size: 4 * mib})
	l := layout(t, g)
	pvs := []Device{disk(t, 3*mib), broken{mib + 5000}}
	v := volume(t, l, "root", pvs)
	for name, do := range map[string]func([]byte, int64) (int, error){"reading": v.ReadAt, "writing": v.WriteAt} {
		n, err := do(make([]byte, 3*mib), 0)
		want := fmt.Sprintf(`%s logical volume "root" at %d: physical volume "pv1" at %d: broken`, name, 2*mib+5000, mib+5000)
		if n != 2*mib+5000 || !errors.Is(err, errBroken) || err.Error() != want {
			t.Errorf("%d, %v\nwant %s", n, err, want)
		}
	}
	short := volume(t, l, "root", []Device{pvs[0], disk(t, mib+7)})
	if n, err := short.ReadAt(make([]byte, 100), 2*mib); n != 7 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a device that is too short: %d, %v", n, err)
	}
	pvs[1] = broken{0}
	if err := l.WriteMetadata(pvs); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), `"pv1"`) {
		t.Errorf("WriteMetadata: %v", err)
	}
}
