package md

import (
	"crypto/subtle"
	"errors"
	"math"
	"sync"
)

// parity is raid5. Its rows are gathered in memory:
//
//	write(part of a row)   copied into the row; a row that is whole now is written
//	                       out, data and parity; a part that is a whole row is
//	                       written out from where it is
//	too many rows held     the one not used for longest is written out
//	write out a row in parts   for each range of columns that holds something new:
//	                       read what is missing of it on all members, XOR the
//	                       columns, write what is new, and the parity
//
// What is missing is read from the data, and the old parity never: parity comes
// out right even where it was wrong before.
type parity struct {
	shape
	start   int64
	members []Device

	mu    sync.Mutex // of all below
	rows  map[int64]*row
	most  int // rows held at once
	clock int64
	xor   []byte   // a chunk
	spare [][]byte // data of rows that have gone
}

// row is a row of chunks, held in part.
type row struct {
	number int64
	data   []byte // of all its data chunks, in the array's order
	held   spans  // what of data is valid, and not yet on the members
	used   int64  // clock of the last write
}

const (
	heldBytes = 64 << 20 // of all rows together
	heldRows  = 64
)

func newParity(p plan, members []Device) *parity {
	v := &parity{shape: p.shape, start: p.dataOffset * sector, members: members, rows: map[int64]*row{}}
	v.most = int(min(heldRows, max(1, heldBytes/v.width())))
	v.xor = make([]byte, v.chunk)
	return v
}

// width is the bytes of data in a row.
func (v *parity) width() int64 { return v.chunk * int64(v.n-1) }

// data is the place of a row's data chunk d; parityOf that of its parity.
func (v *parity) data(number int64, d int) spot {
	p := v.parityOf(number)
	p.member = (p.member + 1 + d) % v.n
	return p
}

func (v *parity) parityOf(number int64) spot {
	return spot{v.n - 1 - int(number%int64(v.n)), v.start + number*v.chunk}
}

func (v *parity) read(p []byte, off int64) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return split(p, off, v.chunk, func(part []byte, chunk, within int64) error {
		number, d := chunk/int64(v.n-1), int(chunk%int64(v.n-1))
		from := int64(d)*v.chunk + within
		r := v.rows[number]
		if r == nil {
			r = &row{}
		}
		wanted := span{from, from + int64(len(part))}
		if len(r.held.missing(wanted)) > 0 {
			s := v.data(number, d)
			if err := readFull(v.members, s.member, part, s.at+within); err != nil {
				return err
			}
		}
		for _, h := range r.held.within(wanted) {
			copy(part[h.lo-from:], r.data[h.lo:h.hi])
		}
		return nil
	})
}

func (v *parity) write(p []byte, off int64) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return split(p, off, v.width(), func(part []byte, number, within int64) error {
		r := v.rows[number]
		if r == nil && int64(len(part)) == v.width() {
			return v.writeWhole(number, part)
		}
		if r == nil {
			var err error
			if r, err = v.hold(number); err != nil {
				return err
			}
		}
		v.clock++
		r.used = v.clock
		copy(r.data[within:], part)
		r.held = r.held.add(span{within, within + int64(len(part))})
		if r.held[0] == (span{0, v.width()}) {
			return v.drop(r)
		}
		return nil
	})
}

func (v *parity) flush() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var errs []error
	for len(v.rows) > len(errs) {
		if err := v.drop(v.oldest()); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// hold makes room for a row.
func (v *parity) hold(number int64) (*row, error) {
	if len(v.rows) >= v.most {
		if err := v.drop(v.oldest()); err != nil {
			return nil, err
		}
	}
	r := &row{number: number}
	if last := len(v.spare) - 1; last >= 0 {
		r.data, v.spare = v.spare[last], v.spare[:last]
	} else {
		r.data = make([]byte, v.width())
	}
	v.rows[number] = r
	return r, nil
}

func (v *parity) oldest() *row {
	oldest := &row{used: math.MaxInt64}
	for _, r := range v.rows {
		if r.used < oldest.used {
			oldest = r
		}
	}
	return oldest
}

// drop writes a row out and forgets it; on an error it is kept, as the youngest.
func (v *parity) drop(r *row) error {
	var err error
	if r.held[0] == (span{0, v.width()}) {
		err = v.writeWhole(r.number, r.data)
	} else {
		err = v.writeParts(r)
	}
	if err != nil {
		v.clock++
		r.used = v.clock
		return err
	}
	delete(v.rows, r.number)
	v.spare = append(v.spare, r.data)
	return nil
}

func (v *parity) writeWhole(number int64, data []byte) error {
	for d := range v.n - 1 {
		s := v.data(number, d)
		if err := writeFull(v.members, s.member, data[int64(d)*v.chunk:int64(d+1)*v.chunk], s.at); err != nil {
			return err
		}
	}
	return v.writeParity(number, data, span{0, v.chunk})
}

// writeParts writes what is held of a row, and the parity of its columns.
func (v *parity) writeParts(r *row) error {
	columns := v.columns(r.held)
	for _, c := range columns {
		if err := v.complete(r, c); err != nil {
			return err
		}
	}
	for d := range v.n - 1 {
		from := int64(d) * v.chunk
		s := v.data(r.number, d)
		for _, h := range r.held.within(span{from, from + v.chunk}) {
			if err := writeFull(v.members, s.member, r.data[h.lo:h.hi], s.at+h.lo-from); err != nil {
				return err
			}
		}
	}
	for _, c := range columns {
		if err := v.writeParity(r.number, r.data, c); err != nil {
			return err
		}
	}
	return nil
}

// columns projects what is held of a row onto one chunk.
func (v *parity) columns(held spans) spans {
	var all spans
	for d := range v.n - 1 {
		from := int64(d) * v.chunk
		for _, h := range held.within(span{from, from + v.chunk}) {
			all = all.add(span{h.lo - from, h.hi - from})
		}
	}
	return all
}

// complete reads what is not held of the columns c, without making it held.
func (v *parity) complete(r *row, c span) error {
	for d := range v.n - 1 {
		from := int64(d) * v.chunk
		s := v.data(r.number, d)
		for _, m := range r.held.missing(span{from + c.lo, from + c.hi}) {
			if err := readFull(v.members, s.member, r.data[m.lo:m.hi], s.at+m.lo-from); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *parity) writeParity(number int64, data []byte, c span) error {
	xor := v.xor[:c.hi-c.lo]
	copy(xor, data[c.lo:c.hi])
	for d := 1; d < v.n-1; d++ {
		from := int64(d) * v.chunk
		subtle.XORBytes(xor, xor, data[from+c.lo:from+c.hi])
	}
	s := v.parityOf(number)
	return writeFull(v.members, s.member, xor, s.at+c.lo)
}
