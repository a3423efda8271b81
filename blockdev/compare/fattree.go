package compare

import (
	"fmt"

	"github.com/lithify/lithify/blockdev/fat"
)

// fatTree is the tree of a FAT.
type fatTree struct {
	v     *fat.Image
	first map[int64]string // a folder's first byte → its path
}

func newFATTree(v *fat.Image) *fatTree { return &fatTree{v: v, first: map[int64]string{}} }

func (t *fatTree) root() (*node, error) {
	return &node{path: "/", kind: kindFolder, ref: t.v.Root()}, nil
}

func (t *fatTree) list(n *node) ([]*node, error) {
	f := n.ref.(*fat.File)
	where, err := t.v.Stretches(f)
	if err != nil {
		return nil, err
	}
	if len(where) > 0 {
		if other, came := t.first[where[0].From]; came {
			return nil, fmt.Errorf("folder %s is the same as %s: folders go round in a circle", shown(n.path), shown(other))
		}
		t.first[where[0].From] = n.path
	}
	files, err := t.v.ReadDir(f)
	if err != nil {
		return nil, err
	}
	all := make([]*node, 0, len(files))
	for _, f := range files {
		all = append(all, fatNode(f))
	}
	return all, nil
}

func fatNode(f *fat.File) *node {
	n := &node{name: f.Name, path: "/" + f.Path, kind: kindFile, size: f.Size, ref: f}
	n.facts = []fact{{"short name", fmt.Sprintf("%q", f.Short)}, {"flags", fmt.Sprintf("%#x", f.Attr)},
		{"mtime", f.Modified}, {"created", f.Created}, {"accessed", f.Accessed}}
	switch {
	case f.Folder:
		n.kind, n.size = kindFolder, 0
	case f.Attr&8 != 0:
		n.kind, n.name, n.path = kindUnknown, "(volume label)", "(volume label)"
		n.facts = append(n.facts, fact{"label", fmt.Sprintf("%q", f.Short)})
	}
	return n
}

func (t *fatTree) fill(*node) error { return nil }

func (t *fatTree) open(n *node) (content, error) {
	r, err := t.v.Open(n.ref.(*fat.File))
	if err != nil {
		return nil, err
	}
	return fatContent{r, n.size}, nil
}

type fatContent struct {
	*fat.Reader
	size int64
}

func (c fatContent) NextData(off int64) (from, to int64, err error) {
	return min(off, c.size), c.size, nil
}

func (fatContent) Close() error { return nil }
func (fatContent) holeless()    {}
