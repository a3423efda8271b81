package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// requests are the packages of one phase, each with the element that asks and
// whose map translates the name.
type requests []request

type request struct{ name, element string }

// UnmarshalJSON reads ["package", "element"].
func (r *request) UnmarshalJSON(data []byte) error {
	var pair []string
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("%s: a pair of package and element is wanted", data)
	}
	r.name, r.element = pair[0], pair[1]
	return nil
}

// packageInstallsMain is package-installs-v2 --phase P [--uninstall] [--noop]
// FILE: it installs or removes what elements' package-installs files ask for.
func packageInstallsMain(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "package-installs-v2"
	flags := flagsFor(name, "--phase PHASE [--uninstall] [--noop] FILE", stdout)
	phase := flags.String("phase", "", "the phase whose packages are meant, install.d for instance")
	uninstall := flags.Bool("uninstall", false, "remove what is to be removed, instead of installing")
	noop := flags.BoolP("noop", "n", false, "print the command, do not run it")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, err)
	}
	if *phase == "" || flags.NArg() != 1 {
		return finish(stderr, name, codeError{exitUsage, errors.New("--phase and one FILE are needed")})
	}
	verb := "install"
	if *uninstall {
		verb = "uninstall"
	}
	list, err := readRequests(flags.Arg(0), *phase, verb)
	if err != nil {
		return finish(stderr, name, err)
	}
	if len(list) == 0 {
		fmt.Fprintln(stdout, "Nothing to", verb)
		return 0
	}
	packages, err := list.translate(env)
	if err != nil {
		return finish(stderr, name, err)
	}
	return finish(stderr, name, act(ctx, env, packages, *uninstall, *noop, stdout, stderr))
}

func readRequests(file, phase, verb string) (requests, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the package lists: %w", err)
	}
	var phases map[string]map[string]requests
	if err := json.Unmarshal(data, &phases); err != nil {
		return nil, fmt.Errorf("reading the package lists in %q: %w", file, err)
	}
	return phases[phase][verb], nil
}

// translate gives the packages for this distribution, each once, in the order
// they were asked for. A name without a map stands for itself.
func (l requests) translate(env []string) ([]string, error) {
	var packages []string
	mappers := map[string]*pkgMapper{}
	for _, r := range l {
		m := mappers[r.element]
		if m == nil {
			m = &pkgMapper{distro: getenv(env, "DISTRO_NAME"), release: getenv(env, "DIB_RELEASE"), missingOK: true}
			if err := m.load(r.element, ""); err != nil {
				return nil, fmt.Errorf("translating %q for element %q: %w", r.name, r.element, err)
			}
			mappers[r.element] = m
		}
		mapped, err := m.lookup(r.name)
		if err != nil {
			return nil, err
		}
		packages = appendNew(packages, strings.Fields(mapped)...)
	}
	return packages, nil
}

func appendNew(list []string, more ...string) []string {
	for _, word := range more {
		if !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return list
}

// act installs or removes packages; with noop it says what it would call.
func act(ctx context.Context, env, packages []string, uninstall, noop bool, stdout, stderr io.Writer) error {
	args := packages
	if uninstall {
		args = append([]string{"-e"}, packages...)
	}
	if noop {
		_, err := fmt.Fprintln(stdout, "install-packages", strings.Join(args, " "))
		return err
	}
	if len(packages) == 0 {
		return nil
	}
	return installPackages(ctx, env, args, stdout, stderr)
}

// legacyInstallsMain is package-installs -d DIR: it installs what the text
// files package-installs-ELEMENT in DIR list.
func legacyInstallsMain(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	return legacyMain(ctx, "package-installs", args, env, stdout, stderr)
}

// legacyUninstallsMain is package-uninstalls -d DIR: it removes what the same
// files list with a minus sign before the name.
func legacyUninstallsMain(ctx context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	return legacyMain(ctx, "package-uninstalls", args, env, stdout, stderr)
}

func legacyMain(ctx context.Context, name string, args, env []string, stdout, stderr io.Writer) int {
	flags := flagsFor(name, "-d DIRECTORY", stdout)
	dir := flags.StringP("directory", "d", "", "where files package-installs-ELEMENT are")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, err)
	}
	if *dir == "" || flags.NArg() != 0 {
		return finish(stderr, name, errors.New("-d DIRECTORY is needed, and nothing else"))
	}
	uninstall := name == "package-uninstalls"
	list, err := legacyRequests(*dir, uninstall)
	if err != nil {
		return finish(stderr, name, err)
	}
	packages, err := list.translate(env)
	if err == nil {
		err = act(ctx, env, packages, uninstall, false, stdout, stderr)
	}
	return finish(stderr, name, err)
}

// legacyRequests reads the text files of dir. Removal means the names with a
// minus sign; these are installed first like the others, as users are used to.
func legacyRequests(dir string, removal bool) (requests, error) {
	files, err := filepath.Glob(filepath.Join(dir, "package-installs-*"))
	if err != nil {
		return nil, fmt.Errorf("listing %q: %w", dir, err)
	}
	var list requests
	for _, file := range files { // sorted by Glob
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the package list: %w", err)
		}
		element := strings.TrimPrefix(filepath.Base(file), "package-installs-")
		list = append(list, parseLegacy(data, element, removal)...)
	}
	return list, nil
}

func parseLegacy(data []byte, element string, removal bool) requests {
	var list requests
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, minus := strings.CutPrefix(line, "-")
		name = strings.TrimSpace(name)
		if name != "" && (minus || !removal) {
			list = append(list, request{name, element})
		}
	}
	return list
}
