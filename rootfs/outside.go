package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs/runner"
	"golang.org/x/sys/unix"
)

// outside runs a hook on the build host, with the tree at TMP_MOUNT_PATH, and
// keeps the binds it leaves there for later steps.
func (w *bench) outside(ctx context.Context, v *view, h elements.Hook, env Environment) error {
	return w.outsideCommand(ctx, v, env, v.command(h, w.dirs.hooks()))
}

// outsideCommand runs a command as a hook of v's phase.
func (w *bench) outsideCommand(ctx context.Context, v *view, env Environment, args []string) (err error) {
	back, err := w.hideOutside(v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, back()) }()
	mnt := w.dirs.mount()
	if err := unix.Mount(w.c.Dir(), mnt, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding the tree to %q: %w", mnt, err)
	}
	defer func() {
		if e := unix.Unmount(mnt, unix.MNT_DETACH); e != nil {
			err = errors.Join(err, fmt.Errorf("letting go of %q: %w", mnt, e))
		}
	}()
	if v.phase != elements.Root {
		if err := w.mountSystem(mnt); err != nil {
			return err
		}
	}
	for _, bind := range w.binds {
		if err := bindInto(mnt, bind); err != nil {
			return err
		}
	}
	err = runner.Run(ctx, runner.Command{
		Args: args, Env: w.outsideEnvironment(v.phase, v.names, env).list(),
		Dir: w.o.Directory, Stdin: w.stdin(), Stdout: w.output(), Stderr: w.output(),
	})
	if err != nil || w.disk != nil { // below a disk's root are its other file systems
		return err
	}
	w.binds, err = bindsBelow(mnt)
	return err
}

// hideOutside takes what the phase may not see out of the hooks tree; back puts
// it in again. Other phases' hooks stay: the contract shows the whole tree there.
func (w *bench) hideOutside(v *view) (back func() error, err error) {
	var undo []func() error
	back = func() error {
		var errs []error
		for _, each := range undo {
			errs = append(errs, each())
		}
		return errors.Join(errs...)
	}
	for _, dir := range quietDirs {
		if !hiddenFrom(v.masks, dir) {
			continue
		}
		from, to := filepath.Join(w.dirs.hooks(), dir), filepath.Join(w.dirs.root, "hidden-"+dir)
		if err := os.Rename(from, to); err != nil {
			return nil, errors.Join(fmt.Errorf("taking %q out of sight: %w", from, err), back())
		}
		undo = append(undo, func() error { return os.Rename(to, from) })
	}
	return back, nil
}

// mountSystem gives the tree /proc, /sys and a small /dev, as the contract has
// them after the root phase, and resolv.conf: hooks outside chroot into it.
func (w *bench) mountSystem(mnt string) error {
	if err := runner.MountSystem(mnt); err != nil {
		return err
	}
	dir := filepath.Join(mnt, ours)
	if _, err := os.Lstat(filepath.Dir(dir)); err != nil {
		return nil // a tree without /dev
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("making %q for resolv.conf: %w", dir, err)
	}
	return os.WriteFile(filepath.Join(mnt, resolvConf), w.o.ResolvConf, 0o644)
}

// outsideEnvironment adds what a hook outside finds whatever the caller has; n
// are the names that the hook may use.
func (w *bench) outsideEnvironment(phase elements.Phase, n names, env Environment) Environment {
	all := env.with(Environment{
		"PATH": env.path(w.dirs.outsidePath(w.o.Environment["PATH"])), "LC_ALL": "C", "_LIB": w.dirs.lib(),
		"TMP_BUILD_DIR": w.o.Work, "TMP_IMAGE_DIR": w.dirs.images(), "TMP_HOOKS_PATH": w.dirs.hooks(), "TMP_MOUNT_PATH": w.dirs.mount(),
	})
	if python, err := exec.LookPath("python3"); err == nil && n.words["DIB_PYTHON_EXEC"] && all["DIB_PYTHON_EXEC"] == "" {
		all["DIB_PYTHON_EXEC"] = python
	}
	for name, body := range shellFunctions {
		if n.words[name] {
			all["BASH_FUNC_"+name+"%%"] = body
		}
	}
	if w.disk != nil {
		all = all.with(w.disk.deviceVariables(func(device string) string { return device }))
	}
	delete(all, "TARGET_ROOT")
	if phase == elements.Root || phase == elements.Cleanup {
		all["TARGET_ROOT"] = w.dirs.mount()
	}
	return all
}

func bindInto(root string, b Bind) error {
	at := filepath.Join(root, b.Target)
	if _, err := os.Lstat(at); err != nil {
		return nil // the tree no longer has the folder
	}
	if err := unix.Mount(b.Source, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding %q to %q again: %w", b.Source, at, err)
	}
	if !b.ReadOnly {
		return nil
	}
	return unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// bindsBelow lists what hooks mounted in the tree and can be mounted again.
func bindsBelow(mnt string) ([]Bind, error) {
	infos, err := runner.OutsideMounts(mnt)
	if err != nil {
		return nil, fmt.Errorf("listing the mounts in %q: %w", mnt, err)
	}
	var binds []Bind
	for _, m := range infos {
		if m.Source != "" && !ofSystem(m.Target) {
			binds = append(binds, Bind{Source: m.Source, Target: path.Join("/", m.Target), ReadOnly: m.ReadOnly})
		}
	}
	return binds, nil
}

// ofSystem tells the mounts of mountSystem from those of hooks.
func ofSystem(target string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(target, "/"), "/")
	return first == "proc" || first == "sys" || first == "dev"
}
