package fat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"
)

const (
	fileMax   = 1<<32 - 1 // bytes
	folderMax = 65536     // entries: 2 MiB, as fatgen103 and Linux have it
)

// node is a file or folder of the tree.
type node struct {
	name  string
	path  string // in the tree, slash-separated; "" is its root
	dir   bool
	size  int64 // bytes of a file
	mtime time.Time

	short    shortName
	long     bool  // it needs a long name beside the short one
	entries  int64 // in its folder: one, and one for every 13 units of a long name
	children []*node

	first int64 // cluster; 0: none
	count int64 // clusters
}

// folderEntries returns how many entries a folder holds. The volume label is not
// counted.
func (n *node) folderEntries() int64 {
	e := int64(2) // . and ..
	if n.path == "" {
		e = 0
	}
	for _, c := range n.children {
		e += c.entries
	}
	return e
}

// readTree walks the tree and checks everything that FAT cannot hold. With root
// "" it is empty.
func readTree(ctx context.Context, root string, skip func(string) bool) (*node, error) {
	top := &node{dir: true}
	if root == "" {
		return top, nil
	}
	st, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s: it is a %s; a folder is wanted", root, kindOf(st.Mode()))
	}
	top.mtime = st.ModTime()
	return top, top.read(ctx, root, skip)
}

// read reads what is in a folder, and below.
func (n *node) read(ctx context.Context, root string, skip func(string) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(root, n.path))
	if err != nil {
		return err
	}
	for _, e := range entries { // sorted
		c, err := newNode(n, e)
		if err != nil {
			return err
		}
		n.children = append(n.children, c)
	}
	if err := nameFolder(n.children); err != nil {
		return err
	}
	if e := n.folderEntries(); e >= folderMax {
		return fmt.Errorf("folder %q: its names take %d entries; FAT allows %d", n.path, e, folderMax-1)
	}
	for _, c := range n.children {
		if c.dir && (skip == nil || !skip(c.path)) {
			if err := c.read(ctx, root, skip); err != nil {
				return err
			}
		}
	}
	return nil
}

func newNode(parent *node, e fs.DirEntry) (*node, error) {
	st, err := e.Info()
	if err != nil {
		return nil, err
	}
	n := &node{name: e.Name(), path: path.Join(parent.path, e.Name()), dir: st.IsDir(), mtime: st.ModTime()}
	switch {
	case n.dir:
		return n, nil
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%q: FAT holds no %s; allowed are files and folders", n.path, kindOf(st.Mode()))
	case st.Size() > fileMax:
		return nil, fmt.Errorf("%q: the file has %d bytes; FAT allows %d", n.path, st.Size(), int64(fileMax))
	}
	n.size = st.Size()
	return n, nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeDevice != 0:
		return "device"
	case m&fs.ModeNamedPipe != 0:
		return "fifo"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m.IsDir():
		return "folder"
	case m.IsRegular():
		return "file"
	}
	return "special file"
}

// clusters returns how many clusters of so many bytes a node takes. A folder has
// at least one, an empty file none.
func (n *node) clusters(cluster int64) int64 {
	if n.dir {
		return max(1, (n.folderEntries()*entrySize+cluster-1)/cluster)
	}
	return (n.size + cluster - 1) / cluster
}

// walk calls f for every node below n, folders before what is in them.
func (n *node) walk(f func(*node) error) error {
	for _, c := range n.children {
		if err := errors.Join(f(c), c.walk(f)); err != nil {
			return err
		}
	}
	return nil
}
