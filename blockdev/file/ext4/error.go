package ext4

import (
	"fmt"
	"syscall"
)

// FullError is a file system that the tree does not fit into.
type FullError struct {
	Blocks int64 // more that are needed, at least
	Inodes int64 // likewise
	Bytes  int64 // of the blocks
}

func (e *FullError) Error() string {
	switch {
	case e.Inodes == 0:
		return fmt.Sprintf("it lacks %d blocks (%d bytes)", e.Blocks, e.Bytes)
	case e.Blocks == 0:
		return fmt.Sprintf("it lacks %d inodes", e.Inodes)
	}
	return fmt.Sprintf("it lacks %d blocks (%d bytes) and %d inodes", e.Blocks, e.Bytes, e.Inodes)
}

// Unwrap makes errors.Is(err, syscall.ENOSPC) hold.
func (e *FullError) Unwrap() error { return syscall.ENOSPC }
