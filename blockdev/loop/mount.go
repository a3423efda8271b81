package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// mountOptions spare the image file flushes that nobody needs: a build that
// dies is thrown away. They leave no trace in the file system.
func mountOptions(f *blockdev.FSPlan, subvolume string) string {
	switch f.FSType {
	case "ext4":
		return "nobarrier,noinit_itable,commit=600"
	case "ext3":
		return "barrier=0,commit=600"
	case "xfs":
		return "nouuid" // a build beside this one may have made the same disk
	case "btrfs":
		o := "nobarrier,commit=600"
		if f.Profile != "" {
			o += ",nospace_cache" // no tree of free space, which old kernels cannot read
		}
		if subvolume != "" {
			o += ",subvol=/" + subvolume
		}
		return o
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

// mountDevice mounts a device and returns its root's numbers.
func mountDevice(dev *device, target string, f *blockdev.FSPlan, subvolume string) (inode, error) {
	before, err := numbersOf(target)
	if err != nil {
		return inode{}, err
	}
	err = unix.Mount(dev.path, target, f.FSType, 0, mountOptions(f, subvolume))
	if errors.Is(err, unix.EINVAL) && strings.HasPrefix(f.FSType, "ext") { // without a journal there is no commit
		err = unix.Mount(dev.path, target, f.FSType, 0, "")
	}
	if err != nil {
		err = fmt.Errorf("mounting %s (%s) on %s: %w", dev.path, f.FSType, target, err)
		if errors.Is(err, unix.EEXIST) && f.FSType == "btrfs" {
			err = fmt.Errorf("%w: this kernel has a btrfs with the UUID %s mounted already", err, f.UUID)
		}
		return inode{}, err
	}
	root, err := numbersOf(target)
	if err == nil && root.dev == before.dev || f.FSType != "btrfs" && root.dev != dev.rdev {
		err = fmt.Errorf("%s is not mounted on %s", dev.path, target)
	}
	if err != nil {
		return inode{}, errors.Join(err, unix.Unmount(target, unix.MNT_DETACH))
	}
	return root, nil
}

func numbersOf(path string) (inode, error) {
	var st unix.Stat_t
	err := lstat(path, &st)
	return inode{uint64(st.Dev), st.Ino}, err
}

// check finds out whether the mount is still there. A btrfs has numbers that
// its device does not.
func (m mounted) check() error {
	now, err := numbersOf(m.target)
	if err == nil && now != m.root {
		err = fmt.Errorf("%s is no longer mounted", m.target)
	}
	return err
}

// fstrimRange is struct fstrim_range of linux/fs.h.
type fstrimRange struct{ start, len, minLen uint64 }

const fitrim = 0xc0185879 // _IOWR('X', 121, struct fstrim_range)

// trim writes out a file system, which tells of every write that failed, and
// punches what it does not use out of the image file. Of a folder that is no
// mount it would trim the host: the caller has checked that.
func trim(target, fsType string) error {
	dir, err := os.Open(target)
	if err != nil {
		return fmt.Errorf("trimming: %w", err)
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("syncing %s: %w", target, err)
	}
	if fsType == "xfs" {
		if err := settle(target); err != nil {
			return err
		}
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

// settle makes xfs finish what it does behind the back of a sync: the blocks of
// removed files become free a while later. Making it read-only waits for that.
// So would freezing it, but a process that is killed before it thaws leaves the
// device behind for ever.
func settle(target string) error {
	err := patiently(func() error { return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") })
	if err != nil {
		return fmt.Errorf("making %s read-only: %w", target, err)
	}
	return nil
}

// unmount unmounts what a process that a hook left behind may still use.
func unmount(target string) error {
	if err := patiently(func() error { return unix.Unmount(target, unix.UMOUNT_NOFOLLOW) }); err != nil {
		return fmt.Errorf("unmounting %s: %w", target, err)
	}
	return nil
}

// releaseLimit is how long a device may be held by others.
const releaseLimit = time.Minute

// released waits until no file system has a device any more, and so all of it is
// written. A mount namespace that somebody made while it was mounted (a service
// that started, another build) has a copy of the mount, which our unmounting
// leaves there. A mounted file system claims its device, and an exclusive open
// is refused.
func released(ctx context.Context, d *device) error {
	for end := time.Now().Add(releaseLimit); ; {
		fd, err := unix.Open(d.path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			return unix.Close(fd)
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("opening %s: %w", d.path, err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("letting go of %s: another mount namespace has it mounted too: %w", d.path, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for another mount namespace, which has %s mounted too: %w", d.path, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// patiently waits a little for stragglers, who may be on their way out.
func patiently(f func() error) error {
	var err error
	for try := range 30 {
		if err = f(); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(time.Duration(10+10*try) * time.Millisecond)
	}
	return err
}

// letGo unmounts for an undo: what still holds the mount dies with the build's
// namespaces, so the mount is taken out of sight at least.
func letGo(m mounted) error {
	if m.check() != nil {
		return nil // Commit was here before
	}
	if unix.Unmount(m.target, unix.UMOUNT_NOFOLLOW) == nil {
		return nil
	}
	if err := unix.Unmount(m.target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting %s: %w", m.target, err)
	}
	return nil
}
