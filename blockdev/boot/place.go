package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Place makes the raw disk image start by BIOS with the boot.img and core.img
// that grub-install's stand-in left in tree. The image is written in place,
// after everything has been checked: sector 0 last, its partition table kept.
// Nothing is fsynced.
//
//	read load.cfg, boot.img, core.img from tree's boot/grub{,2}/i386-pc
//	read the partition table from the image, find the room for core.img:
//	    MBR: sector 1 up to the first partition; GPT: the BIOS-boot partition
//	tell core.img where it lies, tell boot.img where core.img lies, write both
//
// It reports false without an error when there is nothing to place: a tree
// without core.img, one whose core.img looks for another file system than
// layout's (a base image brought it), or an image without partition table.
func Place(ctx context.Context, image string, layout Layout, tree string) (placed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	code, err := readCode(layout, tree)
	if err != nil || code == nil {
		return false, err
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return false, fmt.Errorf("placing boot code: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	placed, err = placeOn(f, code)
	if err != nil {
		return false, fmt.Errorf("placing boot code on %q: %w", image, err)
	}
	return placed, nil
}

// code is what makes a disk start: boot.img and core.img as GRUB's package and grub-mkimage make them.
type code struct{ boot, core []byte }

// readCode gives nil when the tree holds no core.img of this build.
func readCode(layout Layout, tree string) (*code, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, fmt.Errorf("looking for boot code: %w", err)
	}
	defer root.Close()
	for _, dir := range []string{"boot/grub/" + biosPlatform, "boot/grub2/" + biosPlatform} {
		c, err := readCodeFrom(root, dir, layout)
		if err != nil {
			return nil, fmt.Errorf("reading boot code from %q: %w", path.Join(tree, dir), err)
		}
		if c != nil {
			return c, nil
		}
	}
	return nil, nil
}

// readCodeFrom uses an os.Root: the tree's links must not lead to the host's files.
func readCodeFrom(root *os.Root, dir string, layout Layout) (*code, error) {
	config, err := root.ReadFile(dir + "/load.cfg")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || !searches(string(config), layout) {
		return nil, err
	}
	core, err := root.ReadFile(dir + "/core.img")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	boot, err := root.ReadFile(dir + "/boot.img")
	if err != nil {
		return nil, err
	}
	return checked(&code{boot: boot, core: core})
}

// searches says whether core.img's configuration looks for one of this build's
// file systems; before that it may open encrypted volumes.
func searches(config string, layout Layout) bool {
	for line := range strings.Lines(config) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "search.fs_uuid" {
			continue
		}
		return slices.ContainsFunc(layout.FileSystems, func(f FileSystem) bool { return f.UUID != "" && strings.EqualFold(f.UUID, words[1]) })
	}
	return false
}
