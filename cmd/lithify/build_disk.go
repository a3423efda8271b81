package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/boot"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/loop"
	"github.com/lithify/lithify/blockdev/physical"
	"github.com/lithify/lithify/convert"
	"github.com/lithify/lithify/rootfs"
	"github.com/lithify/lithify/rootfs/runner"
)

// createDisks lays the tree out on raw disks, with boot code.
func (j *job) createDisks(ctx context.Context) error {
	if !j.needsDisk() && !j.onDisk {
		return nil
	}
	j.graph.Identify(string(j.result.Seed))
	content, err := j.measure(ctx)
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

// measure says how much of the finished tree each file system will hold.
func (j *job) measure(ctx context.Context) (map[string]blockdev.Content, error) {
	if err := blockdev.MakeMountPoints(j.tree, j.graph.MountPoints()); err != nil {
		return nil, err
	}
	return blockdev.Measure(ctx, j.tree, j.graph.MountPoints())
}

// sizes are the user's wishes.
func (j *job) sizes() blockdev.Request {
	r := blockdev.Request{ImageSize: j.o.ImageSize}
	if j.o.HasExtraSize {
		r.ExtraSize = max(1, j.o.ImageExtraSize) // 0 would mean the usual share
	}
	return r
}

// checkSizes finds volumes and partitions that can never be laid out, where every
// disk has a size: with computed ones that shows when the content is there.
func (j *job) checkSizes() error {
	root, err := j.graph.RootDisk()
	for _, d := range j.graph.Disks() {
		if err != nil || d.Size == 0 && (d != root || j.o.ImageSize == 0) {
			return nil
		}
	}
	j.graph.Identify("preview")
	if _, err := j.graph.Layout(leastContent(j.graph.MountPoints()), j.sizes()); err != nil {
		return fmt.Errorf("%s: %w", j.diskSource, err)
	}
	return nil
}

func (j *job) createDisk(ctx context.Context, content map[string]blockdev.Content, grow bool) error {
	request := j.sizes()
	request.Grow = grow
	plan, err := j.graph.Layout(content, request)
	if err != nil {
		return fmt.Errorf("%s: %w", j.diskSource, err)
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
	j.disks, j.diskPlan = disk, plan
	if j.onDisk {
		return j.finishOnDisk(ctx)
	}
	if err := j.commitDisk(ctx); err != nil {
		return err
	}
	if err := j.placeBootCode(ctx); err != nil {
		return errors.Join(err, j.wipeDevices())
	}
	return nil
}

// commitDisk writes the disks out.
func (j *job) commitDisk(ctx context.Context) error {
	if err := j.disks.Commit(ctx); err != nil {
		return errors.Join(err, j.disks.Close())
	}
	return nil
}

// checkOnDisk finds out whether hooks can work on the disk itself, where they
// do.
func (j *job) checkOnDisk(ctx context.Context) error {
	if !j.onDisk {
		return nil
	}
	const what = "an element's hook works on IMAGE_BLOCK_DEVICE"
	if slices.ContainsFunc(j.formats, func(f convert.Format) bool { return f.Name == "docker" }) {
		return notYetf("%s, and an image for containers has none: leave out -t docker, or the element", what)
	}
	if j.o.Reproducible {
		return usagef("--reproducible: %s, which leaves the file system to the kernel; leave the element out", what)
	}
	if j.o.Backend == "file" {
		return usagef("%s, and --backend file has no devices; use --backend loop, as root", what)
	}
	if err := loopWorks(); err != nil {
		return usagef("%s, which needs a loop device: %w", what, err)
	}
	if err := loop.Check(ctx, j.graph); err != nil {
		return usagef("%s, which the kernel has to know: %w", what, err)
	}
	if _, err := j.graph.Root(); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// finishOnDisk runs the hooks that work on the disk. What they leave is the tree
// from here on.
func (j *job) finishOnDisk(ctx context.Context) error {
	j.undo = append(j.undo, j.disks.Close)
	root, err := j.graph.RootDisk()
	if err != nil {
		return err
	}
	d := rootfs.OnDisk{Dir: j.disks.Dir(), Devices: j.disks.Devices(), Disk: root.Name()}
	for _, planned := range j.diskPlan.Disks {
		if planned.Node == d.Disk {
			d.Size = planned.Size
		}
	}
	if err := j.result.Rest.Run(ctx, d); err != nil {
		return err
	}
	j.tree = j.disks.Dir()
	// Before the disk is let go: what a hook wrote to the device itself is still
	// on its way there, and so comes last and stays.
	return j.placeBootCode(ctx)
}

// placeBootCode puts GRUB's own sectors onto the disk that carries /, or onto each
// disk of a mirror that does.
func (j *job) placeBootCode(ctx context.Context) error {
	root, err := j.graph.RootDisk()
	if err != nil {
		return err
	}
	layout := boot.LayoutOf(j.graph)
	placed := false
	disks := j.graph.StartDisks()
	if !slices.Contains(disks, root) {
		disks = append(disks, root)
	}
	for _, d := range disks {
		one, err := boot.Place(ctx, j.disks.Images()[d.Name()], layout, j.tree)
		if err != nil {
			return fmt.Errorf("making disk %q boot: %w", d.Name(), err)
		}
		placed = placed || one
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

// backend makes the disks.
func (j *job) backend(images string) blockdev.Backend {
	work := filepath.Join(j.work, "disk")
	if j.byLoop() {
		return loop.New(loop.Options{WorkDir: work, ImageDir: images, Logger: j.ui.Logger(), Physical: physical.Options{Wipe: j.o.Wipe}, EarlyTable: j.onDisk, Secrets: j.secrets.of})
	}
	return file.New(file.Options{WorkDir: work, ImageDir: images, Logger: j.ui.Logger(), Physical: physical.Options{Wipe: j.o.Wipe}, Secrets: j.secrets.of})
}

// byLoop says whether the loop back end makes the disks: where the user wants it,
// and for what the file back end has no writer of its own for or cannot do (hooks
// that work on the disk need a device), if loop devices work. The file back end
// is the faster one (docs/benchmarks.md), and what it writes repeats.
func (j *job) byLoop() bool {
	if j.o.Backend == "loop" || j.onDisk { // checkOnDisk refuses what cannot be
		return true
	}
	thin := len(j.graph.Thin()) > 0
	native := file.Repeats(j.graph) == nil || j.graph.HasVolumes()
	return j.o.Backend == "auto" && (thin || !native) && loopWorks() == nil
}

// diskTools are the programs of the host that make the file systems.
func (j *job) diskTools() []string {
	if j.byLoop() {
		return blockdev.Tools(j.graph.FileSystems())
	}
	return file.Tools(j.graph)
}

// loopWorks says why loop devices are not for this build. In a user namespace
// the kernel mounts no disk, whoever may open the device.
func loopWorks() error {
	switch {
	case os.Geteuid() == 0 && runner.InUserNamespace() && runner.KeepsIDs():
		return errors.New("this build runs in a user namespace, where nobody may mount disks")
	case os.Geteuid() != 0 || runner.InUserNamespace():
		return errors.New("only root may mount disks")
	}
	return loop.Available()
}

// checkBackend refuses what this user or machine cannot do, before anything is
// built.
func (j *job) checkBackend(ctx context.Context) error {
	if !j.byLoop() {
		return file.Check(ctx, j.graph)
	}
	if err := loopWorks(); err != nil {
		return usagef("--backend loop: %w; --backend file makes the same disk without", err)
	}
	err := loop.Check(ctx, j.graph)
	var missing *loop.MissingError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing) && len(j.graph.Thin()) == 0:
		return usagef("--backend loop: %w; --backend file makes the same disk without", err)
	}
	return usagef("--backend loop: %w", err)
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
