package oci

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containers/storage/drivers"
	"golang.org/x/sys/unix"
)

// hint adds what to do to errors that a user can mend.
func (s *Store) hint(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w (the disk that holds %q is full: free some space, prune the layer store, or name a store on another disk)", err, s.root)
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%q must be a folder that this user can write: name another store)", err, s.root)
	case errors.Is(err, graphdriver.ErrNotSupported), errors.Is(err, graphdriver.ErrIncompatibleFS),
		errors.Is(err, unix.ENODEV), strings.Contains(err.Error(), "'overlay'"):
		return fmt.Errorf("%w (no overlay mounts on %q: load the kernel's overlay module, allow mounts in the namespace, and put the store on ext4, xfs or btrfs, not on overlay or a network disk)", err, s.root)
	}
	return err
}
