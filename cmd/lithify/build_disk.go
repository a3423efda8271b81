package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/boot"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/loop"
	"github.com/lithify/lithify/rootfs/runner"
)

// createDisks lays the tree out on raw disks, with boot code.
func (j *job) createDisks(ctx context.Context) error {
	if !j.needsDisk() {
		return nil
	}
	j.graph.Identify(string(j.result.Seed))
	if err := blockdev.MakeMountPoints(j.tree, j.graph.MountPoints()); err != nil {
		return err
	}
	content, err := blockdev.Measure(ctx, j.tree, j.graph.MountPoints())
	if err != nil {
		return err
	}
	err = j.createDisk(ctx, content, false)
	var full *blockdev.NoSpaceError
	if errors.As(err, &full) && !full.Explicit {
		j.ui.Warn("a computed size was too small: trying once more with half as much again")
		err = j.createDisk(ctx, content, true)
	}
	return err
}

func (j *job) createDisk(ctx context.Context, content map[string]blockdev.Content, grow bool) error {
	request := blockdev.Request{ImageSize: j.o.ImageSize, Grow: grow}
	if j.o.HasExtraSize {
		request.ExtraSize = max(1, j.o.ImageExtraSize) // 0 would mean the usual share
	}
	plan, err := j.graph.Layout(content, request)
	if err != nil {
		return err
	}
	// Outputs go where the configuration says; the raw disks are ours until then.
	for i := range plan.Disks {
		plan.Disks[i].Directory = ""
	}
	images, err := j.imageFolder(plan)
	if err != nil {
		return err
	}
	disk, err := j.backend(images).Create(ctx, j.graph, plan, blockdev.Tree{Dir: j.tree, Time: j.o.Epoch})
	if err != nil {
		return err
	}
	if err := disk.Commit(ctx); err != nil {
		return errors.Join(err, disk.Close())
	}
	j.disks, j.diskPlan = disk, plan
	return j.placeBootCode(ctx)
}

// placeBootCode puts GRUB's own sectors onto the disk that carries /.
func (j *job) placeBootCode(ctx context.Context) error {
	root, err := j.graph.RootDisk()
	if err != nil {
		return err
	}
	layout := boot.LayoutOf(j.graph)
	placed, err := boot.Place(ctx, j.disks.Images()[root.Name()], layout, j.tree)
	if err != nil {
		return fmt.Errorf("making disk %q boot: %w", root.Name(), err)
	}
	if !placed && j.bootable() && !layout.StartsByEFI() {
		j.ui.Warn("no boot code was written: the tree has no GRUB image for this disk")
	}
	return nil
}

func (j *job) largeSectors() bool {
	root, err := j.graph.RootDisk()
	return err == nil && root.BlockSize > 512
}

// backend is the loop back end for root where loop devices work, unless the
// user says otherwise; the file back end for everybody else.
func (j *job) backend(images string) blockdev.Backend {
	name := j.o.Backend
	if name == "auto" {
		name = "file"
		if loopWorks() == nil {
			name = "loop"
		}
	}
	work := filepath.Join(j.work, "disk")
	if name == "loop" {
		return loop.New(loop.Options{WorkDir: work, ImageDir: images, Logger: j.ui.Logger()})
	}
	return file.New(file.Options{WorkDir: work, ImageDir: images, Logger: j.ui.Logger()})
}

// loopWorks says why loop devices are not for this build. In a user namespace
// the kernel mounts no disk, whoever may open the device.
func loopWorks() error {
	if runner.InUserNamespace() || os.Geteuid() != 0 {
		return errors.New("only root may mount disks")
	}
	return loop.Available()
}

// checkBackend refuses what this user or machine cannot do, before anything is
// built.
func (j *job) checkBackend() error {
	if j.o.Backend != "loop" {
		return nil
	}
	if err := loopWorks(); err != nil {
		return usagef("--backend loop: %w; --backend file makes the same disk without", err)
	}
	return nil
}

// imageFolder is where raw disks are made: in memory where they fit well.
func (j *job) imageFolder(plan *blockdev.Plan) (string, error) {
	if err := os.MkdirAll(filepath.Join(j.work, "disk"), 0o755); err != nil {
		return "", err
	}
	var need int64
	for _, f := range plan.FileSystems {
		need += f.Content.Bytes + f.Size/16 // inode tables, journal
	}
	parent, err := j.roomFor(need + need/4)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(parent, "image")
	return dir, os.MkdirAll(dir, 0o755)
}
