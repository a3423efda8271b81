package compare

import (
	"fmt"
	"time"

	"github.com/lithify/lithify/blockdev/extread"
)

// extTree is the tree of an ext2, ext3 or ext4.
type extTree struct {
	f       *extread.FS
	folders map[uint32]bool // that came
	blocks  int64           // of them
}

func newExtTree(f *extread.FS) *extTree { return &extTree{f: f, folders: map[uint32]bool{}} }

func (t *extTree) root() (*node, error) {
	return &node{path: "/", kind: kindFolder, ref: uint32(extread.RootInode)}, nil
}

// load reads a node's inode. Until then its number is what is known.
func (t *extTree) load(n *node) (*extread.Inode, error) {
	if i, ok := n.ref.(*extread.Inode); ok {
		return i, nil
	}
	i, err := t.f.Inode(n.ref.(uint32))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown(n.path), err)
	}
	n.ref, n.kind, n.size = i, kindOf(uint32(i.Mode)), i.Size
	return i, nil
}

func (t *extTree) facts(n *node, i *extread.Inode) {
	n.number, n.place = fmt.Sprint(i.Number), i.Place()
	n.facts = append(ownerFacts(uint32(i.Mode), i.UID, i.GID),
		fact{"mtime", timeText(i.Mtime.Sec, int64(i.Mtime.Nsec))},
		fact{"atime", timeText(i.Atime.Sec, int64(i.Atime.Nsec))},
		fact{"ctime", timeText(i.Ctime.Sec, int64(i.Ctime.Nsec))},
		fact{"created", timeText(i.Created.Sec, int64(i.Created.Nsec))},
		fact{"links", fmt.Sprint(i.Links)}, fact{"flags", fmt.Sprintf("%#x", i.Flags)},
		fact{"generation", fmt.Sprint(i.Generation)}, fact{"project", fmt.Sprint(i.Project)},
	)
	switch n.kind {
	case kindChar, kindBlock:
		major, minor := i.Device()
		n.facts = append(n.facts, fact{"device", fmt.Sprintf("%d:%d", major, minor)})
	case kindFolder:
		n.facts = append(n.facts, fact{"folder size", fmt.Sprint(i.Size)})
	default:
		if i.Links > 1 {
			n.id = uint64(i.Number)
		}
	}
}

func ownerFacts(mode, uid, gid uint32) []fact {
	return []fact{{"mode", fmt.Sprintf("%04o", mode&0o7777)}, {"owner", fmt.Sprintf("%d:%d", uid, gid)}}
}

// timeText is to the nanosecond, and UTC.
func timeText(sec, nsec int64) string {
	return time.Unix(sec, nsec).UTC().Format("2006-01-02 15:04:05.000000000")
}

func (t *extTree) list(n *node) ([]*node, error) {
	i := n.ref.(*extread.Inode)
	if t.folders[i.Number] {
		return nil, fmt.Errorf("%s: the folder (inode %d) has a second name: folders go round in a circle", shown(n.path), i.Number)
	}
	t.folders[i.Number] = true
	if t.blocks += i.Size / t.f.BlockSize; t.blocks > t.f.Blocks {
		return nil, fmt.Errorf("%s: folders have more blocks than the file system's %d", shown(n.path), t.f.Blocks)
	}
	entries, err := t.f.ReadDir(i)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown(n.path), err)
	}
	all := make([]*node, 0, len(entries))
	for _, e := range entries {
		all = append(all, &node{name: e.Name, path: below(n.path, e.Name), ref: e.Inode})
	}
	return all, nil
}

func (t *extTree) fill(n *node) error {
	if n.facts != nil {
		return nil
	}
	i, err := t.load(n)
	if err != nil {
		return err
	}
	t.facts(n, i)
	attrs, err := t.f.Attrs(i)
	if err != nil {
		return fmt.Errorf("%s: %w", shown(n.path), err)
	}
	for _, a := range attrs {
		n.attrs = append(n.attrs, fact{a.Name, string(a.Value)})
	}
	if n.kind == kindLink {
		to, err := t.f.Link(i)
		if err != nil {
			return fmt.Errorf("%s: %w", shown(n.path), err)
		}
		n.facts = append(n.facts, fact{"leads to", shown(to)})
	}
	return nil
}

func (t *extTree) open(n *node) (content, error) {
	c, err := t.f.Open(n.ref.(*extread.Inode))
	if err != nil {
		return nil, err
	}
	return extContent{c}, nil
}

type extContent struct{ *extread.File }

func (extContent) Close() error { return nil }
