package boottest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Disk is one more disk of a machine. Without an image it is empty.
type Disk struct {
	Image, Format string
	Size          int64 // bytes, beyond the image's end zeros; 0 leaves it as it is
}

// disk is one that the machine has.
type disk struct {
	file, format string
	scratch      bool // an overlay of ours, thrown away
	gone         bool // unplugged
}

// Disks is how many disks the machine was started with.
func (vm *VM) Disks() int { return len(vm.disks) }

// Unplug leaves a disk out from the next start on: 0 is the boot disk, 1 the
// first of Options.ExtraDisks. It cannot be plugged in again.
func (vm *VM) Unplug(n int) { vm.disks[n].gone = true }

// addDisks makes an overlay on each image, or takes the boot disk as it is.
func (vm *VM) addDisks(ctx context.Context, dir string) error {
	o := vm.options
	all := append([]Disk{{Image: o.Image, Format: o.Format, Size: o.Size}}, o.ExtraDisks...)
	for i, d := range all {
		if i == 0 && o.Writable {
			image, err := filepath.Abs(o.Image)
			if err != nil {
				return fmt.Errorf("starting a machine: %w", err)
			}
			vm.disks = append(vm.disks, disk{file: image, format: o.Format})
			continue
		}
		over := filepath.Join(dir, fmt.Sprintf("overlay%d.qcow2", i))
		if err := d.overlay(ctx, over); err != nil {
			return err
		}
		vm.disks = append(vm.disks, disk{file: over, format: "qcow2", scratch: true})
	}
	return nil
}

// overlay makes a file that takes what is written to the disk.
func (d Disk) overlay(ctx context.Context, over string) error {
	args := []string{"create", "-q", "-f", "qcow2"}
	if d.Image != "" {
		image, err := filepath.Abs(d.Image)
		if err != nil {
			return fmt.Errorf("making an overlay on %q: %w", d.Image, err)
		}
		args = append(args, "-b", image, "-F", d.Format)
	}
	args = append(args, over)
	if d.Size > 0 {
		args = append(args, fmt.Sprint(d.Size))
	}
	if out, err := exec.CommandContext(ctx, "qemu-img", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("making an overlay on %q: %w: %s", d.Image, err, bytes.TrimSpace(out))
	}
	return nil
}

// drive is the disk's -drive value.
func (d disk) drive() string {
	// A comma in the name is doubled.
	value := "if=none,file=" + strings.ReplaceAll(d.file, ",", ",,") + ",format=" + d.format
	if d.scratch {
		value += ",cache=unsafe"
	}
	return value
}

// attach gives the options that plug disk number n in.
func (o Options) attach(n int, value string) []string {
	sectors := fmt.Sprintf("logical_block_size=%d,physical_block_size=%d", o.Sector, o.Sector)
	args := []string{"-drive", fmt.Sprintf("%s,id=disk%d", value, n)}
	if o.Bus == "sata" {
		return append(args, "-device", fmt.Sprintf("ahci,id=ahci%d", n),
			"-device", fmt.Sprintf("ide-hd,drive=disk%d,bus=ahci%d.0,bootindex=%d,%s", n, n, n, sectors))
	}
	return append(args, "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d,bootindex=%d,%s", n, n, sectors))
}

// hasDisks says whether QEMU holds the files of all disks open.
func (vm *VM) hasDisks() bool {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", vm.process.Pid))
	if err != nil {
		return false
	}
	open := map[string]bool{}
	for _, link := range links {
		if file, err := os.Readlink(link); err == nil {
			open[file] = true
		}
	}
	return !slices.ContainsFunc(vm.disks, func(d disk) bool { return !d.gone && !open[d.file] })
}
