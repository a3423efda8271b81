package compare

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/lithify/lithify/blockdev/extread"
	"github.com/lithify/lithify/blockdev/fat"
)

// touches says whether one of the spans has a byte of from to to.
func touches(spans []span, from, to int64) bool {
	i := sort.Search(len(spans), func(i int) bool { return spans[i].To > from })
	return i < len(spans) && spans[i].From < to
}

// extBlocks says what the blocks that differ belong to: one by one where nothing
// else tells the two apart, else how much is whose.
func (p *pair) extBlocks(f, g *extread.FS) error {
	owned, err := f.Owners(p.ctx, p.spans)
	if err != nil {
		return err
	}
	if p.s.found() > 0 {
		p.sum(owned)
		return nil
	}
	if len(owned) > 0 {
		p.s.note("superblock, files and folders say the same; the blocks above differ")
	}
	wanted := map[uint32]string{}
	for _, o := range owned {
		for _, ino := range append(slices.Clone(o.Inodes), o.Inode) {
			wanted[ino] = ""
		}
	}
	if err := namesOf(newExtTree(f), wanted); err != nil {
		return err
	}
	inodes := func(ino uint32) bool { return f.RawInode(ino) != g.RawInode(ino) }
	for _, o := range owned {
		first := p.firstByte(o.First, o.Bytes)
		p.s.add(Difference{Item: fmt.Sprintf("block %d, %s", first/f.BlockSize, ownedText(o, wanted, inodes)), First: &first,
			Changes: []Change{{What: theContent}}, Detail: excerpts(p.a, p.b, first, 0)})
	}
	return nil
}

// firstByte is the first that differs from at on.
func (p *pair) firstByte(at, within int64) int64 {
	n := int(min(max(within, 512), diffChunk))
	a, b := p.a.bytes(at, n), p.b.bytes(at, n)
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return at + int64(i)
		}
	}
	return at
}

// ownedText names what owns blocks. differs tells which inodes of a sector do.
func ownedText(o extread.Owned, names map[uint32]string, differs func(ino uint32) bool) string {
	path := func(ino uint32) string {
		if names[ino] == "" {
			return fmt.Sprintf("inode %d", ino)
		}
		return fmt.Sprintf("inode %d (%s)", ino, names[ino])
	}
	switch o.Kind {
	case extread.OwnTable:
		var inodes []string
		for _, ino := range o.Inodes {
			if differs(ino) {
				inodes = append(inodes, path(ino))
			}
		}
		const most = 5
		if len(inodes) > most {
			inodes = append(inodes[:most], "and more")
		}
		return fmt.Sprintf("inode table of group %d: %s", o.Group, strings.Join(inodes, ", "))
	case extread.OwnFolder, extread.OwnFile, extread.OwnMap, extread.OwnAttrs:
		return o.Kind + " " + path(o.Inode)
	case extread.OwnSuper:
		if o.Group == 0 {
			return o.Kind
		}
		return fmt.Sprintf("copy of the superblock in group %d", o.Group)
	case extread.OwnDescriptors, extread.OwnSpare, extread.OwnBlockBitmap, extread.OwnInodeBitmap:
		if o.Inode == 0 {
			return fmt.Sprintf("%s of group %d", o.Kind, o.Group)
		}
	}
	return o.Kind
}

// sum adds up what is whose.
func (p *pair) sum(owned []extread.Owned) {
	bytes := map[string]int64{}
	for _, o := range owned {
		bytes[o.Kind] += o.Bytes
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(bytes)) {
		parts = append(parts, fmt.Sprintf("%s %d", kind, bytes[kind]/512))
	}
	if len(parts) > 0 {
		p.s.note("sectors of 512 bytes that differ: %s", strings.Join(parts, ", "))
	}
}

// namesOf finds paths of inodes, for those that it has keys for.
func namesOf(t *extTree, wanted map[uint32]string) error {
	root, err := t.root()
	if err != nil {
		return err
	}
	left := len(wanted)
	var visit func(n *node) error
	visit = func(n *node) error {
		i, err := t.load(n)
		if err != nil {
			return err
		}
		ino := i.Number
		if name, ok := wanted[ino]; ok && name == "" {
			wanted[ino] = shown(n.path)
			left--
		}
		if n.kind != kindFolder || left == 0 {
			return nil
		}
		all, err := t.list(n)
		if err != nil {
			return err
		}
		for _, c := range all {
			if err := visit(c); err != nil {
				return err
			}
		}
		return nil
	}
	return visit(root)
}

// fatBlocks is extBlocks for FAT.
func (p *pair) fatBlocks(v *fat.Image) error {
	if p.s.found() > 0 {
		return nil
	}
	all := v.Areas()
	t := newFATTree(v)
	root, err := t.root()
	if err != nil {
		return err
	}
	if all, err = stretchesBelow(t, root, all); err != nil {
		return err
	}
	p.s.note("boot sector, files and folders say the same; the areas above differ")
	covered := int64(0)
	for _, s := range all {
		if n := overlap(p.spans, s.From, s.To); n > 0 {
			covered += n
			p.area(s)
		}
	}
	total := int64(0)
	for _, s := range p.spans {
		total += s.To - s.From
	}
	if total > covered {
		p.s.note("sectors of free clusters that differ: %d", (total-covered)/512)
		if p.s.found() == 0 {
			p.disks.bytes(p.s, "free clusters", p.a, p.b, 0)
		}
	}
	return nil
}

func (p *pair) area(s fat.Stretch) {
	found, err := differ(p.ctx, p.a.part(s.From, s.To-s.From), p.b.part(s.From, s.To-s.From), s.To-s.From)
	if err != nil || !found.any() {
		return
	}
	first := s.From + found.first
	item := strings.TrimSpace(s.What + " " + s.Path)
	p.s.add(Difference{Item: item, First: &first, Bytes: found.bytes, Detail: excerpts(p.a, p.b, first, 0),
		Changes: []Change{{What: theContent}}})
}

func stretchesBelow(t *fatTree, n *node, all []fat.Stretch) ([]fat.Stretch, error) {
	f := n.ref.(*fat.File)
	own, err := t.v.Stretches(f)
	if err != nil {
		return nil, err
	}
	all = append(all, own...)
	if n.kind != kindFolder {
		return all, nil
	}
	list, err := t.list(n)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		if all, err = stretchesBelow(t, c, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// overlap is how many bytes of spans lie in from to to.
func overlap(spans []span, from, to int64) (n int64) {
	i := sort.Search(len(spans), func(i int) bool { return spans[i].To > from })
	for ; i < len(spans) && spans[i].From < to; i++ {
		n += min(spans[i].To, to) - max(spans[i].From, from)
	}
	return n
}
