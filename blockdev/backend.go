package blockdev

import (
	"context"
	"time"
)

// Tree is where the content is. It is only read.
type Tree struct {
	Dir  string     // nothing is mounted below it; it has every mount point (MakeMountPoints)
	Time *time.Time // of what a back end makes itself: superblocks, lost+found; nil: now

	// Clamp says that the tree may hold later times than Time, which become it.
	// Package file alone knows it.
	Clamp bool
}

// Backend makes plans real. The plan comes from the graph's Layout.
type Backend interface {
	// Create makes the disks, fills them from the tree and mounts what it can.
	// After an error nothing is left: no file, no mount, no device. A file
	// system that runs full is a *NoSpaceError.
	Create(ctx context.Context, g *Graph, p *Plan, t Tree) (Disk, error)
}

// Disk is what a back end made. One of Commit or Close ends it; Close after
// Commit does nothing.
type Disk interface {
	// Dir has every file system at its mount point, writable; "" where the back
	// end mounts nothing.
	Dir() string
	// Devices maps nodes to device paths; empty where there are none.
	Devices() map[string]string
	// Images maps disk nodes to raw files, a physical disk to its device. They are
	// whole after Commit.
	Images() map[string]string
	// Commit writes everything out and lets go of all but the raw files, which
	// are the caller's from then on.
	Commit(ctx context.Context) error
	// Close undoes in reverse, removes the raw files, and takes off the physical
	// disks what they would be recognised by.
	Close() error
}
