package elements

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ReadTree reads a hooks tree as it is on disk. No file has an element.
// Sockets, fifos and devices that hooks left there are no content and are left
// out. The tree reads its files from dir when they are asked for.
func ReadTree(dir string) (*Tree, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the hooks tree %q: %w", dir, err)
	}
	t := &Tree{nodes: map[string]*node{}}
	from := os.DirFS(abs)
	err = fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone since the folder was listed
		}
		if err != nil {
			return err
		}
		return t.read(from, name, info)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the hooks tree %q: %w", dir, err)
	}
	return t, nil
}

func (t *Tree) read(from fs.FS, name string, info fs.FileInfo) error {
	n := &node{from: from, name: name}
	n.File = File{Path: name, Mode: info.Mode().Type() | permissions(info)}
	switch {
	case info.IsDir(), info.Mode().IsRegular():
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := fs.ReadLink(from, name)
		if err != nil {
			return err
		}
		n.Link = link
		if target, err := fs.Stat(from, name); err == nil {
			n.outside = target
		}
	default:
		return nil
	}
	t.nodes[name] = n
	return nil
}

// Reread reads the tree from dir, to which it was written, after hooks changed
// it. A file keeps the element that t has for its path; a new link gets the
// element of what it leads to.
func (t *Tree) Reread(dir string) (*Tree, error) {
	now, err := ReadTree(dir)
	if err != nil {
		return nil, err
	}
	now.names, now.done = t.names, t.done
	for path, n := range now.nodes {
		if old, ok := t.nodes[path]; ok {
			n.Element, n.Builtin = old.Element, old.Builtin
		}
	}
	for _, n := range now.nodes {
		if target, ok := now.follow(n); ok && n.Element == "" {
			n.Element, n.Builtin = target.Element, target.Builtin
		}
	}
	return now, nil
}
