package runner

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// devices are the nodes of a tree's /dev, by name, with their numbers as in
// the kernel's list of allocated devices. There is no console: a command in a
// tree has no business with the host's.
var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

var devLinks = [][2]string{
	{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
	{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
}

// mountDev mounts a small /dev of our own. A tree without the folder is an
// error: next to nothing works without /dev/null, and a shell would make a
// plain file of it.
func (t *tree) mountDev() error {
	at, err := t.lookup("/dev", unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("mounting /dev: looking for the folder in the tree: %w", err)
	}
	defer unix.Close(at)
	t.dev, err = newMount("tmpfs", unix.MOUNT_ATTR_NOSUID, "mode=0755", "size=64m")
	if err != nil {
		return fmt.Errorf("mounting /dev: %w", err)
	}
	if err := attach(t.dev, at); err != nil {
		return fmt.Errorf("mounting /dev: %w", err)
	}
	return t.fillDev()
}

func (t *tree) fillDev() error {
	for _, d := range devices {
		if err := t.device(d.name, unix.Mkdev(d.major, d.minor)); err != nil {
			return fmt.Errorf("making /dev/%s: %w", d.name, err)
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l[0], t.dev, l[1]); err != nil {
			return fmt.Errorf("making /dev/%s: %w", l[1], err)
		}
	}
	if err := t.devFolder("pts", mountPts); err != nil {
		return err
	}
	return t.devFolder("shm", func() (int, error) {
		return newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode=1777")
	})
}

// device makes a node. Where the kernel allows none (a user namespace) the
// host's is bound. Not the other way round: a bound node is the host's own, and
// a hook that does chmod on it would do it to the host.
func (t *tree) device(name string, dev uint64) error {
	err := unix.Mknodat(t.dev, name, unix.S_IFCHR|0o666, int(dev))
	if err == nil || !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := cloneMount("/dev/"+name, false)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Mknodat(t.dev, name, unix.S_IFREG|0o666, 0); err != nil {
		return err
	}
	at, err := unix.Openat(t.dev, name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return attach(fd, at)
}

// devFolder makes a folder in /dev and attaches what makeMount gives.
func (t *tree) devFolder(name string, makeMount func() (int, error)) error {
	if err := unix.Mkdirat(t.dev, name, 0o755); err != nil {
		return fmt.Errorf("making /dev/%s: %w", name, err)
	}
	return t.cover("/dev/"+name, makeMount)
}

// mountPts makes pseudo terminals of our own. Group 5 is tty everywhere; in a
// user namespace that does not map it the option is EINVAL.
func mountPts() (int, error) {
	const attr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	options := []string{"newinstance", "ptmxmode=0666", "mode=0620"}
	fd, err := newMount("devpts", attr, append(options, "gid=5")...)
	if errors.Is(err, unix.EINVAL) {
		fd, err = newMount("devpts", attr, options...)
	}
	return fd, err
}
