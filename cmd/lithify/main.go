// Command lithify turns elements into disk images.
//
// By the name it is called by, or by its first argument, it is
// disk-image-create, one of the other programs that users of diskimage-builder
// know, or, inside an image that is being built, one of the commands that hooks
// call (pkg-map, install-packages and their kin).
//
// The package holds what talks to people: options, messages, exit codes, the
// outputs' names. What happens to trees, disks and formats is in the packages
// elements, rootfs, oci, blockdev and convert.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lithify/lithify/oci"
	"github.com/lithify/lithify/rootfs/runner"
)

func main() {
	runner.Main()
	if oci.Init() {
		return
	}
	ctx, stop := untilSignal(context.Background())
	code := run(ctx, os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// program is one of the commands that this binary is.
type program func(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int

// run is the whole program: args[0] is the name it was called by. It returns
// the exit code.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	name := "lithify"
	if len(args) > 0 {
		name, args = filepath.Base(args[0]), args[1:]
	}
	if p, ok := programNamed(name); ok {
		return p(ctx, args, env, stdin, stdout, stderr)
	}
	if len(args) > 0 {
		if p, ok := programNamed(args[0]); ok {
			return p(ctx, args[1:], env, stdin, stdout, stderr)
		}
	}
	return lithifyMain(ctx, args, env, stdin, stdout, stderr)
}

// programNamed finds the program of a name that links or a first argument may
// have; lithify itself is none of them.
func programNamed(name string) (program, bool) {
	switch name {
	case imageCommand, ramdiskCommand:
		return createMain(name), true
	case "diskimage-builder":
		return imageBuilderMain, true
	case "dib-block-device":
		return blockDeviceMain, true
	case "dib-lint":
		return lintMain, true
	case "element-info":
		return elementInfoMain, true
	}
	return targetCommand(name)
}

// createMain is disk-image-create or ramdisk-image-create.
func createMain(command string) program {
	return func(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
		return create(ctx, command, args, env, stdout, stderr)
	}
}

func create(ctx context.Context, command string, args, env []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && isCompletion(args[0]) {
		return completeMain(ctx, args, env, stdout, stderr)
	}
	o, err := parseOptions(command, args, env)
	switch err {
	case errHelp:
		fmt.Fprint(stdout, helpText(command))
		return exitOK
	case errVersion:
		fmt.Fprintln(stdout, version())
		return exitOK
	case nil:
	default:
		return report(stderr, o.Command, err, buildLog{})
	}
	if inside, err := enterSession(ctx, o.needsEmulation()); !inside {
		return report(stderr, o.Command, err, buildLog{})
	}
	// An ordinary user's PATH has no sbin, where mke2fs and its like are.
	if err := os.Setenv("PATH", hostPath(o.Environment["PATH"])); err != nil {
		return report(stderr, o.Command, err, buildLog{})
	}
	// What checkHostTools finds must be found when it is called.
	if err := os.Setenv("PATH", hostPath(os.Getenv("PATH"))); err != nil {
		return report(stderr, o.Command, err, buildLog{})
	}
	u, err := newUI(o, stdout, stderr)
	if err != nil {
		return report(stderr, o.Command, err, buildLog{})
	}
	err = build(ctx, o, u)
	if err != nil && ctx.Err() != nil {
		err = interrupted{cause: context.Cause(ctx), err: err}
	}
	u.Close()
	return report(io.MultiWriter(stderr, u.logOnly()), o.Command, err, buildLog{u.LogPath(), u.Tail(20)})
}

// enterSession starts this program a second time, in namespaces that end with
// it and take everything along. The second run gets true. The first gets false
// when the second has ended, and a childExit unless all went well. With user it
// has a user namespace even for root.
func enterSession(ctx context.Context, user bool) (inside bool, err error) {
	// Signals are handed on to the second run, so they must not end the waiting.
	code, inside, err := runner.Session{Detach: true, User: user}.Enter(ctx)
	if err == nil && !inside && code != 0 {
		err = childExit(code)
	}
	if killed := new(runner.KilledError); errors.As(err, &killed) && killed.Signal == syscall.SIGPIPE {
		err = childExit(code) // nobody reads any more, of a plan in a pager for instance
	}
	if user && errors.As(err, new(*runner.NoUserNamespaceError)) {
		err = fmt.Errorf("registering an emulator for this build alone: %w", err)
	}
	if err == nil || ctx.Err() == nil {
		return inside, err
	}
	stopped := interrupted{cause: context.Cause(ctx), err: err}
	if code == exitCode(stopped) && !errors.As(err, new(*runner.KilledError)) {
		return inside, err // the second run has said so
	}
	return inside, stopped // before the second run could say anything
}

// sameSignal is how long a further signal counts as the first one: a terminal
// signals all processes, and on a busy machine the session cannot always tell
// that what it hands on has been there already.
const sameSignal = time.Second

// untilSignal gives a context that ends at the first signal to stop, with the
// signal as its cause. The next one after sameSignal kills: clean-up may hang,
// and the kernel takes down whatever a dead build leaves.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // by nohup, or a shell's background job
			signal.Notify(signals, s)
		}
	}
	go func() {
		select {
		case s := <-signals:
			cancel(signalError{s.(syscall.Signal)})
			time.Sleep(sameSignal)
			signal.Stop(signals)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
