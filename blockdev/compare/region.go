package compare

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// region is a part of a file or device: a disk, a partition.
type region struct {
	f         *os.File
	off, size int64
}

// ReadAt is io.ReaderAt's, within the region.
func (r region) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at >= r.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), r.size-at)]
	n, err := r.f.ReadAt(want, r.off+at)
	if n == len(want) {
		err = nil
		if n < len(p) {
			err = io.EOF
		}
	}
	return n, err
}

// part is a part of a region; what reaches beyond it is cut off.
func (r region) part(off, size int64) region {
	off = max(0, min(off, r.size))
	return region{r.f, r.off + off, max(0, min(size, r.size-off))}
}

// bytes reads at most n bytes; what is beyond the end is missing.
func (r region) bytes(at int64, n int) []byte {
	b := make([]byte, max(0, min(int64(n), r.size-at)))
	got, _ := r.ReadAt(b, at)
	return b[:got]
}

// sparse is content that knows its holes.
type sparse interface {
	io.ReaderAt
	// NextData gives the first stretch at or after off that is no hole; both are
	// the size where none follows.
	NextData(off int64) (from, to int64, err error)
}

// NextData is sparse's.
func (r region) NextData(off int64) (from, to int64, err error) {
	if off >= r.size {
		return r.size, r.size, nil
	}
	from, err = seek(r.f, r.off+off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return r.size, r.size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ESPIPE):
		return off, r.size, nil // a device, or a file system without holes
	case err != nil:
		return 0, 0, fmt.Errorf("looking for data in %q at byte %d: %w", r.f.Name(), r.off+off, err)
	}
	to, err = seek(r.f, from, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, fmt.Errorf("looking for a hole in %q at byte %d: %w", r.f.Name(), from, err)
	}
	return min(from-r.off, r.size), min(to-r.off, r.size), nil
}

// seek is lseek(2). Only its answer is used: reading is by offset.
func seek(f *os.File, off int64, whence int) (pos int64, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	if cerr := c.Control(func(fd uintptr) { pos, err = unix.Seek(int(fd), off, whence) }); cerr != nil {
		return 0, cerr
	}
	return pos, err
}
