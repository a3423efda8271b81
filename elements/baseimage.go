package elements

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	// baseImageFile names the container image that a tree starts from.
	baseImageFile = "base-image"
	// makesRootFile is in elements whose root.d hooks make the first tree for
	// operating systems, and do nothing else.
	makesRootFile = "makes-root"
	// operatingSystem is provided by the one element of a build that is it.
	operatingSystem = "operating-system"
)

// BaseImageConflictError says that two elements bring a base image.
type BaseImageConflictError struct{ First, Second string }

func (e *BaseImageConflictError) Error() string {
	return fmt.Sprintf("choosing the base image: '%s' and '%s' both have a file %s; use one of the two elements, or say which image in DIB_BASE_IMAGE",
		e.First, e.Second, baseImageFile)
}

// BaseImage returns the reference that an element's file base-image has, with
// its variables, and the element's name; both are empty where no element has
// such a file. Two that have one are a *BaseImageConflictError.
func BaseImage(els []Element) (element, reference string, err error) {
	for _, e := range els {
		data, err := e.read(baseImageFile)
		if err != nil {
			return "", "", err
		}
		if data == nil {
			continue
		}
		if element != "" {
			return "", "", &BaseImageConflictError{element, e.Name}
		}
		lines := parseNames(data)
		if len(lines) != 1 {
			return "", "", fmt.Errorf("element '%s', %s: found %d lines, want one: the reference of an image", e.Name, baseImageFile, len(lines))
		}
		element, reference = e.Name, lines[0]
	}
	return element, reference, nil
}

// ExpandImage puts the values of variables, written $NAME or ${NAME}, into a
// reference. One without a value is an error.
func ExpandImage(reference string, env map[string]string) (string, error) {
	var missing []string
	text := os.Expand(reference, func(name string) string {
		if env[name] == "" {
			missing = append(missing, name)
		}
		return env[name]
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("base image %q: %s has no value", reference, strings.Join(missing, ", "))
	}
	return text, nil
}

// lastMaker is the highest number of a hook that makes a tree: those of an
// operating system that come later adapt it, and stay.
const lastMaker = 49

// StandOnImage leaves out the hooks, and what answers for them in cache-key.d,
// that would make the tree for which an image is there: hooks of root.d with
// numbers below 50 of the elements that provide operating-system, and all root.d
// hooks of elements with a file "makes-root".
func (t *Tree) StandOnImage(els []Element) error {
	for _, e := range els {
		_, err := fs.Stat(e.FS, makesRootFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking for %s of element '%s': %w", makesRootFile, e.Name, err)
		}
		all := err == nil
		if !all && !slices.Contains(e.Provides, operatingSystem) {
			continue
		}
		for _, h := range t.Hooks(Root) {
			if h.Element == e.Name && (all || hookNumber(h.Name) <= lastMaker) {
				delete(t.nodes, h.Path)
				delete(t.nodes, "cache-key.d/"+h.Path)
			}
		}
	}
	return nil
}

// hookNumber is the number that a hook's name begins with; 0 without one.
func hookNumber(name string) int {
	digits := name[:len(name)-len(strings.TrimLeft(name, "0123456789"))]
	n, _ := strconv.Atoi(digits) // none, or too many: first
	return n
}
