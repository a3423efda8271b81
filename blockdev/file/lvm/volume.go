package lvm

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
)

// Volume is a logical volume on its devices: bytes from 0 to Size, read and
// written where the segments say. It is a Device itself. Several goroutines may
// use it at once when they may so use the devices.
type Volume struct {
	name     string
	layout   *Layout
	segments []Segment
	pvs      []Device
	size     int64
	stripe   int64
}

// Volume returns a logical volume on the group's devices, one for each physical
// volume in its order. They stay the caller's.
func (l *Layout) Volume(name string, pvs []Device) (Volume, error) {
	if err := l.checkDevices(pvs); err != nil {
		return Volume{}, err
	}
	var names []string
	for i, v := range l.group.Logical {
		if v.Name == name {
			extent := l.group.extentSize()
			return Volume{name: name, layout: l, segments: l.segments[i], pvs: pvs, size: l.group.Rounded(v), stripe: v.stripeSize(extent)}, nil
		}
		names = append(names, v.Name)
	}
	return Volume{}, fmt.Errorf("volume group %q has no logical volume %q; it has %s", l.group.Name, name, strings.Join(names, ", "))
}

// Size returns the volume's size in bytes: the one it was given, rounded up to
// whole stripes.
func (v Volume) Size() int64 { return v.size }

// Locate returns where the byte at off (from 0, below Size) lies: the position
// of the physical volume, the offset there, and for how many bytes on, this one
// included, the two go on side by side.
func (v Volume) Locate(off int64) (pv int, at, length int64) {
	extent := v.layout.group.extentSize()
	i := sort.Search(len(v.segments), func(i int) bool { return v.segments[i].Start*extent > off }) - 1
	s := v.segments[i]
	in, rest, area := off-s.Start*extent, s.Count*extent, 0
	if k := int64(len(s.Areas)); k > 1 {
		row, column := in/v.stripe/k, in/v.stripe%k
		in, area = row*v.stripe+in%v.stripe, int(column)
		rest = (row + 1) * v.stripe
	}
	a := s.Areas[area]
	start := DataStart(v.layout.group.Volumes[a.Physical].DataAlignment)
	return int(a.Physical), start + a.Extent*extent + in, rest - in
}

// ReadAt reads as io.ReaderAt says. A device that ends too early is
// io.ErrUnexpectedEOF.
func (v Volume) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, v.outside("reading", len(p), off)
	}
	if off >= v.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > v.size-off {
		p, end = p[:v.size-off], io.EOF
	}
	n, err := v.each("reading", p, off, func(d Device, p []byte, at int64) (int, error) {
		n, err := d.ReadAt(p, at)
		if errors.Is(err, io.EOF) && n < len(p) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	})
	if err == nil {
		err = end
	}
	return n, err
}

// WriteAt writes as io.WriterAt says. What is not all within the volume is
// refused, and nothing of it written.
func (v Volume) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > v.size || int64(len(p)) > v.size-off {
		return 0, v.outside("writing", len(p), off)
	}
	return v.each("writing", p, off, func(d Device, p []byte, at int64) (int, error) { return d.WriteAt(p, at) })
}

// each cuts p where the volume jumps from one place to another.
func (v Volume) each(doing string, p []byte, off int64, do func(d Device, p []byte, at int64) (int, error)) (int, error) {
	done := 0
	for done < len(p) {
		pv, at, length := v.Locate(off + int64(done))
		piece := p[done:]
		if int64(len(piece)) > length {
			piece = piece[:length]
		}
		n, err := do(v.pvs[pv], piece, at)
		done += n
		if n == len(piece) && (err == nil || errors.Is(err, io.EOF)) {
			continue // a reader may say EOF with its last byte
		}
		if err == nil {
			err = io.ErrNoProgress
		}
		return done, fmt.Errorf("%s logical volume %q at %d: physical volume %q at %d: %w",
			doing, v.name, off+int64(done), v.layout.group.pvName(pv), at+int64(n), err)
	}
	return done, nil
}

func (v Volume) outside(doing string, n int, off int64) error {
	return fmt.Errorf("%s logical volume %q: %d bytes at %d are not within its %d", doing, v.name, n, off, v.size)
}
