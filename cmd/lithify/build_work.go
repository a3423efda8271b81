package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const workPrefix = "lithify-build-"

// newWork makes the folder of this build below parent, and removes those that
// dead builds left: a living one holds a lock on its folder. Mounts are no part
// of it: they went with the dead build's namespaces.
func newWork(parent string) (dir string, remove func() error, err error) {
	if err := removeDeadWork(parent); err != nil {
		return "", nil, err
	}
	for {
		if dir, err = os.MkdirTemp(parent, workPrefix); err != nil {
			return "", nil, fmt.Errorf("making a work folder: %w; TMPDIR names another place", err)
		}
		lock, err := lockWork(dir)
		if err != nil {
			return "", nil, errors.Join(fmt.Errorf("locking work folder %q: %w", dir, err), os.RemoveAll(dir))
		}
		if lock != nil {
			return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
		}
	}
}

// lockWork takes the lock of a new work folder. It returns nil without an error
// when another build was quicker and removed the folder for a dead one's.
func lockWork(dir string) (*os.File, error) {
	lock, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = nil
		}
		return nil, errors.Join(err, lock.Close())
	}
	if _, err := os.Lstat(dir); err != nil {
		return nil, lock.Close()
	}
	return lock, nil
}

func removeDeadWork(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return fmt.Errorf("looking for work folders of dead builds: %w; TMPDIR names another place", err)
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), workPrefix) {
			if err := removeIfDead(filepath.Join(parent, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeIfDead removes a work folder whose lock nobody holds. Another user's
// is that user's to remove.
func removeIfDead(dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening work folder %q: %w", dir, err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || int(st.Uid) != os.Geteuid() {
		return err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // alive
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing what a dead build left: %w", err)
	}
	return nil
}
