package elements

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const installTypePrefix = "DIB_INSTALLTYPE_"

// InstallType is how the software of an element gets into the image: what
// DIB_INSTALLTYPE_<element> says (every '-' as '_'), else
// DIB_DEFAULT_INSTALLTYPE, else "source".
func InstallType(env map[string]string, element string) string {
	own := env[installTypePrefix+strings.ReplaceAll(element, "-", "_")]
	return cmp.Or(own, defaultInstallType(env))
}

func defaultInstallType(env map[string]string) string {
	return cmp.Or(env["DIB_DEFAULT_INSTALLTYPE"], "source")
}

// LinkInstallTypes makes hooks of what lies in install.d/<prefix>-<type>-install:
// for each type that the environment gives a prefix, and the default type for
// prefixes without one, it adds links to install.d. Low lines and dashes of a
// prefix are the same. A folder that does not exist is no mistake: the
// software may come by package.
func (t *Tree) LinkInstallTypes(env map[string]string) error {
	given := map[string]string{} // prefix with dashes → type
	for name, kind := range env {
		if prefix, ok := strings.CutPrefix(name, installTypePrefix); ok && prefix != "" && kind != "" {
			given[dashes(prefix)] = kind
		}
	}
	for _, dir := range t.Dirs() {
		if path.Dir(dir.Path) != Install.Dir() || !chosenType(path.Base(dir.Path), given, defaultInstallType(env)) {
			continue
		}
		if err := t.linkInto(Install.Dir(), dir.Path); err != nil {
			return err
		}
	}
	return nil
}

func dashes(name string) string { return strings.ReplaceAll(name, "_", "-") }

// chosenType tells whether the scripts of the folder called dir are wanted.
func chosenType(dir string, given map[string]string, usual string) bool {
	dir = dashes(dir)
	for prefix, kind := range given {
		if dir == prefix+"-"+dashes(kind)+"-install" {
			return true
		}
	}
	prefix, ok := strings.CutSuffix(dir, "-"+dashes(usual)+"-install")
	_, isGiven := given[prefix]
	return ok && prefix != "" && !isGiven
}

// linkInto adds a link in the folder to for each entry of the folder from,
// which lies in it.
func (t *Tree) linkInto(to, from string) error {
	var links []*node
	for _, n := range t.nodes {
		dir, name := path.Split(n.Path)
		if dir != from+"/" || strings.HasPrefix(name, ".") {
			continue
		}
		link := File{
			Path: to + "/" + name, Mode: fs.ModeSymlink | 0o777,
			Element: n.Element, Builtin: n.Builtin, Link: path.Base(from) + "/" + name,
		}
		links = append(links, &node{File: link})
	}
	slices.SortFunc(links, func(a, b *node) int { return strings.Compare(a.Path, b.Path) })
	for _, l := range links {
		if there, taken := t.nodes[l.Path]; taken && there.Link != l.Link {
			return fmt.Errorf("linking %s into %s: %w", from, to, &CollisionError{l.Path, there.Element, l.Element})
		}
		t.nodes[l.Path] = l
	}
	return nil
}
