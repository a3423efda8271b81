package rootfs

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/lithify/lithify/elements"
)

// step is one hook, or one deed of the driver's own.
type step struct {
	phase         elements.Phase
	element, name string
	in            inputs // without the parent
	maxAge        time.Duration
	// byContent marks hooks outside the target of elements that are not ours:
	// they read the host, so they always run, unless a cache-key.d hook answers
	// for them, and their layer is keyed by what they changed.
	byContent bool
	onDisk    bool // it, and what follows, works on the disk
	isBreak   bool // a shell for the user
	do        func(ctx context.Context, b *bench) error
}

// NotYetError is for what the contract knows and this version does not.
type NotYetError struct{ What string }

func (e *NotYetError) Error() string { return "not supported yet: " + e.What }

// plan lists the steps of a group of phases in order.
func (b *Builder) plan(group []elements.Phase) ([]step, error) {
	var steps []step
	for _, phase := range group {
		hooks, err := b.planPhase(phase)
		if err == nil {
			hooks, err = b.withBreaks(phase, hooks)
		}
		if err != nil {
			return nil, err
		}
		if phase == elements.Finalise {
			steps = append(steps, b.deed(phase, "fstab", (*run).writeFstab, "layout", b.o.Fingerprint))
		}
		steps = append(steps, hooks...)
		switch phase {
		case elements.Root:
			if b.o.Base != nil {
				break // it has done so
			}
			steps = append(steps, b.deed(phase, "prepare", (*run).prepare))
		case elements.Install:
			packages, err := b.planPackages()
			if err != nil {
				return nil, err
			}
			steps = append(steps, packages...)
		case driver:
			steps = append(steps, b.deed(phase, "clear", (*run).clear))
		}
	}
	return steps, nil
}

// deed is a step of the driver's own; pairs are its named inputs.
func (b *Builder) deed(phase elements.Phase, name string, do func(*run, context.Context, *bench) error, pairs ...string) step {
	in := inputs{}
	in.add("deed", []byte(name))
	for i := 0; i+1 < len(pairs); i += 2 {
		in.add(pairs[i], []byte(pairs[i+1]))
	}
	return step{phase: phase, element: "driver", name: name, in: in,
		do: func(ctx context.Context, w *bench) error { return do(w.run, ctx, w) }}
}

func (b *Builder) planPhase(phase elements.Phase) ([]step, error) {
	hooks := b.o.Hooks.Hooks(phase)
	if len(hooks) == 0 {
		return nil, nil
	}
	v, err := newView(b.o.Hooks, phase, b.env["DIB_HOOKS_VIEW"] == "full")
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, h := range hooks {
		s, err := b.planHook(v, h)
		if err != nil {
			return nil, err
		}
		switch phase {
		case elements.PreFinalise, elements.Finalise, elements.Cleanup:
			s.onDisk = v.needsDisk(h.Path)
		}
		steps = append(steps, s)
	}
	if b.onePerPhase() {
		return []step{b.joined(v, steps, hooks)}, nil
	}
	return steps, nil
}

func (b *Builder) planHook(v *view, h elements.Hook) (step, error) {
	outside := h.Phase.Outside()
	env, keyed := b.environment(h.Phase).visible(v.names, outside, b.passTo(v, h.Path))
	data, err := b.data(h.Phase)
	if err != nil {
		return step{}, err
	}
	in := v.inputs(keyed)
	in["hook"] = v.hooks[h.Path]
	in.add("name", []byte(h.Path))
	answer, answered := b.answers[path.Join(cacheKeys, h.Path)]
	if answered {
		in["answer"] = answer
	}
	for _, d := range data {
		if v.uses(h.Path, d.command) {
			in.add("data of "+d.command, d.bytes)
		}
	}
	s := step{phase: h.Phase, element: h.Element, name: h.Name, in: in}
	if outside {
		hostTools(in, v.texts[h.Path])
	}
	if !h.Builtin {
		s.byContent = outside && h.Phase != elements.Root && !answered
		s.maxAge = b.age(h)
	}
	s.do = func(ctx context.Context, w *bench) error { return w.hook(ctx, v, h, env) }
	return s, nil
}

// age limits the reuse of steps whose element cannot ask the network for them.
func (b *Builder) age(h elements.Hook) time.Duration {
	for _, f := range b.o.Hooks.Files() {
		if of := answersFor(f.Path); under(f.Path, cacheKeys) && (of == h.Path || of == "" && f.Element == h.Element) {
			return 0
		}
	}
	return b.o.MaxAge
}

func (b *Builder) pass() []string {
	return append(strings.Fields(strings.ReplaceAll(b.env["DIB_ENV_PASS"], ",", " ")), defaultPass...)
}

// passTo is pass with what the commands read that a hook names.
func (b *Builder) passTo(v *view, hook string) []string {
	patterns := b.pass()
	for _, command := range sortedKeys(b.o.CommandVariables) {
		if v.calls(hook, command) {
			patterns = append(patterns, b.o.CommandVariables[command]...)
		}
	}
	return patterns
}

// environment is what hooks of a phase find besides their own run's paths.
func (b *Builder) environment(phase elements.Phase) Environment {
	if phase == elements.Root { // made known after the root phase, as the contract has it
		out := b.env.with(nil)
		if _, given := b.o.Environment["DIB_DEFAULT_INSTALLTYPE"]; !given {
			delete(out, "DIB_DEFAULT_INSTALLTYPE")
		}
		return out
	}
	return b.env
}

// tools that make a tree differ by their own version.
var treeTools = []string{"mmdebstrap", "debootstrap", "dnf", "yum", "rpm", "zypper", "podman", "docker", "buildah", "unsquashfs", "qemu-img"}

// hostTools keys the tools of the host that a hook names, by their bytes.
func hostTools(in inputs, text []byte) {
	for _, tool := range treeTools {
		if !regexp.MustCompile(`\b` + tool + `\b`).Match(text) {
			continue
		}
		in["tool "+tool] = "none"
		if path, err := exec.LookPath(tool); err == nil {
			if sum, err := digestFile(path); err == nil {
				in["tool "+tool] = sum
			}
		}
	}
}

// onePerPhase: an element asks, by a file of that name, for a phase's hooks to
// run as one step, because they leave mounts or processes for each other.
func (b *Builder) onePerPhase() bool {
	for _, e := range b.o.Elements {
		if _, err := fs.Stat(e.FS, "one-step-per-phase"); err == nil {
			return true
		}
	}
	return false
}

// joined makes one step of a phase's hooks. Inside the target they share one set
// of namespaces, so that mounts and processes of one are there for the next.
func (b *Builder) joined(v *view, steps []step, hooks []elements.Hook) step {
	s := step{phase: steps[0].phase, element: steps[0].element, name: "all hooks", in: inputs{}}
	for _, each := range steps {
		for name, sum := range each.in {
			s.in[each.name+" "+name] = sum
		}
		s.byContent = s.byContent || each.byContent
		s.onDisk = s.onDisk || each.onDisk
		if each.maxAge > 0 && (s.maxAge == 0 || each.maxAge < s.maxAge) {
			s.maxAge = each.maxAge
		}
	}
	s.do = func(ctx context.Context, w *bench) error {
		if s.phase.Outside() {
			for _, each := range steps {
				if err := each.do(ctx, w); err != nil {
					return err
				}
			}
			return nil
		}
		args := []string{"/bin/sh", "-c", `for hook; do "$hook" || exit; done`, "hooks"}
		for _, h := range hooks {
			args = append(args, target+"/"+h.Path)
		}
		env, _ := b.environment(s.phase).visible(v.names, false, b.pass())
		return w.inside(ctx, v, env, args...)
	}
	return s
}

// planPackages is the step that installs what the user asked for by -p.
func (b *Builder) planPackages() ([]step, error) {
	if len(b.o.Packages) == 0 {
		return nil, nil
	}
	v, err := newView(b.o.Hooks, elements.Install, false)
	if err != nil {
		return nil, err
	}
	env, keyed := b.env.visible(v.names, false, b.pass())
	in := v.inputs(keyed)
	in.add("deed", []byte("packages"))
	in.add("packages", []byte(strings.Join(b.o.Packages, "\n")))
	maps, err := json.Marshal(b.maps)
	if err != nil {
		return nil, fmt.Errorf("encoding package maps: %w", err)
	}
	in.add("data of pkg-map", maps)
	do := func(ctx context.Context, w *bench) error {
		return w.inside(ctx, v, env, append([]string{"install-packages"}, b.o.Packages...)...)
	}
	return []step{{phase: elements.Install, element: "driver", name: "packages", in: in, do: do}}, nil
}
