package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The driver's own deeds. They work on the tree through os.Root, so that no
// symbolic link of the target leads them onto the host.

// tree opens the bench's tree.
func (w *bench) tree() (*os.Root, error) {
	t, err := os.OpenRoot(w.c.Dir())
	if err != nil {
		return nil, fmt.Errorf("opening the tree: %w", err)
	}
	return t, nil
}

const (
	resolvFile = "etc/resolv.conf"
	resolvOrig = "etc/resolv.conf.ORIG"
)

// prepare hands /etc/resolv.conf over for the build and makes the folder that
// the hooks tree is mounted on. In layers resolv.conf is a link to a place that
// only the runner fills: nothing of the host reaches a layer, and hooks may
// replace it, as they could not a bind mount.
func (r *run) prepare(_ context.Context, w *bench) (err error) {
	t, err := w.tree()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.MkdirAll("etc", 0o755); err != nil {
		return fmt.Errorf("making /etc in the tree: %w", err)
	}
	if _, err := t.Lstat(resolvFile); err == nil {
		if err := t.Rename(resolvFile, resolvOrig); err != nil {
			return fmt.Errorf("putting /etc/resolv.conf aside: %w", err)
		}
	}
	if err := t.Symlink(resolvConf, resolvFile); err != nil {
		return fmt.Errorf("linking /etc/resolv.conf: %w", err)
	}
	if _, err := t.Lstat("tmp"); errors.Is(err, fs.ErrNotExist) {
		if err := t.Mkdir("tmp", 0o777); err != nil {
			return fmt.Errorf("making /tmp in the tree: %w", err)
		}
		if err := t.Chmod("tmp", 0o777|fs.ModeSticky); err != nil {
			return fmt.Errorf("making /tmp in the tree: %w", err)
		}
	}
	return t.MkdirAll(target[1:], 0o755)
}

// checkRoot refuses a tree in which the root phase left nothing.
func (r *run) checkRoot(ctx context.Context) (err error) {
	c, err := r.o.Store.Scratch(ctx, r.layer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	entries, err := os.ReadDir(c.Dir())
	if err != nil {
		return fmt.Errorf("reading the new tree: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if name != "etc" && name != "lost+found" && !strings.HasSuffix(name, "tmp") {
			return nil
		}
	}
	return ErrNoRoot
}

// ErrNoRoot says that the chosen elements made no root file system.
var ErrNoRoot = errors.New("the root phase left an empty tree: add an operating-system element such as debian-minimal")

// makePlan asks for fstab and plan once the seed is known.
func (r *run) makePlan() error {
	r.planText = []byte("{}")
	if r.o.Disk == nil {
		return nil
	}
	_, plan, err := r.o.Disk(r.seed)
	if err != nil {
		return fmt.Errorf("planning the disk: %w", err)
	}
	r.planText = plan
	return nil
}

// writeFstab writes /etc/fstab before finalise hooks see the tree.
func (r *run) writeFstab(_ context.Context, w *bench) (err error) {
	if r.o.Disk == nil {
		return nil
	}
	text, plan, err := r.o.Disk(r.seed)
	if err != nil {
		return fmt.Errorf("planning the disk: %w", err)
	}
	r.planText = plan
	t, err := w.tree()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.MkdirAll("etc", 0o755); err != nil {
		return err
	}
	if err := t.WriteFile("etc/fstab", []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing /etc/fstab: %w", err)
	}
	return nil
}

// clear ends the build: resolv.conf as the elements want it, /tmp empty, logs
// cut, no log file in /root.
func (r *run) clear(_ context.Context, w *bench) (err error) {
	t, err := w.tree()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for _, deed := range []func(*os.Root) error{restoreResolvConf, emptyTmp, cutLogs, removeRootLogs} {
		if err := deed(t); err != nil {
			return fmt.Errorf("clearing the tree: %w", err)
		}
	}
	return nil
}

// restoreResolvConf follows the contract: what a hook made a symbolic link, or
// immutable, stays; else what was put aside comes back.
func restoreResolvConf(t *os.Root) error {
	keep, err := keepsResolvConf(t)
	if err != nil {
		return err
	}
	if keep {
		return removeIfThere(t, resolvOrig)
	}
	if err := removeIfThere(t, resolvFile); err != nil {
		return err
	}
	if _, err := t.Lstat(resolvOrig); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return t.Rename(resolvOrig, resolvFile)
}

func keepsResolvConf(t *os.Root) (bool, error) {
	info, err := t.Lstat(resolvFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		to, err := t.Readlink(resolvFile)
		return to != resolvConf, err
	}
	f, err := t.Open(resolvFile)
	if err != nil {
		return false, err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	return err == nil && flags&immutable != 0, nil
}

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

func removeIfThere(t *os.Root, name string) error {
	if err := t.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func emptyTmp(t *os.Root) error {
	entries, err := fs.ReadDir(t.FS(), "tmp")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := t.RemoveAll("tmp/" + e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// cutLogs empties every regular file below /var/log; the files stay, with their
// owners and modes, for the programs that expect them.
func cutLogs(t *os.Root) error {
	return walk(t, "var/log", func(name string, d fs.DirEntry) error {
		info, err := d.Info()
		if err != nil || !d.Type().IsRegular() || info.Size() == 0 {
			return err
		}
		return truncate(t, name)
	})
}

func removeRootLogs(t *os.Root) error {
	return walk(t, "root", func(name string, d fs.DirEntry) error {
		if d.Type().IsRegular() && strings.HasSuffix(name, ".log") {
			return t.Remove(name)
		}
		return nil
	})
}

// walk visits what is below dir; a dir that is missing, or is a link out of the
// tree, has nothing below it.
func walk(t *os.Root, dir string, visit func(string, fs.DirEntry) error) error {
	return fs.WalkDir(t.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			if name == dir {
				return nil
			}
			return err
		}
		return visit(name, d)
	})
}
