package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs/runner"
)

// Places inside the target while a step runs. All are on mounts of the runner:
// nothing of them reaches a layer.
const (
	target      = "/tmp/in_target.d" // the hooks tree, by contract
	ours        = "/dev/lithify"     // commands, data, resolv.conf
	insidePath  = ours + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + ours + "/last"
	resolvConf  = ours + "/resolv.conf"
	programPath = ours + "/program"
)

// bench is where one step works: a container and the binds on it.
type bench struct {
	*run
	c     Container
	binds []Bind
	disk  *OnDisk // where the step works on the disk; nil: on a layer
	ours  bool    // the hook is of a built-in element

	terminal *os.File // the user's, for a shell; nil: output goes where hooks' output goes
}

func (w *bench) do(ctx context.Context, s step) error {
	if err := s.do(ctx, w); err != nil {
		return err
	}
	if w.o.Epoch == nil {
		return nil
	}
	return w.settle(w.key)
}

// hook runs one hook where its phase belongs.
func (w *bench) hook(ctx context.Context, v *view, h elements.Hook, env Environment) error {
	var err error
	w.ours = h.Builtin
	if h.Phase.Outside() {
		err = w.outside(ctx, v, h, env)
	} else {
		err = w.inside(ctx, v, env, v.command(h, target)...)
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
	all["PATH"] = env.path(insidePath)
	for _, name := range []string{"TARGET_ROOT", "VIRTUAL_ENV", "TMPDIR"} { // of the host
		delete(all, name)
	}
	if w.o.Epoch != nil { // keyed with the empty tree; mkinitramfs and others read it on their own
		all["SOURCE_DATE_EPOCH"] = strconv.FormatInt(w.o.Epoch.Unix(), 10)
	}
	if w.disk != nil {
		all = all.with(w.disk.deviceVariables(inDev))
	}
	caches, err := w.caches()
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.dirs.resolv(), w.o.ResolvConf, 0o644); err != nil {
		return fmt.Errorf("writing resolv.conf: %w", err)
	}
	err = runner.Run(ctx, runner.Command{
		Root: w.c.Dir(), Args: args, Env: all.list(), Dir: "/", Hostname: "localhost",
		Stdin: w.stdin(), Stdout: w.output(), Stderr: w.output(), Mounts: append(w.mounts(v), caches...),
	})
	if err != nil {
		return err
	}
	return w.keepResolvConf()
}

// stdin and output are the user's terminal for a shell.
func (w *bench) stdin() io.Reader {
	if w.terminal == nil {
		return nil
	}
	return w.terminal
}

func (w *bench) output() io.Writer {
	if w.terminal == nil {
		return w.o.Output
	}
	return w.terminal
}

// keepResolvConf: what a hook wrote into /etc/resolv.conf went into the step's
// own copy. It is put into the tree, for the hooks after this one; the last deed
// takes it out.
func (w *bench) keepResolvConf() error {
	text, err := os.ReadFile(w.dirs.resolv())
	if err != nil || bytes.Equal(text, w.o.ResolvConf) {
		return err
	}
	t, err := w.tree()
	if err != nil {
		return err
	}
	defer t.Close()
	if to, err := t.Readlink(resolvFile); err != nil || to != resolvConf {
		return nil // the hook has put something else in its place
	}
	if err := t.Remove(resolvFile); err != nil {
		return fmt.Errorf("keeping what a hook wrote into /etc/resolv.conf: %w", err)
	}
	if err := t.WriteFile(resolvFile, text, 0o644); err != nil {
		return fmt.Errorf("keeping what a hook wrote into /etc/resolv.conf: %w", err)
	}
	return nil
}

// insideEnvironment is the contract's for hooks inside, whatever the caller has.
var insideEnvironment = Environment{
	"HOME": "/root", "LC_ALL": "C", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash",
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
		{Source: w.dirs.resolv(), Target: resolvConf},
		{Source: w.dirs.hooks(), Target: target, ReadOnly: true},
	}
	for _, dir := range append(v.masks, cacheKeys) {
		mounts = append(mounts, runner.Mount{Target: path.Join(target, dir), Empty: true, Optional: true})
	}
	for _, bind := range w.binds {
		mounts = append(mounts, runner.Mount{Source: bind.Source, Target: bind.Target, ReadOnly: bind.ReadOnly, Optional: true})
	}
	if w.disk != nil {
		mounts = append(mounts, w.disk.deviceMounts()...)
	}
	// On the disk a foreign hook's questions are answered by the devices; the
	// library's own hooks always get the plan's answers, which name no device of
	// this host.
	if v.phase == elements.Finalise && (w.disk == nil || w.ours) {
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
