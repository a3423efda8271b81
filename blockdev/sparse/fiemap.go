package sparse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FS_IOC_FIEMAP of include/uapi/linux/fs.h, and the layout of struct fiemap and
// struct fiemap_extent of fiemap.h.
const (
	fiemapCall    = 0xC020660B
	fiemapHead    = 32
	fiemapExtent  = 56
	fiemapExtents = 64 // asked for at a time
	fiemapLast    = 1
	flagsAt       = 40
)

// allocated says whether all of a range has blocks, written or not. Where the
// file system does not tell (tmpfs), the file must have as many as its length
// takes.
func allocated(fd int, r Range, st *unix.Stat_t) (bool, error) {
	ne := binary.NativeEndian
	for pos := r.From; pos < r.To; {
		var b [fiemapHead + fiemapExtents*fiemapExtent]byte
		ne.PutUint64(b[0:], uint64(pos))
		ne.PutUint64(b[8:], uint64(r.To-pos))
		ne.PutUint32(b[24:], fiemapExtents)
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fiemapCall, uintptr(unsafe.Pointer(&b)))
		if errno != 0 {
			if errors.Is(errno, unix.EINTR) {
				continue
			}
			if noSuchCall(errno) || errors.Is(errno, unix.ENOTTY) {
				return st.Blocks*512 >= (st.Size+page-1)/page*page, nil
			}
			return false, fmt.Errorf("asking where it lies: %w", errno)
		}
		n := int(min(ne.Uint32(b[20:]), fiemapExtents))
		if n == 0 {
			return false, nil
		}
		before := pos
		for i := range n {
			e := b[fiemapHead+i*fiemapExtent:]
			from, length := int64(ne.Uint64(e)), int64(ne.Uint64(e[16:]))
			if from > pos {
				return false, nil
			}
			pos = max(pos, from+length)
			if ne.Uint32(e[flagsAt:])&fiemapLast != 0 {
				return pos >= r.To, nil
			}
		}
		if pos == before { // extents of no length: nothing to go by
			return false, nil
		}
	}
	return true, nil
}
