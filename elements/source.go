package elements

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Source is one place where elements are found: each of its folders is one.
type Source struct {
	Dir     string // as shown to people: an absolute path, or "(built in)"
	FS      fs.FS
	Builtin bool

	disk bool // FS is the folder Dir itself
}

// Library is where elements are looked for; the first source that has a name
// wins, and wins with the whole element.
type Library []Source

// Open returns the library for the value of ELEMENTS_PATH, a list of folders
// separated by colons. The built-in elements come last. An empty path gives
// these alone; an empty entry in a longer path is a mistake.
func Open(path string) (Library, error) {
	var l Library
	if path != "" {
		for _, dir := range strings.Split(path, ":") {
			s, err := openSource(dir)
			if err != nil {
				return nil, err
			}
			l = append(l, s)
		}
	}
	return append(l, Builtin()), nil
}

func openSource(dir string) (Source, error) {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return Source{}, fmt.Errorf("ELEMENTS_PATH entry '%s' is not a directory", dir)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Source{}, fmt.Errorf("opening elements in %q: %w", dir, err)
	}
	return Source{Dir: abs, FS: os.DirFS(abs), disk: true}, nil
}

// Names returns every element of the library once, sorted.
func (l Library) Names() []string {
	var names []string
	for _, s := range l {
		names = append(names, s.names()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Shadowed returns the paths of the elements called name that are not used
// because an earlier source has one too.
func (l Library) Shadowed(name string) []string {
	var paths []string
	for _, s := range l {
		if s.has(name) {
			paths = append(paths, s.path(name))
		}
	}
	if len(paths) == 0 {
		return nil
	}
	return paths[1:]
}

func (s Source) names() []string {
	entries, err := fs.ReadDir(s.FS, ".")
	if err != nil {
		return nil // a source that cannot be listed can still be asked for a name
	}
	var names []string
	for _, e := range entries {
		if s.has(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// has follows symbolic links: a linked folder is an element under the name of
// the link.
func (s Source) has(name string) bool {
	if name == "" || strings.HasPrefix(name, ".") || name == "__pycache__" || strings.Contains(name, "/") {
		return false
	}
	info, err := fs.Stat(s.FS, name)
	return err == nil && info.IsDir()
}

func (s Source) path(name string) string { return s.Dir + "/" + name }

// load reads the element called name from the first source that has it.
func (l Library) load(name string) (Element, bool, error) {
	for _, s := range l {
		if s.has(name) {
			e, err := s.load(name)
			return e, true, err
		}
	}
	return Element{}, false, nil
}

func (s Source) load(name string) (Element, error) {
	sub, err := fs.Sub(s.FS, name)
	if err != nil {
		return Element{}, fmt.Errorf("opening element %q: %w", s.path(name), err)
	}
	if s.disk {
		// What fs.Sub gives can only ask for a file's mode by opening it, and
		// opening a fifo waits for ever.
		sub = os.DirFS(s.path(name))
	}
	e := Element{Name: name, Path: s.path(name), FS: sub, Builtin: s.Builtin}
	if e.Deps, err = e.list("element-deps"); err != nil {
		return Element{}, err
	}
	e.Provides, err = e.list("element-provides")
	return e, err
}
