package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lithify/lithify/elements"
)

// Exit codes of pkg-map that callers tell apart.
const (
	pkgMapUnmapped = 1 // also bad usage and an unreadable map
	pkgMapNoFile   = 2
)

// pkgMapper translates the package names of one element.
type pkgMapper struct {
	table           elements.PackageMap
	distro, release string
	missingOK       bool
}

// pkgMapMain is pkg-map [options] NAME...: it prints one line per name, the
// packages that the name stands for on this distribution.
func pkgMapMain(_ context.Context, args, env []string, _ io.Reader, stdout, stderr io.Writer) int {
	const name = "pkg-map"
	flags := flagsFor(name, "[options] NAME...", stdout)
	element := flags.String("element", "", "use the map of this element")
	file := flags.String("pkg-map", "", "use this map file instead")
	distro := flags.String("distro", getenv(env, "DISTRO_NAME"), "distribution")
	release := flags.String("release", getenv(env, "DIB_RELEASE"), "release of the distribution")
	missingOK := flags.Bool("missing-ok", false, "names without a map stand for themselves")
	prefix := flags.String("prefix", "", "put this before every line")
	debug := flags.Bool("debug", false, "say on stderr what is looked up")
	if err := flags.Parse(args); err != nil {
		return finish(stderr, name, err)
	}
	mapper := pkgMapper{distro: *distro, release: *release, missingOK: *missingOK}
	if err := mapper.load(*element, *file); err != nil {
		return finish(stderr, name, err)
	}
	if *debug {
		fmt.Fprintf(stderr, "%s: element %q, file %q, distribution %q, release %q\n", name, *element, *file, *distro, *release)
	}
	for _, word := range flags.Args() {
		packages, err := mapper.lookup(word)
		if err != nil {
			return finish(stderr, name, err)
		}
		if packages == "" {
			continue
		}
		if _, err := fmt.Fprintln(stdout, *prefix+packages); err != nil {
			return finish(stderr, name, fmt.Errorf("printing: %w", err))
		}
	}
	return 0
}

// load reads the map of an element, or the file given for it.
func (m *pkgMapper) load(element, file string) error {
	switch {
	case (element == "") == (file == ""):
		return codeError{pkgMapUnmapped, errors.New("exactly one of --element and --pkg-map is needed")}
	case m.distro == "":
		return codeError{pkgMapUnmapped, errors.New("the distribution is not known: set DISTRO_NAME or give --distro")}
	}
	data, err := readPkgMap(element, file)
	if errors.Is(err, fs.ErrNotExist) {
		if m.missingOK {
			return nil
		}
		return codeError{pkgMapNoFile, fmt.Errorf("reading the package map of %q: %w", element+file, err)}
	}
	if err != nil {
		return err
	}
	m.table, err = elements.ParsePackageMap(data)
	if err != nil {
		return fmt.Errorf("reading the package map of %q: %w", element+file, err)
	}
	return nil
}

func readPkgMap(element, file string) ([]byte, error) {
	if file != "" {
		return os.ReadFile(file)
	}
	if strings.ContainsRune(element, '/') {
		return nil, codeError{pkgMapUnmapped, fmt.Errorf("%q is not the name of an element", element)}
	}
	err := error(fs.ErrNotExist)
	for _, dir := range pkgMapDirs {
		var data []byte
		if data, err = os.ReadFile(filepath.Join(dir, element)); err == nil {
			return data, nil
		}
	}
	return nil, err
}

// lookup gives the packages of one name, separated by blanks; none is "".
func (m *pkgMapper) lookup(name string) (string, error) {
	if packages, ok := m.table.Lookup(m.distro, m.release, name); ok {
		return strings.Join(strings.Fields(packages), " "), nil
	}
	if m.missingOK {
		return name, nil
	}
	return "", codeError{pkgMapUnmapped, fmt.Errorf("no package for %q on %s %s", name, m.distro, m.release)}
}
