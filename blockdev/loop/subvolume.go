package loop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// subvolumeArgs is struct btrfs_ioctl_vol_args of linux/btrfs.h.
type subvolumeArgs struct {
	fd   int64
	name [4088]byte // ends with a zero
}

const createSubvolume = 0x5000940e // BTRFS_IOC_SUBVOL_CREATE: _IOW(0x94, 14, struct btrfs_ioctl_vol_args)

// makeSubvolumes makes a btrfs's subvolumes, with the folders on the way to them,
// from its top.
func (d *disk) makeSubvolumes(f *blockdev.FSPlan, dev *device) (err error) {
	if len(f.Subvolumes) == 0 {
		return nil
	}
	top := filepath.Join(d.work, "top")
	if _, err := mountDevice(dev, top, f, ""); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount(top)) }()
	for _, s := range f.Subvolumes {
		if err := makeSubvolume(filepath.Join(top, s)); err != nil {
			return noSpace(f, f.MountPoint, fmt.Errorf("subvolume %q: %w", s, err))
		}
	}
	return nil
}

func makeSubvolume(path string) (err error) {
	if err := makeParents(filepath.Dir(path)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	var args subvolumeArgs
	if copy(args.name[:len(args.name)-1], filepath.Base(path)) < len(filepath.Base(path)) {
		return &fs.PathError{Op: "create", Path: path, Err: unix.ENAMETOOLONG}
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), createSubvolume, uintptr(unsafe.Pointer(&args))); errno != 0 {
		return &fs.PathError{Op: "create", Path: path, Err: errno}
	}
	return os.Chmod(path, 0o755) // whatever the umask
}

// makeParents makes folders of mode 0755, whatever the umask.
func makeParents(path string) error {
	if st, err := os.Lstat(path); err == nil && st.IsDir() {
		return nil
	}
	if err := makeParents(filepath.Dir(path)); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}
