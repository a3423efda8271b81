package elements

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Merge puts the files of els into one hooks tree.
//
// A file directly in a folder (a hook, a program in bin, a snippet of
// environment.d) has one owner: a second element with the same name is a
// *CollisionError. Folders below are merged; the same file in two elements is
// allowed there when both are alike. Left out are hidden entries at the top
// and directly below, tests, compiled Python, and files that describe one
// element only.
func Merge(els []Element) (*Tree, error) { return merge(els, nil) }

func merge(els []Element, done map[string][]Phase) (*Tree, error) {
	t := &Tree{nodes: map[string]*node{}, done: done}
	var errs []error
	for _, e := range els {
		m := merger{tree: t, element: e}
		if err := m.top(); err != nil {
			return nil, fmt.Errorf("merging element '%s': %w", e.Name, err)
		}
		errs = append(errs, m.collisions...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

type merger struct {
	tree       *Tree
	element    Element
	collisions []error
	followed   int // links on the way to the folder at hand
}

// top merges what is in the element's own folder. Its folders may be links.
func (m *merger) top() error {
	entries, err := fs.ReadDir(m.element.FS, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if m.tree.done[m.element.Name] != nil && isServed(name) {
			continue
		}
		info, err := fs.Stat(m.element.FS, name)
		if errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink != 0 {
			continue // a link that leads nowhere is neither file nor folder
		}
		if err != nil {
			return err
		}
		switch {
		case info.IsDir() && !leftOutDir(name):
			err = m.dir(name, name, info)
		case info.Mode().IsRegular() && !leftOutFile(name):
			err = m.add(&node{File: File{Path: name, Mode: permissions(info)}, name: name})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leftOutDir tells whether a folder of an element is no part of the tree.
func leftOutDir(name string) bool {
	return strings.HasPrefix(name, ".") || slices.Contains([]string{"tests", "test-elements", "__pycache__"}, name)
}

// leftOutFile tells whether a file at the top of an element is no part of the
// tree: it describes that element to people or to the driver, so that in a
// tree of many it would mean nothing, or collide.
func leftOutFile(name string) bool {
	for _, prefix := range []string{".", "README", "LICENSE", "COPYING", "CHANGELOG", "package-installs.", "block-device-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	alone := []string{"element-deps", "element-provides", "pkg-map", "svc-map", "one-step-per-phase", "binds", "host-files", "output-files", servesFile, ramdiskFile, baseImageFile, makesRootFile}
	return slices.Contains(alone, name) || strings.HasSuffix(name, ".pyc")
}

// dir merges a folder: from is its name in the element, to in the tree. They
// differ below a link that was followed.
func (m *merger) dir(from, to string, info fs.FileInfo) error {
	err := m.add(&node{File: File{Path: to, Mode: fs.ModeDir | permissions(info)}, name: from})
	if err != nil {
		return err
	}
	entries, err := fs.ReadDir(m.element.FS, from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if leftOutBelow(to, e.Name()) {
			continue
		}
		if err := m.entry(path.Join(from, e.Name()), path.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// leftOutBelow tells whether an entry of the folder dir is left out. What is
// deep in static/ goes to the image as it is, hidden files above all.
func leftOutBelow(dir, name string) bool {
	if !strings.Contains(dir, "/") && strings.HasPrefix(name, ".") {
		return true
	}
	return !inStatic(dir+"/") && (name == "__pycache__" || strings.HasSuffix(name, ".pyc"))
}

func inStatic(path string) bool { return strings.HasPrefix(path, "static/") }

func (m *merger) entry(from, to string) error {
	info, err := fs.Lstat(m.element.FS, from)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return m.dir(from, to, info)
	case info.Mode().IsRegular():
		return m.add(&node{File: File{Path: to, Mode: permissions(info)}, name: from})
	case info.Mode()&fs.ModeSymlink != 0:
		return m.link(from, to)
	}
	return fmt.Errorf("%q is a %s; only files, folders and symbolic links are allowed", from, kind(info.Mode()))
}

// link keeps a link that means the same in the tree as in the element, and
// copies what others lead to.
func (m *merger) link(from, to string) error {
	link, err := fs.ReadLink(m.element.FS, from)
	if err != nil {
		return err
	}
	info, err := fs.Stat(m.element.FS, from)
	if err != nil || inStatic(to) || path.IsAbs(link) || m.staysInside(from, to, link, info) {
		return m.add(&node{File: File{Path: to, Mode: fs.ModeSymlink | 0o777, Link: link}, name: from, outside: info})
	}
	if info.Mode().IsRegular() {
		return m.add(&node{File: File{Path: to, Mode: permissions(info)}, name: from})
	}
	if !info.IsDir() {
		return fmt.Errorf("%q leads to a %s; only files and folders are allowed", from, kind(info.Mode()))
	}
	if m.followed == 8 {
		return fmt.Errorf("%q: symbolic links to folders nest too deep", from)
	}
	m.followed++
	defer func() { m.followed-- }()
	return m.dir(from, to, info)
}

// staysInside tells whether a relative link leads to something of the same
// element that the tree has at the same place. Where a folder on the way is a
// link itself, the names alone do not tell: what is there must be the same.
func (m *merger) staysInside(from, to, link string, info fs.FileInfo) bool {
	target := path.Join(path.Dir(from), link)
	if from != to || !inTree(target) {
		return false
	}
	there, err := fs.Stat(m.element.FS, target)
	if err != nil || !os.SameFile(info, there) {
		return false
	}
	if !strings.Contains(target, "/") {
		return there.IsDir() && !leftOutDir(target) || !there.IsDir() && !leftOutFile(target)
	}
	return true
}

// inTree tells whether no part of a path in an element is left out of trees.
func inTree(target string) bool {
	dir, rest, _ := strings.Cut(target, "/")
	if dir == "." || leftOutDir(dir) {
		return false // ".." begins with a dot too
	}
	for part := range strings.SplitSeq(rest, "/") {
		if leftOutBelow(dir, part) {
			return false
		}
		dir += "/" + part
	}
	return true
}

// add puts n into the tree, or notes that another element has the name.
func (m *merger) add(n *node) error {
	n.Element, n.Builtin, n.from = m.element.Name, m.element.Builtin, m.element.FS
	there, taken := m.tree.nodes[n.Path]
	if !taken {
		m.tree.nodes[n.Path] = n
		return nil
	}
	if n.Mode.IsDir() && there.Mode.IsDir() {
		return nil
	}
	alike, err := m.alike(there, n)
	if err != nil {
		return err
	}
	if !alike || isOwned(n.Path) {
		m.collisions = append(m.collisions, &CollisionError{n.Path, there.Element, n.Element})
	}
	return nil
}

// isOwned tells whether a path is directly in a folder of the top level, where
// every name belongs to one element.
func isOwned(path string) bool { return strings.Count(path, "/") == 1 }

func (m *merger) alike(a, b *node) (bool, error) {
	if a.Mode != b.Mode || a.Link != b.Link {
		return false, nil
	}
	if a.Mode&fs.ModeSymlink != 0 {
		return true, nil
	}
	one, err := fs.ReadFile(a.from, a.name)
	if err != nil {
		return false, err
	}
	other, err := fs.ReadFile(b.from, b.name)
	return bytes.Equal(one, other), err
}

func permissions(info fs.FileInfo) fs.FileMode {
	return info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}

// kind names a type of file that is out of place.
func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "fifo"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
