package rootfs

import (
	"context"
	"strings"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs/runner"
)

// Hooks is the hooks tree: after Run, as the extra-data hooks left it.
func (b *Builder) Hooks() *elements.Tree { return b.o.Hooks }

// RunExtra runs the hooks of a phase beside the contract's ten inside the tree of c,
// which nobody keeps: elements.RamdiskBuild and RamdiskInstall. They see the hooks
// tree at /tmp/in_target.d, and the variables more beside their usual ones. A failed
// hook gives a *HookError.
func (b *Builder) RunExtra(ctx context.Context, c Container, phase elements.Phase, more Environment) error {
	hooks := b.o.Hooks.Hooks(phase)
	if len(hooks) == 0 {
		return nil
	}
	v, err := newView(b.o.Hooks, phase, b.env["DIB_HOOKS_VIEW"] == "full")
	if err != nil {
		return err
	}
	w := &bench{run: &run{Builder: b}, c: c}
	more = more.with(Environment{"TMP_HOOKS_PATH": target})
	for _, h := range hooks {
		b.o.Observe(Event{Phase: string(phase), Element: h.Element, Name: h.Name})
		env, _ := b.env.visible(v.names, false, b.passTo(v, h.Path))
		if err := w.hook(ctx, v, h, env.with(more)); err != nil {
			return err
		}
		b.o.Observe(Event{Phase: string(phase), Element: h.Element, Name: h.Name, Done: true})
	}
	return nil
}

// Output runs a program of the tree of c and gives what it prints.
func (b *Builder) Output(ctx context.Context, c Container, args ...string) (string, error) {
	var out strings.Builder
	err := runner.Run(ctx, runner.Command{
		Root: c.Dir(), Args: args, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, Stdout: &out, Stderr: b.o.Output,
	})
	return out.String(), err
}
