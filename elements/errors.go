package elements

import (
	"fmt"
	"strings"
)

// MissingError says that no source has an element that is needed.
type MissingError struct {
	Name      string
	Chain     []string // who needs it: from an element asked for down to the one whose element-deps names it; empty when it was itself asked for
	Nearest   string   // an existing name that resembles it, or ""
	Providers []string // elements of the library that provide the name, of which none was chosen
}

// Error begins with the way to the name, when others asked for it:
//
//	web → nginx: Element 'nginx' not found; did you mean 'ngnix'?
func (e *MissingError) Error() string {
	var b strings.Builder
	for _, by := range e.Chain {
		fmt.Fprintf(&b, "%s → ", by)
	}
	if len(e.Chain) > 0 {
		fmt.Fprintf(&b, "%s: ", e.Name)
	}
	fmt.Fprintf(&b, "Element '%s' not found", e.Name)
	if len(e.Providers) > 0 {
		fmt.Fprintf(&b, "; provided by %s: name one of them", strings.Join(e.Providers, ", "))
	} else if e.Nearest != "" {
		fmt.Fprintf(&b, "; did you mean '%s'?", e.Nearest)
	}
	return b.String()
}

// AlreadyProvidedError says that two chosen elements provide the same name, or
// that a name was asked for which a chosen element provides.
type AlreadyProvidedError struct {
	Name     string
	Provider string // the first that provides it
	Second   string // the other one, or "" when Name itself was asked for
}

func (e *AlreadyProvidedError) Error() string {
	if e.Second == "" {
		return fmt.Sprintf("%s : already provided by ['%s']; leave out one of the two", e.Name, e.Provider)
	}
	return fmt.Sprintf("%s: already provided by ['%s'], and '%s' provides it too", e.Name, e.Provider, e.Second)
}

// NoOperatingSystemError says that none of the chosen elements makes the first
// tree.
type NoOperatingSystemError struct {
	Candidates []string // elements of the library that would
}

func (e *NoOperatingSystemError) Error() string {
	text := "please include an operating system element"
	if len(e.Candidates) > 0 {
		text += ": " + strings.Join(e.Candidates, ", ")
	}
	return text
}

// FileError says that a file of an element holds a mistake.
type FileError struct {
	Element string
	File    string // below the element's folder
	Err     error  // begins with the line
}

func (e *FileError) Error() string {
	return fmt.Sprintf("element '%s', %s: %v", e.Element, e.File, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// CollisionError says that two elements bring a file of the same name to the
// hooks tree.
type CollisionError struct {
	Path          string // in the tree
	First, Second string // the elements
}

func (e *CollisionError) Error() string {
	return fmt.Sprintf("merging elements: %q is in '%s' and in '%s'; names must differ", e.Path, e.First, e.Second)
}
