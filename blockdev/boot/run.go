package boot

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/pflag"
)

// Cover is one file of the target that the driver hides behind our binary while
// hooks of the finalise phase run.
type Cover struct {
	Target   string // absolute path in the target
	Command  string // name to be called by, as [Run] takes it
	Optional bool   // nothing to hide when the target has no such file
}

// Covers lists what to hide. They are bind mounts, so a package manager cannot
// replace these files while they are there: GRUB's packages go in by an earlier hook.
// blkid and findmnt stay the target's own: grub-mkconfig of Debian 12 and 13
// calls neither.
func Covers() []Cover {
	var out []Cover
	for _, prefix := range []string{"grub", "grub2"} {
		for _, at := range []struct{ dir, tool string }{
			{"/usr/sbin", "probe"}, {"/usr/sbin", "install"}, {"/usr/bin", "mkrelpath"},
		} {
			out = append(out, Cover{Target: at.dir + "/" + prefix + "-" + at.tool, Command: "grub-" + at.tool, Optional: true})
		}
	}
	return out
}

// Env is the world a stand-in runs in.
type Env struct {
	Layout Layout
	Root   string // where the target's tree is; "" means /
	Name   string // what the command was called as, for its messages; "" means Command's own
	Stdout io.Writer
	Stderr io.Writer
}

// Commands are the names that [Run] takes, sorted.
func Commands() []string {
	var names []string
	for name := range commands {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

var commands = map[string]func(context.Context, Env, []string) error{
	"grub-probe":     grubProbe,
	"grub-install":   grubInstall,
	"grub-mkrelpath": grubMkrelpath,
}

// Run is the stand-in called name (grub-probe; grub2-probe is the same) with
// args, which do not hold the name. The caller prints the error and exits with 1.
func Run(ctx context.Context, name string, env Env, args []string) error {
	command, ok := commands[strings.Replace(name, "grub2-", "grub-", 1)]
	if !ok {
		return fmt.Errorf("running %q: not a stand-in for a GRUB tool, those are %s", name, strings.Join(Commands(), ", "))
	}
	if env.Root == "" {
		env.Root = "/"
	}
	if env.Name == "" {
		env.Name = name
	}
	return command(ctx, env, args)
}

// host is where the target's file name lies for us.
func (e Env) host(name string) string { return filepath.Join(e.Root, name) }

// real resolves the target's name to its last symbolic link, still as the target sees it.
func (e Env) real(name string) (string, error) {
	root, err := filepath.EvalSymlinks(e.Root)
	if err != nil {
		return "", fmt.Errorf("resolving the tree %q: %w", e.Root, err)
	}
	full, err := filepath.EvalSymlinks(filepath.Join(root, name))
	if err != nil {
		return "", fmt.Errorf("resolving %q: %w", name, err)
	}
	rel, err := filepath.Rel(root, full)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("resolving %q: it leads out of %q", name, e.Root)
	}
	return filepath.Join("/", rel), nil
}

// parse reads args into flags; help is asked for rarely and answered shortly.
func parse(e Env, flags *pflag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	flags.SortFlags = false
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("reading the options of %s: %w", e.Name, err)
	}
	return nil
}

// grubMkrelpath prints a path as seen from the root of its own file system. The
// real one looks for a change of device number, which an overlay does not have.
func grubMkrelpath(_ context.Context, e Env, args []string) error {
	flags := pflag.NewFlagSet(e.Name, pflag.ContinueOnError)
	version := flags.BoolP("version", "V", false, "")
	flags.BoolP("relative", "r", false, "")
	if err := parse(e, flags, args); err != nil {
		return err
	}
	if *version {
		return printVersion(e)
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("reading the arguments of %s: %d paths found, one is wanted", e.Name, flags.NArg())
	}
	name, err := e.real(flags.Arg(0))
	if err != nil {
		return err
	}
	fs, err := e.Layout.at(name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.Stdout, fs.relative(name))
	return err
}

// printVersion answers scripts that look for GRUB 2 by its version line.
func printVersion(e Env) error {
	_, err := fmt.Fprintf(e.Stdout, "%s (GRUB) 2.06 (lithify's stand-in)\n", e.Name)
	return err
}
