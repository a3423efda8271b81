package luks

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

// memory is a device of a fixed size; like a file's, its bytes may be written side
// by side where they are apart.
type memory []byte

func (m memory) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(b, m[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m memory) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > int64(len(m)) {
		return 0, syscall.ENOSPC
	}
	return copy(m[off:], b), nil
}

func TestWritesAsToBytes(t *testing.T) {
	for _, unit := range []int{512, 4096} {
		const offset, size = 8192, 3*chunk + 5*4096
		dev := make(memory, offset+size)
		v := newVolume(dev, bytes.Repeat([]byte{3}, 64), extent{offset: offset, size: size, sector: unit})
		plain := make([]byte, size)
		if _, err := v.ReadAt(plain, 0); err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, uint64(unit)))
		for range 400 {
			off := random.IntN(size)
			length := random.IntN([]int{1, 40, 5000, size}[random.IntN(4)] + 1)
			if random.IntN(3) == 0 {
				off, length = off/unit*unit, length/unit*unit
			}
			b := make([]byte, min(length, size-off))
			if random.IntN(2) == 0 {
				if n, err := v.ReadAt(b, int64(off)); n != len(b) || err != nil || !bytes.Equal(b, plain[off:off+n]) {
					t.Fatalf("sectors of %d: %d bytes at %d read as others: %d, %v", unit, len(b), off, n, err)
				}
				continue
			}
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			before := bytes.Clone(b)
			if n, err := v.WriteAt(b, int64(off)); n != len(b) || err != nil {
				t.Fatalf("sectors of %d: writing %d bytes at %d: %d, %v", unit, len(b), off, n, err)
			}
			if !bytes.Equal(b, before) {
				t.Fatal("WriteAt changed what it was given")
			}
			copy(plain[off:], b)
		}
		got := make([]byte, size)
		if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("sectors of %d: other content in the end, %v", unit, err)
		}
		if !bytes.Equal(dev[:offset], make([]byte, offset)) {
			t.Error("written before the payload")
		}
	}
}

// TestWritesSideBySide: writers of pieces that share sectors keep each other's bytes.
func TestWritesSideBySide(t *testing.T) {
	const size, piece = 1 << 20, 1000
	dev := make(memory, size)
	v := newVolume(dev, bytes.Repeat([]byte{3}, 64), extent{size: size, sector: 4096})
	plain := make([]byte, size)
	rand.NewChaCha8([32]byte{2}).Read(plain)
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for at := w * piece; at < size; at += 8 * piece {
				if _, err := v.WriteAt(plain[at:min(at+piece, size)], int64(at)); err != nil {
					t.Error(err)
				}
				v.ReadAt(make([]byte, 3*piece), int64(at))
			}
		})
	}
	group.Wait()
	got := make([]byte, size)
	if _, err := v.ReadAt(got, 0); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("bytes were lost, %v", err)
	}
}

func TestEdges(t *testing.T) {
	const size = 8192
	v := newVolume(make(memory, size), make([]byte, 64), extent{size: size, sector: 4096})
	if n, err := v.WriteAt(make([]byte, 2), size-1); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("over the end: %d, %v", n, err)
	}
	if n, err := v.WriteAt(nil, size); n != 0 || err != nil {
		t.Errorf("nothing at the end: %d, %v", n, err)
	}
	if n, err := v.WriteAt(make([]byte, 1), 1<<63-1); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("far over the end: %d, %v", n, err)
	}
	if n, err := v.ReadAt(make([]byte, 10), size-4); n != 4 || err != io.EOF {
		t.Errorf("reading over the end: %d, %v", n, err)
	}
	if n, err := v.ReadAt(make([]byte, 10), size); n != 0 || err != io.EOF {
		t.Errorf("reading at the end: %d, %v", n, err)
	}
	for _, f := range []func([]byte, int64) (int, error){v.ReadAt, v.WriteAt} {
		if n, err := f(make([]byte, 1), -1); n != 0 || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("before the start: %d, %v", n, err)
		}
	}
	keys := []xexKey{v.xts.data, v.xts.tweak}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	for _, k := range keys {
		if got := fmt.Sprintf("%+v", k); got != fmt.Sprintf("%+v", emptied(k)) {
			t.Errorf("a key after Close: %s", got)
		}
	}
	for _, length := range []int{1, 4096} {
		for _, f := range []func([]byte, int64) (int, error){v.ReadAt, v.WriteAt} {
			if n, err := f(make([]byte, length), 0); n != 0 || !errors.Is(err, os.ErrClosed) {
				t.Errorf("after Close: %d, %v", n, err)
			}
		}
	}
	if err := v.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("another Close: %v", err)
	}
}

// failing is a device that gives an error from one byte on.
type failing struct {
	memory
	from int64
}

var errBroken = errors.New("broken")

func (f failing) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.from {
		return 0, errBroken
	}
	return f.memory.WriteAt(b, off)
}

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.from {
		return 0, errBroken
	}
	return f.memory.ReadAt(b, off)
}

// TestBrokenDevice: what is said to be done before an error is done.
func TestBrokenDevice(t *testing.T) {
	const size = 8 * chunk
	dev := failing{make(memory, size), 5*chunk - 1}
	v := newVolume(dev, make([]byte, 64), extent{size: size, sector: 512})
	plain := make([]byte, size)
	rand.NewChaCha8([32]byte{2}).Read(plain)
	n, err := v.WriteAt(plain[100:], 100)
	if !errors.Is(err, errBroken) || n != 4*chunk-100 {
		t.Errorf("writing: %d, %v", n, err)
	}
	got := make([]byte, size)
	n, err = v.ReadAt(got, 0)
	if !errors.Is(err, errBroken) || n != 4*chunk || !bytes.Equal(got[100:n], plain[100:n]) {
		t.Errorf("reading: %d, %v", n, err)
	}
	for _, from := range []int64{0, 4096, 40 << 10, 1 << 20} {
		if _, err := Format(failing{make(memory, 17<<20), from}, Options{Size: 17 << 20, PBKDF: quick}, bytesOf([]string{"p"})); !errors.Is(err, errBroken) {
			t.Errorf("formatting where byte %d is broken: %v", from, err)
		}
	}
}

// TestGrowingFile: the payload of a file that is still short can be read and
// written, parts of sectors too.
func TestGrowingFile(t *testing.T) {
	m := onFile(t, 0)
	v, err := Format(m.file, Options{Size: 20 << 20, PBKDF: quick}, bytesOf([]string{"p"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.WriteAt([]byte("text"), 1<<20+5); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := v.ReadAt(got, 1<<20+5); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := v.ReadAt(got, 3<<20); err != nil {
		t.Error(err)
	}
}

// BenchmarkWrite compares writes of a MiB through a volume with plain ones.
func BenchmarkWrite(b *testing.B) {
	file, err := os.Create(b.TempDir() + "/image")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	const size = 256 << 20
	volume := newVolume(file, bytes.Repeat([]byte{3}, 64), extent{size: size, sector: 4096})
	buf := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{2}).Read(buf)
	for _, d := range []struct {
		name string
		Device
	}{{"plain", file}, {"luks", volume}} {
		b.Run(d.name, func(b *testing.B) {
			b.SetBytes(int64(len(buf)))
			for i := range b.N {
				if _, err := d.WriteAt(buf, int64(i)*int64(len(buf))%size); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	runtime.KeepAlive(volume)
}
