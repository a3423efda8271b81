package compare

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// node is a file of a tree.
type node struct {
	name  string
	path  string // "/" for the root
	kind  kind
	size  int64 // of files
	facts []fact
	// attrs are extended attributes, by name.
	attrs []fact
	// id is the same for all names of one file; 0 where it has but one.
	id uint64
	// place says where a file lies in its file system, for those that know.
	place, number string

	ref any // the tree's own
}

// fact is a property in words. Only those that both trees know are compared.
type fact struct{ name, value string }

type kind string

const (
	kindFolder  kind = "folder"
	kindFile    kind = "file"
	kindLink    kind = "symbolic link"
	kindFIFO    kind = "fifo"
	kindSocket  kind = "socket"
	kindChar    kind = "character device"
	kindBlock   kind = "block device"
	kindUnknown kind = "file of an unknown type"
)

func kindOf(mode uint32) kind {
	k, ok := map[uint32]kind{0x1000: kindFIFO, 0x2000: kindChar, 0x4000: kindFolder, 0x6000: kindBlock,
		0x8000: kindFile, 0xa000: kindLink, 0xc000: kindSocket}[mode&0xf000]
	if !ok {
		return kindUnknown
	}
	return k
}

// tree is something with folders and files: a file system, an archive, a folder.
type tree interface {
	// root gives the folder at the top.
	root() (*node, error)
	// list gives what is in a folder, in any order: names and paths, the rest
	// comes with fill, so that large folders take little memory.
	list(n *node) ([]*node, error)
	// fill adds what is known of a file, once.
	fill(n *node) error
	// open gives a file's content.
	open(n *node) (content, error)
}

// content is a file's. Close lets it go.
type content interface {
	sparse
	Close() error
}

// walk compares two trees folder by folder: names in order, so that memory holds
// one folder of each level.
type walk struct {
	ctx  context.Context
	a, b tree
	o    Options
	s    *Section
	// names of files with several, by their id: the first that came.
	firstA, firstB map[uint64]string
	seenA, seenB   int
	depth          int

	// same says that files which lie at the same place have the same content.
	same func(a, b *node) bool
	// moved and renumbered count files that lie elsewhere, or have other numbers.
	moved, renumbered counted
}

// counted is how many, and the first.
type counted struct {
	n     int
	first string
}

func (c *counted) add(format string, args ...any) {
	if c.n++; c.n == 1 {
		c.first = fmt.Sprintf(format, args...)
	}
}

// mostDepth is how deep folders may lie in each other.
const mostDepth = 4096

func compareTrees(ctx context.Context, a, b tree, s *Section, o Options, same func(a, b *node) bool) error {
	w := &walk{ctx: ctx, a: a, b: b, o: o, s: s, same: same, firstA: map[uint64]string{}, firstB: map[uint64]string{}}
	na, errA := a.root()
	nb, errB := b.root()
	if err := sideErrors(errA, errB); err != nil {
		return err
	}
	if err := w.pair(na, nb); err != nil {
		return err
	}
	if w.moved.n > 0 {
		s.note("%s another map of blocks, the first %s", number(w.moved.n, "file has", "files have"), w.moved.first)
	}
	if w.renumbered.n > 0 {
		s.note("%s another inode number, the first %s", number(w.renumbered.n, "file has", "files have"), w.renumbered.first)
	}
	return nil
}

func sideErrors(a, b error) error {
	switch {
	case a != nil && b != nil && a.Error() == b.Error():
		return fmt.Errorf("A and B: %w", a)
	case a != nil:
		return fmt.Errorf("A: %w", a)
	case b != nil:
		return fmt.Errorf("B: %w", b)
	}
	return nil
}

// pair compares two files of one path, and what is below them.
func (w *walk) pair(a, b *node) error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	if err := sideErrors(w.a.fill(a), w.b.fill(b)); err != nil {
		return err
	}
	linkA, linkB := w.link(a, w.firstA), w.link(b, w.firstB)
	d := Difference{Item: shown(a.path)}
	if a.kind != b.kind {
		d.Changes = append(d.Changes, Change{"type", string(a.kind), string(b.kind)})
		w.s.add(d)
		return nil
	}
	d.Changes = append(d.Changes, changed(a, b, w.o)...)
	if linkA != linkB {
		d.Changes = append(d.Changes, Change{"hard link of", linkA, linkB})
	}
	if a.kind == kindFile && (linkA == "" || linkB == "") {
		if err := w.content(a, b, &d); err != nil {
			return fmt.Errorf("%s: %w", shown(a.path), err)
		}
	}
	w.places(a, b)
	slices.SortStableFunc(d.Changes, func(a, b Change) int { return cmp.Compare(rank(a), rank(b)) })
	if len(d.Changes) > 0 {
		w.s.add(d)
	}
	if a.kind == kindFolder {
		return w.folder(a, b)
	}
	return nil
}

// rank puts times last.
func rank(c Change) int {
	if slices.Contains(minorChanges, c.What) {
		return 1
	}
	return 0
}

// places counts what lies elsewhere.
func (w *walk) places(a, b *node) {
	if a.number != b.number {
		w.renumbered.add("%s: %s ≠ %s", shown(a.path), a.number, b.number)
	}
	if a.place != b.place && a.size == b.size {
		w.moved.add("%s", shown(a.path))
	}
}

// link is the first name of a file that came under another one before.
func (w *walk) link(n *node, first map[uint64]string) string {
	if n.id == 0 {
		return ""
	}
	if _, ok := first[n.id]; !ok {
		first[n.id] = n.path
		return ""
	}
	return shown(first[n.id])
}

func (w *walk) folder(a, b *node) error {
	if w.depth++; w.depth > mostDepth {
		return fmt.Errorf("folders lie more than %d deep", mostDepth)
	}
	defer func() { w.depth-- }()
	la, errA := w.a.list(a)
	lb, errB := w.b.list(b)
	if err := sideErrors(errA, errB); err != nil {
		return err
	}
	sortNodes(la)
	sortNodes(lb)
	for len(la) > 0 || len(lb) > 0 {
		order := -1
		switch {
		case len(la) == 0:
			order = 1
		case len(lb) > 0:
			order = cmp.Compare(la[0].name, lb[0].name)
		}
		var err error
		switch order {
		case -1:
			err, la = w.alone(la[0], w.a, w.firstA, true), behind(la)
		case 1:
			err, lb = w.alone(lb[0], w.b, w.firstB, false), behind(lb)
		default:
			err, la, lb = w.pair(la[0], lb[0]), behind(la), behind(lb)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// behind forgets the first.
func behind(all []*node) []*node {
	all[0] = nil
	return all[1:]
}

func sortNodes(all []*node) {
	slices.SortFunc(all, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
}

// alone tells of a file that only one has, with the number of those below it.
func (w *walk) alone(n *node, t tree, first map[uint64]string, inA bool) error {
	below, err := w.countBelow(n, t, first)
	if err != nil && inA {
		return sideErrors(err, nil)
	} else if err != nil {
		return sideErrors(nil, err)
	}
	what := string(n.kind)
	if n.kind == kindFile {
		what = fmt.Sprintf("file of %s", plural(n.size, "byte"))
	}
	if below > 0 {
		what += fmt.Sprintf(" with %s below it", plural(below, "file"))
	}
	c := Change{What: onlyIn, A: what}
	if !inA {
		c = Change{What: onlyIn, B: what}
	}
	w.s.add(Difference{Item: shown(n.path), Changes: []Change{c}})
	return nil
}

func (w *walk) countBelow(n *node, t tree, first map[uint64]string) (int, error) {
	if err := t.fill(n); err != nil {
		return 0, err
	}
	w.link(n, first)
	if n.kind != kindFolder {
		return 0, context.Cause(w.ctx)
	}
	if w.depth++; w.depth > mostDepth {
		return 0, fmt.Errorf("folders lie more than %d deep", mostDepth)
	}
	defer func() { w.depth-- }()
	all, err := t.list(n)
	if err != nil {
		return 0, err
	}
	sortNodes(all)
	count := len(all)
	for ; len(all) > 0; all = behind(all) {
		below, err := w.countBelow(all[0], t, first)
		if err != nil {
			return 0, err
		}
		count += below
	}
	return count, nil
}

// changed compares what is said of two files.
func changed(a, b *node, o Options) []Change {
	var all []Change
	for _, fa := range a.facts {
		for _, fb := range b.facts {
			if fa.name == fb.name && fa.value != fb.value && !(o.IgnoreTimes && isTime(fa.name)) {
				all = append(all, Change{fa.name, fa.value, fb.value})
			}
		}
	}
	for _, name := range attrNames(a, b) {
		va, vb := attrOf(a, name), attrOf(b, name)
		if va != vb {
			all = append(all, Change{"attribute " + shown(name), va, vb})
		}
	}
	return all
}

func isTime(name string) bool {
	return name != "generation" && slices.Contains(minorChanges, name)
}

func attrNames(a, b *node) []string {
	var names []string
	for _, f := range append(slices.Clone(a.attrs), b.attrs...) {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func attrOf(n *node, name string) string {
	for _, f := range n.attrs {
		if f.name == name {
			return shortValue(f.value)
		}
	}
	return ""
}

// shortValue is enough of a value to see what it is.
func shortValue(v string) string {
	const most = 80
	if len(v) > most {
		return fmt.Sprintf("%q… (%d bytes, CRC %08x)", v[:most], len(v), checksum(v))
	}
	return fmt.Sprintf("%q", v)
}

// shown is a path as it can be printed on a line, whatever bytes are in it.
func shown(path string) string {
	if path == "" {
		return "/"
	}
	for _, r := range path {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return fmt.Sprintf("%q", path)
		}
	}
	return path
}

// below is the path of a name in a folder.
func below(folder, name string) string { return strings.TrimSuffix(folder, "/") + "/" + name }
