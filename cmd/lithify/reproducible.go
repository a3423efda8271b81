package main

import (
	"strconv"
	"time"

	"github.com/lithify/lithify/blockdev/file"
)

// An image with SOURCE_DATE_EPOCH repeats to the bit when its inputs do:
//
//	times      no file is younger, nor a superblock, an archive, a header (rootfs, blockdev, convert)
//	ids        of disks, partitions, file systems: from the key below the fstab (blockdev.Identify)
//	files      what programs write afresh for no reason is removed (element sysprep)
//	layout     by the file back end, which writes equal bytes for equal trees
//
// --reproducible refuses whatever stands in the way instead of doing its best.

// firstDate is the time of a reproducible image for which none is given: the
// first that all file systems and archives here can hold (FAT begins in 1980).
const firstDate = 315532800

// applyReproducible sees to the time and the back end that --reproducible needs.
func applyReproducible(o *Options) error {
	if !o.Reproducible {
		return nil
	}
	if o.Backend == "loop" {
		return usagef("--reproducible: --backend loop leaves the layout of a file system to the kernel, which does not repeat; use --backend file")
	}
	if o.Epoch == nil {
		t := time.Unix(firstDate, 0).UTC()
		o.Epoch = &t
		o.Environment["SOURCE_DATE_EPOCH"] = strconv.Itoa(firstDate)
	}
	return nil
}

// checkReproducible refuses what --reproducible cannot keep its word for.
func (j *job) checkReproducible() error {
	if !j.needsDisk() {
		return nil
	}
	return j.checkRepeats()
}

// checkRepeats is checkReproducible where disks are made.
func (j *job) checkRepeats() error {
	if !j.o.Reproducible {
		return nil
	}
	if err := file.Repeats(j.graph); err != nil {
		return usagef("--reproducible: %w", err)
	}
	return nil
}
