package md_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lithify/lithify/blockdev/guest"
	"github.com/lithify/lithify/blockdev/md"
)

// assembled are the arrays that the kernel gets, by their names.
func assembled() []md.Array {
	var all []md.Array
	add := func(name string, level, n int, change ...func(*md.Array)) {
		number := len(all)
		change = append(change, func(a *md.Array) {
			a.Name, a.UUID = name, fmt.Sprintf("6cdc7b69:3a1f0c2e:95d4b8a7:%08x", number)
			size := md.MemberSize(level, n, 12<<20, *a) + int64(number)*5<<10
			for i := range a.Members {
				a.Members[i] = size / 512 * 512
				a.MemberIDs[i] = fmt.Sprintf("00112233-4455-6677-%04x-%012x", number, i)
			}
			if number%2 == 0 {
				a.HomeHost = "web"
			}
		})
		all = append(all, array(level, n, 0, change...))
	}
	metadata10 := func(a *md.Array) { a.Metadata = "1.0" }
	bitmap := func(a *md.Array) { a.Bitmap = true }
	resync := func(a *md.Array) { a.NeedsResync = true }
	k64 := chunk(64 << 10)

	add("r0a", 0, 2)
	add("r0b", 0, 3, metadata10, k64)
	add("r0c", 0, 3, func(a *md.Array) { a.AllowUnequal = true })
	add("r1a", 1, 2)
	add("r1b", 1, 3, metadata10, bitmap)
	add("r1c", 1, 2, bitmap, resync)
	add("r5a", 5, 3)
	add("r5b", 5, 4, k64, bitmap)
	add("r5c", 5, 5, metadata10, k64)
	add("r5d", 5, 3, metadata10, bitmap, resync)
	add("r10a", 10, 4)
	add("r10b", 10, 3, k64, bitmap)
	add("r10c", 10, 4, k64, layout("f2"), bitmap)
	add("r10d", 10, 3, metadata10, layout("f2"))
	add("r10e", 10, 4, layout("o2"), metadata10, bitmap)
	add("r10f", 10, 3, k64, layout("o2"))
	add("r10g", 10, 3, k64, layout("n3"), resync)
	all[2].Members[1] += 3 << 20 // r0c
	return all
}

// TestAssemble puts an ext4 into each array, and lets Debian's kernel assemble
// them: it must find every file, copies and parity right, and be able to lose a
// member and take it back. What it wrote meanwhile is read by the package. And
// mdadm --create on the same members must choose the same places for everything.
func TestAssemble(t *testing.T) {
	guest.Need(t, "mdadm", "mke2fs", "e2fsck", "debugfs", "sfdisk")
	kernel := guest.Kernel(t)
	arrays := assembled()
	disks := newDisks(t, arrays)
	tree := filepath.Join(t.TempDir(), "tree")
	sums := filepath.Join(t.TempDir(), "sums")
	if err := os.WriteFile(sums, []byte(plant(t, tree)), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, a := range arrays {
		fill(t, a, disks.members(t, arrays, i), tree)
	}
	ran := kernel.Run(t, guest.Guest{
		Modules: []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "raid0", "raid1", "raid10", "raid456"},
		Tools:   []string{"mdadm"}, Files: map[string]string{"/sums": sums},
		Disks: disks.names, Script: assembleScript(t, arrays), Limit: 25 * time.Minute,
	})
	if ran.Status != 0 || testing.Verbose() {
		t.Logf("the guest says:\n%s", ran.Output)
	}
	if ran.Status != 0 {
		t.Fatalf("the guest's script ended with %d", ran.Status)
	}
	for i, a := range arrays {
		if !strings.Contains(ran.Output, "\ngood "+a.Name+"\n") {
			t.Errorf("%s: the guest does not say it is good", describe(a))
		}
		if !strings.Contains(ran.Output, "\nsame "+a.Name+"\n") && !a.AllowUnequal {
			t.Errorf("%s: the guest does not say that mdadm makes the same", describe(a))
		}
		readBack(t, a, disks.members(t, arrays, i))
	}
}

// disks are raw images; partition i+1 of disk k is member k of array i.
type disks struct {
	names  []string
	files  []*os.File
	starts []int64 // of the partitions, bytes
}

func newDisks(t *testing.T, arrays []md.Array) disks {
	t.Helper()
	d := disks{}
	number, at := 0, int64(1<<20)
	for _, a := range arrays {
		number = max(number, len(a.Members))
		d.starts = append(d.starts, at)
		at += (slices.Max(a.Members) + 2<<20 - 1) >> 20 << 20
	}
	for k := range number {
		f, err := os.Create(filepath.Join(t.TempDir(), fmt.Sprint("disk", k)))
		if err == nil {
			err = f.Truncate(at + 1<<20)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		d.names, d.files = append(d.names, f.Name()), append(d.files, f)
		script := "label: gpt\n"
		for i, a := range arrays {
			size := a.Members[min(k, len(a.Members)-1)]
			script += fmt.Sprintf("start=%d, size=%d, type=A19D880F-05FC-4D3B-A006-743F0F84911E\n", d.starts[i]/512, size/512)
		}
		cmd := exec.Command("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", f.Name())
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sfdisk: %v\n%s", err, out)
		}
	}
	return d
}

func (d disks) members(t *testing.T, arrays []md.Array, i int) []md.Device {
	t.Helper()
	var all []md.Device
	for k, size := range arrays[i].Members {
		all = append(all, window{d.files[k], d.starts[i], size})
	}
	return all
}

// window is a partition.
type window struct {
	f           *os.File
	start, size int64
}

func (w window) ReadAt(p []byte, off int64) (int, error) {
	return io.NewSectionReader(w.f, w.start, w.size).ReadAt(p, off)
}

func (w window) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > w.size {
		return 0, fmt.Errorf("%d bytes at %d are not in a member of %d", len(p), off, w.size)
	}
	return w.f.WriteAt(p, w.start+off)
}

// plant makes a tree and gives the sha256sum of all its files.
func plant(t *testing.T, tree string) string {
	t.Helper()
	r := rand.New(rand.NewPCG(8, 8))
	for i := range 24 {
		data := make([]byte, r.IntN(1<<(1+r.IntN(20))))
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		file := filepath.Join(tree, fmt.Sprint("folder", i%5), fmt.Sprint("file", i))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var sums strings.Builder
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		inside, _ := filepath.Rel(tree, path) // path is below tree
		fmt.Fprintf(&sums, "%x  ./%s\n", sha256.Sum256(data), inside)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums.String()
}

// fill makes a file system with the tree and a file "array", and writes it through
// the Volume in pieces.
func fill(t *testing.T, a md.Array, members []md.Device, tree string) {
	t.Helper()
	size, err := a.Size()
	if err != nil {
		t.Fatal(err)
	}
	if a.NeedsResync {
		size /= 2 // what is not written differs, and must be found and mended
	}
	image := filepath.Join(t.TempDir(), "ext4")
	name := filepath.Join(t.TempDir(), "name")
	if err := os.WriteFile(name, []byte(a.Name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "mke2fs", "-q", "-t", "ext4", "-d", tree, image, fmt.Sprint(size>>10, "k"))
	run(t, "debugfs", "-w", "-R", "write "+name+" array", image)
	contents, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	if a.NeedsResync {
		dirty(t, a, members)
	}
	if err := a.WriteSuperblocks(members); err != nil {
		t.Fatal(err)
	}
	v := open(t, a, members)
	pieces(t, rand.New(rand.NewPCG(9, uint64(len(a.Name)))), v, contents)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}

// dirty fills members with what no two of them share.
func dirty(t *testing.T, a md.Array, members []md.Device) {
	t.Helper()
	r := rand.NewChaCha8([32]byte{1})
	for i, m := range members {
		p := make([]byte, a.Members[i])
		r.Read(p) // never fails
		if _, err := m.WriteAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// readBack reads, by the package, what the guest wrote while a member was out.
func readBack(t *testing.T, a md.Array, members []md.Device) {
	t.Helper()
	v := open(t, a, members)
	contents := make([]byte, v.Size())
	if _, err := v.ReadAt(contents, 0); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "ext4")
	if err := os.WriteFile(image, bytes.TrimRight(contents, "\x00"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, v.Size()); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-fn", image)
	if got := run(t, "debugfs", "-R", "cat later", image); a.Level != 0 && !strings.HasSuffix(got, "\nwritten without a member\n") {
		t.Errorf("%s: what the guest wrote reads %q", describe(a), got)
	}
}
