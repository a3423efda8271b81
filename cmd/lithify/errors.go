package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/lithify/lithify/blockdev"
	"github.com/lithify/lithify/blockdev/compare"
	"github.com/lithify/lithify/blockdev/file"
	"github.com/lithify/lithify/blockdev/physical"
	"github.com/lithify/lithify/convert"
	"github.com/lithify/lithify/elements"
	"github.com/lithify/lithify/rootfs"
	"github.com/lithify/lithify/rootfs/runner"
)

// Exit codes. A hook that fails gives its own, as in DIB.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitTool        = 3
	exitNoSpace     = 4
	exitTooSmall    = 5
	exitUserIDs     = 6
	exitInterrupted = 130
)

// exitCodes is the table in --help and docs/cli.md.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "everything asked for is there"},
	{exitFailed, "the build failed; when a hook or a file of environment.d failed, its own exit code instead"},
	{exitUsage, "a mistake in options, variables, elements or configuration, or something not supported yet"},
	{exitTool, "a program that the build needs is missing on this machine"},
	{exitNoSpace, "no space left on a disk of this machine"},
	{exitTooSmall, "the content does not fit the size that was asked for"},
	{exitUserIDs, "this user may not build here: no subordinate ids (/etc/subuid, /etc/subgid), or no user namespaces"},
	{exitInterrupted, "interrupted by ^C; 128 plus the signal's number for another signal"},
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return e.signal.String() }

// interrupted is a build that was told to stop. What it failed with in
// consequence is of no interest.
type interrupted struct{ cause, err error }

func (e interrupted) Error() string { return "stopped: " + e.cause.Error() }
func (e interrupted) Unwrap() error { return e.cause }

// childExit is the exit code of the build's own process, which has said why.
type childExit int

func (c childExit) Error() string { return fmt.Sprintf("the build ended with exit code %d", int(c)) }

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	var (
		child    childExit
		signal   signalError
		killed   *runner.KilledError
		hook     *rootfs.HookError
		setting  *rootfs.EnvironmentError
		tools    *missingToolsError
		foreign  *foreignError
		tool     *runner.MissingToolError
		noIDs    *runner.NoSubIDError
		noSpaces *runner.NoUserNamespaceError
		full     *blockdev.NoSpaceError
		tooSmall *blockdev.SizeError
		reader   *compare.ToolError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &child):
		return int(child)
	case errors.As(err, &signal):
		return 128 + int(signal.signal)
	case errors.As(err, &killed):
		return 128 + int(killed.Signal)
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &tools), errors.As(err, &tool), errors.As(err, &foreign), errors.As(err, &reader):
		return exitTool
	case errors.As(err, &noIDs), errors.As(err, &noSpaces):
		return exitUserIDs
	case isUsersMistake(err):
		return exitUsage
	case errors.As(err, new(troubleError)) && !errors.Is(err, syscall.ENOSPC):
		return exitTrouble
	case errors.As(err, &full) && full.Explicit, errors.As(err, &tooSmall):
		return exitTooSmall
	case errors.As(err, &hook):
		return ownExitCode(hook.Err)
	case errors.As(err, &setting):
		return ownExitCode(setting.Err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return exitNoSpace
	}
	return exitFailed
}

// isUsersMistake says whether err is one that the user mends by typing
// something else.
func isUsersMistake(err error) bool {
	var (
		missing   *elements.MissingError
		provided  *elements.AlreadyProvidedError
		noSystem  *elements.NoOperatingSystemError
		collision *elements.CollisionError
		inFile    *elements.FileError
		layouts   *elements.LayoutConflictError
		config    *blockdev.ConfigError
		treeLate  *rootfs.NotYetError
		format    *convert.RefusedError
		refused   *file.RefusedError
		single    *file.SingleError
		volume    *file.VolumeError
		device    *physical.RefusedError
	)
	return errors.Is(err, errUsage) || errors.Is(err, errNotYet) ||
		errors.As(err, &missing) || errors.As(err, &provided) || errors.As(err, &noSystem) || errors.As(err, &collision) ||
		errors.As(err, &inFile) || errors.As(err, &layouts) ||
		errors.As(err, &config) || errors.As(err, &treeLate) || errors.As(err, &format) ||
		errors.As(err, &refused) || errors.As(err, &single) || errors.As(err, &volume) || errors.As(err, &device)
}

// ownExitCode is the code of a hook, or of a file of environment.d; one that never
// ran has none.
func ownExitCode(err error) int {
	var e *runner.ExitError
	if errors.As(err, &e) && e.Code > 0 {
		return e.Code
	}
	return exitFailed
}

// hint is what to do about an error, where its text does not say so already.
func hint(err error) string {
	var (
		full     *blockdev.NoSpaceError
		tooSmall *blockdev.SizeError
		hook     *rootfs.HookError
	)
	switch {
	case errors.As(err, &full) && full.Explicit, errors.As(err, &tooSmall):
		return "give a larger --image-size (of mkfs: --size), or none: then the size is computed from the content"
	case errors.As(err, &hook):
		return ""
	case errors.Is(err, syscall.ENOSPC):
		return "free some space there, or use another disk: -o names the outputs', TMPDIR the work files', LITHIFY_STORE that of the kept steps"
	case errors.Is(err, syscall.EDQUOT):
		return "your quota on that disk is used up"
	}
	return ""
}

// buildLog is what the log adds to the report on a failed build.
type buildLog struct {
	path string
	tail []string // the last lines that hooks wrote
}

// report says why a program ends, once, and returns its exit code.
func report(stderr io.Writer, program string, err error, log buildLog) int {
	code := exitCode(err)
	if err == nil || errors.As(err, new(childExit)) {
		return code
	}
	var b strings.Builder
	var hook *rootfs.HookError
	hookFailed := errors.As(err, &hook)
	if hookFailed && len(log.tail) > 0 {
		fmt.Fprintf(&b, "the last lines of %s:\n", stepName(hook.Phase, hook.Element, hook.Hook))
		for _, line := range log.tail {
			fmt.Fprintf(&b, "  | %s\n", line)
		}
	}
	fmt.Fprintf(&b, "%s: %v\n", program, err)
	h := hint(err)
	if ranFull(err, log.tail) {
		h = hint(syscall.ENOSPC)
	}
	if h != "" {
		fmt.Fprintf(&b, "%s\n", h)
	}
	if log.path != "" && (hookFailed || code != exitUsage && code != exitTool) {
		fmt.Fprintf(&b, "the whole log: %s\n", log.path)
	}
	io.WriteString(stderr, b.String())
	return code
}

// ranFull says whether a build ended since a disk of this machine is full. A hook
// has only its exit code and its last lines to say so.
func ranFull(err error, tail []string) bool {
	if errors.As(err, new(*rootfs.HookError)) {
		return strings.Contains(strings.Join(tail, "\n"), "No space left on device")
	}
	return errors.Is(err, syscall.ENOSPC) && !errors.As(err, new(*blockdev.NoSpaceError))
}
