package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs/runner"
)

// Breaks are the places at which a build opens a shell for its user.
//
// A shell is a step: what is changed in it stays in the tree, and then neither
// it nor what follows is kept, since no key tells of it. After a shell that
// changed nothing the build goes on as if there had been none.
type Breaks struct {
	At       []string // before-NAME or after-NAME, NAME a phase or a hook's file; after-error
	Terminal *os.File // the user's; nil makes every break a mistake that has no Command
	Command  string   // run in the place of the shell, everywhere; needs no terminal
	Outside  bool     // opens the shell of after-error on the build host, wherever the hook ran
}

const afterError = "after-error"

// check finds breaks that would never be reached.
func (b *Builder) checkBreaks() error {
	at := b.o.Breaks.At
	if len(at) == 0 {
		return nil
	}
	if b.o.Breaks.Terminal == nil && b.o.Breaks.Command == "" {
		return fmt.Errorf("break=%s: standard input is no terminal, so nobody could use the shell; break_cmd runs a command instead", strings.Join(at, ","))
	}
	allowed := []string{afterError}
	for _, phase := range elements.Phases() {
		names := []string{string(phase)}
		for _, h := range b.o.Hooks.Hooks(phase) {
			names = append(names, h.Name)
		}
		for _, name := range names {
			allowed = append(allowed, "before-"+name, "after-"+name)
		}
	}
	for _, name := range at {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("break=%s: there is no such place; allowed are before- and after- with a phase (install) or the file name of a hook of this build, and %s", name, afterError)
		}
	}
	return nil
}

func (b *Builder) breaksAt(name string) bool { return slices.Contains(b.o.Breaks.At, name) }

// withBreaks puts the shells among the steps of a phase. Outside the target a
// phase without hooks is stopped at too.
func (b *Builder) withBreaks(phase elements.Phase, steps []step) ([]step, error) {
	if len(b.o.Breaks.At) == 0 || phase == driver || phase == elements.BlockDevice || len(steps) == 0 && !phase.Outside() {
		return steps, nil
	}
	v, err := newView(b.o.Hooks, phase, true)
	if err != nil {
		return nil, err
	}
	var out []step
	add := func(name string) {
		if b.breaksAt(name) {
			out = append(out, b.breakStep(v, name))
		}
	}
	add("before-" + string(phase))
	for _, s := range steps {
		add("before-" + s.name)
		out = append(out, s)
		add("after-" + s.name)
	}
	add("after-" + string(phase))
	return out, nil
}

func (b *Builder) breakStep(v *view, name string) step {
	in := inputs{}
	in.add("break", []byte(name+b.nonce))
	return step{phase: v.phase, element: "driver", name: "break=" + name, in: in, isBreak: true,
		do: func(ctx context.Context, w *bench) error {
			return w.shell(ctx, v, name, v.phase.Outside())
		}}
}

// shell runs an interactive shell, or the user's command, in the image or outside
// it. How it ends says nothing.
func (w *bench) shell(ctx context.Context, v *view, name string, outside bool) error {
	w.terminal = w.o.Breaks.Terminal
	defer func() { w.terminal = nil }()
	command, what := w.o.Breaks.Command, "break_cmd"
	if command == "" {
		command, what = "if command -v bash > /dev/null 2>&1; then exec bash -i; fi; exec sh -i", "a shell"
	}
	fmt.Fprintf(w.output(), "\r\nbreak=%s: %s; the build goes on when it ends\r\n", name, what)
	args, env := []string{"/bin/sh", "-c", command}, w.environment(v.phase).with(nil)
	env["HISTFILE"] = "/dev/null" // a history would be a change
	delete(env, "PATH")
	if changed, ok := w.env["PATH"]; ok {
		env["PATH"] = changed
	}
	var err error
	if outside {
		err = w.outsideCommand(ctx, v, env, args)
	} else {
		err = w.inside(ctx, v, env, args...)
	}
	var exit *runner.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// afterError opens the shell that is asked for when a hook has failed.
func (w *bench) afterError(ctx context.Context, s step) error {
	if !w.breaksAt(afterError) || s.phase == driver || s.isBreak || ctx.Err() != nil {
		return nil
	}
	v, err := newView(w.o.Hooks, s.phase, true)
	if err != nil {
		return err
	}
	return w.shell(ctx, v, afterError, w.o.Breaks.Outside || s.phase.Outside())
}
