package loop

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
)

// Kept is what another process needs to go on with a disk: plain data, for JSON.
type Kept struct {
	Plan    *blockdev.Plan        `json:"plan"`
	Time    *time.Time            `json:"time,omitempty"`
	Work    string                `json:"work"`
	Dir     string                `json:"dir"`
	Profile string                `json:"profile"`
	Images  map[string]string     `json:"images"`
	Devices map[string]KeptDevice `json:"devices"`
	Stages  map[string]KeptStage  `json:"stages,omitempty"`
	Mounts  []KeptMount           `json:"mounts"` // in the order of mounting
	Journal string                `json:"journal,omitempty"`
	Volumes []KeptVolume          `json:"volumes,omitempty"` // as in the plan
}

// KeptDevice is an attached loop device.
type KeptDevice struct {
	Path string `json:"path"`
	Made bool   `json:"made,omitempty"` // the node is to be removed with the device
}

// KeptVolume is what a volume is called in the kernel, and, of a group, what its
// metadata is to become.
type KeptVolume struct {
	Name string `json:"name"` // of a group or mapping; mdN of an array
	Text []byte `json:"text,omitempty"`
}

// KeptStage is a folder that becomes a vfat.
type KeptStage struct {
	Dir   string `json:"dir"`
	State string `json:"state"` // hexadecimal, when it was written last
}

// KeptMount is a mount, with the numbers of its root.
type KeptMount struct {
	Node       string `json:"node"`
	Target     string `json:"target"`
	MountPoint string `json:"mount_point"`
	Device     uint64 `json:"device"`
	Inode      uint64 `json:"inode"`
	Trimmed    bool   `json:"trimmed,omitempty"`
}

// Keep makes a disk of this back end outlive the process: its devices stay
// attached and its file systems mounted, in the mount namespace of the caller,
// until Resume and Commit or Close. The disk itself is of no more use. After an
// error it is as before.
//
// This is for callers that are one process for each step. A build is one process
// and wants the contrary: that everything goes with it.
func Keep(made blockdev.Disk) (Kept, error) {
	d, ok := made.(*disk)
	if !ok || d.closed {
		return Kept{}, errors.New("loop: Keep of a disk that is not there")
	}
	if len(d.claims) > 0 {
		return Kept{}, errors.New("loop: Keep of a physical disk, which goes with the process that has it")
	}
	k := Kept{
		Plan: d.plan, Time: d.tree.Time, Work: d.work, Dir: d.dir, Profile: d.profile, Images: d.images,
		Devices: map[string]KeptDevice{}, Stages: map[string]KeptStage{},
	}
	for node, dev := range d.devices {
		if dev.file == nil {
			continue // a Commit that failed later has detached it
		}
		if d.plan.Volume(node) == nil {
			if err := dev.setAutoclear(false); err != nil {
				return Kept{}, err
			}
		}
		k.Devices[node] = KeptDevice{dev.path, dev.made}
	}
	for node, s := range d.stages {
		k.Stages[node] = KeptStage{s.dir, hex.EncodeToString(s.state[:])}
	}
	for _, m := range d.mounted {
		k.Mounts = append(k.Mounts, KeptMount{m.fs.Node, m.target, m.at, m.root.dev, m.root.ino, m.trimmed})
	}
	if err := d.keepVolumes(&k); err != nil {
		return Kept{}, err
	}
	d.closed = true
	var errs []error
	if d.journal != nil {
		errs = append(errs, d.journal.file.Close())
	}
	for _, dev := range d.devices {
		if dev.file != nil {
			errs = append(errs, dev.file.Close())
		}
	}
	return k, errors.Join(errs...)
}

// Resume goes on with a disk that Keep kept. Devices and mounts that are gone
// since (the machine was started anew) are left out: Commit then says what is no
// longer mounted, and Close removes the rest. Of the options only the logger
// counts.
func Resume(k Kept, o Options) (blockdev.Disk, error) {
	if k.Plan == nil || k.Work == "" {
		return nil, errors.New("loop: nothing was kept")
	}
	o.WorkDir, o.MountDir = filepath.Dir(k.Work), k.Dir
	d := &disk{
		o: New(o).o, plan: k.Plan, tree: blockdev.Tree{Time: k.Time}, work: k.Work, dir: k.Dir, profile: k.Profile,
		images: k.Images, devices: map[string]*device{}, tools: map[string]tool{}, stages: map[string]*stage{},
	}
	for _, image := range k.Images {
		d.files.push(func() error { return removeKept(image) })
	}
	if err := d.resumeStages(k); err != nil {
		return nil, err
	}
	if err := d.resumeJournal(k.Journal); err != nil {
		return nil, err
	}
	d.resumeFolders()
	for node, kept := range k.Devices {
		if k.Plan.Volume(node) != nil {
			continue
		}
		if err := d.resumeDevice(node, kept); err != nil {
			return nil, err
		}
	}
	if err := d.resumeVolumes(k); err != nil {
		return nil, err
	}
	for _, m := range k.Mounts {
		f := k.Plan.MadeBy(m.Node)
		if f == nil {
			return nil, fmt.Errorf("loop: %q is kept as mounted, and the plan has no such file system", m.Node)
		}
		d.push(mounted{fs: f, target: m.Target, at: m.MountPoint, root: inode{m.Device, m.Inode}, trimmed: m.Trimmed})
	}
	return d, nil
}

func (d *disk) resumeStages(k Kept) error {
	for node, kept := range k.Stages {
		s := &stage{dir: kept.Dir}
		if state, err := hex.DecodeString(kept.State); err != nil || copy(s.state[:], state) != sha256.Size {
			return fmt.Errorf("loop: %q is no state of a folder", kept.State)
		}
		if kept.Dir != "" {
			d.staged.push(func() error { return os.RemoveAll(kept.Dir) })
		}
		d.stages[node] = s
	}
	return nil
}

// resumeFolders is the undoing of folders.
func (d *disk) resumeFolders() {
	top := filepath.Join(d.work, "top")
	files := []string{d.work, filepath.Join(d.work, "dev"), top, d.profile}
	if d.ownDir() {
		files = slices.Insert(files, 3, d.dir)
	}
	for _, file := range files {
		d.undo.push(func() error { return removeKept(file) })
	}
	for _, mount := range []string{top, d.dir} {
		d.undo.push(func() error {
			if err := unmount(mount); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return err
			}
			return nil // no longer mounted
		})
	}
}

func removeKept(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// resumeDevice opens a device if it still is the image's: its number may be
// another's by now.
func (d *disk) resumeDevice(node string, kept KeptDevice) error {
	f, err := os.OpenFile(kept.Path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the device of %q: %w", node, err)
	}
	if !d.backs(f) {
		return f.Close()
	}
	dev := &device{path: kept.Path, file: f, made: kept.Made}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) == nil {
		dev.rdev = st.Rdev
	}
	// From here on it goes with the process again, should that die.
	if err := dev.setAutoclear(true); err != nil {
		return errors.Join(err, f.Close())
	}
	d.devices[node] = dev
	d.undo.push(dev.detach)
	return d.keepUdevOff(node, dev)
}

// backs tells whether a loop device has one of the disk's images behind it.
func (d *disk) backs(f *os.File) bool {
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return false
	}
	for _, image := range d.images {
		var st unix.Stat_t
		name := unix.ByteSliceToString(info.File_name[:]) // cut where it was too long
		if d.journal != nil {
			name = strings.TrimPrefix(name, d.journal.tag+" ")
		}
		if unix.Stat(image, &st) == nil && st.Ino == info.Inode && strings.HasPrefix(image, name) {
			return true
		}
	}
	return false
}

// setAutoclear says whether the kernel detaches the device when nobody uses it.
func (d *device) setAutoclear(on bool) error {
	info, err := unix.IoctlLoopGetStatus64(int(d.file.Fd()))
	if err != nil {
		return fmt.Errorf("asking %s: %w", d.path, err)
	}
	info.Flags &^= unix.LO_FLAGS_AUTOCLEAR
	if on {
		info.Flags |= unix.LO_FLAGS_AUTOCLEAR
	}
	if err := unix.IoctlLoopSetStatus64(int(d.file.Fd()), info); err != nil {
		return fmt.Errorf("keeping %s attached: %w", d.path, err)
	}
	return nil
}
