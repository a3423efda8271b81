package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// MountReadOnly mounts size bytes of an image from off on for reading, and gives a
// path to its root. The mount is in no namespace: it belongs to this process,
// which alone can reach it, and ends with unmount or with the process. It needs
// root. A journal is not replayed, and files that two images have with one UUID
// can be mounted together where the kernel can do so (btrfs: Linux 6.7).
func MountReadOnly(_ context.Context, image *os.File, off, size int64, fsType string) (dir string, unmount func() error, err error) {
	nodes, err := os.MkdirTemp("", "lithify-loop-")
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(nodes)) }()
	const sector = 512
	dev, err := attach(image, image.Name(), off, size, sector, nodes)
	if err != nil {
		return "", nil, err
	}
	defer func() { err = errors.Join(err, dev.removeNode()) }()
	root, err := detachedMount(dev.path, fsType)
	if err != nil {
		return "", nil, errors.Join(err, dev.detach())
	}
	unmount = func() error { return errors.Join(unix.Close(root), dev.file.Close()) }
	return "/proc/self/fd/" + strconv.Itoa(root), unmount, nil
}

// readOptions are what each file system takes, beside "ro", so that nothing is
// replayed, and a second one with the same UUID is no hindrance.
var readOptions = map[string][]string{
	"xfs":   {"norecovery", "nouuid"},
	"btrfs": {"nologreplay"},
}

// detachedMount mounts a device for reading and gives a descriptor of its root,
// with which the mount ends.
func detachedMount(device, fsType string) (int, error) {
	doing := func(err error) error { return fmt.Errorf("mounting %s (%s): %w", device, fsType, err) }
	fs, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, doing(err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", device); err != nil {
		return 0, doing(err)
	}
	for _, o := range append([]string{"ro"}, readOptions[fsType]...) {
		if err := unix.FsconfigSetFlag(fs, o); err != nil && !errors.Is(err, unix.EINVAL) {
			return 0, doing(fmt.Errorf("option %s: %w", o, err))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return 0, doing(err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOATIME|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return 0, doing(err)
	}
	return root, nil
}
