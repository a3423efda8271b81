package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/physical"
)

// setWipe: devices are named one by one, since what is on them is lost.
func setWipe(o *Options, where, v string) error {
	path, err := filepath.Abs(v)
	if v == "" || err != nil {
		return usagef("%s: %q is no path of a device", where, v)
	}
	st, err := os.Stat(path)
	if err != nil {
		return usagef("%s: %w", where, err)
	}
	if st.Mode()&os.ModeDevice == 0 || st.Mode()&os.ModeCharDevice != 0 {
		return usagef("%s: %q is no block device", where, v)
	}
	o.Wipe = append(o.Wipe, path)
	return nil
}

// lookAtDevices asks the physical disks of a graph how large they are, and refuses
// those that may not be written onto.
func lookAtDevices(g *blockdev.Graph, wipe []string) error {
	disks := g.PhysicalDisks()
	for _, w := range wipe {
		if !wiped(w, disks) {
			return usagef("--wipe %s: no physical_disk of the configuration is that device", w)
		}
	}
	for i, d := range disks {
		for _, other := range disks[:i] {
			if physical.Overlap(d.Device, other.Device) {
				return usagef("disks %q and %q are one device (%s, %s)", other.Name(), d.Name(), other.Device, d.Device)
			}
		}
	}
	for _, d := range disks {
		info, err := physical.Look(d.Device, wipe)
		if err == nil {
			err = g.SetDevice(d, info.Size, info.SectorSize)
		}
		if err != nil {
			return fmt.Errorf("disk %q: %w", d.Name(), err)
		}
	}
	return nil
}

func wiped(device string, disks []*blockdev.LocalLoop) bool {
	for _, d := range disks {
		if physical.Same(device, d.Device) {
			return true
		}
	}
	return false
}

func (j *job) lookAtDevices() error {
	if err := lookAtDevices(j.graph, j.o.Wipe); err != nil {
		return fmt.Errorf("%s: %w", j.diskSource, err)
	}
	return nil
}

// writesDevices says whether the build writes onto devices, which never are what
// they would become.
func (j *job) writesDevices() bool { return j.needsDisk() && len(j.graph.PhysicalDisks()) > 0 }

// wipeDevices takes away what was written to devices, when something that belongs
// to it cannot be.
func (j *job) wipeDevices() error {
	var all []error
	for _, d := range j.graph.PhysicalDisks() {
		all = append(all, physical.Wipe(d.Device))
	}
	return errors.Join(all...)
}

// devicesMade lists the devices that were written, for the summary.
func (j *job) devicesMade() (all []OutputFile) {
	if !j.writesDevices() {
		return nil
	}
	for _, d := range j.graph.PhysicalDisks() {
		all = append(all, OutputFile{Path: d.Device, Format: "physical_disk", Disk: d.Name(), Size: d.Size})
	}
	return all
}
