package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// packageAction is what install-packages is asked to do.
type packageAction struct {
	update, remove bool
	download       bool
	dir            string // where to; "" for the package manager's cache
	packages       []string
}

// packageManager gives the commands of an action; none means that there is
// nothing to do.
type packageManager func(a packageAction, env []string) ([][]string, error)

// packageManagers are those that are known, by the program that a target has;
// the first that is there is taken. YUM names one of the second family.
var packageManagers = []struct {
	program string
	manager packageManager
}{
	{"apt-get", aptCommands},
	{"dnf", yumCommands("dnf")},
	{"yum", yumCommands("yum")},
	{"microdnf", yumCommands("microdnf")},
	{"zypper", zypperCommands},
}

// yumBlacklist lists packages, one a line, that are not to be installed.
var yumBlacklist = "/tmp/yum-blacklist"

// installPackagesMain is install-packages [-u] [-e] [-d [DIR]] [-m ELEMENT]
// PACKAGE...: it installs with whatever the target has, where no element brings
// a command of the name.
func installPackagesMain(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	const name = "install-packages"
	flags := flagsFor(name, "[-u] [-e] [-d] [-m ELEMENT] PACKAGE...", stdout)
	flags.SetInterspersed(false)
	update := flags.BoolP("update", "u", false, "bring all packages up to date, and do nothing else")
	remove := flags.BoolP("erase", "e", false, "remove the packages instead of installing them")
	download := flags.BoolP("download", "d", false, "download only; with dnf and yum the next word is the folder")
	element := flags.StringP("map", "m", "", "translate the names by the pkg-map of this element")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, err)
	}
	manager, program, err := findPackageManager(env)
	if err != nil {
		return finish(stderr, name, err)
	}
	a := packageAction{update: *update, remove: *remove, download: *download}
	words := flags.Args()
	if a.download && isYum(program) && len(words) > 0 {
		a.dir, words = words[0], words[1:]
	}
	a.packages = strings.Fields(strings.Join(words, " "))
	if *element != "" {
		if a.packages, err = mapPackages(*element, a.packages, env); err != nil {
			return finish(stderr, name, err)
		}
	}
	if len(a.packages) == 0 && !a.update {
		fmt.Fprintf(stdout, "%s: no packages\n", name)
		return 0
	}
	commands, err := manager(a, env)
	if err != nil {
		return finish(stderr, name, err)
	}
	return runPackageCommands(ctx, commands, env, stdin, stdout, stderr)
}

func runPackageCommands(ctx context.Context, commands [][]string, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	for _, words := range commands {
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Env = append(slices.Clone(env), "DEBIAN_FRONTEND=noninteractive", "APT_LISTCHANGES_FRONTEND=none", "NEEDRESTART_MODE=l")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
		if err := cmd.Run(); err != nil {
			return finish(stderr, "install-packages", fmt.Errorf("running %s: %w", strings.Join(words, " "), err))
		}
	}
	return 0
}

func isYum(program string) bool {
	return slices.Contains([]string{"dnf", "yum", "microdnf"}, filepath.Base(program))
}

// findPackageManager takes what YUM says, else the first that is there.
func findPackageManager(env []string) (packageManager, string, error) {
	if yum := getenv(env, "YUM"); yum != "" {
		if _, err := exec.LookPath(yum); err != nil {
			return nil, "", fmt.Errorf("YUM says %q: %w", yum, err)
		}
		return yumCommands(yum), yum, nil
	}
	var names []string
	for _, known := range packageManagers {
		if _, err := exec.LookPath(known.program); err == nil {
			return known.manager, known.program, nil
		}
		names = append(names, known.program)
	}
	return nil, "", fmt.Errorf("the image has none of %s: an element must bring install-packages", strings.Join(names, ", "))
}

// mapPackages translates names by an element's pkg-map; a name that is not in
// it is a mistake.
func mapPackages(element string, names, env []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	m := pkgMapper{distro: getenv(env, "DISTRO_NAME"), release: getenv(env, "DIB_RELEASE")}
	if err := m.load(element, ""); err != nil {
		return nil, err
	}
	var packages []string
	for _, name := range names {
		mapped, err := m.lookup(name)
		if err != nil {
			return nil, err
		}
		packages = append(packages, strings.Fields(mapped)...)
	}
	return packages, nil
}

// aptCommands keep configuration files as they are.
func aptCommands(a packageAction, _ []string) ([][]string, error) {
	words := []string{"apt-get", "--assume-yes", "--option", "Dpkg::Options::=--force-confdef", "--option", "Dpkg::Options::=--force-confold"}
	switch {
	case a.update:
		return [][]string{append(words, "dist-upgrade")}, nil
	case a.remove:
		return [][]string{append(append(words, "remove", "--"), a.packages...)}, nil
	case a.download:
		words = append(words, "--download-only")
	}
	return [][]string{append(append(words, "install", "--"), a.packages...)}, nil
}

// yumCommands install, and mark what was asked for as asked for: a later
// removal of something else must not take it along.
func yumCommands(program string) packageManager {
	return func(a packageAction, env []string) ([][]string, error) {
		flags := strings.Fields(getenv(env, "YUM_FLAGS"))
		if len(flags) == 0 {
			flags = []string{"-y"}
			if !isDNF5(program) {
				flags = append(flags, "-v")
			}
		}
		words := append([]string{program}, flags...)
		switch {
		case a.update:
			return [][]string{append(words, "update")}, nil
		case a.remove:
			return [][]string{append(append(words, "remove"), a.packages...)}, nil
		}
		packages, err := notBlacklisted(a.packages)
		if err != nil || len(packages) == 0 {
			return nil, err
		}
		if a.download {
			words = append(words, "--downloadonly")
			if a.dir != "" {
				words = append(words, "--downloaddir="+a.dir)
			}
			return [][]string{append(append(words, "install"), packages...)}, nil
		}
		commands := [][]string{append(append(slices.Clone(words), "install"), packages...)}
		if mark := markCommand(program); mark != nil {
			commands = append(commands, append(mark, packages...))
		}
		return commands, nil
	}
}

// isDNF5 follows the link that the program's name is, where dnf is dnf5.
func isDNF5(program string) bool {
	path, err := exec.LookPath(program)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	return err == nil && strings.HasPrefix(filepath.Base(path), "dnf5")
}

func markCommand(program string) []string {
	switch {
	case filepath.Base(program) == "microdnf":
		return nil
	case isDNF5(program):
		return []string{program, "-y", "mark", "user"}
	case filepath.Base(program) == "dnf":
		return []string{program, "-y", "mark", "install"}
	}
	return nil
}

func notBlacklisted(packages []string) ([]string, error) {
	text, err := os.ReadFile(yumBlacklist)
	if errors.Is(err, os.ErrNotExist) {
		return packages, nil
	}
	if err != nil {
		return nil, err
	}
	unwanted := strings.Fields(string(text))
	return slices.DeleteFunc(slices.Clone(packages), func(p string) bool { return slices.Contains(unwanted, p) }), nil
}

func zypperCommands(a packageAction, _ []string) ([][]string, error) {
	words := []string{"zypper", "--non-interactive", "--gpg-auto-import-keys"}
	switch {
	case a.update:
		return [][]string{append(words, "dist-upgrade", "--no-recommends")}, nil
	case a.remove:
		return [][]string{append(append(words, "remove", "--clean-deps", "--"), a.packages...)}, nil
	}
	words = append(words, "install", "--no-recommends")
	if a.download {
		words = append(words, "--download-only")
	}
	return [][]string{append(append(words, "--"), a.packages...)}, nil
}
