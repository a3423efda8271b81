package md

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// Volume is the contents of an array. All methods but Close are safe for
// concurrent use.
//
// ReadAt and WriteAt keep to io.ReaderAt and io.WriterAt; a write beyond Size is
// refused whole. With level 5 what was written reaches the members at Flush at the
// latest, and an error may show as late as that: it is joined to the call that met
// it, and what failed is kept and tried again by the next Flush.
type Volume interface {
	io.ReaderAt
	io.WriterAt
	Size() int64  // bytes
	Flush() error // writes what is held back
	Close() error // flushes; the members stay the caller's, open
}

// Open gives the contents of the array on members, which need no superblocks for
// it. The members must not be written otherwise while the Volume is open.
func (a Array) Open(members []Device) (Volume, error) {
	p, err := a.plan()
	if err == nil && len(members) != p.n {
		err = fmt.Errorf("%d members given, it has %d", len(members), p.n)
	}
	if err != nil {
		return nil, fmt.Errorf("opening array %q: %w", a.Name, err)
	}
	v := &volume{size: p.capacity}
	if a.Level == 5 {
		v.contents = newParity(p, members)
	} else {
		v.contents = &copies{shape: p.shape, start: p.dataOffset * sector, used: p.used * sector, members: members}
	}
	return v, nil
}

// contents is a volume whose callers keep within its size.
type contents interface {
	read(p []byte, off int64) (int, error)
	write(p []byte, off int64) (int, error)
	flush() error
}

type volume struct {
	contents contents
	size     int64
	closed   atomic.Bool
}

func (v *volume) Size() int64 { return v.size }

func (v *volume) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case v.closed.Load():
		return 0, fmt.Errorf("reading an array: %w", os.ErrClosed)
	case off < 0:
		return 0, fmt.Errorf("reading an array at %d: %w", off, os.ErrInvalid)
	case off >= v.size:
		return 0, io.EOF
	case int64(len(p)) <= v.size-off:
		return v.contents.read(p, off)
	}
	n, err := v.contents.read(p[:v.size-off], off)
	if err == nil {
		err = io.EOF
	}
	return n, err
}

func (v *volume) WriteAt(p []byte, off int64) (int, error) {
	if v.closed.Load() {
		return 0, fmt.Errorf("writing an array: %w", os.ErrClosed)
	}
	if off < 0 || off > v.size || int64(len(p)) > v.size-off {
		return 0, fmt.Errorf("writing %d bytes at %d of an array of %d: %w", len(p), off, v.size, os.ErrInvalid)
	}
	return v.contents.write(p, off)
}

func (v *volume) Flush() error {
	if v.closed.Load() {
		return fmt.Errorf("flushing an array: %w", os.ErrClosed)
	}
	return v.contents.flush()
}

// Close may be called again; only the first call does anything.
func (v *volume) Close() error {
	if v.closed.Swap(true) {
		return nil
	}
	return v.contents.flush()
}

// copies is raid0, raid1 and raid10: each piece lies on one or more members.
type copies struct {
	shape
	start   int64 // bytes on each member before the data
	used    int64 // bytes of each member
	members []Device

	// Two writes of the same place at once must not reach two members in different
	// order, and no member sees a place read while it is written: each piece has one
	// lock of these.
	locks [64]sync.RWMutex
}

// spot is a place on a member, in bytes from its begin.
type spot struct {
	member int
	at     int64
}

// mirrorPiece is how much of a raid1 is written under one lock.
const mirrorPiece = 1 << 20

func (c *copies) piece() int64 {
	if c.chunk == 0 {
		return mirrorPiece
	}
	return c.chunk
}

func (c *copies) lock(number int64) *sync.RWMutex { return &c.locks[number%int64(len(c.locks))] }

func (c *copies) read(p []byte, off int64) (int, error) {
	return split(p, off, c.piece(), func(part []byte, number, within int64) error {
		lock := c.lock(number)
		lock.RLock()
		defer lock.RUnlock()
		s := c.spots(number)[0]
		return readFull(c.members, s.member, part, s.at+within)
	})
}

func (c *copies) write(p []byte, off int64) (int, error) {
	return split(p, off, c.piece(), func(part []byte, number, within int64) error {
		lock := c.lock(number)
		lock.Lock()
		defer lock.Unlock()
		for _, s := range c.spots(number) {
			if err := writeFull(c.members, s.member, part, s.at+within); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *copies) flush() error { return nil }

// spots are the places of a piece, all of them; the first is where reads go.
func (c *copies) spots(number int64) []spot {
	var all []spot
	if c.level == 1 {
		for m := range c.members {
			all = append(all, spot{m, c.start + number*mirrorPiece})
		}
		return all
	}
	n := int64(c.n)
	for k := range int64(c.near) {
		place := number*int64(c.near) + k
		row, member := place/n, place%n
		if c.offset {
			row *= int64(c.far)
		}
		for f := range int64(c.far) {
			at := row*c.chunk + f*c.stride()
			all = append(all, spot{int((member + f) % n), c.start + at})
		}
	}
	return all
}

// stride is how much further on its member each far copy lies.
func (c *copies) stride() int64 {
	if c.offset {
		return c.chunk
	}
	return c.used / c.chunk / int64(c.far) * c.chunk
}

// split hands p to do in parts that lie in one piece each, and counts the bytes
// of those that went well.
func split(p []byte, off, piece int64, do func(part []byte, number, within int64) error) (int, error) {
	done := 0
	for done < len(p) {
		number, within := off/piece, off%piece
		part := p[done:min(len(p), done+int(piece-within))]
		if err := do(part, number, within); err != nil {
			return done, err
		}
		done += len(part)
		off += int64(len(part))
	}
	return done, nil
}

func readFull(members []Device, i int, p []byte, at int64) error {
	n, err := members[i].ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at %d of member %d: %w", len(p), at, i, err)
}

func writeFull(members []Device, i int, p []byte, at int64) error {
	if _, err := members[i].WriteAt(p, at); err != nil {
		return fmt.Errorf("writing %d bytes at %d of member %d: %w", len(p), at, i, err)
	}
	return nil
}
