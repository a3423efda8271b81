package loop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/physical"
)

// Sweep removes what disks with volumes have left in the kernel whose process was
// killed: what their journals in dir list ("": the usual folder), and what lies on
// it, whoever put it there; mappings, arrays, loop devices, and mounts that this
// process sees. Disks that are in use are left alone. A disk whose things cannot be
// removed keeps its journal, for the next time. It needs root, and does nothing
// where there is nothing to do.
func Sweep(ctx context.Context, dir string) error {
	if dir == "" {
		dir = defaultState
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for what killed builds left: %w", err)
	}
	var all []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tagPrefix) {
			all = append(all, sweepOne(ctx, filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(all...)
}

func sweepOne(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its owner was quicker
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if !lockJournal(f) {
		return nil
	}
	s := &sweep{lock: f}
	if err := s.read(); err != nil {
		return fmt.Errorf("reading journal %q: %w", path, err)
	}
	if s.kept {
		return nil
	}
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("removing what a killed build left (%s): %w", filepath.Base(path), err)
	}
	return os.Remove(path)
}

// sweep is the clearing up after one journal.
type sweep struct {
	lock     *os.File
	tags     []string
	mappings []string
	groups   []string
	arrays   []string
	works    []string
	kept     bool
}

func (s *sweep) read() error {
	lines := bufio.NewScanner(s.lock)
	for lines.Scan() {
		kind, name, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "loop":
			s.tags = append(s.tags, name)
		case "mapping":
			s.mappings = append(s.mappings, name)
		case "group":
			s.groups = append(s.groups, name)
		case "array":
			s.arrays = append(s.arrays, name)
		case "kept", "resumed":
			s.kept = kind == "kept"
		case "mounts":
			s.works = append(s.works, name)
		}
	}
	return lines.Err()
}

// run removes devices that nothing lies on, again and again, until none is left.
func (s *sweep) run(ctx context.Context) error {
	for {
		left, err := s.devices()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			break
		}
		removed := 0
		for name := range left {
			if len(holders(name)) > 0 {
				continue
			}
			if err := s.remove(ctx, name); err != nil {
				return err
			}
			removed++
		}
		if removed == 0 {
			return fmt.Errorf("devices hold each other: %v", left)
		}
	}
	var all []error
	for _, g := range s.groups {
		all = append(all, os.RemoveAll(filepath.Join("/dev", g)))
	}
	for _, a := range s.arrays {
		all = append(all, removeMDNode(a))
	}
	for _, w := range s.works {
		all = append(all, unmountAll(func(m physical.Mount) bool { return strings.HasPrefix(m.Target, w+"/") }))
	}
	return errors.Join(all...)
}

// devices are the kernel's names of what is to go: what the journal lists, and
// what lies on that.
func (s *sweep) devices() (map[string]bool, error) {
	found := map[string]bool{}
	for kernel, name := range mappings() {
		inGroup := func(g string) bool { return strings.HasPrefix(name, g+"-") }
		if slices.Contains(s.mappings, name) || slices.ContainsFunc(s.groups, inGroup) {
			addWithHolders(found, kernel)
		}
	}
	loops, err := taggedLoops(s.tags)
	if err != nil {
		return nil, err
	}
	for _, l := range loops {
		addWithHolders(found, l)
	}
	// An array that has no member yet lies on nothing of ours.
	for _, a := range s.arrays {
		state, err := os.ReadFile(filepath.Join("/sys/block", a, "md", "array_state"))
		if members, _ := filepath.Glob(filepath.Join("/sys/block", a, "slaves", "*")); err == nil && strings.TrimSpace(string(state)) == "clear" && len(members) == 0 {
			found[a] = true
		}
	}
	return found, nil
}

func addWithHolders(found map[string]bool, name string) {
	if found[name] {
		return
	}
	found[name] = true
	for _, h := range holders(name) {
		addWithHolders(found, h)
	}
}

// holders are the devices that lie on a device.
func holders(name string) []string {
	files, _ := filepath.Glob(filepath.Join("/sys/block", name, "holders", "*")) // the pattern is right
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return files
}

// mappings are those of the device mapper: kernel's name → name.
func mappings() map[string]string {
	all := map[string]string{}
	files, _ := filepath.Glob("/sys/block/dm-*/dm/name") // the pattern is right
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil { // else it is going
			all[filepath.Base(filepath.Dir(filepath.Dir(f)))] = strings.TrimSpace(string(data))
		}
	}
	return all
}

// taggedLoops are the loop devices that carry a tag.
func taggedLoops(tags []string) ([]string, error) {
	var all []string
	dirs, _ := filepath.Glob("/sys/block/loop*/loop") // the pattern is right
	for _, dir := range dirs {
		name := filepath.Base(filepath.Dir(dir))
		tag, err := tagOf(name)
		if err != nil {
			return nil, err
		}
		if tag != "" && slices.Contains(tags, tag) {
			all = append(all, name)
		}
	}
	return all, nil
}

// tagOf reads the tag of a loop device; "": it has none.
func tagOf(name string) (tag string, err error) {
	err = withLoop(name, func(f *os.File) error {
		info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		if err == nil {
			tag, _, _ = strings.Cut(unix.ByteSliceToString(info.File_name[:]), " ")
		}
		return err
	})
	if errors.Is(err, unix.ENXIO) || errors.Is(err, fs.ErrNotExist) {
		return "", nil // it was let go meanwhile
	}
	return tag, err
}

// withLoop opens a loop device by its number: its node may be elsewhere or nowhere.
func withLoop(name string, do func(*os.File) error) (err error) {
	dir, err := os.MkdirTemp("", "lithify-loop-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	var n int
	if _, err := fmt.Sscanf(name, "loop%d", &n); err != nil {
		return fmt.Errorf("%q is no loop device: %w", name, err)
	}
	d, err := openNode(n, dir)
	if err != nil {
		return err
	}
	return errors.Join(do(d.file), d.removeNode(), d.file.Close())
}

// remove takes one device away that nothing lies on.
func (s *sweep) remove(ctx context.Context, kernel string) error {
	if err := unmountDevice(kernel); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(kernel, "dm-"):
		name, there := mappings()[kernel]
		if !there {
			return nil
		}
		return removeMapping(ctx, name, s.lock)
	case strings.HasPrefix(kernel, "md"):
		return stopMD(ctx, kernel, s.lock)
	}
	return withLoop(kernel, func(f *os.File) error {
		if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
			return fmt.Errorf("detaching %s: %w", kernel, err)
		}
		return nil
	})
}

// removeMapping ends a mapping of the device mapper, waiting a little for those
// who look into every device they hear of.
func removeMapping(ctx context.Context, name string, lock *os.File) error {
	path, err := blockdev.FindTool("dmsetup")
	if err != nil {
		return err
	}
	_, err = call{env: withoutUdev, lock: lock}.run(ctx, path, "remove", "--retry", name)
	return err
}

// unmountDevice unmounts what this mount namespace has of a device.
func unmountDevice(kernel string) error {
	number, err := os.ReadFile(filepath.Join("/sys/block", kernel, "dev"))
	if err != nil {
		return nil // gone
	}
	names := []string{"/dev/" + kernel}
	if name := mappings()[kernel]; name != "" {
		names = append(names, "/dev/mapper/"+name)
	}
	// A btrfs has a number of its own, and names its device.
	return unmountAll(func(m physical.Mount) bool {
		return m.Device == strings.TrimSpace(string(number)) || slices.Contains(names, m.Source)
	})
}

// unmountAll unmounts those mounts of this namespace that it is asked for, the last
// one first.
func unmountAll(wanted func(physical.Mount) bool) error {
	mounts, err := physical.Mounts()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if !wanted(m) {
			continue
		}
		if err := unix.Unmount(m.Target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmounting %s: %w", m.Target, err)
		}
	}
	return nil
}
