package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// targetCommands are what this binary is inside a target (and, where that makes
// sense, for hooks on the build host), by name. The driver links each name to
// the binary in a folder that is first in PATH.
var targetCommands = map[string]program{
	"apt-suite-digest":    aptSuiteDigestMain,
	"cache-url":           cacheURLMain,
	"dib-init-system":     initSystemMain,
	"dib-run-parts":       runPartsMain,
	"package-installs":    legacyInstallsMain,
	"package-installs-v2": packageInstallsMain,
	"package-uninstalls":  legacyUninstallsMain,
	"pkg-map":             pkgMapMain,
	"svc-map":             svcMapMain,
}

// hostCommands are what this binary is for hooks on the build host alone, where
// it comes before the host's own programs.
var hostCommands = map[string]program{
	"source-repositories": sourceRepositoriesMain,
	"sudo":                sudoMain,
}

// lastCommands are what this binary is inside a target that has no program of
// the name, nor an element that brings one.
var lastCommands = map[string]program{
	"install-packages": installPackagesMain,
}

// targetCommand finds the command of a name.
func targetCommand(name string) (program, bool) {
	for _, commands := range []map[string]program{targetCommands, hostCommands, lastCommands} {
		if p, ok := commands[name]; ok {
			return p, ok
		}
	}
	return grubCommand(name)
}

// targetCommandNames lists the names to link, sorted.
func targetCommandNames() []string { return slices.Sorted(maps.Keys(targetCommands)) }

// commandVariables are the variables that commands read without their names
// being anywhere in an element, as patterns.
var commandVariables = map[string][]string{
	"dib-init-system":     {"DIB_INIT_SYSTEM"},
	"source-repositories": sourceVariables,
}

// lastCommandNames lists those that come last, sorted.
func lastCommandNames() []string { return slices.Sorted(maps.Keys(lastCommands)) }

// hostCommandNames lists those to link for hooks on the build host, sorted.
func hostCommandNames() []string { return slices.Sorted(maps.Keys(hostCommands)) }

// Where commands find their data in a target: the driver's for this phase
// first, then what an element put where diskimage-builder has it.
var (
	pkgMapDirs  = []string{"/dev/lithify/data/pkg-map", "/usr/share/pkg-map"}
	svcMapFiles = []string{"/dev/lithify/data/svc-map.json", "/usr/share/svc-map/services"}
)

// getenv is the last value of a variable in a list of NAME=value.
func getenv(env []string, name string) string {
	value, _ := lookupEnv(env, name)
	return value
}

// lookupEnv also tells whether the variable is set.
func lookupEnv(env []string, name string) (value string, set bool) {
	for _, entry := range slices.Backward(env) {
		if value, set = strings.CutPrefix(entry, name+"="); set {
			return value, true
		}
	}
	return "", false
}

// codeError carries the exit code that the contract gives to an error.
type codeError struct {
	code int
	err  error
}

func (e codeError) Error() string { return e.err.Error() }
func (e codeError) Unwrap() error { return e.err }

// finish says what went wrong and gives the exit code: 1 unless err knows better.
func finish(stderr io.Writer, name string, err error) int {
	var coded codeError
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp):
		return 0
	case errors.As(err, &coded):
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return coded.code
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	return 1
}

// flagsFor makes the options of a command that takes usage's words after them.
func flagsFor(name, usage string, stdout io.Writer) *pflag.FlagSet {
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() { fmt.Fprintf(stdout, "Usage: %s %s\n%s", name, usage, flags.FlagUsages()) }
	return flags
}

// initSystemMain prints the init system of the image.
func initSystemMain(_ context.Context, _, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	system := getenv(env, "DIB_INIT_SYSTEM")
	if system == "" {
		return finish(stderr, "dib-init-system", errors.New("DIB_INIT_SYSTEM is not set: an operating-system element must set it"))
	}
	out := bufio.NewWriter(stdout)
	fmt.Fprintln(out, system)
	return finish(stderr, "dib-init-system", out.Flush())
}

// installPackages calls the install-packages of the element that knows the
// image's package manager.
func installPackages(ctx context.Context, env, args []string, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, "install-packages", args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, stdout, stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running install-packages %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
