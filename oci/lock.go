package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errLocked says that somebody else holds a lock.
var errLocked = errors.New("locked by another")

// lock is a held flock. Two locks of one process exclude each other like those
// of two processes, as each opens the file anew.
type lock struct {
	fd   int
	path string
}

// tryLock takes the flock of path, which is made when missing, or returns
// errLocked. A lock file may be unlinked by its exclusive holder: a lock gained
// on an unlinked file is given up and tried again on the new one.
func tryLock(path string, how int) (*lock, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("opening lock %q: %w", path, err)
		}
		err = flock(fd, how|unix.LOCK_NB)
		if err == nil && isCurrent(fd, path) {
			return &lock{fd: fd, path: path}, nil
		}
		unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		if err != nil {
			return nil, fmt.Errorf("locking %q: %w", path, err)
		}
	}
}

// waitLock is tryLock that waits. It polls, as a blocked flock cannot be given
// up when ctx ends; the waiters are builds that wait for seconds or minutes.
func waitLock(ctx context.Context, path string, how int) (*lock, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		l, err := tryLock(path, how)
		if !errors.Is(err, errLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for lock %q: %w", path, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

func flock(fd, how int) error {
	for {
		if err := unix.Flock(fd, how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func isCurrent(fd int, path string) bool {
	var held, named unix.Stat_t
	return unix.Fstat(fd, &held) == nil && unix.Stat(path, &named) == nil &&
		held.Ino == named.Ino && held.Dev == named.Dev
}

// release gives the lock up and leaves its file.
func (l *lock) release() error { return unix.Close(l.fd) }

// remove gives the lock up and removes its file, when nobody shares the lock.
func (l *lock) remove() error {
	var err error
	if flock(l.fd, unix.LOCK_EX|unix.LOCK_NB) == nil && isCurrent(l.fd, l.path) {
		err = os.Remove(l.path)
	}
	return errors.Join(err, l.release())
}
