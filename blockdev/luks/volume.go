package luks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// Volume is an open LUKS volume: what is written through it lies encrypted on its
// device. All methods may be called side by side.
type Volume struct {
	dev Device
	extent
	// mu is held alone by what reads, changes and writes a sector, so that two
	// writes that share one keep each other's bytes, and by Close.
	mu  sync.RWMutex
	xts *xts // nil when closed
}

// extent is where a payload lies on its device and how it is cut, in bytes.
type extent struct {
	offset, size int64
	sector       int
	tweak        uint64 // number of the first sector, 512 bytes each
}

func newVolume(dev Device, key secret, e extent) *Volume {
	return &Volume{dev: dev, extent: e, xts: newXTS(key, e.sector, e.tweak)}
}

// Size of the payload in bytes.
func (v *Volume) Size() int64 { return v.size }

// SectorSize is the unit of encryption in bytes: whole ones are written fastest,
// and a file system's blocks should not be smaller, as the kernel shows it as the
// size of the device's sectors.
func (v *Volume) SectorSize() int { return v.sector }

// Format shows the volume's size, whatever the verb.
func (v *Volume) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "luks.Volume{Size:%d}", v.size) }

// Close wipes the keys; the device stays open. Afterwards reads and writes give
// os.ErrClosed, and so does another Close.
func (v *Volume) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.xts == nil {
		return os.ErrClosed
	}
	v.xts.wipe()
	v.xts = nil
	return nil
}

// chunk is how much is encrypted and written in one go: large enough that a call
// costs nothing, small enough to stay in a processor's cache.
const chunk = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// ReadAt reads as io.ReaderAt says. What was never written reads as noise.
func (v *Volume) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at byte %d of a LUKS volume: %w", off, os.ErrInvalid)
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.xts == nil {
		return 0, os.ErrClosed
	}
	if off >= v.size {
		return 0, io.EOF
	}
	short := int64(len(b)) > v.size-off
	if short {
		b = b[:v.size-off]
	}
	n, err := v.each(b, off, v.readChunk)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// WriteAt writes as io.WriterAt says. What would reach over the end is not
// written at all and gives ENOSPC, as a device does.
func (v *Volume) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("writing at byte %d of a LUKS volume: %w", off, os.ErrInvalid)
	}
	if off > v.size || int64(len(b)) > v.size-off {
		return 0, fmt.Errorf("writing %d bytes at byte %d of a LUKS volume of %d: %w", len(b), off, v.size, syscall.ENOSPC)
	}
	unit := int64(v.sector)
	head := min(int64(len(b)), (unit-off%unit)%unit)
	body := (int64(len(b)) - head) / unit * unit
	done := 0
	for _, part := range []struct {
		to    int64
		write func(b []byte, off int64) (int, error)
	}{{head, v.writePart}, {head + body, v.writeWhole}, {int64(len(b)), v.writePart}} {
		if part.to == int64(done) {
			continue
		}
		n, err := part.write(b[done:part.to], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// writeWhole writes whole sectors.
func (v *Volume) writeWhole(b []byte, off int64) (int, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.xts == nil {
		return 0, os.ErrClosed
	}
	return v.each(b, off, v.writeChunk)
}

// writePart changes a part of one sector.
func (v *Volume) writePart(b []byte, off int64) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.xts == nil {
		return 0, os.ErrClosed
	}
	unit := int64(v.sector)
	start := off / unit * unit
	room := make([]byte, unit)
	defer wipe(room)
	if err := v.readWhole(room, start); err != nil {
		return 0, err
	}
	copy(room[off-start:], b)
	if err := v.writeChunk(room, start); err != nil {
		return 0, err
	}
	return len(b), nil
}

// each does a piece of work for all chunks of b, over all processors when there
// are several, and says how many bytes from the start are done.
func (v *Volume) each(b []byte, off int64, work func(b []byte, off int64) error) (int, error) {
	// Chunks end where those of the volume do, so that all but the first and last
	// are whole sectors.
	first := chunk - int(off%chunk)
	if len(b) <= first {
		if err := work(b, off); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	count := 1 + (len(b)-first+chunk-1)/chunk
	bounds := func(i int) (int, int) {
		return max(0, first+(i-1)*chunk), min(first+i*chunk, len(b))
	}
	failed := make([]error, count)
	var group sync.WaitGroup
	workers := min(count, runtime.GOMAXPROCS(0))
	for w := range workers {
		group.Go(func() {
			for i := w; i < count; i += workers {
				from, to := bounds(i)
				if failed[i] = work(b[from:to], off+int64(from)); failed[i] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	for i, err := range failed {
		if err != nil {
			from, _ := bounds(i)
			return from, errors.Join(failed[i:]...)
		}
	}
	return len(b), nil
}

// writeChunk writes whole sectors, at most a chunk of them.
func (v *Volume) writeChunk(b []byte, off int64) error {
	room := chunks.Get().(*[chunk]byte)
	defer chunks.Put(room)
	coded := room[:len(b)]
	v.xts.encrypt(coded, b, uint64(off)/uint64(v.sector))
	if _, err := v.dev.WriteAt(coded, v.offset+off); err != nil {
		return fmt.Errorf("writing a LUKS volume: %w", err)
	}
	return nil
}

// readChunk reads at most a chunk, from and to any byte.
func (v *Volume) readChunk(b []byte, off int64) error {
	unit := int64(v.sector)
	start, end := off/unit*unit, align(off+int64(len(b)), unit)
	if start == off && end == off+int64(len(b)) {
		return v.readWhole(b, off)
	}
	room := chunks.Get().(*[chunk]byte)
	defer chunks.Put(room)
	whole := room[:end-start]
	defer wipe(whole)
	if err := v.readWhole(whole, start); err != nil {
		return err
	}
	copy(b, whole[off-start:])
	return nil
}

// readWhole reads whole sectors. Those behind the end of a file that is still
// growing are like those of a hole in it.
func (v *Volume) readWhole(b []byte, off int64) error {
	n, err := v.dev.ReadAt(b, v.offset+off)
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading a LUKS volume: %w", err)
	}
	clear(b[n:])
	v.xts.decrypt(b, b, uint64(off)/uint64(v.sector))
	return nil
}
