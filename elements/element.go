package elements

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Element is one element as a source has it.
type Element struct {
	Name     string
	Path     string // its folder, as shown to people
	FS       fs.FS  // its files; modes of built-in ones are those of the checkout
	Builtin  bool
	Deps     []string // names in element-deps, in their order
	Provides []string // names in element-provides, in their order
}

// list reads a file of names, one a line. A file that is not there is empty.
func (e Element) list(file string) ([]string, error) {
	data, err := e.read(file)
	return parseNames(data), err
}

// read returns a file at the top of the element, nil when there is none.
func (e Element) read(file string) ([]byte, error) {
	data, err := fs.ReadFile(e.FS, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s of element '%s': %w", file, e.Name, err)
	}
	return data, nil
}

// parseNames splits a file of names: one a line, without what follows a '#'.
func parseNames(data []byte) []string {
	var names []string
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, "#")
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
