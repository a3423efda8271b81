package physical

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// RefusedError is a device that is not taken.
type RefusedError struct {
	Path string
	Why  string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("%q: %s", e.Path, e.Why) }

// Info is what a disk is made for.
type Info struct {
	Size       int64 // bytes
	SectorSize int   // bytes of a logical sector
}

// Look checks the device at a path as Claim does, and changes nothing. wipe names
// the devices, by any path, whose old content may go. A refusal is a
// *RefusedError.
func Look(path string, wipe []string) (Info, error) {
	f, info, _, err := open(path, os.O_RDONLY, wipe)
	if err != nil {
		return Info{}, err
	}
	return info, f.Close()
}

// open claims a device and checks it.
func open(path string, mode int, wipe []string) (f *os.File, info Info, found []Signature, err error) {
	refuse := func(format string, args ...any) (*os.File, Info, []Signature, error) {
		return nil, Info{}, nil, &RefusedError{path, fmt.Sprintf(format, args...)}
	}
	var st unix.Stat_t
	switch err := unix.Stat(path, &st); {
	case errors.Is(err, unix.ENOENT):
		return refuse("there is no such device")
	case err != nil:
		return refuse("%v", err)
	case st.Mode&unix.S_IFMT != unix.S_IFBLK:
		return refuse("it is no block device")
	}
	if why, err := used(numberOf(st.Rdev), path); err != nil || why != "" {
		if err != nil {
			return nil, Info{}, nil, fmt.Errorf("looking at %q: %w", path, err)
		}
		return refuse("%s; a disk is only made of what nobody uses", why)
	}
	f, err = os.OpenFile(path, mode|unix.O_EXCL|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return refuse("it is in use: mounted somewhere, or part of a volume")
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOMEDIUM):
		return refuse("opening it: %v", errors.Unwrap(err))
	case err != nil:
		return nil, Info{}, nil, err
	}
	info, found, err = check(f, path, st.Rdev, wipe)
	if err != nil {
		return nil, Info{}, nil, errors.Join(err, f.Close())
	}
	return f, info, found, nil
}

func check(f *os.File, path string, rdev uint64, wipe []string) (info Info, found []Signature, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Rdev != rdev { // a link was turned between the calls
		return info, nil, errors.Join(err, &RefusedError{path, "it became another device"})
	}
	if only, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET); err != nil || only != 0 {
		return info, nil, errors.Join(err, &RefusedError{path, "it can only be read"})
	}
	if info.SectorSize, err = unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET); err != nil {
		return info, nil, fmt.Errorf("asking %q for its sectors: %w", path, err)
	}
	if info.Size, err = f.Seek(0, io.SeekEnd); err != nil {
		return info, nil, err
	}
	if info.Size == 0 {
		return info, nil, &RefusedError{path, "it has no size: no medium is in it, or nothing is attached"}
	}
	if found, err = signatures(f, info.Size); err != nil {
		return info, nil, fmt.Errorf("looking at what is on %q: %w", path, err)
	}
	if len(found) > 0 && !slices.ContainsFunc(wipe, func(w string) bool { return Same(w, path) }) {
		return info, nil, &RefusedError{path, fmt.Sprintf("there is something on it (%s); --wipe %s gives it up", names(found), path)}
	}
	return info, found, nil
}

// Same says whether two paths are one block device.
func Same(a, b string) bool {
	n := deviceNumber(a)
	return n != number{} && n == deviceNumber(b)
}

// Overlap says whether two paths are one block device, or a disk and a partition
// of it.
func Overlap(a, b string) bool {
	m, n := deviceNumber(a), deviceNumber(b)
	if m == (number{}) || n == (number{}) {
		return false
	}
	return m == n || m.whole() == n || n.whole() == m
}
