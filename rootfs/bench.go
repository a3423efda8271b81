package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs/runner"
	"golang.org/x/sys/unix"
)

// Places inside the target while a step runs. All are on mounts of the runner:
// nothing of them reaches a layer.
const (
	target      = "/tmp/in_target.d" // the hooks tree, by contract
	ours        = "/dev/lithify"     // commands, data, resolv.conf
	insidePath  = ours + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	resolvConf  = ours + "/resolv.conf"
	programPath = ours + "/program"
)

// bench is where one step works: a container and the binds on it.
type bench struct {
	*run
	c     Container
	binds []Bind
}

func (w *bench) do(ctx context.Context, s step) error {
	if err := s.do(ctx, w); err != nil {
		return err
	}
	if w.o.Epoch == nil {
		return nil
	}
	return clampTimes(w.c.Changes(), w.c.Dir(), *w.o.Epoch)
}

// hook runs one hook where its phase belongs.
func (w *bench) hook(ctx context.Context, v *view, h elements.Hook, env Environment) error {
	var err error
	if h.Phase.Outside() {
		err = w.outside(ctx, v, h, env)
	} else {
		err = w.inside(ctx, v, env, path.Join(target, h.Path))
	}
	if err != nil {
		return &HookError{Element: h.Element, Phase: string(h.Phase), Hook: h.Name, Err: err}
	}
	return nil
}

// inside runs a command in the tree.
func (w *bench) inside(ctx context.Context, v *view, env Environment, args ...string) error {
	if err := w.makeTarget(); err != nil {
		return err
	}
	if err := w.writeData(v.phase); err != nil {
		return err
	}
	all := env.with(insideEnvironment)
	delete(all, "TARGET_ROOT")
	if w.o.Epoch != nil { // keyed with the empty tree; mkinitramfs and others read it on their own
		all["SOURCE_DATE_EPOCH"] = strconv.FormatInt(w.o.Epoch.Unix(), 10)
	}
	caches, err := w.caches()
	if err != nil {
		return err
	}
	return runner.Run(ctx, runner.Command{
		Root: w.c.Dir(), Args: args, Env: all.list(), Dir: "/", Hostname: "localhost",
		Stdout: w.o.Output, Stderr: w.o.Output, Mounts: append(w.mounts(v), caches...),
	})
}

// insideEnvironment is the contract's for hooks inside, whatever the caller has.
var insideEnvironment = Environment{
	"PATH": insidePath, "HOME": "/root", "LC_ALL": "C", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash",
}

// makeTarget sees to the folder that the hooks tree is mounted on. The prepare
// deed made it; a hook may have emptied /tmp since.
func (w *bench) makeTarget() error {
	tree, err := os.OpenRoot(w.c.Dir())
	if err != nil {
		return err
	}
	defer tree.Close()
	if _, err := tree.Lstat(target[1:]); err == nil {
		return nil
	}
	if err := tree.MkdirAll(target[1:], 0o755); err != nil {
		return fmt.Errorf("making %s in the tree: %w", target, err)
	}
	return nil
}

func (w *bench) mounts(v *view) []runner.Mount {
	mounts := []runner.Mount{
		{Source: w.dirs.commands(), Target: ours, ReadOnly: true},
		{Source: w.o.Binary, Target: programPath, ReadOnly: true},
		{Source: w.dirs.data(v.phase), Target: ours + "/data", ReadOnly: true},
		{Source: w.dirs.hooks(), Target: target, ReadOnly: true},
	}
	for _, dir := range append(v.masks, cacheKeys) {
		mounts = append(mounts, runner.Mount{Target: path.Join(target, dir), Empty: true, Optional: true})
	}
	for _, bind := range w.binds {
		mounts = append(mounts, runner.Mount{Source: bind.Source, Target: bind.Target, ReadOnly: bind.ReadOnly, Optional: true})
	}
	if v.phase == elements.Finalise {
		for _, c := range w.o.Covers {
			mounts = append(mounts, runner.Mount{Source: w.o.Binary, Target: c.Target, ReadOnly: true, Optional: true})
		}
	}
	return mounts
}

// caches are the binds that elements of the library declare in a file "binds":
// a folder of the input cache and where it belongs in the target, on each line,
// with variables. They are made while a step runs, where the target has the
// folder; what is in them never reaches a layer.
func (w *bench) caches() ([]runner.Mount, error) {
	var mounts []runner.Mount
	for _, e := range w.o.Elements {
		text, err := fs.ReadFile(e.FS, "binds")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the binds of element %q: %w", e.Name, err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(os.Expand(strings.TrimSpace(line), func(name string) string { return w.env[name] }))
			if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
				continue
			}
			if len(fields) != 2 {
				return nil, fmt.Errorf("reading the binds of element %q: %q is not CACHE_FOLDER TARGET", e.Name, line)
			}
			source := filepath.Join(w.env["DIB_IMAGE_CACHE"], fields[0])
			if err := os.MkdirAll(source, 0o755); err != nil {
				return nil, fmt.Errorf("making the cache folder of element %q: %w", e.Name, err)
			}
			mounts = append(mounts, runner.Mount{Source: source, Target: fields[1], Optional: true})
		}
	}
	return mounts, nil
}

// outside runs a hook on the build host, with the tree at TMP_MOUNT_PATH, and
// keeps the binds it leaves there for later steps.
func (w *bench) outside(ctx context.Context, v *view, h elements.Hook, env Environment) (err error) {
	back, err := w.hideOutside(v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, back()) }()
	mnt := w.dirs.mount()
	if err := unix.Mount(w.c.Dir(), mnt, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding the tree to %q: %w", mnt, err)
	}
	defer func() {
		if e := unix.Unmount(mnt, unix.MNT_DETACH); e != nil {
			err = errors.Join(err, fmt.Errorf("letting go of %q: %w", mnt, e))
		}
	}()
	for _, bind := range w.binds {
		if err := bindInto(mnt, bind); err != nil {
			return err
		}
	}
	err = runner.Run(ctx, runner.Command{
		Args: []string{filepath.Join(w.dirs.hooks(), h.Path)}, Env: w.outsideEnvironment(h.Phase, env).list(),
		Dir: w.o.Directory, Stdout: w.o.Output, Stderr: w.o.Output,
	})
	if err != nil {
		return err
	}
	w.binds, err = bindsBelow(mnt)
	return err
}

// hideOutside takes what the phase may not see out of the hooks tree; back puts
// it in again. Other phases' hooks stay: the contract shows the whole tree there.
func (w *bench) hideOutside(v *view) (back func() error, err error) {
	from, to := filepath.Join(w.dirs.hooks(), environmentDir), filepath.Join(w.dirs.root, "hidden-"+environmentDir)
	if !hiddenFrom(v.masks, environmentDir) {
		return func() error { return nil }, nil
	}
	if err := os.Rename(from, to); err != nil {
		return nil, fmt.Errorf("taking %q out of sight: %w", from, err)
	}
	return func() error { return os.Rename(to, from) }, nil
}

func (w *bench) outsideEnvironment(phase elements.Phase, env Environment) Environment {
	all := env.with(Environment{
		"PATH": w.dirs.outsidePath(w.o.Environment["PATH"]), "LC_ALL": "C",
		"TMP_BUILD_DIR": w.o.Work, "TMP_IMAGE_DIR": w.dirs.images(), "TMP_HOOKS_PATH": w.dirs.hooks(), "TMP_MOUNT_PATH": w.dirs.mount(),
	})
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
		if m.Source != "" {
			binds = append(binds, Bind{Source: m.Source, Target: path.Join("/", m.Target), ReadOnly: m.ReadOnly})
		}
	}
	return binds, nil
}

// datum is what a built-in command reads in the target.
type datum struct {
	command string
	file    string
	bytes   []byte
}

// data gives what built-in commands read during a phase. A step's key holds a
// datum when its hook can reach the command.
func (b *Builder) data(phase elements.Phase) ([]datum, error) {
	list := b.packs[phase]
	text, err := json.Marshal(map[string]map[string][][2]string{phase.Dir(): {
		"install": pairs(list.Install), "uninstall": pairs(list.Uninstall)}})
	if err != nil {
		return nil, fmt.Errorf("encoding the packages of phase %s: %w", phase, err)
	}
	out := []datum{{"package-installs", "package-installs.json", text}}
	for _, name := range sortedKeys(b.maps) {
		out = append(out, datum{"pkg-map", "pkg-map/" + name, b.maps[name]})
	}
	services, err := json.Marshal(b.services.Resolve(b.env["DISTRO_NAME"]))
	if err != nil {
		return nil, fmt.Errorf("encoding the service map: %w", err)
	}
	return append(out, datum{"svc-map", "svc-map.json", services}), nil
}

func pairs(list []elements.PackageRequest) [][2]string {
	out := make([][2]string, 0, len(list))
	for _, p := range list {
		out = append(out, [2]string{p.Package, p.Element})
	}
	return out
}

// writeData lays out the data of a phase for /dev/lithify/data.
func (w *bench) writeData(phase elements.Phase) error {
	data, err := w.data(phase)
	if err != nil {
		return err
	}
	if phase == elements.Finalise && w.planText == nil {
		if err := w.makePlan(); err != nil {
			return err
		}
	}
	if w.planText != nil {
		data = append(data, datum{"", "plan.json", w.planText})
	}
	for _, d := range data {
		at := filepath.Join(w.dirs.data(phase), d.file)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, d.bytes, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// make lays out the folders of a build and the commands for its targets.
func (d workDirs) make(o Options) error {
	for _, dir := range []string{d.hooks(), d.mount(), d.images(), d.commands() + "/bin", d.commands() + "/data", d.hostBin()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range o.Commands {
		if err := os.Symlink(programPath, filepath.Join(d.commands(), "bin", name)); err != nil {
			return err
		}
		if err := os.Symlink(o.Binary, filepath.Join(d.hostBin(), name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(d.commands(), "program"), nil, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.commands(), "resolv.conf"), o.ResolvConf, 0o644)
}

func (d workDirs) hostBin() string { return filepath.Join(d.root, "bin") }

// outsidePath puts our commands first and sees that the sbin folders are there.
func (d workDirs) outsidePath(path string) string {
	parts := []string{d.hostBin()}
	have := map[string]bool{}
	for _, p := range strings.Split(path, ":") {
		if p != "" {
			parts, have[p] = append(parts, p), true
		}
	}
	for _, p := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !have[p] {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ":")
}
