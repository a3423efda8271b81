package loop

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// device is an attached loop device. Its open descriptor keeps it attached; the
// kernel clears it when that and every mount are gone.
type device struct {
	path string
	file *os.File
	made bool   // the node is ours to remove
	rdev uint64 // as stat gives it for a file on the device's file system
}

const attachTries = 64

// attach puts size bytes of the image from offset on behind a free loop device,
// which carries a name, or as much of it as fits. Sizes are bytes. nodes is a folder
// for device nodes where /dev takes none.
func attach(image *os.File, name string, offset, size int64, sectorSize int, nodes string) (*device, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("loop device for %s: %w", image.Name(), err)
	}
	defer control.Close()
	for try := range attachTries {
		d, err := attachFree(control, image, name, offset, size, sectorSize, nodes)
		if err == nil {
			return d, nil
		}
		// Someone else took the free one between the two calls.
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("loop device for %s: %w", image.Name(), err)
		}
		time.Sleep(time.Duration(try) * time.Millisecond)
	}
	return nil, fmt.Errorf("loop device for %s: taken by others %d times", image.Name(), attachTries)
}

func attachFree(control, image *os.File, name string, offset, size int64, sectorSize int, nodes string) (*device, error) {
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("LOOP_CTL_GET_FREE: %w", err)
	}
	d, err := openNode(n, nodes)
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(image.Fd()), Size: uint32(sectorSize)}
	config.Info.Offset, config.Info.Sizelimit = uint64(offset), uint64(size)
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	copy(config.Info.File_name[:unix.LO_NAME_SIZE-1], name)
	if err := unix.IoctlLoopConfigure(int(d.file.Fd()), &config); err != nil {
		// The node stays when another has the device: it may be using the path.
		if !errors.Is(err, unix.EBUSY) {
			err = errors.Join(err, d.removeNode())
		}
		return nil, fmt.Errorf("LOOP_CONFIGURE %s: %w", d.path, errors.Join(err, d.file.Close()))
	}
	return d, nil
}

// openNode opens /dev/loopN and makes the node where it is missing, as in a
// container.
func openNode(n int, nodes string) (*device, error) {
	dev := numbers(n)
	name := "loop" + strconv.Itoa(n)
	var last error
	for _, dir := range []string{"/dev", nodes} {
		d := &device{path: filepath.Join(dir, name), rdev: dev}
		err := unix.Mknod(d.path, unix.S_IFBLK|0o600, int(dev))
		if d.made = err == nil; !d.made && !errors.Is(err, unix.EEXIST) {
			last = fmt.Errorf("mknod %s: %w", d.path, err)
			continue
		}
		f, err := os.OpenFile(d.path, os.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			d.file = f
			return d, nil
		}
		last = errors.Join(err, d.removeNode())
	}
	return nil, last
}

// numbers returns the device number: minors are spread where the module was
// loaded with partitions.
func numbers(n int) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/dev", n))
	if err == nil {
		major, minor, _ := strings.Cut(strings.TrimSpace(string(data)), ":")
		a, errA := strconv.ParseUint(major, 10, 32)
		b, errB := strconv.ParseUint(minor, 10, 32)
		if errA == nil && errB == nil {
			return unix.Mkdev(uint32(a), uint32(b))
		}
	}
	return unix.Mkdev(7, uint32(n))
}

func (d *device) removeNode() error {
	if !d.made {
		return nil
	}
	d.made = false
	if err := os.Remove(d.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// detach lets the device go. The node goes first: once the device is free its
// number, and so its node, may be another's.
func (d *device) detach() error {
	if d.file == nil {
		return nil
	}
	err := d.removeNode()
	// What was written through the node is in its page cache; clearing the
	// device would drop it. fsync would also wait for the host's disk.
	if e := unix.IoctlSetInt(int(d.file.Fd()), unix.BLKFLSBUF, 0); e != nil {
		err = errors.Join(err, fmt.Errorf("flushing %s: %w", d.path, e))
	}
	if e := unix.IoctlSetInt(int(d.file.Fd()), unix.LOOP_CLR_FD, 0); e != nil && !errors.Is(e, unix.ENXIO) {
		err = errors.Join(err, fmt.Errorf("LOOP_CLR_FD %s: %w", d.path, e))
	}
	err = errors.Join(err, d.file.Close())
	d.file = nil
	return err
}
