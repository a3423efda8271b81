package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/loop"
)

// initialise reads and checks the configuration. It may be called again.
func (b *blockDevice) initialise(context.Context) error {
	c, err := b.newConfig()
	if err != nil {
		return err
	}
	return b.save(blockConfigFile, c)
}

// create makes the disks and mounts their file systems at mount-base. Whatever
// becomes of it, there is a state afterwards.
func (b *blockDevice) create(ctx context.Context) error {
	c, err := b.readConfig()
	if err != nil {
		return err
	}
	if err := b.notCreated(); err != nil {
		return err
	}
	state := &blockState{Blockdev: map[string]blockNode{}}
	byFile, err := b.useFile(c.graph)
	if err != nil {
		return err
	}
	if byFile {
		return b.createStaged(ctx, c, state)
	}
	kept, err := b.make(ctx, c, state)
	if err != nil {
		return errors.Join(err, b.save(blockStateFile, state))
	}
	if err := errors.Join(b.save(blockStateFile, state), b.save(blockNodesFile, blockNodes{Kept: kept})); err != nil {
		disk, again := loop.Resume(kept, loop.Options{})
		if again == nil {
			again = disk.Close()
		}
		return errors.Join(err, again)
	}
	return nil
}

// notCreated keeps create from forgetting a disk that is attached.
func (b *blockDevice) notCreated() error {
	var n blockNodes
	err := b.load(blockNodesFile, "", &n)
	if errors.Is(err, fs.ErrNotExist) || err == nil && n.Unmounted {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.New("the disk is there already: call umount and cleanup, or delete, first")
}

func (b *blockDevice) make(ctx context.Context, c *blockConfig, state *blockState) (loop.Kept, error) {
	var none loop.Kept
	if err := b.checkSizes(c); err != nil {
		return none, err
	}
	plan, err := b.layout(c, emptyContent(c.graph.MountPoints()))
	if err != nil {
		return none, err
	}
	if err := errors.Join(loop.Available(), loop.Check(ctx, c.graph)); err != nil {
		return none, err
	}
	passphrases := secrets{}
	defer passphrases.wipe()
	if err := passphrases.read(c.graph.Encrypted(), b.environment); err != nil {
		return none, err
	}
	mounts, err := b.need("mount-base")
	if err != nil {
		return none, err
	}
	work := b.values["build-dir"]
	images := firstNonEmpty(b.values["image-dir"], work)
	for _, dir := range []string{mounts, images} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return none, fmt.Errorf("making a folder for the disk: %w", err)
		}
	}
	tree, err := os.MkdirTemp(work, "empty-")
	if err != nil {
		return none, fmt.Errorf("making an empty tree: %w", err)
	}
	defer os.RemoveAll(tree)
	if err := errors.Join(os.Chmod(tree, 0o755), blockdev.MakeMountPoints(tree, c.graph.MountPoints())); err != nil {
		return none, err
	}
	disk, err := loop.New(loop.Options{WorkDir: work, ImageDir: images, MountDir: mounts, Secrets: passphrases.of}).Create(ctx, c.graph, plan, blockdev.Tree{Dir: tree})
	if err != nil {
		return none, err
	}
	note(state, c, plan, disk.Devices(), disk.Images())
	kept, err := loop.Keep(disk)
	if err != nil {
		return none, errors.Join(err, disk.Close())
	}
	return kept, nil
}

// checkSizes: disks that have no content yet must have been given a size.
func (b *blockDevice) checkSizes(c *blockConfig) error {
	for _, d := range c.graph.Disks() {
		if d.Size == 0 && d.Device == "" && b.values["image-size"] == "" {
			return fmt.Errorf("disk %q has no size, and %s no image-size", d.Name(), b.file)
		}
	}
	return nil
}

func emptyContent(mountPoints []string) map[string]blockdev.Content {
	all := map[string]blockdev.Content{}
	for _, at := range mountPoints {
		all[at] = blockdev.Content{Inodes: 1, Dirs: 1}
	}
	return all
}

func (b *blockDevice) layout(c *blockConfig, content map[string]blockdev.Content) (*blockdev.Plan, error) {
	if err := b.giveSizes(c); err != nil {
		return nil, err
	}
	return c.graph.Layout(content, blockdev.Request{})
}

// giveSizes gives image-size to every disk without a size.
func (b *blockDevice) giveSizes(c *blockConfig) error {
	if err := lookAtDevices(c.graph, b.wipe()); err != nil {
		return err
	}
	text := b.values["image-size"]
	if text == "" {
		return nil
	}
	size, err := blockdev.ParseSize(text)
	if err != nil {
		return fmt.Errorf("%s: image-size: %w", b.file, err)
	}
	for _, d := range c.graph.Disks() {
		if d.Size == 0 {
			d.Size = size
		}
	}
	return nil
}

// note writes down what scripts may ask for.
func note(state *blockState, c *blockConfig, plan *blockdev.Plan, devices, images map[string]string) {
	add := func(name string) {
		state.Blockdev[name] = blockNode{Device: devices[name], Image: images[name]}
		state.Order = append(state.Order, name)
	}
	for _, d := range plan.Disks {
		add(d.Node)
		for _, p := range d.Partitions {
			if p.Node != "" {
				add(p.Node)
			}
		}
	}
	for _, v := range plan.Volumes {
		if v.Group == nil {
			add(v.Node)
			continue
		}
		for _, l := range v.Group.Logical {
			add(l.Node)
		}
	}
	for _, m := range c.graph.Mounts() {
		state.MountOrder = append(state.MountOrder, m.MountPoint)
	}
	if root, err := c.graph.RootDisk(); err == nil {
		state.Root = root.Name()
	}
}

// writeFstab writes the tree's /etc/fstab, and /etc/crypttab where a volume is
// encrypted.
func (b *blockDevice) writeFstab(context.Context) error {
	if _, err := b.readState(); err != nil {
		return err
	}
	c, err := b.readConfig()
	if err != nil {
		return err
	}
	dir, err := b.stateDir()
	if err != nil {
		return err
	}
	tree, err := os.OpenRoot(filepath.Join(b.values["build-dir"], "built"))
	if err != nil {
		return fmt.Errorf("writing /etc/fstab: %w", err)
	}
	for name, text := range map[string]string{"fstab": c.graph.Fstab(), "crypttab": c.graph.Crypttab()} {
		if text == "" && name != "fstab" {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
		}
		if err == nil {
			err = tree.MkdirAll("etc", 0o755)
		}
		if err == nil {
			err = tree.WriteFile("etc/"+name, []byte(text), 0o644)
		}
	}
	if err != nil {
		err = fmt.Errorf("writing /etc/fstab: %w", err)
	}
	return errors.Join(err, tree.Close())
}

// nodes reads what create made.
func (b *blockDevice) nodes() (n blockNodes, err error) {
	return n, b.load(blockNodesFile, "Pickle file not found", &n)
}

// umount unmounts the file systems and detaches the devices. What create did not
// get to is no mistake: clean-up calls this after any failure.
func (b *blockDevice) umount(ctx context.Context) error {
	n, err := b.nodes()
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(b.stderr, "dib-block-device: nothing is mounted: no disk was created")
		return nil
	}
	if err != nil || n.Unmounted {
		return err
	}
	if n.Staged != nil {
		if err := b.unstage(ctx, n.Staged); err != nil {
			return err
		}
		n.Unmounted = true
		return b.save(blockNodesFile, n)
	}
	disk, err := loop.Resume(n.Kept, loop.Options{})
	if err != nil {
		return err
	}
	if err := disk.Commit(ctx); err != nil { // something is in use: the next call goes on from here
		kept, again := loop.Keep(disk)
		if again == nil {
			again = b.save(blockNodesFile, blockNodes{Kept: kept})
		}
		return errors.Join(err, again)
	}
	n.Unmounted = true
	return b.save(blockNodesFile, n)
}

// cleanup ends the work on a disk; its images stay.
func (b *blockDevice) cleanup(ctx context.Context) error {
	if _, err := b.nodes(); err != nil {
		return err
	}
	if err := b.umount(ctx); err != nil {
		return err
	}
	return b.forget()
}

// delete takes everything back, the images too.
func (b *blockDevice) delete(context.Context) error {
	n, err := b.nodes()
	if err != nil {
		return err
	}
	if n.Staged != nil {
		if err := n.Staged.drop(n.Unmounted); err != nil {
			return err
		}
		return b.forget()
	}
	if n.Unmounted {
		if err := removeImages(maps.Values(n.Kept.Images)); err != nil {
			return err
		}
		return b.forget()
	}
	disk, err := loop.Resume(n.Kept, loop.Options{})
	if err != nil {
		return err
	}
	if err := disk.Close(); err != nil {
		return err
	}
	return b.forget()
}

func removeImages(images iter.Seq[string]) error {
	for image := range images {
		if err := os.Remove(image); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the image: %w", err)
		}
	}
	return nil
}

func (b *blockDevice) forget() error {
	dir, err := b.stateDir()
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
