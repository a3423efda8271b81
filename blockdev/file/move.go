package file

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

const moveStep = 64 << 20 // bytes copied before they are given back

// moveData copies what a file holds data in to the file system's place, and gives
// the space back as it goes: both never take it at once. With holes these are
// copied as well, as zeros.
func moveData(from *os.File, to io.WriterAt, f *blockdev.FSPlan, holes bool) error {
	st, err := from.Stat()
	if err != nil {
		return err
	}
	if st.Size() > f.Size {
		return full(f, fmt.Errorf("its content made it %s: %w", blockdev.FormatSize(st.Size()), unix.ENOSPC))
	}
	for pos := int64(0); pos < f.Size; {
		start, end := pos, f.Size
		if !holes {
			if start, end, err = nextData(from, pos); err != nil || start == end {
				return err
			}
		}
		end = min(end, start+moveStep)
		if err := moveRange(from, to, start, f.Offset+start, end-start); err != nil {
			return fmt.Errorf("moving into the image: %w", err)
		}
		pos = end
	}
	return nil
}

// nextData finds the next range that is no hole; an empty one at the end.
func nextData(from *os.File, pos int64) (start, end int64, err error) {
	if start, err = unix.Seek(int(from.Fd()), pos, unix.SEEK_DATA); errors.Is(err, unix.ENXIO) {
		return pos, pos, nil
	}
	if err == nil {
		end, err = unix.Seek(int(from.Fd()), start, unix.SEEK_HOLE)
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "seek", Path: from.Name(), Err: err}
	}
	return start, end, nil
}

func moveRange(from *os.File, to io.WriterAt, at, target, n int64) error {
	start, length := at, n
	image, ok := to.(*os.File)
	if !ok {
		if _, err := io.CopyBuffer(io.NewOffsetWriter(to, target), io.NewSectionReader(from, at, n), make([]byte, min(n, 1<<20))); err != nil {
			return err
		}
		n = 0
	}
	for n > 0 {
		got, err := unix.CopyFileRange(int(from.Fd()), &at, int(image.Fd()), &target, int(min(n, moveStep)), 0)
		if err != nil {
			return &os.PathError{Op: "copy_file_range", Path: image.Name(), Err: err}
		}
		if got == 0 {
			return &os.PathError{Op: "copy_file_range", Path: from.Name(), Err: errors.New("it became shorter")}
		}
		n -= int64(got)
	}
	err := unix.Fallocate(int(from.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, start, length)
	if errors.Is(err, unix.EOPNOTSUPP) { // then it takes the space twice for a while
		return nil
	}
	return err
}
