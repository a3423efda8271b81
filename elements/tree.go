package elements

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Tree is the hooks tree: the files of all elements of a build in one folder
// structure. It holds where each file comes from, not its content.
type Tree struct {
	nodes map[string]*node
	names *regexp.Regexp     // of hooks; nil: the usual
	done  map[string][]Phase // by element, phases whose hooks have run before this build
}

// node is one file, folder or link of the tree, and where its content is.
type node struct {
	File
	from fs.FS
	name string // in from

	// outside is what a link leads to on the build host; nil when that is
	// nothing, or when the entry is no link.
	outside fs.FileInfo
}

// File is an entry of a Tree.
type File struct {
	Path    string      // in the tree, with slashes
	Mode    fs.FileMode // type and permissions; a link is ModeSymlink
	Element string      // the element that brings it; "" when a hook made it
	Builtin bool        // the element is a built-in one
	Link    string      // where a symbolic link leads, as written in it
}

// Hook is a file that runs in a phase.
type Hook struct {
	Phase   Phase
	Name    string // of the file
	Path    string // in the tree
	Element string // the element that brings it; "" when a hook made it
	Builtin bool   // the element is a built-in one
}

// Files returns the regular files and symbolic links of the tree, sorted by
// path.
func (t *Tree) Files() []File {
	return t.entries(func(m fs.FileMode) bool { return !m.IsDir() })
}

// Dirs returns the folders of the tree, sorted by path, without its root. An
// empty one matters too: static/ may bring it to the image.
func (t *Tree) Dirs() []File { return t.entries(fs.FileMode.IsDir) }

func (t *Tree) entries(want func(fs.FileMode) bool) []File {
	var files []File
	for _, n := range t.nodes {
		if want(n.Mode) {
			files = append(files, n.File)
		}
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// Open returns the content of the regular file at path, or of the one that a
// link there leads to, which may be on the build host. A link that leads to no
// file is fs.ErrNotExist.
func (t *Tree) Open(path string) ([]byte, error) {
	n, ok := t.nodes[path]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if target, ok := t.follow(n); ok {
		n = target
	} else if n.outside == nil || !n.outside.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %q of the hooks tree: the link leads to %q: %w", path, n.Link, fs.ErrNotExist)
	}
	if n.Mode.IsDir() {
		return nil, fmt.Errorf("reading %q of the hooks tree: it is a folder", path)
	}
	data, err := fs.ReadFile(n.from, n.name)
	if err != nil {
		return nil, fmt.Errorf("reading %q of element '%s': %w", path, n.Element, err)
	}
	return data, nil
}

// Content returns what the entry at path holds itself: for a regular file the
// same as Open, for a folder or link nothing, wherever the link leads. It is
// the one for keys: links of static/ mean files of the image, not of the host,
// and need not lead anywhere here.
func (t *Tree) Content(path string) ([]byte, error) {
	if n, ok := t.nodes[path]; ok && !n.Mode.IsRegular() {
		return nil, nil
	}
	return t.Open(path)
}

// NameHooks makes the files hooks whose names match (RUN_PARTS_REGEX), in the
// place of those that do by the usual rule.
func (t *Tree) NameHooks(names *regexp.Regexp) { t.names = names }

// Hooks returns the hooks of a phase in the order in which they run.
func (t *Tree) Hooks(p Phase) []Hook { return t.HooksNamed(p, t.names) }

// HooksNamed is Hooks with another rule for names; nil is the usual one.
func (t *Tree) HooksNamed(p Phase, names *regexp.Regexp) []Hook {
	var hooks []Hook
	for _, n := range t.nodes {
		dir, name := path.Split(n.Path)
		if dir == p.Dir()+"/" && !slices.Contains(t.done[n.Element], p) && Eligible(name, t.mode(n, p), names) {
			hooks = append(hooks, Hook{p, name, n.Path, n.Element, n.Builtin})
		}
	}
	slices.SortFunc(hooks, func(a, b Hook) int { return compareHooks(a.Name, b.Name) })
	return hooks
}

// mode is that of the node, or of what its link leads to. A link out of the
// tree leads nowhere once the tree is mounted in the target.
func (t *Tree) mode(n *node, p Phase) fs.FileMode {
	if target, ok := t.follow(n); ok {
		return target.Mode
	}
	if p.Outside() && n.outside != nil {
		return n.outside.Mode()
	}
	return fs.ModeIrregular
}

// follow returns what n stands for: itself, or where its link leads within the
// tree. The number of links is limited as the kernel limits it.
func (t *Tree) follow(n *node) (*node, bool) {
	for range 40 {
		if n.Mode&fs.ModeSymlink == 0 {
			return n, true
		}
		if path.IsAbs(n.Link) {
			return nil, false
		}
		next, ok := t.walk(path.Dir(n.Path), n.Link, 40)
		if !ok {
			return nil, false
		}
		n = next
	}
	return nil, false
}

// walk finds name from the folder dir, through folders that are links
// themselves; the last part may be a link.
func (t *Tree) walk(dir, name string, links int) (*node, bool) {
	at := &node{File: File{Path: dir, Mode: fs.ModeDir}}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." {
			continue
		}
		for at.Mode&fs.ModeSymlink != 0 {
			if links--; links < 0 || path.IsAbs(at.Link) {
				return nil, false
			}
			next, ok := t.walk(path.Dir(at.Path), at.Link, links)
			if !ok {
				return nil, false
			}
			at = next
		}
		next, ok := t.step(at, part)
		if !ok {
			return nil, false
		}
		at = next
	}
	return at, true
}

func (t *Tree) step(at *node, part string) (*node, bool) {
	if !at.Mode.IsDir() {
		return nil, false
	}
	to := path.Join(at.Path, part)
	if to == "." {
		return &node{File: File{Path: ".", Mode: fs.ModeDir}}, true
	}
	n, ok := t.nodes[to]
	return n, ok
}
