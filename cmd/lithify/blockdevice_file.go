package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/physical"
)

// By back end file nothing can be mounted: between create and umount a disk is a
// folder at mount-base, which the caller fills, and umount writes the images from
// it, as unmounting does by back end loop.
//
//	create   check the layout, make mount-base with its mount points
//	umount   measure it, write the images, empty it
//	delete   empty it, remove the images

// stagedDisk is a disk that is a folder until umount.
type stagedDisk struct {
	Dir    string            `json:"dir"`
	Images map[string]string `json:"images"` // by disk node
	// Devices are those of physical disks.
	Devices map[string]string `json:"devices,omitempty"`
}

// useFile says whether back end file makes the disk: where loop devices cannot be
// had, and for LVM, md and LUKS.
func (b *blockDevice) useFile(g *blockdev.Graph) (bool, error) {
	switch word := b.values["backend"]; word {
	case "file":
		return true, nil
	case "loop":
		if len(g.PhysicalDisks()) > 0 {
			return false, notYetf("backend: loop for a physical_disk in steps; backend: file makes it")
		}
		return false, nil
	case "", "auto":
		return g.HasVolumes() && len(g.Thin()) == 0 || len(g.PhysicalDisks()) > 0 || loopWorks() != nil, nil
	default:
		words := []string{"auto", "loop", "file"}
		return false, fmt.Errorf("%s: backend: unknown back end %q%s; allowed are %s", b.file, word, didYouMean(word, words), orList(words))
	}
}

// createStaged is create by back end file.
func (b *blockDevice) createStaged(ctx context.Context, c *blockConfig, state *blockState) error {
	staged, err := b.stage(ctx, c, state)
	if err := errors.Join(err, b.save(blockStateFile, state)); err != nil {
		return err
	}
	if err := b.save(blockNodesFile, blockNodes{Staged: staged}); err != nil {
		return errors.Join(err, emptyFolder(staged.Dir))
	}
	return nil
}

// wipe lists the devices whose content may go.
func (b *blockDevice) wipe() []string { return strings.Fields(b.values["wipe"]) }

// stage makes the folder.
func (b *blockDevice) stage(ctx context.Context, c *blockConfig, state *blockState) (*stagedDisk, error) {
	if err := file.Check(ctx, c.graph); err != nil {
		return nil, err
	}
	mounts, err := b.need("mount-base")
	if err != nil {
		return nil, err
	}
	plan, err := b.layout(c, leastContent(c.graph.MountPoints()))
	if err != nil {
		return nil, err
	}
	if entries, err := os.ReadDir(mounts); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("mount-base %q is not empty; what is in it would become part of the disk", mounts)
	}
	staged := &stagedDisk{Dir: mounts, Images: map[string]string{}, Devices: map[string]string{}}
	images := firstNonEmpty(b.values["image-dir"], b.values["build-dir"])
	for _, d := range plan.Disks {
		if d.Device != "" {
			staged.Devices[d.Node] = d.Device
			continue
		}
		staged.Images[d.Node] = filepath.Join(firstNonEmpty(d.Directory, images), d.Node+".raw")
	}
	for _, dir := range []string{mounts, images} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("making a folder for the disk: %w", err)
		}
	}
	note(state, c, plan, staged.Devices, staged.Images)
	if err := blockdev.MakeMountPoints(mounts, c.graph.MountPoints()); err != nil {
		return nil, errors.Join(err, emptyFolder(mounts))
	}
	return staged, nil
}

// unstage is umount by back end file. After an error the folder is as it was, and
// umount may be called again.
func (b *blockDevice) unstage(ctx context.Context, s *stagedDisk) error {
	if err := nothingMountedBelow(s.Dir); err != nil {
		return err
	}
	if inside, err := enterSession(ctx, false); !inside {
		return err // nil, too: the second process has done it
	}
	c, err := b.readConfig()
	if err != nil {
		return err
	}
	if err := b.writeImages(ctx, c, s); err != nil {
		return err
	}
	return emptyFolder(s.Dir)
}

// writeImages makes the disks from the folder.
func (b *blockDevice) writeImages(ctx context.Context, c *blockConfig, s *stagedDisk) error {
	own := secrets{}
	defer own.wipe()
	if err := own.read(c.graph.Encrypted(), b.environment); err != nil {
		return err
	}
	for _, image := range s.Images { // one that was left there is replaced, as by loop
		if st, err := os.Lstat(image); err == nil && st.Mode().IsRegular() {
			if err := os.Remove(image); err != nil {
				return fmt.Errorf("replacing the image: %w", err)
			}
		}
	}
	o := file.Options{WorkDir: b.values["build-dir"], ImageDir: firstNonEmpty(b.values["image-dir"], b.values["build-dir"]), Secrets: own.of, Physical: physical.Options{Wipe: b.wipe()}, Logger: slog.New(plainLog{b.stderr})}
	if err := b.giveSizes(c); err != nil {
		return err
	}
	disk, _, err := c.graph.Make(ctx, file.New(o), blockdev.Tree{Dir: s.Dir}, blockdev.Request{})
	if err != nil {
		return err
	}
	return disk.Commit(ctx)
}

// emptyFolder removes what is in a folder, where nothing is mounted.
func emptyFolder(dir string) error {
	if err := nothingMountedBelow(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("emptying %q: %w", dir, err)
		}
	}
	return nil
}

// nothingMountedBelow: what is mounted in the folder would become part of the
// disk, and then be removed with it.
func nothingMountedBelow(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mounts, err := physical.Mounts()
	for _, m := range mounts {
		if strings.HasPrefix(m.Target, dir+"/") {
			return fmt.Errorf("%q is still mounted; unmount it first", m.Target)
		}
	}
	return err
}

// drop is delete by back end file.
func (s *stagedDisk) drop(unmounted bool) error {
	if !unmounted {
		return emptyFolder(s.Dir)
	}
	return removeImages(maps.Values(s.Images))
}
