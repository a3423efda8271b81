package loop

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mountOptions spare the image file flushes that nobody needs: a build that
// dies is thrown away. They leave no trace in the file system.
func mountOptions(fsType string) string {
	switch fsType {
	case "ext4":
		return "nobarrier,noinit_itable,commit=600"
	case "ext3":
		return "barrier=0,commit=600"
	}
	return ""
}

// private makes dir a mount of its own that no other namespace sees: a mount
// that propagated elsewhere would pin its loop device there.
func private(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding %s on itself: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return errors.Join(fmt.Errorf("making %s private: %w", dir, err), unix.Unmount(dir, 0))
	}
	return nil
}

// mountDevice mounts a device and checks that the target is what it claims to be.
func mountDevice(d *device, target, fsType string) error {
	if err := unix.Mount(d.path, target, fsType, 0, mountOptions(fsType)); err != nil {
		return fmt.Errorf("mounting %s (%s) on %s: %w", d.path, fsType, target, err)
	}
	if err := isMounted(d, target); err != nil {
		return errors.Join(err, unix.Unmount(target, unix.MNT_DETACH))
	}
	return nil
}

// isMounted checks that target is the root of the device's file system.
func isMounted(d *device, target string) error {
	var st unix.Stat_t
	if err := unix.Lstat(target, &st); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	if uint64(st.Dev) != d.rdev {
		return fmt.Errorf("%s is not mounted on %s", d.path, target)
	}
	return nil
}

// fstrimRange is struct fstrim_range of linux/fs.h.
type fstrimRange struct{ start, len, minLen uint64 }

const fitrim = 0xc0185879 // _IOWR('X', 121, struct fstrim_range)

// trim punches what the file system does not use out of the image file. Of a
// folder that is no mount it would trim the host, so that is checked first.
func trim(d *device, target string) error {
	if err := isMounted(d, target); err != nil {
		return fmt.Errorf("trimming: %w", err)
	}
	dir, err := os.Open(target)
	if err != nil {
		return fmt.Errorf("trimming: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("syncing %s: %w", target, err)
	}
	r := fstrimRange{len: ^uint64(0)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), fitrim, uintptr(unsafe.Pointer(&r)))
	// An image on a file system without holes is only larger, and a driver
	// without the call (ext2's own) leaves nothing to trim after a first copy.
	if errno != 0 && errno != unix.EOPNOTSUPP && errno != unix.ENOTTY {
		return fmt.Errorf("trimming %s: %w", target, errno)
	}
	return nil
}

// unmount waits a little for stragglers: a process that a hook left behind may
// be on its way out.
func unmount(target string) error {
	var err error
	for try := range 30 {
		if err = unix.Unmount(target, unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(time.Duration(10+10*try) * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("unmounting %s: %w", target, err)
	}
	return nil
}
