// Package sparse says where the holes of a file are to be, in a way that does
// not depend on the file system that the file lies on.
//
// File systems disagree about one file. Holes are told in pages here, in blocks
// of 1 or 64 KiB there; blocks that are allocated and never written (fallocate)
// are told as holes; what is still to be written, or was compressed, is counted
// in stat's blocks or is not. What can be agreed on is less:
//
//	a file is sparse if there is a page (4 KiB at a multiple of it, or what is
//	    left of one at the file's end) of which nothing is allocated
//	a sparse file is data where a block is not all zero; the rest is holes
//	another file is data from its beginning to its end
//
// So a swap file of zeros, written or fallocated, has no holes. What still shows:
// whether a file has a hole at all, which a copy may lose; a hole of less than a
// page beside data, which is no hole, next to one of a page and more, which is;
// a source that keeps files in larger pieces than pages (64 KiB blocks, huge pages
// of a tmpfs) and has filled its holes; and blocks that a file system allocates
// ahead of a writer that leaves holes (xfs; cp gives them back).
//
// Sources: lseek(2) on SEEK_DATA and SEEK_HOLE; the kernel's
// Documentation/filesystems/fiemap.rst.
package sparse

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// page is what a hole must have at least, in bytes.
const page = 4096

// Range is a part of a file, in bytes.
type Range struct{ From, To int64 }

// Has says whether a regular file is sparse. st is the file's. A file system
// that cannot tell holes has none.
func Has(fd int, st *unix.Stat_t) (bool, error) {
	for pos := int64(0); pos < st.Size; {
		from, err := seek(fd, pos, unix.SEEK_HOLE)
		if noSuchCall(err) || errors.Is(err, unix.ENXIO) {
			return false, nil
		}
		if err != nil {
			return false, lookError(err)
		}
		if from >= st.Size {
			return false, nil
		}
		if pos, err = seek(fd, from, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
			pos = st.Size
		} else if err != nil {
			return false, lookError(err)
		}
		if r, ok := pages(from, min(pos, st.Size), st.Size); ok {
			if whole, err := allocated(fd, r, st); err != nil || !whole {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// pages cuts a hole down to whole pages; the one at the file's end may be short.
func pages(from, to, size int64) (Range, bool) {
	r := Range{(from + page - 1) / page * page, to / page * page}
	if to == size {
		r.To = size
	}
	return r, r.From < r.To
}

// Data returns the parts of a sparse file with blocks that are not all zero, in
// whole blocks but for the file's end. block is a power of two up to 64 KiB. It
// reads what the file system does not call a hole. Of a file that ends before size
// the rest is taken for data: whoever reads it then will see.
func Data(fd int, size, block int64) ([]Range, error) {
	told, err := Told(fd, size)
	if err != nil {
		return nil, err
	}
	var all []Range
	buf := make([]byte, 64*page)
	for _, r := range told {
		end := min((r.To+block-1)/block*block, size)
		for at := r.From / block * block; at < end; at += int64(len(buf)) {
			part := buf[:min(int64(len(buf)), end-at)]
			n, err := readFull(fd, part, at)
			if err != nil {
				return nil, err
			}
			all = appendData(all, part[:n], at, block)
			if n < len(part) {
				return append(all, Range{at + int64(n), size}), nil
			}
		}
	}
	return all, nil
}

// appendData adds the blocks of a piece that are not all zero. at is a multiple
// of a block. Pieces may overlap.
func appendData(all []Range, b []byte, at, block int64) []Range {
	for i := int64(0); i < int64(len(b)); i += block {
		part := b[i:min(i+block, int64(len(b)))]
		if Zero(part) {
			continue
		}
		from, to := at+i, at+i+int64(len(part))
		last := len(all) - 1
		switch {
		case last >= 0 && to <= all[last].To:
		case last >= 0 && from <= all[last].To:
			all[last].To = to
		default:
			all = append(all, Range{from, to})
		}
	}
	return all
}

var zeros [64 << 10]byte

// Zero says whether all of b is.
func Zero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}

// Told returns the parts of a file that its file system does not call holes.
func Told(fd int, size int64) ([]Range, error) {
	var all []Range
	for pos := int64(0); pos < size; {
		from, err := seek(fd, pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if noSuchCall(err) {
			return []Range{{0, size}}, nil
		}
		if err != nil {
			return nil, lookError(err)
		}
		if from >= size {
			break
		}
		to, err := seek(fd, from, unix.SEEK_HOLE)
		if err != nil {
			return nil, lookError(err)
		}
		all = append(all, Range{from, min(to, size)})
		pos = to
	}
	return all, nil
}

func noSuchCall(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS)
}

func lookError(err error) error { return fmt.Errorf("looking for holes: %w", err) }

func seek(fd int, at int64, whence int) (int64, error) { return unix.Seek(fd, at, whence) }

func readFull(fd int, b []byte, at int64) (n int, err error) {
	for n < len(b) {
		k, err := unix.Pread(fd, b[n:], at+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, fmt.Errorf("reading: %w", err)
		}
		if k == 0 {
			break
		}
		n += k
	}
	return n, nil
}
