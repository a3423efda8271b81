package loop

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/md"
)

// array is an md array, made by mdadm under a number and an id that nobody else
// has. When the kernel has let it go, package md gives it the plan's.
type array struct {
	disk *disk
	plan *blockdev.VolumePlan
	name string // in its superblocks, for now
	md   string // mdN
}

// mdNumbers: mdadm counts down from 127 when it chooses, and people count up.
const firstMD, mdNumbers = 1 << 18, 1 << 18

func (a *array) make(ctx context.Context) error {
	d := a.disk
	var random [20]byte
	rand.Read(random[:]) // never an error
	a.md = "md" + strconv.FormatUint(firstMD+uint64(binary.LittleEndian.Uint32(random[16:])%mdNumbers), 10)
	if _, err := os.Lstat(filepath.Join("/sys/block", a.md)); err == nil {
		return fmt.Errorf("%s is there already; try again", a.md)
	}
	args, err := createArgs(a.plan.MD(d.time()))
	if err != nil {
		return err
	}
	if err := d.journal.note("array", a.md); err != nil {
		return err
	}
	path := filepath.Join("/dev", a.md)
	args = append([]string{"--create", path, "--uuid=" + hex.EncodeToString(random[:16]), "--name=" + a.name}, args...)
	if _, err := d.volumeTool(ctx, call{}, "mdadm", append(args, d.bases(a.plan)...)...); err != nil {
		return err
	}
	return d.open(a.plan.Node, path, a.plan.Size)
}

// createArgs are mdadm's for an array as package md lays it out. Members are zeros
// all over, and so alike; where they are not, the superblocks that come at the end
// say that they have to be made so. A bitmap comes with them as well.
func createArgs(a md.Array) ([]string, error) {
	offset, used, err := a.Extent()
	if err != nil {
		return nil, err
	}
	args := []string{
		"--config=none", "--homehost=any", "--run", "--quiet", "--level=" + strconv.Itoa(a.Level),
		"--raid-devices=" + strconv.Itoa(len(a.Members)), "--metadata=" + a.Metadata,
	}
	if a.Metadata == "1.2" {
		args = append(args, fmt.Sprintf("--data-offset=%dK", offset>>10))
	}
	if a.Chunk != 0 {
		args = append(args, fmt.Sprintf("--chunk=%dK", a.Chunk>>10))
	}
	if a.Layout != "" {
		args = append(args, "--layout="+a.Layout)
	}
	if a.Level != 0 {
		args = append(args, "--assume-clean", "--bitmap=none", fmt.Sprintf("--size=%dK", used>>10))
	}
	return args, nil
}

const stopArray = 0x932 // STOP_ARRAY of linux/raid/md_u.h: _IO(MD_MAJOR, 0x32)

// finish stops the array through the open device: what was last written to it,
// the final metadata of a group, say, is not to be looked at by others. Closing
// the device would call udev.
func (a *array) finish() error {
	dev, err := a.disk.attached(a.plan.Node)
	if err == nil {
		err = dev.sync()
	}
	if err != nil {
		return err
	}
	err = patiently(func() error { return unix.IoctlSetInt(int(dev.file.Fd()), stopArray, 0) })
	if err != nil {
		return fmt.Errorf("stopping %s: %w", a.md, err)
	}
	err = errors.Join(dev.file.Close(), removeMDNode(a.md))
	dev.file = nil
	return errors.Join(err, a.disk.rewrite(a.plan, a.writeSuperblocks))
}

func (a *array) writeSuperblocks(below []*os.File) error {
	var members []md.Device
	for _, f := range below {
		members = append(members, f)
	}
	return a.plan.MD(a.disk.time()).WriteSuperblocks(members)
}

func (a *array) drop() error {
	err := a.disk.forget(a.plan.Node)
	if _, there := os.Lstat(filepath.Join("/sys/block", a.md)); a.md == "" || there != nil {
		return err
	}
	return errors.Join(err, stopMD(context.Background(), a.md, a.disk.journal.file))
}

// stopMD stops an array, waiting a little for those who are about to let it go.
func stopMD(ctx context.Context, name string, lock *os.File) error {
	path, err := blockdev.FindTool("mdadm")
	if err != nil {
		return err
	}
	err = patiently(func() error {
		_, err := call{env: withoutUdev, lock: lock}.run(ctx, path, "--stop", "--quiet", filepath.Join("/dev", name))
		if _, there := os.Lstat(filepath.Join("/sys/block", name, "md", "array_state")); err != nil && there == nil {
			return fmt.Errorf("%w (%w)", err, unix.EBUSY)
		}
		return nil
	})
	return errors.Join(err, removeMDNode(name))
}

// removeMDNode removes the node of an array that is gone: where no devtmpfs is, mdadm
// leaves it there, and whoever opens it has the kernel make an empty array.
func removeMDNode(name string) error {
	stays := patiently(func() error { // the kernel removes it a moment after it was stopped
		if _, err := os.Lstat(filepath.Join("/sys/block", name)); err == nil {
			return unix.EBUSY
		}
		return nil
	})
	if stays != nil {
		return nil // somebody has it open
	}
	if err := os.Remove(filepath.Join("/dev", name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
