package loop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// Options of the back end. WorkDir is needed.
type Options struct {
	WorkDir  string       // an existing folder of the build's own; mounts are made below it
	ImageDir string       // of raw images that name no folder; "": WorkDir
	Workers  int          // files copied at once; 0: two for each processor
	Logger   *slog.Logger // nil: silent
}

// Backend makes disks with loop devices.
type Backend struct{ o Options }

// New returns a back end. It touches nothing.
func New(o Options) *Backend {
	if o.ImageDir == "" {
		o.ImageDir = o.WorkDir
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &Backend{o: o}
}

// Available says whether loop devices can be had here; nil is yes. It needs
// root and a /dev/loop-control that answers.
func Available() error {
	f, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loop devices: %w", err)
	}
	defer f.Close()
	if _, err := unix.IoctlRetInt(int(f.Fd()), unix.LOOP_CTL_GET_FREE); err != nil {
		return fmt.Errorf("loop devices: %w", err)
	}
	return nil
}

// Create makes, fills and mounts the disks of a plan. See blockdev.Backend.
func (b *Backend) Create(ctx context.Context, _ *blockdev.Graph, p *blockdev.Plan, t blockdev.Tree) (blockdev.Disk, error) {
	d := &disk{o: b.o, plan: p, tree: t, devices: map[string]*device{}, images: map[string]string{}}
	if err := d.create(ctx); err != nil {
		err = d.hostFull(err)
		return nil, errors.Join(err, d.release())
	}
	return d, nil
}

// disk is everything that one Create made.
type disk struct {
	o       Options
	plan    *blockdev.Plan
	tree    blockdev.Tree
	dir     string             // where the file systems are mounted
	profile string             // mke2fs.conf
	devices map[string]*device // by node
	images  map[string]string  // by disk node
	mounted []mounted
	undo    undo
	files   undo // the images, which outlive a Commit
	closed  bool
}

type mounted struct {
	dev    *device
	target string
	at     string // the mount point
}

func (d *disk) create(ctx context.Context) error {
	if err := d.folders(); err != nil {
		return err
	}
	for i := range d.plan.Disks {
		if err := d.image(&d.plan.Disks[i]); err != nil {
			return fmt.Errorf("disk %q: %w", d.plan.Disks[i].Node, err)
		}
	}
	for i := range d.plan.FileSystems {
		f := &d.plan.FileSystems[i]
		if err := d.fileSystem(ctx, f); err != nil {
			return fmt.Errorf("file system %q: %w", f.Node, err)
		}
	}
	return nil
}

func (d *disk) folders() error {
	work, err := os.MkdirTemp(d.o.WorkDir, "loop-")
	if err != nil {
		return err
	}
	// Not RemoveAll: should something still be mounted below, it must survive.
	remove := func(path string) func() error { return func() error { return os.Remove(path) } }
	d.undo.push(remove(work))
	for _, name := range []string{"dev", "mnt"} {
		path := filepath.Join(work, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		d.undo.push(remove(path))
	}
	if d.profile, err = blockdev.WriteMke2fsProfile(work); err != nil {
		return err
	}
	d.undo.push(remove(d.profile))
	d.dir = filepath.Join(work, "mnt")
	if err := private(d.dir); err != nil {
		return err
	}
	d.undo.push(func() error { return unmount(d.dir) })
	return nil
}

// image makes a disk's file, its table, and a loop device for it and for each
// partition.
func (d *disk) image(p *blockdev.DiskPlan) error {
	f, err := d.imageFile(p)
	if err != nil {
		return err
	}
	// Loop devices hold the file themselves.
	defer f.Close()
	if err := blockdev.WriteTable(f, *p); err != nil {
		return err
	}
	if err := d.attach(p.Node, f, 0, p.Size, p.SectorSize); err != nil {
		return err
	}
	for _, part := range p.Partitions {
		if part.Node == "" {
			continue // the extended partition holds only others
		}
		if err := d.attach(part.Node, f, part.Start, part.Size, p.SectorSize); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) imageFile(p *blockdev.DiskPlan) (*os.File, error) {
	dir := p.Directory
	if dir == "" {
		dir = d.o.ImageDir
	}
	path := filepath.Join(dir, p.Node+".raw")
	// An image that an earlier build left there is replaced, not written into:
	// it may be in use.
	if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	d.images[p.Node] = path
	d.files.push(func() error { return os.Remove(path) })
	if err := f.Truncate(p.Size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (d *disk) attach(node string, f *os.File, offset, size int64, sectorSize int) error {
	dev, err := attach(f, offset, size, sectorSize, filepath.Join(filepath.Dir(d.dir), "dev"))
	if err != nil {
		return err
	}
	d.undo.push(dev.detach)
	d.devices[node] = dev
	d.o.Logger.Debug("attached", "node", node, "device", dev.path, "offset", offset, "size", size)
	return nil
}

// fileSystem makes one file system, mounts it and copies what the tree has
// there. Its parents are mounted and filled.
func (d *disk) fileSystem(ctx context.Context, f *blockdev.FSPlan) error {
	start := time.Now()
	dev := d.devices[f.Base]
	if err := d.mkfs(ctx, f, dev); err != nil {
		return err
	}
	if f.MountPoint == "" {
		return nil
	}
	m := mounted{dev: dev, target: filepath.Join(d.dir, f.MountPoint), at: f.MountPoint}
	if err := mountDevice(dev, m.target, f.FSType); err != nil {
		return err
	}
	d.mounted = append(d.mounted, m)
	d.undo.push(func() error { return d.letGo(m) })
	if err := d.fill(ctx, f, m.target); err != nil {
		return noSpace(f, err)
	}
	d.o.Logger.Debug("filled", "mount point", f.MountPoint, "took", time.Since(start))
	return nil
}

func (d *disk) mkfs(ctx context.Context, f *blockdev.FSPlan, dev *device) error {
	args, env := blockdev.Mke2fsCommand(*f, blockdev.Mke2fs{Profile: d.profile, Target: dev.path, Time: d.tree.Time})
	return run(ctx, env, "mke2fs", args...)
}

// run starts a tool of the host; what it says becomes part of the error.
func run(ctx context.Context, env []string, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (d *disk) fill(ctx context.Context, f *blockdev.FSPlan, target string) error {
	c := copier{
		ctx:     ctx,
		from:    filepath.Join(d.tree.Dir, f.MountPoint),
		to:      target,
		leave:   map[string]bool{},
		workers: d.o.Workers,
	}
	for _, other := range d.plan.FileSystems {
		if other.MountPoint != "" && other.MountPoint != f.MountPoint {
			c.leave[filepath.Join(d.tree.Dir, other.MountPoint)] = true
		}
	}
	return c.run()
}

// noSpace turns a full file system into the error that lets it grow.
func noSpace(f *blockdev.FSPlan, err error) error {
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	return &blockdev.NoSpaceError{Node: f.Node, MountPoint: f.MountPoint, Size: f.Size, Explicit: f.Explicit, Err: err}
}

// hostFull finds out whether a failed write is one that the disk below the
// image had no room for: through a loop device that is an input/output error.
func (d *disk) hostFull(err error) error {
	if !errors.Is(err, unix.EIO) && !strings.Contains(err.Error(), "Input/output error") {
		return err
	}
	for _, path := range d.images {
		var fs unix.Statfs_t
		if unix.Statfs(path, &fs) == nil && int64(fs.Bavail)*fs.Bsize < 1<<20 {
			return fmt.Errorf("writing the image %s: %w (%w)", path, unix.ENOSPC, err)
		}
	}
	return err
}

// letGo unmounts for an undo: what still holds the mount dies with the build's
// namespaces, so the mount is taken out of sight at least.
func (d *disk) letGo(m mounted) error {
	if isMounted(m.dev, m.target) != nil {
		return nil // Commit was here before
	}
	if unix.Unmount(m.target, unix.UMOUNT_NOFOLLOW) == nil {
		return nil
	}
	if err := unix.Unmount(m.target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmounting %s: %w", m.target, err)
	}
	return nil
}
