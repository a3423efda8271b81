package elements

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ModTime is the time that every file of a written tree gets, so that two
// writings are equal. Some archivers refuse years before 1980.
var ModTime = time.Date(1980, 1, 2, 0, 0, 0, 0, time.UTC)

// WriteTo writes the tree into the folder dir, which is made when it is not
// there and should be empty. Modes are those of the tree whatever the umask,
// the owner is the caller. After an error the folder is incomplete: remove it.
func (t *Tree) WriteTo(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the hooks tree to %q: %w", dir, err)
	}
	// A Root, because a link of the tree must never lead a file out of it.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("writing the hooks tree to %q: %w", dir, err)
	}
	defer root.Close()
	nodes := t.sorted()
	for _, n := range nodes {
		if err := n.write(root); err != nil {
			return fmt.Errorf("writing %q of element '%s' to the hooks tree: %w", n.Path, n.Element, err)
		}
	}
	// Backwards: a folder's time and a mode without w come after its content.
	slices.Reverse(nodes)
	for _, n := range nodes {
		if err := n.finish(root, dir); err != nil {
			return fmt.Errorf("setting mode and time of %q in the hooks tree: %w", n.Path, err)
		}
	}
	return setTime(dir)
}

func (t *Tree) sorted() []*node {
	nodes := make([]*node, 0, len(t.nodes))
	for _, n := range t.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.Path, b.Path) })
	return nodes
}

func (n *node) write(root *os.Root) error {
	switch {
	case n.Mode.IsDir():
		return root.Mkdir(n.Path, 0o700)
	case n.Mode&fs.ModeSymlink != 0:
		return root.Symlink(n.Link, n.Path)
	}
	data, err := fs.ReadFile(n.from, n.name)
	if err != nil {
		return err
	}
	return root.WriteFile(n.Path, data, 0o600)
}

func (n *node) finish(root *os.Root, dir string) error {
	if n.Mode&fs.ModeSymlink == 0 {
		if err := root.Chmod(n.Path, n.Mode&^fs.ModeType); err != nil {
			return err
		}
	}
	return setTime(filepath.Join(dir, n.Path))
}

// setTime sets the time of path itself, also where it is a link.
func setTime(path string) error {
	at, err := unix.TimeToTimespec(ModTime)
	if err != nil {
		return err
	}
	times := []unix.Timespec{at, at}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}
