package convert

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Source is a disk to be read. Any number of writers may read one Source at the
// same time. The disk must not change meanwhile.
type Source struct {
	// Reader gives the bytes. When it is an *os.File, its holes are skipped;
	// anything else is read whole. The file's own offset does not matter and
	// may be moved.
	Reader io.ReaderAt
	// Size is the length of the disk in bytes.
	Size int64
}

// FileSource is the Source of an open file or block device, whose size it
// finds out. The caller keeps the file and closes it after the last writer.
func FileSource(f *os.File) (Source, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Source{}, fmt.Errorf("asking the size of disk %q: %w", f.Name(), err)
	}
	return Source{Reader: f, Size: size}, nil
}

// nextData gives the first stretch of data at or after off: its start and its
// end. Start is s.Size where no data follows.
func (s Source) nextData(off int64) (start, end int64, err error) {
	f, ok := s.Reader.(*os.File)
	if !ok || off >= s.Size {
		return min(off, s.Size), s.Size, nil
	}
	start, err = seek(f, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return s.Size, s.Size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return off, s.Size, nil // a block device, or a file system without holes
	case err != nil:
		return 0, 0, fmt.Errorf("looking for data in disk %q at byte %d: %w", f.Name(), off, err)
	}
	end, err = seek(f, start, unix.SEEK_HOLE)
	if err != nil {
		return 0, 0, fmt.Errorf("looking for a hole in disk %q at byte %d: %w", f.Name(), start, err)
	}
	return min(start, s.Size), min(end, s.Size), nil
}

// seek is lseek(2). Only its answer is used: all reading is by offset, so
// writers that share the file do not disturb each other.
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

// read fills p from off on; what lies beyond the end of the disk is zero.
func (s Source) read(p []byte, off int64) error {
	n := int(min(int64(len(p)), s.Size-off))
	clear(p[n:])
	got, err := s.Reader.ReadAt(p[:n], off)
	if got == n {
		return nil // ReadAt may say io.EOF with the last byte
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading the disk at byte %d: %w", off+int64(got), err)
}
