package file

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

const moveStep = 64 << 20 // bytes copied before they are given back

// moveData copies what a file holds data in to the file system's place in the
// image, and gives the space back as it goes: both never take it at once.
func moveData(from, image *os.File, f *blockdev.FSPlan) error {
	st, err := from.Stat()
	if err != nil {
		return err
	}
	if st.Size() > f.Size {
		return full(f, fmt.Errorf("its content made it %s: %w", blockdev.FormatSize(st.Size()), unix.ENOSPC))
	}
	for pos := int64(0); pos < f.Size; {
		start, err := unix.Seek(int(from.Fd()), pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "seek", Path: from.Name(), Err: err}
		}
		end, err := unix.Seek(int(from.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return &os.PathError{Op: "seek", Path: from.Name(), Err: err}
		}
		end = min(end, start+moveStep)
		if err := moveRange(from, image, start, f.Offset+start, end-start); err != nil {
			return fmt.Errorf("moving into the image: %w", err)
		}
		pos = end
	}
	return nil
}

func moveRange(from, image *os.File, at, to, n int64) error {
	start, length := at, n
	for n > 0 {
		got, err := unix.CopyFileRange(int(from.Fd()), &at, int(image.Fd()), &to, int(min(n, moveStep)), 0)
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
