package blockdev

import (
	"fmt"
	"time"

	"github.com/lithify/lithify/blockdev/fat"
)

// fatModel is the fsModel of vfat.
type fatModel struct{}

func (fatModel) settle(*FSPlan) {}

// least lets package fat judge by the real names; here only the data counts.
func (fatModel) least(f *FSPlan) (int64, error) {
	o, err := f.FAT(0, nil)
	if err != nil {
		return 0, err
	}
	o.Size = 0
	return fat.Needs(fat.Bound(max(0, f.Content.Bytes-f.Content.Inodes*blockSize), 0, 0), o)
}

func (fatModel) wants(f *FSPlan, room int64) (int64, error) {
	o, err := f.FAT(0, nil)
	if err != nil {
		return 0, err
	}
	c := fat.Bound(f.Content.Bytes, f.Content.Inodes, f.Content.Dirs)
	o.Size = 0
	n, err := fat.Needs(c, o)
	if err != nil {
		return 0, err
	}
	o.Size = n + room
	return fat.Needs(c, o) // clusters grow with the size
}

// FAT returns what package fat needs to write this file system into the disk's
// image at its offset. hidden counts the sectors before it on its disk; at is
// the disk's time, nil: now.
func (f *FSPlan) FAT(hidden int64, at *time.Time) (fat.Options, error) {
	id, err := fat.ParseID(f.UUID)
	if err != nil {
		return fat.Options{}, fmt.Errorf("file system %q: %w", f.Node, err)
	}
	o := fat.Options{
		Offset: f.Offset, Size: f.Size, SectorSize: f.SectorSize, HiddenSectors: uint32(min(hidden, 1<<32-1)),
		ESP: f.ESP, Label: f.Label, ID: id, Time: at,
	}
	if err := fat.ParseOptions(f.Options, &o); err != nil {
		return fat.Options{}, fmt.Errorf("file system %q: %w", f.Node, err)
	}
	return o, nil
}
