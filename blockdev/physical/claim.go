package physical

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a device that the caller has alone, until Close. Its first and last MiB
// are zeros to begin with.
type Disk struct {
	file  *os.File
	path  string
	size  int64
	blank bool
}

// Options of Claim. The zero value takes what nothing is on.
type Options struct {
	Wipe      []string // devices, by any path, whose old content may go
	NoDiscard bool     // do not give blocks back
}

// Claim checks a device as Look does, takes it, and takes all marks of old content
// away. size is what Look gave, bytes: a device that changed is refused.
func Claim(path string, size int64, o Options) (*Disk, error) {
	f, info, found, err := open(path, os.O_RDWR, o.Wipe)
	if err != nil {
		return nil, err
	}
	d := &Disk{file: f, path: path, size: info.Size}
	if info.Size != size {
		err = &RefusedError{path, fmt.Sprintf("it has %d bytes, and had %d", info.Size, size)}
	}
	if err == nil {
		err = d.lock()
	}
	if err == nil {
		err = d.clean(found, !o.NoDiscard)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

// lock waits for udev, which holds a shared lock while it looks at a device.
func (d *Disk) lock() error {
	var err error
	for range 100 {
		if err = unix.Flock(int(d.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("locking %q: %w", d.path, err)
}

// clean takes old content away: all of it where blocks can be given back, which
// is quick, else what it is recognised by.
func (d *Disk) clean(found []Signature, discard bool) error {
	if discard && d.discards() {
		err := unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, d.size)
		if err == nil {
			d.blank = true
			return d.file.Sync()
		}
	}
	if err := d.Clear(0, d.size); err != nil {
		return err
	}
	for _, s := range found {
		if _, err := d.file.WriteAt(make([]byte, 512), s.Offset&^511); err != nil {
			return fmt.Errorf("wiping %q: %w", d.path, err)
		}
	}
	return d.file.Sync()
}

// discards says whether the device can give blocks back (sysfs-block:
// discard_max_bytes). One that cannot may still write zeros by itself, for hours.
func (d *Disk) discards() bool {
	text, err := os.ReadFile(deviceNumber(d.path).whole().sys() + "/queue/discard_max_bytes")
	return err == nil && strings.TrimSpace(string(text)) != "0"
}

// margin is what Clear zeroes at both ends, bytes.
const margin = 1 << 20

// Clear zeroes the first and the last MiB of a part of the device: whatever was
// there is no longer recognised.
func (d *Disk) Clear(offset, size int64) error {
	zeros := make([]byte, min(margin, size))
	for _, at := range []int64{offset, offset + size - int64(len(zeros))} {
		if _, err := d.file.WriteAt(zeros, at); err != nil {
			return fmt.Errorf("wiping %q: %w", d.path, err)
		}
	}
	return nil
}

// File is the device, open for reading and writing. It is closed by Close alone.
func (d *Disk) File() *os.File { return d.file }

// Blank says whether all of the device reads as zeros, but for what was written
// since Claim.
func (d *Disk) Blank() bool { return d.blank }

// Abandon takes what was written away again, so that nothing half-made looks
// whole, and lets go of the device.
func (d *Disk) Abandon() error {
	return errors.Join(d.Clear(0, d.size), d.Close())
}

// Close writes the device out and lets go of it. The kernel is asked to look at
// its partitions anew; that it does not, since one is in use by now or it knows no
// tables, is no mistake.
func (d *Disk) Close() error {
	err := d.file.Sync()
	_ = unix.IoctlSetInt(int(d.file.Fd()), unix.BLKRRPART, 0)
	return errors.Join(err, d.file.Close())
}

// Wipe takes what was written to a device away, once it has been let go of.
func Wipe(path string) error {
	f, info, _, err := open(path, os.O_RDWR, []string{path})
	if err != nil {
		return err
	}
	return (&Disk{file: f, path: path, size: info.Size}).Abandon()
}
