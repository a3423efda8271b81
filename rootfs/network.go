package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs/runner"
)

// cacheKeys is the folder of hooks that print what only the network knows. One
// at cache-key.d/PHASE.d/NAME answers for the hook PHASE.d/NAME: the step of that
// hook, and with it those above, is made anew when the answer changes. It sees
// what that hook sees, and is run offline too, with DIB_OFFLINE set. Any other
// answers for the whole tree.
const cacheKeys = "cache-key.d"

// answersFor is the path of the hook that a file of cache-key.d answers for; ""
// when that is the whole tree.
func answersFor(file string) string {
	if of := strings.TrimPrefix(file, cacheKeys+"/"); strings.Contains(of, "/") {
		return of
	}
	return ""
}

// ask runs the cache-key.d hooks side by side and gives a digest of each one's
// answer. With a phase only those are asked that answer for the whole tree or
// for a hook of that phase.
func (b *Builder) ask(ctx context.Context, phase elements.Phase) (inputs, error) {
	type result struct {
		name, sum string
		err       error
	}
	var hooks []elements.File
	for _, f := range b.o.Hooks.Files() {
		if !under(f.Path, cacheKeys) || !elements.Eligible(filepath.Base(f.Path), f.Mode, nil) {
			continue
		}
		if of := answersFor(f.Path); of == "" || phase == "" || under(of, phase.Dir()) {
			hooks = append(hooks, f)
		}
	}
	results := make([]result, len(hooks))
	var wait sync.WaitGroup
	for i, f := range hooks {
		wait.Go(func() {
			answer, err := b.askOne(ctx, f)
			results[i] = result{f.Path, digest(answer), err}
		})
	}
	wait.Wait()
	answers := inputs{}
	var errs []error
	for _, r := range results {
		answers[r.name] = r.sum
		errs = append(errs, r.err)
	}
	return answers, errors.Join(errs...)
}

// askOne gives the answer of a cache-key.d hook; offline the last one.
func (b *Builder) askOne(ctx context.Context, f elements.File) ([]byte, error) {
	if of := answersFor(f.Path); of != "" {
		return b.askForHook(ctx, f, of)
	}
	text, err := b.o.Hooks.Open(f.Path)
	if err != nil {
		return nil, err
	}
	n := names{words: map[string]bool{}}
	n.scan(text)
	env, keyed := b.env.visible(n, true, b.pass())
	name := digest([]byte(digest(text) + digestMap(keyed)))
	kept := filepath.Join(b.o.Answers, name)
	if b.o.Preview {
		return lastAnswer(b.o.Answers, name), nil
	}
	if b.o.Offline {
		answer, err := os.ReadFile(kept)
		if err != nil {
			return nil, fmt.Errorf("building offline: the last answer of %q of element %q: %w; build once online first", f.Path, f.Element, err)
		}
		return answer, nil
	}
	answer, err := b.runCacheKey(ctx, f, elements.ExtraData, n, env)
	if err != nil {
		return nil, err
	}
	return answer, keep(kept, answer)
}

// askForHook asks on behalf of one hook, whose path in the tree is of.
func (b *Builder) askForHook(ctx context.Context, f elements.File, of string) ([]byte, error) {
	phase := elements.Phase(strings.TrimSuffix(path.Dir(of), ".d"))
	v, err := newView(b.o.Hooks, phase, b.env["DIB_HOOKS_VIEW"] == "full")
	if err != nil {
		return nil, err
	}
	if v.hooks[of] == "" {
		return nil, fmt.Errorf("%q of element %q answers for the hook %q, which is not there", f.Path, f.Element, of)
	}
	env, keyed := b.environment(phase).visible(v.names, true, b.passTo(v, of))
	text, err := b.o.Hooks.Open(f.Path)
	if err != nil {
		return nil, err
	}
	name := digest([]byte(of + digest(text) + digestMap(keyed)))
	if b.o.Preview {
		return lastAnswer(b.o.Answers, name), nil
	}
	answer, err := b.runCacheKey(ctx, f, phase, v.names, env)
	if err != nil {
		return nil, err
	}
	return answer, keep(filepath.Join(b.o.Answers, name), answer)
}

func (b *Builder) runCacheKey(ctx context.Context, f elements.File, phase elements.Phase, n names, env Environment) ([]byte, error) {
	var out, complaint bytes.Buffer
	w := &bench{run: &run{Builder: b}}
	err := runner.Run(ctx, runner.Command{Args: []string{filepath.Join(b.dirs.hooks(), f.Path)},
		Env: w.outsideEnvironment(phase, n, env).list(), Dir: b.o.Directory, Stdout: &out, Stderr: &complaint})
	if err != nil {
		return nil, fmt.Errorf("asking what the network has (%q of element %q; --offline uses the last answer): %w: %s",
			f.Path, f.Element, err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out.Bytes(), nil
}

// keep writes an answer beside its name and renames it: concurrent builds write
// the same.
func keep(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".answer-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// source runs the elements' environment.d over the variables given. It is done
// once, on the host, before anything is planned: what it makes of the caller's
// variables is part of the keys.
func (b *Builder) source(ctx context.Context) (Environment, error) {
	files, warnings := b.o.Hooks.EnvironmentFiles()
	for _, w := range warnings {
		b.o.Logger.Warn(w)
	}
	given := b.o.Environment
	if len(files) == 0 {
		env := given.with(nil)
		delete(env, "PATH") // the driver's, in the target and out of it
		return env, nil
	}
	var out, complaint bytes.Buffer
	found := b.dirs.outsidePath(given["PATH"])
	env := given.with(Environment{"PATH": found, "LC_ALL": "C"})
	// The script writes to descriptor 3; what the files print goes the way of complaints.
	args := append([]string{"bash", "-c", `exec "$@" 3>&1 >&2`, "source"}, elements.SourceScript(b.dirs.hooks(), files)...)
	err := runner.Run(ctx, runner.Command{Args: args, Env: env.list(), Dir: b.o.Directory, Stdout: &out, Stderr: &complaint})
	var sourced map[string]string
	if err == nil {
		sourced, err = elements.ParseEnvironment(out.Bytes())
	}
	if err != nil {
		return nil, b.environmentError(err, files, complaint.Bytes())
	}
	result := Environment(sourced)
	for _, shell := range []string{"_", "SHLVL", "OLDPWD", "PWD", "BASHOPTS", "SHELLOPTS"} {
		delete(result, shell)
	}
	result.relatePath(found)
	return result, nil
}

// usualPath stands, in the PATH that environment.d has made, for the one it
// found: that is another in the target than out of it, and another for every
// builder.
const usualPath = "$PATH"

// relatePath keeps what environment.d has added to the PATH it found, or put in
// its place; an unchanged one is nobody's setting.
func (env Environment) relatePath(found string) {
	if env["PATH"] == found {
		delete(env, "PATH")
		return
	}
	env["PATH"] = strings.Replace(env["PATH"], found, usualPath, 1)
}

// path is the PATH of hooks whose usual one is given. One that environment.d
// has made from nothing still finds our commands, which come first in usual.
func (env Environment) path(usual string) string {
	changed, ok := env["PATH"]
	switch {
	case !ok:
		return usual
	case !strings.Contains(changed, usualPath):
		own, _, _ := strings.Cut(usual, ":")
		return own + ":" + changed
	}
	return strings.Replace(changed, usualPath, usual, 1)
}

// EnvironmentError says that a file of environment.d ended the sourcing. Like a
// hook's error it has the file's own exit code, if it has one.
type EnvironmentError struct {
	Element, File string // the last file that was begun; empty when none was
	Said          string // the last of what it said, or the command it was at
	Err           error
}

func (e *EnvironmentError) Error() string {
	text := "sourcing the elements' environment.d: "
	if e.File != "" {
		text = fmt.Sprintf("element '%s', %s: ", e.Element, e.File)
	}
	var exit *runner.ExitError
	if !errors.As(e.Err, &exit) {
		return text + e.Err.Error()
	}
	text += fmt.Sprintf("exit code %d", exit.Code) // our script is nobody's business
	if e.Said != "" {
		text += ": " + e.Said
	}
	return text
}

func (e *EnvironmentError) Unwrap() error { return e.Err }

// environmentError finds out from the trace which of the files it was.
func (b *Builder) environmentError(err error, files []string, trace []byte) error {
	e := &EnvironmentError{Err: err}
	begun := 0
	var said []string
	last := ""
	for line := range strings.Lines(string(trace)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "dib-run-parts Sourcing"):
			begun++
			said, last = nil, ""
		case strings.HasPrefix(line, "+"):
			last = "at: " + strings.TrimLeft(line, "+ ")
		case line != "":
			said = append(said, line)
		}
	}
	if begun > 0 && begun <= len(files) {
		e.File = files[begun-1]
		for _, f := range b.o.Hooks.Files() {
			if f.Path == e.File {
				e.Element = f.Element
			}
		}
	}
	if e.Said = strings.Join(said[max(0, len(said)-3):], "; "); e.Said == "" {
		e.Said = last
	}
	return e
}
