package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/physical"
)

// Options of the back end. WorkDir is needed.
type Options struct {
	WorkDir  string           // an existing folder of the build's own; mounts are made below it
	ImageDir string           // of raw images that name no folder; "": WorkDir
	MountDir string           // an existing folder where the file systems are mounted; "": one below WorkDir
	Workers  int              // files copied at once; 0: two for each processor
	Logger   *slog.Logger     // nil: silent
	Physical physical.Options // how devices that are there are taken
	// EarlyTable is for who looks at the devices of physical disks before Commit.
	// Else their tables come last, so that one that is cut short has none.
	EarlyTable bool
	// Secrets gives the passphrase of an encrypted volume; the seed must be nil:
	// keys come from chance here. Neither is kept.
	Secrets func(node string) (passphrase, seed []byte, err error)
	// StateDir is where disks with volumes keep journals of what is to be removed
	// from the kernel should the process be killed; "": one below /run.
	StateDir string

	deed func() // for tests: called before and after what changes the kernel's state
}

// Backend makes disks with loop devices.
type Backend struct{ o Options }

// New returns a back end. It touches nothing.
func New(o Options) *Backend {
	if o.ImageDir == "" {
		o.ImageDir = o.WorkDir
	}
	if o.StateDir == "" {
		o.StateDir = defaultState
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

// Create makes, fills and mounts the disks of a plan. See blockdev.Backend. With
// volumes in the plan it first removes what killed ones left.
func (b *Backend) Create(ctx context.Context, _ *blockdev.Graph, p *blockdev.Plan, t blockdev.Tree) (blockdev.Disk, error) {
	if len(p.Volumes) > 0 {
		if err := Sweep(ctx, b.o.StateDir); err != nil {
			b.o.Logger.Warn("something of an earlier build is still there", "error", err)
		}
	}
	d := &disk{
		o: b.o, plan: p, tree: t, devices: map[string]*device{}, images: map[string]string{}, claims: physical.Disks{},
		tools: map[string]tool{}, stages: map[string]*stage{},
	}
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
	work    string             // a folder of this disk's own
	dir     string             // where the file systems are mounted
	profile string             // mke2fs.conf
	devices map[string]*device // by node
	journal *journal           // nil without volumes
	made    []made             // volumes, bases first
	images  map[string]string  // by disk node
	claims  physical.Disks
	tools   map[string]tool
	stages  map[string]*stage // by mkfs node
	mounted []mounted
	undo    undo
	staged  undo // the folders that become vfat, needed after the last unmount
	files   undo // the images, which outlive a Commit
	closed  bool
}

// mounted is one mount. Its root's numbers tell whether it still is there.
type mounted struct {
	fs      *blockdev.FSPlan
	target  string
	at      string // the mount point
	root    inode
	trimmed bool // another mount of the file system is trimmed, or there is nothing to trim
}

// create makes every file system before it mounts the first: a btrfs may have
// several mounts.
func (d *disk) create(ctx context.Context) error {
	if err := d.startVolumes(); err != nil {
		return err
	}
	if err := d.folders(); err != nil {
		return err
	}
	for i := range d.plan.Disks {
		if err := d.image(ctx, &d.plan.Disks[i]); err != nil {
			return fmt.Errorf("disk %q: %w", d.plan.Disks[i].Node, err)
		}
	}
	if err := d.volumes(ctx); err != nil {
		return err
	}
	for i := range d.plan.FileSystems {
		f := &d.plan.FileSystems[i]
		if err := d.mkfs(ctx, f); err != nil {
			return fmt.Errorf("file system %q: %w", f.Node, err)
		}
	}
	for _, m := range d.plan.Mounts {
		if err := d.mount(ctx, m); err != nil {
			return fmt.Errorf("file system %q: %w", m.Node, err)
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
	d.work = work
	d.undo.push(remove(work))
	d.dir = d.o.MountDir
	folders := []string{"dev", "mnt", "top"}
	if d.dir != "" {
		folders = []string{"dev", "top"}
	} else {
		d.dir = filepath.Join(work, "mnt")
	}
	for _, name := range folders {
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
	if d.journal != nil {
		if err := d.journal.note("mounts", work); err != nil {
			return err
		}
	}
	for _, path := range []string{filepath.Join(work, "top"), d.dir} {
		if err := private(path); err != nil {
			return err
		}
		d.undo.push(func() error { return unmount(path) })
	}
	return nil
}

// image makes a disk's file, its table, what this program writes itself (vfat,
// swap), and then a loop device for it and for each partition: a device that is
// there already could have old data in its cache.
func (d *disk) image(ctx context.Context, p *blockdev.DiskPlan) error {
	f, err := d.imageFile(p)
	if err != nil {
		return err
	}
	// Loop devices hold the file themselves.
	if p.Device == "" {
		defer f.Close()
	}
	if !d.late(p) {
		if err := blockdev.WriteTable(f, *p); err != nil {
			return err
		}
	}
	for i := range d.plan.FileSystems {
		if own := &d.plan.FileSystems[i]; own.Disk == p.Node {
			if err := d.writeOwn(ctx, f, own); err != nil {
				return fmt.Errorf("file system %q: %w", own.Node, err)
			}
		}
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
	if p.Device != "" {
		return d.physical(p)
	}
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
	name := f.Name()
	if d.journal != nil {
		name = d.journal.tag + " " + name
	}
	dev, err := attach(f, name, offset, size, sectorSize, filepath.Join(d.work, "dev"))
	if err != nil {
		return err
	}
	d.undo.push(dev.detach)
	d.devices[node] = dev
	d.o.Logger.Debug("attached", "node", node, "device", dev.path, "offset", offset, "size", size)
	d.deed()
	return d.keepUdevOff(node, dev)
}

// hostFull finds out whether a failed write is one that the disk below the
// image had no room for: through a loop device that is an input/output error.
func (d *disk) hostFull(err error) error {
	if !errors.Is(err, unix.EIO) && !strings.Contains(err.Error(), "Input/output error") {
		return err
	}
	for node, path := range d.images {
		if d.claims[node] != nil {
			continue
		}
		var fs unix.Statfs_t
		if unix.Statfs(path, &fs) == nil && int64(fs.Bavail)*fs.Bsize < 1<<20 {
			return fmt.Errorf("writing the image %s: %w (%w)", path, unix.ENOSPC, err)
		}
	}
	return err
}
