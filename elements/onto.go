package elements

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// servesFile is in elements whose hooks deal with what other elements bring:
// their packages, files, services.
const servesFile = "serves-elements"

// installing are the phases that make a tree, which an image takes over from the
// one that it starts from. The later ones finish an image, its disk above all,
// and are its own.
var installing = []Phase{Root, ExtraData, PreInstall, Install, PostInstall}

// MergeOnto is Merge for an image that starts from a tree which the elements of
// base have made, up to the end of the installing phases; els are all elements
// of the image, those of base among them.
//
// Hooks of base in these phases have run and are none any more. So that its
// services do not deal twice with the same, folders and files which they deal
// with are left out where base brings them. An element with a file
// "serves-elements" deals with what others bring, and there are others now: its
// hooks run again, but for those of the root phase.
func MergeOnto(base, els []Element) (*Tree, error) {
	done := map[string][]Phase{}
	for _, e := range base {
		if done[e.Name] = installing; len(els) == len(base) { // there is nobody else to serve
			continue
		}
		switch _, err := fs.Stat(e.FS, servesFile); {
		case err == nil:
			done[e.Name] = []Phase{Root}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("looking for %s of element '%s': %w", servesFile, e.Name, err)
		}
	}
	t, err := merge(els, done)
	if err != nil {
		return nil, err
	}
	t.dropAnswers()
	return t, nil
}

// dropAnswers leaves out what answers, in cache-key.d, for hooks that have run.
func (t *Tree) dropAnswers() {
	for at, n := range t.nodes {
		for _, p := range t.done[n.Element] {
			if strings.HasPrefix(at, "cache-key.d/"+p.Dir()+"/") {
				delete(t.nodes, at)
			}
		}
	}
}

// isServed tells whether an entry at the top of an element is dealt with by
// another element's hooks, and not for other hooks to use.
func isServed(name string) bool {
	return slices.Contains([]string{"static", "init-scripts", "modprobe.d"}, name) || strings.HasPrefix(name, "source-repository-")
}
